"""A network of a stranger's release can at worst be refused: it reads no file beside its own, and takes no memory."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="making networks needs the extra `train`")

from onnx import ModelProto, TensorProto, helper, numpy_helper, save

from speech2face.errors import WeightsError
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
