from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="calibration reads the torch heads' outputs; install the extra `train`")

from recipes.starter.calibration import fit, interval_coverage, interval_masses
from recipes.starter.readings import Readings
from speech2face.evaluation.clips import Speaker
from speech2face.metrics.measures import coverage
from speech2face.voice.belief import BIN_CENTRES, Calibration

SECONDS = 5.0


def planted(count: int, spread_years: float, seed: int = 0) -> tuple[Readings, list[Speaker]]:
    """Adults of 19 to 79 whose stated age scatters by `spread_years`; every tenth person is a child besides."""
    rng = np.random.default_rng(seed)
    speakers, ages = [], []
    for index in range(count):
        age = 8 if index % 10 == 9 else int(np.clip(rng.normal(40, 12), 19, 79))
        sex = "female" if rng.uniform() < 0.3 else "male"
        speakers.append(Speaker(f"s{index}", Path("x"), 5.0, "A", "en", sex, (age, age + 1), False, "calibration"))  # type: ignore[arg-type]
        ages.append(age + rng.normal(0, spread_years))
    stated = np.array(ages)[:, None]
    female = np.array([speaker.gender == "female" for speaker in speakers])
    child = np.array([speaker.is_child for speaker in speakers])
    readings = Readings(
        speaker=np.arange(count),
        seconds=np.full(count, SECONDS),
        gender_logit=np.where(female, 4.0, -4.0) + rng.normal(0, 3, count) + 1.5,
        voice_logit=np.ones(count),
        child_logit=np.where(child, 2.0, -2.0) + rng.normal(0, 0.5, count),
        distance=np.ones(count),
        age_logits=(stated * BIN_CENTRES - 0.5 * BIN_CENTRES**2) / 100,
    )
    return readings, speakers


@pytest.mark.parametrize("spread", [6.0, 14.0])
def test_the_interval_holds_four_fifths_of_people_that_calibration_has_not_seen(spread: float) -> None:
    readings, speakers = planted(800, spread)
    calibration = fit([[readings]], speakers, Calibration())
    held_out, others = planted(1500, spread, seed=2)
    assert coverage(*interval_coverage(held_out, others, calibration)) == pytest.approx(0.8, abs=0.04)


def test_the_interval_is_set_between_the_best_and_the_worst_channel() -> None:
    clean, speakers = planted(800, 6.0)
    noisy, _ = planted(800, 12.0)  # the same people, since age and gender are drawn from the same seed
    calibration = fit([[clean], [clean], [noisy]], speakers, Calibration())
    held = [coverage(*interval_coverage(part, speakers, calibration)) for part in (clean, noisy)]
    assert sum(held) / 2 == pytest.approx(0.8, abs=0.01) and held[0] > 0.85


def test_a_shifted_gender_logit_is_shifted_back_though_most_are_men() -> None:
    readings, speakers = planted(400, 8.0)
    calibration = fit([[readings]], speakers, Calibration())
    assert calibration.gender_bias == pytest.approx(-1.5, abs=0.6)
    assert calibration.femininity(1.5) == pytest.approx(0.5, abs=0.1)


def test_the_child_threshold_lies_between_children_and_adults() -> None:
    readings, speakers = planted(400, 8.0)
    assert 0.3 < fit([[readings]], speakers, Calibration()).child_threshold < 0.9


def test_a_recording_unlike_training_is_said_with_less_certainty_up_to_a_limit() -> None:
    calibration = Calibration(distance_free=1.5, distance_slope=1.0, distance_most=2.0)
    logits = (50 * BIN_CENTRES - 0.5 * BIN_CENTRES**2) / 100
    spreads = []
    for distance in (0.5, 1.5, 2.0, 2.5, 50.0):
        stated = calibration.age_probabilities(logits, SECONDS, distance)
        spreads.append(np.sqrt(stated @ (BIN_CENTRES - stated @ BIN_CENTRES) ** 2))
    np.testing.assert_allclose(np.array(spreads) / spreads[0], np.sqrt([1, 1, 1.5, 2, 2]), rtol=0.02)


def test_an_exact_age_counts_two_years_on_both_sides_and_a_decade_in_both_its_bins() -> None:
    def person(age: tuple[int, int]) -> Speaker:
        return Speaker("x", Path("x"), 5.0, "A", "en", "male", age, False, "train")

    masses = interval_masses([person((22, 23)), person((20, 30))])
    np.testing.assert_allclose(masses[0, 3:5], [1.0, 0.0])
    np.testing.assert_allclose(masses[1, 3:5], [1.0, 1.0])
    assert interval_masses([person((24, 25))])[0, 3:5] == pytest.approx([0.6, 0.4])
