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
import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.data.crew import OnCulprits
from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.plan import (
    PLAN,
    Grouping,
    NothingToPrepare,
    Plan,
    check_plan,
    deal,
    make_plan,
    records_sha256,
    split_of_shard,
    write_plan,
)
from speech2face.data.publication import JOURNAL, Journal, publish
from speech2face.data.record import Record, Reject, Source, fill_labels
from speech2face.data.rejects import SOURCES, SUFFIX, WORKERS, decode_rejects, encode_rejects
from speech2face.data.storage import NewFile, Storage
from speech2face.data.tally import Tally
from speech2face.data.tombstones import Tombstones, read_tombstones, write_tombstones
from speech2face.errors import DatasetError, OutputExists, RunLocked
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.run_folder import locked

if TYPE_CHECKING:
    from speech2face.data.prepare import PrepareOptions, ShardResult, ShardTask

logger = logging.getLogger(__name__)

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
    duplicates: int | None = None
    """Processes that search clips which are alike in two splits, when all is prepared; 0: this one; None: nobody."""


def prepare_data(
    out: str | Path,
    preparation: Preparation,
    run: Runner,
    watch: Callable[[Tally], None] | None = None,
    *,
    foresee: Callable[[Plan], None] | None = None,
) -> Manifest:
    """Prepare what is not prepared yet, and make it a data set; finished shards are not touched.

    `foresee` is shown the plan before anything is prepared: what will be missing can then still be changed.

    Raises:
        OutputExists: the folder holds another data set, or was begun by another plan.
        RunLocked: another preparation writes into it (only noticed on one machine's own folders).
        Speech2FaceError: of sources, runner and writers.
    """
    storage = Storage(out)
    with locked_data(storage):
        session = Session(storage, preparation)
        if foresee is not None:
            foresee(session.plan)
        return session.prepare(run, watch or (lambda tally: None))


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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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

    @property
    def plan(self) -> Plan:
        """What is done."""
        return self._plan

    def _planned(self, *, had_tombstones: bool) -> Plan:
        """The plan, checked against the folder's and written; rows that are no record go into a table of their own."""
        storage, preparation = self._storage, self._preparation
        table = NewFile(storage, SOURCES)

        def list_reject(reject: Reject) -> None:
            if not self._is_forgotten(reject.speaker, reject.key):
                table.write(encode_rejects([reject], header=False))

        try:
            table.write(encode_rejects([]))
            plan = make_plan(
                preparation.sources,
                options=preparation.options,
                embedder=None if preparation.embedder is None else preparation.embedder.to_dict(),
                grouping=preparation.grouping,
                on_reject=list_reject,
            )
            begun = check_plan(storage, plan)
            if not begun and storage.exists(MANIFEST):
                raise OutputExists(f"{storage} holds a data set that was not prepared here; choose another folder")
            if not begun:
                write_plan(storage, plan)
            if len(self._forgotten) and not had_tombstones:
                write_tombstones(storage, self._forgotten)
            if not (begun and storage.exists(SOURCES) and _sha256(storage.read(SOURCES)) == table.sha256):
                table.finish()
        except NothingToPrepare as error:
            if storage.exists(PLAN):  # a preparation that is under way keeps its own table
                raise
            table.finish()
            raise NothingToPrepare(f"{error}; all are listed in {storage.where(SOURCES)}") from error
        finally:
            table.discard()
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
            if name in self._finished:
                continue
            split, labels = split_of_shard(name), self._plan.labels
            wanted = tuple(
                fill_labels(replace(record, split=split), labels) for record in records if self._is_wanted(record)
            )
            if not wanted:
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
        manifest = publish(self._storage, shards, self._preparation.embedder, duplicates=self._preparation.duplicates)
        self._storage.remove(JOURNAL)
        return manifest
