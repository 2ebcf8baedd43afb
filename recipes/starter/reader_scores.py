"""How right the appearance reader is: on faces the model draws, and on the photographs that the model was fitted to.

python -m recipes.starter.reader_scores --starter ../shared/starter --out docs
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.starter.face_material import Faces, read_london, read_synthetic
from speech2face.evaluation.readers import AppearanceReader, AttributeReader, read_pictures
from speech2face.face.detect import Picture
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap, bootstrap
from speech2face.metrics.measures import balanced_accuracy
from speech2face.models import load_model
from speech2face.models.attributes import AttributeModel
from speech2face.outputs import encode_csv, replace_file

DRAWS = 300
SEED = 1  # the reader tries its landmarker out on draws of seed 0
SMALL_PIXELS = 224

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Pictures whose age and gender are known."""

    name: str
    pictures: tuple[Picture, ...]
    age: Floats
    """(pictures,) years, NaN where unknown."""
    femininity: Floats
    """(pictures,) 0 or 1."""


@dataclass(frozen=True)
class Score:
    """One number of one set."""

    faces: str
    metric: str
    estimate: Estimate
    cheat: float
    """What the best constant answer earns."""


def draws(count: int, *, seed: int = SEED) -> FaceSet:
    """Faces of the shipped starter, their ages and groups even, their residuals as in its own draws."""
    model = load_model()
    assert isinstance(model, AttributeModel)
    population, rng = model.release.population, np.random.default_rng(seed)
    ages = rng.uniform(*population.basis.age_range_years, count)
    feminine = rng.integers(2, size=count).astype(np.float64)
    pictures = []
    for age, femininity in zip(ages, feminine, strict=True):
        groups = rng.dirichlet(np.full(len(population.basis.groups), population.group_concentration))
        embedding = population.embedding(age, femininity, groups)
        residuals = rng.normal(size=len(population.residual_sd)) * population.residual_sd
        embedding[population.basis.size :] = residuals
        pictures.append(model.decode(embedding))
    return FaceSet("drawn by the starter, 512 px", tuple(pictures), ages, feminine)


def shrunk(faces: FaceSet, pixels: int) -> FaceSet:
    """The same pictures in another size."""
    small = tuple(
        np.asarray(Image.fromarray(picture).resize((pixels, pixels), Image.Resampling.LANCZOS), np.uint8)
        for picture in faces.pictures
    )
    return FaceSet(faces.name.replace("512", str(pixels)), small, faces.age, faces.femininity)


def photographs(name: str, faces: Faces) -> FaceSet:
    """A set of photographs that the model was fitted to."""
    pictures = tuple((picture * 255.0).round().astype(np.uint8) for picture in faces.pictures)
    return FaceSet(name, pictures, faces.age, faces.femininity)


def scores(reader: AttributeReader, faces: FaceSet) -> Iterator[Score]:
    """All numbers of a set; faces that are not found count in the first one only."""
    read = read_pictures(reader, faces.pictures)
    age = np.array([np.nan if one is None or one.age is None else one.age for one in read])
    woman = np.array([np.nan if one is None or one.femininity is None else one.femininity > 0.5 for one in read])
    people = SpeakerBootstrap(np.arange(len(read)))
    yield Score(faces.name, "face_found", people.mean(np.isfinite(woman)), 1.0)
    there = np.isfinite(woman)
    genders = bootstrap(balanced_accuracy, woman[there] > 0, faces.femininity[there] > 0)
    yield Score(faces.name, "gender_balanced_agreement", genders, 0.5)
    error = age - faces.age
    known = faces.age[np.isfinite(error)]
    yield Score(faces.name, "age_mean_absolute_error_years", people.mean(np.abs(error)), _spread(known))
    yield Score(faces.name, "age_mean_error_years", people.mean(error), 0.0)
    yield Score(faces.name, "age_r", people.correlation(age, faces.age), 0.0)


def _spread(ages: Floats) -> float:
    return float(np.abs(ages - np.median(ages)).mean())


def write_csv(found: list[Score], path: Path) -> None:
    """All numbers as CSV."""
    table: list[list[object]] = [["faces", "metric", "value", "low_95", "high_95", "n", "cheat"]]
    for one in found:
        numbers = [f"{value:.4g}" for value in one.estimate.cells()]
        table.append([one.faces, one.metric, *numbers, one.estimate.n, f"{one.cheat:.4g}"])
    replace_file(path, encode_csv(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True, help="folder with faces/ and faces_synthetic/")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--out", type=Path, help="folder for reader_scores.csv")
    arguments = parser.parse_args()
    drawn = draws(arguments.draws)
    sets = (
        drawn,
        shrunk(drawn, SMALL_PIXELS),
        photographs("London Set, photographs the model was fitted to", read_london(arguments.starter)),
        photographs("SFHQ-T2I, generated, fitted to; labels guessed", read_synthetic(arguments.starter)),
    )
    reader = AppearanceReader()
    found = [one for faces in sets for one in scores(reader, faces)]
    for one in found:
        print(f"{one.faces:48} {one.metric:32} {one.estimate} cheat {one.cheat:.3g}")
    if arguments.out:
        write_csv(found, arguments.out / "reader_scores.csv")


if __name__ == "__main__":
    main()
