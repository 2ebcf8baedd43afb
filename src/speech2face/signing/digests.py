"""What a signed picture looked like, in fingerprints: its pixels, field by field, and its texts.

C2PA's own hash (its assertion `c2pa.hash.data`) says that some byte of a file changed. These say which.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from speech2face.face.picture_file import open_picture
from speech2face.provenance import picture_texts, pixel_digest

FIELDS: Final = 8  # a picture is compared in 8 x 8 fields: enough to say eyes or chin, in half a kilobyte
FIELD_DIGITS: Final = 8  # of a hexadecimal digest: for finding changes; proof is the digest of all pixels


@dataclass(frozen=True)
class Digests:
    """Fingerprints of one picture: `pixels`, `xmp` and `facts` are SHA-256, "" where a text is not there."""

    width: int
    height: int
    pixels: str
    fields: tuple[str, ...]
    xmp: str
    facts: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """As they stand in a manifest.

        Raises:
            KeyError, TypeError, ValueError: they are not what this program writes.
        """
        fields = tuple(str(field) for field in values["fields"])
        texts = (str(values[name]) for name in ("xmp", "facts"))
        return cls(int(values["width"]), int(values["height"]), str(values["pixels"]), fields, *texts)

    def changed_fields(self, now: "Digests") -> list[tuple[int, int]]:
        """(row, column) of the fields whose pixels are others; to be asked of pictures of one size."""
        pairs = enumerate(zip(self.fields, now.fields, strict=True))
        return [divmod(number, FIELDS) for number, (before, after) in pairs if before != after]


def digests_of(content: bytes, image: NDArray[np.uint8] | None = None) -> Digests:
    """Fingerprints of the bytes of a picture; `image` are its pixels, (height, width, 3), where they are known.

    Raises:
        UnreadablePicture: it cannot be decoded.
    """
    with open_picture(content) as picture:
        if image is None:
            picture.load()  # a PNG's text may lie after its pixels; ours lies before them
            image = np.asarray(picture.convert("RGB"))  # (height, width, 3)
        xmp, facts = picture_texts(picture.info)
    height, width, _ = image.shape
    fields = (image[rows, columns] for rows in _bands(height) for columns in _bands(width))
    return Digests(
        width, height, pixel_digest(image), tuple(pixel_digest(field)[:FIELD_DIGITS] for field in fields),
        text_digest(xmp), text_digest(facts),
    )  # fmt: skip


def text_digest(text: str) -> str:
    """SHA-256 of a text, "" for none."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def _bands(pixels: int) -> list[slice]:
    return [slice(first, last) for first, last in pairwise(field_edges(pixels))]


def field_edges(pixels: int) -> list[int]:
    """Where the fields along one side begin and end, 9 numbers from 0 to `pixels`."""
    return [number * pixels // FIELDS for number in range(FIELDS + 1)]
