"""Many clips as columns of numbers: what is needed to order and find them, some 70 bytes a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.data.index import Index


@dataclass(frozen=True, eq=False)
class ClipTable:
    """Clips in the order of their shards; each column is (clips,)."""

    key: NDArray[np.bytes_]
    speaker: NDArray[np.int32]
    """Place in `speakers`."""
    split: NDArray[np.int16]
    """Place in `splits`."""
    seconds: NDArray[np.float32]
    shard: NDArray[np.int32]
    """Place in the manifest's shards; never falls."""
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    length_without_face: NDArray[np.int64]
    speakers: tuple[str, ...]
    """All of the data set, whichever clips the table holds."""
    splits: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.key)

    def take(self, which: NDArray[Any]) -> ClipTable:
        """Some of the clips, by number or as a mask."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: c[which] for name, c in columns.items() if isinstance(c, np.ndarray)})

    def key_of(self, clip: int) -> str:
        """A clip's name."""
        return bytes(self.key[clip]).decode("ascii")


class TableBuilder:
    """Joins the indexes of shards, one after another, and names speakers by number."""

    def __init__(self) -> None:
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._speakers: dict[str, int] = {}
        self._splits: dict[str, int] = {}

    def add(self, index: Index, shard: int) -> None:
        """The clips of one shard."""
        count = len(index.clip)
        speaker = np.fromiter(_numbered(index.speaker, self._speakers), np.int32, count)
        split = np.fromiter(_numbered(index.split, self._splits), np.int16, count)
        self._columns.append(
            {
                "key": np.array(index.clip, dtype=np.bytes_),
                "speaker": speaker,
                "split": split,
                "seconds": index.seconds,
                "shard": np.full(count, shard, np.int32),
                "offset": index.offset,
                "length": index.length,
                "length_without_face": index.length_without_face,
            }
        )

    def build(self) -> ClipTable:
        """All of them."""
        joined = {name: np.concatenate([columns[name] for columns in self._columns]) for name in self._columns[0]}
        return ClipTable(**joined, speakers=tuple(self._speakers), splits=tuple(self._splits))


def _numbered(names: Sequence[str], known: dict[str, int]) -> Iterator[int]:
    for name in dict.fromkeys(names):
        known.setdefault(name, len(known))
    return map(known.__getitem__, names)


def keys_given_twice(table: ClipTable) -> Sequence[str]:
    """Names that more than one clip has."""
    ordered = np.sort(table.key)
    return [bytes(name).decode("ascii") for name in np.unique(ordered[1:][ordered[1:] == ordered[:-1]])]


def speakers_in_several_splits(table: ClipTable) -> dict[str, list[str]]:
    """The speakers who are in more than one split, with these splits."""
    pairs = np.unique(table.speaker.astype(np.int64) * len(table.splits) + table.split)
    speaker, split = pairs // len(table.splits), pairs % len(table.splits)
    leaking = np.unique(speaker[1:][speaker[1:] == speaker[:-1]])
    return {table.speakers[who]: sorted(table.splits[s] for s in split[speaker == who]) for who in leaking}
