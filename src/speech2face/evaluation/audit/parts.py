"""The audit's findings as parts of a report: numbers, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.evaluation.audit.by_group import EVERYBODY, Finding, worst_first
from speech2face.evaluation.audit.comparison import LEVEL, PERMUTATIONS, SMALLEST_SHOWN, SMALLEST_TESTED
from speech2face.evaluation.audit.measures import SHORT_TITLES, Measure
from speech2face.evaluation.parts.part import Cell, Figure, Number, Part, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

GROUPS, CHANNELS = "groups", "channels"
CHANGED = ", changed"  # ends the name of a dimension whose groups are the same recordings made otherwise
MOST_BARS = 18
HEADER = (
    *("by", "group", "speakers", "clips", "value", "low_95", "high_95", "constant_answer"),
    *("difference", "difference_low_95", "difference_high_95", "p", "p_holm", "p_bh", "verdict"),
)
RULES = (
    f"Groups of fewer than {SMALLEST_SHOWN} speakers are listed without a value: it would be nearly one person's own;"
    f" those of fewer than {SMALLEST_TESTED} are not tested.",
    "The difference is to everybody else of the same gender (for readings of gender) or of the same age group (for"
    " ages); by gender and by age themselves it is to everybody else. Each speaker counts once.",
    "For a coverage and for stated less given, worse is farther from the best on either side of it.",
    f"p: {PERMUTATIONS:,} permutations over speakers, two-sided, so that 1 / {PERMUTATIONS + 1:,} is the least there"
    " is. p_holm is corrected for all tests of this audit"
    f" (worse or better: at most {LEVEL}); p_bh bounds the share of false findings (perhaps worse or perhaps better).",
)


def is_condition(found: Finding) -> bool:
    """Of recordings made otherwise, not of people."""
    return found.dimension.endswith(CHANGED)


def groups_part(findings: Sequence[Finding], measures: Sequence[Measure], notes: Sequence[str] = ()) -> Part:
    """Every measure by group of people; `notes` are put before the rules."""
    people = [found for found in findings if not is_condition(found)]
    tables = [_worse_table(people)]
    figures = []
    for measure in measures:
        own = worst_first([found for found in people if found.measure is measure])
        tables.append(_table(f"by-{measure.name.replace('_', '-')}", measure.title, own, measure))
        figure = _bars(measure, own)
        if figure is not None:
            figures.append(figure)
    return Part(
        GROUPS, "By group", tuple(_number(GROUPS, found) for found in people if found.shown and found.speakers),
        tuple(tables), tuple(figures), (*notes, *RULES),
    )  # fmt: skip


def channels_part(findings: Sequence[Finding], measures: Sequence[Measure]) -> Part:
    """Every measure under every condition, beside the same recordings clean."""
    changed = [found for found in findings if is_condition(found)]
    if not changed:
        return Part(CHANNELS, "By channel and length", skipped="only clean recordings were asked for (--channels)")
    tables = tuple(
        _table(f"by-{measure.name.replace('_', '-')}", measure.title,
               [found for found in changed if found.measure is measure], measure)
        for measure in measures
    )  # fmt: skip
    notes = (
        "The difference is to the same recordings clean and whole, speaker by speaker; p by random signs.",
        "telephone: 8 kHz and G.711; low bit rate: Opus at 6 kbit/s; far away: an echo of 0.8 s that is 3 dB louder"
        " than the voice, room noise at 25 dB; noise: pink, below the voice by so many dB; first n s: so much speech of"
        " recordings that have more.",
    )
    numbers = tuple(_number(CHANNELS, found) for found in changed if found.shown)
    return Part(CHANNELS, "By channel and length", numbers, tables, notes=notes)


def _number(part: str, found: Finding) -> Number:
    measure = found.measure
    cheat = None if not np.isfinite(found.cheat) else found.cheat
    mean_face = measure.cheat_is.startswith("the mean face")
    return Number(
        part=part,
        metric=measure.name,
        estimate=found.value,
        clips=found.clips,
        conditions={"by": found.dimension.removesuffix(CHANGED), "group": found.group}
        if found.dimension
        else {"group": EVERYBODY},
        chance=None if mean_face else cheat,
        mean_face=cheat if mean_face else None,
        best=measure.target,
        higher_is_better=measure.higher_is_better,
    )


def _cells(found: Finding) -> tuple[Cell, ...]:
    value, change = found.value, found.difference
    return (
        *(found.dimension.removesuffix(CHANGED), found.group, found.speakers, found.clips),
        *(value.value, value.low, value.high, found.cheat, change.value, change.low, change.high),
        *(found.p, found.p_holm, found.p_bh, found.verdict),
    )


def _table(name: str, title: str, findings: Sequence[Finding], measure: Measure) -> Table:
    note = f"Best is {measure.target:g}."
    if measure.cheat_is:
        note += f" The constant answer: {measure.cheat_is}."
    return Table(name, title, HEADER, tuple(_cells(found) for found in findings), note)


def found_worse(findings: Sequence[Finding]) -> list[Finding]:
    """Groups that are told worse than the rest after correction, or perhaps, the surest first."""
    return sorted(
        (found for found in findings if found.verdict in ("worse", "perhaps worse")),
        key=lambda found: (found.verdict != "worse", found.measure.name, -found.measure.badness(found.value.value)),
    )


def _worse_table(findings: Sequence[Finding]) -> Table:
    rows = tuple(
        (SHORT_TITLES.get(found.measure.name, found.measure.name), *_cells(found)) for found in found_worse(findings)
    )
    tested = sum(found.tested for found in findings)
    note = f"{tested} differences between groups of people were tested. What is missing here was not shown to differ:"
    note += " with so few speakers that is no proof of equality."
    return Table("worse", "Groups that are told worse than the rest", ("measure", *HEADER), rows, note)


def _bars(measure: Measure, findings: Sequence[Finding]) -> Figure | None:
    """The worst tested groups with their intervals, beside everybody."""
    from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, COLOURS, render

    shown = [found for found in findings if found.tested][:MOST_BARS]
    everybody = next((found for found in findings if found.group == EVERYBODY and found.speakers), None)
    if not shown or everybody is None:
        return None

    def draw(canvas: Canvas) -> None:
        axes: Any = canvas.add_subplot()
        places = np.arange(len(shown))[::-1]
        for place, found in zip(places, shown, strict=True):
            colour = COLOURS[1] if found.verdict == "worse" else COLOURS[3] if "worse" in found.verdict else COLOURS[0]
            axes.plot([found.value.low, found.value.high], [place, place], color=colour, linewidth=2.2)
            axes.plot([found.value.value], [place], "o", color=colour, markersize=5)
            if np.isfinite(found.cheat):
                axes.plot([found.cheat], [place], "|", color=CHANCE_COLOUR, markersize=9)
        axes.axvline(everybody.value.value, color=CHANCE_COLOUR, linewidth=1.2, linestyle="--")
        axes.set_yticks(places, [f"{found.dimension}: {found.group} ({found.speakers})" for found in shown])
        axes.set_xlabel(measure.title)
        axes.grid(axis="y", visible=False)

    words = "; ".join(f"{found.dimension} {found.group} {found.value.value:.3g}" for found in shown[:5])
    return Figure(
        f"worst-{measure.name.replace('_', '-')}",
        f"{measure.title}: the worst of the tested groups with 95 % intervals, in brackets how many speakers. Dashed:"
        " everybody. Grey strokes: the constant answer. Red: worse than the rest after correction for all tests; ochre:"
        " perhaps.",
        render(draw, (7.6, 1.2 + 0.3 * len(shown))),
        f"Everybody {everybody.value.value:.3g}. Worst groups: {words}.",
    )
