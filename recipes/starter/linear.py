"""Linear shape-and-texture decoder, the starter's counterpart of Cole et al. 2017 (Figure 3): texture, then warp.

The texture is a bald head's. Hair is a layer of its own before it and behind it: mattes and tones of one style out of
several, in a colour that is linear in the face embedding and greys strand by strand.
"""

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

BALD = "bald"
"""The style without layers, always the first one."""
TONE_ZERO, TONE_STEPS = 128, 64  # hair tones are stored in bytes: (byte - TONE_ZERO) / TONE_STEPS
SHADE_STEPS = 255  # and its shade on the skin as -byte / SHADE_STEPS
SALT_AND_PEPPER = 1.2  # how much earlier light strands turn grey than dark ones
GREY_CONTRAST = 0.35  # of the tones of hair that grey hair lacks


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
    matte_size: int = 256
    tone_offset: float = 0.08
    """tone = log(sRGB + offset); the texture is linear in tones, so that shading multiplies."""
    edge_pixels: float = 1.6
    """Half width of the matte's soft edge."""
    ground: tuple[float, float, float] = (0.84, 0.85, 0.85)
    hair_styles: tuple[str, ...] = ()
    """Names of the styles, `BALD` first; empty for a decoder whose hair is part of its texture."""
    hair_back_size: int = 256
    hair_shade_size: int = 128

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
    hair_front: Tensor
    hair_tone: Tensor
    hair_back: Tensor
    hair_shade: Tensor
    hair_colour: Tensor
    hair_colour_basis: Tensor
    hair_grey_basis: Tensor
    hair_white: Tensor

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
        if config.hair_styles:
            self._hold_hair(config)

    def _hold_hair(self, config: LinearFaceDecoderConfig) -> None:
        """Register the layers of every style but the bald one, and the hair's colour as (luma, red, blue) tones."""
        count = len(config.hair_styles) - 1
        sizes = {"front": config.size, "tone": config.size, "back": config.hair_back_size}
        for name, size in (sizes | {"shade": config.hair_shade_size}).items():
            self.register_buffer(f"hair_{name}", torch.zeros((count, size, size), dtype=torch.uint8))
        shapes = {
            "colour": (3,),
            "colour_basis": (config.embedding, 3),
            "grey_basis": (config.embedding,),
            "white": (3,),
        }
        for name, shape in shapes.items():
            self.register_buffer(f"hair_{name}", torch.zeros(shape, dtype=torch.float16))

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

    def forward(self, face_embedding: Tensor, hair: Tensor | None = None) -> Tensor:
        """Face embedding (batch, embedding) to portrait (batch, 3, size, size), sRGB in [0, 1].

        hair (batch,) are places in the config's `hair_styles`; None is bald.
        """
        config = self.config
        backward = invert_flow(self.flow(face_embedding))
        places = find_places(backward, config.size)
        layers = self._hair_layers(face_embedding, hair) if hair is not None and config.hair_styles else None
        half = find_places(backward, config.mean_chroma_size)  # of colour and of what has no fine edge
        luma = fetch(self.luma(face_embedding), places)
        depth = _resize(self.matte_depth.float()[None] * (2.0 / config.edge_pixels), config.mean_chroma_size)
        depth = fetch(depth.expand(luma.shape[0], -1, -1, -1), half)
        matte = torch.sigmoid(_resize(depth, config.size))
        chroma = fetch(self.chroma(face_embedding), half)
        red, blue = chroma.narrow(1, 0, 1), chroma.narrow(1, 1, 1)
        green = (red * LUMA_RED + blue * LUMA_BLUE) * (-1.0 / LUMA_GREEN)
        chroma = _resize(torch.cat([red, green, blue], dim=1), config.size)  # (batch, 3, size, size)
        ground = torch.tensor(config.ground, dtype=luma.dtype, device=luma.device).reshape(1, 3, 1, 1)
        if layers is None:
            person = _soften_highlights(torch.exp(luma + chroma) - config.tone_offset)
            return (ground + matte * (person - ground)).clamp(0.0, 1.0)
        # one after the other: planes fetched together would be copied together and apart again
        front, tone = fetch(layers.front, places), fetch(layers.tone, places)
        back, shade = (_resize(fetch(plane, half), config.size) for plane in (layers.back, layers.shade))
        person = _soften_highlights(torch.exp(luma + shade + chroma) - config.tone_offset)
        behind = 1.0 - front
        beyond = behind * (1.0 - matte)  # what neither hair nor person hides
        hair_share = front + beyond * back
        drawn = self._strands(tone, hair_share, beyond - beyond * back, layers)
        return (drawn + (behind * matte) * person).clamp(0.0, 1.0)

    def _hair_layers(self, face_embedding: Tensor, hair: Tensor) -> _HairLayers:
        """The layers and colours of one style a face."""
        config = self.config
        chosen = (hair - 1).clamp(min=0)
        present = (hair > 0).float().reshape(-1, 1, 1, 1)

        def plane(stored: Tensor) -> Tensor:
            return stored.index_select(0, chosen).float().unsqueeze(1)

        shown = present / 255.0
        front, back = plane(self.hair_front) * shown, plane(self.hair_back) * shown
        tone = (plane(self.hair_tone) - TONE_ZERO) * (1.0 / TONE_STEPS)
        shade = plane(self.hair_shade) * (present * (-1.0 / SHADE_STEPS))
        colour = self.hair_colour.float() + face_embedding @ self.hair_colour_basis.float()  # (batch, 3)
        grey = (face_embedding @ self.hair_grey_basis.float()).clamp(0.0, 1.0)
        count = front.shape[0]
        return _HairLayers(
            front=front,
            tone=tone,
            back=_resize(back, config.mean_chroma_size),
            shade=_resize(shade, config.mean_chroma_size),
            colour=_brightness_and_ratios(colour),
            white=_brightness_and_ratios(self.hair_white.float().expand(count, -1)),
            grey=grey.reshape(-1, 1, 1, 1),
        )

    def _strands(self, tone: Tensor, share: Tensor, ground_share: Tensor, layers: _HairLayers) -> Tensor:
        """Hair and ground, (batch, 3, size, size), each times its share; light strands turn grey first.

        All but tone and share (batch, 1, size, size) is the same at every pixel: one product of matrices.
        """
        grey = layers.grey
        mix = (grey + SALT_AND_PEPPER * grey * (1.0 - grey) * tone).clamp(0.0, 1.0)
        bright, ratios = layers.colour
        white, white_ratios = layers.white
        light = torch.exp(tone * (1.0 - GREY_CONTRAST * mix)) * (bright + mix * (white - bright))
        light = _soften_highlights(light) * share
        planes = torch.cat([light, light * mix, share, ground_share], dim=1).flatten(2)  # (batch, 4, pixels)
        offset = torch.full_like(ratios, -self.config.tone_offset)
        ground = torch.tensor(self.config.ground, dtype=ratios.dtype, device=ratios.device).expand_as(ratios)
        weights = torch.stack([ratios, white_ratios - ratios, offset, ground], dim=2)  # (batch, 3, 4)
        return (weights @ planes).reshape(-1, 3, *tone.shape[2:])


@dataclass(frozen=True)
class _HairLayers:
    """One style a face on the mean shape, and the face's hair colour."""

    front: Tensor
    tone: Tensor
    """Matte before the face and tones, (batch, 1, size, size) each."""
    back: Tensor
    shade: Tensor
    """Matte behind the head and shade on the skin, (batch, 1, mean_chroma_size, mean_chroma_size) each."""
    colour: tuple[Tensor, Tensor]
    white: tuple[Tensor, Tensor]
    """Brightness (batch, 1, 1, 1) and ratios of red, green and blue to it (batch, 3)."""
    grey: Tensor
    """Share of grey strands, (batch, 1, 1, 1)."""


def _brightness_and_ratios(colour: Tensor) -> tuple[Tensor, Tensor]:
    """Of tones (batch, 3): luma, red and blue less luma."""
    luma, red, blue = colour.narrow(1, 0, 1), colour.narrow(1, 1, 1), colour.narrow(1, 2, 1)
    green = (red * LUMA_RED + blue * LUMA_BLUE) * (-1.0 / LUMA_GREEN)
    ratios = torch.exp(torch.cat([red, green, blue], dim=1))
    return torch.exp(luma).reshape(-1, 1, 1, 1), ratios


def _soften_highlights(person: Tensor) -> Tensor:
    """Above HIGHLIGHT_START brightness grows by 1 - HIGHLIGHT_CUT only."""
    slope = 1.0 - HIGHLIGHT_CUT
    return torch.minimum(person, slope * person + HIGHLIGHT_CUT * HIGHLIGHT_START)


def _resize(planes: Tensor, size: int) -> Tensor:
    """Bilinear enlargement of (batch, channels, height, width)."""
    return interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)
