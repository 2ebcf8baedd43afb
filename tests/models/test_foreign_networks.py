"""A network of a stranger's release can at worst be refused: it reads no file of others, takes no memory, and ends."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="making networks needs the extra `train`")

from onnx import ModelProto, TensorProto, helper, numpy_helper, save

from speech2face.errors import WeightsError
from speech2face.models import release
from speech2face.models.release import ARENA_BYTES, FACE_DECODER, Release, Runtime


def opened(model: ModelProto, folder: Path) -> Runtime:
    folder.mkdir(exist_ok=True)
    save(model, folder / FACE_DECODER)
    return Runtime(Release(folder=folder, name="x", version="1", licence="CC0-1.0", thresholds={}), threads=1)


def graph(op: str, tensor: TensorProto) -> ModelProto:
    made = helper.make_graph(
        [helper.make_node(op, [tensor.name], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, None)], [tensor]
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


def outside(place: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", place), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("place", ["../secret.bin", "{secret}", "/proc/self/environ", "deep/../../secret.bin"])
def test_weights_are_read_from_the_releases_folder_alone(place: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"a secret of 16 b")
    runtime = opened(graph("Identity", outside(place.format(secret=secret))), tmp_path / "release")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        runtime.warm()


def test_a_tensor_that_states_more_than_is_there_is_refused(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**32], raw_data=b"1234")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        opened(graph("Identity", tensor), tmp_path / "release").warm()


def test_a_network_that_asks_for_more_memory_than_one_may_is_refused_where_it_runs(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([ARENA_BYTES // 2], np.int64), "s")  # twice as many bytes
    runtime = opened(graph("ConstantOfShape", shape), tmp_path / "release")
    runtime.warm()
    with pytest.raises(WeightsError, match=r"cannot be run.*memory"):
        runtime.run(FACE_DECODER)


def test_a_network_that_computes_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "RUN_SECONDS", 0.5)
    number, on, off = (
        helper.make_tensor_value_info(name, kind, [])
        for name, kind in (("number", TensorProto.INT64), ("on", TensorProto.BOOL), ("off", TensorProto.BOOL))
    )
    before, after = (helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in ("before", "after"))
    steps = [helper.make_node("Identity", ["on"], ["off"]), helper.make_node("Add", ["before", "number"], ["after"])]
    loop = helper.make_node(
        "Loop", ["", "on", "first"], ["y"], body=helper.make_graph(steps, "step", [number, on, before], [off, after])
    )
    constants = [numpy_helper.from_array(np.array(True), "on"), numpy_helper.from_array(np.array(1), "first")]
    endless = helper.make_graph([loop], "g", [], [helper.make_tensor_value_info("y", TensorProto.INT64, [])], constants)
    model = helper.make_model(endless, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    runtime = opened(model, tmp_path / "release")
    runtime.warm()
    with pytest.raises(WeightsError, match=r"computes for more than 0\.5 s"):
        runtime.run(FACE_DECODER)
