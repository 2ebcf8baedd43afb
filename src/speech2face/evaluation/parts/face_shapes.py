"""The landmarks of every picture of a kind, as one array, for the parts that measure faces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import Floats
from speech2face.evaluation.parts.attribute_opinions import PICTURES
from speech2face.evaluation.parts.part import Exclusion
from speech2face.evaluation.pictures import NO_FACE, Kind, PictureSet
from speech2face.face.points68 import COUNT

PAIRS: tuple[tuple[Kind, Kind], ...] = (("face", "voice"), ("original", "voice"), ("original", "face"))
"""Reference and what is held against it; the first is the paper's, the last what the decoder alone loses."""
FEWEST = 3  # faces; fewer have no correlation


def face_shapes(pictures: PictureSet, kind: Kind) -> Floats:
    """(clips, 68, 2) in pixels of the pictures; NaN where there is no picture or no face in it."""
    shapes = np.full((len(pictures.evaluation_set), COUNT, 2), np.nan)
    for row in pictures.rows:
        points = pictures.face_points(kind, row)
        if points is not None:
            shapes[row] = points
    return shapes


def pairs_of(pictures: PictureSet) -> tuple[tuple[Kind, Kind], ...]:
    """The pairs of kinds of which both can be had."""
    return tuple(pair for pair in PAIRS if set(pair) <= set(pictures.kinds))


def conditions_of(pair: tuple[Kind, Kind], seconds: float) -> dict[str, str]:
    """How the report names a pair."""
    heard = {"seconds": f"{seconds:g}"} if pair[1] == "voice" else {}
    return {"reference": PICTURES[pair[0]], "measured": PICTURES[pair[1]], **heard}


def without_face(pictures: PictureSet) -> tuple[Exclusion, ...]:
    """The pictures in which a face was looked for in vain."""
    return tuple(one for one in pictures.exclusions if one.reason == NO_FACE)


def strangers(speaker: NDArray[np.int64], *, seed: int, rounds: int) -> Iterator[NDArray[np.int64]]:
    """For each clip another speaker's clip, (clips,), by chance, in each round; -1 where the draw met the same one."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        dealt = rng.permutation(len(speaker))
        yield np.where(speaker[dealt] == speaker, -1, dealt)
