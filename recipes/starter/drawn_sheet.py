"""A sheet of drawn avatars beside their portraits: expected faces by age and gender, then draws of a stated seed.

python -m recipes.starter.drawn_sheet --out docs/images/drawn.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from speech2face.drawn.avatar import rasterise
from speech2face.limits import Style
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.portrait import draw_picture
from speech2face.provenance import comparison_facts, comparison_provenance, write_sheet

AGES, SEED = (20, 35, 50, 70), 7
CELL, SMALL, GAP = 180, 64, 10  # pixels


def sheet_embeddings(model: AttributeModel) -> list[list[np.ndarray]]:
    """Two rows of face embeddings: of women and men of `AGES` in the reference population; then one draw of each."""
    population, rng = model.release.population, np.random.default_rng(SEED)
    basis = population.basis
    even, rows = np.full(len(basis.groups), 1 / len(basis.groups)), (list[np.ndarray](), list[np.ndarray]())
    for femininity in (1.0, 0.0):
        for age in AGES:
            for row, groups, spread in ((rows[0], even, 0.0), (rows[1], rng.dirichlet(even * 2), 1.0)):
                residual = rng.standard_normal(len(population.residual_sd)) * population.residual_sd * spread
                row.append(np.concatenate([basis.design(age, femininity, groups), residual]).astype(np.float32))
    return list(rows)


def draw_sheet(model: AttributeModel) -> Image.Image:
    """Each face three times: portrait, drawing, the drawing at 64 pixels."""
    rows = sheet_embeddings(model)
    height = 2 * CELL + SMALL + 3 * GAP
    sheet = Image.new("RGB", (len(rows[0]) * (CELL + GAP) + GAP, len(rows) * height + GAP), "white")
    for number, row in enumerate(rows):
        for column, face_embedding in enumerate(row):
            x, y = GAP + column * (CELL + GAP), GAP + number * height
            drawn = draw_picture(model, face_embedding, Style.drawn, pixels=2 * CELL)
            assert drawn.drawing is not None
            for picture in (draw_picture(model, face_embedding).image, drawn.image):
                shown = Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.LANCZOS)
                sheet.paste(shown, (x, y))
                y += CELL + GAP // 2
            sheet.paste(Image.fromarray(rasterise(drawn.drawing, SMALL)), (x, y))
    return sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_attribute_model()
    release = model.release
    made = comparison_provenance(model_name=release.name, model_version=release.version, notice=model.notice)
    facts = comparison_facts("Portraits and their drawings", synthetic=3 * 4 * len(AGES))  # women and men, two rows
    write_sheet(np.asarray(draw_sheet(model)), made, facts, arguments.out)


if __name__ == "__main__":
    main()
