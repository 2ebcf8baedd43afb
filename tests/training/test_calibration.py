from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="calibration reads the torch encoder's outputs; install the extra `train`")

from speech2face.evaluation.attributes import coverage
from speech2face.evaluation.voices import Readings
from speech2face.training.calibration import Heard, fit, interval_coverage, prior_shift
from speech2face.training.corpus import Speaker
from speech2face.voice.age import BIN_CENTRES


def planted(count: int, overconfidence: float) -> tuple[Readings, list[Speaker]]:
    """Adults whose age scatters by ten years around what is heard; logits `overconfidence` times too sure."""
    rng = np.random.default_rng(0)
    speakers, logits, gender = [], [], []
    for index in range(count):
        age = int(np.clip(rng.normal(40, 12), 19, 79))
        heard = age + rng.normal(0, 10)
        female = bool(rng.uniform() < 0.5)
        sex = "female" if female else "male"
        speakers.append(Speaker(f"s{index}", Path("x"), 5.0, "A", "en", sex, (age, age + 1), False, "calibration"))  # type: ignore[arg-type]
        posterior = 40 + (heard - 40) * 144 / 244
        logits.append(-0.5 * overconfidence * ((BIN_CENTRES - posterior) / np.sqrt(144 * 100 / 244)) ** 2)
        gender.append((4.0 if female else -4.0) + rng.normal(0, 3) + 1.5)
    zeros = np.zeros(count)
    return Readings(
        np.array(gender), np.array(logits), zeros, zeros, np.zeros((count, 2)), np.full(count, 5.0)
    ), speakers


def test_an_overconfident_encoder_is_cooled_until_four_fifths_are_covered() -> None:
    readings, speakers = planted(400, overconfidence=4.0)
    calibration = fit([Heard(readings, speakers)], speakers, 0.0)
    assert 2.5 < calibration.age_temperature * 5.0**-calibration.age_temperature_slope < 6.0
    held_out, others = planted(400, overconfidence=4.0)
    assert coverage(*interval_coverage(held_out, others, calibration)) == pytest.approx(0.8, abs=0.02)


def test_a_shifted_gender_logit_is_shifted_back() -> None:
    readings, speakers = planted(400, overconfidence=1.0)
    calibration = fit([Heard(readings, speakers)], speakers, 0.0)
    assert calibration.gender_bias == pytest.approx(-1.5, abs=0.6)
    assert calibration.femininity(1.5) == pytest.approx(0.5, abs=0.1)


def test_balanced_sampling_shifts_the_prior_towards_rare_ages_and_no_balancing_leaves_it() -> None:
    def person(age: tuple[int, int]) -> Speaker:
        return Speaker("x", Path("x"), 5.0, "A", "en", "male", age, False, "train")

    speakers = (
        [person((20, 30))] * 90
        + [person((60, 70))] * 10
        + [Speaker("y", Path("x"), 5.0, "A", "en", None, None, False, "train")]
    )
    np.testing.assert_allclose(prior_shift(speakers, 0.0), 0, atol=1e-6)
    shift = prior_shift(speakers, 1.0)
    assert shift[3] > 0.3  # more people in their twenties than the network was shown
    assert shift[11] < -0.3
