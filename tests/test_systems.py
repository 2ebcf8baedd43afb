"""Nothing needs a POSIX system to be imported, to draw, to serve or to train: shown with what only POSIX has hidden."""

import os
import subprocess
import sys
from pathlib import Path

from speech2face.data.storage import LOCK, locked

ROOT = Path(__file__).parents[1]

# First everything is imported as it is, so that other packages have what they want of this system. Then the parts that
# only POSIX has are taken away, from this package alone (modules) and altogether (functions), and all is done again.
WITHOUT_POSIX = """
import builtins, importlib, os, pkgutil, signal, sys

def import_all():
    import speech2face
    names = [m.name for m in pkgutil.walk_packages(speech2face.__path__, "speech2face.") if "__main__" not in m.name]
    for name in names:
        importlib.import_module(name)
    return names

import_all()
import multiprocessing.resource_tracker, multiprocessing.util, subprocess, tempfile, uvicorn.main
real = builtins.__import__

def hidden(name, globals=None, locals=None, fromlist=(), level=0):
    ours = (globals or {}).get("__name__", "").startswith("speech2face")
    if ours and name.split(".")[0] in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
        raise ModuleNotFoundError(name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = hidden
for name in "fork forkpty getuid geteuid getgid getegid setsid killpg mkfifo pread pwrite sched_getaffinity".split():
    delattr(os, name)
for name in "SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGKILL pthread_sigmask sigwaitinfo".split():
    delattr(signal, name)
for name in [name for name in sys.modules if name.split(".")[0] == "speech2face"]:
    del sys.modules[name]
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


def test_everything_is_imported_and_a_portrait_drawn_without_what_only_posix_has(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_POSIX, str(ROOT / "examples" / "female.mp3")]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["female.json", "female.png", "run"]


def test_the_process_that_holds_a_folder_is_named_beyond_the_byte_that_windows_locks(tmp_path: Path) -> None:
    with locked(tmp_path):
        content = (tmp_path / LOCK).read_bytes()
    assert content[:1] == b"\0"
    assert content[1:].split() == [str(os.getpid()).encode()]
