"""What `speech2face export` needs of the data it measures on, told while data can still be added.

Preparing and training take days, exporting minutes: whoever learns only then that there are too few validation speakers
has to prepare and train again.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.data.manifest import Manifest
from speech2face.data.record import TRAIN, VALIDATION
from speech2face.data.shards import PassOrder

LEAST_CLIPS = 16  # fewer say nothing about a spread
LEAST_PAIRS = 100  # of one speaker; fewer do not place a twentieth
PAPER_BATCH = 8  # clips a step, of the settings as they are
MOST_CLIPS = 2_000  # that an export measures on unless it is told another number

MORE_SPEAKERS = "prepare with more validation speakers (data prepare --shares train=0.8,validation=0.1,test=0.1)"
ANOTHER_SET = "name another data set of the same face embedder when exporting (--data)"


@dataclass(frozen=True)
class Gap:
    """Something that an export will miss."""

    sentence: str
    refused: bool
    """Whether nothing is released without it, or a release that leaves something out."""
    of: str = "export"
    """What will miss it: export or training."""

    def __str__(self) -> str:
        return f"for {self.of}: {self.sentence}"


@dataclass(frozen=True)
class SpeakerPairs:
    """Pairs of clips that tell speakers apart: neighbours once the clips are ordered by speaker."""

    one: int
    """Of one speaker."""
    two: int
    """Of two speakers' first clips."""

    @classmethod
    def of(cls, speakers: NDArray[np.integer]) -> SpeakerPairs:
        """Of clips of these speakers, (clips,)."""
        people = int(np.unique(speakers).size)
        return cls(one=len(speakers) - people, two=max(0, people - 1))

    @property
    def enough(self) -> bool:
        """Whether a threshold can be placed by them."""
        return min(self.one, self.two) >= LEAST_PAIRS


def data_gaps(manifest: Manifest, split: str = VALIDATION, *, clips: int = MOST_CLIPS) -> tuple[Gap, ...]:
    """What an export that measures on a split of this data set will miss; nothing of data for a decoder alone."""
    if not manifest.layout.waveform:
        return ()
    if manifest.embedder is None or manifest.layout.embedding is None:
        return (
            Gap(
                "the clips hold no face embeddings, so nothing can be trained or measured on them; prepare them with a"
                " face embedder",
                refused=True,
            ),
        )
    table = manifest.clips(split) if split in manifest.splits else manifest.table.take(np.zeros(0, int))
    measured = [clip for batch in PassOrder(table, 1, limit=clips) for clip in batch]
    return _gaps(len(measured), SpeakerPairs.of(table.speaker[measured]), split)


def planned_gaps(records: Sequence[int], split: str = VALIDATION) -> tuple[Gap, ...]:
    """What is certain to be missing before anything is prepared, from the records of each shard of the split.

    At most so many clips come of them, and at best they are shared out among speakers as pairs want it.
    """
    most = sum(records)
    people = max(1, (most + 1) // 2) if most else 0
    return _gaps(most, SpeakerPairs(one=most - people, two=max(0, people - 1)), split, at_most="at most ")


def training_gaps(manifest: Manifest, split: str = VALIDATION, *, batch: int = PAPER_BATCH) -> tuple[Gap, ...]:
    """What `train` with its settings as they are will refuse of this data set: too few clips for one step."""
    there = {name: len(manifest.clips(name)) if name in manifest.splits else 0 for name in (TRAIN, split)}
    found = []
    if there[TRAIN] < batch:
        found.append(
            Gap(
                f"a step takes {batch} clips, the split {TRAIN} has {there[TRAIN]}; it is refused: prepare more"
                f" training clips, or train with --set data.batch={max(1, there[TRAIN])}",
                refused=True,
                of="training",
            )
        )
    if not there[split]:
        found.append(
            Gap(
                f"it is evaluated on the split {split}, which is empty; it is refused: {MORE_SPEAKERS}",
                True,
                "training",
            )
        )
    return tuple(found)


def missing_packages() -> list[str]:
    """Packages that an export imports and that are not installed, though training runs without them."""
    return [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]


def _gaps(clips: int, pairs: SpeakerPairs, split: str, *, at_most: str = "") -> tuple[Gap, ...]:
    if clips < LEAST_CLIPS:
        return (
            Gap(
                f"a release is measured on the split {split}, which has {at_most}{clips} clips; under {LEAST_CLIPS} it"
                f" is refused: {MORE_SPEAKERS}, or {ANOTHER_SET}",
                refused=True,
            ),
        )
    if not pairs.enough:
        short = {"prepare several clips of each speaker": pairs.one, MORE_SPEAKERS: pairs.two}
        remedy = " and ".join(way for way, count in short.items() if count < LEAST_PAIRS)
        return (
            Gap(
                f"several speakers in one recording will not be judged: the split {split} has {at_most}{pairs.one}"
                f" pairs of clips of one speaker and {pairs.two} of two, {LEAST_PAIRS} of each are needed:"
                f" {remedy}, or {ANOTHER_SET}",
                refused=False,
            ),
        )
    return ()
