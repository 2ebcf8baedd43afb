"""The approximate index: it says how well it searches, and it is right about that."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss", reason="install the extra `retrieval`")

from speech2face.errors import DatasetError
from speech2face.gallery import files
from speech2face.gallery.files import FaissIndex, Vectors, made_probes, nearest, recall, unit_rows
from tests.gallery.made import made_entry, made_faces, made_gallery

COUNT = 3000


@pytest.fixture(scope="module")
def faces() -> Vectors:
    """Twenty around each of 150 people, in 64 numbers."""
    rng = np.random.default_rng(0)
    return unit_rows(np.repeat(rng.standard_normal((150, 64)), 20, 0) + 0.7 * rng.standard_normal((COUNT, 64)))


@pytest.fixture(scope="module")
def index(faces: Vectors) -> FaissIndex:
    return FaissIndex.make(faces, np.arange(COUNT) * 2 + 5)


def test_the_recall_it_states_is_reached_on_other_probes(faces: Vectors, index: FaissIndex) -> None:
    assert index.facts.recall_at_10 >= 0.99
    probes = made_probes(faces, 100, np.random.default_rng(5))
    found = np.stack([index.search(probe, 10, faces, np.arange(COUNT) * 2 + 5)[0] for probe in probes])
    assert recall(found, nearest(faces, probes, 10).rows) >= 0.97
    assert index.facts.looked_at < index.facts.lists  # else it is no index


def test_its_cosines_are_exact(faces: Vectors, index: FaissIndex) -> None:
    rows, cosines = index.search(faces[50], 10, faces, np.arange(COUNT) * 2 + 5)
    assert rows[0] == 50
    np.testing.assert_allclose(cosines, faces[rows] @ faces[50], rtol=1e-6)
    assert (np.diff(cosines) <= 0).all()


def test_only_rows_that_are_kept_are_found(faces: Vectors, index: FaissIndex) -> None:
    kept = np.arange(1, COUNT, 2)
    rows, _ = index.search(faces[50], 10, faces, np.arange(COUNT) * 2 + 5, kept)
    assert len(rows) == 10 and (rows % 2 == 1).all()


def test_who_was_removed_is_not_found_and_who_came_is(faces: Vectors, index: FaissIndex, tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(index.encode())
    copy = FaissIndex.read(tmp_path / "index", asdict(index.facts), mapped=False)
    numbers = np.arange(COUNT) * 2 + 5
    copy.remove(numbers[:100])
    copy.add(faces[:10], np.arange(9000, 9010))
    vectors = np.concatenate([faces[100:], faces[:10]])
    rows, _ = copy.search(faces[3], 5, vectors, np.concatenate([numbers[100:], np.arange(9000, 9010)]))
    assert rows[0] == len(vectors) - 7
    assert (rows >= len(vectors) - 10).sum() == 5  # of that person only the ten that came back


def test_a_file_that_is_no_index_is_refused(tmp_path: Path, index: FaissIndex) -> None:
    (tmp_path / "index").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="no index"):
        FaissIndex.read(tmp_path / "index", asdict(index.facts))


def test_a_gallery_with_an_index_finds_what_one_without_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SEARCHED_EXACTLY", 100)
    with made_gallery(tmp_path / "f", "faiss", count=1200) as fast, made_gallery(tmp_path / "e", count=1200) as slow:
        for gender in (None, {"gender": "female"}):
            ours, theirs = (gallery.search(made_faces(1, seed=9)[0], 10, gender) for gallery in (fast, slow))
            assert (ours.exact, theirs.exact) == (False, True)
            assert len({hit.entry.id for hit in ours.hits} & {hit.entry.id for hit in theirs.hits}) >= 9
            assert abs(ours.random_cosine[0] - theirs.random_cosine[0]) < 0.05
        few = fast.search(made_faces(1, seed=9)[0], 3, {"speaker": "speaker 7"})
        assert few.exact and few.of == 2
        fast.forget(["speaker 7"])
        fast.upsert([made_entry(5000)], made_faces(1, seed=9))
        again = fast.search(made_faces(1, seed=9)[0], 1)
        assert (again.hits[0].entry.id, again.exact) == ("face-05000", False)
        assert len(fast) == 1200 - 2 + 1
