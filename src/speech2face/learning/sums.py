"""Sums over people: all that a linear belief needs of them, without any voice, photograph or single person.

Of every person the voice's numbers x (D,), first what is believed of the face by attributes, then the voice itself; and
the face's residual r (K,), what the face is beyond the starter's belief by attributes. A person with several recordings
counts as one, each recording with an equal share. Sums of different people are added, and a person's are subtracted
again: what is left is what it would be had they never been there.

Where a face recogniser is at hand, of every person also its embedding e (M,) of their photographs; M is 0 elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from speech2face.errors import DatasetError, InvalidOption
from speech2face.inputs import parse_json_object
from speech2face.outputs import write_together
from speech2face.validation import validated

Doubles = NDArray[np.float64]
FORMAT = 2
"""1 had no gate and no marks of who was taken off."""
Target = Literal["appearance", "embedder", "both"]
"""In which numbers of a face is learned: the starter's face embedding, a face recogniser's, or both side by side."""
APPEARANCE: Target = "appearance"
LEAST_PEOPLE = 30
"""Of sums that are written or read: those of fewer can give a person away."""
MOST_PARTS = 10
"""Parts of a file: as many folds as its cross-validation can have, each of `LEAST_PEOPLE` or more."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over some people; every array in double precision."""

    people: float
    x: Doubles
    """(D,)"""
    r: Doubles
    """(K,)"""
    xx: Doubles
    """(D, D)"""
    xr: Doubles
    """(D, K)"""
    rr: Doubles
    """(K, K)"""
    prior: Doubles
    """(K, K): covariances of the belief by attributes"""
    noise: Doubles
    """(K, K): covariances of the faces' own fits"""
    e: Doubles = field(default_factory=lambda: np.zeros(0))
    """(M,)"""
    xe: Doubles = field(default_factory=lambda: np.zeros((0, 0)))
    """(D, M)"""
    re: Doubles = field(default_factory=lambda: np.zeros((0, 0)))
    """(K, M)"""
    ee: Doubles = field(default_factory=lambda: np.zeros((0, 0)))
    """(M, M)"""
    target: Target = APPEARANCE
    """In which numbers is learned from them."""

    @classmethod
    def of(
        cls,
        x: NDArray[np.floating],
        r: NDArray[np.floating],
        share: Doubles,
        prior: Doubles,
        noise: Doubles,
        e: NDArray[np.floating] | None = None,
    ) -> Sums:
        """From rows x (rows, D) and r (rows, K) with shares (rows,) that make 1 for each person.

        `prior` and `noise` are (rows, K, K): covariance of the belief by attributes, and of the face's fit; `e` is
        (rows, M), None where there is no face recogniser.
        """
        x, r = np.asarray(x, np.float64), np.asarray(r, np.float64)
        e = np.zeros((len(x), 0)) if e is None else np.asarray(e, np.float64)
        weighted = x * share[:, None]
        return cls(
            people=float(share.sum()),
            x=weighted.sum(0),
            r=share @ r,
            xx=weighted.T @ x,
            xr=weighted.T @ r,
            rr=(r * share[:, None]).T @ r,
            prior=np.tensordot(share, prior, 1),
            noise=np.tensordot(share, noise, 1),
            e=share @ e,
            xe=weighted.T @ e,
            re=(r * share[:, None]).T @ e,
            ee=(e * share[:, None]).T @ e,
        )

    def __add__(self, other: Sums) -> Sums:
        return self._with(other, 1.0)

    def __sub__(self, other: Sums) -> Sums:
        return self._with(other, -1.0)

    def leading(self, numbers: int) -> Sums:
        """The same with the first so many numbers of a voice alone."""
        return replace(
            self, x=self.x[:numbers], xx=self.xx[:numbers, :numbers], xr=self.xr[:numbers], xe=self.xe[:numbers]
        )

    def recoded(self, into: Doubles, around: Doubles) -> Sums:
        """The face's numbers and the recogniser's together: r, then (e - around) into; `into` is (M, J).

        The result has K + J numbers of a face and no recogniser. What is stated of the spread of the new ones is 1.
        """
        size, new = len(self.r), into.shape[1]
        away = self.e - self.people * around
        xe = (self.xe - np.outer(self.x, around)) @ into
        re = (self.re - np.outer(self.r, around)) @ into
        # Around the point: sum of (e - a)(e - a)' = ee - e a' - a e' + people a a'.
        crossed = np.outer(self.e, around)
        ee = into.T @ (self.ee - crossed - crossed.T + self.people * np.outer(around, around)) @ into
        prior, noise = (np.zeros((size + new, size + new)) for _ in range(2))
        prior[:size, :size], noise[:size, :size] = self.prior, self.noise
        prior[size:, size:] = self.people * np.eye(new)
        return Sums(
            people=self.people,
            x=self.x,
            r=np.concatenate([self.r, away @ into]),
            xx=self.xx,
            xr=np.concatenate([self.xr, xe], axis=1),
            rr=np.block([[self.rr, re], [re.T, ee]]),
            prior=prior,
            noise=noise,
        )

    def of_face(self, which: slice) -> Sums:
        """The same of some numbers of a face alone, without a recogniser."""
        square = (which, which)
        return Sums(
            self.people, self.x, self.r[which], self.xx, self.xr[:, which], self.rr[square], self.prior[square],
            self.noise[square],
        )  # fmt: skip

    def from_face(self, which: slice, to: slice) -> Sums:
        """Some numbers of a face in the place of the voice's, and others as what follows from them."""
        square = (to, to)
        return Sums(
            self.people, self.r[which], self.r[to], self.rr[which, which], self.rr[which, to], self.rr[square],
            self.prior[square], self.noise[square],
        )  # fmt: skip

    def _with(self, other: Sums, sign: float) -> Sums:
        return replace(self, **{name: getattr(self, name) + sign * getattr(other, name) for name in ARRAYS})


ARRAYS = ("people", "x", "r", "xx", "xr", "rr", "prior", "noise", "e", "xe", "re", "ee")
"""What is added of sums."""
OF_RECOGNISER = ("e", "xe", "re", "ee")
"""Of these, what is empty without a face recogniser."""


def total(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts together; at least one."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


# --------------------------------------------------------------------------------------------------
# A file of sums: parts of 30 or more people, and a label that says what they are of.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SumsLabel:
    """What a file of sums says of itself."""

    encoder: str
    """SHA-256 over the voice encoder and its axes: only sums of the same one can be added."""
    target: str
    """What the faces' numbers are: `appearance`, or the record of a face embedder."""
    by_attributes: bool
    """Whether r is what the face is beyond the belief by attributes, or beyond the mean face."""
    people: int
    licences: dict[str, int]
    """How many people by licence."""
    consents: dict[str, int]
    """How many people by basis of consent."""
    made_of: list[str]
    """SHA-256 of the manifests or tables of pairs."""
    weakened: float
    """By which what voices add has to be multiplied at most, as the release gate at each place found; the least."""
    gate_passed: bool
    """Whether it then passed at every place."""
    taken_off: list[str] = field(default_factory=list)
    """Marks of people who were subtracted: `numbers_mark` of their recordings and photographs, which name nobody."""
    hashed: int = 0
    """Into how many parts a hash of their names placed the people; 0 where files were joined."""
    format: int = FORMAT

    def joined(self, other: SumsLabel) -> SumsLabel:
        """Of both together.

        Raises:
            InvalidOption: they are of different encoders or targets, or hold the same data.
        """
        for what in ("encoder", "target", "by_attributes"):
            if getattr(self, what) != getattr(other, what):
                raise InvalidOption(
                    f"these sums cannot be added: their {what.replace('_', ' ')} is {getattr(self, what)!s:.16} and"
                    f" {getattr(other, what)!s:.16}; make them with the same version of the program and its options"
                )
        if common := set(self.made_of) & set(other.made_of):
            raise InvalidOption(f"these sums hold the same data (SHA-256 {min(common):.12}); people would count twice")
        counted = [
            {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}
            for a, b in ((self.licences, other.licences), (self.consents, other.consents))
        ]
        return replace(
            self, people=self.people + other.people, licences=counted[0], consents=counted[1],
            made_of=[*self.made_of, *other.made_of], taken_off=[*self.taken_off, *other.taken_off], hashed=0,
            weakened=min(self.weakened, other.weakened), gate_passed=self.gate_passed and other.gate_passed,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SumsFile:
    """A label and its parts, each of other people."""

    label: SumsLabel
    parts: tuple[Sums, ...]

    def __add__(self, other: SumsFile) -> SumsFile:
        """Both, the smallest parts joined where there are more than `MOST_PARTS`."""
        if self.parts[0].xr.shape != other.parts[0].xr.shape or self.parts[0].e.size != other.parts[0].e.size:
            raise InvalidOption("these sums cannot be added: they are of different numbers of a voice or a face")
        parts = sorted([*self.parts, *other.parts], key=lambda part: part.people)
        while len(parts) > MOST_PARTS:
            parts = sorted([parts[0] + parts[1], *parts[2:]], key=lambda part: part.people)
        return SumsFile(self.label.joined(other.label), tuple(parts))

    def write(self, path: Path, *, force: bool = False) -> None:
        """Write the file whole or not at all.

        Raises:
            InvalidOption: a part is of fewer than `LEAST_PEOPLE`.
            OutputExists, CannotWrite: the path is taken, or cannot be written.
        """
        check_people(self.parts)
        tensors = {
            f"{number}.{name}": np.atleast_1d(np.asarray(getattr(part, name), np.float64))
            for number, part in enumerate(self.parts)
            for name in ARRAYS
            if np.size(getattr(part, name))
        }
        content = save(tensors, {"label": json.dumps(asdict(self.label), sort_keys=True)})
        write_together({path: content}, force=force)


def check_people(parts: Sequence[Sums]) -> None:
    """Refuse sums that can give a person away.

    Raises:
        InvalidOption: a part is of fewer than `LEAST_PEOPLE`.
    """
    least = min(round(part.people) for part in parts)
    if least < LEAST_PEOPLE:
        raise InvalidOption(
            f"sums of {least} people can give a person away; {LEAST_PEOPLE} is the least that is written or read"
        )


def read_sums(path: Path) -> SumsFile:
    """Read a file of sums.

    Raises:
        DatasetError: it cannot be read or is none.
        InvalidOption: a part is of fewer than `LEAST_PEOPLE`.
    """
    try:
        with safe_open(path, "np") as file:
            stated = parse_json_object((file.metadata() or {})["label"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        if stated.get("format") != FORMAT:
            raise ValueError(f"format {stated.get('format')}; this program reads {FORMAT}")
        label = validated(SumsLabel, stated, f"{path}: the label", DatasetError)
        parts = tuple(_part(tensors, number) for number in range(len({name.split(".")[0] for name in tensors})))
        shapes = {(part.xr.shape, part.e.size) for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"parts of different sizes: {sorted(shapes)}")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no file of sums: {error}; write it again with learn --sums-only") from error
    check_people(parts)
    return SumsFile(label, parts)


def _part(tensors: Mapping[str, NDArray[Any]], number: int) -> Sums:
    stated = [name for name in ARRAYS if name not in OF_RECOGNISER]
    found: dict[str, Any] = {name: tensors[f"{number}.{name}"] for name in stated}
    numbers, size = found["xr"].shape
    length = tensors[f"{number}.e"].size if f"{number}.e" in tensors else 0
    wanted = {
        "x": (numbers,), "r": (size,), "xx": (numbers, numbers), "rr": (size, size), "xr": (numbers, size),
        "prior": (size, size), "noise": (size, size),
        "e": (length,), "xe": (numbers, length), "re": (size, length), "ee": (length, length),
    }  # fmt: skip
    for name in OF_RECOGNISER:
        found[name] = tensors[f"{number}.{name}"] if length else np.zeros(wanted[name])
    for name, shape in wanted.items():
        if found[name].shape != shape or not np.isfinite(found[name]).all():
            raise ValueError(f"{name} of part {number} is not {shape} finite numbers")
    return Sums(**{**found, "people": float(found["people"][0])})


# --- The belief in closed form: a correction by pairs whose strength the pairs choose, from sums over people alone.
#
# With x a voice's numbers and r what a face is beyond the belief by attributes, both around their means,
#
#     r = x W + e,   e ~ N(0, R),   the coefficient along each principal axis of x ~ N(0, B / variance^a)
#
# R (K, K) is the spread of r. B (K, K) says how much a voice moves each direction of the face, and starts as a
# multiple of R: the same small share of every direction is explained. Where `shaped`, it is then drawn to what the
# pairs show (EM for a random-effects model; Dempster, Laird and Rubin 1977), so that directions that voices tell are
# believed and others are not; or it is nothing but along the few directions of the face that an even B moves most.
# Given B this is ridge regression with a strength of its own for each direction (Hoerl and Kennard 1970).
#
# Share, shape or rank, and exponent are chosen by cross-validation over people; a share of 0 is among them, and
# changes nothing. This is done twice: first with what the starter believes by attributes as x, so that what age and
# gender say of a face is refitted to these people; then, of what is left, with the voice itself. What the second adds
# is what voices tell beyond age and gender. All of it, the errors of the people left out too, follows from the sums.

SHARES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6)
"""Of the spread that a voice explains, where B begins."""
RANKS = (1, 2, 3, 4, 6)
"""Directions of the face that voices may move, where they are few (reduced-rank ridge; Mukherjee and Zhu 2011)."""
AHEAD = 1.0
"""Standard errors over the parts left out by which few directions must be better than all, where they are believed."""
EXPONENTS = (0.0, 0.5)
"""0: axes along which voices vary most weigh most, a plain ridge; 1 would be all alike."""
STATED_PEOPLE = 50.0
"""Imagined people behind the spread that the starter states, beside the pairs' own: two of each coordinate."""
SHAPE_AXES = 10.0
"""Imagined axes of the voice behind an even B, where it is shaped."""
SHAPE_STEPS = 15
LEAST_DEVIATION = 0.05
"""Of a face's coordinate, in its own unit: attributes that are read surely leave some of them no spread at all."""
AXES_SHARE = 0.9
"""Of the people: at most so many axes of the voice are looked along."""
SMALL, LEAST_VARIANCE = 1e-9, 1e-9
MOST_LEVERAGE = 0.99


@dataclass(frozen=True)
class Strength:
    """How much of what pairs show is believed; the default is nothing."""

    share: float = 0.0
    shaped: bool = False
    exponent: float = 0.0
    rank: int = 0
    """Directions of the face that may move; 0 leaves all of them."""


NOTHING = Strength()
EVEN = (NOTHING, *(Strength(share, exponent=exponent) for share, exponent in product(SHARES, EXPONENTS)))


def shaped_beside(strength: Strength) -> tuple[Strength, ...]:
    """The shaped ones with the same exponent and a share that is the same or next to it; none beside nothing."""
    if strength == NOTHING:
        return ()
    place = SHARES.index(strength.share)
    return tuple(Strength(share, True, strength.exponent) for share in SHARES[max(0, place - 2) : place + 2])


def reduced_beside(strength: Strength) -> tuple[Strength, ...]:
    """Those along few directions, with the same exponent and a share that is the same or next to it."""
    if strength == NOTHING:
        return ()
    place = SHARES.index(strength.share)
    shares = SHARES[max(0, place - 1) : place + 2]
    return tuple(Strength(share, False, strength.exponent, rank) for rank, share in product(RANKS, shares))


@dataclass(frozen=True, eq=False)
class Line:
    """r in the mean, given x: shift + (x - centre) weights."""

    centre: Doubles
    """(D,)"""
    weights: Doubles
    """(D, K)"""
    shift: Doubles
    """(K,)"""
    axes: Doubles
    """(J, D): principal axes of x, each over the root of people x variance; their squared products with x are
    leverages."""
    shrinkage: Doubles
    """(J, K): which part of an axis's coefficient is believed, by direction of the face."""
    directions: Doubles
    """(K, K): directions of the face, in columns: (r directions) is what is shrunk."""
    left: float = 1.0
    """What `weaker` left of the weights; axes and shrinkage are those of the whole line."""

    def predict(self, x: NDArray[np.floating]) -> Doubles:
        """(rows, D) -> (rows, K)."""
        return np.asarray(self.shift + (x - self.centre) @ self.weights)

    def moved(self, x: NDArray[np.floating], centre: Doubles) -> Doubles:
        """What voices alone move, around another mean voice (D,): (rows, D) -> (rows, K)."""
        return np.asarray((x - centre) @ self.weights)

    def owed(self, x: NDArray[np.floating], error: Doubles, person: NDArray[np.int64] | None = None) -> Doubles:
        """What each person's own r has added to what is believed at their first row, (people, K).

        From x (rows, D) and its error (rows, K), in closed form (Cook 1977): a leverage h times the error without the
        row, error / (1 - h), by direction; where a person has several rows, h is a matrix of them. `person` (rows,) is
        whose each row is, None a person a row.
        """
        return self.owed_at(x, x, error, person)

    def owed_at(
        self, at: NDArray[np.floating], x: NDArray[np.floating], error: Doubles, person: NDArray[np.int64] | None = None
    ) -> Doubles:
        """As `owed`, of what is believed at other numbers than the own, from the own; both (rows, D).

        `error` is that at the rows' own x, as it is there without any correction.
        """
        # Of a line that was weakened the leverages are those of the line before, and so is the error they go with.
        whole = error - (1 / self.left - 1) * self.moved(x, self.centre)
        wrong = whole @ self.directions
        own = (x - self.centre) @ self.axes.T
        leverage = np.minimum(np.square(own) @ self.shrinkage, MOST_LEVERAGE)
        people = np.arange(len(x)) if person is None else np.unique(person, return_inverse=True)[1]
        first, rows = np.unique(people, return_index=True, return_counts=True)[1:]
        there = (at[first] - self.centre) @ self.axes.T
        moved = (there * own[first]) @ self.shrinkage / (1 - leverage[first]) * wrong[first]
        for who in np.flatnonzero(rows > 1):
            moved[who] = self._owed_of_several(there[who], own[people == who], wrong[people == who])
        return np.asarray(self.left * moved @ np.linalg.inv(self.directions))

    def _owed_of_several(self, there: Doubles, own: Doubles, wrong: Doubles) -> Doubles:
        """Of one person, (K,): axes at (J,) and of their rows (rows, J), errors (rows, K) by direction.

        With H (rows, rows) the leverages of all rows, each counting as one of so many, the errors had they not been
        there are (I - H)^-1 error.
        """
        count = len(own)
        leverages = (own * self.shrinkage.T[:, None]) @ own.T / count  # (K, rows, rows)
        most = np.trace(leverages, axis1=1, axis2=2)  # none is larger
        if most.max() > MOST_LEVERAGE:
            most = np.linalg.eigvalsh(leverages)[:, -1]
        leverages *= np.minimum(1, MOST_LEVERAGE / np.maximum(most, MOST_LEVERAGE))[:, None, None]
        without = np.linalg.solve(np.eye(count) - leverages, wrong.T[..., None])[..., 0]  # (K, rows)
        return np.asarray(np.einsum("j,jk,kj->k", there, self.shrinkage, without @ own) / count)

    def to_first(self, count: int) -> Line:
        """To the first so many numbers of a face alone; leverages stay with the whole."""
        return replace(self, weights=self.weights[:, :count], shift=self.shift[:count])

    def followed_by(self, other: Line) -> Line:
        """The line to what `other` makes of this one's numbers; leverages stay with both."""
        return replace(self, weights=self.weights @ other.weights, shift=other.predict(self.shift[None])[0])

    def weaker(self, factor: float) -> Line:
        """The same moving so much less with the voice; the shift stays."""
        return replace(self, weights=self.weights * factor, left=self.left * factor)

    def errors(self, sums: Sums) -> Doubles:
        """Sum over other people of the outer product of their errors with itself, (K, K)."""
        constant = self.shift - self.centre @ self.weights
        crossed = sums.xr.T @ self.weights + np.outer(sums.r, constant)
        cross = np.outer(sums.x @ self.weights, constant)
        said = self.weights.T @ sums.xx @ self.weights + cross + cross.T + sums.people * np.outer(constant, constant)
        return np.asarray(sums.rr - crossed - crossed.T + said)


@dataclass(frozen=True, eq=False)
class TwoLines:
    """What attributes say of a face, refitted, and what the voice adds; of numbers (rows, K + D), attributes first."""

    attributes: Line
    voice: Line

    @property
    def size(self) -> int:
        """K."""
        return len(self.attributes.shift)

    def predict(self, numbers: NDArray[np.floating]) -> Doubles:
        """(rows, K + D) -> (rows, K)."""
        first, rest = numbers[:, : self.size], numbers[:, self.size :]
        return np.asarray(self.attributes.predict(first) + self.voice.predict(rest))

    def moved(self, numbers: NDArray[np.floating], centre: Doubles) -> tuple[Doubles, Doubles]:
        """What attributes alone move around another mean (K + D,), and attributes with the voice, (rows, K) each."""
        first = self.attributes.moved(numbers[:, : self.size], centre[: self.size])
        return first, first + self.voice.moved(numbers[:, self.size :], centre[self.size :])

    def weaker(self, factor: float) -> TwoLines:
        """The same with less of the voice."""
        return replace(self, voice=self.voice.weaker(factor))

    def owed(
        self,
        numbers: NDArray[np.floating],
        error: Doubles,
        recognised: Doubles | None = None,
        person: NDArray[np.int64] | None = None,
    ) -> Doubles:
        """As `Line.owed`, both together, (people, K); `recognised` (rows, M) is not looked at here."""
        first = self.attributes.owed(numbers[:, : self.size], error, person)
        return np.asarray(first + self.voice.owed(numbers[:, self.size :], error, person))


@dataclass(frozen=True, eq=False)
class Taught:
    """What pairs teach of attributes and voice."""

    lines: TwoLines
    strength: Strength
    """Of the voice."""
    attributes_strength: Strength
    spread: Doubles
    """(K, K): covariance of r around the lines, measured on people left out."""


@dataclass(frozen=True, eq=False)
class Learned:
    """One line that pairs teach."""

    line: Line
    strength: Strength
    spread: Doubles
    """(K, K): covariance of r around the line, measured on people left out."""
    gain: float
    """By how much the squared error of people left out fell beside the shifted belief by attributes, as a share."""


def stated_spread(sums: Sums) -> Doubles:
    """What the starter states of the spread of these people's faces around its belief: (K, K), of full rank."""
    stated = sums.prior / sums.people
    return np.asarray(stated + LEAST_DEVIATION**2 * np.eye(len(stated)))


def learn(parts: Sequence[Sums], strengths: Sequence[Strength] | None = None, *, factor: float = 1.0) -> Learned:
    """Choose the strength by leaving out one part after another, and fit all of them with it.

    First among even ones, then among shaped ones beside the best; or among `strengths`, where they are given. Of a
    single part nobody can be left out: then nothing is believed. What is chosen is weakened by `factor`, and spread and
    gain are those of what is left.
    """
    whole = total(parts)
    if len(parts) < 2:
        line = PreparedSums(whole).line(NOTHING)
        return Learned(line, NOTHING, steadied(line.errors(whole), whole), 0.0)
    yardstick = np.linalg.inv(steadied(whole.rr, whole))
    rest = [PreparedSums(whole - part) for part in parts]
    errors: dict[Strength, Doubles] = {}  # (parts,) each: squared error of the people left out

    def best(of: Sequence[Strength]) -> Strength:
        for each in of:
            if each not in errors:
                left = (r.line(each).errors(part) for r, part in zip(rest, parts, strict=True))
                errors[each] = np.array([np.sum(yardstick * error) for error in left])
        return min(of, key=lambda each: float(errors[each].sum()))

    chosen = best(EVEN if strengths is None else strengths)
    if strengths is None:
        even = chosen
        chosen = best((even, *shaped_beside(even)))
        reduced = best((chosen, *reduced_beside(even)))
        ahead = errors[chosen] - errors[reduced]
        if ahead.sum() > AHEAD * ahead.std(ddof=1) * np.sqrt(len(parts)):
            chosen = reduced
    kept = np.sum([r.line(chosen).weaker(factor).errors(part) for r, part in zip(rest, parts, strict=True)], axis=0)
    size = float(np.sum(yardstick * kept))
    gain = 1 - size / float(errors[NOTHING].sum() if NOTHING in errors else size)
    return Learned(PreparedSums(whole).line(chosen).weaker(factor), chosen, steadied(kept, whole), gain)


def teach(parts: Sequence[Sums], *, factor: float = 1.0) -> Taught:
    """Refit what attributes say of a face, and learn what the voice adds, weakened by `factor`."""
    if parts[0].target != APPEARANCE:
        return teach_by_recogniser(parts, factor=factor)
    size = len(parts[0].r)
    attributes = learn([part.leading(size) for part in parts])
    voice = learn([beyond(part, attributes.line) for part in parts], factor=factor)
    return Taught(TwoLines(attributes.line, voice.line), voice.strength, attributes.strength, voice.spread)


def beyond(sums: Sums, line: Line) -> Sums:
    """Sums of the voice's other numbers, and of what a line on the leading ones leaves of r."""
    first = len(line.centre)
    constant = line.shift - line.centre @ line.weights
    return Sums(
        people=sums.people,
        x=sums.x[first:],
        r=sums.r - sums.x[:first] @ line.weights - sums.people * constant,
        xx=sums.xx[first:, first:],
        xr=sums.xr[first:] - sums.xx[first:, :first] @ line.weights - np.outer(sums.x[first:], constant),
        rr=line.errors(sums.leading(first)),
        prior=sums.prior,
        noise=sums.noise,
    )


def steadied(squares: Doubles, sums: Sums) -> Doubles:
    """A covariance from a sum of squares, with some imagined people behind the starter's own, at the pairs' scale."""
    stated = stated_spread(sums)
    scale = np.trace(np.linalg.solve(stated, squares)) / len(stated) / sums.people
    return np.asarray((squares + STATED_PEOPLE * scale * stated) / (sums.people + STATED_PEOPLE))


class PreparedSums:
    """Sums along the voice's principal axes, for lines of any strength."""

    def __init__(self, sums: Sums) -> None:
        people = sums.people
        self.people, self.centre = people, sums.x / people
        mean = sums.r / people
        self.triangle = np.linalg.cholesky(steadied(sums.rr - people * np.outer(mean, mean), sums))
        inverse = np.linalg.inv(self.triangle)
        # The mean of r is believed as far as it is more than chance (James and Stein 1961, the positive part).
        length = people * float(np.square(inverse @ mean).sum())
        self.shift = mean * max(0.0, 1.0 - max(len(mean) - 2, 0) / max(length, SMALL))
        crossed = (sums.xr / people - np.outer(self.centre, mean)) @ inverse.T  # (D, K): r has unit spread here
        variances, vectors = np.linalg.eigh(sums.xx / people - np.outer(self.centre, self.centre))
        there = variances > max(variances[-1] * SMALL, LEAST_VARIANCE)
        count = min(int(there.sum()), int(people * AXES_SHARE))  # none where all voices are alike
        self.variances, vectors = variances[::-1][:count], vectors[:, ::-1][:, :count]
        self.axes = (vectors / np.sqrt(people * self.variances)).T  # (J, D)
        self.coefficients = people * self.axes @ crossed  # (J, K), each with noise of unit spread

    def line(self, strength: Strength) -> Line:
        """The line that is believed with this strength."""
        relative = self.variances ** (1 - strength.exponent)
        weight = self.people * relative / max(relative.sum(), LEAST_VARIANCE)  # (J,): shares of signal in people
        ratio, turn = self._shape(weight, strength)
        gain = weight[:, None] * ratio
        shrinkage = gain / (1 + gain)  # (J, K)
        believed = (self.coefficients @ turn * shrinkage) @ turn.T @ self.triangle.T
        directions = np.linalg.inv(self.triangle).T @ turn
        return Line(self.centre, self.axes.T @ believed, self.shift, self.axes, shrinkage, directions)

    def _shape(self, weight: Doubles, strength: Strength) -> tuple[Doubles, Doubles]:
        """B as eigenvalues (K,) and eigenvectors (K, K)."""
        size = self.coefficients.shape[1]
        even = strength.share / (1 - strength.share)
        ratio, turn = np.full(size, even), np.eye(size)
        if strength.rank and even:
            means = self.coefficients * (np.sqrt(weight) * even / (1 + weight * even))[:, None]
            turn = np.linalg.eigh(means.T @ means)[1]
            return np.where(np.arange(size) < size - strength.rank, 0.0, even * size / strength.rank), turn
        if not (strength.shaped and even):
            return ratio, turn
        for _ in range(SHAPE_STEPS):
            gain = weight[:, None] * ratio
            means = self.coefficients @ turn * (np.sqrt(weight)[:, None] * ratio / (1 + gain))  # of the effects
            unsure = (ratio / (1 + gain)).sum(0)
            effects = turn @ (means.T @ means + np.diag(unsure)) @ turn.T
            shaped = (effects + SHAPE_AXES * even * np.eye(size)) / (len(weight) + SHAPE_AXES)
            ratio, turn = np.linalg.eigh(shaped)
            ratio = np.maximum(ratio, 0.0)
        return ratio, turn


# --------------------------------------------------------------------------------------------------
# With a face recogniser: its embedding of the photographs is learned, alone or beside the appearance, and what is drawn
# is the appearance that goes with it, by a second line that is learned from the same people.
# --------------------------------------------------------------------------------------------------

KEPT_VARIANCE = 0.95
"""Of the recogniser's embeddings: so much do the principal directions hold that are learned in."""
MOST_DIRECTIONS = 48
PEOPLE_A_DIRECTION = 4.0
"""At least so many people stand behind each of them."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The principal directions of a recogniser's embeddings e (M,): u = (e - centre) into, of unit spread each."""

    centre: Doubles
    """(M,)"""
    into: Doubles
    """(M, J)"""
    back: Doubles
    """(J, M)"""

    @classmethod
    def of(cls, sums: Sums) -> Directions:
        """Of some people; at least one direction."""
        centre = sums.e / sums.people
        variances, vectors = np.linalg.eigh(sums.ee / sums.people - np.outer(centre, centre))
        variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1]
        held = np.cumsum(variances) / max(variances.sum(), LEAST_VARIANCE)
        wanted = int(np.searchsorted(held, KEPT_VARIANCE)) + 1
        count = max(1, min(wanted, MOST_DIRECTIONS, int(sums.people / PEOPLE_A_DIRECTION), len(held)))
        deviations = np.sqrt(np.maximum(variances[:count], LEAST_VARIANCE))
        return cls(centre, vectors[:, :count] / deviations, (vectors[:, :count] * deviations).T)

    def of_rows(self, recognised: NDArray[np.floating]) -> Doubles:
        """(rows, M) -> (rows, J)."""
        return np.asarray((recognised - self.centre) @ self.into)


@dataclass(frozen=True, eq=False)
class RecognisedLines(TwoLines):
    """Two lines to the appearance, of which the voice's goes by way of a recogniser's embedding, or learned beside it.

    `voice` is that way as one line; the others say how it came about.
    """

    directions: Directions
    recognised_attributes: Line
    """From attributes to u (J,)."""
    learned: Line
    """From the voice to what is learned: u, or r (K,) and then u, each beyond what attributes say."""
    onto: Line | None
    """From u to r, both beyond what attributes say; None where r itself is learned beside u."""

    def weaker(self, factor: float) -> RecognisedLines:
        """The same with less of the voice."""
        return replace(self, voice=self.voice.weaker(factor), learned=self.learned.weaker(factor))

    def recognise(self, numbers: NDArray[np.floating], centre: Doubles) -> tuple[Doubles, Doubles]:
        """As `moved`, in the recogniser's space: by attributes alone, and with the voice, (rows, M) each."""
        size, length = self.size, len(self.recognised_attributes.shift)
        first = self.recognised_attributes.moved(numbers[:, :size], centre[:size])
        voice = self.learned.moved(numbers[:, size:], centre[size:])[:, -length:]
        return first @ self.directions.back, (first + voice) @ self.directions.back

    def owed(
        self,
        numbers: NDArray[np.floating],
        error: Doubles,
        recognised: Doubles | None = None,
        person: NDArray[np.int64] | None = None,
    ) -> Doubles:
        """As `Line.owed`, of people with these recogniser's embeddings (rows, M); both lines count."""
        assert recognised is not None, "the recogniser's embeddings of the same people"
        attributes, x = numbers[:, : self.size], numbers[:, self.size :]
        first = self.attributes.owed(attributes, error, person)
        u = self.directions.of_rows(recognised) - self.recognised_attributes.predict(attributes)
        said = self.learned.predict(x)
        if self.onto is None:
            wrong = np.concatenate([error, u - said[:, self.size :]], axis=1)
            return np.asarray(first + self.learned.owed(x, wrong, person)[:, : self.size])
        by_voice = self.learned.owed(x, u - said, person) @ self.onto.weights
        wrong = error + self.voice.predict(x) - self.onto.predict(u)  # of the second line, of the person's own u
        return np.asarray(first + by_voice + self.onto.owed_at(said, u, wrong, person))


def teach_by_recogniser(parts: Sequence[Sums], *, factor: float = 1.0) -> Taught:
    """As `teach`, in the space that the sums' target names; what the voice adds is weakened by `factor`.

    The spread is that of the appearance around what is drawn, of people left out, so that the error of both lines is in
    it.
    """
    size, target = len(parts[0].r), parts[0].target
    directions = Directions.of(total(parts))
    coded = [part.recoded(directions.into, directions.centre) for part in parts]
    face, rest = slice(0, size), slice(size, None)
    attributes, recognised = (learn([part.leading(size).of_face(which) for part in coded]) for which in (face, rest))
    left = [beyond(part, _side_by_side(attributes.line, recognised.line)) for part in coded]
    learned = learn(left if target == "both" else [part.of_face(rest) for part in left])
    onto = None if target == "both" else learn([part.from_face(rest, face) for part in left])

    def drawn(sums: Sequence[Sums], leave: int | None) -> tuple[Line, Line, Line | None]:
        """All of them, or without one part, the strengths as chosen."""
        some = total([part for number, part in enumerate(sums) if number != leave])
        voice = PreparedSums(some if target == "both" else some.of_face(rest)).line(learned.strength).weaker(factor)
        if onto is None:
            return voice.to_first(size), voice, None
        second = PreparedSums(some.from_face(rest, face)).line(onto.strength)
        return voice.followed_by(second), voice, second

    line, voice, second = drawn(left, None)
    whole = total(left).of_face(face)
    if len(parts) < 2:
        error = line.errors(whole)
    else:
        error = np.sum([drawn(left, n)[0].errors(part.of_face(face)) for n, part in enumerate(left)], axis=0)
    lines = RecognisedLines(attributes.line, line, directions, recognised.line, voice, second)
    strength = learned.strength if onto is None or onto.strength != NOTHING else NOTHING
    return Taught(lines, strength, attributes.strength, steadied(error, whole))


def _side_by_side(one: Line, other: Line) -> Line:
    """One line to the numbers of both, from the same x; it knows of no leverage."""
    return Line(
        one.centre, np.concatenate([one.weights, other.weights], axis=1), np.concatenate([one.shift, other.shift]),
        np.zeros((0, len(one.centre))), np.zeros((0, 0)), np.zeros((0, 0)),
    )  # fmt: skip
