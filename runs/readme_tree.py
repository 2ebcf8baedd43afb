"""Writes the repository tree into README.md: one caption per file, the first line of its own docstring.

python runs/readme_tree.py
"""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tree: python runs/readme_tree.py -->\n```\n", "```\n<!-- /tree -->\n"
CAPTION_COLUMN = 44
MAX_CAPTION = 96
FOLDERS = ("src/speech2face", "runs", "benchmarks", "examples", "docs", "tests")
# What has no docstring of its own to speak for it.
CAPTIONS = {
    "src/speech2face/weights": "the shipped starter release: networks, checksums, golden tensors, model card",
    "src/speech2face/py.typed": "the package is typed",
    "tests": "mirrors src/speech2face; a test's name is a sentence",
    "docs/images": "pictures for the pages",
    "examples": "short recordings made by a speech synthesiser, in several formats",
    "runs/starter.sh": "trains the starter release from the starter material",
}
FOLDED = frozenset({"src/speech2face/weights", "tests", "docs/images", "examples"})  # one line stands for all inside


def files_of_the_repository() -> list[str]:
    """Tracked and new files, not ignored ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in set(listed) if (ROOT / name).is_file() and name.startswith(FOLDERS))


def caption(name: str) -> str:
    """A file in one line: its docstring's first sentence, its heading, or what stands in `CAPTIONS`."""
    if name in CAPTIONS:
        return CAPTIONS[name]
    path = ROOT / name
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        line = " ".join(text.split("\n\n")[0].split())
    elif path.suffix == ".md":
        line = path.read_text().split("\n", 1)[0].lstrip("# ")
    elif path.suffix == ".sh":
        line = next((row.lstrip("# ") for row in path.read_text().splitlines()[1:] if row.startswith("# ")), "")
    else:
        line = ""
    return shortened(line.rstrip("."))


def shortened(line: str) -> str:
    """A caption cut at its last pause before the limit, or after a word if there is none."""
    if len(line) <= MAX_CAPTION:
        return line
    start = line[:MAX_CAPTION]
    pauses = [start.rfind(pause) for pause in (". ", "; ", ": ", ", ", " (")]
    return start[: max(pauses)] if max(pauses) > 0 else start.rsplit(" ", 1)[0] + " ..."


def rows(names: list[str]) -> list[tuple[int, str, str]]:
    """(depth, name, caption) of every folder and file, folders with `FOLDED` names as one row; empty files left out."""
    found: list[tuple[int, str, str]] = []
    seen: set[str] = set()
    for name in names:
        if (ROOT / name).name == "__init__.py" and not (ROOT / name).read_text().strip():
            continue
        parts = name.split("/")
        folded = False
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folded:
                break
            if folder not in seen and folder != "src":
                seen.add(folder)
                label = folder if depth == 1 or folder == "src/speech2face" else parts[depth - 1]
                found.append((max(0, depth - 1 - folder.startswith("src/")), label + "/", CAPTIONS.get(folder, "")))
            folded = folder in FOLDED
        if not folded:
            found.append((len(parts) - 1 - name.startswith("src/"), parts[-1], caption(name)))
    return found


def tree() -> str:
    """The block as it stands in the README."""
    lines = []
    for depth, label, text in rows(files_of_the_repository()):
        left = "  " * depth + label
        lines.append(f"{left:<{CAPTION_COLUMN}}{text}".rstrip())
    return BEGIN + "\n".join(lines) + "\n" + END


def main() -> None:
    """Replace the block between the markers."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN, 1)
    readme.write_text(before + tree() + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
