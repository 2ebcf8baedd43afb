"""Every table and figure of an evaluation: collect predictions, measure part by part, write the report.

The parts are the modules beside this: arrays in, a `Part` out.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption
from speech2face.evaluation.parts import attributes, pictures, retrieval, shapes, similarity
from speech2face.evaluation.pictures import EvaluationSettings, Material, Progress
from speech2face.evaluation.predictions import encode_predictions
from speech2face.evaluation.report import Chapter, Exclusion, Part, ReportFacts, check_report, write_report
from speech2face.outputs import check_outputs, write_together

log = logging.getLogger(__name__)

PREDICTIONS = "predictions.npz"


PARTS: tuple[Chapter[...], ...] = (
    similarity.measure_feature_similarity,
    retrieval.measure_retrieval,
    retrieval.measure_matching,
    attributes.measure_attributes,
    shapes.measure_craniofacial,
    shapes.measure_anthropometry,
    similarity.measure_duration,
    similarity.measure_ablations,
    similarity.measure_consistency,
    similarity.measure_languages,
    similarity.measure_projection,
    pictures.measure_picture_quality,
    pictures.measure_distribution,
    pictures.measure_grid,
)
"""In the order of the report."""


def all_parts() -> tuple[Chapter[...], ...]:
    """Every part of a report, that of the measures which other packages add among them if there are some."""
    return (*PARTS, similarity.measure_added) if KINDS["measures"].added() else PARTS


@dataclass(frozen=True)
class Evaluation:
    """A finished report."""

    parts: tuple[Part, ...]
    facts: ReportFacts
    seconds: dict[str, float]
    """How long each part took."""


def chosen_parts(names: tuple[str, ...] | None) -> tuple[Chapter[...], ...]:
    """The parts of these names, in the order of the report; None are all.

    Raises:
        InvalidOption: an unknown name, or none at all.
    """
    parts = all_parts()
    known = [part.name for part in parts]
    if names is not None and not names:
        raise InvalidOption(f"--parts names none; there are {', '.join(known)}")
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise InvalidOption(f"there is no part {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(part for part in parts if names is None or part.name in names)


def evaluate(settings: EvaluationSettings, *, progress: Progress | None = None) -> Evaluation:
    """Measure and write the report.

    Raises:
        Speech2FaceError: one of its typed kinds; whatever is cheap to check is checked before anything is measured.
    """
    settings.check()
    entries = chosen_parts(settings.parts)
    check_report(settings.out, force=settings.force)
    with closing(Material(settings, progress)) as material:
        files = _prediction_files(settings, material)
        check_outputs(files, force=settings.force)
        material.open_files()
        _ = material.evaluations  # encoded here, so that no part's time is that of encoding
        parts, seconds = [], {}
        for number, entry in enumerate(entries):
            if progress is not None:
                progress(f"parts measured, now {entry.name}", number, len(entries))
            started = time.perf_counter()
            parts.append(entry.measure(material))
            seconds[entry.name] = time.perf_counter() - started
            log.info("%s took %.1f s", entry.name, seconds[entry.name])
        facts = report_facts(settings, material, entries)
        write_report(parts, facts, settings.out, force=settings.force)
        for path, row in files.items():
            write_together({path: encode_predictions(material.evaluations[row])}, force=settings.force)
    return Evaluation(tuple(parts), facts, seconds)


def _prediction_files(settings: EvaluationSettings, material: Material) -> dict[Path, int]:
    """Where the predictions of each model go; those that came from a file are not written again."""
    if settings.embeddings:
        return {}
    names = [PREDICTIONS, *(f"predictions-{number}.npz" for number in range(2, len(material.predictors) + 1))]
    return {settings.out / name: row for row, name in enumerate(names)}


def report_facts(settings: EvaluationSettings, material: Material, entries: tuple[Chapter[...], ...]) -> ReportFacts:
    """The head of the report: names, sizes, checksums and settings, no folders."""
    evaluation, clips = material.evaluation, material.clips
    heard = evaluation.predicted[evaluation.longest()]
    data: dict[str, Any] = {
        "name": clips.name,
        "split": clips.split,
        "clips": len(evaluation),
        "speakers": len(evaluation.speakers),
        "clips_heard": int((heard == heard).all(1).sum()),
        "face_embeddings": clips.embedder.kind if clips.embedder is not None else "none",
        "sha256": clips.sha256,
        "notes": list(evaluation.notes),
    }
    stated = {
        "seconds": [f"{seconds:g}" for seconds in sorted(evaluation.predicted)],
        "most_clips": settings.clips,
        "picture_clips": settings.picture_clips,
        "pictures": "a folder" if settings.pictures is not None else "drawn" if material.model is not None else "none",
        "reader": _reader_name(material),
        "parts": [entry.name for entry in entries],
        "seed": settings.seed,
    }
    models = tuple(each.model for each in material.evaluations)
    title = f"Evaluation of {' and '.join(f'{model.name} {model.version}'.strip() for model in models)}"
    return ReportFacts(title, models, data, stated, exclusions=_whole_set(material))


def _reader_name(material: Material) -> str:
    reader = None if material.pictures is None else material.reader
    return "none" if reader is None else reader.name


def _whole_set(material: Material) -> tuple[Exclusion, ...]:
    """Clips that a model could not be asked about, each reason once a clip."""
    found: dict[tuple[str, str, str], Exclusion] = {}
    for evaluation in material.evaluations:
        for exclusion in evaluation.exclusions:
            found.setdefault((exclusion.clip, exclusion.reason, exclusion.detail), exclusion)
    return tuple(found.values())
