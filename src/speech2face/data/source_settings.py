"""Sources by name and settings: as the command line states them, and as a plan keeps them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from speech2face.data.record import Source
from speech2face.errors import InvalidOption


def absolute(place: str) -> str:
    """A path that means the same file to workers elsewhere; URLs are kept."""
    return place if "://" in place or "::" in place else os.path.abspath(place)


def open_source(settings: Mapping[str, Any]) -> Source:
    """A source of a name (avspeech, voxceleb1 ...) and its own settings; `basis` is a table.

    Raises:
        InvalidOption: there is no such source, or it has no such setting.
    """
    from speech2face.data.sources.avspeech import AVSpeech
    from speech2face.data.sources.basis import Basis
    from speech2face.data.sources.pairs import Pairs
    from speech2face.data.sources.videos import Videos
    from speech2face.data.sources.voxceleb import VoxCeleb

    kinds: dict[str, Callable[..., Source]] = {
        "avspeech": AVSpeech,
        "voxceleb1": VoxCeleb,
        "voxceleb2": VoxCeleb,
        "pairs": Pairs,
        "videos": Videos,
    }
    stated = dict(settings)
    name = stated.pop("name", None)
    if name not in kinds:
        raise InvalidOption(f"there is no source {name!r}; there are {', '.join(kinds)}")
    if "basis" in stated:
        stated["basis"] = Basis.from_dict(stated["basis"])
    try:
        return kinds[name](**stated)
    except TypeError as error:
        raise InvalidOption(f"the source {name} cannot be opened with {sorted(stated)}: {error}") from error
