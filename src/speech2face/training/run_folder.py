"""The folder of one training: who may write in it, its numbers as JSON lines and for TensorBoard.

    settings.json      the settings of the last start
    numbers.jsonl      one line for each written step and each evaluation
    tensorboard/       the same for TensorBoard
    checkpoints/       see `checkpoint.py`
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.errors import CannotWrite, RunLocked
from speech2face.untrusted import parse_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOCK = ".lock"
SETTINGS = "settings.json"
NUMBERS = "numbers.jsonl"
TENSORBOARD = "tensorboard"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; the system lets go of it however the process ends.

    Raises:
        RunLocked: another training holds it.
        CannotWrite: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise CannotWrite(f"cannot write in {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 64, 0).decode(errors="replace").strip()
            raise RunLocked(
                f"another training (process {holder or 'unknown'}) writes into {folder}; wait for it, or choose another"
                " `out`"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


class Records:
    """Numbers of a run, written as they come; `step` counts finished steps."""

    def __init__(self, folder: Path, *, start_step: int) -> None:
        """What an earlier start wrote after `start_step` is dropped: those steps are done again."""
        self._path = folder / NUMBERS
        _drop_after(self._path, start_step)
        self._lines = self._path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder / TENSORBOARD, start_step)

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        """One line; `kind` is training or evaluation."""
        self._lines.write(json.dumps({"step": step, "kind": kind} | dict(numbers)) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, number in numbers.items():
                self._board.add_scalar(f"{kind}/{name}", number, step)

    def close(self) -> None:
        """Finish both files."""
        self._lines.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, start_step: int) -> SummaryWriter | None:
    """TensorBoard's writer, None where TensorBoard is not installed; nothing else needs it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)


def _drop_after(path: Path, step: int) -> None:
    """Cut the lines that a training will write again, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            done = parse_json(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue
        if done <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".writing")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def read_numbers(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of a run, oldest first; of one kind where one is named."""
    lines = [parse_json(line) for line in (folder / NUMBERS).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings of this start beside its numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{SETTINGS}.writing"
    temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / SETTINGS)
