"""A user's ONNX classifier as the face-attribute reader, on networks made by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="networks for these tests are made with onnx; install the extra `train`")

from onnx import TensorProto, helper  # noqa: E402

from speech2face.errors import WeightsError  # noqa: E402
from speech2face.evaluation.readers import (  # noqa: E402
    OnnxReader,
    ReaderSettings,
)
from speech2face.validation import validated  # noqa: E402

SIDE = 4
WHOLE = {"alignment": "picture", "mean": [0, 0, 0], "deviation": [1, 1, 1]}


def network(path: Path, outputs: dict[str, int], *, channels_first: bool = True) -> Path:
    """Each output is the mean red, green and blue, cut or repeated to its length by a fixed matrix."""
    shape: list[int | str] = [1, 3, SIDE, SIDE] if channels_first else ["batch", SIDE, SIDE, 3]
    axes = [2, 3] if channels_first else [1, 2]
    nodes = [helper.make_node("ReduceMean", ["picture", "axes"], ["colours"], keepdims=0)]
    parts = [helper.make_tensor("axes", TensorProto.INT64, [2], axes)]
    for name, length in outputs.items():
        matrix = np.eye(3, length, dtype=np.float32)
        parts.append(helper.make_tensor(f"{name}_matrix", TensorProto.FLOAT, matrix.shape, matrix.ravel()))
        nodes.append(helper.make_node("MatMul", ["colours", f"{name}_matrix"], [name]))
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        parts,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def made_settings(values: dict[str, Any]) -> ReaderSettings:
    return validated(ReaderSettings, values, "the reader's settings", WeightsError)


def reader(tmp_path: Path, outputs: dict[str, int] | None = None, **settings: Any) -> OnnxReader:
    path = network(tmp_path / "net.onnx", {"numbers": 3} if outputs is None else outputs)
    return OnnxReader(path, made_settings(WHOLE | settings))


def picture(red: int, green: int, blue: int) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (9, 7, 3)).copy()


def test_one_number_becomes_years_by_scale_and_offset(tmp_path: Path) -> None:
    found = reader(tmp_path, age={"start": 1, "stop": 2, "scale": 0.5, "offset": 10}).read(picture(0, 60, 0))
    assert found is not None
    assert found.age == pytest.approx(40)
    assert (found.femininity, found.group, found.gender) == (None, None, "")


def test_age_classes_give_their_mean_or_the_likeliest(tmp_path: Path) -> None:
    classes = {"years": [20, 30, 60]}
    mean = reader(tmp_path, age=classes).read(picture(1, 2, 1))
    assert mean is not None
    assert mean.age == pytest.approx((20 + 2 * 30 + 60) / 4)
    likeliest = reader(tmp_path, age=classes | {"summary": "likeliest"}).read(picture(1, 2, 1))
    assert likeliest is not None
    assert likeliest.age == 30
    soft = reader(tmp_path, age=classes | {"activation": "softmax"}).read(picture(1, 2, 1))
    shares = np.exp([1, 2, 1]) / np.exp([1, 2, 1]).sum()
    assert soft is not None
    assert soft.age == pytest.approx(shares @ [20, 30, 60])


@pytest.mark.parametrize(
    ("settings", "femininity"),
    [
        ({"stop": 2, "activation": "softmax", "female": 0}, np.exp(3) / (np.exp(3) + np.exp(1))),
        ({"stop": 2, "activation": "softmax", "female": 1}, np.exp(1) / (np.exp(3) + np.exp(1))),
        ({"start": 2, "activation": "sigmoid", "female": 1}, 0.5),
        ({"start": 1, "stop": 2, "activation": "sigmoid", "female": 0}, 1 - 1 / (1 + np.exp(-1))),
    ],
    ids=["women first", "women second", "one logit of women", "one logit of men"],
)
def test_gender_outputs_of_every_form_become_femininity(
    tmp_path: Path, settings: dict[str, Any], femininity: float
) -> None:
    found = reader(tmp_path, gender=settings).read(picture(3, 1, 0))
    assert found is not None
    assert found.femininity == pytest.approx(femininity)
    assert found.gender == ("female" if femininity > 0.5 else "male")


def test_group_classes_of_one_name_count_together(tmp_path: Path) -> None:
    made = reader(tmp_path, group={"names": ["asian", "white", "asian"]})
    assert made.groups == ("asian", "white")
    found = made.read(picture(3, 4, 2))
    assert found is not None
    assert found.group == "asian"
    assert made.reads == ("group",)


def test_outputs_are_found_by_name_and_by_place(tmp_path: Path) -> None:
    made = reader(
        tmp_path,
        {"first": 3, "second": 2},
        age={"output": "first", "start": 2},
        gender={"output": 1},
    )
    found = made.read(picture(10, 30, 55))
    assert found is not None
    assert found.age == 55
    assert found.femininity == 10
    assert made.reads == ("gender", "age")


def test_colours_mean_and_deviation_reach_the_network(tmp_path: Path) -> None:
    path = network(tmp_path / "last.onnx", {"numbers": 3}, channels_first=False)
    settings = {**WHOLE, "colours": "bgr", "mean": [10, 20, 40], "deviation": [1, 1, 4], "age": {"stop": 1}}
    found = OnnxReader(path, made_settings(settings)).read(picture(10, 30, 60))
    assert found is not None
    assert found.age == (60 - 40) / 4  # blue comes first


def test_a_picture_without_a_face_is_not_read(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="faces are found by dlib; install the extra `faces`")
    for alignment in ("box", "eyes"):
        made = reader(tmp_path, alignment=alignment, age={"stop": 1})
        assert made.read(np.full((120, 120, 3), 128, np.uint8)) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"age": {"output": "years", "stop": 1}}, "no output 'years' for age; it has numbers"),
        ({"age": {}}, "gives 3 numbers for age where its settings need 1"),
        ({"age": {"years": [1, 2]}}, "need 2"),
        ({"gender": {}}, "gives 3 numbers for gender where its settings need 1 or 2"),
        ({"group": {"names": ["a", "b"]}}, "need 2"),
    ],
)
def test_outputs_that_do_not_fit_the_settings_are_refused_before_any_face(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        reader(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "none of age, gender, group"),
        ({"age": {"stopp": 1}}, r"there is no age\.stopp; there are output, start"),
        ({"age": 3}, "age is 3; it must be"),
        ({"gender": {"female": 2}}, r"gender\.female is 2; it must be 0 or 1"),
        ({"group": {}}, "names of its classes"),
        ({"age": {"activation": "tanh"}}, r"age\.activation is 'tanh'; it must be 'softmax', 'sigmoid' or 'none'"),
        ({"age": {"summary": "median"}}, r"age\.summary is 'median'; it must be 'mean' or 'likeliest'"),
        ({"age": {}, "alignment": "nose"}, "alignment is 'nose'; it must be 'box', 'eyes'"),
        ({"age": {}, "deviation": [1, 0, 1]}, r"deviation\.1 is 0; it must be greater than 0"),
        ({"age": {}, "margin": 9}, "margin is 9; it must be less than or equal to 2"),
        ({"age": {}, "pixels": 9}, "there is no pixels; there are"),
    ],
)
def test_wrong_settings_say_what_is_allowed(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(WeightsError, match=message):
        ReaderSettings.read(path)


def test_files_that_are_not_there_or_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        ReaderSettings.read(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("age", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"text\.json is no JSON"):
        ReaderSettings.read(tmp_path / "text.json")
    with pytest.raises(WeightsError, match="no weight file"):
        OnnxReader(tmp_path / "none.onnx", made_settings({"age": {}}))


def test_the_report_says_whose_opinion_it_is(tmp_path: Path) -> None:
    plain = reader(tmp_path, age={"stop": 1})
    assert plain.name == "net.onnx"
    assert "nothing is stated" in plain.statement
    told = reader(tmp_path, age={"stop": 1}, name="AgeNet", statement="MIT; adults only.")
    assert (told.name, told.statement) == ("AgeNet", "MIT; adults only.")


def test_the_settings_in_the_docs_are_read_as_they_stand_there(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "docs" / "evaluation" / "reader_settings.json"
    settings = made_settings(json.loads(example.read_text(encoding="utf-8")))
    path = network(tmp_path / "nine.onnx", {"numbers": 9})
    made = OnnxReader(path, replace(settings, input_pixels=SIDE, alignment="picture"))
    assert made.reads == ("gender", "age", "group")
    assert made.groups == ("white", "black", "asian")
    found = made.read(picture(200, 10, 10))
    assert found is not None
    assert (found.group, found.femininity) == ("white", 0.5)
