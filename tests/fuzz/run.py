"""Read mutants until time or count is up: python -m tests.fuzz.run FAMILY [--first N] [--count N] [--seconds S].

Prints a line of JSON for each mutant whose reader did something it may not, and ends with 1 if there was one. It runs
in a process of its own, because a reader that dies takes its process along; the number that was being read then stands
in the file that `--progress` names. Memory is bounded, so that a size that was believed is an error here.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import sys
import time
import traceback
from pathlib import Path

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


def main() -> int:
    """Kept inputs first, then mutants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--progress", type=Path)
    stated = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    name, found, done = stated.family, 0, 0
    seeds = FAMILIES[name].seeds()
    with FAMILIES[name].reader() as read:
        for whole in seeds:  # so that what a reader loads once is not counted against a mutant
            wrong(name, read, whole)
        inputs = [(path.name, path.read_bytes()) for path in kept(name)]
        ends = time.monotonic() + stated.seconds
        for number in range(-len(inputs), stated.count):
            label, content = inputs[number] if number < 0 else (number, b"")
            if number >= 0:
                if time.monotonic() > ends:
                    break
                label = stated.first + number
                content = mutated(seeds, label)
            if stated.progress:
                stated.progress.write_text(str(label))
            trouble = wrong(name, read, content)
            done += 1
            if trouble:
                found += 1
                print(json.dumps({"family": name, "input": label, "trouble": trouble}), flush=True)
    print(json.dumps({"family": name, "read": done, "wrong": found}), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
