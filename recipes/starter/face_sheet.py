"""Contact sheets of portraits over age, gender, group, hair and draws: python -m recipes.starter.face_sheet --help."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from recipes.starter.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.face.appearance import AttributeBasis, chosen_hair, most_frequent_hair, sample_place
from speech2face.provenance import NOTICE, comparison_provenance, write_sheet

AGES_YEARS = (20, 30, 40, 50, 60, 70, 80)
LABEL_PIXELS = 14


def load_release(folder: Path) -> tuple[LinearFaceDecoder, AttributeBasis, NDArray[np.float64]]:
    """Decoder, attribute basis and residual standard deviations of a release."""
    facts = json.loads((folder / "face.json").read_text(encoding="utf-8"))
    decoder = LinearFaceDecoder(LinearFaceDecoderConfig.from_dict(facts["decoder"]))
    decoder.load_state_dict(load_file(folder / "face.safetensors"))
    return decoder.eval(), AttributeBasis.from_dict(facts["attributes"]), np.array(facts["residual_sd"])


@torch.no_grad()
def render(decoder: LinearFaceDecoder, face_embedding: NDArray[np.floating], hair: str) -> NDArray[np.uint8]:
    """One face embedding (embedding,) with a style of hair to a picture (size, size, 3)."""
    style = torch.tensor([decoder.config.hair_styles.index(hair)])
    portrait = decoder(torch.from_numpy(np.asarray(face_embedding, dtype=np.float32))[None], style)[0]
    return np.ascontiguousarray((portrait.permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy())


def contact_sheet(rows: list[list[tuple[str, NDArray[np.uint8]]]], cell_pixels: int) -> Image.Image:
    """Labelled pictures in rows."""
    width = max(len(row) for row in rows) * cell_pixels
    sheet = Image.new("RGB", (width, len(rows) * (cell_pixels + LABEL_PIXELS)), "white")
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(rows):
        for c, (label, picture) in enumerate(row):
            corner = (c * cell_pixels, r * (cell_pixels + LABEL_PIXELS))
            draw.text((corner[0] + 4, corner[1] + 1), label, fill="black")
            scaled = Image.fromarray(picture).resize((cell_pixels, cell_pixels), Image.Resampling.LANCZOS)
            sheet.paste(scaled, (corner[0], corner[1] + LABEL_PIXELS))
    return sheet


def ages_sheet(folder: Path, *, draws: int, seed: int, cell_pixels: int) -> Image.Image:
    """Rows: expected woman, draws of women, expected man, draws of men; columns: age.

    A draw keeps its residuals, and its hair as far as the frequencies of each age allow.
    """
    decoder, basis, spread = load_release(folder)
    generator = np.random.default_rng(seed)
    rows = []
    everyone = basis.even_groups
    for name, femininity in (("woman", 1.0), ("man", 0.0)):
        for draw in range(draws + 1):
            groups = generator.dirichlet(np.full(len(basis.groups), 0.5)) if draw else everyone
            residuals = generator.normal(size=len(spread)) * spread * (draw > 0)
            label = f"{name}, draw {draw}" if draw else f"{name}, expected"
            row = []
            for age in AGES_YEARS:
                place = sample_place(seed, draw)
                style = chosen_hair(age, femininity, place) if draw else most_frequent_hair(age, femininity)
                face = np.r_[basis.design(age, femininity, groups), residuals]
                row.append((f"{label}, {age}", render(decoder, face, style)))
            rows.append(row)
    return contact_sheet(rows, cell_pixels)


def groups_sheet(folder: Path, *, cell_pixels: int) -> Image.Image:
    """Rows: gender and age; columns: everyone, then each group."""
    decoder, basis, spread = load_release(folder)
    count = len(basis.groups)
    weights = {"everyone": np.full(count, 1.0 / count)}
    weights.update({group: np.eye(count)[k] for k, group in enumerate(basis.groups)})
    rest = np.zeros(len(spread))
    rows = [
        [
            (
                f"{name} {age}, {group}",
                render(
                    decoder,
                    np.r_[basis.design(age, femininity, weight), rest],
                    most_frequent_hair(age, femininity),
                ),
            )
            for group, weight in weights.items()
        ]
        for name, femininity in (("woman", 1.0), ("man", 0.0))
        for age in (25, 45, 70)
    ]
    return contact_sheet(rows, cell_pixels)


def hair_sheet(folder: Path, *, cell_pixels: int) -> Image.Image:
    """Rows: expected woman and man of three ages; columns: every style of hair."""
    decoder, basis, spread = load_release(folder)
    everyone, rest = basis.even_groups, np.zeros(len(spread))
    rows = [
        [
            (f"{name} {age}, {style}", render(decoder, np.r_[basis.design(age, femininity, everyone), rest], style))
            for style in decoder.config.hair_styles
        ]
        for name, femininity in (("woman", 1.0), ("man", 0.0))
        for age in (25, 50, 75)
    ]
    return contact_sheet(rows, cell_pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder with face.safetensors and face.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", type=int, default=192, help="pixels of one portrait")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    made = comparison_provenance(model_name="face model in training", model_version="", notice=NOTICE)
    sheets = {
        "faces_by_age.jpg": ages_sheet(
            arguments.weights, draws=arguments.draws, seed=arguments.seed, cell_pixels=arguments.cell
        ),
        "faces_by_group.jpg": groups_sheet(arguments.weights, cell_pixels=arguments.cell),
        "faces_by_hair.jpg": hair_sheet(arguments.weights, cell_pixels=arguments.cell),
    }
    for name, sheet in sheets.items():
        write_sheet(np.asarray(sheet), made, {}, arguments.out / name)


if __name__ == "__main__":
    main()
