"""The photographs and generated faces that the starter's faces are learned from are read as their tables say."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe's faces are resampled by torch; install the extra `train`")

from recipes.starter.face_material import read_london, read_synthetic

STARTER = Path(__file__).resolve().parents[3] / "shared" / "starter"

pytestmark = pytest.mark.skipif(not (STARTER / "faces").is_dir(), reason="needs the starter's faces beside the project")


@pytest.mark.parametrize(("read", "points"), [(read_london, 189), (read_synthetic, 468)])
def test_every_face_has_its_points_its_age_and_its_gender(read: object, points: int) -> None:
    assert callable(read)
    faces = read(STARTER)
    assert faces.landmarks.shape == (len(faces.names), points, 2) and len(faces.pictures) == len(faces.names)
    assert 0.2 < faces.femininity.mean() < 0.8
    assert np.nanmin(faces.age) >= 15 and np.nanmax(faces.age) <= 100
    for picture, marks in zip(faces.pictures, faces.landmarks, strict=True):
        inside = (marks >= 0) & (marks < picture.shape[1::-1])
        assert inside.mean() > 0.9
