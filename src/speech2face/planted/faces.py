"""What planted faces look like: drawn by the starter's linear face decoder from the coordinates of a face embedding.

Which trait moves which feature is arbitrary and fixed by the world's seed. The faces are there for the face decoder's
training to have photographs; nobody they show exists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

import speech2face.weights
from speech2face.decoder.face_decoder import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.face.attributes import AttributeBasis
from speech2face.face.landmarks import EARS, HAIRLINE, INNER_FACE, INNER_LIPS
from speech2face.planted.traits import SEEN_TRAITS, FloatArray
from speech2face.planted.world import World

LANDMARKS = 48
"""Points of a face, as far from each other as may be."""
WORKING_PIXELS = 2.5  # of the starter's portrait for each of the aligned face: it is cut, then halved
TOP_SHARE = 0.12  # of an aligned face's side: what is cut off above the hair
AT_ONCE = 16  # pictures drawn together
MEAN_AGE_YEARS, AGE_YEARS = 38.0, 9.0
RESIDUAL_SCALE = 0.8


class FaceArtist:
    """Draws the faces of a planted world."""

    def __init__(self, world: World, size: int) -> None:
        """`size` is of the aligned faces, in pixels: a multiple of 4."""
        assert size % 4 == 0, "the portrait is cut at whole pixels"
        folder = Path(speech2face.weights.__path__[0]) / "starter"
        facts = json.loads((folder / "face.json").read_text(encoding="utf-8"))
        self.decoder = _smaller(facts["decoder"], load_file(folder / "face.safetensors"), round(size * WORKING_PIXELS))
        self.scale = self.decoder.config.size / facts["decoder"]["size"]
        self.points = _spread_points(self.decoder.mean_landmarks.double().numpy())
        self.basis = AttributeBasis.from_dict(facts["attributes"])
        self.spread = np.array(facts["residual_sd"]) * RESIDUAL_SCALE
        self.world, self.size = world, size
        mixing = np.random.default_rng([world.seed, 2**32 + 1]).standard_normal((SEEN_TRAITS, SEEN_TRAITS))
        self._mixing = np.linalg.qr(mixing)[0]

    def appearance(self, face_embedding: FloatArray) -> NDArray[np.float32]:
        """Coefficients of the starter's face model, (people, coefficients)."""
        mixed = self.world.face_coordinates(face_embedding) @ self._mixing  # (people, SEEN_TRAITS), standard normal
        femininity = 0.5 + 0.35 * mixed[:, 0]
        age = np.clip(MEAN_AGE_YEARS + AGE_YEARS * mixed[:, 1], 20, 70)
        groups = np.exp(0.7 * np.c_[mixed[:, 2], mixed[:, 3], mixed[:, 4], -mixed[:, 2:5].sum(1)])
        groups /= groups.sum(1, keepdims=True)
        design = np.stack([self.basis.design(*one) for one in zip(age, femininity, groups, strict=True)])
        own = min(mixed.shape[1] - 5, self.spread.size)
        residuals = np.zeros((len(mixed), self.spread.size))
        residuals[:, :own] = mixed[:, 5 : 5 + own] * self.spread[:own]
        return np.concatenate([design, residuals], axis=1).astype(np.float32)

    @torch.inference_mode()
    def draw(self, face_embedding: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(people, embedding) to aligned faces (people, size, size, 3) and landmarks (people, LANDMARKS, 2)."""
        left, top = self.size // 4, round(self.size * TOP_SHARE)
        faces, points = [], []
        for part in torch.split(torch.from_numpy(self.appearance(face_embedding)), AT_ONCE):
            cut = self.decoder(part)[:, :, top : top + 2 * self.size, left : left + 2 * self.size]
            drawn = functional.avg_pool2d(cut, 2)  # (AT_ONCE, 3, size, size)
            faces.append((drawn.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())
            corners = (self.decoder.landmarks(part)[:, self.points].numpy() + 0.5) * self.scale
            points.append((corners - np.array([left, top])) / 2 - 0.5)  # pixel centres lie at integers
        return np.concatenate(faces), np.concatenate(points).astype(np.float32)


def _smaller(config: Mapping[str, Any], buffers: Mapping[str, Tensor], size: int) -> LinearFaceDecoder:
    """The starter's face decoder with fewer pixels; its landmarks stay in the starter's pixels."""
    planes = {"mean_luma", "attribute_luma", "residual_luma", "matte_depth"}
    least = {name: min(size, buffers[name].shape[-1]) for name in planes}
    sizes = {"size": size, "residual_size": least["residual_luma"], "matte_size": least["matte_depth"]}
    edge = config["edge_pixels"] * config["size"] / size  # an edge stays a pixel or two wide
    decoder = LinearFaceDecoder(LinearFaceDecoderConfig.from_dict({**config, **sizes, "edge_pixels": edge}))
    shrunk = {
        name: functional.interpolate(buffers[name].float()[None], size=(least[name],) * 2, mode="area")[0].half()
        for name in planes
    }
    decoder.load_state_dict({**buffers, **shrunk})
    return decoder.eval()


def _spread_points(mean: FloatArray) -> list[int]:
    """LANDMARKS of the hand-placed points on the mean shape (points, 2): each next one farthest from those before."""
    outside = {*EARS, *HAIRLINE, *(lip for pair in INNER_LIPS for lip in pair)}
    candidates = [k for k in INNER_FACE if k not in outside and k < HAIRLINE[0]]
    chosen = [candidates[0]]
    while len(chosen) < LANDMARKS:
        distance = np.linalg.norm(mean[candidates, None] - mean[None, chosen], axis=2).min(1)
        chosen.append(candidates[int(distance.argmax())])
    return chosen
