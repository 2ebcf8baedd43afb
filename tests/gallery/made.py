"""Small galleries of made-up faces, for all backends."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.data.storage import Storage
from speech2face.face.embedders import EmbedderRecord
from speech2face.gallery.entries import RECORD, Entry, GalleryRecord, Space
from speech2face.gallery.files import FileWriter, unit_rows
from speech2face.gallery.gallery import Gallery

SIZE = 12
SPACE = Space(SIZE, EmbedderRecord("planted", SIZE), "tiny", "0.1.0", "0" * 64)


def made_entry(number: int) -> Entry:
    """Two faces a speaker, women and men in turn; ids sort as numbers do."""
    labels = {"gender": ("female", "male")[number % 2], "age": str(20 + number % 5)}
    return Entry(f"face-{number:05d}", f"speaker {number // 2}", "made up", "test", "CC0-1.0", labels, f"d{number}")


def made_faces(count: int, *, size: int = SIZE, seed: int = 0) -> NDArray[np.float32]:
    """(count, size), of no particular length."""
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def made_gallery(folder: Path, backend: str = "exact", *, count: int = 40, address: str = "") -> Gallery:
    """A gallery of `count` faces, opened."""
    name = "made" if not address else f"made_{secrets.token_hex(4)}"  # tombstones outlive the tables of a name
    record = GalleryRecord(name, SPACE, backend, "made", address)
    entries, vectors = [made_entry(number) for number in range(count)], unit_rows(made_faces(count))
    if backend != "postgres":
        writer = FileWriter(Storage(folder), record)
        writer.put(entries, vectors)
        writer.finish()
        return Gallery.open(folder)
    from speech2face.gallery.postgres import PostgresBuild

    build = PostgresBuild(record, address, "made")
    try:
        build.put(entries, vectors)
        Storage(folder).write(RECORD, build.finish().encode())
    finally:
        build.close()
    return Gallery.open(folder)
