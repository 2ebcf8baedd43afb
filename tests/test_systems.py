"""Nothing needs a POSIX system to be imported, to draw, to serve or to train: shown with what only POSIX has hidden."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speech2face.data.storage import LOCK, locked

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "female.mp3"

# What only POSIX has is taken away, from this package alone (modules) and altogether (functions), once other packages
# have what they want of this system.
HIDING = """
import builtins, os, signal, subprocess, sys

real = builtins.__import__

def hidden(name, globals=None, locals=None, fromlist=(), level=0):
    ours = (globals or {}).get("__name__", "").startswith(("speech2face", "__main__"))  # a process of ours: python -m
    if ours and name.split(".")[0] in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
        raise ModuleNotFoundError(name)
    return real(name, globals, locals, fromlist, level)

def hide():
    builtins.__import__ = hidden
    ids = "getuid geteuid getgid getegid setsid"
    for name in f"fork forkpty {ids} killpg mkfifo pread pwrite sched_getaffinity".split():
        delattr(os, name)
    for name in "SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGKILL pthread_sigmask sigwaitinfo".split():
        delattr(signal, name)
    subprocess.Popen.kill = subprocess.Popen.terminate  # as on Windows
    for name in [name for name in sys.modules if name.split(".")[0] == "speech2face"]:
        del sys.modules[name]
"""
# Python reads this before anything else: the processes that the package starts are to have it hidden as well.
IN_EVERY_PROCESS = """
import os
if "WITHOUT_POSIX" in os.environ:
    import importlib, subprocess, tempfile
    for name in ("numpy", "av.audio.resampler", "webrtcvad"):
        importlib.import_module(name)
    import hiding
    hiding.hide()
    open(os.path.join(os.environ["WITHOUT_POSIX"], f"hidden-{os.getpid()}"), "w").close()
"""
BEGINNING = """
import importlib, os, pkgutil, sys

def import_all():
    import speech2face
    names = [m.name for m in pkgutil.walk_packages(speech2face.__path__, "speech2face.") if "__main__" not in m.name]
    for name in names:
        importlib.import_module(name)
    return names

import_all()
import multiprocessing.resource_tracker, multiprocessing.util, subprocess, tempfile, uvicorn.main, starlette.testclient
import hiding
hiding.hide()
"""
DRAWS = """
assert len(import_all()) > 100

from pathlib import Path
from speech2face.app.http import _peak_bytes
from speech2face.data.shards import default_cache_folder
from speech2face.data.storage import locked

assert _peak_bytes() != _peak_bytes()
assert default_cache_folder().name == "speech2face-shards"
with locked(Path("run")):
    pass
from speech2face import cli
sys.argv = ["speech2face", "portrait", sys.argv[1], "-q"]
cli.main()
"""
SERVES = """
import time

os.environ["WITHOUT_POSIX"] = os.getcwd()
from pathlib import Path
from starlette.testclient import TestClient
from speech2face.app.server import create_app
from speech2face.app.service import Settings

with TestClient(create_app(Settings(workers=1)), base_url="http://127.0.0.1") as client:
    while client.app.state.service.registry.state == "starting":
        time.sleep(0.05)
    answer = client.post("/v1/portrait", content=Path(sys.argv[1]).read_bytes())
    assert answer.status_code == 200, answer.text
    Path("face.png").write_bytes(answer.content)
"""
TRAINS = """
from speech2face.tasks import train
train("planted-decoder", sys.argv[1:])
"""


@pytest.fixture
def without_posix(tmp_path: Path) -> Callable[..., Path]:
    """Run a script that begins with everything imported and then hidden; returns the folder it ran in."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "hiding.py").write_text(HIDING)
    (tmp_path / "path" / "sitecustomize.py").write_text(IN_EVERY_PROCESS)
    here = tmp_path / "here"
    here.mkdir()

    def run(script: str, *words: str | Path) -> Path:
        path = os.pathsep.join(map(str, (tmp_path / "path", ROOT / "src")))
        ran = subprocess.run(
            [sys.executable, "-c", BEGINNING + script, *map(str, words)],
            cwd=here,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return here

    return run


def test_everything_is_imported_and_a_portrait_drawn_without_what_only_posix_has(
    without_posix: Callable[..., Path],
) -> None:
    here = without_posix(DRAWS, EXAMPLE)
    assert sorted(path.name for path in here.iterdir()) == ["female.json", "female.png", "run"]


def test_the_service_and_the_process_that_decodes_for_it_do_without(without_posix: Callable[..., Path]) -> None:
    here = without_posix(SERVES, EXAMPLE)
    assert (here / "face.png").read_bytes()[1:4] == b"PNG"
    assert list(here.glob("hidden-*")), "the process that decodes had it hidden too"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="install the extra `train`")
def test_two_steps_are_trained_without(without_posix: Callable[..., Path], tmp_path: Path) -> None:
    world = tmp_path / "world"
    words = ["--out", str(world), "--train", "32", "--validation", "8", "--seconds", "0", "--faces", "32"]
    subprocess.run([sys.executable, "-m", "recipes.planted.shards", *words], cwd=ROOT, check=True)
    settings = ("run.steps=2", "run.evaluate_clips=8", "run.precision=fp32")
    here = without_posix(TRAINS, f"data.manifest={world}", "out=trained", *settings)
    assert (here / "trained" / "numbers.jsonl").stat().st_size > 0


def test_the_process_that_holds_a_folder_is_named_beyond_the_byte_that_windows_locks(tmp_path: Path) -> None:
    with locked(tmp_path):
        content = (tmp_path / LOCK).read_bytes()
    assert content[:1] == b"\0"
    assert content[1:].split() == [str(os.getpid()).encode()]
