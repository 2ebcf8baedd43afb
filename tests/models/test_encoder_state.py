from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face import read_recording
from speech2face.audio.spectrogram import MOST_STRETCHES, RECENT_STRETCHES, SAMPLE_RATE, FloatArray, merge_oldest
from speech2face.errors import NoSpeech
from speech2face.models.attributes import (
    VOICE_FRAMES,
    AttributeEncoding,
    AttributeModel,
    AttributeRuntime,
    Moments,
    load_attribute_model,
)
from speech2face.models.contract import Given, Model
from tests.voices import made_voice

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def model() -> AttributeModel:
    return load_attribute_model()


@pytest.fixture
def paired(paired_folder: Path) -> Model:
    from speech2face import load_model

    return load_model(paired_folder)


def pieces(speech: FloatArray, size: int) -> list[FloatArray]:
    return [speech[at : at + size] for at in range(0, speech.size, size)]


def cosine(one: FloatArray, other: FloatArray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("size", [1000, 16_000, 200_000])
def test_pieces_of_any_size_say_the_same(model: AttributeModel, size: int) -> None:
    speech = made_voice(7.2)
    state, whole = model.start_encoding(), model.start_encoding()
    for piece in pieces(speech, size):
        state.push(piece)
    whole.push(speech)
    encoded, expected = state.encoding(), whole.encoding()
    assert isinstance(encoded, AttributeEncoding) and isinstance(expected, AttributeEncoding)
    np.testing.assert_allclose(encoded.belief(Given()).mean, expected.belief(Given()).mean, atol=1e-5)
    assert [part.seconds for part in encoded.moments] == pytest.approx([3.0, 4.2])


def test_whole_segments_are_those_of_a_recording(model: AttributeModel) -> None:
    state = model.start_encoding()
    state.push(made_voice(9.0))
    encoded, recorded = state.encoding(), model.encode(made_voice(9.0))
    np.testing.assert_allclose(encoded.belief(Given()).mean, recorded.belief(Given()).mean, atol=1e-5)
    assert encoded.speaker_change() == pytest.approx(recorded.speaker_change(), abs=1e-5)


def test_no_segment_is_encoded_twice(model: AttributeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    run = AttributeRuntime.run

    def counted(self: AttributeRuntime, name: str, **inputs: Any) -> list[Any]:
        encoded.extend([inputs["log_mel"].shape[2]] if name == VOICE_FRAMES else [])
        return run(self, name, **inputs)

    monkeypatch.setattr(AttributeRuntime, "run", counted)
    state = model.start_encoding()
    for piece in pieces(made_voice(30.0), 8000):
        state.push(piece)
    assert len(encoded) == 10
    state.encoding()
    assert len(encoded) == 10, "without a remainder there is nothing left to encode"


def test_an_open_segment_is_encoded_again_after_a_second_of_news_alone(
    model: AttributeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = AttributeRuntime.segment_moments

    def counted(self: AttributeRuntime, segment: FloatArray) -> Moments:
        encoded.append(segment.size)
        return encode(self, segment)

    monkeypatch.setattr(AttributeRuntime, "segment_moments", counted)
    state = model.start_encoding()
    state.push(made_voice(3.0))  # one whole segment: from here on news must be worth it
    for piece in pieces(made_voice(2.5), SAMPLE_RATE // 4):
        state.push(piece)
        state.encoding()
    seconds = [size / SAMPLE_RATE for size in encoded]
    assert seconds == pytest.approx([3.0, 0.5, 1.5, 2.5])


def test_a_hearing_of_noise_is_refused_until_there_is_a_voice(model: AttributeModel) -> None:
    state = model.start_encoding()
    state.push(np.asarray(0.1 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE), np.float32))
    with pytest.raises(NoSpeech):
        state.encoding()


def test_a_long_call_stays_a_few_stretches_with_the_last_ones_fine() -> None:
    stretches: list[float] = []
    for _ in range(1200):
        stretches = merge_oldest([*stretches, 3.0], lambda one, other: one + other, float)
    assert len(stretches) == MOST_STRETCHES
    assert sum(stretches) == 3600.0
    assert stretches[-RECENT_STRETCHES:] == [3.0] * RECENT_STRETCHES
    assert max(stretches) < 2.1 * 3600 / (MOST_STRETCHES - RECENT_STRETCHES), "none holds most of the call"


def test_after_an_hour_another_voice_is_still_noticed_and_little_is_kept(
    model: AttributeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    man, woman = (read_recording(EXAMPLES / name).waveform for name in ("male.flac", "female.mp3"))
    said = {len(voice): model.runtime.segment_moments(voice[: 3 * SAMPLE_RATE]) for voice in (man, woman)}
    now = len(man)
    monkeypatch.setattr(AttributeRuntime, "segment_moments", lambda self, segment: said[now])
    state = model.start_encoding()
    for _ in range(1200):
        state.push(np.zeros(3 * SAMPLE_RATE, np.float32))
    alone = state.encoding()
    assert isinstance(alone, AttributeEncoding)
    assert len(alone.moments) == MOST_STRETCHES
    assert alone.reading.seconds == pytest.approx(1200 * 3, rel=0.05)
    assert alone.speaker_change() == pytest.approx(1.0, abs=1e-4)
    now = len(woman)
    state.push(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert state.encoding().speaker_change() < model.release.thresholds["same_speaker_cosine"]


@pytest.mark.parametrize("seconds", [0.5, 2.9, 5.9, 6.0, 7.0, 9.7, 12.4, 31.3])
@pytest.mark.parametrize("size", [4000, 10**6])
def test_a_paired_model_hears_a_stream_as_a_recording(paired: Model, seconds: float, size: int) -> None:
    speech = made_voice(seconds)
    state, recorded = paired.start_encoding(), paired.encode(speech)
    for number, piece in enumerate(pieces(speech, size)):
        state.push(piece)
        if number % 7 == 0:
            state.encoding()  # a look in between changes nothing
    encoded: Any = state.encoding()
    expected = recorded.belief(Given()).mean
    np.testing.assert_allclose(encoded.belief(Given()).mean, expected, atol=1e-5 * float(np.linalg.norm(expected)))
    segments: Any = recorded
    assert [part.count for part in encoded.segments] == [part.count for part in segments.segments]
