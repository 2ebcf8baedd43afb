"""Speech that is shorter than wanted is repeated, then cut: Speech2Face (Oh et al., CVPR 2019), section 3.1."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", bound=np.generic)


def tile(waveform: NDArray[Numbers], samples: int) -> NDArray[Numbers]:
    """Exactly `samples` samples from the beginning of a waveform (..., any), repeated where it is shorter.

    Any type of sample, so that 16-bit sound stays 16-bit.
    """
    length = waveform.shape[-1]
    assert length > 0, "nothing to repeat"
    if length >= samples:
        return waveform[..., :samples]
    times: tuple[Any, ...] = (1,) * (waveform.ndim - 1) + (-(-samples // length),)
    return np.tile(waveform, times)[..., :samples]
