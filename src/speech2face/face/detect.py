"""Photographs as users have them: opened, their faces found behind a small interface, cut to what networks see."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, util
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.errors import (
    FaceNotFound,
    MissingExtra,
    RecordingNotFound,
    SeveralFaces,
    UnreadableRecording,
    WeightsError,
)
from speech2face.face.appearance import Points, Similarity
from speech2face.inputs import refuse_address
from speech2face.outputs import load_onnxruntime, sha256

# --- Files of weights that the user supplies: found, readable, and the very file that was meant.


def weight_file(path: Path | str) -> Path:
    """The path of a file that is there and can be read.

    Raises:
        WeightsError: it is missing, a folder, or may not be read.
    """
    path = Path(path)
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError as error:
        raise WeightsError(f"there is no weight file {path}; check the path") from error
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read: {error.strerror}; name a file") from error


def file_sha256(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a weight file.

    Raises:
        WeightsError: it is missing, a folder, or may not be read.
    """
    return sha256(weight_file(path))


def check_sha256(path: Path | str, expected: str) -> None:
    """Refuse a file that is not the one on record.

    Raises:
        WeightsError: its SHA-256 is another.
    """
    found = file_sha256(path)
    if found != expected:
        raise WeightsError(
            f"{path} has the SHA-256 {found[:12]}..., not {expected[:12]}... as recorded;"
            " give the very file that the data or the model were made with"
        )


def open_network(path: Path) -> Any:
    """ONNX Runtime's session of a file, on the CPU.

    Raises:
        WeightsError: it is no network that can be run.
    """
    try:
        return load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class
        raise WeightsError(f"{path} is no ONNX network that can be run: {first_line(error)}") from error


def picture_input(
    session: Any, input_pixels: int | None, path: Path, *, network: str = "face embedder"
) -> tuple[str, bool, int]:
    """Name of a graph's input, whether colours come before rows, and its side in pixels.

    Raises:
        WeightsError: it takes something else than one square picture, or `input_pixels` is another than its side.
    """
    entries = session.get_inputs()
    shape = list(entries[0].shape) if entries else []
    if len(entries) != 1 or entries[0].type != "tensor(float)" or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries)
        raise WeightsError(
            f"{path} takes {found or 'nothing'}; a {network} takes one float32 picture, (1, 3, side, side) or"
            " (1, side, side, 3)"
        )
    channels_first = shape[1] == 3
    sides = {side for side in (shape[2:] if channels_first else shape[1:3]) if isinstance(side, int)}
    wanted = {input_pixels} if input_pixels else sides
    if len(sides | wanted) != 1:
        raise WeightsError(
            f"{path} takes pictures of shape {shape} and input_pixels is {input_pixels};"
            f" a {network}'s input is square: set input_pixels to its side"
        )
    return entries[0].name, channels_first, int(next(iter(wanted)))


def first_line(error: Exception) -> str:
    """The first line of a library's message."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


# --- A photograph as a user has it, brought to a picture that detectors and embedders take.
#
# Whatever a camera, telephone, scanner or editor writes: any number of bits, colour space, profile, transparency or
# orientation; of what moves, the first picture.

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


def _orientation(image: Image.Image) -> int:
    """How the camera was held, 1 to 8; Exif that cannot be read costs no picture."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Exif is parsed by hand in Pillow, and fails in as many ways as it can be broken
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
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


def _in_srgb(image: Image.Image, content: bytes) -> Image.Image:
    """Eight bits of red, green and blue of the sRGB space, on white where it is transparent."""
    sixteen_bits = image.mode == "RGB" and any(str(tile[3]).find(";16") >= 0 for tile in getattr(image, "tile", ()))
    image.load()
    if sixteen_bits:
        image = _coloured(image, content)
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _with_profile(Image.fromarray(eight_bits(np.asarray(image))), profile)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (*GROUND, 255))
        return _with_profile(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB"), profile)
    if image.mode == "LAB":
        return _from_lab(image)
    return _with_profile(image if image.mode in ("RGB", "L", "CMYK") else image.convert("RGB"), profile)


def _coloured(image: Image.Image, content: bytes) -> Image.Image:
    """A colour picture of 16 bits, of which Pillow keeps the upper eight: nothing of 10 or 12 bits that lie low.

    FFmpeg keeps all of them, and is asked where the picture is that dark.
    """
    if max(high for _, high in cast("tuple[tuple[int, int], ...]", image.getextrema())) >= 2**7:
        return image
    try:
        import av

        with av.open(io.BytesIO(content), "r") as container:
            frame = next(container.decode(video=0))
        values = frame.to_ndarray(format="rgb48le")
    except (av.FFmpegError, StopIteration, ValueError, IndexError):
        return image
    shown = Image.fromarray(eight_bits(values))
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


def _with_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
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


def _from_lab(image: Image.Image) -> Image.Image:
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
def open_picture(content: bytes, formats: list[str] | tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """A picture, not decoded yet; keep what is done with it in the `with` statement short.

    Raises:
        UnreadablePicture: no picture, a damaged one, or one that claims an impossible size; also where that shows while
            it is decoded in the `with` statement.
    """
    from PIL import UnidentifiedImageError

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


# --- Find faces in photographs, behind a small interface.

Picture = NDArray[np.uint8]
DetectorName = Literal["hog", "cnn"]
"""Detectors that come with the extra `faces`."""
SearchDetectorName = Literal["hog", "cnn", "yunet"]
"""Those, and one whose weights are a file of the user."""
RIVAL_SHARE = 0.5
"""A second face counts from this share of the largest one's side; smaller ones are the background's."""
FIVE_POINT_FILE = "shape_predictor_5_face_landmarks.dat"
SIXTY_EIGHT_POINT_FILE = "shape_predictor_68_face_landmarks.dat"
SMALLEST_FOUND_PIXELS = 80  # side of the least face that dlib's detectors see
MISSING = "finding faces in photographs needs the extra 'faces'"


@dataclass(frozen=True)
class FaceBox:
    """A face's square in pixels of the photograph."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    @property
    def side(self) -> int:
        """Pixels across."""
        return self.right - self.left

    def is_same(self, other: FaceBox) -> bool:
        """Whether both are of one face: a detector's boxes on copies of two sizes differ."""
        across, down = (
            self.left + self.right - other.left - other.right,
            self.top + self.bottom - other.top - other.bottom,
        )
        return max(abs(across), abs(down)) < max(self.side, other.side)


class FaceDetector(Protocol):
    """Anything that finds faces in a picture (height, width, 3)."""

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All faces, largest first."""
        ...


def sole_face(detector: FaceDetector, picture: Picture) -> FaceBox | None:
    """The face of a picture (height, width, 3) that shows one person, None where there is no face.

    Faces smaller than RIVAL_SHARE of the largest do not count; the picture is searched once more, enlarged, where one
    that does would have been too small to be seen.

    Raises:
        SeveralFaces: more than one counts, and nothing says which is meant.
    """
    found = detector.detect(picture)
    if not found:
        return None
    check_sole(found)
    enlargement = SMALLEST_FOUND_PIXELS / max(RIVAL_SHARE * found[0].side, 1)
    if enlargement > 1:
        size = (round(picture.shape[1] * enlargement), round(picture.shape[0] * enlargement))
        larger = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR), np.uint8)
        edges = ((box.left, box.top, box.right, box.bottom) for box in detector.detect(larger))
        check_sole((found[0], *(FaceBox(*(round(edge / enlargement) for edge in box)) for box in edges)))
    return found[0]


def check_sole(found: Sequence[FaceBox]) -> None:
    """Refuse faces, the one that is meant first, of which another counts.

    Raises:
        SeveralFaces: with their number.
    """
    first = found[0]
    rivals: list[FaceBox] = []
    for box in found[1:]:
        if box.side >= RIVAL_SHARE * first.side and not any(box.is_same(known) for known in (first, *rivals)):
            rivals.append(box)
    if rivals:
        raise SeveralFaces(f"{len(rivals) + 1} faces were found where one person is meant; cut the picture to one face")


def dlib_module() -> Any:
    """The dlib library of the `faces` extra."""
    if util.find_spec("dlib") is None:
        raise MissingExtra(MISSING, "faces")
    import dlib

    return dlib


def dlib_model(name: str) -> Path:
    """A model file of the package face_recognition_models, found without importing it (it wants pkg_resources)."""
    found = util.find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(MISSING, "faces")
    return Path(next(iter(found.submodule_search_locations))) / "models" / name


class DlibDetector:
    """dlib's frontal detector: histograms of oriented gradients (King 2009)."""

    def __init__(self, *, enlargements: int = 1) -> None:
        """enlargements: how often a picture without a face is doubled in size and searched again."""
        self.enlargements = enlargements
        self._detector = dlib_module().get_frontal_face_detector()

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """Return all frontal faces, largest first."""
        found = (self._detector(picture, enlargement) for enlargement in range(self.enlargements + 1))
        return _boxes(next((rectangles for rectangles in found if rectangles), ()))


class DlibCnnDetector:
    """dlib's convolutional detector (King 2015, max-margin object detection): the one the paper used; slow on a CPU."""

    def __init__(self, *, enlargements: int = 0) -> None:
        """enlargements: how often a picture is doubled in size before it is searched; small faces need one."""
        self.enlargements = enlargements
        self._detector = dlib_module().cnn_face_detection_model_v1(str(dlib_model("mmod_human_face_detector.dat")))

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """Return all faces, largest first."""
        return _boxes(one.rect for one in self._detector(np.ascontiguousarray(picture), self.enlargements))


def _boxes(rectangles: Iterable[Any]) -> tuple[FaceBox, ...]:
    """dlib's rectangles as boxes, largest first."""
    boxes = (FaceBox(one.left(), one.top(), one.right(), one.bottom()) for one in rectangles)
    return tuple(sorted(boxes, key=lambda box: -box.area))


class DlibPoints:
    """A landmark predictor of dlib, an ensemble of regression trees (Kazemi and Sullivan 2014), by its file's name.

    The five-point predictor is free to use. The 68-point one was trained on iBUG 300-W, whose licence excludes
    commercial use, and so does what is made with it: choose it knowingly.
    """

    def __init__(self, file: str) -> None:
        dlib = dlib_module()
        self._rectangle = dlib.rectangle
        self._predictor = dlib.shape_predictor(str(dlib_model(file)))

    def shape(self, picture: Picture, box: FaceBox) -> Any:
        """Return dlib's own object for the points of the face in a box of a picture (height, width, 3)."""
        where = self._rectangle(box.left, box.top, box.right, box.bottom)
        return self._predictor(np.ascontiguousarray(picture), where)  # dlib reads rows as they lie in memory

    def find(self, picture: Picture, box: FaceBox) -> Points:
        """Return the points, (points, 2), (x, y) in whole pixels of the picture, pixel centres at integers."""
        return np.array([[point.x, point.y] for point in self.shape(picture, box).parts()], dtype=np.float64)


def open_detector(name: SearchDetectorName, file: Path | str | None = None) -> FaceDetector:
    """`hog` is fast and sees frontal faces; `cnn` is the paper's, slow on a CPU, and sees turned ones too.

    `yunet` is a user's ONNX file.

    Raises:
        WeightsError: `yunet` without a file, or with one of another graph.
        MissingExtra: dlib is not installed.
    """
    if name == "yunet":
        if file is None:
            raise WeightsError("the detector yunet is your own ONNX file; name it (--detector-file FILE)")
        return YuNetDetector(file)
    return DlibDetector() if name == "hog" else DlibCnnDetector()


# --------------------------------------------------------------------------------------------------
# YuNet (Wu, Peng and Yu 2023), a small convolutional face detector that a user has as an ONNX file.
# Read is the graph of the public `face_detection_yunet_2023mar.onnx`: one picture (1, 3, height, width) float32,
# blue, green and red of 0 to 255, sides of multiples of 32; out come for each stride of 8, 16 and 32 pixels `cls_*`
# and `obj_*` (1, cells, 1), `bbox_*` (1, cells, 4) and `kps_*` (1, cells, 10), cells row by row. What they mean was
# read in OpenCV's FaceDetectorYN (modules/objdetect/src/face_detect.cpp). The public weights were not at hand: this
# is tested on graphs made by hand.
# --------------------------------------------------------------------------------------------------

STRIDES = (8, 16, 32)
DIVISOR = max(STRIDES)
NUMBERS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # a cell; `kps`, five points, is not needed here
OUTPUTS = tuple(f"{part}_{stride}" for part in NUMBERS for stride in STRIDES)
EXPECTED = (
    "the graph of face_detection_yunet_2023mar.onnx: one float32 picture (1, 3, height, width) with sides of multiples"
    f" of {DIVISOR}, and the outputs {', '.join(OUTPUTS)}"
)
SCORE_THRESHOLD = 0.7  # OpenCV's own is 0.9, which misses faces that are turned or blurred; those have limits here
MAX_OVERLAP = 0.3  # OpenCV's
MOST_CANDIDATES = 5000  # OpenCV's
LARGEST_PIXELS = 1280  # longest side of what an open graph is shown
LARGEST_EXPONENT = 8.0  # of a box's side over its stride: no face is 3000 strides wide
Boxes = NDArray[np.float64]
"""(boxes, 4): left, top, right, bottom."""


class YuNetDetector:
    """A user's YuNet; its boxes, taller than wide, become squares of the same area and centre."""

    def __init__(
        self, path: Path | str, *, score_threshold: float = SCORE_THRESHOLD, max_overlap: float = MAX_OVERLAP
    ) -> None:
        """score_threshold: 0 to 1, of a face; max_overlap: intersection over union from which two boxes are one face.

        Raises:
        WeightsError: the file is no ONNX network, or not YuNet's graph.
        """
        self.score_threshold, self.max_overlap = score_threshold, max_overlap
        self._path = Path(path)
        self._session = open_network(weight_file(path))
        self._name, self._fixed = self._input()
        missing = set(OUTPUTS) - {entry.name for entry in self._session.get_outputs()}
        if missing:
            raise WeightsError(f"{path} has no output {', '.join(sorted(missing))}; needed is {EXPECTED}")
        self._run(np.zeros((DIVISOR, DIVISOR, 3), np.uint8))  # a graph of other sizes is found before any work

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        """All faces, largest first, of a picture (height, width, 3)."""
        height, width = picture.shape[:2]
        room = self._fixed or (LARGEST_PIXELS, LARGEST_PIXELS)
        scale = min(1.0, room[0] / height, room[1] / width)
        image = Image.fromarray(picture).convert("RGB")
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        boxes, scores = self._run(np.asarray(image))
        kept = suppressed(boxes, scores, self.max_overlap)
        return tuple(sorted((_square(box / scale) for box in boxes[kept]), key=lambda box: -box.area))

    def _input(self) -> tuple[str, tuple[int, int] | None]:
        """Name of the graph's input, and its height and width where it takes one size only."""
        entries = self._session.get_inputs()
        shape = list(entries[0].shape) if entries else []
        sides = [side for side in shape[2:] if isinstance(side, int)]
        if (
            len(entries) != 1
            or entries[0].type != "tensor(float)"
            or len(shape) != 4
            or shape[1] != 3
            or any(side % DIVISOR or side < DIVISOR for side in sides)
        ):
            found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries)
            raise WeightsError(f"{self._path} takes {found or 'nothing'}; needed is {EXPECTED}")
        return entries[0].name, (sides[0], sides[1]) if len(sides) == 2 else None

    def _run(self, picture: Picture) -> tuple[Boxes, NDArray[np.float64]]:
        """Boxes above the threshold, in pixels of the picture, and their scores (boxes,)."""
        height, width = self._fixed or tuple(math.ceil(side / DIVISOR) * DIVISOR for side in picture.shape[:2])
        x = np.zeros((1, 3, height, width), np.float32)  # black to the right and below, as OpenCV pads
        x[0, :, : picture.shape[0], : picture.shape[1]] = picture[..., ::-1].transpose(2, 0, 1)
        try:
            found = dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), {self._name: x}), strict=True))
        except Exception as error:  # ONNX Runtime's errors share no class
            message = f"{self._path} does not run on {height} x {width} pixels: {first_line(error)}"
            raise WeightsError(f"{message}; needed is {EXPECTED}") from error
        decoded = [self._decoded(found, stride, height // stride, width // stride) for stride in STRIDES]
        boxes, scores = (np.concatenate(parts) for parts in zip(*decoded, strict=True))
        return boxes, scores

    def _decoded(
        self, found: dict[str, NDArray[np.float32]], stride: int, rows: int, columns: int
    ) -> tuple[Boxes, NDArray[np.float64]]:
        """Boxes and scores of one stride's cells (FaceDetectorYNImpl::postProcess)."""
        parts = {part: np.asarray(found[f"{part}_{stride}"], np.float64) for part in NUMBERS}
        for part, numbers in NUMBERS.items():
            if parts[part].shape != (1, rows * columns, numbers):
                raise WeightsError(
                    f"{self._path} returns {part}_{stride} of shape {parts[part].shape}, not"
                    f" {(1, rows * columns, numbers)}; needed is {EXPECTED}"
                )
        scores = np.sqrt(np.clip(parts["cls"], 0, 1) * np.clip(parts["obj"], 0, 1))[0, :, 0]
        taken = np.flatnonzero(scores >= self.score_threshold)  # a score that is no number is none
        cells = np.stack([taken % columns, taken // columns], axis=-1)  # (boxes, 2): column, row
        place = parts["bbox"][0, taken]
        centres = (cells + place[:, :2]) * stride
        halves = np.exp(np.minimum(place[:, 2:], LARGEST_EXPONENT)) * stride / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=-1)
        finite = np.isfinite(boxes).all(axis=-1)
        return boxes[finite], scores[taken][finite]


def suppressed(boxes: Boxes, scores: NDArray[np.float64], max_overlap: float) -> NDArray[np.intp]:
    """Numbers of the boxes that overlap none with a higher score by more, best first (non-maximum suppression)."""
    waiting = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    kept: list[int] = []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = waiting[_overlap(boxes[best], boxes[waiting]) <= max_overlap]
    return np.array(kept, dtype=np.intp)


def _overlap(one: NDArray[np.float64], others: Boxes) -> NDArray[np.float64]:
    """Intersection over union, (boxes,)."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    both = np.prod(one[2:] - one[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=-1)
    return np.asarray(shared / np.maximum(both - shared, 1e-9))


def _square(box: NDArray[np.float64]) -> FaceBox:
    side = math.sqrt(float(np.prod(box[2:] - box[:2])))
    left, top = (box[:2] + box[2:]) / 2 - side / 2
    return FaceBox(round(left), round(top), round(left + side), round(top + side))


# --------------------------------------------------------------------------------------------------
# Bring a face of a photograph to the square that a network wants to see.
# --------------------------------------------------------------------------------------------------

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)


def box_crop(box: FaceBox, size_pixels: int, *, margin: float = 0.0) -> Similarity:
    """Photograph -> crop: the square around the box's centre, as long as its longer side and `margin` of it all round.

    Points are (x, y) with pixel centres at integers, so a box of `size_pixels` columns and no margin is not resized.
    """
    side = max(box.right - box.left, box.bottom - box.top) * (1 + 2 * margin)
    scale = size_pixels / max(side, 1.0)
    centre = np.array([box.left + box.right - 1, box.top + box.bottom - 1]) / 2
    return Similarity(scale * np.eye(2), np.full(2, (size_pixels - 1) / 2) - scale * centre)


def take_crop(picture: Picture, move: Similarity, size_pixels: int, *, outside: Colour = BLACK) -> Picture:
    """The crop (size, size, 3) of a picture (height, width, 3); `move` takes its points to the crop's.

    A picture much larger than the crop is averaged down first, so that fine texture does not turn into noise.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    shrink = max(1, int(1 / move.scale + 1e-6))  # 1 / (20 / 160) is a little under 8
    if shrink > 1:
        image = image.reduce(shrink)
    back = move.inverse()
    linear: Points = back.linear.T / shrink  # columns act on (x, y)
    # Pillow counts from pixel corners: a centre at integer k lies at k + 0.5.
    shift: NDArray[np.float64] = (back.shift + 0.5) / shrink - linear @ np.full(2, 0.5)
    coefficients = (*linear[0], shift[0], *linear[1], shift[1])
    crop = image.transform(
        (size_pixels, size_pixels),
        Image.Transform.AFFINE,
        tuple(float(number) for number in coefficients),
        resample=Image.Resampling.BICUBIC,
        fillcolor=outside,
    )
    return np.asarray(crop, dtype=np.uint8)
