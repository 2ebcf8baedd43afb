"""The networks of a release that states attributes: spectrogram in, readings out. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, WINDOW, FloatArray, spectrogram
from speech2face.models.attribute_release import AttributeRelease
from speech2face.runtime import FACE_DECODER, Runtime
from speech2face.voice.segments import segment_spans

VOICE_FRAMES = "voice_frames.onnx"
VOICE_HEAD = "voice_head.onnx"


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


class AttributeRuntime(Runtime):
    """The three networks: one run a segment, one run a recording, one run a picture."""

    graphs: ClassVar[tuple[str, ...]] = (VOICE_FRAMES, VOICE_HEAD, FACE_DECODER)

    release: AttributeRelease

    def __init__(self, release: AttributeRelease, threads: int | None = None) -> None:
        super().__init__(release, threads)

    def segment_moments(self, segment: FloatArray) -> Moments:
        """Encode one segment of speech, (samples,)."""
        sums = self.run(VOICE_FRAMES, spectrogram=spectrogram(segment)[None])[0]
        return Moments(sums, segment.size / SAMPLE_RATE)

    def moments(self, speech: FloatArray) -> list[Moments]:
        """Encode speech segment by segment, (samples,); at least one window long."""
        assert speech.size >= WINDOW
        return [self.segment_moments(speech[start:stop]) for start, stop in segment_spans(speech.size)]

    def voices_at_cuts(self, moments: Sequence[Moments]) -> tuple[FloatArray, FloatArray]:
        """The voices before and after each cut between segments, (cuts, embedding) twice; one run for all."""
        sums = np.concatenate([part.sums for part in moments])  # (segments, 3, channels)
        before = np.cumsum(sums, axis=0)[:-1]
        after = np.cumsum(sums[::-1], axis=0)[::-1][1:]
        voices = self.run(VOICE_HEAD, moments=np.concatenate([before, after]))[0]
        return voices[: len(before)], voices[len(before) :]

    def read(self, moments: Iterable[Moments]) -> VoiceReading:
        """Pool segments and read the voice they share."""
        parts = list(moments)
        pooled = np.sum([part.sums for part in parts], axis=0)
        embedding, gender, age, voice, child = self.run(VOICE_HEAD, moments=pooled)
        seconds = sum(part.seconds for part in parts)
        return VoiceReading(embedding[0], float(gender[0]), age[0], float(voice[0]), float(child[0]), seconds)
