"""A signed picture, and hands that do things to its parts."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from speech2face.provenance import Provenance, picture_bytes
from speech2face.signing import Credential, PictureSigner, load_credential, write_development_credential

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
PROVENANCE = Provenance(
    model_name="planted",
    model_version="1.2",
    creator_tool="speech2face 0.1.0",
    notice="nobody's likeness",
    given={"age": "40"},
    exaggerate=0.5,
    seed=7,
)
FACTS = {"age": 41.5, "age_interval_80": [30.0, 50.0], "given": {"age": 40.0}, "exaggerate": 0.5, "cautions": []}
MODEL_SHA256 = "0" * 63 + "7"
PNG_HEAD = 8  # bytes before the first chunk
Chunk = tuple[bytes, bytes]


@cache
def credential() -> Credential:
    """A development credential, made once."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        key, certificate, _ = write_development_credential(Path(folder))
        return load_credential(key, certificate)


@cache
def signer() -> PictureSigner:
    return PictureSigner(credential(), {"planted": MODEL_SHA256})


@cache
def signed() -> bytes:
    return picture_bytes(PICTURE, PROVENANCE, FACTS, signer=signer())


def chunks(png: bytes) -> Iterator[Chunk]:
    """Kind and content of each chunk (PNG specification, section 5.3)."""
    at = PNG_HEAD
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def joined(parts: list[Chunk]) -> bytes:
    framed = (struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
              for kind, content in parts)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def with_chunks(png: bytes, change: Callable[[Chunk], Chunk | None]) -> bytes:
    """The picture with each chunk changed, or left out where `change` gives None."""
    changed = [change(chunk) for chunk in chunks(png)]
    return joined([chunk for chunk in changed if chunk is not None])


def with_pixels(png: bytes, image: np.ndarray) -> bytes:
    """Other pixels under the same manifest and the same texts."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=9)
    fresh = [*chunks(file.getvalue())]
    parts = [chunk for chunk in chunks(png) if chunk[0] != b"IDAT"]
    place = next(number for number, (kind, _) in enumerate(parts) if kind == b"IEND")
    return joined([fresh[0], *parts[1:place], *(chunk for chunk in fresh if chunk[0] == b"IDAT"), *parts[place:]])


@cache
def film(encoding: Literal["mp4", "webm"], *, is_signed: bool = True) -> bytes:
    """A fifth of a second of a face at rest, as MP4, which can be signed, or as WebM."""
    from speech2face.models import load_model
    from speech2face.portrait import reconstruct
    from speech2face.video import Turn, video_bytes

    model = load_model()
    portrait = reconstruct(model, Path(__file__).parents[2] / "examples" / "male.flac", style="drawn")
    turns, key = [Turn(0.0, 0.2, portrait)], signer() if is_signed else None
    return video_bytes(model, np.zeros(3200, np.float32), turns, encoding=encoding, pixels=128, signer=key)


def signed_film() -> bytes:
    """The MP4, signed."""
    return film("mp4")
