#!/usr/bin/env python3
"""The two commands of a fresh machine, on nothing but Python 3.11 and its standard library.

    python3 start.py portrait RECORDING... [options]    make the environment, turn recordings into portraits
    python3 start.py test [pytest options]              install the test set, pass all checks and tests

Both keep their environment in .venv and install again only when what they install from has changed.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
INSTALLED_FROM = ("pyproject.toml", "constraints.txt")
TEST_EXTRAS = "[train,faces,cluster,eval,serve,calls,retrieval,c2pa,test]"
MAX_TEST_PROCESSES = 4  # each one holds torch and a model


def environment_program(name: str) -> str:
    """Full path of a program inside the environment."""
    folder, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    return str(ENVIRONMENT / folder / (name + suffix))


def install(extras: str) -> None:
    """Make the environment if there is none, and install the package in it unless that is already done."""
    text = "".join((ROOT / name).read_text() for name in INSTALLED_FROM) + extras + sys.version + str(ROOT)
    stamp = ENVIRONMENT / f"installed-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if stamp.exists():
        return
    print(f"Installing speech2face{extras} in {ENVIRONMENT.name} ...", file=sys.stderr, flush=True)
    if not Path(environment_program("python")).exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip = [environment_program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", "constraints.txt", "-e", f".{extras}"], cwd=ROOT, check=True)
    stamp.touch()


def portrait(arguments: list[str]) -> int:
    """Install the base package and hand the arguments to `speech2face portrait`, in the caller's folder."""
    install("")
    return subprocess.run([environment_program("speech2face"), "portrait", *arguments], check=False).returncode


def test(arguments: list[str]) -> int:
    """Install the test set and run the linter, the type checker and all tests; returns the first failure's code."""
    install(TEST_EXTRAS)
    # One thread a process: the tests already run side by side, and threads on top only wait for each other.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    processes = str(min(os.cpu_count() or 1, MAX_TEST_PROCESSES))
    codes = []
    for command in (
        [environment_program("ruff"), "check", "."],
        [environment_program("mypy")],
        [environment_program("python"), "-m", "pytest", "-n", processes, *arguments],
    ):
        print("$", Path(command[0]).name, *command[1:], flush=True)
        codes.append(subprocess.run(command, cwd=ROOT, env=os.environ | threads, check=False).returncode)
    return next((code for code in codes if code), 0)


def main() -> int:
    """Run one of the two commands; its exit code is this one's."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is run by whatever Python there is
        print(f"start.py: error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    commands = {"portrait": portrait, "test": test}
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
