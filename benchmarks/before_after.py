"""Two versions of the package in one run: cold and warm portraits, memory, and a call's share of a core.

    git worktree add ../before COMMIT
    python benchmarks/before_after.py ../before/src

Writes benchmarks/before_after.csv (appends): the value is the version here, its floor the other one. Both are tried in
turns, medians are kept; a call's numbers are the process's CPU time, which other work on the machine hardly moves.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from portrait import made_mp3
from record import ROOT, Result, machine, print_results, write

ROUNDS = 7
IN_USE = """
import json, resource, statistics, sys, time
import numpy as np
import speech2face
from speech2face.live import LiveSession, PcmFormat

recording, rounds = sys.argv[1], 12
model = speech2face.load_model()
warm = []
for _ in range(rounds):
    started = time.perf_counter()
    speech2face.reconstruct(model, recording)
    warm.append(time.perf_counter() - started)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

alone = speech2face.load_model(threads=1)
alone.warm()
waveform = np.resize(speech2face.read_recording(recording).waveform, 30 * 16_000)
samples = (waveform * 32767).astype("<i2").tobytes()
session, updates = LiveSession(alone, PcmFormat()), []
for start in range(0, len(samples), 8000):  # four updates a second
    started = time.process_time()
    session.push(samples[start : start + 8000])
    seen = (getattr(session, "snapshot", None) or session.look)()
    if seen.belief is not None:
        session.draw(seen)
    updates.append(time.process_time() - started)
session.close()
print(json.dumps({
    "warm, a 6 s mp3 to a portrait": 1000 * statistics.median(warm[2:]),
    "memory after portraits": memory,
    "a call, share of a core at four updates a second": 100 * sum(updates) / 30,
    "a call, 95 of 100 updates, CPU time": 1000 * float(np.quantile(updates, 0.95)),
}))
"""
UNITS = {"memory": ("MB", 260.0), "warm": ("ms", 60.0), "a call, share": ("%", 12.0), "a call, 95": ("ms", 60.0)}


def tried(source: Path, *command: str) -> str:
    """What a program prints on one version of the package."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    ran = subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True, text=True)
    return ran.stdout


def measure(before: Path, recording: Path, folder: Path) -> list[Result]:
    """Every number of the version here, with that of the other one as its floor."""
    versions = {"before": before, "here": ROOT / "src"}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in versions}
    for _ in range(ROUNDS):
        for name, source in versions.items():
            started = time.perf_counter()
            out = str(folder / f"{name}.png")
            tried(source, "-m", "speech2face", "portrait", str(recording), "-o", out, "--force", "--quiet")
            found[name].setdefault("cold, a 6 s mp3 to a PNG", []).append(time.perf_counter() - started)
    for _ in range(3):
        for name, source in versions.items():
            for question, value in json.loads(tried(source, "-c", IN_USE, str(recording))).items():
                found[name].setdefault(question, []).append(value)
    results = []
    for question, values in found["here"].items():
        unit, target = next((known for start, known in UNITS.items() if question.startswith(start)), ("s", 0.65))
        other = statistics.median(found["before"][question])
        results.append(Result(question, statistics.median(values), unit, other, "the version before", target))
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the folder src of the other version")
    arguments = parser.parse_args()
    hardware = machine()
    with tempfile.TemporaryDirectory() as made:
        recording = Path(made) / "six.mp3"
        made_mp3(recording)
        results = measure(arguments.before.resolve(), recording, Path(made))
    print_results(results)
    write(results, ROOT / "benchmarks" / "before_after.csv", hardware)


if __name__ == "__main__":
    main()
