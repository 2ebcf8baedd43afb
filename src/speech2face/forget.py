"""Remove speakers from a data set and from all that was copied from it, so that no later run brings them back.

The tombstone is written first and everything after follows from it: forgetting that was interrupted is finished by
forgetting again. A shard is rewritten from its own bytes: what is left is what a shard without the speaker would be.
What the disk or the store keeps of replaced files (snapshots, versions, unused blocks) is beyond this program.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

import numpy as np

from speech2face.console import Tell, unheard
from speech2face.data.manifest import (
    COLUMNS,
    END_OF_ARCHIVE,
    MANIFEST,
    Manifest,
    ShardRecord,
    read_columns,
    read_manifest,
)
from speech2face.data.record import (
    MORPH_OF,
    SUFFIX,
    TOMBSTONES,
    Tombstones,
    near_names,
    numbers_mark,
    read_tombstones,
    write_tombstones,
)
from speech2face.data.session import JOURNAL, publish, read_record
from speech2face.data.shards import check_caches, remove_copies, stored_clips
from speech2face.data.storage import NewFile, Storage, locked_data
from speech2face.errors import CannotWrite, DatasetError, InvalidOption, SpeakerNotForgotten, need_extra
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import listed_names, load_npz
from speech2face.outputs import check_outputs, decode_csv, encode_csv, write_together

if TYPE_CHECKING:
    from speech2face.gallery.gallery import Gallery

# --- What was made of a data set: everything that states the SHA-256 of its manifest, and what was made of that.

TEXTS = (".json", ".md", ".jsonl", ".toml")  # records, cards, statements
TENSORS = (".safetensors", ".sums")  # checkpoints and sums over people state it in their metadata
_MOST_TEXT_BYTES = 2**25
_DIGEST_LENGTH = struct.Struct("<Q")  # of a safetensors header, before it


@dataclass(frozen=True)
class Trace:
    """A file that says it was made of a data set."""

    path: Path
    manifest_sha256: str
    """The manifest it names."""


def trained_on(folders: Sequence[Path], manifests: Sequence[str], marks: Sequence[str] = ()) -> tuple[Trace, ...]:
    """The checkpoints, releases, sums and derived data sets in these folders, at any depth, made of one of these data
    sets.

    A derived data set (morphs) counts with its own manifest: what was trained on that is found too. Sums, and what was
    learned from them, that bear the `marks` of everybody forgotten had them taken off, and are not named.

    Raises:
        DatasetError: a folder is not there.
    """
    texts = {path: text for folder in folders for path, text in _statements(folder)}
    wanted, found = list(manifests), dict[Path, Trace]()
    for sha256 in wanted:  # grows while it is gone through
        for path, text in texts.items():
            clean = bool(marks) and all(mark.encode() in text for mark in marks)
            if path not in found and sha256.encode() in text and not clean:
                found[path] = Trace(path, sha256)
                if path.name == MANIFEST:
                    wanted.append(hashlib.sha256(text).hexdigest())
    return tuple(found[path] for path in sorted(found))


def check_models(folders: Sequence[Path]) -> None:
    """Read once what `trained_on` will read, so that what cannot be read is said before anything is removed.

    Raises:
        DatasetError: a folder is not there, or something in it cannot be read.
    """
    for folder in folders:
        for _ in _statements(folder):
            pass


def _statements(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file that may name a manifest, and the part of it that does."""
    if not os.path.isdir(folder):
        raise DatasetError(f"{folder} is no folder; name one that holds trainings or releases")
    seen = set()
    for parent, below, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        if (place := os.path.realpath(parent)) in seen:  # a link back
            below.clear()
            continue
        seen.add(place)
        for name in sorted(names):
            path = Path(parent) / name
            try:
                if path.suffix in TENSORS:
                    yield path, _header(path)
                elif path.suffix in TEXTS and name != TOMBSTONES and path.stat().st_size <= _MOST_TEXT_BYTES:
                    yield path, path.read_bytes()
            except OSError as error:
                raise DatasetError(f"cannot read {path}: {error.strerror}; it may be concerned") from error


def _refuse_folder(error: OSError) -> NoReturn:
    raise DatasetError(f"cannot read {error.filename}: {error.strerror}; what is in it may be concerned") from error


def _header(path: Path) -> bytes:
    """The JSON at the beginning of a safetensors file."""
    with path.open("rb") as file:
        length = file.read(_DIGEST_LENGTH.size)
        if len(length) < _DIGEST_LENGTH.size:
            return b""
        return file.read(min(_DIGEST_LENGTH.unpack(length)[0], _MOST_TEXT_BYTES))


_CLIP, _SPEAKER, _OFFSET, _LENGTH = (COLUMNS.index(name) for name in ("clip", "speaker", "offset", "length"))


@dataclass(frozen=True)
class Forgotten:
    """What forgetting did."""

    clips: int
    shards: tuple[str, ...]
    """Rewritten, or removed where no clip was left."""
    tables: tuple[str, ...]
    """CSVs (rejects, duplicates) that named them."""
    unknown: tuple[str, ...]
    """Speakers of whom there was nothing, now or earlier; they have a tombstone all the same."""
    near: dict[str, tuple[str, ...]]
    """Speakers whose names are like these."""
    cached: tuple[Path, ...]
    """Copies of shards that were removed."""
    galleries: tuple[Path, ...]
    """Files of galleries that were rewritten."""
    models: tuple[Trace, ...]
    """What was made of data that held somebody forgotten, now or earlier."""
    manifest_sha256: str | None
    """Of the data set as it is now; None where nothing is left, or it was not finished."""


def forget(
    place: str | Path,
    speakers: Sequence[str] = (),
    *,
    caches: Sequence[Path] = (),
    galleries: Sequence[Path] = (),
    models: Sequence[Path] = (),
    progress: Tell = unheard,
) -> Forgotten:
    """Remove speakers; without any, finish what was interrupted and clean further copies.

    `progress` is called with what is counted, how many are done and of how many, None where nobody knows.

    Raises:
        DatasetError: the folder holds no data, or is damaged, or a copy cannot be read; nothing was changed.
        RunLocked: it is being prepared.
        CannotWrite: no room, no permission; run it again afterwards.
        InvalidOption: one name alone, in place of a list; nobody was forgotten yet, and nobody is named.
    """
    speakers = listed_names("the speakers", speakers)
    need_extra("forgetting in a data set", "train", ("jinja2",))  # its statement is written anew, at the very end
    storage = Storage(place)
    _check_data(storage)
    progress("looking through copies and models", 0, None)
    check_caches(caches)
    check_galleries(galleries)
    check_models(models)
    with locked_data(storage):
        before = read_tombstones(storage)
        if before is None and not speakers:
            raise InvalidOption(f"nobody was forgotten in {storage} yet; name a speaker")
        erasure = _Erasure(storage, (before or Tombstones.new()).with_speakers(speakers), speakers, progress)
        erasure.run()
        tombstones = erasure.tombstones
    progress("cleaning copies, looking through models", 0, None)
    removed = {path: clean_gallery(path, tombstones, speakers) for path in galleries}
    met = erasure.met.union(*({tombstones.hash("speaker", name) for name in names} for names in removed.values()))
    known = met if before is None else met | before.speakers
    unknown = tuple(name for name in speakers if tombstones.hash("speaker", name) not in known)
    return Forgotten(
        clips=erasure.clips,
        shards=tuple(erasure.shards),
        tables=tuple(erasure.tables),
        unknown=unknown,
        near=near_names(unknown, erasure.others),
        cached=tuple(remove_copies(caches, tombstones.shards)),
        galleries=tuple(path for path, names in removed.items() if names),
        models=trained_on(models, tombstones.manifests, tombstones.marks),
        manifest_sha256=erasure.manifest_sha256,
    )


def _check_data(storage: Storage) -> None:
    if storage.local is not None and not os.path.isdir(storage.local):
        raise DatasetError(f"there is no folder {storage}; name one that holds a data set")
    if storage.local is not None and not os.access(storage.local, os.R_OK | os.X_OK):
        raise DatasetError(f"cannot read {storage}: no permission")
    if storage.local is not None and not os.access(storage.local, os.W_OK):
        raise CannotWrite(f"cannot change {storage}: no permission")
    begun = (MANIFEST, JOURNAL, TOMBSTONES)
    if not any(name in begun or name.endswith((".tar", SUFFIX)) for name in storage.names()):
        raise DatasetError(f"{storage} holds no data set and none that was begun")


# --------------------------------------------------------------------------------------------------
# The file of numbers that `learn` keeps beside its data (learning/features.py): rows of clips, and whose they are.
# --------------------------------------------------------------------------------------------------

FEATURES_SUFFIX = ".features.npz"


def without_owners(content: bytes, forgotten: Callable[[str, str], bool]) -> bytes | None:
    """The file without the clips of which `forgotten` says so, by speaker and clip; None where it cannot be read.

    A file that cannot be read is better gone: learning makes it anew.
    """
    try:
        arrays = load_npz(io.BytesIO(content))
        owner, digest, rejected = (arrays[name] for name in ("owner", "digest", "rejected"))
        gone = {str(key) for key, speaker, clip in owner if forgotten(str(speaker), str(clip))}
        if not gone:
            return content
        row_stays = np.array([str(key) not in gone for key in digest], bool)
        for name, values in arrays.items():
            if name not in ("owner", "digest", "rejected") and values.ndim and len(values) == len(digest):
                arrays[name] = values[row_stays]
        arrays["digest"] = digest[row_stays]
        arrays["owner"] = owner[[str(key) not in gone for key in owner[:, 0]]]
        arrays["rejected"] = rejected[[str(key) not in gone for key in rejected[:, 0]]]
    except (ValueError, KeyError, IndexError):
        return None
    sink = io.BytesIO()
    np.savez(sink, **arrays)  # type: ignore[arg-type]
    return sink.getvalue()


def marks_of(contents: Iterable[bytes], forgotten: Callable[[str, str], bool]) -> dict[str, str]:
    """`numbers_mark` of each forgotten speaker in files of numbers; what cannot be read says nothing."""
    digests: dict[str, set[str]] = {}
    for content in contents:
        with contextlib.suppress(ValueError, KeyError, IndexError):
            arrays = load_npz(io.BytesIO(content))
            learned = set(arrays["digest"].tolist())
            for digest, speaker, clip in arrays["owner"].tolist():
                if digest in learned and forgotten(speaker, clip):
                    digests.setdefault(speaker, set()).add(digest)
    return {speaker: numbers_mark(found) for speaker, found in digests.items()}


def made_of_one(tombstones: Tombstones, made_of: str) -> bool:
    """Whether one of the clips that a face was made of, by their keys, is of somebody forgotten."""
    return any(map(tombstones.has_clip, made_of.split()))


class _Erasure:
    """One run over a folder that is held."""

    def __init__(self, storage: Storage, tombstones: Tombstones, speakers: Sequence[str], progress: Tell) -> None:
        self.tombstones, self._storage, self._progress = tombstones, storage, progress
        self.clips = 0
        self.shards: list[str] = []
        self.tables: list[str] = []
        self.met: set[str] = set()
        """Hashes of the named speakers of whom there is something."""
        self.others: set[str] = set()
        """Speakers who stay."""
        self.manifest_sha256: str | None = None
        self._names = storage.names()
        self._morphs: list[tuple[str, str, str]] = []
        """Table, clip and keys of whose faces it was made."""
        self._speakers = {tombstones.hash("speaker", name) for name in speakers}
        self._named = speakers

    def run(self) -> None:
        """Tombstone, tables, shards, manifest: in this order."""
        manifest = self._storage.read(MANIFEST) if MANIFEST in self._names else None
        listed = [] if manifest is None else read_manifest(manifest, self._storage.where(MANIFEST)).shards
        shards, halves = self._shards(listed)
        naming_one = {name for name in self._each(shards, "indexes read") if self._note_clips(f"{name}.csv")}
        naming_one |= {table.removesuffix(".csv") for table in self._note_morphs()}
        holding = [name for name in shards if name in naming_one]
        tables = [name for name in self._names if name.endswith(".csv") and name.removesuffix(".csv") not in shards]
        for name in tables:
            self._note_clips(name)
        naming = [name for name in tables if any(map(self._names_one, _rows(self._storage, name)[1:]))]
        if manifest is not None and (holding or not self.tombstones.finished):
            replaced = self._replaced(listed, holding)
            self.tombstones = self.tombstones.with_manifest(hashlib.sha256(manifest).hexdigest()).with_shards(replaced)
        self._mark()
        self.tombstones = replace(self.tombstones, finished=not (holding or naming) and self.tombstones.finished)
        write_tombstones(self._storage, self.tombstones)
        for tar in halves:
            self._storage.remove(tar)
        for name in naming:
            self._clean_table(name)
        self._clean_features()
        for name in self._each(holding, "shards cleaned"):
            self._clean_shard(name)
        if not self.tombstones.finished:
            self._republish(manifest, listed)
            self.tombstones = replace(self.tombstones, finished=True)
            write_tombstones(self._storage, self.tombstones)

    def _mark(self) -> None:
        """Note the marks of who goes. Without the file of numbers a mark is noted that nothing can bear."""
        files = [name for name in self._names if name.endswith(FEATURES_SUFFIX)]
        found = marks_of((self._storage.read(name) for name in files), self.tombstones.names)
        unknown = () if files else (self.tombstones.hash("speaker", name) for name in self._named)
        self.tombstones = self.tombstones.with_marks((*found.values(), *unknown))

    def _each(self, names: Sequence[str], what: str) -> Iterator[str]:
        """The names, each counted once it is done with."""
        for number, name in enumerate(names, 1):
            yield name
            self._progress(what, number, len(names))

    def _clean_features(self) -> None:
        """The numbers of the forgotten in the file that learning keeps beside its data; those of others stay."""
        for name in self._names:
            if name.endswith(FEATURES_SUFFIX):
                content = self._storage.read(name)
                kept = without_owners(content, self.tombstones.names)
                if kept is None:
                    self._storage.remove(name)
                elif kept != content:
                    self._storage.write(name, kept)

    def _shards(self, listed: Sequence[ShardRecord]) -> tuple[list[str], list[str]]:
        """Names of shards, and files of those that a killed run left without index: they are prepared anew some day."""
        tars = [name for name in self._names if name.endswith(".tar")]
        known = {record.file for record in listed}
        halves = [tar for tar in tars if f"{tar.removesuffix('.tar')}.csv" not in self._names and tar not in known]
        return [tar.removesuffix(".tar") for tar in tars if tar not in halves], halves

    def _replaced(self, listed: Sequence[ShardRecord], holding: Sequence[str]) -> list[str]:
        """SHA-256 of shards that hold somebody, or did before a run that was interrupted."""
        sizes = self._storage.sizes([record.file for record in listed])
        return [
            record.sha256
            for record, size in zip(listed, sizes, strict=True)
            if size != record.bytes or record.file.removesuffix(".tar") in holding
        ]

    def _note_clips(self, table: str) -> bool:
        """Whether a CSV has a forgotten speaker; their clips get tombstones of their own."""
        rows = _rows(self._storage, table)
        header = rows[0] if rows else []
        who = [number for number, name in enumerate(header) if "speaker" in name]
        which = next((number for number, name in enumerate(header) if name in ("clip", "key")), None)
        if which is not None and MORPH_OF in header:
            made = header.index(MORPH_OF)
            self._morphs += [(table, row[which], row[made]) for row in rows[1:] if len(row) > made and row[made]]
        gone: dict[str, bool] = {}
        keys, named = [], False
        for row in rows[1:]:
            for speaker in (row[column] for column in who if column < len(row)):
                if speaker not in gone:
                    gone[speaker] = self.tombstones.has_speaker(speaker)
                    if gone[speaker]:
                        self.met |= {self.tombstones.hash("speaker", speaker)} & self._speakers
                    else:
                        self.others.add(speaker)
                if gone[speaker]:
                    named = True
                    # A row of two clips says elsewhere whose each is, and one that is cut off names none.
                    if which is not None and len(who) == 1 and which < len(row):
                        keys.append(row[which])
        self.tombstones = self.tombstones.with_clips(keys)
        return named

    def _note_morphs(self) -> set[str]:
        """Tables with faces that were made of a forgotten speaker's, which get tombstones as these have.

        Called when all clips of the speakers are known: a morph may lie in a shard before them.
        """
        found = [(table, key) for table, key, made_of in self._morphs if made_of_one(self.tombstones, made_of)]
        self.tombstones = self.tombstones.with_clips(key for _, key in found)
        return {table for table, _ in found}

    def _clean_table(self, name: str) -> None:
        header, *rows = _rows(self._storage, name)
        if tuple(header[: len(COLUMNS)]) == COLUMNS:  # an index whose shard is gone already
            self._storage.remove(name)
        else:
            self._storage.write(name, encode_csv([header, *(row for row in rows if not self._names_one(row))]))
        self.tables.append(name)

    def _names_one(self, row: Iterable[str]) -> bool:
        return any(self.tombstones.names(cell, cell) for cell in row)

    def _clean_shard(self, name: str) -> None:
        """Copy the clips that stay, then their index: one that is older than its shard names all that is in it."""
        storage, tar, index = self._storage, f"{name}.tar", f"{name}.csv"
        header, *rows = _rows(storage, index)
        row_of = {row[_CLIP]: row for row in rows}
        kept: list[list[str]] = []
        with NewFile(storage, tar) as new:
            with storage.open(tar) as file:
                for clip in stored_clips(file, storage.where(tar)):
                    if self.tombstones.names(clip.speaker, clip.key):
                        self.clips += 1
                        continue
                    if clip.key not in row_of:
                        raise DatasetError(f"{storage.where(index)} does not name clip {clip.key}; prepare it anew")
                    row = list(row_of[clip.key])
                    row[_OFFSET : _LENGTH + 1] = str(new.bytes), str(len(clip.span))
                    kept.append(row)
                    new.write(clip.span)
            if kept:
                new.write(END_OF_ARCHIVE)
                new.finish()
                storage.write(index, encode_csv([header, *kept]))
        if not kept:
            storage.remove(tar)
            storage.remove(index)
        self.shards.append(name)

    def _republish(self, manifest: bytes | None, listed: Sequence[ShardRecord]) -> None:
        """The manifest of what is left, or none; and nothing that still counts on the old shards."""
        storage = self._storage
        storage.remove(JOURNAL)
        if manifest is None:
            return
        sizes = storage.sizes([record.file for record in listed])
        left: list[ShardRecord] = []
        for before, size in zip(listed, sizes, strict=True):
            if size == before.bytes:
                left.append(before)
            elif size is not None:
                left.append(read_record(storage, before.file.removesuffix(".tar")))
        if not left:
            storage.remove(MANIFEST)
            return
        stated = read_manifest(manifest, storage.where(MANIFEST))
        record = None if stated.embedder is None else EmbedderRecord.from_dict(stated.embedder)
        self.manifest_sha256 = publish(storage, left, record, before=stated.statement).sha256


def _rows(storage: Storage, name: str) -> list[list[str]]:
    try:
        return decode_csv(storage.read(name))
    except ValueError as error:
        raise DatasetError(f"{storage.where(name)} is no CSV ({error}); what it names cannot be told") from error


# --- Prove from the bytes that a data set is what its manifest says, and that nobody forgotten is left in it.


@dataclass(frozen=True)
class Verified:
    """What was read, all of it in order."""

    shards: int
    clips: int
    bytes: int
    tables: int
    """CSVs beside the shards' indexes."""
    forgotten: int
    """Speakers with a tombstone, of whom nothing was found."""
    manifest_sha256: str


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.digest.update(content)
        return content


def verify_data(place: str | Path, progress: Tell | None = None) -> Verified:
    """Read every byte: checksums, each clip against its index, every name against the tombstones.

    Raises:
        DatasetError: something is missing, changed, or not where it belongs; names the file.
        SpeakerLeak: a speaker is in two splits.
        SpeakerNotForgotten: something of a forgotten speaker is left, or may be.
    """
    storage = Storage(place)
    tombstones = read_tombstones(storage) or Tombstones.new()
    if not tombstones.finished:
        raise SpeakerNotForgotten(
            f"{storage}: forgetting was interrupted; finish it: speech2face data forget --data {storage}"
        )
    manifest = Manifest.open(place)
    names = storage.names()
    _check_strangers(storage, manifest, names)
    clips = 0
    for number, shard in enumerate(manifest.shards):
        clips += _verify_shard(storage, shard, tombstones, manifest.labels)
        if progress is not None:
            progress("shards read", number + 1, len(manifest.shards))
    indexes = {shard.index for shard in manifest.shards}
    tables = [name for name in names if name.endswith(".csv") and name not in indexes]
    for name in tables:
        _verify_table(storage, name, tombstones)
    return Verified(
        shards=len(manifest.shards),
        clips=clips,
        bytes=sum(shard.bytes for shard in manifest.shards),
        tables=len(tables),
        forgotten=len(tombstones),
        manifest_sha256=manifest.sha256,
    )


def _check_strangers(storage: Storage, manifest: Manifest, names: list[str]) -> None:
    """Files of clips that the manifest does not know may hold anybody."""
    known = {shard.file for shard in manifest.shards}
    strangers = [name for name in names if name.endswith(".tar") and name not in known]
    if storage.local is not None:
        strangers += sorted(path.name for path in storage.local.glob(".speech2face-*"))
    if strangers:
        raise DatasetError(
            f"{storage.where(strangers[0])} is not in the {MANIFEST}: a preparation is running or was stopped; "
            "finish it, or remove the file"
        )


def _verify_shard(storage: Storage, shard: ShardRecord, tombstones: Tombstones, labels: tuple[str, ...]) -> int:
    where = storage.where(shard.file)
    index = storage.read(shard.index)
    names = ("clip", "speaker", "split", "offset", "length")
    rows = zip(*read_columns(index, names, labels, storage.where(shard.index)), strict=True)
    offset = count = 0
    with storage.open(shard.file) as opened:
        file = _Hashed(opened)
        for clip in stored_clips(cast(BinaryIO, file), where):
            labels = clip.facts["labels"]
            made_of = str(labels.get(MORPH_OF) or "") if isinstance(labels, dict) else ""
            if tombstones.names(clip.speaker, clip.key) or made_of_one(tombstones, made_of):
                raise SpeakerNotForgotten(
                    f"{where} still holds clip {clip.key} of somebody forgotten; forget the speaker again"
                )
            here = (clip.key, clip.speaker, clip.facts["split"], str(offset), str(len(clip.span)))
            if next(rows, None) != here:
                raise DatasetError(f"{where}: clip {clip.key} is not what its index says; prepare the shard anew")
            offset, count = offset + len(clip.span), count + 1
    if next(rows, None) is not None:
        raise DatasetError(f"{where} has fewer clips than its index; prepare the shard anew")
    if file.digest.hexdigest() != shard.sha256:
        raise DatasetError(
            f"{where} has been changed or damaged: its SHA-256 is {file.digest.hexdigest()}, the manifest says "
            f"{shard.sha256}; copy it again or prepare it anew"
        )
    return count


def _verify_table(storage: Storage, name: str, tombstones: Tombstones) -> None:
    where, rows = storage.where(name), _rows(storage, name)
    if rows and tuple(rows[0][: len(COLUMNS)]) == COLUMNS:
        raise DatasetError(f"{where} is the index of a shard that is not in the {MANIFEST}; remove it")
    for line, row in enumerate(rows, start=1):
        if any(tombstones.names(cell, cell) for cell in row):
            raise SpeakerNotForgotten(f"{where}, line {line}, names somebody forgotten; forget the speaker again")


# --- Faces by speaker, copied from a data set to be searched: files of rows and galleries; those of the forgotten go.

SPEAKER = "speaker"
CLIP = "clip"


def check_galleries(paths: Sequence[Path]) -> None:
    """Refuse files that could not be cleaned, before anything is removed anywhere.

    Raises:
        DatasetError, CannotWrite: as `clean_gallery`.
    """
    files = [path for path in paths if not os.path.isdir(path)]
    for path in paths:
        if os.path.isdir(path):
            _open(path).close()
        else:
            _without(path, Tombstones.new())
    check_outputs(files, force=True)


def clean_gallery(path: Path, tombstones: Tombstones, named: Sequence[str] = ()) -> frozenset[str]:
    """Remove forgotten speakers from a gallery's folder, or from a table (.csv) or arrays (.npz) with a `speaker` for
    each row; whose faces went.

    A gallery, whatever its backend, keeps tombstones of its own: of those it held, and of `named`. Arrays as long as
    `speaker` are rows of the same gallery; others are kept as they are.

    Raises:
        DatasetError: a file of another kind, or one that does not say whose its rows are.
        CannotWrite: no room, no permission.
    """
    if os.path.isdir(path):
        with _open(path) as gallery:
            return frozenset(gallery.honour(tombstones, named).speakers)
    content, removed = _without(path, tombstones)
    if removed:
        write_together({path: content}, force=True)
    return removed


def _open(path: Path) -> Gallery:
    from speech2face.gallery.gallery import Gallery  # it needs this package

    return Gallery.open(path)


def _without(path: Path, tombstones: Tombstones) -> tuple[bytes, frozenset[str]]:
    """The file without the forgotten, and who these were."""
    if not os.path.isfile(path):
        raise DatasetError(f"there is no gallery {path}")
    try:
        if path.suffix == ".csv":
            return _clean_csv(path, tombstones)
        if path.suffix == ".npz":
            return _clean_npz(path, tombstones)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    raise DatasetError(f"{path} is no gallery this program can clean (.csv, .npz); make it anew from the data")


def _clean_csv(path: Path, tombstones: Tombstones) -> tuple[bytes, frozenset[str]]:
    try:
        rows = decode_csv(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path} is no CSV: {error}") from error
    if not rows or SPEAKER not in rows[0]:
        raise DatasetError(f"{path} has no column {SPEAKER!r}; make the gallery anew from the data")
    who, which = rows[0].index(SPEAKER), rows[0].index(CLIP) if CLIP in rows[0] else None
    kept, removed = [rows[0]], set()
    for number, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(rows[0]):
            raise DatasetError(f"{path}, row {number}: {len(row)} cells where the head has {len(rows[0])}; mend it")
        if row and tombstones.names(row[who], None if which is None else row[which]):
            removed.add(row[who])
        else:
            kept.append(row)
    return encode_csv(kept), frozenset(removed)


def _clean_npz(path: Path, tombstones: Tombstones) -> tuple[bytes, frozenset[str]]:
    try:
        arrays = load_npz(path)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} is no file of arrays: {error}") from error
    speakers = arrays.get(SPEAKER)
    if speakers is None or speakers.ndim != 1 or speakers.dtype.kind != "U":
        raise DatasetError(f"{path} has no text array {SPEAKER!r} with a name for each row; make the gallery anew")
    clips = arrays.get(CLIP)
    keys = [None] * len(speakers) if clips is None or clips.shape != speakers.shape else clips.tolist()
    stays = np.array([not tombstones.names(*row) for row in zip(speakers.tolist(), keys, strict=True)], bool)
    sink = io.BytesIO()
    rows: dict[str, Any] = {}
    for name, array in arrays.items():
        rows[name] = array[stays] if array.shape[:1] == stays.shape else array
    np.savez(sink, **rows)
    return sink.getvalue(), frozenset(speakers[~stays].tolist())
