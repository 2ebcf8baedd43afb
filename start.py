#!/usr/bin/env python3
"""The commands of a fresh machine, on nothing but Python 3.11, 3.12 or 3.13 and its standard library.

    python3 start.py portrait RECORDING... [options]    make the environment, turn recordings into portraits
    python3 start.py test [pytest options]              install the test set, pass all checks and tests
    python3 start.py test --fast [pytest options]       the linter and all tests but the slow ones, in two minutes
    python3 start.py matrix [3.12 ...]                  the same package on every Python of this machine that it is for,
                                                        with the newest and with the oldest libraries that it takes

All keep their environments in .venv and .venv-matrix, and install again only when what they install from has changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
INSTALLED_FROM = ("pyproject.toml", "constraints.txt")
TEST_EXTRAS = "[train,faces,cluster,eval,serve,calls,retrieval,heic,c2pa,test]"
MAX_TEST_PROCESSES = 4  # each one holds torch and a model
# One thread a process: the tests already run side by side, and threads on top only wait for each other.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

MATRIX = ROOT / ".venv-matrix"  # a folder of environments
MATRIX_EXTRAS = ("retrieval", "c2pa", "serve", "calls")  # those that need neither torch nor hundreds of megabytes
MATRIX_TOOLS = ("pytest", "pytest-xdist", "pytest-cov", "hypothesis")
# What would notice another version of one of the libraries: of each a file or two, not all that use it.
MATRIX_TESTS = (
    *("tests/audio/test_recording.py", "tests/data/test_video.py"),  # PyAV
    *("tests/test_portrait.py", "tests/drawn/test_avatar.py"),  # ONNX Runtime, webrtcvad; aggdraw
    *("tests/test_provenance.py", "tests/test_cli.py"),  # Pillow; typer, rich and pydantic
    *("tests/app/test_live_socket.py", "tests/app/test_client.py"),  # FastAPI, uvicorn, websockets; httpx
    *("tests/app/test_webrtc.py", "tests/signing/test_credentials.py"),  # aiortc; c2pa and cryptography
    *("tests/gallery/test_faiss_index.py", "tests/test_drivers.py"),  # FAISS; the standard library's entry points
    "tests/test_layers.py::test_the_base_install_imports_everything_it_needs",
    "tests/test_quiet.py::test_a_portrait_is_drawn_in_silence",
)
# A lower bound as pyproject.toml writes it: name, extras, bound, and the Pythons that it is for.
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+),<[\w.]+(;.*)?")


def environment_program(name: str, environment: Path = ENVIRONMENT) -> str:
    """Full path of a program inside an environment."""
    folder, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    return str(environment / folder / (name + suffix))


def project() -> dict[str, object]:
    """The table `project` of pyproject.toml."""
    import tomllib  # here, so that an older Python still says which one is needed

    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def pip_install(environment: Path, *arguments: str) -> None:
    """Install into an environment, in pip's own way of configuring indexes."""
    pip = [environment_program("python", environment), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], cwd=ROOT, check=True)


def stamp_of(environment: Path, *parts: str) -> Path:
    """The file whose presence says that an environment was installed from just this."""
    text = "".join((ROOT / name).read_text() for name in INSTALLED_FROM) + "".join(parts) + str(ROOT)
    return environment / f"installed-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def install(extras: str) -> None:
    """Make the environment if there is none, and install the package in it unless that is already done."""
    stamp = stamp_of(ENVIRONMENT, extras, sys.version)
    if stamp.exists():
        return
    print(f"Installing speech2face{extras} in {ENVIRONMENT.name} ...", file=sys.stderr, flush=True)
    if not Path(environment_program("python")).exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip_install(ENVIRONMENT, "-c", "constraints.txt", "-e", f".{extras}")
    stamp.touch()


def portrait(arguments: list[str]) -> int:
    """Install the base package and hand the arguments to `speech2face portrait`, in the caller's folder."""
    install("")
    return subprocess.run([environment_program("speech2face"), "portrait", *arguments], check=False).returncode


def process_count() -> str:
    """How many tests run side by side."""
    return str(min(os.cpu_count() or 1, MAX_TEST_PROCESSES))


def test(arguments: list[str]) -> int:
    """Install the test set and run the linter, the type checker and all tests; returns the first failure's code.

    With `--fast` neither the type checker, which takes half a minute, nor the tests that are marked as slow.
    """
    install(TEST_EXTRAS)
    fast = "--fast" in arguments
    rest = [argument for argument in arguments if argument != "--fast"]
    pytest = [environment_program("python"), "-m", "pytest", "-n", process_count()]
    commands = [[environment_program("ruff"), "check", "."]]
    commands += [[*pytest, "-m", "not slow", *rest]] if fast else [[environment_program("mypy")], [*pytest, *rest]]
    codes = []
    for command in commands:
        print("$", Path(command[0]).name, *command[1:], flush=True)
        codes.append(subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, check=False).returncode)
    return next((code for code in codes if code), 0)


def python_versions() -> list[str]:
    """The versions of Python that the package says it is for, such as 3.12."""
    classifiers = project()["classifiers"]
    assert isinstance(classifiers, list)
    return [found[1] for text in classifiers if (found := re.fullmatch(r".*Python :: (3\.\d+)", text))]


def interpreters(version: str) -> Iterator[Path]:
    """Where a version of Python may be: the system's, pyenv's, and whatever the path names."""
    yield from (Path(folder) / f"python{version}" for folder in ("/usr/bin", "/usr/local/bin"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    found = shutil.which(f"python{version}")
    if found:
        yield Path(found)
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield Path(sys.executable)


def interpreter(version: str) -> tuple[Path, str] | None:
    """One that works and can make environments, and its whole version; None where the machine has none."""
    script = "import ensurepip, sys, venv; print('.'.join(map(str, sys.version_info[:3])))"
    for path in interpreters(version):
        if path.exists():
            ran = subprocess.run([path, "-c", script], capture_output=True, text=True, check=False)
            if ran.returncode == 0 and ran.stdout.startswith(f"{version}."):
                return path, ran.stdout.strip()
    return None


def lowest() -> list[str]:
    """Every lower bound of the base and of the matrix's extras as the one version that is allowed."""
    extras = project()["optional-dependencies"]
    base = project()["dependencies"]
    assert isinstance(extras, dict) and isinstance(base, list)
    pinned = []
    for text in [*base, *(text for extra in MATRIX_EXTRAS for text in extras[extra])]:
        found = REQUIREMENT.fullmatch(text)
        if found:
            pinned.append(f"{found[1]}=={found[2]}{found[3] or ''}")
        elif not text.startswith("speech2face["):
            raise SystemExit(f"pyproject.toml: {text!r} has no lower and upper bound")
    return pinned


def matrix_row(python: Path, whole_version: str, which: str) -> tuple[bool, str]:
    """Whether the tests pass on one Python with one set of libraries, and what pytest says at its end."""
    environment = MATRIX / f"{whole_version}-{which}"
    pinned = lowest() if which == "lowest" else []
    stamp = stamp_of(environment, *MATRIX_EXTRAS, *MATRIX_TOOLS, *pinned, whole_version)
    if not stamp.exists():
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([python, "-m", "venv", environment], check=True)
        constraints = environment / "constraints.txt"
        constraints.write_text("\n".join(pinned))
        wanted = ["-e", f".[{','.join(MATRIX_EXTRAS)}]", *MATRIX_TOOLS]
        pip_install(environment, "--no-compile", "-c", str(constraints), *wanted)  # few of the modules are imported
        stamp.touch()
    command = [environment_program("python", environment), "-m", "pytest", "-q", "-n", process_count()]
    command += ["-p", "no:cacheprovider", *MATRIX_TESTS]
    around = os.environ | ONE_THREAD
    if which == "newest" and not whole_version.startswith("3.11."):  # before 3.12 counting doubles the time
        command += ["--cov", "--cov-report=term"]
        around |= {"COVERAGE_CORE": "sysmon", "COVERAGE_FILE": str(environment / "coverage")}
    ran = subprocess.run(command, cwd=ROOT, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        print(ran.stdout, flush=True)
    lines = ran.stdout.strip().splitlines()
    covered = [line.split()[-1] for line in lines if line.startswith("TOTAL")]
    said = lines[-1].strip("= ") if lines else f"pytest ended with {ran.returncode}"
    return ran.returncode == 0, said + "".join(f"; coverage of these tests {share}" for share in covered)


def try_row(version: str, which: str) -> bool:
    """Print one row of the matrix by its name; false where it fails."""
    found = interpreter(version)
    if found is None:
        print(f"python {version}, {which}: skipped, not on this machine", flush=True)
        return True
    started = time.monotonic()
    try:
        passed, said = matrix_row(*found, which)
    except subprocess.CalledProcessError as error:
        passed, said = False, f"the installation failed: {error}"
    seconds = round(time.monotonic() - started)
    print(f"python {found[1]}, {which}: {'' if passed else 'FAILED, '}{said}; {seconds} s in all", flush=True)
    return passed


def matrix(versions: list[str]) -> int:
    """Each version of Python with the newest and the oldest libraries, a row each; returns 1 where one fails."""
    rows = [(version, which) for version in versions or python_versions() for which in ("newest", "lowest")]
    with ThreadPoolExecutor(2) as pool:  # one row's downloads beside another's tests
        return int(not all(list(pool.map(lambda row: try_row(*row), rows))))


def main() -> int:
    """Run one of the commands; its exit code is this one's."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(f"start.py: error: Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    commands = {"portrait": portrait, "test": test, "matrix": matrix}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[sys.argv[1]](sys.argv[2:])
    except subprocess.CalledProcessError as error:
        print(f"start.py: error: the installation failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
