import numpy as np
import pytest

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import FRAME, Activity, find_speech, high_band_db, require_speech, snr_db
from speech2face.errors import NoSpeech, SilentRecording, TooLittleSpeech
from tests.voices import made_voice


def padded(speech: FloatArray, seconds: float) -> FloatArray:
    silence = (1e-4 * np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)
    return np.concatenate([silence, speech, silence])


def test_speech_between_pauses_is_found_where_it_is() -> None:
    activity = find_speech(padded(made_voice(3.0), 2.0))
    assert len(activity.spans) >= 1
    assert activity.spans[0][0] == pytest.approx(2.0 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)
    assert activity.spans[-1][1] == pytest.approx(5.0 * SAMPLE_RATE, abs=0.3 * SAMPLE_RATE)
    assert activity.speech().size == activity.seconds * SAMPLE_RATE
    assert activity.speech().size + activity.background().size == activity.waveform.size


def test_level_and_direct_current_do_not_change_what_is_found() -> None:
    voice = padded(made_voice(3.0), 1.0)
    reference = find_speech(voice).spans
    assert find_speech((voice * 0.01).astype(np.float32)).spans == reference
    assert find_speech((voice * 0.5 + 0.4).astype(np.float32)).spans == reference


def test_one_click_does_not_hide_the_voice() -> None:
    voice = padded(made_voice(3.0) * np.float32(0.01), 1.0)
    voice[5000:5003] = 1.0
    assert find_speech(voice).seconds > 2.5


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3])
@pytest.mark.parametrize("seconds", [60, 95, 130, 300])
def test_a_few_words_in_a_long_silent_room_are_found_and_the_room_is_not_speech(seconds: int, level: float) -> None:
    voice, before = made_voice(5.0), seconds * SAMPLE_RATE
    room = np.asarray(level * np.random.default_rng(0).standard_normal(before), np.float32)
    activity = find_speech(np.concatenate([room, voice]))
    assert activity.seconds == pytest.approx(find_speech(voice).seconds, abs=0.4)
    assert sum(max(0, min(stop, before) - start) for start, stop in activity.spans) < 0.4 * SAMPLE_RATE


def test_somebody_far_off_is_heard_beside_doors_that_slam() -> None:
    far = made_voice(40.0) * np.float32(0.02)
    rng = np.random.default_rng(0)
    room = np.asarray(10 ** (-62 / 20) * rng.standard_normal(far.size + 60 * SAMPLE_RATE), np.float32)
    room[: far.size] += far
    for seconds in range(42, 98, 7):  # two seconds in all
        room[seconds * SAMPLE_RATE :][: SAMPLE_RATE // 4] = 0.3 * rng.standard_normal(SAMPLE_RATE // 4)
    heard = sum(max(0, min(stop, far.size) - start) for start, stop in find_speech(room).spans)
    assert heard > 0.9 * far.size


def test_quiet_words_in_digital_silence_are_not_silence() -> None:
    voice = made_voice(3.0)
    quiet = voice * np.float32(10 ** (-60 / 20) / np.sqrt(np.mean(np.square(voice))))
    assert require_speech(np.concatenate([quiet, np.zeros(60 * SAMPLE_RATE, np.float32)])).seconds > 2.5


@pytest.mark.parametrize(
    "waveform", [np.zeros(0, np.float32), np.zeros(32_000, np.float32), np.full(32_000, 0.3, np.float32)]
)
def test_silence_is_refused_also_with_direct_current(waveform: FloatArray) -> None:
    with pytest.raises(SilentRecording, match="silent"):
        require_speech(waveform)


def test_a_very_quiet_hiss_is_silence_and_a_loud_click_train_no_speech() -> None:
    clicks = np.zeros(48_000, np.float32)
    clicks[::4000] = 0.9
    with pytest.raises(NoSpeech):
        require_speech(clicks)


def test_half_a_second_of_voice_is_too_little_and_the_message_says_how_much_was_heard() -> None:
    with pytest.raises(TooLittleSpeech, match=r"only 0\.\d s"):
        require_speech(padded(made_voice(0.5), 1.0))


def test_snr_is_measured_within_three_decibels() -> None:
    voice = padded(made_voice(4.0), 1.0)
    rng = np.random.default_rng(1)
    for expected in (10.0, 20.0):
        speech_power = float(np.mean(made_voice(4.0) ** 2))
        noise = rng.standard_normal(voice.size) * np.sqrt(speech_power * 10 ** (-expected / 10))
        noisy = (voice + noise).astype(np.float32)
        activity = Activity(noisy, ((SAMPLE_RATE // FRAME * FRAME, 5 * SAMPLE_RATE // FRAME * FRAME),))
        assert snr_db(activity) == pytest.approx(expected, abs=3)


def test_a_telephone_line_has_no_high_band() -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal(SAMPLE_RATE).astype(np.float32)
    spectrum = np.fft.rfft(wide)
    spectrum[np.fft.rfftfreq(wide.size, 1 / SAMPLE_RATE) > 3800] = 0
    narrow = np.fft.irfft(spectrum, wide.size).astype(np.float32)
    assert high_band_db(wide) == pytest.approx(0, abs=1)
    assert high_band_db(narrow) < -40
