"""Faces that may enter a gallery: photographs in folders by person, or the clips of a data set.

A folder of photographs is PERSON/any/folders/PICTURE.jpg, or pictures alone, each of a person of its own; or it has
`photographs.csv` with the columns file and speaker, and, where they are known, id, source, licence, consent; every
further column is a label.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.members import ALIGNED_FACE, FACE_EMBEDDING, Malformed, decode_npy, decode_png, members
from speech2face.data.reader import SpanReader
from speech2face.data.sources.files import pictures_below, with_slashes
from speech2face.data.sources.tables import read_table
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, FaceNotFound, MissingExtra, SeveralFaces, UnreadableRecording
from speech2face.face.detector import Picture
from speech2face.face.embedder import FaceEmbedder
from speech2face.face.photograph import read_photograph
from speech2face.gallery.entries import Entry
from speech2face.gallery.record import Space

TABLE = "photographs.csv"
THUMBNAIL_PIXELS = 128
JPEG_QUALITY = 85
FIELDS = ("id", "speaker", "source", "licence", "consent")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face that may enter; what is dear about it is done when it is asked for."""

    entry: Entry
    """With its digest, without its picture."""
    embed: Callable[[], NDArray[np.float32]]
    """The face embedding, (K,).

    Raises:
        FaceNotFound, SeveralFaces, UnreadableRecording: no face in the photograph, more than one, or no photograph.
    """
    thumbnail: Callable[[], bytes]
    """A small JPEG, after `embed`."""
    is_picture: bool = True
    """False of a file among photographs that is none: it is counted, and never enters."""


def is_data_set(place: str | Path) -> bool:
    """Whether this is a data set, and not photographs."""
    return Storage(place).exists(MANIFEST)


def photographs(folder: str, embedder: FaceEmbedder) -> Iterator[Candidate]:
    """The photographs of a folder, in a fixed order.

    Raises:
        DatasetError: no such folder, none in it, or a table that does not say whose they are.
    """
    storage = Storage(folder)
    listed = [(*row, True) for row in _table(storage)] if storage.exists(TABLE) else _by_folder(folder)
    if not any(is_picture for *_, is_picture in listed):
        others = f" ({len(listed)} other files)" if listed else ""
        raise DatasetError(f"{folder} holds no photograph{others}; give PERSON/PICTURE.jpg, or a {TABLE}")
    for path, entry, is_picture in listed:
        yield _photograph(storage, path, entry, embedder) if is_picture else _other(storage.where(path), entry)


def _by_folder(folder: str) -> list[tuple[str, Entry, bool]]:
    """Every file with whose it would be, and whether it is a picture."""
    found = []
    for path, is_picture in pictures_below(folder):
        person = path.split("/")[0] if "/" in path else Path(path).stem
        found.append((path, Entry(path, person, ""), is_picture))
    return found


def _table(storage: Storage) -> list[tuple[str, Entry]]:
    found = []
    for row in read_table(storage.where(TABLE), needed=("file", "speaker"), known=("file", *FIELDS)):
        path, person = row.get("file"), row.get("speaker")
        if not path or not person:
            raise row.wrong("file", f"row {row.line}: no file or no speaker; both columns are needed in every row")
        path = with_slashes(storage.name, path)
        labels = {name: cell for name in row.columns if (cell := row.get(name)) and name not in (*FIELDS, "file")}
        consent, source, licence = (row.get(name) for name in ("consent", "source", "licence"))
        found.append((path, Entry(row.get("id") or path, person, consent, source, licence, labels)))
    return found


def _other(where: str, entry: Entry) -> Candidate:
    """A file among photographs that is none."""

    def embed() -> NDArray[np.float32]:
        raise UnreadableRecording(f"{where} is no picture")

    return Candidate(entry, embed, lambda: b"", is_picture=False)


def _photograph(storage: Storage, path: str, entry: Entry, embedder: FaceEmbedder) -> Candidate:
    """One photograph; it is read once."""
    state: dict[str, Picture] = {}

    def content() -> bytes:
        try:
            return storage.read(path)
        except DatasetError as error:
            raise UnreadableRecording(str(error)) from error

    def embed() -> NDArray[np.float32]:
        try:
            state["picture"] = read_photograph(content())
        except (FaceNotFound, MissingExtra) as error:  # a file that is no picture, or HEIC without what decodes it
            raise UnreadableRecording(
                f"{storage.where(path)}: {error}".replace(" the photograph is", " it is")
            ) from error
        try:
            found = embedder.embed(state["picture"])
        except SeveralFaces as error:
            raise SeveralFaces(f"{storage.where(path)}: {error}") from error
        if found is None:
            raise FaceNotFound(f"no face found in {storage.where(path)}")
        return np.asarray(found, np.float32)

    def digest() -> str:
        try:
            return hashlib.sha256(content()).hexdigest()
        except UnreadableRecording:
            return ""

    return Candidate(replace(entry, digest=digest()), embed, lambda: thumbnail(state.pop("picture")))


def thumbnail(picture: Picture) -> bytes:
    """The middle of a picture (height, width, 3) as a small JPEG."""
    from PIL import Image, ImageOps

    sink = io.BytesIO()
    small = ImageOps.fit(Image.fromarray(picture), (THUMBNAIL_PIXELS,) * 2, centering=(0.5, 0.4))
    small.save(sink, "JPEG", quality=JPEG_QUALITY)
    return sink.getvalue()


def clips(manifest: Manifest, split: str | None = None) -> Iterator[Candidate]:
    """The faces of a data set's clips, whose embeddings are there already.

    Raises:
        DatasetError: they are not, there is no such split, or a shard is damaged.
    """
    size = manifest.layout.embedding
    if size is None:
        raise DatasetError(f"{manifest.storage} holds no face embeddings; give photographs instead")
    table = manifest.clips(split)
    columns = {name: manifest.column(name, split) for name in ("licence", "consent", *manifest.labels)}
    reader = SpanReader(manifest.storage, manifest.shards)
    face = manifest.layout.face
    at_once = 256
    lengths = table.length if face is not None else table.length_without_face
    for start in range(0, len(table), at_once):
        rows = range(start, min(start + at_once, len(table)))
        spans = reader.read([(int(table.shard[row]), int(table.offset[row]), int(lengths[row])) for row in rows])
        for row, span in zip(rows, spans, strict=True):
            key = bytes(table.key[row]).decode("ascii")
            labels = {name: columns[name][row] for name in manifest.labels if columns[name][row]}
            source = labels.pop("source", "")
            speaker = manifest.table.speakers[int(table.speaker[row])]
            entry = Entry(key, speaker, columns["consent"][row], source, columns["licence"][row], labels)
            yield _clip(manifest.storage.where(manifest.shards[int(table.shard[row])].file), entry, span, size, face)


def _clip(where: str, entry: Entry, span: bytes, size: int, face: tuple[int, int] | None) -> Candidate:
    try:
        parts = dict(members(span))
        stored = parts[f"{entry.id}.{FACE_EMBEDDING}"]
        embedding = decode_npy(stored, (size,))
        picture = None if face is None else parts[f"{entry.id}.{ALIGNED_FACE}"]
    except (Malformed, KeyError) as error:
        raise DatasetError(f"{where}, clip {entry.id}: {error}; copy the shard again or prepare it anew") from error

    def small() -> bytes:
        return b"" if picture is None or face is None else thumbnail(decode_png(picture, face))

    digest = hashlib.sha256(stored).hexdigest()
    return Candidate(replace(entry, digest=digest), lambda: np.asarray(embedding, np.float32), small)


def digest_of(entry: Entry, space: Space, *, thumbnails: bool) -> str:
    """Of everything an entry is made from: the same digest, the same entry."""
    facts: Mapping[str, object] = entry.facts() | {
        "content": entry.digest,
        "thumbnail": thumbnails,
        "embedder": None if space.embedder is None else space.embedder.to_dict(),
        "model": space.model_sha256 if space.embedder is None else "",
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
