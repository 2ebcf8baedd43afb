"""How near predicted face embeddings are to the reference ones, each number with its chance level.

Source: Speech2Face (Oh et al., CVPR 2019), section 4.3 (feature similarity) and 4.4 (retrieval).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
RECALL_AT = (1, 5, 10)


def cosines(predicted: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Cosine of each pair, (clips, embedding) twice -> (clips,); 1 is best, 0 is what unrelated directions have."""
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(reference, axis=1)
    return np.asarray((predicted * reference).sum(1) / np.maximum(lengths, 1e-12))


def angles_degrees(predicted: Embeddings, reference: Embeddings) -> NDArray[np.float64]:
    """Angle of each pair, (clips, embedding) twice -> (clips,); 0 is best, 90 is what unrelated directions have."""
    return np.asarray(np.degrees(np.arccos(np.clip(cosines(predicted, reference).astype(np.float64), -1, 1))))


def explained_variance(predicted: Embeddings, reference: Embeddings) -> float:
    """R^2 over all coordinates together: 1 is best, predicting the reference's own mean earns 0, worse is negative."""
    residual = np.square(reference - predicted, dtype=np.float64).sum()
    total = np.square(reference - reference.mean(0), dtype=np.float64).sum()
    return float(1 - residual / total)


def ranks(probes: Embeddings, gallery: Embeddings) -> NDArray[np.int64]:
    """Rank of each probe's own gallery face by cosine, from 1; (clips, embedding) twice, pairs in the same row.

    Faces as near as the own one count as nearer: ties count against us, so a constant prediction earns the last rank.
    """
    probes = probes / np.maximum(np.linalg.norm(probes, axis=1, keepdims=True), 1e-12)
    gallery = gallery / np.maximum(np.linalg.norm(gallery, axis=1, keepdims=True), 1e-12)
    similarity = probes @ gallery.T  # (probes, gallery)
    own = np.diagonal(similarity)[:, None]
    return np.asarray((similarity >= own).sum(1), np.int64)


def recall(rank: NDArray[np.int64], at: int) -> float:
    """Share of probes whose own face is among the first `at`; chance is `at` in the gallery's size."""
    return float((rank <= at).mean())


def embedding_numbers(predicted: Embeddings, reference: Embeddings) -> dict[str, float]:
    """The numbers that are watched in training; what a constant answer earns stands beside them."""
    count = len(reference)
    rank = ranks(predicted, reference)
    mean = np.broadcast_to(reference.mean(0), reference.shape)
    numbers = {
        "angle_degrees": float(angles_degrees(predicted, reference).mean()),
        "angle_degrees_of_mean_face": float(angles_degrees(mean, reference).mean()),
        "r2": explained_variance(predicted, reference),
        "median_rank_share": float(np.median(rank) / count),
    }
    for at in RECALL_AT:
        numbers |= {f"recall_at_{at}": recall(rank, at), f"recall_at_{at}_chance": min(1.0, at / count)}
    return numbers
