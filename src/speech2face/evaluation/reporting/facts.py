"""What a report says of itself: which model, which data, which settings, when and on what it was made."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import speech2face
from speech2face.evaluation.evaluation_set import ModelFacts
from speech2face.evaluation.parts.part import Exclusion

SAYS = (
    "These numbers hold for the clips, the speakers and the labels named on this page. They promise nothing for other"
    " people, languages, microphones or another share of men and women.",
    "Brackets are 95 % intervals over speakers: how far a number would move with other speakers of the same kind. They"
    " do not know of wrong labels or of a data set that leaves people out.",
    "A number is worth what it stands above chance and above the cheats beside it: one mean face for everybody, or one"
    " for each gender, often earns most of a score that looks good alone.",
    "No number here says that a picture shows the speaker. A voice tells of age, sex and build, hardly of an individual"
    " face; the pictures are synthetic.",
    "Labels of age, gender and group are those of the data: mostly self-reported or guessed by a program, never a"
    " measurement.",
)


@dataclass(frozen=True)
class ReportFacts:
    """The head of a report. Names rather than paths: a report is handed on."""

    title: str
    models: tuple[ModelFacts, ...]
    data: Mapping[str, Any]
    """Name, SHA-256, split, clips, speakers ..., in the order they are shown in; JSON's types."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for: seconds heard, parts, seed ...; JSON's types."""
    made: Mapping[str, str] = field(default_factory=lambda: circumstances())
    """Date, version, commit and hardware."""
    exclusions: tuple[Exclusion, ...] = ()
    """Clips that no part could measure; those of one part are with the part."""
    says: tuple[str, ...] = SAYS
    """What the numbers say and what they do not."""

    def model_rows(self) -> list[dict[str, Any]]:
        """The models, JSON-ready."""
        return [asdict(model) for model in self.models]


def circumstances() -> dict[str, str]:
    """Date, version, commit ("" outside a checkout) and processor."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8", errors="replace").splitlines() if known.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "version": speech2face.__version__,
        "commit": _commit(),
        "hardware": f"{next(names, platform.machine())}, {os.cpu_count()} cores",
    }


def _commit() -> str:
    """Short hash of the checkout this package lies in; a package that is installed has none."""
    folder = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in folder.parents[:6]):
        return ""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
