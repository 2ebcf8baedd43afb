"""Checkpoints: one safetensors file each, written whole or not at all, its checksum in its name, never pickle.

`step-00001000-<first 16 digits of its SHA-256>.safetensors` holds the network, the optimiser's moments and, where kept,
the running average; the metadata holds the settings, so that a checkpoint builds its own network.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from speech2face.errors import CannotWrite, CheckpointError
from speech2face.inputs import parse_json
from speech2face.outputs import replace_file, replacing, sha256

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FORMAT = 1
FOLDER = "checkpoints"
CHECKSUM_DIGITS = 16
_NAME = re.compile(rf"step-(\d{{8,}})-([0-9a-f]{{{CHECKSUM_DIGITS}}})\.safetensors")
_TEMPORARY_SUFFIX = ".writing"
NETWORK, AVERAGE, OPTIMISER = "network.", "average.", "optimiser."


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint on disk."""

    path: Path
    step: int
    checksum: str

    def verify(self) -> None:
        """Compare the bytes with the checksum in the name.

        Raises:
            CheckpointError: they differ, or it cannot be read.
        """
        try:
            found = sha256(self.path)[:CHECKSUM_DIGITS]
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror}") from error
        if found != self.checksum:
            raise CheckpointError(
                f"{self.path} is damaged (its SHA-256 is not the one in its name); delete it to go on from the one"
                " before"
            )


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a file; tensors are on the CPU."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    path: Path

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.metadata["step"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `network.`, `average.` or `optimiser.`, by their own names."""
        return {name[len(prefix) :]: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def list_checkpoints(run: Path) -> list[CheckpointFile]:
    """Finished checkpoints of a run folder, oldest first."""
    if not os.path.isdir(run / FOLDER):
        return []
    found = ((path, _NAME.fullmatch(path.name)) for path in (run / FOLDER).glob("step-*.safetensors"))
    files = [CheckpointFile(path, int(match[1]), match[2]) for path, match in found if match]
    return sorted(files, key=lambda file: file.step)


def optimiser_tensors(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments under the names of the parameters they belong to."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        f"{names[id(parameter)]}.{key}": value
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
    }


def restore_optimiser(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimiser the moments that `optimiser_tensors` took."""
    parameters = dict(network.named_parameters())
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition(".")
        parameter = parameters[name]
        # Adam keeps its counter on the CPU unless it is fused.
        fused = bool(optimiser.defaults.get("fused"))
        where = parameter.device if key != "step" or fused else torch.device("cpu")
        optimiser.state[parameter][key] = tensor.to(where)


def save_checkpoint(run: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, keep: int) -> Path:
    """Write a checkpoint, then delete all but the `keep` newest; no older one is touched before the new one stands.

    Raises:
        CannotWrite: no space, no permission; what was there before still is.
    """
    folder = run / FOLDER
    unnamed = folder / f"step-{metadata['step']:08d}{_TEMPORARY_SUFFIX}"  # its own name needs its checksum
    text = {"speech2face": json.dumps(dict(metadata) | {"format": FORMAT}, sort_keys=True)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"*{_TEMPORARY_SUFFIX}"):  # from a process that was killed
            stale.unlink()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        free = shutil.disk_usage(folder).free
        if size > free:
            raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")
        with replacing(unnamed) as temporary:
            save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, temporary, text)
        final = folder / f"step-{metadata['step']:08d}-{sha256(unnamed)[:CHECKSUM_DIGITS]}.safetensors"
        unnamed.rename(final)
    except (OSError, SafetensorError) as error:
        kept = list_checkpoints(run)
        last = f"the one of step {kept[-1].step} is untouched" if kept else "there was none before"
        raise CannotWrite(
            f"cannot write a checkpoint in {folder}: {error}; {last}; make room and start the training again"
        ) from error
    for old in list_checkpoints(run)[:-keep]:
        if old.path != final:
            old.path.unlink()
    return final


def read_checkpoint(file: CheckpointFile, *, prefixes: tuple[str, ...] = (NETWORK, AVERAGE, OPTIMISER)) -> Checkpoint:
    """Verify a checkpoint and read the named parts of it.

    Raises:
        CheckpointError: damaged, of another format, or no checkpoint.
    """
    file.verify()
    try:
        with safe_open(file.path, framework="pt") as opened:
            metadata = parse_json((opened.metadata() or {})["speech2face"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file.path} is no checkpoint of this program: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{file.path} is a checkpoint of format {metadata.get('format')}, this program reads {FORMAT};"
            " use the version it was made with"
        )
    return Checkpoint(tensors, metadata, file.path)


def newest_checkpoint(run: Path) -> CheckpointFile | None:
    """The last finished checkpoint of a run folder; None where there is none."""
    files = list_checkpoints(run)
    return files[-1] if files else None


def find_checkpoint(path: Path) -> CheckpointFile:
    """A checkpoint by its own path, or the newest of a run folder.

    Raises:
        CheckpointError: there is none.
    """
    if match := _NAME.fullmatch(path.name):
        if not os.path.isfile(path):
            raise CheckpointError(f"no such checkpoint: {path}")
        return CheckpointFile(path, int(match[1]), match[2])
    newest = newest_checkpoint(path)
    if newest is None:
        raise CheckpointError(
            f"{path} holds no checkpoint; name the `out` folder of a training, or a {FOLDER}/step-*.safetensors of it"
        )
    return newest


# --- The folder of one training:
#     settings.json     the settings of the last start
#     numbers.jsonl     one line for each written step and each evaluation
#     tensorboard/      the same for TensorBoard
#     checkpoints/      see above

SETTINGS = "settings.json"
NUMBERS = "numbers.jsonl"
EVALUATION = "evaluation"  # kind of a line
TENSORBOARD = "tensorboard"


class Records:
    """Numbers of a run, written as they come; `step` counts finished steps."""

    def __init__(self, folder: Path, *, start_step: int) -> None:
        """What an earlier start wrote after `start_step` is dropped: those steps are done again."""
        self._path = folder / NUMBERS
        with _writing(self._path):
            if os.path.exists(self._path):
                replace_file(self._path, "".join(f"{line}\n" for line, at, _ in _numbers(folder) if at <= start_step))
            self._lines = self._path.open("a", encoding="utf-8")
            self._board = _tensorboard(folder / TENSORBOARD, start_step)

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        """Write one line; `kind` is training, balance or `EVALUATION`.

        Raises:
            CannotWrite: no room, no permission.
        """
        with _writing(self._path):
            self._lines.write(json.dumps({"step": step, "kind": kind} | dict(numbers)) + "\n")
            self._lines.flush()
            if self._board is not None:
                for name, number in numbers.items():
                    self._board.add_scalar(f"{kind}/{name}", number, step)

    def draw(self, step: int, picture: bytes) -> None:
        """Show a labelled PNG in TensorBoard, as it is: its label stays inside."""
        if self._board is None or self._board.file_writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width = png_size(picture)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture)
        self._board.file_writer.add_summary(Summary(value=[Summary.Value(tag="validation faces", image=image)]), step)

    def close(self) -> None:
        """Finish both files."""
        with _writing(self._path):
            self._lines.close()
            if self._board is not None:
                self._board.close()


def png_size(picture: bytes) -> tuple[int, int]:
    """Height and width that a PNG's first chunk states (ISO/IEC 15948, 11.2.2)."""
    width, height = struct.unpack(">II", picture[16:24])
    return height, width


def _tensorboard(folder: Path, start_step: int) -> SummaryWriter | None:
    """TensorBoard's writer, None where TensorBoard is not installed; nothing else needs it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)


def _numbers(folder: Path) -> Iterator[tuple[str, int, str]]:
    """The lines of a run, each with its step and kind; one that a kill cut short is passed over."""
    path = folder / NUMBERS
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if os.path.exists(path) else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = parse_json(line)
            yield line, int(said["step"]), str(said["kind"])


def was_evaluated(folder: Path, step: int) -> bool:
    """Whether the numbers of a run hold an evaluation of this step."""
    return any((at, kind) == (step, EVALUATION) for _, at, kind in _numbers(folder))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file in what the operating system objects to."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror or error}; make room and start the training again"
        ) from error


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings of this start beside its numbers."""
    with _writing(folder / SETTINGS):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
