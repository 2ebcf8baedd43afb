"""The audit's part about the same voice through several channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.conditions import CLEAN
from speech2face.evaluation.audit.observations import Observations
from speech2face.evaluation.audit.sheet import draw_sheet
from speech2face.evaluation.audit.stability import Movement, Stability, measure_stability
from speech2face.evaluation.audit.voices import AuditClip
from speech2face.evaluation.intervals import Estimate
from speech2face.evaluation.parts.part import Cell, Figure, Number, Part, Table
from speech2face.models.contract import Model
from speech2face.voice.belief import AttributeBelief

NAME, TITLE = "stability", "The same voice through several channels"
PLACES = ("least moved", "lower quarter", "median", "upper quarter", "most moved")
COLUMNS = (
    ("embedding_share", "embedding"),
    ("grey_levels", "grey_levels"),
    ("grey_share", "picture"),
    ("age_years", "age_years"),
    ("gender_turned", "gender_turned"),
)


def stability_part(
    model: Model, clips: Sequence[AuditClip], observations: Mapping[str, Observations], *, seed: int = 0
) -> tuple[Part, Stability | None]:
    """How far belief and portrait move, with a sheet of pictures; and the same as numbers."""
    speaker = np.array([clip.speaker for clip in clips], np.int64)
    channels = [name for name, seen in observations.items() if seen.condition.group == "channel"]
    if len(channels) < 2 or not observations[CLEAN].heard.any():
        return Part(NAME, TITLE, skipped="nothing to compare: only clean recordings, or none of them was heard"), None
    found = measure_stability(observations, speaker, model.decode, seed=seed)
    numbers = tuple(
        Number(NAME, column, getattr(moved, column), getattr(moved, column).n, {"channel": moved.condition}, best=0.0,
               chance=1.0 if column.endswith("share") else None, higher_is_better=False)
        for moved in found.movements
        for column, _ in COLUMNS
        if np.isfinite(getattr(moved, column).value)
    )  # fmt: skip
    notes = (
        "embedding: distance of the face embedding from that of the clean recording, over the mean distance between two"
        f" speakers' clean recordings ({found.between_embeddings:.3g}): 0 is no movement, 1 is another speaker.",
        f"picture: mean difference of the pictures in grey levels (0 to 255), over that of two speakers' clean pictures"
        f" ({found.between_grey_levels:.3g}).",
        "age_years: mean absolute change of the stated age. gender_turned: share of voices read as the other gender"
        " than when clean.",
    )
    return Part(NAME, TITLE, numbers, (_table(found),), (_sheet(model, observations, channels, found),), notes), found


def _table(found: Stability) -> Table:
    header = ["channel", "speakers"]
    for _, name in COLUMNS:
        header += [name, f"{name}_low_95", f"{name}_high_95"]
    return Table(
        "movement", "How far each channel moves what is said", tuple(header), tuple(map(_row, found.movements))
    )


def _row(moved: Movement) -> tuple[Cell, ...]:
    cells: list[Cell] = [moved.condition, moved.embedding_share.n]
    for column, _ in COLUMNS:
        estimate: Estimate = getattr(moved, column)
        cells += [estimate.value, estimate.low, estimate.high]
    return tuple(cells)


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
    png = draw_sheet(
        pictures, columns=channels, rows=rows, captions=captions, release=model.release, notice=model.notice
    )
    moved = found.moved[list(found.sheet_clips)]
    return Figure(
        "channels",
        "Portraits of five voices through every channel, chosen by how far their embedding moves on average: the least,"
        " the quarters, the median, the most. Synthetic average faces, nobody's likeness.",
        png,
        "Mean movement: " + "; ".join(f"{name} {share:.0%}" for name, share in zip(names, moved, strict=True)),
    )
