"""Portraits of the same voices through every channel, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from speech2face.contact_sheet import FAINT_INK, INK, PAPER
from speech2face.provenance import comparison_facts, comparison_provenance, picture_bytes
from speech2face.release import Release

CELL_PIXELS = 168
GAP_PIXELS = 10
HEAD_PIXELS = 58
CAPTION_PIXELS = 24
LEFT_PIXELS = 128
FOOTER_PIXELS = 30
FOOTER = (
    "Synthetic average faces, nobody's likeness. Under each: how far the embedding moved from the clean one (100 %: as"
    " far as another speaker), and the stated age and gender."
)


def draw_sheet(
    pictures: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    captions: Sequence[Sequence[str]],
    release: Release,
    notice: str,
) -> bytes:
    """A PNG of pictures (height, width, 3), a row a voice and a column a channel, each with its caption.

    `release` drew them, and `notice` is what it says of every picture.
    """
    title = f"{release.name} {release.version}: the same voice through {len(columns)} channels"
    down = CELL_PIXELS + CAPTION_PIXELS
    width = LEFT_PIXELS + len(columns) * (CELL_PIXELS + GAP_PIXELS)
    sheet = Image.new("RGB", (width, HEAD_PIXELS + len(rows) * down + FOOTER_PIXELS), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, normal, small = (ImageFont.load_default(points) for points in (17, 14, 13))
    draw.text((GAP_PIXELS, 8), title, INK, large)
    for column, name in enumerate(columns):
        draw.text((LEFT_PIXELS + column * (CELL_PIXELS + GAP_PIXELS), 36), name, FAINT_INK, normal)
    for row, name in enumerate(rows):
        top = HEAD_PIXELS + row * down
        for line, text in enumerate(name.split("\n")):
            draw.text((GAP_PIXELS, top + CELL_PIXELS // 2 - 18 + 18 * line), text, FAINT_INK, small)
        for column, picture in enumerate(pictures[row]):
            left = LEFT_PIXELS + column * (CELL_PIXELS + GAP_PIXELS)
            thumbnail = Image.fromarray(picture).resize((CELL_PIXELS, CELL_PIXELS), Image.Resampling.LANCZOS)
            sheet.paste(thumbnail, (left, top))
            draw.text((left, top + CELL_PIXELS + 3), captions[row][column], INK, small)
    draw.text((GAP_PIXELS, sheet.height - FOOTER_PIXELS + 6), FOOTER, FAINT_INK, small)
    drawn = comparison_provenance(model_name=release.name, model_version=release.version, notice=notice)
    facts = comparison_facts(title, synthetic=sum(map(len, pictures)))
    return picture_bytes(np.asarray(sheet), drawn, facts, small=True)
