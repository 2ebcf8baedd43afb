"""The audit's block of a model card, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from speech2face.evaluation.audit.by_group import EVERYBODY, Finding
from speech2face.evaluation.audit.card import weights_mark
from speech2face.evaluation.audit.comparison import SMALLEST_SHOWN, SMALLEST_TESTED
from speech2face.evaluation.audit.measures import SHORT_TITLES, Measure
from speech2face.evaluation.audit.parts import CHANGED, found_worse, is_condition
from speech2face.evaluation.audit.stability import Stability
from speech2face.evaluation.intervals import Estimate
from speech2face.evaluation.parts.part import Number

if TYPE_CHECKING:
    from speech2face.evaluation.audit.audit import Audit

CALIBRATION_TITLES = {
    "gender_calibration_error": "gender, calibration error",
    "gender_brier": "gender, Brier score",
    "age_interval_coverage": "adults inside the {} age interval",
    "spread_coverage": "own faces inside {} of the spread",
}
FEW_GROUPS = ("gender", "age", "pitch")
"""Divisions whose groups are listed also where they are too small to be tested."""
IN_TABLE = (
    *("gender_balanced_accuracy", "age_error_years", "age_bias_years", "age_interval_coverage", "adult_called_child"),
    *("angle_degrees", "two_way_choice", "two_way_choice_same_gender", "spread_coverage", "refused"),
)


def card_block(audit: Audit) -> str:
    """Everything between the card's markers."""
    people = [found for found in audit.findings if not is_condition(found)]
    changed = [found for found in audit.findings if is_condition(found)]
    columns = [measure for measure in audit.measures if measure.name in IN_TABLE]
    parts = [
        _introduction(audit),
        "**Told worse than the rest.** " + _worse_words(people),
        _worse_table(people),
        _child_words(people),
        "**By group**, within each division the worst by the first column first; everybody at the top. Languages and"
        " accents as the data call them.",
        _group_table(people, columns),
    ]
    if changed:
        parts += [
            "**By channel and length**, the same recordings made otherwise; the change is to clean and whole.",
            _change_table(changed, columns),
        ]
    parts += [_calibration_table(audit)]
    if audit.stability is not None:
        parts += [_stability_words(audit.stability), _stability_table(audit.stability)]
    return "\n\n".join(part for part in parts if part)


def _introduction(audit: Audit) -> str:
    data, settings, made = audit.facts.data, audit.facts.settings, audit.facts.made
    refused = ", ".join(f"{count} {reason}" for reason, count in data["refused"].items()) or "none"
    return (
        f"Written by `speech2face audit` on {made['date']} about the weights"
        f" {weights_mark(audit.facts.models[0].sha256)}: {data['recordings']} recordings of {data['speakers']} speakers"
        f" of the split `{data['split']}`, {data['heard']} heard (refused: {refused}). Each cell: value [95 % interval"
        f" over speakers], n speakers. Groups of fewer than {SMALLEST_SHOWN} speakers have no value, those of fewer"
        f" than {SMALLEST_TESTED} were not tested; {settings['tests']} differences were, by"
        f" {settings['permutations']:,} permutations over speakers, corrected for all of them together (Holm)."
    )


def _digits(value: float, digits: int) -> str:
    return "" if not np.isfinite(value) else f"{value:.{digits}f}"


def _cell(found: Finding | None) -> str:
    if found is None or not found.shown or not np.isfinite(found.value.value):
        return "-"
    return f"{_estimate(found.value, found.measure.digits)}, n {found.speakers}"


def _estimate(estimate: Estimate, digits: int) -> str:
    if not np.isfinite(estimate.value):
        return "-"
    low, high = _digits(estimate.low, digits), _digits(estimate.high, digits)
    return f"{estimate.value:.{digits}f}" + (f" [{low}, {high}]" if low else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _worse_words(people: Sequence[Finding]) -> str:
    sure = [found for found in found_worse(people) if found.verdict == "worse"]
    if not sure:
        return "No group of people was shown to be told worse; with so few speakers that is no proof of equality."
    return (
        "Compared with everybody else of the same gender (readings of gender) or age group (ages), after correction."
        " Worse is farther from the best, on either side of it. What is not listed was not shown to differ; with so few"
        " speakers that is no proof of equality."
    )


def _worse_table(people: Sequence[Finding]) -> str:
    rows = [
        [
            *(
                SHORT_TITLES[found.measure.name],
                f"{found.dimension}: {found.group}",
                _cell(found),
            ),
            *(_estimate(found.difference, found.measure.digits), f"{found.p_holm:.3f}"),
            _digits(found.cheat, found.measure.digits) or "-",
        ]
        for found in found_worse(people)
        if found.verdict == "worse"
    ]
    head = ("measure", "group", "value", "difference", "p (Holm)", "a constant answer earns")
    return _table(head, rows) if rows else ""


def _child_words(people: Sequence[Finding]) -> str:
    """The one number that concerns nobody else."""
    found = [one for one in people if one.measure.name == "child_missed" and one.group == EVERYBODY and one.shown]
    return f"Children under 13 without the caution of a child's voice: {_cell(found[0])}." if found else ""


def _group_table(people: Sequence[Finding], columns: Sequence[Measure]) -> str:
    found = {(one.dimension, one.group, one.measure.name): one for one in people}
    dimensions = list(dict.fromkeys(one.dimension for one in people if one.dimension))
    rows = [["everybody", *(_cell(found.get(("", EVERYBODY, column.name))) for column in columns)]]
    for dimension in dimensions:
        names = list(dict.fromkeys(one.group for one in people if one.dimension == dimension))
        names = [name for name in names if _enough(found, dimension, name, columns)]
        for name in sorted(names, key=lambda name: _order(found, dimension, name, columns)):
            rows.append([f"{dimension}: {name}", *(_cell(found.get((dimension, name, c.name))) for c in columns)])
    return _table(("group", *(SHORT_TITLES[column.name] for column in columns)), rows)


Found = dict[tuple[str, str, str], Finding]


def _enough(found: Found, dimension: str, group: str, columns: Sequence[Measure]) -> bool:
    """Tested for more than refusals, or shown in a division of few groups; the rest is in the report's tables."""
    asked = [column.name for column in columns if not column.of_refused]
    own = [one for name in asked if (one := found.get((dimension, group, name))) is not None]
    return any(one.tested for one in own) or (dimension in FEW_GROUPS and any(one.shown for one in own))


def _order(found: Found, dimension: str, group: str, columns: Sequence[Measure]) -> tuple[float, ...]:
    keys = []
    for column in columns:
        one = found.get((dimension, group, column.name))
        keys.append(-column.badness(one.value.value) if one is not None and one.shown else np.inf)
    return tuple(keys)


def _change_table(changed: Sequence[Finding], columns: Sequence[Measure]) -> str:
    found = {(one.dimension, one.group, one.measure.name): one for one in changed}
    rows = []
    for dimension, name in dict.fromkeys((one.dimension, one.group) for one in changed):
        cells = []
        for column in columns:
            one = found.get((dimension, name, column.name))
            mark = {"worse": " **worse**", "better": " better"}.get(one.verdict, "") if one is not None else ""
            change = "" if one is None else f"; {one.difference.value:+.{column.digits}f}{mark}"
            cells.append("-" if _cell(one) == "-" else f"{_cell(one)}{change}")
        rows.append([f"{dimension.removesuffix(CHANGED)}: {name}", *cells])
    return _table(("made otherwise", *(SHORT_TITLES[column.name] for column in columns)), rows)


def _calibration_table(audit: Audit) -> str:
    """What is stated and how often it was so, under every condition."""
    part = next((part for part in audit.parts if part.name == "calibration" and not part.skipped), None)
    if part is None:
        return ""
    conditions = list(dict.fromkeys(number.conditions["condition"] for number in part.numbers))
    columns = list(dict.fromkeys((number.metric, number.conditions.get("stated", "")) for number in part.numbers))
    cells = {
        (number.conditions["condition"], number.metric, number.conditions.get("stated", "")): _stated(number)
        for number in part.numbers
    }
    head = [CALIBRATION_TITLES[metric].format(_percent(stated)) for metric, stated in columns]
    rows = [[name, *(cells.get((name, *column), "-") for column in columns)] for name in conditions]
    words = (
        "**Stated probabilities and intervals.** The calibration error of the gender is the mean difference between the"
        " stated probability and how often it was so; its floor is what exactly true statements would show by chance."
    )
    if not any(metric == "gender_calibration_error" for metric, _ in columns):
        words = "**Stated spread.** How many own faces lie inside the stated share of it."
    return f"{words}\n\n" + _table(("recordings", *head), rows)


def _percent(share: str) -> str:
    return f"{100 * float(share):g} %" if share else ""


def _stated(number: Number) -> str:
    text = _estimate(number.estimate, 3)
    return f"{text}, floor {number.best:.3f}" if number.metric == "gender_calibration_error" else text


def _stability_words(stability: Stability) -> str:
    return (
        "**The same voice through several channels.** Movement of the face embedding and of the picture, as a share of"
        " the distance between two speakers' clean recordings: 0 is none, 1 is another speaker."
    )


def _stability_table(stability: Stability) -> str:
    head = ("channel", "embedding", "picture", "picture, grey levels of 255", "stated age, years", "gender turned")
    rows = [
        [
            moved.condition,
            *(_estimate(moved.embedding_share, 2), _estimate(moved.grey_share, 2), _estimate(moved.grey_levels, 1)),
            *(_estimate(moved.age_years, 1), _estimate(moved.gender_turned, 3)),
        ]
        for moved in stability.movements
    ]
    return _table(head, rows)
