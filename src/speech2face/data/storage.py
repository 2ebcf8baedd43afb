"""The folder a data set lies in: on this machine or behind an fsspec URL, with the same few actions for both."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from filelock import lock_descriptor

from speech2face.errors import CannotWrite, DatasetError, MissingExtra, RunLocked, Speech2FaceError
from speech2face.inputs import file_size
from speech2face.outputs import TEMPORARY_PREFIX, put_in_place, sha256

Result = TypeVar("Result")
FILES_AT_ONCE = 256  # small ones that are read together: bounds memory, and hides the delay of object stores
_READ_AT_ONCE = 2**24  # bytes of a large file


class Storage:
    """Files of one folder, by name. Holds nothing open: safe to fork and to pickle."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        text = os.fspath(place)
        self.local: Path | None = None
        if "://" not in text:
            self.local = Path(text)
        elif text.startswith(("file://", "local://")):
            self.local = Path(text.split("://", 1)[1])
        self.name = str(self.local) if self.local is not None else text.rstrip("/")

    def __str__(self) -> str:
        return self.name

    def where(self, name: str) -> str:
        """Return a file's path or URL, as it is shown in messages."""
        return str(self.local / name) if self.local is not None else f"{self.name}/{name}"

    @functools.cached_property
    def _remote(self) -> tuple[Any, str]:
        """The fsspec file system and the folder's path in it."""
        import fsspec.core  # slow to import, and not needed for local folders

        try:
            return cast(tuple[Any, str], fsspec.core.url_to_fs(self.name))
        except ImportError as error:
            raise MissingExtra(f"{self.name} needs a package that is not installed: {error}") from error
        except ValueError as error:
            raise DatasetError(f"{self.name} is no folder and no URL fsspec knows: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_remote"}

    @contextlib.contextmanager
    def _explained(self, name: str, what: str = "read", kind: type[Speech2FaceError] = DatasetError) -> Iterator[None]:
        """Name the file in whatever an operating system or an object store raises; every store has its own classes."""
        try:
            yield
        except Speech2FaceError:
            raise
        except Exception as error:
            why = error.strerror if self.local is not None and isinstance(error, OSError) else None
            raise kind(f"cannot {what} {self.where(name)}: {why or f'{type(error).__name__}: {error}'}") from error

    def _asked(self, name: str, question: Callable[[Any, str], Result]) -> Result:
        """The answer of the remote file system."""
        with self._explained(name):
            return question(self._remote[0], self._path(name).rstrip("/"))

    def _path(self, name: str) -> str:
        return f"{self._remote[1].rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether the file is there."""
        if self.local is not None:
            return file_size(self.local / name) is not None
        return bool(self._asked(name, lambda system, path: system.isfile(path)))

    def names(self) -> list[str]:
        """Return the folder's files, sorted; none where there is no folder yet. Temporary ones are left out."""
        if self.local is not None:
            found = [path.name for path in self.local.iterdir() if path.is_file()] if os.path.isdir(self.local) else []
        else:
            found = self._asked("", _list_files)
        return sorted(name for name in found if not name.startswith(TEMPORARY_PREFIX))

    def remove(self, name: str) -> None:
        """Delete a file; one that is not there is as good as deleted.

        Raises:
            CannotWrite: no permission.
        """
        with self._explained(name, "remove", CannotWrite):
            if self.local is not None:
                (self.local / name).unlink(missing_ok=True)
            elif self.exists(name):
                self._remote[0].rm_file(self._path(name))

    def read(self, name: str) -> bytes:
        """Return a whole small file."""
        return next(content for _, content in self.read_each([name]))

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of whole small files; object stores are asked for many at the same time."""
        if self.local is not None:
            for name in names:
                with self._explained(name):
                    content = (self.local / name).read_bytes()
                yield name, content
            return
        for start in range(0, len(names), FILES_AT_ONCE):
            group = names[start : start + FILES_AT_ONCE]
            found = self._asked(group[0], lambda system, _, some=group: system.cat([self._path(name) for name in some]))  # type: ignore[misc]
            if isinstance(found, bytes):  # some file systems answer a list of one with its content
                found = {group[0]: found}
            by_name = {str(path).rsplit("/", 1)[-1]: content for path, content in found.items()}
            yield from ((name, by_name[name.rsplit("/", 1)[-1]]) for name in group)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Return the bytes of each file, None where there is no such file."""
        if self.local is not None:
            return [file_size(self.local / name) for name in names]
        # One listing rather than one question a file: a data set has thousands.
        entries = self._asked("", lambda system, path: system.ls(path, detail=True)) if names else []
        known = {str(entry["name"]).rsplit("/", 1)[-1]: entry.get("size") for entry in entries}
        for name in names:
            if name in known and known[name] is None:  # HTTP servers list no sizes
                known[name] = self._asked(name, lambda system, path: system.size(path))
        return [known.get(name) for name in names]

    def read_ranges(self, spans: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return stretches (file, first byte, length) of remote files, all at the same time where the store can."""
        paths = [self._path(name) for name, _, _ in spans]
        starts = [start for _, start, _ in spans]
        ends = [start + length for _, start, length in spans]
        answer = self._asked(spans[0][0], lambda system, _: system.cat_ranges(paths, starts, ends, on_error="raise"))
        return list(answer)

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a whole file."""
        if self.local is not None:
            with self._explained(name):
                return sha256(self.local / name)
        digest = hashlib.sha256()

        def read(system: Any, path: str) -> None:
            with system.open(path, "rb", block_size=_READ_AT_ONCE) as file:
                while content := file.read(_READ_AT_ONCE):
                    digest.update(content)

        self._asked(name, read)
        return digest.hexdigest()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to be read from its beginning to its end."""
        if self.local is not None:
            try:
                with (self.local / name).open("rb") as file:
                    yield file
            except OSError as error:
                raise DatasetError(f"cannot read {self.where(name)}: {error.strerror}") from error
            return
        with self._asked(name, lambda system, path: system.open(path, "rb")) as remote:
            yield remote

    def download(self, name: str, to: Path) -> None:
        """Copy a remote file to this machine."""
        self._asked(name, lambda system, path: system.get_file(path, str(to)))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all.

        Raises:
            CannotWrite: no room, no permission.
        """
        with NewFile(self, name) as file:
            file.write(content)
            file.finish()

    def send(self, temporary: Path, name: str) -> None:
        """Bring a finished temporary file to its name."""
        if self.local is not None:
            put_in_place(temporary, self.local / name)
            return
        with self._explained(name, "write", CannotWrite):
            system, folder = self._remote
            system.makedirs(folder, exist_ok=True)
            system.put_file(str(temporary), self._path(name))


def _list_files(system: Any, path: str) -> list[str]:
    system.invalidate_cache()  # other machines write into the same folder
    if not system.isdir(path):
        return []
    return [str(each["name"]).rsplit("/", 1)[-1] for each in system.ls(path, detail=True) if each["type"] == "file"]


class NewFile:
    """A file that appears under its name when it is finished, whole, and not at all before.

    On this machine: a temporary file beside it, synchronised, then renamed. Elsewhere: a temporary file on this
    machine, sent when it is whole (object stores show an object only once it is).
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.name, self.bytes = name, 0
        self._storage, self._digest = storage, hashlib.sha256()
        with self._explained():
            if storage.local is not None:
                storage.local.mkdir(parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=storage.local)
        self._temporary, self._file = Path(path), os.fdopen(handle, "wb")

    @property
    def sha256(self) -> str:
        """Of what has been written so far."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Append."""
        with self._explained():
            self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)

    def finish(self) -> None:
        """Put it in place."""
        try:
            with self._explained():
                self._file.close()
                self._storage.send(self._temporary, self.name)
        finally:
            self.discard()

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind, unless it is in place already."""
        with contextlib.suppress(OSError):  # a full disk fails once more when the rest is flushed
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotWrite(
                f"cannot write {self._storage.where(self.name)}: {error.strerror or error}; make room or choose "
                "another folder"
            ) from error


LOCK = ".lock"
PROCESS_PLACE = 1  # in that file: Windows lets nobody read the first byte of a file that is held
PROCESS_BYTES = 20


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; the system lets go of it however the process ends.

    Raises:
        RunLocked: another training holds it.
        CannotWrite: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        raise CannotWrite(f"cannot write in {folder}: {error.strerror}") from error
    try:
        held = lock_descriptor(handle, blocking=False)
        os.lseek(handle, PROCESS_PLACE, os.SEEK_SET)
        if not held:
            holder = os.read(handle, PROCESS_BYTES).decode(errors="replace").strip()
            raise RunLocked(
                f"another training (process {holder or 'unknown'}) writes into {folder}; wait for it, or choose another"
                " `out`"
            )
        os.write(handle, f"{os.getpid():<{PROCESS_BYTES}}".encode())
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked_data(storage: Storage) -> Iterator[None]:
    """Hold a data folder for this process, without what killed processes left half written; URLs are not held."""
    if storage.local is None:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(storage.local))
        except RunLocked as error:
            raise RunLocked(f"{storage} is being prepared or cleaned by another process; wait for it") from error
        for path in storage.local.glob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)
        yield
