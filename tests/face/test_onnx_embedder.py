"""A user's ONNX network as the face embedder, on networks made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

onnx = pytest.importorskip("onnx", reason="networks for these tests are made with onnx; install the extra `train`")
pytest.importorskip("dlib", reason="faces are found by dlib; install the extra `faces`")

from onnx import TensorProto, helper  # noqa: E402
from PIL import Image  # noqa: E402

from speech2face.errors import WeightsError  # noqa: E402
from speech2face.face.embed import (  # noqa: E402
    OnnxEmbedder,
    OnnxSettings,
)

PORTRAIT = Path(__file__).parents[2] / "docs" / "images" / "portrait.png"
PLAIN = OnnxSettings(mean=(0, 0, 0), deviation=(1, 1, 1), normalise=False, alignment="box")


def mean_colour_network(path: Path, shape: list[int | str], *, rank_kept: bool = False) -> Path:
    """Embeds a picture as its mean along rows and columns: three numbers."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    node = helper.make_node("ReduceMean", ["picture", "axes"], ["embedding"], keepdims=int(rank_kept))
    graph = helper.make_graph(
        [node],
        "mean colour",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)],
        [helper.make_tensor("axes", TensorProto.INT64, [2], axes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def coloured(pixels: int) -> np.ndarray:
    return np.broadcast_to(np.array([10, 20, 60], np.uint8), (pixels, pixels, 3)).copy()


@pytest.mark.parametrize("shape", [["batch", 3, 16, 16], [1, 16, 16, 3]], ids=["colours first", "colours last"])
def test_colours_reach_the_network_in_the_order_it_declares(tmp_path: Path, shape: list[int | str]) -> None:
    embedder = OnnxEmbedder(mean_colour_network(tmp_path / "x.onnx", shape), PLAIN)
    assert embedder.size == 3
    assert_allclose(embedder.embed_crop(coloured(16)), [10, 20, 60])
    turned = OnnxEmbedder(tmp_path / "x.onnx", replace(PLAIN, colours="bgr"))
    assert_allclose(turned.embed_crop(coloured(16)), [60, 20, 10])


def test_mean_deviation_and_length_by_hand(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 8, 8])
    settings = replace(PLAIN, mean=(4, 20, 44), deviation=(2, 1, 4))
    assert_allclose(OnnxEmbedder(path, settings).embed_crop(coloured(8)), [3, 0, 4])
    assert_allclose(OnnxEmbedder(path, replace(settings, normalise=True)).embed_crop(coloured(8)), [0.6, 0, 0.8])


def test_an_open_input_size_must_be_said(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", ["batch", 3, "height", "width"])
    with pytest.raises(WeightsError, match="set input_pixels"):
        OnnxEmbedder(path, PLAIN)
    assert OnnxEmbedder(path, replace(PLAIN, input_pixels=24)).embed_crop(coloured(24)).shape == (3,)


def test_an_input_size_against_the_graphs_is_refused(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 16, 16])
    with pytest.raises(WeightsError, match="input_pixels is 112"):
        OnnxEmbedder(path, replace(PLAIN, input_pixels=112))


def test_files_that_are_no_face_embedder_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weight file"):
        OnnxEmbedder(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match="no ONNX network"):
        OnnxEmbedder(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match="one float32 picture"):
        OnnxEmbedder(mean_colour_network(tmp_path / "one.onnx", [1, 1, 16, 16]), PLAIN)
    with pytest.raises(WeightsError, match="returns one vector"):
        OnnxEmbedder(mean_colour_network(tmp_path / "kept.onnx", [1, 3, 16, 16], rank_kept=True), PLAIN)


@pytest.mark.parametrize("alignment", ["box", "eyes", "five_points"])
def test_a_portrait_has_a_face_and_a_grey_wall_has_none(tmp_path: Path, alignment: str) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 112, 112])
    embedder = OnnxEmbedder(path, OnnxSettings.from_dict({**PLAIN.to_dict(), "alignment": alignment}))
    with Image.open(PORTRAIT) as image:
        portrait = np.asarray(image.convert("RGB"))
    found = embedder.embed(portrait)
    assert found is not None and found.shape == (3,)
    assert found[0] > found[2] > 0  # skin is redder than it is blue
    assert embedder.embed(np.full((200, 200, 3), 128, np.uint8)) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colours": "cmyk"}, "colours is one of rgb, bgr"),
        ({"alignment": "nose"}, "alignment is one of box, eyes, five_points"),
        ({"deviation": [1, 0, 1]}, "deviation is above 0"),
        ({"mean": [1, 2]}, "mean is three numbers"),
        ({"margin": -1}, "margin is from 0"),
        ({"input_pixels": 0}, "at least 1"),
        ({"sise": 3}, "sise is none of input_pixels"),
    ],
)
def test_wrong_settings_name_what_is_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxSettings.from_dict(values)


def test_settings_survive_being_stored() -> None:
    settings = OnnxSettings(input_pixels=160, colours="bgr", mean=(1.0, 2.0, 3.0), alignment="box", margin=0.2)
    assert OnnxSettings.from_dict(settings.to_dict()) == settings
