"""Sums over people: all that a linear belief needs of them, without any voice, photograph or single person.

Of every person the voice's numbers x (D,), first what is believed of the face by attributes, then the voice itself; and
the face's residual r (K,), what the face is beyond the starter's belief by attributes. A person with several recordings
counts as one, each recording with an equal share. Sums of different people are added, and a person's are subtracted
again: what is left is what it would be had they never been there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from speech2face.errors import DatasetError, InvalidOption
from speech2face.inputs import parse_json_object
from speech2face.outputs import write_together
from speech2face.validation import validated

Doubles = NDArray[np.float64]
FORMAT = 1
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

    @classmethod
    def nothing(cls, numbers: int, size: int) -> Sums:
        """Of nobody: D numbers of a voice, K of a face."""
        square = np.zeros((size, size))
        return cls(
            0.0, np.zeros(numbers), np.zeros(size), np.zeros((numbers, numbers)), np.zeros((numbers, size)),
            square, square.copy(), square.copy(),
        )  # fmt: skip

    @classmethod
    def of(
        cls, x: NDArray[np.floating], r: NDArray[np.floating], share: Doubles, prior: Doubles, noise: Doubles
    ) -> Sums:
        """From rows x (rows, D) and r (rows, K) with shares (rows,) that make 1 for each person.

        `prior` and `noise` are (rows, K, K): covariance of the belief by attributes, and of the face's fit.
        """
        x, r = np.asarray(x, np.float64), np.asarray(r, np.float64)
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
        )

    def __add__(self, other: Sums) -> Sums:
        return self._with(other, 1.0)

    def __sub__(self, other: Sums) -> Sums:
        return self._with(other, -1.0)

    def leading(self, numbers: int) -> Sums:
        """The same with the first so many numbers of a voice alone."""
        return replace(self, x=self.x[:numbers], xx=self.xx[:numbers, :numbers], xr=self.xr[:numbers])

    def _with(self, other: Sums, sign: float) -> Sums:
        return Sums(**{each.name: getattr(self, each.name) + sign * getattr(other, each.name) for each in fields(Sums)})


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
            made_of=[*self.made_of, *other.made_of], hashed=0,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SumsFile:
    """A label and its parts, each of other people."""

    label: SumsLabel
    parts: tuple[Sums, ...]

    def __add__(self, other: SumsFile) -> SumsFile:
        """Both, the smallest parts joined where there are more than `MOST_PARTS`."""
        if self.parts[0].xr.shape != other.parts[0].xr.shape:
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
            f"{number}.{each.name}": np.asarray(getattr(part, each.name), np.float64).reshape(
                np.shape(getattr(part, each.name)) or (1,)
            )
            for number, part in enumerate(self.parts)
            for each in fields(Sums)
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
        label = validated(SumsLabel, stated, f"{path}: the label", DatasetError)
        if label.format != FORMAT:
            raise ValueError(f"format {label.format}; this program reads {FORMAT}")
        parts = tuple(_part(tensors, number) for number in range(len({name.split(".")[0] for name in tensors})))
        shapes = {part.xr.shape for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"parts of different sizes: {sorted(shapes)}")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no file of sums: {error}; write it again with learn --sums-only") from error
    check_people(parts)
    return SumsFile(label, parts)


def _part(tensors: Mapping[str, NDArray[Any]], number: int) -> Sums:
    found: dict[str, Any] = {each.name: tensors[f"{number}.{each.name}"] for each in fields(Sums)}
    part = Sums(**{**found, "people": float(found["people"][0])})
    numbers, size = part.xr.shape
    wanted = {
        "x": (numbers,), "r": (size,), "xx": (numbers, numbers), "rr": (size, size),
        "prior": (size, size), "noise": (size, size),
    }  # fmt: skip
    for name, shape in wanted.items():
        if getattr(part, name).shape != shape or not np.isfinite(getattr(part, name)).all():
            raise ValueError(f"{name} of part {number} is not {shape} finite numbers")
    return part
