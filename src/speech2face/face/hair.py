"""Hair styles, and how often women and men of an age wear them: one table for photographic and drawn faces."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np


class HairStyle(StrEnum):
    """How hair is worn."""

    short = "short"
    medium = "medium"
    tied = "tied"
    long = "long"
    curly = "curly"
    shaved = "shaved"
    receding = "receding"
    bald = "bald"


# Set by hand, not counted: a plausible share of each style at some ages, straight lines between them. That receding and
# bald heads become the most frequent ones of old men follows J. B. Hamilton (1951), Patterned loss of hair in man, and
# O. T. Norwood (1975), Male pattern baldness: classification and incidence.
KNOT_AGES: Final = (12, 20, 35, 50, 65, 80)  # years
SHARES: Final[dict[bool, dict[HairStyle, tuple[float, ...]]]] = {
    True: {  # women
        HairStyle.long: (0.50, 0.46, 0.30, 0.16, 0.06, 0.03),
        HairStyle.medium: (0.18, 0.20, 0.34, 0.42, 0.32, 0.22),
        HairStyle.tied: (0.22, 0.20, 0.18, 0.12, 0.08, 0.07),
        HairStyle.curly: (0.08, 0.10, 0.10, 0.10, 0.10, 0.10),
        HairStyle.short: (0.02, 0.04, 0.08, 0.20, 0.44, 0.58),
    },
    False: {  # men
        HairStyle.short: (0.78, 0.62, 0.52, 0.40, 0.28, 0.20),
        HairStyle.curly: (0.12, 0.14, 0.09, 0.06, 0.04, 0.02),
        HairStyle.medium: (0.08, 0.10, 0.07, 0.05, 0.04, 0.03),
        HairStyle.shaved: (0.01, 0.07, 0.11, 0.11, 0.08, 0.05),
        HairStyle.receding: (0.00, 0.03, 0.15, 0.27, 0.34, 0.30),
        HairStyle.bald: (0.00, 0.01, 0.03, 0.09, 0.21, 0.39),
        HairStyle.tied: (0.01, 0.02, 0.02, 0.01, 0.00, 0.00),
        HairStyle.long: (0.00, 0.01, 0.01, 0.01, 0.01, 0.01),
    },
}
UNKNOWN_AGE: Final = 35.0  # years; of a face whose model states none


def hair_frequencies(age: float | None, femininity: float | None) -> dict[HairStyle, float]:
    """How often each style is worn, summing to one, at an age in years and a femininity from 0 to 1.

    None stands for what a model does not state: the middle of a life, as many women as men.
    """
    years = UNKNOWN_AGE if age is None else age
    feminine = 0.5 if femininity is None else min(max(femininity, 0.0), 1.0)
    found = dict.fromkeys(HairStyle, 0.0)
    for women, weight in ((True, feminine), (False, 1 - feminine)):
        for style, shares in SHARES[women].items():
            found[style] += weight * float(np.interp(years, KNOT_AGES, shares))
    total = sum(found.values())
    return {style: share / total for style, share in found.items()}


def most_frequent_hair(age: float | None, femininity: float | None) -> HairStyle:
    """The style that most wear at an age in years and a femininity from 0 to 1; None as in `hair_frequencies`."""
    shares = hair_frequencies(age, femininity)
    return max(shares, key=shares.__getitem__)


def chosen_hair(age: float | None, femininity: float | None, place: float) -> HairStyle:
    """The style at a place from 0 to 1 among all who look so, each having room by its frequency.

    An even number as the place draws a style; the same place stays with the same kind of style while age and
    femininity are still moving, as they do while a voice is heard.
    """
    reached = np.cumsum(list(hair_frequencies(age, femininity).values()))
    return list(HairStyle)[min(int(np.searchsorted(reached, place, side="right")), len(HairStyle) - 1)]


def sample_place(seed: int | None, number: int) -> float:
    """The place, 0 to 1, that sample `number` of a seed has among the hair styles: its own stream, so that the faces
    of a seed stay as they were.
    """
    return float(np.random.default_rng((seed or 0, number)).random())
