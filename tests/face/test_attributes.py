"""Coordinates of age, gender and group."""

import json

import numpy as np
from numpy.testing import assert_allclose

from speech2face.face.appearance import AttributeBasis

EVERYONE = np.full(4, 0.25)


def column(basis: AttributeBasis, name: str) -> int:
    return basis.names.index(name)


def test_coordinates_of_a_sixty_year_old_woman_of_the_reference_population_by_hand() -> None:
    basis = AttributeBasis()
    found = dict(zip(basis.names, basis.design(60.0, 1.0, EVERYONE), strict=True))
    # 32 caps the young slope: (32 - 30) / 10; (60 - 30) / 10 decades since 30; none since 60
    expected = {"femininity": 1.0, "young": 0.2, "young_femininity": 0.2, "older": 3.0, "older_femininity": 3.0}
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    assert found["old"] == 0.0
    assert all(found[group] == 0.0 for group in basis.groups)


def test_ages_out_of_range_are_clipped() -> None:
    basis = AttributeBasis()
    assert_allclose(basis.design(5.0, 0.0, EVERYONE), basis.design(18.0, 0.0, EVERYONE))
    assert_allclose(basis.design(99.0, 0.0, EVERYONE), basis.design(80.0, 0.0, EVERYONE))


def test_femininity_out_of_range_is_clipped() -> None:
    basis = AttributeBasis()
    assert_allclose(basis.design(30.0, 1.7, EVERYONE), basis.design(30.0, 1.0, EVERYONE))


def test_coordinates_never_jump_with_age() -> None:
    basis = AttributeBasis()
    ages = np.linspace(10.0, 90.0, 801)
    steps = np.abs(np.diff(basis.design(ages, np.ones(801), EVERYONE), axis=0))
    assert steps.max() < 0.011


STRETCHED = AttributeBasis(drawn_years=((18.0, 18.0, 18.0), (50.0, 55.0, 60.0), (80.0, 81.0, 90.0)))


def test_a_face_is_drawn_at_the_age_at_which_it_looks_as_old_as_asked() -> None:
    older = column(STRETCHED, "older")
    assert_allclose(STRETCHED.design(50.0, 1.0, EVERYONE)[older], 2.5)
    assert_allclose(STRETCHED.design(50.0, 0.0, EVERYONE)[older], 3.0)
    assert_allclose(STRETCHED.design(50.0, 0.5, EVERYONE)[older], 2.75)
    assert_allclose(STRETCHED.design(99.0, 0.0, EVERYONE)[older], 6.0)  # asked ages are clipped, drawn ones follow
    assert_allclose(STRETCHED.photographed.design(50.0, 0.0, EVERYONE), AttributeBasis().design(50.0, 0.0, EVERYONE))


def test_the_basis_survives_json() -> None:
    basis = AttributeBasis(young_centre_years=28.0, drawn_years=STRETCHED.drawn_years)
    assert AttributeBasis.from_dict(json.loads(json.dumps(basis.to_dict()))) == basis


def test_a_batch_gives_what_single_calls_give() -> None:
    basis = AttributeBasis()
    groups = np.eye(4)
    together = basis.design(np.array([20.0, 40.0, 60.0, 80.0]), np.array([0.0, 1.0, 0.5, 1.0]), groups)
    assert together.shape == (4, basis.size)
    assert_allclose(together[2], basis.design(60.0, 0.5, groups[2]))
    assert together[1, column(basis, "black")] == np.float32(0.75)
