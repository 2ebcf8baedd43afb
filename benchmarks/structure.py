"""How much house there is: files, lines, and how many of the files run for one task.

    python benchmarks/structure.py                  # count this tree and print it
    python benchmarks/structure.py --write          # the same, as a row of structure.csv and in docs/architecture.md
    git worktree add --detach /tmp/before COMMIT
    python benchmarks/structure.py /tmp/before --write

A file runs for a task where at least one of its functions is called, apart from what merely importing it calls. The
tasks: the command `portrait` on examples/female.mp3, a live session of that recording in pieces, and the command
`audit` on a few recordings of a folder with voices.csv (`--voices`, left out where there is none). Takes a minute.
"""

import argparse
import ast
import csv
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from record import processor

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_suffix(".csv")
VOICES = ROOT.parent / "shared" / "starter"
TASKS = ("portrait", "live", "audit")
OUTSIDE = ("recipes", "benchmarks", "runs", "start.py")  # Python beside the package that is no test
PAGE = ROOT / "docs" / "architecture.md"
MARKS = ("<!-- structure -->", "<!-- end of structure -->")
BEFORE = "f1d8a93"  # the last commit before the package was put in order
ROWS = {  # of the table in `PAGE`: what each number is, and the most that the plan allows
    "files": ("files of the package", 120),
    "lines": ("lines of the package", 32_000),
    "lines_outside_tests": ("lines of Python outside the tests: package, recipes, benchmarks, runs", 38_000),
    "longest_lines": ("lines of the longest file", None),
    "import_percent": ("lines that import something, %", 5),
    "files_run_portrait": ("files that run for `portrait`", 15),
    "files_run_live": ("files that run for a live session", 20),
    "files_run_audit": ("files that run for `audit`", 25),
    "readme_kb": ("README, kB", 10),
    "docs_words": ("words in `docs`", 30_000),
}
PIECE_BYTES = 3200  # a tenth of a second of 16-bit sound at 16 kHz
OF_A_FUNCTION = 0x01  # CO_OPTIMIZED: not set in the code of a class body


def package_of(tree: Path) -> Path:
    """The folder of the package inside a tree."""
    return tree / "src" / "speech2face"


def python_files(*places: Path) -> list[Path]:
    """Python files of folders and files that exist."""
    return [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))]


def line_count(path: Path) -> int:
    """Lines of a text file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def import_lines(path: Path) -> int:
    """Lines that import statements take, wherever they stand in a file."""
    statements = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in found)


def sizes(tree: Path) -> dict[str, str]:
    """What can be counted without running anything."""
    package = python_files(package_of(tree))
    lines = {path: line_count(path) for path in package}
    longest = max(lines, key=lambda path: lines[path])
    total = sum(lines.values())
    words = sum(len(path.read_text(encoding="utf-8").split()) for path in (tree / "docs").rglob("*.md"))
    return {
        "files": str(len(package)),
        "lines": str(total),
        "lines_outside_tests": str(total + sum(map(line_count, python_files(*(tree / name for name in OUTSIDE))))),
        "longest_file": longest.relative_to(package_of(tree)).as_posix(),
        "longest_lines": str(lines[longest]),
        "import_percent": f"{100 * sum(map(import_lines, package)) / total:.1f}",
        "readme_kb": f"{(tree / 'README.md').stat().st_size / 1000:.1f}",
        "docs_words": str(words),
    }


# --------------------------------------------------------------------------------------------------
# Running a task in a process of its own, with every call noted.
# --------------------------------------------------------------------------------------------------


class CalledFiles:
    """Files of a package of which a function was called while nothing of the package was being imported."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.found: set[str] = set()

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """For `sys.setprofile`."""
        code = frame.f_code
        name = code.co_filename
        if event != "call" or name in self.found or not name.startswith(self.package):
            return
        if code.co_flags & OF_A_FUNCTION and not self._is_importing(frame):
            self.found.add(name)

    def _is_importing(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(self.package):
                return True
            frame = frame.f_back
        return False

    def run(self, task: Callable[[], None]) -> list[str]:
        """Files that a task runs, relative to the package."""
        threading.setprofile(self.note)
        sys.setprofile(self.note)
        try:
            task()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return sorted(name.removeprefix(self.package) for name in self.found)


def command(*arguments: str) -> None:
    """The program with these arguments, as its entry point runs it."""
    from speech2face.cli import main

    sys.argv = ["speech2face", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def live_session() -> None:
    """A recording spoken into a session, a snapshot every second, the portrait at the end."""
    from speech2face import load_model, read_recording
    from speech2face.live import LiveSession, PcmFormat

    waveform = read_recording(ROOT / "examples" / "female.mp3").waveform
    content = (waveform * 32767).astype("<i2").tobytes()
    session = LiveSession(load_model(), PcmFormat())
    look = getattr(session, "look", None) or session.snapshot  # its name before, and now
    for at in range(0, len(content), PIECE_BYTES):
        session.push(content[at : at + PIECE_BYTES])
        if at % (10 * PIECE_BYTES) == 0:
            look()
    session.draw(session.finish())


def run_task(name: str, package: Path, voices: Path) -> list[str]:
    """Files that one task runs, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        tasks: dict[str, Callable[[], None]] = {
            "portrait": lambda: command(
                "portrait", str(ROOT / "examples" / "female.mp3"), "-o", f"{folder}/face.png", "--quiet"
            ),
            "live": live_session,
            "audit": lambda: command(
                *("audit", "--data", str(voices), "--out", f"{folder}/audit", "--clips", "12"),
                *("--channels", "telephone", "--quiet"),
            ),
        }
        return CalledFiles(package).run(tasks[name])


def files_run(tree: Path, task: str, voices: Path) -> list[str]:
    """Files of a tree that a task runs, in a process whose package is that tree's."""
    if task == "audit" and not voices.is_dir():
        return []
    paths = os.pathsep.join((str(tree / "src"), str(tree)))
    arguments = [sys.executable, __file__, str(tree), "--task", task, "--voices", str(voices)]
    ran = subprocess.run(arguments, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{task}: {ran.stderr[-2000:]}")
    return ran.stdout.split()


# --------------------------------------------------------------------------------------------------
# The rows of structure.csv, one a commit, and the table that the page makes of two of them.
# --------------------------------------------------------------------------------------------------


def read_rows() -> list[dict[str, str]]:
    """The rows of structure.csv, in the order in which they were measured."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_row(row: dict[str, str]) -> None:
    """Put a commit's row at the end of structure.csv; a former one of the same commit goes."""
    rows = [former for former in read_rows() if former["commit"] != row["commit"]] + [row]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def before_and_now(rows: list[dict[str, str]]) -> str:
    """The table of `PAGE`: the numbers of `BEFORE`, those of the last row, and what the plan allows."""
    before, now = next(row for row in rows if row["commit"] == BEFORE), rows[-1]
    heads = (f"{when} ({row['commit']}, {row['date']})" for when, row in (("before", before), ("now", now)))
    lines = [f"| | {' | '.join(heads)} | asked | reached |", "|---|---|---|---|---|"]
    for name, (what, most) in ROWS.items():
        numbers = [f"{float(row[name]):,g}" if row[name] else "" for row in (before, now)]
        asked = ("", "") if most is None else (f"{most:,}", "yes" if float(now[name]) <= most else "**no**")
        lines.append(f"| {what} | {' | '.join((*numbers, *asked))} |")
    return "\n".join(lines)


def put_in_page(table: str) -> None:
    """Replace the table between the marks of `PAGE`."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> None:
    """Print the counts of a tree; with `--write` keep them, and make the page's table anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path, nargs="?", default=ROOT, help="another tree's root; default: this one's")
    parser.add_argument("--voices", type=Path, default=VOICES, help="folder with voices.csv for the audit")
    parser.add_argument("--write", action="store_true", help=f"write a row of {TABLE.name} and the page's table")
    parser.add_argument("--list", action="store_true", help="print the names of the files that run")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)  # for the process that is watched
    asked = parser.parse_args()
    tree = asked.tree.resolve()
    if asked.task:
        print("\n".join(run_task(asked.task, package_of(tree), asked.voices.resolve())))
        return
    git = ["git", "-C", str(tree), "log", "-1", "--format=%h %as"]
    commit, date = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    ran = {task: files_run(tree, task, asked.voices.resolve()) for task in TASKS}
    row = {"commit": commit, "date": date, "hardware": processor()} | sizes(tree)
    row |= {f"files_run_{task}": str(len(names)) if names else "" for task, names in ran.items()}
    for name, value in row.items():
        most = ROWS[name][1] if name in ROWS else None
        print(f"{name:22} {value}{'' if most is None else f'  (at most {most})'}")
    if asked.list:
        for task, names in ran.items():
            print(f"{task}: {' '.join(names)}")
    if asked.write:
        write_row(row)
        put_in_page(before_and_now(read_rows()))


if __name__ == "__main__":
    main()
