"""The drawing of a face that moves: each part is drawn once for each way it is held, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.audio.spectrogram import FloatArray
from speech2face.drawn.avatar import TITLE, Artist
from speech2face.drawn.contours import UNITS
from speech2face.drawn.shapes import MOVE, Canvas
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
