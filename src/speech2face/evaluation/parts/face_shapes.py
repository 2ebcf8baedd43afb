"""The landmarks of every picture of a kind, as one array, for the parts that measure faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import Floats
from speech2face.evaluation.parts.attribute_opinions import PICTURES
from speech2face.evaluation.parts.part import Exclusion
from speech2face.evaluation.pictures import FACE_REASONS, Kind, PictureSet
from speech2face.face.points68 import COUNT

PAIRS: tuple[tuple[Kind, Kind], ...] = (("face", "voice"), ("original", "voice"), ("original", "face"))
"""Reference and what is held against it; the first is the paper's, the last what the decoder alone loses."""
FEWEST = 3  # faces; fewer have no correlation
NO_PAIRS = (
    "there is nothing to hold the pictures against: the data have no original faces, and no model draws the clips' own"
    " faces from their embeddings; give such data, or a model that says the data's face embeddings (--model)"
)


def face_shapes(pictures: PictureSet, kind: Kind) -> Floats:
    """(clips, 68, 2) in pixels of the pictures; NaN where there is no picture or no face in it."""
    shapes = np.full((len(pictures.evaluation_set), COUNT, 2), np.nan)
    for row in pictures.rows:
        points = pictures.face_points(kind, row)
        if points is not None:
            shapes[row] = points
    return shapes


def shapes_of(pictures: PictureSet, pairs: Iterable[tuple[Kind, Kind]]) -> dict[Kind, Floats]:
    """The landmarks of every kind that is in one of the pairs.

    Raises:
        MissingExtra: nothing that finds faces is installed.
    """
    return {kind: face_shapes(pictures, kind) for kind in dict.fromkeys(kind for pair in pairs for kind in pair)}


def pairs_of(pictures: PictureSet) -> tuple[tuple[Kind, Kind], ...]:
    """The pairs of kinds of which both can be had."""
    return tuple(pair for pair in PAIRS if set(pair) <= set(pictures.kinds))


def conditions_of(pair: tuple[Kind, Kind], seconds: float) -> dict[str, str]:
    """How the report names a pair."""
    heard = {"seconds": f"{seconds:g}"} if pair[1] == "voice" else {}
    return {"reference": PICTURES[pair[0]], "measured": PICTURES[pair[1]], **heard}


def without_face(pictures: PictureSet, shapes: Mapping[Kind, Floats]) -> tuple[Exclusion, ...]:
    """Why each clip without landmarks has none, as far as the pictures know."""
    keys = pictures.evaluation_set.keys
    missing: dict[str, set[str]] = {
        kind: {keys[row] for row in np.flatnonzero(np.isnan(of).any((1, 2)))} for kind, of in shapes.items()
    }
    anywhere = set[str]().union(*missing.values())
    return tuple(
        one
        for one in pictures.exclusions
        if one.clip in (missing.get(one.detail, set()) if one.reason in FACE_REASONS else anywhere)
    )


def strangers(speaker: NDArray[np.int64], *, seed: int, rounds: int) -> Iterator[NDArray[np.int64]]:
    """For each clip another speaker's clip, (clips,), by chance, in each round; -1 where the draw met the same one."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        dealt = rng.permutation(len(speaker))
        yield np.where(speaker[dealt] == speaker, -1, dealt)
