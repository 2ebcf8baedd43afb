"""What a paired release states about itself, measured on clips that training did not have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import DatasetError
from speech2face.evaluation.embeddings import embedding_numbers
from speech2face.training.export_needs import ANOTHER_SET, LEAST_CLIPS, MORE_SPEAKERS, SpeakerPairs
from speech2face.voice.encoder import VoiceEncoder
from speech2face.voice.front_end import SpectrogramFrontEnd, from_pcm
from speech2face.voice.spread import Spread

FALSE_ALARMS = 0.05  # share of one speaker's pairs that may be taken for two speakers'
LEAST_CAUGHT = 0.5  # share of two speakers' pairs that must be told apart, or the release does not judge it


@dataclass(frozen=True)
class SameSpeaker:
    """The cosine, around the mean face embedding, under which two stretches of speech count as two speakers'."""

    threshold: float
    caught: float
    """Share of pairs of two speakers under it; chance is `FALSE_ALARMS`."""
    pairs: int
    """Of one speaker, that it was placed by."""


@dataclass(frozen=True)
class Measures:
    """Numbers over `clips` clips; whether their speakers were trained on is not known here."""

    mean_embedding: FloatArray  # (K,) of the faces
    spread: Spread
    same_speaker: SameSpeaker | None
    """None where too few pairs were there, or the embeddings do not tell speakers apart."""
    clips: int
    numbers: dict[str, float] = field(default_factory=dict)
    """As in training: angle, R^2, recall, each with its chance level."""


def predict(
    encoder: VoiceEncoder, batches: Iterable[dict[str, Tensor]]
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Predicted and target face embeddings, (clips, K) each, and speakers, (clips,), of batches of a data set.

    Raises:
        DatasetError: fewer clips than a spread can be measured on.
    """
    front_end = SpectrogramFrontEnd()
    predicted, target, speakers = [], [], []
    encoder.eval()
    with torch.inference_mode():
        for batch in batches:
            predicted.append(encoder(front_end(from_pcm(batch["waveform"]))).numpy())
            target.append(batch["face_embedding"].numpy())
            speakers.append(batch["speaker"].numpy())
    count = sum(map(len, speakers))
    check_clips(count)
    return np.concatenate(predicted), np.concatenate(target), np.concatenate(speakers)


def check_clips(count: int, place: object = "the data", split: str = "validation") -> None:
    """Refuse fewer clips than a spread can be measured on.

    Raises:
        DatasetError: they are; says where more come from.
    """
    if count < LEAST_CLIPS:
        raise DatasetError(
            f"{count} clips ({place}, split {split!r}) are too few to measure how far the voice encoder errs; at least"
            f" {LEAST_CLIPS} are needed: {ANOTHER_SET}, or {MORE_SPEAKERS}"
        )


def measure(predicted: FloatArray, target: FloatArray, speakers: NDArray[np.int64]) -> Measures:
    """Everything of `Measures` from embeddings of the same clips, (clips, K) twice, and their speakers, (clips,)."""
    mean = target.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Measures(
        mean_embedding=mean,
        spread=Spread.fit(predicted, target),
        same_speaker=tell_speakers(predicted - mean, speakers),
        clips=len(predicted),
        numbers=embedding_numbers(predicted, target),
    )


def tell_speakers(centred: FloatArray, speakers: NDArray[np.int64]) -> SameSpeaker | None:
    """Place the threshold between one speaker's and two speakers' clips, embeddings (clips, K) around their mean.

    Pairs are neighbours once the clips are ordered by speaker, and neighbours among each speaker's first clips.
    """
    order = np.argsort(speakers, kind="stable")
    directions = centred[order] / np.maximum(np.linalg.norm(centred[order], axis=1, keepdims=True), 1e-12)
    people = speakers[order]
    neighbours = (directions[1:] * directions[:-1]).sum(axis=1)
    one = neighbours[people[1:] == people[:-1]]
    firsts = directions[np.concatenate([[True], people[1:] != people[:-1]])]
    two = (firsts[1:] * firsts[:-1]).sum(axis=1)
    assert SpeakerPairs.of(speakers) == SpeakerPairs(len(one), len(two))
    if not SpeakerPairs.of(speakers).enough:
        return None
    threshold = float(np.quantile(one, FALSE_ALARMS))
    caught = float((two < threshold).mean())
    return SameSpeaker(threshold, caught, len(one)) if caught >= LEAST_CAUGHT else None
