"""From finished shards to a data set: their checksums, the statement, the manifest."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from speech2face.data import statement as statements
from speech2face.data.index import COLUMNS
from speech2face.data.manifest import Manifest, ShardRecord
from speech2face.data.plan import PLAN
from speech2face.data.rejects import SUFFIX, read_rejects
from speech2face.data.shards import write_manifest
from speech2face.data.statement import STATEMENT, make_statement, statement_markdown
from speech2face.data.storage import Storage
from speech2face.data.stored import stored_layout
from speech2face.data.tombstones import read_tombstones
from speech2face.errors import DatasetError
from speech2face.face.embedders import EmbedderRecord
from speech2face.untrusted import parse_json

logger = logging.getLogger(__name__)

JOURNAL = "journal.json"
DUPLICATES = "duplicates.csv"  # as in duplicates.py, whose scipy workers need not wait for
JOURNAL_SECONDS = 30.0  # what was finished after the last time is read once more when the run is taken up
_READ_AT_ONCE = 2**24  # bytes


class Journal:
    """Checksums of shards that were written here, kept on the way: a run that goes on need not read them again."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._saved = storage, time.monotonic()
        self._known: dict[str, ShardRecord] = {}
        self._changed = False
        if storage.exists(JOURNAL):
            try:
                stated = parse_json(storage.read(JOURNAL))
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
    if not storage.exists(PLAN):
        return dict(before.get("settings") or {})
    plan = parse_json(storage.read(PLAN))
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
