"""Opening bytes that claim to be a picture: whatever Pillow then objects to is one error."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS: Final = 178_956_970  # from which Pillow itself takes a picture for a bomb; larger than any camera's
# EPS starts Ghostscript, WMF asks Windows, the others are stubs: nothing that foreign bytes may set going.
NOT_OPENED: Final = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FITS", "SPIDER"})
# What Pillow's readers raise on bytes that are damaged or hostile, found by feeding them such; they share no class.
_RAISED: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, AssertionError, MemoryError, struct.error, zlib.error),
)


class UnreadablePicture(ValueError):
    """These bytes are no picture that can be read; `unknown` where no reader recognises them at all."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


@contextmanager
def open_picture(content: bytes, formats: list[str] | tuple[str, ...] | None = None) -> Iterator[Image]:
    """A picture, not decoded yet; keep what is done with it in the `with` statement short.

    Raises:
        UnreadablePicture: no picture, a damaged one, or one that claims an impossible size; also where that shows while
            it is decoded in the `with` statement.
    """
    from PIL import Image, UnidentifiedImageError

    if formats is None:
        Image.init()
        formats = [name for name in Image.ID if name not in NOT_OPENED]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size under the limit, and of damage that is met while decoding
            with Image.open(io.BytesIO(content), formats=formats) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise _too_large(f"{picture.width} x {picture.height} pixels")
                yield picture
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("more pixels") from error
    except UnidentifiedImageError as error:
        raise UnreadablePicture("no picture that is known here", unknown=True) from error
    except _RAISED as error:
        raise UnreadablePicture(f"a picture that is damaged or cut off ({type(error).__name__})") from error


def _too_large(claimed: str) -> UnreadablePicture:
    return UnreadablePicture(f"a picture that claims {claimed}, where at most {MOST_PIXELS:,} are decoded")
