import numpy as np
import pytest
from scipy import linalg, ndimage

from speech2face.metrics import pictures as picture_quality
from speech2face.metrics.pictures import PairwiseSpread, fid, frechet_distance, inception_score, softmax


def made_grey(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (64, 48))


def test_sharpness_is_the_variance_of_scipys_laplacian() -> None:
    grey = made_grey()
    assert picture_quality.sharpness(grey) == pytest.approx(ndimage.laplace(grey)[1:-1, 1:-1].var())
    assert picture_quality.sharpness(np.full((9, 9), 7.0)) == 0
    assert picture_quality.sharpness(2 * grey) == pytest.approx(4 * picture_quality.sharpness(grey))


def test_blurring_takes_sharpness_and_high_frequencies() -> None:
    grey = made_grey()
    blurred = ndimage.gaussian_filter(grey, 2)
    assert picture_quality.sharpness(blurred) < 0.01 * picture_quality.sharpness(grey)
    assert picture_quality.high_frequency_share(blurred) < 0.5 * picture_quality.high_frequency_share(grey)


def test_a_wave_counts_as_high_above_an_eighth_of_a_cycle_a_pixel() -> None:
    x = np.arange(128)
    slow, fast = (np.tile(np.sin(2 * np.pi * cycles * x), (128, 1)) for cycles in (0.05, 0.25))
    assert picture_quality.high_frequency_share(100 + slow) < 0.01
    assert picture_quality.high_frequency_share(100 + fast) > 0.99
    assert picture_quality.high_frequency_share(100 + slow + fast) == pytest.approx(0.5, abs=0.02)
    assert np.isnan(picture_quality.high_frequency_share(np.full((16, 16), 3.0)))


def test_white_noise_earns_what_it_covers_of_the_spectrum() -> None:
    share = picture_quality.high_frequency_share(np.random.default_rng(1).normal(size=(224, 224)))
    assert share == pytest.approx(1 - np.pi * 0.125**2, abs=0.005)


def test_symmetry_is_one_for_a_mirrored_picture_minus_one_for_an_odd_one_and_none_for_noise() -> None:
    grey = made_grey()
    assert picture_quality.symmetry(grey + grey[:, ::-1]) == pytest.approx(1)
    assert picture_quality.symmetry(grey - grey[:, ::-1]) == pytest.approx(-1)
    noise = np.random.default_rng(2).normal(size=(224, 224))
    assert abs(picture_quality.symmetry(noise)) < 0.05
    assert np.isnan(picture_quality.symmetry(np.zeros((32, 32))))


def test_brightness_range_leaves_out_the_ends() -> None:
    grey = np.concatenate([[0.0] * 3, np.linspace(100, 200, 94), [255.0] * 3])[None]
    assert picture_quality.brightness_range(grey) == pytest.approx(97, abs=3)
    assert picture_quality.brightness_range(np.full((4, 4), 9.0)) == 0


def test_luma_weighs_colours_and_brings_pictures_to_one_size() -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[..., 1] = 100
    grey = picture_quality.luma(picture, 8)
    assert grey.shape == (8, 8)
    assert np.allclose(grey, 58.7)


def brute_spread(vectors: np.ndarray, speaker: np.ndarray) -> float:
    squares = [
        ((vectors[a] - vectors[b]) ** 2).mean()
        for a in range(len(vectors))
        for b in range(len(vectors))
        if speaker[a] != speaker[b]
    ]
    return float(np.sqrt(np.mean(squares)))


def test_spread_is_that_of_all_pairs_of_different_speakers() -> None:
    rng = np.random.default_rng(3)
    vectors, speaker = rng.normal(size=(12, 5)) + 100, rng.integers(5, size=12)
    assert PairwiseSpread(vectors, speaker)() == pytest.approx(brute_spread(vectors, speaker))
    assert PairwiseSpread(np.ones((4, 3)), np.arange(4))() == 0  # one face for everybody
    assert np.isnan(PairwiseSpread(vectors, np.zeros(12))())  # nobody to compare with


def test_a_speaker_drawn_twice_is_not_held_against_himself() -> None:
    rng = np.random.default_rng(4)
    vectors, speaker = rng.normal(size=(7, 4)), np.array([0, 0, 1, 1, 2, 3, 3])
    weights = np.array([2, 2, 0, 0, 1, 1, 1.0])
    drawn = np.array([0, 1, 0, 1, 4, 5, 6])
    assert PairwiseSpread(vectors, speaker)(weights) == pytest.approx(brute_spread(vectors[drawn], speaker[drawn]))


def sqrtm_distance(mean: np.ndarray, covariance: np.ndarray, other: np.ndarray, other_covariance: np.ndarray) -> float:
    """As the authors' code does it."""
    root = np.asarray(linalg.sqrtm(covariance @ other_covariance)).real
    return float(((mean - other) ** 2).sum() + np.trace(covariance + other_covariance - 2 * root))


def test_frechet_distance_agrees_with_the_closed_form_of_one_dimension_and_of_diagonal_covariances() -> None:
    one = np.ones((1, 1))
    assert frechet_distance(np.array([3.0]), 4 * one, np.array([1.0]), 25 * one) == pytest.approx(4 + (2 - 5) ** 2)
    a, b = np.array([1.0, 4, 9]), np.array([16.0, 4, 1])
    found = frechet_distance(np.zeros(3), np.diag(a), np.zeros(3), np.diag(b))
    assert found == pytest.approx(((np.sqrt(a) - np.sqrt(b)) ** 2).sum())


@pytest.mark.parametrize(("pictures", "others"), [(50, 70), (50, 5), (5, 6)])
def test_fid_agrees_with_the_matrix_root_of_scipy_with_many_pictures_and_with_few(pictures: int, others: int) -> None:
    rng = np.random.default_rng(5)
    first = rng.normal(size=(pictures, 8)) @ rng.normal(size=(8, 8))
    second = rng.normal(size=(others, 8)) @ rng.normal(size=(8, 8)) + 0.5
    moments = [value for rows in (first, second) for value in (rows.mean(0), np.cov(rows, rowvar=False))]
    assert fid(first, second) == pytest.approx(sqrtm_distance(*moments), rel=1e-5)


def test_fid_is_nothing_for_the_same_set_and_the_reference_covariance_for_one_picture_for_all() -> None:
    rng = np.random.default_rng(6)
    reference = rng.normal(size=(40, 6))
    assert fid(reference, reference) == pytest.approx(0, abs=1e-9)
    assert fid(reference, reference + 2) == pytest.approx(6 * 4)
    same = np.tile(reference.mean(0), (40, 1))
    assert fid(same, reference) == pytest.approx(np.trace(np.cov(reference, rowvar=False)))
    assert np.isnan(fid(reference[:1], reference))


def test_pictures_that_are_there_several_times_count_as_often() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.integers(2, size=(20, 3)).astype(float), rng.normal(size=(9, 3))
    moments = [value for rows in (first, second) for value in (rows.mean(0), np.cov(rows, rowvar=False))]
    assert fid(first, second) == pytest.approx(sqrtm_distance(*moments), rel=1e-5)


def test_inception_score_of_hand_worked_cases() -> None:
    assert inception_score(np.full((10, 4), 0.25), 1) == pytest.approx((1, 0))  # never sure
    assert inception_score(np.tile(np.eye(4)[0], (10, 1)), 1) == pytest.approx((1, 0))  # one face for everybody
    assert inception_score(np.tile(np.eye(4), (5, 1)), 1) == pytest.approx((4, 0))  # sure, and all classes
    assert inception_score(np.tile(np.eye(4), (5, 1)), 5) == pytest.approx((4, 0))
    p = np.array([[0.75, 0.25], [0.25, 0.75]])  # p(y) is even: KL = 0.75 ln 1.5 + 0.25 ln 0.5
    assert inception_score(p, 1)[0] == pytest.approx(np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5)))
    assert np.isnan(inception_score(p, 3)[0])


def test_inception_score_agrees_with_scipys_entropies() -> None:
    from scipy.stats import entropy

    p = softmax(np.random.default_rng(7).normal(size=(30, 6)) * 3)
    assert np.allclose(p.sum(1), 1)
    expected = [np.exp(entropy(part, part.mean(0)[None], axis=1).mean()) for part in np.array_split(p, 3)]
    assert inception_score(p, 3) == pytest.approx((np.mean(expected), np.std(expected)))
