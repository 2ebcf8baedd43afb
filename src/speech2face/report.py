"""Facts in words, for people at a terminal."""

from pathlib import Path
from typing import Any

from speech2face.batch import Job, printable
from speech2face.provenance import COMPOSITE_SOURCE_TYPE, Provenance


def age_text(facts: dict[str, Any]) -> str:
    """The apparent age with its interval."""
    low, high = facts["age_interval_80"]
    return f"{facts['age']:.0f} years (80 % interval {low:.0f} to {high:.0f})"


def voice_text(facts: dict[str, Any]) -> str:
    """How feminine or masculine the voice is read."""
    return f"{facts['gender']['reading']} ({facts['gender']['probability']:.0%})"


def fact_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What was heard and believed, one row a fact; what says nothing or is not stated is left out."""
    rows = [("apparent age", age_text(facts)), ("voice read as", voice_text(facts))] if "age" in facts else []
    if "photograph" in facts:
        rows += [("drawn from", "a photograph's face embedding"), ("face embedder", facts["photograph"]["embedder"])]
    else:
        rows.append(("speech heard", f"{facts['seconds_heard']:.1f} s of {facts['seconds_recorded']:.1f} s"))
    if facts.get("tracks", 1) > 1:
        rows.append(("sound track", f"{facts['track']} of {facts['tracks']}; --track chooses another"))
    if facts.get("given"):
        rows.append(("given instead", ", ".join(f"{name} {value}" for name, value in facts["given"].items())))
    if facts["exaggerate"]:
        rows.append(("exaggerated by", f"{facts['exaggerate']:g}"))
    if facts.get("seed") is not None:
        rows.append(("seed", str(facts["seed"])))
    return rows + [("caution", caution["text"]) for caution in facts.get("cautions", ())]


def reconstruction_rows(facts: dict[str, Any], files: tuple[Path, Path]) -> list[tuple[str, str]]:
    """Everything about one face drawn from a photograph."""
    picture, beside = files
    return [("picture", printable(picture)), ("facts", printable(beside)), *fact_rows(facts), ("note", facts["notice"])]


def portrait_rows(facts: dict[str, Any], job: Job) -> list[tuple[str, str]]:
    """Everything about one new portrait."""
    outputs = job.outputs
    rows = [("portrait", printable(outputs.portrait)), ("facts", printable(outputs.facts)), *fact_rows(facts)]
    if outputs.sheet is not None:
        rows.insert(1, ("contact sheet", f"{printable(outputs.sheet)} and {len(outputs.samples)} samples"))
    if outputs.drawing is not None:
        rows.insert(1, ("drawing", printable(outputs.drawing)))
    return [*rows, ("note", facts["notice"])]


def portrait_line(facts: dict[str, Any], job: Job) -> str:
    """One portrait of a batch in one line."""
    stated = ""
    if "age" in facts:
        low, high = facts["age_interval_80"]
        stated = f"age {facts['age']:.0f} ({low:.0f} to {high:.0f}), {voice_text(facts)}, "
    cautions = "".join(f", {caution['code']}" for caution in facts["cautions"])
    return f"{job.name} -> {printable(job.outputs.portrait)}: {stated}{facts['seconds_heard']:.1f} s heard{cautions}"


def summary_line(*, drawn: int, failed: int, skipped: int) -> str:
    """How a batch ended."""
    parts = [f"{drawn} portrait{'' if drawn == 1 else 's'}", f"{failed} failed"]
    return ", ".join(parts + ([f"{skipped} skipped (no sound in them)"] if skipped else []))


def kind_text(provenance: Provenance) -> str:
    """What a picture is in words; on a composite not every face is synthetic."""
    if provenance.kind == "chart":
        return "chart, without a face"
    if provenance.digital_source_type == COMPOSITE_SOURCE_TYPE:
        return f"{provenance.kind}: synthetic faces beside photographs"
    return f"synthetic {provenance.kind}"


def faces_text(facts: dict[str, Any]) -> str:
    """How many faces of which origin a sheet shows."""
    photographs = f", {int(facts['photographs'])} photographs or other pictures" if facts["photographs"] else ""
    return f"{int(facts['synthetic_faces'])} synthetic{photographs}"


def provenance_rows(path: Path, provenance: Provenance, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What a picture says about itself."""
    rows = [("picture", printable(path)), ("kind", kind_text(provenance))]
    rows += [("model", f"{provenance.model_name} {provenance.model_version}".strip())] * bool(provenance.model_name)
    rows += [("made with", provenance.creator_tool), ("source type", provenance.digital_source_type)]
    try:
        if provenance.kind not in ("comparison sheet", "chart"):
            rows += fact_rows(facts)
        elif facts:
            rows += [("shows", printable(facts["shows"])), ("faces", faces_text(facts))]
    except (KeyError, TypeError, ValueError):  # dropped by other software, or changed by somebody
        rows.append(("facts", "missing or not readable"))
    if not facts and provenance.given:
        rows.append(("given", ", ".join(f"{name} {value}" for name, value in provenance.given.items())))
    return [*rows, ("note", provenance.notice)]
