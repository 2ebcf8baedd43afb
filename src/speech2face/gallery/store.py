"""What every backend of a gallery can do; a variant is a new file with this contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.data.tombstones import Tombstones
from speech2face.gallery.entries import Embeddings, Entry, Where
from speech2face.gallery.record import Record


@dataclass(frozen=True)
class Found:
    """The nearest entries, nearest first, and what they were compared with."""

    hits: tuple[tuple[Entry, float], ...]
    """Entries and their cosines."""
    of: int
    """Entries that the filter keeps."""
    mean: float
    """Mean cosine of what was compared: all faces, or a sample of them."""
    sd: float
    exact: bool
    """Whether every face was compared."""


@dataclass(frozen=True)
class Upserted:
    """What became of entries that were given."""

    added: int = 0
    replaced: int = 0
    """Entries whose id was there already."""

    def __add__(self, other: Upserted) -> Upserted:
        return Upserted(self.added + other.added, self.replaced + other.replaced)


class Writer(Protocol):
    """Entries on their way into a gallery; nobody sees a gallery that is half built."""

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Of those that are there already, also from a build that was interrupted."""
        ...

    def put(self, entries: Sequence[Entry], vectors: Embeddings) -> Upserted:
        """Take entries with vectors (entries, K) of length one; an id that is there is replaced."""
        ...

    def finish(self) -> Record:
        """Show them."""
        ...

    def close(self) -> None:
        """Leave nothing half written behind; after `finish` it does nothing."""
        ...


class Store(Protocol):
    """A gallery's entries and vectors, wherever they lie."""

    record: Record

    def __len__(self) -> int: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of labels that entries have."""
        ...

    def index_facts(self) -> dict[str, Any] | None:
        """What its index is and how well it searches; None where there is none."""
        ...

    def search(self, probe: NDArray[np.float32], top: int, where: Where | None) -> Found:
        """The entries nearest to a probe (K,) of length one."""
        ...

    def writer(self) -> Writer:
        """To add entries and replace some."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Remove entries; how many there were."""
        ...

    def speakers(self) -> set[str]:
        """Everybody in it."""
        ...

    def ids_of(self, speakers: Iterable[str]) -> list[str]:
        """Entries of these speakers."""
        ...

    def ids(self) -> Iterable[str]:
        """All of them."""
        ...

    def tombstones(self) -> Tombstones | None:
        """Who was forgotten, None where nobody was."""
        ...

    def write_tombstones(self, tombstones: Tombstones) -> None:
        """Keep them."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
