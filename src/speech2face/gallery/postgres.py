"""A gallery in PostgreSQL with pgvector, for several machines: the same interface, every change one transaction.

    gallery_NAME            a row a face
    gallery_NAME_building   the same, while it is built: it becomes the other in one step
    gallery_NAME_about      what it is (the record), who was forgotten, how well its index searches

pgvector compares at most 2,000 numbers in an index; longer face embeddings are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from speech2face.data.tombstones import Tombstones
from speech2face.errors import DatasetError
from speech2face.gallery.entries import Embeddings, Entry, Where, check_where
from speech2face.gallery.postgres_connection import Database
from speech2face.gallery.postgres_tables import COLUMNS, Tables
from speech2face.gallery.record import Record
from speech2face.gallery.store import Found, Upserted
from speech2face.untrusted import parse_json

LEAST_SHARE = 0.05
SAMPLE = 1000
LOOKED_AT = 100  # hnsw.ef_search, where no search has been measured
MOST_LOOKED_AT = 1000  # pgvector's limit


class PostgresStore:
    """Asks the database every time: others may have changed it."""

    def __init__(self, record: Record, address: str | None = None) -> None:
        """
        Raises:
            DatasetError: the database cannot be reached, or holds another gallery under this name, or none.
            MissingExtra: the database has no pgvector.
        """
        self.record = record
        self.database = Database(address or record.database)
        self.tables = Tables(record.name)
        about = self.database.run(self.tables.about)
        if about is None or about.get("identity") != record.identity:
            what = "holds no gallery of this name" if about is None else "holds another gallery under this name"
            self.database.close()
            raise DatasetError(f"the database {what} ({record.name}); build it anew, or name the right database")

    def __len__(self) -> int:
        return self.database.run(lambda connection: self.tables.count(connection, None))

    @property
    def labels(self) -> tuple[str, ...]:
        """Of all entries, as they are now."""
        query = sql.SQL("SELECT DISTINCT jsonb_object_keys(labels) FROM {}").format(self.tables.faces)
        rows = self.database.run(lambda connection: connection.execute(query).fetchall())
        return tuple(sorted(str(row[0]) for row in rows))

    def index_facts(self) -> dict[str, Any] | None:
        """As they were measured when it was made."""
        found = self.database.run(lambda connection: self.tables.stated(connection, "index"))
        return None if found is None else dict(found)

    def search(self, probe: NDArray[np.float32], top: int, where: Where | None) -> Found:
        """By the index, or one by one where the filter keeps few."""
        if where:
            check_where(where, self.labels)

        def ask(connection: Connection[Any]) -> Found:
            of = self.tables.count(connection, where)
            whole = of if not where else self.tables.count(connection, None)
            index = (self.tables.stated(connection, "index") or {}) if whole else {}
            exact = not index or of < LEAST_SHARE * whole
            looked_at = int(index.get("looked_at", LOOKED_AT))
            rows = self.tables.nearest(connection, probe, top, where, None if exact else looked_at)
            if not exact and len(rows) < min(top, of):  # a filter threw away what the index found
                exact = True
                rows = self.tables.nearest(connection, probe, top, where, None)
            mean, sd = self.tables.random_cosines(connection, probe, where, SAMPLE)
            hits = tuple((_entry(row), float(row[len(COLUMNS)])) for row in rows)
            return Found(tuple(sorted(hits, key=lambda hit: -hit[1])), of, mean, sd, exact)

        return self.database.run(ask)

    def writer(self) -> PostgresUpsert:
        """Straight into the gallery."""
        return PostgresUpsert(self)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove entries, then what the database keeps of them in the table and the index."""
        query = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self.tables.faces)
        removed = self.database.run(lambda connection: connection.execute(query, [list(ids)]).rowcount)
        self.database.run(lambda connection: self.tables.drop_from_building(connection, ids))
        if removed:
            self.database.outside(sql.SQL("VACUUM {}").format(self.tables.faces))
        return int(removed)

    def speakers(self) -> set[str]:
        """Everybody."""
        query = sql.SQL("SELECT DISTINCT speaker FROM {}").format(self.tables.faces)
        return {row[0] for row in self.database.run(lambda connection: connection.execute(query).fetchall())}

    def ids_of(self, speakers: Iterable[str]) -> list[str]:
        """Of these speakers."""
        query = sql.SQL("SELECT id FROM {} WHERE speaker = ANY(%s)").format(self.tables.faces)
        wanted = [list(speakers)]
        return [row[0] for row in self.database.run(lambda connection: connection.execute(query, wanted).fetchall())]

    def ids(self) -> Iterable[str]:
        """All."""
        query = sql.SQL("SELECT id FROM {}").format(self.tables.faces)
        return [row[0] for row in self.database.run(lambda connection: connection.execute(query).fetchall())]

    def tombstones(self) -> Tombstones | None:
        """In the database: every machine honours them."""
        return self.database.run(self.tables.tombstones)

    def write_tombstones(self, tombstones: Tombstones) -> None:
        """In the database."""
        self.database.run(lambda connection: self.tables.write_tombstones(connection, tombstones))

    def close(self) -> None:
        """Let go of the connection."""
        self.database.close()


class PostgresUpsert:
    """Adds to a gallery that is there; every `put` is seen at once, whole."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Of what is there."""
        tables = self._store.tables
        return self._store.database.run(lambda connection: tables.digests(connection, tables.faces, ids))

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """One transaction."""
        tables = self._store.tables
        return self._store.database.run(lambda connection: tables.upsert(connection, tables.faces, entries, vectors))

    def finish(self) -> Record:
        """Nothing is left to do but to index a gallery that was empty until now."""
        store = self._store
        store.database.run(lambda connection: store.tables.index(connection, store.tables.faces, store.record))
        return store.record

    def close(self) -> None:
        """The store connects again when it is asked."""
        self._store.database.close()


class PostgresBuild:
    """Builds a gallery beside whatever is there; a build that was interrupted is gone on with.

    Only one machine builds: the database holds a lock as long as its connection lives, and asks for it again after a
    connection was lost.
    """

    def __init__(self, record: Record, address: str, plan: str) -> None:
        """`plan` says what is built: an interrupted build with the same plan is gone on with.

        Raises:
            RunLocked: another machine builds it.
            DatasetError, MissingExtra: as `PostgresStore`.
        """
        self._record, self.tables = record, Tables(record.name)
        self.database = Database(address, lock=self.tables.lock)
        try:
            self.resumed = self.database.run(lambda connection: self.tables.begin(connection, record.space.size, plan))
        except BaseException:
            self.database.close()
            raise

    def tombstones(self) -> Tombstones | None:
        """Of the gallery that was there under this name."""
        return self.database.run(self.tables.tombstones)

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Of what is built so far."""
        tables = self.tables
        return self.database.run(lambda connection: tables.digests(connection, tables.building, ids))

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """One transaction; done again where the database went away meanwhile."""
        tables = self.tables
        return self.database.run(lambda connection: tables.upsert(connection, tables.building, entries, vectors))

    def finish(self) -> Record:
        """The index, then the new table takes the old one's place, in one transaction each."""
        self.database.run(lambda connection: self.tables.index(connection, self.tables.building, self._record))
        self.database.run(lambda connection: self.tables.publish(connection, self._record))
        self.database.outside(sql.SQL("VACUUM ANALYZE {}").format(self.tables.faces))  # faces are counted by an index
        return self._record

    def close(self) -> None:
        """Let go of the lock; what was built so far waits for the next build."""
        self.database.close()


def is_taken(address: str, name: str) -> bool:
    """Whether the database has a gallery of this name."""
    database = Database(address)
    try:
        return database.run(Tables(name).about) is not None
    finally:
        database.close()


def _entry(row: Sequence[Any]) -> Entry:
    values = dict(zip(COLUMNS, row, strict=False))
    labels = values.pop("labels")
    picture = bytes(values.pop("thumbnail") or b"")
    return Entry(**values, labels=labels if isinstance(labels, dict) else parse_json(labels), thumbnail=picture)
