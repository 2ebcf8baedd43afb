"""How near the paper's voice encoder comes to this CPU's limit, whole and streamed, by engine and precision.

    python benchmarks/encoder.py               # minutes; needs the extra `train` and the package openvino

Writes benchmarks/encoder.csv (appends). The limit is the matrix product's rate, the fastest of numpy's, torch's and
OpenVINO's in two sizes, measured in turns with the encoder: a share is the median over rounds of the ratio within a
round. On one core the clock is the process's CPU time, which other work on the machine hardly moves; on all cores it is
the wall's, and means something on an idle machine only: the load beside it tells. Weights are random: speed does not
depend on them. Where a CPU has neither AMX nor AVX-512 BF16, bfloat16 is left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import ROOT, Result, write

SECONDS = 6
FRAMES = 598  # in 6 s
ROUNDS = 9
MATRICES = (768, 2048)  # both fit the caches differently; the faster one is the limit
MATRIX_OPERATIONS = 2.0 * max(MATRICES) ** 3  # of one call, whatever the size
TARGET = 90.0  # per cent of the matrix product
STEP_SECONDS = 0.64  # one column

Calls = dict[str, Callable[[], object]]


def encoder_operations(frames: int) -> tuple[float, float]:
    """Floating-point operations of the whole pass, and of one step of the stream; a multiply-add is two."""
    import torch
    from torch import nn

    from speech2face.voice.encoder import COLUMN_HOP, ColumnStep, VoiceEncoder, VoiceEncoderConfig

    total = 0.0

    def count(module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += 2.0 * output.numel() * weight[0].numel()

    with torch.device("meta"):
        network = VoiceEncoder(VoiceEncoderConfig()).eval()
        step = ColumnStep(network.columns)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        network(torch.empty(1, 2, 257, frames))
        whole, total = total, 0.0
        kept = [torch.empty(1, *shape) for shape in step.kept_shapes()]
        step(torch.empty(1, 2, 257, COLUMN_HOP), *kept)
    return whole, total


def export_graphs(folder: Path) -> None:
    """The whole encoder for 6 s and one step of the stream, with random weights."""
    import torch

    from speech2face.voice.encoder import COLUMN_HOP, ColumnStep, VoiceEncoder, VoiceEncoderConfig

    torch.manual_seed(0)
    network = VoiceEncoder(VoiceEncoderConfig()).eval()
    step = ColumnStep(network.columns).eval()
    kept = [torch.zeros(1, *shape) for shape in step.kept_shapes()]
    examples: list[tuple[torch.nn.Module, tuple[torch.Tensor, ...], str]] = [
        (network, (torch.zeros(1, 2, 257, FRAMES),), "whole"),
        (step, (torch.zeros(1, 2, 257, COLUMN_HOP), *kept), "step"),
    ]
    for module, example, name in examples:
        names = ["spectrogram", *(f"kept_{number}" for number in range(len(example) - 1))]
        torch.onnx.export(
            module, example, folder / f"{name}.onnx", dynamo=True, opset_version=18, external_data=True,
            verbose=False, input_names=names,
        )  # fmt: skip


def matrix_products(threads: int, *, bfloat16: bool) -> tuple[Calls, Calls]:
    """The matrix product in each library and size, in float32 and in bfloat16; each call is `MATRIX_OPERATIONS`."""
    import torch

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    single: Calls = {}
    half: Calls = {}
    for size in MATRICES:
        a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
        single[f"matrix {size} numpy"] = repeated(partial(np.matmul, a, b), size)
        add_products(single, a, b, "f32", threads)
        if bfloat16:
            add_products(half, a, b, "bf16", threads)
    return single, half


def add_products(calls: Calls, a: np.ndarray, b: np.ndarray, precision: str, threads: int) -> None:
    """The product of a and b through torch and OpenVINO."""
    import torch

    openvino = load_openvino()
    opset13 = openvino.opset13
    size = len(a)
    x, y = (torch.from_numpy(m).to(torch.float32 if precision == "f32" else torch.bfloat16) for m in (a, b))
    calls[f"matrix {size} torch"] = repeated(partial(torch.mm, x, y), size)
    left = opset13.parameter([size, size], np.float32)
    product = openvino.Model([opset13.matmul(left, opset13.constant(b), False, False)], [left])
    calls[f"matrix {size} OpenVINO"] = repeated(partial(compile_openvino(product, precision, threads), a), size)


def repeated(call: Callable[[], object], size: int) -> Callable[[], object]:
    """As often as makes `MATRIX_OPERATIONS`."""

    def run() -> None:
        for _ in range(round(MATRIX_OPERATIONS / (2 * size**3))):
            call()

    return run


def load_openvino() -> Any:
    """OpenVINO, silent: it reports each import to its maker's analytics, and leaves an identifier in the home folder.

    It has no variable against that; without the package that reports it takes a stand-in of its own.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way: it cannot be imported
    import openvino

    return openvino


def compile_openvino(model: Any, precision: str, threads: int) -> Any:
    """A graph, or the path of one, for the CPU."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    return load_openvino().Core().compile_model(model, "CPU", settings)


def open_onnx(path: Path, threads: int) -> Any:
    """ONNX Runtime with that many threads."""
    from speech2face.outputs import load_onnxruntime

    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def encoders(folder: Path, threads: int, *, bfloat16: bool) -> tuple[Calls, Calls]:
    """6 s through each engine, and one step of a stream."""
    x = np.random.default_rng(0).standard_normal((1, 2, 257, FRAMES)).astype(np.float32)
    onnx = open_onnx(folder / "whole.onnx", threads)
    single = compile_openvino(folder / "whole.onnx", "f32", threads)
    step = open_onnx(folder / "step.onnx", threads)
    feeds = {entry.name: np.zeros(entry.shape, np.float32) for entry in step.get_inputs()}
    calls: Calls = {
        "ONNX Runtime float32": lambda: onnx.run(None, {"spectrogram": x}),
        "OpenVINO float32": lambda: single(x),
        "ONNX Runtime float32, one step": lambda: step.run(None, feeds),
    }
    if not bfloat16:
        return calls, {}
    half = compile_openvino(folder / "whole.onnx", "bf16", threads)
    return calls, {"OpenVINO bfloat16": lambda: half(x)}


def in_turns(calls: Mapping[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each call, one of each in every round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(ROUNDS + 1):
        for name, call in calls.items():
            started = clock()
            call()
            if round_number:
                seconds[name].append(clock() - started)
    return seconds


def measure(folder: Path, threads: int) -> dict[str, dict[str, float]]:
    """For each engine its median seconds, the matrix product's rate beside it and the share of it; for one child."""
    bfloat16 = "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    clock = time.process_time if threads == 1 else time.perf_counter
    products = matrix_products(threads, bfloat16=bfloat16)
    engines = encoders(folder, threads, bfloat16=bfloat16)
    operations, step_operations = encoder_operations(FRAMES)
    found: dict[str, dict[str, float]] = {}
    for matrices, calls in zip(products, engines, strict=True):
        if not calls:
            continue
        seconds = in_turns(matrices | calls, clock)
        fastest = [min(times) for times in zip(*(seconds[name] for name in matrices), strict=True)]  # in each round
        for name in calls:
            work = step_operations if "step" in name else operations
            shares = [work / own / (MATRIX_OPERATIONS / best) for own, best in zip(seconds[name], fastest, strict=True)]
            found[name] = {
                "seconds": statistics.median(seconds[name]),
                "rate": MATRIX_OPERATIONS / statistics.median(fastest),
                "share": 100 * statistics.median(shares),
                "operations": work,
            }
    return found


def in_a_child(folder: Path, threads: int) -> dict[str, dict[str, float]]:
    """`measure` in a process whose libraries were told their number of threads before they were loaded."""
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, __file__, "--threads", str(threads), "--graphs", str(folder)]
    ran = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, dict[str, float]] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def results_of(found: dict[str, dict[str, float]], where: str) -> list[Result]:
    """One core's or all cores' rows of the table."""
    results = []
    for name, one in found.items():
        precision = "bfloat16" if "bfloat16" in name else "float32"
        what = f"{STEP_SECONDS} s of a stream" if "step" in name else f"{SECONDS} s"
        floor = one["operations"] / one["rate"] * 1e3
        floor_is = f"{one['operations'] / 1e9:.1f} GFLOP / {one['rate'] / 1e9:.0f} GFLOP/s, matrix product {precision}"
        results.append(Result(f"{name}, {what}, {where}", one["seconds"] * 1e3, "ms", floor, floor_is))
        share = f"{name}, {what}, {where}, share of the matrix product's rate"
        results.append(Result(share, one["share"], "%", 100, "the matrix product itself", TARGET))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)  # for the child
    parser.add_argument("--graphs", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.graphs:
        print(json.dumps(measure(arguments.graphs, arguments.threads)))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    results = [Result("processes that wanted a core before the run", load, "", 0, "an idle machine")]
    with tempfile.TemporaryDirectory() as folder:
        export_graphs(Path(folder))
        results += results_of(in_a_child(Path(folder), 1), "one core, CPU time")
        if cores > 1:
            results += results_of(in_a_child(Path(folder), cores), f"{cores} cores, wall clock")
    for r in results:
        print(f"{r.question:88} {r.value:9.4g} {r.unit:3} floor {r.floor:8.1f}")
    write(results, Path(__file__).with_suffix(".csv"))
    print(f"written to {Path(__file__).with_suffix('.csv').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
