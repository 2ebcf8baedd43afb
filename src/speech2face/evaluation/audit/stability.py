"""The same voice through several channels: how far the belief and the portrait move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.comparison import by_speaker
from speech2face.evaluation.audit.conditions import CLEAN
from speech2face.evaluation.audit.observations import Observations
from speech2face.evaluation.intervals import NOTHING, Estimate, SpeakerBootstrap

PAIRS_EACH = 8  # other speakers that each clip is held against, in a ring: every clip is used alike
PICTURE_CLIPS = 120
SHEET_ROWS = 5

Floats = NDArray[np.float64]
Draw = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Movement:
    """How far one condition moves what is said; a share of 1 is as far as another speaker is away."""

    condition: str
    embedding_share: Estimate
    """Distance of the face embedding to the clean one, over the mean distance between two speakers' clean ones."""
    grey_levels: Estimate
    """Mean absolute difference of the pictures, 0 to 255."""
    grey_share: Estimate
    """The same over that between two speakers' clean pictures."""
    age_years: Estimate
    """Mean absolute change of the stated age; NaN where none is stated."""
    gender_turned: Estimate
    """Share of voices whose gender reading changes sides."""


@dataclass(frozen=True, eq=False)
class Stability:
    """Movements under each condition, and what they are measured against."""

    movements: tuple[Movement, ...]
    between_embeddings: float
    between_grey_levels: float
    sheet_clips: tuple[int, ...]
    """Clips from the least to the most moved, over all conditions that every one of them was heard under."""
    moved: Floats
    """Mean share by which each clip's embedding moves over the conditions, (clips,)."""


def measure_stability(
    observations: Mapping[str, Observations],
    speaker: NDArray[np.int64],
    draw: Draw | None,
    *,
    seed: int = 0,
    picture_clips: int = PICTURE_CLIPS,
) -> Stability:
    """All channels against clean; `draw` makes a picture of an embedding, None leaves pictures out."""
    clean = observations[CLEAN]
    channels = [seen for name, seen in observations.items() if seen.condition.group == "channel" and name != CLEAN]
    rows = np.flatnonzero(clean.heard)
    between = between_speakers(clean.embedding[rows], speaker[rows])
    shares = [_distance(clean.embedding, seen.embedding) / between for seen in channels]
    shown = _picture_rows(clean, channels, picture_clips, seed)
    pictures = {} if draw is None else {int(row): draw(clean.embedding[row]) for row in shown}
    between_grey = _between_pictures(pictures, speaker) if pictures else float("nan")
    movements = [
        _movement(clean, seen, share, speaker, pictures, draw, between_grey, seed)
        for seen, share in zip(channels, shares, strict=True)
    ]
    moved = np.mean(shares, axis=0) if shares else np.full(len(speaker), np.nan)
    return Stability(tuple(movements), between, between_grey, _spread_out(moved), moved)


def between_speakers(embeddings: NDArray[np.float32], speaker: NDArray[np.int64]) -> float:
    """Mean distance of two different speakers' embeddings, (clips, K), over rings of neighbours in random order."""
    if len(np.unique(speaker)) < 2:
        return float("nan")
    order = np.random.default_rng(0).permutation(len(embeddings))
    apart = []
    for step in range(1, PAIRS_EACH + 1):
        other = np.roll(order, step)
        different = speaker[order] != speaker[other]
        apart.append(np.linalg.norm(embeddings[order] - embeddings[other], axis=1)[different])
    return float(np.concatenate(apart).mean())


def _distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> Floats:
    return np.asarray(np.linalg.norm(first.astype(np.float64) - second, axis=1))


def _picture_rows(clean: Observations, channels: Sequence[Observations], count: int, seed: int) -> NDArray[np.int64]:
    heard = clean.heard.copy()
    for seen in channels:
        heard &= seen.heard
    rows = np.flatnonzero(heard)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def grey_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two pictures in levels of 0 to 255."""
    return float(np.abs(first.astype(np.int16) - second).mean())


def _between_pictures(pictures: Mapping[int, NDArray[np.uint8]], speaker: NDArray[np.int64]) -> float:
    rows = list(np.random.default_rng(0).permutation(list(pictures)))
    pairs = [(a, b) for a, b in zip(rows, rows[1:] + rows[:1], strict=True) if speaker[a] != speaker[b]]
    return float(np.mean([grey_difference(pictures[a], pictures[b]) for a, b in pairs])) if pairs else float("nan")


def _movement(
    clean: Observations,
    seen: Observations,
    share: Floats,
    speaker: NDArray[np.int64],
    pictures: Mapping[int, NDArray[np.uint8]],
    draw: Draw | None,
    between_grey: float,
    seed: int,
) -> Movement:
    grey = np.full(len(speaker), np.nan)
    for row, picture in pictures.items():
        assert draw is not None
        grey[row] = grey_difference(picture, draw(seen.embedding[row]))
    age = np.abs(_age(seen) - _age(clean))
    before, after = _femininity(clean), _femininity(seen)
    turned = np.where(np.isfinite(before + after), (before > 0.5) != (after > 0.5), np.nan).astype(np.float64)

    def mean(values: Floats) -> Estimate:
        of_speakers, people = by_speaker(values, speaker)
        return SpeakerBootstrap(people, seed=seed).mean(of_speakers) if len(people) else NOTHING

    return Movement(seen.condition.name, mean(share), mean(grey), mean(grey / between_grey), mean(age), mean(turned))


def _age(seen: Observations) -> Floats:
    return seen.of_attributes(lambda belief: belief.age_mean)


def _femininity(seen: Observations) -> Floats:
    return seen.of_attributes(lambda belief: belief.femininity)


def _spread_out(moved: Floats) -> tuple[int, ...]:
    """The least moved clip, the most moved, and the quarters between."""
    rows = np.flatnonzero(np.isfinite(moved))
    if not len(rows):
        return ()
    ordered = rows[np.argsort(moved[rows], kind="stable")]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(SHEET_ROWS, len(ordered))).round().astype(int))
    return tuple(int(ordered[place]) for place in places)
