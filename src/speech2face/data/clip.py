"""One clip as its maker gives it: a recording, a photograph's face or both, and whose they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE, SAMPLE_SCALE
from speech2face.data.index import COLUMNS
from speech2face.data.layout import Layout
from speech2face.data.members import Samples
from speech2face.errors import DatasetError

Label = str | int | float | bool | None

# A dot would end a WebDataset key, and the longest member name has to fit tar's hundred bytes.
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording, one photograph or both, of one speaker.

    `waveform` is (samples,) at 16 kHz, float32 in [-1, 1] or int16; `face_embedding` (embedding,) float32;
    `aligned_face` (height, width, 3) uint8 RGB; `landmarks` (landmarks, 2) float32, (x, y) in pixels of the aligned
    face. A part that is None is missing in every clip of the data set. All clips have the same labels.
    """

    key: str
    speaker: str
    split: str
    waveform: NDArray[np.float32] | Samples | None = None
    face_embedding: NDArray[np.float32] | None = None
    aligned_face: NDArray[np.uint8] | None = None
    landmarks: NDArray[np.float32] | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    licence: str = ""
    consent: str = ""
    """On what the speaker's and the photographed person's consent rests."""

    @property
    def seconds(self) -> float:
        """Length of the waveform, 0 where there is none."""
        return 0.0 if self.waveform is None else self.waveform.size / SAMPLE_RATE


def layout_of(clip: Clip) -> Layout:
    """What a data set of clips like this one holds."""
    face = None if clip.aligned_face is None else clip.aligned_face.shape
    return Layout(
        waveform=clip.waveform is not None,
        embedding=None if clip.face_embedding is None else clip.face_embedding.size,
        face=None if face is None else (face[0], face[1]),
        landmarks=None if clip.landmarks is None else len(clip.landmarks),
    )


def check_clip(clip: Clip) -> None:
    """Refuse what could not be read back.

    Raises:
        DatasetError: a name, a shape, a type or a value is not as `Clip` says.
    """
    for what, name in (("key", clip.key), ("split", clip.split)):
        if not _KEY.fullmatch(name):
            raise DatasetError(f"the {what} {name!r} is none: up to 80 letters, digits, '_' and '-' of ASCII")
    for what, text in (("speaker", clip.speaker), ("licence", clip.licence), ("consent", clip.consent)):
        if not text.isprintable() or (what == "speaker" and not text.strip()):
            raise DatasetError(f"clip {clip.key}: the {what} {text!r} is none: one line of printable text")
    for label in clip.labels:
        if not _LABEL.fullmatch(label) or label in COLUMNS:
            raise DatasetError(
                f"clip {clip.key}: the label {label!r} is none: small letters, digits and '_', and not one of "
                + ", ".join(COLUMNS)
            )
    for label, value in clip.labels.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise DatasetError(f"clip {clip.key}: the label {label} is {value}; leave it None where it is not known")
    wrong = _wrong_array(clip)
    if wrong:
        raise DatasetError(f"clip {clip.key}: {wrong}")


def _wrong_array(clip: Clip) -> str | None:
    sound, embedding, face, points = clip.waveform, clip.face_embedding, clip.aligned_face, clip.landmarks
    if sound is None and embedding is None and face is None:
        return "holds nothing: neither waveform nor face"
    if sound is not None and (sound.ndim != 1 or not sound.size or sound.dtype not in (np.float32, np.int16)):
        return f"the waveform {sound.shape} of {sound.dtype} is none: (samples,) of float32 or int16"
    if sound is not None and sound.dtype == np.float32 and not float(np.abs(sound).max()) <= 1:
        return "the waveform leaves [-1, 1] or is not finite; scale or cut it first"
    if embedding is not None and (embedding.ndim != 1 or not embedding.size or embedding.dtype != np.float32):
        return f"the face embedding {embedding.shape} of {embedding.dtype} is none: (embedding,) of float32"
    if face is not None and (face.ndim != 3 or face.shape[2] != 3 or face.dtype != np.uint8 or not face.size):
        return f"the aligned face {face.shape} of {face.dtype} is none: (height, width, 3) of uint8"
    if points is not None and (
        points.ndim != 2 or points.shape[1] != 2 or points.dtype != np.float32 or not points.size
    ):
        return f"the landmarks {points.shape} of {points.dtype} are none: (landmarks, 2) of float32"
    for what, numbers in (("face embedding", embedding), ("landmarks", points)):
        if numbers is not None and not np.isfinite(numbers).all():
            return f"the {what} must be finite"
    return None


def to_samples(waveform: NDArray[np.float32] | Samples) -> Samples:
    """16-bit samples of a waveform; exact for what was 16-bit before."""
    if waveform.dtype == np.int16:
        return np.asarray(waveform, dtype=np.int16)
    scaled = np.rint(waveform * np.float32(SAMPLE_SCALE))
    return np.asarray(np.clip(scaled, -SAMPLE_SCALE, SAMPLE_SCALE - 1), dtype=np.int16)
