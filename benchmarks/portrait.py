"""How long one portrait takes, cold and warm, how much memory, and what an install weighs; each beside its floor.

    python benchmarks/portrait.py              # about a minute
    python benchmarks/portrait.py --install    # also makes a fresh environment: minutes, and needs the package index

Writes benchmarks/portrait.csv (appends). Floors: for computing, the networks' operations over this machine's measured
matrix-product rate; for a cold start, the bare imports of the same libraries; for memory, the same.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from record import ROOT, Result, eight_bit_rate, matrix_rate, median_seconds, print_results, write

RECORDING_SECONDS = 6
COLD_RUNS, WARM_RUNS = 9, 60
BARE_IMPORTS = (
    "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'\nimport numpy, av, webrtcvad, PIL.Image, onnxruntime, typer"
)


def made_mp3(path: Path) -> None:
    """The examples' male voice, tiled to six seconds, as MP3: what people send most."""
    import av

    from speech2face.audio.recording import read_recording

    waveform = np.resize(read_recording(ROOT / "examples" / "male.flac").waveform, RECORDING_SECONDS * 16_000)
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libmp3lame", rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((waveform * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))


def whole_process(command: list[str]) -> tuple[float, float]:
    """Median wall seconds and largest resident megabytes of a command, after one run that warms the disk."""
    seconds, peak = [], 0.0
    for run in range(COLD_RUNS + 1):
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command} ended with {child.returncode}")
        if run:
            seconds.append(time.perf_counter() - started)
            peak = max(peak, usage.ru_maxrss / 1024)
    return statistics.median(seconds), peak


def operations(path: Path, feeds: dict[str, np.ndarray]) -> tuple[float, float]:
    """Multiplications and additions of the convolutions and products of a network: in floats, and in eight bits."""
    import onnx
    from onnx import numpy_helper, shape_inference

    model = shape_inference.infer_shapes(onnx.load(str(path)))
    weights = {w.name: numpy_helper.to_array(w).shape for w in model.graph.initializer}
    shapes = dict(weights)
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in weights:
            shapes[node.output[0]] = weights[node.input[0]]
    # Intermediate sizes come from running the network: shape inference does not resolve free axes.
    from speech2face.outputs import load_onnxruntime

    wanted = [n.output[0] for n in model.graph.node if n.op_type in ("Conv", "MatMul", "MatMulInteger", "Gemm")]
    declared = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in declared)
    session = load_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = dict(zip(wanted, session.run(wanted, feeds), strict=True))
    totals = {False: 0.0, True: 0.0}
    for node in model.graph.node:
        if node.output[0] in outputs:
            kernel = next((shapes[name] for name in reversed(node.input[:2]) if name in shapes), None)
            if kernel is not None:
                inner = (
                    int(np.prod(kernel[1:])) if node.op_type == "Conv" else kernel[-1 if node.op_type == "Gemm" else 0]
                )
                totals[node.op_type == "MatMulInteger"] += 2.0 * outputs[node.output[0]].size * inner
    return totals[False], totals[True]


def warm_results(recording: bytes, rate: float, eight_bits: float) -> list[Result]:
    """Per clip in a process that is already running, and its stages."""
    from speech2face import read_recording, reconstruct
    from speech2face.audio.spectrogram import SEGMENT_SAMPLES, log_mel
    from speech2face.audio.speech import require_speech
    from speech2face.models.attributes import load_attribute_model

    model = load_attribute_model()
    model.runtime.warm()
    heard = read_recording(recording)
    speech = require_speech(heard.waveform).speech()
    embedding = model.release.population.embedding(40.0, 0.5)
    segment = log_mel(speech[:SEGMENT_SAMPLES])[None]
    floats, integers = operations(model.release.file("voice_frames.onnx"), {"log_mel": segment})
    voice_floor = (floats / rate + integers / eight_bits) * speech.size / SEGMENT_SAMPLES
    # The decoder's products are one multiplication and addition a stored number of its bases.
    face_floor = 2 * model.release.file("face.safetensors").stat().st_size / 2 / rate  # two bytes a number
    floor_is = "operations of the networks / measured rates of matrix products"
    stages: list[tuple[str, Callable[[], object], float, str]] = [
        ("decode the mp3", lambda: read_recording(recording), 0, "FFmpeg's own work, not measured apart"),
        ("voice activity", lambda: require_speech(heard.waveform), 0, "WebRTC's own work, not measured apart"),
        (
            "log-mel and voice encoder",
            lambda: model.runtime.read(model.runtime.moments(speech)),
            voice_floor,
            floor_is,
        ),
        ("face decoder", lambda: model.runtime.decode(embedding), face_floor, floor_is),
    ]
    results = [
        Result(f"warm, {name}", median_seconds(call, WARM_RUNS) * 1e3, "ms", floor * 1e3, why)
        for name, call, floor, why in stages
    ]
    whole = median_seconds(lambda: reconstruct(model, recording), WARM_RUNS) * 1e3
    results.append(
        Result("warm, a 6 s mp3 to a 512 px picture", whole, "ms", (voice_floor + face_floor) * 1e3, floor_is, 60)
    )
    results.append(Result("voice encoder, operations for 6 s", (floats + integers) * 2 / 1e9, "GFLOP", 0, ""))
    return results


def cold_results(mp3: Path, folder: Path) -> list[Result]:
    """The whole process as a user starts it."""
    command = [
        sys.executable,
        "-m",
        "speech2face",
        "portrait",
        str(mp3),
        "-o",
        str(folder / "x.png"),
        "--force",
        "--quiet",
    ]
    seconds, peak = whole_process(command)
    bare_seconds, bare_peak = whole_process([sys.executable, "-c", BARE_IMPORTS])
    return [
        Result("cold, a 6 s mp3 to a 512 px PNG", seconds, "s", bare_seconds, "importing the same libraries", 0.65),
        Result("peak memory of that process", peak, "MB", bare_peak, "importing the same libraries", 260),
    ]


def install_results() -> list[Result]:
    """A fresh environment with the base install: its size and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        started = time.perf_counter()
        python = Path(folder) / "bin" / "python"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(ROOT)], check=True)
        seconds = time.perf_counter() - started
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file() and not f.is_symlink()) / 1e6
    package = (
        sum(f.stat().st_size for f in (ROOT / "src").rglob("*") if f.is_file() and "__pycache__" not in f.parts) / 1e6
    )
    return [
        Result("base install, size of the environment", size, "MB", package, "this package alone", 400),
        Result("base install, time", seconds, "s", 0, "depends on the network"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="also measure a fresh base install")
    arguments = parser.parse_args()
    rate, eight_bits = matrix_rate(), eight_bit_rate()
    results = [
        Result("matrix product, float32", rate / 1e9, "GFLOP/s", 0, "this is a rate the floors use"),
        Result("matrix product, eight bits", eight_bits / 1e9, "GFLOP/s", 0, "this is a rate the floors use"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        mp3 = Path(folder) / "voice.mp3"
        made_mp3(mp3)
        results += cold_results(mp3, Path(folder))
        results += warm_results(mp3.read_bytes(), rate, eight_bits)
    if arguments.install:
        results += install_results()
    print_results(results)
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
