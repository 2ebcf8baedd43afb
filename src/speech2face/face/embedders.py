"""Which face embedder made a set of embeddings, as a record, and the embedder that a record names.

A manifest and a release carry the record; the weights themselves may be a user's own file, which comes beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args

from speech2face.errors import MissingExtra, WeightsError
from speech2face.face.detect import dlib_model
from speech2face.face.embed import DlibEmbedder, FaceEmbedder, OnnxEmbedder, OnnxSettings, VGGFaceSettings
from speech2face.face.files import check_sha256, file_sha256, weight_file

EmbedderKind = Literal["dlib", "vggface", "onnx", "planted"]
KINDS: tuple[EmbedderKind, ...] = get_args(EmbedderKind)
HEX_DIGITS = 64  # of a SHA-256
Settings = TypeVar("Settings", VGGFaceSettings, OnnxSettings)


@dataclass(frozen=True)
class EmbedderRecord:
    """A face embedder: enough to know whether two embeddings may be compared, and to open it again."""

    kind: EmbedderKind
    size: int
    """Length of an embedding."""
    sha256: str | None = None
    """Of the weight file; None where the embedder is part of a package or has no weights."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How a photograph is brought to the network: the fields of `VGGFaceSettings` or `OnnxSettings` in JSON's types."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a face embedder is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"an embedding's size is a whole number from 1, not {self.size!r}")
        if self.sha256 is not None and (len(self.sha256) != HEX_DIGITS or set(self.sha256) - set("0123456789abcdef")):
            raise ValueError(f"a SHA-256 has {HEX_DIGITS} hexadecimal digits, not {self.sha256!r}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": self.kind, "size": self.size, "sha256": self.sha256, "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EmbedderRecord:
        """From `to_dict`'s result.

        Raises:
            ValueError: a field is missing, unknown or impossible; the caller names the file.
        """
        unknown = set(values) - {"kind", "size", "sha256", "settings"}
        missing = {"kind", "size"} - set(values)
        if unknown or missing:
            raise ValueError(f"a face embedder's record has kind, size, sha256 and settings, not {sorted(values)}")
        settings = values.get("settings") or {}
        if not isinstance(settings, Mapping):
            raise ValueError(f"a face embedder's settings are a table, not {settings!r}")
        return cls(values["kind"], values["size"], values.get("sha256"), dict(settings))

    def comparable_with(self, other: EmbedderRecord) -> bool:
        """Whether embeddings of both lie in one space: same network, same weights, same way of cropping."""
        return self == other


class FileEmbedder(FaceEmbedder, Protocol):
    """A face embedder whose weights are a file of the user."""

    @property
    def settings(self) -> VGGFaceSettings | OnnxSettings:
        """How a photograph is brought to the network."""
        ...


def describe_embedder(
    kind: EmbedderKind, *, file: Path | str | None = None, settings: Mapping[str, Any] | None = None
) -> EmbedderRecord:
    """The record of an embedder that is at hand: opens it once to learn its size, and hashes its weights."""
    if kind == "planted":
        raise WeightsError("the planted world makes its own embeddings; its record comes from its generator")
    if kind == "dlib":
        return EmbedderRecord("dlib", DlibEmbedder.size, file_sha256(dlib_model(DlibEmbedder.network_file)))
    embedder = _open_file(kind, file, settings or {})
    assert file is not None  # it has been opened
    return EmbedderRecord(kind, embedder.size, file_sha256(file), embedder.settings.to_dict())


def open_embedder(record: EmbedderRecord, file: Path | str | None = None) -> FaceEmbedder:
    """The embedder of a record; `file` is the user's weight file, for the kinds that need one.

    Raises:
        WeightsError: the file is missing, is not the recorded one, or makes embeddings of another size.
        MissingExtra: what the embedder needs is not installed.
    """
    if record.kind == "planted":
        raise WeightsError(
            "this model was trained on the planted world, whose faces have no embedder of photographs;"
            " use a model trained on photographs"
        )
    embedder: FaceEmbedder
    if record.kind == "dlib":
        if file is not None:
            raise WeightsError(f"the dlib face embedder brings its own weights; leave {file} out")
        if record.sha256 is not None:
            check_sha256(dlib_model(DlibEmbedder.network_file), record.sha256)
        embedder = DlibEmbedder()
    else:
        if file is not None and record.sha256 is not None:
            check_sha256(file, record.sha256)
        embedder = _open_file(record.kind, file, record.settings)
    if embedder.size != record.size:
        raise WeightsError(
            f"the {record.kind} face embedder makes embeddings of {embedder.size} numbers, {record.size} are on record;"
            " give the file that the data or the model were made with"
        )
    return embedder


def _open_file(kind: EmbedderKind, file: Path | str | None, settings: Mapping[str, Any]) -> FileEmbedder:
    if file is None:
        raise WeightsError(
            f"the {kind} face embedder's weights are your own file; name it (decode: --embedder FILE;"
            " data prepare: --embedder-file FILE)"
        )
    path = weight_file(file)
    if kind == "vggface":
        try:
            from speech2face.face.vggface import VGGFaceEmbedder
        except ImportError as error:
            raise MissingExtra("VGG-Face needs the extra 'train': pip install 'speech2face[train]'") from error
        return VGGFaceEmbedder(path, _settings(VGGFaceSettings, settings))
    return OnnxEmbedder(path, _settings(OnnxSettings, settings))


def _settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    try:
        return kind.from_dict(values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the face embedder's settings are wrong: {error}") from error
