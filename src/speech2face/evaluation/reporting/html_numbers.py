"""Numbers on the page: each value with its interval, chance and cheats, as digits and as a mark on a line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from speech2face.evaluation.parts.part import Number, Part
from speech2face.evaluation.reporting import markup
from speech2face.evaluation.reporting.strip import LEGEND_MARKS, Scale, scale_of, strip_svg
from speech2face.evaluation.reporting.tables import decimals, number_text, words

FOLD_FROM_ROWS = 24
FOLD_BESIDE_TABLES = 8  # where the part has tables of its own, which mostly show the same
LEGEND = markup.items(
    [
        *(f"{mark} {escape(meaning)}" for mark, meaning in LEGEND_MARKS),
        '<span class="arrow">↑</span> higher is better, <span class="arrow">↓</span> lower is better',
    ],
    kind="legend",
)
BESIDE = {
    "chance": "Chance",
    "mean_face": "Mean face",
    "gender_mean_face": "Mean face of gender",
    "best": "Best",
}
"""What a value is held against: field of a Number, heading of its column."""
_DRAWN = markup.heading_cell(markup.unseen("Drawn"))


def glance(parts: Sequence[Part]) -> str:
    """The first number of each part: what a reader takes away who reads no further."""
    rows = [
        markup.heading_cell(
            f'<a href="#part-{part.name}">{escape(part.title)}</a><br>{_metric(number)}{_conditions(number)}', row=True
        )
        + _value_cell(number)
        + markup.cell(strip_svg(number, scale_of([number])))
        + _number_cell(number.chance)
        for part in parts
        for number in part.numbers[:1]
    ]
    if not rows:
        return ""
    head = [
        markup.heading_cell("Part and number"),
        markup.heading_cell("Value [95 %]", kind="number"),
        *(_DRAWN, markup.heading_cell("Chance", kind="number")),
    ]
    content = f"<p>The first number of each part.</p>\n{LEGEND}\n{markup.table('At a glance', head, rows)}"
    return markup.section("glance", "At a glance", content)


def number_tables(part: Part) -> Iterator[str]:
    """A part's numbers, one table for those with the same kinds of conditions; long tables are folded."""
    of_conditions: dict[tuple[str, ...], list[Number]] = {}
    of_metric: dict[str, list[Number]] = {}
    for number in part.numbers:
        of_conditions.setdefault(tuple(number.conditions), []).append(number)
        of_metric.setdefault(number.metric, []).append(number)
    scales = {metric: scale_of(numbers) for metric, numbers in of_metric.items()}
    for place, numbers in enumerate(of_conditions.values(), start=1):
        shown = _table(f"{part.title}: numbers {place}", numbers, scales)
        many = len(numbers) > (FOLD_BESIDE_TABLES if part.tables else FOLD_FROM_ROWS)
        yield markup.folded(f"All {len(numbers)} numbers with their intervals", shown) if many else shown


def _table(label: str, numbers: Sequence[Number], scales: Mapping[str, Scale]) -> str:
    conditions = numbers[0].conditions
    varying = [name for name in conditions if len({number.conditions[name] for number in numbers}) > 1]
    beside = [name for name in BESIDE if any(_there(getattr(number, name)) for number in numbers)]
    published = any(number.published for number in numbers)
    counts = {(number.estimate.n, number.clips) for number in numbers}
    head = [markup.heading_cell("Number"), *(markup.heading_cell(escape(words(name))) for name in varying)]
    head += [markup.heading_cell("Value [95 %]", kind="number"), _DRAWN]
    head += [markup.heading_cell(BESIDE[name], kind="number") for name in beside]
    head += [markup.heading_cell("Published")] * published
    head += [markup.heading_cell(name, kind="number") for name in ("Speakers", "Clips") if len(counts) > 1]
    rows, before = [], ""
    for number in sorted(numbers, key=lambda number: [*scales].index(number.metric)):  # a metric's rows together
        kind = "metric again" if number.metric == before else "metric"
        cells = [markup.heading_cell(_metric(number), row=True, kind=kind)]
        cells += [markup.cell(escape(number.conditions[name])) for name in varying]
        cells += [_value_cell(number), markup.cell(strip_svg(number, scales[number.metric]))]
        cells += [_number_cell(getattr(number, name)) for name in beside]
        cells += [markup.cell(escape(number.published), kind="published")] * published
        cells += [markup.cell(f"{n:,}", kind="number") for n in (number.estimate.n, number.clips) if len(counts) > 1]
        rows.append("".join(cells))
        before = number.metric
    caption = [f"{words(name)}: {value}" for name, value in conditions.items() if name not in varying and value]
    caption += [f"{speakers:,} speakers, {clips:,} clips" for speakers, clips in counts if len(counts) == 1]
    return markup.table(label, head, rows, caption=" · ".join(caption))


def _metric(number: Number) -> str:
    """The metric in words, with an arrow to where better is."""
    text = escape(words(number.metric))
    if number.higher_is_better is None:
        return text
    arrow, said = ("↑", "higher is better") if number.higher_is_better else ("↓", "lower is better")
    return (
        f'{text} <span class="arrow" title="{said}"><span aria-hidden="true">{arrow}</span>{markup.unseen(said)}</span>'
    )


def _conditions(number: Number) -> str:
    said = ", ".join(f"{words(name).lower()} {value}" for name, value in number.conditions.items() if value)
    return f'<br><span class="faint">{escape(said)}</span>' if said else ""


def _value_cell(number: Number) -> str:
    estimate = number.estimate
    text = f"<strong>{number_text(estimate.value)}</strong>"
    if _there(estimate.low) and _there(estimate.high):
        low, high = (number_text(end, decimals(estimate.value)) for end in (estimate.low, estimate.high))
        text += f' <span class="faint">[{low}, {high}]</span>'
    return markup.cell(text, kind="number")


def _number_cell(value: float | None) -> str:
    return markup.cell(number_text(value), kind="number")


def _there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
