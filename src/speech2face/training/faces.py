"""Train the starter model's face side: python -m speech2face.training.faces --starter DIR --out DIR."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.decoder.face_decoder import LinearFaceDecoder
from speech2face.face.attributes import AttributeBasis
from speech2face.face.embedder import DlibEmbedder
from speech2face.face.landmarks import mirror_pairs
from speech2face.training.face_sheet import render
from speech2face.training.faces_ageing import add_ageing
from speech2face.training.faces_controls import Controls, as_landmarks, place_controls, recentre
from speech2face.training.faces_finish import finish
from speech2face.training.faces_gate import DRAWS, embed_all, no_nearer_than_strangers, passes, run_gate
from speech2face.training.faces_membership import membership
from speech2face.training.faces_model import fit_london
from speech2face.training.faces_photographs import Faces, read_london, read_synthetic
from speech2face.training.faces_regions import regions
from speech2face.training.faces_regression import design, fit_shapes
from speech2face.training.faces_release import build_decoder, residual_sd, write_release
from speech2face.training.faces_synthetic import place_synthetic
from speech2face.training.faces_texture import Textures, london_textures

logger = logging.getLogger(__name__)


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
    model = add_ageing(model, older, synthetic, basis, masks)
    model = finish(model, textures, weights, basis, masks)
    logger.info("added ageing, detail, hair and shirt")
    decoder = build_decoder(model)
    write_release(out, decoder, basis, model, {"passed": False, "measured": False})
    if draws == 0:
        return
    gate = measure(decoder, basis, {"london": london, "synthetic": older}, controls, textures, draws=draws)
    write_release(out, decoder, basis, model, gate)
    print(json.dumps(gate, indent=1))
    print("gate at the usual threshold:", "passed" if gate["passed"] else "NOT passed")
    print("no nearer than strangers are:", "passed" if gate["no_nearer_than_strangers"] else "NOT passed")


def measure(
    decoder: LinearFaceDecoder,
    basis: AttributeBasis,
    sets: dict[str, Faces],
    controls: Controls,
    textures: Textures,
    *,
    draws: int,
) -> dict[str, Any]:
    """The release gate's report."""
    embedder = DlibEmbedder()
    galleries = {}
    for name, faces in sets.items():
        pictures = ((picture * 255.0).round().astype(np.uint8) for picture in faces.pictures)
        galleries[name], missed = embed_all(pictures, embedder)
        logger.info("embedded %s, %d without a face found", name, missed)
    spread = np.array(residual_sd(decoder.config.residuals))
    report = run_gate(lambda face: render(decoder, face), basis, spread, galleries, embedder, draws=draws)
    x, _ = design(sets["london"], basis)
    report["membership"] = membership(x, sets["london"], controls, textures, embedder)
    report["passed"] = passes(report)
    report["no_nearer_than_strangers"] = no_nearer_than_strangers(report)
    return report


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True, help="folder with faces/ and faces_synthetic/")
    parser.add_argument("--out", type=Path, required=True, help="folder for face.safetensors and face.json")
    parser.add_argument("--draws", type=int, default=DRAWS, help="random faces of the release gate; 0 leaves it out")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(arguments.starter, arguments.out, draws=arguments.draws)


if __name__ == "__main__":
    main()
