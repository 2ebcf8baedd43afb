"""A ranking as one picture: what the voice suggests, then the gallery's nearest faces, each labelled as what it is."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.contact_sheet import FAINT_INK, GAP_PIXELS, INK, PAPER
from speech2face.gallery.gallery import Hit
from speech2face.gallery.search import Search
from speech2face.provenance import comparison_facts, comparison_provenance, picture_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

PICTURE_PIXELS = 192
CAPTION_PIXELS = 78
HEADER_PIXELS, FOOTER_LINE_PIXELS = 64, 18
COLUMNS = 4
MOST_PICTURES = 40
NO_PICTURE = (228, 228, 228)
BESIDE_IT = "The first face is synthetic, the others are pictures of the gallery's own."
FROM_THE_GALLERY = "from the gallery, not the speaker"


def chance_text(chance: float) -> str:
    """A probability as a share one can picture: "1 in 250"."""
    return "certain" if chance >= 1 else f"1 in {1 / chance:,.0f}" if chance <= 0.05 else f"{chance:.0%}"


def captions(hit: Hit) -> tuple[str, str, str, str]:
    """Four lines under a face: what it is, rank, similarity and what a random order gives, whose it is."""
    return (
        FROM_THE_GALLERY,
        f"rank {hit.rank}   similarity {hit.cosine:.3f}",
        f"by chance this far up: {chance_text(hit.chance)}",
        hit.entry.speaker,
    )


def search_sheet_png(search: Search) -> bytes:
    """The sheet as a labelled PNG: a synthetic portrait, and beside it the gallery's own pictures if it keeps any."""
    shown = sum(bool(hit.entry.thumbnail) for hit in search.ranking.hits[:MOST_PICTURES])
    portrait = search.portrait
    provenance = comparison_provenance(
        model_name=portrait.model_name,
        model_version=portrait.model_version,
        notice=" ".join((portrait.notice, *([BESIDE_IT] if shown else []), *search.limits)),
        photographs=shown > 0,
    )
    facts = comparison_facts("Faces of a gallery nearest to what a voice suggests", synthetic=1, photographs=shown)
    return picture_bytes(draw_search_sheet(search), provenance, facts, small=True)


def draw_search_sheet(search: Search) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB; at most MOST_PICTURES faces are shown."""
    from PIL import Image, ImageDraw

    hits = search.ranking.hits[:MOST_PICTURES]
    cell, row_pixels = PICTURE_PIXELS + GAP_PIXELS, PICTURE_PIXELS + CAPTION_PIXELS + GAP_PIXELS
    width = COLUMNS * cell + GAP_PIXELS
    footer = [line for text in _footer(search) for line in textwrap.wrap(text, 112)]
    rows = -(-(len(hits) + 1) // COLUMNS)
    height = HEADER_PIXELS + rows * row_pixels + FOOTER_LINE_PIXELS * len(footer) + GAP_PIXELS
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _line(draw, (GAP_PIXELS, 12), "Faces of the gallery nearest to what the voice suggests", 20, width, INK)
    _line(draw, (GAP_PIXELS, 38), _title(search), 14, width, FAINT_INK)
    suggested = ("synthetic: what the voice suggests", "what the ranking is by", "", "")
    cells = [(Image.fromarray(search.portrait.image), suggested)]
    cells += [(_picture(hit.entry.thumbnail), captions(hit)) for hit in hits]
    for index, (picture, lines) in enumerate(cells):
        left = GAP_PIXELS + index % COLUMNS * cell
        top = HEADER_PIXELS + index // COLUMNS * row_pixels
        sheet.paste(picture.resize((PICTURE_PIXELS,) * 2, Image.Resampling.LANCZOS), (left, top))
        for number, text in enumerate(lines):
            below = top + PICTURE_PIXELS + 3 + 18 * number
            _line(draw, (left, below), text, 13, PICTURE_PIXELS, (INK, INK, FAINT_INK, FAINT_INK)[number])
    for number, text in enumerate(footer):
        below = height - GAP_PIXELS // 2 - FOOTER_LINE_PIXELS * (len(footer) - number)
        _line(draw, (GAP_PIXELS, below), text, 13, width - 2 * GAP_PIXELS, FAINT_INK)
    return np.asarray(sheet)


def _title(search: Search) -> str:
    kept = ", ".join(f"{name}={value}" for name, value in search.where.items())
    of = f"{search.ranking.of:,} faces" + (f" with {kept}" if kept else "")
    how = "every face compared" if search.ranking.exact else "searched by an index"
    return f"{search.gallery['name']}: {of}, {how}; {search.portrait.seconds_heard:.1f} s of speech heard"


def _footer(search: Search) -> tuple[str, ...]:
    mean, sd = search.ranking.random_cosine
    random = f"Similarity is the cosine of two face embeddings; a random face of it has {mean:.3f} +- {sd:.3f}."
    return (*search.limits, random)


def _picture(thumbnail: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(thumbnail), formats=("JPEG",)) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError):
        return Image.new("RGB", (PICTURE_PIXELS,) * 2, NO_PICTURE)


def _line(
    draw: ImageDraw, place: tuple[int, int], text: str, size: int, width: int, fill: tuple[int, int, int]
) -> None:
    """One line, made smaller, then cut, until it fits."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    while size > 9 and draw.textlength(text, font) > width:
        size -= 1
        font = ImageFont.load_default(size)
    while text and draw.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…"
    draw.text(place, text, fill=fill, font=font)
