"""The folder a data set lies in: on this machine or behind an fsspec URL, with the same few actions for both."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from speech2face.errors import CannotWrite, DatasetError, MissingExtra, RunLocked

if TYPE_CHECKING:
    pass

Result = TypeVar("Result")
_FILE_MODE = 0o666  # before the umask: what open() gives, where a temporary file gets 0o600
_TEMPORARY_PREFIX = ".speech2face-"


def _local_size(path: Path) -> int | None:
    """Bytes of a file; None where there is none, or where no file could have such a name."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


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
        """A file's path or URL, as it is shown in messages."""
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

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        if self.local is not None:
            return (self.local / name).is_file()
        return bool(self._asked(name, lambda system, path: system.isfile(path)))

    def names(self) -> list[str]:
        """The folder's files, sorted; none where there is no folder yet. Temporary ones are left out."""
        if self.local is not None:
            found = [path.name for path in self.local.iterdir() if path.is_file()] if self.local.is_dir() else []
        else:
            found = self._asked("", _list_files)
        return sorted(name for name in found if not name.startswith(_TEMPORARY_PREFIX))

    def remove(self, name: str) -> None:
        """Delete a file; one that is not there is as good as deleted.

        Raises:
            CannotWrite: no permission.
        """
        try:
            if self.local is not None:
                (self.local / name).unlink(missing_ok=True)
            elif self.exists(name):
                self._remote[0].rm_file(self._path(name))
        except Exception as error:  # as in _asked
            raise CannotWrite(f"cannot remove {self.where(name)}: {type(error).__name__}: {error}") from error

    def remove_temporary(self) -> None:
        """Delete what killed processes left half written; only where nobody writes now."""
        if self.local is not None and self.local.is_dir():
            for path in self.local.glob(f"{_TEMPORARY_PREFIX}*"):
                path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """A whole small file."""
        return self.read_together([name])[0]

    def read_together(self, names: Sequence[str]) -> list[bytes]:
        """Whole small files; from object stores at the same time."""
        if self.local is not None:
            return [self._read_local(name) for name in names]
        found = self._asked(names[0], lambda system, path: system.cat([self._path(name) for name in names]))
        if isinstance(found, bytes):  # some file systems answer a list of one with its content
            return [found]
        by_name = {str(path).rsplit("/", 1)[-1]: content for path, content in found.items()}
        return [by_name[name.rsplit("/", 1)[-1]] for name in names]

    def _read_local(self, name: str) -> bytes:
        assert self.local is not None
        try:
            return (self.local / name).read_bytes()
        except OSError as error:
            raise DatasetError(f"cannot read {self.where(name)}: {error.strerror}") from error

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each file, None where there is no such file."""
        if self.local is not None:
            return [_local_size(self.local / name) for name in names]
        # One listing rather than one question a file: a data set has thousands.
        entries = self._asked("", lambda system, path: system.ls(path, detail=True)) if names else []
        known = {str(entry["name"]).rsplit("/", 1)[-1]: entry.get("size") for entry in entries}
        missing = [name for name in names if name in known and known[name] is None]  # HTTP servers list no sizes
        for name in missing:
            known[name] = self._asked(name, lambda system, path: system.size(path))
        return [known.get(name) for name in names]

    def read_ranges(self, spans: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Stretches (file, first byte, length) of remote files, all at the same time where the store can."""
        paths = [self._path(name) for name, _, _ in spans]
        starts = [start for _, start, _ in spans]
        ends = [start + length for _, start, length in spans]
        answer = self._asked(spans[0][0], lambda system, _: system.cat_ranges(paths, starts, ends, on_error="raise"))
        return list(answer)

    def sha256(self, name: str, at_once: int) -> str:
        """Of a whole file, read in stretches of `at_once` bytes."""
        digest = hashlib.sha256()

        def read(system: Any, path: str) -> None:
            with system.open(path, "rb", block_size=at_once) as file:
                while content := file.read(at_once):
                    digest.update(content)

        if self.local is None:
            self._asked(name, read)
            return digest.hexdigest()
        try:
            with (self.local / name).open("rb", buffering=0) as file:
                while content := file.read(at_once):
                    digest.update(content)
        except OSError as error:
            raise DatasetError(f"cannot read {self.where(name)}: {error.strerror}") from error
        return digest.hexdigest()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file to read from its beginning to its end."""
        if self.local is None:
            with self._asked(name, lambda system, path: system.open(path, "rb")) as remote:
                yield remote
            return
        try:
            with (self.local / name).open("rb") as file:
                yield file
        except OSError as error:
            raise DatasetError(f"cannot read {self.where(name)}: {error.strerror}") from error

    def download(self, name: str, to: Path) -> None:
        """Copy a remote file to this machine."""
        self._asked(name, lambda system, path: system.get_file(path, str(to)))

    def _path(self, name: str) -> str:
        return f"{self._remote[1].rstrip('/')}/{name}"

    def _asked(self, name: str, question: Callable[[Any, str], Result]) -> Result:
        """The answer of the remote file system; whatever it raises (every one has its own) named by file."""
        try:
            return question(self._remote[0], self._path(name).rstrip("/"))
        except (DatasetError, MissingExtra):
            raise
        except Exception as error:  # object stores raise their client's own classes, which have no common root
            raise DatasetError(f"cannot read {self.where(name)}: {type(error).__name__}: {error}") from error

    def write(self, name: str, content: bytes) -> None:
        """A small file, whole or not at all.

        Raises:
            CannotWrite: no room, no permission.
        """
        file = NewFile(self, name)
        try:
            file.write(content)
            file.finish()
        finally:
            file.discard()

    def put(self, temporary: Path, name: str) -> None:
        """Bring a finished file of this machine to its name; the temporary one may be gone afterwards."""
        if self.local is not None:
            umask = os.umask(0)  # there is no other way to read it
            os.umask(umask)
            temporary.chmod(_FILE_MODE & ~umask)
            temporary.replace(self.local / name)
            return
        system, folder = self._remote
        try:
            system.makedirs(folder, exist_ok=True)
            system.put_file(str(temporary), self._path(name))
        except Exception as error:  # as in _asked
            raise CannotWrite(f"cannot write {self.where(name)}: {type(error).__name__}: {error}") from error


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
            handle, path = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=storage.local)
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
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._storage.put(self._temporary, self.name)
        finally:
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


@contextmanager
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
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 64, 0).decode(errors="replace").strip()
            raise RunLocked(
                f"another training (process {holder or 'unknown'}) writes into {folder}; wait for it, or choose another"
                " `out`"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
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
        storage.remove_temporary()
        yield
