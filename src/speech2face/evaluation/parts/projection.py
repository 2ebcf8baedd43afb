"""A map of the embeddings coloured by attribute (t-SNE, as in Speech2Face's supplement), and numbers beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.intervals import RESAMPLINGS, Estimate, SpeakerBootstrap
from speech2face.evaluation.metrics.matching import Singles
from speech2face.evaluation.metrics.separability import principal_coordinates, recalled, silhouette
from speech2face.evaluation.parts.part import Exclusion, Figure, Number, Part, exclude
from speech2face.evaluation.parts.strata import decades
from speech2face.evaluation.reporting.figures import COLOURS, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "projection", "Maps of the embeddings"
MOST_CLIPS = 2_000
FEWEST_CLIPS = 10
NO_LABELS = "no map was asked for, and no two labels of gender, age or group occur among enough speakers for a number"
PERPLEXITY = 30.0
MOST_COLOURS = len(COLOURS)
UNKNOWN_COLOUR = "#c3c7cd"
NOTES = (
    "A map of this kind keeps neighbours, not distances, and shows clusters where there are none: read the numbers."
    " They are measured in 50 principal dimensions of the unit-length embeddings, not on the map.",
    "Separability: can a straight line learned from other speakers name the attribute (balanced accuracy)? Best is what"
    " the clips' own face embeddings allow. The mean face of the gender separates genders perfectly and nothing else.",
)


@dataclass(frozen=True, eq=False)
class _Side:
    """The embeddings of one side, and whose they are."""

    name: str
    evaluation: EvaluationSet
    """Of these clips alone."""
    coordinates: Singles


def measure(evaluation: EvaluationSet, *, seed: int = 0, resamplings: int = RESAMPLINGS, tsne: bool = True) -> Part:
    """From the longest seconds heard; at most MOST_CLIPS clips, drawn by the seed. Without `tsne` no maps are drawn."""
    sides, exclusions = _sides(evaluation, seed)
    if not sides:
        why = f"fewer than {FEWEST_CLIPS} clips have a prediction"
        return Part(NAME, TITLE, skipped=why, exclusions=exclusions)
    numbers = tuple(_numbers(sides, seed, resamplings, f"{evaluation.longest():g}"))
    figures = (_map(sides, seed),) if tsne else ()
    if not numbers and not figures:
        return Part(NAME, TITLE, skipped=NO_LABELS, exclusions=exclusions)
    return Part(NAME, TITLE, numbers, figures=figures, notes=NOTES, exclusions=exclusions)


def attributes(evaluation: EvaluationSet) -> dict[str, NDArray[np.str_]]:
    """What clips are coloured by, (clips,) each: gender, decade of age, group, if at least two of its labels occur."""
    known = {"gender": evaluation.gender(), "age": decades(evaluation), "group": evaluation.label("group")}
    return {name: label for name, label in known.items() if len(np.unique(label[label != ""])) > 1}


def _sides(evaluation: EvaluationSet, seed: int) -> tuple[list[_Side], tuple[Exclusion, ...]]:
    predicted = evaluation.predicted[evaluation.longest()]
    heard = np.isfinite(predicted).all(1)
    exclusions = exclude(evaluation.keys, np.flatnonzero(~heard), "no_prediction", f"{evaluation.longest():g} s")
    sides = []
    for name, values, there in (
        ("predicted from the voice", predicted, heard),
        ("of the clips' own faces", evaluation.reference, heard & evaluation.has_reference()),
    ):
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(there))[:MOST_CLIPS]
        if values is not None and len(rows) >= FEWEST_CLIPS:
            rows.sort()
            sides.append(_Side(name, evaluation.take(rows), principal_coordinates(values[rows])))
    return sides, exclusions


def _numbers(sides: list[_Side], seed: int, resamplings: int, seconds: str) -> Iterator[Number]:
    """Of the predictions; the references' numbers stand beside as the best."""
    few = sides[0].evaluation
    bootstrap = SpeakerBootstrap(few.speaker, resamplings=resamplings, seed=seed)
    for name, label in attributes(few).items():
        found = recalled(sides[0].coordinates, label, few.speaker, seed=seed)
        if not np.isfinite(found).any():
            continue
        best: list[float | None] = [None, None]
        if len(sides) > 1:
            faces = sides[1].evaluation
            of_faces = attributes(faces).get(name)
            if of_faces is not None:
                right = recalled(sides[1].coordinates, of_faces, faces.speaker, seed=seed)
                best = [_balanced(right, of_faces), _mean(silhouette(sides[1].coordinates, of_faces))]
        labels = np.unique(label[np.isfinite(found)])
        clips, conditions = int(np.isfinite(found).sum()), {"seconds": seconds, "attribute": name}
        chance = 1 / len(labels)
        yield Number(
            *(NAME, "separability", _balanced_accuracy(found, label, bootstrap), clips, conditions),
            chance=chance,
            mean_face=chance,
            best=best[0],
            gender_mean_face=1.0 if name == "gender" else None,
        )
        of_clips = silhouette(sides[0].coordinates, label)
        yield Number(
            *(NAME, "silhouette", bootstrap.mean(of_clips), int(np.isfinite(of_clips).sum()), conditions),
            chance=0.0,
            mean_face=0.0,
            best=best[1],
            gender_mean_face=1.0 if name == "gender" else None,
        )


def _mean(values: NDArray[np.float64]) -> float | None:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else None


def _balanced(found: NDArray[np.float64], label: NDArray[np.str_]) -> float | None:
    kept = np.isfinite(found)
    shares = [found[kept & (label == name)].mean() for name in np.unique(label[kept])]
    return float(np.mean(shares)) if shares else None


def _balanced_accuracy(found: NDArray[np.float64], label: NDArray[np.str_], bootstrap: SpeakerBootstrap) -> Estimate:
    """Mean of the labels' shares, with the speakers of all labels resampled together."""
    kept = np.isfinite(found)
    masks = np.stack([kept & (label == name) for name in np.unique(label[kept])]).astype(np.float64)
    right = masks * np.nan_to_num(found)

    def mean(weights: NDArray[np.float64]) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.nanmean(right @ weights / (masks @ weights)))

    return bootstrap.statistic(mean, kept)


def _map(sides: list[_Side], seed: int) -> Figure:
    from sklearn.manifold import TSNE

    places = []
    for side in sides:
        perplexity = min(PERPLEXITY, (len(side.coordinates) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
        with threadpool_limits(1):  # many threads wait for each other more than they work
            places.append(tsne.fit_transform(side.coordinates))
    names = list(attributes(sides[0].evaluation)) or [""]

    def draw(canvas: Canvas) -> None:
        grid = canvas.subplots(len(sides), len(names), squeeze=False)
        for row, (side, place) in enumerate(zip(sides, places, strict=True)):
            labels = attributes(side.evaluation)
            for column, name in enumerate(names):
                label = labels.get(name, np.full(len(place), ""))
                _scatter(grid[row, column], place, label, f"{name or 'embeddings'}, {side.name}")

    caption = (
        f"t-SNE (perplexity {PERPLEXITY:g} at most, {MOST_CLIPS} clips at most) of the embeddings, coloured by labels;"
        " grey where unknown or rare. Directions and distances on the map mean nothing."
    )
    shown = " and ".join(side.name for side in sides)
    alt = f"Scatter plots of embeddings {shown}, coloured by {', '.join(name for name in names if name) or 'nothing'}"
    return Figure("projection", caption, render(draw, (4.2 * len(names), 3.9 * len(sides))), alt)


def _scatter(axes: Axes, place: Singles, label: NDArray[np.str_], title: str) -> None:
    known, counts = np.unique(label[label != ""], return_counts=True)
    common = np.sort(known[np.argsort(-counts, kind="stable")][:MOST_COLOURS])
    rare = ~np.isin(label, common)
    axes.scatter(place[rare, 0], place[rare, 1], s=5, color=UNKNOWN_COLOUR, linewidths=0)
    for colour, name in zip(COLOURS, common, strict=False):
        points = place[label == name]
        axes.scatter(points[:, 0], points[:, 1], s=7, color=colour, label=name, linewidths=0, alpha=0.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    if len(common):
        axes.legend(fontsize=8, markerscale=2)
