import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reads the torch heads; install the extra `train`")

from recipes.starter.channels import CHANNELS, FIXED, babble_of, heard, no_voice, traffic, wind  # noqa: E402
from recipes.starter.scores import ALL_SOURCES, Row, markdown, write_csv  # noqa: E402
from speech2face.audio.recording import can_encode  # noqa: E402
from speech2face.metrics.intervals import Estimate  # noqa: E402
from tests.voices import made_voice  # noqa: E402

ROWS = [
    Row("age_spearman", "clean", "3", ALL_SOURCES, Estimate(0.41234, 0.3, 0.5, 200), 0.0),
    Row("age_spearman", "clean", "3", "LibriSpeech", Estimate(0.2, 0.1, 0.3, 20), 0.0),
    Row("age_spearman", "telephone", "3", ALL_SOURCES, Estimate(0.38, 0.3, 0.5, 190), 0.0),
]
BABBLE = babble_of(lambda row: made_voice(2.0, 100.0 + 20 * row), range(5))


def test_the_table_has_a_line_a_condition_and_the_csv_every_row(tmp_path: Path) -> None:
    table = markdown(ROWS, ("age_spearman",)).splitlines()
    assert table[2:] == ["| clean | 3 | 0.412 [0.3, 0.5] |", "| telephone | 3 | 0.38 [0.3, 0.5] |"]
    write_csv(ROWS, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [ALL_SOURCES, "LibriSpeech", ALL_SOURCES]
    assert rows[1]["speakers"] == "20"


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("seed", range(3))
def test_every_channel_gives_finite_sound_of_about_the_same_length(channel: str, seed: int) -> None:
    if not can_encode("libopencore_amrnb"):
        pytest.skip("this PyAV cannot encode AMR")
    voice = made_voice(2.0)
    changed = heard(voice, channel, BABBLE, np.random.default_rng(seed), fixed=False)
    assert changed.dtype == np.float32 and np.isfinite(changed).all()
    assert abs(changed.size - voice.size) < 0.2 * 16_000
    assert (channel == "clean") == (changed.size == voice.size and np.array_equal(changed, voice))


def test_fixed_channels_differ_by_the_speaker_alone() -> None:
    voice = made_voice(2.0)
    for channel in FIXED:
        once, again = (heard(voice, channel, BABBLE, np.random.default_rng(7), fixed=True) for _ in range(2))
        np.testing.assert_array_equal(once, again)


def test_the_noisy_channel_has_the_stated_ratio_of_voice_to_noise() -> None:
    voice = made_voice(4.0)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        changed = heard(voice, "noisy", BABBLE, rng, fixed=True)
        gain = float(changed @ voice / (voice @ voice))
        noise = changed - gain * voice
        assert 10 * np.log10(gain**2 * np.mean(voice**2) / np.mean(noise**2)) == pytest.approx(10, abs=1.5)


def test_wind_and_traffic_are_low_sounds_and_sounds_without_speech_last_two_to_six_seconds() -> None:
    for make in (wind, traffic):
        sound = make(48_000, np.random.default_rng(1))
        power = np.abs(np.fft.rfft(sound)) ** 2
        assert power[: 1000 * 3].sum() > 0.7 * power.sum()  # under 1 kHz
    assert all(32_000 <= no_voice(np.random.default_rng(seed)).size <= 96_000 for seed in range(10))
