"""A gallery in PostgreSQL with pgvector, for several machines: the same interface, every change one transaction.

    gallery_NAME            a row a face
    gallery_NAME_building   the same, while it is built: it becomes the other in one step
    gallery_NAME_about      what it is (the record), who was forgotten, how well its index searches

pgvector compares at most 2,000 numbers in an index; longer face embeddings are compared one by one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from speech2face.data.record import Tombstones, tombstones_from, tombstones_to
from speech2face.errors import DatasetError, InvalidOption, MissingExtra, OutputExists, RunLocked
from speech2face.gallery.entries import (
    FIELDS,
    FILTER_FIELDS,
    Embeddings,
    Entry,
    Found,
    GalleryRecord,
    StoreFacts,
    Upserted,
    Where,
    check_where,
)
from speech2face.gallery.files import LEAST_SHARE, made_probes, recall
from speech2face.inputs import parse_json

SAMPLE = 1000
LOOKED_AT = 100  # hnsw.ef_search, where no search has been measured


class PostgresStore:
    """Asks the database every time: others may have changed it."""

    def __init__(self, record: GalleryRecord, address: str | None = None) -> None:
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

    def _rows(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query about the table of faces."""
        asked = sql.SQL(query).format(self.tables.faces)
        return self.database.run(lambda connection: connection.execute(asked, values).fetchall())

    def facts(self) -> StoreFacts:
        """Labels of all entries as they are now, and the index as it was measured when it was made."""
        labels = self._rows("SELECT DISTINCT jsonb_object_keys(labels) FROM {}")
        index = self.database.run(lambda connection: self.tables.stated(connection, "index"))
        return StoreFacts(tuple(sorted(str(row[0]) for row in labels)), index)

    def people(self) -> Mapping[str, str]:
        """The speaker of each entry, by its id."""
        return dict(self._rows("SELECT id, speaker FROM {}"))

    def search(self, probe: NDArray[np.float32], top: int, where: Where | None) -> Found:
        """By the index, or one by one where the filter keeps few."""
        if where:
            check_where(where, self.facts().labels)

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
            mean, sd = self.tables.random_cosines(connection, probe, where, min(1.0, SAMPLE / max(of, 1)))
            hits = tuple((_entry(row), float(row[len(COLUMNS)])) for row in rows)
            return Found(tuple(sorted(hits, key=lambda hit: -hit[1])), of, mean, sd, exact)

        return self.database.run(ask)

    def writer(self) -> PostgresWriter:
        """Straight into the gallery."""
        return PostgresWriter(self.record, self.database, self.tables, self.tables.faces)

    @property
    def tombstones(self) -> Tombstones | None:
        """In the database: every machine honours them."""
        return self.database.run(self.tables.tombstones)

    def forget(self, speakers: Sequence[str], ids: Sequence[str]) -> Tombstones | None:
        """One transaction; whoever writes entries at this moment is waited for, whoever comes later sees it."""
        return self.database.run(lambda connection: self.tables.forget(connection, speakers, ids))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of the connection."""
        self.database.close()


class PostgresWriter:
    """Adds to a gallery that is there; every `put` is one transaction, and seen at once, whole."""

    def __init__(self, record: GalleryRecord, database: Database, tables: Tables, table: sql.Identifier) -> None:
        self._record, self.database, self.tables, self._table = record, database, tables, table

    @property
    def tombstones(self) -> Tombstones | None:
        """Of the gallery of this name, also where another one is built in its place."""
        return self.database.run(self.tables.tombstones)

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Of what is there."""
        return self.database.run(lambda connection: self.tables.digests(connection, self._table, ids))

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """One transaction; done again where the database went away meanwhile."""
        return self.database.run(lambda connection: self.tables.upsert(connection, self._table, entries, vectors))

    def remove(self, ids: Sequence[str]) -> int:
        """Remove entries, then what the database keeps of them in the table and the index."""
        query = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._table)
        removed = self.database.run(lambda connection: connection.execute(query, [list(ids)]).rowcount)
        self.database.run(lambda connection: self.tables.drop_from_building(connection, ids))
        if removed:
            self.database.outside(sql.SQL("VACUUM {}").format(self._table))
        return int(removed)

    def finish(self) -> GalleryRecord:
        """Nothing is left to do but to index a gallery that was empty until now."""
        self.database.run(lambda connection: self.tables.index(connection, self._table, self._record))
        return self._record

    def close(self) -> None:
        """Let go of the connection; the store connects again when it is asked."""
        self.database.close()


class PostgresBuild(PostgresWriter):
    """Builds a gallery beside whatever is there; a build that was interrupted is gone on with.

    Only one machine builds: the database holds a lock as long as its connection lives, and asks for it again after a
    connection was lost.
    """

    def __init__(self, record: GalleryRecord, address: str, plan: str) -> None:
        """`plan` says what is built: an interrupted build with the same plan is gone on with.

        Raises:
            RunLocked: another machine builds it.
            DatasetError, MissingExtra: as `PostgresStore`.
        """
        tables = Tables(record.name)
        super().__init__(record, Database(address, lock=tables.lock), tables, tables.building)
        try:
            self.resumed = self.database.run(lambda connection: tables.begin(connection, record.space.size, plan))
        except BaseException:
            self.database.close()
            raise

    def finish(self) -> GalleryRecord:
        """The index, then the new table takes the old one's place, in one transaction each."""
        record = super().finish()
        self.database.run(lambda connection: self.tables.publish(connection, record))
        self.database.outside(sql.SQL("VACUUM ANALYZE {}").format(self.tables.faces))  # faces are counted by an index
        return record


class PostgresStores:
    """The driver `postgres`: tables of a database, for several machines."""

    def open(self, folder: Path, record: GalleryRecord, address: str) -> PostgresStore:
        """Connect to the database of the record, or to the one at the address."""
        return PostgresStore(record, address or None)

    def build(self, folder: Path, record: GalleryRecord, address: str, *, plan: str, force: bool) -> PostgresBuild:
        """Begin a gallery beside the one of its name."""
        if not force and is_taken(address, record.name):
            raise OutputExists(
                f"the database has a gallery {record.name} already; choose another --name, or replace it by --force"
            )
        return PostgresBuild(record.changed(database=without_password(address)), address, plan)


POSTGRES = PostgresStores()


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


# --- A connection to PostgreSQL that is made again, a bounded number of times, when the server goes away.

try:
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg import Connection, sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.types.json import Jsonb
except ImportError as missing:
    raise MissingExtra("a gallery in PostgreSQL needs the extra 'retrieval'", "retrieval") from missing
logger = logging.getLogger(__name__)
ATTEMPTS = 12
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 10.0  # doubling: about a minute in all
CONNECT_SECONDS = 10
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
Result = TypeVar("Result")


class Database:
    """Runs actions, each in a transaction of its own; an action that lost its connection is run again.

    Actions must therefore do the same when they are done twice: what was committed a moment before a connection broke
    is committed again.
    """

    def __init__(self, address: str, *, lock: int | None = None) -> None:
        """`lock`: a number that one connection of the whole database holds at a time.

        Raises:
            DatasetError: the address is none, or nobody answers there: the first time, nothing is waited for.
            RunLocked: somebody else holds the lock.
        """
        self._address, self._lock = address, lock
        self._connection: psycopg.Connection[Any] | None = None
        try:
            self._connected()
        except LOST as error:
            raise DatasetError(f"no database at {shown(address)}: {_line(error)}; name it with --database") from error
        except psycopg.ProgrammingError as error:
            raise DatasetError(f"{shown(address)} is no address of a database: {_line(error)}") from error

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        connection = psycopg.connect(self._address, connect_timeout=CONNECT_SECONDS, autocommit=True)
        try:
            _prepare(connection)
            if self._lock is not None:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", [self._lock]).fetchone()
                if row is None or not row[0]:
                    raise RunLocked("another process builds this gallery in the database; wait for it")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def run(self, action: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """The result of an action in a transaction.

        Raises:
            DatasetError: the database refuses it, or went away and did not come back.
        """
        wait = FIRST_WAIT_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                connection = self._connected()
                with connection.transaction():
                    return action(connection)
            except (*LOST, RunLocked) as error:
                if isinstance(error, RunLocked) and attempt == 1:
                    raise
                if attempt == ATTEMPTS:
                    raise DatasetError(
                        f"the database {shown(self._address)} went away and did not come back: {_line(error)}; start"
                        " again when it is there: a build goes on where it stopped"
                    ) from error
                logger.warning("the database went away (%s); trying again in %.1f s", _line(error), wait)
                self.close()
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            except psycopg.Error as error:
                raise DatasetError(f"the database {shown(self._address)} refuses: {_line(error)}") from error
        raise AssertionError("the last attempt raises")

    def outside(self, command: Any) -> None:
        """A command that cannot stand in a transaction; one that fails is noted, it is no part of the work."""
        try:
            self._connected().execute(command)
        except psycopg.Error as error:
            logger.warning("%s", _line(error))

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None


def _prepare(connection: psycopg.Connection[Any]) -> None:
    """pgvector's type.

    Raises:
        MissingExtra: the database does not have it.
    """
    try:
        there = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone()
        if there is None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except LOST:
        raise
    except psycopg.Error as error:
        raise MissingExtra(
            f"the database has no pgvector and it cannot be made ready ({_line(error)}); install it there and run:"
            " CREATE EXTENSION vector"
        ) from error
    register_vector(connection)


def without_password(address: str) -> str:
    """An address as it may be written into a file.

    Raises:
        DatasetError: it is none.
    """
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise DatasetError(f"{shown(address)} is no address of a database: {_line(error)}") from error
    parts.pop("password", None)
    return make_conninfo(**{name: str(value) for name, value in parts.items() if value is not None})


def shown(address: str) -> str:
    """An address as it may be printed."""
    with contextlib.suppress(psycopg.Error):
        parts = conninfo_to_dict(address)
        named = [f"{name}={parts[name]}" for name in ("host", "port", "dbname") if parts.get(name)]
        return " ".join(named) or "the default address"
    return "(an address that cannot be read)"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# --- The tables of a gallery in PostgreSQL, and what is asked of them; every function is an action in a transaction.

COLUMNS = (*FIELDS, "labels", "thumbnail")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
INDEXED_NUMBERS = 2000  # pgvector's limit for `vector`
INLINE_NUMBERS = 1500  # fit a page with the rest of a row; apart from it, every comparison fetches them anew
INDEXED_FROM = 1000  # faces; fewer are compared one by one faster
TOP, PROBES, GOAL = 10, 40, 0.99
EXAMINED = (40, 80, 120, 160, 240, 320, 480, 640, 1000)  # nodes in hand; 1000 is pgvector's limit
BUILD_MEMORY = "512MB"
About = dict[str, Any]


class Tables:
    """Of one name."""

    def __init__(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise InvalidOption(
                f'a gallery in a database cannot be called "{name}"; small letters, digits and _ are possible, up to 40'
            )
        self.faces = sql.Identifier(f"gallery_{name}")
        self.building = sql.Identifier(f"gallery_{name}_building")
        self._about = sql.Identifier(f"gallery_{name}_about")
        self._name = name
        self.lock = _number(f"speech2face gallery {name}")
        self._forgetting = _number(f"speech2face gallery {name}, forgetting")

    def about(self, connection: Connection[Any]) -> About | None:
        """What the gallery of this name is; None where there is none that is finished."""
        found = self.stated(connection, "gallery")
        return None if found is None else dict(found)

    def stated(self, connection: Connection[Any], key: str) -> Any:
        """A value of the table of facts, None where it has none."""
        if not self._is_there(connection, "about"):
            return None
        row = connection.execute(sql.SQL("SELECT value FROM {} WHERE key = %s").format(self._about), [key]).fetchone()
        return None if row is None else row[0]

    def state(self, connection: Connection[Any], key: str, value: Any) -> None:
        """Put a value into the table of facts."""
        query = "INSERT INTO {} (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        connection.execute(sql.SQL(query).format(self._about), [key, Jsonb(value)])

    def tombstones(self, connection: Connection[Any]) -> Tombstones | None:
        """Who was forgotten."""
        found = self.stated(connection, "tombstones")
        return None if found is None else tombstones_from(found)

    def forget(self, connection: Connection[Any], speakers: Sequence[str], ids: Sequence[str]) -> Tombstones | None:
        """Add tombstones; whoever writes entries at this moment is waited for, whoever comes later sees them."""
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [self._forgetting])
        before = self.tombstones(connection)
        now = (before or Tombstones.new()).with_speakers(speakers).with_clips(ids)
        self.state(connection, "tombstones", tombstones_to(now))
        return before

    def drop_forgotten(self, connection: Connection[Any], table: sql.Identifier) -> None:
        """Remove whoever has a tombstone from a table."""
        tombstones = self.tombstones(connection)
        if tombstones is None:
            return
        everybody = connection.execute(sql.SQL("SELECT speaker, id FROM {}").format(table))
        gone = [identity for speaker, identity in everybody if tombstones.names(speaker, identity)]
        connection.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(table), [gone])

    def drop_from_building(self, connection: Connection[Any], ids: Sequence[str]) -> None:
        """Remove entries from a build that is not finished, if there is one."""
        if self._is_there(connection, "building"):
            connection.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self.building), [list(ids)])

    def _is_there(self, connection: Connection[Any], which: str) -> bool:
        row = connection.execute("SELECT to_regclass(%s)", [f"gallery_{self._name}_{which}"]).fetchone()
        return row is not None and row[0] is not None

    def begin(self, connection: Connection[Any], size: int, plan: str) -> bool:
        """An empty table to build in, or the one that was left by the same plan; whether it was."""
        create = sql.SQL("CREATE TABLE IF NOT EXISTS {} (key text PRIMARY KEY, value jsonb NOT NULL)")
        connection.execute(create.format(self._about))
        if self._is_there(connection, "building") and self.stated(connection, "building") == plan:
            self.drop_forgotten(connection, self.building)
            return True
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.building))
        columns = "id text PRIMARY KEY, speaker text NOT NULL, source text NOT NULL, licence text NOT NULL,"
        columns += " consent text NOT NULL CHECK (consent <> ''), digest text NOT NULL, labels jsonb NOT NULL,"
        columns += f" thumbnail bytea NOT NULL, embedding vector({size}) NOT NULL"
        connection.execute(sql.SQL(f"CREATE TABLE {{}} ({columns})").format(self.building))
        if size <= INLINE_NUMBERS:
            inline = sql.SQL("ALTER TABLE {} ALTER COLUMN embedding SET STORAGE PLAIN")
            connection.execute(inline.format(self.building))
        self.state(connection, "building", plan)
        return False

    def publish(self, connection: Connection[Any], record: GalleryRecord) -> None:
        """The table that was built takes the place of the gallery; done twice, the second time does nothing."""
        known = self.about(connection)
        if known is not None and known["identity"] == record.identity and not self._is_there(connection, "building"):
            return
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [self._forgetting])
        self.drop_forgotten(connection, self.building)
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.faces))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(self.building, self.faces))
        self.state(connection, "gallery", {"identity": record.identity, "space": record.space.to_dict()})
        self.state(connection, "building", None)

    def digests(self, connection: Connection[Any], table: sql.Identifier, ids: Sequence[str]) -> dict[str, str]:
        """Of the entries that are there."""
        query = sql.SQL("SELECT id, digest FROM {} WHERE id = ANY(%s)").format(table)
        return {str(row[0]): str(row[1]) for row in connection.execute(query, [list(ids)])}

    def upsert(
        self, connection: Connection[Any], table: sql.Identifier, entries: Sequence[Entry], vectors: Embeddings
    ) -> Upserted:
        """All entries but those of the forgotten; an id that is there is replaced."""
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [self._forgetting])
        tombstones = self.tombstones(connection) or Tombstones.new()
        wanted = [row for row, entry in enumerate(entries) if not tombstones.names(entry.speaker, entry.id)]
        latest = {entries[row].id: row for row in wanted}  # one statement cannot replace a row twice
        there = len(self.digests(connection, table, list(latest)))
        names = (*COLUMNS, "embedding")
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}").format(
            table,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names[1:]),
        )
        with connection.cursor() as cursor:
            cursor.executemany(query, [_row(entries[row], vectors[row]) for row in latest.values()])
        twice = len(wanted) - len(latest)
        return Upserted(len(latest) - there, there + twice)

    def count(self, connection: Connection[Any], where: Where | None) -> int:
        """Entries that a filter keeps."""
        condition, values = _condition(where)
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {}").format(self.faces, condition), values
        ).fetchone()
        return 0 if row is None else int(row[0])

    def nearest(
        self,
        connection: Connection[Any],
        probe: NDArray[np.float32],
        top: int,
        where: Where | None,
        looked_at: int | None,
        table: sql.Identifier | None = None,
    ) -> list[tuple[Any, ...]]:
        """Rows of COLUMNS and the cosine, nearest first; `looked_at` None compares one by one."""
        if looked_at is None:
            connection.execute("SET LOCAL enable_indexscan = off")
            connection.execute("SET LOCAL enable_seqscan = on")
        else:
            wanted = min(max(looked_at, top), EXAMINED[-1])
            connection.execute("SET LOCAL enable_indexscan = on")
            connection.execute("SET LOCAL enable_seqscan = off")
            connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(wanted)])
        condition, values = _condition(where)
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        query = sql.SQL("SELECT {}, 1 - (embedding <=> %s) FROM {} WHERE {} ORDER BY embedding <=> %s LIMIT %s")
        found = connection.execute(query.format(columns, table or self.faces, condition), [probe, *values, probe, top])
        return found.fetchall()

    def random_cosines(
        self, connection: Connection[Any], probe: NDArray[np.float32], where: Where | None, share: float
    ) -> tuple[float, float]:
        """Mean and standard deviation of the cosines of a share of the faces, drawn by chance from the whole table."""
        condition, values = _condition(where)
        # No LIMIT: the first rows of a table are those that came first, such as the faces of one folder.
        sampled = sql.SQL(
            "SELECT 1 - (embedding <=> %s) FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0) WHERE {}"
        ).format(self.faces, condition)
        found = [float(row[0]) for row in connection.execute(sampled, [probe, 100 * share, *values])]
        return (float(np.mean(found)), float(np.std(found))) if found else (0.0, 0.0)

    def index(self, connection: Connection[Any], table: sql.Identifier, record: GalleryRecord) -> None:
        """A graph to search in (Malkov and Yashunin 2018, "HNSW"), where there are faces enough and no graph yet."""
        if table == self.building and not self._is_there(connection, "building"):
            return  # it is published already
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        count = 0 if row is None else int(row[0])
        done = connection.execute(
            "SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam"
            " WHERE indrelid = %s::regclass AND amname = 'hnsw'",
            [table.as_string(connection)],
        ).fetchone()
        if done is not None or count < INDEXED_FROM or record.space.size > INDEXED_NUMBERS:
            if done is None:
                self.state(connection, "index", None)
            return
        connection.execute("SELECT set_config('maintenance_work_mem', %s, true)", [BUILD_MEMORY])
        graph = "CREATE INDEX ON {} USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 128)"
        connection.execute(sql.SQL(graph).format(table))
        connection.execute(sql.SQL("CREATE INDEX ON {} (speaker)").format(table))
        connection.execute(sql.SQL("ANALYZE {}").format(table))
        self.state(connection, "index", self._tuned(connection, table, count))

    def _tuned(self, connection: Connection[Any], table: sql.Identifier, count: int) -> About:
        """How many nodes a search keeps in hand: the fewest that reach the goal on probes such as voices give."""
        query = sql.SQL("SELECT embedding::real[] FROM {} ORDER BY md5(id) LIMIT %s").format(table)
        faces = np.stack([np.asarray(row[0], np.float32) for row in connection.execute(query, [20 * PROBES])])
        probes = made_probes(faces, PROBES, np.random.default_rng(0))

        def ids(looked_at: int | None) -> NDArray[np.int64]:
            found = [self.nearest(connection, probe, TOP, None, looked_at, table) for probe in probes]
            return np.array([[_number(row[0]) for row in rows] for rows in found], np.int64)

        right, reached, looked_at = ids(None), 0.0, EXAMINED[0]
        for looked_at in EXAMINED:
            reached = recall(ids(looked_at), right)
            if reached >= GOAL:
                break
        kind = "pgvector HNSW, m 16, ef_construction 128"
        facts = {"kind": kind, "looked_at": looked_at, "recall_at_10": round(reached, 4), "probes": len(probes)}
        return facts | {"trained_for": count}


def _row(entry: Entry, vector: NDArray[np.float32]) -> list[Any]:
    return [*(getattr(entry, name) for name in FIELDS), Jsonb(dict(entry.labels)), entry.thumbnail, vector]


def _number(identity: str) -> int:
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], signed=True)


def _condition(where: Where | None) -> tuple[sql.Composable, list[Any]]:
    """A filter as SQL and its values."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    values: list[Any] = []
    for name, value in (where or {}).items():
        if name in FILTER_FIELDS:
            parts.append(sql.SQL("{} = %s").format(sql.Identifier(name)))
            values.append(value)
        else:
            parts.append(sql.SQL("coalesce(labels ->> %s, '') = %s"))
            values += [name, value]
    return sql.SQL(" AND ").join(parts), values
