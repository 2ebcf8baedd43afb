"""The tables of a gallery in PostgreSQL, and what is asked of them; every function is an action in a transaction."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from speech2face.data.tombstones import Tombstones, tombstones_from, tombstones_to
from speech2face.errors import InvalidOption
from speech2face.gallery.entries import FIELDS, FILTER_FIELDS, Embeddings, Entry, Where
from speech2face.gallery.exact import recall, unit_rows
from speech2face.gallery.record import Record
from speech2face.gallery.store import Upserted

COLUMNS = (*FIELDS, "labels", "thumbnail")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
INDEXED_NUMBERS = 2000  # pgvector's limit for `vector`
INLINE_NUMBERS = 1500  # fit a page with the rest of a row; apart from it, every comparison fetches them anew
INDEXED_FROM = 1000  # faces; fewer are compared one by one faster
TOP, PROBES, GOAL = 10, 40, 0.99
LOOKED_AT = (40, 80, 120, 160, 240, 320, 480, 640, 1000)
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

    def write_tombstones(self, connection: Connection[Any], tombstones: Tombstones) -> None:
        """Keep them; whoever writes entries at this moment is waited for, whoever comes later sees them."""
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [self._forgetting])
        self.state(connection, "tombstones", tombstones_to(tombstones))

    def drop_forgotten(self, connection: Connection[Any], table: sql.Identifier) -> None:
        """Remove whoever has a tombstone from a table."""
        tombstones = self.tombstones(connection)
        if tombstones is None or not len(tombstones):
            return
        everybody = connection.execute(sql.SQL("SELECT DISTINCT speaker FROM {}").format(table)).fetchall()
        gone = [row[0] for row in everybody if tombstones.has_speaker(row[0])]
        connection.execute(sql.SQL("DELETE FROM {} WHERE speaker = ANY(%s)").format(table), [gone])

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

    def publish(self, connection: Connection[Any], record: Record) -> None:
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
        wanted = [row for row, entry in enumerate(entries) if not tombstones.has_speaker(entry.speaker)]
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
            wanted = min(max(looked_at, top), LOOKED_AT[-1])
            connection.execute("SET LOCAL enable_indexscan = on")
            connection.execute("SET LOCAL enable_seqscan = off")
            connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(wanted)])
        condition, values = _condition(where)
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        query = sql.SQL("SELECT {}, 1 - (embedding <=> %s) FROM {} WHERE {} ORDER BY embedding <=> %s LIMIT %s")
        found = connection.execute(query.format(columns, table or self.faces, condition), [probe, *values, probe, top])
        return found.fetchall()

    def random_cosines(
        self, connection: Connection[Any], probe: NDArray[np.float32], where: Where | None, sample: int
    ) -> tuple[float, float]:
        """Mean and standard deviation of the cosines of some faces drawn by chance."""
        condition, values = _condition(where)
        query = "SELECT reltuples FROM pg_class WHERE oid = %s::regclass"
        row = connection.execute(query, [self.faces.as_string(connection)]).fetchone()
        known = 0.0 if row is None else max(float(row[0]), 0.0)
        share = 100.0 if where or known < 10 * sample else 100.0 * 2 * sample / known
        sampled = sql.SQL(
            "SELECT 1 - (embedding <=> %s) FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0) WHERE {} LIMIT %s"
        ).format(self.faces, condition)
        found = [float(row[0]) for row in connection.execute(sampled, [probe, share, *values, sample])]
        return (float(np.mean(found)), float(np.std(found))) if found else (0.0, 0.0)

    def index(self, connection: Connection[Any], table: sql.Identifier, record: Record) -> None:
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
        rng = np.random.default_rng(0)
        share = rng.uniform(0.5, 1.0, (min(PROBES, len(faces)), 1))
        noise = rng.standard_normal((len(share), faces.shape[1])) * (0.3 / faces.shape[1] ** 0.5)
        probes = unit_rows(share * faces[: len(share)] + (1 - share) * faces.mean(0) + noise)

        def ids(looked_at: int | None) -> NDArray[np.int64]:
            found = [self.nearest(connection, probe, TOP, None, looked_at, table) for probe in probes]
            return np.array([[_number(row[0]) for row in rows] for rows in found], np.int64)

        right, reached, looked_at = ids(None), 0.0, LOOKED_AT[0]
        for looked_at in LOOKED_AT:
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


def plan_of(parts: dict[str, Any]) -> str:
    """What is built, so that the same build can be told from another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
