import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from speech2face.data.manifest import ClipTable
from speech2face.data.shards import BatchOrder, PassOrder, epoch_order
from speech2face.errors import InvalidSettings


def table(clips_of_shards: list[int]) -> ClipTable:
    """Only what an order looks at."""
    count = sum(clips_of_shards)
    nothing = np.zeros(count, np.int64)
    return ClipTable(
        key=np.zeros(count, "S1"),
        speaker=nothing.astype(np.int32),
        split=nothing.astype(np.int16),
        seconds=nothing.astype(np.float32),
        shard=np.repeat(np.arange(len(clips_of_shards)), clips_of_shards).astype(np.int32),
        offset=nothing,
        length=nothing,
        length_without_face=nothing,
        speakers=("a",),
        splits=("train",),
    )


tables = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda c: sum(c) > 0).map(table)


@settings(max_examples=60)
@given(tables, st.integers(0, 2**40), st.integers(0, 1000), st.integers(1, 5))
def test_an_epoch_holds_every_clip_once(clips: ClipTable, seed: int, epoch: int, window: int) -> None:
    order = epoch_order(clips, seed=seed, epoch=epoch, window_shards=window)
    assert_array_equal(np.sort(order), np.arange(len(clips)))


@settings(max_examples=60)
@given(tables, st.integers(0, 99), st.integers(1, 5))
def test_a_window_reads_no_more_shards_than_it_says(clips: ClipTable, seed: int, window: int) -> None:
    shards = clips.shard[epoch_order(clips, seed=seed, epoch=0, window_shards=window)]
    first_seen = {shard: place for place, shard in reversed(list(enumerate(shards)))}
    in_turn = sorted(first_seen, key=first_seen.__getitem__)
    windows = [shards[np.isin(shards, in_turn[start : start + window])] for start in range(0, len(in_turn), window)]
    # Each shard lies whole within the stretch of one window, whichever shards these are.
    sizes = Counter(clips.shard.tolist())
    place = 0
    while place < len(shards):
        stretch: set[int] = set()
        end = place
        while end < len(shards) and len(stretch | {int(shards[end])}) <= window:
            stretch.add(int(shards[end]))
            end += 1
        whole = sum(sizes[shard] for shard in stretch)
        assert end - place == whole
        place = end
    assert sum(len(w) for w in windows) == len(shards)


def test_the_order_of_a_seed_never_changes() -> None:
    """Golden: a run that is resumed on another version of NumPy, or of this file, sees the same clips."""
    order = epoch_order(table([3, 4, 5]), seed=7, epoch=2, window_shards=2)
    assert order.tolist() == [5, 3, 1, 2, 4, 0, 6, 11, 7, 8, 9, 10]


def test_seeds_and_epochs_give_other_orders() -> None:
    clips = table([50, 50, 50])
    orders = {
        tuple(epoch_order(clips, seed=seed, epoch=epoch).tolist())
        for seed, epoch in itertools.product(range(4), repeat=2)
    }
    assert len(orders) == 16


def test_clips_of_one_shard_do_not_stay_neighbours_within_a_window() -> None:
    clips = table([100] * 8)
    shards = clips.shard[epoch_order(clips, seed=0, epoch=0, window_shards=8)]
    same = np.mean(shards[1:] == shards[:-1])
    assert 0.05 < same < 0.25  # by chance 99/799 = 0.124


@settings(max_examples=80)
@given(
    clips=tables,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)),
    start=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_starting_at_a_step_is_starting_at_the_first_and_passing_over(
    clips: ClipTable, shape: tuple[int, int, int], start: int, seed: int
) -> None:
    ranks, accumulation, share = shape
    batch = ranks * accumulation * share
    if batch > len(clips):
        return
    for rank in range(ranks):

        def batches(first: int, count: int, rank: int = rank) -> list[list[int]]:
            order = BatchOrder(
                *(clips, batch),
                seed=seed,
                rank=rank,
                ranks=ranks,
                accumulation=accumulation,
                start_step=first,
                window_shards=2,
            )
            return list(itertools.islice(order, count * accumulation))

        assert batches(start, 5) == batches(0, start + 5)[start * accumulation :]


@settings(max_examples=80)
@given(tables, st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_a_step_holds_the_same_clips_however_it_is_shared(
    clips: ClipTable, ranks: int, accumulation: int, seed: int
) -> None:
    batch = ranks * accumulation
    if batch > len(clips):
        return
    steps = 4
    whole = list(itertools.islice(BatchOrder(clips, batch, seed=seed), steps))
    shared = [
        list(itertools.islice(BatchOrder(clips, batch, seed=seed, rank=r, ranks=ranks, accumulation=accumulation), 99))
        for r in range(ranks)
    ]
    for step, draws in enumerate(whole):
        parts = [shared[rank][step * accumulation + part] for part in range(accumulation) for rank in range(ranks)]
        assert list(itertools.chain(*parts)) == draws


@settings(max_examples=40)
@given(tables, st.integers(1, 4))
def test_an_epoch_sees_each_clip_at_most_once_and_leaves_less_than_a_batch(clips: ClipTable, batch: int) -> None:
    if batch > len(clips):
        return
    order = BatchOrder(clips, batch, seed=3)
    for epoch in range(2):
        first = epoch * order.steps_per_epoch
        steps = itertools.islice(order, first, first + order.steps_per_epoch)
        draws = np.array(list(steps)).ravel()
        assert_array_equal(draws // len(clips), np.full(draws.size, epoch))
        assert len(np.unique(draws)) == draws.size > len(clips) - batch


def test_a_batch_that_cannot_be_shared_names_one_that_can() -> None:
    with pytest.raises(
        InvalidSettings, match="a batch of 8 cannot be shared by 3 ranks in 2 parts; take a multiple of 6"
    ):
        BatchOrder(table([20]), 8, ranks=3, accumulation=2)
    with pytest.raises(InvalidSettings, match="a batch of 8 is larger than the split, which has 5 clips"):
        BatchOrder(table([5]), 8)


@settings(max_examples=40)
@given(tables, st.integers(1, 5), st.integers(1, 3), st.none() | st.integers(1, 99))
def test_a_pass_of_all_ranks_sees_each_clip_once(clips: ClipTable, batch: int, ranks: int, limit: int | None) -> None:
    orders = [PassOrder(clips, batch, rank=rank, ranks=ranks, limit=limit) for rank in range(ranks)]
    seen = sorted(itertools.chain(*itertools.chain(*orders)))
    assert len(seen) == len(set(seen)) == min(len(clips), limit or len(clips))
    assert set(seen) <= set(range(len(clips)))
    assert sum(len(order) for order in orders) == -(-len(seen) // batch)


def test_a_limited_pass_is_spread_over_the_table() -> None:
    assert list(PassOrder(table([10]), 2, limit=4)) == [[0, 2], [5, 7]]
