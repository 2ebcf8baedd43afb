from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs torch; install the extra `train`")

import onnxruntime  # noqa: E402

from speech2face.training.export import export, load_half, save_half  # noqa: E402


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Linear(32, 3)
    ).eval()


def exported(folder: Path) -> tuple[Any, Path]:
    module = network()
    save_half(module, folder / "weights.safetensors", {"config": "{}"})
    export(
        module, torch.randn(2, 64), folder / "graph.onnx",
        inputs=["x"], outputs=["y"], dynamic={0: "batch"}, weights=folder / "weights.safetensors",
    )  # fmt: skip
    return module, folder / "graph.onnx"


def test_the_graph_reads_the_safetensors_files_own_bytes(tmp_path: Path) -> None:
    module, graph = exported(tmp_path)
    inputs = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(graph)
    with torch.inference_mode():
        expected = module(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(session.run(None, {"x": inputs})[0], expected, atol=1e-5)
    assert graph.stat().st_size < 64 * 32 * 2  # the weights themselves are not in it
    # Changing the stored bytes changes what the graph computes: there is no second copy.
    weights = tmp_path / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-128] + bytes(128))
    assert not np.allclose(onnxruntime.InferenceSession(graph).run(None, {"x": inputs})[0], expected, atol=1e-3)


def test_half_precision_comes_back_as_it_was_rounded(tmp_path: Path) -> None:
    module, other = network(), network()
    with torch.no_grad():
        other[0].weight.zero_()
    save_half(module, tmp_path / "weights.safetensors", {})
    load_half(other, tmp_path / "weights.safetensors")
    torch.testing.assert_close(other[0].weight, module[0].weight, atol=0, rtol=0)


def test_a_weight_too_large_for_half_precision_is_no_silent_infinity(tmp_path: Path) -> None:
    module = network()
    with torch.no_grad():
        module[0].weight[0, 0] = 1e6
    with pytest.raises(AssertionError, match="float16"):
        save_half(module, tmp_path / "weights.safetensors", {})
    assert not (tmp_path / "weights.safetensors").exists()
