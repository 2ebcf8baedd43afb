"""What the fitted directions must not carry: tan passing for age, hair volume of a few, a frown, light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speech2face.face.attributes import AttributeBasis
from speech2face.training.faces_controls import HAND_PLACED
from speech2face.training.faces_model import FaceModel
from speech2face.training.faces_regions import Regions

Array = NDArray[np.float32]
YOUNG_HAIR_SHARE = 0.35  # of the London set's change of hair between 18 and 45: eight people over 40 decide it
EXPOSURE = 0.05  # tones; a mean of tones is darker than the faces it comes from
BROWS = tuple(range(71, 87))
LIPS = tuple(range(87, 109))
BROW_SHARE = 0.7


def steady_youth(model: FaceModel, basis: AttributeBasis, regions: Regions) -> FaceModel:
    """Let neither skin tone nor hair volume drift from 18 to 45: few people over 40 teach this slope."""
    landmarks, luma, chroma = (
        model.attribute_landmarks.copy(), model.attribute_luma.copy(), model.attribute_chroma.copy(),
    )  # fmt: skip
    skin, half = regions.skin, regions.skin[::2, ::2]
    hair = 1.0 - (1.0 - YOUNG_HAIR_SHARE) * np.clip(regions.hair + regions.below, 0.0, 1.0)
    for name in ("young", "young_femininity"):
        place = basis.names.index(name)
        landmarks[place, len(HAND_PLACED) :] *= YOUNG_HAIR_SHARE
        luma[place] -= regions.hair * (luma[place] * regions.hair).sum() / regions.hair.sum()
        luma[place] = (luma[place] - (luma[place] * skin).sum() / skin.sum()) * hair
        drift = (chroma[place] * half).sum((1, 2)) / half.sum()
        chroma[place] = (chroma[place] - drift[:, None, None]) * hair[::2, ::2]
    return replace(model, attribute_landmarks=landmarks, attribute_luma=luma, attribute_chroma=chroma)


def expose(model: FaceModel) -> FaceModel:
    """Brighten the person a little."""
    return replace(model, mean_luma=model.mean_luma + np.float32(EXPOSURE))


def neutral_expression(directions: Array, mean: Array) -> Array:
    """Directions (terms, controls, 2) in which neither the mouth's corners nor the brows' inner ends move alone.

    Old synthetic faces frown; a regression on five measures of expression does not take all of it away.
    """
    steady = directions.copy()
    number = {int(mark): control for control, mark in enumerate(HAND_PLACED)}
    brows = [number[mark] for mark in BROWS]
    lips = [number[mark] for mark in LIPS]
    corners, middle = [number[87], number[93]], [number[mark] for mark in (90, 96, 106)]
    reach = np.abs(mean[lips, 0] - mean[middle, 0].mean())
    reach = reach / reach.max()
    beside = [number[mark] for mark in (160, 163)]
    for direction in steady:
        direction[brows, 0] = 0.0
        direction[brows, 1] = BROW_SHARE * direction[brows, 1].mean()
        drop = direction[corners, 1].mean() - direction[middle, 1].mean()
        direction[lips, 1] -= drop * reach
        direction[beside, 1] -= drop / 2
    return steady
