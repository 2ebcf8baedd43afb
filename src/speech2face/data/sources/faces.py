"""Pictures of faces in folders by identity: IDENTITY/any/folders/PICTURE.jpg, as VGGFace and HQ-VoxCeleb have them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from speech2face.data.sources.files import pictures_below
from speech2face.data.storage import Storage


class FacesByIdentity:
    """Finds a picture of a person; lists the folder once."""

    def __init__(self, folder: str) -> None:
        """
        Raises:
            DatasetError: there is no such folder.
        """
        self._storage = Storage(folder)
        self._pictures: dict[str, list[str]] = defaultdict(list)
        for path, is_picture in pictures_below(folder):
            identity, _, rest = path.partition("/")
            if rest and is_picture:
                self._pictures[_plain(identity)].append(path)

    def one(self, names: Sequence[str], video: str, key: str) -> str | None:
        """Path of one picture of whoever is called by any of these names, or None.

        Pictures below a folder of the video's name come first (VGGFace's cut-outs of VoxCeleb's videos lie so). Among
        several the clip's key decides, by a hash: always the same one, and not the same for all clips of a person.
        """
        pictures = next((found for name in names if (found := self._pictures.get(_plain(name)))), None)
        if pictures is None:
            return None
        pictures = [path for path in pictures if video in path.split("/")[1:-1]] or pictures
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % len(pictures)
        return self._storage.where(pictures[number])


def _plain(name: str) -> str:
    """Names as they are compared: composed letters, any case, with spaces or underscores."""
    return "_".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())
