"""A call of any length as a few stretches: the longer ago, the longer."""

from collections.abc import Callable
from typing import TypeVar

Stretch = TypeVar("Stretch")

MOST_STRETCHES = 32  # over a minute and a half in segments of three seconds before the first are joined
RECENT_STRETCHES = 16  # stay as fine as they came: somebody else taking over is noticed within one or two of them


def merge_oldest(
    stretches: list[Stretch], join: Callable[[Stretch, Stretch], Stretch], length: Callable[[Stretch], float]
) -> list[Stretch]:
    """At most `MOST_STRETCHES` of them: of those that are not recent, the shortest neighbours are joined."""
    kept = list(stretches)
    while len(kept) > MOST_STRETCHES:
        old = range(len(kept) - RECENT_STRETCHES - 1)
        at = min(old, key=lambda place: length(kept[place]) + length(kept[place + 1]))
        kept[at : at + 2] = [join(kept[at], kept[at + 1])]
    return kept
