"""What can be said of a picture without knowing whose it is, how much pictures differ, and the measures of a face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import stats

from speech2face.face.landmarks import COUNT, LEFT_EYE, RIGHT_EYE
from speech2face.metrics.intervals import group_sums

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

    Higher is sharper, 0 for an even picture, no upper end. Noise earns more than any face; read it beside the
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
    noise 0. A mean face is more symmetric than any person, 0.99. An even picture has none: NaN.
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


# --- Frechet distance between two sets of pictures, in the features of a network (Heusel et al., NeurIPS 2017).


def frechet_distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """Squared Frechet distance of two Gaussians (Dowson and Landau 1982), means (D,) and covariances (D, D).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Lower is better, from 0, no upper end, in squared units of the
    features. The trace of the root is the sum of roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric:
    no complex parts to cut off, and singular covariances do no harm.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    crossed = np.linalg.eigvalsh(root @ other_covariance @ root)
    trace = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(np.clip(crossed, 0, None)).sum()
    return max(float(((mean - other_mean) ** 2).sum() + trace), 0.0)


@dataclass(frozen=True, eq=False)
class Crowd:
    """A set of features as its mean (D,), and rows whose product with themselves is its covariance."""

    mean: Floats
    rows: Floats

    @classmethod
    def of(cls, features: ArrayLike) -> Crowd | None:
        """From (pictures, D); None of fewer than two."""
        values = np.asarray(features, np.float64)
        assert values.ndim == 2
        mean = values.mean(0) if len(values) > 1 else None
        return None if mean is None else cls(mean, _root(values - mean))


def fid(features: ArrayLike | Crowd | None, other: ArrayLike | Crowd | None) -> float:
    """Frechet distance of two sets of features, (pictures, D) and (others, D), at least two pictures each, else NaN.

    Lower is better; 0 for the same set. It has a bias that falls as one over the number of pictures, so that sets are
    only compared at the same number, and beside two parts of the reference at that number; under some thousands of
    pictures, or fewer than D, its value means nothing by itself. One picture for everybody earns |m1 - m2|^2 + tr C,
    C being the covariance of the reference.

    With fewer pictures than features the root is had from the pictures: with centred rows A and B, C1 = A'A and
    C2 = B'B, and tr (C1 C2)^(1/2) is the sum of the singular values of A B'.
    """
    sides = [side if side is None or isinstance(side, Crowd) else Crowd.of(side) for side in (features, other)]
    if sides[0] is None or sides[1] is None:
        return float("nan")
    (mean, a), (other_mean, b) = ((side.mean, side.rows) for side in sides if side is not None)
    assert a.shape[1] == b.shape[1]
    if min(len(a), len(b)) >= a.shape[1]:
        return frechet_distance(mean, a.T @ a, other_mean, b.T @ b)
    crossed = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(float(((mean - other_mean) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * crossed), 0.0)


def _root(centred: Floats) -> Floats:
    """Rows (distinct pictures, D) whose product with themselves is the unbiased covariance, as in the authors' code.

    Rows that are there several times stand once with that weight: sets of a few mean faces cost next to nothing.
    """
    if len(np.unique(centred[:, 0])) == len(centred):  # no two are the same
        return np.asarray(centred * np.sqrt(1 / (len(centred) - 1)))
    first: dict[bytes, int] = {}  # numpy's unique would sort the rows, which takes longer than the distance
    places = np.array([first.setdefault(row.tobytes(), number) for number, row in enumerate(centred)])
    times = np.bincount(places, minlength=len(centred))
    distinct = times > 0
    return np.asarray(centred[distinct] * np.sqrt(times[distinct] / (len(centred) - 1))[:, None])


# --- The Inception score's formula (Salimans et al., NeurIPS 2016), with any classifier: the VGGFace score is one.

SPLITS = 10  # Salimans et al.
VGGFACE_SPLITS = 5  # SF2F (Bai et al., ACM MM 2022): VGGFace2's ResNet-50, 8,631 people


def inception_score(probabilities: ArrayLike, splits: int = SPLITS) -> tuple[float, float]:
    """Mean and standard deviation over splits of exp(E KL(p(y | x) || p(y))); probabilities (pictures, classes).

    Higher is taken as better: sure of each picture, and of another class each time. 1 to the number of classes, and
    never more than the pictures of a split. One face for everybody earns 1; so do pictures of nothing, of which a
    classifier is never sure. One clear picture a class, whoever spoke, earns the most. The same pictures earn
    less in more splits: only scores of the same number of pictures and splits are compared. NaN without pictures.
    """
    p = np.asarray(probabilities, np.float64)
    assert p.ndim == 2 and splits >= 1
    if len(p) < splits:
        return float("nan"), float("nan")
    scores = []
    for part in np.array_split(p, splits):
        mean = part.mean(0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(part > 0, part * (np.log(part) - np.log(mean)), 0.0)
        scores.append(float(np.exp(terms.sum(1).mean())))
    return float(np.mean(scores)), float(np.std(scores))


def softmax(logits: ArrayLike) -> np.ndarray:
    """Probabilities of logits (pictures, classes)."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


# --- Measurements of faces by their landmarks.

Shapes = NDArray[np.float64]
SUBNASALE, NASION = 33, 27
WING_LEFT, WING_RIGHT = 31, 35
LIP_PEAK_LEFT, LIP_PEAK_RIGHT = 50, 52
UPPER_LIP, LOWER_LIP = 51, 57
STOMION = (62, 66)  # where closed lips meet: the middle of the inner ones
MOUTH_LEFT, MOUTH_RIGHT = 48, 54
GNATHION = 8
JAW_LEFT, JAW_RIGHT = 4, 12
FACE_LEFT, FACE_RIGHT = 1, 15
INNER_EYES, OUTER_EYES = (39, 42), (36, 45)


@dataclass(frozen=True)
class Measurement:
    """One measurement of shapes (faces, 68, 2), with what the paper found."""

    title: str
    definition: str
    """By Farkas's points, then by iBUG numbers."""
    measure: Callable[[Shapes], Floats]
    published: float
    """Pearson's r of face-to-face and voice-to-face pictures, Figure 5c."""
    dimension: int = 0
    """1 a length, 2 an area, 0 a ratio: what the size of the picture does to it."""

    @property
    def name(self) -> str:
        """Its title as it stands in tables: small letters, with _ between the words."""
        return self.title.lower().replace(" ", "_").replace("-", "_")


def _middle(shapes: Shapes, pair: tuple[int, int]) -> Shapes:
    return np.asarray(shapes[:, pair].mean(1))


def _between(first: Shapes, second: Shapes) -> Floats:
    return np.asarray(np.linalg.norm(first - second, axis=-1))


def _length(first: int, second: int) -> Callable[[Shapes], Floats]:
    return lambda shapes: _between(shapes[:, first], shapes[:, second])


def _ratio(above: Callable[[Shapes], Floats], below: Callable[[Shapes], Floats]) -> Callable[[Shapes], Floats]:
    def share(shapes: Shapes) -> Floats:
        lower = below(shapes)
        return np.asarray(above(shapes) / np.where(lower > 0, lower, np.nan))

    return share


def _to_stomion(point: int) -> Callable[[Shapes], Floats]:
    return lambda shapes: _between(shapes[:, point], _middle(shapes, STOMION))


def _lateral_lips(shapes: Shapes) -> Floats:
    left = _between(shapes[:, WING_LEFT], shapes[:, LIP_PEAK_LEFT])
    return np.asarray((left + _between(shapes[:, WING_RIGHT], shapes[:, LIP_PEAK_RIGHT])) / 2)


_JAW = _length(JAW_LEFT, JAW_RIGHT)
_NOSE_HEIGHT, _NOSE_WIDTH = _length(NASION, SUBNASALE), _length(WING_LEFT, WING_RIGHT)
_MOUTH = _length(MOUTH_LEFT, MOUTH_RIGHT)
MEASUREMENTS = (
    Measurement("Upper lip height", "sn-sto: 33 to mid(62, 66)", _to_stomion(SUBNASALE), 0.16, 1),
    Measurement(
        "Lateral upper lip heights", "sbal-ls', mean of both sides: 31 to 50, 35 to 52", _lateral_lips, 0.26, 1
    ),
    Measurement("Jaw width", "go-go: 4 to 12", _JAW, 0.11, 1),
    Measurement("Nose height", "n-sn: 27 to 33", _NOSE_HEIGHT, 0.14, 1),
    Measurement("Nose width", "al-al: 31 to 35", _NOSE_WIDTH, 0.35, 1),
    Measurement("Labio oral region", "ch-ch: 48 to 54", _MOUTH, 0.17, 1),
    Measurement(
        "Mandibular index", "(sto-gn) / (go-go): mid(62, 66) to 8 / 4 to 12", _ratio(_to_stomion(GNATHION), _JAW), 0.20
    ),
    Measurement(
        "Intercanthal index", "(en-en) / (ex-ex): 39 to 42 / 36 to 45",
        _ratio(_length(*INNER_EYES), _length(*OUTER_EYES)), 0.21,
    ),
    Measurement("Nasal index", "(al-al) / (n-sn): 31 to 35 / 27 to 33", _ratio(_NOSE_WIDTH, _NOSE_HEIGHT), 0.38),
    Measurement(
        "Vermilion height index", "(ls-sto) / (sto-li): 51 to mid(62, 66) / mid(62, 66) to 57",
        _ratio(_to_stomion(UPPER_LIP), _to_stomion(LOWER_LIP)), 0.29,
    ),
    Measurement(
        "Mouth-face width index", "(ch-ch) / (zy-zy): 48 to 54 / 1 to 15",
        _ratio(_MOUTH, _length(FACE_LEFT, FACE_RIGHT)), 0.20,
    ),
    Measurement("Nose area", "nose width x nose height", lambda s: _NOSE_WIDTH(s) * _NOSE_HEIGHT(s), 0.28, 2),
)  # fmt: skip


def interocular(shapes: Shapes) -> Floats:
    """Distance between the middles of both eyes, (faces,), in the shapes' units."""
    return _between(shapes[:, LEFT_EYE].mean(1), shapes[:, RIGHT_EYE].mean(1))


def measurements(shapes: Shapes, *, to_scale: bool = True) -> dict[str, Floats]:
    """All twelve of landmarks (faces, 68, 2), (faces,) each; NaN where a length that divides is 0.

    `to_scale` takes the distance between the eyes as the unit, so that the size of the pictures does not matter; False
    leaves pixels, as the paper's pictures of one canonical frame allow.
    """
    assert shapes.ndim == 3 and shapes.shape[1:] == (COUNT, 2)
    unit = interocular(shapes) if to_scale else np.ones(len(shapes))
    unit = np.where(unit > 0, unit, np.nan)
    return {one.name: one.measure(shapes) / unit**one.dimension for one in MEASUREMENTS}


@dataclass(frozen=True)
class Correlation:
    """Pearson's r, and how often unrelated numbers reach it."""

    r: float
    """-1..1; 0 is what unrelated faces have; one picture for everybody has none (NaN)."""
    p: float
    """Two-sided; NaN where r is."""


def correlate(x: Floats, y: Floats, *, independent: int | None = None) -> Correlation:
    """Pearson's correlation of (faces,) and (faces,), its p by Student's t with `independent` - 2 degrees of freedom.

    Clips of one speaker are no independent faces: give the number of speakers. NaN on either side is left out.
    """
    there = np.isfinite(x) & np.isfinite(y)
    a, b = x[there], y[there]
    count = len(a) if independent is None else min(independent, len(a))
    if count < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(float("nan"), float("nan"))
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    if abs(r) == 1:
        return Correlation(r, 0.0)
    t = r * np.sqrt((count - 2) / (1 - r * r))
    return Correlation(r, float(2 * stats.t.sf(abs(t), count - 2)))


# --- Absolute ratio errors of four widths of a face, after Cross-Modal Perceptionist (Wu et al., CVPR 2022, table 1).
# There, vertices of a fitted 3-D head are measured; here the nearest landmarks of a frontal picture stand for them.
# The numbers are those of a flat stand-in: they may be compared with each other, and not with the published ones.

OUTER_EYE_CORNERS = (36, 45)
"""Between the outer corners of the eyes: the unit, as the original's OICD."""


@dataclass(frozen=True)
class Width:
    """A width of the head, as a share of the distance between the eyes' outer corners."""

    name: str
    title: str
    points: tuple[int, int]
    """iBUG numbers."""
    published: float
    """Mean error of the original's supervised model."""


WIDTHS = (
    Width("ear_ratio", "Ear ratio (ER)", (0, 16), 0.0152),
    Width("forehead_ratio", "Forehead ratio (FR), by the tails of the brows", (17, 26), 0.0186),
    Width("midline_ratio", "Midline ratio (MR)", (2, 14), 0.0169),
    Width("cheek_ratio", "Cheek ratio (CR)", (4, 12), 0.0457),
)


def width_ratios(shapes: Shapes) -> dict[str, Floats]:
    """Each width over the distance between the eyes' outer corners, of landmarks (faces, 68, 2): (faces,) each."""
    unit = np.linalg.norm(shapes[:, OUTER_EYE_CORNERS[0]] - shapes[:, OUTER_EYE_CORNERS[1]], axis=-1)
    unit = np.where(unit > 0, unit, np.nan)
    return {
        one.name: np.linalg.norm(shapes[:, one.points[0]] - shapes[:, one.points[1]], axis=-1) / unit for one in WIDTHS
    }


def absolute_ratio_error(predicted: Floats, reference: Floats) -> Floats:
    """|predicted - reference|, (faces,) each; lower is better, from 0; the mean ratio for everybody is hard to beat."""
    return np.asarray(np.abs(predicted - reference))
