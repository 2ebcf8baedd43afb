from itertools import pairwise

import numpy as np
import pytest

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import (
    FRAME,
    MIN_GAP_FRAMES,
    MIN_RUN_FRAMES,
    PADDING_FRAMES,
    SpeechRuns,
    find_speech,
    high_band_db,
    snr_db,
)
from speech2face.audio.stream import SETTLED_SECONDS, STEP_DB, ActivityStream, LevelCounts, SpeechStream
from speech2face.errors import NoSpeech, SilentRecording, TooLittleSpeech
from tests.voices import made_voice


def room(seconds: float, level: float = 1e-4) -> FloatArray:
    return np.asarray(level * np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE)), np.float32)


def clicks(seconds: float) -> FloatArray:
    waveform = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    waveform[::4000] = 0.9
    return waveform


def conversation() -> FloatArray:
    """Phrases of a voice with pauses short and long."""
    parts = [room(0.7), made_voice(1.5), room(0.2), made_voice(0.9, 180), room(1.3), made_voice(2.0), room(0.6)]
    return np.concatenate(parts)


def pieces(waveform: FloatArray, size: int) -> list[FloatArray]:
    return [waveform[at : at + size] for at in range(0, waveform.size, size)]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_counted_levels_have_the_percentiles_of_the_levels(share: float) -> None:
    levels = np.random.default_rng(1).normal(-40, 12, 501)
    counts = LevelCounts()
    for some in np.array_split(levels, 7):
        counts.add(some)
    assert counts.percentile(share) == pytest.approx(np.quantile(levels, share), abs=STEP_DB)
    above = levels[levels > -45]
    assert counts.percentile(share, above_db=-45.0) == pytest.approx(np.quantile(above, share), abs=2 * STEP_DB)


def test_no_level_has_no_percentile() -> None:
    assert LevelCounts().percentile(0.5) is None


def spans_of_all(decisions: np.ndarray) -> list[tuple[int, int]]:
    """The rule said in another way: long enough runs of all decisions, padded, those with short pauses joined."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], decisions, [False]]).astype(np.int8)))
    spans: list[tuple[int, int]] = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if last - first < MIN_RUN_FRAMES:
            continue
        start, stop = max(0, first - PADDING_FRAMES), min(decisions.size, last + PADDING_FRAMES)
        if spans and start - spans[-1][1] < MIN_GAP_FRAMES:
            start, _ = spans.pop()
        spans.append((start, stop))
    return spans


@pytest.mark.parametrize("seed", range(40))
def test_runs_one_by_one_are_the_spans_of_all_decisions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 22, 40)
    decisions = np.concatenate([np.full(length, number % 2 == seed % 2) for number, length in enumerate(lengths)])
    expected = spans_of_all(decisions)
    assert list(SpeechRuns().push(decisions)) == expected
    kept: list[int] = []
    runs, held = SpeechRuns(), 0
    for number in range(decisions.size):
        first = runs.undecided_from
        for span in runs.push(decisions[number : number + 1]):
            assert span[0] >= first, "a frame was kept that had been given up"
            kept += range(*span)
        held = max(held, number + 1 - runs.undecided_from)
    assert kept == [frame for start, stop in expected for frame in range(start, stop)]
    assert held <= 20  # 600 ms


def test_given_everything_at_once_it_decides_as_for_a_recording() -> None:
    waveform = conversation() + np.float32(0.05)
    np.testing.assert_allclose(ActivityStream().push(waveform), find_speech(waveform).speech(), atol=1e-7)


@pytest.mark.parametrize("size", [100, 480, 4000])
def test_in_pieces_it_finds_nearly_the_same_speech(size: int) -> None:
    stream = ActivityStream()
    heard = sum(stream.push(piece).size for piece in pieces(conversation(), size))
    assert heard == pytest.approx(find_speech(conversation()).speech().size, abs=0.3 * SAMPLE_RATE)
    assert heard == stream.speech_samples


def test_a_muted_microphone_says_nothing() -> None:
    stream = ActivityStream()
    assert sum(stream.push(piece).size for piece in pieces(room(5.0, 2e-4), 4000)) == 0


def test_somebody_speaks_until_a_phrase_has_ended() -> None:
    stream = ActivityStream()
    said = [stream.push(piece) is not None and stream.speaking for piece in pieces(conversation(), FRAME)]
    changes = [number for number, (one, other) in enumerate(pairwise(said)) if one != other]
    assert len(changes) == 4, "two phrases, the short pause being part of the first"


def test_noise_is_measured_as_in_a_recording() -> None:
    waveform = np.concatenate([made_voice(3.0), room(2.0)]) + room(5.0, 0.003)
    stream = SpeechStream()
    for piece in pieces(waveform, 4000):
        stream.push(piece[None])
    stream.reconsider()
    found = find_speech(waveform)
    assert stream.snr_db() == pytest.approx(snr_db(found), abs=0.5)
    assert stream.high_band_db() == pytest.approx(high_band_db(found.speech()), abs=1.0)


def test_a_voice_after_loud_noise_is_found_when_decisions_are_made_again() -> None:
    noise, voice = room(6.0, 0.004), made_voice(3.0)
    stream = SpeechStream()
    for piece in pieces(noise, 4000):
        stream.push(piece[None])
    assert stream.reconsider() is not None
    assert stream.reconsider() is None, "the level is what it was"
    for piece in pieces(voice, 4000):
        stream.push(piece[None])
    again = stream.reconsider()
    assert again is not None
    assert again.size == find_speech(np.concatenate([noise, voice])).speech().size
    assert stream.speech_seconds == again.size / SAMPLE_RATE


def test_the_room_that_was_taken_for_speech_is_forgotten_where_somebody_speaks_after_long() -> None:
    stream, heard = SpeechStream(), 0
    for piece in pieces(room(SETTLED_SECONDS + 20.0, 1e-3), 4000):
        heard += stream.push(piece[None]).size
    assert heard > SETTLED_SECONDS * SAMPLE_RATE, "brought to the level of speech, noise passes for it"
    assert stream.restarts == 0
    for piece in pieces(made_voice(12.0), 4000):
        stream.push(piece[None])
    assert stream.restarts == 1
    assert 9.5 < stream.speech_seconds < 12.5
    stream.settle()


def test_a_voice_is_not_forgotten_in_the_longest_pause() -> None:
    stream = SpeechStream()
    for piece in pieces(np.concatenate([made_voice(8.0), room(200.0, 1e-3)]), 4000):
        stream.push(piece[None])
    before = stream.speech_seconds
    for piece in pieces(np.concatenate([made_voice(2.0), room(200.0, 1e-3)]), 4000):
        stream.push(piece[None])
    assert stream.restarts == 0
    assert 8 < before < stream.speech_seconds


@pytest.mark.parametrize("channels", [1, 2])
def test_direct_current_does_no_harm_whenever_decisions_are_made_again(channels: int) -> None:
    waveform = conversation()
    sound = np.stack([waveform * 0.5 + np.float32(0.4)] * channels)
    stream, heard = SpeechStream(), []
    for at in range(0, waveform.size, 4000):
        heard.append(stream.push(sound[:, at : at + 4000]))
        if (again := stream.reconsider()) is not None:
            heard = [again]
    speech = np.concatenate(heard)
    assert abs(float(speech.mean())) < 1e-3
    assert speech.size == pytest.approx(find_speech(waveform).speech().size, abs=0.1 * SAMPLE_RATE)


def test_up_to_a_minute_the_end_is_that_of_a_recording_and_nothing_is_kept_after() -> None:
    waveform = np.tile(conversation(), 7)[: (SETTLED_SECONDS - 11) * SAMPLE_RATE]
    stream = SpeechStream()
    for piece in pieces(waveform, 16_000):
        stream.push(piece[None])
    settled = stream.settle()
    assert settled is not None
    assert settled.spans == find_speech(waveform).spans
    for piece in pieces(waveform, 16_000):
        stream.push(piece[None])
    assert stream.settle() is None
    assert stream.reconsider() is None
    assert stream.speech_seconds == pytest.approx(2 * settled.seconds, abs=1.0)


@pytest.mark.parametrize(
    ("waveform", "error"),
    [(room(70.0, 1e-5), SilentRecording), (clicks(70.0), NoSpeech)],
)
def test_a_long_call_without_a_voice_is_refused_as_a_recording(waveform: FloatArray, error: type[Exception]) -> None:
    stream = SpeechStream()
    stream.push(waveform[None])
    with pytest.raises(error):
        stream.settle()


def test_a_long_call_with_one_word_is_too_little() -> None:
    stream = SpeechStream()
    stream.push(np.concatenate([made_voice(0.6), room(70.0, 1e-4)])[None])
    with pytest.raises(TooLittleSpeech):
        stream.settle()
