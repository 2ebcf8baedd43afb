"""Read mutants until time or count is up: python -m tests.fuzz.run FAMILY... [--first N] [--count N] [--seconds S].

Prints a line of JSON for each mutant whose reader did something it may not, and ends with 1 if there was one. Each
family is read in a process of its own, because a reader that dies takes its process along; what was being read then is
printed. Memory is bounded, so that a size that was believed is an error here.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

import speech2face  # noqa: F401  # before ONNX Runtime, which it keeps quiet
from tests.fuzz.families import FAMILIES
from tests.fuzz.mutation import mutated

KEPT = Path(__file__).parent / "kept"
MEMORY_BYTES = 12 * 2**30  # of addresses: networks and their threads reserve far more than they use
GROWTH_BYTES = 700 * 2**20  # of real memory, by one small input


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def kept(name: str) -> list[Path]:
    """Inputs of a family that once did harm."""
    return sorted(KEPT.glob(f"{name}-*.bin"))


def wrong(name: str, read: object, content: bytes) -> str | None:
    """What a reader did with an input that it may not do; None where all was well."""
    before = peak_bytes()
    try:
        read(content)  # type: ignore[operator]
    except FAMILIES[name].allowed:
        pass
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"
    grown = peak_bytes() - before
    return f"took {grown / 2**20:.0f} MiB for {len(content)} bytes" if grown > GROWTH_BYTES else None


def read_family(name: str, first: int, count: int, seconds: float, note: Callable[[object], None]) -> int:
    """Read kept inputs first, then mutants; returns how many went wrong. `note` is told what is read next."""
    found, done = 0, 0
    seeds = FAMILIES[name].seeds()
    with FAMILIES[name].reader() as read:
        for whole in seeds:  # so that what a reader loads once is not counted against a mutant
            wrong(name, read, whole)
        inputs: list[tuple[object, bytes]] = [(path.name, path.read_bytes()) for path in kept(name)]
        ends = time.monotonic() + seconds
        for number in range(-len(inputs), count):
            if number >= 0 and time.monotonic() > ends:
                break
            label, content = inputs[number] if number < 0 else (first + number, mutated(seeds, first + number))
            note(label)
            trouble = wrong(name, read, content)
            done += 1
            if trouble:
                found += 1
                print(json.dumps({"family": name, "input": label, "trouble": trouble}), flush=True)
    print(json.dumps({"family": name, "read": done, "wrong": found}), flush=True)
    return found


def read_apart(name: str, first: int, count: int, seconds: float) -> bool:
    """Read one family in a fork of this process, which has imported what all of them need; true where all was well."""
    with tempfile.TemporaryFile("w+") as progress:

        def note(label: object) -> None:
            progress.seek(0)
            progress.write(f"{label}\n")
            progress.flush()

        child = os.fork()
        if child == 0:
            code = 1
            try:
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
                code = int(read_family(name, first, count, seconds, note) > 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        progress.seek(0)
        if code not in (0, 1):
            at = progress.readline().strip() or "the whole inputs"
            print(json.dumps({"family": name, "input": at, "trouble": f"the process ended with {code}"}), flush=True)
    return code == 0


def main() -> int:
    """Read every family that is named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="+", choices=sorted(FAMILIES), metavar="FAMILY")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    stated = parser.parse_args()
    faulthandler.enable()
    for module in ("av", "onnxruntime", "safetensors.torch", "speech2face.models.paired"):
        import_module(module)  # once, for all the forks
    # What is installed does not change meanwhile: most of the time of a small reader went into asking again.
    metadata.entry_points = cache(metadata.entry_points)  # type: ignore[assignment]
    fine = [read_apart(name, stated.first, stated.count, stated.seconds) for name in stated.families]
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
