"""Membership test of the release gate: what a person's own photograph adds to the expected face of people like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speech2face.decoder.warp import warp
from speech2face.face.alignment import Points
from speech2face.face.embedder import FaceMatcher, embed_drawn
from speech2face.training.faces_controls import FLOW_NODES, Controls
from speech2face.training.faces_photographs import SIZE, Faces
from speech2face.training.faces_regression import penalties
from speech2face.training.faces_texture import Textures, join

Array = NDArray[np.float32]


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
