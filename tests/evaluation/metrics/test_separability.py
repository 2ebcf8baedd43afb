"""Separability against scikit-learn, without a leak of speakers, and its edge cases."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from speech2face.metrics.measures import principal_coordinates, recalled, silhouette


def test_the_line_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label = rng.choice(["a", "b", "c"], 300, p=[0.6, 0.3, 0.1])
    values = (rng.standard_normal((300, 8)) + 0.9 * np.eye(8)[np.searchsorted(["a", "b", "c"], label)]).astype(
        np.float32
    )
    speaker = np.arange(300)
    found = recalled(values, label, speaker, seed=4)
    fold = np.random.default_rng(4).permutation(300) % 5
    right = np.zeros(300)
    for number in range(5):
        line = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(values[fold != number], label[fold != number])
        right[fold == number] = line.predict(values[fold == number]) == label[fold == number]
    assert np.mean(found != right) < 0.02  # the ridge moves the line a little


def test_a_classifier_that_knows_the_speakers_would_find_more_than_chance_and_this_one_does_not() -> None:
    rng = np.random.default_rng(1)
    speaker = np.repeat(np.arange(60), 5)
    label = rng.choice(["a", "b"], 60)[speaker]  # nothing but who it is tells the label
    values = (rng.standard_normal((60, 40))[speaker] + 0.01 * rng.standard_normal((300, 40))).astype(np.float32)
    assert recalled(values, label, speaker).mean() == pytest.approx(0.5, abs=0.15)


def test_unknown_labels_and_those_of_one_speaker_are_left_out() -> None:
    rng = np.random.default_rng(2)
    label = np.array(["a"] * 20 + ["b"] * 20 + ["", "only one", "only one"])
    speaker = np.r_[np.arange(41), 41, 41]
    values = rng.standard_normal((43, 3)).astype(np.float32)
    found = recalled(values, label, speaker)
    assert np.isfinite(found[:40]).all()
    assert np.isnan(found[40:]).all()
    assert np.isnan(recalled(values[:20], label[:20], speaker[:20])).all()  # one label is nothing to tell


def test_the_silhouette_by_hand_and_of_a_constant() -> None:
    values = np.array([[0.0], [1.0], [10.0], [11.0], [5.0]], np.float32)
    label = np.array(["a", "a", "b", "b", ""])
    # The first: 1 from its own, (10 + 11) / 2 from the others.
    np.testing.assert_allclose(silhouette(values, label)[:2], [1 - 1 / 10.5, 1 - 1 / 9.5], rtol=1e-5)
    assert np.isnan(silhouette(values, label)[4])
    alone = np.array(["a", "a", "b", "b", "c"])
    np.testing.assert_allclose(silhouette(values, alone), silhouette(values, label))  # one clip makes no label
    assert (silhouette(np.ones((4, 2), np.float32), label[:4]) == 0).all()
    assert np.isnan(silhouette(values[:2], label[:2])).all()


def test_principal_coordinates_keep_the_angles() -> None:
    rng = np.random.default_rng(3)
    values = (rng.standard_normal((30, 4)) @ rng.standard_normal((4, 70))).astype(np.float32)
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    centred = units - units.mean(0)
    found = principal_coordinates(values, 4)
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, atol=1e-4)
