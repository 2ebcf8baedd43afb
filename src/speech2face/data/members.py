"""A clip's files inside a tar shard: how each part becomes bytes and is read back, and how tar frames them.

POSIX ustar (IEEE Std 1003.1-1988, pax "ustar Interchange Format"), written with fixed owner and time so that the same
clips give the same bytes, and read by hand: `tarfile` takes as long for one member as the rest of a clip together.
"""

from __future__ import annotations

import io
import math
import re
import struct
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from speech2face.audio.spectrogram import SAMPLE_RATE, SAMPLE_SCALE
from speech2face.data.manifest import BLOCK, COLUMNS, Layout
from speech2face.errors import DatasetError
from speech2face.inputs import array_of

# Ends of the members' names, in the order in which they lie. The picture, the largest part not every training reads,
# comes last: what lies before it is one read.
FACTS = "json"
FACE_EMBEDDING = "embedding.npy"
LANDMARKS = "landmarks.npy"
WAVEFORM = "wav"
ALIGNED_FACE = "face.png"
_CHECKSUM = slice(148, 156)  # of a header: counted as spaces
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_PCM = 1
_SAMPLE_BYTES = 2
# A noisy face of 224 pixels is written in 13.5 ms and 62.8 kB with 6, in 4.5 ms and 63.1 kB with 3, in 3.0 ms and
# 67.5 kB with 1; a smooth one in 6.8 ms and 32.5 kB, 2.6 and 34.0, 2.4 and 35.4. All are read in about 1 ms.
_PNG_COMPRESSION = 3
Samples = NDArray[np.int16]


class Malformed(ValueError):
    """Bytes that are not what they should be; whoever knows the file's name turns it into a DatasetError."""


def framed(name: str, content: bytes) -> bytes:
    """One tar member: header, content, padding to whole blocks."""
    entry = tarfile.TarInfo(name)  # owner 0, time 0, mode 644
    entry.size = len(content)
    header = entry.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return header + content + bytes(-len(content) % BLOCK)


def members(span: bytes) -> Iterator[tuple[str, memoryview]]:
    """Name and content of each member in a stretch of a tar file that starts at a header and ends after a member."""
    view, place = memoryview(span), 0
    while place < len(span):
        header = span[place : place + BLOCK]
        name, size = _read_header(header)
        place += BLOCK
        if place + size > len(span):
            raise Malformed(f"{name} should have {size} bytes, {len(span) - place} are left")
        yield name, view[place : place + size]
        place += size + -size % BLOCK


def _read_header(header: bytes) -> tuple[str, int]:
    if len(header) < BLOCK or header[257:262] != b"ustar":
        raise Malformed("no tar header where one should be")
    try:
        stated = int(header[_CHECKSUM].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0"), 8)
        name = header[:100].rstrip(b"\0").decode("ascii")
    except ValueError as error:
        raise Malformed("a tar header that is no tar header") from error
    if sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ") != stated:
        raise Malformed(f"the tar header of {name!r} contradicts its checksum")
    return name, size


def encode_wav(samples: Samples) -> bytes:
    """16-bit PCM, mono, 16 kHz."""
    content = samples.astype("<i2").tobytes()
    rate = SAMPLE_RATE * _SAMPLE_BYTES
    header = _WAV_HEADER.pack(
        *(b"RIFF", _WAV_HEADER.size - 8 + len(content), b"WAVE"),
        *(b"fmt ", 16, _PCM, 1, SAMPLE_RATE, rate, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES),
        *(b"data", len(content)),
    )
    return header + content


def decode_wav(content: memoryview) -> Samples:
    """(samples,) of a WAV of 16-bit PCM, mono, 16 kHz; a view, nothing is copied. Other chunks are passed over."""
    if bytes(content[:4]) != b"RIFF" or bytes(content[8:12]) != b"WAVE":
        raise Malformed("no WAV")
    place, described = 12, False
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if place + size > len(content):
            raise Malformed(f"a WAV cut short: its chunk {name!r} should have {size} bytes")
        if name == b"fmt ":
            _check_wav_format(content[place : place + size])
            described = True
        elif name == b"data" and described:
            if size < _SAMPLE_BYTES:
                raise Malformed("a WAV without samples")
            return np.frombuffer(content[place : place + size - size % _SAMPLE_BYTES], dtype="<i2")
        place += size + size % 2  # chunks are padded to even lengths
    raise Malformed("a WAV without samples")


def _check_wav_format(chunk: memoryview) -> None:
    if len(chunk) < 16:
        raise Malformed("a WAV whose format chunk is cut short")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if rate != SAMPLE_RATE:
        raise Malformed(f"a WAV of {rate} Hz; {SAMPLE_RATE} Hz is needed")
    if (kind, channels, bits) != (_PCM, 1, 8 * _SAMPLE_BYTES):
        raise Malformed(f"a WAV of format {kind}, {channels} channels and {bits} bits; 16-bit PCM mono is needed")


def encode_npy(array: NDArray[np.float32]) -> bytes:
    """NumPy's own format, version 1."""
    sink = io.BytesIO()
    np.lib.format.write_array(sink, np.ascontiguousarray(array, dtype="<f4"), version=(1, 0), allow_pickle=False)
    return sink.getvalue()


def decode_npy(content: memoryview, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A finite float32 array of a known shape; never a pickle."""
    header = _npy_header(shape)
    if content[: len(header)] == header and len(content) == len(header) + 4 * int(np.prod(shape)):
        found = np.frombuffer(content[len(header) :], dtype="<f4").reshape(shape)
    else:  # written by something else, or wrong: NumPy knows; 20 times slower than the comparison
        try:
            found = array_of(content)
        except ValueError as error:
            raise Malformed(f"no NumPy array of numbers ({error})") from error
        if found.dtype != np.float32 or found.shape != shape:
            raise Malformed(f"an array {found.shape} of {found.dtype}; {shape} of float32 is needed")
    if not np.isfinite(found).all():
        raise Malformed("an array with a value that is not finite")
    return found


_HEADERS: dict[tuple[int, ...], bytes] = {}


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """What `encode_npy` writes before the numbers of an array of this shape."""
    if shape not in _HEADERS:
        content = encode_npy(np.zeros(shape, dtype=np.float32))
        _HEADERS[shape] = content[: len(content) - 4 * int(np.prod(shape))]
    return _HEADERS[shape]


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (height, width, 3), RGB."""
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "PNG", compress_level=_PNG_COMPRESSION)
    return sink.getvalue()


def decode_png(content: memoryview, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width, 3), RGB, of a known height and width."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            found = np.asarray(picture) if picture.mode == "RGB" else None
            height, width, mode = picture.height, picture.width, picture.mode
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Malformed(f"no PNG that can be read ({error})") from error
    if found is None or (height, width) != size:
        raise Malformed(f"a picture {height} x {width} in {mode}; {size[0]} x {size[1]} in RGB is needed")
    return found


# --- One clip as its maker gives it: a recording, a photograph's face or both, and whose they are.

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
