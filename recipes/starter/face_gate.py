"""Release gate: is any face of the model nearer to a photographed person than people are to one another?

Two readings for each embedder at hand, and a release that fails either is not made:
- strangers: the distance from expected faces and draws to the nearest photographed person of their gender and group,
  beside that from each photographed person to the nearest other one of theirs, among as many (a two-sample test);
- membership: can a person who was learned from be told from one who was left out by how near the expected face of
  their attributes lies to them? Over everybody; the small groups are reported, a mean of ten people being what it is.

How many faces fall under an embedder's usual threshold is reported too. It is no criterion: where real people of one
group are matched to each other as often, the threshold does not tell people apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from recipes.starter.face_material import FLOW_NODES, SIZE, Controls, Faces, Textures, join
from recipes.starter.face_model import penalties
from speech2face.decoder.warp import warp
from speech2face.face.appearance import GROUP_CONCENTRATION, AttributeBasis, Points, random_faces
from speech2face.face.appearance import Doubles as Array
from speech2face.face.embed import FaceMatcher, PictureEmbedder, embed_drawn

Picture = NDArray[np.uint8]
Render = Callable[[NDArray[np.float64]], Picture]
DRAWS = 1000
GRID_AGES_YEARS = (18, 25, 35, 45, 55, 65, 80)
SIGNIFICANT = 0.01  # of the one-sided test that faces are nearer than strangers
NEARER_MOST = 0.6  # share of pairs in which a face may be nearer than a stranger, significant or not; one half is even
MEMBER_MOST = 0.65  # share of pairs in which one learned from may be nearer than one left out; one half is even


@dataclass(frozen=True)
class People:
    """Embedded pictures of people, or of drawn faces, with their gender and group."""

    embeddings: Array
    """(people, size)"""
    femininity: Array
    """(people,): 0 or 1"""
    groups: Array
    """(people, groups): weights that sum to one"""

    @property
    def cell(self) -> NDArray[np.intp]:
        """Gender and most frequent group as one number a person, (people,)."""
        return np.asarray(self.groups.argmax(1) * 2 + (self.femininity > 0.5))


def distances(probes: Array, gallery: Array) -> Array:
    """Euclidean distances (probes, gallery)."""
    return np.asarray(np.sqrt(((probes[:, None] - gallery[None]) ** 2).sum(-1)))


def embed_people(
    pictures: Iterable[Picture], femininity: Array, groups: Array, embedder: PictureEmbedder
) -> tuple[People, int]:
    """The people in whose pictures a face is found, and in how many there is none."""
    found = [embed_drawn(embedder, picture) for picture in pictures]
    kept = np.array([numbers is not None for numbers in found])
    embeddings = np.stack([numbers.astype(np.float64) for numbers in found if numbers is not None])
    return People(embeddings, femininity[kept], groups[kept]), int((~kept).sum())


def expected_grid(basis: AttributeBasis, weights: Array, residuals: int) -> Iterator[Array]:
    """Face embeddings of expected faces over ages and both genders."""
    for age in GRID_AGES_YEARS:
        for femininity in (0.0, 1.0):
            yield np.concatenate([basis.design(age, femininity, weights), np.zeros(residuals)])


def attributes_of(faces: Array, basis: AttributeBasis) -> tuple[Array, Array]:
    """Femininity (faces,) and group weights (faces, groups) that face embeddings (faces, embedding) were drawn with."""
    femininity = (faces[:, basis.names.index("femininity")] + 1.0) / 2.0
    return femininity, faces[:, basis.size - len(basis.groups) : basis.size] + 1.0 / len(basis.groups)


def nearest_alike(probes: People, people: People, *, same: bool = False, seed: int = 0) -> Array:
    """Distance from every probe to the nearest person of its gender and group, (probes,); NaN where there is none.

    same says that the two are one list, and nobody is their own nearest. Otherwise one person, drawn by chance, is
    left out for every probe: so both look among as many.
    """
    apart = distances(probes.embeddings, people.embeddings)
    alike = probes.cell[:, None] == people.cell[None]
    generator = np.random.default_rng(seed)
    for row, candidates in enumerate(alike):
        places = np.flatnonzero(candidates)
        if same:
            candidates[row] = False
        elif len(places):
            candidates[generator.choice(places)] = False
    nearest = np.where(alike, apart, np.inf).min(1)
    return np.where(np.isfinite(nearest), nearest, np.nan)


def compare(drawn: Array, real: Array, drawn_cells: NDArray[np.intp], real_cells: NDArray[np.intp]) -> dict[str, Any]:
    """How often a drawn face is nearer than a stranger of its cell, and the one-sided p of a stratified rank test.

    Mann and Whitney's statistic is added over the cells (van Elteren 1960, with weights by size); cells with fewer
    than three of either are left out.
    """
    wins = expected = variance = pairs = 0.0
    for cell in np.unique(real_cells):
        near, far = drawn[(drawn_cells == cell) & ~np.isnan(drawn)], real[(real_cells == cell) & ~np.isnan(real)]
        if min(len(near), len(far)) < 3:
            continue
        count = len(near) + len(far)
        weight = 1.0 / (count + 1.0)
        won = (near[:, None] < far[None]).sum() + 0.5 * (near[:, None] == far[None]).sum()
        wins += weight * won
        expected += weight * len(near) * len(far) / 2.0
        variance += weight**2 * len(near) * len(far) * (count + 1.0) / 12.0
        pairs += weight * len(near) * len(far)
    if pairs == 0.0:
        return {"nearer": None, "p": None}
    p = float(stats.norm.sf((wins - expected) / np.sqrt(variance)))
    return {"nearer": round(float(wins / pairs), 4), "p": float(f"{p:.2g}")}


def summary(found: Array, threshold: float) -> dict[str, Any]:
    """Counts and quantiles of nearest distances (faces,): lower means nearer to somebody; ties count as matches."""
    found = found[~np.isnan(found)]
    return {
        "faces": len(found),
        "matched": int((found <= threshold).sum()),
        "matched_share": round(float((found <= threshold).mean()), 4),
        "nearest": round(float(found.min()), 4),
        "quantile_01_10_50": [round(float(q), 4) for q in np.quantile(found, [0.01, 0.1, 0.5])],
    }


def run_gate(
    render: Render,
    basis: AttributeBasis,
    spread: Array,
    people: People,
    embedder: FaceMatcher,
    *,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Expected faces and draws beside the strangers' own distances, for one embedder."""
    grids = [expected_grid(basis, weights, len(spread)) for weights in (basis.even_groups, *np.eye(len(basis.groups)))]
    probes = {
        "expected": np.stack([face for grid in grids for face in grid]),
        "draws": np.stack(list(random_faces(basis, spread, draws, seed=0))),
    }
    real = nearest_alike(people, people, same=True)
    report: dict[str, Any] = {
        "threshold": embedder.match_distance,
        "group_concentration": GROUP_CONCENTRATION,
        "strangers": summary(real, embedder.match_distance),
    }
    for name, faces in probes.items():
        drawn, missed = embed_people((render(face) for face in faces), *attributes_of(faces, basis), embedder)
        found = nearest_alike(drawn, people)
        report[name] = {
            "no_face_found": missed,
            **summary(found, embedder.match_distance),
            **compare(found, real, drawn.cell, people.cell),
        }
    return report


def passes(report: dict[str, Any]) -> bool:
    """Whether neither draws nor expected faces are nearer than strangers, nor members than people left out."""

    def far(part: dict[str, Any]) -> bool:
        return part["nearer"] is not None and (
            part["nearer"] <= 0.5 or (part["p"] >= SIGNIFICANT and part["nearer"] <= NEARER_MOST)
        )

    members = report.get("membership")
    quiet = members is None or members["everyone"]["told"] <= MEMBER_MOST
    return far(report["draws"]) and far(report["expected"]) and quiet


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
    report = {group: _gap(pairs) for group, pairs in groups.items()}
    sizes = np.array([part["people"] for part in report.values()], dtype=np.float64) ** 2
    told = float((sizes * [part["told"] for part in report.values()]).sum() / sizes.sum())  # pairs of one group
    return {"everyone": {"people": len(london.group), "told": round(told, 4)}, **report}


def _gap(pairs: NDArray[np.float64]) -> dict[str, Any]:
    """Medians of (people, [with, without]), and in what share of pairs of people the one learned from is nearer."""
    learned, left_out = pairs.T
    return {
        "people": len(pairs),
        "median_with": round(float(np.median(learned)), 4),
        "median_without": round(float(np.median(left_out)), 4),
        "told": round(float((learned[:, None] < left_out[None]).mean()), 4),
    }
