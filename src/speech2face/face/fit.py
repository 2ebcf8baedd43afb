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
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from speech2face.errors import FaceNotFitted, FaceNotFound, SeveralFaces, Speech2FaceError
from speech2face.face.appearance import (
    Points,
    Similarity,
    bilinear,
    border_points,
    fit_similarity,
    pixel_grid,
    spline_map,
)
from speech2face.face.detect import Picture, take_crop
from speech2face.face.landmarks import (
    AVERAGE_HEAD,
    CONTROL_OF,
    COUNT,
    HAND_PLACED,
    HAND_PLACED_COUNT,
    MESH_COUNT,
    MIRRORED_68,
    LandmarkScheme,
    head_pose,
    scheme_of,
)

Floats = NDArray[np.float64]
REASONS = (*("no_face", "several_faces", "landmarks", "too_small", "cut_off", "not_frontal", "upside_down", "misfit"),)
"""Why a photograph is rejected."""

# --------------------------------------------------------------------------------------------------
# Sizes and noise. Pixels are those of a portrait of 512, in which the pupils of the mean face are 98 apart.
# --------------------------------------------------------------------------------------------------

WORKING_PIXELS = 128  # both ways; finer luma is pores and strands, which no coefficient describes
STIFFNESS = 2e-3  # of the spline that takes a texture off: noisy points must not fold it
ROUNDS = 8  # of reweighting, at most
SETTLED_WEIGHT = 0.02  # by which no pixel's weight changed in the last round
OUTLIER_DEVIATIONS = 1.7  # at which a pixel or a landmark counts half
PIXEL_POWER = 3  # of a pixel's weight: what is far off is left out (Geman and McClure 1987)
LUMA_SD, CHROMA_SD = 0.13, 0.06  # of a pixel of a photograph that the model cannot explain, in tones
HAIR_SD_FACTOR = 6.0  # outside the face: hair has strands and fashions, a neck its shadow
PIXELS_TOGETHER = 12.0  # neighbouring pixels err together: so many count as one
POINTS_TOGETHER = 2.0  # and so do neighbouring landmarks
HIGHEST_ROW, LOWEST_ROW = 0.14, 0.83  # of the portrait: above and below are hair and clothes
LOWEST_HAIR_ROW = 0.66  # beside the face hair may hang, down to the lobes it mostly does
GREY_CHROMA = 0.012  # spread of colour tones in a face under which a picture is grey
SMALLEST_PUPIL_DISTANCE = 16.0  # pixels of the photograph
MAX_TURN_DEGREES = 30.0
UPSIDE_DOWN_DEGREES = 60.0
CUT_OFF_SHARE = 0.1  # of the face beyond the picture's edge
LEAST_CONTRAST = 0.05  # tones by which a face's luma varies at least; a blank wall has less
LEAST_GAMMA = 0.3  # share of the mean face's contrast; a negative has less than none
MISFIT_ERROR, MISFIT_SHAPE_PIXELS = 0.9, 10.0
LEAST_WEIGHT = 1e-3  # of a photograph; one of glaring contrast, of which no pixel counts half, has 0

# What is solved for beside the embedding, with how far each usually lies from zero.
SHAPE_NUISANCES = {"right": 20.0, "down": 20.0, "larger": 0.1, "rolled": 0.1, "yaw": 12.0, "pitch": 8.0}
"""Pixels, pixels, shares, radians, degrees, degrees."""
EXPRESSION_NUISANCES = {"mouth_open": 8.0, "smile": 6.0}
"""Pixels by which the lower lip moves down, by which a corner of the mouth moves out and up."""
LUMA_NUISANCES = {"exposure": 0.25, "x": 0.3, "y": 0.2, "xx": 0.15, "xy": 0.1, "yy": 0.15, "contrast": 0.25}
CHROMA_NUISANCES = {"balance": 0.1, "x": 0.04, "y": 0.03, "saturation": 0.2}
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
    """How badly the model explains the face's luma: 0 perfectly, 1 not at all. The root mean square of what is left of
    it over its standard deviation, both inside the face, light taken off."""
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

    def measures(self) -> dict[str, float | bool]:
        """How good the fit is, JSON-ready and rounded; nothing that tells one person from another."""
        names = ("error", "texture_error", "shape_error_pixels", "yaw_degrees", "pitch_degrees", "roll_degrees")
        rounded = {name: round(float(getattr(self, name)), 3) for name in (*names, "mouth_opening", "explained")}
        return {**rounded, "grey": self.grey}


@dataclass(frozen=True, eq=False)
class FacePrior:
    """What is known of face embeddings before a photograph is seen: a mixture of normal distributions.

    The first A coordinates are those that age and gender fix, known functions of both; the others are normal whatever
    age and gender. A normal prior of all coordinates would let shaved hair pass for white hair of a young man.
    """

    designs: Floats
    """(designs, A): the first coordinates of each age and gender that may be"""
    shares: Floats
    """(designs,), summing to one"""
    mean: Floats
    """(K - A,)"""
    covariance: Floats
    """(K - A, K - A)"""
    limits: tuple[Floats, Floats]
    """(K - A,) twice: the least and greatest value of each of the others."""

    @property
    def size(self) -> int:
        """Length K of a face embedding."""
        return int(self.designs.shape[1] + len(self.mean))

    @property
    def deviations(self) -> Floats:
        """(K,): of the whole population, and never zero."""
        around = self.designs - self.shares @ self.designs
        variances = np.concatenate([self.shares @ around**2, np.diag(self.covariance)])
        return np.asarray(np.sqrt(np.maximum(variances, 1e-6)))


@dataclass(frozen=True, eq=False)
class _Scheme:
    """What fitting needs of one scheme, made once."""

    scheme: LandmarkScheme
    mean: Floats
    """(points, 2)"""
    basis: Floats
    """(K, 2 * points)"""
    design: Floats
    """(unknowns, 2 * points + 3 * pixels): what each unknown does to points, luma and two channels of chroma"""
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
class _Probable:
    """The solution of one regularised least-squares problem."""

    embedding: Floats
    covariance: Floats
    nuisances: Floats
    explained: Floats
    """Of every value."""


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
        prior: FacePrior,
        *,
        landmark_finder: LandmarkFinder | None = None,
        tone_offset: float = 0.08,
    ) -> None:
        """Take the model and what is known of faces before a photograph is seen.

        weights: the tensors of a face decoder (`decoder.linear.LinearFaceDecoder`), by name.
        landmark_finder: finds landmarks where a photograph comes without; None: every photograph must bring its own.
        """
        self.finder = landmark_finder
        self._tone_offset = tone_offset
        self._portrait = int(weights["mean_luma"].shape[-1])
        self._prior = prior
        values, axes = np.linalg.eigh(prior.covariance)
        self._factor: Floats = axes * np.sqrt(
            np.maximum(values, 0.0)
        )  # covariance = factor @ factor.T, singular or not
        self._whitened_mean = np.linalg.pinv(self._factor) @ prior.mean
        self._landmarks = np.asarray(weights["mean_landmarks"], np.float64)
        self._landmark_basis = np.asarray(weights["landmark_basis"], np.float64)
        self._load_texture(weights)
        self._schemes: dict[int, _Scheme] = {}

    @property
    def size(self) -> int:
        """Length K of a face embedding."""
        return self._prior.size

    def _load_texture(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        """Tones inside the mask at working size, and where its pixels lie."""
        size = min(WORKING_PIXELS, self._portrait)
        depth = _resized(weights["matte_depth"], size)[0]
        rows = (np.arange(size) + 0.5) / size
        mask = (depth > 3.0) & ((rows > HIGHEST_ROW) & (rows < LOWEST_ROW))[:, None]
        face = _face_mask(self._landmarks, self._portrait, size)
        if "hair_colour" in weights:  # the model's scalp is bare, the photograph's is not
            mask &= face | (rows > LOWEST_HAIR_ROW)[:, None]
        self._face = face[mask]
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
        """What light and camera do to luma (7, pixels) and to both channels of chroma (2, 4, pixels)."""
        x, y = ((self._pixels - self._landmarks[: len(HAND_PLACED)].mean(0)) / (0.2 * self._portrait)).T
        one = np.ones_like(x)
        contrast = self._mean_luma - self._mean_luma[self._face].mean()
        luma = np.stack([one, x, y, x * x, x * y, y * y, contrast])
        chroma = np.stack([np.stack([one, x, y, channel]) for channel in self._mean_chroma])
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
        try:
            return self._fitted(picture, points)
        except FaceNotFitted as error:
            if landmarks is None and error.reason in ("not_frontal", "misfit"):
                self._check_half_turn(picture)
            raise

    def _fitted(self, picture: Picture, points: Points) -> FaceFit:
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
                self._check_upright(picture)
                raise FaceNotFound("no face was found in it; give a photograph of a face from the front, well lit")
            return np.asarray(found, np.float64)
        points = np.asarray(landmarks, np.float64)
        known = f"{COUNT}, {HAND_PLACED_COUNT} or {MESH_COUNT}"
        if points.ndim != 2 or points.shape[1] != 2 or scheme_of(len(points)) is None:
            raise FaceNotFitted(f"landmarks of shape {points.shape}; {known} points (x, y) are known", "landmarks")
        if not np.isfinite(points).all():
            raise FaceNotFitted("a landmark is no number; give pixels of the photograph", "landmarks")
        return points

    def _check_upright(self, picture: Picture) -> None:
        """Say so where a face that is not found stands on its head or lies on its side."""
        assert self.finder is not None
        for quarters, turn in ((2, "by half a turn"), (1, "clockwise"), (3, "anticlockwise")):
            try:
                found = self.finder.find(np.ascontiguousarray(np.rot90(picture, -quarters)))
            except SeveralFaces:
                continue
            if found is not None:
                raise FaceNotFitted(f"the face in it is not upright; turn the photograph {turn}", "upside_down")

    def _check_half_turn(self, picture: Picture) -> None:
        """Say so where a face was found standing on its head, as finders do at times: turned, it can be fitted."""
        assert self.finder is not None
        turned = np.ascontiguousarray(np.rot90(picture, 2))
        try:
            found = self.finder.find(turned)
            if found is None:
                return
            self._fitted(turned, np.asarray(found, np.float64))
        except FaceNotFound:
            return
        raise FaceNotFitted("the face in it is not upright; turn the photograph by half a turn", "upside_down")

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
            basis = np.einsum("pc,kcd->kpd", scheme.carry, self._landmark_basis[:, :hand]).reshape(self.size, -1)
            nuisances = (scheme.carry @ self._shape_nuisances()[:, :hand]).reshape(-1, basis.shape[1])
            fixed = border_points(self._portrait, margin_pixels=self._portrait / 8, per_side=6)
            spline = spline_map(mean, self._pixels, fixed=fixed, stiffness=STIFFNESS)
            sd = scheme.sd_pixels * (self._portrait / 512.0)
            self._schemes[count] = _Scheme(scheme, mean, basis, self._design(basis, nuisances), spline, sd)
        return self._schemes[count]

    def _design(self, basis: Floats, nuisances: Floats) -> Floats:
        """What each unknown does to points, luma and chroma; all but age's and gender's in units of their deviation."""
        pixels, points = len(self._pixels), basis.shape[1]
        own = np.concatenate([basis, self._luma_basis, self._chroma_basis[:, 0], self._chroma_basis[:, 1]], axis=1)
        plain = self._prior.designs.shape[1]
        light, balance = self._luma_light, self._chroma_light
        rows = np.zeros((len(nuisances) + len(light) + 2 * len(balance[0]), own.shape[1]))
        parts = ((nuisances, 0), (light, points), (balance[0], points + pixels), (balance[1], points + 2 * pixels))
        at = 0
        for part, column in parts:
            rows[at : at + len(part), column : column + part.shape[1]] = part
            at += len(part)
        return np.concatenate([own[:plain], self._factor.T @ own[plain:], rows])

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
        shape = self._fit_shape(aligned, made)
        expected = made.mean + (shape @ made.basis).reshape(-1, 2)
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

    def _fit_shape(self, aligned: Floats, made: _Scheme) -> Floats:
        """The embedding that landmarks alone suggest, (K,)."""
        values = (aligned - made.mean).ravel()
        design = made.design[: self.size + len(SHAPE_NUISANCES) + len(EXPRESSION_NUISANCES), : len(values)]
        weights: Floats = np.ones(len(aligned), np.float64)
        for _ in range(ROUNDS):
            found = self._most_probable(design, values, np.repeat(weights / made.sd**2 / POINTS_TOGETHER, 2))
            weights = _cauchy(_lengths(values - found.explained) / made.sd)
        return found.embedding

    # ----------------------------------------------------------------------------------------------
    # The most probable embedding of landmarks and tones together.
    # ----------------------------------------------------------------------------------------------

    def _most_probable(self, design: Floats, values: Floats, precisions: Floats) -> _Probable:
        """Expected unknowns of a regularised least-squares problem, age and gender averaged by how well they explain.

        design (unknowns, values), values less the mean face's, precisions (values,) one over variance.
        """
        prior, plain = self._prior, self._prior.designs.shape[1]
        rest = len(prior.mean)
        offset = self._whitened_mean @ design[plain : plain + rest]
        deviations = np.sqrt(precisions)
        weighed = design * deviations
        products = weighed @ weighed.T  # of one array with itself: half the work (BLAS's syrk)
        right = weighed @ (deviations * (values - offset))
        inverse = np.linalg.inv(products[plain:, plain:] + np.eye(len(design) - plain))
        carry = -inverse @ products[plain:, :plain]  # what a unit of age or gender changes in all others
        curved = products[:plain, :plain] + products[:plain, plain:] @ carry
        slope = right[:plain] + carry.T @ right[plain:]
        log = prior.designs @ slope - 0.5 * np.einsum("da,ab,db->d", prior.designs, curved, prior.designs)
        shares = prior.shares * np.exp(log - log.max())
        shares = shares / shares.sum()
        known = shares @ prior.designs
        around = prior.designs - known
        spread = (around * shares[:, None]).T @ around
        others = inverse @ right[plain:] + carry @ known
        covariance = np.block(
            [
                [spread, spread @ carry[:rest].T @ self._factor.T],
                [
                    self._factor @ carry[:rest] @ spread,
                    self._factor @ (inverse[:rest, :rest] + carry[:rest] @ spread @ carry[:rest].T) @ self._factor.T,
                ],
            ]
        )
        embedding = np.concatenate([known, prior.mean + self._factor @ others[:rest]])
        unknowns = np.concatenate([known, others])
        return _Probable(embedding, covariance, others[rest:], offset + unknowns @ design)

    def _solve(self, observed: _Observed, made: _Scheme) -> _Solved:
        """Regularised least squares with weights that fall where the model explains little."""
        points, pixels = 2 * len(made.mean), len(self._pixels)
        values = np.concatenate(
            [
                (observed.points - made.mean).ravel(),
                observed.luma - self._mean_luma,
                *(observed.chroma - self._mean_chroma),
            ]
        )
        outside = np.where(self._face, 1.0, HAIR_SD_FACTOR)
        luma_sd, chroma_sd = LUMA_SD * outside, CHROMA_SD * outside
        coloured = 0.0 if observed.grey else 1.0
        point_weights: Floats = np.ones(len(made.mean))
        pixel_weights: Floats = np.ones(pixels)
        for _ in range(ROUNDS):
            shown = pixel_weights * observed.inside / PIXELS_TOGETHER
            precisions = [
                np.repeat(point_weights / made.sd**2 / POINTS_TOGETHER, 2),
                shown / luma_sd**2,
                *(coloured * shown / chroma_sd**2,) * 2,
            ]
            found = self._most_probable(made.design, values, np.concatenate(precisions))
            left = values - found.explained
            luma_left, colour_left = left[points : points + pixels], left[points + pixels :].reshape(2, -1)
            point_weights = _cauchy(_lengths(left[:points]) / made.sd)
            squares = (luma_left / luma_sd) ** 2 + coloured * ((colour_left / chroma_sd) ** 2).sum(0)
            before = pixel_weights
            pixel_weights = self._calmed(_cauchy(np.sqrt(squares / (1 + 2 * coloured))) ** PIXEL_POWER)
            if np.abs(pixel_weights - before).max() < SETTLED_WEIGHT:
                break
        embedding = self._within_limits(found.embedding, found.covariance)
        point_left = left[:points].reshape(-1, 2)
        return _Solved(
            embedding, found.covariance, found.nuisances, point_left, luma_left, pixel_weights, point_weights
        )

    def _calmed(self, weights: Floats) -> Floats:
        """Pixel weights (pixels,), each the mean of its neighbourhood: what hides a face does so in patches."""
        plane, known = np.zeros(self._mask.shape), self._mask.astype(np.float64)
        plane[self._mask] = weights
        return np.asarray((_box(plane) / np.maximum(_box(known), 1e-9))[self._mask])

    def _within_limits(self, embedding: Floats, covariance: Floats) -> Floats:
        """The most probable embedding whose coordinates keep to the limits, one after the other put on its limit."""
        plain = self._prior.designs.shape[1]
        low, high = self._prior.limits
        found: Floats = embedding.copy()
        spread: Floats = covariance.copy()
        for _ in low:
            beyond = np.maximum(low - found[plain:], found[plain:] - high)
            variances = np.diag(spread)[plain:]
            deviations = np.where(variances > 1e-10, beyond / np.sqrt(np.maximum(variances, 1e-10)), -np.inf)
            worst = int(np.argmax(deviations))
            if beyond[worst] <= 1e-9 or not np.isfinite(deviations[worst]):
                break
            place = plain + worst
            limit = low[worst] if found[place] < low[worst] else high[worst]
            gain: Floats = spread[:, place] / spread[place, place]
            found = found + gain * (limit - found[place])
            spread = spread - np.outer(gain, spread[place])
        found[plain:] = np.clip(found[plain:], low, high)
        return found

    # ----------------------------------------------------------------------------------------------
    # How good a fit is.
    # ----------------------------------------------------------------------------------------------

    def _judged(
        self, observed: _Observed, solved: _Solved, made: _Scheme, points: Points, roll_degrees: float
    ) -> FaceFit:
        shown = self._face & observed.inside
        moved = len(SHAPE_NUISANCES) + len(EXPRESSION_NUISANCES)
        lit = solved.nuisances[moved : moved + len(LUMA_NUISANCES)]
        contrast = 1.0 + LUMA_NUISANCES["contrast"] * float(lit[-1])
        own = (observed.luma - lit[:-1] @ self._luma_light[:-1])[shown]
        texture = float(np.sqrt((solved.luma_rest[shown] ** 2).mean())) if shown.any() else np.inf
        error = texture / max(float(own.std()), LEAST_CONTRAST) if shown.any() else np.inf
        squares = (solved.point_rest**2).sum(1) * solved.point_weights
        shape = 512.0 / self._portrait * float(np.sqrt(squares.sum() / solved.point_weights.sum()))
        self._believable(error, shape, contrast)
        names = [*SHAPE_NUISANCES, *EXPRESSION_NUISANCES]
        usual = {**SHAPE_NUISANCES, **EXPRESSION_NUISANCES}
        turned = {name: float(solved.nuisances[names.index(name)]) * usual[name] for name in ("yaw", "pitch")}
        opening = _mouth_opening(points, made.scheme)
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
            weight=float(frontal * calm * explained * (1.0 - error**2)),
        )

    @staticmethod
    def _believable(error: float, shape_error_pixels: float, contrast: float) -> None:
        if error <= MISFIT_ERROR and shape_error_pixels <= MISFIT_SHAPE_PIXELS and contrast >= LEAST_GAMMA:
            return
        raise FaceNotFitted(
            f"the face model does not explain this picture (error {error:.2f}, at most {MISFIT_ERROR:g}; landmarks off"
            f" by {shape_error_pixels:.1f} pixels of 512, at most {MISFIT_SHAPE_PIXELS:g}): landmarks miss the face,"
            " or something hides it; give a clear photograph from the front",
            "misfit",
        )

    def _averaged(self, fits: Sequence[tuple[int, FaceFit]], rejected: tuple[tuple[int, str], ...]) -> FaceFit:
        """The weighted mean of fits; measures are averaged by the same weights."""
        weights = np.maximum([fit.weight for _, fit in fits], LEAST_WEIGHT)  # else the mean of one would be none
        share = weights / weights.sum()
        each = np.stack([fit.embedding for _, fit in fits]).astype(np.float64)
        mean = share @ each
        covariance = np.einsum("f,fij->ij", share, np.stack([fit.covariance for _, fit in fits]))
        covariance *= left_of_variance((share**2).sum())
        deviations = (each - mean) / self._prior.deviations

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


def left_of_variance(squared_shares: ArrayLike) -> Floats:
    """What averaging leaves of the variance of single fits, from the sum of the squares of their shares, any shape.

    The model's own shortcomings repeat in every photograph: half of a fit's variance does not average out.
    """
    return (1 + np.asarray(squared_shares, np.float64)) / 2


def reason_of(error: FaceNotFound) -> str:
    """Under which of REASONS a photograph that could not be fitted is counted."""
    if isinstance(error, FaceNotFitted):
        return error.reason
    return "several_faces" if isinstance(error, SeveralFaces) else "no_face"


# --------------------------------------------------------------------------------------------------
# Small parts.
# --------------------------------------------------------------------------------------------------


def _lengths(flat: Floats) -> Floats:
    """Lengths over the square root of two of displacements, (2 * points,) -> (points,)."""
    return np.asarray(np.sqrt((flat.reshape(-1, 2) ** 2).mean(1)))


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
