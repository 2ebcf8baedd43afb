"""An audit from beginning to end: listen, divide, compare, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.console import Tell
from speech2face.errors import CannotWrite, DatasetError, RecordingNotFound
from speech2face.evaluation import groups, report
from speech2face.evaluation.clips import MOST_SECONDS, Clips, audit_clips, open_clips
from speech2face.evaluation.groups import calibration_part
from speech2face.evaluation.observations import (
    CLEAN,
    Movement,
    Observations,
    channels_of,
    choose_conditions,
    measure_stability,
    observe,
    stability_part,
)
from speech2face.evaluation.predictions import ReleasePredictor, references_for
from speech2face.metrics.intervals import LEVEL, PERMUTATIONS, RESAMPLINGS, SMALLEST_SHOWN, SMALLEST_TESTED, Estimate
from speech2face.models import load_model
from speech2face.outputs import write_together

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class AuditSettings:
    """What is to be audited, and how.

    `model` None is the shipped starter; `split` None takes `test`, or `validation` where there is no test; `channels`
    None takes all conditions; `clips` bounds how many recordings are heard, drawn by `seed`.
    """

    data: str
    out: Path
    model: Path | None = None
    cards: tuple[Path, ...] = ()
    split: str | None = None
    clips: int | None = None
    channels: tuple[str, ...] | None = None
    permutations: int = PERMUTATIONS
    seed: int = 0
    force: bool = False


def audit(settings: AuditSettings, *, progress: Tell | None = None) -> groups.Audit:
    """Measure everything, write the report, and put its block into the cards that are named.

    Raises:
        RecordingNotFound, DatasetError, WeightsError, InvalidOption, OutputExists, CannotWrite: before a recording is
            heard.
    """
    conditions = choose_conditions(settings.channels)
    report.check_report(settings.out, force=settings.force)
    cards = {path: read_card(path) for path in settings.cards}
    predictor = ReleasePredictor(load_model(settings.model))
    chosen = open_clips(settings.data, split=settings.split, limit=settings.clips, seed=settings.seed)
    references, notes = references_for(chosen, predictor.facts, predictor.learned_from)
    clips = audit_clips(chosen, references)
    seen = observe(predictor.model, clips, conditions, progress=progress)
    if not seen[CLEAN].heard.any():
        raise DatasetError(
            f"none of the {len(clips)} recordings of {chosen.name} could be heard; is it the right data?"
        )
    possible = groups.questions(seen[CLEAN])
    asked = [question for question in possible if np.isfinite(question.values(seen[CLEAN])).any()]
    notes += tuple(f"Not measured, for want of labels or faces: {q.title}." for q in possible if q not in asked)
    speaker = np.array([clip.speaker for clip in clips], np.int64)
    findings = groups.audit_groups(
        asked, groups.dimensions(clips, seen[CLEAN]), seen, speaker,
        {like: groups.strata(clips, like) for like in ("", "gender", "age")}, permutations=settings.permutations,
    )  # fmt: skip
    model = predictor.model
    stability = measure_stability(seen, speaker, model.decode, seed=settings.seed) if channels_of(seen) else None
    parts = (
        groups_part(findings, asked, notes),
        channels_part(findings, asked),
        calibration_part(clips, seen, seed=settings.seed),
        stability_part(model, seen, stability),
    )
    facts = report.ReportFacts(
        title=f"Audit of {predictor.facts.name} {predictor.facts.version}",
        models=(predictor.facts,),
        data=_data_facts(chosen, len(np.unique(speaker)), seen[CLEAN]),
        settings={
            "conditions": [condition.name for condition in conditions],
            "permutations": settings.permutations,
            "resamplings": RESAMPLINGS,
            "smallest_group_shown": SMALLEST_SHOWN,
            "smallest_group_tested": SMALLEST_TESTED,
            "tests": sum(found.tested for found in findings),
            "seed": settings.seed,
        },
        exclusions=groups.left_out(clips, seen[CLEAN]),
    )
    done = groups.Audit(parts, tuple(findings), tuple(asked), stability, facts)
    report.write_report(parts, facts, settings.out, force=settings.force)
    if cards:
        block = card_block(done)
        write_together({path: put_block(card, block).encode() for path, card in cards.items()}, force=True)
    return done


def _data_facts(chosen: Clips, speakers: int, clean: Observations) -> dict[str, Any]:
    reasons = Counter(filter(None, clean.refusal))
    return {
        "name": chosen.name,
        "sha256": chosen.sha256,
        "split": chosen.split,
        "recordings": len(clean.refusal),
        "speakers": speakers,
        "heard": int(clean.heard.sum()),
        "refused": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "most_seconds_of_a_recording": MOST_SECONDS,
    }


# --- The audit's findings as parts of a report: numbers, tables and figures.

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


@report.chapter("groups", "By group")
def groups_part(
    findings: Sequence[groups.GroupFinding], asked: Sequence[groups.Question], notes: Sequence[str] = ()
) -> report.Part:
    """Every question by group of people; `notes` are put before the rules."""
    people = [found for found in findings if not groups.is_condition(found)]
    tables = [_worse_table(people)]
    figures = []
    for question in asked:
        own = groups.worst_first([found for found in people if found.question is question])
        tables.append(_table(own, question))
        figure = _bars(question, own)
        if figure is not None:
            figures.append(figure)
    numbers = [_number(found) for found in people if found.shown and found.speakers]
    return report.Part(numbers=numbers, tables=tables, figures=figures, notes=(*notes, *RULES))


@report.chapter("channels", "By channel and length")
def channels_part(findings: Sequence[groups.GroupFinding], asked: Sequence[groups.Question]) -> report.Part:
    """Every question under every condition, beside the same recordings clean."""
    changed = [found for found in findings if groups.is_condition(found)]
    if not changed:
        raise report.NotMeasured("only clean recordings were asked for (--channels)")
    tables = [_table([found for found in changed if found.question is question], question) for question in asked]
    notes = (
        "The difference is to the same recordings clean and whole, speaker by speaker; p by random signs.",
        "telephone: 8 kHz and G.711; low bit rate: Opus at 6 kbit/s; far away: an echo of 0.8 s that is 3 dB louder"
        " than the voice, room noise at 25 dB; noise: pink, below the voice by so many dB; first n s: so much speech of"
        " recordings that have more.",
    )
    return report.Part(numbers=[_number(found) for found in changed if found.shown], tables=tables, notes=notes)


def _number(found: groups.GroupFinding) -> report.Number:
    question = found.question
    constant = None if not np.isfinite(found.constant) else found.constant
    mean_face = question.constant_is == groups.MEAN_FACE
    by = {"by": found.dimension.removesuffix(groups.CHANGED), "group": found.group}
    return report.Number(
        question.name,
        found.value,
        found.clips,
        by if found.dimension else {"group": groups.EVERYBODY},
        chance=None if mean_face else constant,
        mean_face=constant if mean_face else None,
        best=question.target,
        higher_is_better=question.measure.higher_is_better,
    )


def _cells(found: groups.GroupFinding) -> tuple[report.Cell, ...]:
    return (
        *(found.dimension.removesuffix(groups.CHANGED), found.group, found.speakers, found.clips),
        *(*found.value.cells(), found.constant, *found.difference.cells()),
        *(found.p, found.p_holm, found.p_bh, found.verdict),
    )


def _table(findings: Sequence[groups.GroupFinding], question: groups.Question) -> report.Table:
    note = f"Best is {question.target:g}."
    if question.constant_is:
        note += f" The constant answer: {question.constant_is}."
    name = f"by-{question.name.replace('_', '-')}"
    return report.Table(name, question.title, HEADER, tuple(_cells(found) for found in findings), note)


def _worse_table(findings: Sequence[groups.GroupFinding]) -> report.Table:
    rows = tuple((found.question.short_title, *_cells(found)) for found in groups.found_worse(findings))
    tested = sum(found.tested for found in findings)
    note = f"{tested} differences between groups of people were tested. What is missing here was not shown to differ:"
    note += " with so few speakers that is no proof of equality."
    return report.Table("worse", "Groups that are told worse than the rest", ("measure", *HEADER), rows, note)


def _bars(question: groups.Question, findings: Sequence[groups.GroupFinding]) -> report.Figure | None:
    """The worst tested groups with their intervals, beside everybody."""
    shown = [found for found in findings if found.tested][:MOST_BARS]
    everybody = next((found for found in findings if found.group == groups.EVERYBODY and found.speakers), None)
    if not shown or everybody is None:
        return None

    def draw(canvas: Canvas) -> None:
        axes: Any = canvas.add_subplot()
        places = np.arange(len(shown))[::-1]
        for place, found in zip(places, shown, strict=True):
            colour = (
                report.COLOURS[1]
                if found.verdict == "worse"
                else report.COLOURS[3]
                if "worse" in found.verdict
                else report.COLOURS[0]
            )
            axes.plot([found.value.low, found.value.high], [place, place], color=colour, linewidth=2.2)
            axes.plot([found.value.value], [place], "o", color=colour, markersize=5)
            if np.isfinite(found.constant):
                axes.plot([found.constant], [place], "|", color=report.CHANCE_COLOUR, markersize=9)
        axes.axvline(everybody.value.value, color=report.CHANCE_COLOUR, linewidth=1.2, linestyle="--")
        axes.set_yticks(places, [f"{found.dimension}: {found.group} ({found.speakers})" for found in shown])
        axes.set_xlabel(question.title)
        axes.grid(axis="y", visible=False)

    words = "; ".join(f"{found.dimension} {found.group} {found.value.value:.3g}" for found in shown[:5])
    return report.Figure(
        f"worst-{question.name.replace('_', '-')}",
        f"{question.title}: the worst of the tested groups with 95 % intervals, in brackets how many speakers. Dashed:"
        " everybody. Grey strokes: the constant answer. Red: worse than the rest after correction for all tests; ochre:"
        " perhaps.",
        report.render(draw, (7.6, 1.2 + 0.3 * len(shown))),
        f"Everybody {everybody.value.value:.3g}. Worst groups: {words}.",
    )


# --- The audit's block in a model card: put in by the audit, kept by whoever writes the rest of the card.

START, END = "<!-- audit -->", "<!-- /audit -->"
HEADING = "## Audit by group"
MARK_LETTERS = 12
BEFORE = ("\n## Release gate\n", "\n## Limits\n")
"""Headings that the section goes before, the first there is; otherwise it ends the card."""
NOT_MEASURED = "No audit has been made of these weights: `speech2face audit --help`."


def block_in(card: str) -> str | None:
    """What stands between the markers, None where there are none.

    Raises:
        CannotWrite: one marker without the other.
    """
    if START not in card and END not in card:
        return None
    start, end = card.find(START), card.find(END)
    if start < 0 or end < start or card.count(START) != 1 or card.count(END) != 1:
        raise CannotWrite(f"the card's audit block is broken; it needs one {START} and one {END} after it")
    return card[start + len(START) : end].strip("\n")


def put_block(card: str, block: str) -> str:
    """The card with its audit block replaced, or with a section for it where it has none.

    Raises:
        CannotWrite: one marker without the other.
    """
    marked = f"{START}\n{block.strip()}\n{END}"
    if block_in(card) is not None:
        start, end = card.index(START), card.index(END) + len(END)
        return card[:start] + marked + card[end:]
    section = f"{HEADING}\n\n{marked}\n"
    for heading in BEFORE:
        if heading in card:
            return card.replace(heading, f"\n{section}{heading}", 1)
    return card.rstrip("\n") + f"\n\n{section}"


def weights_mark(sha256: str) -> str:
    """How a block names the weights it is about: by the SHA-256 of their `model.json`."""
    return f"`{sha256[:MARK_LETTERS]}`"


def kept_block(path: Path, sha256: str) -> str:
    """The block of a card that is about to be written anew, if it is about the weights of this `model.json`.

    Otherwise a word that these weights were not audited: numbers of others would be worse than none.
    """
    found = block_in(read_card(path)) if path.is_file() else None
    return NOT_MEASURED if found is None or weights_mark(sha256) not in found else found


def section(block: str) -> str:
    """The section's text under its heading, for whoever writes a whole card."""
    return f"{START}\n{block.strip()}\n{END}"


def read_card(path: Path) -> str:
    """A card that is there.

    Raises:
        RecordingNotFound: there is none.
        CannotWrite: its audit block is broken, or it is no text.
    """
    if not path.is_file():
        raise RecordingNotFound(f"no such model card: {path}; --card puts the audit into one that is there")
    try:
        card = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise CannotWrite(f"cannot read the card {path}: {why}") from error
    block_in(card)
    return card


# --- The audit's block of a model card, as Markdown.

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


def card_block(audit: groups.Audit) -> str:
    """Everything between the card's markers."""
    facts, people = audit.facts, [found for found in audit.findings if not groups.is_condition(found)]
    columns = [question for question in audit.questions if question.name in IN_TABLE]
    missed = [found for found in people if (found.question.name, found.group) == ("child_missed", groups.EVERYBODY)]
    block = report.rendered(
        "card_block.md.j2",
        made=facts.made,
        mark=weights_mark(facts.models[0].sha256),
        data=facts.data,
        settings=facts.settings,
        refused=", ".join(f"{count} {reason}" for reason, count in facts.data["refused"].items()) or "none",
        smallest_shown=SMALLEST_SHOWN,
        smallest_tested=SMALLEST_TESTED,
        worse=[_worse_row(found) for found in groups.found_worse(people) if found.verdict == "worse"],
        children=_cell(missed[0]) if missed and missed[0].shown else "",
        titles=[column.short_title for column in columns],
        groups=_group_rows(people, columns),
        changes=_change_rows([found for found in audit.findings if groups.is_condition(found)], columns),
        calibration=_calibration(audit),
        movements=[] if audit.stability is None else list(map(_movement_row, audit.stability.movements)),
    )
    return block.strip()


def _digits(value: float, digits: int) -> str:
    return "" if not np.isfinite(value) else f"{value:.{digits}f}"


def _cell(found: groups.GroupFinding | None) -> str:
    if found is None or not found.shown or not np.isfinite(found.value.value):
        return "-"
    return f"{_estimate(found.value, found.question.digits)}, n {found.speakers}"


def _estimate(estimate: Estimate, digits: int) -> str:
    if not np.isfinite(estimate.value):
        return "-"
    low, high = _digits(estimate.low, digits), _digits(estimate.high, digits)
    return f"{estimate.value:.{digits}f}" + (f" [{low}, {high}]" if low else "")


def _worse_row(found: groups.GroupFinding) -> list[str]:
    digits = found.question.digits
    return [
        *(found.question.short_title, f"{found.dimension}: {found.group}", _cell(found)),
        *(_estimate(found.difference, digits), f"{found.p_holm:.3f}", _digits(found.constant, digits) or "-"),
    ]


Found = dict[tuple[str, str, str], groups.GroupFinding]


def _by_place(findings: Sequence[groups.GroupFinding]) -> Found:
    return {(one.dimension, one.group, one.question.name): one for one in findings}


def _group_rows(people: Sequence[groups.GroupFinding], columns: Sequence[groups.Question]) -> list[list[str]]:
    found = _by_place(people)
    rows = [["everybody", *(_cell(found.get(("", groups.EVERYBODY, column.name))) for column in columns)]]
    for dimension in dict.fromkeys(one.dimension for one in people if one.dimension):
        names = list(dict.fromkeys(one.group for one in people if one.dimension == dimension))
        names = [name for name in names if _enough(found, dimension, name, columns)]
        for name in sorted(names, key=lambda name: _order(found, dimension, name, columns)):
            rows.append([f"{dimension}: {name}", *(_cell(found.get((dimension, name, c.name))) for c in columns)])
    return rows


def _enough(found: Found, dimension: str, group: str, columns: Sequence[groups.Question]) -> bool:
    """Tested for more than refusals, or shown in a division of few groups; the rest is in the report's tables."""
    asked = [column.name for column in columns if not column.of_refused]
    own = [one for name in asked if (one := found.get((dimension, group, name))) is not None]
    return any(one.tested for one in own) or (dimension in FEW_GROUPS and any(one.shown for one in own))


def _order(found: Found, dimension: str, group: str, columns: Sequence[groups.Question]) -> tuple[float, ...]:
    own = ((column, found.get((dimension, group, column.name))) for column in columns)
    return tuple(-column.badness(one.value.value) if one is not None and one.shown else np.inf for column, one in own)


def _change_rows(changed: Sequence[groups.GroupFinding], columns: Sequence[groups.Question]) -> list[list[str]]:
    found, rows = _by_place(changed), []
    for dimension, name in dict.fromkeys((one.dimension, one.group) for one in changed):
        cells = []
        for column in columns:
            one = found.get((dimension, name, column.name))
            mark = {"worse": " **worse**", "better": " better"}.get(one.verdict, "") if one is not None else ""
            change = "" if one is None else f"; {one.difference.value:+.{column.digits}f}{mark}"
            cells.append("-" if _cell(one) == "-" else f"{_cell(one)}{change}")
        rows.append([f"{dimension.removesuffix(groups.CHANGED)}: {name}", *cells])
    return rows


def _calibration(audit: groups.Audit) -> dict[str, Any] | None:
    """What is stated and how often it was so, under every condition."""
    part = next((part for part in audit.parts if part.name == "calibration" and not part.skipped), None)
    if part is None:
        return None
    places = {
        (number.conditions["condition"], number.metric, number.conditions.get("stated", "")): number
        for number in part.numbers
    }
    columns = list(dict.fromkeys(place[1:] for place in places))
    titles = [CALIBRATION_TITLES[metric].format(f"{100 * float(s):g} %" if s else "") for metric, s in columns]
    rows = [
        [name, *(_stated(places[name, *column]) if (name, *column) in places else "-" for column in columns)]
        for name in dict.fromkeys(condition for condition, _, _ in places)
    ]
    of_gender = any(metric == "gender_calibration_error" for metric, _ in columns)
    return {"of_gender": of_gender, "head": ["recordings", *titles], "rows": rows}


def _stated(number: report.Number) -> str:
    text = _estimate(number.estimate, 3)
    return f"{text}, floor {number.best:.3f}" if number.metric == "gender_calibration_error" else text


def _movement_row(moved: Movement) -> list[str]:
    return [
        moved.condition,
        *(_estimate(moved.embedding_share, 2), _estimate(moved.grey_share, 2), _estimate(moved.grey_levels, 1)),
        *(_estimate(moved.age_years, 1), _estimate(moved.gender_turned, 3)),
    ]
