"""The harder world: what its speakers share with their faces is how they move, and no average over time tells it."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.planted import world as bounds
from recipes.planted.ridge import movement, stationary
from recipes.planted.synthesiser import (
    FRAME_RATE,
    FREQUENCY_HZ,
    HEARD,
    SHARED,
    MovingVoice,
    Score,
    Voice,
    channel,
    draw_traits,
    synthesise,
    voice_of,
    write_score,
)
from recipes.planted.world import World
from speech2face.metrics.matching import cosine, explained_variance

WORLD = World(kind="movement")
TRAITS = SHARED["movement"]
LONG = 300 * FRAME_RATE


def voice(**traits: float) -> MovingVoice:
    """A middling voice but for these traits."""
    shared, heard = (np.array([traits.get(name, 0.0) for name in names["movement"]]) for names in (SHARED, HEARD))
    made = voice_of(shared, heard, "movement")
    assert isinstance(made, MovingVoice)
    return made


def long_score(**traits: float) -> Score:
    return write_score(voice(**traits), LONG, np.random.default_rng(0))


def recordings(made: Voice, seed: int, count: int = 24) -> list[NDArray[np.float32]]:
    return [synthesise(made, 2.0, np.random.default_rng([seed, number])) for number in range(count)]


def squared_t(one: list[NDArray[np.float64]], other: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Squared difference of two groups' means in its own standard error, (features,); about 1 where nothing differs."""
    a, b = np.stack(one), np.stack(other)
    return np.asarray((a.mean(0) - b.mean(0)) ** 2 / (a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b)))


def test_bounds_by_formula_are_what_drawn_speakers_of_the_harder_world_earn() -> None:
    traits = WORLD.traits(range(6000))
    assert traits.shared.shape[1] == len(TRAITS) and traits.heard.shape[1] == len(HEARD["movement"])
    faces = WORLD.face_embedding(traits).astype(np.float32)
    best = WORLD.best_prediction(traits.shared).astype(np.float32)
    assert bounds.best_r2(WORLD) == pytest.approx(0.75 * 0.81)
    assert explained_variance(best, faces) == pytest.approx(bounds.best_r2(WORLD), abs=0.02)
    assert cosine(best, faces).mean() == pytest.approx(bounds.best_cosine(WORLD, speakers=1000, draws=200), abs=0.02)
    cheat = np.broadcast_to(WORLD.mean, faces.shape)
    assert cosine(cheat, faces).mean() == pytest.approx(bounds.constant_cosine(WORLD, speakers=6000), abs=0.02)


def test_both_worlds_show_one_kind_of_face_so_that_its_decoder_and_head_serve_both() -> None:
    traits = draw_traits(range(20), seed=0)
    np.testing.assert_array_equal(WORLD.face_embedding(traits), World().face_embedding(traits))
    for one, other in zip(WORLD.teacher_head(), World().teacher_head(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_trait_that_is_heard_changes_one_thing_of_a_moving_voice() -> None:
    middle, changed = vars(voice()), []
    for trait in (*TRAITS, *HEARD["movement"]):
        other = vars(voice(**{trait: 1.0}))
        (name,) = [name for name in other if other[name] != middle[name]]
        changed.append(name)
    assert sorted(changed) == sorted(middle)


@pytest.mark.parametrize("trait", ["formant_speed", "formant_direction"])
def test_formants_are_as_often_at_each_place_however_they_move(trait: str) -> None:
    low, high = (np.log(long_score(**{trait: value}).formants_hz) for value in (-2.0, 2.0))
    spread = low.std(0)
    np.testing.assert_allclose(high.mean(0), low.mean(0), atol=0.15 * spread.max())
    for share in (10, 50, 90):
        np.testing.assert_allclose(
            (np.percentile(high, share, axis=0) - np.percentile(low, share, axis=0)) / spread, 0, atol=0.3
        )
    np.testing.assert_allclose(high.std(0) / spread, 1, atol=0.1)


def test_formants_move_as_fast_and_rise_as_quickly_as_the_traits_say() -> None:
    def speed(score: Score) -> float:
        return float(np.abs(np.diff(np.log(score.formants_hz[:, 1]))).mean() * FRAME_RATE)

    assert speed(long_score(formant_speed=1)) / speed(long_score()) == pytest.approx(2**0.4, rel=0.08)
    for direction in (-1.5, 0.0, 1.5):
        change = np.diff(long_score(formant_direction=direction).formants_hz[:, 1])
        rising = (change > 0).sum() / (change != 0).sum()
        assert rising == pytest.approx(voice(formant_direction=direction).rise_share, abs=0.04)


def test_syllables_come_faster_and_fill_the_same_share_of_the_time() -> None:
    slow, fast = long_score(speaking_rate=-2), long_score(speaking_rate=2)
    for track in ("voicing", "aspiration", "frication"):
        one, other = getattr(slow, track), getattr(fast, track)
        assert one.mean() == pytest.approx(other.mean(), rel=0.12)
        assert (one > 0.3 * one.max()).mean() == pytest.approx((other > 0.3 * other.max()).mean(), abs=0.04)

    def onsets(score: Score) -> int:
        return int(((score.voicing[1:] > 0.4) & (score.voicing[:-1] <= 0.4)).sum())

    assert onsets(fast) / onsets(slow) == pytest.approx(2 ** (4 * 0.3), rel=0.15)


@pytest.mark.parametrize("trait", TRAITS)
def test_averages_over_time_tell_nothing_of_a_shared_trait_and_movement_does(trait: str) -> None:
    # A voice without a microphone's or a speaker's differences around it: the least leak would show.
    low, high = (recordings(voice(**{trait: value}), seed) for seed, value in ((1, -2.0), (2, 2.0)))
    averages = squared_t([stationary(one) for one in low], [stationary(one) for one in high])
    assert np.nanmean(averages) < 4
    assert squared_t([movement(one) for one in low], [movement(one) for one in high]).max() > 40


def test_a_trait_that_leaked_into_the_average_would_be_found() -> None:
    leaking = recordings(voice(brightness=1.0), 3)  # a quarter of the distance that the shared traits are tested at
    middling = recordings(voice(), 0)
    assert np.nanmean(squared_t([stationary(one) for one in middling], [stationary(one) for one in leaking])) > 4


def test_a_channel_is_another_one_for_each_recording_and_as_uneven_as_asked_for() -> None:
    gains_db = np.array([20 * np.log10(channel(np.random.default_rng(seed), 6.0)) for seed in range(400)])
    assert float(gains_db[:, FREQUENCY_HZ > 150].std()) == pytest.approx(6.0, rel=0.1)
    np.testing.assert_allclose(gains_db.mean(0), 0, atol=1.5)
    assert np.abs(np.diff(gains_db[:, FREQUENCY_HZ > 1000], axis=1)).max() < 3  # smooth: no harmonic of a voice is so


def test_only_the_harder_world_has_channels() -> None:
    assert World().channel_db == 0 and WORLD.channel_db > 0
    (heard,) = WORLD.waveforms(range(1), 1.0)
    traits = WORLD.traits(range(1))
    speaker = voice_of(traits.shared[0], traits.heard[0], "movement")
    plain = synthesise(speaker, 1.0, np.random.default_rng([WORLD.seed, 0, 1]))
    assert np.abs(heard - plain).max() > 0.01


def test_a_moving_voice_that_begins_in_the_middle_is_of_the_length_asked_for() -> None:
    for rate in (-2.0, 2.0):
        made = replace(voice(speaking_rate=rate), jitter=0.0)
        assert synthesise(made, 1.3, np.random.default_rng(0)).shape == (20800,)
        assert long_score(speaking_rate=rate).formants_hz.shape == (LONG, 3)
