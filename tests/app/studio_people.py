"""What tests of the consent studio share: terms, a studio in this process, and what a person gives it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from speech2face.app.studio import PhotographReport
from speech2face.audio.recording import read_recording
from speech2face.consent import StudioTerms, consent_form
from speech2face.face.detect import Picture

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PORTRAIT = ROOT / "docs" / "images" / "portrait.png"  # a synthetic face: nobody's photograph
AT_HOME = "http://localhost:8766"


def terms(**changes: Any) -> StudioTerms:
    values: dict[str, Any] = {
        "organisation": "Example Clinic",
        "purpose": "To learn how voices and faces go together.",
        "contact": "studies@clinic.example",
        "licence": "LicenseRef-Example-study",
        "term_months": 24,
        "languages": ("en", "de"),
    }
    return StudioTerms(**(values | changes))


class StandInJudge:
    """Refuses pictures that are dark all over, in place of a finder of faces."""

    def judge(self, picture: Picture, *, kept: bool) -> PhotographReport:
        if picture.mean() < 20:
            return PhotographReport(("no_face",), ())
        return PhotographReport((), ("too_bright",) if picture.mean() > 235 else (), (0.2, 0.2, 0.7, 0.8))


def signing(asked: StudioTerms, **changes: Any) -> dict[str, Any]:
    form = consent_form(asked)
    return {
        "name": "Ada Example",
        "form_sha256": form.sha256,
        "statements": list(form.statements),
        "language": "en",
    } | changes


def speech(seconds: float, gain: float = 1.0) -> bytes:
    """A voice of the examples, s16le at 16 kHz, repeated up to `seconds`."""
    waveform = np.resize(read_recording(EXAMPLES / "female.mp3").waveform, round(seconds * 16_000))
    return np.asarray(np.clip(gain * waveform, -1, 1) * 32767, "<i2").tobytes()


def photograph(level: int = 120) -> bytes:
    """A JPEG with a note of where it was taken, as a telephone writes one."""
    image = Image.new("RGB", (320, 240), (level, level, level))
    exif = Image.Exif()
    exif[0x010E] = "taken at 52.5 N 13.4 E"
    sink = io.BytesIO()
    image.save(sink, "JPEG", exif=exif)
    return sink.getvalue()
