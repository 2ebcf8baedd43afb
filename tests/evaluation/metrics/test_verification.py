"""Verification against scikit-learn, by hand, and its intervals against resampled pairs."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from speech2face.metrics import matching as verification
from speech2face.metrics.intervals import SpeakerBootstrap
from speech2face.metrics.matching import Roc, cosine_similarity, roc, verify


def by_sklearn(genuine: np.ndarray, impostors: np.ndarray) -> tuple[float, float]:
    """AUC, and EER where the ROC's polygon crosses the diagonal from (0, 1) to (1, 0), by bisection."""
    truth = np.r_[np.ones(len(genuine)), np.zeros(len(impostors))]
    accepted, found, _ = roc_curve(truth, np.r_[genuine, impostors], drop_intermediate=False)
    low, high = 0.0, 1.0
    along = np.linspace(0, 1, len(accepted))  # the polygon by its corners, so that upright pieces have a length
    for _ in range(100):
        middle = (low + high) / 2
        excess = np.interp(middle, along, accepted) - (1 - np.interp(middle, along, found))
        low, high = (middle, high) if excess < 0 else (low, middle)
    return float(roc_auc_score(truth, np.r_[genuine, impostors])), float(np.interp(low, along, accepted))


def test_four_pairs_by_hand() -> None:
    # Genuine 3 and 1, impostors 2 and 0: three of four pairs are in order; refusing 1 and accepting 2 are both a half.
    curve = Roc.of(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    assert curve.area() == 0.75
    assert curve.equal_error_rate() == 0.5
    assert Roc.of(np.array([2.0, 3.0]), np.array([0.0, 1.0])).equal_error_rate() == 0
    assert Roc.of(np.array([0.0, 1.0]), np.array([2.0, 3.0])).equal_error_rate() == 1
    assert np.isnan(Roc.of(np.array([]), np.array([1.0])).area())
    assert np.isnan(Roc.of(np.array([1.0]), np.array([])).equal_error_rate())


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_both_numbers_are_those_of_scikit_learn_with_and_without_ties(digits: int) -> None:
    rng = np.random.default_rng(digits)
    for _ in range(40):
        genuine = rng.normal(0.5, 1, rng.integers(1, 30)).round(digits)
        impostors = rng.normal(0, 1, rng.integers(1, 200)).round(digits)
        curve = Roc.of(genuine, impostors)
        area, rate = by_sklearn(genuine, impostors)
        assert curve.area() == pytest.approx(area, abs=1e-12)
        assert curve.equal_error_rate() == pytest.approx(rate, abs=1e-9)


def pairs(speakers: int = 40, clips: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of voices (rows) and faces of speakers with several clips each; some faces suit every voice."""
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(speakers), clips)
    faces = rng.standard_normal((speakers, 8))[speaker] + 0.7 * rng.standard_normal((len(speaker), 8))
    voices = 0.5 * faces + rng.standard_normal(faces.shape) + 3 * np.eye(8)[0]
    faces += 3 * (rng.random((speakers, 1)) < 0.3)[speaker] * np.eye(8)[0]
    return cosine_similarity(voices, faces), speaker


def test_all_pairs_of_one_speaker_are_genuine_and_all_pairs_of_a_stratum_impostors() -> None:
    similarity, speaker = pairs()
    gender = np.where(speaker % 3 == 0, "female", "male")
    same = speaker[:, None] == speaker
    alike = gender[:, None] == gender
    for stratum, kept in ((None, np.ones_like(same)), (gender, alike)):
        found = verify(similarity, SpeakerBootstrap(speaker, resamplings=20), stratum)
        area, rate = by_sklearn(similarity[same], similarity[~same & kept])
        assert (found.genuine, found.impostors) == (same.sum(), (~same & kept).sum())
        assert found.area.value == pytest.approx(area, abs=1e-5)  # similarities within 1e-6 are ties
        assert found.equal_error_rate.value == pytest.approx(rate, abs=1e-5)
        assert roc(similarity, speaker, stratum).area() == found.area.value


def test_the_intervals_are_those_of_resampled_pairs() -> None:
    similarity, speaker = pairs()
    bootstrap = SpeakerBootstrap(speaker, resamplings=300)
    found = verify(similarity, bootstrap)
    same = speaker[:, None] == speaker

    def resampled(weights: np.ndarray) -> tuple[float, float]:
        # A speaker drawn twice makes twice as many genuine pairs, and no impostors with itself.
        times = np.where(same, weights[:, None], weights[:, None] * weights)
        drawn = times.ravel() > 0
        given = {"sample_weight": times.ravel()[drawn]}
        accepted, right, _ = roc_curve(same.ravel()[drawn], similarity.ravel()[drawn], **given)
        crossing = np.argmin(np.abs(accepted - (1 - right)))
        area = roc_auc_score(same.ravel()[drawn], similarity.ravel()[drawn], **given)
        return float(area), float((accepted[crossing] + 1 - right[crossing]) / 2)

    rng = np.random.default_rng(1)
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=100)
    values = np.array([resampled(count[speaker].astype(float)) for count in counts])
    for estimate, column in ((found.area, values[:, 0]), (found.equal_error_rate, values[:, 1])):
        width = np.subtract(*np.percentile(column, [97.5, 2.5]))
        assert estimate.high - estimate.low == pytest.approx(width, rel=0.25)
        assert (estimate.high + estimate.low) / 2 == pytest.approx(np.median(column), abs=0.25 * width)


def test_a_speaker_who_counts_a_little_more_moves_the_area_as_among_weighted_pairs() -> None:
    similarity, speaker = pairs()
    same = speaker[:, None] == speaker
    binned = verification._bin(
        similarity, speaker, np.zeros(120, np.int64), verification._count(similarity, speaker, np.zeros(120, np.int64))
    )
    everybody = np.ones(40)
    moved, expected = [], []
    for who in range(8):
        more = everybody + 0.2 * (np.arange(40) == who)
        moved.append(binned.area(more[None])[0] - binned.area(everybody[None])[0])
        each = more[speaker]
        weights = np.where(same, each[:, None], each[:, None] * each).ravel()
        area = roc_auc_score(same.ravel(), similarity.ravel(), sample_weight=weights)
        expected.append(area - roc_auc_score(same.ravel(), similarity.ravel()))
    assert np.corrcoef(moved, expected)[0, 1] > 0.99
    assert np.std(moved) == pytest.approx(np.std(expected), rel=0.1)


def test_the_same_answer_to_all_earns_a_half_and_one_speaker_earns_nothing() -> None:
    found = verify(np.full((6, 6), 0.3, np.float32), SpeakerBootstrap(np.arange(6), resamplings=20))
    assert (found.area.value, found.equal_error_rate.value) == (0.5, 0.5)
    alone = verify(np.eye(3, dtype=np.float32), SpeakerBootstrap(np.zeros(3, int), resamplings=20))
    assert np.isnan(alone.area.value)
    assert alone.impostors == 0
    nobody = verify(np.zeros((0, 0), np.float32), SpeakerBootstrap(np.zeros(0, int)))
    assert nobody.area.n == 0
