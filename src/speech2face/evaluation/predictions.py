"""What a model predicts of every clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import DatasetError, Speech2FaceError, WeightsError
from speech2face.evaluation.collect import Clips
from speech2face.evaluation.evaluation_set import Embeddings, EvaluationSet, ModelFacts, StatedAttributes
from speech2face.evaluation.listeners import Heard, Listener
from speech2face.evaluation.parts.part import Exclusion
from speech2face.face.embedders import EmbedderRecord
from speech2face.voice.belief import AttributeBelief

ATTRIBUTES = ("age", "low", "high", "femininity", "child")
READ_AT_ONCE = 64  # recordings in memory together
Progress = Callable[[int, int], None]


def predict(
    listener: Listener, clips: Clips, seconds: Sequence[float], *, progress: Progress | None = None
) -> EvaluationSet:
    """Ask a model about the beginning of every clip, for each of the seconds heard.

    A clip that cannot be heard is an exclusion named after the error, such as `no_speech`; `progress` hears of clips
    done and of all.

    Raises:
        DatasetError: a shard is damaged, or the clips have no sound.
        WeightsError: the data's face embeddings are another embedder's than the model's.
    """
    reference, notes = references_for(clips, listener.facts, listener.learned_from)
    count = len(clips.keys)
    said: dict[float, list[Heard | None]] = {heard: [None] * count for heard in seconds}
    exclusions: list[Exclusion] = []
    for start in range(0, count, READ_AT_ONCE):
        rows, waveforms = _read(clips, range(start, min(start + READ_AT_ONCE, count)), exclusions)
        for heard in seconds:
            samples = round(heard * SAMPLE_RATE)
            answers = listener.hear([waveform[:samples] for waveform in waveforms])
            for row, answer in zip(rows, answers, strict=True):
                if isinstance(answer, Speech2FaceError):
                    exclusions.append(Exclusion(clips.keys[row], reason_of(answer), f"{heard:g} s: {answer}"))
                else:
                    said[heard][row] = answer
        if progress is not None:
            progress(min(start + READ_AT_ONCE, count), count)
    size = next((a.embedding.size for answers in said.values() for a in answers if a is not None), None)
    if size is None:
        raise DatasetError(f"none of the {count} clips of {clips.name} could be heard: {exclusions[0].detail}")
    if reference is not None and reference.shape[1] != size:
        raise WeightsError(
            f"{listener.facts.name} says embeddings of {size} numbers, those of {clips.name} have"
            f" {reference.shape[1]}; evaluate on data of the face embedder it learned from"
        )
    predicted = {heard: _embeddings(answers, size) for heard, answers in said.items()}
    stated = {heard: _attributes(answers) for heard, answers in said.items()}
    found = {heard: attributes for heard, attributes in stated.items() if attributes is not None}
    return joined(clips, listener.facts, reference, predicted, found, tuple(exclusions), notes)


def reason_of(error: Speech2FaceError) -> str:
    """A stable code of an error: `NoSpeech` is `no_speech`."""
    return reason_named(type(error).__name__)


def reason_named(name: str) -> str:
    """The same of an error's name."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def references_for(
    clips: Clips, facts: ModelFacts, learned_from: str = ""
) -> tuple[Embeddings | None, tuple[str, ...]]:
    """The face embeddings that a model's may be held against, None where there are none, and what must be said.

    Raises:
        WeightsError: the data hold those of another face embedder than the model learned.
    """
    notes = []
    if learned_from and learned_from == clips.sha256:
        notes.append(
            "The model learned from this data set: only a split that training kept apart shows how it does on others."
        )
    if clips.embedder is None:
        return None, (*notes, "The data hold no face embeddings: nothing is held against the clips' own faces.")
    if facts.kind == "attributes":
        return None, (
            *notes,
            "The model's face embedding holds attributes and residuals of a linear model; the data's come from a face"
            " embedder: the two are not compared.",
        )
    if facts.embedder is None:
        notes.append("The model does not say whose face embeddings it predicts; they are taken to be the data's.")
    elif not clips.embedder.comparable_with(EmbedderRecord.from_dict(facts.embedder)):
        raise WeightsError(
            f"{facts.name} predicts embeddings of {dict(facts.embedder)}, {clips.name} holds those of"
            f" {clips.embedder.to_dict()}; evaluate on data of the model's own face embedder"
        )
    return clips.references(), tuple(notes)


def _read(clips: Clips, rows: range, exclusions: list[Exclusion]) -> tuple[list[int], list[FloatArray]]:
    """The waveforms that can be read, and their rows; a damaged shard ends it all, a damaged recording is one clip."""
    kept: list[int] = []
    waveforms: list[FloatArray] = []
    for row in rows:
        try:
            waveforms.append(clips.waveform(row))
        except DatasetError:
            raise
        except Speech2FaceError as error:
            exclusions.append(Exclusion(clips.keys[row], reason_of(error), str(error)))
        else:
            kept.append(row)
    return kept, waveforms


def _embeddings(answers: Sequence[Heard | None], size: int) -> Embeddings:
    found = np.full((len(answers), size), np.nan, np.float32)
    for row, answer in enumerate(answers):
        if answer is not None:
            found[row] = answer.embedding
    return found


def _attributes(answers: Sequence[Heard | None]) -> StatedAttributes | None:
    beliefs = [None if answer is None else answer.attributes for answer in answers]
    if all(belief is None for belief in beliefs):
        return None
    return stated_attributes(np.array([_numbers(belief) for belief in beliefs]))


def _numbers(belief: AttributeBelief | None) -> tuple[float, ...]:
    if belief is None:
        return (np.nan,) * len(ATTRIBUTES)
    return belief.age_mean, *belief.age_interval(), belief.femininity, belief.child_probability


def stated_attributes(columns: NDArray[np.float64]) -> StatedAttributes:
    """From (clips, ATTRIBUTES)."""
    return StatedAttributes(**dict(zip(ATTRIBUTES, columns.T, strict=True)))


def joined(
    clips: Clips,
    facts: ModelFacts,
    reference: Embeddings | None,
    predicted: dict[float, Embeddings],
    stated: dict[float, StatedAttributes],
    exclusions: tuple[Exclusion, ...],
    notes: tuple[str, ...],
) -> EvaluationSet:
    """Clips and what was predicted of them."""
    return EvaluationSet(
        keys=clips.keys,
        speaker=clips.speaker,
        speakers=clips.speakers,
        seconds=clips.seconds,
        labels=clips.labels,
        reference=reference,
        predicted=predicted,
        model=facts,
        split=clips.split,
        data_sha256=clips.sha256,
        stated=stated,
        exclusions=exclusions,
        notes=notes,
    )
