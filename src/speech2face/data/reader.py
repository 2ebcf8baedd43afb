"""The bytes of clips, wherever their shards lie: files of this machine, copies in a cache, stretches over the network.

Each process opens files of its own when it first needs them: a reader may be forked or pickled at any time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, BinaryIO

from speech2face.data.manifest import ShardRecord
from speech2face.data.shard_cache import ShardCache
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError

OPEN_FILES = 64  # of one process: systems allow 1,024 by default, and tensors between processes take some
Span = tuple[int, int, int]
"""A shard's place in the manifest, first byte, length."""


class SpanReader:
    """Reads stretches of shards."""

    def __init__(self, storage: Storage, shards: Sequence[ShardRecord], cache: ShardCache | None = None) -> None:
        """Without a cache, remote shards are read in stretches: right for a near store, or a single pass."""
        self._storage, self._shards, self._cache = storage, tuple(shards), cache
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, in the order asked for.

        Raises:
            DatasetError: a shard is gone or shorter than the manifest says.
        """
        if self._storage.local is None and self._cache is None:
            found = self._storage.read_ranges([(self._shards[shard].file, start, size) for shard, start, size in spans])
            return [self._whole(content, span) for content, span in zip(found, spans, strict=True)]
        contents: list[bytes] = [b""] * len(spans)
        for number in sorted(range(len(spans)), key=spans.__getitem__):  # as they lie on the disk
            contents[number] = self._read_file(spans[number])
        return contents

    def _read_file(self, span: Span) -> bytes:
        shard, start, size = span
        try:
            file = self._file(shard)
            file.seek(start)
            content = file.read(size)
        except OSError as error:
            where = self._storage.where(self._shards[shard].file)
            raise DatasetError(f"cannot read {where}: {error.strerror}; copy it again") from error
        return self._whole(content, span)

    def _whole(self, content: bytes, span: Span) -> bytes:
        if len(content) == span[2]:
            return content
        where = self._storage.where(self._shards[span[0]].file)
        raise DatasetError(
            f"{where} is cut short: {len(content)} of {span[2]} bytes at {span[1]}; copy it again or prepare it anew"
        )

    def _file(self, shard: int) -> BinaryIO:
        if self._process != os.getpid():  # forked: the parent's files are not ours to close
            self._files, self._process = OrderedDict(), os.getpid()
        if shard not in self._files:
            while len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[shard] = self._open(shard)
        self._files.move_to_end(shard)
        return self._files[shard]

    def _open(self, shard: int) -> BinaryIO:
        record = self._shards[shard]
        if self._storage.local is not None:
            return (self._storage.local / record.file).open("rb", buffering=0)
        assert self._cache is not None
        return self._cache.open(self._storage, record)
