"""Release gate: does any face of the model pass for a person it was trained on?

Three readings, none of which stands alone:
- matches: expected faces and draws against every photograph, at the embedder's usual threshold;
- strangers: the same count for real people against the other people of the set. An embedder that confuses strangers
  sets the floor below which the first count cannot honestly fall;
- membership: is an expected face nearer to a person when that person was among the training faces than when not?
  (see faces_membership)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.face.attributes import AttributeBasis
from speech2face.face.embedder import FaceEmbedder, FaceMatcher, embed_drawn

Picture = NDArray[np.uint8]
Render = Callable[[NDArray[np.float64]], Picture]
Array = NDArray[np.float64]

DRAWS = 1000
GRID_AGES_YEARS = (18, 25, 35, 45, 55, 65, 80)
GROUP_CONCENTRATION = 2.0  # of the Dirichlet distribution of a draw's group weights


def distances(probes: Array, gallery: Array) -> Array:
    """Euclidean distances (probes, gallery)."""
    return np.asarray(np.sqrt(((probes[:, None] - gallery[None]) ** 2).sum(-1)))


def nearest(probes: Array, gallery: Array, *, same: bool = False) -> Array:
    """Distance of every probe to its nearest gallery face, (probes,); same: the two are one list, skip oneself."""
    apart = distances(probes, gallery)
    if same:
        np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(1))


def summary(found: Array, threshold: float) -> dict[str, Any]:
    """Counts and quantiles of nearest distances (faces,): lower means nearer to somebody; ties count as matches."""
    return {
        "faces": len(found),
        "matched": int((found <= threshold).sum()),
        "matched_share": round(float((found <= threshold).mean()), 4),
        "nearest": round(float(found.min()), 4),
        "quantile_01_10_50": [round(float(q), 4) for q in np.quantile(found, [0.01, 0.1, 0.5])],
    }


def embed_all(pictures: Iterator[Picture], embedder: FaceEmbedder) -> tuple[Array, int]:
    """Embeddings (found, size), and in how many pictures no face was found."""
    found = [embed_drawn(embedder, picture) for picture in pictures]
    kept = [numbers.astype(np.float64) for numbers in found if numbers is not None]
    return np.stack(kept), len(found) - len(kept)


def expected_grid(basis: AttributeBasis, weights: Array, residuals: int) -> Iterator[Array]:
    """Face embeddings of expected faces over ages and both genders."""
    for age in GRID_AGES_YEARS:
        for femininity in (0.0, 1.0):
            yield np.concatenate([basis.design(age, femininity, weights), np.zeros(residuals)])


def random_faces(basis: AttributeBasis, spread: Array, count: int, seed: int) -> Iterator[Array]:
    """Face embeddings of draws: any age and gender, random group weights, residuals with the shipped spread."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        age = generator.uniform(*basis.age_range_years)
        femininity = float(generator.integers(2))
        groups = generator.dirichlet(np.full(len(basis.groups), GROUP_CONCENTRATION))
        yield np.concatenate([basis.design(age, femininity, groups), generator.normal(size=len(spread)) * spread])


def run_gate(
    render: Render,
    basis: AttributeBasis,
    spread: Array,
    galleries: dict[str, Array],
    embedder: FaceMatcher,
    *,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """All matches and the strangers' floor; galleries are the embedded photographs of each set, (faces, size)."""
    everyone = np.full(len(basis.groups), 1.0 / len(basis.groups))
    probes = {"expected_reference_population": expected_grid(basis, everyone, len(spread))}
    for place, group in enumerate(basis.groups):
        probes[f"expected_{group}"] = expected_grid(basis, np.eye(len(everyone))[place], len(spread))
    probes["draws"] = random_faces(basis, spread, draws, seed=0)
    report: dict[str, Any] = {"threshold": embedder.match_distance, "group_concentration": GROUP_CONCENTRATION}
    for name, faces in probes.items():
        embedded, missed = embed_all((render(face) for face in faces), embedder)
        report[name] = {
            "no_face_found": missed,
            **{
                gallery: summary(nearest(embedded, people), embedder.match_distance)
                for gallery, people in galleries.items()
            },
        }
    report["strangers"] = {
        gallery: summary(nearest(people, people, same=True), embedder.match_distance)
        for gallery, people in galleries.items()
    }
    return report


def passes(report: dict[str, Any]) -> bool:
    """Whether no expected face of the reference population and no draw matches anybody at the usual threshold."""
    checked = (report["expected_reference_population"], report["draws"])
    return all(part["matched"] == 0 for probe in checked for part in probe.values() if isinstance(part, dict))


def no_nearer_than_strangers(report: dict[str, Any]) -> bool:
    """Whether expected faces and draws match people of each set no more often than these match one another."""
    floor = report["strangers"]
    checked = (report["expected_reference_population"], report["draws"])
    return all(
        probe[gallery]["matched_share"] <= real["matched_share"] for probe in checked for gallery, real in floor.items()
    )
