"""How near predicted face embeddings are to the reference ones, pair by pair.

Source: Speech2Face (Oh et al., CVPR 2019), section 4.3 and Table 2. Only the angle can be compared with the paper: its
distances depend on a scale of the features that it does not state (unit vectors 46 degrees apart are 0.78 apart, the
paper prints 0.18). All take (clips, K) twice and give (clips,); rows with NaN give NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]

LEAST_LENGTH = 1e-12  # a vector of length 0 has no direction: its cosine with anything is 0


def _products(left: Rows, right: Rows) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", left, right, dtype=np.float64))


def unit(rows: Rows) -> Rows:
    """Each row divided by its length; a row of zeros stays one."""
    lengths = np.sqrt(_products(rows, rows))[:, None]
    return np.asarray(rows / np.maximum(lengths, LEAST_LENGTH).astype(rows.dtype))


def cosine(predicted: Rows, reference: Rows) -> Floats:
    """p . r / (|p| |r|). Higher is better, -1 to 1; unrelated directions have 0.

    The cheat of the mean face earns what the faces share: often more than half.
    """
    lengths = np.sqrt(_products(predicted, predicted)) * np.sqrt(_products(reference, reference))
    return np.asarray(_products(predicted, reference) / np.maximum(lengths, LEAST_LENGTH))


def angle_degrees(predicted: Rows, reference: Rows) -> Floats:
    """arccos of the cosine, in degrees: Table 2's "cos". Lower is better, 0 to 180; unrelated directions have 90.

    The mean face earns the angle by which faces lie around their mean.
    """
    return np.asarray(np.degrees(np.arccos(np.clip(cosine(predicted, reference), -1, 1))))


def centred_angle_degrees(predicted: Rows, reference: Rows, centre: Rows) -> Floats:
    """Angle between p - c and r - c, c being the mean face. Lower is better, 0 to 180; chance is 90.

    The mean face itself has no direction from there, and earns 90: this angle cannot be cheated with it.
    """
    return angle_degrees(predicted - centre, reference - centre)


def l2(predicted: Rows, reference: Rows) -> Floats:
    """Euclidean distance |p - r|. Lower is better, from 0; in the embedding's own units.

    The mean face earns the spread of the faces, which is less than what unrelated faces have.
    """
    difference = predicted - reference
    return np.asarray(np.sqrt(_products(difference, difference)))


def l1(predicted: Rows, reference: Rows) -> Floats:
    """Sum of absolute differences. Lower is better, from 0; grows with the embedding's length and scale.

    The median face earns least of all constant answers, the mean face nearly as little.
    """
    return np.asarray(np.abs(predicted - reference).sum(1, dtype=np.float64))


def squares(predicted: Rows, reference: Rows, centre: Rows) -> tuple[Floats, Floats]:
    """What R^2 = 1 - sum |r - p|^2 / sum |r - c|^2 is made of: each clip's squared error, and that of the mean face.

    R^2: higher is better, up to 1; the mean face for everybody (c) earns 0, unrelated faces earn below 0.
    """
    return l2(predicted, reference) ** 2, l2(np.broadcast_to(centre, reference.shape), reference) ** 2


def strangers(speaker: NDArray[np.int64], *, repeats: int = 2, seed: int = 0) -> NDArray[np.int64]:
    """For each clip some clips of other speakers, (repeats, clips): what chance earns is measured on such pairs.

    -1 where there is no other speaker.
    """
    rng = np.random.default_rng(seed)
    count = len(speaker)
    pairs = np.full((repeats, count), -1, np.int64)
    if len(np.unique(speaker)) < 2:
        return pairs
    for row in pairs:
        wanting = np.arange(count)
        while len(wanting):
            row[wanting] = rng.integers(count, size=len(wanting))
            wanting = wanting[speaker[row[wanting]] == speaker[wanting]]
    return pairs
