"""Which hair faces are drawn with: by age and gender, the most frequent or by chance."""

from collections import Counter

import numpy as np
import pytest

from speech2face.models.hair import HairTable

TABLE = HairTable(
    ("bald", "short", "long"),
    np.array([20, 60], np.float32),
    women=np.array([[0, 0.2, 0.8], [0, 0.7, 0.3]], np.float32),
    men=np.array([[0.1, 0.8, 0.1], [0.6, 0.4, 0]], np.float32),
)


def test_shares_are_those_of_the_table_and_lie_between_its_ages() -> None:
    np.testing.assert_allclose(TABLE.shares(20, 1.0), [0, 0.2, 0.8], atol=1e-6)
    np.testing.assert_allclose(TABLE.shares(40, 0.0), [0.35, 0.6, 0.05], atol=1e-6)
    np.testing.assert_allclose(TABLE.shares(90, 0.5), [0.3, 0.55, 0.15], atol=1e-6)  # beyond the last age: the last


def test_the_most_frequent_style_is_that_of_the_likelier_gender() -> None:
    assert [TABLE.most_frequent(age, 1.0) for age in (20, 60)] == ["long", "short"]
    assert [TABLE.most_frequent(age, 0.0) for age in (20, 60)] == ["short", "bald"]
    assert TABLE.most_frequent(20, 0.51) == "long"  # a mixture would say short


def test_draws_follow_the_table_and_repeat_with_their_seed() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(TABLE.draw(40, 0.0, rng) for _ in range(4000))
    expected = 4000 * TABLE.shares(40, 0.0).astype(float)
    found = np.array([drawn[style] for style in TABLE.styles])
    assert (((found - expected) ** 2) / expected).sum() < 13.8  # chi square of two degrees, one in a thousand
    first, again = (TABLE.draw(40, 1.0, np.random.default_rng(3)) for _ in range(2))
    assert first == again


def test_a_table_survives_json_and_one_that_is_none_is_refused() -> None:
    assert HairTable.from_dict(TABLE.to_dict()).to_dict() == TABLE.to_dict()
    for change in ({"men": [[0.1, 0.8, 0.2], [0.6, 0.4, 0]]}, {"ages": [60, 20]}, {"women": [[1, 0, 0]]}):
        with pytest.raises(ValueError, match="hair"):
            HairTable.from_dict({**TABLE.to_dict(), **change})
