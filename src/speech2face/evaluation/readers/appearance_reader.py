"""Apparent age and gender by the starter's own linear face model: which attributes explain a picture best.

A generative reading (Cootes, Edwards and Taylor 2001): landmarks and tones of a picture are linear in the face
embedding, the embedding's attribute coordinates are known functions of age and gender, and what remains (group,
residuals, exposure) is normal around its mean and integrated out. It knows the faces this model draws, and only those
well: see `LIMITS`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from speech2face.evaluation.readers.face_points import FacePointFinder, drawn_points
from speech2face.evaluation.readers.reader import Attribute, AttributeReading
from speech2face.face.alignment import Points, fit_similarity
from speech2face.face.appearance import AppearanceModel
from speech2face.face.crop import take_crop
from speech2face.face.detector import Picture
from speech2face.face.spline import border_points, pixel_grid, spline_map
from speech2face.models.attribute_model import AttributeModel
from speech2face.models.attribute_release import FACE_WEIGHTS, load_attribute_release
from speech2face.models.attribute_runtime import AttributeRuntime

Floats = NDArray[np.float64]

LIMITS = (
    "The starter's own linear face model, fitted to the picture; it reads ages of 18 to 80. It was made from 102"
    " photographs and 75 generated faces. On this project's own drawings it is nearly exact; on photographs its gender"
    " is right about nine times in ten and its age says little (docs/evaluation.md). It is no judge from outside: a"
    " model that draws with it is read by its own yardstick."
)
LEARNING_DRAWS = 96
"""Drawn faces on which the landmarker is tried out once; 25 numbers a landmark are learned from them."""
RIDGE = 0.3
LANDMARK_SD_PIXELS = 2.0  # of 512; what the linear model leaves unexplained, mostly: dlib itself errs by 0.6
TONE_SD = 0.2  # in log brightness
GROUP_SD, RESIDUAL_SD, EXPOSURE_SD = 0.35, 1.0, 1.0
AGES = np.arange(18.0, 81.0)
RED, GREEN, BLUE = 0.30, 0.59, 0.11


class AppearanceReader:
    """Age (18 to 80) and gender; no group, which this model never reads off a face."""

    name = "appearance model of the starter"
    reads: tuple[Attribute, ...] = ("age", "gender")
    groups: tuple[str, ...] = ()
    statement = LIMITS

    def __init__(
        self, release: Path | str | None = None, finder: FacePointFinder | None = None, *, draws: int = LEARNING_DRAWS
    ) -> None:
        """`release` None is the shipped starter's; `draws` faces are drawn once to try the landmarker out on.

        Raises:
            WeightsError: a release of another kind, or a damaged one.
            MissingExtra: nothing that finds faces is installed.
        """
        self._release = load_attribute_release(release)
        self._finder = finder or FacePointFinder()
        self._draws = draws

    def read(self, picture: Picture) -> AttributeReading | None:
        """Expected age and probability of a woman's face, all ages and both genders being equally likely before."""
        points = self._finder.find(picture)
        return None if points is None else self.read_points(picture, points)

    def read_points(self, picture: Picture, points: Points) -> AttributeReading:
        """The same of a face whose 68 landmarks (68, 2) are known."""
        share = self._likelihood.posterior(*self._likelihood.observe(picture, points))  # (ages, 2)
        return AttributeReading(age=float(share.sum(1) @ AGES), femininity=float(share[:, 1].sum()))

    @cached_property
    def _likelihood(self) -> _Likelihood:
        model = AttributeModel(self._release, AttributeRuntime(self._release))
        return _learn(model, self._finder, self._draws)


class _Likelihood:
    """How probable landmarks and tones are for each age and gender."""

    def __init__(self, model: AppearanceModel, designs: Floats) -> None:
        """`designs` (ages, 2, plain) are the attribute coordinates that age and gender fix."""
        self._model = model
        pixels = pixel_grid(model.portrait_pixels, model.size)[model.mask.ravel()]
        outside = border_points(model.portrait_pixels, margin_pixels=model.portrait_pixels / 8, per_side=6)
        self._pixels = pixels
        self._carry = spline_map(model.mean_landmarks.astype(np.float64), pixels, fixed=outside, stiffness=2e-4)
        self._weigh(designs)

    def _weigh(self, designs: Floats) -> None:
        """Everything about the likelihood that no picture changes."""
        model, plain = self._model, designs.shape[-1]
        count, tones = len(model.landmark_basis), len(model.mean_tones)
        # Neighbouring pixels err together: all of them count as much as all coordinates of the landmarks.
        self._tone_weight = np.sqrt(model.mean_landmarks.size / tones) / TONE_SD
        landmark_basis = model.landmark_basis.reshape(count, -1) / LANDMARK_SD_PIXELS
        known = np.concatenate([landmark_basis, model.tone_basis * self._tone_weight], axis=1)
        exposure = np.concatenate([np.zeros(landmark_basis.shape[1]), np.full(tones, self._tone_weight)])
        basis = np.concatenate([known, exposure[None]]).astype(np.float64)  # (embedding + 1, observations)
        products = basis @ basis.T
        inner, mixed, rest = products[:plain, :plain], products[:plain, plain:], products[plain:, plain:]
        solved = mixed @ np.linalg.inv(rest + np.diag(1.0 / model.prior_sd[plain:].astype(np.float64) ** 2))
        self._gain = basis[:plain] - solved @ basis[plain:]  # (plain, observations), the rest integrated out
        self._designs = designs
        self._energy = 0.5 * np.einsum("agi,ij,agj->ag", designs, inner - solved @ mixed.T, designs)

    def observe(self, picture: Picture, points: Points) -> tuple[Floats, Floats]:
        """Landmarks aligned with the mean face, (68, 2), and tones of the picture on the mean shape, (pixels,)."""
        model = self._model
        mean = model.mean_landmarks.astype(np.float64)
        move = fit_similarity(points, mean)
        aligned = move.apply(points)
        canvas = Image.fromarray(take_crop(picture, move, model.portrait_pixels)).reduce(
            model.portrait_pixels // model.size
        )
        factor = model.size / model.portrait_pixels
        where = (self._pixels + self._carry @ (aligned - mean) + 0.5) * factor - 0.5
        colours = _bilinear(np.asarray(canvas, np.float64) / 255.0, where)
        return aligned, np.log(colours + model.tone_offset) @ np.array([RED, GREEN, BLUE])

    def posterior(self, aligned: Floats, tones: Floats) -> Floats:
        """Share of each age and gender, (ages, 2), summing to one."""
        model = self._model
        seen = np.concatenate(
            [
                (aligned - model.mean_landmarks).ravel() / LANDMARK_SD_PIXELS,
                (tones - model.mean_tones) * self._tone_weight,
            ]
        )
        log = self._designs @ (self._gain @ seen) - self._energy
        share = np.exp(log - log.max())
        return np.asarray(share / share.sum())


def _learn(model: AttributeModel, finder: FacePointFinder, draws: int) -> _Likelihood:
    """Where this landmarker puts its points on the model's faces, linear in their embeddings, learned from draws.

    A landmarker has habits (dlib's points follow its own idea of a jaw); learned from drawn faces they do no harm.
    """
    from speech2face.training.faces_gate import random_faces

    population = model.release.population
    spread = population.residual_sd.astype(np.float64)
    embeddings, found = [], []
    for embedding in random_faces(population.basis, spread, draws, seed=0):
        points = drawn_points(finder, model.decode(embedding.astype(np.float32)))
        if points is not None:
            embeddings.append(embedding)
            found.append(points)
    mean = np.mean(found, axis=0)
    shapes = np.stack([fit_similarity(points, mean).apply(points) for points in found]).reshape(len(found), -1)
    x = np.stack(embeddings)
    centre = x.mean(0)
    ridge = np.eye(x.shape[1]) * RIDGE
    slopes = np.linalg.solve((x - centre).T @ (x - centre) + ridge, (x - centre).T @ (shapes - shapes.mean(0)))
    return _Likelihood(
        _with_landmarks(model, (shapes.mean(0) - centre @ slopes).reshape(-1, 2), slopes.reshape(len(slopes), -1, 2)),
        _designs(model),
    )


def _with_landmarks(model: AttributeModel, mean: Floats, basis: Floats) -> AppearanceModel:
    """The release's appearance model with other landmarks, mean (68, 2) and basis (embedding, 68, 2)."""
    population = model.release.population
    groups, residuals = len(population.basis.groups), len(population.residual_sd)
    plain = population.basis.size - groups
    # Of the plain coordinates no prior is used: they are laid out over all ages and both genders.
    prior = [*[1.0] * plain, *[GROUP_SD] * groups, *[RESIDUAL_SD] * residuals, EXPOSURE_SD]
    with safe_open(model.release.file(FACE_WEIGHTS), "np") as file:
        offset = float(json.loads(file.metadata()["config"])["tone_offset"])
        buffers = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    drawn = AppearanceModel.from_buffers(buffers, prior_sd=np.array(prior, np.float32), tone_offset=offset)
    return replace(drawn, mean_landmarks=mean.astype(np.float32), landmark_basis=basis.astype(np.float32))


def _designs(model: AttributeModel) -> Floats:
    """The coordinates that age and gender fix, (ages, 2, plain): of men, then of women."""
    basis = model.release.population.basis
    even = np.full(len(basis.groups), 1.0 / len(basis.groups))
    whole = basis.design(AGES[:, None], np.array([[0.0, 1.0]]), even)
    return np.asarray(whole[..., : -len(basis.groups)], np.float64)


def _bilinear(picture: Floats, points: Points) -> Floats:
    """Values of a picture (height, width, 3) at points (points, 2), edges repeated: (points, 3)."""
    inside = np.clip(points, 0.0, np.array(picture.shape[1::-1]) - 1.0 - 1e-6)
    low = inside.astype(np.intp)
    right, down = (inside - low).T[..., None]
    x, y = low.T
    above = picture[y, x] * (1 - right) + picture[y, x + 1] * right
    below = picture[y + 1, x] * (1 - right) + picture[y + 1, x + 1] * right
    return np.asarray(above * (1 - down) + below * down)
