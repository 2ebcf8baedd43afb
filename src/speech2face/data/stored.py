"""What lies in a shard, read from its bytes alone, one clip at a time; nothing may hide between the clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from speech2face.data.layout import Layout
from speech2face.data.members import (
    ALIGNED_FACE,
    BLOCK,
    END_OF_ARCHIVE,
    FACE_EMBEDDING,
    FACTS,
    LANDMARKS,
    WAVEFORM,
    Malformed,
    framed,
    members,
)
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError
from speech2face.untrusted import array_of, parse_json

ENDS = (FACTS, FACE_EMBEDDING, LANDMARKS, WAVEFORM, ALIGNED_FACE)
FACT_NAMES = {"speaker", "split", "seconds", "licence", "consent", "labels"}
_NAME_BYTES = 100  # of a tar header


@dataclass(frozen=True, eq=False)
class StoredClip:
    """One clip as it lies in a shard."""

    key: str
    span: bytes
    """All of its bytes, tar headers included."""
    length_without_face: int
    facts: dict[str, Any]
    parts: dict[str, memoryview]
    """Content by the member's end: `wav`, `face.png` ..."""

    @property
    def speaker(self) -> str:
        """Whose it is, as its own bytes say."""
        return str(self.facts["speaker"])


def stored_clips(file: BinaryIO, where: str) -> Iterator[StoredClip]:
    """Each clip of a shard, from a file open at its beginning; every byte is read and accounted for.

    Raises:
        DatasetError: a byte is none of a clip's: something else lies in the shard, or it is damaged.
    """
    key, span = "", b""
    for name, member in _framed_members(file, where):
        this = name.split(".", 1)[0]
        if this != key and span:
            yield _clip(key, span, where)
            span = b""
        key, span = this, span + member
    if span:
        yield _clip(key, span, where)


def _framed_members(file: BinaryIO, where: str) -> Iterator[tuple[str, bytes]]:
    """Name and all bytes of each member."""
    while True:
        header = file.read(BLOCK)
        if header == bytes(BLOCK):
            if header + file.read(len(END_OF_ARCHIVE)) != END_OF_ARCHIVE or file.read(1):
                raise DatasetError(f"{where} does not end where its clips do; prepare the shard anew")
            return
        try:
            name = header[:_NAME_BYTES].rstrip(b"\0").decode("ascii")
            size = int(header[124:136].strip(b" \0"), 8)
            content = file.read(size + -size % BLOCK)
            if framed(name, content[:size]) != header + content:
                raise Malformed(f"a member {name!r} that this program did not write")
        except (ValueError, UnicodeError) as error:  # Malformed is one
            raise DatasetError(f"{where} is damaged: {error}; copy it again or prepare it anew") from error
        yield name, header + content


def _clip(key: str, span: bytes, where: str) -> StoredClip:
    parts = {name.split(".", 1)[1]: content for name, content in members(span)}
    try:
        facts = parse_json(bytes(parts[FACTS]))
        strange = (set(parts) - set(ENDS)) | (set(facts) ^ FACT_NAMES)
        if strange:
            raise ValueError(f"{sorted(strange)[0]} is unknown or missing")
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{where}: clip {key} is none of this format ({error}); prepare the shard anew") from error
    face = parts.get(ALIGNED_FACE)
    face_bytes = 0 if face is None else BLOCK + len(face) + -len(face) % BLOCK
    return StoredClip(key, span, len(span) - face_bytes, facts, parts)


def stored_layout(storage: Storage, shard: str) -> Layout:
    """What the clips of a shard hold, by its first.

    Raises:
        DatasetError: it cannot be read.
    """
    import io

    from PIL import Image

    with storage.open(shard) as file:
        clip = next(stored_clips(file, storage.where(shard)))

    def array(end: str) -> Any:
        part = clip.parts.get(end)
        return None if part is None else array_of(part)

    embedding, landmarks = array(FACE_EMBEDDING), array(LANDMARKS)
    face = None
    if ALIGNED_FACE in clip.parts:
        with Image.open(io.BytesIO(clip.parts[ALIGNED_FACE]), formats=("PNG",)) as picture:
            face = (picture.height, picture.width)
    return Layout(
        waveform=WAVEFORM in clip.parts,
        embedding=None if embedding is None else embedding.size,
        face=face,
        landmarks=None if landmarks is None else len(landmarks),
    )
