import numpy as np
import pytest

from speech2face.audio.spectrogram import tile


def test_short_speech_is_repeated_then_cut() -> None:
    np.testing.assert_array_equal(tile(np.array([1, 2, 3], np.int16), 7), [1, 2, 3, 1, 2, 3, 1])
    assert tile(np.array([1, 2, 3], np.int16), 7).dtype == np.int16


def test_long_speech_gives_its_beginning() -> None:
    np.testing.assert_array_equal(tile(np.arange(10), 4), [0, 1, 2, 3])
    np.testing.assert_array_equal(tile(np.arange(4), 4), [0, 1, 2, 3])


def test_a_batch_is_tiled_along_time_only() -> None:
    np.testing.assert_array_equal(tile(np.array([[1, 2], [3, 4]]), 3), [[1, 2, 1], [3, 4, 3]])


def test_nothing_cannot_be_repeated() -> None:
    with pytest.raises(AssertionError, match="nothing"):
        tile(np.zeros(0, np.float32), 10)
