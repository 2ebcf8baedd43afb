"""Which clips an audit could not use for something, and why: counted in its report, never passed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speech2face.evaluation.audit.groups import decade
from speech2face.evaluation.audit.observations import Observations
from speech2face.evaluation.audit.voices import AuditClip
from speech2face.evaluation.parts.attribute_opinions import LABEL_UNKNOWN, NO_LABEL
from speech2face.evaluation.parts.part import Exclusion
from speech2face.evaluation.predictions import reason_named

SPANS_GROUPS = "age_spans_groups"


def left_out(clips: Sequence[AuditClip], clean: Observations) -> tuple[Exclusion, ...]:
    """Clips that were refused, whose gender or age nobody gave or nobody understands, or that lack a face."""
    return (*_refused(clips, clean), *_labels(clips), *_faces(clips))


def _refused(clips: Sequence[AuditClip], clean: Observations) -> Iterator[Exclusion]:
    for clip, name in zip(clips, clean.refusal, strict=True):
        if name:
            yield Exclusion(clip.key, reason_named(name), "clean recording")


def _labels(clips: Sequence[AuditClip]) -> Iterator[Exclusion]:
    for name in ("gender", "age"):
        said = [clip.labels.get(name, "").strip() for clip in clips]
        if not any(said):
            continue  # the report says once that there are none
        for clip, text in zip(clips, said, strict=True):
            understood = clip.gender if name == "gender" else clip.age
            if not text:
                yield Exclusion(clip.key, NO_LABEL, name)
            elif not understood:
                yield Exclusion(clip.key, LABEL_UNKNOWN, f"{name}: {text}")
            elif name == "age" and not decade(clip.age):
                yield Exclusion(clip.key, SPANS_GROUPS, text)


def _faces(clips: Sequence[AuditClip]) -> Iterator[Exclusion]:
    if any(clip.reference is not None for clip in clips):
        for clip in clips:
            if clip.reference is None:
                yield Exclusion(clip.key, "no_reference")
