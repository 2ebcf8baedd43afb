"""Whether a signed manifest lies in its file exactly as it was written: the bytes that no signature covers.

C2PA signs the claim, and by its hashes the assertions and the file around the manifest. What it does not sign are the
frames between them: lengths and names of boxes (ISO 19566-5), the outer structure of the signature (RFC 9052) and the
zeros that pad it. Nothing is read from there, yet a change there is a change of the file. A manifest of this program
has one layout, which is checked byte by byte; every part's length and name follow from what is signed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from speech2face.signing.names import PNG_MARK

# The last twelve bytes of the UUID of a box's kind; the first four are its letters (ISO 19566-5, C2PA "JUMBF").
KIND_END: Final = b"\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
NAMED: Final = 0b00011  # requestable, with a label
SALTED: Final = 0b10011  # and with a private box, which holds the salt of an assertion's hash
JPEG_BOX: Final = b"\x02\x11"  # the number that the C2PA library gives its box
SALT_BYTES: Final = (16, 32)
STORE, MANIFEST, ASSERTIONS, CLAIM, SIGNATURE = b"c2pa", b"c2ma", b"c2as", b"c2cl", b"c2cs"
CLAIM_NAMES: Final = (b"c2pa.claim.v2", b"c2pa.claim")
HEAD_BYTES: Final = 8
# CBOR (RFC 8949): major types as they are needed here.
BYTES, TEXT, MAP = 2, 3, 5
COSE_SIGN1: Final = b"\xd2\x84"  # tag 18, an array of four
NO_PAYLOAD: Final = b"\xf6"  # it is the claim, which lies elsewhere


class OtherLayout(ValueError):
    """The bytes lie otherwise than this program writes them."""


@dataclass(frozen=True)
class _Box:
    kind: bytes
    content: bytes


def is_as_written(content: bytes) -> bool:
    """Whether the one manifest of a picture, PNG, WebP or JPEG, is laid out as a manifest of this program is.

    To be asked where the C2PA library found everything right that is signed.
    """
    try:
        _check_store(_stored(content))
    except (OtherLayout, IndexError):
        return False
    return True


def _stored(content: bytes) -> bytes:
    """The manifest store, with the frame that the picture's format puts around it checked."""
    if content.startswith(PNG_MARK):
        return _only([body for kind, body in _png_chunks(content) if kind == b"caBX"])
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _only([body for kind, body in _riff_chunks(content) if kind == b"C2PA"])
    if content.startswith(b"\xff\xd8"):
        return _jpeg_store(content)
    raise OtherLayout("neither PNG nor WebP nor JPEG")


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk (PNG specification, section 5.3), to the file's last byte."""
    at = len(PNG_MARK)
    while at < len(content):
        end = at + HEAD_BYTES + int.from_bytes(content[at : at + 4])
        if content[end : end + 4] != zlib.crc32(content[at + 4 : end]).to_bytes(4) or end + 4 > len(content):
            raise OtherLayout("a chunk that is damaged or cut off")
        yield content[at + 4 : at + 8], content[at + HEAD_BYTES : end]
        at = end + 4


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk, to the file's last byte; odd ones are padded with a zero."""
    if int.from_bytes(content[4:8], "little") != len(content) - HEAD_BYTES:
        raise OtherLayout("the file is not as long as it says")
    at = 12
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + HEAD_BYTES + length
        if end + length % 2 > len(content) or content[end : end + length % 2].strip(b"\0"):
            raise OtherLayout("a chunk that is cut off, or padded with something")
        yield content[at : at + 4], content[at + HEAD_BYTES : end]
        at = end + length % 2


def _jpeg_store(content: bytes) -> bytes:
    """The store from its APP11 segments: "JP", a number for the box, one for the segment, a piece of the box.

    From the second on the box's head is said again (C2PA specification, "Embedding manifests into JPEG").
    """
    parts: list[bytes] = []
    first = b""
    at = 2
    while content[at] == 0xFF and content[at + 1] not in (0xDA, 0xD9):
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        segment = content[at + 4 : end]
        if content[at + 1] == 0xEB:
            first = first or segment
            said = b"JP" + JPEG_BOX + (len(parts) + 1).to_bytes(4) + first[8:16]
            if segment[:16] != said:
                raise OtherLayout("segments that do not follow one another")
            parts.append(segment[16:] if parts else segment[8:])
        at = end
    return b"".join(parts)


def _only(found: list[bytes]) -> bytes:
    if len(found) != 1:
        raise OtherLayout(f"{len(found)} manifests")
    return found[0]


def _boxes(content: bytes) -> list[_Box]:
    """The boxes that fill some bytes without a gap."""
    found, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        if length < HEAD_BYTES or at + length > len(content):
            raise OtherLayout("a box that is longer than what holds it")
        found.append(_Box(content[at + 4 : at + HEAD_BYTES], content[at + HEAD_BYTES : at + length]))
        at += length
    return found


def _inside(box: _Box, kind: bytes, name: bytes) -> list[_Box]:
    """What a box of boxes holds behind its description, which must be this one to the last bit."""
    described, *inside = _boxes(box.content)
    expected = _Box(b"jumd", kind + KIND_END + bytes([NAMED]) + name + b"\0")
    if box.kind != b"jumb" or described != expected:
        raise OtherLayout(f"no box {name.decode('ascii', 'replace')}")
    return inside


def _check_store(store: bytes) -> None:
    (root,) = _exactly(_boxes(store), 1)
    (manifest,) = _exactly(_inside(root, STORE, b"c2pa"), 1)
    name = _name(_boxes(manifest.content)[0])
    assertions, claim, signature = _exactly(_inside(manifest, MANIFEST, name), 3)
    claim_name = _name(_boxes(claim.content)[0])
    (said,) = _exactly(_inside(claim, CLAIM, claim_name), 1)
    (sealed,) = _exactly(_inside(signature, SIGNATURE, b"c2pa.signature"), 1)
    if claim_name not in CLAIM_NAMES or said.kind != b"cbor" or sealed.kind != b"cbor":
        raise OtherLayout("a claim or signature of another kind")
    if b"self#jumbf=/c2pa/" + name + b"/c2pa.signature" not in said.content:  # the name is thereby signed
        raise OtherLayout("a manifest that is called otherwise than its claim says")
    _check_assertions(_inside(assertions, ASSERTIONS, b"c2pa.assertions"), said.content)
    _check_signature(sealed.content)


def _exactly(boxes: list[_Box], count: int) -> list[_Box]:
    if len(boxes) != count:
        raise OtherLayout(f"{len(boxes)} boxes, where {count} are written")
    return boxes


def _name(described: _Box) -> bytes:
    """The label in a description; `_inside` checks what is around it."""
    return described.content[17:].partition(b"\0")[0]


def _check_assertions(assertions: list[_Box], claim: bytes) -> None:
    """Each is hashed with its description; what is left is its frame, and their order, which is the claim's."""
    last = -1
    for assertion in assertions:
        described, said = _exactly(_boxes(assertion.content), 2)
        name, salt = _name(described), b""
        if described.content[16] == SALTED:
            (box,) = _exactly(_boxes(described.content[17 + len(name) + 1 :]), 1)
            salt = described.content[17 + len(name) + 1 :]
            if box.kind != b"c2sh" or len(box.content) not in SALT_BYTES:
                raise OtherLayout("an assertion with another private box than a salt")
        toggles = SALTED if salt else NAMED
        expected = _Box(b"jumd", said.kind + KIND_END + bytes([toggles]) + name + b"\0" + salt)
        place = claim.find(b"self#jumbf=c2pa.assertions/" + name)
        if assertion.kind != b"jumb" or described != expected or place <= last:
            raise OtherLayout("assertions that are framed, called or ordered otherwise than the claim says")
        last = place


def _check_signature(sealed: bytes) -> None:
    """COSE_Sign1 with nothing that is not signed but zeros."""
    if not sealed.startswith(COSE_SIGN1):
        raise OtherLayout("another kind of signature")
    at = _string(sealed, len(COSE_SIGN1), BYTES)[1]  # the protected header
    count, at = _head(sealed, at, MAP)
    for _ in range(count):
        key, at = _string(sealed, at, TEXT)
        value, at = _string(sealed, at, BYTES)
        if key not in (b"pad", b"pad2") or value.strip(b"\0"):
            raise OtherLayout("something that nobody signed beside the signature")
    if sealed[at : at + 1] != NO_PAYLOAD:
        raise OtherLayout("a signature with a content of its own")
    if _string(sealed, at + 1, BYTES)[1] != len(sealed):
        raise OtherLayout("something behind the signature")


def _string(content: bytes, at: int, major: int) -> tuple[bytes, int]:
    """A string of bytes or text, and where it ends."""
    length, at = _head(content, at, major)
    if at + length > len(content):
        raise OtherLayout("a string that is cut off")
    return content[at : at + length], at + length


def _head(content: bytes, at: int, major: int) -> tuple[int, int]:
    """The length in the head of a CBOR item, which must be of this type and in its shortest form; where it ends."""
    kind, short = divmod(content[at], 32)
    size = {24: 1, 25: 2, 26: 4}.get(short, 0)
    length = int.from_bytes(content[at + 1 : at + 1 + size]) if size else short
    least = {0: 0, 1: 24, 2: 1 << 8, 4: 1 << 16}[size]
    if kind != major or short > 26 or length < least:
        raise OtherLayout("an item of another type, or in another form")
    return length, at + 1 + size
