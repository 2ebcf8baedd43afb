"""Whose face is nearest to the predicted one: ranks in a gallery of all clips (Speech2Face, section 4.4, Table 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet, Floats
from speech2face.evaluation.intervals import SpeakerBootstrap
from speech2face.evaluation.metrics.retrieval import (
    DISTANCES,
    Distance,
    Ranking,
    average_precision_chance,
    percent_places,
    rank_answers,
    rank_gallery,
    recall,
    speaker_recall_chance,
)
from speech2face.evaluation.parts.feature_similarity import NO_PAIRS, NO_REFERENCES, missing_references
from speech2face.evaluation.parts.part import Cell, Figure, Number, Part, Table
from speech2face.evaluation.reporting.figures import CHANCE_COLOUR, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME, TITLE = "retrieval", "Face retrieval"
RECALL_AT = (1, 2, 5, 10, 50, 100)
RECALL_PERCENT = (1, 2, 5, 10)
HISTOGRAM_BINS = 20
PAPER_READING = "Table 3, its K read as percent of the gallery; AVSpeech, 5,000 faces"
TABLE_3: dict[tuple[float, Distance], tuple[float, ...]] = {
    (3, "l2"): (5.86, 10.02, 18.98, 28.92),
    (3, "l1"): (6.22, 9.92, 18.94, 28.70),
    (3, "cosine"): (8.54, 13.64, 24.80, 38.54),
    (6, "l2"): (8.28, 13.66, 24.66, 35.84),
    (6, "l1"): (8.34, 13.70, 24.66, 36.22),
    (6, "cosine"): (10.92, 17.00, 30.60, 45.82),
}
"""Percent of queries, by seconds heard and distance; columns are RECALL_PERCENT."""
PAPER_RANKS = "{} of 5,000 ({} %), from the 100 ranks that the paper's supplement prints"
NOTES = (
    "The paper's Table 3 prints chance levels of 1, 2, 5 and 10 % beside a gallery of 5,000 faces: its K counts percent"
    " of the gallery, not faces. The ranks of 100 queries in its supplement say the same: 31 % are within the first 5 %"
    " of the gallery (the table says 30.60), 2 % among the first five faces. Recall at so many faces must not be held"
    " against it.",
    "Right is the clip's own face (reading: clip), though the gallery may hold other clips of the speaker. Where any"
    " face of the speaker is right (reading: speaker), the rank is that of the first such face among those of others.",
    "Ties count against us. The mean face gives everybody the same order of the gallery and so earns chance exactly.",
)


@dataclass(frozen=True)
class _Ranked:
    """Rankings of the same gallery by the model and the cheats, and which clips were ranked."""

    model: Ranking
    mean: Ranking
    gender: Ranking | None
    kept: NDArray[np.bool_]
    """(clips,) that have a prediction and a face."""


def measure(evaluation: EvaluationSet, *, seed: int = 0) -> Part:
    """Recall, ranks and average precision by L2, L1 and cosine, for each of the seconds heard."""
    if evaluation.reference is None:
        return Part(NAME, TITLE, skipped=NO_REFERENCES)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)
    numbers: list[Number] = []
    histograms: dict[str, NDArray[np.float64]] = {}
    for heard in sorted(evaluation.predicted):
        if not evaluation.measurable(heard).any():
            continue
        for distance in DISTANCES:
            ranked = _rank(evaluation, heard, distance)
            numbers += _numbers(ranked, bootstrap, heard, distance)
            if distance == "cosine":
                histograms[f"{heard:g} s"] = ranked.model.rank / ranked.model.gallery
    if not numbers:
        return Part(NAME, TITLE, skipped=NO_PAIRS, exclusions=missing_references(evaluation))
    tables = (_paper_table(numbers), _whole_table(numbers))
    figures = (_histogram(histograms),) if histograms else ()
    return Part(NAME, TITLE, tuple(numbers), tables, figures, NOTES, missing_references(evaluation))


def _rank(evaluation: EvaluationSet, heard: float, distance: Distance) -> _Ranked:
    assert evaluation.reference is not None
    there, kept = evaluation.has_reference(), evaluation.measurable(heard)
    gallery, speaker = evaluation.reference[there], evaluation.speaker[there]
    place = np.cumsum(there) - 1
    own = place[kept]
    model = rank_gallery(evaluation.predicted[heard][kept], gallery, own, speaker, distance)
    mean = gallery.mean(0, dtype=np.float64, keepdims=True).astype(np.float32)
    constant = rank_answers(mean, np.zeros(len(own), np.int64), gallery, own, speaker, distance)
    gender = evaluation.gender()
    known = [value for value in ("female", "male") if (gender[there] == value).any()]
    told = gender[kept] != ""
    of_gender = None
    if known and told.any():
        means = np.stack([gallery[gender[there] == value].mean(0, dtype=np.float64) for value in known])
        which = np.array([known.index(value) for value in gender[kept][told]], np.int64)
        of_gender = rank_answers(means.astype(np.float32), which, gallery, own[told], speaker, distance)
    return _Ranked(model, constant, of_gender, kept)


class _Numbers:
    """Numbers of one length heard and one distance, each with its chance level and what the cheats earn."""

    def __init__(self, ranked: _Ranked, bootstrap: SpeakerBootstrap, heard: float, distance: Distance) -> None:
        self._ranked, self._bootstrap = ranked, bootstrap
        self._conditions = {"seconds": f"{heard:g}", "distance": distance}
        self.found: list[Number] = []

    def add(
        self,
        metric: str,
        value: Callable[[Ranking], Floats],
        chance: float,
        *,
        reading: str = "clip",
        published: str = "",
        higher: bool = True,
        median: bool = False,
    ) -> None:
        """One number: the mean (or median) over clips of what is read from a ranking."""
        ranked = self._ranked
        values = np.full(len(ranked.kept), np.nan)
        values[ranked.kept] = value(ranked.model)
        estimate = self._bootstrap.quantile(values) if median else self._bootstrap.mean(values)
        of_all = np.median if median else np.mean
        self.found.append(
            Number(
                NAME,
                metric,
                estimate,
                int(ranked.kept.sum()),
                self._conditions | {"reading": reading},
                chance=chance,
                mean_face=float(of_all(value(ranked.mean))),
                gender_mean_face=None if ranked.gender is None else float(of_all(value(ranked.gender))),
                published=published,
                higher_is_better=higher,
            )
        )


def _numbers(ranked: _Ranked, bootstrap: SpeakerBootstrap, heard: float, distance: Distance) -> list[Number]:
    count, faces = ranked.model.gallery, ranked.model.own_faces
    numbers = _Numbers(ranked, bootstrap, heard, distance)
    for column, percent in enumerate(RECALL_PERCENT):
        if at := percent_places(percent, count):
            printed = TABLE_3.get((heard, distance))
            said = "" if printed is None else f"{printed[column] / 100:.4f} ({PAPER_READING})"
            numbers.add(f"recall_at_{percent}_percent", partial(_recall, at), at / count, published=said)
    for at in (at for at in RECALL_AT if at <= count):
        numbers.add(f"recall_at_{at}", partial(_recall, at), at / count)
    for name, median, paper in (("median", True, (550, 11.0)), ("mean", False, (918.7, 18.4))):
        said = PAPER_RANKS.format(*paper) if (heard, distance) == (6, "cosine") else ""
        numbers.add(f"{name}_rank", _rank_of, (count + 1) / 2, higher=False, median=median)
        percent_chance = 50 * (count + 1) / count
        name = f"{name}_rank_percent"
        numbers.add(name, _rank_percent, percent_chance, published=said, higher=False, median=median)
    for at in (at for at in RECALL_AT if at <= count):
        chance = float(speaker_recall_chance(faces, count, at).mean())
        numbers.add(f"recall_at_{at}", partial(_speaker_recall, at), chance, reading="speaker")
    chance = float(average_precision_chance(faces, count).mean())
    numbers.add("map", lambda ranking: ranking.average_precision, chance, reading="speaker")
    return numbers.found


def _recall(at: int, ranking: Ranking) -> Floats:
    return recall(ranking.rank, at)


def _speaker_recall(at: int, ranking: Ranking) -> Floats:
    return recall(ranking.speaker_rank, at)


def _rank_of(ranking: Ranking) -> Floats:
    return ranking.rank.astype(np.float64)


def _rank_percent(ranking: Ranking) -> Floats:
    return np.asarray(100 * ranking.rank / ranking.gallery)


def _paper_table(numbers: list[Number]) -> Table:
    """In the shape of Table 3, measured and printed values under each other."""
    rows: list[tuple[Cell, ...]] = []
    found = {(n.conditions["seconds"], n.conditions["distance"], n.metric): n.estimate.value for n in numbers}
    for seconds, distance in dict.fromkeys((n.conditions["seconds"], n.conditions["distance"]) for n in numbers):
        values = [found.get((seconds, distance, f"recall_at_{percent}_percent")) for percent in RECALL_PERCENT]
        rows.append((seconds, distance, "measured", *(None if v is None else 100 * v for v in values)))
        if printed := TABLE_3.get((float(seconds), _distance(distance))):
            rows.append((seconds, distance, "paper (AVSpeech)", *printed))
    rows.append(("", "", "chance", *(float(percent) for percent in RECALL_PERCENT)))
    header = ("seconds", "distance", "whose", *(f"first {percent} % of the gallery" for percent in RECALL_PERCENT))
    title = "Own face among the first K % of the gallery, in % (Table 3)"
    return Table("table3", title, header, tuple(rows))


def _distance(name: str) -> Distance:
    (found,) = (distance for distance in DISTANCES if distance == name)
    return found


def _whole_table(numbers: list[Number]) -> Table:
    """One row a metric and reading, one column the seconds and distance."""
    columns = list(dict.fromkeys((n.conditions["seconds"], n.conditions["distance"]) for n in numbers))
    metrics = list(dict.fromkeys((n.conditions["reading"], n.metric) for n in numbers))
    found = {(n.conditions["seconds"], n.conditions["distance"], n.conditions["reading"], n.metric): n for n in numbers}
    rows = []
    for reading, metric in metrics:
        cells = [found[(*column, reading, metric)] for column in columns]
        rows.append((reading, metric, cells[0].chance, *(cell.estimate.value for cell in cells)))
    header = ("reading", "metric", "chance", *(f"{seconds} s {distance}" for seconds, distance in columns))
    note = "Recall at k counts faces here, not percent. Intervals and cheats are with the numbers."
    return Table("ranks", "Ranks, recall at k faces and average precision", header, tuple(rows), note)


def _histogram(shares: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Where the own face stands in the gallery, as shares of it."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for name, values in shares.items():
            counts = np.histogram(values, edges)[0] / max(len(values), 1)
            axes.stairs(100 * counts, 100 * edges, label=f"{name} heard", fill=False, linewidth=2)
        axes.axhline(100 / HISTOGRAM_BINS, color=CHANCE_COLOUR, linestyle="--", label="chance")
        axes.set(xlim=(0, 100), ylim=(0, None), xlabel="rank of the own face, % of the gallery", ylabel="% of clips")
        axes.legend()

    said = "; ".join(f"{name} heard: median {100 * np.median(values):.1f} %" for name, values in shares.items())
    return Figure(
        "ranks",
        "Rank of the clip's own face by cosine, as a share of the gallery. Chance is flat.",
        render(draw),
        f"Histogram of ranks in {HISTOGRAM_BINS} steps of the gallery. {said}; chance: 50 %.",
    )
