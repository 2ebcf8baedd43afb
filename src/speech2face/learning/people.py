"""The people of a learning: their clips' numbers as arrays, a row a clip, and who of them is in which part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.data.record import numbers_mark, speaker_draw
from speech2face.errors import DatasetError, InvalidOption
from speech2face.face.fit import LEAST_WEIGHT, left_of_variance
from speech2face.learning.features import LABELS, EncodedClips, VoiceAxes
from speech2face.learning.sums import APPEARANCE, LEAST_PEOPLE, MOST_PARTS, Doubles, Sums, Target

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
