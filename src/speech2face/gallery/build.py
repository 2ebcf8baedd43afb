"""Make a gallery of photographs or of a data set's faces, for a model: whoever has no consent basis does not enter."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from speech2face.data.manifest import Manifest
from speech2face.data.storage import Storage
from speech2face.data.tombstones import Tombstones, another_tombstones, read_tombstones
from speech2face.errors import (
    DatasetError,
    FaceNotFound,
    InvalidOption,
    OutputExists,
    SeveralFaces,
    UnreadableRecording,
    WeightsError,
)
from speech2face.gallery.entries import Entry, check_entry
from speech2face.gallery.exact import unit_rows
from speech2face.gallery.file_writer import FileWriter
from speech2face.gallery.gallery import Gallery
from speech2face.gallery.photographs import Candidate, clips, digest_of, is_data_set, photographs
from speech2face.gallery.record import BACKENDS, RECORD, BackendName, Record, Space
from speech2face.gallery.spaces import open_face_embedder, space_of
from speech2face.gallery.store import Upserted, Writer
from speech2face.models.contract import Model

FIRST = 3  # files that fit a message
MOST_NAMED = 20  # of each reason
AT_ONCE = 256  # entries; what a database that went away makes do again
Progress = Callable[[int], None]


@dataclass(frozen=True)
class BuildOptions:
    """How a gallery is built."""

    backend: BackendName = "exact"
    database: str = ""
    """Address of PostgreSQL, for its backend."""
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
        if self.backend not in BACKENDS:
            raise InvalidOption(f'backend "{self.backend}" is unknown; there are {", ".join(BACKENDS)}')
        if (self.backend == "postgres") != bool(self.database) and not self.add:
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
    progress: Progress | None = None,
) -> Counts:
    """Build a gallery in a folder; `progress` hears how many faces were offered so far.

    A photograph without a face or with several, or a file that cannot be read, is counted, named and left out; counted
    and left out is whoever has no consent basis, and whoever was forgotten.

    Raises:
        OutputExists: there is a gallery, and it is neither to be added to nor replaced.
        WeightsError: the data or the gallery hold another face embedder's numbers than the model says.
        DatasetError: nothing to build from, or nothing entered; a database that cannot be reached.
        InvalidOption, CannotWrite, RunLocked, MissingExtra.
    """
    options, out = options or BuildOptions(), Path(out)
    space = space_of(model)
    there = (out / RECORD).is_file()
    if there and not (options.add or options.force):
        raise OutputExists(f"{out} holds a gallery already; choose another folder, --add or --force")
    if options.add and not there:
        raise DatasetError(f"{out} holds no gallery to add to; leave --add out")
    offered = _candidates(str(source), model, space, options)  # refuses what does not go together
    forgotten = [read_tombstones(Storage(out)) if out.is_dir() else None]
    forgotten.append(another_tombstones(options.tombstones) if options.tombstones else None)
    with contextlib.closing(_open_writer(out, space, options, forgotten, str(source))) as writer:
        build = _Build(writer, space, options, [each for each in forgotten if each is not None])
        build.take(offered, progress)
        if not build.counts.upserted.added and not build.counts.unchanged and not options.add:
            raise DatasetError(f"nothing entered the gallery: {_reasons(build.counts)}")
        record = writer.finish()
    if record.backend == "postgres":
        Storage(out).write(RECORD, record.encode())
    return build.counts


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


def _candidates(source: str, model: Model, space: Space, options: BuildOptions) -> Iterator[Candidate]:
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
    return clips(manifest, options.split)


def _open_writer(
    out: Path, space: Space, options: BuildOptions, forgotten: list[Tombstones | None], source: str
) -> Writer:
    if options.add:
        gallery = Gallery.open(out, database=options.database or None)
        gallery.check_space(space)
        forgotten.append(gallery.tombstones())
        return gallery.writer()
    name = options.name or re.sub(r"[^a-z0-9]+", "_", out.resolve().name.lower()).strip("_") or "gallery"
    record = Record(name, space, options.backend, secrets.token_hex(8))
    if options.backend != "postgres":
        if options.backend == "faiss":
            from speech2face.gallery.faiss_index import faiss_module

            faiss_module()  # missing extras are noticed before photographs are embedded
        return FileWriter(Storage(out), record)
    from speech2face.gallery.postgres import PostgresBuild, is_taken
    from speech2face.gallery.postgres_connection import without_password
    from speech2face.gallery.postgres_tables import plan_of

    if not (out / RECORD).is_file() and not options.force and is_taken(options.database, name):
        raise OutputExists(
            f"the database has a gallery {name} already; choose another --name, or replace it by --force"
        )
    plan = plan_of({"space": space.to_dict(), "source": source})
    record = record.changed(database=without_password(options.database))
    build = PostgresBuild(record, options.database, plan)
    forgotten.append(build.tombstones())
    return build


class _Build:
    """One run over what is offered."""

    def __init__(self, writer: Writer, space: Space, options: BuildOptions, forgotten: list[Tombstones]) -> None:
        self._writer, self._space, self._options, self._forgotten = writer, space, options, forgotten
        self.counts = Counts()

    def take(self, offered: Iterator[Candidate], progress: Progress | None) -> None:
        """All of it, some at a time."""
        while some := list(islice(offered, AT_ONCE)):
            self._take(some)
            if progress is not None:
                progress(self.counts.offered)

    def _take(self, some: list[Candidate]) -> None:
        counts = self.counts
        counts.offered += len(some)
        wanted: list[tuple[Entry, Candidate]] = []
        for candidate in some:
            if not candidate.is_picture:
                counts.leave_out("no_picture", candidate.entry.id)
                continue
            entry = replace(
                candidate.entry,
                consent=(candidate.entry.consent or self._options.consent).strip(),
                licence=candidate.entry.licence or self._options.licence,
            )
            if any(each.has_speaker(entry.speaker) or each.has_clip(entry.id) for each in self._forgotten):
                counts.left_out["forgotten"] += 1
            elif not entry.consent:
                counts.left_out["no_consent"] += 1
            else:
                digest = digest_of(entry, self._space, thumbnails=self._options.thumbnails)
                wanted.append((replace(entry, digest=digest), candidate))
        known = self._writer.digests([entry.id for entry, _ in wanted])
        entries, vectors = [], []
        for entry, candidate in wanted:
            if known.get(entry.id) == entry.digest:
                counts.unchanged += 1
                continue
            check_entry(entry)
            try:
                vectors.append(unit_rows(candidate.embed()[None], entry.id)[0])
            except SeveralFaces as error:
                counts.leave_out("several_faces", str(error))
            except FaceNotFound as error:
                counts.leave_out("no_face", str(error))
            except UnreadableRecording as error:
                counts.leave_out("unreadable", str(error))
            else:
                picture = candidate.thumbnail() if self._options.thumbnails else b""
                entries.append(replace(entry, thumbnail=picture))
        if entries:
            counts.upserted += self._writer.put(entries, np.stack(vectors))
