"""Under which licence a record may be used, and on what the consent of the person in it rests.

What a corpus's publishers state is filled in from a table; what they do not state is the user's to say. A record with
neither is rejected, unless the user allows that in so many words, which the data statement repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from speech2face.data.record import Record, Reject, reject
from speech2face.errors import InvalidOption

Missing = Literal["licence", "consent"]


@dataclass(frozen=True)
class Stated:
    """What a corpus's publishers say."""

    licence: str
    consent: str
    """"" where nobody was asked: being public is no consent."""
    why: str
    """Shown where the consent is missing."""


STATED: Mapping[str, Stated] = {
    "avspeech": Stated(
        licence="list of clips: CC BY 4.0; videos: their uploaders', under YouTube's terms",
        consent="",
        why="the people in AVSpeech's videos were not asked",
    ),
    "voxceleb1": Stated(
        licence="metadata: CC BY 4.0; recordings and pictures: copyright of the videos' owners",
        consent="",
        why="the public figures of VoxCeleb were not asked",
    ),
    "voxceleb2": Stated(
        licence="metadata: CC BY 4.0; recordings and pictures: copyright of the videos' owners",
        consent="",
        why="the public figures of VoxCeleb were not asked",
    ),
    "pairs": Stated(licence="", consent="", why="its row states none"),
    "videos": Stated(licence="", consent="", why="a folder of videos states none"),
}


@dataclass(frozen=True)
class Basis:
    """What the user says of a source."""

    licence: str = ""
    """For records whose source states none."""
    consent: str = ""
    """For records whose source states none: "written, form of 2026-03", "ethics board 12/26" ..."""
    allow: tuple[Missing, ...] = ()
    """What may be missing."""

    def __post_init__(self) -> None:
        if unknown := [what for what in self.allow if what not in get_args(Missing)]:
            raise InvalidOption(f"{unknown[0]!r} cannot be allowed to be missing; licence and consent can")
        for what, text in (("licence", self.licence), ("consent", self.consent)):
            if not text.isprintable():
                raise InvalidOption(f"the {what} {text!r} is not one line of printable text")

    def of(self, record: Record) -> Record | Reject:
        """The record with what is known of it filled in, or why it may not be used."""
        stated = STATED.get(record.source, Stated("", "", "its source states none"))
        licence = record.licence or stated.licence or self.licence
        consent = record.consent or stated.consent or self.consent
        if not licence and "licence" not in self.allow:
            return reject(record, "no_licence", f"{stated.why}; state one, or allow it to be missing")
        if not consent and "consent" not in self.allow:
            return reject(record, "no_consent", f"{stated.why}; state on what consent rests, or allow it to be missing")
        return replace(record, licence=licence, consent=consent)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"allow": list(self.allow)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Basis:
        """From `to_dict`'s result."""
        return cls(**{**values, "allow": tuple(values.get("allow", ()))})
