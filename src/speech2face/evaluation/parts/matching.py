"""Matching a voice with a face: forced choice among N, both directions, and verification of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import Embeddings, EvaluationSet
from speech2face.evaluation.intervals import RESAMPLINGS, SpeakerBootstrap
from speech2face.evaluation.metrics.matching import Choices, Singles, cosine_similarity, square
from speech2face.evaluation.metrics.verification import Roc, roc, verify
from speech2face.evaluation.parts.feature_similarity import NO_REFERENCES, missing_references
from speech2face.evaluation.parts.matching_figure import matching_figure
from speech2face.evaluation.parts.part import Exclusion, Figure, Number, Part, exclude
from speech2face.evaluation.parts.strata import ANYONE, Stratum, strata_of
from speech2face.evaluation.pictures import PictureSet

NAME, TITLE = "matching", "Matching and verification"
WAYS = (2, 5, 10)
MOST_CLIPS = 6_000
"""Beyond, speakers are drawn: similarities of all pairs are held in memory."""
CHEAT_CLIPS = 1_500
"""What the cheats earn is measured on no more clips, of drawn speakers."""
VOICE_TO_FACE, FACE_TO_VOICE = "voice to face", "face to voice"
DIRECTIONS = (VOICE_TO_FACE, FACE_TO_VOICE)
PUBLISHED = "0.816, implied by the ranks of 100 clips among 5,000 (AVSpeech, project page)"
PUBLISHED_FOR = ("6", "embedding", VOICE_TO_FACE, ANYONE, "2")
NOTES = (
    "A choice is won if the own face (or voice) is nearer by cosine than every foil; ties are lost. The numbers are"
    " expectations over all foils of other speakers, not a draw of trials.",
    "Who hears only the speaker's gender wins three of four choices between two people of a balanced set; candidates of"
    " the same gender show what is heard beyond it.",
    "The mean face for everybody is the same answer to every voice: of two faces it takes the own one half of the time;"
    " asked for the voice of a face it finds all voices alike, and loses.",
    "Genuine pairs of the verification are all pairs of one speaker's voices and faces, also of different clips.",
)


@dataclass(frozen=True, eq=False)
class _Voices:
    """What is said of the faces of some clips, and the two cheats over the same clips."""

    evaluation: EvaluationSet
    """Of these clips alone; all have a reference."""
    said: Embeddings
    """(clips, K)"""
    conditions: Mapping[str, str]

    @cached_property
    def similarity(self) -> Singles:
        """Of every voice (row) with every face."""
        return cosine_similarity(self.said, self._faces)

    @property
    def _faces(self) -> Embeddings:
        assert self.evaluation.reference is not None
        return self.evaluation.reference

    @cached_property
    def mean_face(self) -> Singles:
        """The same for the mean face for everybody: the same row for every voice."""
        mean = self.evaluation.mean_face(leave_speaker_out=False)[:1]
        return np.repeat(cosine_similarity(mean, self._faces), len(self._faces), axis=0)

    @cached_property
    def gender_mean_face(self) -> Singles:
        """The same for the mean face of the gender; NaN for voices whose gender is unknown."""
        means = self.evaluation.gender_mean_face(leave_speaker_out=False)
        _, first, which = np.unique(self.evaluation.gender(), return_index=True, return_inverse=True)
        return cosine_similarity(means[first], self._faces)[which]

    def compared(self, rows: NDArray[np.int64]) -> tuple[tuple[Singles, NDArray[np.int64]], ...]:
        """Similarities and the rows that count, of the model and of the two cheats: those for fewer speakers' clips."""
        few = rows[_drawn(self.evaluation.speaker[rows], CHEAT_CLIPS, 0)]
        of_gender = few[self.evaluation.gender()[few] != ""]
        return (self.similarity, rows), (self.mean_face, few), (self.gender_mean_face, of_gender)


def measure(
    evaluation: EvaluationSet,
    *,
    pictures: PictureSet | None = None,
    seed: int = 0,
    resamplings: int = RESAMPLINGS,
) -> Part:
    """All numbers of matching; with pictures whose faces can be embedded, also by way of the picture."""
    if evaluation.reference is None:
        return Part(NAME, TITLE, skipped=NO_REFERENCES)
    exclusions = list(missing_references(evaluation))
    numbers: list[Number] = []
    figures: list[Figure] = []
    for voices, left_out in _all_voices(evaluation, pictures, seed):
        exclusions += left_out
        longest = voices.conditions["seconds"] == f"{evaluation.longest():g}"
        few = voices.evaluation
        bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
        if bootstrap.speaker.max(initial=0) == 0:
            continue
        for stratum in strata_of(few):
            exclusions += exclude(few.keys, np.flatnonzero(~stratum.known), stratum.unknown) if longest else ()
            if len(np.unique(few.speaker[stratum.known])) > 1:
                numbers += _choices(voices, stratum, WAYS if longest else WAYS[:1], seed, resamplings)
                numbers += _verification(voices, stratum, seed, resamplings)
        if longest and not figures:
            figures.append(matching_figure(voices.similarity, few.speaker, few.gender()))
    kept = tuple(dict.fromkeys(exclusions))
    if not numbers:
        why = "fewer than two speakers have both a prediction and a face"
        return Part(NAME, TITLE, skipped=why, exclusions=kept)
    return Part(NAME, TITLE, tuple(numbers), figures=tuple(figures), notes=NOTES, exclusions=kept)


def _all_voices(
    evaluation: EvaluationSet, pictures: PictureSet | None, seed: int
) -> Iterator[tuple[_Voices, tuple[Exclusion, ...]]]:
    """Predictions from each of the seconds heard, the longest last, and what the pictures show."""
    drawn = _drawn(evaluation.speaker, MOST_CLIPS, seed)
    not_drawn = exclude(evaluation.keys, np.flatnonzero(~drawn), "not_drawn", f"{MOST_CLIPS} clips at most")
    for seconds in sorted(evaluation.predicted):
        there = evaluation.measurable(seconds)
        silent = np.flatnonzero(evaluation.has_reference() & ~there)
        left_out = exclude(evaluation.keys, silent, "no_prediction", f"{seconds:g} s")
        few = evaluation.take(there & drawn)
        conditions = {"seconds": f"{seconds:g}", "by": "embedding"}
        yield _Voices(few, few.predicted[seconds], conditions), (*not_drawn, *left_out)
    if pictures is None or not pictures.can_embed:
        return
    seen = {row: pictures.embedding("voice", row) for row in pictures.rows if evaluation.has_reference()[row]}
    rows = np.array([row for row, found in seen.items() if found is not None], np.int64)
    if len(rows):
        said = np.stack([found for found in seen.values() if found is not None])
        conditions = {"seconds": f"{pictures.seconds:g}", "by": "picture"}
        yield _Voices(evaluation.take(rows), said.astype(np.float32), conditions), pictures.exclusions


def _drawn(speaker: NDArray[np.int64], most: int, seed: int) -> NDArray[np.bool_]:
    """The clips of as many speakers, drawn by the seed, as have `most` together, (clips,)."""
    clips = np.bincount(speaker)
    order = np.random.default_rng(seed).permutation(len(clips))
    taken = np.zeros(len(clips), bool)
    taken[order[np.cumsum(clips[order]) <= most]] = True
    return taken[speaker]


def _choices(voices: _Voices, stratum: Stratum, ways: tuple[int, ...], seed: int, resamplings: int) -> Iterator[Number]:
    rows, speaker = np.flatnonzero(stratum.known), voices.evaluation.speaker
    bootstrap = SpeakerBootstrap(speaker[rows], resamplings=resamplings, seed=seed)
    for direction in DIRECTIONS:
        own, mean, gender = (
            Choices.of(_turned(square(similarity, some), direction), speaker[some], stratum.labels[some])
            for similarity, some in voices.compared(rows)
        )
        for number in ways:
            conditions = {**voices.conditions, "direction": direction, "foils": stratum.name, "choices": str(number)}
            yield Number(
                *(NAME, "choice_accuracy", own.estimate(number, bootstrap)),
                clips=int(np.isfinite(own.won(number)).sum()),
                conditions=conditions,
                chance=1 / number,
                mean_face=_mean(mean.won(number)),
                gender_mean_face=_mean(gender.won(number)),
                published=PUBLISHED if tuple(conditions.values()) == PUBLISHED_FOR else "",
            )


def _turned(similarity: Singles, direction: str) -> Singles:
    """Probes in rows: voices, or faces."""
    return similarity if direction == VOICE_TO_FACE else similarity.T


def _mean(shares: NDArray[np.float64]) -> float | None:
    present = shares[np.isfinite(shares)]
    return float(present.mean()) if len(present) else None


def _verification(voices: _Voices, stratum: Stratum, seed: int, resamplings: int) -> Iterator[Number]:
    rows, speaker = np.flatnonzero(stratum.known), voices.evaluation.speaker
    bootstrap = SpeakerBootstrap(speaker[rows], resamplings=resamplings, seed=seed)
    (similarity, _), *cheats = voices.compared(rows)
    found = verify(square(similarity, rows), bootstrap, stratum.labels[rows])
    curves = [roc(square(table, some), speaker[some], stratum.labels[some]) for table, some in cheats]
    conditions = {**voices.conditions, "foils": stratum.name}
    for metric, estimate, cheat, better in (
        ("verification_auc", found.area, Roc.area, True),
        ("verification_eer", found.equal_error_rate, Roc.equal_error_rate, False),
    ):
        yield Number(
            *(NAME, metric, estimate),
            clips=len(rows),
            conditions=conditions,
            chance=0.5,
            mean_face=cheat(curves[0]),
            gender_mean_face=cheat(curves[1]),
            higher_is_better=better,
        )
