"""The expected face and its draws on one sheet, labelled as what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from speech2face.face.detect import Picture
from speech2face.provenance import comparison_facts, comparison_provenance, picture_bytes

THUMBNAIL_PIXELS = 256
GAP_PIXELS = 16
LABEL_PIXELS = 28
HEADER_PIXELS = 64
FOOTER_PIXELS = 44
MAX_COLUMNS = 6
PAPER = (255, 255, 255)
INK = (32, 32, 32)
FAINT_INK = (110, 110, 110)
TYPE_PIXELS = 18


def column_count(pictures: int) -> int:
    """Columns that make the sheet about as wide as a screen: 4 pictures stand in 2 x 2, 9 in 3 x 3, many in sixes."""
    return max(2, min(MAX_COLUMNS, int(np.ceil(np.sqrt(pictures)))))


def draw_contact_sheet(
    expected: NDArray[np.uint8], samples: Sequence[NDArray[np.uint8]], *, title: str, footer: str
) -> NDArray[np.uint8]:
    """All pictures (height, width, 3) in rows, the expected face first; (sheet height, sheet width, 3) uint8 RGB."""
    pictures = [expected, *samples]
    columns = column_count(len(pictures))
    rows = -(-len(pictures) // columns)
    cell = THUMBNAIL_PIXELS + GAP_PIXELS
    size = (columns * cell + GAP_PIXELS, HEADER_PIXELS + rows * (cell + LABEL_PIXELS) + FOOTER_PIXELS)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    write_line(draw, (GAP_PIXELS, 14), title, size[0] - 2 * GAP_PIXELS, size=20, least=8)
    for index, picture in enumerate(pictures):
        left = GAP_PIXELS + index % columns * cell
        top = HEADER_PIXELS + index // columns * (cell + LABEL_PIXELS)
        thumbnail = Image.fromarray(picture).resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (left, top))
        label = "expected face" if index == 0 else f"draw {index:02d}"
        write_line(draw, (left, top + THUMBNAIL_PIXELS + 5), label, THUMBNAIL_PIXELS, FAINT_INK, size=15, least=8)
    under = (GAP_PIXELS, size[1] - FOOTER_PIXELS + 8)
    write_line(draw, under, footer, size[0] - 2 * GAP_PIXELS, FAINT_INK, size=15, least=8)
    return np.asarray(sheet)


def write_line(
    draw: ImageDraw.ImageDraw,
    where: tuple[int, int],
    text: str,
    width: int,
    fill: tuple[int, int, int] = INK,
    *,
    size: int = TYPE_PIXELS,
    least: int = 9,
) -> None:
    """Write one line of text, made smaller down to `least` pixels, then cut, until it fits the width."""
    while size > least and draw.textlength(text, ImageFont.load_default(size)) > width:
        size -= 1
    font = ImageFont.load_default(size)
    while text and draw.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…"
    draw.text(where, text, fill=fill, font=font)


# --- A sheet of faces: a column a clip, a row a kind of picture, and at the end the mean face to compare with.

GRID_THUMBNAIL_PIXELS = 224
GRID_GAP_PIXELS = 18
NAME_PIXELS = 168  # of the rows' names at the left
LINE_PIXELS = 24
ABSENT = (238, 239, 241)
FACT_LINES = 3
NOTICE = (
    "Faces from a voice or from a face embedding are synthetic. One from a voice is what voices like it most often go"
    " with in the data the model learned from, not the speaker's face."
)
WITH_ORIGINALS = "The row of original faces shows real people, photographed."


@dataclass(frozen=True)
class Column:
    """One clip: its pictures, None where there is none, and what is said under them."""

    original: Picture | None
    from_face: Picture | None
    from_voice: Picture | None
    facts: tuple[str, ...]


def draw_grid(
    columns: Sequence[Column], mean: Picture | None, *, heard: str, model: tuple[str, str] = ("", "")
) -> bytes:
    """A PNG of clips and the mean face; `heard` names the voices, such as "6 s of voice".

    Rows that nobody has are left out. The label says that it is synthetic, or partly so, and that the `model` of this
    name and version drew it.
    """
    originals = any(column.original is not None for column in columns)
    kinds: list[tuple[str, str, list[Picture | None]]] = []
    if originals:
        kinds.append(("Original face", "", [column.original for column in columns]))
    if any(column.from_face is not None for column in columns):
        kinds.append(("Face embedding", "synthetic", [column.from_face for column in columns]))
    last = [mean] if mean is not None else []
    if last or any(column.from_voice is not None for column in columns):
        kinds.append((heard, "synthetic", [*(column.from_voice for column in columns), *last]))
    cell = GRID_THUMBNAIL_PIXELS + GRID_GAP_PIXELS
    count = len(columns) + (mean is not None)
    size = (NAME_PIXELS + count * cell, len(kinds) * cell + FACT_LINES * LINE_PIXELS + GRID_GAP_PIXELS)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (name, more, pictures) in enumerate(kinds):
        top = GRID_GAP_PIXELS + number * cell
        write_line(
            draw, (GRID_GAP_PIXELS, top + GRID_THUMBNAIL_PIXELS // 2 - LINE_PIXELS), name, NAME_PIXELS - GRID_GAP_PIXELS
        )
        write_line(
            draw, (GRID_GAP_PIXELS, top + GRID_THUMBNAIL_PIXELS // 2), more, NAME_PIXELS - GRID_GAP_PIXELS, FAINT_INK
        )
        for place, picture in enumerate(pictures):
            _paste(sheet, draw, (NAME_PIXELS + place * cell, top), picture)
    top = GRID_GAP_PIXELS + len(kinds) * cell - GRID_GAP_PIXELS // 2
    under = [column.facts for column in columns] + [("mean face", "the same for all")] * (mean is not None)
    for place, facts in enumerate(under):
        for line, fact in enumerate(facts[:FACT_LINES]):
            where = (NAME_PIXELS + place * cell, top + line * LINE_PIXELS)
            write_line(draw, where, fact, GRID_THUMBNAIL_PIXELS, INK if line == 0 else FAINT_INK)
    real = sum(column.original is not None for column in columns)
    faces = sum(picture is not None for _, _, pictures in kinds for picture in pictures)
    name, version = model
    notice = f"{NOTICE} {WITH_ORIGINALS}" if real else NOTICE
    drawn = comparison_provenance(model_name=name, model_version=version, notice=notice, photographs=bool(real))
    counted = comparison_facts("Clips by a stated rule", synthetic=faces - real, photographs=real)
    return picture_bytes(np.asarray(sheet), drawn, counted, small=True)


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, where: tuple[int, int], picture: Picture | None) -> None:
    side = GRID_THUMBNAIL_PIXELS
    if picture is None:
        draw.rectangle((*where, where[0] + side - 1, where[1] + side - 1), fill=ABSENT)
        write_line(
            draw, (where[0] + GRID_GAP_PIXELS, where[1] + side // 2 - LINE_PIXELS // 2), "no picture", side, FAINT_INK
        )
        return
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    shown = image.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(shown, (where[0] + (side - size[0]) // 2, where[1] + (side - size[1]) // 2))


# --- Portraits of the same voices through every channel, side by side.

CHANNEL_PIXELS = 168
CHANNEL_GAP_PIXELS = 10
CHANNEL_HEAD_PIXELS = 58
CHANNEL_CAPTION_PIXELS = 24
CHANNEL_LEFT_PIXELS = 128
CHANNEL_FOOTER_PIXELS = 30
CHANNELS_FOOTER = (
    "Synthetic average faces, nobody's likeness. Under each: how far the embedding moved from the clean one (100 %: as"
    " far as another speaker), and the stated age and gender."
)


def draw_channels(
    pictures: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    captions: Sequence[Sequence[str]],
    model: tuple[str, str],
    notice: str,
) -> bytes:
    """A PNG of pictures (height, width, 3), a row a voice and a column a channel, each with its caption.

    The `model` of this name and version drew them, and `notice` is what it says of every picture.
    """
    name, version = model
    title = f"{name} {version}: the same voice through {len(columns)} channels"
    down = CHANNEL_PIXELS + CHANNEL_CAPTION_PIXELS
    width = CHANNEL_LEFT_PIXELS + len(columns) * (CHANNEL_PIXELS + CHANNEL_GAP_PIXELS)
    sheet = Image.new("RGB", (width, CHANNEL_HEAD_PIXELS + len(rows) * down + CHANNEL_FOOTER_PIXELS), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, normal, small = (ImageFont.load_default(points) for points in (17, 14, 13))
    draw.text((CHANNEL_GAP_PIXELS, 8), title, INK, large)
    for column, said in enumerate(columns):
        draw.text((CHANNEL_LEFT_PIXELS + column * (CHANNEL_PIXELS + CHANNEL_GAP_PIXELS), 36), said, FAINT_INK, normal)
    for row, said in enumerate(rows):
        top = CHANNEL_HEAD_PIXELS + row * down
        for line, text in enumerate(said.split("\n")):
            draw.text((CHANNEL_GAP_PIXELS, top + CHANNEL_PIXELS // 2 - 18 + 18 * line), text, FAINT_INK, small)
        for column, picture in enumerate(pictures[row]):
            left = CHANNEL_LEFT_PIXELS + column * (CHANNEL_PIXELS + CHANNEL_GAP_PIXELS)
            thumbnail = Image.fromarray(picture).resize((CHANNEL_PIXELS, CHANNEL_PIXELS), Image.Resampling.LANCZOS)
            sheet.paste(thumbnail, (left, top))
            draw.text((left, top + CHANNEL_PIXELS + 3), captions[row][column], INK, small)
    draw.text((CHANNEL_GAP_PIXELS, sheet.height - CHANNEL_FOOTER_PIXELS + 6), CHANNELS_FOOTER, FAINT_INK, small)
    drawn = comparison_provenance(model_name=name, model_version=version, notice=notice)
    facts = comparison_facts(title, synthetic=sum(map(len, pictures)))
    return picture_bytes(np.asarray(sheet), drawn, facts, small=True)


# --- Who spoke when: a row a voice, its face at the left and its stretches along the time of the recording.

TIMELINE_FACE_PIXELS = 120
TIMELINE_TEXT_PIXELS = 250
TIMELINE_BAR_PIXELS = 720
TIMELINE_TALL_PIXELS = 44
TICKS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
MOST_TICKS = 12
LANE = (240, 241, 243)
VOICE_COLOURS = (  # Okabe and Ito's, which people of every colour vision tell apart, and two darker ones
    *((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)),
    *((230, 159, 0), (86, 180, 233), (120, 94, 40), (90, 70, 150)),
)
UNDRAWN = (150, 150, 150)


@dataclass(frozen=True)
class TimelineRow:
    """One voice of a timeline: its face, None where none was drawn, what is said of it, and when it speaks.

    `segments` are from and to in seconds.
    """

    face: Picture | None
    lines: tuple[str, ...]
    segments: Sequence[tuple[float, float]]


def counted(number: int, thing: str, plural: str = "s") -> str:
    """So many things, in words: 1 draw, 2 draws."""
    return f"{number} {thing}{'' if number == 1 else plural}"


def draw_timeline(rows: Sequence[TimelineRow], *, seconds: float, title: str, footer: str) -> NDArray[np.uint8]:
    """Who spoke when in a recording of so many seconds; (height, width, 3) uint8 RGB."""
    gap, side = GAP_PIXELS, TIMELINE_FACE_PIXELS
    left = side + TIMELINE_TEXT_PIXELS + 3 * gap
    size = (
        left + TIMELINE_BAR_PIXELS + 2 * gap,
        HEADER_PIXELS + len(rows) * (side + gap) + LABEL_PIXELS + FOOTER_PIXELS,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    write_line(draw, (gap, 14), title, size[0] - 2 * gap, size=20, least=8)
    bottom = HEADER_PIXELS + len(rows) * (side + gap)

    def across(at: float) -> float:
        return left + TIMELINE_BAR_PIXELS * min(max(at / seconds, 0.0), 1.0)

    for number, row in enumerate(rows):
        top = HEADER_PIXELS + number * (side + gap)
        colour = VOICE_COLOURS[number % len(VOICE_COLOURS)] if row.face is not None else UNDRAWN
        if row.face is not None:
            sheet.paste(Image.fromarray(row.face).resize((side, side), Image.Resampling.LANCZOS), (gap, top))
        else:
            draw.rectangle((gap, top, gap + side - 1, top + side - 1), fill=ABSENT)
            write_line(draw, (gap + 10, top + side // 2 - 10), "not drawn", side - 20, FAINT_INK, size=15)
        first = top + side // 2 - LINE_PIXELS * len(row.lines) // 2
        for line, text in enumerate(row.lines):
            ink, points = (colour if row.face is not None else INK, 18) if line == 0 else (FAINT_INK, 15)
            where = (2 * gap + side, first + line * LINE_PIXELS)
            write_line(draw, where, text, TIMELINE_TEXT_PIXELS, ink, size=points)
        lane = top + (side - TIMELINE_TALL_PIXELS) // 2
        draw.rectangle((left, lane, left + TIMELINE_BAR_PIXELS, lane + TIMELINE_TALL_PIXELS), fill=LANE)
        for start, stop in row.segments:  # a word in an hour is still seen
            draw.rectangle(
                (across(start), lane, max(across(stop), across(start) + 1), lane + TIMELINE_TALL_PIXELS), fill=colour
            )
    step = next((each for each in TICKS_SECONDS if seconds / each <= MOST_TICKS), TICKS_SECONDS[-1])
    for at in range(0, int(seconds) + 1, step):
        draw.line((across(at), bottom - gap // 2, across(at), bottom), fill=FAINT_INK)
        clock = f"{at // 60}:{at % 60:02d}"
        where = (int(across(at) - draw.textlength(clock, ImageFont.load_default(14)) / 2), bottom + 3)
        write_line(draw, where, clock, TIMELINE_BAR_PIXELS, FAINT_INK, size=14)
    write_line(draw, (gap, size[1] - FOOTER_PIXELS + 14), footer, size[0] - 2 * gap, FAINT_INK, size=15, least=8)
    return np.asarray(sheet)


# --- The expected faces of one voice before and after a change of it.

PAIR_PIXELS = 384
PAIR_LINE_PIXELS = 26
PAIR_HEADS = "before", "after"


def draw_before_after(
    faces: Sequence[NDArray[np.uint8]],
    captions: Sequence[Sequence[str]],
    *,
    title: str,
    footer: Sequence[str],
    model: tuple[str, str],
    notice: str,
) -> bytes:
    """A PNG of two faces (height, width, 3) side by side, lines under each and under both.

    The `model` of this name and version drew them, and `notice` is what it says of every picture.
    """
    lines = max(map(len, captions))
    top = GAP_PIXELS + 2 * PAIR_LINE_PIXELS + 12
    under = top + PAIR_PIXELS + 8
    last = under + lines * PAIR_LINE_PIXELS + 10
    width = 3 * GAP_PIXELS + 2 * PAIR_PIXELS
    sheet = Image.new("RGB", (width, last + len(footer) * PAIR_LINE_PIXELS + GAP_PIXELS), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_line(draw, (GAP_PIXELS, GAP_PIXELS), title, width - 2 * GAP_PIXELS, size=22)
    for place, (face, caption) in enumerate(zip(faces, captions, strict=True)):
        left = GAP_PIXELS + place * (PAIR_PIXELS + GAP_PIXELS)
        write_line(draw, (left, top - PAIR_LINE_PIXELS), PAIR_HEADS[place], PAIR_PIXELS, FAINT_INK)
        shown = Image.fromarray(face).resize((PAIR_PIXELS, PAIR_PIXELS), Image.Resampling.LANCZOS)
        sheet.paste(shown, (left, top))
        for line, text in enumerate(caption):
            write_line(draw, (left, under + line * PAIR_LINE_PIXELS), text, PAIR_PIXELS)
    for line, text in enumerate(footer):
        where = (GAP_PIXELS, last + line * PAIR_LINE_PIXELS)
        write_line(draw, where, text, width - 2 * GAP_PIXELS, FAINT_INK, size=15)
    name, version = model
    drawn = comparison_provenance(model_name=name, model_version=version, notice=notice)
    return picture_bytes(np.asarray(sheet), drawn, comparison_facts(title, synthetic=len(faces)), small=True)
