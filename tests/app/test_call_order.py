"""Frames of a telephone call: put in order, dropped, filled in, by hand and for any small disorder."""

import random

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

from hypothesis import given
from hypothesis import strategies as st

from speech2face.app.telephone import MAX_FILL_MS, WINDOW_CHUNKS, TrackOrder

MS_BYTES = 8
SILENT_FRAME = b"\xff" * 160


def sound(number: int) -> bytes:
    return bytes([number % 250]) * 160


def played(*frames: tuple[int, int], order: TrackOrder | None = None) -> bytes:
    """What comes out of frames (number, milliseconds), the end included."""
    order = order or TrackOrder()
    return b"".join(order.push(chunk, ms, sound(chunk)) for chunk, ms in frames) + order.flush()


def in_order(*numbers: int) -> bytes:
    return b"".join(map(sound, numbers))


@given(st.randoms(use_true_random=False), st.integers(1, 60), st.sampled_from([1, 4711]))
def test_any_disorder_within_the_window_is_put_right(chance: random.Random, count: int, first: int) -> None:
    frames = [(first + number, 20 * number) for number in range(count)]
    shuffled = sorted(frames, key=lambda frame: frame[0] + chance.uniform(0, WINDOW_CHUNKS - 1))
    if first > 1:
        shuffled.remove(frames[0])  # counting begins anywhere, but then with the first frame
        shuffled.insert(0, frames[0])
    order = TrackOrder()
    out = played(*shuffled, order=order)
    assert out == in_order(*(chunk for chunk, _ in frames))
    assert order.lost == order.repeated == order.late == 0


def test_a_frame_is_given_out_at_once_when_none_is_missing() -> None:
    order = TrackOrder()
    assert order.push(1, 0, sound(1)) == sound(1)
    assert order.push(3, 40, sound(3)) == b""
    assert order.push(2, 20, sound(2)) == in_order(2, 3)


def test_a_frame_that_comes_twice_is_heard_once() -> None:
    order = TrackOrder()
    assert played((1, 0), (1, 0), (3, 40), (3, 40), (2, 20), (2, 20), order=order) == in_order(1, 2, 3)
    assert order.counts() == {"frames": 6, "lost": 0, "late": 0, "repeated": 3, "silence_seconds": 0}


def test_what_is_lost_becomes_as_much_silence_and_is_dropped_when_it_comes_too_late() -> None:
    order = TrackOrder()
    frames = [(number, 20 * (number - 1)) for number in (1, 2, *range(5, 18))]
    out = played(*frames, (3, 40), order=order)
    assert out == in_order(1, 2) + 2 * SILENT_FRAME + in_order(*range(5, 18))
    assert (order.lost, order.late, order.repeated, order.filled_ms) == (2, 1, 0, 40)


def test_numbers_that_are_left_out_while_no_time_is_missing_lose_nothing() -> None:
    order = TrackOrder()
    odd = [(2 * number + 1, 20 * number) for number in range(30)]  # a platform that counts over both tracks
    outputs = [order.push(chunk, ms, sound(chunk)) for chunk, ms in odd]
    assert outputs == [sound(chunk) for chunk, _ in odd], "nothing waits"
    assert (order.lost, order.filled_ms) == (0, 0)


def test_a_sender_that_is_mute_for_long_leaves_a_pause_of_a_second() -> None:
    order = TrackOrder()
    out = played((1, 0), (2, 20), (3, 60_000), (4, 60_020), order=order)
    assert out == in_order(1, 2) + b"\xff" * (MAX_FILL_MS * MS_BYTES) + in_order(3, 4)
    assert order.lost == 0


def test_time_stamps_that_tremble_or_are_set_back_add_nothing() -> None:
    order = TrackOrder()
    played(*[(number + 1, 20 * number + (15 if number % 2 else 0)) for number in range(100)], order=order)
    assert order.filled_ms == 0
    assert played((1, 90_000), (2, 90_020), (3, 0), (4, 20)) == in_order(1, 2, 3, 4)


def test_silence_is_that_of_the_encoding() -> None:
    order = TrackOrder("audio/x-alaw")
    assert order.push(1, 0, b"") + order.push(2, 100, b"a") == b"\xd5" * (100 * MS_BYTES) + b"a"
