"""How good the pictures are by themselves, and whether they differ as faces do: one face for all is no portrait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.intervals import SpeakerBootstrap
from speech2face.evaluation.metrics.picture_quality import PairwiseSpread
from speech2face.evaluation.parts.part import Exclusion, Number, Part
from speech2face.evaluation.parts.picture_measures import (
    FRONTAL_DEGREES,
    Measured,
    faces_can_be_found,
    measure_alone,
    measure_kind,
    picture_vector,
)
from speech2face.evaluation.pictures import Kind, PictureSet
from speech2face.evaluation.readers.face_points import FacePointFinder
from speech2face.face.detector import Picture

Floats = NDArray[np.float64]
Matrix = NDArray[np.floating]

NAME, TITLE = "picture_quality", "Picture quality and spread"
SHOWN: dict[Kind, str] = {"voice": "from the voice", "face": "from the face embedding", "original": "original face"}
HIGHER_IS_BETTER: dict[str, bool | None] = {"face_found": True, "frontal": True, "turn_degrees": False}
SKIPPED = "there is neither a picture nor a face embedding to look at; give a model that draws (--model) or --pictures"
NOTES = (
    "Spread is the root mean square distance between pictures (48 x 48 pixels) or embeddings of different speakers, as"
    " a share of the same number of the reference. One face for everybody has none; 1 is as varied as the reference. A"
    " voice tells only part of a face, so that an honest model stays below 1, and noise could reach it.",
    "Sharpness (variance of the Laplacian at 224 x 224) and the share of high frequencies are read beside the other"
    " pictures: an average is smooth by nature, and noise is sharp.",
    f"Frontal is under {FRONTAL_DEGREES:.0f} degrees off the camera by 68 landmarks on an average head, an estimate to"
    " a handful of degrees. Symmetry is the correlation with the mirror image; a mean face has the most.",
)
NO_FINDER = "Whether faces are found was not measured: that needs the extra `faces`."


def measure(evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0) -> Part:
    """Spread of embeddings, and everything about pictures where there are some."""
    numbers = list(_embedding_spread(evaluation, seed))
    notes = list(NOTES)
    exclusions: tuple[Exclusion, ...] = ()
    if pictures is not None and len(pictures):
        find_faces = faces_can_be_found(pictures)
        numbers = [*_of_pictures(evaluation, pictures, seed, find_faces=find_faces), *numbers]
        notes += [] if find_faces else [NO_FINDER]
        exclusions = pictures.exclusions
    if not numbers:
        return Part(NAME, TITLE, skipped=SKIPPED)
    return Part(NAME, TITLE, tuple(numbers), notes=tuple(notes), exclusions=exclusions)


def _embedding_spread(evaluation: EvaluationSet, seed: int) -> Iterator[Number]:
    """Spread of the predicted embeddings over that of the references, from the longest voices."""
    if evaluation.reference is None:
        return
    seconds = evaluation.longest()
    conditions = {"seconds": f"{seconds:g}", "pictures": "none", "reference": "face embeddings"}
    of_gender = evaluation.gender_mean_face(leave_speaker_out=False)
    ours, theirs = evaluation.predicted[seconds], evaluation.reference
    yield from _spread("embedding_spread", ours, theirs, evaluation.speaker, conditions, seed, of_gender)


def _of_pictures(evaluation: EvaluationSet, pictures: PictureSet, seed: int, *, find_faces: bool) -> Iterator[Number]:
    measured = {kind: measure_kind(pictures, kind, pictures.rows, find_faces=find_faces) for kind in pictures.kinds}
    speaker = evaluation.speaker[list(pictures.rows)]
    mean, of_gender = mean_pictures(evaluation, pictures)
    drawn, cheat = measured["voice"], np.stack([picture_vector(picture) for picture in of_gender])
    for kind in (kind for kind in pictures.kinds if kind != "voice"):
        conditions = {"seconds": pictures.heard, "pictures": SHOWN["voice"], "reference": SHOWN[kind]}
        theirs = measured[kind]
        yield from _spread("pixel_spread", drawn.vectors, theirs.vectors, speaker, conditions, seed, cheat)
        if drawn.faces is not None and theirs.faces is not None:
            yield from _spread("face_embedding_spread", drawn.faces, theirs.faces, speaker, conditions, seed)
    finder = FacePointFinder(*pictures.prepare_faces()) if find_faces else None
    known = {id(one): measure_alone(one, finder) for one in (mean, *of_gender) if one is not None}
    of_everybody, of_genders = ([known[id(one)] for one in some if one is not None] for some in ((mean,), of_gender))
    for metric in measured["voice"].values:
        cheats = _mean(metric, of_everybody), _mean(metric, of_genders)
        yield from _values(metric, measured, speaker, cheats, pictures.heard, seed)


def _values(
    metric: str,
    measured: dict[Kind, Measured],
    speaker: NDArray[np.int64],
    cheats: tuple[float | None, float | None],
    heard: str,
    seed: int,
) -> Iterator[Number]:
    """One measure of the pictures of every kind, those of the clips' own faces beside those from the voice."""
    bootstrap = SpeakerBootstrap(speaker, seed=seed)
    face = measured.get("face")
    ceiling = float(np.nanmean(face.values[metric])) if face is not None and _any(face.values[metric]) else None
    for kind, found in measured.items():
        values = found.values[metric]
        if not _any(values):
            continue
        yield Number(
            NAME,
            metric,
            bootstrap.mean(values),
            int(np.isfinite(values).sum()),
            {"seconds": heard, "pictures": SHOWN[kind]},
            mean_face=cheats[0] if kind == "voice" else None,
            gender_mean_face=cheats[1] if kind == "voice" else None,
            best=ceiling if kind == "voice" and metric not in HIGHER_IS_BETTER else None,  # the last have plain ends
            higher_is_better=HIGHER_IS_BETTER.get(metric),
        )


def _spread(
    metric: str,
    ours: Matrix,
    theirs: Matrix,
    speaker: NDArray[np.int64],
    conditions: Mapping[str, str],
    seed: int,
    of_gender: Matrix | None = None,
) -> Iterator[Number]:
    """Spread of ours over that of theirs, on the clips that have both; nothing where theirs do not differ."""
    kept = _whole(ours) & _whole(theirs)
    if not _spread_of(theirs, speaker, kept) > 0:
        return
    above, below = (PairwiseSpread(rows[kept], speaker[kept]) for rows in (ours, theirs))
    cheat = None
    if of_gender is not None:
        known = kept & _whole(of_gender)
        earned = _spread_of(of_gender, speaker, known) / _spread_of(theirs, speaker, known)
        cheat = earned if np.isfinite(earned) else None
    yield Number(
        NAME,
        metric,
        SpeakerBootstrap(speaker[kept], seed=seed).statistic(lambda weights: above(weights) / below(weights)),
        int(kept.sum()),
        conditions,
        mean_face=0.0,
        gender_mean_face=cheat,
        best=1.0,
        higher_is_better=None,
    )


def _spread_of(rows: Matrix, speaker: NDArray[np.int64], kept: NDArray[np.bool_]) -> float:
    return PairwiseSpread(rows[kept], speaker[kept])() if kept.any() else float("nan")


def _whole(rows: Matrix) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(1))


def mean_pictures(evaluation: EvaluationSet, pictures: PictureSet) -> tuple[Picture | None, list[Picture | None]]:
    """The mean face for everybody, and for each clip that of its gender; None where they cannot be drawn."""
    by_gender = {gender: pictures.mean_face(gender) for gender in ("female", "male")}
    genders = evaluation.gender()
    return pictures.mean_face(), [by_gender.get(str(genders[row])) for row in pictures.rows]


def _mean(metric: str, of_clips: Sequence[Mapping[str, float]]) -> float | None:
    values = [one[metric] for one in of_clips if np.isfinite(one.get(metric, float("nan")))]
    return float(np.mean(values)) if values else None


def _any(values: Floats) -> bool:
    return bool(np.isfinite(values).any())
