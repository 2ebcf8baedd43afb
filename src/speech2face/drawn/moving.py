"""The drawing of a face that moves: each part is drawn once for each way it is held, and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.audio.spectrogram import FloatArray
from speech2face.drawn.avatar import TITLE, Artist
from speech2face.drawn.contours import MOVE, UNITS, Canvas, Eye, FaceContours, Points, face_contours
from speech2face.motion import FRAMES_PER_SECOND, Pose

LEVELS = {"jaw": 24, "spread": 6, "rounding": 8, "blink_left": 5, "blink_right": 5, "brow": 6}
"""Steps between nothing and all, in which a part is drawn: nobody sees more of them at 25 frames a second."""
PARTS: dict[str, tuple[str, ...]] = {
    "ground": (),
    "hair_behind": (),
    "body": (),
    "ears": (),
    "skin": ("jaw",),
    "beard": ("jaw",),
    "lines": (),
    "nose": (),
    "mouth": ("jaw", "spread", "rounding"),
    "eyes": ("blink_left", "blink_right"),
    "brows": ("brow",),
    "hair": (),
}
"""What is drawn, one over the other, and the numbers of a pose that change it."""
SVG_LEVELS = {"jaw": 7, "spread": 2, "rounding": 3, "blink_left": 2, "blink_right": 2, "brow": 3}
"""The same for an SVG, each step of which is a group in the file."""
KEYS = {
    "open": Pose(jaw=1.0),
    "spread": Pose(spread=1.0),
    "round": Pose(rounding=1.0),
    "open-spread": Pose(jaw=1.0, spread=1.0),
    "open-round": Pose(jaw=1.0, rounding=1.0),
    "blink-left": Pose(blink_left=1.0),
    "blink-right": Pose(blink_right=1.0),
    "brow": Pose(brow=1.0),
}
"""The poses between which a puppet is held."""
LABEL_WIDTH = 12.6  # units a letter
STILL = ("ground", "body")
PIVOT_UNDER_CHIN = 24.0  # units: where the head turns on its neck


class MovingDrawing:
    """A drawn face that can be held in any pose."""

    def __init__(self, artist: Artist) -> None:
        self._artist = artist
        self._drawn: dict[tuple[str, tuple[float, ...]], list[_Area]] = {}
        chin = artist.c.jaw[len(artist.c.jaw) // 2]
        self._pivot = chin + np.array([0.0, PIVOT_UNDER_CHIN])

    def frame(self, pose: Pose, pixels: int) -> NDArray[np.uint8]:
        """The drawing in a pose, (pixels, pixels, 3)."""
        import aggdraw

        picture = Image.new("RGB", (pixels, pixels))
        draw = aggdraw.Draw(picture)
        scale = pixels / UNITS
        turn = np.radians(pose.roll)
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        px, py = self._pivot
        right, down = (px + pose.right * UNITS) * scale, (py + pose.down * UNITS) * scale
        for part, numbers in PARTS.items():
            still = part in STILL
            for area in self._part(part, pose, numbers):
                x, y = area.place
                if still:
                    draw.settransform((scale, 0.0, x * scale, 0.0, scale, y * scale))
                else:
                    x, y = x - px, y - py
                    draw.settransform((cos, -sin, cos * x - sin * y + right, sin, cos, sin * x + cos * y + down))
                for symbol in area.symbols:
                    draw.symbol((0, 0), symbol, None, area.brush)
        draw.flush()
        return np.asarray(picture)

    def _part(self, part: str, pose: Pose, numbers: Sequence[str]) -> list[_Area]:
        steps = _steps(pose, numbers, LEVELS)
        if (part, steps) not in self._drawn:
            self._drawn[part, steps] = areas(self._groups(part, steps), 0.0, 0.0)
        return self._drawn[part, steps]

    def _groups(self, part: str, steps: Steps, *, same_paths: bool = False) -> list[ElementTree.Element]:
        """The groups of a part where its numbers are at those steps; none where a face has no such part."""
        pose = Pose(**dict(zip(PARTS[part], steps, strict=True)))
        artist = self._artist.posed(pose, same_paths=same_paths)
        getattr(artist, part)()
        return [child for child in artist.canvas.root if child.tag == "g"]

    def animated(self, poses: FloatArray, *, label: str, description: str) -> str:
        """The drawing as SVG that moves once through poses, (frames, 9), with a label; at rest if not animated."""
        held = [Pose.of(row) for row in poses]
        canvas = Canvas(TITLE, description)
        seconds = f"{len(held) / FRAMES_PER_SECOND:.2f}s"
        head: ElementTree.Element | None = None
        for part, numbers in PARTS.items():
            if part in STILL:
                canvas.root.extend(self._groups(part, ()))
                head = None
                continue
            if head is None:
                head = self._moving_group(canvas.root, held, seconds)
            head.extend(self._variants(part, [_steps(pose, numbers, SVG_LEVELS) for pose in held], seconds))
        _write_label(canvas.root, label)
        return canvas.svg()

    def puppet(self, *, label: str, description: str) -> str:
        """The drawing at rest as SVG whose paths say in `data-...` how they look in the poses of `KEYS`.

        Whoever shows it mixes those paths, whose numbers correspond: `app/page/puppet.js` does.
        """
        canvas = Canvas(TITLE, description)
        head: ElementTree.Element | None = None
        for part, numbers in PARTS.items():
            if part in STILL:
                canvas.root.extend(self._groups(part, ()))
                head = None
                continue
            if head is None:
                px, py = self._pivot
                pivot = {"class": "head", "data-pivot": f"{px:.0f} {py:.0f}"}
                head = ElementTree.SubElement(canvas.root, "g", pivot)
            groups = self._groups(part, (0.0,) * len(numbers), same_paths=True)
            for key, pose in KEYS.items():
                if {name for name, value in asdict(pose).items() if value} <= set(numbers):
                    steps = tuple(float(getattr(pose, name)) for name in numbers)
                    _note_paths(groups, self._groups(part, steps, same_paths=True), key)
            head.extend(groups)
        _write_label(canvas.root, label)
        return canvas.svg()

    def _moving_group(self, root: ElementTree.Element, held: Sequence[Pose], seconds: str) -> ElementTree.Element:
        """A group that moves as the head does."""
        px, py = self._pivot
        ways = {
            "translate": [f"{pose.right * UNITS:.1f} {pose.down * UNITS:.1f}" for pose in held],
            "rotate": [f"{pose.roll:.2f} {px:.0f} {py:.0f}" for pose in held],
        }
        inner = root
        for kind, values in ways.items():
            inner = ElementTree.SubElement(inner, "g")
            animation = {"attributeName": "transform", "type": kind, "dur": seconds, "fill": "freeze"}
            values = [*values[::2], values[-1]]  # a head is slow: every other frame, and the way between
            ElementTree.SubElement(inner, "animateTransform", animation | {"values": ";".join(values)})
        return inner

    def _variants(self, part: str, steps: Sequence[Steps], seconds: str) -> list[ElementTree.Element]:
        """The groups of a part, one for each way in which it is held, each shown in its time."""
        rest = (0.0,) * len(PARTS[part])
        if set(steps) == {rest}:
            return self._groups(part, rest)
        found = []
        for number, each in enumerate(dict.fromkeys([rest, *steps])):
            changes = [k for k in range(len(steps)) if k == 0 or (steps[k] == each) != (steps[k - 1] == each)]
            animation = {
                "attributeName": "display",
                "calcMode": "discrete",
                "dur": seconds,
                "fill": "freeze",
                "values": ";".join("inline" if steps[k] == each else "none" for k in changes),
                "keyTimes": ";".join(f"{k / len(steps):.5g}" for k in changes),
            }
            for group in self._groups(part, each):
                group.set("id", f"{group.get('id')}-{number}")
                for inner in group.iter("g"):
                    if inner is not group:
                        inner.set("id", f"{inner.get('id')}-{number}")
                group.set("display", "inline" if each == rest else "none")
                ElementTree.SubElement(group, "animate", animation)
                found.append(group)
        return found


Steps = tuple[float, ...]


def _steps(pose: Pose, numbers: Sequence[str], levels: Mapping[str, int]) -> Steps:
    """Numbers of a pose at the nearest of so many levels."""
    return tuple(round(getattr(pose, name) * levels[name]) / levels[name] for name in numbers)


def _note_paths(groups: Sequence[ElementTree.Element], others: Sequence[ElementTree.Element], key: str) -> None:
    """Write the paths of other groups, which are the same ones in another pose, into attributes of the first."""
    for group, other in zip(groups, others, strict=True):
        for path, there in zip(group.iter("path"), other.iter("path"), strict=True):
            if path.attrib["d"] != there.attrib["d"]:
                path.set(f"data-{key}", there.attrib["d"])


def _write_label(root: ElementTree.Element, text: str) -> None:
    """A line of text in the upper left corner."""
    group = ElementTree.SubElement(root, "g", {"id": "label", "transform": "translate(26 26)"})
    size = {"width": f"{LABEL_WIDTH * len(text):.0f}", "height": "38", "fill": "#2d3236"}
    ElementTree.SubElement(group, "rect", size)
    style = {"x": "8", "y": "27", "fill": "#ffffff", "font-family": "sans-serif", "font-size": "25"}
    width = {"textLength": f"{LABEL_WIDTH * len(text) - 16:.0f}", "lengthAdjust": "spacingAndGlyphs"}
    ElementTree.SubElement(group, "text", style | width).text = text


class _Area:
    """A filled path, ready to be drawn."""

    def __init__(self, place: tuple[float, float], path: ElementTree.Element) -> None:
        import aggdraw

        self.place = place
        self.brush = aggdraw.Brush(path.attrib["fill"])
        self.symbols = [aggdraw.Symbol(f"M{part}") for part in path.attrib["d"].split("M")[1:]]


def areas(element: Iterable[ElementTree.Element], x: float, y: float) -> list[_Area]:
    """The filled paths in moved groups, one over the other."""
    found = []
    for child in element:
        if child.tag.endswith("}g") or child.tag == "g":
            move = MOVE.fullmatch(child.get("transform", ""))
            dx, dy = (float(move[1]), float(move[2])) if move else (0.0, 0.0)
            found += areas(child, x + dx, y + dy)
        elif child.tag.endswith("path"):
            found.append(_Area((x, y), child))
    return found


# --- A canonical face that moves as it was decoded: lips, jaw, lids and head are warped, the mouth's inside is drawn.
#
# Nothing of the inside of a mouth is in a canonical face, whose mouth is closed. Teeth, tongue and shadow are the same
# painted ones for everybody, and nobody's.

Plane = NDArray[np.float32]
WARPED_LEVELS = {"jaw": 20, "spread": 4, "rounding": 5}
"""Steps of the mouth, so that it need not be warped anew in every frame."""
BLINK_LEVELS = 5
KEPT = 64  # mouths that are kept, of 0.1 MB
GAPE = 0.105  # between the lips of the widest mouth, in parts of the face's width
TEETH, GUM_SHADOW = np.array([176.0, 166.0, 156.0], np.float32), 2.5
LASHES = np.array([38.0, 28.0, 25.0], np.float32)
DARK, TONGUE = np.array([40.0, 18.0, 18.0], np.float32), np.array([108.0, 56.0, 54.0], np.float32)
MESH = 40  # pixels: squares in which the head is moved
NECK = 38.0  # units under the chin, where nothing moves any more
MARGIN = 14.0  # units beside the head, which it moves into
GROUND_DIFFERS = 4  # grey levels


class WarpedFace:
    """A canonical face that can be held in any pose."""

    def __init__(self, image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> None:
        """`image` is the canonical face, (size, size, 3), `landmarks` (landmarks, 2) in its pixels.

        Raises:
            InvalidOption: landmarks that are not known.
        """
        contours = face_contours(landmarks, image.shape[1])
        self._contours, self._scale = contours, image.shape[1] / UNITS
        self._image = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
        self._mouth = _Mouth(contours, self._scale, image.shape[0])
        self._eyes = [_Lid(eye, self._scale, self._image) for eye in contours.eyes]
        self._mouths: OrderedDict[tuple[float, ...], NDArray[np.uint8]] = OrderedDict()
        self._lids: dict[tuple[int, float], NDArray[np.uint8]] = {}
        self._rest = image
        self._chin = contours.jaw[len(contours.jaw) // 2] * self._scale
        self._neck_end = min(round(self._chin[1] + NECK * self._scale), len(image))
        self._sides = _sides(image, self._neck_end, round(MARGIN * self._scale))

    def frame(self, pose: Pose, pixels: int) -> NDArray[np.uint8]:
        """The face in a pose, (pixels, pixels, 3)."""
        picture = self._rest.copy()
        if pose.jaw or pose.rounding or pose.spread:
            rows, columns = self._mouth.box
            picture[rows, columns] = self._held_mouth(pose)
        for number, (eye, blink) in enumerate(zip(self._eyes, (pose.blink_left, pose.blink_right), strict=True)):
            shut = round(blink * BLINK_LEVELS) / BLINK_LEVELS
            if shut:
                rows, columns = eye.box
                if (number, shut) not in self._lids:
                    self._lids[number, shut] = eye.held(shut)
                picture[rows, columns] = self._lids[number, shut]
        return self._turned(Image.fromarray(picture), pose, pixels)

    def _held_mouth(self, pose: Pose) -> NDArray[np.uint8]:
        steps = tuple(round(getattr(pose, name) * levels) / levels for name, levels in WARPED_LEVELS.items())
        if steps not in self._mouths:
            self._mouths[steps] = self._mouth.held(self._image, *steps)
            if len(self._mouths) > KEPT:
                self._mouths.popitem(last=False)
        self._mouths.move_to_end(steps)
        return self._mouths[steps]

    def _turned(self, picture: Image.Image, pose: Pose, pixels: int) -> NDArray[np.uint8]:
        """The head moved as the pose says, less and less down the neck; the shoulders stay."""
        if not (pose.right or pose.down or pose.roll):
            moved = picture
        else:
            size, (left, right), low = picture.width, self._sides, self._neck_end
            x, y = np.meshgrid(_edges(left, right), _edges(0, low))
            with_head = 1 - _step(self._chin[1], low, y)
            pivot = self._chin + np.array([0.0, PIVOT_UNDER_CHIN * self._scale])
            turn = -np.radians(pose.roll) * with_head
            away_x, away_y = x - pivot[0], y - pivot[1]
            source_x = pivot[0] + np.cos(turn) * away_x - np.sin(turn) * away_y - with_head * pose.right * size
            source_y = pivot[1] + np.sin(turn) * away_x + np.cos(turn) * away_y - with_head * pose.down * size
            source_x, source_y = source_x.clip(0, size), source_y.clip(0, size)  # what is over the edge is plain ground
            mesh = []
            for row, (top, bottom) in enumerate(pairwise(y[:, 0].tolist())):
                for column, (first, last) in enumerate(pairwise((x[0] - left).tolist())):
                    corners = ((row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1))
                    quad = tuple(float(plane[place]) for place in corners for plane in (source_x, source_y))
                    mesh.append(((int(first), int(top), int(last), int(bottom)), quad))
            head = picture.transform((right - left, low), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
            moved = picture.copy()
            moved.paste(head, (left, 0))
        if pixels != moved.width:
            moved = moved.resize((pixels, pixels), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(moved)


def _edges(first: int, last: int) -> NDArray[np.float64]:
    """Edges of the squares in which a stretch is moved, in whole pixels."""
    return np.linspace(first, last, max(round((last - first) / MESH), 1) + 1).round()


def _sides(image: NDArray[np.uint8], rows: int, margin: int) -> tuple[int, int]:
    """Columns between which there is more than the plain ground of the upper left corner, in the upper rows."""
    differs = np.abs(image[:rows].astype(np.int16) - image[0, 0]).max(axis=(0, 2)) > GROUND_DIFFERS
    columns = np.flatnonzero(differs)
    if not columns.size:
        return 0, image.shape[1]
    return max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, image.shape[1])


def _step(start: float, end: float, value: NDArray[np.floating]) -> NDArray[np.floating]:
    """A smooth way from 0 at start to 1 at end."""
    share = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _fetch(image: Plane, x: Plane, y: Plane) -> Plane:
    """The picture (3, height, width) between its pixels, at places (rows, columns) each: (rows, columns, 3)."""
    _, height, width = image.shape
    x, y = x.clip(0, width - 1.001), y.clip(0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    across, down = x - left, y - top
    corner = top * width + left
    found = np.empty((*x.shape, 3), np.float32)
    for channel, plane in enumerate(image.reshape(3, -1)):
        upper, lower = plane.take(corner), plane.take(corner + width)
        upper += across * (plane.take(corner + 1) - upper)
        lower += across * (plane.take(corner + width + 1) - lower)
        found[..., channel] = upper + down * (lower - upper)
    return found


class _Mouth:
    """Lips, jaw and what is between the lips, in a box of the picture."""

    def __init__(self, c: FaceContours, scale: float, size: int) -> None:
        line, chin = c.lip_line * scale - 0.5, float(c.jaw[len(c.jaw) // 2, 1]) * scale - 0.5
        self._line, self._chin = line, chin
        self._middle, self._height = float(line[:, 0].mean()), float(line[:, 1].mean())
        self._half, self._width, self._unit = float(np.ptp(line[:, 0])) / 2, c.width * scale, scale
        rows = slice(max(int(self._height - 44 * scale), 0), min(int(chin + 62 * scale), size))
        half = int(0.62 * self._width)
        columns = slice(max(int(self._middle) - half, 0), min(int(self._middle) + half, size))
        self.box = rows, columns
        y, x = np.mgrid[rows, columns].astype(np.float32)
        self._x, self._y = x, y  # (rows, columns)
        self._beside = np.exp(
            -(((x - self._middle) / (0.40 * self._width)) ** 4)
        )  # how far the jaw takes a place along

    def held(self, image: Plane, jaw: float, spread: float, rounding: float) -> NDArray[np.uint8]:
        """The box, (rows, columns, 3), of a face (3, size, size) with its mouth so."""
        unit, x, y = self._unit, self._x, self._y
        gap = GAPE * self._width * jaw * (1 + 0.3 * rounding)
        wider = 0.07 * spread - 0.28 * rounding - 0.04 * jaw
        near = ((x - self._middle) / (1.35 * self._half)) ** 2 + ((y - self._height - 4 * unit) / (34 * unit)) ** 2
        x = self._middle + (x - self._middle) / (1 + wider * np.exp(-near))
        at_lips = x[round(self._height) - self.box[0].start]  # (columns,)
        line = np.interp(at_lips, self._line[:, 0], self._line[:, 1]).astype(np.float32)
        along = np.abs(at_lips - self._middle) / (0.97 * self._half)
        bulge = (1 - np.clip(along, 0, 1) ** 2) ** (0.8 - 0.25 * rounding)
        between = along < 1
        above = line - 0.12 * gap * bulge
        below = line + self._sinks(line[None], gap, line, bulge)[0]
        lower = y.copy()  # where what is below the lips came from
        for _ in range(4):
            lower = y - self._sinks(np.maximum(lower, line), gap, line, bulge)
        upper = y + 0.12 * gap * bulge * np.exp(-(((line - y) / (16 * unit)) ** 2))
        came = np.where(between & (y < below), np.minimum(upper, line), lower)
        found = _fetch(image, x, came.astype(np.float32))
        if gap > 0.6 * unit:
            first = self.box[0].start
            rows = slice(int(above[between].min()) - first - 1, int(below[between].max()) - first + 3)
            columns = slice(int(np.argmax(between)), len(between) - int(np.argmax(between[::-1])))
            deep, room = y[rows, columns] - above[columns], (below - above)[columns]
            painted = self._inside(deep, room, along[columns], gap, rounding)
            inside = np.clip(deep + 0.5, 0, 1) * np.clip(room - deep + 0.5, 0, 1)
            inside *= np.clip((1 - along[columns]) / 0.07, 0, 1)
            found[rows, columns] += inside[..., None] * (painted - found[rows, columns])
        return np.asarray(np.rint(found.clip(0, 255)), np.uint8)

    def _sinks(self, y: Plane, gap: float, line: Plane, bulge: Plane) -> Plane:
        """How far places at heights `y`, (rows, columns) or (1, columns), sink with jaw and lip."""
        unit, start = self._unit, self._height - 14 * self._unit
        beside = self._beside[:1] if len(y) == 1 else self._beside

        def with_jaw(height: Plane) -> Plane:
            rises = _step(start, self._height + 30 * unit, height)
            return np.asarray(0.55 * gap * rises * (1 - _step(self._chin - 2 * unit, self._chin + 58 * unit, height)))

        lip = np.maximum(0.88 * gap * bulge - with_jaw(line) * self._beside[0], 0)
        with_lip = lip * (1 - _step(0, 42 * unit, y - line)) * (y >= line)
        return np.asarray(with_jaw(y) * beside + with_lip, np.float32)

    def _inside(self, deep: Plane, room: Plane, along: Plane, gap: float, rounding: float) -> Plane:
        """Shadow, upper teeth and tongue, (rows, columns, 3).

        `deep` is how far under the upper lip, (rows, columns), `room` what is between the lips and `along` the way to
        the corner of the mouth, (columns,).
        """
        unit, room = self._unit, np.maximum(room, 1e-3)
        share = np.clip(deep / room, 0, 1)
        colour = DARK * (0.8 + 0.3 * share[..., None])
        tall = np.minimum(0.24 * gap + 2 * unit, 6.5 * unit) * (1 - 0.45 * along**2) * (1 - 0.85 * rounding)
        tooth = np.clip((tall - deep) / 1.6 + 0.5, 0, 1) * np.clip((0.74 - along) / 0.2, 0, 1) * np.clip(deep / 2, 0, 1)
        gums = np.cos(np.pi * np.abs(along) * self._half / (7.6 * unit)) ** 8  # between one tooth and the next
        light = (1 - 0.6 * along**2) * (0.7 + 0.3 * _step(0, GUM_SHADOW * 2 * unit, deep)) * (1 - 0.16 * gums)
        colour += tooth[..., None] * (TEETH * light[..., None] - colour)
        lies = np.clip(1 - (along / 0.66) ** 2, 0, 1)
        tongue = np.clip((deep - room + 0.36 * max(gap - 6 * unit, 0) * lies) / (3 * unit), 0, 1) * (lies > 0)
        colour += tongue[..., None] * (TONGUE * (0.75 + 0.25 * share[..., None]) - colour)
        shadow = 0.3 * np.clip(1 - deep / (3 * unit), 0, 1) + 0.25 * np.clip(1 - (room - deep) / (3 * unit), 0, 1)
        return np.asarray(colour * (1 - shadow[..., None]), np.float32)


class _Lid:
    """An upper lid that comes down, in a box of the picture."""

    def __init__(self, eye: Eye, scale: float, image: Plane) -> None:
        self._image, self._unit = image, scale
        upper, lower = (self._by_x(points * scale - 0.5) for points in (eye.upper, _round(eye)))
        crease = self._by_x(eye.crease * scale - 0.5)
        tall = float(lower[:, 1].max() - crease[:, 1].min())
        columns = slice(int(upper[0, 0]) - round(4 * scale), int(upper[-1, 0]) + round(6 * scale))
        rows = slice(int(crease[:, 1].min() - 0.8 * tall), int(lower[:, 1].max()) + round(8 * scale))
        self.box = rows, columns
        y, x = np.mgrid[rows, columns].astype(np.float32)
        self._x, self._y, across = x, y, x[0]
        self._upper, self._lower, self._crease = (
            np.interp(across, line[:, 0], line[:, 1]).astype(np.float32) for line in (upper, lower, crease)
        )
        ends = (across - upper[0, 0], upper[-1, 0] - across)
        self._share = np.minimum(*(_step(-3 * scale, 5 * scale, end) for end in ends)).astype(np.float32)

    @staticmethod
    def _by_x(points: Points) -> Points:
        return points[np.argsort(points[:, 0])]

    def held(self, shut: float) -> NDArray[np.uint8]:
        """The box, (rows, columns, 3), with the lid so far down: skin above it is stretched, its lashes are moved."""
        unit, y = self._unit, self._y
        lid = self._upper - 1.5 * unit  # its edge, with the lashes' shadow on the eye left out
        falls = 0.95 * shut * self._share * np.maximum(self._lower - self._upper, 0)
        top, bottom = self._crease - 9 * unit, lid - 2 * unit
        stretched = top + (y - top) * (bottom - top) / np.maximum(bottom + falls - top, 1e-3)
        came = np.where(y < top, y, np.where(y < bottom + falls, stretched, y - falls))
        skin = _fetch(self._image, self._x, np.minimum(came, np.maximum(lid, y)).astype(np.float32))
        rows, columns = self.box
        found = self._image[:, rows, columns].transpose(1, 2, 0).copy()
        moved = (self._share * np.clip(lid + falls + 0.5 * unit - y + 0.5, 0, 1))[..., None]
        found += moved * (skin - found)
        line = np.exp(-(((y - lid - falls - 0.6 * unit) / (1.3 * unit)) ** 2)) * self._share * min(3 * shut, 1.0)
        found += (0.75 * line)[..., None] * (LASHES - found)
        return np.asarray(np.rint(found.clip(0, 255)), np.uint8)


def _round(eye: Eye) -> Points:
    """The lower lid with both corners."""
    return np.concatenate([eye.upper[-1:], eye.lower, eye.upper[:1]])
