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

import csv
import dataclasses
import hashlib
import io
import json
import logging
import os
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import numpy as np
from pydantic import Field

from speech2face.data import statement as statements
from speech2face.data.manifest import COLUMNS, MANIFEST, Manifest, ShardRecord
from speech2face.data.record import (
    LABELS,
    PLAN,
    SHARES,
    SOURCES,
    SUFFIX,
    WORKERS,
    Record,
    Reject,
    Tombstones,
    check_shares,
    check_speakers,
    decode_rejects,
    encode_rejects,
    fill_labels,
    read_rejects,
    read_tombstones,
    short_hash,
    split_of,
    write_tombstones,
)
from speech2face.data.shards import stored_layout, write_manifest
from speech2face.data.sources import SourceInUse
from speech2face.data.statement import STATEMENT, make_statement, statement_markdown
from speech2face.data.storage import NewFile, Storage, locked_data
from speech2face.data.workers import OnPoison, Tally
from speech2face.errors import DatasetError, OutputExists
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import parse_json_object
from speech2face.validation import Checked, checked, validated_json

if TYPE_CHECKING:
    from speech2face.data.prepare import PrepareOptions, ShardResult, ShardTask

# --- What a preparation will do, written down before it starts: which records make which shard, and by which options.
# Shards are a function of the sources, the options and the seed, so any run can be taken up again by anyone; the plan
# is what tells that it is the same one.

FORMAT = 1
RECORDS_PER_SHARD = 500  # about 130 MB with faces, two minutes of one core
_FIRST = 3  # rejects that fit a message
_NAMED = 5  # differences that fit a message


class NothingToPrepare(DatasetError):
    """Every row of the sources fell out; says why the first did."""


@dataclass(frozen=True)
class PlannedShard:
    """A shard by the records that go into it."""

    name: str
    records: int
    sha256: str
    """Of the records' keys: the same number says the same records."""


@checked
class Grouping(Checked):
    """How records are dealt out to shards."""

    called: ClassVar[str] = "splits and shards"
    seed: int = 0
    shares: dict[str, float] = field(default_factory=lambda: dict(SHARES))
    records_per_shard: Annotated[int, Field(ge=1)] = RECORDS_PER_SHARD

    def __post_init__(self) -> None:
        check_shares(self.shares)


@dataclass(frozen=True)
class Plan:
    """Everything the shards' bytes depend on."""

    sources: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]
    embedder: Mapping[str, Any] | None
    grouping: Grouping
    labels: tuple[str, ...]
    """Of every clip, beside its source."""
    shards: tuple[PlannedShard, ...]
    rejected: Mapping[str, int]
    """Rows of the sources that are no record, by reason."""

    @property
    def records(self) -> int:
        """In all shards together."""
        return sum(shard.records for shard in self.shards)

    def to_dict(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": FORMAT,
            "sources": [dict(source) for source in self.sources],
            "options": dict(self.options),
            "embedder": None if self.embedder is None else dict(self.embedder),
            **dataclasses.asdict(self.grouping),
            "labels": list(self.labels),
            "rejected": dict(sorted(self.rejected.items())),
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
        }


def deal(
    sources: Sequence[SourceInUse], grouping: Grouping, on_reject: Callable[[Reject], None]
) -> Iterator[tuple[str, tuple[Record, ...]]]:
    """Name and records of each shard, in a fixed order; holds one shard of each split in memory.

    The records are as their source gave them: their split is their shard's.
    """
    splits: dict[str, str] = {}
    waiting: dict[str, list[Record]] = {}
    dealt: dict[str, int] = {}

    def shard(split: str) -> tuple[str, tuple[Record, ...]]:
        number = dealt.get(split, 0)
        dealt[split] = number + 1
        return f"{split}-{number:06d}", tuple(waiting.pop(split))

    for source in sources:
        for record in source.records():
            if isinstance(record, Reject):
                on_reject(record)
                continue
            split = record.split or splits.get(record.speaker)
            if split is None:
                split = splits[record.speaker] = split_of(record, seed=grouping.seed, shares=grouping.shares)
            waiting.setdefault(split, []).append(record)
            if len(waiting[split]) >= grouping.records_per_shard:
                yield shard(split)
    for split in sorted(waiting):
        yield shard(split)


def split_of_shard(name: str) -> str:
    """`train` of `train-000007`."""
    return name.rsplit("-", 1)[0]


def records_sha256(records: Sequence[Record]) -> str:
    """Of the keys in their order."""
    return hashlib.sha256("\n".join(record.key for record in records).encode()).hexdigest()


def make_plan(
    sources: Sequence[SourceInUse],
    *,
    options: Any,
    embedder: Mapping[str, Any] | None,
    grouping: Grouping,
    on_reject: Callable[[Reject], None] = lambda reject: None,
) -> Plan:
    """Read the sources once, and check all that can be known before any media is opened.

    Raises:
        DatasetError: two records have one key.
        NothingToPrepare: there is no record.
        SpeakerLeak: a speaker is in two splits.
    """
    rejected: dict[str, int] = {}
    first: list[str] = []

    def count(reject: Reject) -> None:
        rejected[reject.reason] = rejected.get(reject.reason, 0) + 1
        if len(first) < _FIRST:
            first.append(reject.detail)
        on_reject(reject)

    shards: list[PlannedShard] = []
    labels: dict[str, None] = dict.fromkeys(LABELS)
    keys = array("Q")  # 8 bytes a record: millions of names would not fit
    placed: dict[str, str] = {}
    leaks: list[tuple[str, str]] = []
    for name, records in deal(sources, grouping, count):
        shards.append(PlannedShard(name, len(records), records_sha256(records)))
        split = split_of_shard(name)
        for record in records:
            labels.update(dict.fromkeys(record.labels))
            keys.append(short_hash(record.key))
            before = placed.setdefault(record.speaker, split)
            if before != split:
                leaks += [(record.speaker, before), (record.speaker, split)]
    check_speakers(leaks)
    _check_keys(keys, sources, grouping)
    if not shards:
        raise NothingToPrepare(f"the sources hold no record to prepare{_why(rejected, first, sources)}")
    return Plan(
        sources=tuple(source.settings() for source in sources),
        options=options.to_dict(),
        embedder=embedder,
        grouping=grouping,
        labels=tuple(sorted(labels)),
        shards=tuple(shards),
        rejected=rejected,
    )


def _check_keys(keys: array[int], sources: Sequence[SourceInUse], grouping: Grouping) -> None:
    found, counts = np.unique(np.frombuffer(keys, np.uint64) if keys else np.zeros(0, np.uint64), return_counts=True)
    several = {int(number) for number in found[counts > 1]}
    if not several:
        return
    names = [
        record.key
        for _, records in deal(sources, grouping, lambda reject: None)
        for record in records
        if short_hash(record.key) in several
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:  # and not two names of one short hash
        raise DatasetError(
            f"{len(twice)} keys are given to more than one record ({', '.join(twice[:_NAMED])}); name each source's "
            "data once, or prepare the sources into separate folders"
        )


def _why(rejected: Mapping[str, int], first: Sequence[str], sources: Sequence[SourceInUse]) -> str:
    if not rejected:
        return ""
    counts = ", ".join(f"{count} times {reason}" for reason, count in sorted(rejected.items()))
    folders = {str(getattr(source.source, "relative_to", "")) for source in sources} - {""}
    absolute = sorted(folder if "://" in folder else os.path.abspath(folder) for folder in folders)
    beside = f"; paths are relative to {', '.join(absolute)}" if absolute else ""
    return f": {counts}, the first: {'; '.join(first)}{beside}"


def write_plan(storage: Storage, plan: Plan) -> None:
    """Put the plan into the output folder; the first thing a preparation writes.

    Raises:
        CannotWrite: no room, no permission.
    """
    storage.write(PLAN, (json.dumps(plan.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())


def check_plan(storage: Storage, plan: Plan) -> bool:
    """Whether the folder's own plan is this one; False where it has none.

    Raises:
        OutputExists: it is another one; names what differs.
        DatasetError: it cannot be read.
    """
    if not storage.exists(PLAN):
        return False
    before = _read_plan(storage)
    now = json.loads(json.dumps(plan.to_dict()))
    differences = list(_differences(before, now, ""))
    if differences:
        more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
        raise OutputExists(
            f"{storage} was begun by another plan: {'; '.join(differences[:_NAMED])}{more}; go on with what it was "
            "begun with, or choose another folder"
        )
    return True


def _read_plan(storage: Storage) -> dict[str, Any]:
    """The folder's plan as it is written.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        return parse_json_object(storage.read(PLAN))
    except ValueError as error:
        raise DatasetError(
            f"{storage.where(PLAN)} is damaged ({error}); restore it, or choose another folder"
        ) from error


def _differences(before: Any, now: Any, where: str) -> Iterator[str]:
    """Where two JSON values differ, in words; records' hashes last, for they follow from the rest."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}, key=lambda name: (name == "shards", name)):
            yield from _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (one, other) in enumerate(zip(before, now, strict=True)):
            name = one.get("name") if isinstance(one, dict) else None
            yield from _differences(one, other, f"{where} {name or number}")
    elif before != now:
        if isinstance(before, list) and isinstance(now, list):
            yield f"{len(now)} {where} instead of {len(before)}"
        elif where.endswith(".sha256"):
            yield f"{where.removesuffix('.sha256')} has other records"
        else:
            yield f"{where} was {_shown(before)} and is {_shown(now)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What gives the results of tasks: `run_local` or `run_ray` with their settings."""

    def __call__(self, tasks: Iterator[ShardTask], *, on_poison: OnPoison) -> Iterable[ShardResult]:
        """Yield results as they come; `on_poison` is told of records that end their workers."""
        ...


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared, and how."""

    sources: Sequence[SourceInUse]
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
        self._poison = self._read_poison()
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
            if not self._forgotten.names(reject.speaker, reject.key):
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
            if not (begun and storage.exists(SOURCES) and storage.sha256(SOURCES) == table.sha256):
                table.finish()
        except NothingToPrepare as error:
            if storage.exists(PLAN):  # a preparation that is under way keeps its own table
                raise
            table.finish()
            raise NothingToPrepare(f"{error}; all are listed in {storage.where(SOURCES)}") from error
        finally:
            table.discard()
        return plan

    def prepare(self, run: Runner, watch: Callable[[Tally], None]) -> Manifest:
        """All that is left, and the manifest."""
        tally = Tally(self._plan.records, len(self._plan.shards))
        for shard in self._plan.shards:
            if shard.name in self._finished:
                tally.add_finished(shard.records)
        for reason, count in self._plan.rejected.items():
            tally.reject(reason, count)
        watch(tally)
        results = run(self._tasks(), on_poison=self._leave_out)
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
        return record.key not in self._poison and not self._forgotten.names(record.speaker, record.key)

    def _read_poison(self) -> dict[str, Reject]:
        if not self._storage.exists(WORKERS):
            return {}
        found = decode_rejects(self._storage.read(WORKERS), self._storage.where(WORKERS))
        return {each.key: each for each in found}

    def _leave_out(self, task: ShardTask, rejects: tuple[Reject, ...]) -> None:
        """Write records down that end a worker, so that no later run meets them again."""
        self._poison |= {each.key: each for each in rejects}
        self._storage.write(WORKERS, encode_rejects(self._poison[key] for key in sorted(self._poison)))

    def _finish(self) -> Manifest:
        names = self._storage.names()
        shards = self._journal.records([shard.name for shard in self._plan.shards if f"{shard.name}.tar" in names])
        if not shards:
            raise DatasetError(f"{self._storage}: not one record gave a clip; see its *{SUFFIX}")
        manifest = publish(self._storage, shards, self._preparation.embedder, duplicates=self._preparation.duplicates)
        self._storage.remove(JOURNAL)
        return manifest


# --- From finished shards to a data set: their checksums, the statement, the manifest.

JOURNAL = "journal.json"
DUPLICATES = "duplicates.csv"  # as in duplicates.py, whose scipy workers need not wait for
JOURNAL_SECONDS = 30.0  # what was finished after the last time is read once more when the run is taken up


class Journal:
    """Checksums of shards that were written here, kept on the way: a run that goes on need not read them again."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._saved = storage, time.monotonic()
        self._known: dict[str, ShardRecord] = {}
        self._changed = False
        if storage.exists(JOURNAL):
            try:
                self._known = validated_json(
                    dict[str, ShardRecord], storage.read(JOURNAL), storage.where(JOURNAL), DatasetError
                )
            except DatasetError as error:
                logger.warning("the journal is damaged: finished shards are read again (%s)", error)

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
        sha256=storage.sha256(file),
        index_sha256=hashlib.sha256(content).hexdigest(),
    )


def publish(
    storage: Storage,
    shards: Sequence[ShardRecord],
    embedder: EmbedderRecord | None,
    *,
    before: Mapping[str, Any] | None = None,
    duplicates: int | None = None,
) -> Manifest:
    """Write the statement and the manifest that make these shards a data set.

    `before`: the statement until now, which stays where it was not made from a plan. `duplicates`
    processes search clips that are alike in two splits (0: this one); None: those that were found before are counted.

    Raises:
        DatasetError, SpeakerLeak: the shards do not make a data set.
        CannotWrite: no room, no permission.
    """
    layout, labels = stored_layout(storage, shards[0].file), index_labels(storage, shards[0].index)

    def write(statement: Mapping[str, Any]) -> Manifest:
        write_manifest(storage.name, layout, shards, embedder=embedder, labels=labels, statement=statement)
        return Manifest.open(storage.name)

    kept = dict(before or {})
    if not storage.exists(PLAN) and kept.get("format") != statements.FORMAT:
        return write(kept)  # a statement of somebody else's making
    manifest = write(kept)
    if duplicates is not None:
        from speech2face.data.duplicates import encode_duplicates, find_duplicates

        storage.write(DUPLICATES, encode_duplicates(find_duplicates(manifest, workers=duplicates)))
        kept.pop("duplicates", None)
    made = make_statement(
        manifest,
        read_rejects(storage),
        settings=_settings(storage, kept),
        duplicates=_counted_duplicates(manifest, kept.get("duplicates")),
        forgotten=len(read_tombstones(storage) or ()),
    )
    storage.write(STATEMENT, statement_markdown(made).encode())
    return write(made)


def _settings(storage: Storage, before: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the data set was prepared with, as its plan says, but for what each shard holds."""
    try:
        plan = _read_plan(storage) if storage.exists(PLAN) else None
    except DatasetError as error:  # it must not stand in the way of forgetting
        logger.warning("the statement keeps the settings it had: %s", error)
        plan = None
    if plan is None:
        return dict(before.get("settings") or {})
    return {name: value for name, value in plan.items() if name not in ("format", "shards", "rejected", "labels")}


def index_labels(storage: Storage, index: str) -> list[str]:
    """The labels that a shard's index has columns for."""
    header = storage.read(index).split(b"\n", 1)[0].decode().split(",")
    return header[len(COLUMNS) :]


def _counted_duplicates(manifest: Manifest, before: Mapping[str, int | str] | None) -> dict[str, int | str] | None:
    """Pairs that were found, by kind; None where nobody looked.

    `before`: as a statement counted them when the data set was larger, and says which kinds were compared then.
    """
    if not manifest.storage.exists(DUPLICATES):
        return None
    from speech2face.data.duplicates import count_duplicates, not_compared

    rows = csv.DictReader(io.StringIO(manifest.storage.read(DUPLICATES).decode(), newline=""))
    left_out = not_compared(manifest) if before is None else {k: v for k, v in before.items() if isinstance(v, str)}
    return count_duplicates((row.get("kind") or "" for row in rows), left_out)
