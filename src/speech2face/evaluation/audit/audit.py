"""An audit from beginning to end: listen, divide, compare, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.errors import DatasetError
from speech2face.evaluation.audit.by_group import Finding, audit_groups
from speech2face.evaluation.audit.calibration_part import calibration_part
from speech2face.evaluation.audit.card import put_block, read_card
from speech2face.evaluation.audit.card_text import card_block
from speech2face.evaluation.audit.comparison import PERMUTATIONS, RESAMPLINGS, SMALLEST_SHOWN, SMALLEST_TESTED
from speech2face.evaluation.audit.conditions import CLEAN, choose_conditions
from speech2face.evaluation.audit.groups import dimensions
from speech2face.evaluation.audit.left_out import left_out
from speech2face.evaluation.audit.measures import Measure, measures, strata
from speech2face.evaluation.audit.observations import Observations, observe
from speech2face.evaluation.audit.parts import channels_part, groups_part
from speech2face.evaluation.audit.stability import Stability
from speech2face.evaluation.audit.stability_part import stability_part
from speech2face.evaluation.audit.voices import MOST_SECONDS, audit_clips
from speech2face.evaluation.collect import Clips, open_clips
from speech2face.evaluation.listeners import ReleaseListener
from speech2face.evaluation.parts.part import Part
from speech2face.evaluation.predictions import references_for
from speech2face.evaluation.reporting.facts import ReportFacts
from speech2face.evaluation.reporting.writer import check_report, write_report
from speech2face.model import load_model
from speech2face.outputs import write_together

Progress = Callable[[int, int], None]


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


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found."""

    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...]
    stability: Stability | None
    facts: ReportFacts


def audit(settings: AuditSettings, *, progress: Progress | None = None) -> Audit:
    """Measure everything, write the report, and put its block into the cards that are named.

    Raises:
        RecordingNotFound, DatasetError, WeightsError, InvalidOption, OutputExists, CannotWrite: before a recording is
            heard.
    """
    conditions = choose_conditions(settings.channels)
    check_report(settings.out, force=settings.force)
    cards = {path: read_card(path) for path in settings.cards}
    listener = ReleaseListener(load_model(settings.model))
    chosen = open_clips(settings.data, split=settings.split, limit=settings.clips, seed=settings.seed)
    references, notes = references_for(chosen, listener.facts, listener.learned_from)
    clips = audit_clips(chosen, references)
    seen = observe(listener.model, clips, conditions, progress=progress)
    if not seen[CLEAN].heard.any():
        raise DatasetError(
            f"none of the {len(clips)} recordings of {chosen.name} could be heard; is it the right data?"
        )
    possible = measures(listener.model, clips, seen[CLEAN])
    asked = [measure for measure in possible if np.isfinite(measure.values(seen[CLEAN])).any()]
    notes += tuple(f"Not measured, for want of labels or faces: {m.title}." for m in possible if m not in asked)
    speaker = np.array([clip.speaker for clip in clips], np.int64)
    findings = audit_groups(
        asked, dimensions(clips, seen[CLEAN]), seen, speaker,
        {like: strata(clips, like) for like in ("", "gender", "age")}, permutations=settings.permutations,
    )  # fmt: skip
    moved, stability = stability_part(listener.model, clips, seen, seed=settings.seed)
    parts = (
        groups_part(findings, asked, notes),
        channels_part(findings, asked),
        calibration_part(listener.model, clips, seen, seed=settings.seed),
        moved,
    )
    facts = ReportFacts(
        title=f"Audit of {listener.facts.name} {listener.facts.version}",
        models=(listener.facts,),
        data=_data_facts(chosen, len(np.unique(speaker)), seen[CLEAN]),
        settings=_settings_facts(settings, findings, [condition.name for condition in conditions]),
        exclusions=left_out(clips, seen[CLEAN]),
    )
    done = Audit(parts, tuple(findings), tuple(asked), stability, facts)
    write_report(parts, facts, settings.out, force=settings.force)
    if cards:
        block = card_block(done)
        write_together({path: put_block(card, block).encode() for path, card in cards.items()}, force=True)
    return done


def _data_facts(chosen: Clips, speakers: int, clean: Observations) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for reason in clean.refusal:
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
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


def _settings_facts(settings: AuditSettings, findings: Sequence[Finding], conditions: list[str]) -> dict[str, Any]:
    return {
        "conditions": conditions,
        "permutations": settings.permutations,
        "resamplings": RESAMPLINGS,
        "smallest_group_shown": SMALLEST_SHOWN,
        "smallest_group_tested": SMALLEST_TESTED,
        "tests": sum(found.tested for found in findings),
        "seed": settings.seed,
    }
