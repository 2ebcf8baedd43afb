from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from speech2face.audio.spectrogram import SEGMENT_HOPS, SEGMENT_SAMPLES, segment_spans


@given(st.integers(1, 10**6))
def test_segments_cover_everything_once_and_only_the_last_is_longer(length: int) -> None:
    spans = segment_spans(length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert all(stop - start == SEGMENT_SAMPLES for start, stop in spans[:-1])
    assert spans[-1][1] - spans[-1][0] < 2 * SEGMENT_SAMPLES


@given(st.integers(1, 10**5), st.integers(0, 10**5))
def test_a_segment_never_changes_once_two_have_followed_its_start(length: int, more: int) -> None:
    settled = [span for span in segment_spans(length) if length - span[0] >= 2 * SEGMENT_SAMPLES]
    assert segment_spans(length + more)[: len(settled)] == settled


def test_nine_and_a_half_seconds_are_two_of_three_and_one_of_three_and_a_half() -> None:
    assert segment_spans(int(9.5 * 100), SEGMENT_HOPS) == [(0, 300), (300, 600), (600, 950)]
