"""Photographs of every kind that cameras, telephones, scanners and editors write are read as what they show."""

import importlib
import importlib.util
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from speech2face.errors import FaceNotFound, MissingExtra, RecordingNotFound, SeveralFaces, UnreadableRecording
from speech2face.face import detect as photograph
from speech2face.face.detect import (
    FIRST_BYTES,
    NOT_OPENED,
    FaceBox,
    Picture,
    UnreadablePicture,
    check_sole,
    eight_bits,
    is_photograph,
    open_picture,
    read_photograph,
    sole_face,
)

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"
SIDE = 24
# A ramp to the right, darker below: a wrong orientation, scale or order of bytes shows.
RAMP = (np.linspace(16, 235, SIDE)[None] * np.linspace(1, 0.5, SIDE)[:, None]).round().astype(np.uint8)  # (24, 24)
COLOURED = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1)


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def near(picture: Picture, expected: np.ndarray, levels: float = 2.0) -> None:
    expected = np.repeat(expected[..., None], 3, axis=2) if expected.ndim == 2 else expected
    assert picture.dtype == np.uint8
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected.astype(int)).max() <= levels


def stretched(bits: int) -> np.ndarray:
    """The ramp as a sensor of so many bits gives it, its brightest place at the full scale's 92 %."""
    return np.asarray((RAMP.astype(np.float64) / 255 * (2**bits - 1)).round())


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize(("kind", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_grey_of_more_than_eight_bits_is_scaled_by_the_bits_that_are_used(kind: str, order: str, bits: int) -> None:
    values = stretched(bits).astype(order)
    mode = "I;16B" if order == ">u2" else "I;16"
    image = Image.frombytes(mode, (SIDE, SIDE), values.tobytes())
    near(read_photograph(file_of(image, kind)), RAMP)


def test_whole_numbers_of_32_bits_and_fractions_are_scaled() -> None:
    near(read_photograph(file_of(Image.fromarray(stretched(16).astype(np.int32)), "TIFF")), RAMP)
    near(read_photograph(file_of(Image.fromarray(stretched(24).astype(np.int32)), "TIFF")), RAMP)
    for white in (1.0, 255.0, 65535.0):
        fractions = (RAMP / 255 * white).astype(np.float32)
        near(read_photograph(file_of(Image.fromarray(fractions), "TIFF")), RAMP)


def test_fractions_that_are_negative_none_or_brighter_than_white_show_what_is_there() -> None:
    signed = (RAMP / 127.5 - 1).astype(np.float32)
    expected = (RAMP.astype(float) - RAMP.min()) / (int(RAMP.max()) - int(RAMP.min())) * 255
    near(read_photograph(file_of(Image.fromarray(signed), "TIFF")), expected.round())
    lamp = (RAMP / 255).astype(np.float32)
    lamp[0, 0], lamp[0, 1] = 40.0, np.nan
    shown = eight_bits(lamp)
    assert (shown[0, 0], shown[0, 1]) == (255, 0)
    np.testing.assert_array_equal(shown[1:], RAMP[1:])
    assert not eight_bits(np.full((2, 2), np.nan)).any()


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colours_of_sixteen_bits_keep_those_that_lie_low(bits: int) -> None:
    av = pytest.importorskip("av")
    values = (COLOURED.astype(np.float64) / 255 * (2**bits - 1)).round().astype(np.uint16)
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = SIDE, SIDE, "rgb48be", Fraction(1)
    frame = av.VideoFrame.from_ndarray(values, format="rgb48le").reformat(format="rgb48be")
    packets = [*context.encode(frame), *context.encode(None)]
    near(read_photograph(b"".join(bytes(packet) for packet in packets)), COLOURED)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBX"]
)
def test_every_mode_becomes_red_green_and_blue(mode: str) -> None:
    plain = Image.fromarray(COLOURED if mode not in ("1", "L", "LA", "La") else RAMP)
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        image = ImageCms.profileToProfile(plain, *profiles, outputMode="LAB")
        assert image is not None
    elif mode in ("RGBa", "La"):
        image = plain.convert({"RGBa": "RGBA", "La": "LA"}[mode])  # no file keeps it; premultiplied in `info` only
    else:
        image = plain.convert(mode)
    if mode in ("HSV", "RGBX"):  # no file keeps these: what is read from one that Pillow decodes so
        image = image.convert("RGB")
    found = read_photograph(file_of(image, "TIFF"))
    assert found.shape == (SIDE, SIDE, 3)
    if mode not in ("1", "P"):
        near(found, RAMP if mode in ("L", "LA", "La") else COLOURED, levels=32 if mode == "LAB" else 8)


def test_what_is_transparent_is_shown_on_white_whatever_colour_lies_under_it() -> None:
    cut = np.dstack([COLOURED, np.full((SIDE, SIDE), 255, np.uint8)])
    cut[:8] = (0, 0, 0, 0)
    expected = COLOURED.copy()
    expected[:8] = 255
    near(read_photograph(file_of(Image.fromarray(cut), "PNG")), expected)
    near(read_photograph(file_of(Image.fromarray(cut), "WEBP", lossless=True)), expected)
    grey = Image.fromarray(RAMP).convert("LA")
    grey.putalpha(Image.fromarray(cut[..., 3]))
    expected_grey = RAMP.copy()
    expected_grey[:8] = 255
    near(read_photograph(file_of(grey, "PNG")), expected_grey)
    palette = Image.fromarray(np.where(np.arange(SIDE)[:, None] < 8, 0, 1).repeat(SIDE, 1).astype(np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 200])
    found = read_photograph(file_of(palette, "PNG", transparency=0))
    assert (found[0, 0].tolist(), found[-1, 0].tolist()) == ([255, 255, 255], [0, 0, 200])


def test_a_profile_of_another_space_is_followed_and_a_damaged_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    asked: list[str] = []
    convert = ImageCms.profileToProfile

    def told(image: Image.Image, *arguments: Any, **options: Any) -> Image.Image | None:
        asked.append(image.mode)
        return convert(image, *arguments, **options)

    monkeypatch.setattr(ImageCms, "profileToProfile", told)
    for profile in (srgb, lab, b"no profile", srgb[:200]):
        near(read_photograph(file_of(Image.fromarray(COLOURED), "PNG", icc_profile=profile)), COLOURED, levels=3)
    assert asked  # of those that are not sRGB


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_stands_as_its_camera_was_held(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[photograph.ORIENTATION] = orientation
    wide = Image.fromarray(COLOURED).resize((SIDE, SIDE // 2))
    turned = read_photograph(file_of(wide, kind, exif=exif))
    assert turned.shape == ((SIDE, SIDE // 2, 3) if orientation > 4 else (SIDE // 2, SIDE, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[
        orientation
    ]
    assert np.abs(turned[corner].astype(int) - np.asarray(wide)[0, 0]).max() <= 40  # the corner that was top left


def test_exif_that_is_broken_costs_no_picture() -> None:
    near(read_photograph(file_of(Image.fromarray(COLOURED), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\xff")), COLOURED)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_what_moves_the_first_picture_is_taken(kind: str) -> None:
    first, second = (Image.fromarray(np.full((SIDE, SIDE, 3), level, np.uint8)) for level in (40, 200))
    near(read_photograph(file_of(first, kind, save_all=True, append_images=[second])), np.full((SIDE, SIDE), 40), 6)


def test_a_picture_cut_off_or_of_a_huge_size_or_of_another_kind_is_refused_in_words() -> None:
    png = file_of(Image.fromarray(COLOURED), "PNG")
    for content in (png[:-40], png[:60], file_of(Image.fromarray(COLOURED), "JPEG")[:-200]):
        with pytest.raises(FaceNotFound, match="damaged or cut off"):
            read_photograph(content)
    huge = file_of(Image.new("1", (60_000, 3000)), "PNG")
    assert len(huge) < 100_000
    with pytest.raises(FaceNotFound, match="at most 178,956,970"):
        read_photograph(huge)
    swelling = file_of(Image.new("1", (13_000, 13_000)), "PNG")
    assert len(swelling) < 50_000
    with pytest.raises(FaceNotFound, match="so few hold no photograph"):
        read_photograph(swelling)
    for content, said in ((b"", "empty"), (b"hello", "no picture"), (b"<svg xmlns='x'/>", "not a picture of pixels"),
                          (b"%PDF-1.7", "a document"), (b"\xff\x0a" + bytes(30), "JPEG XL")):  # fmt: skip
        with pytest.raises(FaceNotFound, match=said):
            read_photograph(content)


def test_what_would_start_other_programs_is_not_opened() -> None:
    eps = file_of(Image.fromarray(COLOURED), "EPS")
    with pytest.raises(UnreadablePicture), open_picture(eps):
        pass
    assert "EPS" in NOT_OPENED


def test_a_photograph_comes_as_path_bytes_or_open_file(tmp_path: Path) -> None:
    content = file_of(Image.fromarray(COLOURED), "PNG")
    (tmp_path / "me.png").write_bytes(content)
    with (tmp_path / "me.png").open("rb") as file:
        sources: list[Any] = [tmp_path / "me.png", str(tmp_path / "me.png"), content, bytearray(content), file]
        sources += [memoryview(content), io.BytesIO(content)]
        for source in sources:
            near(read_photograph(source), COLOURED, 0)
    for wrong in (file, tmp_path, "a\0b", io.StringIO("text")):
        with pytest.raises(UnreadableRecording, match=r"cannot be read|binary mode"):
            read_photograph(wrong)  # type: ignore[arg-type]
    with pytest.raises(RecordingNotFound, match="no such file"):
        read_photograph(tmp_path / "nobody.png")


def heic(brand: bytes = b"heic") -> bytes:
    return (24).to_bytes(4) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + bytes(100)


def test_heic_without_what_decodes_it_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photograph, "find_spec", lambda name: None)
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(MissingExtra, match=r"HEIC photograph.*the extra 'heic'; or save it as JPEG"):
        read_photograph(heic())
    with pytest.raises(MissingExtra, match=r"AVIF picture.*Pillow 11\.3"):
        read_photograph(heic(b"avif"))


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="HEIC needs the extra `heic`")
def test_heic_is_read() -> None:
    importlib.import_module("pillow_heif").register_heif_opener()
    large = Image.fromarray(COLOURED).resize((128, 64))
    near(read_photograph(file_of(large, "HEIF", quality=95)), np.asarray(large), levels=30)
    with pytest.raises(FaceNotFound):
        read_photograph(heic())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    large = Image.fromarray(COLOURED).resize((128, 64))
    near(read_photograph(file_of(large, "AVIF", quality=95)), np.asarray(large), levels=30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_a_picture_is_known_by_its_first_bytes(kind: str) -> None:
    if kind == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow writes no JPEG 2000")
    assert is_photograph(file_of(Image.fromarray(COLOURED), kind)[:FIRST_BYTES])


def test_other_files_are_no_pictures() -> None:
    others = (
        b"",
        b"P",
        b"file,speaker\n",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"ID3\4",
        b"Please read",
        b"\0\0\0\x18ftypmp42" + bytes(20),
    )
    assert [is_photograph(first) for first in others] == [False] * len(others)
    assert is_photograph(heic()[:FIRST_BYTES])


class Boxes:
    """A detector that sees what it is told, in pixels of the picture as it was first shown."""

    def __init__(self, *boxes: tuple[int, int, int], smallest: int = 0) -> None:
        self.boxes, self.smallest, self.width = boxes, smallest, 0

    def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
        self.width = self.width or picture.shape[1]
        scale = picture.shape[1] / self.width
        seen = [(x * scale, y * scale, side * scale) for x, y, side in self.boxes if side * scale >= self.smallest]
        found = [FaceBox(round(x), round(y), round(x + side), round(y + side)) for x, y, side in seen]
        return tuple(sorted(found, key=lambda box: -box.area))


BLANK = np.zeros((400, 800, 3), np.uint8)


def test_a_second_face_counts_from_half_of_the_first_ones_size() -> None:
    assert sole_face(Boxes(), BLANK) is None
    assert sole_face(Boxes((0, 0, 200), (400, 0, 99)), BLANK) == FaceBox(0, 0, 200, 200)
    with pytest.raises(SeveralFaces, match="2 faces"):
        sole_face(Boxes((0, 0, 200), (400, 0, 100)), BLANK)
    with pytest.raises(SeveralFaces, match="3 faces"):
        sole_face(Boxes((0, 0, 200), (400, 0, 190), (600, 0, 180), (700, 300, 40)), BLANK)
    assert issubclass(SeveralFaces, FaceNotFound)


def test_two_boxes_of_one_face_are_one_person() -> None:
    check_sole((FaceBox(0, 0, 100, 100), FaceBox(10, 20, 90, 100)))
    with pytest.raises(SeveralFaces, match="2 faces"):  # the second person too is seen twice
        check_sole((FaceBox(0, 0, 100, 100), FaceBox(200, 0, 300, 100), FaceBox(210, 5, 290, 85)))


def test_a_second_face_too_small_to_be_seen_at_first_is_looked_for() -> None:
    with pytest.raises(SeveralFaces, match="2 faces"):
        sole_face(Boxes((0, 0, 100), (400, 0, 60), smallest=80), BLANK)
    assert sole_face(Boxes((0, 0, 100), (400, 0, 40), smallest=80), BLANK) == FaceBox(0, 0, 100, 100)


@pytest.mark.parametrize("name", ["grey16.png", "two_people.jpg", "iphone.heic"])
def test_the_pictures_that_failed_are_read_as_what_they_are(name: str) -> None:
    if not (CASES / name).is_file():
        pytest.skip("the folder of failing inputs is not here")
    pytest.importorskip("dlib", reason="faces are found by the extra `faces`")
    from speech2face.face.detect import DlibDetector

    if name == "iphone.heic" and importlib.util.find_spec("pillow_heif") is None:
        with pytest.raises(MissingExtra, match="heic"):
            read_photograph(CASES / name)
        return
    picture = read_photograph(CASES / name)
    if name == "two_people.jpg":
        with pytest.raises(SeveralFaces, match="2 faces"):
            sole_face(DlibDetector(), picture)
    else:
        assert sole_face(DlibDetector(), picture) is not None
