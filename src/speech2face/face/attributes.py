"""How age, gender and group become the coordinates in which the face model is linear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

GROUPS = ("white", "black", "west_asian", "east_asian")
"""The groups the London set's volunteers gave themselves; nothing in a voice tells which."""

AGE_RANGE_YEARS = (18.0, 80.0)


@dataclass(frozen=True)
class AttributeBasis:
    """Coordinates of (age, femininity, group weights): hinges in age, products with femininity, weights of groups.

    The young slope is learned from one set of photographs and the older ones from another; hinges let each end where
    its data end, and join without a step.
    """

    age_range_years: tuple[float, float] = AGE_RANGE_YEARS
    young_years: tuple[float, float] = (18.0, 45.0)
    young_centre_years: float = 30.0
    older_years: tuple[float, float] = (38.0, 80.0)
    old_years: tuple[float, float] = (60.0, 80.0)
    groups: tuple[str, ...] = GROUPS

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each coordinate."""
        plain = ("femininity", "young", "young_femininity", "older", "older_femininity", "old", "old_femininity")
        return (*plain, *self.groups)

    @property
    def size(self) -> int:
        """The number of coordinates, A."""
        return len(self.names)

    def design(self, age: ArrayLike, femininity: ArrayLike, groups: ArrayLike) -> NDArray[np.float32]:
        """Coordinates, (..., A), of age in years, femininity in [0, 1] and group weights (..., groups) that sum to 1.

        Values out of range are clipped: the model does not extrapolate.
        """
        years = np.clip(np.asarray(age, dtype=np.float64), *self.age_range_years)
        feminine = 2.0 * np.clip(np.asarray(femininity, dtype=np.float64), 0.0, 1.0) - 1.0
        weights = np.asarray(groups, dtype=np.float64)
        assert weights.shape[-1] == len(self.groups)
        young = (np.clip(years, *self.young_years) - self.young_centre_years) / 10.0
        older = self._hinge(years, self.older_years)
        old = self._hinge(years, self.old_years)
        plain = np.stack(
            np.broadcast_arrays(feminine, young, young * feminine, older, older * feminine, old, old * feminine), -1
        )
        weights = np.broadcast_to(weights - 1.0 / len(self.groups), (*plain.shape[:-1], len(self.groups)))
        return np.concatenate([plain, weights], axis=-1).astype(np.float32)

    @staticmethod
    def _hinge(years: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
        """0 up to the first bound, then decades since, constant after the second."""
        return (np.clip(years, *bounds) - bounds[0]) / 10.0

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> AttributeBasis:
        """The basis that to_dict wrote."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**fields)
