"""Exact search, worked out by hand and against a sort of everything."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from speech2face.errors import DatasetError
from speech2face.gallery import files as exact
from speech2face.gallery.files import nearest, recall, unit_rows


def test_the_nearest_faces_of_four_by_hand() -> None:
    faces = unit_rows(np.array([[1, 0], [0, 1], [-1, 0], [1, 1]], np.float32))
    found = nearest(faces, np.array([[1, 0]], np.float32), 3)
    assert found.rows.tolist() == [[0, 3, 1]]
    assert_allclose(found.cosines, [[1, np.sqrt(0.5), 0]], atol=1e-6)
    assert_allclose(found.mean, np.sqrt(0.5) / 4, rtol=1e-6)
    assert_allclose(found.sd, np.std([1, 0, -1, np.sqrt(0.5)]), rtol=1e-6)


@pytest.mark.parametrize("rows", [None, np.arange(3, 900, 7)])
def test_blocks_find_what_a_sort_of_everything_finds(rows: np.ndarray | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "BLOCK_BYTES", 4 * 16 * 37)  # of 37 faces
    rng = np.random.default_rng(0)
    faces, probes = unit_rows(rng.standard_normal((1000, 16))), unit_rows(rng.standard_normal((5, 16)))
    found = nearest(faces, probes, 10, rows)
    places = np.arange(1000) if rows is None else rows
    cosines = probes.astype(np.float64) @ faces[places].T.astype(np.float64)
    assert np.array_equal(found.rows, places[np.argsort(-cosines, axis=1)[:, :10]])
    assert_allclose(found.sd, cosines.std(1), rtol=1e-4)


def test_equal_faces_stand_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "BLOCK_BYTES", 4 * 2 * 3)
    faces = np.tile(np.array([[0, 1]], np.float32), (20, 1))
    assert nearest(faces, faces[:1], 5).rows.tolist() == [[0, 1, 2, 3, 4]]


def test_more_are_asked_for_than_there_are() -> None:
    faces = np.eye(3, dtype=np.float32)
    assert nearest(faces, faces[:1], 10).rows.shape == (1, 3)
    assert nearest(faces[:0], faces[:1], 10).rows.shape == (1, 0)


@pytest.mark.parametrize("bad", [np.zeros(4), np.array([1, np.nan, 0, 0]), np.array([np.inf, 0, 0, 0])])
def test_a_face_without_direction_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DatasetError, match="zero or not finite"):
        unit_rows(np.stack([np.ones(4), bad]))


def test_recall_counts_faces_whatever_their_order() -> None:
    assert recall(np.array([[3, 2, 9]]), np.array([[1, 2, 3]])) == pytest.approx(2 / 3)
