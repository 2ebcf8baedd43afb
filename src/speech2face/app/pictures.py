"""Portraits as the bytes that leave the service: every one says in itself that it is synthetic."""

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from speech2face.app import signatures
from speech2face.batch import provenance_of
from speech2face.errors import InvalidOption
from speech2face.provenance import Kind, picture_bytes, portrait_svg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speech2face.portrait import Portrait

PictureFormat = Literal["png", "webp"]
MEDIA_TYPES: Final[dict[PictureFormat | Literal["svg"], str]] = {
    "png": "image/png",
    "webp": "image/webp",
    "svg": "image/svg+xml",
}
WEBP_MOST_PIXELS: Final = 16_383  # width and height that the format can say


def encoded(image: "NDArray[np.uint8]", facts: dict[str, Any], kind: Kind, picture: PictureFormat) -> bytes:
    """A picture, (height, width, 3), with its provenance inside."""
    return picture_bytes(image, provenance_of(facts, kind), facts, encoding=picture, signer=signatures.current())


def drawing(portrait: "Portrait") -> bytes:
    """A drawn portrait as SVG, with its provenance inside.

    Raises:
        InvalidOption: it is not drawn.
    """
    if portrait.drawing is None:
        raise InvalidOption('only a portrait in the style "drawn" can be had as SVG')
    facts = portrait.facts()
    return portrait_svg(portrait.drawing, provenance_of(facts, "portrait"), facts)


def resized(image: "NDArray[np.uint8]", pixels: int | None) -> "NDArray[np.uint8]":
    """A square picture at another width; None leaves it."""
    if pixels is None or pixels == len(image):
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.LANCZOS))


def portrait_at(portrait: "Portrait", pixels: int | None) -> "NDArray[np.uint8]":
    """The portrait at another width; what is drawn is drawn at that width."""
    if pixels is None or portrait.drawing is None:
        return resized(portrait.image, pixels)
    from speech2face.drawn.raster import rasterise

    return rasterise(portrait.drawing, pixels)
