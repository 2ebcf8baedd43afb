"""Galleries in a file of SQLite: --database lite://PATH."""

import json
import sqlite3

import numpy as np

from speech2face.data.record import Tombstones, tombstones_from, tombstones_to
from speech2face.errors import OutputExists
from speech2face.gallery.entries import Entry, Found, StoreFacts, Upserted, check_where


class Lite:
    """Store and writer in one: what was changed is seen when it is committed."""

    def __init__(self, record, address):
        self.record, self.file = record, sqlite3.connect((address or record.database).partition("://")[2])
        self.file.execute(
            "CREATE TABLE IF NOT EXISTS faces (id TEXT PRIMARY KEY, facts TEXT, picture BLOB, vector BLOB)"
        )
        self.file.execute("CREATE TABLE IF NOT EXISTS about (value TEXT)")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __len__(self):
        return self.file.execute("SELECT count(*) FROM faces").fetchone()[0]

    def _all(self):
        rows = self.file.execute("SELECT facts, picture, vector FROM faces ORDER BY rowid").fetchall()
        entries = [Entry(**json.loads(facts), thumbnail=picture) for facts, picture, _ in rows]
        return entries, np.array([np.frombuffer(vector, np.float32) for *_, vector in rows])

    def facts(self):
        return StoreFacts(tuple(sorted({name for entry in self._all()[0] for name in entry.labels})), None)

    def people(self):
        return {entry.id: entry.speaker for entry in self._all()[0]}

    def search(self, probe, top, where):
        check_where(where or {}, self.facts().labels)
        kept = [
            (entry, float(vector @ probe))
            for entry, vector in zip(*self._all(), strict=True)
            if all((entry.facts() | entry.labels)[name] == value for name, value in (where or {}).items())
        ]
        cosines = [cosine for _, cosine in kept] or [0.0]
        hits = sorted(kept, key=lambda hit: -hit[1])[:top]
        return Found(tuple(hits), len(kept), float(np.mean(cosines)), float(np.std(cosines)), exact=True)

    @property
    def tombstones(self):
        found = self.file.execute("SELECT value FROM about").fetchone()
        return None if found is None else tombstones_from(json.loads(found[0]))

    def forget(self, speakers, ids):
        with self.file:
            self.file.execute("BEGIN IMMEDIATE")  # two that forget at once wait for one another
            before = self.tombstones
            now = (before or Tombstones.new()).with_speakers(speakers).with_clips(ids)
            self.file.execute("DELETE FROM about")
            self.file.execute("INSERT INTO about VALUES (?)", [json.dumps(tombstones_to(now))])
        return before

    def writer(self):
        return Lite(self.record, self.record.database)

    def digests(self, ids):
        return {entry.id: entry.digest for entry in self._all()[0] if entry.id in set(ids)}

    def put(self, entries, vectors):
        replaced = sum(self.remove([entry.id]) for entry in entries)
        for entry, vector in zip(entries, vectors, strict=True):
            facts = json.dumps(entry.facts() | {"digest": entry.digest})
            row = [entry.id, facts, entry.thumbnail, vector.tobytes()]
            self.file.execute("INSERT INTO faces VALUES (?, ?, ?, ?)", row)
        return Upserted(len(entries) - replaced, replaced)

    def remove(self, ids):
        return sum(self.file.execute("DELETE FROM faces WHERE id = ?", [name]).rowcount for name in ids)

    def finish(self):
        self.file.commit()
        return self.record

    def close(self):
        self.file.close()


def open(folder, record, address):
    return Lite(record, address)


def build(folder, record, address, *, plan, force):
    made = Lite(record.changed(database=address), address)
    if len(made) and not force:
        raise OutputExists(f"{address} holds a gallery already; replace it by --force")
    made.remove(list(made.people()))
    return made
