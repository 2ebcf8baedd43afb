"""Exported networks run by ONNX Runtime, loaded beside other work or when they are first needed. No torch."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import WeightsError
from speech2face.quiet import load_onnxruntime
from speech2face.release import Release

LANDMARKS = "landmarks"  # an output of face decoders that predict them
FACE_DECODER = "face_decoder.onnx"  # every kind of release has one, with this name and these inputs and outputs


def _session(path: Path, threads: int | None) -> Any:
    """ONNX Runtime's session of one network."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: a thread a core
    # Threads wait actively within a run, which saves a fifth of it, and stop at its end: no core is kept busy between.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors have no common base
        raise WeightsError(f"{path} cannot be loaded: {str(error).splitlines()[0]}; fetch the release again") from error


def _fulfil(future: Future[Any], path: Path, threads: int | None) -> None:
    try:
        future.set_result(_session(path, threads))
    except BaseException as error:  # whoever asks for the network gets it
        future.set_exception(error)


class Runtime:
    """The networks of a release; each kind names its graphs and says what is read from them."""

    graphs: ClassVar[tuple[str, ...]] = (FACE_DECODER,)

    def __init__(self, release: Release, threads: int | None = None) -> None:
        """threads: that work on one run of a network; None is a thread a core."""
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
                arguments = (future, self.release.file(name), self.threads)
                threading.Thread(target=_fulfil, args=arguments).start()
            return self._opened[name]

    def run(self, name: str, **inputs: np.ndarray) -> list[Any]:
        """All outputs of one network."""
        outputs: list[Any] = self._open(name).result().run(None, inputs)
        return outputs

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

    def decode(self, face_embedding: FloatArray) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8."""
        embeddings = face_embedding[None].astype(np.float32)
        image = self.run(FACE_DECODER, face_embedding=embeddings)[0][0]  # (3, height, width)
        # In place: fresh arrays of this size are given back to the system and asked for anew, for a third of the time.
        np.clip(image, 0, 1, out=image)
        np.multiply(image, 255, out=image)
        np.rint(image, out=image)
        picture = np.empty((*image.shape[1:], 3), np.uint8)
        np.copyto(picture, image.transpose(1, 2, 0), casting="unsafe")
        return picture
