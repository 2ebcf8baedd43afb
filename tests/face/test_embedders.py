"""Records of face embedders, and opening the one that a record names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from speech2face.errors import WeightsError
from speech2face.face.detect import file_sha256
from speech2face.face.embedders import EmbedderRecord, describe_embedder, open_embedder
from tests.face.test_onnx_embedder import PLAIN, PORTRAIT, mean_colour_network

HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "record",
    [
        EmbedderRecord("dlib", 128),
        EmbedderRecord("vggface", 4096, HASH, {"detector": "cnn", "margin": 0.3}),
        EmbedderRecord("onnx", 512, HASH, PLAIN.to_dict()),
        EmbedderRecord("planted", 64),
    ],
    ids=lambda record: record.kind,
)
def test_a_record_survives_json(record: EmbedderRecord) -> None:
    assert EmbedderRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "two words", "size": 512}, "the name of one, such as dlib, not 'two words'"),
        ({"kind": "", "size": 512}, "the name of one, such as dlib, not ''"),
        ({"kind": None, "size": 512}, "the name of one, such as dlib, not None"),
        ({"kind": "dlib", "size": 0}, "whole number from 1, not 0"),
        ({"kind": "dlib", "size": "128"}, "whole number from 1, not '128'"),
        ({"kind": "dlib", "size": 128, "sha256": "abc"}, "64 hexadecimal digits"),
        ({"kind": "dlib"}, "has kind, size, sha256 and settings"),
        ({"kind": "dlib", "size": 128, "colour": 1}, "has kind, size, sha256 and settings"),
        ({"kind": "onnx", "size": 1, "settings": [1]}, "settings are a table"),
    ],
)
def test_a_wrong_record_says_what_is_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbedderRecord.from_dict(values)


def test_embeddings_of_another_file_or_crop_are_not_comparable() -> None:
    record = EmbedderRecord("onnx", 512, HASH, {"margin": 0.1})
    assert record.comparable_with(EmbedderRecord.from_dict(record.to_dict()))
    assert not record.comparable_with(EmbedderRecord("onnx", 512, HASH, {"margin": 0.2}))
    assert not record.comparable_with(EmbedderRecord("onnx", 512, HASH[::-1], {"margin": 0.1}))


def test_the_recorded_file_opens_and_any_other_is_refused(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 112, 112])
    record = describe_embedder("onnx", file=path, settings=PLAIN.to_dict())
    assert (record.kind, record.size, record.sha256) == ("onnx", 3, file_sha256(path))
    assert open_embedder(record, path).size == 3
    other = mean_colour_network(tmp_path / "y.onnx", [1, 3, 96, 96])
    with pytest.raises(WeightsError, match="as recorded; give the very file"):
        open_embedder(record, other)
    with pytest.raises(WeightsError, match=r"name it \(decode: --embedder FILE; data prepare: --embedder-file FILE\)"):
        open_embedder(record)
    with pytest.raises(WeightsError, match="no weight file"):
        open_embedder(record, tmp_path / "missing.onnx")


def test_a_size_that_is_not_the_recorded_one_is_refused(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 112, 112])
    with pytest.raises(WeightsError, match="embeddings of 3 numbers, 512 are on record"):
        open_embedder(EmbedderRecord("onnx", 512, None, PLAIN.to_dict()), path)
    with pytest.raises(WeightsError, match="embeddings of 128 numbers, 4096 are on record"):
        open_embedder(EmbedderRecord("dlib", 4096))


def test_wrong_settings_on_record_are_the_users_error(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 112, 112])
    with pytest.raises(WeightsError, match="settings are wrong: size is none of"):
        open_embedder(EmbedderRecord("onnx", 3, None, {"size": 112}), path)


def test_the_planted_world_has_no_embedder_of_photographs() -> None:
    with pytest.raises(WeightsError, match="planted world"):
        open_embedder(EmbedderRecord("planted", 64))
    with pytest.raises(WeightsError, match="planted world"):
        describe_embedder("planted")


def test_dlibs_record_is_that_of_its_package_and_one_face_is_one_person() -> None:
    record = describe_embedder("dlib")
    assert record.size == 128 and record.sha256 is not None
    embedder = open_embedder(record)
    with Image.open(PORTRAIT) as image:
        portrait = np.asarray(image.convert("RGB"))
    found, mirrored = embedder.embed(portrait), embedder.embed(portrait[:, ::-1])
    assert found is not None and mirrored is not None
    assert np.linalg.norm(found - mirrored) < 0.6


def test_dlib_brings_its_weights_and_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="brings its own weights"):
        open_embedder(EmbedderRecord("dlib", 128), tmp_path / "weights.onnx")
