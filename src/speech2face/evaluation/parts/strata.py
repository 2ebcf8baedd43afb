"""Which clips may be told from each other: anyone, or those alike in gender, age or group by their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet

ANYONE = "anyone"
SAME_GENDER = "same gender"
DECADE = 10  # years


@dataclass(frozen=True, eq=False)
class Stratum:
    """A rule of which clips are foils of each other."""

    name: str
    labels: NDArray[np.str_]
    """(clips,) clips of the same label may be foils of each other; "" is unknown."""
    unknown: str
    """The reason of an exclusion for lack of the label."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """(clips,)"""
        return np.asarray(self.labels != "")


def decades(evaluation: EvaluationSet) -> NDArray[np.str_]:
    """The decade of each clip's age, such as "20s", (clips,); "" where unknown."""
    years = evaluation.age_years()
    return np.array(["" if np.isnan(age) else f"{int(age // DECADE) * DECADE}s" for age in years], dtype=np.str_)


def _both(one: NDArray[np.str_], other: NDArray[np.str_]) -> NDArray[np.str_]:
    """Two labels as one, "" where one of them is."""
    return np.array([f"{a}, {b}" if a and b else "" for a, b in zip(one, other, strict=True)], dtype=np.str_)


def strata_of(evaluation: EvaluationSet) -> Iterator[Stratum]:
    """Anyone, and every kind of likeness that some labels tell of."""
    gender = evaluation.gender()
    yield Stratum(ANYONE, np.full(len(evaluation), "all"), "")
    alike = (
        Stratum(SAME_GENDER, gender, "no_gender"),
        Stratum("same gender and decade of age", _both(gender, decades(evaluation)), "no_gender_or_age"),
        Stratum("same gender and group", _both(gender, evaluation.label("group")), "no_gender_or_group"),
    )
    yield from (stratum for stratum in alike if stratum.known.any())
