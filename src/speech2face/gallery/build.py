"""Make a gallery of photographs or of a data set's faces, for a model: whoever has no consent basis does not enter."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2face.console import Tell, unheard
from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.members import ALIGNED_FACE, FACE_EMBEDDING, Malformed, decode_npy, decode_png, members
from speech2face.data.record import Tombstones, another_tombstones, read_tombstones
from speech2face.data.shards import SpanReader
from speech2face.data.sources import pictures_below, read_table, with_slashes
from speech2face.data.storage import Storage
from speech2face.errors import (
    DatasetError,
    FaceNotFound,
    InvalidOption,
    MissingExtra,
    OutputExists,
    SeveralFaces,
    UnreadableRecording,
    WeightsError,
)
from speech2face.face.detect import Picture, read_photograph
from speech2face.face.embed import PictureEmbedder
from speech2face.gallery.entries import (
    RECORD,
    STORES,
    Entry,
    GalleryRecord,
    Space,
    Upserted,
    Writer,
    check_entry,
    store_of,
)
from speech2face.gallery.files import unit_rows
from speech2face.gallery.gallery import Gallery, open_face_embedder, space_of
from speech2face.models.contract import Model

# --- Faces that may enter a gallery: photographs in folders by person, or the clips of a data set.
# A folder of photographs is PERSON/any/folders/PICTURE.jpg, or pictures alone, each of a person of its own; or it has
# `photographs.csv` with the columns file and speaker, and, where they are known, id, source, licence, consent; every
# further column is a label.

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


def photographs(folder: str, embedder: PictureEmbedder) -> tuple[int, Iterator[Candidate]]:
    """How many photographs a folder has, and they, in a fixed order.

    Raises:
        DatasetError: no such folder, none in it, or a table that does not say whose they are.
    """
    storage = Storage(folder)
    listed = [(*row, True) for row in _table(storage)] if storage.exists(TABLE) else _by_folder(folder)
    if not any(is_picture for *_, is_picture in listed):
        others = f" ({len(listed)} other files)" if listed else ""
        raise DatasetError(f"{folder} holds no photograph{others}; give PERSON/PICTURE.jpg, or a {TABLE}")
    return len(listed), (
        _photograph(storage, path, entry, embedder) if is_picture else _other(storage.where(path), entry)
        for path, entry, is_picture in listed
    )


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


def _photograph(storage: Storage, path: str, entry: Entry, embedder: PictureEmbedder) -> Candidate:
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


FIRST = 3  # files that fit a message
MOST_NAMED = 20  # of each reason
AT_ONCE = 256  # entries; what a database that went away makes do again
REFUSALS = {SeveralFaces: "several_faces", FaceNotFound: "no_face", UnreadableRecording: "unreadable"}
"""Why a photograph is left out, by the error that its embedding ends in."""


@dataclass(frozen=True)
class BuildOptions:
    """How a gallery is built."""

    backend: str = "exact"
    database: str = ""
    """Address of PostgreSQL, or of a store that another package adds, for its backend."""
    name: str = ""
    """In a database; "" is made from the folder's name."""
    embedder_file: Path | None = None
    """The user's own weights, where the embedder needs them."""
    consent: str = ""
    """The consent basis of faces whose source states none."""
    licence: str = ""
    split: str | None = None
    """Of a data set; None takes all."""
    thumbnails: bool = True
    add: bool = False
    """Add to the gallery that is there."""
    force: bool = False
    """Replace it."""
    tombstones: str = ""
    """A data set or gallery whose forgotten speakers are to be honoured too."""

    def __post_init__(self) -> None:
        store_of(self.backend)
        in_files = STORES.get(self.backend) == "files"
        if not self.add and (self.database if in_files else self.backend == "postgres" and not self.database):
            raise InvalidOption("the backend postgres needs the address of a database, and only that one does")
        if self.add and self.force:
            raise InvalidOption("a gallery is added to or replaced, not both")
        if not (self.consent.isprintable() and self.licence.isprintable()):
            raise InvalidOption("consent and licence are one line of printable text")


@dataclass
class Counts:
    """What became of the faces that were offered."""

    offered: int = 0
    unchanged: int = 0
    """There already, made from the same."""
    upserted: Upserted = field(default_factory=Upserted)
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason: no_consent, forgotten, no_face, several_faces, unreadable, no_picture."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """By reason, the first that were left out for what their file is, and why."""

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        done = {"added": self.upserted.added, "replaced": self.upserted.replaced, "unchanged": self.unchanged}
        counts = {"offered": self.offered} | done | {"left_out": dict(sorted(self.left_out.items()))}
        return counts | ({"left_out_first": dict(sorted(self.named.items()))} if self.named else {})

    def leave_out(self, reason: str, why: str) -> None:
        """Count one file, and name it if it is among the first."""
        self.left_out[reason] += 1
        named = self.named.setdefault(reason, [])
        if len(named) < MOST_NAMED:
            named.append(why)


def build_gallery(
    source: str | Path,
    model: Model,
    out: str | Path,
    options: BuildOptions | None = None,
    progress: Tell | None = None,
) -> Counts:
    """Build a gallery in a folder; `progress` hears how many faces were looked at, and of how many.

    A photograph without a face or with several, or a file that cannot be read, is counted, named and left out; counted
    and left out is whoever has no consent basis, and whoever was forgotten.

    Raises:
        OutputExists: there is a gallery, and it is neither to be added to nor replaced.
        WeightsError: the data or the gallery hold another face embedder's numbers than the model says.
        DatasetError: nothing to build from, or nothing entered; a database that cannot be reached.
        InvalidOption, CannotWrite, RunLocked, MissingExtra.
    """
    options, out = options or BuildOptions(), Path(out)
    tell = progress or unheard
    space = space_of(model)
    there = os.path.isfile(out / RECORD)
    if there and not (options.add or options.force):
        raise OutputExists(f"{out} holds a gallery already; choose another folder, --add or --force")
    if options.add and not there:
        raise DatasetError(f"{out} holds no gallery to add to; leave --add out")
    count, offered = _candidates(str(source), model, space, options)  # refuses what does not go together
    forgotten = [read_tombstones(Storage(out)) if os.path.isdir(out) else None]
    forgotten.append(another_tombstones(options.tombstones) if options.tombstones else None)
    with contextlib.closing(_open_writer(out, space, options, str(source))) as writer:
        honoured = [each for each in (*forgotten, writer.tombstones) if each is not None]
        counts = Counts()
        while some := list(islice(offered, AT_ONCE)):
            _take(some, writer, space, options, honoured, counts, lambda done: tell("faces", done, count))
        if not counts.upserted.added and not counts.unchanged and not options.add:
            raise DatasetError(f"nothing entered the gallery: {_reasons(counts)}")
        record = writer.finish()
    if STORES.get(record.backend) != "files":  # which name their gallery themselves, under their lock
        Storage(out).write(RECORD, record.encode())
    return counts


def _reasons(counts: Counts) -> str:
    texts = {
        "no_consent": "without consent basis (state one with --consent)",
        "forgotten": "of speakers who were forgotten",
        "no_face": "in which no face was found",
        "several_faces": "in which several faces were found",
        "unreadable": "that cannot be read",
        "no_picture": "whose file is no picture",
    }
    found = [f"{count} {texts[reason]}" for reason, count in sorted(counts.left_out.items())]
    first = [why for named in counts.named.values() for why in named][:FIRST]
    named = f"; the first: {'; '.join(first)}" if first else ""
    return f"of {counts.offered} faces {', '.join(found) or 'none'}{named}"


def _candidates(source: str, model: Model, space: Space, options: BuildOptions) -> tuple[int, Iterator[Candidate]]:
    """How many faces are offered, and they."""
    if not is_data_set(source):
        if options.split is not None:
            raise InvalidOption("photographs have no splits; leave --split out")
        return photographs(source, open_face_embedder(model, options.embedder_file))
    manifest = Manifest.open(source)
    if space.embedder is None or manifest.embedder is None or not space.embedder.comparable_with(manifest.embedder):
        raise WeightsError(
            f"the face embeddings of {source} are those of"
            f" {'an unknown embedder' if manifest.embedder is None else manifest.embedder.kind}, not what"
            f" {space.model_name} says; build from photographs, or use a model that learned from this data's embedder"
        )
    return len(manifest.clips(options.split)), clips(manifest, options.split)


def _open_writer(out: Path, space: Space, options: BuildOptions, source: str) -> Writer:
    if options.add:
        gallery = Gallery.open(out, database=options.database or None)
        gallery.check_space(space)
        return gallery.writer()
    name = options.name or re.sub(r"[^a-z0-9]+", "_", out.resolve().name.lower()).strip("_") or "gallery"
    record = GalleryRecord(name, space, options.backend, secrets.token_hex(8))
    plan = json.dumps({"space": space.to_dict(), "source": source}, sort_keys=True)
    plan = hashlib.sha256(plan.encode()).hexdigest()
    force = options.force or os.path.isfile(out / RECORD)
    return store_of(options.backend).build(out, record, options.database, plan=plan, force=force)


def _take(
    some: list[Candidate],
    writer: Writer,
    space: Space,
    options: BuildOptions,
    forgotten: Sequence[Tombstones],
    counts: Counts,
    progress: Callable[[int], object],
) -> None:
    """Put those of some candidates into the gallery that may enter and are not in it yet."""
    counts.offered += len(some)
    wanted: list[tuple[Entry, Candidate]] = []
    for candidate in some:
        if not candidate.is_picture:
            counts.leave_out("no_picture", candidate.entry.id)
            continue
        entry = replace(
            candidate.entry,
            consent=(candidate.entry.consent or options.consent).strip(),
            licence=candidate.entry.licence or options.licence,
        )
        if any(each.has_speaker(entry.speaker) or each.has_clip(entry.id) for each in forgotten):
            counts.left_out["forgotten"] += 1
        elif not entry.consent:
            counts.left_out["no_consent"] += 1
        else:
            wanted.append((replace(entry, digest=digest_of(entry, space, thumbnails=options.thumbnails)), candidate))
    known = writer.digests([entry.id for entry, _ in wanted])
    entries, vectors = [], []
    for number, (entry, candidate) in enumerate(wanted):
        progress(counts.offered - len(wanted) + number)
        if known.get(entry.id) == entry.digest:
            counts.unchanged += 1
            continue
        check_entry(entry)
        try:
            vectors.append(unit_rows(candidate.embed()[None], entry.id)[0])
        except (SeveralFaces, FaceNotFound, UnreadableRecording) as error:
            counts.leave_out(REFUSALS[type(error)], str(error))
        else:
            entries.append(replace(entry, thumbnail=candidate.thumbnail() if options.thumbnails else b""))
    if entries:
        counts.upserted += writer.put(entries, np.stack(vectors))
    progress(counts.offered)
