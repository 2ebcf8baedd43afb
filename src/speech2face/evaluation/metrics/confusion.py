"""How two readings of the same faces agree: confusion matrices as in the paper's Figure 4, and what is in them.

Source: Oh et al., CVPR 2019, section 4.1 and Figure 4. Everything takes a matrix of counts (reference, read), which may
be sums of weights; classes that the reference never has are rows of zeros, and are left out of what is a mean of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

DECADE_YEARS = 10
OLDEST_DECADE = 80
DECADES = tuple(f"{low}" for low in range(0, OLDEST_DECADE + 1, DECADE_YEARS))
"""Of apparent age, by their first year; the last one is open. The paper does not say where its decades begin."""


def decade_places(years: ArrayLike) -> Places:
    """Which of DECADES ages (clips,) fall into, -1 for NaN and below 0: 29.9 years are in the twenties."""
    ages = np.asarray(years, np.float64)
    within = np.clip(np.where(np.isnan(ages), -1.0, ages), -1.0, OLDEST_DECADE)
    return np.asarray(within // DECADE_YEARS, np.int64)


def class_places(names: Sequence[str], classes: Sequence[str]) -> Places:
    """Place of each name (clips,) among the classes, -1 where it is none of them."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place.get(name, -1) for name in names], np.int64)


def confusion(reference: Places, read: Places, classes: int, weights: ArrayLike | None = None) -> Floats:
    """Counts (classes, classes) of clips whose reference is the row and whose reading is the column; -1 on either side
    is left out, for the caller to count. `weights` (clips,) count a clip more than once, or not at all."""
    known = (reference >= 0) & (read >= 0)
    weight = None if weights is None else np.asarray(weights, np.float64)[known]
    flat = reference[known] * classes + read[known]
    return np.bincount(flat, weight, minlength=classes * classes).astype(np.float64).reshape(classes, classes)


def row_normalised(counts: Floats) -> Floats:
    """Of each reference class, the share read as each class: rows sum to 1; a class that never occurs is a row of NaN.

    The diagonal is best at 1. A reader blind to the picture has all rows alike.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts / counts.sum(1, keepdims=True))


def agreement(counts: Floats) -> float:
    """trace / total: the share of clips read as their reference; higher is better, 0..1, NaN of no clips.

    Chance is `chance_agreement`; who always says the commonest class earns `majority`.
    """
    return _share(float(np.trace(counts)), float(counts.sum()))


def balanced_agreement(counts: Floats) -> float:
    """Mean of the diagonal of the row-normalised matrix over the classes that occur; higher is better, 0..1.

    A constant answer earns 1 / classes that occur, however rare these are: the paper's ages earn .25 by it.
    """
    rows = np.diagonal(row_normalised(counts))
    there = rows[np.isfinite(rows)]
    return float(there.mean()) if len(there) else float("nan")


def agreement_within_one(counts: Floats) -> float:
    """Share of clips at most one class away from their reference, for ordered classes such as decades; 0..1.

    The cheat is `best_constant_within_one`: saying the thirties of everybody is within one decade of most adults.
    """
    near = np.abs(np.subtract.outer(np.arange(len(counts)), np.arange(len(counts)))) <= 1
    return _share(float(counts[near].sum()), float(counts.sum()))


def chance_agreement(counts: Floats) -> float:
    """sum over classes of the reference's share times the reading's: what these answers earn dealt out at random."""
    total = float(counts.sum())
    return _share(float(counts.sum(1) @ counts.sum(0)), total * total)


def chance_within_one(counts: Floats) -> float:
    """The same for being at most one class away."""
    expected = np.outer(counts.sum(1), counts.sum(0))
    return agreement_within_one(expected)


def majority(counts: Floats) -> float:
    """What the commonest class of the reference earns in `agreement`, said of everybody."""
    return _share(float(counts.sum(1).max(initial=0.0)), float(counts.sum()))


def best_constant_within_one(counts: Floats) -> float:
    """What the best constant answer earns in `agreement_within_one`."""
    rows = counts.sum(1)
    padded = np.concatenate([[0.0], rows, [0.0]])
    return _share(float((padded[:-2] + padded[1:-1] + padded[2:]).max(initial=0.0)), float(rows.sum()))


def _share(part: float, whole: float | Any) -> float:
    return part / whole if whole > 0 else float("nan")
