"""The same voice through several channels: how far the belief and the portrait move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.observations import CLEAN, Observations
from speech2face.evaluation.report import Figure, Floats, NotMeasured, Number, Part, Table, chapter
from speech2face.metrics.intervals import NOTHING, Estimate, SpeakerBootstrap, by_speaker
from speech2face.models.contract import Model
from speech2face.sheets import draw_channels
from speech2face.voice.belief import AttributeBelief

PAIRS_EACH = 8  # other speakers that each clip is held against, in a ring: every clip is used alike
PICTURE_CLIPS = 120
SHEET_ROWS = 5
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


# --- The audit's part about the same voice through several channels.

PLACES = ("least moved", "lower quarter", "median", "upper quarter", "most moved")
COLUMNS = (
    ("embedding_share", "embedding"),
    ("grey_levels", "grey_levels"),
    ("grey_share", "picture"),
    ("age_years", "age_years"),
    ("gender_turned", "gender_turned"),
)


def channels_of(observations: Mapping[str, Observations]) -> list[str]:
    """Names of the conditions that are channels, the clean one first; none where there is nothing to compare."""
    channels = [name for name, seen in observations.items() if seen.condition.group == "channel"]
    return channels if len(channels) > 1 and observations[CLEAN].heard.any() else []


@chapter("stability", "The same voice through several channels")
def stability_part(model: Model, observations: Mapping[str, Observations], found: Stability | None) -> Part:
    """How far belief and portrait move, with a sheet of pictures."""
    if found is None:
        raise NotMeasured("nothing to compare: only clean recordings, or none of them was heard")
    numbers = [
        Number(column, getattr(moved, column), getattr(moved, column).n, {"channel": moved.condition}, best=0.0,
               chance=1.0 if column.endswith("share") else None, higher_is_better=False)
        for moved in found.movements
        for column, _ in COLUMNS
        if np.isfinite(getattr(moved, column).value)
    ]  # fmt: skip
    notes = (
        "embedding: distance of the face embedding from that of the clean recording, over the mean distance between two"
        f" speakers' clean recordings ({found.between_embeddings:.3g}): 0 is no movement, 1 is another speaker.",
        f"picture: mean difference of the pictures in grey levels (0 to 255), over that of two speakers' clean pictures"
        f" ({found.between_grey_levels:.3g}).",
        "age_years: mean absolute change of the stated age. gender_turned: share of voices read as the other gender"
        " than when clean.",
    )
    sheet = _sheet(model, observations, channels_of(observations), found)
    return Part(numbers=numbers, tables=[_table(found)], figures=[sheet], notes=notes)


def _table(found: Stability) -> Table:
    header = ["channel", "speakers"]
    for _, name in COLUMNS:
        header += [name, f"{name}_low_95", f"{name}_high_95"]
    rows = tuple(
        (
            *(moved.condition, moved.embedding_share.n),
            *(cell for column, _ in COLUMNS for cell in getattr(moved, column).cells()),
        )
        for moved in found.movements
    )
    return Table("movement", "How far each channel moves what is said", tuple(header), rows)


def _caption(share: float, belief: AttributeBelief | None) -> str:
    stated = "" if belief is None else f"{belief.age_mean:.0f} years, {'f' if belief.femininity > 0.5 else 'm'}"
    return " · ".join(part for part in (f"{share:.0%}" if share else "", stated) if part) or "clean"


def _sheet(model: Model, observations: Mapping[str, Observations], channels: Sequence[str], found: Stability) -> Figure:
    """Portraits chosen by how far their embedding moves, over all channels together."""
    clean = observations[CLEAN]
    pictures: list[list[NDArray[np.uint8]]] = []
    captions: list[list[str]] = []
    for row in found.sheet_clips:
        pictures.append([model.decode(observations[name].embedding[row]) for name in channels])
        shares = [
            float(np.linalg.norm(observations[name].embedding[row] - clean.embedding[row])) / found.between_embeddings
            for name in channels
        ]
        ages = [observations[name].attributes[row] for name in channels]
        captions.append([_caption(share, belief) for share, belief in zip(shares, ages, strict=True)])
    names = PLACES if len(found.sheet_clips) == len(PLACES) else tuple(map(str, range(1, len(found.sheet_clips) + 1)))
    rows = [name.replace(" ", "\n", 1) for name in names]
    png = draw_channels(
        pictures,
        columns=channels,
        rows=rows,
        captions=captions,
        model=(model.release.name, model.release.version),
        notice=model.notice,
    )
    moved = found.moved[list(found.sheet_clips)]
    return Figure(
        "channels",
        "Portraits of five voices through every channel, chosen by how far their embedding moves on average: the least,"
        " the quarters, the median, the most. Synthetic average faces, nobody's likeness.",
        png,
        "Mean movement: " + "; ".join(f"{name} {share:.0%}" for name, share in zip(names, moved, strict=True)),
    )
