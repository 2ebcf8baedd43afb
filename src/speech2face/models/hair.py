"""Which hair a face is drawn with: styles by age and gender, the most frequent one or one by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech2face.audio.spectrogram import FloatArray


@dataclass(frozen=True, eq=False)
class HairTable:
    """How frequent each style is among women and men of an age; between the ages stated it is interpolated."""

    styles: tuple[str, ...]
    """Names, in the order in which the face decoder takes them."""
    ages: FloatArray
    """(ages,), rising."""
    women: FloatArray
    """(ages, styles), rows summing to one."""
    men: FloatArray

    def __post_init__(self) -> None:
        shape = (self.ages.size, len(self.styles))
        if self.women.shape != shape or self.men.shape != shape or not self.styles or (np.diff(self.ages) <= 0).any():
            raise ValueError(f"hair of {self.women.shape} and {self.men.shape} for {shape} ages and styles")
        for rows in (self.women, self.men):
            if not np.isfinite(rows).all() or rows.min() < 0 or np.abs(rows.sum(1) - 1).max() > 1e-3:
                raise ValueError("shares of hair styles that do not sum to one")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HairTable:
        """From `to_dict`'s result."""
        arrays = {name: np.array(values[name], np.float32) for name in ("ages", "women", "men")}
        return cls(tuple(map(str, values["styles"])), **arrays)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        arrays = {name: np.round(vars(self)[name].astype(float), 4).tolist() for name in ("ages", "women", "men")}
        return {"styles": list(self.styles), **arrays}

    def shares(self, age: float, femininity: float) -> FloatArray:
        """Share of every style, (styles,), of an age in years and a femininity of 0 to 1."""
        women, men = (
            np.array([np.interp(age, self.ages, column) for column in rows.T]) for rows in (self.women, self.men)
        )
        mixed = femininity * women + (1 - femininity) * men
        return np.asarray(mixed / mixed.sum(), np.float32)

    def most_frequent(self, age: float, femininity: float) -> str:
        """The commonest style of the likelier gender; at even chances it is a woman's.

        A mixture of both would choose by what the other gender wears as well.
        """
        return self.styles[int(self.shares(age, float(femininity >= 0.5)).argmax())]

    def draw(self, age: float, femininity: float, rng: np.random.Generator) -> str:
        """One style by chance."""
        shares = self.shares(age, femininity).astype(np.float64)
        return self.styles[int(rng.choice(len(self.styles), p=shares / shares.sum()))]
