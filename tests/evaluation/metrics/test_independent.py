"""Similarity, retrieval and intervals against other people's code and against brute force; their edge cases."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance as scipy_distance
from scipy.stats import hypergeom, pearsonr, rankdata
from sklearn.metrics import average_precision_score

from speech2face.metrics import matching as retrieval
from speech2face.metrics import matching as similarity
from speech2face.metrics.intervals import SpeakerBootstrap

NAMES = {"cosine": "cosine", "l2": "sqeuclidean", "l1": "cityblock"}


def made(probes: int, gallery: int, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(probes + gallery)
    return rng.standard_normal((probes, size)), rng.standard_normal((gallery, size))


@pytest.mark.parametrize("distance", retrieval.DISTANCES)
def test_distances_are_scipys(distance: retrieval.Distance) -> None:
    probes, gallery = made(9, 23)
    found, _ = retrieval.distances(probes, gallery, distance)
    single = 1e-6 if distance == "l1" else 1e-12  # sums of differences are in single precision
    np.testing.assert_allclose(found, scipy_distance.cdist(probes, gallery, NAMES[distance]), rtol=single, atol=1e-12)


def test_pairwise_similarities_are_scipys() -> None:
    predicted, reference = made(20, 20)
    pairs = list(zip(predicted, reference, strict=True))
    cosines = [1 - scipy_distance.cosine(p, r) for p, r in pairs]
    np.testing.assert_allclose(similarity.cosine(predicted, reference), cosines)
    np.testing.assert_allclose(similarity.angle_degrees(predicted, reference), np.degrees(np.arccos(cosines)))
    np.testing.assert_allclose(similarity.l1(predicted, reference), [scipy_distance.cityblock(p, r) for p, r in pairs])
    np.testing.assert_allclose(similarity.l2(predicted, reference), [scipy_distance.euclidean(p, r) for p, r in pairs])
    centre = reference.mean(0)
    centred = [np.degrees(np.arccos(1 - scipy_distance.cosine(p - centre, r - centre))) for p, r in pairs]
    np.testing.assert_allclose(similarity.centred_angle_degrees(predicted, reference, centre), centred)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(retrieval.DISTANCES))
def test_ranks_are_those_of_counting(seed: int, distance: retrieval.Distance) -> None:
    rng = np.random.default_rng(seed)
    gallery = rng.integers(-2, 3, (12, 2)).astype(np.float64) + 5 * (distance == "cosine")  # duplicates and ties
    speaker = rng.integers(0, 5, 12)
    own = np.flatnonzero(rng.random(12) < 0.8)
    probes = gallery[own] + rng.integers(-1, 2, (len(own), 2))
    found = retrieval.rank_gallery(probes, gallery, own, speaker, distance)
    for row, place in enumerate(own):
        far = scipy_distance.cdist(probes[row : row + 1], gallery, NAMES[distance])[0].round(9)
        others = speaker != speaker[place]
        assert found.rank[row] == (far <= far[place]).sum() == rankdata(far, "max")[place]
        assert found.speaker_rank[row] == 1 + (far[others] <= far[~others].min()).sum()
        assert found.own_faces[row] == (~others).sum()


@pytest.mark.parametrize("distance", retrieval.DISTANCES)
def test_average_precision_is_that_of_scikit_learn(distance: retrieval.Distance) -> None:
    probes, gallery = made(15, 40)
    speaker = np.arange(40) % 11
    found = retrieval.rank_gallery(probes, gallery, np.arange(15), speaker, distance)
    far = scipy_distance.cdist(probes, gallery, NAMES[distance])
    expected = [average_precision_score(speaker == speaker[row], -far[row]) for row in range(15)]
    np.testing.assert_allclose(found.average_precision, expected)


def test_chances_are_those_of_random_orders() -> None:
    own, gallery, at = np.array([1, 3, 9]), 30, 5
    np.testing.assert_allclose(
        retrieval.speaker_recall_chance(own, gallery, at), [hypergeom(gallery, m, at).sf(0) for m in own]
    )
    rng = np.random.default_rng(0)
    for m in own:
        truth = np.arange(gallery) < m
        drawn = [average_precision_score(truth, rng.permutation(gallery)) for _ in range(200)]
        tolerance = 4 * np.std(drawn) / np.sqrt(200)
        assert retrieval.average_precision_chance(np.array([m]), gallery)[0] == pytest.approx(
            np.mean(drawn), abs=tolerance
        )


def test_one_answer_for_all_earns_the_last_rank_among_equal_faces_and_chance_among_different_ones() -> None:
    face = np.full((8, 5), 0.3, np.float32)
    alike = retrieval.rank_gallery(face, face, np.arange(8), np.arange(8))
    assert (alike.rank == 8).all()
    _, gallery = made(1, 50)
    constant = retrieval.rank_gallery(np.repeat(gallery.mean(0)[None], 50, 0), gallery, np.arange(50), np.arange(50))
    assert sorted(constant.rank) == list(range(1, 51))


def test_a_gallery_of_one_is_always_found_and_a_duplicate_of_the_own_face_never_first() -> None:
    probe = np.array([[1.0, 2.0]])
    assert retrieval.rank_gallery(probe, probe, np.array([0]), np.array([4])).rank.tolist() == [1]
    twice = np.array([[1.0, 2.0], [2.0, 4.0]])  # by cosine the same face
    found = retrieval.rank_gallery(probe, twice, np.array([0]), np.array([4, 4]))
    assert (found.rank.tolist(), found.speaker_rank.tolist(), found.average_precision.tolist()) == ([2], [1], [1.0])
    of_another = retrieval.rank_gallery(probe, twice, np.array([0]), np.array([4, 5]))
    assert (of_another.rank.tolist(), of_another.speaker_rank.tolist()) == ([2], [2])
    assert of_another.average_precision.tolist() == [0.5]


def test_missing_embeddings_make_missing_similarities_and_zeros_unrelated_ones() -> None:
    values = np.array([[np.nan, 1.0], [0.0, 0.0]])
    other = np.ones((2, 2))
    assert np.isnan(similarity.cosine(values, other)[0])
    assert similarity.cosine(values, other)[1] == 0
    assert similarity.angle_degrees(values, other)[1] == 90
    assert np.isnan(similarity.l1(values, other)[0])
    assert np.isnan(similarity.l2(values, other)[0])


class TestIntervals:
    """The bootstrap's shortcuts against resampling by hand, with the same draws."""

    speaker = np.array([4, 4, 4, 9, 9, 2, 7, 7, 1, 1, 1, 1])
    values = np.random.default_rng(0).standard_normal(12)
    other = values + np.random.default_rng(1).standard_normal(12)

    def by_hand(self, function: Any, kept: np.ndarray) -> tuple[float, float]:
        bootstrap = SpeakerBootstrap(self.speaker, resamplings=100)
        people = np.unique(self.speaker[kept])
        found = []
        for counts in bootstrap._draws(len(people)):
            rows = np.concatenate(
                [
                    np.flatnonzero(kept & (self.speaker == who))
                    for who, n in zip(people, counts, strict=True)
                    for _ in range(int(n))
                ]
            )
            found.append(function(rows))
        low, high = np.nanpercentile(found, [2.5, 97.5])
        return low, high

    @pytest.mark.parametrize("missing", [False, True])
    def test_mean_ratio_quantile_and_correlation(self, missing: bool) -> None:
        values = self.values.copy()
        values[[2, 5]] = np.nan if missing else values[[2, 5]]  # the speaker of clip 5 has no other
        kept = np.isfinite(values)
        bootstrap = SpeakerBootstrap(self.speaker, resamplings=100)

        def median(rows: np.ndarray) -> float:
            return float(np.median(values[rows]))

        def correlation(rows: np.ndarray) -> float:
            distinct = len(np.unique(rows)) > 1
            return float(pearsonr(values[rows], self.other[rows]).statistic) if distinct else float("nan")

        positive = np.abs(self.other) + 1
        cases = (
            (bootstrap.mean(values), lambda rows: values[rows].mean()),
            (bootstrap.ratio(values, positive), lambda rows: values[rows].sum() / positive[rows].sum()),
            (bootstrap.quantile(values), median),
            (bootstrap.correlation(values, self.other), correlation),
            (
                bootstrap.statistic(lambda w: float(np.nansum(w * values) / w.sum()), kept),
                lambda rows: values[rows].mean(),
            ),
        )
        for estimate, function in cases:
            assert estimate.value == pytest.approx(function(np.flatnonzero(kept)))
            assert (estimate.low, estimate.high) == pytest.approx(self.by_hand(function, kept))
            assert estimate.n == len(np.unique(self.speaker[kept]))

    def test_of_nobody_there_is_no_number_and_of_one_speaker_no_interval(self) -> None:
        nobody = SpeakerBootstrap(self.speaker).mean(np.full(12, np.nan))
        assert np.isnan(nobody.value)
        assert nobody.n == 0
        alone = SpeakerBootstrap(np.zeros(3)).mean([1.0, 2.0, 3.0])
        assert (alone.value, alone.n) == (2, 1)
        assert np.isnan(alone.low)

    def test_the_interval_holds_the_truth_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(5)
        speaker = np.repeat(np.arange(40), 3)
        held = []
        for _ in range(200):
            values = rng.standard_normal(40)[speaker] + 0.3 * rng.standard_normal(120)
            estimate = SpeakerBootstrap(speaker, resamplings=200).mean(values)
            held.append(estimate.low <= 0 <= estimate.high)
        assert 0.88 <= np.mean(held) <= 0.99
