"""Whatever the bytes, a reader of foreign data succeeds or raises what it promises, lives, and keeps to its memory.

The fast tier reads what once did harm (`kept/`) and a few mutants, the slow tier some hundred others: always the same
ones, so that a change is judged by what it did. `SPEECH2FACE_FUZZ_FIRST` names where others begin;
`python -m tests.fuzz.run FAMILY --first N --count 1` reads one again, and hunts for hours with a larger count.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="some of the readers need the extra `train`")
pytest.importorskip("fastapi", reason="some of the readers need the extra `serve`")
pytest.importorskip("c2pa", reason="signatures need the extra `c2pa`")

from tests.fuzz.families import FAMILIES, RELEASE
from tests.fuzz.mutation import mutated

ROOT = Path(__file__).parents[2]
FEW = 25
MANY = 300
FIRST_OF_MANY = int(os.environ.get("SPEECH2FACE_FUZZ_FIRST", "1000000"))
SECONDS = 30.0


def read_mutants(name: str, folder: Path, release: Path, *, first: int, count: int, seconds: float) -> None:
    """In another process, which may die without taking the tests along."""
    progress = folder / "progress"
    command = [sys.executable, "-m", "tests.fuzz.run", name, "--first", str(first), "--count", str(count)]
    ran = subprocess.run(
        [*command, "--seconds", str(seconds), "--progress", str(progress)],
        cwd=ROOT,
        env=os.environ | {RELEASE: str(release)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    at = progress.read_text() if progress.exists() else "the beginning"
    assert ran.returncode == 0, f"{name} at {at} ({ran.returncode}):\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    assert json.loads(ran.stdout.splitlines()[-1])["read"] > 0


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_damaged_input_is_refused_by_name(name: str, tmp_path: Path, paired_folder: Path) -> None:
    read_mutants(name, tmp_path, paired_folder, first=0, count=FEW, seconds=120.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_much_damaged_input_is_refused_by_name(name: str, tmp_path: Path, paired_folder: Path) -> None:
    read_mutants(name, tmp_path, paired_folder, first=FIRST_OF_MANY, count=MANY, seconds=SECONDS)


def test_a_mutant_is_the_same_each_time_and_another_for_each_number() -> None:
    seeds = (bytes(range(200)), b"{}" * 40)
    assert [mutated(seeds, number) for number in range(50)] == [mutated(seeds, number) for number in range(50)]
    assert len({mutated(seeds, number) for number in range(50)}) > 40


def test_a_reader_that_breaks_its_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz.run import wrong

    def broken(content: bytes) -> None:
        raise IndexError("beyond the end")

    assert "IndexError" in (wrong("arrays", broken, b"x") or "")
