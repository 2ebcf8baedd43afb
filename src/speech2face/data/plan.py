"""What a preparation will do, written down before it starts: which records make which shard, and by which options.

Shards are a function of the sources, the options and the seed, so any run can be taken up again by anyone; the plan is
what tells that it is the same one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speech2face.data.record import LABELS, Record, Reject, Source, short_hash
from speech2face.data.splits import SHARES, check_shares, check_speakers, split_of
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, InvalidOption, OutputExists
from speech2face.untrusted import parse_json

PLAN = "plan.json"
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


@dataclass(frozen=True)
class Grouping:
    """How records are dealt out to shards."""

    seed: int = 0
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    records_per_shard: int = RECORDS_PER_SHARD

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidOption: naming it.
        """
        check_shares(self.shares)
        if self.records_per_shard < 1:
            raise InvalidOption(f"{self.records_per_shard} records a shard are none; take at least 1")


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


def settings_of(thing: Any) -> dict[str, Any]:
    """A source's or an option set's fields in JSON's types.

    Raises:
        TypeError: it is no dataclass, or has a field that JSON does not know.
    """
    stated = thing.to_dict() if hasattr(thing, "to_dict") else dataclasses.asdict(thing)
    name = getattr(thing, "name", None)
    named = {"name": name} | stated if isinstance(name, str) else stated
    found: dict[str, Any] = json.loads(json.dumps(named, default=_plain))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Storage):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be written into a plan")


def deal(
    sources: Sequence[Source], grouping: Grouping, on_reject: Callable[[Reject], None]
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
    sources: Sequence[Source],
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
        InvalidOption: the grouping cannot be.
    """
    grouping.check()
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
        sources=tuple(settings_of(source) for source in sources),
        options=settings_of(options),
        embedder=embedder,
        grouping=grouping,
        labels=tuple(sorted(labels)),
        shards=tuple(shards),
        rejected=rejected,
    )


def _check_keys(keys: array[int], sources: Sequence[Source], grouping: Grouping) -> None:
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


def _why(rejected: Mapping[str, int], first: Sequence[str], sources: Sequence[Source]) -> str:
    if not rejected:
        return ""
    counts = ", ".join(f"{count} times {reason}" for reason, count in sorted(rejected.items()))
    folders = {str(getattr(source, "relative_to", "")) for source in sources} - {""}
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
    try:
        before = parse_json(storage.read(PLAN))
    except ValueError as error:
        raise DatasetError(f"{storage.where(PLAN)} is no JSON ({error}); choose another folder") from error
    now = json.loads(json.dumps(plan.to_dict()))
    differences = list(_differences(before, now, ""))
    if differences:
        more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
        raise OutputExists(
            f"{storage} was begun by another plan: {'; '.join(differences[:_NAMED])}{more}; go on with what it was "
            "begun with, or choose another folder"
        )
    return True


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
