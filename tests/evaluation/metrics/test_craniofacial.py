"""The twelve measurements of a face drawn by hand, and Pearson's r against scipy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from speech2face.metrics.pictures import MEASUREMENTS, correlate, interocular, measurements


def face() -> np.ndarray:
    """Landmarks (68, 2) in round numbers; those that no measurement needs lie at the origin."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = [40, 50], [80, 50]  # eyes 40 apart
    points[[36, 39, 42, 45]] = [[30, 50], [50, 50], [70, 50], [90, 50]]
    points[36:42] += [40, 50] - points[36:42].mean(0)
    points[42:48] += [80, 50] - points[42:48].mean(0)
    points[27], points[33] = [60, 45], [60, 85]  # nose 40 high
    points[31], points[35] = [50, 80], [70, 80]  # and 20 wide
    points[50], points[52], points[51] = [56, 92], [64, 92], [60, 94]
    points[48], points[54] = [45, 100], [75, 100]  # mouth 30 wide
    points[62], points[66] = [60, 99], [60, 101]  # lips meet at 100
    points[57], points[8] = [60, 108], [60, 130]
    points[4], points[12] = [25, 105], [95, 105]  # jaw 70 wide
    points[1], points[15] = [20, 60], [100, 60]  # face 80 wide
    points[[0, 16]], points[[17, 26]], points[[2, 14]] = (
        [[18, 50], [102, 50]],
        [[28, 38], [92, 38]],
        [[21, 75], [99, 75]],
    )
    return points


def test_every_measurement_by_hand() -> None:
    found = {name: values[0] for name, values in measurements(face()[None], to_scale=False).items()}
    lateral = np.hypot(6, 12)
    inner, outer = 70 - 50, 90 - 30
    assert found == pytest.approx(
        {
            "upper_lip_height": 15.0,
            "lateral_upper_lip_heights": lateral,
            "jaw_width": 70.0,
            "nose_height": 40.0,
            "nose_width": 20.0,
            "labio_oral_region": 30.0,
            "mandibular_index": 30 / 70,
            "intercanthal_index": inner / outer,
            "nasal_index": 0.5,
            "vermilion_height_index": 6 / 8,
            "mouth_face_width_index": 30 / 80,
            "nose_area": 800.0,
        }
    )


def test_the_eyes_distance_is_the_unit_of_lengths_and_its_square_that_of_areas() -> None:
    assert interocular(face()[None])[0] == pytest.approx(40)
    found = measurements(face()[None])
    assert found["jaw_width"][0] == pytest.approx(70 / 40)
    assert found["nose_area"][0] == pytest.approx(800 / 40**2)
    assert found["nasal_index"][0] == pytest.approx(0.5)


def test_to_scale_neither_size_nor_place_nor_turn_of_the_picture_matters() -> None:
    turn = 2.5 * np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    moved = measurements((face() @ turn + [300, -20])[None])
    for name, values in measurements(face()[None]).items():
        assert_allclose(moved[name], values)


def test_the_twelve_are_the_papers() -> None:
    assert len({one.name for one in MEASUREMENTS}) == 12
    assert {one.name: one.published for one in MEASUREMENTS}["nasal_index"] == 0.38


def test_a_missing_face_stays_missing_and_a_flat_nose_has_no_index() -> None:
    flat = face()
    flat[27] = flat[33]
    found = measurements(np.stack([np.full((68, 2), np.nan), flat, face()]))
    assert np.isnan(found["nasal_index"]).tolist() == [True, True, False]
    assert np.isnan(found["nose_width"]).tolist() == [True, False, False]


def test_r_and_p_are_scipys_where_every_face_is_another_person() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = 0.4 * x + rng.normal(size=60)
    expected = stats.pearsonr(x, y)
    found = correlate(np.append(x, np.nan), np.append(y, 3.0))
    assert found.r == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)


def test_many_clips_of_few_people_do_not_make_it_more_certain() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    once, often = correlate(x, y), correlate(np.tile(x, 50), np.tile(y, 50), independent=20)
    assert often.r == pytest.approx(once.r)
    assert often.p == pytest.approx(once.p)
    assert correlate(np.tile(x, 50), np.tile(y, 50)).p < 1e-6 * once.p


def test_one_picture_for_everybody_has_no_correlation() -> None:
    found = correlate(np.full(10, 2.0), np.arange(10.0))
    assert np.isnan(found.r)
    assert np.isnan(found.p)
    assert np.isnan(correlate(np.arange(2.0), np.arange(2.0)).r)  # two points always lie on a line
