"""Exact search: every face is compared, block by block; what approximate searches are measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import DatasetError

Vectors = NDArray[np.float32]
BLOCK_BYTES = 2**25  # of faces compared together: bounds memory, and a mapped file is read in long stretches


@dataclass(frozen=True)
class Nearest:
    """The nearest faces of each probe, nearest first."""

    rows: NDArray[np.int64]  # (probes, top)
    cosines: Vectors  # (probes, top)
    mean: NDArray[np.float64]
    """(probes,): mean cosine of all faces compared."""
    sd: NDArray[np.float64]
    """(probes,): its standard deviation: what a face drawn by chance has."""


def unit_rows(embeddings: NDArray[np.floating], names: str = "the face embeddings") -> Vectors:
    """Rows (faces, K) at length one.

    Raises:
        DatasetError: a row has no direction: not finite, or all zeros.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise DatasetError(f"{names} hold one that is zero or not finite; embed the photograph anew")
    return np.asarray(embeddings / lengths[:, None], np.float32)


def nearest(vectors: Vectors, probes: Vectors, top: int, rows: NDArray[np.int64] | None = None) -> Nearest:
    """Compare probes (probes, K) of length one with faces (faces, K) of length one, or only with some rows of them.

    Equal cosines stand in the order of the rows.
    """
    count = len(vectors) if rows is None else len(rows)
    top = min(top, count)
    best = np.full((len(probes), 0), -np.inf, np.float32)
    found = np.zeros((len(probes), 0), np.int64)
    total, squares = np.zeros(len(probes)), np.zeros(len(probes))
    block = max(1, BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        faces = vectors[part] if rows is None else vectors[rows[part]]
        cosines = probes @ faces.T  # (probes, block)
        total += cosines.sum(1, dtype=np.float64)
        squares += np.einsum("ij,ij->i", cosines, cosines, dtype=np.float64)
        places = np.broadcast_to(np.arange(part.start, part.stop), cosines.shape)
        best, found = _first(np.concatenate([best, cosines], 1), np.concatenate([found, places], 1), top if top else 0)
    mean = total / max(count, 1)
    sd = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return Nearest(found if rows is None else rows[found], best, mean, sd)


def _first(cosines: Vectors, places: NDArray[np.int64], top: int) -> tuple[Vectors, NDArray[np.int64]]:
    """The `top` largest of each row, largest first, then by place."""
    if cosines.shape[1] > top > 0:
        # Everything as near as the last that is kept competes: else equal faces would be kept by chance.
        bound = -np.partition(-cosines, top - 1, axis=1)[:, top - 1 : top]
        kept = cosines >= bound
        if (kept.sum(1) == top).all():
            cosines, places = cosines[kept].reshape(-1, top), places[kept].reshape(-1, top)
    order = np.lexsort((places, -cosines), axis=1)[:, :top]
    return np.take_along_axis(cosines, order, 1), np.take_along_axis(places, order, 1)


def recall(found: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """Share of the truly nearest faces, (probes, top), that were found; 1 is best, chance is top in the gallery."""
    hits = [len(np.intersect1d(some, all_of_them)) for some, all_of_them in zip(found, right, strict=True)]
    return float(sum(hits) / max(right.size, 1))
