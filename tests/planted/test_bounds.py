"""What is possible in a planted world: formulas, Monte Carlo against closed forms, cheats at their level."""

import numpy as np
import pytest

from recipes.planted import world as bounds
from recipes.planted.synthesiser import SEEN_TRAITS, SHARED_TRAITS, Traits
from recipes.planted.world import World
from speech2face.metrics.matching import cosine, explained_variance, own_ranks, recall

SHARED = len(SHARED_TRAITS)


def test_best_r2_is_the_shared_share_times_squared_correlation() -> None:
    assert bounds.best_r2(World(shared_share=0.5, correlation=0.8)) == pytest.approx(0.32)
    assert bounds.best_r2(World()) == pytest.approx(0.75 * 0.81)


def test_the_best_prediction_earns_the_best_r2_and_no_other_linear_one_more() -> None:
    world = World()
    traits = world.traits(range(6000))
    faces = world.face_embedding(traits).astype(np.float32)
    best = world.best_prediction(traits.shared).astype(np.float32)
    assert explained_variance(best, faces) == pytest.approx(bounds.best_r2(world), abs=0.02)
    inputs = np.c_[traits.shared, traits.heard, np.ones(6000)]
    fitted = inputs @ np.linalg.lstsq(inputs, faces, rcond=None)[0]
    assert explained_variance(fitted.astype(np.float32), faces) == pytest.approx(bounds.best_r2(world), abs=0.02)


def test_best_cosine_matches_its_closed_form_where_there_is_one() -> None:
    # No mean, correlation 1, every direction of the same length: of K standard normal coordinates k are known, and the
    # squared cosine of the known part with the whole follows Beta(k / 2, (K - k) / 2).
    total = SEEN_TRAITS
    world = World(mean_length=0.0, correlation=1.0, shared_share=SHARED / total)
    draws = np.sqrt(np.random.default_rng(0).beta(SHARED / 2, (total - SHARED) / 2, 200_000)).mean()
    assert bounds.best_cosine(world, speakers=1500, draws=300) == pytest.approx(draws, abs=0.015)


def test_the_best_prediction_earns_nearly_the_best_cosine_and_never_more() -> None:
    world = World()
    traits = world.traits(range(3000))
    earned = cosine(world.best_prediction(traits.shared), world.face_embedding(traits)).mean()
    best = bounds.best_cosine(world, speakers=1000, draws=200)
    assert earned == pytest.approx(best, abs=0.02)


def test_a_constant_answer_earns_a_cosine_but_no_r2_and_no_recall() -> None:
    world = World()
    faces = world.face_embedding(world.traits(range(500))).astype(np.float32)
    cheat = np.broadcast_to(world.mean.astype(np.float32), faces.shape)
    assert bounds.constant_cosine(world, speakers=3000) > 0.3
    assert explained_variance(cheat, faces) == pytest.approx(0, abs=0.01)
    # A constant sees the same faces near for everybody: its own one is among the first ten as often as chance has it.
    assert recall(own_ranks(cheat, faces), 10).mean() == pytest.approx(10 / 500, abs=1e-9)


def test_no_ranking_finds_more_people_than_the_one_that_knows_the_world() -> None:
    world = World()
    for at in (1, 10):
        by_cosine = bounds.cosine_recall(world, at, 200, repeats=4)
        best = bounds.best_recall(world, at, 200, repeats=4)
        assert at / 200 < by_cosine < best < 1


def test_without_anything_shared_everything_is_at_chance() -> None:
    world = World(correlation=0.0)
    assert bounds.best_r2(world) == 0
    assert bounds.best_cosine(world, speakers=400, draws=300) == pytest.approx(
        bounds.constant_cosine(world, speakers=4000), abs=0.02
    )
    almost = World(correlation=1e-3)  # at 0 all faces are equally likely, and ties count against us
    assert bounds.best_recall(almost, 10, 200, repeats=10) == pytest.approx(10 / 200, abs=0.02)


def test_shown_traits_undo_the_face_embedding() -> None:
    world = World(correlation=1.0)
    traits = world.traits(range(50))
    np.testing.assert_allclose(world.shown_traits(world.face_embedding(traits)), traits.shared, atol=1e-9)
    other = Traits(traits.shared, traits.heard, traits.seen[::-1])
    np.testing.assert_allclose(world.shown_traits(world.face_embedding(other)), traits.shared, atol=1e-9)


def test_the_teachers_head_knows_its_own_people() -> None:
    from recipes.planted.synthesiser import draw_traits

    world = World(identities=40)
    weight, bias = world.teacher_head()
    people = world.face_embedding(draw_traits(range(40), seed=world.seed + 1_000_003))
    assert weight.shape == (40, world.embedding)
    np.testing.assert_array_equal((people @ weight.T + bias).argmax(1), np.arange(40))
