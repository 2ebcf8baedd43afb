"""Shape and texture of faces in numpy: landmarks aligned, the linear model of both; what age, gender and hair do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

# --- Similarity alignment and generalised Procrustes analysis of landmarks (Gower 1975; Goodall 1991).

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """A turn, a scale and a shift of the plane, without reflection: points @ linear + shift."""

    linear: Points
    """(2, 2), scale times rotation, applied from the right."""
    shift: Points
    """(2,)"""

    @property
    def scale(self) -> float:
        """The factor by which lengths grow."""
        return float(np.sqrt(np.linalg.det(self.linear)))

    def apply(self, points: Points) -> Points:
        """Move points, (..., 2)."""
        return points @ self.linear + self.shift

    def inverse(self) -> Similarity:
        """The similarity that undoes this one."""
        linear = np.asarray(np.linalg.inv(self.linear), dtype=np.float64)
        return Similarity(linear, -self.shift @ linear)


def fit_similarity(source: Points, target: Points) -> Similarity:
    """Least-squares similarity from source to target, (points, 2) each (Umeyama 1991)."""
    assert source.shape == target.shape
    assert source.ndim == 2
    source_mean, target_mean = source.mean(0), target.mean(0)
    left, right = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(left.T @ right)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])  # a mirror image must not count as a turn
    scale = float((singular * sign).sum() / (left**2).sum())
    linear = scale * (u * sign) @ vt
    return Similarity(linear, target_mean - source_mean @ linear)


def align(shapes: Points, target: Points, *, anchors: NDArray[np.intp] | None = None) -> Points:
    """Move every shape, (shapes, points, 2), onto the target; only the anchor points decide how."""
    chosen = np.arange(target.shape[0]) if anchors is None else anchors
    return np.stack([fit_similarity(shape[chosen], target[chosen]).apply(shape) for shape in shapes])


def generalised_procrustes(
    shapes: Points, *, anchors: NDArray[np.intp] | None = None, rounds: int = 10
) -> tuple[Points, Points]:
    """The mean shape, (points, 2), and all shapes moved onto it, (shapes, points, 2).

    The mean keeps the position, turn and mean size of the plain mean of the shapes, so that it stays in pixels.
    """
    start = shapes.mean(0)
    mean = start
    for _ in range(rounds):
        mean = align(shapes, mean, anchors=anchors).mean(0)
        mean = fit_similarity(mean, start).apply(mean)
    return mean, align(shapes, mean, anchors=anchors)


# --------------------------------------------------------------------------------------------------
# Thin-plate spline in the plane as one linear map from displacements of control points (Bookstein 1989).
# --------------------------------------------------------------------------------------------------


def border_points(size_pixels: float, *, margin_pixels: float, per_side: int) -> Points:
    """Points around the picture, outside it by the margin, that hold the spline still, (4 * per_side, 2)."""
    steps = np.linspace(-margin_pixels, size_pixels + margin_pixels, per_side + 1)[:-1]
    low, high = np.full(per_side, -margin_pixels), np.full(per_side, size_pixels + margin_pixels)
    back = size_pixels - steps
    return np.concatenate(
        [np.stack(pair, axis=-1) for pair in ((steps, low), (high, steps), (back, high), (low, back))]
    )


def _kernel(points: Points, controls: Points) -> Points:
    """r^2 log r between points and controls, (points, controls)."""
    squared = ((points[:, None] - controls[None]) ** 2).sum(-1)
    return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-12)))


def spline_map(controls: Points, points: Points, *, fixed: Points, stiffness: float = 0.0) -> Points:
    """The matrix, (points, controls), that turns displacements of the controls into displacements of the points.

    controls (controls, 2) move, fixed (fixed, 2) stay. stiffness 0 passes exactly through all displacements; a
    greater one gives way where neighbouring controls disagree, which is what keeps near-coincident ones from folding.
    """
    everything = np.concatenate([controls, fixed])
    scale = float(np.ptp(everything, axis=0).max())  # kernel values near one keep the system well conditioned
    everything, points = everything / scale, points / scale
    count = len(everything)
    affine = np.concatenate([np.ones((count, 1)), everything], axis=1)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(everything, everything) + stiffness * np.eye(count)
    system[:count, count:], system[count:, :count] = affine, affine.T
    unit = np.zeros((count + 3, len(controls)))
    unit[: len(controls)] = np.eye(len(controls))
    weights = np.linalg.solve(system, unit)
    basis = np.concatenate([_kernel(points, everything), np.ones((len(points), 1)), points], axis=1)
    return np.asarray(basis @ weights)


def pixel_grid(size_pixels: int, nodes: int) -> Points:
    """Pixel coordinates (x, y) of a nodes x nodes grid over the centres of the picture's pixels, (nodes**2, 2)."""
    steps = (np.arange(nodes) + 0.5) * (size_pixels / nodes) - 0.5
    across, down = np.meshgrid(steps, steps)
    return np.stack([across.ravel(), down.ravel()], axis=-1)


def bilinear(picture: NDArray[np.floating], points: Points) -> NDArray[np.float64]:
    """Values of a picture (height, width, channels) at points (points, 2), edges repeated: (points, channels)."""
    inside = np.clip(points, 0.0, np.array(picture.shape[1::-1]) - 1.0 - 1e-6)
    low = inside.astype(np.intp)
    right, down = (inside - low).T[..., None]
    x, y = low.T
    above = picture[y, x] * (1 - right) + picture[y, x + 1] * right
    below = picture[y + 1, x] * (1 - right) + picture[y + 1, x + 1] * right
    return np.asarray(above * (1 - down) + below * down)


# --- The linear shape-and-texture model in numpy (Cootes, Edwards and Taylor 2001): decode and, by projection, embed.

Array = NDArray[np.float32]
PROJECTION_SIZE = 128  # pixels; finer luma is pores and strands, which no coefficient describes
LANDMARK_NOISE_PIXELS = 2.0  # of hand placement; says how much a landmark counts against a pixel
TONE_NOISE = 0.1  # of a pixel a face model this small cannot explain


@dataclass(frozen=True)
class AppearanceModel:
    """Landmarks and tones on the mean shape, linear in the face embedding; every array at one working size."""

    mean_landmarks: Array
    """(landmarks, 2), pixels of the portrait"""
    landmark_basis: Array
    """(embedding, landmarks, 2)"""
    mean_tones: Array
    """(pixels,): luma inside the mask on the mean shape"""
    tone_basis: Array
    """(embedding, pixels)"""
    mask: NDArray[np.bool_]
    """(size, size): where tones are compared"""
    prior_sd: Array
    """(embedding,): how far each coordinate usually lies from zero"""
    portrait_pixels: int
    tone_offset: float

    @property
    def size(self) -> int:
        """Pixels of the working size, both ways."""
        return int(self.mask.shape[0])

    @classmethod
    def from_buffers(
        cls, buffers: Mapping[str, NDArray[np.floating]], *, prior_sd: Array, tone_offset: float
    ) -> AppearanceModel:
        """The model of a face decoder's buffers (the tensors of a face release)."""
        size = buffers["mean_luma"].shape[-1]
        working = min(PROJECTION_SIZE, size)
        mask = _shrink(buffers["matte_depth"][0], working) > 2.0
        mask[: working // 5] = mask[working * 4 // 5 :] = False  # hair and clothes say little of a face
        luma = np.concatenate([_shrink(buffers["attribute_luma"], working), _shrink(buffers["residual_luma"], working)])
        return cls(
            mean_landmarks=buffers["mean_landmarks"].astype(np.float32),
            landmark_basis=buffers["landmark_basis"].astype(np.float32),
            mean_tones=_shrink(buffers["mean_luma"], working)[0][mask],
            tone_basis=luma[:, mask],
            mask=mask,
            prior_sd=prior_sd.astype(np.float32),
            portrait_pixels=size,
            tone_offset=tone_offset,
        )

    def landmarks(self, face_embedding: Array) -> Array:
        """Control points (landmarks, 2) of a face embedding, pixels of the portrait."""
        return self.mean_landmarks + np.tensordot(face_embedding, self.landmark_basis, axes=1)

    def tones(self, face_embedding: Array) -> Array:
        """Luma tones (pixels,) of a face embedding inside the mask on the mean shape."""
        return self.mean_tones + face_embedding @ self.tone_basis

    def project(self, landmarks: Array, tones: Array) -> Array:
        """The most probable face embedding, (embedding,), of aligned landmarks and of tones on the mean shape.

        Exposure is not the face's own: one brightness for the whole picture is solved for beside the embedding.
        """
        landmark_weight = 1.0 / LANDMARK_NOISE_PIXELS
        tone_weight = 1.0 / TONE_NOISE / np.sqrt(len(self.mean_tones) / (2 * len(self.mean_landmarks)))
        count = len(self.prior_sd)
        brightness = np.concatenate([np.zeros(self.mean_landmarks.size), np.full(len(self.mean_tones), tone_weight)])
        basis = np.concatenate(
            [self.landmark_basis.reshape(count, -1) * landmark_weight, self.tone_basis * tone_weight], axis=1
        )
        system = np.concatenate([basis, brightness[None]]).astype(np.float64)
        rest = np.concatenate(
            [(landmarks - self.mean_landmarks).ravel() * landmark_weight, (tones - self.mean_tones) * tone_weight]
        )
        prior = np.diag([*(1.0 / self.prior_sd.astype(np.float64) ** 2), 1.0])
        return np.asarray(np.linalg.solve(system @ system.T + prior, system @ rest)[:count], dtype=np.float32)

    def embed(self, photograph: Array, landmarks: Array) -> Array:
        """Face embedding of a photograph (height, width, 3), sRGB in [0, 1], with its control points (landmarks, 2)."""
        to_portrait = fit_similarity(landmarks.astype(np.float64), self.mean_landmarks.astype(np.float64))
        aligned = to_portrait.apply(landmarks.astype(np.float64))
        where = to_portrait.inverse().apply(self._mean_pixels(aligned))
        tones = np.log(np.clip(_sample(photograph, where), 0.0, 1.0) + self.tone_offset)
        return self.project(aligned.astype(np.float32), (tones @ np.array([0.30, 0.59, 0.11])).astype(np.float32))

    def _mean_pixels(self, aligned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the mask's pixels of the mean shape lie in an aligned photograph, (pixels, 2)."""
        mean = self.mean_landmarks.astype(np.float64)
        points = pixel_grid(self.portrait_pixels, self.size)[self.mask.ravel()]
        fixed = border_points(self.portrait_pixels, margin_pixels=self.portrait_pixels / 8, per_side=6)
        return points + spline_map(mean, points, fixed=fixed, stiffness=2e-4) @ (aligned - mean)


def _shrink(planes: NDArray[np.floating], size: int) -> Array:
    """Mean over blocks of (..., height, width) down to size x size."""
    factor = planes.shape[-1] // size
    blocks = planes.astype(np.float32).reshape(*planes.shape[:-2], size, factor, size, factor)
    return np.asarray(blocks.mean((-3, -1)))


def _sample(picture: Array, points: NDArray[np.float64]) -> Array:
    """Bilinear values of a picture (height, width, channels) at points (points, 2), edges repeated."""
    limits = np.array([picture.shape[1] - 1, picture.shape[0] - 1])
    inside = np.clip(points, 0.0, limits - 1e-6)
    low = inside.astype(np.intp)
    part = (inside - low)[..., None].astype(np.float32)
    x, y = low[:, 0], low[:, 1]
    right, below = np.minimum(x + 1, limits[0]), np.minimum(y + 1, limits[1])
    top = picture[y, x] * (1 - part[:, 0]) + picture[y, right] * part[:, 0]
    bottom = picture[below, x] * (1 - part[:, 0]) + picture[below, right] * part[:, 0]
    return np.asarray(top * (1 - part[:, 1]) + bottom * part[:, 1])


# --------------------------------------------------------------------------------------------------
# How age, gender and group become the coordinates in which the face model is linear.
# --------------------------------------------------------------------------------------------------

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
    young_years: tuple[float, float] = (18.0, 32.0)
    young_centre_years: float = 30.0
    older_years: tuple[float, float] = (30.0, 90.0)
    old_years: tuple[float, float] = (60.0, 90.0)
    groups: tuple[str, ...] = GROUPS
    drawn_years: tuple[tuple[float, float, float], ...] = ()
    """Rows of an age, and the ages at which a woman and a man are drawn so as to look it; straight lines between them.

    An average of faces looks younger than they do. Without rows a face is drawn at the age that is asked for.
    """

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
        feminine = 2.0 * np.clip(np.asarray(femininity, dtype=np.float64), 0.0, 1.0) - 1.0
        years = self._drawn(np.clip(np.asarray(age, dtype=np.float64), *self.age_range_years), feminine)
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

    def _drawn(self, years: NDArray[np.float64], feminine: NDArray[np.float64]) -> NDArray[np.float64]:
        """The ages at which faces of these ages and of feminine in [-1, 1] are drawn."""
        if not self.drawn_years:
            return years
        asked, woman, man = np.array(self.drawn_years, dtype=np.float64).T
        women, men = np.interp(years, asked, woman), np.interp(years, asked, man)
        return np.asarray(men + (women - men) * (feminine + 1.0) / 2.0)

    @staticmethod
    def _hinge(years: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
        """0 up to the first bound, then decades since, constant after the second."""
        return (np.clip(years, *bounds) - bounds[0]) / 10.0

    @property
    def even_groups(self) -> NDArray[np.float64]:
        """Weights of a population of which every group is the same share, (groups,)."""
        return np.full(len(self.groups), 1.0 / len(self.groups))

    @property
    def photographed(self) -> AttributeBasis:
        """The basis of photographs, which look their age: without drawn_years."""
        return replace(self, drawn_years=())

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> AttributeBasis:
        """The basis that to_dict wrote."""
        return cls(**{key: _as_tuples(value) for key, value in stored.items()})


def _as_tuples(value: Any) -> Any:
    """Lists of JSON, of any depth, as tuples."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


Doubles = NDArray[np.float64]
GROUP_CONCENTRATION = 2.0  # of the Dirichlet distribution of a draw's group weights


def random_faces(basis: AttributeBasis, spread: Doubles, count: int, seed: int) -> Iterator[Doubles]:
    """Face embeddings of draws: any age and gender, random group weights, residuals with the shipped spread."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        age = generator.uniform(*basis.age_range_years)
        femininity = float(generator.integers(2))
        groups = generator.dirichlet(np.full(len(basis.groups), GROUP_CONCENTRATION))
        yield np.concatenate([basis.design(age, femininity, groups), generator.normal(size=len(spread)) * spread])


# --- Hair styles, and how often women and men of an age wear them: one table for photographic and drawn faces.


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
