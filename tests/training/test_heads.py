from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the heads are torch; install the extra `train`")

from recipes.starter.features import Packed
from recipes.starter.heads import (
    Crops,
    balanced,
    fit_child,
    fit_distance,
    fit_embedding,
    fit_gender,
    fit_typical_distance,
    fit_voice,
    gather,
    logistic,
    ridge,
    standard,
)
from recipes.starter.readings import moments_of, read_packed
from speech2face.audio.spectrogram import LEAST_VARIANCE
from speech2face.evaluation.clips import Speaker
from speech2face.training.pretrained import VoiceHead, WhisperConfig

SMALL = WhisperConfig(layers=1, width=3, speaker_embedding=2, distance_axes=2)


def speaker(
    name: str, gender: str | None = "female", age: tuple[int, int] | None = (20, 30), source: str = "A"
) -> Speaker:
    return Speaker(name, Path("x"), 5.0, source, "en", gender, age, False, "train")  # type: ignore[arg-type]


def crops(x: np.ndarray, whose: np.ndarray, channel: np.ndarray | None = None) -> Crops:
    """Crops of so many numbers, every speaker weighing one."""
    weight = 1 / np.bincount(whose)[whose]
    channels = np.zeros(len(x), int) if channel is None else channel
    return Crops(x.astype(np.float32), whose, channels, weight, np.ones(len(x), bool), np.full(len(x), 3.0))


def pack(folder: Path, rows: list[tuple[int, int, float]], statistics: np.ndarray) -> Packed:
    np.savez(folder / "clean.npz", rows=np.array(rows, np.float32), statistics=statistics.astype(np.float16))
    return Packed(folder, "clean")


def test_segments_pool_to_the_statistics_of_all_their_frames(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((450, 3))
    parts = [values[:150], values[150:]]
    statistics = np.stack([np.stack([part.mean(0), part.std(0)]) for part in parts])
    packed = pack(tmp_path, [(4, 0, 3.0), (4, 0, 6.0)], statistics)
    pooled = packed.pooled(4)
    assert pooled is not None and pooled[1] == 9
    np.testing.assert_allclose(pooled[0], np.concatenate([values.mean(0), values.std(0)]), atol=2e-3)
    first = packed.pooled(4, 3.0)
    assert first is not None and first[1] == 3
    np.testing.assert_allclose(first[0], statistics[0].reshape(-1), atol=2e-3)
    assert packed.pooled(4, 10.0) is None and packed.pooled(4, 1) is None and packed.pooled(5) is None


def test_every_speaker_weighs_one_however_many_crops_there_are(tmp_path: Path) -> None:
    statistics = np.ones((4, 2, 3))
    pack(tmp_path, [(0, 0, 3.0), (0, 1, 1.0), (0, 2, 2.0), (1, 0, 3.0)], statistics)
    found = gather(tmp_path, [0, 1], ("clean",))
    np.testing.assert_allclose(np.bincount(found.speaker, found.weight), [1, 1])
    assert found.whole.tolist() == [True, False, False, True]
    centre, _scale = standard(found)
    np.testing.assert_allclose(centre, 1, atol=1e-3)


def test_a_reading_goes_through_the_head_as_in_use(tmp_path: Path) -> None:
    statistics = np.abs(np.random.default_rng(1).standard_normal((1, 2, 3))) + 0.1
    head = VoiceHead(SMALL)
    packed = pack(tmp_path, [(2, 0, 4.0)], statistics)
    readings = read_packed(head, packed, [1, 2])
    assert readings.speaker.tolist() == [2] and readings.seconds.tolist() == [4.0]
    pooled = head.pooled(moments_of(statistics.reshape(1, -1).astype(np.float32), np.ones(1)))
    np.testing.assert_allclose(pooled.numpy(), statistics.reshape(1, -1), atol=LEAST_VARIANCE + 1e-3)
    said = head(moments_of(statistics.reshape(1, -1).astype(np.float32), np.ones(1)))
    np.testing.assert_allclose(readings.gender_logit, said.gender_logit.detach().numpy(), atol=1e-2)


def test_a_voice_is_not_known_by_being_short_where_sounds_are_long() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3)) * 0.1
    x[:, 0] += 1  # of voices
    seconds = np.tile([1.0, 3.0], 100)
    x[seconds < 2, 1] += 5  # of all that is short
    voices = replace(crops(x, np.arange(200)), seconds=seconds)
    slope, bias = fit_voice(voices, (rng.standard_normal((100, 3)) * 0.1).astype(np.float32), penalty=0.1)
    short_sound = np.array([0.0, 5.0, 0.0])
    assert short_sound @ slope + bias < 0


def test_distance_is_told_beside_what_is_typical_of_so_many_seconds() -> None:
    seconds = np.array([1.0, 2.0, 4.0, 8.0])
    at_one, fall = fit_typical_distance(1.5 * seconds**-0.5, seconds)
    assert (at_one, fall) == pytest.approx((1.5, 0.5))


def test_ridge_regression_is_that_of_the_kernel_and_finds_a_planted_line() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 90)).astype(np.float32)
    y = x[:, 0] * 3 + 30
    slope, bias = ridge(x, y, np.ones(40), 0.5)
    kernel = x @ x.T / 90
    expected = kernel @ np.linalg.solve(kernel + 0.5 * np.eye(40), y - y.mean()) + y.mean()
    np.testing.assert_allclose(x @ slope + bias, expected, atol=1e-2)


def test_logistic_regression_finds_the_planted_boundary() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3)).astype(np.float32)
    positive = rng.uniform(size=4000) < 1 / (1 + np.exp(-(2.0 * x[:, 0] - x[:, 1] + 0.5)))
    slope, bias = logistic(x, positive, np.ones(4000), penalty=1e-3)
    np.testing.assert_allclose(slope, [2.0, -1.0, 0.0], atol=0.2)
    assert bias == pytest.approx(0.5, abs=0.2)
    assert np.abs(logistic(x, positive, np.ones(4000), penalty=1e7)[0]).max() < 1e-2


def test_both_genders_weigh_the_same_in_every_channel() -> None:
    female = np.array([True, False, False, False, True, True, False])
    channel = np.array([0, 0, 0, 0, 1, 1, 1])
    weights = balanced(np.ones(7), female, channel)
    for value in (0, 1):
        here = channel == value
        assert weights[here & female].sum() == pytest.approx(weights[here & ~female].sum())


def test_a_channel_whose_sound_is_shifted_does_not_shift_the_threshold() -> None:
    """Twice as many men, heard through a channel that moves one number: the line must not learn the channel."""
    rng = np.random.default_rng(0)
    people = [speaker(str(i), "female" if i % 3 == 0 else "male") for i in range(300)]
    heard = []
    for channel in (0, 1):
        voice = np.array([1.0 if p.gender == "female" else -1.0 for p in people]) + rng.normal(0, 0.4, 300)
        heard.append(np.stack([voice, np.full(300, 2.0 * channel) + rng.normal(0, 0.1, 300)], 1))
    both = crops(np.concatenate(heard), np.tile(np.arange(300), 2), np.repeat([0, 1], 300))
    slope, bias = fit_gender(both, people, penalty=1e-2)
    for channel in (0, 1):
        boundary = -(bias + slope[1] * 2.0 * channel) / slope[0]
        assert abs(boundary) < 0.15


def test_children_are_told_apart_from_adults_of_their_own_corpus() -> None:
    """A corpus of children and adults beside one of adults: a number that only marks the corpus is not used."""
    rng = np.random.default_rng(0)
    ages = [(8, 9)] * 40 + [(30, 31)] * 40 + [(30, 31)] * 200
    people = [speaker(str(i), age=age, source="home" if i < 80 else "away") for i, age in enumerate(ages)]
    young = np.array([i < 40 for i in range(280)])
    home = np.array([i < 80 for i in range(280)])
    x = np.stack([young + rng.normal(0, 0.3, 280), home * 3.0], 1).astype(np.float32)
    slope, bias = fit_child(crops(x, np.arange(280)), people, penalty=1e-2)
    said = x @ slope + bias > 0
    assert said[young].mean() > 0.9 and said[~young & home].mean() < 0.15 and said[~home].mean() < 0.15


def test_speakers_are_nearer_to_themselves_than_to_others() -> None:
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(60), 5)
    voice, channel = rng.standard_normal((60, 6)), rng.standard_normal((300, 6)) * np.array([0.1, 0.1, 3, 3, 3, 3])
    x = (voice[whose] * np.array([1, 1, 0.1, 0.1, 0.1, 0.1]) + channel).astype(np.float32)
    directions = fit_embedding(crops(x, whose), 2)
    assert np.abs(directions[:, :2]).sum() > 5 * np.abs(directions[:, 2:]).sum()
    axes = fit_distance(crops(x, whose), 6)
    assert np.square(x @ axes.T).mean() == pytest.approx(1, abs=0.02)
