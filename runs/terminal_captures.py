"""Write what docs/command-line.md shows of a terminal anew, from a real run.

python runs/terminal_captures.py         some seconds; needs the test set
"""

import contextlib
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the terminal that the tests use

from speech2face import cli  # noqa: E402
from speech2face.outputs import write_together  # noqa: E402
from tests.screen import on_terminal  # noqa: E402

PAGE = ROOT / "docs" / "command-line.md"
BLOCK = re.compile(r"(?<=^```\n)\$ (speech2face portrait talks/.*)\n((?:.*\n)+?)(?=```$)", re.MULTILINE)
COLUMNS = 120


def shown() -> tuple[str, list[str]]:
    """The page's command, and the lines that it shows for it."""
    found = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return found[1], found[2].splitlines()


def captured(command: str) -> tuple[list[str], list[str]]:
    """What stands on a terminal while the last of three recordings is drawn, and in the end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        talks = Path("talks")
        talks.mkdir()
        for name in ("female.mp3", "male.m4a"):
            shutil.copy(ROOT / "examples" / name, talks)
        (talks / "broken.wav").write_text("no sound at all")
        typed, ended = patch.object(sys, "argv", shlex.split(command)), contextlib.suppress(SystemExit)
        with on_terminal(COLUMNS) as seen, typed, ended:
            cli.main()
    meanwhile = next(frame for frame in seen.frames if frame and "2 of 3, " in frame[-1])
    return meanwhile, seen.lines()


def main() -> None:
    """Replace the block by what is seen now."""
    command, _ = shown()
    block = "".join(f"{line}\n" for line in [f"$ {command}", *captured(command)[0]])
    text = BLOCK.sub(lambda _: block, PAGE.read_text(encoding="utf-8"))
    write_together({PAGE: text.encode()}, force=True)


if __name__ == "__main__":
    main()
