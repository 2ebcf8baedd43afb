"""Which face embedder made a set of embeddings, as a record, and the embedder that a record names.

A manifest and a release carry the record; the weights themselves may be a user's own file, which comes beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from speech2face.drivers import KINDS as DRIVERS
from speech2face.errors import MissingExtra, WeightsError
from speech2face.face.detect import DetectorName, FaceBox, check_sha256, dlib_model, file_sha256, weight_file
from speech2face.face.embed import DlibEmbedder, FaceEmbedder, OnnxEmbedder, OnnxSettings, VGGFaceSettings

PLANTED = "planted"  # the kind of a record whose embeddings a generator made, without any network
HEX_DIGITS = 64  # of a SHA-256


@dataclass(frozen=True)
class EmbedderRecord:
    """A face embedder: enough to know whether two embeddings may be compared, and to open it again."""

    kind: str
    """Name of the driver that opens it, or `PLANTED`; a package that adds it need not be at hand."""
    size: int
    """Length of an embedding."""
    sha256: str | None = None
    """Of the weight file; None where the embedder is part of a package or has no weights."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How a photograph is brought to the network, in JSON's types: for example the fields of `OnnxSettings`."""

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not re.fullmatch(r"[\w.-]+", self.kind):
            raise ValueError(f"a face embedder's kind is the name of one, such as dlib, not {self.kind!r}")
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


OpenEmbedder = Callable[[Path | None, Mapping[str, Any]], FaceEmbedder]
"""A driver of the kind `face_embedders`: takes the user's weight file, None where there is none, and the settings."""


def describe_embedder(
    kind: str, *, file: Path | str | None = None, settings: Mapping[str, Any] | None = None
) -> EmbedderRecord:
    """Return the record of an embedder that is at hand: opens it once to learn its size, and hashes its weights.

    Raises:
        InvalidOption: there is no such embedder.
        WeightsError: the file is missing or wrong, or the settings are.
        MissingExtra: what the embedder needs is not installed.
    """
    if kind == PLANTED:
        raise WeightsError("the planted world makes its own embeddings; its record comes from its generator")
    embedder = _open(kind, file, settings or {})
    weights = dlib_model(DlibEmbedder.network_file) if kind == "dlib" else file
    return EmbedderRecord(
        kind, embedder.size, None if weights is None else file_sha256(weights), dict(embedder.settings)
    )


def open_embedder(record: EmbedderRecord, file: Path | str | None = None) -> FaceEmbedder:
    """Return the embedder of a record; `file` is the user's weight file, for the kinds that need one.

    Raises:
        InvalidOption: there is no such embedder, or the package that brings it cannot be imported.
        WeightsError: the file is missing, is not the recorded one, or makes embeddings of another size.
        MissingExtra: what the embedder needs is not installed.
    """
    if record.kind == PLANTED:
        raise WeightsError(
            "this model was trained on the planted world, whose faces have no embedder of photographs;"
            " use a model trained on photographs"
        )
    if record.sha256 is not None:
        if record.kind == "dlib" and file is None:
            check_sha256(dlib_model(DlibEmbedder.network_file), record.sha256)
        elif record.kind != "dlib" and file is not None:
            check_sha256(file, record.sha256)
    embedder = _open(record.kind, file, record.settings)
    if embedder.size != record.size:
        raise WeightsError(
            f"the {record.kind} face embedder makes embeddings of {embedder.size} numbers, {record.size} are on record;"
            " give the file that the data or the model were made with"
        )
    return embedder


def _open(kind: str, file: Path | str | None, settings: Mapping[str, Any]) -> FaceEmbedder:
    driver: OpenEmbedder = DRIVERS["face_embedders"].load(kind)
    try:
        return driver(None if file is None else Path(file), settings)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the face embedder's settings are wrong: {error}") from error


def open_dlib(file: Path | None, settings: Mapping[str, Any]) -> FaceEmbedder:
    """Open dlib's embedder, which has neither a file of the user nor settings."""
    if file is not None:
        raise WeightsError(f"the dlib face embedder brings its own weights; leave {file} out")
    return DlibEmbedder()


def open_vggface(file: Path | None, settings: Mapping[str, Any]) -> FaceEmbedder:
    """Open VGG-Face; the settings are fields of `VGGFaceSettings`."""
    path = _own_file("vggface", file)
    try:
        from speech2face.face.vggface import VGGFaceEmbedder
    except ImportError as error:
        raise MissingExtra("VGG-Face needs the extra 'train'", "train") from error
    return VGGFaceEmbedder(path, VGGFaceSettings.from_dict(settings))


def open_onnx(file: Path | None, settings: Mapping[str, Any]) -> FaceEmbedder:
    """Open a user's ONNX network; the settings are fields of `OnnxSettings`."""
    return OnnxEmbedder(_own_file("onnx", file), OnnxSettings.from_dict(settings))


def _own_file(kind: str, file: Path | None) -> Path:
    if file is None:
        raise WeightsError(
            f"the {kind} face embedder's weights are your own file; name it (decode: --embedder FILE;"
            " data prepare: --embedder-file FILE)"
        )
    return weight_file(file)


def check_face_embedder(
    driver: OpenEmbedder, file: Path | str | None = None, settings: Mapping[str, Any] | None = None
) -> None:
    """Check a driver of the kind `face_embedders` on made pictures; `file` is its weights, where it needs some.

    Raises:
        AssertionError: it does not keep to `FaceEmbedder`; the message says where.
    """
    assert callable(driver), "the driver is a callable that takes a weight file or None, and settings"
    path = None if file is None else Path(file)
    try:
        embedder = driver(path, settings or {})
    except WeightsError as error:
        raise AssertionError(
            f"the driver cannot be opened ({error}); where its weights are a file of the user, call"
            " speech2face.face.embedders.check_face_embedder(driver, FILE)"
        ) from error
    assert isinstance(embedder.size, int) and embedder.size > 0, f"size is {embedder.size!r}, not a whole number from 1"
    assert _is_json(dict(embedder.settings)), f"settings are {dict(embedder.settings)}, which JSON does not give back"
    assert embedder.crop_detector in get_args(DetectorName), (
        f"crop_detector is {embedder.crop_detector!r}, not one of {', '.join(get_args(DetectorName))}"
    )
    again = driver(path, dict(embedder.settings))
    assert dict(again.settings) == dict(embedder.settings), "opened with its own settings it states others"
    picture = np.random.default_rng(0).integers(0, 256, (240, 200, 3), dtype=np.uint8)
    kept = picture.copy()
    crops = [embedder.crop(picture, box) for box in (FaceBox(60, 70, 140, 150), FaceBox(-20, -10, 90, 100))]
    assert (picture == kept).all(), "crop changed the picture that it was given"
    for crop in crops:
        assert crop.dtype == np.uint8, f"crop returned {crop.dtype}, not uint8"
        assert crop.ndim == 3 and crop.shape[2] == 3, f"crop returned the shape {crop.shape}, not (side, side, 3)"
        assert crop.shape == crops[0].shape, f"crops of two boxes have the shapes {crop.shape} and {crops[0].shape}"
    together = np.asarray(embedder.embed_crops(crops))
    assert together.shape == (2, embedder.size), (
        f"embed_crops returned the shape {together.shape} for two crops, not {(2, embedder.size)}"
    )
    assert together.dtype == np.float32, f"embed_crops returned {together.dtype}, not float32"
    assert np.isfinite(together).all(), "embed_crops returned numbers that are not finite"
    for crop, one in zip(crops, together, strict=True):
        apart = np.asarray(again.embed_crops([crop]))[0]
        assert np.allclose(apart, one, rtol=1e-3, atol=1e-4), "a crop alone gets another embedding than beside others"
    grey = np.full((120, 120, 3), 128, np.uint8)
    assert embedder.embed(grey) is None, "embed sees a face in a grey picture, where it must return None"


def _is_json(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False
