"""Records in, one shard out: the pure function that every runner calls.

The same task gives the same bytes on the same kind of machine. Times are measured, and are no part of what is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from speech2face.data.clip import Clip, layout_of
from speech2face.data.manifest import ShardRecord
from speech2face.data.media import Rejected
from speech2face.data.one_clip import MEASURES, ClipMaker, UnembeddedClip, open_maker
from speech2face.data.options import PrepareOptions
from speech2face.data.record import SOURCE_LABEL, Record, Reject, reject
from speech2face.data.rejects import SUFFIX, encode_rejects
from speech2face.data.shards import ShardFile
from speech2face.data.stopwatch import Stopwatch
from speech2face.data.storage import NewFile, Storage
from speech2face.errors import Speech2FaceError
from speech2face.face.embedders import EmbedderRecord

__all__ = ["PrepareOptions", "ShardResult", "ShardTask", "index_labels", "prepare_shard"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardTask:
    """Everything a shard's bytes depend on; can be sent to another machine."""

    name: str
    """SPLIT-000000."""
    records: tuple[Record, ...]
    """Each with its split, all with the same labels."""
    out: str
    """Folder or URL."""
    options: PrepareOptions
    embedder: EmbedderRecord | None
    """None where no face embedding is wanted."""
    embedder_file: str | None = None
    """The user's weights, where the embedder's kind needs them."""


@dataclass(frozen=True)
class ShardResult:
    """What came of a task."""

    name: str
    shard: ShardRecord | None
    """None where nothing was kept: there is no such shard then."""
    rejects: tuple[Reject, ...]
    kept: int
    seconds: Mapping[str, float]
    """Time of one core by stage, see `stopwatch.STAGES`."""


def index_labels(record_labels: tuple[str, ...], options: PrepareOptions) -> tuple[str, ...]:
    """Label columns of the shards' indexes, and so of the manifest, for records that have these labels."""
    measures = MEASURES if options.embedding else ()
    return (*sorted({*record_labels, SOURCE_LABEL}), *measures)


def prepare_shard(task: ShardTask) -> ShardResult:
    """Write NAME.tar and its index NAME.csv, if any record gives a clip, and NAME.rejects.csv last.

    A shard whose table of rejects is there is finished. Memory: the clips waiting for the embedder, one record's
    pictures and the models; never the whole shard.

    Raises:
        WeightsError, MissingExtra: a model is not there, or not the one on record.
        CannotWrite: no room, no permission.
    """
    watch, rejects = Stopwatch(), list[Reject]()
    maker = open_maker(task.options, task.embedder, task.embedder_file)
    storage = Storage(task.out)
    file: ShardFile | None = None
    try:
        for clip in _clips(task, maker, rejects, watch):
            with watch.stage("write"):
                if file is None:
                    labels = index_labels(tuple(task.records[0].labels), task.options)
                    file = ShardFile(storage, task.name, layout_of(clip), labels)
                file.add(clip)
        with watch.stage("write"):
            shard = None if file is None else file.finish()
            _write_rejects(storage, task.name, rejects)
    finally:
        if file is not None:
            file.discard()
    return ShardResult(task.name, shard, tuple(rejects), 0 if shard is None else shard.clips, watch.seconds)


def _clips(task: ShardTask, maker: ClipMaker, rejects: list[Reject], watch: Stopwatch) -> Iterator[Clip]:
    """Clips in the order of the records; what fell out is appended to `rejects`."""
    waiting: list[UnembeddedClip] = []
    for record in task.records:
        try:
            waiting.append(maker.make(record, watch))
        except Rejected as rejected:
            rejects.append(reject(record, rejected.reason, rejected.detail))
        except Speech2FaceError:
            raise
        except Exception as error:  # a decoder's or a file system's own: one record must not end a run of days
            logger.warning("%s: %s", record.key, error, exc_info=True)
            rejects.append(reject(record, "failed", f"{type(error).__name__}: {error}"))
        if len(waiting) >= task.options.embed_at_once:
            yield from _embedded(waiting, maker, watch)
            waiting = []
    yield from _embedded(waiting, maker, watch)


def _embedded(waiting: list[UnembeddedClip], maker: ClipMaker, watch: Stopwatch) -> list[Clip]:
    crops = [each.crop for each in waiting if each.crop is not None]
    if maker.embedder is None or not crops:
        return [each.clip for each in waiting]
    with watch.stage("embed"):
        embeddings = maker.embedder.embed_crops(crops)
    return [each.embedded(embedding) for each, embedding in zip(waiting, embeddings, strict=True)]


def _write_rejects(storage: Storage, name: str, rejects: list[Reject]) -> None:
    file = NewFile(storage, f"{name}{SUFFIX}")
    try:
        file.write(encode_rejects(rejects))
        file.finish()
    finally:
        file.discard()
