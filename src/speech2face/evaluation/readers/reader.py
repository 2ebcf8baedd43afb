"""What a face-attribute reader is: a judge of pictures, none of them right about anybody, all of them the same for all.

The paper's judge was a commercial service (Face++). Whatever is used, the numbers say how two readings agree, not how
right either is about a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from speech2face.errors import SeveralFaces
from speech2face.face.detector import Picture

Attribute = Literal["gender", "age", "group"]
ATTRIBUTES: tuple[Attribute, ...] = ("gender", "age", "group")
"""In the order of reports."""


@dataclass(frozen=True)
class AttributeReading:
    """What one picture looks like to a reader; None where the reader does not read that attribute."""

    age: float | None = None
    """Apparent age in years."""
    femininity: float | None = None
    """0 to 1; above 0.5 reads as a woman's face."""
    group: str | None = None
    """One of the reader's `groups`."""

    @property
    def gender(self) -> str:
        """ "female", "male", or "" where it is not read; the very middle counts as a man's, so that it is decided."""
        if self.femininity is None:
            return ""
        return "female" if self.femininity > 0.5 else "male"


class AttributeReader(Protocol):
    """Anything that reads attributes off the one face of a picture (height, width, 3)."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def reads(self) -> tuple[Attribute, ...]:
        """The attributes it gives."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups it knows, in the order of its matrices; empty where it reads none."""
        ...

    @property
    def statement(self) -> str:
        """What it is, and what to know before believing it: one or two sentences for the report."""
        ...

    def read(self, picture: Picture) -> AttributeReading | None:
        """What the one face looks like, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        ...


def read_drawn(reader: AttributeReader, picture: Picture) -> AttributeReading | None:
    """The reading of a face that was drawn; None where none is seen in it, or more than one."""
    try:
        return reader.read(picture)
    except SeveralFaces:
        return None


def read_pictures(reader: AttributeReader, pictures: Iterable[Picture | None]) -> list[AttributeReading | None]:
    """Readings of many pictures, one at a time; None where there is no picture or no face in it."""
    return [None if picture is None else read_drawn(reader, picture) for picture in pictures]
