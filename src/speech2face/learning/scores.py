"""What pairs taught, measured on people left out: two-way choices, gain, calibration, learning curve, influence.

Everything is said of one recording a person, by a belief that was fitted, its strength chosen too, without that person
(nested cross-validation; Stone 1974, Varma and Simon 2006). Beside it stand what age and gender alone earn, as the
starter reads them and as these people would have them read, and chance. Where the release gate weakens what voices add,
every belief that is scored is weakened by the same factor: the numbers are those of what is released.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from speech2face.console import Tell, unheard
from speech2face.data.record import numbers_mark, speaker_draw
from speech2face.errors import DatasetError, InvalidOption
from speech2face.evaluation.clips import parse_age
from speech2face.face.fit import LEAST_WEIGHT, left_of_variance
from speech2face.face.landmarks import scheme_of
from speech2face.learning.features import LABELS, EncodedClips, VoiceAxes
from speech2face.learning.sums import (
    APPEARANCE,
    LEAST_PEOPLE,
    MOST_PARTS,
    Directions,
    Doubles,
    RecognisedLines,
    Strength,
    Sums,
    Target,
    Taught,
    TwoLines,
    steadied,
    teach,
)
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap
from speech2face.metrics.matching import Choices
from speech2face.metrics.pictures import MEASUREMENTS, measurements
from speech2face.models.contract import Model

# --- The people of a learning: their clips' numbers as arrays, a row a clip, and who of them is in which part.

LEAST_LEARNED = 40
"""People under whom nothing is learned: measured elsewhere, fewer than 50 pairs teach a match of 54 of 100 at best."""
PART_PEOPLE = 40
"""Of a part of sums, on average: the hash that places people is uneven."""
NAMED = 3
ATTRIBUTE_SCALE = 3.0
"""Of the belief by attributes among a voice's numbers: with it, it varies about as much as all others together."""


@dataclass(frozen=True, eq=False)
class LearningTable:
    """Rows are clips, D numbers of a voice; people are speakers, K numbers of a face."""

    names: tuple[str, ...]
    """Of the people, in order."""
    person: NDArray[np.int64]
    """(rows,): place in `names`"""
    x: Doubles
    """(rows, D)"""
    prior_mean: Doubles
    """(rows, K)"""
    prior_covariance: Doubles
    """(rows, K, K)"""
    face: Doubles
    """(people, K)"""
    noise: Doubles
    """(people, K, K)"""
    labels: Mapping[str, NDArray[np.str_]]
    """(people,) of each of `LABELS`, "" where it is not known"""
    licences: tuple[str, ...]
    """(people,): of all their clips, joined by "and" where they differ"""
    consents: tuple[str, ...]
    """(people,): likewise"""
    seconds: Doubles
    """(rows,) of speech"""
    fit_error: Doubles
    """(rows,) of the face's fit; 1 is an evenly lit photograph from the front"""
    recognised: Doubles | None = None
    """(people, M): a face recogniser's embeddings; None without one"""
    marks: tuple[str, ...] = ()
    """(people,) `numbers_mark` of their clips; none where they were made"""
    target: Target = APPEARANCE
    """In which of a face's numbers is learned; another than the appearance needs `recognised`."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, encoded: EncodedClips, axes: VoiceAxes) -> LearningTable:
        """From clips with their numbers; a person's face is the mean of their photographs', weighted by their fits.

        Raises:
            DatasetError: nobody is left, or one recording or photograph is under two names.
        """
        if not encoded.clips:
            reasons = ", ".join(f"{reason} {count}" for reason, count in encoded.rejected.items())
            raise DatasetError(f"no clip is left to learn from ({reasons or 'there was none'})")
        check_names(encoded)
        names = tuple(sorted({clip.speaker for clip in encoded.clips}))
        places = {name: place for place, name in enumerate(names)}
        person = np.array([places[clip.speaker] for clip in encoded.clips], np.int64)
        numbers = encoded.numbers

        def rows(name: str) -> Doubles:
            return np.stack([np.asarray(getattr(each, name), np.float64) for each in numbers])

        # A photograph that comes with several clips of its person is one photograph.
        pictures: dict[tuple[int, str], int] = {}
        for row, who in enumerate(person):
            pictures.setdefault((int(who), encoded.faces[row]), row)
        chosen = np.array(list(pictures.values()))
        # As `FaceFitter.fit` averages several: a dim photograph from aside must not count as much as a good one.
        weight = np.maximum(rows("face_weight")[chosen], LEAST_WEIGHT)
        share = weight / np.bincount(person[chosen], weight, len(names))[person[chosen]]
        left = left_of_variance(np.bincount(person[chosen], share**2, len(names)))
        faces, noises = rows("face"), rows("face_covariance")
        digests: list[list[str]] = [[] for _ in names]
        for who, digest in zip(person, encoded.digests, strict=True):
            digests[who].append(digest)
        return cls(
            names=names,
            person=person,
            x=axes.of(rows("statistics")),
            prior_mean=rows("prior_mean"),
            prior_covariance=rows("prior_covariance"),
            face=_means(faces[chosen], person[chosen], share),
            noise=_means(noises[chosen], person[chosen], share) * left[:, None, None],
            labels={name: _label(encoded, person, len(names), name) for name in LABELS},
            licences=_all_of(person, [clip.licence for clip in encoded.clips]),
            consents=_all_of(person, [clip.consent for clip in encoded.clips]),
            seconds=rows("seconds"),
            fit_error=rows("face_error"),
            recognised=_means(rows("recognised")[chosen], person[chosen], share)
            if numbers[0].recognised.size
            else None,
            marks=tuple(numbers_mark(each) for each in digests),
        )

    @property
    def residual(self) -> Doubles:
        """What each row's person's face is beyond the belief by attributes, (rows, K)."""
        return np.asarray(self.face[self.person] - self.prior_mean)

    @cached_property
    def numbers(self) -> Doubles:
        """All that is known of each row's voice, (rows, K + D): what is believed by its attributes, then `x`.

        With the first K alone, what age and gender say of a face is refitted to these people.
        """
        return np.concatenate([ATTRIBUTE_SCALE * self.prior_mean, self.x], axis=1)

    @property
    def attributes(self) -> Doubles:
        """The first of these numbers, (rows, K)."""
        return np.asarray(self.numbers[:, : self.prior_mean.shape[1]])

    @property
    def share(self) -> Doubles:
        """Of each row in its person, (rows,)."""
        return np.asarray(1.0 / np.bincount(self.person, minlength=len(self))[self.person])

    @property
    def first(self) -> NDArray[np.int64]:
        """The first row of each person, (people,): what is scored is one recording."""
        return np.unique(self.person, return_index=True)[1].astype(np.int64)

    def without_attributes(
        self, mean: NDArray[np.floating[Any]], covariance: NDArray[np.floating[Any]]
    ) -> LearningTable:
        """The same where nothing is believed by attributes: one mean (K,) and covariance (K, K) for everybody."""
        rows = len(self.person)
        return replace(
            self,
            prior_mean=np.repeat(np.asarray(mean, np.float64)[None], rows, 0),
            prior_covariance=np.repeat(np.asarray(covariance, np.float64)[None], rows, 0),
        )

    def of_people(self, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of some people, `wanted` (people,)."""
        return np.flatnonzero(wanted[self.person])

    def sums(self, wanted: NDArray[np.bool_]) -> Sums:
        """Sums over some people, `wanted` (people,), of all numbers of their voices."""
        rows = self.of_people(wanted)
        found = Sums.of(
            self.numbers[rows], self.residual[rows], self.share[rows],
            self.prior_covariance[rows], self.noise[self.person[rows]],
            None if self.recognised is None else self.recognised[self.person[rows]],
        )  # fmt: skip
        return replace(found, target=self.target)

    def in_directions(self, into: Doubles) -> LearningTable:
        """The same people with a recogniser's embeddings along some directions, (M, J), as their faces (people, J).

        Of them nothing is believed by attributes, and what is stated of their spread is 1.
        """
        assert self.recognised is not None
        rows, new = len(self.person), into.shape[1]
        return replace(
            self,
            prior_mean=np.zeros((rows, new)),
            prior_covariance=np.repeat(np.eye(new)[None], rows, 0),
            face=self.recognised @ into,
            noise=np.zeros((len(self), new, new)),
            recognised=None,
            target=APPEARANCE,
        )

    def counted(self, column: Sequence[str]) -> dict[str, int]:
        """How many people have each value, the most frequent first."""
        return dict(Counter(column).most_common())


def _means(values: Doubles, person: NDArray[np.int64], share: Doubles) -> Doubles:
    """Of each person, (people, ...), of rows with shares (rows,) that make 1 for each."""
    total = np.zeros((int(person.max()) + 1, *values.shape[1:]))
    np.add.at(total, person, values * share.reshape(-1, *[1] * (values.ndim - 1)))
    return total


def _label(encoded: EncodedClips, person: NDArray[np.int64], people: int, name: str) -> NDArray[np.str_]:
    """What the first clip of each person that says it says, (people,)."""
    found = [""] * people
    for place, clip in zip(person, encoded.clips, strict=True):
        found[place] = found[place] or clip.labels.get(name, "")
    return np.array(found)


def _all_of(person: NDArray[np.int64], values: Sequence[str]) -> tuple[str, ...]:
    """What the clips of each person say, (people,), joined where they differ: all of it holds for what is learned."""
    found: dict[int, set[str]] = defaultdict(set)
    for place, value in zip(person.tolist(), values, strict=True):
        found[place].add(value)
    return tuple(
        " and ".join(sorted(value or "not stated" for value in said)) if len(said) > 1 else next(iter(said))
        for _, said in sorted(found.items())
    )


def check_names(encoded: EncodedClips) -> None:
    """Refuse one person under two names: the same recording or the same photograph.

    Raises:
        DatasetError: naming some of them.
    """
    for what, digests in (("recording", encoded.sounds), ("photograph", encoded.faces)):
        owners: defaultdict[str, set[str]] = defaultdict(set)
        for clip, digest in zip(encoded.clips, digests, strict=True):
            owners[digest].add(clip.speaker)
        twice = sorted(sorted(names) for names in owners.values() if len(names) > 1)
        if twice:
            named = "; ".join(" and ".join(names[:NAMED]) for names in twice[:NAMED])
            raise DatasetError(
                f"the same {what} is under two names ({named}): a person who is learned from and left out at once makes"
                " every score too good; give each person one name"
            )


def check_count(people: float) -> None:
    """Refuse too few people.

    Raises:
        DatasetError: under `LEAST_LEARNED`.
    """
    if people < LEAST_LEARNED:
        raise DatasetError(
            f"{people:.0f} people are too few to learn from; {LEAST_LEARNED} is the least, and under 50 it does not pay"
        )


# --------------------------------------------------------------------------------------------------
# Parts: for cross-validation on this machine drawn evenly; for files of sums by a hash of each person's name, so that
# everybody's place is the same with or without the others.
# --------------------------------------------------------------------------------------------------


def drawn_folds(people: int, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each person, (people,): as many in each as may be."""
    order = np.random.default_rng(seed).permutation(people)
    fold = np.empty(people, np.int64)
    fold[order] = np.arange(people) % min(folds, people)
    return fold


def hashed_places(names: Sequence[str], parts: int) -> NDArray[np.int64]:
    """The part of each person among so many, (people,), whoever else there is."""
    draws = np.array([speaker_draw(name, seed=0) for name in names])
    return np.minimum((draws * parts).astype(np.int64), parts - 1)


def hashed_parts(names: Sequence[str]) -> NDArray[np.int64]:
    """The part of each person, (people,): at most `MOST_PARTS` parts of `LEAST_PEOPLE` or more.

    Raises:
        InvalidOption: fewer people than a part has.
    """
    if len(names) < LEAST_PEOPLE:
        raise InvalidOption(
            f"sums of {len(names)} people can give a person away; {LEAST_PEOPLE} is the least that is written"
        )
    for count in range(min(MOST_PARTS, len(names) // PART_PEOPLE), 1, -1):
        part = hashed_places(names, count)
        if np.bincount(part, minlength=count).min() >= LEAST_PEOPLE:
            return part
    return np.zeros(len(names), np.int64)


# --- What is measured on people left out: two-way choices, gain, calibration, learning curve, influence.

FOLDS = 10
INNER_FOLDS = 5
LEAST_STRATUM = 10
"""People of a group within which a choice is scored."""
STRICTEST = "gender and decade"
CONFOUNDERS = {"language": "gender and language", "session": "gender and session"}
"""Labels that voices and faces may both follow, and what they are called crossed with gender: women may come to one
room and men to another."""
LEAST_WITHIN = 0.5
"""Of what people differ in, the part that is left around the means of their groups, n - 1 of n: with less, groups of a
few people each, nothing is judged within them."""
MASS = 0.8
MASS_DEVIATIONS = 1.2816  # of a normal distribution, on both sides of its mean, hold MASS
CURVE_SHARES = (0.2, 0.4, 0.6, 0.8)
CURVE_REPEATS = 3
LEAST_CURVE = 30
SMALLEST_SPREAD = 1e-20  # of two measurements, product of their variances
MOST_INFLUENCE = 0.5
"""Standard deviations of the belief by which a person's own portrait may change for their having been learned from."""
MOST_RECOGNISED = 0.1
"""Share by which people learned from may be nearest to their own portrait more often than people left out."""
FACTORS = tuple(step / 20 for step in range(20, 0, -1))
"""By which what voices add may be weakened."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Of each person what is believed of their face without them, in three ways, (people, K) each.

    What everybody shares (the mean face, the mean voice) is that of all people: left out fold by fold it would tell
    who was left out, and every constant belief would do worse than chance.
    """

    learned: Doubles
    by_attributes: Doubles
    """By the starter's reading of age and gender, moved to these people's mean face."""
    attributes_refitted: Doubles
    """By the same reading, its effect on the face refitted to these people: what age and gender alone can earn."""
    spread: Doubles
    """(people, K, K): of the learned belief, stated without the person"""
    strengths: tuple[Strength, ...]
    """What the folds chose."""
    recognised: tuple[Doubles, Doubles] | None = None
    """In a recogniser's space, (people, M) each: the learned belief, and that of attributes refitted."""


def leave_out(
    table: LearningTable, *, folds: int = FOLDS, seed: int = 0, factor: float = 1.0, progress: Tell = unheard
) -> LeftOut:
    """Predict each person from the others, what their voices add weakened by `factor`."""
    fold = drawn_folds(len(table), folds, seed)
    rows, size = table.first, table.face.shape[1]
    whole = table.sums(np.ones(len(table), bool))
    common = table.prior_mean[rows] + whole.r / whole.people
    centre = whole.x / whole.people
    moved = {name: np.zeros((len(table), size)) for name in ("learned", "refitted")}
    spread = np.zeros((len(table), size, size))
    strengths = []
    recognised = None
    if table.recognised is not None and table.target != APPEARANCE:
        recognised = np.tile(table.recognised.mean(0), (2, len(table), 1))
    for number in np.unique(fold):
        progress("people left out, folds", int(number), int(fold.max()) + 1)
        out = fold == number
        parts = [table.sums(part) for part in inner_parts(table, ~out, seed)]
        taught = teach(parts, factor=factor)
        moved["refitted"][out], moved["learned"][out] = taught.lines.moved(table.numbers[rows[out]], centre)
        spread[out] = taught.spread
        strengths.append(taught.strength)
        if recognised is not None and isinstance(taught.lines, RecognisedLines):
            first, both = taught.lines.recognise(table.numbers[rows[out]], centre)
            recognised[0, out] += both
            recognised[1, out] += first
    return LeftOut(
        common + moved["learned"], common, common + moved["refitted"], spread, tuple(strengths),
        None if recognised is None else (recognised[0], recognised[1]),
    )  # fmt: skip


def inner_parts(
    table: LearningTable, people: NDArray[np.bool_], seed: int, folds: int = INNER_FOLDS
) -> list[NDArray[np.bool_]]:
    """Parts of some people, each a mask (people,)."""
    which = np.flatnonzero(people)
    fold = drawn_folds(len(which), folds, seed)
    parts = []
    for number in np.unique(fold):
        mask = np.zeros(len(table), bool)
        mask[which[fold == number]] = True
        parts.append(mask)
    return parts


# --------------------------------------------------------------------------------------------------
# Two faces, one voice: whose is it? By the belief's density over that of all faces, which is the best rule there is.
# --------------------------------------------------------------------------------------------------


def match_table(table: LearningTable, mean: Doubles) -> NDArray[np.float32]:
    """log p(face | voice) - log p(face) of every voice (row) with every face (column), up to a constant a row.

    `mean` (people, K) is what is believed. Both densities are normal; their spreads are those of the errors and of the
    faces, the same for every voice.
    """
    whole = table.sums(np.ones(len(table), bool))
    centred = table.face - table.face.mean(0)
    away = table.face - mean
    marginal, spread = (np.linalg.inv(steadied(each.T @ each, whole)) for each in (centred, away))
    plain = np.einsum("jk,kl,jl->j", centred, marginal, centred)
    crossed = mean @ spread @ table.face.T
    own = np.einsum("jk,kl,jl->j", table.face, spread, table.face)
    said = np.einsum("ik,kl,il->i", mean, spread, mean)
    return np.asarray(0.5 * (plain - own)[None] + crossed - 0.5 * said[:, None], np.float32)


@dataclass(frozen=True, eq=False)
class Strata:
    """Groups within which a choice is made, (people,) each; "" leaves a person out."""

    names: dict[str, NDArray[np.str_]]
    told_by: str
    """Whether gender and age are the people's own word or what their photographs show."""


def strata_of(table: LearningTable, model: Model) -> Strata:
    """Gender, and with it decade, language and session of each person, as far as the data say."""
    labels, gender = table.labels, np.char.lower(table.labels["gender"].astype(str))
    decade = np.array([_decade(age) for age in labels["age"]])
    told = "the data's labels"
    if (gender == "").mean() > 0.2 or (decade == "").mean() > 0.2:
        shown = [model.apparent(face.astype(np.float32)) for face in table.face]
        gender = np.array(["" if one is None else "female" if one > 0.5 else "male" for _, one in shown])
        decade = np.array(["" if age is None else str(int(age) // 10) for age, _ in shown])
        told = "the photographs, as fitted"
    found = {"all": np.full(len(table), "all"), "gender": gender, STRICTEST: _crossed(gender, decade)}
    for name, crossed in CONFOUNDERS.items():
        if len(set(labels[name]) - {""}) > 1:
            found[crossed] = _crossed(gender, labels[name])
    return Strata(found, told)


def _crossed(one: NDArray[np.str_], other: NDArray[np.str_]) -> NDArray[np.str_]:
    """Both labels of each person as one, (people,); "" where either is not known."""
    return np.where((one == "") | (other == ""), "", np.char.add(np.char.add(one, " "), other))


def _decade(age: str) -> str:
    """The decade in which a stated age begins: "2" of "25", "25.5", "20-29", "twenties" and "20+"; "" of none."""
    stated = parse_age(age)
    if stated is None:  # of other words the first number counts
        found = re.search(r"\d+", age)
        return "" if found is None else str(int(found[0]) // 10)
    return str(int(stated[0] // 10))


def unknown(people: int) -> Estimate:
    """The estimate of a number that so many people do not tell."""
    return Estimate(float("nan"), float("nan"), float("nan"), people)


def choice(similarity: NDArray[np.float32], stratum: NDArray[np.str_]) -> Estimate:
    """Share of two-way choices that are won within a stratum; chance 0.5, ties count against us."""
    kept = _kept(stratum)
    people = np.arange(int(kept.sum()))
    if len(people) < LEAST_STRATUM:
        return unknown(len(people))
    return Choices.of(similarity[np.ix_(kept, kept)], people, stratum[kept]).estimate(2, SpeakerBootstrap(people))


def choice_difference(one: NDArray[np.float32], other: NDArray[np.float32], stratum: NDArray[np.str_]) -> Estimate:
    """By how much more often one wins than the other, on the same choices."""
    kept = _kept(stratum)
    people = np.arange(int(kept.sum()))
    if len(people) < LEAST_STRATUM:
        return unknown(len(people))
    won = [Choices.of(each[np.ix_(kept, kept)], people, stratum[kept]).won(2) for each in (one, other)]
    return SpeakerBootstrap(people).mean(won[0] - won[1])


def _kept(stratum: NDArray[np.str_]) -> NDArray[np.bool_]:
    """People of a group that somebody else is in too."""
    values, place, count = np.unique(stratum, return_inverse=True, return_counts=True)
    return np.asarray((count[place] > 1) & (values[place] != ""))


# --------------------------------------------------------------------------------------------------
# The whole report.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """Two-way choices within one kind of stratum; chance is 0.5."""

    within: str
    learned: Estimate
    by_attributes: Estimate
    """The starter's reading of age and gender."""
    attributes_refitted: Estimate
    """The same reading, refitted to these people."""
    more: Estimate
    """Of choices that are won, with what pairs taught beyond the refitted attributes."""


@dataclass(frozen=True)
class Resemblance:
    """Pearson's r over people between a measurement of the believed face and of the photograph's; 0 is chance."""

    learned: Estimate
    by_attributes: Estimate
    attributes_refitted: Estimate


MEAN_OF_ALL = "mean"
"""In place of a measurement's name: the mean of r over all of them."""


@dataclass(frozen=True)
class CurvePoint:
    """What so many people teach, on people left out."""

    people: int
    beyond: Estimate
    """Share of the squared error that is gone beside age and gender refitted to the same people."""


@dataclass(frozen=True)
class Scores:
    """What a learning is worth."""

    people: int
    matches: tuple[Match, ...]
    told_by: str
    gain: Estimate
    """Share of the squared error of the belief by attributes (moved to these people's mean face) that is gone."""
    beyond: Estimate
    """Share of the squared error that is gone beside age and gender refitted to these people."""
    craniofacial: dict[str, Resemblance]
    """Of twelve measurements, and of `MEAN_OF_ALL`."""
    coverage: float
    """Share of the faces' coordinates, along the spread's axes, that lie in the stated interval of `MASS`."""
    scale: float
    """By which the spread's deviations are multiplied so that the share is `MASS`."""
    curve: tuple[CurvePoint, ...]
    twice: Estimate
    """What twice as many people would take of the error, by a hyperbola through the curve."""
    recogniser_matches: tuple[Match, ...] = ()
    """The same choices between a face recogniser's embeddings, where it was learned in; of what the starter reads
    nothing is known there, and `by_attributes` is the refitted one."""
    beyond_within: dict[str, Estimate] = field(default_factory=dict)
    """As `beyond`, of what sets people of one gender and one language, or session, apart: by label. What voice and face
    share with their group is in neither side of it. Labels with too small groups are left out."""

    @property
    def more_than_chance(self) -> bool:
        """Whether faces are told better than by age and gender, be it by the voice or by what it goes with.

        Surely the error beside refitted attributes falls, and surely the voice tells two faces of one gender and
        decade apart: either alone is found too often where faces were changed. They may be told apart by the appearance
        or, where a recogniser's space was learned in, there.
        """
        told_apart = any(
            match.learned.low > 0.5 and match.more.low > 0
            for match in (*self.matches, *self.recogniser_matches)
            if match.within == STRICTEST
        )
        return bool(self.gain.value > 0 and self.beyond.low > 0 and told_apart)

    @property
    def confounded(self) -> tuple[str, ...]:
        """Labels that faces may be told by in place of the voice: within their groups nothing is surely left."""
        if not self.more_than_chance:
            return ()
        return tuple(name for name, within in self.beyond_within.items() if not within.low > 0)

    @property
    def pays(self) -> bool:
        """Whether what voices teach beyond age and gender is better than chance, and surely the voices' own.

        What follows a microphone is kept out of a release: recorded elsewhere, a voice would be given faces by its
        room, and nobody could see it from the portrait.
        """
        return self.more_than_chance and not self.confounded

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers that are none are left None."""
        return _plain(asdict(self) | {"pays": self.pays, "confounded": self.confounded})  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value


def score(
    table: LearningTable, model: Model, *, seed: int = 0, factor: float = 1.0, progress: Tell | None = None
) -> tuple[Scores, LeftOut]:
    """Measure on people left out, what voices add weakened by `factor` as in the release; minutes at most."""
    tell = progress or unheard
    left = leave_out(table, seed=seed, factor=factor, progress=tell)
    strata = strata_of(table, model)
    similarity = [match_table(table, each) for each in (left.learned, left.by_attributes, left.attributes_refitted)]
    matches = tuple(_match(name, similarity, stratum) for name, stratum in strata.names.items())
    squares = [_squares(table, said) for said in (left.learned, left.by_attributes, left.attributes_refitted)]
    people = SpeakerBootstrap(np.arange(len(table)))
    coverage, scale = calibrated(table, left)
    curve = learning_curve(table, seed=seed, factor=factor, progress=tell)
    return (
        Scores(
            people=len(table),
            matches=matches,
            told_by=strata.told_by,
            gain=people.ratio(squares[1] - squares[0], squares[1]),
            beyond=people.ratio(squares[2] - squares[0], squares[2]),
            craniofacial=craniofacial(table, model, left),
            beyond_within=beyond_within(table, left, strata),
            coverage=coverage,
            scale=scale,
            curve=curve,
            twice=twice_as_many(curve, len(table)),
            recogniser_matches=recogniser_matches(table, left, strata),
        ),
        left,
    )


def _match(within: str, similarity: Sequence[NDArray[np.float32]], stratum: NDArray[np.str_]) -> Match:
    learned, by_attributes, refitted = (choice(each, stratum) for each in similarity)
    return Match(within, learned, by_attributes, refitted, choice_difference(similarity[0], similarity[2], stratum))


def recogniser_matches(table: LearningTable, left: LeftOut, strata: Strata) -> tuple[Match, ...]:
    """Two-way choices in a recogniser's space, along the principal directions of all people; none without one."""
    if left.recognised is None:
        return ()
    into = Directions.of(table.sums(np.ones(len(table), bool))).into
    there = table.in_directions(into)
    learned, refitted = (match_table(there, each @ into) for each in left.recognised)
    return tuple(_match(name, (learned, refitted, refitted), stratum) for name, stratum in strata.names.items())


def yardstick(table: LearningTable) -> Doubles:
    """By which errors are measured: the inverse of the residuals' own spread, steadied by the stated one, (K, K)."""
    whole = table.sums(np.ones(len(table), bool))
    mean = whole.r / whole.people
    return np.asarray(np.linalg.inv(steadied(whole.rr - whole.people * np.outer(mean, mean), whole)))


def _squares(table: LearningTable, said: Doubles, people: NDArray[np.int64] | None = None) -> Doubles:
    return _squared((table.face if people is None else table.face[people]) - said, yardstick(table))


def beyond_within(table: LearningTable, left: LeftOut, strata: Strata) -> dict[str, Estimate]:
    """The share of the squared error beside refitted attributes that is gone within groups, by label of `CONFOUNDERS`.

    Faces and what is believed of them are taken around the mean of their group. A group's mean is made of n people
    whose errors are in it too, which leaves (n - 1) / n of the rest on both sides of the ratio: it is not biased.
    """
    found = {}
    for name, crossed in CONFOUNDERS.items():
        group = strata.names.get(crossed)
        if group is None:
            continue
        kept = _kept(group)
        if kept.sum() - len(set(group[kept])) < LEAST_WITHIN * len(group):
            continue
        now, before = (
            _squared(_around_group(table.face - said, group)[kept], yardstick(table))
            for said in (left.learned, left.attributes_refitted)
        )
        found[name] = SpeakerBootstrap(np.arange(int(kept.sum()))).ratio(before - now, before)
    return found


def _around_group(values: Doubles, group: NDArray[np.str_]) -> Doubles:
    """Values (people, K) less the mean of each one's group (people,)."""
    place = np.unique(group, return_inverse=True)[1]
    mean = np.zeros((int(place.max()) + 1, values.shape[1]))
    np.add.at(mean, place, values)
    return np.asarray(values - (mean / np.bincount(place)[:, None])[place])


def _squared(away: Doubles, yardstick: Doubles) -> Doubles:
    return np.asarray(np.einsum("ik,kl,il->i", away, yardstick, away))


def calibrated(table: LearningTable, left: LeftOut) -> tuple[float, float]:
    """Share of coordinates in the interval that should hold `MASS`, and what the deviations must be multiplied by."""
    deviations = []
    for face, mean, spread in zip(table.face, left.learned, left.spread, strict=True):
        values, vectors = np.linalg.eigh(spread)
        deviations.append(np.abs((face - mean) @ vectors) / np.sqrt(np.maximum(values, 1e-12)))
    away = np.concatenate(deviations)
    return float((away < MASS_DEVIATIONS).mean()), float(np.quantile(away, MASS) / MASS_DEVIATIONS)


def shapes_of(model: Model, embeddings: Doubles) -> Doubles:
    """The 68 landmarks of face embeddings, (faces, K) -> (faces, 68, 2), where a landmarker would put them."""
    scheme = scheme_of(68)
    assert scheme is not None
    controls = np.stack([model.landmarks(each.astype(np.float32)) for each in embeddings])
    return np.asarray(np.einsum("pc,fcd->fpd", scheme.carry, controls[:, : scheme.carry.shape[1]]))


def craniofacial(table: LearningTable, model: Model, left: LeftOut) -> dict[str, Resemblance]:
    """Pearson's r between measurements of the believed face and of the photograph's, by name, and in the mean."""
    own, *said = (
        np.stack([measured[each.name] for each in MEASUREMENTS])
        for measured in (
            measurements(shapes_of(model, faces))
            for faces in (table.face, left.learned, left.by_attributes, left.attributes_refitted)
        )
    )  # (measurements, people) each
    people = SpeakerBootstrap(np.arange(len(table)))
    found = {
        each.name: Resemblance(*(people.correlation(one[place], own[place]) for one in said))
        for place, each in enumerate(MEASUREMENTS)
    }
    mean = [people.statistic(partial(_mean_correlation, one, own)) for one in said]
    return {MEAN_OF_ALL: Resemblance(*mean)} | found


def _mean_correlation(one: Doubles, other: Doubles, weights: Doubles) -> float:
    """Mean over rows of Pearson's r between rows (measurements, people), weights (people,); of rows that vary."""
    share = weights / weights.sum()
    a, b = (each - (each @ share)[:, None] for each in (one, other))
    spread = (a**2 @ share) * (b**2 @ share)
    varies = spread > SMALLEST_SPREAD
    return float(((a * b @ share)[varies] / np.sqrt(spread[varies])).mean()) if varies.any() else float("nan")


# --------------------------------------------------------------------------------------------------
# How much more people would teach.
# --------------------------------------------------------------------------------------------------


def learning_curve(
    table: LearningTable,
    *,
    shares: Sequence[float] = CURVE_SHARES,
    repeats: int = CURVE_REPEATS,
    seed: int = 0,
    factor: float = 1.0,
    progress: Tell = unheard,
) -> tuple[CurvePoint, ...]:
    """What voices add by the number of people, each number drawn a few times, on those who were not drawn."""
    points = []
    whole = table.sums(np.ones(len(table), bool))
    shift, centre = whole.r / whole.people, whole.x / whole.people
    for number, share in enumerate(shares):
        count = round(share * len(table))
        if count < LEAST_CURVE:
            continue
        gone, before, who = [], [], []
        for repeat in range(repeats):
            progress("learning curve, draws", number * repeats + repeat, len(shares) * repeats)
            order = np.random.default_rng([seed, repeat]).permutation(len(table))
            drawn = np.zeros(len(table), bool)
            drawn[order[:count]] = True
            parts = [table.sums(part) for part in inner_parts(table, drawn, seed)]
            rest = np.flatnonzero(~drawn)
            rows = table.first[rest]
            common = table.prior_mean[rows] + shift
            first, both = teach(parts, factor=factor).lines.moved(table.numbers[rows], centre)
            before.append(_squares(table, common + first, rest))
            gone.append(before[-1] - _squares(table, common + both, rest))
            who.append(rest)
        people = SpeakerBootstrap(np.concatenate(who))
        points.append(CurvePoint(count, people.ratio(np.concatenate(gone), np.concatenate(before))))
    return tuple(points)


def twice_as_many(curve: Sequence[CurvePoint], people: int) -> Estimate:
    """gain = most x n / (n + half), through the curve, at twice the people; NaN of fewer than three points.

    The interval comes from curves drawn within the points' own intervals.
    """
    if len(curve) < 3:
        return unknown(people)
    n = np.array([point.people for point in curve], np.float64)
    gain = np.array([point.beyond.value for point in curve])
    deviation = np.array([max((point.beyond.high - point.beyond.low) / 3.92, 1e-6) for point in curve])
    rng = np.random.default_rng(0)
    drawn = [_hyperbola(n, gain + deviation * rng.standard_normal(len(n)), 2 * people) for _ in range(200)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(_hyperbola(n, gain, 2 * people), float(low), float(high), people)


def _hyperbola(n: Doubles, gain: Doubles, at: float) -> float:
    def rising(people: Doubles, most: float, half: float) -> Doubles:
        return np.asarray(most * people / (people + half))

    try:
        fitted, _ = curve_fit(rising, n, gain, p0=(max(gain[-1], 1e-3), n[-1]), bounds=((-1, 1), (1, 20 * n[-1])))
    except RuntimeError:
        return float(gain[-1])
    return float(rising(np.array([at]), *fitted)[0])


# --------------------------------------------------------------------------------------------------
# Nobody inside: how much a person's own portrait owes to their having been learned from, and whether it shows.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReleaseGate:
    """The release gate: whether portraits give away who was learned from."""

    influence_median: float
    """How far a person's own portrait moves for their having been learned from, in deviations of what is left of
    people left out, root mean square over directions of the face."""
    influence_most: float
    recognised: float
    """Share of people learned from whose own face is the nearest to their portrait, among all of them."""
    recognised_left_out: float
    """The same of the portraits that they would have, had they alone not been learned from."""
    chance: float
    weakened: float
    """What the voice adds was multiplied by this, so that both are within their limits; 1 leaves it as it was."""
    excess_unweakened: float
    """By how much the first share is above the second with nothing weakened."""

    @property
    def passed(self) -> bool:
        """Whether both are within their limits."""
        return self.influence_most <= MOST_INFLUENCE and self.recognised - self.recognised_left_out <= MOST_RECOGNISED


def owed_to_oneself(table: LearningTable, lines: TwoLines) -> tuple[Doubles, Doubles]:
    """Everybody's portrait (people, K), and what of it they owe to their own pair, in closed form (`TwoLines.owed`).

    Less what is owed, it is the portrait by a belief that was learned, with the same strength, from the others.
    """
    said = lines.predict(table.numbers)
    recognised = None if table.recognised is None else table.recognised[table.person]
    owed = lines.owed(table.numbers, table.residual - said, recognised, table.person)
    return (table.prior_mean + said)[table.first], owed


def judge(
    table: LearningTable, lines: TwoLines, spread: Doubles, *, weakened: float = 1.0, unweakened: float | None = None
) -> ReleaseGate:
    """What portraits by these lines give away of people learned from; `spread` (K, K) is that of people left out.

    The portrait is the expected one, which gives away most: a drawn one has the belief's spread around it. `weakened`
    says how the lines came about, and `unweakened` what the excess was before.
    """
    portraits, owed = owed_to_oneself(table, lines)
    moved = np.sqrt(np.einsum("ik,kl,il->i", owed, np.linalg.inv(spread), owed) / lines.size)
    seen, unseen = _recognised(table, portraits), _recognised(table, portraits - owed)
    return ReleaseGate(
        influence_median=float(np.median(moved)),
        influence_most=float(moved.max()),
        recognised=seen,
        recognised_left_out=unseen,
        chance=1 / len(table),
        weakened=weakened,
        excess_unweakened=seen - unseen if unweakened is None else unweakened,
    )


def gate(table: LearningTable, taught: Taught) -> ReleaseGate:
    """Weaken what the voice adds as little as lets nobody's portrait give away that they were learned from.

    A strength chosen by cross-validation does not see to that: it weighs errors, and a fit whose errors are least may
    still be much nearer to those it was made of (docs/learn.md has numbers).
    """
    first = judge(table, taught.lines, taught.spread)
    found, excess = first, first.excess_unweakened
    for factor in FACTORS[1:]:
        if found.passed:
            break
        found = judge(table, taught.lines.weaker(factor), taught.spread, weakened=factor, unweakened=excess)
    return found


def _recognised(table: LearningTable, portraits: Doubles) -> float:
    """Share of portraits to which no other face is as near as the person's own, in the yardstick's deviations."""
    root = np.linalg.cholesky(yardstick(table))
    drawn, own = portraits @ root, table.face @ root
    far = np.square(drawn).sum(1)[:, None] + np.square(own).sum(1)[None] - 2 * drawn @ own.T
    return float(((far <= np.diagonal(far)[:, None] + 1e-9).sum(1) == 1).mean())
