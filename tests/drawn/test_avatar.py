"""The drawn avatar of the shipped model's faces: who is told apart, which parts it has, what is in the file."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2face.drawn.avatar import draw_avatar
from speech2face.drawn.contours import UNITS, face_contours, rasterise
from speech2face.errors import InvalidOption
from speech2face.face.appearance import HairStyle
from speech2face.limits import Style
from tests.drawn.faces import canonical_face, points68

NAME = "{http://www.w3.org/2000/svg}"
MOVED = re.compile(r"translate\((-?[\d.]+) (-?[\d.]+)\)")
STYLES = [Style.drawn, Style.line]


def drawing(
    age: float,
    femininity: float,
    group: int = 0,
    *,
    shown_age: float | None = None,
    hair: HairStyle | None = None,
    style: Style = Style.drawn,
) -> str:
    face = canonical_face(age, femininity, group)
    shown = age if shown_age is None else shown_age
    return draw_avatar(*face, age=shown, femininity=femininity, description="A drawn face.", hair=hair, style=style)


def groups(svg: str) -> dict[str, ElementTree.Element]:
    return {each.attrib["id"]: each for each in ElementTree.fromstring(svg).iter(f"{NAME}g")}


def points_of(svg: str, name: str) -> NDArray[np.float64]:
    """The points of a group's paths, (points, 2), in units of the drawing."""
    found: list[NDArray[np.float64]] = []

    def walk(element: ElementTree.Element, place: NDArray[np.float64], inside: bool) -> None:
        for child in element:
            if child.tag == f"{NAME}g":
                move = MOVED.fullmatch(child.attrib["transform"])
                assert move is not None
                walk(child, place + np.array(move.groups(), float), inside or child.attrib["id"] == name)
            elif child.tag == f"{NAME}path" and inside:
                numbers = np.array(re.findall(r"-?[\d.]+", child.attrib["d"]), float).reshape(-1, 2)
                found.append(numbers + place)

    walk(ElementTree.fromstring(svg), np.zeros(2), False)
    return np.concatenate(found)


def extent(svg: str, name: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a group."""
    points = points_of(svg, name)
    left, top = points.min(0).tolist()
    right, bottom = points.max(0).tolist()
    return left, top, right, bottom


def lightness(svg: str, x: float, y: float) -> float:
    """Mean of a place of the drawing, in units, as pixels say it."""
    pixels = rasterise(svg, int(UNITS))
    return float(pixels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].mean())


# --- The file.


@pytest.mark.parametrize("style", STYLES)
def test_the_same_face_gives_the_same_text_and_another_face_another(style: Style) -> None:
    assert drawing(30, 1.0, style=style) == drawing(30, 1.0, style=style)
    assert drawing(30, 1.0, style=style) != drawing(30, 0.0, style=style)
    assert drawing(30, 1.0) != drawing(30, 1.0, style=Style.line)


@pytest.mark.parametrize("style", STYLES)
def test_the_text_is_xml_with_its_description_and_nothing_from_outside(style: Style) -> None:
    svg = drawing(70, 0.0, style=style)
    root = ElementTree.fromstring(svg)
    assert "ynthetic" in (root.findtext(f"{NAME}title") or "")
    assert root.findtext(f"{NAME}desc") == "A drawn face."
    assert "href" not in svg and "url(" not in svg  # several drawings can stand in one page
    assert "nan" not in svg


@pytest.mark.parametrize(("style", "hair"), list(itertools.product(STYLES, HairStyle)))
def test_every_part_is_a_named_group_moved_to_its_own_centre(style: Style, hair: HairStyle) -> None:
    svg = drawing(30, 0.0, hair=hair, style=style)
    found = groups(svg)
    everywhere = {"ground", "body", "head", "face", "nose", "mouth", "eyes", "brows", "hair"}
    everywhere |= {"eye-left", "eye-right", "brow-left", "brow-right"}
    assert everywhere <= set(found) <= everywhere | {"hair-behind", "ears", "beard", "lines"}
    assert found["hair"].attrib["data-style"] == hair
    inside = {name: {each.get("id") for each in found[name].iter(f"{NAME}g")} for name in ("head", "eyes")}
    assert {"eyes", "brows", "mouth", "hair", "nose", "face"} <= inside["head"]
    assert {"eye-left", "eye-right"} <= inside["eyes"]
    assert all(MOVED.fullmatch(each.attrib["transform"]) for each in found.values())


@pytest.mark.parametrize("name", ["eye-left", "eye-right", "mouth", "brow-left", "brow-right", "eyes", "brows"])
def test_what_moves_has_its_centre_inside_itself(name: str) -> None:
    svg = drawing(30, 1.0)
    moves = {key: np.array(MOVED.fullmatch(g.attrib["transform"]).groups(), float) for key, g in groups(svg).items()}  # type: ignore[union-attr]
    outer = [*{"eye": ["head", "eyes"], "brow": ["head", "brows"]}.get(name.split("-")[0], ["head"]), name]
    x, y = np.sum([moves[each] for each in outer], axis=0)
    left, top, right, bottom = extent(svg, name)
    assert left + 0.3 * (right - left) < x < right - 0.3 * (right - left)
    assert top < y < bottom


def test_a_blink_closes_an_eye_and_leaves_the_rest() -> None:
    svg = drawing(30, 1.0)
    open_eye = groups(svg)["eye-left"].attrib["transform"]
    closed = re.sub(r'(id="eye-left"[^>]*>)(.*?)(</g>)', r"\1\3", svg)
    change = np.abs(rasterise(svg, 512).astype(int) - rasterise(closed, 512)).sum(2) > 0
    left, top, right, bottom = extent(svg, "eye-left")
    assert open_eye and change.any()
    change[int(top) - 2 : int(bottom) + 3, int(left) - 2 : int(right) + 3] = False
    assert not change.any()


@pytest.mark.parametrize("pixels", [64, 1024])
@pytest.mark.parametrize("style", STYLES)
def test_it_is_drawn_at_any_size(style: Style, pixels: int) -> None:
    shown = rasterise(drawing(30, 1.0, style=style), pixels)
    assert shown.shape == (pixels, pixels, 3)
    assert shown.std() > 20


# --- Told apart: women and men, children and adults, young and old.


@pytest.mark.parametrize("style", STYLES)
def test_a_womans_jaw_is_narrower_her_brows_thinner_and_her_hair_longer(style: Style) -> None:
    woman, man = (drawing(25, femininity, style=style) for femininity in (1.0, 0.0))
    below = [extent(svg, "hair")[3] for svg in (woman, man)]
    assert below[0] > 450 > 300 > below[1]
    thick = []
    for svg in (woman, man):
        x, y = (points := points_of(svg, "brow-left")).T
        area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
        thick.append(area / np.ptp(points[:, 0]))
    assert thick[0] < 0.7 * thick[1]
    assert extent(woman, "body")[2] - 256 < 0.93 * (extent(man, "body")[2] - 256)


def test_a_womans_chin_is_narrower_than_a_mans_of_the_same_landmarks() -> None:
    face = canonical_face(25, 0.5)
    above_chin = face_contours(face[1], face[0].shape[1]).jaw[4, 1] - 14
    widths = []
    for femininity in (1.0, 0.0):
        points = points_of(draw_avatar(*face, age=25, femininity=femininity), "face")
        widths.append(np.ptp(points[np.abs(points[:, 1] - above_chin) < 14, 0]))
    assert widths[0] < 0.95 * widths[1]


def test_a_child_has_larger_eyes_in_a_shorter_face_than_the_youngest_adult() -> None:
    child, adult = (drawing(18, 0.0, shown_age=age) for age in (9, 18))
    sizes = []
    for svg in (child, adult):
        left, top, right, bottom = extent(svg, "eye-left")
        face = extent(svg, "face")
        sizes.append(((right - left), (bottom - top), face[3] - face[1], extent(svg, "body")[2] - 256))
    assert sizes[0][0] > 1.1 * sizes[1][0] and sizes[0][1] > 1.1 * sizes[1][1]
    assert sizes[0][2] < 0.98 * sizes[1][2]
    assert sizes[0][3] < 0.85 * sizes[1][3]


def test_lines_come_with_age_and_hair_turns_grey() -> None:
    young, middle, old = (drawing(age, 1.0, hair=HairStyle.short) for age in (25, 50, 78))
    assert "lines" not in groups(young)
    counts = [len(list(groups(svg)["lines"].iter(f"{NAME}path"))) for svg in (middle, old)]
    assert counts == [2 + 2 + 2, 2 + 2 + 3 + 6]  # folds, bags, forehead; crow's feet come later
    shades = [groups(svg)["hair"].find(f"{NAME}path").attrib["fill"] for svg in (young, middle, old)]  # type: ignore[union-attr]
    light = [sum(int(shade[k : k + 2], 16) for k in (1, 3, 5)) for shade in shades]
    assert light[0] + 60 < light[1] < light[2] - 100


def test_hair_and_skin_lie_where_the_portrait_has_them() -> None:
    picture, landmarks = canonical_face(30, 1.0, group=1)
    contours = face_contours(landmarks, picture.shape[1])
    svg = drawing(30, 1.0, group=1)
    middle = len(contours.hair) // 2
    x, y = contours.hair[middle] * 0.7 + contours.hairline[len(contours.hairline) // 2] * 0.3
    cheek_x, cheek_y = contours.cheeks[0]
    assert lightness(svg, x, y) < lightness(svg, cheek_x, cheek_y) < lightness(svg, 20, 20)


def test_a_fairer_face_is_drawn_fairer() -> None:
    picture, landmarks = canonical_face(30, 0.0)
    x, y = face_contours(landmarks, picture.shape[1]).cheeks[0]
    assert lightness(drawing(30, 0.0, group=0), x, y) > lightness(drawing(30, 0.0, group=1), x, y) + 30


# --- Hair and beard.


@pytest.mark.parametrize("femininity", [0.0, 1.0])
def test_hair_styles_reach_as_far_down_as_they_say(femininity: float) -> None:
    ends = {style: extent(drawing(30, femininity, hair=style), "hair")[3] for style in HairStyle}
    top = {style: extent(drawing(30, femininity, hair=style), "hair")[1] for style in HairStyle}
    chin = face_contours(canonical_face(30, femininity)[1], 512).jaw[4, 1]
    assert ends[HairStyle.long] > chin + 60
    assert ends[HairStyle.medium] > ends[HairStyle.short]
    assert all(ends[HairStyle(style)] < chin - 60 for style in ("tied", "shaved", "receding", "bald"))
    assert top[HairStyle.bald] > max(top[style] for style in HairStyle if style is not HairStyle.bald) + 80
    assert min(top.values()) > 0  # inside the picture
    assert extent(drawing(30, femininity, hair=HairStyle.tied), "hair-behind")[1] > 0


def test_every_hair_style_looks_different() -> None:
    pictures = {style: rasterise(drawing(30, 1.0, hair=style), 64).astype(int) for style in HairStyle}
    for one, other in itertools.combinations(HairStyle, 2):
        assert (np.abs(pictures[one] - pictures[other]).sum(2) > 60).sum() > 60, (one, other)


def bearded() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    picture, landmarks = canonical_face(30, 0.0)
    dark = picture.copy()
    dark[345:400] = dark[345:400] // 3  # chin and upper lip
    return dark, landmarks


@pytest.mark.parametrize("style", STYLES)
def test_a_beard_needs_the_face_and_the_age_of_a_man(style: Style) -> None:
    for age, femininity, has in (
        (30, 0.0, True),
        (30, 1.0, False),
        (30, 0.5, False),
        (9, 0.0, False),
        (16, 0.0, False),
    ):
        svg = draw_avatar(*bearded(), age=age, femininity=femininity, style=style)
        assert ("beard" in groups(svg)) is has, (age, femininity)


def test_a_beard_is_light_under_twenty() -> None:
    shades = []
    for age in (19, 40):
        path = groups(draw_avatar(*bearded(), age=age, femininity=0.0))["beard"].find(f"{NAME}path")
        assert path is not None
        shades.append(sum(int(path.attrib["fill"][k : k + 2], 16) for k in (1, 3, 5)))
    assert shades[0] > shades[1] + 20


def test_the_youngest_adult_has_no_beard() -> None:  # a child's voice is drawn with that face
    assert "beard" not in groups(drawing(18, 0.0))


def test_hair_is_not_read_from_a_bald_head() -> None:
    picture, landmarks = canonical_face(30, 0.0)
    contours = face_contours(landmarks, picture.shape[1])
    skin = picture[tuple(np.rint(contours.cheeks[0][::-1]).astype(int))]
    bald = picture.copy()
    bald[:190] = skin  # down to the brows
    svg = draw_avatar(bald, landmarks, age=30, femininity=0.0)
    hair, face = (groups(svg)[name].find(f"{NAME}path") for name in ("hair", "face"))
    assert hair is not None and face is not None
    light = [sum(int(path.attrib["fill"][k : k + 2], 16) for k in (1, 3, 5)) for path in (hair, face)]
    assert light[0] < light[1] - 150


# --- Other landmarks.


@pytest.mark.parametrize("style", STYLES)
def test_the_68_points_are_enough(style: Style) -> None:
    face = canonical_face(30, 1.0)
    svg = draw_avatar(face[0], points68(face), femininity=1.0, style=style)
    wanted = extent(drawing(30, 1.0, style=style), "eye-left")
    np.testing.assert_allclose(extent(svg, "eye-left"), wanted, atol=12)
    assert "nan" not in svg


def test_landmarks_of_another_kind_are_refused() -> None:
    with pytest.raises(InvalidOption, match="5 landmarks cannot be drawn; models of 207 or 68"):
        draw_avatar(np.zeros((64, 64, 3), np.uint8), np.zeros((5, 2)))
