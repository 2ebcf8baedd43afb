from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="calibration reads the torch encoder's outputs; install the extra `train`")

from recipes.starter.calibration import Heard, beliefs, fit, interval_coverage, log_prior
from recipes.starter.readings import Readings
from speech2face.evaluation.clips import Speaker
from speech2face.metrics.attributes import coverage
from speech2face.voice.belief import BIN_CENTRES


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
    calibration = fit([Heard(readings, speakers)], speakers)
    assert 2.5 < calibration.age_temperature * 5.0**-calibration.age_temperature_slope < 6.0
    held_out, others = planted(400, overconfidence=4.0)
    assert coverage(*interval_coverage(held_out, others, calibration)) == pytest.approx(0.8, abs=0.02)


def test_a_shifted_gender_logit_is_shifted_back() -> None:
    readings, speakers = planted(400, overconfidence=1.0)
    calibration = fit([Heard(readings, speakers)], speakers)
    assert calibration.gender_bias == pytest.approx(-1.5, abs=0.6)
    assert calibration.femininity(1.5) == pytest.approx(0.5, abs=0.1)


def test_the_corpus_prior_counts_a_decade_in_both_its_bins() -> None:
    def person(age: tuple[int, int]) -> Speaker:
        return Speaker("x", Path("x"), 5.0, "A", "en", "male", age, False, "train")

    prior = np.exp(log_prior([person((20, 30))] * 90 + [person((60, 70))] * 10))
    assert prior.sum() == pytest.approx(1)
    assert prior[3] == prior[4] == pytest.approx((45 + 5) / (100 + 5 * 18))
    assert prior[11] == pytest.approx((5 + 5) / (100 + 5 * 18))


def test_the_prior_is_flattened_only_as_far_as_the_error_allows() -> None:
    readings, speakers = planted(300, overconfidence=1.0)
    skewed = speakers[:5] + [s for s in speakers if s.age is not None and s.age[0] < 40] * 5
    calibration = fit([Heard(readings, speakers)], skewed)
    stated = np.array([belief.age_mean for belief in beliefs(readings, calibration)])
    error = np.abs(stated - [s.age_years for s in speakers]).mean()
    assert error <= 9.0
    assert max(calibration.age_prior) > 0  # some of it is gone: rare ages are raised
