"""How good the pictures are by themselves, and whether they differ as faces do: one face for all is no portrait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import MissingExtra
from speech2face.evaluation.pictures import FACE_REASONS, Kind, PictureNetwork, PictureSet
from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import Beside, Exclusion, Figure, Floats, NotMeasured, Number, Part, Table, chapter
from speech2face.face.appearance import Points
from speech2face.face.detect import Picture
from speech2face.face.landmarks import FacePointFinder, drawn_points, head_pose
from speech2face.metrics import pictures as picture_quality
from speech2face.metrics.intervals import INTERVAL_PERCENTILES, Estimate, SpeakerBootstrap
from speech2face.metrics.measures import average
from speech2face.metrics.pictures import VGGFACE_SPLITS, Crowd, PairwiseSpread, fid, inception_score, softmax
from speech2face.sheets import NOTICE, Column, draw_grid

# --- Each picture measured once: sharpness, symmetry, brightness, whether a face is found and where it looks.

VECTOR_PIXELS = 48  # side at which pictures are held against each other: finer detail is out of register anyway
FRONTAL_DEGREES = 15.0
MEASURES: dict[str, Callable[[Floats], float]] = {
    "sharpness": picture_quality.sharpness,
    "high_frequency_share": picture_quality.high_frequency_share,
    "symmetry": picture_quality.symmetry,
    "brightness_range": picture_quality.brightness_range,
}
FACE_MEASURES = ("face_found", "turn_degrees", "frontal")


@dataclass(frozen=True, eq=False)
class PictureMeasures:
    """What was measured of the pictures of some clips, in the order of the rows asked for."""

    values: dict[str, Floats]
    """By measure, (clips,); NaN where there is no picture, or no face to be measured."""
    vectors: NDArray[np.float32]
    """(clips, D): small pictures in [0, 1]; NaN where there is none."""
    faces: NDArray[np.float32] | None
    """(clips, E): embeddings of the faces found by the embedder; NaN where none was, None without an embedder."""


def measure_kind(pictures: PictureSet, kind: Kind, rows: Sequence[int], *, find_faces: bool) -> PictureMeasures:
    """Measure all pictures of one kind."""
    found = [pictures.picture(kind, row) for row in rows]
    measured = [measure_picture(picture) for picture in found]
    values = {name: np.array([one[name] for one in measured]) for name in MEASURES}
    if find_faces:
        seen = [
            dict.fromkeys(FACE_MEASURES, float("nan"))
            if picture is None
            else pose_measures(pictures.face_points(kind, row))
            for row, picture in zip(rows, found, strict=True)
        ]
        values |= {name: np.array([one[name] for one in seen]) for name in FACE_MEASURES}
    vectors = np.stack([picture_vector(picture) for picture in found])
    return PictureMeasures(values, vectors, _embeddings(pictures, kind, rows))


def measure_picture(picture: Picture | None) -> dict[str, float]:
    """The measures of one picture; all NaN without one."""
    if picture is None:
        return dict.fromkeys(MEASURES, float("nan"))
    grey = picture_quality.luma(picture)
    return {name: measure(grey) for name, measure in MEASURES.items()}


def picture_vector(picture: Picture | None) -> NDArray[np.float32]:
    """A small copy as numbers in [0, 1], (D,); NaN without a picture."""
    if picture is None:
        return np.full(3 * VECTOR_PIXELS**2, np.nan, np.float32)
    return np.asarray(picture_quality.small(picture, VECTOR_PIXELS) / 255, np.float32).ravel()


def pose_measures(points: Points | None) -> dict[str, float]:
    """Whether there is a face, how many degrees it is turned away, and whether that is under `FRONTAL_DEGREES`."""
    if points is None:
        return {"face_found": 0.0, "turn_degrees": float("nan"), "frontal": float("nan")}
    turn = head_pose(points).turn_degrees
    return {"face_found": 1.0, "turn_degrees": turn, "frontal": float(turn < FRONTAL_DEGREES)}


def faces_can_be_found(pictures: PictureSet) -> bool:
    """Whether the extra that finds faces is installed."""
    try:
        pictures.prepare_faces()
    except MissingExtra:
        return False
    return True


def _embeddings(pictures: PictureSet, kind: Kind, rows: Sequence[int]) -> NDArray[np.float32] | None:
    if not pictures.can_embed:
        return None
    found = [pictures.embedding(kind, row) for row in rows]
    size = next((len(one) for one in found if one is not None), 1)
    return np.stack([np.full(size, np.nan, np.float32) if one is None else one for one in found])


Matrix = NDArray[np.floating]
SHOWN: dict[Kind, str] = {"voice": "from the voice", "face": "from the face embedding", "original": "original face"}
HIGHER_IS_BETTER: dict[str, bool | None] = {"face_found": True, "frontal": True, "turn_degrees": False}
PICTURE_QUALITY_SKIPPED = (
    "there is neither a picture nor a face embedding to look at; give a model that draws (--model) or --pictures"
)
PICTURE_QUALITY_NOTES = (
    "Spread is the root mean square distance between pictures (48 x 48 pixels) or embeddings of different speakers, as"
    " a share of the same number of the reference. One face for everybody has none; 1 is as varied as the reference. A"
    " voice tells only part of a face, so that an honest model stays below 1, and noise could reach it.",
    "Sharpness (variance of the Laplacian at 224 x 224) and the share of high frequencies are read beside the other"
    " pictures: an average is smooth by nature, and noise is sharp.",
    f"Frontal is under {FRONTAL_DEGREES:.0f} degrees off the camera by 68 landmarks on an average head, an estimate to"
    " a handful of degrees. Symmetry is the correlation with the mirror image; a mean face has the most.",
)
NO_FINDER = "Whether faces are found was not measured: that needs the extra `faces`."


@chapter("picture_quality", "Picture quality and spread")
def measure_picture_quality(evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0) -> Part:
    """Spread of embeddings, and everything about pictures where there are some."""
    numbers = list(_embedding_spread(evaluation, seed))
    if pictures is None or not len(pictures):
        if not numbers:
            raise NotMeasured(PICTURE_QUALITY_SKIPPED)
        return Part(numbers=numbers, notes=PICTURE_QUALITY_NOTES)
    find_faces = faces_can_be_found(pictures)
    numbers = [*_of_pictures(evaluation, pictures, seed, find_faces=find_faces), *numbers]
    notes = (*PICTURE_QUALITY_NOTES, *([] if find_faces else [NO_FINDER]))
    return Part(numbers=numbers, notes=notes, exclusions=pictures.exclusions)


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
    drawn, gender_vectors = measured["voice"], np.stack([picture_vector(picture) for picture in of_gender])
    for kind in (kind for kind in pictures.kinds if kind != "voice"):
        conditions = {"seconds": pictures.heard, "pictures": SHOWN["voice"], "reference": SHOWN[kind]}
        theirs = measured[kind]
        yield from _spread("pixel_spread", drawn.vectors, theirs.vectors, speaker, conditions, seed, gender_vectors)
        if drawn.faces is not None and theirs.faces is not None:
            yield from _spread("face_embedding_spread", drawn.faces, theirs.faces, speaker, conditions, seed)
    finder = FacePointFinder(*pictures.prepare_faces()) if find_faces else None

    def alone(picture: Picture) -> dict[str, float]:
        """The measures of a picture that belongs to no clip."""
        return measure_picture(picture) | ({} if finder is None else pose_measures(drawn_points(finder, picture)))

    known = {id(one): alone(one) for one in (mean, *of_gender) if one is not None}
    baselines = [[known[id(one)] for one in some if one is not None] for some in ((mean,), of_gender)]
    bootstrap = SpeakerBootstrap(speaker, seed=seed)
    for metric in drawn.values:
        ceiling = average(measured["face"].values[metric]) if "face" in measured else None
        earned = [average(np.array([one.get(metric, np.nan) for one in some])) for some in baselines]
        for shown, found in measured.items():
            if not np.isfinite(found.values[metric]).any():
                continue
            beside: Beside = {}
            if shown == "voice":
                ends = metric in HIGHER_IS_BETTER  # these have plain ends
                beside = {"mean_face": earned[0], "gender_mean_face": earned[1], "best": None if ends else ceiling}
            conditions, better = {"seconds": pictures.heard, "pictures": SHOWN[shown]}, HIGHER_IS_BETTER.get(metric)
            yield Number.mean(metric, found.values[metric], bootstrap, conditions, higher_is_better=better, **beside)


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
    earned = None
    if of_gender is not None:
        known = kept & _whole(of_gender)
        earned = finite(_spread_of(of_gender, speaker, known) / _spread_of(theirs, speaker, known))
    yield Number(
        metric,
        SpeakerBootstrap(speaker[kept], seed=seed).statistic(lambda weights: above(weights) / below(weights)),
        int(kept.sum()),
        conditions,
        mean_face=0.0,
        gender_mean_face=earned,
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


def finite(value: float | np.floating[Any]) -> float | None:
    """A number, or None where it is none."""
    return float(value) if np.isfinite(value) else None


# --- Whether the pictures, as a crowd, look like the references' crowd: Frechet distance and Inception score.
# Both want a network of the user's: FID one that gives features, the VGGFace score a classifier of people. The
# Frechet distance between predicted and reference face embeddings needs none.

People = NDArray[np.int64]
HALVINGS = 20
HALF_CLIPS = 300  # of each half: its cost grows with the cube
SCORE_RESAMPLINGS = 200
DISTRIBUTION_SKIPPED = (
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


@chapter("distribution", "Frechet distance and VGGFace score")
def measure_distribution(
    evaluation: EvaluationSet,
    *,
    pictures: PictureSet | None = None,
    fid_network: PictureNetwork | None = None,
    identity_classifier: PictureNetwork | None = None,
    seed: int = 0,
) -> Part:
    """Frechet distances of embeddings and of pictures, and the VGGFace score, as far as there is something for them."""
    frechet = [*_distribution_of_embeddings(evaluation, seed)]
    scores: list[Number] = []
    exclusions: tuple[Exclusion, ...] = ()
    if pictures is not None and len(pictures):
        if fid_network is not None:
            frechet += _distribution_of_pictures(evaluation, pictures, fid_network, seed)
        if identity_classifier is not None:
            scores += _scores(evaluation, pictures, identity_classifier, seed)
        lost = (e for e in pictures.exclusions if e.reason not in FACE_REASONS)  # these networks ask for no face
        exclusions = tuple(lost) if fid_network or identity_classifier else ()
    if not frechet and not scores:
        raise NotMeasured(DISTRIBUTION_SKIPPED)
    notes = [FRECHET_NOTE] * bool(frechet) + [SCORE_NOTE] * bool(scores)
    return Part(numbers=(*frechet, *scores), notes=notes, exclusions=exclusions)


def _distribution_of_embeddings(evaluation: EvaluationSet, seed: int) -> Iterator[Number]:
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
            baselines=(everybody, of_gender),
            seed=seed,
        )


def _distribution_of_pictures(
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
        baselines = (everybody[both], genders[both]) if kind == "voice" else None
        ours = features[kind][both]
        yield from _frechet(ours, features[theirs][both], speaker[both], conditions, baselines=baselines, seed=seed)


def _frechet(
    ours: Matrix,
    theirs: Matrix,
    speaker: People,
    conditions: Mapping[str, str],
    *,
    baselines: tuple[Matrix, Matrix] | None,
    seed: int,
) -> Iterator[Number]:
    """Ours against theirs, in halves of the speakers; nothing where there are fewer than four speakers."""
    if len(np.unique(speaker)) < 4:
        return
    split = [halves(speaker, np.random.default_rng([seed, draw])) for draw in range(HALVINGS)]
    crowds = [Crowd.of(theirs[others]) for _, others in split]
    values = _over(ours, split, crowds)
    low, high = np.percentile(values, INTERVAL_PERCENTILES)
    earned = [finite(np.mean(_over(said, split, crowds))) for said in baselines] if baselines else [None, None]
    yield Number(
        "frechet_distance",
        Estimate(float(np.mean(values)), float(low), float(high), len(np.unique(speaker))),
        len(ours),
        conditions,
        mean_face=earned[0],
        gender_mean_face=earned[1],
        best=finite(np.mean(_over(theirs, split, crowds))),
        higher_is_better=False,
    )


def halves(speaker: People, rng: np.random.Generator) -> tuple[People, People]:
    """Clips of one half of the speakers and of the other, at most `HALF_CLIPS` each and as many on both sides."""
    people = rng.permutation(np.unique(speaker))
    first = np.isin(speaker, people[: len(people) // 2])
    sides = [rng.permutation(np.flatnonzero(side)) for side in (first, ~first)]
    count = min(HALF_CLIPS, *map(len, sides))
    return sides[0][:count], sides[1][:count]


def _over(ours: Matrix, halves: list[tuple[People, People]], crowds: list[Crowd | None]) -> list[float]:
    """The distance of ours in the one half from the other half's crowd, for each draw."""
    values = []
    for (mine, _), crowd in zip(halves, crowds, strict=True):
        rows = mine[np.isfinite(ours[mine]).all(1)]
        values.append(fid(ours[rows], crowd))
    return values


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


# --- Pictures of some clips by a stated rule, failures included: the original, from its embedding, from the voice.

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


@chapter("grid", "Pictures by a stated rule")
def measure_grid(
    evaluation: EvaluationSet, *, pictures: PictureSet | None = None, seed: int = 0, each: int = EACH
) -> Part:
    """Best, median, worst and random clips; a clip is in one of the first three at most."""
    if pictures is None or not len(pictures):
        raise NotMeasured(SKIPPED)
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
    shown = {evaluation.keys[row] for members in chosen.values() for row in members}
    lost = [e for e in pictures.exclusions if e.clip in shown and e.reason not in FACE_REASONS]  # no face is looked for
    return Part(
        tables=[Table("chosen", "Clips shown", ("rule", "clip", "how good"), tuple(rows))],
        figures=figures,
        notes=[NOTICE, _rule(order, pictures, each, seed)] + [HIDDEN.format(len(hidden))] * bool(hidden),
        exclusions=tuple(dict.fromkeys((*lost, *hidden))),
    )


def order_of(evaluation: EvaluationSet, seconds: float) -> Order | None:
    """By rank where there are references, else by what the model states against the labels; None without either."""
    if evaluation.reference is not None and evaluation.measurable(seconds).any():
        return _by_rank(evaluation, seconds)
    return _by_error(evaluation, seconds) if seconds in evaluation.stated else None


def _by_rank(evaluation: EvaluationSet, seconds: float) -> Order:
    answers = evaluation.answers(seconds)
    badness = answers.spread_out(answers.ranking.rank.astype(np.float64), answers.pairs)
    said = tuple("" if np.isnan(rank) else f"rank {rank:.0f} of {answers.ranking.gallery}" for rank in badness)
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
    original = pictures.picture("original", row)
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
    return Column(
        original, pictures.picture("face", row), pictures.picture("voice", row), tuple(fact for fact in facts if fact)
    )


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
