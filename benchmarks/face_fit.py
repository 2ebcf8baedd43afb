"""How right the fitted face embedding is: planted faces under pose, light, blur and a hidden part; people found again.

    python benchmarks/face_fit.py                          # some ten minutes on one core
    python benchmarks/face_fit.py --starter ../shared/starter --faces 24

Writes benchmarks/face_fit.csv (appends). Planted faces are drawn from the population and rendered by the release's own
decoder, so that their embedding is known; what is told is the difference between the portraits of the true and the
fitted embedding inside the face, as a share of that to the mean face's portrait, which is what no fit would have.
Landmarks of planted faces are their own 189, moved by a pixel at random.

People are found again from a second picture made of the first by light from aside, colour, blur, noise, JPEG, size
and a turn in the plane; its landmarks are found anew by dlib. Rank 1 is the share whose own first picture is nearest by
the distance that the fit's covariance gives. The face model was learned from these very 102 people, though with 13
components for all of them; the generated faces of the second set were in no part of it that a fit compares.
"""

import argparse
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from head_pose import turned
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from record import Result, median_seconds, print_results, write

from speech2face.errors import FaceNotFound
from speech2face.face.detect import Picture, read_photograph
from speech2face.face.fit import FaceFit, FaceFitter, reason_of
from speech2face.face.landmarks import HAND_PLACED, FacePointFinder, scheme_of
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.voice.belief import AttributeBelief

ROOT = Path(__file__).resolve().parent.parent
INNER = (slice(150, 420), slice(160, 352))  # of the portrait: the face
LARGEST_PIXELS = 600
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Planted:
    """A face whose embedding is known."""

    embedding: NDArray[np.float32]
    picture: Picture
    points: Floats


def plant(model: AttributeModel, seed: int) -> Planted:
    """Drawn from the population, with its own landmarks a pixel off."""
    rng = np.random.default_rng(seed)
    belief = AttributeBelief(np.ones(18) / 18, 0.5, given_age=float(rng.uniform(20, 75)))
    embedding = model.release.population.draw(belief, rng)
    points = np.zeros((189, 2))
    points[list(HAND_PLACED)] = model.landmarks(embedding)[: len(HAND_PLACED)]
    return Planted(embedding, model.decode(embedding), points + rng.normal(0, 1.0, points.shape))


def lit(strength: float) -> Callable[[Planted], tuple[Picture, Floats]]:
    """Light from the left: e to the strength brighter there than on the right."""

    def change(face: Planted) -> tuple[Picture, Floats]:
        across = np.linspace(0.5, -0.5, face.picture.shape[1])[None, :, None]
        shown = face.picture * np.exp(strength * (across - 0.5))
        return np.clip(shown, 0, 255).astype(np.uint8), face.points

    return change


def coloured(face: Planted) -> tuple[Picture, Floats]:
    """A third darker, in the light of a lamp."""
    return (face.picture * np.array([0.75, 0.65, 0.5])).astype(np.uint8), face.points


def blurred(pixels: float) -> Callable[[Planted], tuple[Picture, Floats]]:
    """A Gaussian blur of so many pixels of 512."""

    def change(face: Planted) -> tuple[Picture, Floats]:
        return np.asarray(Image.fromarray(face.picture).filter(ImageFilter.GaussianBlur(pixels))), face.points

    return change


def hidden(face: Planted) -> tuple[Picture, Floats]:
    """A blue cloth before mouth and chin."""
    shown = face.picture.copy()
    low, high = face.points[87:109].min(0), face.points[125:134].max(0)
    shown[int(low[1]) - 8 : int(high[1]), int(low[0]) - 20 : int(high[0])] = (70, 95, 140)
    return shown, face.points


def small(face: Planted) -> tuple[Picture, Floats]:
    """A face with pupils 24 pixels apart."""
    return np.asarray(Image.fromarray(face.picture).reduce(4)), (face.points + 0.5) / 4 - 0.5


def grey(face: Planted) -> tuple[Picture, Floats]:
    """No colour."""
    return np.repeat(np.asarray(Image.fromarray(face.picture).convert("L"))[..., None], 3, axis=2), face.points


def moved(pixels: float) -> Callable[[Planted], tuple[Picture, Floats]]:
    """Landmarks so many pixels off at random, beside the one that all are."""

    def change(face: Planted) -> tuple[Picture, Floats]:
        rng = np.random.default_rng(7)
        return face.picture, face.points + rng.normal(0, pixels, face.points.shape)

    return change


PLANTED: dict[str, Callable[[Planted], tuple[Picture, Floats]]] = {
    "as drawn": lambda face: (face.picture, face.points),
    "light from aside, by 2": lit(0.7),
    "light from aside, by 4": lit(1.4),
    "darker, in warm light": coloured,
    "blurred by 2 pixels": blurred(2.0),
    "blurred by 5 pixels": blurred(5.0),
    "mouth and chin hidden": hidden,
    "pupils 24 pixels apart": small,
    "without colour": grey,
    "landmarks 4 pixels off": moved(4.0),
}
TURNS = ((10, 0), (20, 0), (30, 0), (0, 10), (0, 20))


def difference(model: AttributeModel, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean absolute difference of two portraits in the face."""
    first, second = (model.decode(each)[INNER].astype(float) for each in (one, other))
    return float(np.abs(first - second).mean())


def planted(model: AttributeModel, fitter: FaceFitter, finder: FacePointFinder, count: int) -> list[Result]:
    """Recovery of planted faces by what was done to their pictures."""
    faces = [plant(model, seed) for seed in range(count)]
    floor = [difference(model, model.release.mean_embedding, face.embedding) for face in faces]
    results = []

    def tell(name: str, fits: list[FaceFit | None]) -> None:
        kept = [number for number, fit in enumerate(fits) if fit is not None]
        lost = [
            difference(model, fit.embedding, faces[number].embedding) / floor[number]
            for number, fit in enumerate(fits)
            if fit is not None
        ]
        results.extend(
            [
                Result(f"planted, {name}: left of the face", float(np.mean(lost)), "of 1", 1.0, "the mean face"),
                Result(f"planted, {name}: rejected", 1 - len(kept) / count, "of 1", 0.0, "none"),
            ]
        )
        print_results(results[-2:])

    for name, change in PLANTED.items():
        tell(name, [fitted(fitter, *change(face)) for face in faces])
    for yaw, pitch in TURNS:
        fits = []
        for face in faces[:: max(1, count // 6)]:
            scheme = scheme_of(68)
            assert scheme is not None
            picture = turned(face.picture, scheme.carry @ face.points[list(HAND_PLACED)], yaw, pitch)
            points = finder.find(picture)
            fits.append(None if points is None else fitted(fitter, picture, points))
        whole: list[FaceFit | None] = [None] * count
        whole[:: max(1, count // 6)] = fits
        lost = [difference(model, f.embedding, faces[k].embedding) / floor[k] for k, f in enumerate(whole) if f]
        told = [f.yaw_degrees if yaw else f.pitch_degrees for f in fits if f is not None]
        name = f"planted, turned {yaw} aside, {pitch} down, dlib"
        results += [
            Result(f"{name}: left of the face", float(np.mean(lost or [np.nan])), "of 1", 1.0, "the mean face"),
            Result(f"{name}: rejected", 1 - len(lost) / len(fits), "of 1", 0.0, "none"),
            Result(f"{name}: turn told", float(np.mean(told or [np.nan])), "degrees", yaw or pitch, "what was done"),
        ]
        print_results(results[-3:])
    return results


def fitted(fitter: FaceFitter, picture: Picture, points: Floats | None) -> FaceFit | None:
    """None where it is rejected."""
    try:
        return fitter.fit([picture], [points])
    except FaceNotFound as error:
        print("  rejected:", reason_of(error))
        return None


def second_picture(picture: Picture, rng: np.random.Generator) -> Picture:
    """The same face in another light, by another camera."""
    height, width = picture.shape[:2]
    across, down = np.linspace(-1, 1, width)[None, :, None], np.linspace(-1, 1, height)[:, None, None]
    aside, above = rng.uniform(-0.5, 0.5, 2)
    gain = np.exp(rng.uniform(-0.35, 0.35) + 2 * aside * across + above * down) * np.exp(rng.normal(0, 0.06, 3))
    shown = np.clip((picture / 255.0) ** 2.2 * gain, 0, 1) ** (rng.uniform(0.85, 1.15) / 2.2)
    scale = rng.uniform(0.4, 0.9)
    image = Image.fromarray((255 * shown).astype(np.uint8)).rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BOX)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    noisy = np.clip(np.asarray(image) + rng.normal(0, 4, np.asarray(image).shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def rank_one(first: list[FaceFit], second: list[FaceFit]) -> float:
    """Share of second pictures whose own first picture is the nearest by the fit's covariance."""
    known = np.stack([fit.embedding for fit in first])
    right = 0
    for number, fit in enumerate(second):
        gone = known - fit.embedding
        precision = np.linalg.pinv(fit.covariance, rcond=1e-6, hermitian=True)
        right += int(np.einsum("fi,ij,fj->f", gone, precision, gone).argmin()) == number
    return right / len(second)


def found_again(folder: Path, name: str, fitter: FaceFitter, finder: FacePointFinder) -> list[Result]:
    """First pictures with the set's own landmarks and with dlib's, second ones with dlib's."""
    stored = json.loads((folder / name / "landmarks.json").read_text())["landmarks"]
    rng = np.random.default_rng(0)
    given, found, second = list[FaceFit](), list[FaceFit](), list[FaceFit]()
    rejected = 0
    for face in sorted(stored):
        picture = read_photograph(folder / name / f"{face}.jpg")
        whole = np.asarray(Image.fromarray(picture).reduce(max(1, max(picture.shape) // LARGEST_PIXELS)))
        scale = whole.shape[1] / picture.shape[1]
        other = second_picture(whole, rng)
        fits = [fitted(fitter, whole, (np.array(stored[face]) + 0.5) * scale - 0.5)]
        fits += [found_one(fitter, finder, each) for each in (whole, other)]
        if any(fit is None for fit in fits):
            rejected += 1
            continue
        for kept, fit in zip((given, found, second), fits, strict=True):
            assert fit is not None
            kept.append(fit)
    chance = 1 / len(second)
    count = len(stored)
    results = [
        Result(f"{name}: rejected in one of three", rejected / count, "of 1", 0.0, "none"),
        Result(
            f"{name}: error, own landmarks", float(np.median([f.error for f in given])), "of 1", 1.0, "nothing told"
        ),
        Result(
            f"{name}: error, dlib's landmarks", float(np.median([f.error for f in found])), "of 1", 1.0, "nothing told"
        ),
        Result(f"{name}: rank 1 of a second picture, dlib both", rank_one(found, second), "of 1", chance, "chance"),
        Result(f"{name}: rank 1, own landmarks to dlib's, second", rank_one(given, second), "of 1", chance, "chance"),
    ]
    print_results(results)
    return results


def found_one(fitter: FaceFitter, finder: FacePointFinder, picture: Picture) -> FaceFit | None:
    """With landmarks found by dlib."""
    try:
        points = finder.find(picture)
    except FaceNotFound:
        return None
    return None if points is None else fitted(fitter, picture, points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, default=ROOT.parent / "shared" / "starter")
    parser.add_argument("--faces", type=int, default=24)
    options = parser.parse_args()
    model, finder = load_attribute_model(), FacePointFinder()
    fitter = model.face_fitter()
    face = plant(model, 0)
    results = [
        Result(
            "one fit after landmarks",
            median_seconds(lambda: fitter.fit([face.picture], [face.points]), 9),
            "s",
            0.0,
            "nothing",
            0.3,
        )
    ]
    print_results(results)
    results += planted(model, fitter, finder, options.faces)
    for name in ("faces", "faces_synthetic2"):
        results += found_again(options.starter, name, fitter, finder)
    write(results, ROOT / "benchmarks" / "face_fit.csv")


if __name__ == "__main__":
    main()
