"""What can be said of a picture without knowing whose it is: sharp, even, symmetric; and how much pictures differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from speech2face.evaluation.group_sums import group_sums

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]

SIDE_PIXELS = 224  # pictures of every size are compared at this one: sharpness means nothing between sizes
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
HIGH_FREQUENCY = 0.125  # cycles a pixel: waves shorter than 8 of 224 pixels, which are lashes, strands and pores
RANGE_PERCENTILES = (5, 95)
FACE_COLUMNS, FACE_ROWS = (0.2, 0.8), (0.2, 0.85)  # where symmetry is looked for: hair and ground are no one's face


def small(picture: Picture, side: int) -> Picture:
    """A picture (height, width, 3) at (side, side, 3)."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)


def luma(picture: Picture, side: int = SIDE_PIXELS) -> Floats:
    """Grey levels, (side, side) in [0, 255], of a picture (height, width, 3)."""
    return np.asarray(small(picture, side).astype(np.float64) @ np.array(LUMA))


def sharpness(grey: Floats) -> float:
    """Variance of the Laplacian of grey levels (height, width) (Pech-Pacheco et al. 2000): var(4 g - neighbours).

    Higher is sharper, 0 for an even picture, no upper end. A cheat: noise earns more than any face; read it beside the
    same number of the originals, and beside the share of high frequencies. It grows with the square of contrast.
    """
    inner = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(inner.var())


def high_frequency_share(grey: Floats) -> float:
    """Share of the power of grey levels (height, width), mean removed, Hann window, above 1/8 cycle a pixel.

    0 to 1. Photographs of faces have 0.03 to 0.08; white noise earns what it covers of the spectrum, 0.95. Contrast
    does not matter. An even picture has no power: NaN.
    """
    height, width = grey.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    level = (grey * window).sum() / window.sum()
    power = np.abs(np.fft.fft2((grey - level) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    total = power.sum()
    if total <= 1e-9 * grey.size:
        return float("nan")
    return float(power[frequency > HIGH_FREQUENCY].sum() / total)


def symmetry(grey: Floats) -> float:
    """Pearson correlation of the face's part of grey levels (height, width) with its mirror image.

    -1 to 1, higher is more symmetric; photographs of frontal faces earn 0.6 to 0.8, less in light from one side, white
    noise 0. A cheat: a mean face is more symmetric than any person, 0.99. An even picture has none: NaN.
    """
    height, width = grey.shape
    rows = slice(round(FACE_ROWS[0] * height), round(FACE_ROWS[1] * height))
    columns = slice(round(FACE_COLUMNS[0] * width), width - round(FACE_COLUMNS[0] * width))
    part = grey[rows, columns] - grey[rows, columns].mean()
    power = float((part * part).sum())
    return float((part * part[:, ::-1]).sum() / power) if power > 1e-9 else float("nan")


def brightness_range(grey: Floats) -> float:
    """Grey levels between the 5th and the 95th percentile, 0 to 255; 0 for an even picture, 110 to 190 for faces."""
    low, high = np.percentile(grey, RANGE_PERCENTILES)
    return float(high - low)


class PairwiseSpread:
    """Root mean square distance between clips of different speakers: how much pictures or embeddings differ.

    sqrt(mean over pairs of |a - b|^2 / D) of vectors (clips, D); pairs of one speaker do not count, and neither does a
    clip beside itself. 0 where all are one: the score of the same face for everybody. In units of the vectors; two sets
    are compared by their ratio, 1 being as varied as the reference. Equal to sqrt(2) standard deviations when every
    clip has a speaker of its own.
    """

    def __init__(self, vectors: ArrayLike, speaker: ArrayLike) -> None:
        """`vectors` (clips, D), `speaker` (clips,)."""
        values = np.asarray(vectors)
        self._places = np.unique(np.asarray(speaker), return_inverse=True)[1].reshape(-1)
        people = int(self._places.max()) + 1 if len(self._places) else 0
        centred = values - values.mean(0, dtype=np.float64).astype(values.dtype) if people else values
        self._count = np.bincount(self._places, minlength=people).astype(np.float64)
        sums = group_sums(centred, self._places, people)
        lengths = np.einsum("cd,cd->c", centred, centred, dtype=np.float64)
        self._squares = np.bincount(self._places, lengths, minlength=people)
        self._products = sums @ sums.T
        self._size = values.shape[1]

    def __call__(self, weights: ArrayLike | None = None) -> float:
        """The distance; `weights` (clips,) say how often each clip's speaker was drawn, None once each.

        A speaker drawn twice is one speaker: his clips are not held against themselves.
        """
        if weights is None:
            drawn = np.ones(len(self._count))
        else:  # the weight of a speaker is that of his clips
            drawn = np.zeros(len(self._count))
            np.maximum.at(drawn, self._places, np.asarray(weights, np.float64))
        clips, squares = drawn * self._count, drawn * self._squares
        between = clips.sum() ** 2 - (clips**2).sum()
        if between <= 0:
            return float("nan")
        everything = 2 * (clips.sum() * squares.sum() - drawn @ self._products @ drawn)
        own = 2 * (clips * squares - drawn**2 * self._products.diagonal())
        return float(np.sqrt(max(everything - own.sum(), 0.0) / between / self._size))
