"""Bootstrap intervals over speakers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLINGS = 1000


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval and how many speakers it stands on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


def bootstrap(metric: Callable[..., float], *columns: np.ndarray, seed: int = 0) -> Estimate:
    """Apply `metric` to the columns, (speakers, ...) each, and to resamplings of their rows."""
    count = len(columns[0])
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLINGS):
        rows = rng.integers(count, size=count)
        value = metric(*(column[rows] for column in columns))
        if np.isfinite(value):
            values.append(value)
    low, high = np.percentile(values, [2.5, 97.5]) if values else (float("nan"), float("nan"))
    return Estimate(float(metric(*columns)), float(low), float(high), count)
