"""What a network that had no part in making them sees in drawn faces: their age, and whether they are somebody's.

    npm pack @vladmandic/human && tar xzf vladmandic-human-*.tgz
    python benchmarks/apparent_age.py --network package/models --starter ../shared/starter [--model FOLDER]

Writes benchmarks/apparent_age.csv (appends). The network is "faceres" of the JavaScript package Human (MIT), which
states a distribution over ages 0 to 99 and a gender; its graph has twelve kinds of operation, run here in torch. It
reads faces of fifty years and more ten to twenty years too young, photographs and generated ones alike. So what it
reads from a drawn face is turned into the age at which it reads the same from the others, gender by gender: people's
own age where photographs have one (under 38 years), a third network's guess for generated faces. A face that looks its
age has that number equal to the age asked for.

Its 1,024 numbers before the last layers describe a face. They are a second embedder for the test of the release gate:
draws and expected faces beside the people photographed, as recipes/starter/face_gate.py does with dlib.
"""

import argparse
import base64
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from record import Result, print_results, write
from sklearn.isotonic import IsotonicRegression
from torch import Tensor
from torch.nn.functional import conv2d, pad

from recipes.starter.face_gate import People, attributes_of, compare, expected_grid, nearest_alike
from recipes.starter.face_material import Faces, read_london, read_synthetic
from recipes.starter.face_model import group_weights
from recipes.starter.faces import GATE_AGE_YEARS
from speech2face.face.appearance import chosen_hair, random_faces
from speech2face.face.detect import Picture
from speech2face.models.attributes import AttributeModel, load_attribute_model

ROOT = Path(__file__).resolve().parent.parent
ASKED_YEARS = (20, 27, 35, 42, 50, 57, 65, 72, 80)
EYES = {189: ((0,), (1,)), 468: ((33, 133), (263, 362))}  # landmarks whose means are the eyes' middles
WIDE, BELOW = 3.5, 0.4  # of the distance between the eyes: side of the crop, and how far under the eyes its middle is
SIDE_PIXELS = 224
PHOTOGRAPHED_TO_YEARS = 38.0  # the photographs have too few older people to be a scale
WIDTH_YEARS = 5.0
DRAWS = 3
GATE_DRAWS = 400
Floats = NDArray[np.float64]


class FaceNetwork:
    """A graph model of TensorFlow.js, as far as this network needs it."""

    def __init__(self, folder: Path) -> None:
        stored = json.loads((folder / "faceres.json").read_text(encoding="utf-8"))
        self._nodes = stored["modelTopology"]["node"]
        self._constants = read_weights(stored["weightsManifest"][0]["weights"], (folder / "faceres.bin").read_bytes())

    @torch.inference_mode()
    def read(self, crops: list[NDArray[np.float32]]) -> Floats:
        """Mean age in years and probability of a man, (crops, 2), of square crops (side, side, 3) of 0 to 255."""
        found = []
        for values in map(self._run, crops):
            ages, man = (values[kind] for kind in ("Softmax", "Sigmoid"))
            found.append((float((ages * torch.arange(100)).sum() / ages.sum()), float(man)))
        return np.array(found)

    @torch.inference_mode()
    def embed(self, crops: Iterable[NDArray[np.float32]]) -> Floats:
        """The description of each face, of length one: (crops, 1024)."""
        found = np.stack([self._run(crop)["Mean"][0].numpy() for crop in crops]).astype(np.float64)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    def _run(self, crop: NDArray[np.float32]) -> dict[str, Tensor]:
        """What comes out of the last operation of every kind."""
        picture = torch.from_numpy(crop).permute(2, 0, 1)[None]
        values: dict[str, Tensor] = dict(self._constants)
        for node in self._nodes:
            if node["op"] == "Placeholder":
                values[node["name"]] = picture
            elif node["op"] != "Const":
                values[node["name"]] = run_node(node, [values[name] for name in node["input"]])
        return {node["op"]: values[node["name"]] for node in self._nodes}


def read_weights(entries: list[dict[str, Any]], data: bytes) -> dict[str, Tensor]:
    """The graph's constants by name; half precision as it is stored becomes single."""
    constants, at = {}, 0
    for entry in entries:
        kind = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"]))
        array = np.frombuffer(data, kind, count, at).reshape(entry["shape"])
        constants[entry["name"]] = torch.from_numpy(array.astype(np.float32 if kind.kind == "f" else kind))
        at += count * kind.itemsize
    return constants


def run_node(node: Mapping[str, Any], values: list[Tensor]) -> Tensor:
    """One operation; pictures are (1, channels, height, width) here, where TensorFlow has channels last."""
    kind, first = node["op"], values[0]
    if kind in ("Conv2D", "DepthwiseConv2dNative"):
        stride = int(node["attr"]["strides"]["list"]["i"][1])
        deep = kind == "DepthwiseConv2dNative"
        kernel = values[1].permute(2, 3, 0, 1) if deep else values[1].permute(3, 2, 0, 1)
        if base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME":
            around = []
            for size, reach in ((first.shape[3], kernel.shape[3]), (first.shape[2], kernel.shape[2])):
                missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
                around += [missing // 2, missing - missing // 2]
            first = pad(first, around)
        return conv2d(first, kernel, stride=stride, groups=first.shape[1] if deep else 1)
    if kind in ("Add", "Mul", "Minimum", "Maximum"):
        other = values[1]
        if first.ndim == 4 and other.ndim in (1, 4):
            other = other.reshape(1, -1, 1, 1)
        of_two: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "Add": torch.add,
            "Mul": torch.mul,
            "Minimum": torch.minimum,
            "Maximum": torch.maximum,
        }
        return of_two[kind](first, other)
    if kind == "Mean":
        return first.mean((2, 3))
    if kind == "_FusedMatMul":
        fused = [base64.b64decode(each) for each in node["attr"]["fused_ops"]["list"]["s"]]
        found = first @ values[1] + values[2]
        return found.relu() if b"Relu" in fused else found
    of_one: dict[str, Callable[[Tensor], Tensor]] = {
        "Relu": torch.relu,
        "Sigmoid": torch.sigmoid,
        "Softmax": lambda each: each.softmax(-1),
    }
    return of_one[kind](first)


def crop_of(picture: Picture, eyes: Floats) -> NDArray[np.float32]:
    """The face around its eyes (2, 2), in pixels of the picture."""
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    middle, half = eyes.mean(0) + np.array([0.0, BELOW * apart]), WIDE * apart / 2
    box = (*(middle - half), *(middle + half))
    cut = Image.fromarray(picture).transform(
        (SIDE_PIXELS, SIDE_PIXELS), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
    )
    return np.asarray(cut, np.float32)


def crops_of(faces: Faces) -> list[NDArray[np.float32]]:
    """The crops of photographs."""
    left, right = EYES[faces.landmarks.shape[1]]
    return [
        crop_of(
            (picture * 255).round().astype(np.uint8), np.stack([marks[list(left)].mean(0), marks[list(right)].mean(0)])
        )
        for picture, marks in zip(faces.pictures, faces.landmarks, strict=True)
    ]


def drawn(model: AttributeModel) -> tuple[list[NDArray[np.float32]], Floats, NDArray[np.str_]]:
    """Crops of expected faces of the reference population and of draws; their age and femininity; which they are."""
    population, rng = model.release.population, np.random.default_rng(0)
    crops, asked, kinds = [], [], []
    for femininity in (1.0, 0.0):
        for age in ASKED_YEARS:
            for draw in range(DRAWS + 1):
                groups = None if draw == 0 else rng.dirichlet(np.full(len(population.group_weights), 2.0))
                face = population.embedding(age, femininity, groups)
                if draw:
                    face[population.basis.size :] = (
                        rng.normal(size=population.residual_sd.size) * population.residual_sd
                    )
                crops.append(crop_of(model.decode(face), model.landmarks(face)[:2].astype(np.float64)))
                asked.append((age, femininity))
                kinds.append("drawn" if draw else "expected")
    return crops, np.array(asked, np.float64), np.array(kinds)


def scale(age: Floats, read: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Ages and what is read from faces of each in the mean, never falling: (years,) twice."""
    years = np.arange(18.0, 91.0)
    near = weight * np.exp(-0.5 * ((years[:, None] - age) / WIDTH_YEARS) ** 2)
    mean = (near @ read) / near.sum(1)
    return years, IsotonicRegression().fit_transform(years, mean, sample_weight=near.sum(1))


def measure(network: FaceNetwork, model: AttributeModel, starter: Path) -> list[Result]:
    """One row for each age and gender, and the errors over all."""
    london, generated = read_london(starter), read_synthetic(starter)
    known = ~np.isnan(london.age)
    photographs = network.read(crops_of(london))
    made = network.read(crops_of(generated))
    young = known & (london.age < PHOTOGRAPHED_TO_YEARS)
    error = float(np.abs(photographs[known, 0] - london.age[known]).mean())
    right = float(((photographs[:, 1] < 0.5) == (london.femininity > 0.5)).mean())
    rows = [
        Result("photographs: error of the network's age", error, "years", 4.9, "the median age for all"),
        Result("photographs: gender right", right, "of 1", 0.5, "one answer for all"),
    ]
    crops, asked, kinds = drawn(model)
    found = network.read(crops)
    for femininity, who in ((1.0, "woman"), (0.0, "man")):
        of_photographs, of_made = young & (london.femininity == femininity), generated.femininity == femininity
        years, read = scale(
            np.r_[london.age[of_photographs], generated.age[of_made]],
            np.r_[photographs[of_photographs, 0], made[of_made, 0]],
            np.r_[np.ones(of_photographs.sum()), generated.trust[of_made]],
        )
        for age in ASKED_YEARS:
            here = (asked == (age, femininity)).all(1)
            for kind in ("expected", "drawn"):
                seen = float(found[here & (kinds == kind), 0].mean())
                wanted = float(np.interp(age, years, read))
                looks = float(np.interp(seen, read + 1e-6 * years, years))
                rows.append(
                    Result(
                        f"{kind} {who} of {age}: read {seen:.1f}, looks",
                        looks,
                        "years",
                        wanted,
                        "read from others of that age",
                    )
                )
    told = float(((found[:, 1] < 0.5) == (asked[:, 1] > 0.5)).mean())
    rows.append(Result("drawn: gender read as asked", told, "of 1", 0.5, "one answer for all"))
    return rows


def gate(network: FaceNetwork, model: AttributeModel, starter: Path) -> list[Result]:
    """In what share of comparisons a drawn face is nearer to somebody photographed than a stranger of theirs is."""
    london, population, rng = read_london(starter), model.release.population, np.random.default_rng(0)
    basis, spread = population.basis, population.residual_sd.astype(np.float64)
    groups = np.array([group_weights(group, basis.groups) for group in london.group])
    people = People(network.embed(crops_of(london)), london.femininity, groups)
    real = nearest_alike(people, people, same=True)
    grids = [expected_grid(basis, weights, len(spread)) for weights in (basis.even_groups, *np.eye(len(basis.groups)))]
    probes = {
        "expected": np.stack([face for grid in grids for face in grid]),
        "draws": np.stack(list(random_faces(basis, spread, GATE_DRAWS, seed=0))),
    }
    rows = []
    for name, faces in probes.items():
        femininity, shares = attributes_of(faces, basis)
        crops = []
        for face, feminine in zip(faces.astype(np.float32), femininity, strict=True):
            picture = model.decode(face, chosen_hair(GATE_AGE_YEARS, float(feminine), rng.random()))
            crops.append(crop_of(picture, model.landmarks(face)[:2].astype(np.float64)))
        seen = People(network.embed(crops), femininity, shares)
        found = compare(nearest_alike(seen, people), real, seen.cell, people.cell)
        what = f"{name} ({len(faces)}) nearer to somebody photographed than strangers are, p {found['p']}"
        rows.append(Result(what, found["nearer"], "of 1", 0.5, "even"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, required=True, help="folder with faceres.json and faceres.bin")
    parser.add_argument("--starter", type=Path, default=ROOT.parent / "shared" / "starter")
    parser.add_argument("--model", default=None, help="folder of a release; the shipped one where it is left out")
    parser.add_argument("--dry", action="store_true", help="print only")
    arguments = parser.parse_args()
    model = load_attribute_model(arguments.model) if arguments.model else load_attribute_model()
    network = FaceNetwork(arguments.network)
    results = [*measure(network, model, arguments.starter), *gate(network, model, arguments.starter)]
    print_results(results)
    if not arguments.dry:
        write(results, ROOT / "benchmarks" / "apparent_age.csv")


if __name__ == "__main__":
    main()
