"""How right a reader is, worked out by hand on four pictures; and that what is said of the shipped one is so."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="the face model is a safetensors file; install the extra `eval`")

from recipes.starter.reader_scores import FaceSet, scores, write_csv
from speech2face.evaluation.readers import LIMITS, Attribute, AttributeReading
from speech2face.face.detect import Picture

MEASURED = Path(__file__).parents[2] / "docs" / "reader_scores.csv"


class GreyReader:
    """Grey is the age; black is no face; a man from 50 on."""

    name, statement = "grey", ""
    reads: tuple[Attribute, ...] = ("gender", "age")
    groups: tuple[str, ...] = ()

    def read(self, picture: Picture) -> AttributeReading | None:
        grey = float(picture.mean())
        return None if grey == 0 else AttributeReading(age=grey, femininity=float(grey < 50))


def test_five_faces_by_hand(tmp_path: Path) -> None:
    pictures = tuple(np.full((2, 2, 3), grey, np.uint8) for grey in (20, 40, 60, 80, 0))
    faces = FaceSet("greys", pictures, np.array([22, 40, 50, np.nan, 30]), np.array([1, 0, 0, 0, 1]).astype(float))
    found = {one.metric: one for one in scores(GreyReader(), faces)}
    assert found["face_found"].estimate.value == pytest.approx(4 / 5)
    assert found["gender_balanced_agreement"].estimate.value == pytest.approx((1 + 2 / 3) / 2)
    assert found["age_mean_absolute_error_years"].estimate.value == pytest.approx((2 + 0 + 10) / 3)
    assert found["age_mean_absolute_error_years"].cheat == pytest.approx((18 + 0 + 10) / 3)  # 40 for everybody
    assert found["age_mean_error_years"].estimate.value == pytest.approx((-2 + 0 + 10) / 3)
    expected = np.corrcoef([20, 40, 60], [22, 40, 50])[0, 1]
    assert found["age_r"].estimate.value == pytest.approx(expected)
    write_csv([*found.values()], tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert [row["metric"] for row in rows] == [*found]
    assert rows[0]["n"] == "5"


def test_what_is_said_of_the_appearance_reader_is_what_was_measured() -> None:
    with MEASURED.open(encoding="utf-8") as file:
        value = {(row["faces"][:6], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    assert "nearly exact" in LIMITS
    assert value["drawn ", "age_mean_absolute_error_years"] < 4
    assert value["drawn ", "gender_balanced_agreement"] > 0.98
    assert "about nine times in ten" in LIMITS
    assert 0.85 < value["London", "gender_balanced_agreement"] < 0.95
    assert "its age says little" in LIMITS
    assert value["London", "age_r"] < 0.5
