"""A gallery as it is used, whatever it lies in: open, search, add, delete, forget."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.recording import Recording, read_recording
from speech2face.console import Tell, unheard
from speech2face.data.record import Tombstones, near_names
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, InvalidOption, MissingExtra, RunLocked, WeightsError
from speech2face.face.detect import Picture
from speech2face.face.embed import PictureEmbedder
from speech2face.gallery.entries import (
    RECORD,
    Entry,
    GalleryRecord,
    Space,
    Store,
    Upserted,
    Where,
    Writer,
    check_entry,
    read_record,
    store_of,
)
from speech2face.gallery.files import unit_rows
from speech2face.inputs import described, listed_names, whole_number
from speech2face.models.contract import Given, Model
from speech2face.models.release import MANIFEST
from speech2face.outputs import sha256
from speech2face.portrait import Portrait, reconstruct
from speech2face.provenance import comparison_facts, comparison_provenance, picture_bytes
from speech2face.sheets import FAINT_INK, GAP_PIXELS, INK, PAPER, write_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from speech2face.evaluation.readers import AppearanceReader
    from speech2face.models.attributes import AttributeModel

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

    def __init__(self, store: Store, record: GalleryRecord, folder: Path, address: str, stamp: Stamp) -> None:
        """`stamp` is that of the record before it was read."""
        self._store, self._folder, self._address, self._stamp = store, folder, address, stamp
        self.record = record
        """What is known of it beside its entries."""

    @classmethod
    def open(cls, place: str | Path, *, database: str | None = None) -> Gallery:
        """The gallery of a folder; `database` replaces the address that its record has (for a password, or a move).

        Raises:
            DatasetError: none, a damaged one, or its database cannot be reached or holds another gallery.
            MissingExtra: its backend is not installed.
        """
        folder, address = Path(place), database or ""
        stamp = _stamp(folder)  # before it is read: what comes in between is noticed
        record, store = _opened(folder, address)
        return cls(store, record, folder, address, stamp)

    def __len__(self) -> int:
        return len(self._current())

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self._store.__exit__(None, None, None)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that a filter may name, beside speaker, source, licence and consent."""
        return self._current().facts().labels

    def speakers(self) -> set[str]:
        """Everybody in it."""
        return set(self._current().people().values())

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
        top = whole_number("top", top, 1, MOST_HITS)
        store = self._current()
        probe = unit_rows(self._sized(face_embedding, 1)[None], "the numbers to search for")[0]
        found = store.search(probe, top, where)
        hits = tuple(
            Hit(rank, cosine, rank / found.of, entry) for rank, (entry, cosine) in enumerate(found.hits, start=1)
        )
        return Ranking(hits, found.of, (found.mean, found.sd), found.exact)

    def _current(self) -> Store:
        """The store as it is now, also where another process has changed it: nobody is found who was forgotten there.

        A store that changes its record with its entries, as files do, is opened anew where that was not done here.

        Raises:
            DatasetError: another gallery was built in its place, or it is gone.
        """
        stamp = _stamp(self._folder)
        if stamp != self._stamp:
            if read_record(Storage(self._folder)) != self.record:
                record, store = _opened(self._folder, self._address)
                if record.identity != self.record.identity:
                    store.__exit__(None, None, None)
                    raise DatasetError(f"another gallery was built in {self._folder} meanwhile; open it again")
                self._store.__exit__(None, None, None)
                self._store, self.record = store, record
            self._stamp = stamp
        return self._store

    def _sized(self, face_embedding: Floats, axes: int) -> Floats:
        size = self.record.space.size
        try:
            numbers = np.asarray(face_embedding)
            if numbers.dtype.kind != "f":
                numbers = numbers.astype(np.float64)
        except (TypeError, ValueError):
            found = described(face_embedding)
            raise InvalidOption(f"the face embedding is {found}; give an array of numbers") from None
        if numbers.ndim != axes or numbers.shape[-1:] != (size,):
            raise WeightsError(
                f"the gallery {self.record.name} holds face embeddings of {size} numbers, not of shape"
                f" {numbers.shape}; use the model or embedder it was built with"
            )
        return numbers

    def upsert(self, entries: Sequence[Entry], face_embeddings: Floats) -> Upserted:
        """Add entries with their embeddings (entries, K); an id that is there is replaced. All, or none of them.

        Raises:
            DatasetError: an entry without consent basis, one of somebody forgotten, an embedding without direction.
            WeightsError: embeddings of another size.
        """
        if len(entries) != len(face_embeddings):
            raise DatasetError(f"{len(entries)} entries came with {len(face_embeddings)} embeddings; give one each")
        store = self._current()
        tombstones = store.tombstones or Tombstones.new()
        for entry in entries:
            check_entry(entry)
            if tombstones.names(entry.speaker, entry.id):
                raise DatasetError(f"{entry.id} is of a speaker who was forgotten; leave it out")
        vectors = unit_rows(self._sized(face_embeddings, 2)) if len(entries) else None
        if vectors is None:
            return Upserted()
        with contextlib.closing(store.writer()) as writer:
            done = writer.put(entries, vectors)
            self.record = writer.finish()
        return done

    def delete(self, ids: Sequence[str]) -> int:
        """Remove entries; how many there were. They may come back: `forget` is for good.

        Raises:
            InvalidOption: one id alone, in place of a list.
        """
        ids = listed_names("the ids", ids)
        with contextlib.closing(self._current().writer()) as writer:
            removed = writer.remove(ids)
            if removed:
                self.record = writer.finish()
        return removed

    def forget(self, speakers: Sequence[str]) -> Erased:
        """Remove speakers for good: the tombstone comes first, and every later build honours it.

        Raises:
            InvalidOption: one name alone, in place of a list.
            CannotWrite, RunLocked, DatasetError: try it again; what the tombstone names stays out from now on.
        """
        speakers = listed_names("the speakers", speakers)
        people, named = dict(self._current().people()), set(speakers)
        before = self._store.forget(speakers, ()) or Tombstones.new()
        people |= self._current().people()  # who came meanwhile; from now on nobody of them can
        ids = [identity for identity, speaker in people.items() if speaker in named]
        self._store.forget((), ids)
        try:
            self.delete(ids)  # or another process that was writing has honoured the tombstone already
        except RunLocked as error:
            raise RunLocked(f"{error}, then forget again: the tombstones are written, the faces still there") from error
        everybody = set(people.values())
        unknown = tuple(name for name in speakers if name not in everybody and not before.has_speaker(name))
        return Erased(len(ids), tuple(sorted(everybody & named)), unknown, near_names(unknown, everybody - named))

    def honour(self, tombstones: Tombstones, named: Sequence[str] = ()) -> Erased:
        """Remove whoever another place's tombstones name, with their clips; `named` are those known by name."""
        names = list(dict.fromkeys([*named, *(name for name in self.speakers() if tombstones.has_speaker(name))]))
        done = self.forget(names) if names else Erased(0, (), (), {})
        clips = [identity for identity in self._current().people() if tombstones.has_clip(identity)]
        return replace(done, entries=done.entries + (self.delete(clips) if clips else 0))

    def index_facts(self) -> dict[str, Any] | None:
        """What its index is and how well it searches; None where every face is compared."""
        index = self._current().facts().index
        return None if index is None else dict(index)

    def facts(self) -> dict[str, Any]:
        """What is in it, JSON-ready."""
        record = self.record
        named = {"name": record.name, "backend": record.backend, "database": record.database}
        counted = {"entries": len(self), "speakers": len(self.speakers()), "forgotten": self.forgotten()}
        found = {"labels": list(self.labels), "index": self.index_facts(), "space": record.space.to_dict()}
        return named | counted | found

    def writer(self) -> Writer:
        """For many entries, some at a time; nothing is checked but their ids. `upsert` is for everyone else."""
        return self._current().writer()

    def forgotten(self) -> int:
        """How many speakers have a tombstone."""
        return len(self._store.tombstones or ())


Stamp = tuple[int, ...]


def _stamp(folder: Path) -> Stamp:
    """What is another with every change of a gallery's record; empty where there is none."""
    try:
        found = (folder / RECORD).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _opened(folder: Path, address: str) -> tuple[GalleryRecord, Store]:
    """Record and store of a gallery; a change that comes in between is read once more."""
    record = read_record(Storage(folder))
    try:
        return record, store_of(record.backend).open(folder, record, address)
    except DatasetError:
        again = read_record(Storage(folder))
        if again == record:
            raise
        return again, store_of(again.backend).open(folder, again, address)


def _of(space: Space) -> str:
    if space.embedder is None:
        return f"the reading of age and gender of {space.model_name} {space.model_version} ({space.size} numbers)"
    record = hashlib.sha256(json.dumps(space.embedder.to_dict(), sort_keys=True).encode()).hexdigest()[:8]
    return f"face embeddings of {space.embedder.kind} ({space.size} numbers, record {record})"


# --- From a recording to the faces of a gallery that are nearest to what its voice suggests.


@dataclass(frozen=True)
class Search:
    """What was found for a recording."""

    ranking: Ranking
    portrait: Portrait
    """What the voice suggests, as a picture."""
    gallery: dict[str, Any]
    """Name, size and how it is searched."""
    where: dict[str, str]
    limits: tuple[str, ...]
    """What must be said with the ranking."""

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        mean, sd = self.ranking.random_cosine
        hits = [
            {"rank": hit.rank, "cosine": round(hit.cosine, 5), "chance": round(hit.chance, 8)} | hit.entry.facts()
            for hit in self.ranking.hits
        ]
        return {
            "hits": hits,
            "ranked": self.ranking.of,
            "random": {"cosine_mean": round(mean, 5), "cosine_sd": round(sd, 5)},
            "exact": self.ranking.exact,
            "gallery": self.gallery,
            "filter": self.where,
            "given": self.portrait.given.to_dict(),
            "seconds_heard": round(self.portrait.seconds_heard, 2),
            "cautions": [{"code": each.code, "text": each.text} for each in self.portrait.cautions],
            "model": {"name": self.portrait.model_name, "version": self.portrait.model_version},
            "limits": list(self.limits),
        }


def search_gallery(
    gallery: Gallery,
    model: Model,
    recording: str | Path | bytes | BinaryIO | Recording,
    *,
    top: int = 10,
    where: Where | None = None,
    given: Given | None = None,
    progress: Tell = unheard,
) -> Search:
    """Rank a gallery's faces by how near they are to what a voice suggests; `progress` is told what is being done.

    Raises:
        WeightsError: the gallery was built with another model's face embeddings.
        Speech2FaceError: of the recording, the gallery and the options.
    """
    given = given or Given()
    space = space_of(model)
    gallery.check_space(space)
    progress("reading the recording", 0, None)
    heard = recording if isinstance(recording, Recording) else read_recording(recording)
    portrait = reconstruct(model, heard, given=given)
    progress("comparing faces", 0, None)
    ranking = gallery.search(probe_of(model, np.asarray(portrait.belief.mean)), top, where)
    record = gallery.record
    facts = {"name": record.name, "backend": record.backend, "entries": len(gallery), "index": gallery.index_facts()}
    return Search(ranking, portrait, facts, dict(where or {}), limits_of(space))


# --- Which numbers a model shares with photographs, for models that learned from pairs and for those that did not.

NOT_IDENTIFICATION = (
    "A ranking by likeness to what a voice suggests, not identification: it names nobody, and the speaker need not be"
    " in the gallery."
)
BY_ATTRIBUTES = (
    "This model knows no faces of its speakers: the ranking is by apparent age and gender alone, and faces of the same"
    " age and gender stand in no meaningful order."
)


def by_attributes(model: Model) -> AttributeModel | None:
    """The model where it speaks of faces by age and gender alone, which is what a reference population is for."""
    return cast("AttributeModel", model) if model.population else None


def space_of(model: Model) -> Space:
    """The space of the model's face embeddings, as far as photographs can be brought to it."""
    release: Any = model.release
    attributes = by_attributes(model)
    size, embedder = (attribute_size(attributes), None) if attributes else (release.embedding, release.embedder)
    return Space(size, embedder, release.name, release.version, sha256(release.folder / MANIFEST))


def open_face_embedder(model: Model, file: Path | None = None) -> PictureEmbedder:
    """What brings photographs to the model's space.

    Raises:
        WeightsError, MissingExtra: it is not at hand.
        InvalidOption: a weight file for a model that needs none.
    """
    attributes = by_attributes(model)
    if attributes is None:
        return model.face_embedder(file)[1]
    if file is not None:
        raise InvalidOption(f"{model.release.name} reads faces by its own appearance model; leave --embedder out")
    return AppearanceEmbedder(attributes)


def probe_of(model: Model, face_embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a voice suggests, the mean of a belief (K,), in the model's space."""
    attributes = by_attributes(model)
    return face_embedding if attributes is None else attribute_coordinates(attributes, face_embedding)


def limits_of(space: Space) -> tuple[str, ...]:
    """What must be said with every ranking."""
    return (NOT_IDENTIFICATION,) if space.embedder is not None else (NOT_IDENTIFICATION, BY_ATTRIBUTES)


# --- A gallery for a model that never saw its speakers' faces: photographs and voices meet in apparent age and gender.
# The starter's face embedding holds coordinates of age, gender and group, and residuals that no voice tells. Of these
# a photograph can be read for age and gender (`evaluation/readers.py`, whose limits hold here too);
# the group is never read off a face, and residuals are zero in what a voice suggests. So the shared numbers are the
# coordinates of age and gender, each in units of how far adults differ in it, and a constant: beside a large constant
# the cosine ranks as the distance does, where directions alone would call everybody near the middle unlike.

AGES = np.arange(18.0, 81.0)
CONSTANT = 10.0  # the coordinates of an adult are about 2.6 long together


def attribute_size(model: AttributeModel) -> int:
    """How many coordinates age and gender fix, and the constant."""
    return int(_centre_and_scale(model)[0].size) + 1


def attribute_coordinates(model: AttributeModel, face_embedding: NDArray[np.floating]) -> NDArray[np.float32]:
    """Those of a face embedding (K,), around the middle of adults and in units of their spread."""
    centre, scale = _centre_and_scale(model)
    return np.append((face_embedding[: centre.size] - centre) / scale, CONSTANT).astype(np.float32)


def _centre_and_scale(model: AttributeModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of all adult ages and both genders, (coordinates,) each."""
    basis = model.release.population.basis
    even = basis.even_groups
    whole = basis.design(AGES[:, None], np.array([[0.0, 1.0]]), even)[..., : -len(basis.groups)]
    designs = np.asarray(whole, np.float64).reshape(-1, whole.shape[-1])
    return designs.mean(0), np.maximum(designs.std(0), 1e-3)


class AppearanceEmbedder:
    """Reads the coordinates of age and gender off a photograph."""

    def __init__(self, model: AttributeModel, reader: AppearanceReader | None = None) -> None:
        """
        Raises:
            MissingExtra: what finds landmarks is not installed.
        """
        if reader is None:
            try:
                from speech2face.evaluation.readers import AppearanceReader
            except ImportError as error:
                raise MissingExtra(
                    f"reading age and gender off photographs needs the extras 'eval' and 'faces' ({error.name} is"
                    " missing)",
                    *("eval", "faces"),
                ) from error
            reader = AppearanceReader(model.release.folder)
        self._model, self._reader = model, reader
        self.size = attribute_size(model)

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The coordinates (size,) of the face that is found, or None."""
        reading = self._reader.read(picture)
        if reading is None or reading.age is None or reading.femininity is None:
            return None
        basis = self._model.release.population.basis
        even = basis.even_groups
        return attribute_coordinates(self._model, basis.design(reading.age, reading.femininity, even))


# --- A ranking as one picture: what the voice suggests, then the gallery's nearest faces, each labelled as what it is.

PICTURE_PIXELS = 192
CAPTION_PIXELS = 78
SEARCH_HEADER_PIXELS, FOOTER_LINE_PIXELS = 64, 18
COLUMNS = 4
MOST_PICTURES = 40
NO_PICTURE = (228, 228, 228)
BESIDE_IT = "The first face is synthetic, the others are pictures of the gallery's own."
FROM_THE_GALLERY = "from the gallery, not the speaker"


def chance_text(chance: float) -> str:
    """A probability as a share one can picture: "1 in 250"."""
    return "certain" if chance >= 1 else f"1 in {1 / chance:,.0f}" if chance <= 0.05 else f"{chance:.0%}"


def captions(hit: Hit) -> tuple[str, str, str, str]:
    """Four lines under a face: what it is, rank, similarity and what a random order gives, whose it is."""
    return (
        FROM_THE_GALLERY,
        f"rank {hit.rank}   similarity {hit.cosine:.3f}",
        f"by chance this far up: {chance_text(hit.chance)}",
        hit.entry.speaker,
    )


def search_sheet_png(search: Search) -> bytes:
    """The sheet as a labelled PNG: a synthetic portrait, and beside it the gallery's own pictures if it keeps any."""
    shown = sum(bool(hit.entry.thumbnail) for hit in search.ranking.hits[:MOST_PICTURES])
    portrait = search.portrait
    provenance = comparison_provenance(
        model_name=portrait.model_name,
        model_version=portrait.model_version,
        notice=" ".join((portrait.notice, *([BESIDE_IT] if shown else []), *search.limits)),
        photographs=shown > 0,
    )
    facts = comparison_facts("Faces of a gallery nearest to what a voice suggests", synthetic=1, photographs=shown)
    return picture_bytes(draw_search_sheet(search), provenance, facts, small=True)


def draw_search_sheet(search: Search) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB; at most MOST_PICTURES faces are shown."""
    from PIL import Image, ImageDraw

    hits = search.ranking.hits[:MOST_PICTURES]
    cell, row_pixels = PICTURE_PIXELS + GAP_PIXELS, PICTURE_PIXELS + CAPTION_PIXELS + GAP_PIXELS
    width = COLUMNS * cell + GAP_PIXELS
    footer = [line for text in _footer(search) for line in textwrap.wrap(text, 112)]
    rows = -(-(len(hits) + 1) // COLUMNS)
    height = SEARCH_HEADER_PIXELS + rows * row_pixels + FOOTER_LINE_PIXELS * len(footer) + GAP_PIXELS
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_line(draw, (GAP_PIXELS, 12), "Faces of the gallery nearest to what the voice suggests", width, size=20)
    write_line(draw, (GAP_PIXELS, 38), _title(search), width, FAINT_INK, size=14)
    suggested = ("synthetic: what the voice suggests", "what the ranking is by", "", "")
    cells = [(Image.fromarray(search.portrait.image), suggested)]
    cells += [(_picture(hit.entry.thumbnail), captions(hit)) for hit in hits]
    for index, (picture, lines) in enumerate(cells):
        left = GAP_PIXELS + index % COLUMNS * cell
        top = SEARCH_HEADER_PIXELS + index // COLUMNS * row_pixels
        sheet.paste(picture.resize((PICTURE_PIXELS,) * 2, Image.Resampling.LANCZOS), (left, top))
        for number, text in enumerate(lines):
            below = top + PICTURE_PIXELS + 3 + 18 * number
            ink = INK if number < 2 else FAINT_INK
            write_line(draw, (left, below), text, PICTURE_PIXELS, ink, size=13)
    for number, text in enumerate(footer):
        below = height - GAP_PIXELS // 2 - FOOTER_LINE_PIXELS * (len(footer) - number)
        write_line(draw, (GAP_PIXELS, below), text, width - 2 * GAP_PIXELS, FAINT_INK, size=13)
    return np.asarray(sheet)


def _title(search: Search) -> str:
    kept = ", ".join(f"{name}={value}" for name, value in search.where.items())
    of = f"{search.ranking.of:,} faces" + (f" with {kept}" if kept else "")
    how = "every face compared" if search.ranking.exact else "searched by an index"
    return f"{search.gallery['name']}: {of}, {how}; {search.portrait.seconds_heard:.1f} s of speech heard"


def _footer(search: Search) -> tuple[str, ...]:
    mean, sd = search.ranking.random_cosine
    random = f"Similarity is the cosine of two face embeddings; a random face of it has {mean:.3f} +- {sd:.3f}."
    return (*search.limits, random)


def _picture(thumbnail: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(thumbnail), formats=("JPEG",)) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError):
        return Image.new("RGB", (PICTURE_PIXELS,) * 2, NO_PICTURE)
