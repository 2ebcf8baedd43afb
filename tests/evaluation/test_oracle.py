"""The meter itself: in a planted world the best prediction earns the known best, and cheats earn what the docs say."""

from functools import cache

import numpy as np
import pytest

from recipes.planted import world as bounds
from recipes.planted.synthesiser import draw_traits
from speech2face.evaluation.parts import retrieval
from speech2face.evaluation.parts import retrieval as matching
from speech2face.evaluation.parts import similarity as consistency
from speech2face.evaluation.parts import similarity as feature_similarity
from speech2face.evaluation.parts import similarity as projection
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import Part
from tests.evaluation.planted_sets import SPEAKERS, WORLD, number, oracle, predicting, reached

RESAMPLINGS = 300
SHUFFLE = np.random.default_rng(3).permutation(SPEAKERS)


@cache
def matched(evaluation: EvaluationSet) -> Part:
    return matching.measure_matching(evaluation, resamplings=RESAMPLINGS)


def test_an_oracle_reaches_the_best_feature_similarity() -> None:
    part = feature_similarity.measure_feature_similarity(oracle())
    r2, cosine = number(part, "r2"), number(part, "cosine")
    assert reached(r2, bounds.best_r2(WORLD))
    assert r2.mean_face == pytest.approx(0, abs=0.01)
    # The best prediction in the sense of least squares earns a little less cosine than the best direction would.
    best = bounds.best_cosine(WORLD, speakers=500, draws=200)
    assert cosine.estimate.low - 0.01 < best < cosine.estimate.high + 0.01
    assert cosine.mean_face == pytest.approx(bounds.constant_cosine(WORLD, speakers=3000), abs=0.02)
    assert cosine.chance == pytest.approx(bounds.unrelated_cosine(WORLD, speakers=3000), abs=0.02)


def test_an_oracle_reaches_the_best_recall_by_cosine() -> None:
    part = retrieval.measure_retrieval(oracle())
    for at in (1, 10):
        found = number(part, f"recall_at_{at}", distance="cosine", reading="clip")
        assert reached(found, bounds.cosine_recall(WORLD, at, SPEAKERS, repeats=4))
        assert found.chance == pytest.approx(at / SPEAKERS)


def test_an_oracle_wins_as_many_choices_as_drawn_trials_of_other_people_say() -> None:
    # Independent: pairs of fresh people are drawn, one of them speaks, and the nearer face is chosen.
    traits = draw_traits(range(16_000), seed=99)
    faces, said = WORLD.face_embedding(traits), WORLD.best_prediction(traits.shared)
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (faces, said)]
    own = (units[0] * units[1]).sum(1)
    to_face = np.mean(own > (np.roll(units[0], 1, axis=0) * units[1]).sum(1))
    to_voice = np.mean(own > (units[0] * np.roll(units[1], 1, axis=0)).sum(1))
    area = np.mean(own > np.roll((units[0] * np.roll(units[1], 1, axis=0)).sum(1), 7))
    part = matched(oracle())
    assert reached(number(part, "choice_accuracy", direction="voice to face", foils="anyone", choices="2"), to_face)
    assert reached(number(part, "choice_accuracy", direction="face to voice", foils="anyone", choices="2"), to_voice)
    assert reached(number(part, "verification_auc", foils="anyone"), area)


def test_a_constant_earns_chance_in_every_choice_between_faces() -> None:
    constant = oracle().mean_face(leave_speaker_out=False)
    part = matched(predicting(oracle(), constant))
    for ways in (2, 5, 10):
        found = number(part, "choice_accuracy", direction="voice to face", foils="anyone", choices=str(ways))
        assert found.estimate.value == pytest.approx(1 / ways, abs=1e-4)
        assert found.mean_face == pytest.approx(found.estimate.value, abs=1e-9)
        found = number(part, "choice_accuracy", direction="face to voice", foils="anyone", choices=str(ways))
        assert found.estimate.value == 0  # all voices are alike, and ties are lost
    assert number(part, "verification_auc", foils="anyone").estimate.value == pytest.approx(0.5, abs=1e-3)
    assert number(part, "verification_eer", foils="anyone").estimate.value == pytest.approx(0.5, abs=5e-3)
    part = retrieval.measure_retrieval(predicting(oracle(), constant))
    found = number(part, "recall_at_10", distance="cosine", reading="clip")
    assert found.estimate.value == pytest.approx(10 / SPEAKERS)
    assert number(part, "map", distance="cosine").estimate.value == pytest.approx(
        number(part, "map", distance="cosine").chance, rel=1e-3
    )


def test_the_mean_face_of_the_gender_earns_what_stands_beside_the_oracle_and_nothing_within_a_gender() -> None:
    means = oracle().gender_mean_face(leave_speaker_out=False)
    of_oracle, of_means = (matched(each) for each in (oracle(), predicting(oracle(), means)))
    anyone = {"direction": "voice to face", "foils": "anyone", "choices": "2"}
    found = number(of_means, "choice_accuracy", **anyone)
    beside = number(of_oracle, "choice_accuracy", **anyone).gender_mean_face
    assert found.estimate.value == pytest.approx(beside, abs=1e-9)
    assert 0.6 < found.estimate.value < 0.8
    within = number(of_means, "choice_accuracy", **(anyone | {"foils": "same gender"}))
    assert within.estimate.value == pytest.approx(0.5, abs=1e-3)
    assert number(of_means, "verification_auc", foils="same gender").estimate.value == pytest.approx(0.5, abs=0.01)
    ranked = number(retrieval.measure_retrieval(predicting(oracle(), means)), "map", distance="cosine")
    assert ranked.estimate.value == pytest.approx(ranked.gender_mean_face, abs=1e-6)


def test_the_answers_for_other_people_earn_chance() -> None:
    shuffled = predicting(oracle(), oracle().predicted[6.0][SHUFFLE])
    part = matched(shuffled)
    for foils in ("anyone", "same gender"):
        assert reached(number(part, "verification_auc", foils=foils), 0.5)
        for direction in ("voice to face", "face to voice"):
            found = number(part, "choice_accuracy", direction=direction, foils=foils, choices="2")
            assert reached(found, 0.5)
    # Errors of unrelated answers add up the variance of both sides.
    assert reached(number(feature_similarity.measure_feature_similarity(shuffled), "r2"), -bounds.best_r2(WORLD))
    ranked = number(retrieval.measure_retrieval(shuffled), "median_rank_percent", distance="cosine")
    assert reached(ranked, 50)


def test_known_noise_from_clip_to_clip_gives_the_known_consistency() -> None:
    noise = 0.5
    of_speakers = bounds.best_r2(WORLD) * WORLD.deviation**2
    of_clips = noise**2 * WORLD.embedding
    part = consistency.measure_consistency(oracle(200, 3, noise))
    assert reached(number(part, "icc"), of_speakers / (of_speakers + of_clips))
    assert reached(number(part, "spread_ratio"), np.sqrt(of_clips / (of_speakers + of_clips)))
    assert number(part, "icc").best == pytest.approx(1, abs=1e-4)  # all clips of a speaker show one face
    assert number(part, "identification").best == 1


def test_the_gender_of_the_world_is_told_from_predictions_at_least_as_well_as_from_faces() -> None:
    part = projection.measure_projection(oracle(), tsne=False)
    found = number(part, "separability", attribute="gender")
    assert found.chance == 0.5
    assert found.best is not None
    assert 0.75 < found.best < found.estimate.value
    random = np.random.default_rng(0).standard_normal(oracle().predicted[6.0].shape).astype(np.float32)
    nothing = number(
        projection.measure_projection(predicting(oracle(), random), tsne=False), "separability", attribute="gender"
    )
    assert reached(nothing, 0.5)
