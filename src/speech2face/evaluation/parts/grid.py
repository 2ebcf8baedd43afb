"""Pictures of some clips by a stated rule, failures included: the original, from its embedding, from the voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.metrics.retrieval import rank_gallery
from speech2face.evaluation.parts.grid_drawing import NOTICE, Column, draw_grid
from speech2face.evaluation.parts.part import Exclusion, Figure, Part, Table
from speech2face.evaluation.pictures import FACE_REASONS, PictureSet

Floats = NDArray[np.float64]

NAME, TITLE = "grid", "Pictures by a stated rule"
EACH = 4
SKIPPED = "there is nothing that draws pictures; give a model that does (--model) or a folder of pictures (--pictures)"
NO_CONSENT = "original_not_shown"
RULES = {
    "rank": "by the rank of the clip's own face among all faces of the set, cosine",
    "error": "by how far what the model states is from the labels: years of age, and 50 more for the other gender",
}
OTHER_GENDER_YEARS = 50.0  # worse than any likely error of age
HIDDEN = "{} original faces are not shown: the data do not name both the licence and the consent that they rest on."
SHOWN_AS = {"best": "Best", "median": "Around the median", "worst": "Worst"}


@dataclass(frozen=True)
class Order:
    """How good each row's prediction is held to be, by which rule; lower is better."""

    rule: str
    badness: Floats
    """(clips,); NaN where it cannot be said."""
    said: tuple[str, ...]
    """In words, for the caption of each clip."""


def measure(evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, each: int = EACH) -> Part:
    """Best, median, worst and random clips; a clip is in one of the first three at most."""
    if pictures is None or not len(pictures):
        return Part(NAME, TITLE, skipped=SKIPPED)
    order = order_of(evaluation, pictures.seconds)
    chosen = choose(pictures.rows, order, each=each, seed=seed)
    figures, rows = [], []
    hidden: list[Exclusion] = []
    mean, heard = pictures.mean_face(), "Voice" if pictures.given else f"{pictures.heard} s of voice"
    for name, members in chosen.items():
        columns = [_column(evaluation, pictures, row, order, hidden) for row in members]
        png = draw_grid(columns, mean, heard=heard, model=(evaluation.model.name, evaluation.model.version))
        figures.append(Figure(name, _caption(name, order, len(pictures)), png, _alt(name, columns)))
        rows += [(name, evaluation.keys[row], order.said[row] if order else "") for row in members]
    table = Table("chosen", "Clips shown", ("rule", "clip", "how good"), tuple(rows))
    notes = [NOTICE, _rule(order, pictures, each, seed)] + [HIDDEN.format(len(hidden))] * bool(hidden)
    shown = {evaluation.keys[row] for members in chosen.values() for row in members}
    lost = [
        e for e in pictures.exclusions if e.clip in shown and e.reason not in FACE_REASONS
    ]  # a face is not looked for here
    return Part(NAME, TITLE, (), (table,), tuple(figures), tuple(notes), tuple(dict.fromkeys((*lost, *hidden))))


def order_of(evaluation: EvaluationSet, seconds: float) -> Order | None:
    """By rank where there are references, else by what the model states against the labels; None without either."""
    if evaluation.reference is not None and evaluation.measurable(seconds).any():
        return _by_rank(evaluation, seconds)
    return _by_error(evaluation, seconds) if seconds in evaluation.stated else None


def _by_rank(evaluation: EvaluationSet, seconds: float) -> Order:
    assert evaluation.reference is not None
    probes, gallery = np.flatnonzero(evaluation.measurable(seconds)), np.flatnonzero(evaluation.has_reference())
    found = rank_gallery(
        evaluation.predicted[seconds][probes],
        evaluation.reference[gallery],
        np.searchsorted(gallery, probes),
        evaluation.speaker[gallery],
    )
    badness = np.full(len(evaluation), np.nan)
    badness[probes] = found.rank
    said = tuple("" if np.isnan(rank) else f"rank {rank:.0f} of {found.gallery}" for rank in badness)
    return Order("rank", badness, said)


def _by_error(evaluation: EvaluationSet, seconds: float) -> Order | None:
    """Years off, of an age label's middle; the wrong gender counts as `OTHER_GENDER_YEARS`, no label as nothing."""
    stated, years, gender = evaluation.stated[seconds], evaluation.age_years(), evaluation.gender()
    off = np.abs(stated.age - years)
    read = np.where(stated.femininity >= 0.5, "female", "male")
    wrong = (gender != "") & np.isfinite(stated.femininity) & (read != gender)
    badness = off + OTHER_GENDER_YEARS * wrong
    if not np.isfinite(badness).any():
        return None
    said = tuple(
        "" if np.isnan(error) else f"{error:.0f} years off" + (", other gender" if other else "")
        for error, other in zip(off, wrong, strict=True)
    )
    return Order("error", badness, said)


def choose(rows: Sequence[int], order: Order | None, *, each: int, seed: int) -> dict[str, tuple[int, ...]]:
    """Rows of each rule: the first, the middle and the last by badness, and some by chance of the seed.

    Ties go by row, so that the choice can be repeated. Groups with nobody in them are left out.
    """
    random = np.sort(np.random.default_rng(seed).permutation(np.array(rows))[:each])
    chosen: dict[str, tuple[int, ...]] = {}
    if order is not None:
        known = sorted((row for row in rows if np.isfinite(order.badness[row])), key=lambda row: order.badness[row])
        size = min(each, len(known) // 3)
        middle = (len(known) - size) // 2
        chosen = {"best": tuple(known[:size]), "median": tuple(known[middle : middle + size])}
        chosen["worst"] = tuple(known[len(known) - size :])
    chosen["random"] = tuple(int(row) for row in random)
    return {name: members for name, members in chosen.items() if members}


def _column(
    evaluation: EvaluationSet, pictures: PictureSet, row: int, order: Order | None, hidden: list[Exclusion]
) -> Column:
    original = pictures.original(row)
    if original is not None and not may_be_shown(evaluation, row):
        hidden.append(Exclusion(evaluation.keys[row], NO_CONSENT))
        original = None
    stated = evaluation.stated.get(pictures.seconds)
    facts = [order.said[row]] if order is not None else []
    labels = [evaluation.label(name)[row] for name in ("gender", "age")]
    facts.append(", ".join(str(label) for label in labels if label))
    if stated is not None and np.isfinite(stated.age[row]):
        femininity = stated.femininity[row]
        read, sure = ("f", femininity) if femininity >= 0.5 else ("m", 1 - femininity)
        facts.append(f"stated {stated.age[row]:.0f}, {read} {sure:.2f}")
    return Column(original, pictures.from_face(row), pictures.from_voice(row), tuple(fact for fact in facts if fact))


def may_be_shown(evaluation: EvaluationSet, row: int) -> bool:
    """Whether the data name both the licence of a clip and the consent it rests on."""
    return bool(evaluation.label("licence")[row].strip() and evaluation.label("consent")[row].strip())


def _rule(order: Order | None, pictures: PictureSet, each: int, seed: int) -> str:
    chance = f"{each} clips by chance (seed {seed})"
    drawn = f"of the {len(pictures)} clips whose pictures were looked at"
    if order is None:
        return f"Rule: {chance} {drawn}; there is nothing to order them by."
    return f"Rule: {each} best, {each} around the median and {each} worst {RULES[order.rule]}, and {chance}, {drawn}."


def _caption(name: str, order: Order | None, clips: int) -> str:
    if name == "random" or order is None:
        return f"By chance, of {clips} clips."
    return f"{SHOWN_AS[name]} of {clips} clips, {RULES[order.rule]}."


def _alt(name: str, columns: Sequence[Column]) -> str:
    missing = sum(column.from_voice is None for column in columns)
    kinds = ["the picture from the voice"]
    kinds = ["the picture from the face embedding"] * any(c.from_face is not None for c in columns) + kinds
    kinds = ["the original face"] * any(c.original is not None for c in columns) + kinds
    said = "; ".join(", ".join(column.facts) or "no facts" for column in columns)
    lost = f" {missing} of them have no picture." if missing else ""
    return f"{len(columns)} clips ({name}), each with {' and '.join(kinds)}: {said}.{lost}"
