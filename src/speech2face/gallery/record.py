"""`gallery.json`: whose face embeddings a gallery holds, where they lie, and how they are searched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from speech2face.data.storage import Storage
from speech2face.errors import DatasetError
from speech2face.face.embedders import EmbedderRecord
from speech2face.untrusted import parse_json

RECORD = "gallery.json"
FORMAT = 1
PARTS = {"entries": "csv", "vectors": "npy", "thumbnails": "bin", "index": "faiss"}
"""Files of a gallery and their endings."""
BackendName = Literal["exact", "faiss", "postgres"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


@dataclass(frozen=True)
class Space:
    """The numbers that faces and voices share: who makes them, and how many they are."""

    size: int
    """Length of a face embedding, K."""
    embedder: EmbedderRecord | None
    """What makes them from photographs; None: the model's own reading of age and gender (`appearance.py`)."""
    model_name: str = ""
    model_version: str = ""
    model_sha256: str = ""
    """Of the release that the gallery was built with."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        model = {"name": self.model_name, "version": self.model_version, "sha256": self.model_sha256}
        embedder = None if self.embedder is None else self.embedder.to_dict()
        return {"size": self.size, "embedder": embedder, "model": model}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """From `to_dict`'s result.

        Raises:
            KeyError, TypeError, ValueError: something is missing or impossible; the caller names the file.
        """
        model, embedder = values["model"], values["embedder"]
        record = None if embedder is None else EmbedderRecord.from_dict(embedder)
        return cls(int(values["size"]), record, str(model["name"]), str(model["version"]), str(model["sha256"]))

    def holds(self, other: Space) -> bool:
        """Whether embeddings of both may be compared.

        The face embedder decides, not the model: a better model that learned from the same embedder searches the same
        gallery. Readings of age and gender are the release's own.
        """
        if self.size != other.size or (self.embedder is None) != (other.embedder is None):
            return False
        if self.embedder is None or other.embedder is None:
            return self.model_sha256 == other.model_sha256
        return self.embedder.comparable_with(other.embedder)


@dataclass(frozen=True)
class StoredFile:
    """A file beside `gallery.json`."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """The whole of `gallery.json`."""

    name: str
    space: Space
    backend: BackendName
    identity: str
    """Drawn when the gallery was made; a database says the same."""
    database: str = ""
    """Where it lies, without a password; "" for files."""
    entries: int = 0
    """In files; a database counts its own."""
    next_number: int = 0
    generation: int = 0
    """Counts the changes; every change writes new files and then names them here."""
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    index: Mapping[str, Any] | None = None

    def encode(self) -> bytes:
        """The file."""
        files = {name: asdict(file) for name, file in self.files.items()}
        content = {"format": FORMAT} | self._plain() | {"files": files, "index": self.index}
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def _plain(self) -> dict[str, Any]:
        names = ("name", "backend", "identity", "database", "entries", "next_number", "generation")
        return {name: getattr(self, name) for name in names} | {"space": self.space.to_dict()}

    def changed(self, **values: Any) -> Record:
        """With other values."""
        return replace(self, **values)


def read_record(storage: Storage) -> Record:
    """The record of a folder.

    Raises:
        DatasetError: there is no gallery, or its record is damaged or of another version.
    """
    if not storage.exists(RECORD):
        raise DatasetError(f"{storage} holds no gallery; build one: speech2face gallery build")
    where = storage.where(RECORD)
    try:
        stated: dict[str, Any] = parse_json(storage.read(RECORD))
        if stated["format"] != FORMAT:
            raise ValueError(f"format {stated['format']}; this version reads {FORMAT}")
        if stated["backend"] not in BACKENDS:
            raise ValueError(f"backend {stated['backend']!r}")
        files = {name: StoredFile(**file) for name, file in stated["files"].items()}
        for file in files.values():
            if "/" in file.file or "\\" in file.file or file.file.startswith("."):
                raise ValueError(f"{file.file!r} is no name of a file beside it")
        return Record(
            name=str(stated["name"]),
            space=Space.from_dict(stated["space"]),
            backend=stated["backend"],
            identity=str(stated["identity"]),
            database=str(stated["database"]),
            entries=int(stated["entries"]),
            next_number=int(stated["next_number"]),
            generation=int(stated["generation"]),
            files=files,
            index=stated["index"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where} is damaged ({error}); restore the gallery or build it anew") from error
