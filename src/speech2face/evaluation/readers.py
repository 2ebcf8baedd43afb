"""What a face-attribute reader is: a judge of pictures, none of them right about anybody, all of them the same for all.

The paper's judge was a commercial service (Face++). Whatever is used, the numbers say how two readings agree, not how
right either is about a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from safetensors import safe_open

from speech2face.errors import SeveralFaces, WeightsError
from speech2face.face import detect
from speech2face.face.appearance import (
    AppearanceModel,
    Points,
    bilinear,
    border_points,
    fit_similarity,
    pixel_grid,
    spline_map,
)
from speech2face.face.detect import first_line, open_network, picture_input, weight_file
from speech2face.face.embed import PointFinder, crop_by_points
from speech2face.face.landmarks import FacePointFinder, drawn_points, find_box
from speech2face.inputs import read_json
from speech2face.models.attributes import FACE_WEIGHTS, AttributeModel, AttributeRuntime, load_attribute_release
from speech2face.validation import checked, validated

Attribute = Literal["gender", "age", "group"]
ATTRIBUTES: tuple[Attribute, ...] = ("gender", "age", "group")
"""In the order of reports."""


@dataclass(frozen=True)
class AttributeReading:
    """What one picture looks like to a reader; None where the reader does not read that attribute."""

    age: float | None = None
    """Apparent age in years."""
    femininity: float | None = None
    """0 to 1; above 0.5 reads as a woman's face."""
    group: str | None = None
    """One of the reader's `groups`."""

    @property
    def gender(self) -> str:
        """ "female", "male", or "" where it is not read; the very middle counts as a man's, so that it is decided."""
        if self.femininity is None:
            return ""
        return "female" if self.femininity > 0.5 else "male"


class AttributeReader(Protocol):
    """Anything that reads attributes off the one face of a picture (height, width, 3)."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def reads(self) -> tuple[Attribute, ...]:
        """The attributes it gives."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups it knows, in the order of its matrices; empty where it reads none."""
        ...

    @property
    def statement(self) -> str:
        """What it is, and what to know before believing it: one or two sentences for the report."""
        ...

    def read(self, picture: detect.Picture) -> AttributeReading | None:
        """What the one face looks like, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        ...


def read_drawn(reader: AttributeReader, picture: detect.Picture) -> AttributeReading | None:
    """The reading of a face that was drawn; None where none is seen in it, or more than one."""
    try:
        return reader.read(picture)
    except SeveralFaces:
        return None


def read_pictures(reader: AttributeReader, pictures: Iterable[detect.Picture | None]) -> list[AttributeReading | None]:
    """Readings of many pictures, one at a time; None where there is no picture or no face in it."""
    return [None if picture is None else read_drawn(reader, picture) for picture in pictures]


# --- Apparent age and gender by the starter's own linear face model: which attributes explain a picture best.
# A generative reading (Cootes, Edwards and Taylor 2001): landmarks and tones of a picture are linear in the face
# embedding, the embedding's attribute coordinates are known functions of age and gender, and what remains (group,
# residuals, exposure) is normal around its mean and integrated out. It knows the faces this model draws, and only
# those well: see `LIMITS`.

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

    def read(self, picture: detect.Picture) -> AttributeReading | None:
        """Expected age and probability of a woman's face, all ages and both genders being equally likely before."""
        points = self._finder.find(picture)
        return None if points is None else self.read_points(picture, points)

    def read_points(self, picture: detect.Picture, points: Points) -> AttributeReading:
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

    def observe(self, picture: detect.Picture, points: Points) -> tuple[Floats, Floats]:
        """Landmarks aligned with the mean face, (68, 2), and tones of the picture on the mean shape, (pixels,)."""
        model = self._model
        mean = model.mean_landmarks.astype(np.float64)
        move = fit_similarity(points, mean)
        aligned = move.apply(points)
        canvas = Image.fromarray(detect.take_crop(picture, move, model.portrait_pixels)).reduce(
            model.portrait_pixels // model.size
        )
        factor = model.size / model.portrait_pixels
        where = (self._pixels + self._carry @ (aligned - mean) + 0.5) * factor - 0.5
        colours = bilinear(np.asarray(canvas, np.float64) / 255.0, where)
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
    from speech2face.face.appearance import random_faces

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
    even = basis.even_groups
    whole = basis.design(AGES[:, None], np.array([[0.0, 1.0]]), even)
    return np.asarray(whole[..., : -len(basis.groups)], np.float64)


# --- Which of a user's network's outputs mean what: the settings file of an ONNX attribute reader, checked on reading.

Alignment = Literal["box", "eyes", "five_points", "picture"]
MAX_MARGIN = 2.0  # five times the box: more is a mistake
Finite = Annotated[float, Field(allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@checked
class PictureInput:
    """How a picture is brought to a user's network."""

    input_pixels: Annotated[int, Field(ge=1)] | None = None
    """Side of the square input; None reads it from the graph."""
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    """Subtracted from red, green and blue of 0 to 255."""
    deviation: tuple[Above0, Above0, Above0] = (255.0, 255.0, 255.0)
    """What is left is divided by, in the same order."""


class PictureGraph:
    """A user's ONNX network of square pictures, (1, 3, side, side) or (1, side, side, 3)."""

    def __init__(self, file: Path | str, settings: PictureInput, network: str) -> None:
        """`network` says what it is, for errors.

        Raises:
            WeightsError: no such file, or no ONNX network of square pictures.
        """
        self.path, self._settings = weight_file(file), settings
        self._session = open_network(self.path)
        self._input, self._channels_first, self.pixels = picture_input(
            self._session, settings.input_pixels, self.path, network=network
        )
        self.outputs = [entry.name for entry in self._session.get_outputs()]

    def run(self, square: NDArray[Any]) -> list[Any]:
        """All outputs for a picture (pixels, pixels, 3) of 0 to 255."""
        mean, deviation = (np.array(of, np.float32) for of in (self._settings.mean, self._settings.deviation))
        x = (square.astype(np.float32) - mean) / deviation
        x = x[..., ::-1] if self._settings.colours == "bgr" else x
        x = x.transpose(2, 0, 1) if self._channels_first else x
        found: list[Any] = self._session.run(None, {self._input: np.ascontiguousarray(x)[None]})
        return found


@checked
class Output:
    """Some numbers of one of the network's outputs."""

    output: str | int = 0
    """Name of the output, or its place among them."""
    start: int = 0
    stop: int | None = None
    """Of the flattened output, numbers `start` up to but not including `stop`; None: to its end."""
    activation: Literal["softmax", "sigmoid", "none"] = "none"
    """What makes shares of them: `softmax` over all, `sigmoid` of each, or nothing where the network did it."""


@checked
class AgeOutput(Output):
    """One number, which becomes years by `scale` and `offset`; or one for each of `years`."""

    years: tuple[float, ...] = ()
    """The age that each class stands for: 0 to 100, or the middles of age bins."""
    summary: Literal["mean", "likeliest"] = "mean"
    """Of classes: their mean, weighted by their shares, or the likeliest."""
    scale: float = 1.0
    offset: float = 0.0


@checked
class GenderOutput(Output):
    """Two numbers, of which number `female` is the share of women; or one, which is that share."""

    female: Literal[0, 1] = 0
    """Place of the feminine class among the two; of one number: 1 where it is the share of women, 0 of men."""


@checked
class GroupOutput(Output):
    """One number for each group."""

    names: tuple[str, ...] = ()
    """What the report calls each; classes of one name count together."""

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("group needs the names of its classes")


@checked
class ReaderSettings(PictureInput):
    """How a picture is brought to the network, and which of its outputs mean what."""

    name: str = ""
    """What the report calls the reader; the file's name where empty."""
    statement: str = ""
    """Its source, licence and known weaknesses, for the report."""
    alignment: Alignment = "box"
    """By the detector's box, by both eyes, by eyes, nose and mouth, or the whole picture as it is."""
    margin: Annotated[float, Field(ge=0, le=MAX_MARGIN)] = 0.25
    """Added on each side of the box, as a share of it; for `box` only."""
    detector: detect.DetectorName = "hog"
    age: AgeOutput | None = None
    gender: GenderOutput | None = None
    group: GroupOutput | None = None

    def __post_init__(self) -> None:
        if self.age is None and self.gender is None and self.group is None:
            raise ValueError("none of age, gender, group is there: say which outputs mean what")

    @classmethod
    def read(cls, path: Path | str) -> ReaderSettings:
        """Of a JSON file; what is not named keeps its default.

        Raises:
            WeightsError: it cannot be read, or says something that is not allowed.
        """
        where = f"the reader's settings {path} (docs/evaluation.md)"
        return validated(cls, read_json(Path(path), WeightsError), where, WeightsError)


# --- Any face-attribute classifier that a user has as an ONNX file, told by a settings file what its outputs mean.


class OnnxReader:
    """One picture (1, 3, side, side) or (1, side, side, 3) in, numbers out that the settings give a meaning."""

    def __init__(self, path: Path | str, settings: ReaderSettings) -> None:
        """Raises:
        WeightsError: no such network, or its outputs are not what the settings say.
        MissingExtra: faces are to be found and dlib is not installed.
        """
        self.settings = settings
        self._graph = PictureGraph(path, settings, "face-attribute reader")
        self._path, self._pixels, self._outputs = self._graph.path, self._graph.pixels, self._graph.outputs
        name, alignment = settings.detector, settings.alignment
        self._detector: detect.FaceDetector | None = None
        if alignment != "picture":  # without enlargements of its own: `find_box` asks at several sizes
            self._detector = detect.DlibDetector(enlargements=0) if name == "hog" else detect.open_detector(name)
        self._points = PointFinder(alignment) if alignment in ("eyes", "five_points") else None
        self._try_out()

    @classmethod
    def open(cls, path: Path | str, settings: Path | str) -> OnnxReader:
        """A network and its settings file.

        Raises:
            WeightsError: one of the two is missing or wrong.
        """
        return cls(path, ReaderSettings.read(settings))

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.settings.name or self._path.name

    @property
    def statement(self) -> str:
        """What its settings say of it."""
        return self.settings.statement or f"{self._path.name}, a network of the user's; nothing is stated of it."

    @property
    def reads(self) -> tuple[Attribute, ...]:
        """The attributes that the settings find in its outputs."""
        return tuple(name for name in ATTRIBUTES if getattr(self.settings, name) is not None)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups' names, each once."""
        return () if self.settings.group is None else tuple(dict.fromkeys(self.settings.group.names))

    def read(self, picture: detect.Picture) -> AttributeReading | None:
        """What the one face looks like, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        crop = self._crop(picture)
        return None if crop is None else self.read_crop(crop)

    def read_crop(self, crop: detect.Picture) -> AttributeReading:
        """The same of a face that already fills the square (side, side, 3).

        Raises:
            WeightsError: the network's numbers are none.
        """
        found = self._run(crop)
        settings = self.settings
        shares = {name: self._shares(found, getattr(settings, name), name) for name in self.reads}
        age = femininity = group = None
        if settings.age is not None:
            age = self._age(shares["age"])
        if settings.gender is not None:
            of_women = shares["gender"]
            femininity = float(of_women[settings.gender.female]) if len(of_women) == 2 else float(of_women[0])
            if len(of_women) == 1 and settings.gender.female == 0:
                femininity = 1.0 - femininity
        if settings.group is not None:
            together = dict.fromkeys(self.groups, 0.0)
            for name, share in zip(settings.group.names, shares["group"], strict=True):
                together[name] += float(share)
            group = max(together, key=lambda name: together[name])
        return AttributeReading(age, femininity, group)

    def _age(self, numbers: Floats) -> float:
        settings = self.settings.age
        assert settings is not None
        if not settings.years:
            return float(numbers[0]) * settings.scale + settings.offset
        years = np.array(settings.years)
        if settings.summary == "likeliest":
            return float(years[np.argmax(numbers)])
        return float(numbers @ years / max(float(numbers.sum()), 1e-12))

    def _crop(self, picture: detect.Picture) -> detect.Picture | None:
        if self._detector is None:
            image = Image.fromarray(np.ascontiguousarray(picture))
            return np.asarray(image.resize((self._pixels, self._pixels), Image.Resampling.LANCZOS), dtype=np.uint8)
        box = find_box(picture, self._detector)
        if box is None:
            return None
        if self._points is None:
            move = detect.box_crop(box, self._pixels, margin=self.settings.margin)
        else:
            move = crop_by_points(self._points.find(picture, box), self._pixels)
        return detect.take_crop(picture, move, self._pixels)

    def _run(self, crop: detect.Picture) -> dict[str | int, Floats]:
        """All outputs, flattened, by name and by place."""
        assert crop.shape == (self._pixels, self._pixels, 3)
        flat = [np.asarray(numbers, np.float64).reshape(-1) for numbers in self._graph.run(crop)]
        return {**dict(enumerate(flat)), **dict(zip(self._outputs, flat, strict=True))}

    def _shares(self, found: dict[str | int, Floats], settings: Output, attribute: str) -> Floats:
        numbers = found[settings.output][settings.start : settings.stop]
        if not np.isfinite(numbers).all():
            raise WeightsError(f"{self._path} gave numbers for {attribute} that are none; check its input settings")
        if settings.activation == "softmax":
            powers = np.exp(numbers - numbers.max())
            return np.asarray(powers / powers.sum())
        if settings.activation == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(numbers, -60, 60))))
        return numbers

    def _try_out(self) -> None:
        """One grey picture: the outputs must be there and of the lengths that the settings need."""
        try:
            found = self._run(np.full((self._pixels, self._pixels, 3), 128, np.uint8))
        except Exception as error:  # ONNX Runtime's errors share no class
            raise WeightsError(
                f"{self._path} does not run on a picture of {self._pixels} pixels: {first_line(error)}"
            ) from error
        age, group = self.settings.age, self.settings.group
        wanted = {
            "age": {len(age.years) or 1} if age else set(),
            "gender": {1, 2},
            "group": {len(group.names)} if group else set(),
        }
        for name in self.reads:
            settings: Output = getattr(self.settings, name)
            if settings.output not in found:
                raise WeightsError(
                    f"{self._path} has no output {settings.output!r} for {name}; it has {', '.join(self._outputs)}"
                )
            length = len(found[settings.output][settings.start : settings.stop])
            if length not in wanted[name]:
                raise WeightsError(
                    f"{self._path} gives {length} numbers for {name} where its settings need"
                    f" {' or '.join(str(number) for number in sorted(wanted[name]))}; set start, stop and its classes"
                )
