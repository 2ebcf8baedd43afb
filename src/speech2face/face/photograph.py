"""A photograph as a user has it, brought to a picture that detectors and embedders take.

Whatever a camera, telephone, scanner or editor writes: any number of bits, colour space, profile, transparency or
orientation; of what moves, the first picture.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import FaceNotFound, MissingExtra, RecordingNotFound, UnreadableRecording
from speech2face.face.detect import Picture
from speech2face.inputs import refuse_address

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE_PIXELS: Final = 2048  # a face that fills a tenth of it still has what the largest crop, 224 pixels, shows
MOST_BYTES: Final = 2**29  # 512 MiB: a scanner's largest; a wrong file must not fill the memory
PIECE_BYTES: Final = 2**22
GROUND: Final = (255, 255, 255)  # what a transparent picture is shown on
BITS: Final = (8, 10, 12, 14, 16, 24, 32)  # of a sensor's or scanner's whole numbers, whatever holds them
FIRST_BYTES: Final = 64  # enough to know a kind of picture by
BEGINNINGS: Final = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"8BPS", b"qoif"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # TIFF, and its large kind
    *(b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),  # JPEG 2000
)
ORIENTATION: Final = 0x0112  # Exif 2.32, section 4.6.4
HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
HEIC_MISSING: Final = "is a HEIC photograph, which needs the extra 'heic'; or save it as JPEG"
AVIF_MISSING: Final = "is an AVIF picture, which needs Pillow 11.3 or newer; or save it as JPEG"
PhotographSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def read_photograph(photograph: PhotographSource) -> Picture:
    """A picture (height, width, 3) uint8 RGB, upright as its camera was held; large ones are made smaller.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, no permission, a disk that fails.
        FaceNotFound: no picture, a damaged one, or one that claims an impossible size.
        MissingExtra: HEIC or AVIF, and what decodes it is not installed.
    """
    name, content = _content(photograph)
    _open_heif(name, content)
    try:
        with open_picture(content) as image:
            longest = (LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS)
            image.draft("RGB", longest)  # a JPEG is decoded at a fraction of its size
            shown = _in_srgb(image, content)
            shown.thumbnail(longest)
            turned = _orientation(image)  # asked last: a TIFF stands upright once it is decoded
            return np.asarray(_upright(shown, turned), dtype=np.uint8)
    except UnreadablePicture as error:
        if error.unknown:
            raise FaceNotFound(f"{name} is {_what_else(content)}; give a photograph") from error
        raise FaceNotFound(f"{name} is {error}; give a photograph") from error


def is_photograph(first_bytes: bytes) -> bool:
    """Whether a file begins as a picture of pixels does, whatever its name; FIRST_BYTES of it are enough."""
    return (
        first_bytes.startswith(BEGINNINGS)
        or (first_bytes[:1] == b"P" and first_bytes[1:2] in b"123456fFyY" and first_bytes[2:3].isspace())
        or (first_bytes[:4] == b"RIFF" and first_bytes[8:12] == b"WEBP")
        or bool(_brands(first_bytes) & (HEIC_BRANDS | AVIF_BRANDS))
    )


def _content(photograph: PhotographSource) -> tuple[str, bytes]:
    """What messages call it, and its bytes."""
    if isinstance(photograph, bytes | bytearray | memoryview):
        return "the photograph", bytes(photograph)
    name = "the photograph"
    try:
        if isinstance(photograph, str | os.PathLike):
            name = os.fspath(photograph)
            with Path(photograph).open("rb") as file:
                content = _limited(file)
        else:
            content = _limited(photograph)
    except FileNotFoundError:
        refuse_address(name)
        raise RecordingNotFound(f"no such file: {name}") from None
    except (OSError, ValueError) as error:  # a name with a zero in it, a file that is closed
        raise UnreadableRecording(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except TypeError:  # text among the pieces
        raise UnreadableRecording(f"{name} gives no bytes; open it in binary mode") from None
    if len(content) > MOST_BYTES:
        raise FaceNotFound(f"{name} is larger than {MOST_BYTES // 2**20} MiB; make it smaller")
    return name, content


def _limited(file: BinaryIO) -> bytes:
    """All of a file, or a little more than may be read."""
    pieces, length = [], 0
    while length <= MOST_BYTES and (piece := file.read(PIECE_BYTES)):
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)


def _brands(first_bytes: bytes) -> set[bytes]:
    """Brands in the first box of an ISO base media file (ISO 14496-12, section 4.3), empty of anything else."""
    if first_bytes[4:8] != b"ftyp":
        return set()
    brands = first_bytes[8 : min(int.from_bytes(first_bytes[:4]), FIRST_BYTES)]
    return {brands[at : at + 4] for at in range(0, len(brands) - 3, 4) if at != 4}  # the second is a version


def _open_heif(name: str, content: bytes) -> None:
    """Let Pillow read HEIC and AVIF where this is one.

    Raises:
        MissingExtra: nothing that decodes it is installed.
    """
    from PIL import features

    brands = _brands(content[:FIRST_BYTES])
    avif = bool(brands & AVIF_BRANDS)
    if not avif and not brands & HEIC_BRANDS:
        return
    if avif and features.check("avif"):
        return
    if avif or find_spec("pillow_heif") is None:
        raise MissingExtra(f"{name} {AVIF_MISSING}") if avif else MissingExtra(f"{name} {HEIC_MISSING}", "heic")
    import_module("pillow_heif").register_heif_opener()  # by name: it has no types, and need not be there


def _what_else(content: bytes) -> str:
    """What a file is that is no picture here, as far as its first bytes tell."""
    first = content[:FIRST_BYTES]
    if not first:
        return "empty"
    if first.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return "a JPEG XL picture, which nothing here decodes: save it as JPEG or PNG"
    if first.lstrip()[:5].lower() in (b"<?xml", b"<svg "):
        return "a drawing or text in XML, not a picture of pixels"
    if first.startswith((b"%PDF", b"%!PS")):
        return "a document, not a picture"
    return "no picture that can be read"


def _orientation(image: Image) -> int:
    """How the camera was held, 1 to 8; Exif that cannot be read costs no picture."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Exif is parsed by hand in Pillow, and fails in as many ways as it can be broken
        return 1


def _upright(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _in_srgb(image: Image, content: bytes) -> Image:
    """Eight bits of red, green and blue of the sRGB space, on white where it is transparent."""
    from PIL import Image as Images

    sixteen_bits = image.mode == "RGB" and any(str(tile[3]).find(";16") >= 0 for tile in getattr(image, "tile", ()))
    image.load()
    if sixteen_bits:
        image = _coloured(image, content)
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _with_profile(Images.fromarray(eight_bits(np.asarray(image))), profile)
    if image.has_transparency_data:
        ground = Images.new("RGBA", image.size, (*GROUND, 255))
        return _with_profile(Images.alpha_composite(ground, image.convert("RGBA")).convert("RGB"), profile)
    if image.mode == "LAB":
        return _from_lab(image)
    return _with_profile(image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB"), profile)


def _coloured(image: Image, content: bytes) -> Image:
    """A colour picture of 16 bits, of which Pillow keeps the upper eight: nothing of 10 or 12 bits that lie low.

    FFmpeg keeps all of them, and is asked where the picture is that dark.
    """
    from PIL import Image as Images

    if max(high for _, high in cast("tuple[tuple[int, int], ...]", image.getextrema())) >= 2**7:
        return image
    try:
        import av

        with av.open(io.BytesIO(content), "r") as container:
            frame = next(container.decode(video=0))
        values = frame.to_ndarray(format="rgb48le")
    except (av.FFmpegError, StopIteration, ValueError, IndexError):
        return image
    shown = Images.fromarray(eight_bits(values))
    shown.info.update(image.info)
    return shown if shown.size == image.size else image


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey of any range, (height, width), or colours, as 0 to 255.

    Whole numbers are those of a sensor of 8, 10, 12, 14, 16, 24 or 32 bits, the fewest that hold the largest: a file of
    16 bits says nowhere that its camera has 12. Fractions are 0 to 1, or whole numbers in disguise. Where there are
    negative ones, the whole range is taken.
    """
    grey = values.astype(np.float64)
    finite = np.isfinite(grey)
    if not finite.any():
        return np.zeros(grey.shape, np.uint8)
    low, high = float(grey[finite].min()), float(grey[finite].max())
    if low < 0:
        black, white = low, high
    elif np.issubdtype(values.dtype, np.floating) and float(np.percentile(grey[finite], 99)) <= 1:
        black, white = 0.0, 1.0  # what is brighter, a lamp in a picture of high dynamic range, is white
    elif np.issubdtype(values.dtype, np.floating) and high <= 16:
        black, white = 0.0, high
    else:
        black, white = 0.0, float(2 ** next((bits for bits in BITS if high < 2**bits), BITS[-1]) - 1)
    shown = np.clip((np.where(finite, grey, black) - black) / max(white - black, 1e-12), 0, 1)
    return np.round(255 * shown).astype(np.uint8)


def _with_profile(image: Image, profile: bytes | None) -> Image:
    """In sRGB: what a wide-gamut telephone or a printer's file means by its numbers."""
    if profile:
        from PIL import ImageCms

        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                image = image if converted is None else converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a profile that is damaged, or of another colour space: the numbers are taken as they are
    return image.convert("RGB")


def _from_lab(image: Image) -> Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # it is None only where the picture is changed in place
    return converted


# --------------------------------------------------------------------------------------------------
# Opening bytes that claim to be a picture: whatever Pillow then objects to is one error.
# --------------------------------------------------------------------------------------------------

MOST_PIXELS: Final = 178_956_970  # from which Pillow itself takes a picture for a bomb; larger than any camera's
# Some bytes can claim all of that, half a gigabyte: beyond so many pixels each has to have its share of a byte. What a
# camera or scanner writes has a thousand times more.
FREE_PIXELS: Final = 2**24
MOST_PIXELS_A_BYTE: Final = 1000
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
                if picture.width * picture.height > max(FREE_PIXELS, MOST_PIXELS_A_BYTE * len(content)):
                    claimed = f"{picture.width} x {picture.height} pixels in {len(content)} bytes"
                    raise UnreadablePicture(f"a picture that claims {claimed}: so few hold no photograph of that size")
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
