"""The model card of a paired release: what its record states, and what only its maker can say, left open by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import ChainableUndefined, Environment, PackageLoader

from speech2face.data.manifest import Manifest
from speech2face.data.record import LABELS, REASONS
from speech2face.data.statement import FORMAT, UNKNOWN, UNSTATED, make_statement
from speech2face.decoder.paper import PAPER
from speech2face.errors import DatasetError, MissingExtra, SpeakerLeak, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.stages import TRAINING_SPLIT
from speech2face.voice.encoder import VoiceEncoderConfig

CARD = "CARD.md"
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
    """Markdown from the release's manifest, by the template templates/card.md.j2."""
    training = values["training"]
    environment = Environment(
        loader=PackageLoader("speech2face.training"), undefined=ChainableUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {
        "first": lambda facts: list(facts.items())[:ROWS],
        "words": lambda name: str(name).replace("_", " "),
        "cell": cell,
        "makers_words": _makers_words,
        "counts": _count_rows,
        "unknown": lambda counts: set(counts) <= {UNKNOWN},
        "reject_rows": _reject_rows,
    }
    data = [training.get(key) or {} for key in ("voice_data", "face_data")]
    landmarks = [values["face"]["landmarks"], *(each.get("landmarks") for each in data)]
    card: str = environment.get_template("card.md.j2").render(
        release=values,
        training=training,
        voice=_voice_encoder(values["voice"], training["parameters"]["voice_encoder"]),
        face_source=PAPER.source,
        facts={name: value for name, value in training.items() if name not in TOLD_APART and value is not None},
        data_sets=_data_sets(training),
        dlib_landmarks=DLIB_LANDMARKS in landmarks,
        measured_on=_measured_on(training),
        heads=HEADS,
        rows=ROWS,
    )
    return card


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


def _data_sets(training: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What each network learned from; once where it is the same."""
    voice, face = training.get("voice_data"), training.get("face_data")
    if voice is None or face is None:
        return []
    if voice["manifest_sha256"] == face["manifest_sha256"]:
        return [("Both networks", voice)]
    return [("The voice encoder", voice), ("The face decoder", face)]


# --- What the networks of a paired release learned from, as far as their data sets are still at hand.

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


# --- The tables of a paired release's card: what a data set holds, counted, a few rows each.

ROWS = 10  # of a table, the rest in the last one
CELL = 160  # characters
HEADS = {"splits": "split", "sources": "source", "licences": "licence", "consents": "consent rests on"}
# Of a statement, what is no word of its maker: shown as tables, or not of use to a card's reader.
COUNTED = frozenset(
    {"format", "clips", "speakers", "hours", "clips_a_speaker", "labels", "measures", "rejects", "duplicates"}
    | {"forgotten_speakers", "landmarks", "settings", STATED, *HEADS}
)


def _makers_words(statement: Mapping[str, Any]) -> dict[str, Any]:
    """What the maker of a data set says in words of their own."""
    words = {name: each for name, each in statement.items() if name not in COUNTED}
    return words | dict(statement.get(STATED) or {})


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


def _count_rows(counts: Any) -> list[tuple[str, ...]] | None:
    """Clips, speakers and hours of each value; None where a statement of another's making holds something else."""
    wanted = {"clips", "speakers", "hours"}
    if not isinstance(counts, Mapping) or not counts:
        return None
    if not all(isinstance(each, Mapping) and wanted <= set(each) for each in counts.values()):
        return None
    shown, rest = _cut(list(counts.items()))
    rows: list[tuple[str, ...]] = [
        (cell(name), f"{c['clips']:,}", f"{c['speakers']:,}", f"{c['hours']:,.2f}") for name, c in shown
    ]
    if rest:
        clips, people, hours = (sum(each[key] for _, each in rest) for key in ("clips", "speakers", "hours"))
        # A speaker may stand in several rows.
        rows.append((f"{len(rest):,} others", f"{clips:,}", f"up to {people:,}", f"{hours:,.2f}"))
    return rows


def _reject_rows(rejects: Any) -> list[tuple[str, ...]] | None:
    """How many records gave no clip for each reason; None where the statement does not count them."""
    if not isinstance(rejects, Mapping) or not rejects or not all(isinstance(n, int) for n in rejects.values()):
        return None
    shown, rest = _cut(sorted(rejects.items(), key=lambda item: (-item[1], item[0])))
    rows: list[tuple[str, ...]] = [(cell(reason), f"{count:,}", REASONS.get(reason, "")) for reason, count in shown]
    return rows + ([(f"{len(rest):,} others", f"{sum(count for _, count in rest):,}", "")] if rest else [])


def _cut(items: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """At most `ROWS` rows, the last of them for what is left."""
    kept = len(items) if len(items) <= ROWS else ROWS - 1
    return items[:kept], items[kept:]
