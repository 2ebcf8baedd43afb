"""Who asked to be forgotten, kept without saying who: salted hashes beside the data, which every later run honours.

A hash proves that a name is not there; it does not hide a name from somebody who can guess it (HMAC-SHA-256 with a
salt in the same file; VoxCeleb's ids can be counted through). The file is as confidential as the data it lies beside.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from speech2face.data.storage import Storage
from speech2face.errors import DatasetError
from speech2face.untrusted import parse_json

TOMBSTONES = "tombstones.json"
FORMAT = 1
SALT_BYTES = 16


@dataclass(frozen=True)
class Tombstones:
    """Forgotten speakers and the names of their clips, as salted hashes."""

    salt: str
    speakers: frozenset[str] = frozenset()
    clips: frozenset[str] = frozenset()
    manifests: tuple[str, ...] = ()
    """SHA-256 of every manifest that still listed one of them: what was trained on these has seen them."""
    shards: tuple[str, ...] = ()
    """SHA-256 of every shard that held one of them: copies of these are removed from caches whenever they are found."""
    finished: bool = True
    """False while shards are rewritten; forgetting has to be run again where it stayed so."""

    @classmethod
    def new(cls) -> Tombstones:
        """Of nobody, with a salt of its own."""
        return cls(secrets.token_hex(SALT_BYTES))

    def __len__(self) -> int:
        return len(self.speakers)

    def hash(self, what: str, name: str) -> str:
        """The name's salted hash; `what` keeps speakers and clips of the same name apart."""
        text = unicodedata.normalize("NFC", name)  # as the splits' hash: however it was typed
        return hmac.new(bytes.fromhex(self.salt), f"{what}\0{text}".encode(), hashlib.sha256).hexdigest()

    def has_speaker(self, speaker: str) -> bool:
        """Whether this speaker asked to be forgotten."""
        return bool(self.speakers) and self.hash("speaker", speaker) in self.speakers

    def has_clip(self, key: str) -> bool:
        """Whether this clip was one of theirs."""
        return bool(self.clips) and self.hash("clip", key) in self.clips

    def with_speakers(self, speakers: Iterable[str]) -> Tombstones:
        """And these."""
        return replace(self, speakers=self.speakers | {self.hash("speaker", name) for name in speakers})

    def with_clips(self, keys: Iterable[str]) -> Tombstones:
        """And these clips of theirs."""
        return replace(self, clips=self.clips | {self.hash("clip", key) for key in keys})

    def with_manifest(self, sha256: str) -> Tombstones:
        """And this manifest, which listed one of them."""
        return self if sha256 in self.manifests else replace(self, manifests=(*self.manifests, sha256))

    def with_shards(self, sha256s: Iterable[str]) -> Tombstones:
        """And these shards, which held one of them."""
        return replace(self, shards=tuple(dict.fromkeys((*self.shards, *sha256s))))

    def merged(self, other: Tombstones | None) -> Tombstones:
        """Taking over what another data set's file says; hashes of two salts cannot be joined.

        Raises:
            DatasetError: both name speakers, under different salts.
        """
        if other is None or not other.speakers or other.salt == self.salt:
            more = Tombstones(self.salt) if other is None else other
            return replace(self, speakers=self.speakers | more.speakers, clips=self.clips | more.clips)
        if self.speakers:
            raise DatasetError(
                "this folder has tombstones of its own, which cannot be joined with another folder's; forget the "
                "speakers here by name (speech2face data forget)"
            )
        return replace(other, manifests=self.manifests, shards=self.shards, finished=True)


def read_tombstones(storage: Storage) -> Tombstones | None:
    """The folder's tombstones, None where nobody was forgotten.

    Raises:
        DatasetError: the file is damaged; it must not be taken for none.
    """
    if not storage.exists(TOMBSTONES):
        return None
    where = storage.where(TOMBSTONES)
    try:
        return tombstones_from(parse_json(storage.read(TOMBSTONES)))
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{where} is damaged ({error}); restore it: it says who must not come back") from error


def tombstones_from(stated: Mapping[str, Any]) -> Tombstones:
    """From `tombstones_to`'s result.

    Raises:
        ValueError, KeyError, TypeError: it is none; the caller names where it lies.
    """
    if stated["format"] != FORMAT:
        raise ValueError(f"format {stated['format']}; this version reads {FORMAT}")
    bytes.fromhex(stated["salt"])
    return Tombstones(
        stated["salt"],
        frozenset(stated["speakers"]),
        frozenset(stated["clips"]),
        tuple(stated["manifests"]),
        tuple(stated.get("shards", ())),  # files written before shards were kept have none
        bool(stated["finished"]),
    )


def tombstones_to(tombstones: Tombstones) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "format": FORMAT,
        "salt": tombstones.salt,
        "finished": tombstones.finished,
        "manifests": list(tombstones.manifests),
        "shards": list(tombstones.shards),
        "speakers": sorted(tombstones.speakers),
        "clips": sorted(tombstones.clips),
    }


def another_tombstones(place: str) -> Tombstones:
    """The tombstones of another data set that are to be honoured too.

    Raises:
        DatasetError: there are none: a name mistyped here would bring somebody back.
    """
    storage = Storage(place)
    found = read_tombstones(storage)
    if found is None:
        there = "" if storage.local is None or storage.local.is_dir() else "; there is no such folder"
        raise DatasetError(f"no {TOMBSTONES} in {place}{there}: name a data set that forgot somebody, or none")
    return found


def write_tombstones(storage: Storage, tombstones: Tombstones) -> None:
    """Put them beside the data.

    Raises:
        CannotWrite: no room, no permission.
    """
    storage.write(TOMBSTONES, (json.dumps(tombstones_to(tombstones), indent=1) + "\n").encode())
