"""In which order a training sees the clips: decided by the seed alone, never by how many processes read them.

A step's clips are the same whatever the number of ranks, workers or parts a step is accumulated from; they only decide
who reads which. An order is a formula of (seed, epoch) and can be entered at any step: resuming is starting there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from speech2face.data.table import ClipTable
from speech2face.errors import InvalidSettings

WINDOW_SHARDS = 8
"""Shards whose clips are mixed, some thousands of clips: more mixes better, fewer touches fewer files at a time."""

Order = NDArray[np.int64]


def epoch_order(table: ClipTable, *, seed: int, epoch: int, window_shards: int = WINDOW_SHARDS) -> Order:
    """The clips' numbers (clips,), each once: shards shuffled, taken in windows, and shuffled within a window.

    Made of a bit generator's raw numbers and a stable sort, both of which NumPy promises not to change (NEP 19), where
    it may change `permutation`: a run resumes on another version.
    """
    shards, place = np.unique(table.shard, return_inverse=True)
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    turn = np.empty(len(shards), np.int64)  # when each shard's turn comes
    turn[np.argsort(bits.random_raw(len(shards)), kind="stable")] = np.arange(len(shards))
    window = turn[place] // window_shards  # (clips,)
    return np.lexsort((bits.random_raw(len(table)), window))


class BatchOrder:
    """Batches without end from a step on; batch b of rank r holds the same clips in every run with this seed.

    An iteration gives lists of draws, `accumulation` lists a step. A draw is epoch x clips + clip: it names the clip
    and tells apart the times it is seen, for what is random about a clip. What is left of an epoch after its last whole
    batch is not seen in that epoch (another part each time).
    """

    def __init__(
        self,
        table: ClipTable,
        batch: int,
        *,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        accumulation: int = 1,
        start_step: int = 0,
        window_shards: int = WINDOW_SHARDS,
    ) -> None:
        """`batch` is the clips of one optimiser's step over all ranks and accumulated parts.

        Raises:
            InvalidSettings: the batch cannot be shared evenly, or is larger than the table.
        """
        assert 0 <= rank < ranks and accumulation > 0 and start_step >= 0 and seed >= 0 and window_shards > 0
        if batch < 1 or batch % (ranks * accumulation):
            raise InvalidSettings(
                f"a batch of {batch} cannot be shared by {ranks} ranks in {accumulation} parts; take a multiple of "
                f"{ranks * accumulation}"
            )
        if batch > len(table):
            raise InvalidSettings(f"a batch of {batch} is larger than the split, which has {len(table)} clips")
        self._table, self._seed, self._window_shards = table, seed, window_shards
        self._batch, self._rank, self._ranks, self._accumulation = batch, rank, ranks, accumulation
        self._start_step = start_step

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self._table) // self._batch

    def epoch_of(self, step: int) -> int:
        """The epoch a step belongs to."""
        return step // self.steps_per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self._start_step, self.steps_per_epoch)
        while True:
            order = epoch_order(self._table, seed=self._seed, epoch=epoch, window_shards=self._window_shards)
            for step in range(first, self.steps_per_epoch):
                clips = order[step * self._batch : (step + 1) * self._batch]
                for part in clips.reshape(self._accumulation, self._ranks, -1)[:, self._rank]:
                    yield (part + epoch * len(self._table)).tolist()
            epoch, first = epoch + 1, 0


class PassOrder:
    """Every clip once, in the order of the table: for evaluation. The last batch may be smaller.

    A rank takes every `ranks`-th batch; all of them together see each clip exactly once.
    """

    def __init__(
        self, table: ClipTable, batch: int, *, rank: int = 0, ranks: int = 1, limit: int | None = None
    ) -> None:
        """`limit` keeps that many clips, spread evenly over the table, so that all shards have a part."""
        assert batch > 0 and 0 <= rank < ranks and (limit is None or limit > 0)
        count = len(table) if limit is None else min(limit, len(table))
        clips = np.arange(count) * len(table) // max(count, 1)
        self._batches = [clips[start : start + batch].tolist() for start in range(rank * batch, count, ranks * batch)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)
