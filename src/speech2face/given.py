"""Attributes that a user states instead of leaving them to the voice."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from speech2face.audio.arguments import described, real_number
from speech2face.errors import InvalidGiven
from speech2face.voice.belief import ADULT_AGE, OLDEST_FACE


@dataclass(frozen=True)
class Given:
    """Attributes that the user states instead of leaving them to the voice; None leaves them."""

    age: float | None = None
    gender: Literal["female", "male"] | None = None
    group: str | None = None

    def check(self, groups: tuple[str, ...]) -> None:
        """Refuse what no face can show.

        Raises:
            InvalidGiven: an age outside the adults the model draws, an unknown gender or group.
        """
        self.plain()
        if self.age is not None and not ADULT_AGE <= self.age <= OLDEST_FACE:
            raise InvalidGiven(
                f"given age {self.age:g} is outside {ADULT_AGE} to {OLDEST_FACE}, the ages that can be drawn"
            )
        if self.gender not in (None, "female", "male"):
            raise InvalidGiven(f'given gender "{self.gender}" is unknown; give female or male')
        if self.group is not None and self.group not in groups:
            raise InvalidGiven(f'given group "{self.group}" is unknown; give one of {", ".join(groups)}')

    def plain(self) -> "Given":
        """The same, its age a number of Python's own.

        Raises:
            InvalidGiven: values of another type.
        """
        for name in ("gender", "group"):
            if not isinstance(value := getattr(self, name), str | None):
                raise InvalidGiven(f"given {name} is {described(value)}; give its name")
        return self if self.age is None else replace(self, age=real_number("given age", self.age, InvalidGiven))

    def to_dict(self) -> dict[str, Any]:
        """Only what was given."""
        return {key: value for key, value in vars(self).items() if value is not None}
