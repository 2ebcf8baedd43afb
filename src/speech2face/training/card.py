"""The model card of a paired release: what its record states, and what only its maker can say, left open by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech2face.data.manifest import Manifest
from speech2face.data.record import LABELS, REASONS
from speech2face.data.statement import FORMAT, UNKNOWN, UNSTATED, make_statement
from speech2face.decoder.paper import PAPER
from speech2face.errors import DatasetError, MissingExtra, SpeakerLeak, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.stages import TRAINING_SPLIT
from speech2face.voice.encoder import VoiceEncoderConfig

CARD = "CARD.md"
TO_FILL = "*To be written by whoever releases it.*"
DLIB_LANDMARKS = 68
# What has its own place in the card.
TOLD_APART = (
    "measured",
    "measured_on",
    "measured_on_manifest_sha256",
    "rounding",
    "voice_data",
    "face_data",
    "parameters",
)


def paired_card(values: dict[str, Any]) -> str:
    """Markdown from the release's manifest."""
    training, face = values["training"], values["face"]
    measured = training["measured"]
    facts = {name: value for name, value in training.items() if name not in TOLD_APART and value is not None}
    lines = [
        f"# Model card: {values['name']} {values['version']}",
        "",
        f"Licence: {values['licence']}.",
        "",
        f"{_voice_encoder(values['voice'], training['parameters']['voice_encoder'])}"
        f" {face.get('source', PAPER.source)}, {training['parameters']['face_decoder']:,} parameters.",
        "",
        "## What it is",
        "",
        f"A recording goes in; a face embedding of {face['embedding']} numbers and a face of {face['size']} x"
        f" {face['size']} pixels come out: what a voice like this most often goes with in the data it learned from."
        " It is not the speaker's face, and it must not be used to identify anybody.",
        "",
        "## What it learned from",
        "",
        *fact_lines(facts),
        _embedder(values["embedder"]),
        "",
        *_data_sets(training),
        *_landmarks(values),
        "Who is in the data, what they consented to, and whom the data leave out:",
        "",
        TO_FILL,
        "",
        "## How well it does",
        "",
        f"On {_measured_on(training)}; beside what chance or the mean face earns.",
        "",
        "| number | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {value:g} |" for name, value in measured["numbers"].items()),
        "",
        f"`--samples` draws errors along the principal axes that hold {measured['spread_share']:.0%} of their mean"
        " square; the rest is left out.",
        "",
        "## What it cannot do",
        "",
        "- It states no age and no gender, and takes none.",
        "- It cannot tell speech from music or noise that voice activity detection lets pass.",
        "- It hears a recording as it is: long silences pull the face towards that of silence; cut them away.",
        _speakers(measured["same_speaker"]),
        "- Whether it draws faces that pass for people it was trained on has not been measured.",
        "",
        f"Half precision moved the golden face embedding by {training['rounding']['face_embedding']:.1e} of its length"
        f" and the golden picture by {training['rounding']['grey_levels']:g} grey levels at most.",
        "",
    ]
    return "\n".join(lines)


def measured_clips(training: Mapping[str, Any]) -> str:
    """How many clips the numbers are of, and whether their speakers are new to the voice encoder."""
    clips = training["measured"]["clips"]
    if training.get("measured_on", {}).get("speakers_are") == UNSEEN:
        return f"{clips} clips of unseen speakers"
    return f"{clips} clips, not checked whether these speakers were trained on"


def _measured_on(training: Mapping[str, Any]) -> str:
    place = training.get("measured_on")
    named = f" ({cell(place['name'])}, split {cell(place['split'])}" if place else ""
    sha256 = training.get("measured_on_manifest_sha256")
    if place and sha256 != training.get("voice_data_manifest_sha256"):
        named += f", manifest SHA-256 {sha256}, not what it learned from"
    return measured_clips(training) + (f"{named})" if named else "")


def _voice_encoder(voice: Mapping[str, Any], parameters: int) -> str:
    """Its sizes, and those of Table 1 where they are others."""
    if "source" in voice:  # another package's driver
        return f"{voice['source']}, {parameters:,} parameters."
    paper = VoiceEncoderConfig()
    sizes = []
    for name, found, wanted in (
        ("convolutions of {} channels", tuple(voice["channels"]), paper.channels),
        ("hidden layer of {}", voice["hidden"], paper.hidden),
        ("face embedding of {} numbers", voice["embedding"], paper.embedding),
    ):
        said, table_1 = (", ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in (found, wanted))
        sizes.append(name.format(said) + ("" if found == wanted else f" (Table 1: {table_1})"))
    if not voice["batch_norm"]:
        sizes.append("no batch normalisation (Table 1: after every convolution)")
    if all("Table 1" not in size for size in sizes):
        return f"Voice encoder of Speech2Face (Oh et al., CVPR 2019, Table 1), {parameters:,} parameters."
    return (
        "Voice encoder after Speech2Face (Oh et al., CVPR 2019), in other sizes than the paper's:"
        f" {'; '.join(sizes)}; {parameters:,} parameters."
    )


def _embedder(embedder: Mapping[str, Any]) -> str:
    named = f", SHA-256 {embedder['sha256']}" if embedder.get("sha256") else ""
    return f"- face embedder: {embedder['kind']}, {embedder['size']} numbers{named}"


def _data_sets(training: Mapping[str, Any]) -> list[str]:
    """What each network learned from; once where it is the same."""
    voice, face = training.get("voice_data"), training.get("face_data")
    if voice is None or face is None:
        return []
    if voice["manifest_sha256"] == face["manifest_sha256"]:
        return _data_set("Both networks", voice)
    return _data_set("The voice encoder", voice) + _data_set("The face decoder", face)


def _data_set(who: str, data: Mapping[str, Any]) -> list[str]:
    named = f"### {who}: {cell(data['name'])}"
    if data["statement"] is None:
        return [
            named,
            "",
            f"What is in this data set is not stated here: when the release was made, {data['gone']}.",
            "",
        ]
    return [named, "", *statement_lines(data["statement"])]


def _landmarks(values: Mapping[str, Any]) -> list[str]:
    """Which licence the landmarks bring with them."""
    data = [values["training"].get(key) or {} for key in ("voice_data", "face_data")]
    if DLIB_LANDMARKS not in (values["face"]["landmarks"], *(each.get("landmarks") for each in data)):
        return []
    return [
        "**Caution:** the landmarks are 68 points, as dlib's predictor places them. It was trained on iBUG 300-W, whose"
        " licence excludes commercial use; judge whether that reaches these weights before any such use.",
        "",
    ]


def _speakers(told: dict[str, Any] | None) -> str:
    if told is None:
        return "- It does not say when several people speak: its embeddings were not shown to tell speakers apart."
    return (
        f"- Two speakers in one recording are noticed in {told['caught']:.0%} of cases, one speaker is taken for two in"
        f" 5 % ({told['pairs']} pairs of clips)."
    )


# --------------------------------------------------------------------------------------------------
# What the networks of a paired release learned from, as far as their data sets are still at hand.
# --------------------------------------------------------------------------------------------------

UNSEEN, NOT_CHECKED = "unseen", "not checked"
STATED = "stated"  # what a data set's maker wrote who did not prepare it with this program
_NAMED = 5  # as many speakers as fit a line
_ADDRESS = re.compile(r"\b(?!https?://)[a-z][a-z0-9+.-]*://[^\s'\",;]+", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:[\\/]|\\\\|~?/)[^\s'\",;]+")
_ONLY_A_PATH = re.compile(r"(?:[A-Za-z]:[\\/]|\\\\|~?/|file://)[^\n]+")


@dataclass(frozen=True, eq=False)
class Source:
    """The data set that a checkpoint names."""

    name: str
    """Of its folder, without where that lies."""
    sha256: str
    """Of its manifest when it was learned from."""
    manifest: Manifest | None
    """None where it is no longer there as it was."""
    gone: str
    """Why it is None."""

    def to_dict(self) -> dict[str, Any]:
        """For the release's record; no folder of the maker's machine is in it."""
        return {
            "name": self.name,
            "manifest_sha256": self.sha256,
            "gone": self.gone or None,
            "landmarks": None if self.manifest is None else self.manifest.layout.landmarks,
            "statement": None if self.manifest is None else stated(self.manifest),
        }


def find_source(facts: Mapping[str, Any], at_hand: Manifest | None = None) -> Source:
    """The data set that a checkpoint with these facts learned from; `at_hand` is taken where it is the same."""
    place, sha256 = facts["settings"]["data"]["manifest"], facts["manifest"]
    if at_hand is not None and at_hand.sha256 == sha256:
        return Source(last_name(place), sha256, at_hand, "")
    try:
        manifest = Manifest.open(place)
    except (DatasetError, MissingExtra):
        return Source(last_name(place), sha256, None, "it is no longer at hand")
    if manifest.sha256 != sha256:
        return Source(last_name(place), sha256, None, "it has been changed since: its SHA-256 is another")
    return Source(last_name(place), sha256, manifest, "")


def check_speakers(source: Source, measured: Manifest, split: str) -> str:
    """`UNSEEN` where no speaker of the split was trained on, `NOT_CHECKED` where that cannot be told.

    Raises:
        SpeakerLeak: some were.
    """
    if source.manifest is None:
        return NOT_CHECKED
    trained = set() if TRAINING_SPLIT not in source.manifest.splits else speakers(source.manifest, TRAINING_SPLIT)
    common = sorted(speakers(measured, split) & trained)
    if common:
        more = ", ..." if len(common) > _NAMED else ""
        raise SpeakerLeak(
            f"{len(common)} speakers of {measured.storage}, split {split!r}, are among those the voice encoder learned"
            f" from ({', '.join(common[:_NAMED])}{more}): scores would be of people already heard; measure on a data"
            " set of other people (--data)"
        )
    return UNSEEN


def check_decoder_data(decoder_facts: Mapping[str, Any], embedder: EmbedderRecord) -> tuple[str, ...]:
    """Make sure that the decoder learned faces of the same embedder; what could not be made sure of is returned.

    `decoder_facts` is what its checkpoint says of itself.

    Raises:
        WeightsError: it learned from another embedder's.
    """
    place = decoder_facts["settings"]["data"]["manifest"]
    try:
        manifest = Manifest.open(place)
    except (DatasetError, MissingExtra):
        manifest = None
    if manifest is None or manifest.sha256 != decoder_facts["manifest"] or manifest.embedder is None:
        return (f"{place} is not there as it was: that the face decoder learned from the same embedder is not checked",)
    if not manifest.embedder.comparable_with(embedder):
        raise WeightsError(
            f"the face decoder learned from embeddings of {manifest.embedder.to_dict()}, the voice encoder of"
            f" {embedder.to_dict()}; train both with one face embedder"
        )
    return ()


def speakers(manifest: Manifest, split: str) -> set[str]:
    """Names of a split's speakers."""
    table = manifest.clips(split)
    return {table.speakers[number] for number in np.unique(table.speaker)}


def stated(manifest: Manifest) -> dict[str, Any]:
    """The manifest's statement, or its clips counted now and the maker's words; no folders, no clips' names.

    Labels that a source brings of its own are left out: they may name clips, as those of morphs do.
    """
    kept = dict(manifest.statement)
    values = kept if kept.get("format") == FORMAT else make_statement(manifest) | {STATED: kept}
    labels = values.get("labels")
    if isinstance(labels, Mapping):
        values = values | {"labels": {name: counts for name, counts in labels.items() if name in LABELS}}
    return {name: without_folders(value) for name, value in values.items()}


def last_name(place: str) -> str:
    """A folder's or URL's own name."""
    return re.split(r"[/\\]", place.rstrip("/\\"))[-1] or "a data set"


def without_folders(value: Any) -> Any:
    """The same with every absolute path and every storage address, wherever it stands, cut to its last name.

    Addresses of web pages stay: licences are named by them.
    """
    if isinstance(value, Mapping):
        return {without_folders(str(name)): without_folders(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(each) for each in value]
    if not isinstance(value, str):
        return value
    if _ONLY_A_PATH.fullmatch(value):
        return last_name(value)
    for pattern in (_ADDRESS, _PATH):
        value = pattern.sub(lambda found: last_name(found[0]), value)
    return value


# --------------------------------------------------------------------------------------------------
# The tables of a paired release's card: what a data set holds, counted, a few rows each.
# --------------------------------------------------------------------------------------------------

ROWS = 10  # of a table, the rest in the last one
CELL = 160  # characters
HEADS = {"splits": "split", "sources": "source", "licences": "licence", "consents": "consent rests on"}
# Of a statement, what is no word of its maker: shown as tables, or not of use to a card's reader.
COUNTED = frozenset(
    {"format", "clips", "speakers", "hours", "clips_a_speaker", "labels", "measures", "rejects", "duplicates"}
    | {"forgotten_speakers", "landmarks", "settings", STATED, *HEADS}
)


def statement_lines(statement: Mapping[str, Any]) -> list[str]:
    """A data set's statement as short tables, each with an empty line after it."""
    lines = []
    if {"clips", "speakers", "hours"} <= set(statement):
        lines += [
            f"{statement['clips']:,} clips of {statement['speakers']:,} speakers, {statement['hours']:,.2f} hours,"
            " all splits together.",
            "",
        ]
    words = {name: each for name, each in statement.items() if name not in COUNTED} | dict(statement.get(STATED) or {})
    if words:
        lines += ["Its maker states:", "", *fact_lines(words), ""]
    for key, head in HEADS.items():
        lines += _counted(head, statement.get(key))
    unknown = []
    for label, counts in (statement.get("labels") or {}).items():
        if set(counts) <= {UNKNOWN}:
            unknown.append(label)
        else:
            lines += _counted(label, counts)
    if unknown:
        lines += [f"Not known of any clip: {', '.join(unknown)}.", ""]
    return lines + _rejects(statement.get("rejects"))


def fact_lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    """Facts as points; what holds others has them as points of its own."""
    lines = []
    for name, value in list(facts.items())[:ROWS]:
        title = f"{indent}- {cell(str(name).replace('_', ' '))}:"
        lines += (
            [title, *fact_lines(value, indent + "  ")] if isinstance(value, Mapping) else [f"{title} {cell(value)}"]
        )
    if len(facts) > ROWS:
        lines.append(f"{indent}- and {len(facts) - ROWS:,} more")
    return lines


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, and an empty line."""
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:], ""]


def cell(value: Any) -> str:
    """One line of text that breaks no table and names no folder."""
    if value is None or value == "":
        return UNSTATED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - ROWS:,} more"] if len(value) > ROWS else []
        return ", ".join([*map(cell, value[:ROWS]), *more])
    if isinstance(value, Mapping):
        return cell([f"{name} {cell(each)}" for name, each in value.items()])
    text = " ".join(str(without_folders(str(value))).split()).replace("|", "\\|")
    return text if len(text) <= CELL else text[: CELL - 3] + "..."


def _counted(head: str, counts: Any) -> list[str]:
    """Clips, speakers and hours of each value; a statement of another's making may hold something else."""
    if not isinstance(counts, Mapping) or not counts:
        return []
    if not all(isinstance(each, Mapping) and {"clips", "speakers", "hours"} <= set(each) for each in counts.values()):
        return [f"{head.capitalize()}:", "", *fact_lines(counts), ""]
    shown, rest = _cut(list(counts.items()))
    rows = [(cell(name), f"{c['clips']:,}", f"{c['speakers']:,}", f"{c['hours']:,.2f}") for name, c in shown]
    if rest:
        clips, people, hours = (sum(each[key] for _, each in rest) for key in ("clips", "speakers", "hours"))
        # A speaker may stand in several rows.
        rows.append((f"{len(rest):,} others", f"{clips:,}", f"up to {people:,}", f"{hours:,.2f}"))
    return table((head, "clips", "speakers", "hours"), rows)


def _rejects(rejects: Any) -> list[str]:
    if not isinstance(rejects, Mapping) or not rejects:
        return []
    if not all(isinstance(count, int) for count in rejects.values()):
        return ["Rejects:", "", *fact_lines(rejects), ""]
    shown, rest = _cut(sorted(rejects.items(), key=lambda item: (-item[1], item[0])))
    rows = [(cell(reason), f"{count:,}", REASONS.get(reason, "")) for reason, count in shown]
    rows += [(f"{len(rest):,} others", f"{sum(count for _, count in rest):,}", "")] if rest else []
    return table(("records that gave no clip", "records", "meaning"), rows)


def _cut(items: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """At most `ROWS` rows, the last of them for what is left."""
    kept = len(items) if len(items) <= ROWS else ROWS - 1
    return items[:kept], items[kept:]
