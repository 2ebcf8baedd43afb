"""One preparation from sources to a data set, which can be stopped at any moment in any way and taken up again.

    plan.json              what is done; written first
    SPLIT-000000.tar .csv  a shard and its index; SPLIT-000000.rejects.csv comes last and says that it is finished
    sources.rejects.csv    rows of the sources that are no record; workers.rejects.csv records that ended a worker
    journal.json           checksums of finished shards, so that going on need not read them; gone when all is done
    manifest.json          the data set; written when all shards are finished
    statement.md           what is in it; duplicates.csv what is alike in two splits
    tombstones.json        who asked to be forgotten

At any time the memory holds one shard of records for each split and each worker.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.data.crew import OnCulprits
from speech2face.data.index import COLUMNS
from speech2face.data.manifest import MANIFEST, Manifest, ShardRecord
from speech2face.data.plan import Grouping, Plan, check_plan, deal, make_plan, records_sha256, write_plan
from speech2face.data.record import Record, Reject, Source, fill_labels
from speech2face.data.rejects import SOURCES, SUFFIX, WORKERS, decode_rejects, encode_rejects
from speech2face.data.shards import write_manifest
from speech2face.data.storage import Storage
from speech2face.data.stored import stored_layout
from speech2face.data.tally import Tally
from speech2face.data.tombstones import Tombstones, read_tombstones, write_tombstones
from speech2face.errors import DatasetError, OutputExists, RunLocked
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.run_folder import locked

if TYPE_CHECKING:
    from speech2face.data.prepare import PrepareOptions, ShardResult, ShardTask

logger = logging.getLogger(__name__)

JOURNAL = "journal.json"
JOURNAL_SECONDS = 30.0  # what was finished after the last time is read once more when the run is taken up
_READ_AT_ONCE = 2**24  # bytes

Runner = Callable[[Iterator["ShardTask"], OnCulprits], Iterable["ShardResult"]]
"""Gives results of tasks; `functools.partial` of `run_local` or `run_ray` in a small function."""


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared, and how."""

    sources: Sequence[Source]
    options: PrepareOptions
    embedder: EmbedderRecord | None
    """None where no face embedding is wanted."""
    embedder_file: str | None = None
    """The user's own weights, where the embedder needs them."""
    grouping: Grouping = field(default_factory=Grouping)
    forgotten: Tombstones | None = None
    """Another data set's tombstones, to honour here too."""


def prepare_data(
    out: str | Path, preparation: Preparation, run: Runner, watch: Callable[[Tally], None] | None = None
) -> Manifest:
    """Prepare what is not prepared yet, and make it a data set; finished shards are not touched.

    Raises:
        OutputExists: the folder holds another data set, or was begun by another plan.
        RunLocked: another preparation writes into it (only noticed on one machine's own folders).
        Speech2FaceError: of sources, runner and writers.
    """
    storage = Storage(out)
    with locked_data(storage):
        return Session(storage, preparation).prepare(run, watch or (lambda tally: None))


@contextlib.contextmanager
def locked_data(storage: Storage) -> Iterator[None]:
    """Hold a data folder for this process, without what killed processes left half written; URLs are not held."""
    if storage.local is None:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(storage.local))
        except RunLocked as error:
            raise RunLocked(f"{storage} is being prepared or cleaned by another process; wait for it") from error
        storage.remove_temporary()
        yield


class Session:
    """One run of a preparation, in a folder that is held."""

    def __init__(self, storage: Storage, preparation: Preparation) -> None:
        self._storage, self._preparation = storage, preparation
        before = read_tombstones(storage)
        if before is not None and not before.finished:
            raise DatasetError(f"{storage}: forgetting was interrupted; finish it first: speech2face data forget")
        self._forgotten = (before or Tombstones.new()).merged(preparation.forgotten)
        self._plan = self._planned(had_tombstones=before is not None)
        self._finished = {name.removesuffix(SUFFIX) for name in storage.names() if name.endswith(SUFFIX)}
        self._finished &= {shard.name for shard in self._plan.shards}
        self._culprits = self._read_culprits()
        self._journal = Journal(storage)

    def _planned(self, *, had_tombstones: bool) -> Plan:
        rejects: list[Reject] = []
        preparation = self._preparation
        plan = make_plan(
            preparation.sources,
            options=preparation.options,
            embedder=None if preparation.embedder is None else preparation.embedder.to_dict(),
            grouping=preparation.grouping,
            on_reject=rejects.append,
        )
        begun = check_plan(self._storage, plan)
        if not begun and self._storage.exists(MANIFEST):
            raise OutputExists(f"{self._storage} holds a data set that was not prepared here; choose another folder")
        if len(self._forgotten) and not had_tombstones:
            write_tombstones(self._storage, self._forgotten)
        kept = [each for each in rejects if not self._is_forgotten(each.speaker, each.key)]
        content = encode_rejects(kept)
        if not (begun and self._storage.exists(SOURCES) and self._storage.read(SOURCES) == content):
            self._storage.write(SOURCES, content)
        if not begun:
            write_plan(self._storage, plan)
        return plan

    def _is_forgotten(self, speaker: str, key: str) -> bool:
        return self._forgotten.has_speaker(speaker) or self._forgotten.has_clip(key)

    def prepare(self, run: Runner, watch: Callable[[Tally], None]) -> Manifest:
        """All that is left, and the manifest."""
        tally = Tally(self._plan.records, len(self._plan.shards))
        for shard in self._plan.shards:
            if shard.name in self._finished:
                tally.add_finished(shard.records)
        for reason, count in self._plan.rejected.items():
            tally.reject(reason, count)
        watch(tally)
        results = run(self._tasks(), self._leave_out)
        try:
            for result in results:
                self._journal.add(result.name, result.shard)
                tally.add(result)
                watch(tally)
        finally:
            if isinstance(results, Generator):
                results.close()  # ends its workers now, whatever stopped the loop
            self._journal.save()
        return self._finish()

    def _tasks(self) -> Iterator[ShardTask]:
        """What is left to do, in the order of the plan, made while it is asked for."""
        from speech2face.data.prepare import ShardTask

        preparation, storage = self._preparation, self._storage
        out = storage.name if storage.local is None else str(storage.local.absolute())
        dealt = deal(preparation.sources, preparation.grouping, lambda reject: None)
        for planned, (name, records) in zip(self._plan.shards, dealt, strict=True):
            if (planned.name, planned.sha256) != (name, records_sha256(records)):
                raise DatasetError(
                    f"shard {name} has other records than a moment ago: the sources are being changed; start again "
                    "when they are still"
                )
            wanted = tuple(fill_labels(record, self._plan.labels) for record in records if self._is_wanted(record))
            if name in self._finished or not wanted:
                continue
            yield ShardTask(
                name=name,
                records=wanted,
                out=out,
                options=preparation.options,
                embedder=preparation.embedder,
                embedder_file=preparation.embedder_file,
            )

    def _is_wanted(self, record: Record) -> bool:
        return record.key not in self._culprits and not self._is_forgotten(record.speaker, record.key)

    def _read_culprits(self) -> dict[str, Reject]:
        if not self._storage.exists(WORKERS):
            return {}
        found = decode_rejects(self._storage.read(WORKERS), self._storage.where(WORKERS))
        return {each.key: each for each in found}

    def _leave_out(self, task: ShardTask, rejects: tuple[Reject, ...]) -> None:
        """Write records down that end a worker, so that no later run meets them again."""
        self._culprits |= {each.key: each for each in rejects}
        self._storage.write(WORKERS, encode_rejects(self._culprits[key] for key in sorted(self._culprits)))

    def _finish(self) -> Manifest:
        names = self._storage.names()
        shards = self._journal.records([shard.name for shard in self._plan.shards if f"{shard.name}.tar" in names])
        if not shards:
            raise DatasetError(f"{self._storage}: not one record gave a clip; see its *{SUFFIX}")
        manifest = publish(self._storage, shards, self._preparation.embedder)
        self._storage.remove(JOURNAL)
        return manifest


class Journal:
    """Checksums of shards that were written here, kept on the way: a run that goes on need not read them again."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._saved = storage, time.monotonic()
        self._known: dict[str, ShardRecord] = {}
        self._changed = False
        if storage.exists(JOURNAL):
            try:
                stated = json.loads(storage.read(JOURNAL))
                self._known = {name: ShardRecord(**record) for name, record in stated.items()}
            except (ValueError, TypeError, AttributeError) as error:
                logger.warning("%s is damaged (%s): finished shards are read again", storage.where(JOURNAL), error)

    def add(self, name: str, shard: ShardRecord | None) -> None:
        """A shard that was just written; None where nothing was kept."""
        if shard is None:
            return
        self._known[name] = shard
        self._changed = True
        if time.monotonic() - self._saved > JOURNAL_SECONDS:
            self.save()

    def save(self) -> None:
        """Put it beside the shards."""
        if self._changed:
            content = {name: dataclasses.asdict(shard) for name, shard in sorted(self._known.items())}
            self._storage.write(JOURNAL, json.dumps(content, indent=1).encode())
            self._saved, self._changed = time.monotonic(), False

    def records(self, names: Sequence[str]) -> list[ShardRecord]:
        """Of these shards; what is not known is read."""
        sizes = dict(zip(names, self._storage.sizes([f"{name}.tar" for name in names]), strict=True))
        known = {name: record for name, record in self._known.items() if record.bytes == sizes.get(name)}
        return [known[name] if name in known else read_record(self._storage, name) for name in names]


def read_record(storage: Storage, name: str) -> ShardRecord:
    """A finished shard as a manifest lists it, from its bytes.

    Raises:
        DatasetError: it cannot be read.
    """
    file, index = f"{name}.tar", f"{name}.csv"
    size = storage.sizes([file])[0]
    if size is None:
        raise DatasetError(f"{storage.where(file)} is missing; remove its {name}{SUFFIX} and prepare it anew")
    content = storage.read(index)
    return ShardRecord(
        file=file,
        index=index,
        clips=sum(1 for _ in csv.reader(io.StringIO(content.decode(), newline=""))) - 1,
        bytes=size,
        sha256=storage.sha256(file, _READ_AT_ONCE),
        index_sha256=hashlib.sha256(content).hexdigest(),
    )


def publish(
    storage: Storage,
    shards: Sequence[ShardRecord],
    embedder: EmbedderRecord | None,
    *,
    before: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the statement and the manifest that make these shards a data set; `before`: what was stated until now.

    Raises:
        DatasetError, SpeakerLeak: they are none.
    """
    labels = index_labels(storage, shards[0].index)
    layout = stored_layout(storage, shards[0].file)

    def write(statement: dict[str, Any]) -> Manifest:
        write_manifest(storage.name, layout, shards, embedder=embedder, labels=labels, statement=statement)
        return Manifest.open(storage.name)

    return write(dict(before or {}))


def index_labels(storage: Storage, index: str) -> list[str]:
    """The labels that a shard's index has columns for."""
    header = storage.read(index).split(b"\n", 1)[0].decode().split(",")
    return header[len(COLUMNS) :]
