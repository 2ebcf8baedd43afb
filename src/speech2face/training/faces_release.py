"""Put the parts of the face model into the decoder's buffers, and write them with what a reader must know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from speech2face.decoder.face_decoder import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.face.attributes import AttributeBasis
from speech2face.training.faces_gate import GROUP_CONCENTRATION
from speech2face.training.faces_model import FaceModel

Array = NDArray[np.float32]
RESIDUAL_SHRINKAGE = 0.8  # of the faces' own standard deviation, in every draw
SOURCES = (
    {
        "title": "Face Research Lab London Set",
        "authors": "DeBruine, L. and Jones, B. (2017)",
        "doi": "10.6084/m9.figshare.5047666.v5",
        "licence": "CC-BY-4.0",
        "used_for": "shape, texture, gender, group, age to 45 years, residual components",
    },
    {
        "title": "SFHQ-T2I (synthetic faces)",
        "authors": "(c) 2024 David Beniaguev",
        "licence": "MIT",
        "used_for": "change of shape and texture with age beyond 38 years",
    },
)


def shrink(planes: Array, factor: int) -> Array:
    """Mean over factor x factor pixels of (..., height, width)."""
    height, width = planes.shape[-2:]
    blocks = planes.reshape(*planes.shape[:-2], height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean((-3, -1)))


def build_decoder(model: FaceModel) -> LinearFaceDecoder:
    """The decoder with its buffers filled from the face model."""
    config = LinearFaceDecoderConfig(
        attributes=model.attribute_luma.shape[0],
        residuals=model.residual_luma.shape[0],
        landmarks=model.mean_landmarks.shape[0],
        size=model.mean_luma.shape[-1],
    )
    decoder = LinearFaceDecoder(config)
    landmark_basis = np.concatenate([model.attribute_landmarks, model.residual_landmarks])
    flow = np.einsum("nc,kcd->kdn", model.spline, landmark_basis) * (2.0 / config.size)
    chroma = np.concatenate([model.attribute_chroma, model.residual_chroma])
    parts = {
        "mean_luma": model.mean_luma[None],
        "mean_chroma": model.mean_chroma,
        "attribute_luma": model.attribute_luma,
        "residual_luma": shrink(model.residual_luma, config.size // config.residual_size),
        "chroma_basis": shrink(chroma, config.mean_chroma_size // config.chroma_size),
        "matte_depth": shrink(model.matte_depth, config.size // config.matte_size)[None],
        "flow_basis": flow.reshape(config.embedding, 2, config.flow_nodes, config.flow_nodes),
        "mean_landmarks": model.mean_landmarks,
        "landmark_basis": landmark_basis,
    }
    state = {name: torch.from_numpy(np.ascontiguousarray(part, dtype=np.float16)) for name, part in parts.items()}
    decoder.load_state_dict(state)
    return decoder


def residual_sd(residuals: int) -> list[float]:
    """Standard deviation of every residual coefficient in a draw."""
    return [RESIDUAL_SHRINKAGE] * residuals


def write_release(
    out: Path, decoder: LinearFaceDecoder, basis: AttributeBasis, model: FaceModel, gate: dict[str, Any]
) -> None:
    """Write face.safetensors and face.json."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "format": 1,
        "decoder": decoder.config.to_dict(),
        "attributes": basis.to_dict(),
        "attribute_names": list(basis.names),
        "groups": list(basis.groups),
        "reference_population": {group: 1.0 / len(basis.groups) for group in basis.groups},
        "draw_group_concentration": GROUP_CONCENTRATION,
        "residual_sd": residual_sd(decoder.config.residuals),
        "residual_explained": [round(float(share), 4) for share in model.residual_explained],
        "gate": gate,
        "sources": list(SOURCES),
    }
    state = {name: part.contiguous() for name, part in decoder.state_dict().items()}
    weights = out / "face.safetensors"
    save_file(state, weights, metadata={"config": json.dumps(decoder.config.to_dict())})
    weights.chmod(0o644)  # safetensors writes for the owner alone
    (out / "face.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
