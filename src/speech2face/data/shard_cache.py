"""Copies of remote shards on this machine, shared by all processes that read them, and no more of them than fit."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from speech2face.data.manifest import ShardRecord
from speech2face.data.storage import Storage
from speech2face.errors import CannotWrite, DatasetError

_PREFIX = ".speech2face-"
_READ_AT_ONCE = 2**22


def default_cache_folder() -> Path:
    """Where training keeps its copies when its settings name no folder."""
    return Path(tempfile.gettempdir()) / f"speech2face-shards-{os.getuid()}"


def check_caches(folders: Sequence[Path]) -> None:
    """Refuse folders that copies could not be removed from.

    Raises:
        DatasetError: there is no such folder.
        CannotWrite: no permission.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"there is no cache {folder}; name a folder of cached shards, or none")
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise CannotWrite(f"cannot remove copies from the cache {folder}: no permission")


def remove_copies(folders: Sequence[Path], sha256s: Iterable[str]) -> Iterator[Path]:
    """Remove the copies of these shards; the paths that were there.

    Raises:
        CannotWrite: no permission.
    """
    for copy in (folder / f"{sha256}.tar" for sha256 in sha256s for folder in folders):
        try:
            copy.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotWrite(f"cannot remove {copy}: {error.strerror}") from error
        yield copy


class ShardCache:
    """A folder of shards named by their SHA-256, so that a changed data set never meets an old copy.

    Two processes that want the same shard at once may both fetch it; each puts its whole copy in place in one step.
    A copy that another process has open may be removed: it goes on reading it (POSIX).
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    def open(self, storage: Storage, shard: ShardRecord) -> BinaryIO:
        """The shard's copy, fetched and verified where it is not there yet.

        Raises:
            DatasetError: it cannot be read, or its bytes are not the manifest's.
            CannotWrite: the cache's folder cannot be written.
        """
        copy = self._folder / f"{shard.sha256}.tar"
        with contextlib.suppress(FileNotFoundError):
            file = copy.open("rb", buffering=0)
            os.utime(copy)  # used now: the last to be removed
            return file
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(shard.bytes)
            handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=self._folder)
            os.close(handle)
        except OSError as error:
            raise CannotWrite(f"cannot write the cache {self._folder}: {error.strerror}") from error
        temporary = Path(name)
        try:
            storage.download(shard.file, temporary)
            _check(temporary, storage.where(shard.file), shard.sha256)
            file = temporary.open("rb", buffering=0)  # before others can see it, and make room
            temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)
        return file

    def _make_room(self, wanted: int) -> None:
        """Remove what was not used for longest, until there is room. Others may be doing the same."""
        copies = []
        for path in self._folder.glob("*.tar"):
            with contextlib.suppress(OSError):
                copies.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        held = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if held + wanted <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            held -= size


def _check(path: Path, where: str, sha256: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while content := file.read(_READ_AT_ONCE):
            digest.update(content)
    if digest.hexdigest() != sha256:
        raise DatasetError(f"{where} has been changed or damaged: its SHA-256 is not the manifest's; copy it again")
