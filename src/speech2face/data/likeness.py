"""Short vectors that are near one another for pictures, or face embeddings, that are near-duplicates, and how to find
the near ones among millions without comparing all.

Vectors of unit length are projected at random to a few hundred numbers, which keeps angles (Johnson and Lindenstrauss
1984); the projections' signs, in random groups, are the buckets in which near vectors meet (Charikar, STOC 2002).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Sketches = NDArray[np.int8]
"""(clips, NUMBERS): projections of unit vectors, times `SCALE`."""

PIXELS = 32  # side of a small picture
DETAIL_PIXELS = 2.0  # what is smoother than this is light and a face's common shape

NUMBERS = 256  # of a sketch; a cosine of 0.9 is then off by about 0.01
SCALE = 500.0  # a projection is about 1/16: four times that still fits an int8

TABLES = 64  # groups of bits; a pair of cosine 0.9 meets in one of them 19 times of 20, of 0.95 always
BITS = 20  # of a group: unlike vectors meet once in a million, a table
WINDOW = 32  # neighbours in a bucket that each is compared with: buckets of identical pictures stay affordable

_PAIRS_AT_ONCE = 2**16


def picture_vector(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(PIXELS x PIXELS,), the detail of an aligned face (height, width, 3), of unit length; zero for an even ground."""
    grey = Image.fromarray(picture).convert("L").resize((PIXELS, PIXELS), Image.Resampling.BOX)
    small = np.asarray(grey, dtype=np.float32)
    return unit((small - gaussian_filter(small, DETAIL_PIXELS)).ravel())


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The direction of a vector; zero stays zero."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 1e-6 else np.zeros_like(vector)


class Projection:
    """A random projection, always the same for vectors of one length."""

    def __init__(self, size: int) -> None:
        random = np.random.default_rng([size, NUMBERS])
        self._matrix = random.standard_normal((size, NUMBERS), dtype=np.float32) * np.float32(SCALE / NUMBERS**0.5)

    def sketch(self, vector: NDArray[np.float32]) -> NDArray[np.int8]:
        """(NUMBERS,) of a unit vector (size,)."""
        return np.clip(np.rint(vector @ self._matrix), -127, 127).astype(np.int8)


def centred(sketches: Sketches, shrinkage: float) -> NDArray[np.float16]:
    """Sketches without what all have in common, of unit length: cosines of unlike ones are then around 0.

    The mean counts as much as clips / (clips + shrinkage): of a few it says little about faces in general.
    """
    count = len(sketches)
    mean = sketches.mean(0, dtype=np.float64).astype(np.float32) * np.float32(count / (count + shrinkage))
    found = np.empty(sketches.shape, np.float16)
    for start in range(0, count, _PAIRS_AT_ONCE):
        part = sketches[start : start + _PAIRS_AT_ONCE] - mean
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        found[start : start + _PAIRS_AT_ONCE] = part / np.maximum(lengths, 1e-6)
    return found


def near_pairs(
    vectors: NDArray[np.float16], group: NDArray[np.integer], least_cosine: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Pairs of vectors of different groups with at least this cosine: places of both, the lower first, and cosines.

    A pair may come more than once.
    """
    random = np.random.default_rng(NUMBERS)
    signs = vectors > 0
    for _ in range(TABLES):
        chosen = random.choice(NUMBERS, BITS, replace=False)
        bucket = signs[:, chosen].astype(np.uint32) @ np.left_shift(np.uint32(1), np.arange(BITS, dtype=np.uint32))
        for one, other in bucket_pairs(bucket, group):
            cosines = _cosines(vectors, one, other)
            near = cosines >= least_cosine
            yield one[near], other[near], cosines[near]


def bucket_pairs(
    bucket: NDArray[np.uint32], group: NDArray[np.integer], window: int = WINDOW
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of entries of one bucket and different groups: each entry with the `window` after it in a random order."""
    shuffled = np.random.default_rng(len(bucket)).permutation(len(bucket))
    order = shuffled[np.argsort(bucket[shuffled], kind="stable")]
    sorted_bucket, sorted_group = bucket[order], group[order]
    for distance in range(1, min(window + 1, len(order))):
        same = sorted_bucket[:-distance] == sorted_bucket[distance:]
        if not same.any():
            return
        first = np.flatnonzero(same & (sorted_group[:-distance] != sorted_group[distance:]))
        one, other = order[first], order[first + distance]
        yield np.minimum(one, other), np.maximum(one, other)


def _cosines(vectors: NDArray[np.float16], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        left, right = vectors[one[part]].astype(np.float32), vectors[other[part]].astype(np.float32)
        found[part] = np.einsum("pn,pn->p", left, right)
    return found
