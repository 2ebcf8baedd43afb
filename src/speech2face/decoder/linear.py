"""Linear shape-and-texture decoder, the starter's counterpart of Cole et al. 2017 (Figure 3): texture, then warp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from speech2face.decoder.warp import fetch, find_places, invert_flow

# a shoulder as in film: white hair in a bright draw keeps its strands instead of running into the upper limit
HIGHLIGHT_START, HIGHLIGHT_CUT = 0.75, 0.6
LUMA_RED, LUMA_GREEN, LUMA_BLUE = 0.30, 0.59, 0.11


@dataclass(frozen=True)
class LinearFaceDecoderConfig:
    """Sizes and constants of a LinearFaceDecoder."""

    attributes: int
    residuals: int
    landmarks: int
    size: int = 512
    """Pixels of the portrait, both ways."""
    flow_nodes: int = 128
    mean_chroma_size: int = 256
    chroma_size: int = 128
    residual_size: int = 256
    matte_size: int = 512
    tone_offset: float = 0.08
    """tone = log(sRGB + offset); the texture is linear in tones, so that shading multiplies."""
    edge_pixels: float = 1.6
    """Half width of the matte's soft edge."""
    ground: tuple[float, float, float] = (0.84, 0.85, 0.85)

    @property
    def embedding(self) -> int:
        """Length of the face embedding: attribute coordinates, then residual coefficients."""
        return self.attributes + self.residuals

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LinearFaceDecoderConfig:
        """The sizes that to_dict wrote."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**fields)


class LinearFaceDecoder(nn.Module):
    """Face embedding -> canonical face: linear texture and matte, linear flow, warp, plain ground."""

    mean_luma: Tensor
    mean_chroma: Tensor
    attribute_luma: Tensor
    residual_luma: Tensor
    chroma_basis: Tensor
    matte_depth: Tensor
    flow_basis: Tensor
    mean_landmarks: Tensor
    landmark_basis: Tensor

    def __init__(self, config: LinearFaceDecoderConfig) -> None:
        super().__init__()
        self.config = config
        size, embedding = config.size, config.embedding
        shapes = {
            "mean_luma": (1, size, size),
            "mean_chroma": (2, config.mean_chroma_size, config.mean_chroma_size),
            "attribute_luma": (config.attributes, size, size),
            "residual_luma": (config.residuals, config.residual_size, config.residual_size),
            "chroma_basis": (embedding, 2, config.chroma_size, config.chroma_size),
            "matte_depth": (1, config.matte_size, config.matte_size),
            "flow_basis": (embedding, 2, config.flow_nodes, config.flow_nodes),
            "mean_landmarks": (config.landmarks, 2),
            "landmark_basis": (embedding, config.landmarks, 2),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float16))

    def landmarks(self, face_embedding: Tensor) -> Tensor:
        """Control points of the face, (batch, landmarks, 2), in pixels of the portrait."""
        moved = face_embedding @ self.landmark_basis.float().flatten(1)
        return self.mean_landmarks.float() + moved.reshape(-1, *self.mean_landmarks.shape)

    def flow(self, face_embedding: Tensor) -> Tensor:
        """Displacement of the mean shape, (batch, 2, nodes, nodes), in grid_sample's units."""
        return (face_embedding @ self.flow_basis.float().flatten(1)).reshape(-1, *self.flow_basis.shape[1:])

    def luma(self, face_embedding: Tensor) -> Tensor:
        """Luma tones on the mean shape, (batch, 1, size, size)."""
        config = self.config
        attributes, residuals = face_embedding[:, : config.attributes], face_embedding[:, config.attributes :]
        coarse = (attributes @ self.attribute_luma.float().flatten(1)).reshape(-1, *self.mean_luma.shape)
        fine = (residuals @ self.residual_luma.float().flatten(1)).reshape(-1, 1, *self.residual_luma.shape[1:])
        return self.mean_luma.float() + coarse + _resize(fine, config.size)

    def chroma(self, face_embedding: Tensor) -> Tensor:
        """Red and blue tones less luma on the mean shape, (batch, 2, mean_chroma_size, mean_chroma_size)."""
        change = (face_embedding @ self.chroma_basis.float().flatten(1)).reshape(-1, *self.chroma_basis.shape[1:])
        return self.mean_chroma.float() + _resize(change, self.config.mean_chroma_size)

    def forward(self, face_embedding: Tensor) -> Tensor:
        """Face embedding (batch, embedding) to portrait (batch, 3, size, size), sRGB in [0, 1]."""
        config = self.config
        backward = invert_flow(self.flow(face_embedding))
        luma = self.luma(face_embedding)
        depth = self.matte_depth.float()[None] * (2.0 / config.edge_pixels)
        depth = _resize(depth, config.size).expand_as(luma)
        places = find_places(backward, config.size)
        luma, depth = fetch(luma, places), fetch(depth, places)
        chroma = self.chroma(face_embedding)  # colour bears half the pixels
        chroma = fetch(chroma, find_places(backward, config.mean_chroma_size))
        red, blue = chroma.narrow(1, 0, 1), chroma.narrow(1, 1, 1)
        green = (red * LUMA_RED + blue * LUMA_BLUE) * (-1.0 / LUMA_GREEN)
        chroma = _resize(torch.cat([red, green, blue], dim=1), config.size)  # (batch, 3, size, size)
        person = _soften_highlights(torch.exp(luma + chroma) - config.tone_offset)
        matte = torch.sigmoid(depth)
        ground = torch.tensor(config.ground, dtype=person.dtype, device=person.device).reshape(1, 3, 1, 1)
        return (ground + matte * (person - ground)).clamp(0.0, 1.0)


def _soften_highlights(person: Tensor) -> Tensor:
    """Above HIGHLIGHT_START brightness grows by 1 - HIGHLIGHT_CUT only."""
    slope = 1.0 - HIGHLIGHT_CUT
    return torch.minimum(person, slope * person + HIGHLIGHT_CUT * HIGHLIGHT_START)


def _resize(planes: Tensor, size: int) -> Tensor:
    """Bilinear enlargement of (batch, channels, height, width)."""
    return interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)
