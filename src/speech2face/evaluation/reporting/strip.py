"""A number as a mark on a line beside chance and the cheats: what a row of digits does not show at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from speech2face.evaluation.parts.part import Number

WIDTH, HEIGHT = 168, 18  # of the drawing, in CSS pixels
MARGIN = 7  # for marks at the ends
MIDDLE = HEIGHT // 2


@dataclass(frozen=True)
class Scale:
    """The range that all strips of one metric share."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, in pixels from the left."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * MARGIN)


def scale_of(numbers: Iterable[Number]) -> Scale:
    """The range of all that is drawn of some numbers."""
    seen = [value for number in numbers for value in _values(number) if _there(value)]
    return Scale(min(seen), max(seen)) if seen else Scale(0.0, 1.0)


def strip_svg(number: Number, scale: Scale) -> str:
    """The drawing, "" where there is no value; hidden from screen readers, which read the same numbers in the row."""
    value, low, high, chance, mean, gender_mean, best = _values(number)
    if not _there(value):
        return ""
    marks = [f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{MIDDLE}" y2="{MIDDLE}"/>']
    if _there(low) and _there(high):
        marks.append(_interval(scale.place(low), scale.place(high)))
    marks += [
        draw(scale.place(at))
        for draw, at in ((_chance, chance), (_best, best), (_mean, mean), (_gender_mean, gender_mean), (_value, value))
        if _there(at)
    ]
    return _svg(WIDTH, marks)


def _values(number: Number) -> tuple[float, ...]:
    estimate = number.estimate
    beside = (number.chance, number.mean_face, number.gender_mean_face, number.best)
    return (estimate.value, estimate.low, estimate.high, *(math.nan if value is None else value for value in beside))


def _there(value: float) -> bool:
    return math.isfinite(value)


def _svg(width: int, marks: Iterable[str]) -> str:
    size = f'width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
    return f'<svg class="strip" {size} aria-hidden="true" focusable="false">{"".join(marks)}</svg>'


def _interval(low: float, high: float) -> str:
    return f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{MIDDLE}" y2="{MIDDLE}"/>'


def _value(x: float) -> str:
    return f'<circle class="value" cx="{x:.1f}" cy="{MIDDLE}" r="4"/>'


def _chance(x: float) -> str:
    return f'<line class="chance" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{HEIGHT - 2}"/>'


def _best(x: float) -> str:
    return f'<path class="best" d="M{x:.1f} {MIDDLE - 6}v12"/>'


def _mean(x: float) -> str:
    return f'<circle class="cheat" cx="{x:.1f}" cy="{MIDDLE}" r="3.2"/>'


def _gender_mean(x: float) -> str:
    return f'<rect class="cheat" x="{x - 2.8:.1f}" y="{MIDDLE - 2.8:.1f}" width="5.6" height="5.6"/>'


LEGEND_MARKS = (
    (_svg(36, [_interval(5, 31), _value(18)]), "value and its 95 % interval"),
    (_svg(12, [_chance(6)]), "chance"),
    (_svg(12, [_mean(6)]), "the mean face for everybody"),
    (_svg(12, [_gender_mean(6)]), "the mean face of the gender"),
    (_svg(12, [_best(6)]), "the best possible, or a ceiling"),
)
"""Each mark with what it stands for."""
