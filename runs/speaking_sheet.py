"""Draw docs/images/speaking.jpg: frames of a face that speaks, beside the sound, in the three styles.

    python -m runs.speaking_sheet

The sound is made of known formants by the tests' own synthesiser, so that each frame's sound has a name and no licence
is needed; the voice whose face is shown is examples/male.flac.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from speech2face.audio.spectrogram import FloatArray
from speech2face.limits import Style
from speech2face.models import load_model
from speech2face.motion import FRAME, Pose, find_poses
from speech2face.portrait import reconstruct
from speech2face.provenance import comparison_facts, comparison_provenance, write_sheet
from speech2face.video import SpeakingFace, label
from tests.test_motion import VOWELS, hiss, murmur, pause, voiced

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "speaking.jpg"
SOUNDS = ("", "m", "a", "m", "a", "", "b", "o", "p", "u", "", "s", "i", "")
CELL, WAVE, MARGIN = 118, 54, 6
CROP = (96, 70, 416, 460)  # of 512 x 512


def sound_of(name: str) -> FloatArray:
    """A made sound, or a pause."""
    if name in VOWELS:
        return voiced(VOWELS[name], 0.2)
    made = {"m": murmur(0.12), "b": 0.15 * murmur(0.08), "s": hiss(0.16), "p": pause(0.08), "": pause(0.16)}
    return np.asarray(made[name], np.float32)


def draw_sheet() -> Image.Image:
    """A column a sound: its frame in three styles, its 40 ms and what is around them, its name."""
    model = load_model()
    pieces = [sound_of(name) for name in SOUNDS]
    sound = np.concatenate(pieces)
    ends = np.cumsum([piece.size for piece in pieces])
    middles = [int(end - piece.size / 2) for end, piece in zip(ends, pieces, strict=True)]
    poses = find_poses(sound)
    tall = round(CELL * (CROP[3] - CROP[1]) / (CROP[2] - CROP[0]))
    sheet = Image.new("RGB", (len(SOUNDS) * CELL, len(Style) * tall + WAVE + 40), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    for row, style in enumerate(Style):
        face = SpeakingFace(model, reconstruct(model, ROOT / "examples" / "male.flac", style=style))
        for column, middle in enumerate(middles):
            frame = Image.fromarray(face.frame(Pose.of(poses[middle // FRAME]), 512)).crop(CROP)
            sheet.paste(
                frame.resize((CELL - MARGIN, tall - MARGIN), Image.Resampling.LANCZOS), (column * CELL, row * tall)
            )
    top = len(Style) * tall + WAVE // 2
    loudest = float(np.abs(sound).max())
    for column, (name, piece) in enumerate(zip(SOUNDS, pieces, strict=True)):
        steps = np.array_split(piece, CELL - MARGIN)
        for x, step in enumerate(steps, column * CELL):
            high, low = (
                top - WAVE / 2 * np.sqrt(abs(edge) / loudest) * np.sign(edge) for edge in (step.max(), step.min())
            )
            draw.line([(x, high), (x, low)], fill=(60, 80, 120))
        draw.text(
            (column * CELL + (CELL - MARGIN) / 2, top + WAVE / 2 + 4),
            name or "pause",
            font=font,
            anchor="ma",
            fill="black",
        )
    sheet.paste(Image.fromarray(label(360, "synthetic average faces")), (MARGIN, MARGIN))
    return sheet


def main() -> None:
    """Write the sheet, labelled."""
    model = load_model()
    said = comparison_provenance(
        model_name=model.release.name, model_version=model.release.version, notice=model.notice
    )
    facts = comparison_facts("frames of a face that speaks", synthetic=len(SOUNDS) * len(Style))
    write_sheet(np.asarray(draw_sheet()), said, facts, OUT)


if __name__ == "__main__":
    main()
