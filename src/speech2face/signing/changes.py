"""What was done to a picture that is not as it was signed, in words."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from speech2face.face.picture_file import UnreadablePicture, open_picture
from speech2face.provenance import pixel_digest
from speech2face.signing.digests import FIELDS, Digests, digests_of, field_edges
from speech2face.signing.names import PNG_MARK


@dataclass(frozen=True)
class Finding:
    """One thing that was found; `code` is for programs and keeps its meaning."""

    code: str
    text: str


CHUNK_FRAME: Final = 12  # bytes of length, kind and checksum
FRAME_CHANGED: Final = Finding(
    "frame_changed",
    "bytes of the signed manifest that no signature covers, lengths, names or padding, are not as they were written",
)
CHUNK_NAMES: Final = {"IHDR": "its size", "IDAT": "its pixels", "iTXt": "its texts", "caBX": "its signed manifest"}
MANIFEST_DAMAGED: Final = Finding(
    "manifest_damaged",
    "the signed manifest can no longer be read, as it or the file around it is damaged or cut off: nothing it said can"
    " be relied on",
)


def with_right_checksums(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A PNG whose chunks are read although their checksums are wrong, and the kinds of those chunks.

    Who changes a byte seldom mends the checksum of its chunk (PNG specification, section 5.5), and no picture software
    reads on from there; whoever inspects wants to know more than that.
    """
    wrong: dict[str, None] = {}
    mended = bytearray(content)
    at = len(PNG_MARK) if content.startswith(PNG_MARK) else len(content)
    while at + CHUNK_FRAME <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4])  # length and kind are eight bytes
        if end + 4 > len(content):
            break
        right = zlib.crc32(content[at + 4 : end]).to_bytes(4)
        if content[end : end + 4] != right:
            wrong[content[at + 4 : at + 8].decode("ascii", "replace")] = None
            mended[end : end + 4] = right
        at = end + 4
    return bytes(mended), tuple(wrong)


def checksums_wrong(kinds: Sequence[str]) -> Finding:
    """Bytes were changed by something that knows nothing of the format."""
    names = ", ".join(CHUNK_NAMES.get(kind, kind) for kind in kinds)
    return Finding("checksum_wrong", f"bytes were changed without their checksum, as damage does; in the file: {names}")


def manifest_changed(codes: Sequence[str]) -> Finding:
    """The manifest itself is not as it was signed; `codes` are C2PA's."""
    if any("hashedURI" in code or "assertion" in code for code in codes) and "claimSignature.mismatch" not in codes:
        text = "what the signed manifest states was changed after signing"
    else:
        text = "the signature is not that of this manifest: one of them was changed or put in from elsewhere"
    return Finding("manifest_changed", f"{text} ({', '.join(sorted(set(codes)))})")


def manifest_removed(content: bytes, pixels: str) -> Finding:
    """The XMP promises a manifest that is not there; `pixels` is the digest it states, "" for none."""
    try:
        same = bool(pixels) and pixels == _pixels(content)
    except UnreadablePicture:
        same = False
    if same:
        text = "the signed manifest was taken out; the pixels are those that the XMP states, which proves nothing"
        return Finding("manifest_removed", text)
    if pixels:
        text = "the signed manifest is gone and the pixels are others: saved anew by other software, or changed"
        return Finding("re_encoded", text)
    return Finding("manifest_removed", "the signed manifest that the XMP speaks of is gone: taken out, or saved anew")


def others_manifest(signer: str, *, ours_below: bool) -> Finding:
    """The last manifest is not this program's; `ours_below` where it builds on one that is."""
    if ours_below:
        return Finding("edited", f"edited after signing, and signed again by {signer}")
    return Finding("other_manifest", f"the manifest is not this program's; it was signed by {signer}")


def of_content(content: bytes, own: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    """What of the picture is not as it was signed, by the fingerprints in our own assertion."""
    try:
        before = Digests.from_dict((own or {})["picture"])
    except (KeyError, TypeError, ValueError):
        return (Finding("content_changed", "the file is not as it was signed"),)
    try:
        now = digests_of(content)
    except UnreadablePicture:
        return (Finding("picture_damaged", "the picture is damaged: it can no longer be decoded"),)
    found = [*_of_pixels(before, now)]
    for name, was, is_now in (("xmp", before.xmp, now.xmp), ("facts", before.facts, now.facts)):
        word = {"xmp": "XMP, what other software reads,", "facts": "record of the facts"}[name]
        if was and not is_now:
            found.append(Finding(f"{name}_removed", f"the {word} was taken out"))
        elif was != is_now:
            found.append(Finding(f"{name}_changed", f"the {word} was changed"))
    rewritten = Finding(
        "rewritten", "the file was written anew or added to; its pixels, XMP and facts are as they were signed"
    )
    return tuple(found) or (rewritten,)


def _of_pixels(before: Digests, now: Digests) -> list[Finding]:
    if before.pixels == now.pixels and (before.width, before.height) == (now.width, now.height):
        return []
    if (before.width, before.height) != (now.width, now.height):
        text = f"the picture is {now.width} x {now.height} pixels; {before.width} x {before.height} were signed"
        return [Finding("pixels_changed", text)]
    changed = before.changed_fields(now)
    if len(changed) == FIELDS * FIELDS:
        return [Finding("pixels_changed", "the pixels were changed everywhere, as saving anew with loss does")]
    across, down = field_edges(now.width), field_edges(now.height)
    rows, columns = zip(*changed, strict=True) if changed else ((0,), (0,))
    left, right = across[min(columns)], across[max(columns) + 1] - 1
    top, bottom = down[min(rows)], down[max(rows) + 1] - 1
    where = f"within x {left} to {right}, y {top} to {bottom}"
    text = f"the pixels were changed in {len(changed)} of {FIELDS * FIELDS} fields, {where}"
    return [Finding("pixels_changed", text)]


def _pixels(content: bytes) -> str:
    with open_picture(content) as picture:
        return pixel_digest(np.asarray(picture.convert("RGB")))
