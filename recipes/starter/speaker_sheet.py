"""Portraits of validation speakers chosen by a stated rule, failures included, each beside what the speaker said.

python -m recipes.starter.speaker_sheet --starter ../shared/starter --out docs/images/speakers.png \\
    --strip docs/images/voices.jpg

The strip is the README's picture: one row, of voices whose recordings are in the public domain (CC0). No recording and
no name is drawn: every face is the expected face of an age and a gender reading.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from speech2face.errors import Speech2FaceError
from speech2face.evaluation.clips import Gender, Speaker, read_speakers
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.portrait import reconstruct
from speech2face.provenance import comparison_facts, comparison_provenance, write_sheet
from speech2face.sheets import FAINT_INK, GAP_PIXELS, INK, PAPER, write_line

logger = logging.getLogger(__name__)

LEAST_SECONDS = 3.0
EACH = 4  # faces in a row
GENDER_FROM_AGE = 15  # the gender scores leave out voices that may not have broken yet; so does the row of misreadings
THUMBNAIL_PIXELS = 200
CAPTION_PIXELS = 48
ROW_HEAD_PIXELS = 34
HEADER_PIXELS = 78
FOOTER_PIXELS = 50
RULE = (
    "Rule: validation speakers with 3 s of speech or more. Adults are ordered by how far the stated age is from the",
    "one they gave (a decade: its middle): four best, four around the median, four worst. Children are apart.",
)
FOOTER = (
    "Synthetic average faces, nobody's likeness. Stated: mean age [80 % interval], the voice read as a woman's (f) or",
    "a man's (m) with its probability; child?: with the caution of a likely child.",
)
STRIP_SOURCE = "Common Voice 6.1"  # CC0: nobody's terms bind whoever passes the picture on
STRIP_FROM = (20, 40, 60)  # first years of the decades shown
STRIP_PIXELS = 250
STRIP_TYPE_PIXELS = 22
STRIP_RULE = (
    "Of each gender and decade the validation speaker of median age error. Synthetic average faces of voices like"
    " these, not the speakers."
)


@dataclass(frozen=True)
class Reading:
    """What one validation speaker said of themselves and what the release stated of their voice."""

    speaker: Speaker
    age: float
    interval: tuple[float, float]  # 80 %
    femininity: float
    cautions: tuple[str, ...]

    @property
    def error_years(self) -> float:
        """How far the stated age is from the middle of the one the speaker gave."""
        return abs(self.age - self.speaker.age_years)

    @property
    def misread(self) -> bool:
        """Whether the voice is read as the other gender than the one given, for those whose voice has broken."""
        speaker = self.speaker
        if speaker.gender is None or speaker.age is None or speaker.age[0] < GENDER_FROM_AGE:
            return False
        return (self.femininity >= 0.5) != (speaker.gender == "female")


@dataclass(frozen=True)
class Row:
    """A row of the sheet: what it shows, and of whom."""

    title: str
    readings: tuple[Reading, ...]


def read_validation(model: AttributeModel, speakers: Sequence[Speaker]) -> tuple[list[Reading], int, int]:
    """Readings of validation speakers of known age with enough speech; how many were refused, how many too short."""
    readings, refused, short = [], 0, 0
    for speaker in speakers:
        if speaker.split != "validation" or speaker.age is None:
            continue
        try:
            portrait = reconstruct(model, speaker.file)
        except Speech2FaceError as error:
            refused += 1
            logger.info("refused: %s", type(error).__name__)
            continue
        if portrait.seconds_heard < LEAST_SECONDS:
            short += 1
            continue
        attributes = portrait.attributes
        assert attributes is not None
        codes = tuple(caution.code for caution in portrait.cautions)
        readings.append(Reading(speaker, attributes.age_mean, attributes.age_interval(), attributes.femininity, codes))
    return readings, refused, short


def evenly(readings: Sequence[Reading], count: int) -> tuple[Reading, ...]:
    """`count` of the readings, from the first to the last in even steps."""
    if len(readings) <= count:
        return tuple(readings)
    return tuple(readings[int(place)] for place in np.linspace(0, len(readings) - 1, count).round())


def choose(readings: Sequence[Reading]) -> list[Row]:
    """The rows of the sheet by the stated rule; ties go by the speaker's name, so that the choice can be repeated."""
    adults = sorted((r for r in readings if r.speaker.is_adult), key=lambda r: (r.error_years, r.speaker.name))
    middle = max(0, len(adults) // 2 - EACH // 2)
    misread = sorted((r for r in readings if r.misread), key=lambda r: (-abs(r.femininity - 0.5), r.speaker.name))
    children = sorted((r for r in readings if r.speaker.is_child), key=lambda r: (r.speaker.age_years, r.speaker.name))
    warned = sum("likely_child" in r.cautions for r in children)
    median = f"median {np.median([r.error_years for r in adults]):.1f} years" if adults else "nobody"
    return [
        Row(f"Age: best of {len(adults)} adults", tuple(adults[:EACH])),
        Row(f"Age: around the median ({median})", tuple(adults[middle : middle + EACH])),
        Row("Age: worst", tuple(adults[-EACH:])),
        Row(f"Gender misread: {len(misread)} voices, the surest first", tuple(misread[:EACH])),
        Row(f"Children under 13, by age: {warned} of {len(children)} got the caution", evenly(children, EACH)),
    ]


def choose_strip(readings: Sequence[Reading]) -> list[tuple[str, Reading]]:
    """Who stands on the strip, and under which words: of each gender and decade the speaker of median age error.

    Nobody stands for a decade in which nobody spoke; of an even number the nearer one of the middle two is taken.
    """
    chosen = []
    genders: tuple[tuple[Gender, str], ...] = (("female", "woman"), ("male", "man"))
    for gender, word in genders:
        for low in STRIP_FROM:
            of_cell = sorted(
                (
                    reading
                    for reading in readings
                    if (reading.speaker.source, reading.speaker.gender, reading.speaker.age)
                    == (STRIP_SOURCE, gender, (low, low + 10))
                ),
                key=lambda reading: (reading.error_years, reading.speaker.name),
            )
            if of_cell:
                chosen.append((f"{word}, {low}s ({len(of_cell)} heard)", of_cell[(len(of_cell) - 1) // 2]))
    return chosen


def draw_strip(chosen: Sequence[tuple[str, Reading]], pictures: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """One row of pictures (height, width, 3), each over what was said of the voice and what was read from it."""
    cell, line = STRIP_PIXELS + GAP_PIXELS, STRIP_TYPE_PIXELS + 8
    size = (len(chosen) * cell + GAP_PIXELS, GAP_PIXELS + STRIP_PIXELS + 4 * line)
    strip = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(strip)
    for column, ((who, reading), face) in enumerate(zip(chosen, pictures, strict=True)):
        left, below = GAP_PIXELS + column * cell, GAP_PIXELS + STRIP_PIXELS + 6
        thumbnail = Image.fromarray(face).resize((STRIP_PIXELS, STRIP_PIXELS), Image.Resampling.LANCZOS)
        strip.paste(thumbnail, (left, GAP_PIXELS))
        low, high = reading.interval
        read = f"read {reading.age:.0f} [{low:.0f} to {high:.0f}], {'f' if reading.femininity >= 0.5 else 'm'}"
        write_line(draw, (left, below), who, STRIP_PIXELS, FAINT_INK, size=STRIP_TYPE_PIXELS)
        write_line(draw, (left, below + line), read, STRIP_PIXELS, size=STRIP_TYPE_PIXELS)
    foot = (GAP_PIXELS, size[1] - line - 8)
    write_line(draw, foot, STRIP_RULE, size[0] - 2 * GAP_PIXELS, FAINT_INK, size=STRIP_TYPE_PIXELS)
    return strip


def said(speaker: Speaker) -> str:
    """What the speaker gave, or annotators for them: "said f, 20s", "said m, 31", "annotators: m, 20-50"."""
    gender = {"female": "f", "male": "m", None: "gender not given"}[speaker.gender]
    assert speaker.age is not None
    low, high = speaker.age
    if speaker.age_is_impression:
        return f"annotators: {gender}, {low}-{high}"
    if high - low == 1:
        return f"said {gender}, {low}"
    return f"said {gender}, teens" if low < 20 else f"said {gender}, {low}s"


def caption(reading: Reading) -> tuple[str, str]:
    """Two lines under a portrait: what was said, and what is stated."""
    low, high = reading.interval
    letter, probability = ("f", reading.femininity) if reading.femininity >= 0.5 else ("m", 1 - reading.femininity)
    child = ", child?" if "likely_child" in reading.cautions else ""
    return said(reading.speaker), f"stated {reading.age:.0f} [{low:.0f}-{high:.0f}], {letter} {probability:.2f}{child}"


def draw_sheet(rows: Sequence[Row], pictures: Sequence[Sequence[NDArray[np.uint8]]], *, title: str) -> Image.Image:
    """One picture (height, width, 3) for each reading, row by row under its title."""
    cell = THUMBNAIL_PIXELS + GAP_PIXELS
    row_pixels = ROW_HEAD_PIXELS + THUMBNAIL_PIXELS + CAPTION_PIXELS
    size = (EACH * cell + GAP_PIXELS, HEADER_PIXELS + len(rows) * row_pixels + FOOTER_PIXELS)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    large, normal, small = (ImageFont.load_default(points) for points in (19, 15, 13))
    draw.text((GAP_PIXELS, 10), title, INK, large)
    for line, text in enumerate(RULE):
        draw.text((GAP_PIXELS, 38 + 17 * line), text, FAINT_INK, small)
    for index, (row, faces) in enumerate(zip(rows, pictures, strict=True)):
        top = HEADER_PIXELS + index * row_pixels
        draw.text((GAP_PIXELS, top + 9), row.title, INK, normal)
        for column, (reading, face) in enumerate(zip(row.readings, faces, strict=True)):
            left = GAP_PIXELS + column * cell
            thumbnail = Image.fromarray(face).resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
            sheet.paste(thumbnail, (left, top + ROW_HEAD_PIXELS))
            for line, text in enumerate(caption(reading)):
                below = top + ROW_HEAD_PIXELS + THUMBNAIL_PIXELS + 5 + 18 * line
                draw.text((left, below), text, (FAINT_INK, INK)[line], small)
    for line, text in enumerate(FOOTER):
        draw.text((GAP_PIXELS, size[1] - FOOTER_PIXELS + 8 + 17 * line), text, FAINT_INK, small)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True, help="the starter folder with voices/")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    parser.add_argument("--strip", type=Path, help="the strip of single voices to write")
    parser.add_argument("--release", type=Path, help="another release than the shipped one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = load_attribute_model(arguments.release)
    readings, refused, short = read_validation(model, read_speakers(arguments.starter))
    rows = choose(readings)
    pictures = [[reconstruct(model, reading.speaker.file).image for reading in row.readings] for row in rows]
    counts = f"{len(readings)} heard, {short} under {LEAST_SECONDS:.0f} s, {refused} refused"
    title = f"Validation speakers, {model.release.name} {model.release.version}: {counts}"
    sheet = draw_sheet(rows, pictures, title=title)
    made = comparison_provenance(
        model_name=model.release.name, model_version=model.release.version, notice=model.notice
    )
    facts = comparison_facts(title, synthetic=sum(map(len, pictures)))
    write_sheet(np.asarray(sheet), made, facts, arguments.out)
    if arguments.strip is not None:
        chosen = choose_strip(readings)
        faces = [reconstruct(model, reading.speaker.file).image for _, reading in chosen]
        facts = comparison_facts("Validation speakers of median age error", synthetic=len(faces))
        write_sheet(np.asarray(draw_strip(chosen, faces)), made, facts, arguments.strip)
    logger.info("%s", title)
    for row in rows:
        logger.info("%s", row.title)
        for reading in row.readings:
            logger.info("  %s / %s", *caption(reading))


if __name__ == "__main__":
    main()
