"""Whether the pictures, as a crowd, look like the references' crowd: Frechet distance and Inception score.

Both want a network of the user's: FID one that gives features, the VGGFace score a classifier of people. The Frechet
distance between predicted and reference face embeddings needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.intervals import INTERVAL_PERCENTILES, Estimate, SpeakerBootstrap
from speech2face.evaluation.metrics.fid import fid
from speech2face.evaluation.metrics.inception_score import VGGFACE_SPLITS, inception_score, softmax
from speech2face.evaluation.parts.part import Exclusion, Number, Part
from speech2face.evaluation.parts.picture_quality import SHOWN, mean_pictures
from speech2face.evaluation.picture_network import PictureNetwork
from speech2face.evaluation.pictures import FACE_REASONS, Kind, PictureSet

Matrix = NDArray[np.floating]
People = NDArray[np.int64]

NAME, TITLE = "distribution", "Frechet distance and VGGFace score"
HALVINGS = 20
HALF_CLIPS = 300  # of each half: its cost grows with the cube
SCORE_RESAMPLINGS = 200
SKIPPED = (
    "there are no face embeddings to compare, and no network for the pictures was given: --fid-network FILE.onnx for"
    " features, --identity-classifier FILE.onnx for the VGGFace score"
)
FRECHET_NOTE = (
    "Each Frechet distance is the mean over 20 draws that split the speakers into two halves: pictures of the one are"
    " held against references of the other, so that nobody is compared with himself. Chance is not known; the best is"
    " the references of both halves against each other. The bracket is 95 % of the draws. The distance has a bias that"
    " falls with the number of pictures: compare only within a row, never with a published value of another number."
)
SCORE_NOTE = (
    "The VGGFace score is the Inception score's formula over a classifier of people: 5 splits, clips in random order."
    " One face for everybody earns 1. It asks whether pictures look like somebody, each like somebody else; not whether"
    " they look like the speaker."
)


def measure(
    evaluation: EvaluationSet,
    *,
    pictures: PictureSet | None = None,
    fid_network: PictureNetwork | None = None,
    identity_classifier: PictureNetwork | None = None,
    seed: int = 0,
) -> Part:
    """Frechet distances of embeddings and of pictures, and the VGGFace score, as far as there is something for them."""
    frechet = [*_of_embeddings(evaluation, seed)]
    scores: list[Number] = []
    exclusions: tuple[Exclusion, ...] = ()
    if pictures is not None and len(pictures):
        if fid_network is not None:
            frechet += _of_pictures(evaluation, pictures, fid_network, seed)
        if identity_classifier is not None:
            scores += _scores(evaluation, pictures, identity_classifier, seed)
        lost = (e for e in pictures.exclusions if e.reason not in FACE_REASONS)  # these networks ask for no face
        exclusions = tuple(lost) if fid_network or identity_classifier else ()
    if not frechet and not scores:
        return Part(NAME, TITLE, skipped=SKIPPED)
    notes = [FRECHET_NOTE] * bool(frechet) + [SCORE_NOTE] * bool(scores)
    return Part(NAME, TITLE, (*frechet, *scores), notes=tuple(notes), exclusions=exclusions)


def _of_embeddings(evaluation: EvaluationSet, seed: int) -> Iterator[Number]:
    if evaluation.reference is None:
        return
    for seconds in sorted(evaluation.predicted):
        kept = evaluation.measurable(seconds)
        conditions = {"seconds": f"{seconds:g}", "pictures": "none", "network": "the face embedder"}
        of_gender = evaluation.gender_mean_face(leave_speaker_out=False)[kept]
        everybody = evaluation.mean_face(leave_speaker_out=False)[kept]
        yield from _frechet(
            evaluation.predicted[seconds][kept],
            evaluation.reference[kept],
            evaluation.speaker[kept],
            conditions,
            cheats=(everybody, of_gender),
            seed=seed,
        )


def _of_pictures(
    evaluation: EvaluationSet, pictures: PictureSet, network: PictureNetwork, seed: int
) -> Iterator[Number]:
    features = {kind: _read(pictures, kind, network) for kind in pictures.kinds}
    mean, of_gender = mean_pictures(evaluation, pictures)
    known = {id(picture): network.read(picture) for picture in (mean, *of_gender) if picture is not None}
    nothing = np.full(network.size, np.nan, np.float32)
    everybody = np.stack([known.get(id(mean), nothing)] * len(pictures))
    genders = np.stack([known.get(id(picture), nothing) for picture in of_gender])
    speaker = evaluation.speaker[list(pictures.rows)]
    theirs: Kind | None = next((kind for kind in ("original", "face") if kind in features), None)
    if theirs is None:
        return
    for kind in (kind for kind in features if kind != theirs):
        conditions = {
            "seconds": pictures.heard,
            "pictures": f"{SHOWN[kind]} against {SHOWN[theirs]}",
            "network": network.name,
        }
        both = np.isfinite(features[kind]).all(1) & np.isfinite(features[theirs]).all(1)
        cheats = (everybody[both], genders[both]) if kind == "voice" else None
        ours = features[kind][both]
        yield from _frechet(ours, features[theirs][both], speaker[both], conditions, cheats=cheats, seed=seed)


def _frechet(
    ours: Matrix,
    theirs: Matrix,
    speaker: People,
    conditions: Mapping[str, str],
    *,
    cheats: tuple[Matrix, Matrix] | None,
    seed: int,
) -> Iterator[Number]:
    """Ours against theirs, in halves of the speakers; nothing where there are fewer than four speakers."""
    if len(np.unique(speaker)) < 4:
        return
    split = [halves(speaker, np.random.default_rng([seed, draw])) for draw in range(HALVINGS)]
    values = _over(ours, theirs, split)
    low, high = np.percentile(values, INTERVAL_PERCENTILES)
    earned = [_present(_over(cheat, theirs, split)) for cheat in cheats] if cheats else [None, None]
    yield Number(
        NAME,
        "frechet_distance",
        Estimate(float(np.mean(values)), float(low), float(high), len(np.unique(speaker))),
        len(ours),
        conditions,
        mean_face=earned[0],
        gender_mean_face=earned[1],
        best=_present(_over(theirs, theirs, split)),
        higher_is_better=False,
    )


def halves(speaker: People, rng: np.random.Generator) -> tuple[People, People]:
    """Clips of one half of the speakers and of the other, at most `HALF_CLIPS` each and as many on both sides."""
    people = rng.permutation(np.unique(speaker))
    first = np.isin(speaker, people[: len(people) // 2])
    sides = [rng.permutation(np.flatnonzero(side)) for side in (first, ~first)]
    count = min(HALF_CLIPS, *map(len, sides))
    return sides[0][:count], sides[1][:count]


def _over(ours: Matrix, theirs: Matrix, halves: list[tuple[People, People]]) -> list[float]:
    values = []
    for mine, others in halves:
        rows = mine[np.isfinite(ours[mine]).all(1)]
        values.append(fid(ours[rows], theirs[others]))
    return values


def _present(values: list[float]) -> float | None:
    mean = float(np.mean(values))
    return mean if np.isfinite(mean) else None


def _scores(evaluation: EvaluationSet, pictures: PictureSet, network: PictureNetwork, seed: int) -> Iterator[Number]:
    """The score of the pictures of every kind; that of the originals, or of the face embeddings, is the ceiling."""
    read = {kind: _read(pictures, kind, network) for kind in pictures.kinds}
    scores = {kind: _score(rows, network, seed) for kind, rows in read.items()}
    ceiling = next((scores[kind] for kind in ("original", "face") if kind in scores), None)
    speaker = evaluation.speaker[list(pictures.rows)]
    bootstrap = SpeakerBootstrap(speaker, resamplings=SCORE_RESAMPLINGS, seed=seed)
    for kind, rows in read.items():
        kept = np.isfinite(rows).all(1)
        resampled = bootstrap.statistic(partial(_weighted_score, rows, network, seed), kept)
        yield Number(
            NAME,
            "vggface_score",
            resampled,
            int(kept.sum()),
            {"seconds": pictures.heard, "pictures": SHOWN[kind], "network": network.name},
            chance=1.0,
            mean_face=1.0 if kind == "voice" else None,
            best=ceiling if kind == "voice" else None,
        )


def _score(rows: Matrix, network: PictureNetwork, seed: int) -> float:
    """Mean over the splits; NaN rows are left out."""
    present = rows[np.isfinite(rows).all(1)]
    if not len(present):
        return float("nan")
    shuffled = np.random.default_rng(seed).permutation(present)
    return inception_score(softmax(shuffled) if network.settings.logits else shuffled, VGGFACE_SPLITS)[0]


def _weighted_score(rows: Matrix, network: PictureNetwork, seed: int, weights: NDArray[np.float64]) -> float:
    return _score(np.repeat(rows, weights.astype(np.int64), axis=0), network, seed)


def _read(pictures: PictureSet, kind: Kind, network: PictureNetwork) -> Matrix:
    """What the network says of every picture of a kind, (clips, D); NaN where there is none."""
    nothing = np.full(network.size, np.nan, np.float32)
    found = (pictures.picture(kind, row) for row in pictures.rows)
    return np.stack([nothing if picture is None else network.read(picture) for picture in found])
