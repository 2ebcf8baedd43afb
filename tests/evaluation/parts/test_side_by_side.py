"""Curves over the seconds heard and models side by side: the same clips, paired differences, a collapse seen."""

from dataclasses import replace

import numpy as np
import pytest

from speech2face.evaluation.parts import retrieval
from speech2face.evaluation.parts import similarity as ablations
from speech2face.evaluation.parts import similarity as duration
from speech2face.evaluation.parts import similarity as feature_similarity
from speech2face.evaluation.predictions import EvaluationSet, StatedAttributes
from speech2face.evaluation.report import ModelFacts
from tests.evaluation.planted_sets import number, oracle

RNG = np.random.default_rng(0)


def hearing(*noise: tuple[float, float]) -> EvaluationSet:
    """The planted oracle whose answers are disturbed by so much after so many seconds."""
    best = oracle(60).predicted[6.0]
    predicted = {
        heard: (best + deviation * RNG.standard_normal(best.shape)).astype(np.float32) for heard, deviation in noise
    }
    return replace(oracle(60), predicted=predicted, seconds=np.full(60, 10.0))


def test_the_curve_falls_as_answers_become_better_over_the_same_clips() -> None:
    heard = hearing((1.0, 2.0), (3.0, 1.0), (6.0, 0.0))
    part = duration.measure_duration(replace(heard, seconds=np.where(np.arange(60) < 40, 10.0, 2.0)))
    angles = [number(part, "angle_degrees", seconds=seconds) for seconds in ("1", "3", "6")]
    assert [found.clips for found in angles] == [40, 40, 40]
    assert angles[0].estimate.value > angles[1].estimate.value > angles[2].estimate.value
    table2 = number(feature_similarity.measure_feature_similarity(heard), "angle_degrees", seconds="6")
    assert table2.chance is not None and angles[2].chance == pytest.approx(table2.chance, abs=3)
    assert table2.gender_mean_face is not None and angles[2].gender_mean_face is not None
    assert {(e.reason, e.detail) for e in part.exclusions} == {("too_short", "under 6 s")} and len(
        part.exclusions
    ) == 20
    assert len(part.figures) == 1 and part.figures[0].png.startswith(b"\x89PNG")


def test_a_length_that_few_clips_have_is_left_out_and_said() -> None:
    heard = hearing((1.0, 1.0), (3.0, 0.5), (20.0, 0.0))
    part = duration.measure_duration(heard)
    assert {found.conditions["seconds"] for found in part.numbers} == {"1", "3"}
    assert any("20 s" in note for note in part.notes)
    assert duration.measure_duration(oracle(60)).skipped


def test_stated_attributes_make_a_curve_without_any_face() -> None:
    people = 40
    female, age = np.arange(people) % 2 == 0, np.linspace(20, 60, people)

    def stated(wrong: int, years: float) -> StatedAttributes:
        read = np.where(np.arange(people) < wrong, ~female, female).astype(np.float64)
        return StatedAttributes(age + years, age - 5, age + 5, read, np.zeros(people))

    heard = hearing((1.0, 0.0), (3.0, 0.0)).take(np.arange(people))
    labels = {"gender": tuple(np.where(female, "female", "male")), "age": tuple(f"{years:.1f}" for years in age)}
    part = duration.measure_duration(
        replace(heard, reference=None, labels=labels, stated={1.0: stated(10, 4), 3.0: stated(2, 1)})
    )
    right = [number(part, "gender_right", seconds=seconds).estimate.value for seconds in ("1", "3")]
    errors = [number(part, "age_error_years", seconds=seconds).estimate.value for seconds in ("1", "3")]
    assert right == pytest.approx([0.75, 0.95])
    assert errors == pytest.approx([4, 1], abs=0.3)  # whole years count as the middle of a year
    gender, error = number(part, "gender_right", seconds="1"), number(part, "age_error_years", seconds="3")
    assert (gender.mean_face, gender.gender_mean_face) == pytest.approx((0.5, 1.0))
    years = np.floor(age) + 0.5
    assert error.mean_face == pytest.approx(np.abs(years - np.median(years)).mean(), abs=0.3)
    assert error.chance == pytest.approx(np.abs(age[:, None] + 1 - years[None]).mean(), abs=0.3)
    assert error.gender_mean_face == pytest.approx(error.mean_face, abs=0.3)  # both genders are of all ages here


def test_a_model_against_itself_differs_by_nothing_and_a_better_one_by_an_interval_below_it() -> None:
    good, bad = hearing((6.0, 0.2)), hearing((6.0, 2.0))
    named = replace(bad, model=ModelFacts("bad"))
    part = ablations.measure_ablations([good, good, named])
    same = number(part, "angle_degrees_difference", model="oracle (2)")
    worse = number(part, "angle_degrees_difference", model="bad")
    assert (same.estimate.value, same.estimate.low, same.estimate.high) == (0, 0, 0)
    assert 0 < worse.estimate.low < worse.estimate.value
    own = [number(part, "angle_degrees", model=model).estimate.value for model in ("oracle (1)", "bad")]
    assert worse.estimate.value == pytest.approx(own[1] - own[0])


def test_a_collapse_to_one_face_is_seen_by_its_spread() -> None:
    good = hearing((6.0, 0.0))
    collapsed = replace(good, model=ModelFacts("collapsed"), predicted={6.0: good.mean_face(leave_speaker_out=False)})
    part = ablations.measure_ablations([good, collapsed])
    spread = {name: number(part, "spread_share", model=name).estimate.value for name in ("oracle", "collapsed")}
    r2 = {name: number(part, "r2", model=name).estimate.value for name in ("oracle", "collapsed")}
    assert spread["collapsed"] == pytest.approx(0, abs=1e-9) and spread["oracle"] > 0.4
    assert r2["collapsed"] == pytest.approx(0, abs=1e-6)
    assert r2["oracle"] == pytest.approx(
        number(feature_similarity.measure_feature_similarity(good), "r2").estimate.value, abs=1e-6
    )


def test_only_clips_that_all_models_heard_are_compared() -> None:
    good, deaf = hearing((6.0, 0.2)), hearing((6.0, 0.2))
    deaf.predicted[6.0][:25] = np.nan
    part = ablations.measure_ablations([good, replace(deaf, model=ModelFacts("deaf"))])
    assert {found.clips for found in part.numbers} == {35}


def test_one_model_or_no_length_in_common_is_skipped_with_what_to_give() -> None:
    assert "--model A --model B" in ablations.measure_ablations([oracle(60)]).skipped
    assert "same --seconds" in ablations.measure_ablations([hearing((3.0, 0.0)), hearing((6.0, 0.0))]).skipped


def test_without_references_nothing_is_made_up() -> None:
    bare = replace(oracle(60), reference=None)
    for part in (feature_similarity.measure_feature_similarity(bare), retrieval.measure_retrieval(bare)):
        assert part.skipped and not part.numbers


def test_missing_faces_and_answers_are_counted_and_the_rest_is_measured() -> None:
    whole = oracle(60)
    assert whole.reference is not None
    reference, predicted = whole.reference.copy(), whole.predicted[6.0].copy()
    reference[:4], predicted[10:13] = np.nan, np.nan
    broken = replace(whole, reference=reference, predicted={6.0: predicted})
    for part in (feature_similarity.measure_feature_similarity(broken), retrieval.measure_retrieval(broken)):
        assert [e.reason for e in part.exclusions] == ["no_reference"] * 4
        assert {found.clips for found in part.numbers} == {53}
        assert all(np.isfinite(found.estimate.value) for found in part.numbers)
    ranks = number(retrieval.measure_retrieval(broken), "mean_rank", distance="l2")
    assert ranks.chance == pytest.approx((56 + 1) / 2)  # who was not heard still stands in the gallery
