"""How near the predicted face embeddings are to those of the clips' own faces (Speech2Face, section 4.3, Table 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import Embeddings, EvaluationSet, Floats
from speech2face.evaluation.intervals import Estimate, SpeakerBootstrap
from speech2face.evaluation.metrics import similarity
from speech2face.evaluation.metrics.retrieval import THREADS
from speech2face.evaluation.metrics.similarity import unit
from speech2face.evaluation.parts.part import Cell, Exclusion, Number, Part, Table, exclude

NAME, TITLE = "feature_similarity", "Feature similarity"
NO_PAIRS = "no clip has both a prediction and a face embedding"
NO_REFERENCES = "the data hold no face embeddings that the model's can be held against; give a data set that has some"

Pairwise = Callable[[Embeddings, Embeddings, Embeddings], Floats]
METRICS: dict[str, tuple[Pairwise, bool]] = {
    "angle_degrees": (lambda p, r, c: similarity.angle_degrees(p, r), False),
    "cosine": (lambda p, r, c: similarity.cosine(p, r), True),
    "centred_angle_degrees": (similarity.centred_angle_degrees, False),
    "l2_unit": (lambda p, r, c: similarity.l2(unit(p), unit(r)), False),
    "l1_unit": (lambda p, r, c: similarity.l1(unit(p), unit(r)), False),
    "l2": (lambda p, r, c: similarity.l2(p, r), False),
    "l1": (lambda p, r, c: similarity.l1(p, r), False),
}
"""Of predicted, reference and the mean of the other speakers' faces, (clips, K) each; and whether higher is better."""
PUBLISHED: dict[tuple[str, float], str] = {
    ("angle_degrees", 3): "48.43 ± 6.01 (Table 2; mean and deviation over AVSpeech clips)",
    ("angle_degrees", 6): "45.75 ± 5.09 (Table 2; mean and deviation over AVSpeech clips)",
    ("cosine", 3): ".664 (from Table 2's angle)",
    ("cosine", 6): ".698 (from Table 2's angle)",
}
NOTES = (
    "Only the angle can be held against the paper: its distances depend on a scale of the features that it does not"
    " state, and the angle itself on whether features are centred.",
    "Chance is the same prediction against faces of other speakers. The mean face leaves the clip's own speaker out;"
    " the centred angle is measured from it, which gives it no direction: it earns 90 degrees.",
)


def measure(evaluation: EvaluationSet, *, seed: int = 0) -> Part:
    """Angle, cosine, L2 and L1 on unit and raw embeddings, the angle around the mean face, and R^2."""
    if evaluation.reference is None:
        return Part(NAME, TITLE, skipped=NO_REFERENCES)
    bootstrap = SpeakerBootstrap(evaluation.speaker, seed=seed)

    def of_length(heard: float) -> list[tuple[Number, float | None]]:
        """Numbers after so many seconds, and the deviation over clips where there is one."""
        kept = evaluation.measurable(heard)
        if not kept.any():
            return []
        pairs = _Pairs(evaluation, heard, kept, seed)
        found: list[tuple[Number, float | None]] = []
        for metric, (function, higher) in METRICS.items():
            values = function(pairs.predicted, pairs.reference, pairs.centre)
            estimate, deviation = bootstrap.mean(pairs.spread(values)), float(np.std(values))
            cheats = pairs.cheats(partial(_mean_of, function))
            found.append((_number(metric, heard, estimate, kept, cheats, higher=higher), deviation))
        return [*found, (_r2_number(pairs, bootstrap, heard, kept), None)]

    with ThreadPoolExecutor(THREADS) as threads:  # numpy lets other threads run
        measured = [one for some in threads.map(of_length, sorted(evaluation.predicted)) for one in some]
    numbers = [number for number, _ in measured]
    rows = [_row(number, deviation) for number, deviation in measured]
    if not numbers:
        return Part(NAME, TITLE, skipped=NO_PAIRS, exclusions=missing_references(evaluation))
    header = (
        "seconds",
        "metric",
        "mean",
        "low_95",
        "high_95",
        "sd",
        "chance",
        "mean_face",
        "gender_mean_face",
        "paper",
    )
    table = Table("table2", "Feature similarity (Table 2)", header, tuple(rows))
    return Part(NAME, TITLE, tuple(numbers), (table,), notes=NOTES, exclusions=missing_references(evaluation))


def missing_references(evaluation: EvaluationSet) -> tuple[Exclusion, ...]:
    """Clips without a face embedding of their own."""
    return exclude(evaluation.keys, np.flatnonzero(~evaluation.has_reference()), "no_reference")


def _mean_of(function: Pairwise, predicted: Embeddings, reference: Embeddings, centre: Embeddings) -> float:
    return float(function(predicted, reference, centre).mean())


def explained(predicted: Embeddings, reference: Embeddings) -> float:
    """R^2 over all coordinates, NaN where the references do not vary."""
    errors, total = _squares(predicted, reference)
    return float(1 - errors.sum() / total.sum()) if total.sum() else float("nan")


def _squares(predicted: Embeddings, reference: Embeddings) -> tuple[Floats, Floats]:
    return similarity.squares(predicted, reference, reference.mean(0, dtype=np.float64).astype(np.float32))


class _Pairs:
    """Prediction and face of the clips that have both, and what the cheats answer."""

    def __init__(self, evaluation: EvaluationSet, heard: float, kept: NDArray[np.bool_], seed: int) -> None:
        assert evaluation.reference is not None
        self._kept = kept
        self.predicted, self.reference = evaluation.predicted[heard][kept], evaluation.reference[kept]
        self.centre = evaluation.mean_face()[kept]
        whole = self.reference.mean(0, dtype=np.float64).astype(np.float32)
        self.centre[~np.isfinite(self.centre).all(1)] = whole  # a single speaker has no others
        self._gender_means = evaluation.gender_mean_face()[kept]
        self._strangers = similarity.strangers(evaluation.speaker[kept], seed=seed)

    def spread(self, values: Floats) -> Floats:
        """Values of the kept clips among all, (clips,), NaN elsewhere."""
        whole = np.full(len(self._kept), np.nan)
        whole[self._kept] = values
        return whole

    def cheats(self, value: Callable[[Embeddings, Embeddings, Embeddings], float]) -> dict[str, float | None]:
        """What chance, the mean face and the gender's mean face earn."""
        known = np.isfinite(self._gender_means).all(1)
        alone = bool((self._strangers < 0).any())
        chances = [] if alone else [value(self.predicted, self.reference[row], self.centre) for row in self._strangers]
        of_gender = (self._gender_means[known], self.reference[known], self.centre[known])
        return {
            "chance": float(np.mean(chances)) if chances else None,
            "mean_face": value(self.centre, self.reference, self.centre),
            "gender_mean_face": value(*of_gender) if known.any() else None,
        }


def _r2_number(pairs: _Pairs, bootstrap: SpeakerBootstrap, heard: float, kept: NDArray[np.bool_]) -> Number:
    errors, total = (pairs.spread(values) for values in _squares(pairs.predicted, pairs.reference))
    missed = bootstrap.ratio(errors, total)
    estimate = Estimate(1 - missed.value, 1 - missed.high, 1 - missed.low, missed.n)
    cheats = pairs.cheats(lambda predicted, reference, centre: explained(predicted, reference))
    return _number("r2", heard, estimate, kept, cheats, higher=True)


def _number(
    metric: str,
    heard: float,
    estimate: Estimate,
    kept: NDArray[np.bool_],
    cheats: Mapping[str, float | None],
    *,
    higher: bool,
) -> Number:
    published = PUBLISHED.get((metric, heard), "")
    conditions = {"seconds": f"{heard:g}"}
    clips = int(kept.sum())
    return Number(NAME, metric, estimate, clips, conditions, **cheats, published=published, higher_is_better=higher)


def _row(number: Number, deviation: float | None) -> tuple[Cell, ...]:
    found = number.estimate
    cheats = (number.chance, number.mean_face, number.gender_mean_face)
    values = (found.value, found.low, found.high, deviation)
    return number.conditions["seconds"], number.metric, *values, *cheats, number.published
