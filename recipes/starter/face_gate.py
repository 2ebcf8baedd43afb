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
import torch
from numpy.typing import NDArray

from recipes.starter.face_material import FLOW_NODES, SIZE, Controls, Faces, Textures, join
from recipes.starter.face_model import penalties
from speech2face.decoder.warp import warp
from speech2face.face.align import Points
from speech2face.face.appearance import GROUP_CONCENTRATION, AttributeBasis, random_faces
from speech2face.face.appearance import Doubles as Array
from speech2face.face.embed import FaceMatcher, PictureEmbedder, embed_drawn

Picture = NDArray[np.uint8]
Render = Callable[[NDArray[np.float64]], Picture]
DRAWS = 1000
GRID_AGES_YEARS = (18, 25, 35, 45, 55, 65, 80)


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


def embed_all(pictures: Iterator[Picture], embedder: PictureEmbedder) -> tuple[Array, int]:
    """Embeddings (found, size), and in how many pictures no face was found."""
    found = [embed_drawn(embedder, picture) for picture in pictures]
    kept = [numbers.astype(np.float64) for numbers in found if numbers is not None]
    return np.stack(kept), len(found) - len(kept)


def expected_grid(basis: AttributeBasis, weights: Array, residuals: int) -> Iterator[Array]:
    """Face embeddings of expected faces over ages and both genders."""
    for age in GRID_AGES_YEARS:
        for femininity in (0.0, 1.0):
            yield np.concatenate([basis.design(age, femininity, weights), np.zeros(residuals)])


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


# --------------------------------------------------------------------------------------------------
# Membership test of the release gate: what a person's own photograph adds to the expected face of people like them.
# --------------------------------------------------------------------------------------------------

MembershipArray = NDArray[np.float32]


def mixing(x: NDArray[np.float64], face: int, *, without: bool) -> NDArray[np.float64]:
    """Share of every training face in the expected face for one face's attributes, (faces,), with it or without it."""
    kept = np.ones(len(x), dtype=bool)
    kept[face] = not without
    part = x[kept]
    shares = np.zeros(len(x))
    shares[kept] = part @ np.linalg.solve(part.T @ part + np.diag(penalties()), x[face])
    return shares


def picture_of(shares: NDArray[np.float64], controls: Controls, textures: Textures) -> NDArray[np.uint8]:
    """The mixture of training faces as a picture, plainly: no matte, detail or shirt. Mirrored, like the model."""
    mix = shares.astype(np.float32)
    luma, chroma = np.tensordot(mix, textures.luma, axes=1), np.tensordot(mix, textures.chroma, axes=1)
    luma, chroma = (luma + luma[:, ::-1]) / 2, (chroma + chroma[..., ::-1]) / 2
    picture = join(np.asarray(luma, dtype=np.float32), np.asarray(chroma, dtype=np.float32))
    shape: Points = np.tensordot(shares, controls.shapes, axes=1) + (1.0 - shares.sum()) * controls.mean
    flow = (controls.spline @ (shape - controls.mean)).T.reshape(1, 2, FLOW_NODES, FLOW_NODES) * (2.0 / SIZE)
    texture = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    warped = warp(texture, torch.from_numpy(flow.astype(np.float32)))[0].permute(1, 2, 0).numpy()
    return np.ascontiguousarray((np.clip(warped, 0.0, 1.0) * 255.0).round().astype(np.uint8))


def membership(
    x: NDArray[np.float64], london: Faces, controls: Controls, textures: Textures, embedder: FaceMatcher
) -> dict[str, Any]:
    """Distance from each person's photograph to the expected face of their attributes, with and without them.

    A model that gives its people away has a large gap; one that gives nothing away has none.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for face, group in enumerate(london.group):
        person = embed_drawn(embedder, (london.pictures[face] * 255.0).round().astype(np.uint8))
        pair = []
        for without in (False, True):
            embedded = embed_drawn(embedder, picture_of(mixing(x, face, without=without), controls, textures))
            if person is not None and embedded is not None:
                pair.append(float(np.linalg.norm(person - embedded)))
        if len(pair) == 2:
            found.setdefault(group, []).append((pair[0], pair[1]))
    # A group of one person would publish that person's distance.
    groups = {group: np.array(pairs) for group, pairs in found.items() if len(pairs) > 1}
    return {group: _gap(pairs, embedder.match_distance) for group, pairs in groups.items()}


def _gap(pairs: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """Medians and matches of (people, [with, without])."""
    return {
        "people": len(pairs),
        "median_with": round(float(np.median(pairs[:, 0])), 4),
        "median_without": round(float(np.median(pairs[:, 1])), 4),
        "matched_with": int((pairs[:, 0] <= threshold).sum()),
        "matched_without": int((pairs[:, 1] <= threshold).sum()),
    }
