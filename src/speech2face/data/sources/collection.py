"""All sources of a data set as one stream of records; their settings as they stand in a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias, get_args

from speech2face.data.record import LABELS, Record, Reject, Source, fill_labels, reject
from speech2face.data.sources.avspeech import AVSpeech
from speech2face.data.sources.basis import Basis
from speech2face.data.sources.pairs import Pairs
from speech2face.data.sources.videos import Videos
from speech2face.data.sources.voxceleb import Version, VoxCeleb
from speech2face.errors import InvalidOption

AnySource: TypeAlias = AVSpeech | VoxCeleb | Pairs | Videos
KINDS: Mapping[str, type[AnySource]] = {"avspeech": AVSpeech, "voxceleb": VoxCeleb, "pairs": Pairs, "videos": Videos}


def settings_of(source: AnySource) -> dict[str, Any]:
    """JSON-ready; `open_source` makes the source again."""
    kind = next(kind for kind, each in KINDS.items() if type(source) is each)
    return {"kind": kind, **asdict(source), "basis": source.basis.to_dict()}


def open_source(settings: Mapping[str, Any]) -> AnySource:
    """A source from its settings: `kind`, and the fields of that kind's class.

    Raises:
        InvalidOption: an unknown kind or setting, or one is missing.
    """
    given = dict(settings)
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise InvalidOption(f"there is no source of kind {kind!r}; there are {', '.join(KINDS)}")
    if kind == "voxceleb" and given.get("version") not in get_args(Version):
        raise InvalidOption(f"VoxCeleb has the versions 1 and 2, not {given.get('version')!r}")
    if "validation" in given and not 0 <= float(given["validation"]) < 1:
        raise InvalidOption(f"the share for validation is from 0 to below 1, not {given['validation']}")
    if isinstance(given.get("basis"), Mapping):
        given["basis"] = Basis.from_dict(given["basis"])
    try:
        return KINDS[kind](**given)
    except TypeError as error:
        raise InvalidOption(f"a source of kind {kind}: {error}") from error


def labels_of(sources: Iterable[Source]) -> tuple[str, ...]:
    """The labels of all sources together: the usual ones, then the own ones of tables of pairs.

    Raises:
        DatasetError: a table cannot be read.
    """
    own = [label for source in sources if isinstance(source, Pairs) for label in source.labels()]
    return tuple(dict.fromkeys((*LABELS, *own)))


def collect(sources: Sequence[Source]) -> Iterator[Record | Reject]:
    """The records of all sources, in their order, with the same labels; a key that was there before is a reject.

    Raises:
        DatasetError: a source cannot be read.
    """
    labels, keys = labels_of(sources), set[str]()
    for source in sources:
        for each in source.records():
            if isinstance(each, Reject):
                yield each
            elif each.key in keys:
                yield reject(each, "repeated", f"{each.source} has another record of this key")
            else:
                keys.add(each.key)
                yield fill_labels(each, labels)
