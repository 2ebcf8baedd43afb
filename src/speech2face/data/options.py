"""What a preparation takes of each record, and what a face and a voice must be like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from speech2face.data.aligned import FACE_PIXELS
from speech2face.data.frames import FaceLimits
from speech2face.errors import InvalidOption
from speech2face.face.detector import SearchDetectorName

Want = Literal["recording and face", "recording and embedding", "recording", "face"]
LIMITS = "limits"
NO_NUMBERS = ("want", "detector", "detector_file", "detector_sha256", LIMITS)
WHOLE = ("frames", "face_pixels", "embed_at_once", "min_face_pixels")
MAY_BE_NONE = ("max_turn_degrees", "min_sharpness", "max_mouth_opening", "min_eye_opening", "max_outside")


@dataclass(frozen=True)
class PrepareOptions:
    """Everything that decides, with the records and the face embedder, what is in the shards."""

    want: Want = "recording and face"
    """`face`: no recording, for a decoder's data; `recording and embedding`: no aligned face, for an encoder's."""
    seconds: float = 6.0
    """Of speech, from the start of the span (Oh et al. 2019, section 3.1)."""
    min_seconds: float = 1.0
    """Shorter sound than this is left out; what is shorter than `seconds` is repeated by the reader."""
    min_speech_seconds: float = 1.0
    """Of speech in it, by WebRTC's detector; 0: music and noise are taken too."""
    frames: int = 5
    """Pictures of a video that are looked at, at most, in each of two attempts: key frames, then any."""
    face_pixels: int = FACE_PIXELS
    """Width and height of the aligned face."""
    detector: SearchDetectorName = "hog"
    """Finds the face in frames and photographs; `cnn` sees turned ones too, and is slow on a CPU; `yunet` is a file."""
    detector_file: str | None = None
    """The user's YuNet, an ONNX file at one place for all workers; for `yunet` only."""
    detector_sha256: str | None = None
    """Of that file: what is prepared depends on its bytes."""
    limits: FaceLimits = field(default_factory=FaceLimits)
    embed_at_once: int = 16
    """Faces that go through the embedder together."""

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise InvalidOption(f"preparation: {wrong}")

    @property
    def recording(self) -> bool:
        """Whether clips have a waveform."""
        return self.want != "face"

    @property
    def embedding(self) -> bool:
        """Whether clips have a face embedding."""
        return self.want != "recording"

    @property
    def face(self) -> bool:
        """Whether clips have an aligned face and its landmarks."""
        return self.want in ("recording and face", "face")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PrepareOptions:
        """From `to_dict`'s result; what is not named keeps its default.

        Raises:
            InvalidOption: an unknown name, or a value out of range.
        """
        limits = values.get(LIMITS, {})
        if not isinstance(limits, Mapping):
            raise InvalidOption(f"preparation: limits are a table, not {limits!r}")
        for kind, given in ((cls, values), (FaceLimits, limits)):
            known = [each.name for each in fields(kind)]
            if unknown := sorted(set(given) - set(known)):
                raise InvalidOption(f"preparation: {unknown[0]} is none of {', '.join(known)}")
        return cls(**{**values, LIMITS: FaceLimits(**limits)})


def _wrong(options: PrepareOptions) -> str | None:
    if options.want not in get_args(Want):
        return f"want is one of {', '.join(get_args(Want))}, not {options.want!r}"
    if options.detector not in get_args(SearchDetectorName):
        return f"detector is one of {', '.join(get_args(SearchDetectorName))}, not {options.detector!r}"
    if (options.detector == "yunet") != bool(options.detector_file and options.detector_sha256):
        return "the detector yunet, and no other, has a detector_file and its detector_sha256 (--detector-file FILE)"
    for name, value in (asdict(options) | asdict(options.limits)).items():
        if name in NO_NUMBERS or (value is None and name in MAY_BE_NONE):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            return f"{name} is a number from 0 upwards, not {value!r}"
        if name in WHOLE and (value != int(value) or value < 1):
            return f"{name} is a whole number from 1, not {value!r}"
    if not 0 < options.min_seconds <= options.seconds:
        return f"min_seconds is above 0 and not above the {options.seconds:g} seconds of a clip"
    if not 0 < options.limits.rival_share <= 1:
        return f"rival_share is above 0 and at most 1, not {options.limits.rival_share}"
    return None
