"""The exported networks run by ONNX Runtime: spectrogram in, readings out; face embedding in, picture out. No torch."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, WINDOW, FloatArray, spectrogram
from speech2face.errors import WeightsError
from speech2face.release import Release
from speech2face.voice.segments import segment_spans

if TYPE_CHECKING:
    import onnxruntime

VOICE_FRAMES = "voice_frames.onnx"
VOICE_HEAD = "voice_head.onnx"
FACE_DECODER = "face_decoder.onnx"


@dataclass(frozen=True)
class VoiceReading:
    """Raw outputs of the voice encoder for one stretch of speech."""

    speaker_embedding: FloatArray  # (embedding,)
    gender_logit: float
    age_logits: FloatArray  # (bins,)
    voice_logit: float
    child_logit: float
    seconds: float


@dataclass(frozen=True)
class Moments:
    """Additive statistics of one segment of speech, (1, 3, channels), and how long it is."""

    sums: FloatArray
    seconds: float


def _session(path: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads wait actively within a run, which saves a fifth of it, and stop at its end: no core is kept busy between.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors have no common base
        raise WeightsError(f"{path} cannot be loaded: {str(error).splitlines()[0]}; fetch the release again") from error


def _fulfil(future: Future[Any], path: Path) -> None:
    try:
        future.set_result(_session(path))
    except BaseException as error:  # whoever asks for the network gets it
        future.set_exception(error)


class Runtime:
    """The three networks of a release, loaded beside other work or when they are first needed."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self._lock = threading.Lock()
        self._opened: dict[str, Future[Any]] = {}

    def _open(self, name: str) -> Future[Any]:
        with self._lock:
            if name not in self._opened:
                future: Future[Any] = Future()
                self._opened[name] = future
                # Not a daemon: Python must wait for it at the end, or ONNX Runtime aborts in the middle of loading.
                threading.Thread(target=_fulfil, args=(future, self.release.file(name))).start()
            return self._opened[name]

    def prefetch(self) -> None:
        """Begin to load everything, so that it is there when the recording has been read."""
        for name in (VOICE_FRAMES, VOICE_HEAD, FACE_DECODER):
            self._open(name)

    def warm(self) -> None:
        """Load everything now, for whoever cannot wait at the first portrait."""
        self.prefetch()
        for name in (VOICE_FRAMES, VOICE_HEAD, FACE_DECODER):
            self._open(name).result()

    def segment_moments(self, segment: FloatArray) -> Moments:
        """Encode one segment of speech, (samples,)."""
        sums = self._open(VOICE_FRAMES).result().run(None, {"spectrogram": spectrogram(segment)[None]})[0]
        return Moments(sums, segment.size / SAMPLE_RATE)

    def moments(self, speech: FloatArray) -> list[Moments]:
        """Encode speech segment by segment, (samples,); at least one window long."""
        assert speech.size >= WINDOW
        return [self.segment_moments(speech[start:stop]) for start, stop in segment_spans(speech.size)]

    def read(self, moments: Iterable[Moments]) -> VoiceReading:
        """Pool segments and read the voice they share."""
        parts = list(moments)
        pooled = np.sum([part.sums for part in parts], axis=0)
        embedding, gender, age, voice, child = self._open(VOICE_HEAD).result().run(None, {"moments": pooled})
        seconds = sum(part.seconds for part in parts)
        return VoiceReading(embedding[0], float(gender[0]), age[0], float(voice[0]), float(child[0]), seconds)

    def decode(self, face_embedding: FloatArray) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8."""
        image = (
            self._open(FACE_DECODER)
            .result()
            .run(None, {"face_embedding": face_embedding[None].astype(np.float32)})[0][0]
        )
        return np.asarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
