"""Releases of weights: a folder whose `model.json` names its kind, every file with its SHA-256, and the licence."""

from __future__ import annotations

import json
import math
import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import WeightsError
from speech2face.inputs import parse_json, parse_json_object
from speech2face.outputs import load_onnxruntime, replace_file
from speech2face.outputs import sha256 as sha256

if TYPE_CHECKING:
    from speech2face.face.embedders import EmbedderRecord
    from speech2face.voice.belief import Spread

MANIFEST = "model.json"
FORMATS = {"attributes": 2, "learned": 1, "paired": 2, "paired_clips": 1}
"""What this program reads, by kind; a number is raised whenever an older program could not read a newer release."""
FITTED_KINDS = frozenset({"attributes", "learned"})
"""Whose face embeddings are coordinates of a shape-and-texture model, not those of a face embedder."""
FIRST_KIND = "attributes"  # releases made before there was another kind do not name theirs
SHIPPED = Path(__file__).parents[1] / "weights" / "starter"


@dataclass(frozen=True)
class Release:
    """One set of weights and what is needed to cite it; each kind adds what is needed to use it."""

    folder: Path
    name: str
    version: str
    licence: str
    thresholds: dict[str, float]
    """At which measurement each caution is given, by name; a caution whose threshold is missing is not judged."""
    kind: ClassVar[str] = FIRST_KIND

    @property
    def embedder_record(self) -> EmbedderRecord | None:
        """What makes its face embeddings from photographs; None where no photograph has one."""
        return None

    @property
    def learned_from(self) -> str:
        """SHA-256 of the manifest its voice encoder was trained on, "" where that is not known."""
        return ""

    @property
    def stated_spread(self) -> Spread | None:
        """How far own faces lie from what is said of a voice; None where the model does not say."""
        return None

    def file(self, name: str) -> Path:
        """Path of one file of the release."""
        return self.folder / name


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a release, its kind and format known to this program; its files are not looked at.

    Raises:
        WeightsError: no manifest, none that can be read, or one of another program.
    """
    try:
        values: dict[str, Any] = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no {MANIFEST}; give the folder of a release") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / MANIFEST} cannot be read: {error}; fetch the release again") from error
    with parsing(folder):
        kind = values.setdefault("kind", FIRST_KIND)
        found = values["format"]
        if kind not in FORMATS:
            raise WeightsError(
                f'{folder} is a release of kind "{kind}", this program knows {", ".join(FORMATS)};'
                " use the version of the program it was made for"
            )
    if found != FORMATS[kind]:
        raise WeightsError(
            f"{folder} is a release of format {found}, this program reads format {FORMATS[kind]};"
            " use the version of the program it was made for"
        )
    return values


def open_release(folder: Path | str | None = None, *kinds: str) -> tuple[Path, dict[str, Any]]:
    """The folder and the manifest of a release whose files are all there and undamaged; None is the shipped one.

    Raises:
        WeightsError: missing, damaged, of none of these kinds, or made for another version; names the file.
    """
    folder = SHIPPED if folder is None else Path(folder)
    values = read_manifest(folder)
    if kinds and values["kind"] not in kinds:
        raise WeightsError(f"{folder} is a release of kind {values['kind']}, where one of kind {kinds[0]} is needed")
    with parsing(folder):
        files = {str(name): str(expected) for name, expected in values["files"].items()}
    for name, expected in files.items():
        path = folder / name
        if name != Path(name).name:
            raise WeightsError(f"{folder / MANIFEST} names {name!r:.80}, which is no file beside it; fetch it again")
        try:
            found = sha256(path) if path.is_file() else None
        except (OSError, ValueError) as error:  # a name that the file system does not take, a file that cannot be read
            raise WeightsError(f"{name!r:.80} of the release {folder} cannot be read; fetch it again") from error
        if found is None:
            raise WeightsError(f"the release {folder} lacks {name}; install or fetch it again")
        if found != expected:
            raise WeightsError(f"{path} is damaged (its SHA-256 is not the recorded one); install or fetch it again")
    return folder, values


@contextmanager
def parsing(folder: Path) -> Iterator[None]:
    """What is missing from a manifest, or of the wrong kind in it, becomes a typed error that says so.

    Raises:
        WeightsError: names the manifest.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{folder / MANIFEST} lacks or mistakes {error}; fetch the release again") from error


def common_parts(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Release` in a manifest, as keyword arguments."""
    thresholds = {str(name): float(value) for name, value in values["thresholds"].items()}
    return {"folder": folder, "thresholds": thresholds} | {key: values[key] for key in ("name", "version", "licence")}


def write_manifest(folder: Path, values: dict[str, Any], files: list[str]) -> None:
    """Write the manifest, last of all: with the SHA-256 of the files that lie there, in one step."""
    recorded = {**values, "files": {name: sha256(folder / name) for name in files}}
    replace_file(folder / MANIFEST, json.dumps(recorded, indent=1) + "\n")


# --------------------------------------------------------------------------------------------------
# Exported networks run by ONNX Runtime, loaded beside other work or when they are first needed. No torch.
# --------------------------------------------------------------------------------------------------

LANDMARKS = "landmarks"  # an output of face decoders that predict them
FACE_DECODER = "face_decoder.onnx"  # every kind of release has one, with this name and these inputs and outputs


ARENA_BYTES = 4 * 2**30  # for what foreign networks compute, all together; the paper's takes a fifth
RUN_SECONDS = 120.0  # a run of a foreign network; the paper's takes one for six seconds of speech
GROW_AS_NEEDED = {"arena_extend_strategy": 0, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}


@cache
def _bound_arena() -> None:
    """Let networks that ask for it share one bounded memory: a few bytes of a graph can ask for all there is."""
    onnxruntime = load_onnxruntime()
    kind, place = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    settings = GROW_AS_NEEDED | {"initial_growth_chunk_size_bytes": -1, "max_mem": ARENA_BYTES}
    information = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, place)
    onnxruntime.create_and_register_allocator(information, onnxruntime.OrtArenaCfg(settings))


def _session(path: Path, threads: int | None, *, as_stored: bool) -> Any:
    """ONNX Runtime's session of one network, improved by it or as it is stored."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    if as_stored:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if path.parent != SHIPPED:
        _bound_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    stated = os.environ.get("OMP_NUM_THREADS", "")  # ONNX Runtime itself does not ask; clusters and test runs set it
    most = int(stated) if re.fullmatch("[0-9]{1,3}", stated) else 0  # 0: a thread a core
    options.intra_op_num_threads = threads or most
    # Threads wait actively within a run, which saves a fifth of it, and stop at its end: no core is kept busy between.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors have no common base
        raise WeightsError(f"{path} cannot be loaded: {str(error).splitlines()[0]}; fetch the release again") from error


def _fulfil(future: Future[Any], path: Path, threads: int | None, as_stored: bool) -> None:
    try:
        future.set_result(_session(path, threads, as_stored=as_stored))
    except BaseException as error:  # whoever asks for the network gets it
        future.set_exception(error)


class Runtime:
    """The networks of a release; each kind names its graphs and says what is read from them."""

    graphs: ClassVar[tuple[str, ...]] = (FACE_DECODER,)
    as_stored: ClassVar[tuple[str, ...]] = ()
    """Those that ONNX Runtime is not to improve: it would take longer over it than a recording then gains."""

    def __init__(self, release: Release, threads: int | None = None) -> None:
        """threads: that work on one run of a network; None is `OMP_NUM_THREADS`, or a thread a core."""
        self.release = release
        self.threads = threads
        self._lock = threading.Lock()
        self._opened: dict[str, Future[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it opens the networks itself, from the release's folder."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_opened")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As after `__init__`: no network is open."""
        vars(self).update(state, _lock=threading.Lock(), _opened={})

    def _open(self, name: str) -> Future[Any]:
        with self._lock:
            if name not in self._opened:
                future: Future[Any] = Future()
                self._opened[name] = future
                # Not a daemon: Python must wait for it at the end, or ONNX Runtime aborts in the middle of loading.
                arguments = (future, self.release.file(name), self.threads, name in self.as_stored)
                threading.Thread(target=_fulfil, args=arguments).start()
            return self._opened[name]

    def run(self, name: str, **inputs: np.ndarray) -> list[Any]:
        """All outputs of one network.

        Raises:
            WeightsError: it cannot compute them, or asks for more memory or time than a network may.
        """
        session = self._open(name).result()
        try:
            with self._bounded() as options:
                outputs: list[Any] = session.run(None, inputs, options)
        except Exception as error:  # ONNX Runtime's own errors have no common base
            said = str(error).splitlines()[0]
            if options is not None and options.terminate:
                said = f"it computes for more than {RUN_SECONDS:g} s"
            raise WeightsError(f"{self.release.file(name)} cannot be run: {said}") from error
        return outputs

    @contextmanager
    def _bounded(self) -> Iterator[Any]:
        """Options of a run that ends in time; none for the shipped networks, whose time is known."""
        if self.release.folder == SHIPPED:
            yield None
            return
        options = load_onnxruntime().RunOptions()
        timer = threading.Timer(RUN_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            yield options
        finally:
            timer.cancel()

    def inputs(self, name: str) -> list[tuple[str, list[Any]]]:
        """Names and shapes of what a network takes; a free axis is a name."""
        return [(value.name, value.shape) for value in self._open(name).result().get_inputs()]

    def outputs(self, name: str) -> list[tuple[str, list[Any]]]:
        """Names and shapes of what a network gives."""
        return [(value.name, value.shape) for value in self._open(name).result().get_outputs()]

    def prefetch(self, names: Iterable[str] | None = None) -> None:
        """Begin to load the named networks, or all, so that they are there when the recording has been read."""
        for name in self.graphs if names is None else names:
            self._open(name)

    def warm(self) -> None:
        """Load everything now, for whoever cannot wait at the first portrait."""
        self.prefetch()
        for name in self.graphs:
            self._open(name).result()

    def decode(self, face_embedding: FloatArray, hair: int | None = None) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8.

        `hair` is the place of a style in the decoder; None for a decoder whose hair is part of its faces.
        """
        inputs: dict[str, np.ndarray] = {"face_embedding": face_embedding[None].astype(np.float32)}
        if hair is not None:
            inputs["hair"] = np.array([hair], np.int64)
        image = self.run(FACE_DECODER, **inputs)[0][0]  # (3, height, width)
        # In place: fresh arrays of this size are given back to the system and asked for anew, for a third of the time.
        np.clip(image, 0, 1, out=image)
        np.multiply(image, 255, out=image)
        np.rint(image, out=image)
        picture = np.empty((*image.shape[1:], 3), np.uint8)
        np.copyto(picture, image.transpose(1, 2, 0), casting="unsafe")
        return picture


# --------------------------------------------------------------------------------------------------
# Single tensors of a safetensors file as numpy arrays, without the package that writes such files.
# --------------------------------------------------------------------------------------------------

NUMPY_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}
MAX_HEADER_BYTES = 16 * 2**20  # of a file's JSON; the largest network here needs a thousandth


def tensor_places(path: Path) -> dict[str, tuple[int, int, list[int], str]]:
    """Offset, length, shape and type of each tensor in a safetensors file.

    Raises:
        ValueError: no such file, or one whose header contradicts itself or the bytes that are there.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        header = parse_json_object(file.read(length))
    return {name: _place(name, entry, 8 + length, size) for name, entry in header.items() if name != "__metadata__"}


def _place(name: str, entry: Any, start: int, size: int) -> tuple[int, int, list[int], str]:
    try:
        first, end = map(int, entry["data_offsets"])
        shape, kind = [int(length) for length in entry["shape"]], str(entry["dtype"])
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"a tensor {name[:80]!r} that is not described ({error})") from None
    if not 0 <= first <= end <= size - start or min([0, *shape]) < 0:
        raise ValueError(f"a tensor {name[:80]!r} outside the file")
    if kind in NUMPY_TYPES and math.prod(shape) * np.dtype(NUMPY_TYPES[kind]).itemsize != end - first:
        raise ValueError(f"a tensor {name[:80]!r} of shape {shape} in {end - first} bytes")
    return start + first, end - first, shape, kind


def read_stored(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The named tensors in float32; only their bytes are read.

    Raises:
        WeightsError: the file cannot be read or lacks one of them.
    """
    found = {}
    try:
        places = tensor_places(path)
        with path.open("rb") as file:
            for name in names:
                if name not in places:
                    raise WeightsError(f"{path} holds no tensor {name!r}; fetch the release again")
                offset, length, shape, kind = places[name]
                if kind not in NUMPY_TYPES:
                    raise ValueError(f"a tensor {name!r} of type {kind[:20]}; {', '.join(NUMPY_TYPES)} are read")
                file.seek(offset)
                found[name] = np.frombuffer(file.read(length), NUMPY_TYPES[kind]).astype(np.float32).reshape(shape)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; fetch the release again") from error
    return found
