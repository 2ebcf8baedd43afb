"""What all benchmarks share: a number with its floor, the machine's matrix-product rate, the CSV they append to."""

import csv
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # what makes recordings and peers lies beside the tests
COLUMNS = ["date", "commit", "hardware", "question", "value", "unit", "floor", "floor_is", "target"]


@dataclass(frozen=True)
class Result:
    """One number with its floor (what physics or the libraries alone would take) and the project's target."""

    question: str
    value: float
    unit: str
    floor: float
    floor_is: str
    target: float | None = None


def median_seconds(call: Callable[[], object], runs: int, *, warm_up: int = 3) -> float:
    """Median of one call, after some that are not counted."""
    seconds = []
    for run in range(runs + warm_up):
        started = time.perf_counter()
        call()
        if run >= warm_up:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def matrix_rate() -> float:
    """Single-precision operations a second of this machine's matrix product, all cores."""
    a, b = (np.random.default_rng(seed).standard_normal((2048, 2048)).astype(np.float32) for seed in (0, 1))
    return 2 * 2048**3 / median_seconds(lambda: a @ b, 7)


def eight_bit_rate() -> float:
    """Operations a second of ONNX Runtime's product of eight-bit matrices, all cores: that of the voice encoder."""
    import onnx
    from onnx import TensorProto, helper

    from speech2face.outputs import load_onnxruntime

    rows, inner, columns = 150, 512, 2048  # of three seconds of speech, in the widest of its layers
    weights = np.random.default_rng(0).integers(-64, 64, (inner, columns), dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [rows, columns])],
        [onnx.numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = load_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    a = np.random.default_rng(1).integers(0, 255, (rows, inner), dtype=np.uint8)
    return 2 * rows * inner * columns / median_seconds(lambda: session.run(None, {"a": a}), 200)


def processor() -> str:
    """Name of the processor and number of cores."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"


def machine() -> str:
    """Hardware column of what runs in torch: the graphics card if there is one, the processor, and how busy it was."""
    torch = sys.modules.get("torch")
    card = f"{torch.cuda.get_device_name()}, " if torch is not None and torch.cuda.is_available() else ""
    return f"{card}{processor()}, load average {os.getloadavg()[0]:.1f} at the start"


def forget_peak_memory() -> None:
    """Measure this process's peak from here on; only Linux can do that, elsewhere it stays the process's own."""
    kept = Path("/proc/self/clear_refs")
    if kept.exists():
        kept.write_text("5")


def peak_memory() -> float:
    """Most bytes of main memory since `forget_peak_memory`, or else since this program was started.

    What `getrusage` tells on Linux is no less than the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # Unix's alone, and most benchmarks do without it

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) * 1024


def print_results(results: list[Result]) -> None:
    """One line each."""
    for r in results:
        target = "" if r.target is None else f"  (to reach: {r.target:g})"
        print(f"{r.question:60} {r.value:10.4g} {r.unit:8} floor {r.floor:10.4g}{target}")


def write(results: list[Result], path: Path, hardware: str | None = None) -> None:
    """Append to the CSV with commit, hardware and date."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        for r in results:
            target = "" if r.target is None else f"{r.target:g}"
            machine = [datetime.date.today().isoformat(), commit, hardware or processor()]
            writer.writerow([*machine, r.question, f"{r.value:.4g}", r.unit, f"{r.floor:.4g}", r.floor_is, target])
