"""Scripts of benchmarks/, which no other test runs: each answers `--help`, so that a name that moved is noticed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "\nif __name__ ==" in path.read_text(encoding="utf-8")]
OWN = {"recipes", "tests", *(path.stem for path in BENCHMARKS.glob("*.py"))}
EXTRAS = {  # modules of the packages of extras; another one that is not there has moved, or was never asked for
    *("aiortc", "c2pa", "cryptography", "dlib", "face_recognition_models", "faiss", "fastapi", "fsspec", "httpx"),
    *("jinja2", "matplotlib", "multipart", "onnx", "pgvector", "prometheus_client", "psycopg", "pydantic"),
    *("safetensors", "scipy", "sklearn", "soxr", "starlette", "threadpoolctl", "torch", "uvicorn", "websockets"),
    "resource",  # Unix's alone
}
PATIENCE_SECONDS = 180.0  # it takes five where the machine is idle
# One process for all, as each alone would import numpy and torch anew. What a script puts on the path, and the modules
# that it finds there, are taken away before the next, which is to find its own.
ASKED = """
import contextlib, io, json, runpy, sys

[folder, own, extras, *scripts] = json.loads(sys.argv[1])
before = [folder, *sys.path[1:]]
for script in scripts:
    sys.path[:], sys.argv = before, [script, "--help"]
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
    shown, lacks, wrong = io.StringIO(), "", ""
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(script, run_name="__main__")
        wrong = "it does not end at --help"
    except SystemExit as end:
        if end.code or not shown.getvalue().startswith("usage:"):
            wrong = f"exit code {end.code}, {shown.getvalue()[:200]!r}"
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        lacks, wrong = (package, "") if package in extras else ("", repr(error))
    except Exception as error:
        wrong = repr(error)
    print(json.dumps([script, lacks, wrong]), flush=True)
"""


def test_every_benchmark_answers_help() -> None:
    stated = json.dumps([str(BENCHMARKS), sorted(OWN), sorted(EXTRAS), *map(str, SCRIPTS)])
    ran = subprocess.run(
        [sys.executable, "-c", ASKED, stated], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [Path(script).name for script, *_ in answers] == [script.name for script in SCRIPTS]
    assert {Path(script).name: wrong for script, _, wrong in answers if wrong} == {}
    if lacking := [f"{Path(script).name} needs {lacks}" for script, lacks, _ in answers if lacks]:
        pytest.skip(f"all others answer: {', '.join(lacking)}; install the package's extras, on Unix")
