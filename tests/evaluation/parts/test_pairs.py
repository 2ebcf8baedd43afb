"""Matching, consistency, languages and maps over whole sets: what is left out is counted, what cannot be is said."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from speech2face.evaluation.parts import retrieval
from speech2face.evaluation.parts import retrieval as matching
from speech2face.evaluation.parts import similarity as consistency
from speech2face.evaluation.parts import similarity as feature_similarity
from speech2face.evaluation.parts import similarity as languages
from speech2face.evaluation.parts import similarity as projection
from speech2face.evaluation.pictures import PictureSet
from speech2face.evaluation.predictions import EvaluationSet, StatedAttributes
from speech2face.evaluation.report import Figure, Part
from speech2face.metrics.matching import Choices, cosine_similarity
from tests.evaluation.picture_sets import made_set
from tests.evaluation.planted_sets import number, oracle

FEW = 100  # resamplings


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The figure takes longer than all numbers; one test looks at it."""
    if "figure" not in request.node.name:
        monkeypatch.setattr(matching, "matching_figure", lambda *_: Figure("", "", b"", ""))


def few(speakers: int = 24, clips: int = 2, **labels: tuple[str, ...]) -> EvaluationSet:
    found = oracle(speakers, clips, 0.3)
    return replace(found, labels={**found.labels, **labels})


def with_gaps(evaluation: EvaluationSet) -> EvaluationSet:
    """Clip 1 has no face, clip 3 could not be heard."""
    assert evaluation.reference is not None
    reference, predicted = evaluation.reference.copy(), evaluation.predicted[6.0].copy()
    reference[1], predicted[3] = np.nan, np.nan
    return replace(evaluation, reference=reference, predicted={3.0: predicted, 6.0: predicted})


def reasons(part: Part) -> set[tuple[str, str, str]]:
    return {(exclusion.clip, exclusion.reason, exclusion.detail) for exclusion in part.exclusions}


def test_clips_without_face_or_prediction_are_left_out_and_counted() -> None:
    part = matching.measure_matching(with_gaps(few()), resamplings=FEW)
    expected = {("clip-1", "no_reference", ""), ("clip-3", "no_prediction", "3 s"), ("clip-3", "no_prediction", "6 s")}
    assert reasons(part) == expected
    assert len(part.exclusions) == 3
    found = number(part, "choice_accuracy", seconds="6", direction="voice to face", foils="anyone", choices="2")
    kept = few().take(np.delete(np.arange(48), [1, 3]))
    assert (found.clips, found.estimate.n) == (46, 24)
    alone = matching.measure_matching(kept, resamplings=FEW)
    again = number(alone, "choice_accuracy", direction="voice to face", foils="anyone", choices="2")
    assert again.estimate == found.estimate  # as if they had not been there


def test_clips_of_unknown_gender_are_foils_of_anyone_but_of_no_gender() -> None:
    gender = ("", "other", *few().labels["gender"][2:])
    part = matching.measure_matching(few(gender=gender), resamplings=FEW)
    assert reasons(part) == {("clip-0", "no_gender", ""), ("clip-1", "no_gender", "")}
    conditions = {"direction": "voice to face", "choices": "2"}
    assert number(part, "choice_accuracy", foils="anyone", **conditions).clips == 48
    assert number(part, "choice_accuracy", foils="same gender", **conditions).clips == 46
    assert number(part, "verification_auc", foils="same gender").clips == 46


def test_candidates_are_alike_in_age_and_group_where_labels_tell() -> None:
    decade = tuple("23" if row // 2 % 2 else "34" for row in range(48))
    group = tuple("east" if row < 2 else "west" for row in range(48))
    labelled = few(age=decade, group=group)
    part = matching.measure_matching(labelled, resamplings=FEW)
    foils = dict.fromkeys(found.conditions["foils"] for found in part.numbers)
    assert list(foils) == ["anyone", "same gender", "same gender and decade of age", "same gender and group"]
    # The one speaker of the east has no foil.
    conditions = {"direction": "voice to face", "choices": "2"}
    assert number(part, "choice_accuracy", foils="same gender and group", **conditions).clips == 46
    assert not any("age" in name or "group" in name for name in matching_foils(few()))


def matching_foils(evaluation: EvaluationSet) -> set[str]:
    return {found.conditions["foils"] for found in matching.measure_matching(evaluation, resamplings=FEW).numbers}


def test_only_the_longest_hearing_is_asked_among_five_and_ten() -> None:
    heard = few().predicted[6.0]
    part = matching.measure_matching(replace(few(), predicted={3.0: heard, 6.0: heard}), resamplings=FEW)
    asked = {(n.conditions["seconds"], n.conditions["choices"]) for n in part.numbers if n.metric == "choice_accuracy"}
    assert asked == {("3", "2"), ("6", "2"), ("6", "5"), ("6", "10")}


def test_the_figure_is_drawn_once_for_the_longest_hearing() -> None:
    heard = few().predicted[6.0]
    part = matching.measure_matching(replace(few(), predicted={3.0: heard[::-1], 6.0: heard}), resamplings=FEW)
    assert [figure.name for figure in part.figures] == ["matching"]
    assert part.figures[0].png.startswith(b"\x89PNG")
    assert matching.measure_matching(few(), resamplings=FEW).figures == part.figures


def test_too_many_clips_are_drawn_by_speakers_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_CLIPS", 20)
    part = matching.measure_matching(few(), resamplings=FEW)
    found = number(part, "verification_auc", foils="anyone")
    assert (found.clips, found.estimate.n) == (20, 10)
    assert [exclusion.reason for exclusion in part.exclusions] == ["not_drawn"] * 28


def test_a_speaker_of_very_many_clips_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_CLIPS", 20)
    monkeypatch.setattr(matching, "BASELINE_CLIPS", 12)
    part = matching.measure_matching(few(3, 30), resamplings=FEW)
    found = number(part, "choice_accuracy", direction="voice to face", foils="anyone", choices="2")
    assert (found.clips, found.estimate.n) == (20, 2)
    assert found.mean_face is not None
    assert [exclusion.reason for exclusion in part.exclusions] == ["not_drawn"] * 70


def test_without_faces_or_with_one_speaker_there_is_nothing_to_match() -> None:
    assert "no face embeddings" in matching.measure_matching(replace(few(), reference=None)).skipped
    alone = few().take(np.arange(2))
    assert "fewer than two speakers" in matching.measure_matching(alone, resamplings=FEW).skipped
    lost = replace(few(), reference=np.full_like(few().predicted[6.0], np.nan))
    part = matching.measure_matching(lost, resamplings=FEW)
    assert "fewer than two speakers" in part.skipped
    assert len(part.exclusions) == 48


class PictureOfTheFace:
    """A face embedder that reads the embedding back from the mean colour of a picture."""

    size = 3

    def embed(self, photograph: np.ndarray) -> np.ndarray | None:
        mean = photograph.reshape(-1, 3).mean(0)
        return None if mean[0] > 100 else np.asarray(mean / 255 - 0.5, np.float32)


def test_pictures_are_matched_by_what_an_embedder_sees_in_them() -> None:
    evaluation = made_set(12)
    colours = np.random.default_rng(0).integers(0, 160, (12, 3))
    pictures = PictureSet(
        evaluation,
        range(10),
        {"voice": lambda row: np.full((4, 4, 3), colours[row], np.uint8)},
        seconds=6.0,
        embedder=PictureOfTheFace(),
    )
    with pictures:
        part = matching.measure_matching(evaluation, pictures=pictures, resamplings=FEW)
    rows = np.flatnonzero(colours[:10, 0] <= 100)
    assert evaluation.reference is not None
    said = (colours[rows] / 255 - 0.5).astype(np.float32)
    pairs = cosine_similarity(said, evaluation.reference[rows])
    expected = np.nanmean(Choices.of(pairs, evaluation.speaker[rows]).won(2))
    conditions = {"by": "picture", "direction": "voice to face", "foils": "anyone", "choices": "2"}
    found = number(part, "choice_accuracy", **conditions)
    assert found.estimate.value == pytest.approx(expected)
    assert found.clips == len(rows) < 10
    assert sum(exclusion.reason == "no_face" for exclusion in part.exclusions) == 10 - len(rows)


def test_consistency_counts_clips_that_are_alone_and_needs_two_of_somebody() -> None:
    part = consistency.measure_consistency(with_gaps(few()), resamplings=FEW)
    expected = {("clip-2", "only_clip_of_speaker", "")}
    assert reasons(part) == expected | {("clip-3", "no_prediction", "3 s"), ("clip-3", "no_prediction", "6 s")}
    assert number(part, "identification", seconds="6").clips == 46
    assert number(part, "icc", seconds="6").estimate.n == 24
    assert "no speaker has two clips" in consistency.measure_consistency(few(clips=1)).skipped
    nothing = replace(few(), predicted={6.0: np.full_like(few().predicted[6.0], np.nan)})
    assert "no speaker has two clips" in consistency.measure_consistency(nothing).skipped


def test_stated_ages_of_one_speaker_are_held_against_each_other() -> None:
    evaluation = few()
    age = np.asarray(20 + evaluation.speaker, np.float64)  # always the same age for a speaker
    nothing = np.full(len(age), np.nan)
    stated = StatedAttributes(
        age=age, low=age, high=age, femininity=np.asarray(np.arange(48) % 2, np.float64), child=nothing
    )
    part = consistency.measure_consistency(replace(evaluation, stated={6.0: stated}), resamplings=FEW)
    assert number(part, "stated_age_icc").estimate.value == pytest.approx(1)
    assert number(part, "stated_femininity_icc").estimate.value == pytest.approx(-1)  # as different as can be


def test_a_language_that_turns_the_face_by_a_known_angle_is_found() -> None:
    # Speakers on a circle, 60 degrees apart; the second language turns the face by 10 degrees.
    language = ("en", "en", "zh") * 6
    degrees = np.repeat(np.arange(6) * 60.0, 3) + np.tile([0, 2, 10], 6)
    predicted = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1).astype(np.float32)
    evaluation = replace(few(6, 3, language=language), predicted={6.0: predicted}, reference=None)
    part = languages.measure_languages(evaluation, resamplings=FEW)
    assert number(part, "angle_degrees", pair="same speaker, same language").estimate.value == pytest.approx(
        2, abs=1e-2
    )
    assert number(part, "angle_degrees", pair="same speaker, other language").estimate.value == pytest.approx(
        9, abs=1e-2
    )
    assert number(part, "shift_degrees").estimate.value == pytest.approx((8 + 10) / 2 - 2, abs=1e-2)
    assert number(part, "shift_degrees").clips == 12  # the clips in Chinese have no other one in Chinese
    assert number(part, "identification_across_languages").estimate.value == 1
    # Of a clip in English the 6 in Chinese, one of the speaker; of one in Chinese the 12 in English, two of them.
    assert number(part, "identification_across_languages").chance == pytest.approx(1 / 6)


def test_languages_need_a_label_and_somebody_who_speaks_two() -> None:
    assert "label named language" in languages.measure_languages(few()).skipped
    one = few(language=("en",) * 24 + ("zh",) * 23 + ("",))
    part = languages.measure_languages(one, resamplings=FEW)
    assert "two languages" in part.skipped
    assert reasons(part) == {("clip-47", "no_language", "")}


def test_a_map_is_drawn_the_same_way_twice_and_numbers_need_no_map() -> None:
    evaluation = few(age=tuple("23" if row // 4 % 2 else "34" for row in range(48)))
    one, again = (projection.measure_projection(evaluation, resamplings=FEW) for _ in range(2))
    assert one.figures[0].png == again.figures[0].png
    assert one.figures[0].png.startswith(b"\x89PNG")
    assert projection.measure_projection(evaluation, resamplings=FEW, tsne=False).numbers == one.numbers
    assert {n.conditions["attribute"] for n in one.numbers} == {"gender", "age"}
    assert "fewer than 10 clips" in projection.measure_projection(few(4, 2)).skipped


NOTHING = np.full((48, 64), np.nan, np.float32)
EVERY_PART: dict[str, Callable[[EvaluationSet], Part]] = {
    "feature_similarity": feature_similarity.measure_feature_similarity,
    "retrieval": retrieval.measure_retrieval,
    "matching": partial(matching.measure_matching, resamplings=FEW),
    "consistency": partial(consistency.measure_consistency, resamplings=FEW),
    "languages": partial(languages.measure_languages, resamplings=FEW),
    "projection": partial(projection.measure_projection, resamplings=FEW, tsne=False),
}
AWKWARD: dict[str, Callable[[], EvaluationSet]] = {
    "no prediction": lambda: replace(few(), predicted={6.0: NOTHING}),
    "no prediction from 3 s": lambda: replace(few(), predicted={3.0: NOTHING, 6.0: few().predicted[6.0]}),
    "no reference": lambda: replace(few(), reference=NOTHING),
    "no clip": lambda: few().take(np.arange(0)),
    "one clip": lambda: few().take(np.arange(1)),
    "one speaker": lambda: few().take(np.arange(2)),
    "no label": lambda: replace(few(), labels={}),
    "one woman": lambda: few(gender=("female",) + ("male",) * 47),
    "one answer": lambda: replace(few(), predicted={6.0: np.ones_like(NOTHING)}),
    "an answer without direction": lambda: replace(few(), predicted={6.0: np.zeros_like(NOTHING)}),
    "one face for all": lambda: replace(few(), reference=np.ones_like(NOTHING)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("awkward", AWKWARD)
@pytest.mark.parametrize("part", EVERY_PART)
def test_awkward_sets_are_measured_or_said_to_be_impossible_and_never_pass_in_silence(part: str, awkward: str) -> None:
    measured = EVERY_PART[part](AWKWARD[awkward]())
    assert bool(measured.numbers) != bool(measured.skipped)
    for found in measured.numbers:
        assert found.clips > 0
        assert found.estimate.n > 0 or np.isnan(found.estimate.value)
