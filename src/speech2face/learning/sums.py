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
    """Marks of people who were subtracted: `person_mark` of their recordings and photographs, which name nobody."""
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
            f"{number}.{name}": np.asarray(getattr(part, name), np.float64).reshape(
                np.shape(getattr(part, name)) or (1,)
            )
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
