"""What the networks of a paired release learned from, as far as their data sets are still at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech2face.data.manifest import Manifest
from speech2face.data.record import LABELS
from speech2face.data.statement import FORMAT, make_statement
from speech2face.errors import DatasetError, MissingExtra, SpeakerLeak, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.reading import TRAINING_SPLIT

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
