#!/usr/bin/env python3
"""Every command on a fresh machine, with nothing but Python 3.11, 3.12 or 3.13 and its standard library.

    python3 start.py COMMAND [its options]         portrait, serve, learn, gallery, decode ...: any command there is
    python3 start.py test [pytest options]         install the test set, pass all checks and tests
    python3 start.py test --fast [pytest options]  the linter and all tests but the slow ones, in three minutes
    python3 start.py fresh                         the README's first two blocks in a folder with the last commit alone
    python3 start.py matrix [3.12 ...] [--all]     the wheel alone, then tested, on every Python here that it is for,
                                                   with the newest and with the oldest libraries that it takes; with
                                                   --all the extras with torch and dlib too, and a short training

The environment is .venv beside this file (.venv-matrix for `matrix`); a command installs what it needs once. On another
Python this looks for one of these on the machine, and goes on with that.
"""

# Older Pythons must be able to read this file, to find a newer one: no syntax that came after 3.7.
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Those with which all is tested; pyproject.toml and the README say the same. Not 3.14: no machine of the tests has it,
# though the libraries have wheels for it.
SUPPORTED = ("3.11", "3.12", "3.13")
ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
INSTALLED = ENVIRONMENT / "installed.json"  # which extras, of which pyproject.toml
INSTALLED_FROM = ("pyproject.toml", "constraints.txt")

# The extras that a command needs beside the base package; the longer name counts.
NEEDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("portrait", "video", "shield", "drivers", "configs"), ()),
    **dict.fromkeys(("inspect", "certificate"), ("c2pa",)),
    **dict.fromkeys(("serve", "studio"), ("serve",)),
    **dict.fromkeys(("train", "balance", "convert", "export", "data"), ("train",)),
    **dict.fromkeys(("evaluate", "audit"), ("eval",)),
    "decode": ("faces",),
    "camera": ("microphone",),
    "data prepare": ("train", "faces"),
    "learn": ("eval", "faces"),
    "gallery": ("retrieval",),
    "gallery build": ("eval", "faces", "retrieval"),
}
# And those of some options and values, wherever they stand.
WORDS = {"--microphone": "microphone", "--sign-key": "c2pa", "ray": "cluster"}
ENDINGS = {".heic": "heic", ".heif": "heic"}

TEST_EXTRAS = ("train", "faces", "cluster", "eval", "serve", "calls", "retrieval", "heic", "c2pa", "test")
MAX_TEST_PROCESSES = 4  # each one holds torch and a model
# One thread a process: the tests already run side by side, and threads on top only wait for each other.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

LINE_SECONDS = 10  # between two lines about it where there is no terminal
TAIL_LINES = 25  # of what pip said, where it failed


class Failed(Exception):
    """What ends this program early; its text is one line for the user."""


def environment_program(name: str, environment: Path = ENVIRONMENT) -> str:
    """Full path of a program inside an environment."""
    folder, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    return str(environment / folder / (name + suffix))


# --- Which Python: this one, or another of this machine.


def interpreters(version: str) -> Iterator[Path]:
    """Where a version of Python may be: the system's, pyenv's, uv's, Windows' own, and whatever the path names."""
    if this_version() == version:
        yield Path(sys.executable)
    yield from (Path(folder) / f"python{version}" for folder in ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    yield from sorted((Path.home() / ".local/share/uv/python").glob(f"cpython-{version}.*/bin/python3"), reverse=True)
    if os.environ.get("LOCALAPPDATA"):
        yield Path(os.environ["LOCALAPPDATA"]) / "Programs" / "Python" / f"Python{version.replace('.', '')}/python.exe"
    found = shutil.which(f"python{version}")
    if found:
        yield Path(found)


def this_version() -> str:
    """This Python's version, such as 3.12."""
    return ".".join(map(str, sys.version_info[:2]))


def interpreter(version: str) -> tuple[Path, str] | None:
    """One that works and can make environments, and its whole version; None where the machine has none."""
    script = "import ensurepip, sys, venv; print('.'.join(map(str, sys.version_info[:3])))"
    for path in interpreters(version):
        if path.exists():
            ran = subprocess.run(
                [str(path), "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
            )
            if ran.returncode == 0 and ran.stdout.startswith(f"{version}."):
                return path, ran.stdout.strip()
    return None


def any_interpreter() -> Path:
    """A supported Python that can make environments: this one if it can, else the newest.

    Raises:
        Failed: there is none; says what to install.
    """
    for version in (*[version for version in SUPPORTED if version == this_version()], *reversed(SUPPORTED)):
        found = interpreter(version)
        if found is not None:
            return found[0]
    newest, this = SUPPORTED[-1], this_version()
    if this in SUPPORTED:
        raise Failed(f"this Python cannot make environments; on Debian and Ubuntu: apt-get install python{this}-venv")
    raise Failed(
        f"Python {SUPPORTED[0]} to {newest} is needed, this is {this} and there is no other here; install one: apt-get"
        f" install python{newest} python{newest}-venv, brew install python@{newest}, winget install"
        f" Python.Python.{newest}, or uv python install {newest}"
    )


def become(command: Sequence[str]) -> int:
    """Let another program take this one's place, signals and all; returns its exit code where the system cannot."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execv(command[0], list(command))
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # reached the program too, which ends as it sees fit
            continue


# --- The environment and what is installed in it.


def say(text: str) -> None:
    """A line beside the result."""
    print(text, file=sys.stderr, flush=True)


def run_shown(step: str, command: Sequence[str]) -> None:
    """Run a command and show that it goes on: a line that changes on a terminal, elsewhere one now and then.

    Raises:
        Failed: it failed; what it said last is printed.
    """
    terminal, started, said = sys.stderr.isatty(), time.monotonic(), 0
    lines: deque[str] = deque([""], TAIL_LINES)
    process = subprocess.Popen(
        command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    if not terminal:
        say(f"{step} ...")
    while reader.is_alive():
        reader.join(0.3)
        seconds, last = int(time.monotonic() - started), " ".join(lines[-1].split())
        columns = shutil.get_terminal_size().columns - 1  # a full row would go on in the next one
        shown = f"{step}, {seconds} s: {last}"[:columns]
        if terminal:
            print(f"\r{shown:<{columns}}", end="", file=sys.stderr, flush=True)
        elif seconds - said >= LINE_SECONDS:
            said = seconds
            say(shown)
    if terminal:
        print(f"\r{'':<{shutil.get_terminal_size().columns - 1}}\r", end="", file=sys.stderr)
    if process.wait():
        say("".join(lines).rstrip())
        raise Failed(f"{step}: it failed, see above; what is installed stays, and the same command goes on from there")
    say(f"{step}: done, {round(time.monotonic() - started)} s")


def pip_install(environment: Path, step: str, *arguments: str) -> None:
    """Install into an environment, in pip's own way of configuring indexes; Python compiles what is imported later."""
    pip = [environment_program("python", environment), "-m", "pip", "install", "--disable-pip-version-check"]
    run_shown(step, [*pip, "--progress-bar", "off", "--no-compile", *arguments])


def digest_of(*parts: str) -> str:
    """Changes with the files that an environment is installed from, and with these parts."""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in INSTALLED_FROM) + "".join(parts) + str(ROOT)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def installed_extras() -> set[str] | None:
    """The extras in the environment; None where nothing is installed, or from another pyproject.toml."""
    try:
        record = json.loads(INSTALLED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = record["from"] == digest_of() and Path(environment_program("python")).exists()
    return set(record["extras"]) if usable else None


def make_environment(step: str, folder: Path = ENVIRONMENT) -> None:
    """Make an environment, unless there is one that works."""
    python = environment_program("python", folder)
    if Path(python).exists():
        pip = [python, "-m", "pip", "--version"]
        if not subprocess.run(pip, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            return
    run_shown(step, [str(any_interpreter()), "-m", "venv", "--clear", str(folder)])


def install(extras: Iterable[str], purpose: str) -> bool:
    """Install the package with these extras and those that are there; false where that was done before."""
    there = installed_extras()
    if there is not None and there.issuperset(extras):
        return False
    if there is None:
        say(f"The first time for {purpose}: it takes some minutes; everything goes into {ENVIRONMENT.name} here.")
    make_environment(f"[1/2] making {ENVIRONMENT.name}", ENVIRONMENT)
    wanted = sorted({*extras, *(there or ())})
    named = f".[{','.join(wanted)}]" if wanted else "."
    step = f"[2/2] installing for {purpose}"
    pip_install(ENVIRONMENT, step, "-c", "constraints.txt", "-e", named)
    INSTALLED.write_text(json.dumps({"from": digest_of(), "extras": wanted}), encoding="utf-8")
    return True


# --- The commands of the package.


def needed_extras(words: Sequence[str]) -> set[str] | None:
    """The extras that a command line needs; None where there is no such command."""
    names = [name for name in (" ".join(words[:2]), words[0]) if name in NEEDS]
    if not names:
        return None
    pieces = [piece for word in words[1:] for piece in word.split("=")]
    by_ending = (extra for end, extra in ENDINGS.items() if any(piece.lower().endswith(end) for piece in pieces))
    return {*NEEDS[names[0]], *(WORDS[piece] for piece in pieces if piece in WORDS), *by_ending}


def command(words: Sequence[str]) -> int:
    """Install what a command of the package needs, and let it take over in the caller's folder."""
    extras = needed_extras(words)
    if extras is None:
        known = ", ".join(sorted({name.split()[0] for name in NEEDS}))
        raise Failed(f"there is no command {words[0]!r}; there are {known}, test, fresh and matrix")
    install(extras, words[0])
    return become([environment_program("speech2face"), *words])


# --- The checks and tests of the package: `test`.


def process_count() -> str:
    """How many tests run side by side: one more than there are processors, for some wait for browsers and servers."""
    return str(min((os.cpu_count() or 1) + 1, MAX_TEST_PROCESSES))


def run_job(name: str, command: Sequence[str], *, beside: bool = False) -> int:
    """Run one part of the checks, with its name and its time in a line at its end; returns its exit code.

    What it says is shown as it comes, or, where it runs `beside` another part, in one piece at its end.
    """
    words = " ".join(["$", Path(command[0]).name, *command[1:]])
    if not beside:
        print(words, flush=True)
    started = time.monotonic()
    ran = subprocess.run(
        command,
        cwd=str(ROOT),
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE if beside else None,
        stderr=subprocess.STDOUT if beside else None,
        text=True,
        check=False,
    )
    came = f"job {name}: {'FAILED' if ran.returncode else 'passed'}, {round(time.monotonic() - started)} s"
    print(f"\n{words}\n{ran.stdout}{came}" if beside else came, flush=True)
    return ran.returncode


def test(arguments: list[str]) -> int:
    """Install the test set and run the linter, the type checker and all tests; returns the first failure's code.

    With `--fast` neither the type checker, which takes a minute and a half of a processor where it has not run before,
    nor the tests that are marked as slow. The type checker runs beside the tests, in the time in which they wait.
    """
    new = install(TEST_EXTRAS, "test")
    fast = "--fast" in arguments
    rest = [argument for argument in arguments if argument != "--fast"]
    pytest = [environment_program("python"), "-m", "pytest"]
    tests = [*pytest, "-n", process_count(), "--dist", "worksteal", *(["-m", "not slow"] if fast else []), *rest]
    codes = [run_job("linter", [environment_program("ruff"), "check", "."])]
    with ThreadPoolExecutor(1) as pool:
        types = None if fast else pool.submit(run_job, "types", [environment_program("mypy")], beside=True)
        if new and not rest:  # else each of the processes would compile the same libraries
            imported = [*pytest, "--collect-only", "-q"]
            subprocess.run(imported, cwd=str(ROOT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        codes.append(run_job("tests", tests))
        if types is not None:
            codes.append(types.result())
    return next((code for code in codes if code), 0)


# --- The wheel on every Python, with the newest and the oldest libraries: `matrix`.

MATRIX = ROOT / ".venv-matrix"  # a folder of environments
MATRIX_EXTRAS = ("retrieval", "c2pa", "serve", "calls", "microphone", "heic")  # without torch and hundreds of MB
LARGE_EXTRAS = ("train", "faces", "eval")  # with them: `matrix --all`
MATRIX_TOOLS = ("pytest", "pytest-xdist", "pytest-cov", "hypothesis")
# What would notice another version of one of the libraries: of each a file or two, not all that use it.
MATRIX_TESTS = (
    *("tests/audio/test_recording.py", "tests/data/test_video.py"),  # PyAV
    *("tests/test_portrait.py", "tests/drawn/test_avatar.py"),  # ONNX Runtime, webrtcvad; aggdraw
    *("tests/test_provenance.py", "tests/test_cli.py"),  # Pillow; typer, rich and pydantic
    *("tests/app/test_live_socket.py", "tests/app/test_client.py"),  # FastAPI, uvicorn, websockets; httpx
    *("tests/app/test_webrtc.py", "tests/signing/test_credentials.py"),  # aiortc; c2pa and cryptography
    *("tests/gallery/test_faiss_index.py", "tests/test_drivers.py"),  # FAISS; the standard library's entry points
    "tests/test_quiet.py::test_a_portrait_is_drawn_in_silence",
)
# Libraries that must be there, by the extra that brings them; "" is the base package. sounddevice wants a sound system.
IMPORTS = {
    "": ("numpy", "onnxruntime", "av", "webrtcvad", "PIL", "aggdraw", "typer", "rich", "pydantic", "filelock"),
    "retrieval": ("faiss", "psycopg", "pgvector"),
    "c2pa": ("c2pa", "cryptography"),
    "serve": (
        "fastapi",
        "uvicorn",
        "websockets",
        "python_multipart",
        "soxr",
        "httpx",
        "prometheus_client",
        "cryptography",
    ),
    "calls": ("aiortc",),
    "microphone": ("cffi",),
    "heic": ("pillow_heif",),
    "train": (
        *("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "scipy", "soxr", "jinja2", "fsspec"),
        "tensorboard",
    ),
    "faces": ("_dlib_pybind11",),  # the other one is a folder of files; its import wants pkg_resources, of old Pythons
    "eval": ("matplotlib", "sklearn", "faiss"),
}
# Imports all modules of the installed package; those that need an extra that is not there may not be importable.
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import speech2face
assert speech2face.__file__.startswith(sys.prefix), speech2face.__file__
count = 0
for module in pkgutil.walk_packages(speech2face.__path__, "speech2face."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
            count += 1
        except Exception as error:  # some say by an error of the package's own what is missing
            cause = error.__cause__ or error
            if not isinstance(cause, ModuleNotFoundError) or cause.name.split(".")[0] in ("speech2face", *sys.argv[1:]):
                raise
print(count)
"""
# A lower bound as pyproject.toml writes it: name, extras, bound, and the Pythons that it is for.
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+),<[\w.]+(;.*)?")


def lowest() -> list[str]:
    """Every lower bound of the base and of the matrix's extras as the one version that is allowed."""
    import tomllib  # not in the Pythons that only look for another one here

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pinned = []
    for text in [*project["dependencies"], *(text for extra in MATRIX_EXTRAS for text in extras[extra])]:
        found = REQUIREMENT.fullmatch(text)
        if found:
            pinned.append(f"{found[1]}=={found[2]}{found[3] or ''}")
        elif not text.startswith("speech2face["):
            raise Failed(f"pyproject.toml: {text!r} has no lower and upper bound")
    return pinned


def build_wheel() -> Path:
    """Build the wheel of this tree, in an environment of its own: `test` may be making the other one just now."""
    environment, folder = MATRIX / "build", MATRIX / "wheel"
    make_environment(f"making {MATRIX.name}", environment)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [environment_program("python", environment), "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"]
    run_shown("building the wheel", [*pip, "-w", str(folder), "."])
    (wheel,) = folder.glob("*.whl")
    return wheel


def quietly(command: Sequence[str], folder: Path, *, without: Sequence[str] = (), **around: str) -> str:
    """What a command says; all of it is printed where it fails.

    `around` is added to its environment, `without` is left out of it.

    Raises:
        Failed: it failed.
    """
    ran = subprocess.run(
        command,
        cwd=str(folder),
        env={name: text for name, text in {**os.environ, **ONE_THREAD, **around}.items() if name not in without},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode:
        print(ran.stdout, flush=True)
        raise Failed(f"{' '.join(command[:3])} ... ended with {ran.returncode}")
    return ran.stdout.strip()


class Row:
    """One environment of the matrix: a Python with the newest or the lowest libraries, and the wheel."""

    def __init__(self, python: Path, whole_version: str, which: str, wheel: Path) -> None:
        self.python, self.which, self.wheel = python, which, wheel
        self.version = ".".join(whole_version.split(".")[:2])
        self.name = f"python {whole_version}, {which}"
        self.environment = MATRIX / f"{whole_version}-{which}"
        self.program = environment_program("python", self.environment)

    def job(self, name: str, work: Callable[[], str]) -> None:
        """Do a part, and print its name, what came of it and its time in a line.

        Raises:
            Failed: it failed.
        """
        started, outcome = time.monotonic(), "FAILED"
        try:
            outcome = work()
        finally:
            print(f"job {self.name}, {name}: {outcome}, {round(time.monotonic() - started)} s", flush=True)

    def pip(self, *arguments: str) -> None:
        """Install into the environment; few of the modules are imported, so none is compiled."""
        pip = [self.program, "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]
        quietly([*pip, *arguments], ROOT)

    def install_wheel(self) -> str:
        """The wheel with nothing but what the base package needs, in an environment of its own."""
        pinned = lowest() if self.which == "lowest" else []
        stamp = self.environment / f"installed-{digest_of(*pinned)}"
        if stamp.exists():
            self.pip("--no-deps", "--force-reinstall", str(self.wheel))
            return "the new wheel"
        shutil.rmtree(self.environment, ignore_errors=True)
        quietly([str(self.python), "-m", "venv", str(self.environment)], ROOT)
        (self.environment / "constraints.txt").write_text("\n".join(pinned))
        self.pip("-c", str(self.environment / "constraints.txt"), str(self.wheel))
        stamp.touch()
        return "the wheel alone"

    def imports(self, *extras: str) -> str:
        """Import all that can be with these extras, away from the sources."""
        names = [name for extra in ("", *extras) for name in IMPORTS[extra]]
        return quietly([self.program, "-I", "-c", IMPORT_ALL, *names], self.environment) + " modules can be imported"

    def portrait(self) -> str:
        """Draw a portrait, away from the sources, and find the settings that come with the package."""
        program = [self.program, "-I", "-m", "speech2face"]
        if "dlib-decoder" not in quietly([*program, "configs", "list"], self.environment):
            raise Failed("the wheel has no settings")
        recording = str(ROOT / "examples" / "female.mp3")
        rows = quietly([*program, "portrait", recording, "--force", "-o", "face.png"], self.environment).splitlines()
        return " ".join(next(row for row in rows if row.startswith("apparent age")).split())

    def install_extras(self, *extras: str, tools: Sequence[str] = ()) -> str:
        """Extras of the wheel, and what the tests need."""
        capped = [text for file in (self.environment, ROOT) for text in ("-c", str(file / "constraints.txt"))]
        self.pip(*capped, f"{self.wheel}[{','.join(extras)}]", *tools)
        return ", ".join(extras)

    def smoke(self) -> str:
        """The recipe from nothing to a portrait, by the wheel."""
        folder = str(self.environment / "smoke")
        path = os.pathsep.join([str(Path(self.program).parent), os.environ.get("PATH", "")])
        quietly(["bash", "runs/smoke.sh", folder], ROOT, PATH=path, SOURCES="")
        return "a release and its portrait"

    def tests(self) -> str:
        """The tests of `MATRIX_TESTS` against the installed wheel.

        The slow ones, of sockets and calls, with the lowest libraries on the first Python alone: `test` has run them
        with the newest. How much of the package they run is counted with the newest, where Python counts at little
        cost: from 3.12 on.
        """
        command = [self.program, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *MATRIX_TESTS]
        if (self.which, self.version) != ("lowest", SUPPORTED[0]):
            command += ["-m", "not slow"]
        if self.which == "newest" and self.version != SUPPORTED[0]:
            command += ["--cov", "--cov-report=term"]
        file = str(self.environment / "coverage")
        lines = quietly(command, ROOT, COVERAGE_CORE="sysmon", COVERAGE_FILE=file).splitlines()
        covered = [f"; coverage of these tests {line.split()[-1]}" for line in lines if line.startswith("TOTAL")]
        return lines[-1].strip("= ") + "".join(covered)


def tested(version: str, which: str, rows: Sequence[tuple[str, str]]) -> bool:
    """Whether a row passes the tests too: each Python once, and the lowest libraries wherever they are.

    `test` has passed all of them on this Python with the newest.
    """
    return which == "lowest" or (version != this_version() and (version, "lowest") not in rows)


def try_row(version: str, which: str, wheel: Path, *, with_tests: bool) -> str:
    """Print one row of the matrix by its name, part by part; returns "passed", "failed" or "skipped"."""
    found = interpreter(version)
    if found is None:
        print(f"job python {version}, {which}: skipped, not on this machine", flush=True)
        return "skipped"
    row = Row(*found, which, wheel)
    try:
        if which == "all":
            row.job("wheel installed", row.install_wheel)
            row.job("extras installed", lambda: row.install_extras(*LARGE_EXTRAS))
            row.job("extras imported", lambda: row.imports(*LARGE_EXTRAS))
            row.job("trained", row.smoke)
            return "passed"
        row.job("wheel installed", row.install_wheel)
        row.job("wheel imported", row.imports)
        row.job("wheel's portrait", row.portrait)
        row.job("extras installed", lambda: row.install_extras(*MATRIX_EXTRAS, tools=MATRIX_TOOLS))
        row.job("extras imported", lambda: row.imports(*MATRIX_EXTRAS))
        if with_tests:
            row.job("tests", row.tests)
    except Failed as error:
        print(f"start.py: error: {row.name}: {error}", file=sys.stderr, flush=True)
        return "failed"
    return "passed"


def matrix_rows(versions: Sequence[str], *, large: bool = False) -> list[tuple[str, str]]:
    """Each version with the newest libraries; with the lowest only the first and last: between them nothing is new.

    Where the `large` extras are wanted too, these two have a third row.
    """
    rows = [(version, "newest") for version in versions]
    ends = list(dict.fromkeys((versions[0], versions[-1])))
    return rows + [(version, which) for which in ("lowest", *(["all"] if large else [])) for version in ends]


def matrix(arguments: list[str]) -> int:
    """The wheel on each version of Python, with the newest and the lowest libraries; returns 1 where a row fails."""
    started = time.monotonic()
    wheel = build_wheel()
    versions = [argument for argument in arguments if argument != "--all"]
    rows = matrix_rows(versions or SUPPORTED, large="--all" in arguments)

    def tried(row: tuple[str, str]) -> str:
        version, which = row
        return try_row(version, which, wheel, with_tests=tested(version, which, rows))

    with ThreadPoolExecutor(2) as pool:  # one row's downloads beside another's tests
        came = list(pool.map(tried, rows))
    counts = ", ".join(f"{came.count(word)} {word}" for word in ("passed", "failed", "skipped"))
    print(f"job matrix: of {len(rows)} rows {counts}, {round(time.monotonic() - started)} s", flush=True)
    return int("failed" in came)


# --- What a stranger does first: `fresh`.

OUTSIDE = ("PYTHONPATH", "VIRTUAL_ENV")  # of whoever tries it, which a stranger does not have
FRESH_FILES = ("female.png", "female.json", "female-2.png", "female-2.json", "female-3.png")


def _copy_last_commit(folder: Path) -> None:
    """The last commit's files, or where this is no checkout of git all that no tool has made here."""
    try:
        quietly(["git", "archive", "--format=tar", f"--output={folder}.tar", "HEAD"], ROOT)
        shutil.unpack_archive(f"{folder}.tar", folder)
    except (Failed, OSError):
        made = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, folder, ignore=made)


def fresh(arguments: list[str]) -> int:
    """The README's first command twice and its second block, in a folder that has the last commit and nothing else."""
    started, outcome = time.monotonic(), "FAILED"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "speech2face"
        try:
            _copy_last_commit(folder)
            for _ in range(2):
                quietly([sys.executable, "start.py", "portrait", "examples/female.mp3"], folder, without=OUTSIDE)
            (_, installing, *_) = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
            quietly(["bash", "-ec", installing], folder, without=OUTSIDE)
            missing = [name for name in FRESH_FILES if not (folder / name).exists()]
            if missing:
                raise Failed(f"the README's commands wrote no {', '.join(missing)}")
            outcome = "passed"
        finally:
            print(f"job fresh: {outcome}, {round(time.monotonic() - started)} s", flush=True)
    return 0


def main() -> int:
    """Run one of the commands; its exit code is this one's."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    try:
        if this_version() not in SUPPORTED:
            there = environment_program("python") if installed_extras() is not None else str(any_interpreter())
            say(f"start.py: this is Python {this_version()}; going on with {there}")
            return become([there, str(Path(__file__).resolve()), *arguments])
        own = {"test": test, "fresh": fresh, "matrix": matrix}
        if arguments[0] not in own:
            return command(arguments)
        # Images of containers often set it. The checks start hundreds of processes, and with it each of them compiled
        # anew whatever it imports: two thirds of the time of one that imports torch.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return own[arguments[0]](arguments[1:])
    except Failed as error:
        say(f"start.py: error: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
