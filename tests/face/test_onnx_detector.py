"""A user's YuNet, on graphs made by hand whose faces are known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

onnx = pytest.importorskip("onnx", reason="networks for these tests are made with onnx; install the extra `train`")

from onnx import NodeProto, TensorProto, helper, numpy_helper  # noqa: E402

from speech2face.errors import WeightsError  # noqa: E402
from speech2face.face.detect import NUMBERS, STRIDES, FaceBox, YuNetDetector, open_detector, suppressed  # noqa: E402  # noqa: E402

Cell = tuple[int, int, int]
"""Stride, row, column."""


def save(path: Path, nodes: list[NodeProto], shape: list[int | str], constants: list[TensorProto]) -> Path:
    made = {name for node in nodes for name in node.output}
    outputs = [name for part in NUMBERS for stride in STRIDES if (name := f"{part}_{stride}") in made]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def fixed(
    path: Path, faces: Mapping[Cell, tuple[float, ...]], side: int = 64, leave_out: str = "", cells: int = 0
) -> Path:
    """Always the same faces: score by class, by object, and the four numbers of the box, by cell."""
    nodes, constants = [], []
    for part, numbers in NUMBERS.items():
        for stride in STRIDES:
            name, columns = f"{part}_{stride}", side // stride
            values = np.zeros((1, columns**2 + cells, numbers), np.float32)
            for (of, row, column), face in faces.items():
                if of == stride and part != "kps":
                    values[0, row * columns + column] = {"cls": face[:1], "obj": face[1:2], "bbox": face[2:]}[part]
            if name != leave_out:
                constants.append(numpy_helper.from_array(values, f"{name}_made"))
                nodes.append(helper.make_node("Identity", [f"{name}_made"], [name]))
    return save(path, nodes, [1, 3, side, side], constants)


def bright_cells(path: Path, sides: tuple[int | str, int | str]) -> Path:
    """A face of the stride's size in each cell whose blue, the first channel, is bright throughout."""
    nodes = [helper.make_node("Slice", ["input", "zero", "one", "one"], ["blue"])]
    for stride in STRIDES:
        square = [stride, stride]
        nodes += [
            helper.make_node("AveragePool", ["blue"], [f"mean{stride}"], kernel_shape=square, strides=square),
            helper.make_node("Div", [f"mean{stride}", "white"], [f"share{stride}"]),
            helper.make_node("Reshape", [f"share{stride}", "flat"], [f"cls_{stride}"]),
            helper.make_node("Identity", [f"cls_{stride}"], [f"obj_{stride}"]),
            helper.make_node("Sub", [f"cls_{stride}", f"cls_{stride}"], [f"nought{stride}"]),
            helper.make_node("Concat", [f"nought{stride}"] * 4, [f"bbox_{stride}"], axis=2),
            helper.make_node("Concat", [f"nought{stride}"] * 10, [f"kps_{stride}"], axis=2),
        ]
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("flat", TensorProto.INT64, [3], [1, -1, 1]),
    ]
    return save(path, nodes, [1, 3, *sides], constants)


BLACK = np.zeros((64, 64, 3), np.uint8)


def test_boxes_are_decoded_by_hand(tmp_path: Path) -> None:
    """Cell (row 1, column 2) of stride 16, shifted by a quarter right and a half down, 16 wide and 64 high."""
    path = fixed(tmp_path / "y.onnx", {(16, 1, 2): (1.0, 0.81, 0.25, 0.5, 0.0, np.log(4.0))})
    [box] = YuNetDetector(path, score_threshold=0.89).detect(BLACK)  # the score is 0.9
    # Centre (36, 24); a square of 32 x 32 has the area of 16 x 64.
    assert box == FaceBox(20, 8, 52, 40)
    assert YuNetDetector(path, score_threshold=0.91).detect(BLACK) == ()


def test_scores_are_held_between_0_and_1(tmp_path: Path) -> None:
    path = fixed(tmp_path / "y.onnx", {(8, 0, 0): (7.0, 0.2, 0, 0, 0, 0), (8, 5, 5): (-1.0, -1.0, 0, 0, 0, 0)})
    assert YuNetDetector(path, score_threshold=0.5).detect(BLACK) == ()
    assert len(YuNetDetector(path, score_threshold=0.4).detect(BLACK)) == 1  # the root of 0.2 is 0.45


def test_of_boxes_on_one_face_the_best_stays_and_the_largest_face_comes_first(tmp_path: Path) -> None:
    faces = {
        (8, 1, 1): (0.8, 0.8, 0, 0, 0, 0),
        (8, 1, 2): (0.9, 0.9, -0.75, 0, 0, 0),  # two pixels beside it
        (32, 1, 1): (0.75, 0.75, 0, 0, 0, 0),
    }
    found = YuNetDetector(fixed(tmp_path / "y.onnx", faces)).detect(BLACK)
    assert found == (FaceBox(16, 16, 48, 48), FaceBox(6, 4, 14, 12))
    assert len(YuNetDetector(tmp_path / "y.onnx", max_overlap=0.7).detect(BLACK)) == 3


def test_suppression_goes_by_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [0, 9, 10, 19], [50, 50, 60, 60]], float)  # a third, a 19th
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert_array_equal(suppressed(boxes, scores, 0.34), [1, 0, 3])  # the third overlaps the second by 6 of 14
    assert_array_equal(suppressed(boxes, scores, 0.32), [1, 3])
    assert_array_equal(suppressed(boxes, scores, 0.99), [1, 0, 2, 3])
    assert suppressed(np.zeros((0, 4)), np.zeros(0), 0.3).size == 0


@pytest.mark.parametrize("sides", [(96, 64), ("height", "width")], ids=["one size", "any size"])
def test_a_bright_square_is_found_where_it_is_and_blue_comes_first(
    tmp_path: Path, sides: tuple[int | str, int | str]
) -> None:
    detector = open_detector("yunet", bright_cells(tmp_path / "y.onnx", sides))
    picture = np.zeros((70, 50, 3), np.uint8)  # a multiple of nothing
    picture[32:48, 16:32, 2] = 255
    [box, *others] = detector.detect(picture)
    assert box == FaceBox(8, 24, 24, 40)  # YuNet's boxes of no shift are centred on their cell's corner
    assert all(other.area == 64 for other in others)
    assert detector.detect(picture[..., ::-1].copy()) == ()


@pytest.mark.parametrize(("sides", "factor"), [((64, 64), 4), (("height", "width"), 2)])
def test_boxes_of_a_picture_that_was_made_smaller_are_in_its_own_pixels(
    tmp_path: Path, sides: tuple[int | str, int | str], factor: int
) -> None:
    detector = YuNetDetector(bright_cells(tmp_path / "y.onnx", sides))
    side = 64 * factor if sides[0] == 64 else 1280 * factor
    picture = np.zeros((side, side, 3), np.uint8)
    at, size = 32 * factor, 32 * factor
    picture[at : at + size, at : at + size] = 255
    box = detector.detect(picture)[0]
    assert_allclose([box.left, box.top, box.right, box.bottom], np.array([16, 16, 48, 48]) * factor, atol=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leave_out": "obj_16"}, "has no output obj_16; needed is the graph of face_detection_yunet_2023mar.onnx"),
        ({"side": 48}, r"takes input tensor\(float\) \[1, 3, 48, 48\]; needed is the graph"),
        ({"cells": 1}, r"cls_8 of shape \(1, 65, 1\), not \(1, 64, 1\)"),
    ],
)
def test_another_graph_is_refused_with_what_was_expected(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = fixed(tmp_path / "y.onnx", {}, **change)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=said):
        YuNetDetector(path)


def test_a_file_that_is_missing_or_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "y.onnx").write_bytes(b"nonsense")
    for file, said in ((None, "name it"), (tmp_path / "none.onnx", "no weight file"), (tmp_path / "y.onnx", "no ONNX")):
        with pytest.raises(WeightsError, match=said):
            open_detector("yunet", file)
