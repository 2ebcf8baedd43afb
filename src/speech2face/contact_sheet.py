"""The expected face and its draws on one sheet, labelled as what they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

THUMBNAIL_PIXELS = 256
GAP_PIXELS = 16
LABEL_PIXELS = 28
HEADER_PIXELS = 64
FOOTER_PIXELS = 44
MAX_COLUMNS = 6
PAPER = (255, 255, 255)
INK = (32, 32, 32)
FAINT_INK = (110, 110, 110)


def column_count(pictures: int) -> int:
    """Columns that make the sheet about as wide as a screen: 4 pictures stand in 2 x 2, 9 in 3 x 3, many in sixes."""
    return max(2, min(MAX_COLUMNS, int(np.ceil(np.sqrt(pictures)))))


def draw_contact_sheet(
    expected: NDArray[np.uint8], samples: Sequence[NDArray[np.uint8]], *, title: str, footer: str
) -> NDArray[np.uint8]:
    """All pictures (height, width, 3) in rows, the expected face first; (sheet height, sheet width, 3) uint8 RGB."""
    from PIL import Image, ImageDraw

    pictures = [expected, *samples]
    columns = column_count(len(pictures))
    rows = -(-len(pictures) // columns)
    cell = THUMBNAIL_PIXELS + GAP_PIXELS
    size = (columns * cell + GAP_PIXELS, HEADER_PIXELS + rows * (cell + LABEL_PIXELS) + FOOTER_PIXELS)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (GAP_PIXELS, 14), title, size=20, width=size[0] - 2 * GAP_PIXELS)
    for index, picture in enumerate(pictures):
        left = GAP_PIXELS + index % columns * cell
        top = HEADER_PIXELS + index // columns * (cell + LABEL_PIXELS)
        thumbnail = Image.fromarray(picture).resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (left, top))
        label = "expected face" if index == 0 else f"draw {index:02d}"
        _write(draw, (left, top + THUMBNAIL_PIXELS + 5), label, size=15, width=THUMBNAIL_PIXELS, fill=FAINT_INK)
    _write(
        draw, (GAP_PIXELS, size[1] - FOOTER_PIXELS + 8), footer, size=15, width=size[0] - 2 * GAP_PIXELS, fill=FAINT_INK
    )
    return np.asarray(sheet)


def _write(
    draw: "ImageDraw",
    position: tuple[int, int],
    text: str,
    *,
    size: int,
    width: int,
    fill: tuple[int, int, int] = INK,
) -> None:
    """One line of text, made smaller until it fits the width."""
    from PIL import ImageFont

    while size > 8 and draw.textlength(text, ImageFont.load_default(size)) > width:
        size -= 1
    draw.text(position, text, fill=fill, font=ImageFont.load_default(size))
