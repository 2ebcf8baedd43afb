"""A sheet of drawn avatars: expected faces by age and gender, draws of a stated seed, and every hair style.

python -m recipes.starter.drawn_sheet --out docs/images/drawn.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from speech2face.drawn.avatar import draw_avatar
from speech2face.drawn.contours import rasterise
from speech2face.face.appearance import HairStyle, sample_place
from speech2face.limits import Style
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.models.contract import Given
from speech2face.portrait import COLOUR_FROM, draw_picture, worn_hair
from speech2face.provenance import comparison_facts, comparison_provenance, write_sheet

AGES, HAIR_AGE, SEED = (20, 35, 50, 65, 80), 30, 7
CELL, SMALL, GAP = 150, 64, 8  # pixels


def sheet_embeddings(model: AttributeModel) -> list[list[np.ndarray]]:
    """Two rows of face embeddings: of women and men of `AGES` in the reference population; then one draw of each."""
    population, rng = model.release.population, np.random.default_rng(SEED)
    basis = population.basis
    even, rows = basis.even_groups, (list[np.ndarray](), list[np.ndarray]())
    for femininity in (1.0, 0.0):
        for age in AGES:
            for row, groups, spread in ((rows[0], even, 0.0), (rows[1], rng.dirichlet(even * 2), 1.0)):
                residual = rng.standard_normal(len(population.residual_sd)) * population.residual_sd * spread
                row.append(np.concatenate([basis.design(age, femininity, groups), residual]).astype(np.float32))
    return list(rows)


def faces(model: AttributeModel, face_embedding: np.ndarray, place: float | None) -> list[Image.Image]:
    """One face as portrait, drawing and line drawing, and both drawings at 64 pixels; `place` is that of its hair."""
    hair = worn_hair(model, face_embedding, Given(), place)
    portrait = Image.fromarray(draw_picture(model, face_embedding, hair=hair).image)
    shown, small = [portrait.resize((CELL, CELL), Image.Resampling.LANCZOS)], Image.new("RGB", (CELL, SMALL), "white")
    for number, style in enumerate((Style.drawn, Style.line)):
        drawn = draw_picture(model, face_embedding, style, pixels=CELL, hair=hair)
        assert drawn.drawing is not None
        shown.append(Image.fromarray(drawn.image))
        small.paste(Image.fromarray(rasterise(drawn.drawing, SMALL)), (number * (SMALL + GAP), 0))
    return [*shown, small]


def hair_styles(model: AttributeModel) -> list[Image.Image]:
    """Every hair style of a woman of `HAIR_AGE`, and under it of a man."""
    basis = model.release.population.basis
    pairs = []
    for hair in HairStyle:
        pair = Image.new("RGB", (CELL, 2 * CELL + GAP), "white")
        for number, femininity in enumerate((1.0, 0.0)):
            embedding = np.zeros(len(model.release.mean_embedding), np.float32)
            embedding[: basis.size] = basis.design(HAIR_AGE, femininity, np.full(len(basis.groups), 0.25))
            picture, landmarks = model.decode(embedding, COLOUR_FROM), model.landmarks(embedding)
            svg = draw_avatar(picture, landmarks, age=HAIR_AGE, femininity=femininity, hair=hair)
            pair.paste(Image.fromarray(rasterise(svg, CELL)), (0, number * (CELL + GAP)))
        pairs.append(pair)
    return pairs


def draw_sheet(model: AttributeModel) -> Image.Image:
    """The rows of expected faces and of draws, then those of hair styles."""
    columns = 2 * len(AGES)
    rows: list[list[list[Image.Image]]] = []
    for number, embeddings in enumerate(sheet_embeddings(model)):
        places = [sample_place(SEED, column) if number else None for column in range(columns)]
        rows.append([faces(model, one, place) for one, place in zip(embeddings, places, strict=True)])
    rows.append([[pair] for pair in hair_styles(model)])
    heights = [sum(picture.height + GAP for picture in row[0]) + GAP for row in rows]
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, sum(heights)), "white")
    for row, top in zip(rows, np.cumsum([GAP, *heights[:-1]]).tolist(), strict=True):
        for column, pictures in enumerate(row):
            y = top
            for picture in pictures:
                sheet.paste(picture, (GAP + column * (CELL + GAP), y))
                y += picture.height + GAP
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_attribute_model()
    release = model.release
    made = comparison_provenance(model_name=release.name, model_version=release.version, notice=model.notice)
    count = 2 * 2 * len(AGES) * 5 + 2 * len(HairStyle)  # women and men, two rows, five pictures each; hair styles
    facts = comparison_facts("Portraits, their drawings and hair styles", synthetic=count)
    write_sheet(np.asarray(draw_sheet(model)), made, facts, arguments.out)


if __name__ == "__main__":
    main()
