"""Bring photographs to the face embedding of a linear shape-and-texture model: the inverse of its decoder.

Active appearance models are fitted so (Cootes, Edwards and Taylor 2001; Romdhani and Vetter 2003): landmarks and tones
on the mean shape are linear in the embedding, so that the most probable embedding is one regularised least-squares
solution, repeated a few times with smaller weights for what fits badly (a hand before the mouth, a misplaced landmark).
What is not the face's own is solved for beside it and thrown away: place and size in the picture, turns of the head, an
open mouth, a smile, exposure, contrast, the light's direction, and white balance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from speech2face.errors import FaceNotFitted, FaceNotFound, SeveralFaces, Speech2FaceError
from speech2face.face.align import Points, Similarity, border_points, fit_similarity, pixel_grid, spline_map
from speech2face.face.detect import Picture, take_crop
from speech2face.face.landmarks import AVERAGE_HEAD, COUNT, HAND_PLACED_COUNT, MESH_COUNT, head_pose
from speech2face.face.schemes import CONTROL_OF, HAND_PLACED, MIRRORED_68, LandmarkScheme, scheme_of

Floats = NDArray[np.float64]
REASONS = (*("no_face", "several_faces", "landmarks", "too_small", "cut_off", "not_frontal", "upside_down", "misfit"),)
"""Why a photograph is rejected."""

# --------------------------------------------------------------------------------------------------
# Sizes and noise. Pixels are those of a portrait of 512, in which the pupils of the mean face are 98 apart.
# --------------------------------------------------------------------------------------------------

WORKING_PIXELS = 128  # both ways; finer luma is pores and strands, which no coefficient describes
STIFFNESS = 2e-3  # of the spline that takes a texture off: noisy points must not fold it
ROUNDS = 4  # of reweighting
OUTLIER_DEVIATIONS = 2.5  # at which a pixel or a landmark counts half
LUMA_SD, CHROMA_SD = 0.13, 0.05  # of a pixel of a photograph that the model cannot explain, in tones
HAIR_SD_FACTOR = 3.0  # outside the face: hair has strands and fashions, a neck its shadow
PIXELS_TOGETHER = 60.0  # neighbouring pixels err together: so many count as one
POINTS_TOGETHER = 2.0  # and so do neighbouring landmarks
HIGHEST_ROW, LOWEST_ROW = 0.14, 0.83  # of the portrait: above and below are hair and clothes
GREY_CHROMA = 0.012  # spread of colour tones in a face under which a picture is grey
SMALLEST_PUPIL_DISTANCE = 16.0  # pixels of the photograph
MAX_TURN_DEGREES = 30.0
UPSIDE_DOWN_DEGREES = 60.0
CUT_OFF_SHARE = 0.1  # of the face beyond the picture's edge
USUAL_TEXTURE_ERROR, USUAL_SHAPE_ERROR_PIXELS = 0.12, 3.0  # of an evenly lit photograph from the front
MISFIT_ERROR = 2.5

# What is solved for beside the embedding, with how far each usually lies from zero.
SHAPE_NUISANCES = {"right": 20.0, "down": 20.0, "larger": 0.1, "rolled": 0.1, "yaw": 12.0, "pitch": 8.0}
"""Pixels, pixels, shares, radians, degrees, degrees."""
EXPRESSION_NUISANCES = {"mouth_open": 8.0, "smile": 6.0}
"""Pixels by which the lower lip moves down, by which a corner of the mouth moves out and up."""
LUMA_NUISANCES = {"exposure": 0.5, "x": 0.3, "y": 0.2, "xx": 0.15, "xy": 0.1, "yy": 0.15, "contrast": 0.25}
CHROMA_NUISANCES = {"balance": 0.08, "x": 0.04, "y": 0.03, "saturation": 0.3}
LUMA = np.array([0.30, 0.59, 0.11])  # the decoder's

# Depth of a head in mm at points of the 68, towards the camera; with AVERAGE_HEAD, and above the brows. From common
# adult measurements (Farkas 1994), as there.
FURTHER_DEPTH = {0: -85, 2: -75, 4: -50, 6: -15, 8: 10, 17: -10, 19: 8, 21: 14, 51: 30, 57: 25}
FOREHEAD_DEPTH = {139: -25, 136: -45, 142: -45, 115: -100, 120: -100}  # by hand-placed landmark
GROUND_DEPTH = -110.0
PUPIL_DISTANCE_MM = 63.0


class LandmarkFinder(Protocol):
    """Anything that finds the landmarks of a picture's one face, of a scheme with 68, 189 or 468 points."""

    def find(self, picture: Picture) -> Points | None:
        """(points, 2) in pixels of the picture (height, width, 3), pixel centres at integers; None without a face.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        ...


@dataclass(frozen=True, eq=False)
class FaceFit:
    """A person's face in the model's embedding space, from one photograph or several.

    `embedding` is (K,) float32, `covariance` (K, K) float64: how far it may lie from the person's own.
    """

    embedding: NDArray[np.float32]
    covariance: Floats
    error: float
    """How badly the model explains the picture: 0 perfectly, 1 as an evenly lit photograph from the front, more is
    worse. Root mean square of `texture_error` and `shape_error_pixels`, each over its usual value."""
    texture_error: float
    """Root mean square of what is left of the luma of the face, in tones (natural logarithms of brightness)."""
    shape_error_pixels: float
    """Root mean square of what is left of the landmarks, in pixels of a portrait of 512, outliers counted less."""
    yaw_degrees: float
    """Positive: turned towards the picture's right."""
    pitch_degrees: float
    """Positive: downwards."""
    roll_degrees: float
    mouth_opening: float
    """Height over width between the inner lips."""
    explained: float
    """Share of the face's pixels that count at least half: the rest is hidden or lit oddly."""
    grey: bool
    """Whether the photograph has no colour, so that the face's colours are what its luma suggests."""
    weight: float
    """By which the photographs of a person are averaged: 1 for a frontal, calm, well-explained large one."""
    frames: tuple[int, ...] = (0,)
    """Numbers of the photographs that count."""
    rejected: tuple[tuple[int, str], ...] = ()
    """Numbers of the others, each with its reason."""
    spread: float = 0.0
    """Root mean square distance of single photographs' embeddings from their mean, in the population's deviations."""


@dataclass(frozen=True, eq=False)
class _Scheme:
    """What fitting needs of one scheme, made once."""

    scheme: LandmarkScheme
    mean: Floats
    """(points, 2)"""
    basis: Floats
    """(K + shape nuisances, 2 * points)"""
    spline: Floats
    """(pixels, points): displacements of the points to those of the mask's pixels"""
    sd: Floats
    """(points,)"""


@dataclass(frozen=True, eq=False)
class _Observed:
    """One photograph on the mean shape."""

    points: Floats
    """(points, 2), aligned"""
    luma: Floats
    """(pixels,)"""
    chroma: Floats
    """(2, pixels)"""
    inside: NDArray[np.bool_]
    """(pixels,): what the picture shows at all"""
    grey: bool


@dataclass(frozen=True, eq=False)
class _Solved:
    """Coefficients of everything, and what they leave."""

    embedding: Floats
    covariance: Floats
    nuisances: Floats
    point_rest: Floats
    """(points, 2)"""
    luma_rest: Floats
    """(pixels,)"""
    pixel_weights: Floats
    """(pixels,), 1 down to 0"""
    point_weights: Floats


class FaceFitter:
    """Fits photographs; holds the model at working size, so make one and use it for all."""

    def __init__(
        self,
        weights: Mapping[str, NDArray[np.floating]],
        mean: NDArray[np.floating],
        covariance: NDArray[np.floating],
        *,
        limits: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
        landmark_finder: LandmarkFinder | None = None,
        tone_offset: float = 0.08,
    ) -> None:
        """Take the model and what is known of faces before a photograph is seen.

        weights: the tensors of a face decoder (`decoder.linear.LinearFaceDecoder`), by name.
        mean, covariance: (K,) and (K, K) of the population's face embeddings, the prior.
        limits: (K,) twice, the least and greatest value that a coordinate may have; None: all may.
        landmark_finder: finds landmarks where a photograph comes without; None: every photograph must bring its own.
        """
        self.finder = landmark_finder
        self._tone_offset = tone_offset
        self._portrait = int(weights["mean_luma"].shape[-1])
        self._mean, self._prior = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
        self._limits = limits
        values, axes = np.linalg.eigh(self._prior)
        self._factor: Floats = axes * np.sqrt(np.maximum(values, 0.0))  # prior = factor @ factor.T, singular or not
        self._landmarks = np.asarray(weights["mean_landmarks"], np.float64)
        self._landmark_basis = np.asarray(weights["landmark_basis"], np.float64)
        self._load_texture(weights)
        self._schemes: dict[int, _Scheme] = {}

    @property
    def size(self) -> int:
        """Length K of a face embedding."""
        return len(self._mean)

    def _load_texture(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        """Tones inside the mask at working size, and where its pixels lie."""
        size = min(WORKING_PIXELS, self._portrait)
        depth = _resized(weights["matte_depth"], size)[0]
        rows = (np.arange(size) + 0.5) / size
        mask = (depth > 3.0) & ((rows > HIGHEST_ROW) & (rows < LOWEST_ROW))[:, None]
        self._face = _face_mask(self._landmarks, self._portrait, size)[mask]
        self._size, self._mask = size, mask
        luma = np.concatenate([_resized(weights["attribute_luma"], size), _resized(weights["residual_luma"], size)])
        self._mean_luma = _resized(weights["mean_luma"], size)[0][mask]
        self._luma_basis = luma[:, mask]
        self._mean_chroma = _resized(weights["mean_chroma"], size)[:, mask]
        self._chroma_basis = _resized(weights["chroma_basis"], size)[:, :, mask]
        flow = _resized(weights["flow_basis"], size)[:, :, mask] * (self._portrait / 2.0)
        self._flow_basis = flow.transpose(0, 2, 1)  # (K, pixels, 2), pixels of the portrait
        self._pixels = pixel_grid(self._portrait, size)[mask.ravel()]
        self._luma_light, self._chroma_light = self._light()

    def _light(self) -> tuple[Floats, Floats]:
        """What light and camera do to luma (7, pixels) and to a channel of chroma (4, pixels), in its usual size."""
        x, y = ((self._pixels - self._landmarks[: len(HAND_PLACED)].mean(0)) / (0.2 * self._portrait)).T
        one = np.ones_like(x)
        contrast = self._mean_luma - self._mean_luma[self._face].mean()
        luma = np.stack([one, x, y, x * x, x * y, y * y, contrast])
        chroma = np.stack([one, x, y, one])
        return (
            luma * np.array(list(LUMA_NUISANCES.values()))[:, None],
            chroma * np.array(list(CHROMA_NUISANCES.values()))[:, None],
        )

    # ----------------------------------------------------------------------------------------------
    # One photograph or several of one person.
    # ----------------------------------------------------------------------------------------------

    def fit(
        self, photographs: Sequence[Picture], landmarks: Sequence[NDArray[np.floating] | None] | None = None
    ) -> FaceFit:
        """Fit photographs (height, width, 3) uint8 of one person; what is rejected is counted, with its reason.

        landmarks: (points, 2) for each photograph, in its pixels, x right and y down, of 68 (iBUG), 189 (London set) or
        468 (face mesh) points; None, for one or all, has them found.

        Raises:
            FaceNotFitted: no photograph is left; `reason` is the first one's.
            SeveralFaces: more than one person could be meant, and no other photograph is left.
            FaceNotFound: no face is in any of them, or there is no photograph.
        """
        given = [None] * len(photographs) if landmarks is None else list(landmarks)
        if not photographs:
            raise FaceNotFound("there is no photograph; give at least one")
        if len(given) != len(photographs):
            raise FaceNotFitted(
                f"{len(given)} sets of landmarks for {len(photographs)} photographs; give one for each", "landmarks"
            )
        fits: list[tuple[int, FaceFit]] = []
        rejected: list[tuple[int, str]] = []
        first: Speech2FaceError | None = None
        for number, (photograph, points) in enumerate(zip(photographs, given, strict=True)):
            try:
                fits.append((number, self.fit_one(photograph, points)))
            except FaceNotFound as error:
                first = first or error
                rejected.append((number, reason_of(error)))
        if not fits:
            assert first is not None
            raise first
        return self._averaged(fits, tuple(rejected))

    def fit_one(self, photograph: Picture, landmarks: NDArray[np.floating] | None = None) -> FaceFit:
        """Fit one photograph (height, width, 3) uint8; landmarks as for `fit`.

        Raises:
            FaceNotFitted: with a `reason`: the face is too small, cut off, turned away, upside down, or no fit of it is
                believable.
            SeveralFaces, FaceNotFound: no one face is in it.
        """
        picture = np.asarray(photograph)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
            raise FaceNotFitted(
                f"a photograph is (height, width, 3) of uint8, not {picture.shape} of {picture.dtype}", "no_face"
            )
        points = self._points(picture, landmarks)
        made = self._scheme(len(points))
        seen = _sixty_eight(points, made.scheme)
        pose = head_pose(seen)
        self._check(picture, points, made, pose.roll_degrees, pose.turn_degrees)
        observed = self._observe(picture, points[made.scheme.used], made)
        solved = self._solve(observed, made)
        return self._judged(observed, solved, made, points, pose.roll_degrees)

    def _points(self, picture: Picture, landmarks: NDArray[np.floating] | None) -> Points:
        if landmarks is None:
            if self.finder is None:
                raise FaceNotFitted("the photograph comes without landmarks, and nothing here finds them", "landmarks")
            found = self.finder.find(picture)
            if found is None:
                raise FaceNotFound(
                    "no face was found in the photograph; give one of a face from the front, upright and well lit"
                )
            return np.asarray(found, np.float64)
        points = np.asarray(landmarks, np.float64)
        known = f"{COUNT}, {HAND_PLACED_COUNT} or {MESH_COUNT}"
        if points.ndim != 2 or points.shape[1] != 2 or scheme_of(len(points)) is None:
            raise FaceNotFitted(f"landmarks of shape {points.shape}; {known} points (x, y) are known", "landmarks")
        if not np.isfinite(points).all():
            raise FaceNotFitted("a landmark is no number; give pixels of the photograph", "landmarks")
        return points

    def _check(self, picture: Picture, points: Points, made: _Scheme, roll: float, turn: float) -> None:
        """Refuse what cannot be fitted, by its landmarks alone."""
        used = points[made.scheme.used]
        move = fit_similarity(used, made.mean)
        pupils = 0.19 * self._portrait / max(move.scale, 1e-9)  # of the mean face, in the photograph
        if pupils < SMALLEST_PUPIL_DISTANCE:
            raise FaceNotFitted(
                f"the face is too small: its pupils are {pupils:.0f} pixels apart, at least"
                f" {SMALLEST_PUPIL_DISTANCE:.0f} are needed; give a larger picture of it",
                "too_small",
            )
        if abs(roll) > UPSIDE_DOWN_DEGREES:
            raise FaceNotFitted(
                f"the head is turned by {roll:.0f} degrees in the picture; turn it upright", "upside_down"
            )
        if turn > MAX_TURN_DEGREES:
            raise FaceNotFitted(
                f"the head is turned away by {turn:.0f} degrees, at most {MAX_TURN_DEGREES:.0f} can be fitted;"
                " give a photograph from the front",
                "not_frontal",
            )
        height, width = picture.shape[:2]
        outside = (used < -0.5) | (used > np.array([width, height]) - 0.5)
        if outside.any(1).mean() > CUT_OFF_SHARE:
            raise FaceNotFitted("the face is cut off by the picture's edge; give one with all of it", "cut_off")

    # ----------------------------------------------------------------------------------------------
    # From the photograph to numbers on the mean shape.
    # ----------------------------------------------------------------------------------------------

    def _scheme(self, count: int) -> _Scheme:
        if count not in self._schemes:
            scheme = scheme_of(count)
            assert scheme is not None
            hand = len(HAND_PLACED)
            mean = scheme.carry @ self._landmarks[:hand]
            own = np.einsum("pc,kcd->kpd", scheme.carry, self._landmark_basis[:, :hand])
            basis = np.concatenate([own, scheme.carry @ self._shape_nuisances()[:, :hand]])
            fixed = border_points(self._portrait, margin_pixels=self._portrait / 8, per_side=6)
            spline = spline_map(mean, self._pixels, fixed=fixed, stiffness=STIFFNESS)
            sd = scheme.sd_pixels * (self._portrait / 512.0)
            self._schemes[count] = _Scheme(scheme, mean, basis.reshape(len(basis), -1), spline, sd)
        return self._schemes[count]

    def _shape_nuisances(self) -> Floats:
        """What is not the face's own moves all controls by so much, (nuisances, controls, 2), in its usual size."""
        controls = self._landmarks
        centred = controls - controls[: len(HAND_PLACED)].mean(0)
        zero = np.zeros(len(controls))
        depth = np.radians(1.0) * self._depth()
        lower, smile = self._mouth()
        columns = {
            "right": np.stack([zero + 1, zero], -1), "down": np.stack([zero, zero + 1], -1), "larger": centred,
            "rolled": centred[:, ::-1] * [-1.0, 1.0], "yaw": np.stack([depth, zero], -1),
            "pitch": np.stack([zero, depth], -1), "mouth_open": np.stack([zero, lower], -1), "smile": smile,
        }  # fmt: skip
        usual = {**SHAPE_NUISANCES, **EXPRESSION_NUISANCES}
        return np.stack([columns[name] * sd for name, sd in usual.items()])

    def _depth(self) -> Floats:
        """How far each control lies towards the camera, (controls,), in pixels of the portrait."""
        by_68 = {**{k: z for k, (_, _, z) in AVERAGE_HEAD.items()}, **FURTHER_DEPTH}
        by_68 |= {MIRRORED_68[k]: z for k, z in by_68.items() if k in MIRRORED_68}
        carry = scheme_of(COUNT)
        assert carry is not None
        where = [carry.carry[k] @ self._landmarks[: len(HAND_PLACED)] for k in by_68]
        where += [self._landmarks[CONTROL_OF[k]] for k in FOREHEAD_DEPTH]
        depth = np.array([*by_68.values(), *FOREHEAD_DEPTH.values()]) - GROUND_DEPTH
        fixed = border_points(self._portrait, margin_pixels=self._portrait / 8, per_side=6)
        mm = spline_map(np.array(where), self._landmarks, fixed=fixed, stiffness=1e-3) @ depth
        pupils = np.linalg.norm(self._landmarks[CONTROL_OF[1]] - self._landmarks[CONTROL_OF[0]])
        return np.asarray((mm - mm[: len(HAND_PLACED)].mean()) * pupils / PUPIL_DISTANCE_MM)

    def _mouth(self) -> tuple[Floats, Floats]:
        """How far down each control goes as the lower lip goes one pixel, and out and up as a mouth's corner does."""
        lower, smile = np.zeros(len(self._landmarks)), np.zeros((len(self._landmarks), 2))
        for share, marks in (
            (1.0, (99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 174, 175, 176, 177, 178, 128, 129, 130)),
            (0.6, (127, 131, 87, 93)), (0.3, (126, 132, 160, 163)),
        ):  # fmt: skip
            lower[[CONTROL_OF[k] for k in marks]] = share
        for share, left, right in (
            (1.0, (87,), (93,)), (0.6, (88, 94, 99, 104, 160), (92, 98, 103, 108, 163)),
            (0.3, (95, 100, 105), (97, 102, 107)),
        ):  # fmt: skip
            smile[[CONTROL_OF[k] for k in left]] = [-share, -0.7 * share]
            smile[[CONTROL_OF[k] for k in right]] = [share, -0.7 * share]
        return lower, smile

    def _observe(self, picture: Picture, used: Points, made: _Scheme) -> _Observed:
        """Align, fit the shape alone, and take the texture off along it."""
        move = fit_similarity(used, made.mean)
        aligned = move.apply(used)
        shape, _ = self._fit_shape(aligned, made)
        expected = made.mean + (shape @ made.basis[: self.size]).reshape(-1, 2)
        where = self._pixels + np.tensordot(shape, self._flow_basis, axes=1) + made.spline @ (aligned - expected)
        factor = self._size / self._portrait
        centres = Similarity(move.linear * factor, (move.shift + 0.5) * factor - 0.5)
        canvas = take_crop(picture, centres, self._size)
        colours = bilinear(canvas.astype(np.float64) / 255.0, (where + 0.5) * factor - 0.5)
        tones = np.log(colours + self._tone_offset)
        luma = tones @ LUMA
        chroma = np.stack([tones[:, 0] - luma, tones[:, 2] - luma])
        source = move.inverse().apply(where)
        inside = ((source >= -0.5) & (source <= np.array(picture.shape[1::-1]) - 0.5)).all(1)
        inside &= ((where >= 0) & (where <= self._portrait - 1)).all(1)
        grey = bool(np.abs(chroma[:, self._face & inside]).mean() < GREY_CHROMA)
        return _Observed(aligned, luma, chroma, inside, grey)

    def _fit_shape(self, aligned: Floats, made: _Scheme) -> tuple[Floats, Floats]:
        """The embedding that landmarks alone suggest, (K,), and their weights (points,)."""
        rest = (aligned - made.mean).ravel() - self._mean @ made.basis[: self.size]
        design = self._whitened(made.basis)
        weights: Floats = np.ones(len(aligned), np.float64)
        solution: Floats = np.zeros(len(design), np.float64)
        for _ in range(3):
            each = np.repeat(weights / made.sd**2 / POINTS_TOGETHER, 2)
            system = (design * each) @ design.T + np.eye(len(design))
            solution = np.asarray(np.linalg.solve(system, design @ (each * rest)), np.float64)
            left = (rest - solution @ design).reshape(-1, 2)
            weights = _cauchy(np.asarray(np.linalg.norm(left, axis=1)) / made.sd / np.sqrt(2.0))
        return self._mean + self._factor @ solution[: self.size], weights

    def _whitened(self, basis: Floats) -> Floats:
        """Directions (K + nuisances, values) with the embedding's in units of the prior's axes."""
        return np.concatenate([self._factor.T @ basis[: self.size], basis[self.size :]])

    # ----------------------------------------------------------------------------------------------
    # The most probable embedding of landmarks and tones together.
    # ----------------------------------------------------------------------------------------------

    def _solve(self, observed: _Observed, made: _Scheme) -> _Solved:
        """Regularised least squares with weights that fall where the model explains little."""
        shape = self._whitened(made.basis)
        shape_count, luma_count, chroma_count = len(shape) - self.size, len(LUMA_NUISANCES), len(CHROMA_NUISANCES)
        total = len(shape) + luma_count + 2 * chroma_count
        pixels = len(self._pixels)
        design = np.zeros((total, shape.shape[1] + 3 * pixels))
        edge = shape.shape[1]
        design[: len(shape), :edge] = shape
        design[: self.size, edge : edge + pixels] = self._factor.T @ self._luma_basis
        at = self.size + shape_count
        design[at : at + luma_count, edge : edge + pixels] = self._luma_light
        at += luma_count
        saturation = CHROMA_NUISANCES["saturation"]
        for channel in range(2):
            where = slice(edge + (1 + channel) * pixels, edge + (2 + channel) * pixels)
            design[: self.size, where] = self._factor.T @ self._chroma_basis[:, channel]
            design[at : at + chroma_count, where] = self._chroma_light
            design[at + chroma_count - 1, where] = saturation * self._mean_chroma[channel]
            at += chroma_count
        rest = np.concatenate(
            [
                (observed.points - made.mean).ravel() - self._mean @ made.basis[: self.size],
                observed.luma - self._mean_luma - self._mean @ self._luma_basis,
                *(observed.chroma - self._mean_chroma - np.tensordot(self._mean, self._chroma_basis, axes=1)),
            ]
        )
        outside = np.where(self._face, 1.0, HAIR_SD_FACTOR)
        luma_sd, chroma_sd = LUMA_SD * outside, CHROMA_SD * outside
        point_weights, pixel_weights = np.ones(len(made.mean)), np.ones(pixels)
        coloured = 0.0 if observed.grey else 1.0
        solution, inverse = np.zeros(total), np.eye(total)
        for _ in range(ROUNDS):
            shown = pixel_weights * observed.inside / PIXELS_TOGETHER
            each = np.concatenate(
                [
                    np.repeat(point_weights / made.sd**2 / POINTS_TOGETHER, 2),
                    shown / luma_sd**2,
                    *(coloured * shown / chroma_sd**2,) * 2,
                ]
            )
            inverse = np.linalg.inv((design * each) @ design.T + np.eye(total))
            solution = inverse @ (design @ (each * rest))
            left = rest - solution @ design
            point_weights = _cauchy(np.linalg.norm(left[:edge].reshape(-1, 2), axis=1) / made.sd / np.sqrt(2.0))
            luma_left = left[edge : edge + pixels] / luma_sd
            colour_left = left[edge + pixels :].reshape(2, -1) / chroma_sd * coloured
            pixel_weights = self._calmed(
                _cauchy(np.sqrt((luma_left**2 + (colour_left**2).sum(0)) / (1 + 2 * coloured)))
            )
        covariance = self._factor @ inverse[: self.size, : self.size] @ self._factor.T
        embedding = self._mean + self._factor @ solution[: self.size]
        embedding, covariance = self._within_limits(embedding, covariance)
        luma_left = left[edge : edge + pixels]
        return _Solved(
            embedding,
            covariance,
            solution[self.size :],
            left[:edge].reshape(-1, 2),
            luma_left,
            pixel_weights,
            point_weights,
        )

    def _calmed(self, weights: Floats) -> Floats:
        """Pixel weights (pixels,), each the mean of its neighbourhood: what hides a face does so in patches."""
        plane, known = np.zeros(self._mask.shape), self._mask.astype(np.float64)
        plane[self._mask] = weights
        return np.asarray((_box(plane) / np.maximum(_box(known), 1e-9))[self._mask])

    def _within_limits(self, embedding: Floats, covariance: Floats) -> tuple[Floats, Floats]:
        """The most probable embedding whose coordinates keep to the limits, one after the other put on its limit."""
        if self._limits is None:
            return embedding, covariance
        low, high = (np.asarray(limit, np.float64) for limit in self._limits)
        found: Floats = embedding.copy()
        spread: Floats = covariance.copy()
        for _ in range(self.size):
            beyond = np.maximum(low - found, found - high)
            deviations = beyond / np.sqrt(np.maximum(np.diag(spread), 1e-12))
            worst = int(np.argmax(np.where(np.diag(spread) > 1e-10, deviations, -np.inf)))
            if beyond[worst] <= 1e-9:
                break
            limit = low[worst] if found[worst] < low[worst] else high[worst]
            gain: Floats = spread[:, worst] / spread[worst, worst]
            found = found + gain * (limit - found[worst])
            spread = spread - np.outer(gain, spread[worst])
        return np.clip(found, low, high), covariance

    # ----------------------------------------------------------------------------------------------
    # How good a fit is.
    # ----------------------------------------------------------------------------------------------

    def _judged(
        self, observed: _Observed, solved: _Solved, made: _Scheme, points: Points, roll_degrees: float
    ) -> FaceFit:
        shown = self._face & observed.inside
        scale = 512.0 / self._portrait
        texture = float(np.sqrt((solved.luma_rest[shown] ** 2).mean())) if shown.any() else np.inf
        squares = (solved.point_rest**2).sum(1) * solved.point_weights
        shape = scale * float(np.sqrt(squares.sum() / solved.point_weights.sum()))
        error = float(np.hypot(texture / USUAL_TEXTURE_ERROR, shape / USUAL_SHAPE_ERROR_PIXELS) / np.sqrt(2.0))
        names = [*SHAPE_NUISANCES, *EXPRESSION_NUISANCES]
        usual = {**SHAPE_NUISANCES, **EXPRESSION_NUISANCES}
        turned = {name: float(solved.nuisances[names.index(name)]) * usual[name] for name in ("yaw", "pitch")}
        opening = _mouth_opening(points, made.scheme)
        if error > MISFIT_ERROR or not np.isfinite(error):
            raise FaceNotFitted(
                f"the model does not explain this picture (error {error:.1f}, at most {MISFIT_ERROR:g}): the landmarks"
                " miss the face, or something hides it; give a clear photograph from the front",
                "misfit",
            )
        frontal = 1.0 / (1.0 + (np.hypot(turned["yaw"], turned["pitch"]) / 15.0) ** 2)
        calm = 1.0 / (1.0 + 2.0 * opening)
        explained = float((solved.pixel_weights[self._face] * observed.inside[self._face] >= 0.5).mean())
        return FaceFit(
            embedding=solved.embedding.astype(np.float32),
            covariance=solved.covariance,
            error=error,
            texture_error=texture,
            shape_error_pixels=shape,
            yaw_degrees=turned["yaw"],
            pitch_degrees=turned["pitch"],
            roll_degrees=roll_degrees,
            mouth_opening=opening,
            explained=explained,
            grey=observed.grey,
            weight=float(frontal * calm * explained / (1.0 + error**2) * 2.0),
        )

    def _averaged(self, fits: Sequence[tuple[int, FaceFit]], rejected: tuple[tuple[int, str], ...]) -> FaceFit:
        """The weighted mean of fits; measures are averaged by the same weights."""
        weights = np.array([fit.weight for _, fit in fits])
        share = weights / weights.sum()
        each = np.stack([fit.embedding for _, fit in fits]).astype(np.float64)
        mean = share @ each
        # The model's own shortcomings repeat in every photograph: half of a fit's variance does not average out.
        independent = float((share**2).sum())
        covariance = (
            np.einsum("f,fij->ij", share, np.stack([fit.covariance for _, fit in fits])) * (1 + independent) / 2
        )
        deviations = (each - mean) / np.sqrt(np.maximum(np.diag(self._prior), 1e-12))

        def average(name: str) -> float:
            return float(share @ np.array([getattr(fit, name) for _, fit in fits]))

        return FaceFit(
            embedding=mean.astype(np.float32),
            covariance=covariance,
            **{
                name: average(name)
                for name in (
                    *("error", "texture_error", "shape_error_pixels", "yaw_degrees", "pitch_degrees", "roll_degrees"),
                    *("mouth_opening", "explained"),
                )
            },
            grey=all(fit.grey for _, fit in fits),
            weight=float(weights.sum()),
            frames=tuple(number for number, _ in fits),
            rejected=rejected,
            spread=float(np.sqrt(share @ (deviations**2).mean(1))),
        )


def reason_of(error: FaceNotFound) -> str:
    """Under which of REASONS a photograph that could not be fitted is counted."""
    if isinstance(error, FaceNotFitted):
        return error.reason
    return "several_faces" if isinstance(error, SeveralFaces) else "no_face"


# --------------------------------------------------------------------------------------------------
# Small parts.
# --------------------------------------------------------------------------------------------------


def _cauchy(deviations: Floats) -> Floats:
    return 1.0 / (1.0 + (deviations / OUTLIER_DEVIATIONS) ** 2)


def _box(plane: Floats) -> Floats:
    """Sums over 3 x 3 neighbours, none beyond the edge."""
    wide = np.pad(plane, 1)
    tall = wide[:-2] + wide[1:-1] + wide[2:]
    return np.asarray(tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:])


def _resized(planes: NDArray[np.floating], size: int) -> Floats:
    """Planes (..., height, width) at size x size: means over blocks, or the nearest value of smaller ones."""
    values = np.asarray(planes, np.float64)
    here = values.shape[-1]
    if here < size:
        where = np.minimum(((np.arange(size) + 0.5) * here / size).astype(int), here - 1)
        return values[..., where[:, None], where[None]]
    factor = here // size
    return np.asarray(values.reshape(*values.shape[:-2], size, factor, size, factor).mean((-3, -1)))


FACE_OUTLINE = (
    109,
    134,
    135,
    136,
    137,
    138,
    139,
    140,
    141,
    142,
    143,
    144,
    112,
    187,
    113,
    188,
    114,
    *range(133, 124, -1),
)
FACE_OUTLINE += (111, 186, 110, 185)
INSET_PIXELS = 10.0  # hair falls into the face, and a jaw's edge shades off


def _face_mask(controls: Floats, portrait: int, size: int) -> NDArray[np.bool_]:
    """The face of the mean shape, forehead to chin, without its margin, (size, size)."""
    contour = controls[[CONTROL_OF[k] for k in FACE_OUTLINE]]
    centre = contour.mean(0)
    away = contour - centre
    length = np.linalg.norm(away, axis=1, keepdims=True)
    inset = centre + away * (1.0 - INSET_PIXELS * portrait / 512.0 / length)
    scaled = (inset + 0.5) * (size / portrait) - 0.5
    canvas = Image.new("L", (size, size), 0)
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in scaled], fill=1)
    return np.asarray(canvas) > 0


def bilinear(picture: Floats, points: Floats) -> Floats:
    """Values of a picture (height, width, channels) at points (points, 2), edges repeated: (points, channels)."""
    inside = np.clip(points, 0.0, np.array(picture.shape[1::-1]) - 1.0 - 1e-6)
    low = inside.astype(np.intp)
    right, down = (inside - low).T[..., None]
    x, y = low.T
    above = picture[y, x] * (1 - right) + picture[y, x + 1] * right
    below = picture[y + 1, x] * (1 - right) + picture[y + 1, x + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def _sixty_eight(points: Points, scheme: LandmarkScheme) -> Points:
    """The points by which a pose is judged in their places among 68; the others are zero."""
    found = np.zeros((COUNT, 2))
    for place, own in scheme.pose.items():
        found[place] = points[own]
    return found


def _mouth_opening(points: Points, scheme: LandmarkScheme) -> float:
    """Height over width of what lies between the inner lips."""
    heights = [float(np.linalg.norm(points[upper] - points[lower])) for upper, lower in scheme.lips]
    left, right = scheme.mouth_corners
    return float(np.mean(heights) / max(float(np.linalg.norm(points[left] - points[right])), 1e-9))
