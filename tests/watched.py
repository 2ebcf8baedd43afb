"""Runs a command as a user would, in an empty home folder and without CI in its environment, and watches it.

Two watches see what native code does too: strace, which sees every system call of every thread and child, and where it
is missing or may not trace, a library of our own before libc, which sees every call that goes through libc.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import speech2face

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(speech2face.__file__).resolve().parents[1]  # the tree's, or that of an installed wheel
PRELOADED = Path(__file__).with_name("watched.c")
NETWORK_CALLS = "socket,connect,bind,listen,sendto,sendmsg,sendmmsg"
FILE_CALLS = "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,link,linkat"
LOOPBACK = ("127.", "::1", "::ffff:127.")
ADDRESS = re.compile(r'sin_addr=inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
DOMAIN_NAMES = "53"  # asked for somebody's address, if only of a resolver on this machine
CREATED = re.compile(r'\b(?:open|openat|creat|mkdir|mkdirat|symlink|symlinkat|link|linkat|rename\w*)\(.*"([^"]+)"')


@dataclass
class Seen:
    """What a command did: its exit code and words, files it left behind and addresses it used."""

    code: int
    out: str
    err: str
    left: list[str] = field(default_factory=list)
    """What is new in the home and temporary folders, and with strace whatever was made outside the work folder."""
    inet: list[str] = field(default_factory=list)
    """Calls that have to do with the internet's addresses, those of this machine among them."""

    @property
    def elsewhere(self) -> list[str]:
        """Those of the calls that name an address beyond this machine, or ask for one."""
        return [call for call in self.inet if _leaves(call)]


def _leaves(call: str) -> bool:
    if call.startswith("getaddrinfo"):
        return not any(host in call for host in ('"127.', '"::1"', '"localhost"', "(null)"))
    found = ADDRESS.search(call)
    if not found:
        return False
    port = PORT.search(call)
    return not (found[1] or found[2]).startswith(LOOPBACK) or (port is not None and port[1] == DOMAIN_NAMES)


@cache
def strace() -> tuple[str, ...]:
    """Return how strace is called here, empty where it is missing or may not trace: containers often forbid it.

    With `--seccomp-bpf`, of newer ones, a program is stopped at the calls that are asked for alone.
    """
    for command in (("strace", "-f", "--seccomp-bpf"), ("strace", "-f")):
        trial = [*command, "-e", "trace=openat", "-o", "/dev/null", "true"]
        if shutil.which("strace") and subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return command
    return ()


def built_library(folder: Path) -> Path | None:
    """The library before libc, or None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        return None
    made = folder / "watched.so"
    if not made.exists():
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, PRELOADED, "-ldl"], check=True)
    return made


WATCHES = ("strace", "library")


class Watch:
    """An empty home for commands, and a work folder in which they may write what they like."""

    def __init__(self, folder: Path, kind: str | None = None) -> None:
        """`kind`: which watch; None takes strace where it works, else the library. Skips where neither can be had."""
        self.home, self.temporary, self.work = (folder / name for name in ("home", "temporary", "work"))
        self._folder, self._log = folder, folder / "watch.log"
        for place in (self.home, self.temporary, self.work):
            place.mkdir(exist_ok=True)
        self.kind = kind or ("strace" if strace() else "library")
        self._library = built_library(folder) if self.kind == "library" else None
        if self.kind == "strace" and not strace():
            pytest.skip("strace is not installed, or may not trace here")
        if self.kind == "library" and self._library is None:
            pytest.skip("neither strace nor a C compiler is here: sockets of native code cannot be seen")

    @property
    def environment(self) -> dict[str, str]:
        """A user's: nothing in it says that this is a test, or where caches may lie."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        return (
            kept
            | threads
            | {
                "HOME": str(self.home),
                "TMPDIR": str(self.temporary),
                "LANG": "C.UTF-8",
                "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
        )

    def run(
        self,
        *command: object,
        while_running: Callable[[int], None] | None = None,
        ready: Callable[[], bool] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Seen:
        """The command to its end. `while_running` is called once `ready` is true, with the process's number."""
        self._log.unlink(missing_ok=True)
        before = self._everything()
        variables = self.environment | (environment or {})
        words = [str(word) for word in command]
        if self.kind == "strace":
            calls = f"trace=?{NETWORK_CALLS.replace(',', ',?')},?{FILE_CALLS.replace(',', ',?')}"
            words = [*strace(), "-qq", "-s", "300", "-e", "signal=none", "-e", calls, "-o", str(self._log), *words]
        else:
            variables |= {"LD_PRELOAD": str(self._library), "WATCHED_LOG": str(self._log)}
        out, err = self._folder / "out.txt", self._folder / "err.txt"
        with out.open("w") as to_out, err.open("w") as to_err:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err, env=variables, cwd=self.work
            )
            try:
                if while_running is not None:
                    assert ready is not None
                    _wait_for(lambda: ready() or process.poll() is not None)
                    while_running(_traced(process) if self.kind == "strace" else process.pid)
                code = process.wait(300)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
        calls_made = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return Seen(code, out.read_text(), err.read_text(), self._left(before, calls_made), _inet(calls_made))

    def _everything(self) -> set[Path]:
        return {path for place in (self.home, self.temporary) for path in place.rglob("*")}

    def _left(self, before: set[Path], calls: Sequence[str]) -> list[str]:
        """Files that are there now, and with strace those that were made in between, anywhere a user's things lie."""
        left = {str(path) for path in self._everything() - before}
        for call in calls:
            made = CREATED.search(call)
            if made and " = -1 " not in call and ("O_CREAT" in call or "open" not in call.split("(")[0]):
                path = Path(os.path.normpath(self.work / made[1]))
                if not any(path.is_relative_to(place) for place in (self.work, self.temporary, "/dev", "/proc")):
                    left.add(str(path))
        return sorted(left)


def _inet(calls: Sequence[str]) -> list[str]:
    named = (re.sub(r"^\d+ +", "", call) for call in calls)
    return [call for call in named if "AF_INET" in call or call.startswith("getaddrinfo")]


def _traced(strace: subprocess.Popen[bytes]) -> int:
    """The process that strace has started."""
    return int(Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text().split()[0])


def _wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
