"""Whose face is nearest to the predicted one: ranks in a gallery of all clips (Speech2Face, section 4.4, Table 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation import report
from speech2face.evaluation.parts.similarity import (
    ANYONE,
    NO_PAIRS,
    NO_REFERENCES,
    Stratum,
    missing_references,
    strata_of,
)
from speech2face.evaluation.pictures import PictureSet
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import CHANCE_COLOUR, COLOURS, render
from speech2face.metrics import matching
from speech2face.metrics.intervals import RESAMPLINGS, SpeakerBootstrap
from speech2face.metrics.measures import average

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

RECALL_AT = (1, 2, 5, 10, 50, 100)
RECALL_PERCENT = (1, 2, 5, 10)
HISTOGRAM_BINS = 20
PAPER_READING = "Table 3, its K read as percent of the gallery; AVSpeech, 5,000 faces"
TABLE_3: dict[tuple[float, matching.Distance], tuple[float, ...]] = {
    (3, "l2"): (5.86, 10.02, 18.98, 28.92),
    (3, "l1"): (6.22, 9.92, 18.94, 28.70),
    (3, "cosine"): (8.54, 13.64, 24.80, 38.54),
    (6, "l2"): (8.28, 13.66, 24.66, 35.84),
    (6, "l1"): (8.34, 13.70, 24.66, 36.22),
    (6, "cosine"): (10.92, 17.00, 30.60, 45.82),
}
"""Percent of queries, by seconds heard and distance; columns are RECALL_PERCENT."""
PAPER_RANKS = "{} of 5,000 ({} %), from the 100 ranks that the paper's supplement prints"
RETRIEVAL_NOTES = (
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
    """Rankings of the same gallery by the model and the trivial baselines, and which clips were ranked."""

    model: matching.GalleryRanks
    mean: matching.GalleryRanks
    gender: matching.GalleryRanks | None
    kept: NDArray[np.bool_]
    """(clips,) that have a prediction and a face."""


@report.chapter("retrieval", "Face retrieval")
def measure_retrieval(evaluation: EvaluationSet, *, seed: int = 0) -> report.Part:
    """Recall, ranks and average precision by L2, L1 and cosine, for each of the seconds heard."""
    if evaluation.reference is None:
        raise report.NotMeasured(NO_REFERENCES)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)
    numbers: list[report.Number] = []
    histograms: dict[str, NDArray[np.float64]] = {}
    for heard in sorted(evaluation.predicted):
        if not evaluation.measurable(heard).any():
            continue
        for distance in matching.DISTANCES:
            ranked = _rank(evaluation, heard, distance)
            numbers += _numbers(ranked, bootstrap, heard, distance)
            if distance == "cosine":
                histograms[f"{heard:g} s"] = ranked.model.rank / ranked.model.gallery
    if not numbers:
        raise report.NotMeasured(NO_PAIRS, missing_references(evaluation))
    return report.Part(
        numbers=numbers,
        tables=[_paper_table(numbers), _whole_table(numbers)],
        figures=[_histogram(histograms)] if histograms else [],
        notes=RETRIEVAL_NOTES,
        exclusions=missing_references(evaluation),
    )


def _rank(evaluation: EvaluationSet, heard: float, distance: matching.Distance) -> _Ranked:
    assert evaluation.reference is not None
    there, kept = evaluation.has_reference(), evaluation.measurable(heard)
    gallery, speaker = evaluation.reference[there], evaluation.speaker[there]
    place = np.cumsum(there) - 1
    own = place[kept]
    if distance == "cosine":
        model = evaluation.answers(heard).ranking
    else:
        model = matching.rank_gallery(evaluation.predicted[heard][kept], gallery, own, speaker, distance)
    mean = gallery.mean(0, dtype=np.float64, keepdims=True).astype(np.float32)
    constant = matching.rank_answers(mean, np.zeros(len(own), np.int64), gallery, own, speaker, distance)
    gender = evaluation.gender()
    known = [value for value in ("female", "male") if (gender[there] == value).any()]
    told = gender[kept] != ""
    of_gender = None
    if known and told.any():
        means = np.stack([gallery[gender[there] == value].mean(0, dtype=np.float64) for value in known])
        which = np.array([known.index(value) for value in gender[kept][told]], np.int64)
        of_gender = matching.rank_answers(means.astype(np.float32), which, gallery, own[told], speaker, distance)
    return _Ranked(model, constant, of_gender, kept)


def _numbers(
    ranked: _Ranked, bootstrap: SpeakerBootstrap, heard: float, distance: matching.Distance
) -> list[report.Number]:
    """Numbers of one length heard and one distance, each with its chance level and what trivial baselines earn."""
    count, faces = ranked.model.gallery, ranked.model.own_faces
    found: list[report.Number] = []

    def add(
        metric: str,
        value: Callable[[matching.GalleryRanks], report.Floats],
        chance: float,
        *,
        reading: str = "clip",
        published: str = "",
        higher: bool = True,
        median: bool = False,
    ) -> None:
        """One number: the mean (or median) over clips of what is read from a ranking."""
        values = np.full(len(ranked.kept), np.nan)
        values[ranked.kept] = value(ranked.model)
        of_all = np.median if median else np.mean
        number = report.Number(
            metric,
            bootstrap.quantile(values) if median else bootstrap.mean(values),
            int(ranked.kept.sum()),
            {"seconds": f"{heard:g}", "distance": distance, "reading": reading},
            chance=chance,
            mean_face=float(of_all(value(ranked.mean))),
            gender_mean_face=None if ranked.gender is None else float(of_all(value(ranked.gender))),
            published=published,
            higher_is_better=higher,
        )
        found.append(number)

    for column, percent in enumerate(RECALL_PERCENT):
        if at := matching.percent_places(percent, count):
            printed = TABLE_3.get((heard, distance))
            said = "" if printed is None else f"{printed[column] / 100:.4f} ({PAPER_READING})"
            add(f"recall_at_{percent}_percent", partial(_recall, at), at / count, published=said)
    recalled_at = [at for at in RECALL_AT if at <= count]
    for at in recalled_at:
        add(f"recall_at_{at}", partial(_recall, at), at / count)
    for name, median, paper in (("median", True, (550, 11.0)), ("mean", False, (918.7, 18.4))):
        said = PAPER_RANKS.format(*paper) if (heard, distance) == (6, "cosine") else ""
        add(f"{name}_rank", lambda r: r.rank.astype(np.float64), (count + 1) / 2, higher=False, median=median)
        chance = 50 * (count + 1) / count
        add(
            f"{name}_rank_percent", lambda r: 100 * r.rank / r.gallery, chance, published=said, higher=False,
            median=median,
        )  # fmt: skip
    for at in recalled_at:
        chance = float(matching.speaker_recall_chance(faces, count, at).mean())
        add(f"recall_at_{at}", partial(_speaker_recall, at), chance, reading="speaker")
    chance = float(matching.average_precision_chance(faces, count).mean())
    add("map", lambda ranking: ranking.average_precision, chance, reading="speaker")
    return found


def _recall(at: int, ranking: matching.GalleryRanks) -> report.Floats:
    return matching.recall(ranking.rank, at)


def _speaker_recall(at: int, ranking: matching.GalleryRanks) -> report.Floats:
    return matching.recall(ranking.speaker_rank, at)


def _paper_table(numbers: list[report.Number]) -> report.Table:
    """In the shape of Table 3, measured and printed values under each other."""
    printed_for = {(f"{seconds:g}", str(distance)): values for (seconds, distance), values in TABLE_3.items()}
    rows: list[tuple[report.Cell, ...]] = []
    found = {(n.conditions["seconds"], n.conditions["distance"], n.metric): n.estimate.value for n in numbers}
    for seconds, distance in dict.fromkeys((n.conditions["seconds"], n.conditions["distance"]) for n in numbers):
        values = [found.get((seconds, distance, f"recall_at_{percent}_percent")) for percent in RECALL_PERCENT]
        rows.append((seconds, distance, "measured", *(None if v is None else 100 * v for v in values)))
        if printed := printed_for.get((seconds, distance)):
            rows.append((seconds, distance, "paper (AVSpeech)", *printed))
    chances = {n.metric: n.chance for n in numbers}  # of whole places: 1 % of 150 faces is one face, or 0.67 %
    of_percent = [chances.get(f"recall_at_{percent}_percent") for percent in RECALL_PERCENT]
    rows.append(("", "", "chance", *(None if chance is None else 100 * chance for chance in of_percent)))
    header = ("seconds", "distance", "whose", *(f"first {percent} % of the gallery" for percent in RECALL_PERCENT))
    title = "Own face among the first K % of the gallery, in % (Table 3)"
    return report.Table("table3", title, header, tuple(rows))


def _whole_table(numbers: list[report.Number]) -> report.Table:
    """One row a metric and reading, one column the seconds and distance."""
    columns = list(dict.fromkeys((n.conditions["seconds"], n.conditions["distance"]) for n in numbers))
    metrics = list(dict.fromkeys((n.conditions["reading"], n.metric) for n in numbers))
    found = {(n.conditions["seconds"], n.conditions["distance"], n.conditions["reading"], n.metric): n for n in numbers}
    rows = []
    for reading, metric in metrics:
        cells = [found[(*column, reading, metric)] for column in columns]
        rows.append((reading, metric, cells[0].chance, *(cell.estimate.value for cell in cells)))
    header = ("reading", "metric", "chance", *(f"{seconds} s {distance}" for seconds, distance in columns))
    note = "Recall at k counts faces here, not percent. Intervals and trivial baselines are with the numbers."
    return report.Table("ranks", "Ranks, recall at k faces and average precision", header, tuple(rows), note)


def _histogram(shares: Mapping[str, NDArray[np.float64]]) -> report.Figure:
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
    return report.Figure(
        "ranks",
        "Rank of the clip's own face by cosine, as a share of the gallery. Chance is flat.",
        render(draw),
        f"Histogram of ranks in {HISTOGRAM_BINS} steps of the gallery. {said}; chance: 50 %.",
    )


# --- Matching a voice with a face: forced choice among N, both directions, and verification of pairs.

WAYS = (2, 5, 10)
MOST_CLIPS = 6_000
"""Beyond, speakers are drawn: similarities of all pairs are held in memory."""
BASELINE_CLIPS = 1_500
"""What the trivial baselines earn is measured on no more clips, of drawn speakers."""
VOICE_TO_FACE, FACE_TO_VOICE = "voice to face", "face to voice"
DIRECTIONS = (VOICE_TO_FACE, FACE_TO_VOICE)
PUBLISHED = "0.816, implied by the ranks of 100 clips among 5,000 (AVSpeech, project page)"
PUBLISHED_FOR = ("6", "embedding", VOICE_TO_FACE, ANYONE, "2")
MATCHING_NOTES = (
    "A choice is won if the own face (or voice) is nearer by cosine than every foil; ties are lost. The numbers are"
    " expectations over all foils of other speakers, not a draw of trials.",
    "Who hears only the speaker's gender wins three of four choices between two people of a balanced set; candidates of"
    " the same gender show what is heard beyond it.",
    "The mean face for everybody is the same answer to every voice: of two faces it takes the own one half of the time;"
    " asked for the voice of a face it finds all voices alike, and loses.",
    "Genuine pairs of the verification are all pairs of one speaker's voices and faces, also of different clips.",
)


@dataclass(frozen=True, eq=False)
class _Voices:
    """What is said of the faces of some clips, and the two trivial baselines over the same clips."""

    evaluation: EvaluationSet
    """Of these clips alone; all have a reference."""
    said: report.Embeddings
    """(clips, K)"""
    conditions: Mapping[str, str]

    @cached_property
    def similarity(self) -> matching.Singles:
        """Of every voice (row) with every face."""
        return matching.cosine_similarity(self.said, self._faces)

    @property
    def _faces(self) -> report.Embeddings:
        assert self.evaluation.reference is not None
        return self.evaluation.reference

    @cached_property
    def mean_face(self) -> matching.Singles:
        """The same for the mean face for everybody: the same row for every voice."""
        mean = self.evaluation.mean_face(leave_speaker_out=False)[:1]
        return np.repeat(matching.cosine_similarity(mean, self._faces), len(self._faces), axis=0)

    @cached_property
    def gender_mean_face(self) -> matching.Singles:
        """The same for the mean face of the gender; NaN for voices whose gender is unknown."""
        means = self.evaluation.gender_mean_face(leave_speaker_out=False)
        _, first, which = np.unique(self.evaluation.gender(), return_index=True, return_inverse=True)
        return matching.cosine_similarity(means[first], self._faces)[which]

    def compared(self, rows: NDArray[np.int64]) -> tuple[tuple[matching.Singles, NDArray[np.int64]], ...]:
        """Similarities and the rows that count, of the model and of both baselines: those for fewer speakers' clips."""
        few = rows[_drawn(self.evaluation.speaker[rows], BASELINE_CLIPS, 0)]
        of_gender = few[self.evaluation.gender()[few] != ""]
        return (self.similarity, rows), (self.mean_face, few), (self.gender_mean_face, of_gender)


@report.chapter("matching", "Matching and verification")
def measure_matching(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, resamplings: int = RESAMPLINGS
) -> report.Part:
    """All numbers of matching; with pictures whose faces can be embedded, also by way of the picture."""
    if evaluation.reference is None:
        raise report.NotMeasured(NO_REFERENCES)
    exclusions = list(missing_references(evaluation))
    numbers: list[report.Number] = []
    figures: list[report.Figure] = []
    for voices, left_out in _all_voices(evaluation, pictures, seed):
        exclusions += left_out
        longest = voices.conditions["seconds"] == f"{evaluation.longest():g}"
        few = voices.evaluation
        if len(np.unique(few.speaker)) < 2:
            continue
        for stratum in strata_of(few):
            exclusions += report.exclude(few.keys, ~stratum.known, stratum.unknown) if longest else ()
            rows = np.flatnonzero(stratum.known)
            if len(np.unique(few.speaker[rows])) > 1:
                bootstrap = SpeakerBootstrap(few.speaker[rows], resamplings=resamplings, seed=seed)
                numbers += _choices(voices, stratum, rows, WAYS if longest else WAYS[:1], bootstrap)
                numbers += _verification(voices, stratum, rows, bootstrap)
        if longest and not figures:
            figures.append(matching_figure(voices.similarity, few.speaker, few.gender()))
    kept = tuple(dict.fromkeys(exclusions))
    if not numbers:
        raise report.NotMeasured("fewer than two speakers have both a prediction and a face", kept)
    return report.Part(numbers=numbers, figures=figures, notes=MATCHING_NOTES, exclusions=kept)


def _all_voices(
    evaluation: EvaluationSet, pictures: PictureSet | None, seed: int
) -> Iterator[tuple[_Voices, tuple[report.Exclusion, ...]]]:
    """Predictions from each of the seconds heard, the longest last, and what the pictures show."""
    drawn = _drawn(evaluation.speaker, MOST_CLIPS, seed)
    not_drawn = report.exclude(evaluation.keys, ~drawn, "not_drawn", f"{MOST_CLIPS} clips at most")
    for seconds in sorted(evaluation.predicted):
        there = evaluation.measurable(seconds)
        silent = evaluation.has_reference() & ~there
        left_out = report.exclude(evaluation.keys, silent, "no_prediction", f"{seconds:g} s")
        few = evaluation.take(there & drawn)
        conditions = {"seconds": f"{seconds:g}", "by": "embedding"}
        yield _Voices(few, few.predicted[seconds], conditions), (*not_drawn, *left_out)
    if pictures is None or not pictures.can_embed:
        return
    seen = {row: pictures.embedding("voice", row) for row in pictures.rows if evaluation.has_reference()[row]}
    rows = np.array([row for row, found in seen.items() if found is not None], np.int64)
    if len(rows):
        said = np.stack([found for found in seen.values() if found is not None])
        conditions = {"seconds": f"{pictures.seconds:g}", "by": "picture"}
        yield _Voices(evaluation.take(rows), said.astype(np.float32), conditions), pictures.exclusions


def _drawn(speaker: NDArray[np.int64], most: int, seed: int) -> NDArray[np.bool_]:
    """The clips of as many speakers, drawn by the seed, as have `most` together, (clips,).

    Of a speaker no more than half of them are taken: there are always two to be told apart.
    """
    clips, rng = np.bincount(speaker), np.random.default_rng(seed)
    each = np.minimum(clips, most // 2)
    order = rng.permutation(len(clips))
    taken = np.zeros(len(clips), bool)
    taken[order[np.cumsum(each[order]) <= most]] = True
    kept = taken[speaker]
    for person in np.flatnonzero(taken & (clips > each)):
        kept[rng.permutation(np.flatnonzero(speaker == person))[each[person] :]] = False
    return np.asarray(kept)


def _choices(
    voices: _Voices, stratum: Stratum, rows: NDArray[np.int64], ways: tuple[int, ...], bootstrap: SpeakerBootstrap
) -> Iterator[report.Number]:
    speaker = voices.evaluation.speaker
    for direction in DIRECTIONS:
        own, mean, gender = (
            matching.Choices.of(
                matching.square(similarity, some)
                if direction == VOICE_TO_FACE
                else matching.square(similarity, some).T,  # probes in rows
                *(speaker[some], stratum.labels[some]),
            )
            for similarity, some in voices.compared(rows)
        )
        for number in ways:
            conditions = {**voices.conditions, "direction": direction, "foils": stratum.name, "choices": str(number)}
            yield report.Number(
                "choice_accuracy",
                own.estimate(number, bootstrap),
                int(np.isfinite(own.won(number)).sum()),
                conditions,
                chance=1 / number,
                mean_face=average(mean.won(number)),
                gender_mean_face=average(gender.won(number)),
                published=PUBLISHED if tuple(conditions.values()) == PUBLISHED_FOR else "",
            )


def _verification(
    voices: _Voices, stratum: Stratum, rows: NDArray[np.int64], bootstrap: SpeakerBootstrap
) -> Iterator[report.Number]:
    speaker = voices.evaluation.speaker
    (similarity, _), *baselines = voices.compared(rows)
    found = matching.verify(matching.square(similarity, rows), bootstrap, stratum.labels[rows])
    mean, gender = (
        matching.roc(matching.square(table, some), speaker[some], stratum.labels[some]) for table, some in baselines
    )
    conditions = {**voices.conditions, "foils": stratum.name}
    for metric, estimate, of, better in (
        ("verification_auc", found.area, matching.Roc.area, True),
        ("verification_eer", found.equal_error_rate, matching.Roc.equal_error_rate, False),
    ):
        beside: report.Beside = {"chance": 0.5, "mean_face": of(mean), "gender_mean_face": of(gender)}
        yield report.Number(metric, estimate, len(rows), conditions, **beside, higher_is_better=better)


# --- The figure of matching: forced choice against the number of candidates, and the ROC of verification.

MOST_WAYS = 20
TICKS = (2, 5, 10, 15, 20)
INCHES = (8.6, 3.8)


def matching_figure(
    similarity: matching.Singles, speaker: NDArray[np.int64], gender: NDArray[np.str_]
) -> report.Figure:
    """From similarities of every voice (row) with every face, among anyone and within a gender."""
    known = np.flatnonzero(gender != "")
    everybody = np.full(len(speaker), "all")
    curves = [("anyone", similarity, speaker, everybody)]
    if len(np.unique(speaker[known])) > 1:
        curves.append(("same gender", matching.square(similarity, known), speaker[known], gender[known]))

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        ways = np.arange(2, MOST_WAYS + 1)
        for colour, (name, pairs, people, stratum) in zip(COLOURS, curves, strict=False):
            for line, turned in (("-", pairs), (":", pairs.T)):
                choices = matching.Choices.of(turned, people, stratum)
                won = np.array([average(choices.won(number)) for number in ways.tolist()], np.float64)
                arrow = "voice to face" if line == "-" else "face to voice"
                left.plot(ways, won, line, color=colour, label=f"{arrow}, {name}")
            curve = matching.roc(pairs, people, stratum)
            found = 1 - np.concatenate([[0, 0], np.cumsum(curve.genuine)]) / curve.genuine.sum()
            taken = 1 - np.concatenate([[0], curve.below, [curve.impostors]]) / curve.impostors
            right.plot(taken, found, color=colour, label=f"{name}: AUC {curve.area():.3f}")
        left.plot(ways, 1 / ways, "--", color=CHANCE_COLOUR, label="chance")
        left.set(xlabel="candidates", ylabel="choices won", ylim=(0, 1), title="Forced choice", xticks=TICKS)
        right.plot([0, 1], [0, 1], "--", color=CHANCE_COLOUR, label="chance")
        right.set(xlabel="impostors accepted", ylabel="genuine pairs accepted", title="Verification", aspect="equal")
        for axes in (left, right):
            axes.legend(fontsize=8)

    caption = (
        "Left: how often the own one of N candidates is chosen, as expected over all foils; right: ROC over all pairs"
        " of a voice and a face. From the embedding, at the longest seconds heard."
    )
    alt = "Two line charts: choices won against the number of candidates, and the ROC curve of verification"
    return report.Figure("matching", caption, render(draw, INCHES), alt)
