"""The belief in closed form: nearly the best that so many pairs allow, and the starter's where they tell nothing."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face.learning import release
from speech2face.learning.release import LearnOptions, learned_card, lesson_of_table, spread_map, verdict
from speech2face.learning.scores import (
    INNER_FOLDS,
    MOST_RECOGNISED,
    LearningTable,
    LeftOut,
    Scores,
    calibrated,
    drawn_folds,
    gate,
    leave_out,
    owed_to_oneself,
    score,
    strata_of,
)
from speech2face.learning.sums import NOTHING, Line, PreparedSums, Sums, Taught, TwoLines, beyond, learn, teach, total
from speech2face.models.attributes import load_attribute_model
from tests.learned_pairs import PRIOR_DEVIATION, SIZE, PlantedPairs

WORLD = PlantedPairs.of(0.3)
TESTED = 2000
CARD_FACTS = {"name": "made", "version": "1", "licence": "CC0-1.0"}


def explained(world: PlantedPairs, people: int, seed: int) -> float:
    """R^2 of what some people teach, on others."""
    table, others = world.table(people, seed), world.table(TESTED, seed + 1000)
    fold = drawn_folds(people, 5)
    lines = teach([table.sums(fold == number) for number in range(5)]).lines
    away = others.residual - lines.predict(others.numbers)
    return float(1 - np.square(away).sum() / np.square(others.residual).sum())


@pytest.mark.parametrize("people", [100, 200, 400, 800])
def test_the_belief_reaches_most_of_the_best_possible(people: int) -> None:
    found = np.mean([explained(WORLD, people, seed) for seed in range(3)])
    assert found >= 0.85 * WORLD.best_share(people)
    assert found <= 1.05 * WORLD.best_share(people)  # better than the best would be a mistake of the test


@pytest.mark.parametrize("told", [0.0, 0.15, 0.3])
def test_with_fifty_people_the_belief_is_not_worse_than_age_and_gender_alone(told: float) -> None:
    world, found = PlantedPairs.of(told), []
    for seed in range(6):
        table, others = world.table(50, seed), world.table(TESTED, seed + 1000)
        fold = drawn_folds(50, 5)
        parts = [table.sums(fold == number) for number in range(5)]
        moved = learn([part.leading(SIZE) for part in parts], (NOTHING,)).line  # to these people's mean face, as scored
        squares = [
            np.square(others.residual - said).sum()
            for said in (teach(parts).lines.predict(others.numbers), moved.predict(others.attributes))
        ]
        found.append(1 - squares[0] / squares[1])
    reach = 2.57 * np.std(found, ddof=1) / np.sqrt(len(found))  # Student's, five degrees of freedom, 95 %
    assert np.mean(found) + reach >= 0
    assert np.mean(found) > -0.005


def test_few_directions_that_voices_move_are_found_with_a_hundred_people() -> None:
    world = PlantedPairs.of(0.3, rank=3)
    assert np.mean([explained(world, 100, seed) for seed in range(4)]) >= 0.8 * world.best_share(100)


@pytest.mark.parametrize("people", [60, 200])
def test_other_peoples_faces_teach_nothing(people: int) -> None:
    chosen = []
    for seed in range(4):
        table = WORLD.table(people, seed, shuffled=True)
        fold = drawn_folds(people, 5)
        taught = teach([table.sums(fold == number) for number in range(5)])
        moved = taught.lines.voice.moved(table.x, table.x.mean(0))
        chosen.append(np.square(moved).mean() / PRIOR_DEVIATION**2)
    assert max(chosen) < 0.02


def test_of_one_part_nothing_is_believed() -> None:
    table = WORLD.table(50)
    found = learn([table.sums(np.ones(50, bool))])
    assert found.strength == NOTHING
    assert not found.line.weights.any()


def test_what_a_person_added_to_their_own_portrait_is_what_is_missing_without_them() -> None:
    table = WORLD.table(100)
    fold = drawn_folds(100, 5)
    parts = [table.sums(fold == number) for number in range(5)]
    voice = learn(parts).line
    one = np.arange(100) == 3
    owed = voice.owed(table.numbers[one], table.residual[one] - voice.predict(table.numbers[one]))
    strength = learn(parts).strength
    without = learn([table.sums((fold == number) & ~one) for number in range(5)], (strength,)).line
    moved = voice.predict(table.numbers[one]) - without.predict(table.numbers[one])
    assert np.corrcoef(owed[0], moved[0])[0, 1] > 0.98  # the closed form leaves mean and spread as they are


@pytest.mark.parametrize("left", [1.0, 0.4])
def test_what_is_owed_to_several_recordings_is_what_goes_with_all_of_them(left: float) -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    share = 1 / np.bincount(person)[person]
    x = rng.standard_normal((len(person), 7)) @ rng.standard_normal((7, 7))
    r = rng.standard_normal((30, 3))[person] + 0.3 * x @ rng.standard_normal((7, 3))
    centre, mean = share @ x / 30, share @ r / 30
    variances, vectors = np.linalg.eigh(((x - centre) * share[:, None]).T @ (x - centre) / 30)
    axes = (vectors / np.sqrt(30 * variances)).T
    along, shrinkage = (x - centre) @ axes.T, rng.uniform(0.1, 0.9, 7)

    def ridge(kept: np.ndarray) -> np.ndarray:
        """Coefficients of the rows that are kept; their penalties are those of the shrinkage, their means stay."""
        weighted = along[kept] * share[kept, None]
        penalties = np.diag(1 / shrinkage - 1)
        return np.linalg.solve(weighted.T @ along[kept] + penalties, weighted.T @ (r[kept] - mean))

    whole = ridge(person >= 0)
    line = Line(centre, axes.T @ whole, mean, axes, np.repeat(shrinkage[:, None], 3, 1), np.eye(3)).weaker(left)
    owed = line.owed(x, r - line.predict(x), person)
    first = np.unique(person, return_index=True)[1]
    gone = np.stack([left * along[first[who]] @ (whole - ridge(person != who)) for who in range(30)])
    np.testing.assert_allclose(owed, gone, atol=1e-12)


@pytest.mark.parametrize(("clips", "factor"), [(1, 0.3), (3, 1.0)])
def test_portraits_without_oneself_where_voices_differ_between_recordings_or_the_belief_is_weakened(
    clips: int, factor: float
) -> None:
    table = PlantedPairs.of(0.6).table(60, clips=clips)
    table = replace(table, x=table.x + np.random.default_rng(5).standard_normal(table.x.shape))
    fold = drawn_folds(60, 10)
    parts = [table.sums(fold == number) for number in range(10)]
    taught = teach(parts, factor=factor)
    portraits, owed = owed_to_oneself(table, taught.lines)
    whole, found = total(parts), np.zeros_like(portraits)
    for number, row in enumerate(table.first):
        rest = whole - table.sums(np.arange(60) == number)
        first = PreparedSums(rest.leading(SIZE)).line(taught.attributes_strength)
        lines = TwoLines(first, PreparedSums(beyond(rest, first)).line(taught.strength).weaker(factor))
        found[number] = (table.prior_mean[row] + lines.predict(table.numbers[[row]]))[0]
    assert np.corrcoef((portraits - found).ravel(), owed.ravel())[0, 1] > 0.9
    assert 0.8 < np.linalg.norm(owed) / np.linalg.norm(portraits - found) < 1.25


def test_the_map_of_spreads_gives_the_wanted_one() -> None:
    rng = np.random.default_rng(0)
    stated, wanted = (each @ each.T for each in rng.standard_normal((2, 6, 9)))
    found = spread_map(stated, wanted)
    np.testing.assert_allclose(found @ stated @ found.T, wanted, atol=1e-9)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(spread_map(stated, stated), np.eye(6), atol=1e-9)
    stated[0] = stated[:, 0] = 0  # no spread to begin with
    assert np.isfinite(spread_map(stated, wanted)).all()


def test_stated_spreads_hold_the_faces_as_often_as_they_say() -> None:
    table = WORLD.table(200)
    coverage, scale = calibrated(table, leave_out(table))
    assert 0.76 < coverage < 0.84
    assert 0.9 < scale < 1.1


def test_scores_find_what_voices_tell_and_nothing_where_they_tell_nothing() -> None:
    model = load_attribute_model()
    found, left = score(WORLD.table(150), model)
    within = {match.within: match for match in found.matches}
    assert found.pays
    assert within["gender and decade"].learned.low > 0.6
    assert abs(within["gender"].by_attributes.value - 0.5) < 0.02  # one answer for all women
    assert [point.people for point in found.curve] == [30, 60, 90, 120]
    assert found.curve[-1].beyond.value > found.curve[0].beyond.value
    assert found.twice.value > found.curve[-1].beyond.value
    nothing, _ = score(WORLD.table(150, shuffled=True), model)
    assert not nothing.pays
    assert nothing.matches[0].more.low <= 0 <= nothing.matches[0].more.high + 0.01
    assert left.learned.shape == (150, SIZE)


def test_a_stated_age_is_of_its_decade_however_it_is_written() -> None:
    table = WORLD.table(12)
    ages = ["34", "34.5", "30-39", "30s", "thirties", "35+", "9", "18.25", "teens", "unknown", "", "60 years"]
    table = replace(table, labels={**table.labels, "gender": np.array(["male"] * 12), "age": np.array(ages)})
    found = strata_of(table, load_attribute_model())
    assert found.told_by == "the data's labels"
    decades = ["3", "3", "3", "3", "3", "3", "0", "1", "1", "", "", "6"]
    assert found.names["gender and decade"].tolist() == [f"male {decade}" if decade else "" for decade in decades]


def test_what_follows_the_room_and_not_the_voice_is_named_and_not_kept() -> None:
    quiet = PlantedPairs.of(0.0).table(150, session_effect=0.7)
    lesson, found, _ = lesson_of_table(quiet, LearnOptions("rooms"), lambda what, done, of: None)
    assert found.more_than_chance  # rooms are heard, and seen
    assert found.confounded == ("session",)
    assert not found.pays and lesson.lines is None
    assert found.beyond_within["session"].low <= 0 < found.beyond_within["language"].low
    said = verdict(lesson.training)
    assert "may follow the recording session" in said and "starter's belief" in said
    card = learned_card(CARD_FACTS | {"training": {"starter": "s", "by_attributes": True} | lesson.training})
    assert said in card
    assert "of one gender and session apart" in card


def test_a_voice_that_tells_more_than_its_room_is_kept() -> None:
    found, _ = score(WORLD.table(200, session_effect=0.4), load_attribute_model())
    assert found.confounded == ()
    assert found.pays
    assert {match.within for match in found.matches} >= {"gender and language", "gender and session"}


def taught_by(people: int, explained_share: float) -> tuple[LearningTable, list[Sums], Taught]:
    table = PlantedPairs.of(explained_share).table(people)
    fold = drawn_folds(people, 5)
    parts = [table.sums(fold == number) for number in range(5)]
    return table, parts, teach(parts)


def test_a_portrait_does_not_give_away_who_was_learned_from() -> None:
    table, _, taught = taught_by(80, 0.3)
    found = gate(table, taught)
    assert found.passed
    assert 0 < found.weakened < 1  # so few people, so much told by a voice: the full line gives them away
    assert found.excess_unweakened > MOST_RECOGNISED >= found.recognised - found.recognised_left_out
    assert 0 < found.influence_median <= found.influence_most <= 0.5


def test_what_gives_nobody_away_is_not_weakened() -> None:
    table, _, taught = taught_by(200, 0.1)
    found = gate(table, taught)
    assert found.weakened == 1
    assert found.excess_unweakened == found.recognised - found.recognised_left_out <= MOST_RECOGNISED


def test_portraits_without_oneself_are_those_of_a_belief_learned_without_one() -> None:
    people = 100
    table, parts, taught = taught_by(people, 0.3)
    portraits, owed = owed_to_oneself(table, taught.lines)
    whole, found = total(parts), np.zeros_like(portraits)
    for number in range(people):
        rest = whole - table.sums(np.arange(people) == number)
        first = PreparedSums(rest.leading(SIZE)).line(taught.attributes_strength)
        lines = TwoLines(first, PreparedSums(beyond(rest, first)).line(taught.strength))
        row = table.first[[number]]
        found[number] = (table.prior_mean[row] + lines.predict(table.numbers[row]))[0]
    assert (
        np.corrcoef((portraits - found).ravel(), owed.ravel())[0, 1] > 0.9
    )  # mean and spread stay as they are, in the closed form
    assert 0.8 < np.linalg.norm(owed) / np.linalg.norm(portraits - found) < 1.25


def test_scores_are_those_of_what_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    table, parts, taught = taught_by(60, 0.3)
    weak, full = leave_out(table, factor=0.4), leave_out(table)
    np.testing.assert_array_equal(weak.attributes_refitted, full.attributes_refitted)
    np.testing.assert_allclose(
        weak.learned - weak.attributes_refitted, 0.4 * (full.learned - full.attributes_refitted), atol=1e-12
    )
    weaker = teach(parts, factor=0.4)
    np.testing.assert_allclose(weaker.lines.voice.weights, 0.4 * taught.lines.voice.weights, atol=1e-12)
    assert np.trace(weaker.spread) > np.trace(taught.spread)  # less is told, and so it is said
    asked: list[float] = []

    def recorded(*given: Any, factor: float, **more: Any) -> tuple[Scores, LeftOut]:
        asked.append(factor)
        return score(*given, factor=factor, **more)

    monkeypatch.setattr(release, "score", recorded)
    lesson, _, judged = lesson_of_table(table, LearnOptions("mine"), lambda what, done, of: None)
    assert asked == [judged.weakened] != [1.0]
    assert judged.recognised - judged.recognised_left_out <= MOST_RECOGNISED
    assert lesson.lines is not None
    fold = drawn_folds(len(table), 2 * INNER_FOLDS)
    unweakened = teach([table.sums(fold == number) for number in range(2 * INNER_FOLDS)]).lines.voice
    np.testing.assert_allclose(lesson.lines.voice.weights, judged.weakened * unweakened.weights, atol=1e-9)


def test_the_benchmark_counts_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    counted = importlib.import_module("learning").claims(40, seeds=1)
    assert counted.value == 0
    assert counted.question == "40 people, faces changed: claims in 1"
