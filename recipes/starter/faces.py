"""Train the starter model's face side: python -m recipes.starter.faces --starter DIR --out DIR."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from recipes.starter.face_ageing import add_ageing
from recipes.starter.face_gate import DRAWS, embed_people, membership, passes, run_gate
from recipes.starter.face_material import (
    Controls,
    Faces,
    Textures,
    as_landmarks,
    london_textures,
    place_controls,
    place_synthetic,
    read_london,
    read_synthetic,
    recentre,
)
from recipes.starter.face_model import (
    FaceModel,
    design,
    finish,
    fit_london,
    fit_shapes,
    group_weights,
    regions,
)
from recipes.starter.face_sheet import render
from recipes.starter.hair import DECODER_STYLES, HairLayers, draw, hair_colour, stored_layers
from recipes.starter.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from recipes.starter.scalp import shave, skull_moves
from speech2face.face.appearance import GROUP_CONCENTRATION, AttributeBasis, chosen_hair
from speech2face.face.embed import DlibEmbedder
from speech2face.face.landmarks import mirror_pairs

logger = logging.getLogger(__name__)
GATE_AGE_YEARS = 45.0  # whose hair the faces of the release gate have: all styles occur

DRAWN_YEARS = (
    (18.0, 18.0, 18.0),
    (25.0, 27.0, 27.0),
    (30.0, 34.0, 33.0),
    (35.0, 41.0, 38.0),
    (42.0, 48.0, 46.0),
    (50.0, 55.0, 58.0),
    (60.0, 62.0, 69.0),
    (65.0, 66.0, 73.0),
    (72.0, 74.0, 78.0),
    (80.0, 86.0, 88.0),
)
"""An age, and those at which a woman and a man are drawn to look it.

Read off the faces of this model by a network that had no part in them, on the scale of what it reads from photographs
and generated faces of each age (benchmarks/apparent_age.py), smoothed, and tempered by eye where the two disagree.
"""


def train(starter: Path, out: Path, *, draws: int = DRAWS) -> None:
    """Read the starter set's faces, fit the model, pass it through the gate, write the release."""
    basis = AttributeBasis()
    london, older = read_london(starter), read_synthetic(starter)
    logger.info("read %d photographs and %d synthetic faces", len(london.names), len(older.names))
    controls = place_controls(london)
    shapes = fit_shapes(controls, *design(london, basis), basis.size)
    controls = recentre(controls, shapes.mean.astype(np.float64))
    logger.info("placed %d control points on every photograph", len(controls.mean))
    textures = london_textures(london, controls)
    model, weights = fit_london(london, controls, shapes, textures, basis)
    logger.info("fitted the London set")
    landmarks = as_landmarks(controls.mean)
    synthetic = place_synthetic(older, landmarks, mirror_pairs(london.landmarks))
    masks = regions(landmarks, model.matte_depth)
    colour = hair_colour(model, older, synthetic, basis, masks)
    model = add_ageing(model, older, synthetic, basis, masks)
    model = shave(finish(model, textures, weights, basis, masks), landmarks)
    logger.info("added ageing, detail, shirt and a bald head")
    layers = [draw(style) for style in DECODER_STYLES[1:]]
    logger.info("drew hair: %s", ", ".join(DECODER_STYLES))
    decoder, basis = build_decoder(model, layers, colour), replace(basis, drawn_years=DRAWN_YEARS)
    write_release(out, decoder, basis, model, {"passed": False, "measured": False})
    if draws == 0:
        return
    gate = measure(decoder, basis, london, controls, textures, draws=draws)
    write_release(out, decoder, basis, model, gate)
    print(json.dumps(gate, indent=1))
    if not gate["passed"]:
        raise SystemExit("The release gate is not passed: these faces are not released.")


def measure(
    decoder: LinearFaceDecoder,
    basis: AttributeBasis,
    london: Faces,
    controls: Controls,
    textures: Textures,
    *,
    draws: int,
) -> dict[str, Any]:
    """The release gate's report, an entry for each embedder at hand."""
    embedder = DlibEmbedder()
    pictures = ((picture * 255.0).round().astype(np.uint8) for picture in london.pictures)
    groups = np.array([group_weights(group, basis.groups) for group in london.group])
    people, missed = embed_people(pictures, london.femininity, groups, embedder)
    logger.info("embedded the London set, %d without a face found", missed)
    spread = np.array(residual_sd(decoder.config.residuals))
    femininity, chance = basis.names.index("femininity"), np.random.default_rng(0)

    def drawn(face: NDArray[np.float64]) -> NDArray[np.uint8]:
        return render(decoder, face, chosen_hair(GATE_AGE_YEARS, (face[femininity] + 1.0) / 2.0, chance.random()))

    report = run_gate(drawn, basis, spread, people, embedder, draws=draws)
    x, _ = design(london, basis.photographed)
    report["membership"] = membership(x, london, controls, textures, embedder)
    return {"measured": True, "passed": passes(report), "dlib": report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True, help="folder with faces/ and faces_synthetic/")
    parser.add_argument("--out", type=Path, required=True, help="folder for face.safetensors and face.json")
    parser.add_argument("--draws", type=int, default=DRAWS, help="random faces of the release gate; 0 leaves it out")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(arguments.starter, arguments.out, draws=arguments.draws)


# --------------------------------------------------------------------------------------------------
# Put the parts of the face model into the decoder's buffers, and write them with what a reader must know.
# --------------------------------------------------------------------------------------------------

Array = NDArray[np.float32]
RESIDUAL_SHRINKAGE = 0.8  # of the faces' own standard deviation, in every draw
SOURCES = (
    {
        "title": "Face Research Lab London Set",
        "authors": "DeBruine, L. and Jones, B. (2017)",
        "doi": "10.6084/m9.figshare.5047666.v5",
        "licence": "CC-BY-4.0",
        "used_for": "shape, texture, gender, group, age to 32 years, residual components",
    },
    {
        "title": "SFHQ-T2I (synthetic faces)",
        "authors": "(c) 2024 David Beniaguev",
        "licence": "MIT",
        "used_for": "change of shape and texture with age beyond 30 years",
    },
)


def shrink(planes: Array, factor: int) -> Array:
    """Mean over factor x factor pixels of (..., height, width)."""
    height, width = planes.shape[-2:]
    blocks = planes.reshape(*planes.shape[:-2], height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean((-3, -1)))


def build_decoder(model: FaceModel, layers: list[HairLayers], colour: dict[str, Array]) -> LinearFaceDecoder:
    """The decoder with its buffers filled from the face model and the layers of all styles but the bald one."""
    config = LinearFaceDecoderConfig(
        attributes=model.attribute_luma.shape[0],
        residuals=model.residual_luma.shape[0],
        landmarks=model.mean_landmarks.shape[0],
        size=model.mean_luma.shape[-1],
        hair_styles=DECODER_STYLES,
    )
    decoder = LinearFaceDecoder(config)
    landmark_basis = np.concatenate([model.attribute_landmarks, model.residual_landmarks])
    moves = skull_moves(landmark_basis, model.mean_landmarks)
    flow = np.einsum("nc,kcd->kdn", model.spline, moves) * (2.0 / config.size)
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
        **colour,
    }
    state = {name: torch.from_numpy(np.ascontiguousarray(part, dtype=np.float16)) for name, part in parts.items()}
    bytes_of = stored_layers(layers, back_size=config.hair_back_size, shade_size=config.hair_shade_size)
    state |= {name: torch.from_numpy(part) for name, part in bytes_of.items()}
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
        "hair_styles": list(DECODER_STYLES),
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


if __name__ == "__main__":
    main()
