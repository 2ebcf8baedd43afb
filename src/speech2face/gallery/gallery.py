"""A gallery as it is used, whatever it lies in: open, search, add, delete, forget."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.data.erasure import near_names
from speech2face.data.storage import Storage
from speech2face.data.tombstones import Tombstones
from speech2face.errors import DatasetError, InvalidOption, WeightsError
from speech2face.gallery.entries import Entry, Where, check_entry
from speech2face.gallery.exact import unit_rows
from speech2face.gallery.files import open_files
from speech2face.gallery.record import Record, Space, read_record
from speech2face.gallery.store import Store, Upserted, Writer

MOST_HITS = 1000
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Hit:
    """One face of a ranking."""

    rank: int
    """From 1, the nearest."""
    cosine: float
    """Between the face and what was searched for; 1 is the same direction, higher is nearer."""
    chance: float
    """Chance that a given face of the gallery stands at this rank or before it in a random order: rank / faces."""
    entry: Entry


@dataclass(frozen=True)
class Ranking:
    """The faces nearest to a probe, with what a random face of the same gallery has."""

    hits: tuple[Hit, ...]
    of: int
    """Faces that were ranked: the gallery's, or those its filter keeps."""
    random_cosine: tuple[float, float]
    """Mean and standard deviation of a random face's cosine with the probe."""
    exact: bool
    """Whether every face was compared; else `recall_at_10` of the gallery's index says how many are found."""


@dataclass(frozen=True)
class Erased:
    """What forgetting did in a gallery."""

    entries: int
    speakers: tuple[str, ...]
    """Who was in it and is no more."""
    unknown: tuple[str, ...]
    """Who was not in it, now or earlier; they have a tombstone all the same."""
    near: dict[str, tuple[str, ...]]
    """Speakers whose names are like these."""


class Gallery:
    """Faces to be searched; `with Gallery.open(...) as gallery:` lets go of a database afterwards."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, place: str | Path, *, database: str | None = None) -> Gallery:
        """The gallery of a folder; `database` replaces the address that its record has (for a password, or a move).

        Raises:
            DatasetError: none, a damaged one, or its database cannot be reached or holds another gallery.
            MissingExtra: its backend is not installed.
        """
        record = read_record(Storage(place))
        if record.backend == "postgres":
            from speech2face.gallery.postgres import PostgresStore

            return cls(PostgresStore(record, database))
        if database:
            raise InvalidOption(f"{place} is a gallery in files; leave the database out")
        return cls(open_files(Path(place)))

    def __len__(self) -> int:
        return len(self._store)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self._store.close()

    @property
    def record(self) -> Record:
        """What is known of it beside its entries."""
        return self._store.record

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that a filter may name, beside speaker, source, licence and consent."""
        return self._store.labels

    def speakers(self) -> set[str]:
        """Everybody in it."""
        return self._store.speakers()

    def check_space(self, space: Space) -> None:
        """Refuse a model whose face embeddings are not those of the gallery.

        Raises:
            WeightsError: with both.
        """
        own = self.record.space
        if not own.holds(space):
            raise WeightsError(
                f"the gallery {self.record.name} was built with {_of(own)}; {space.model_name} says {_of(space)}: build"
                " a gallery with this model, or search with the gallery's"
            )

    def search(self, face_embedding: Floats, top: int = 10, where: Where | None = None) -> Ranking:
        """The faces nearest to a face embedding (K,) by cosine, among those with these labels.

        Raises:
            InvalidOption: an impossible `top`, or a label that the gallery does not have.
            WeightsError: an embedding of another size.
            DatasetError: one that has no direction; a database that went away.
        """
        if not 1 <= top <= MOST_HITS:
            raise InvalidOption(f"{top} faces were asked for; 1 to {MOST_HITS} can be ranked")
        probe = unit_rows(self._sized(face_embedding)[None], "the numbers to search for")[0]
        found = self._store.search(probe, top, where)
        hits = tuple(
            Hit(rank, cosine, rank / found.of, entry) for rank, (entry, cosine) in enumerate(found.hits, start=1)
        )
        return Ranking(hits, found.of, (found.mean, found.sd), found.exact)

    def _sized(self, face_embedding: Floats) -> Floats:
        size = self.record.space.size
        if face_embedding.shape[-1:] != (size,):
            raise WeightsError(
                f"the gallery {self.record.name} holds face embeddings of {size} numbers, not of shape"
                f" {face_embedding.shape}; use the model or embedder it was built with"
            )
        return face_embedding

    def upsert(self, entries: Sequence[Entry], face_embeddings: Floats) -> Upserted:
        """Add entries with their embeddings (entries, K); an id that is there is replaced. All, or none of them.

        Raises:
            DatasetError: an entry without consent basis, one of somebody forgotten, an embedding without direction.
            WeightsError: embeddings of another size.
        """
        if len(entries) != len(face_embeddings):
            raise DatasetError(f"{len(entries)} entries came with {len(face_embeddings)} embeddings; give one each")
        tombstones = self._store.tombstones() or Tombstones.new()
        for entry in entries:
            check_entry(entry)
            if tombstones.has_speaker(entry.speaker) or tombstones.has_clip(entry.id):
                raise DatasetError(f"{entry.id} is of a speaker who was forgotten; leave it out")
        vectors = unit_rows(self._sized(face_embeddings)) if len(entries) else None
        if vectors is None:
            return Upserted()
        with contextlib.closing(self._store.writer()) as writer:
            done = writer.put(entries, vectors)
            record = writer.finish()
        self._reopen(record)
        return done

    def delete(self, ids: Sequence[str]) -> int:
        """Remove entries; how many there were. They may come back: `forget` is for good."""
        return self._store.delete(ids)

    def forget(self, speakers: Sequence[str]) -> Erased:
        """Remove speakers for good: the tombstone comes first, and every later build honours it.

        Raises:
            CannotWrite, RunLocked, DatasetError: try it again; what the tombstone names stays out from now on.
        """
        before = self._store.tombstones()
        everybody = self._store.speakers()
        ids = self._store.ids_of(speakers)
        tombstones = (before or Tombstones.new()).with_speakers(speakers).with_clips(ids)
        self._store.write_tombstones(tombstones)
        removed = self._store.delete(ids)
        known = everybody & set(speakers)
        earlier = before or Tombstones.new()
        unknown = tuple(name for name in speakers if name not in known and not earlier.has_speaker(name))
        return Erased(removed, tuple(sorted(known)), unknown, near_names(unknown, everybody - known))

    def honour(self, tombstones: Tombstones, named: Sequence[str] = ()) -> Erased:
        """Remove whoever another place's tombstones name, with their clips; `named` are those known by name."""
        people = [name for name in self._store.speakers() if tombstones.has_speaker(name)]
        names = list(dict.fromkeys([*named, *people]))
        done = self.forget(names) if names else Erased(0, (), (), {})
        clips = [identity for identity in self._store.ids() if tombstones.has_clip(identity)]
        return replace(done, entries=done.entries + (self._store.delete(clips) if clips else 0))

    def index_facts(self) -> dict[str, Any] | None:
        """What its index is and how well it searches; None where every face is compared."""
        return self._store.index_facts()

    def facts(self) -> dict[str, Any]:
        """What is in it, JSON-ready."""
        record = self.record
        named = {"name": record.name, "backend": record.backend, "database": record.database}
        counted = {"entries": len(self), "speakers": len(self.speakers()), "forgotten": self.forgotten()}
        found = {"labels": list(self.labels), "index": self.index_facts(), "space": record.space.to_dict()}
        return named | counted | found

    def tombstones(self) -> Tombstones | None:
        """Who was forgotten here, None where nobody was."""
        return self._store.tombstones()

    def writer(self) -> Writer:
        """For many entries, some at a time; nothing is checked but their ids. `upsert` is for everyone else."""
        return self._store.writer()

    def forgotten(self) -> int:
        """How many speakers have a tombstone."""
        tombstones = self._store.tombstones()
        return 0 if tombstones is None else len(tombstones)

    def _reopen(self, record: Record) -> None:
        from speech2face.gallery.files import FileStore

        if isinstance(self._store, FileStore):
            self._store = FileStore(self._store.storage)
        else:
            self._store.record = record


def _of(space: Space) -> str:
    if space.embedder is None:
        return f"the reading of age and gender of {space.model_name} {space.model_version} ({space.size} numbers)"
    return f"face embeddings of {space.embedder.kind} ({space.size} numbers, {_fingerprint(space.embedder.to_dict())})"


def _fingerprint(record: dict[str, Any]) -> str:
    import hashlib
    import json

    return "record " + hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]
