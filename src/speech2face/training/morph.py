"""Augmentation by random morphs of alike faces (Cole et al. 2017): new people between those of a data set.

A seed face A is drawn, then B among its `NEIGHBOURS` nearest; landmarks and textures are interpolated by a random
weight, and the face so made is set into A's photograph, brought to the new shape, by its gradients. As always in that
way of blending, the surroundings decide the colours: they stay A's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from speech2face.decoder.spline_warp import BorderedSpline
from speech2face.training.gradient_blend import blend_gradients, hull_mask

NEIGHBOURS = 200  # k of Cole et al.
LANDMARK_WEIGHT = 10.0  # lambda of Cole et al.
REFERENCE_PIXELS = 224  # their picture: landmarks count in its pixels, textures as its numbers in [0, 1]
DESCRIPTOR_PIXELS = 28  # textures are compared at this size, weighted so that distances stay about the same
HULL_MARGIN = -0.03  # of the picture: an outline that the mask cut through would leave a halo in the background


@dataclass(frozen=True, eq=False)
class Draw:
    """Which faces make a morph; places in the data set."""

    seed: int
    partner: int
    weight: float
    """Share of the partner, 0 to 1."""


def face_descriptors(landmarks: Tensor, textures: Tensor) -> Tensor:
    """Vectors, (batch, numbers), from which `nearest_faces` finds distances; see there.

    landmarks (batch, landmarks, 2) in pixels of the textures (batch, 3, size, size).
    """
    shape = landmarks.flatten(1) * (REFERENCE_PIXELS / textures.shape[-1])
    small = adaptive_avg_pool2d(textures, DESCRIPTOR_PIXELS).flatten(1) * (REFERENCE_PIXELS / DESCRIPTOR_PIXELS)
    return torch.cat([shape, small], dim=1)


def nearest_faces(descriptors: Tensor, face: int, landmarks: int, *, count: int = NEIGHBOURS) -> NDArray[np.intp]:
    """The faces nearest to one by lambda ||L_A - L_B|| + ||T_A - T_B||, nearest first, at most `count`, not itself."""
    difference = descriptors - descriptors[face]
    shape, texture = difference[:, : 2 * landmarks], difference[:, 2 * landmarks :]
    distance = LANDMARK_WEIGHT * shape.norm(dim=1) + texture.norm(dim=1)
    distance[face] = torch.inf
    order = torch.argsort(distance, stable=True)[: min(count, len(distance) - 1)]
    return np.asarray(order.cpu().numpy(), dtype=np.intp)


def draw_morph(descriptors: Tensor, landmarks: int, *, seed: int, number: int, neighbours: int = NEIGHBOURS) -> Draw:
    """What the morph of this number is made of: follows from the seed and the number alone."""
    random = np.random.default_rng((seed, number))
    face = int(random.integers(len(descriptors)))
    near = nearest_faces(descriptors, face, landmarks, count=neighbours)
    return Draw(face, int(random.choice(near)), float(random.random()))


@dataclass(frozen=True)
class Morpher:
    """Makes morphs of aligned faces on one mean shape."""

    mean_landmarks: Tensor
    """(landmarks, 2), pixels."""
    size: int
    """Pixels of the faces, both ways."""

    @property
    def spline(self) -> BorderedSpline:
        """The face decoder's warp, at every pixel."""
        return BorderedSpline(self.size, self.size)

    def textures(self, faces: Tensor, landmarks: Tensor) -> Tensor:
        """Faces (batch, 3, size, size) in [0, 1] brought to the mean shape."""
        return self.spline.move(faces, landmarks, self.mean_landmarks.expand_as(landmarks))

    def morph(
        self, faces: tuple[Tensor, Tensor], landmarks: tuple[Tensor, Tensor], weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Faces between A and B, (batch, 3, size, size), and their landmarks, (batch, landmarks, 2).

        `faces` and `landmarks` are A's and B's; weight (batch,) is B's share. With a share of 0 it is A's photograph.
        """
        share = weight[:, None, None]
        own = torch.lerp(landmarks[0], landmarks[1], share.expand_as(landmarks[0]))
        # Straight from each photograph to the new shape: by way of the mean shape it would be resampled twice.
        at_own = [self.spline.move(face, points, own) for face, points in zip(faces, landmarks, strict=True)]
        inner = torch.lerp(at_own[0], at_own[1], share[..., None].expand_as(at_own[0]))
        mask = hull_mask(own, self.size, margin_pixels=HULL_MARGIN * self.size)
        return blend_gradients(inner, at_own[0], mask), own
