"""What the pages tell to type is typed: every walk of docs/walks.md, the README's lines twice, the recipe of `runs`."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speech2face.models.release import MANIFEST, SHIPPED
from speech2face.provenance import read_provenance

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "walks.md").read_text(encoding="utf-8")
WALKS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
NEEDED = {
    "Somebody with a recording": (),
    "Somebody who builds an app": ("fastapi", "uvicorn", "httpx"),
    "Somebody who does research": ("torch", "onnxscript", "matplotlib", "dlib"),
}
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^[\w./-]+\.[a-z]+$")
SECONDS = 1500  # of a whole walk: without an end a service that never gets ready would be waited for


def free_port() -> str:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return str(door.getsockname()[1])


def script_of(walk: str) -> str:
    """The blocks of a walk as one script of the shell: Python's share one program's names, as in one session."""
    lines = ["set -euo pipefail"]
    told: list[str] = []
    for language, block in BLOCK.findall(WALKS[walk]):
        if language == "sh":
            lines.append(block)
        elif language == "python":
            told.append(block)
            lines.append(f"python - <<'PYTHON'\n{''.join(told)}PYTHON")
        else:
            named = [word for word in block.split() if FILE.match(word) and not word[0].isdigit()]
            lines += [f"ls -d {shlex.quote(name)} > /dev/null" for name in named]
    return "\n".join(lines)


def test_the_page_has_a_walk_for_each_user_and_commands_in_each() -> None:
    assert set(WALKS) == set(NEEDED)
    for walk in WALKS:
        script = script_of(walk)
        assert script.count("speech2face ") >= 4
        assert script.count("ls -d ") >= 2, "what comes out is named"


def follow(script: str, tmp_path: Path) -> Path:
    """Run a script of the shell in an empty folder beside copies of examples and recipes; returns the folder."""
    programs, here = tmp_path / "programs", tmp_path / "here"
    programs.mkdir()
    here.mkdir()
    for name, words in {"speech2face": f"{sys.executable} -m speech2face", "python": sys.executable}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    for name in ("examples", "recipes"):
        (here / name).symlink_to(ROOT / name)
    around = os.environ | {
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    walked = subprocess.Popen(
        ["bash", "-c", script], cwd=here, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = walked.communicate(timeout=SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the service of a walk that failed is of the shell's group
            os.killpg(walked.pid, signal.SIGTERM)
    assert walked.returncode == 0, said[-3000:]
    return here


REAL = (
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="a script of bash"),
    pytest.mark.skipif(not (SHIPPED / MANIFEST).exists(), reason="no weights are shipped yet"),
)


def real(test: Callable[..., None]) -> Callable[..., None]:
    """A slow test that runs a script with the shipped weights."""
    for mark in REAL:
        test = mark(test)
    return test


@real
@pytest.mark.parametrize("walk", NEEDED)
def test_every_block_of_a_walk_does_what_the_page_says(walk: str, tmp_path: Path) -> None:
    for package in NEEDED[walk]:
        pytest.importorskip(package, reason="this walk needs extras")
    follow(script_of(walk).replace("8765", free_port()), tmp_path)


# What makes environments, and trainings of the paper's size with the release of them.
NOT_RUN = ("python3 start.py test", ". .venv", "pip install", "speech2face train", "speech2face export")


def script_of_the_readme() -> str:
    """The README's lines for the shell, those of `start.py` as the program's."""
    blocks = "".join(block for language, block in BLOCK.findall(README) if language == "sh")
    lines = [line for line in blocks.splitlines() if not line.startswith(NOT_RUN)]
    return "\n".join(lines).replace("python3 start.py ", "speech2face ")


@real
def test_every_line_of_the_readme_runs_twice_in_one_folder(tmp_path: Path) -> None:
    for package in NEEDED["Somebody who does research"]:
        pytest.importorskip(package, reason="the lines that learn need extras")
    once = script_of_the_readme()
    assert len(once.splitlines()) > 12
    here = follow(f"set -euo pipefail\n{once}\n{once}", tmp_path)
    for name in ("female.png", "female-2.png", "stdin-2.png", "male-2-sheet.png", "my-model/CARD.md"):
        assert (here / name).exists(), name


@real
def test_the_recipe_goes_from_nothing_to_a_portrait(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="install the extra `train`")
    words = ["bash", str(ROOT / "runs" / "smoke.sh"), str(tmp_path / "smoke")]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    around = os.environ | {"PATH": programs, "OMP_NUM_THREADS": "1"}  # two would wait for each other beside other tests
    ran = subprocess.run(words, env=around, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (portrait,) = (tmp_path / "smoke" / "portrait").glob("*.png")
    provenance, _ = read_provenance(portrait.read_bytes())
    assert (provenance.kind, provenance.model_name) == ("portrait", "smoke")
