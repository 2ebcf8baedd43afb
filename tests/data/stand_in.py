"""A quick stand-in for the preparation of one shard, whose media are small texts that say what happens to them.

It is imported by name in processes of their own, so it is a module and no fixture.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.data.faces import PrepareOptions
from speech2face.data.members import Clip
from speech2face.data.prepare import ShardResult, ShardTask
from speech2face.data.record import LABELS, Record, Reject, reject, write_rejects
from speech2face.data.shards import write_shard
from speech2face.data.sources import Basis, SourceInUse
from speech2face.data.storage import Storage
from speech2face.face.embedders import EmbedderRecord

if TYPE_CHECKING:
    from speech2face.data.session import Preparation

EMBEDDER = EmbedderRecord("planted", 4)
SAMPLES = 400
SPEAKERS = 7


@dataclass(frozen=True)
class Texts:
    """A source of small texts, one record each: `bad` media are rejected, others do as they say."""

    folder: str
    count: int
    split: str | None = None

    @property
    def name(self) -> str:
        return "pairs"

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def example(cls, folder: Path) -> Texts:
        return texts(folder)

    def records(self) -> Iterator[Record | Reject]:
        for number in range(self.count):
            path = f"{self.folder}/{number:03d}.txt"
            speaker, key = f"speaker {number % SPEAKERS}", f"clip-{number:03d}"
            if not os.path.exists(path):
                yield Reject(key, speaker, path, "no_media", "it is not there")
                continue
            labels = dict.fromkeys(LABELS, "")
            yield Record(
                key=key,
                media=path,
                speaker=speaker,
                source=self.name,
                split=self.split,
                labels=labels,
                licence="CC0 1.0",
                consent="made up",
            )


def texts(folder: Path, count: int = 40, **said: str) -> Texts:
    """A source of `count` texts; `c007="kill"` makes record 7 say so."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}.txt").write_text(said.get(f"c{number:03d}", "bad" if number % 9 == 8 else "fine"))
    return Texts(str(folder), count)


def preparation(source: Texts) -> Preparation:
    """Of this source, seven records a shard."""
    from speech2face.data.session import Grouping, Preparation

    grouping = Grouping(records_per_shard=7, shares={"train": 0.6, "validation": 0.0, "test": 0.4})
    return Preparation([SourceInUse(source, Basis())], PrepareOptions(), EMBEDDER, grouping=grouping)


def _clip(record: Record) -> Clip:
    random = np.random.default_rng(int(record.key[-3:]))
    assert record.split is not None
    return Clip(
        key=record.key,
        speaker=record.speaker,
        split=record.split,
        waveform=random.integers(-9999, 9999, SAMPLES).astype(np.int16),
        face_embedding=random.standard_normal(EMBEDDER.size).astype(np.float32),
        labels=record.clip_labels,
        licence=record.licence,
        consent=record.consent,
    )


def _obey(text: str, media: str) -> None:
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == "kill once" and not os.path.exists(f"{media}.done"):
        Path(f"{media}.done").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == "raise":
        raise ArithmeticError("nobody foresaw this")
    elif text == "eat":
        eaten = np.ones(2**28 // 8 * 3)  # 768 MiB
        time.sleep(60)
        assert eaten.size
    elif text.startswith("sleep"):
        time.sleep(float(text.split()[1]))


def prepare(task: ShardTask) -> ShardResult:
    """As `prepare_shard`: the shard, then the table of its rejects."""
    clips, rejects = [], []
    for record in task.records:
        text = Path(record.media).read_text()
        _obey(text, record.media)
        if text == "bad":
            rejects.append(reject(record, "unreadable", "bad"))
        else:
            clips.append(_clip(record))
    labels = sorted(clips[0].labels) if clips else []
    shard = write_shard(task.out, task.name, clips, labels=labels) if clips else None
    write_rejects(Storage(task.out), task.name, rejects)
    return ShardResult(name=task.name, shard=shard, rejects=tuple(rejects), kept=len(clips), seconds={"write": 0.0})
