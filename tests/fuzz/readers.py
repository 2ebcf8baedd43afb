"""Which functions of the package decode bytes themselves, and which of them the families read with.

A function that calls one of `DECODERS` is a reader of bytes, whatever it is called and whoever may call it.
`python -m tests.fuzz.readers` reads the whole inputs of every family and prints, as JSON, the functions that ran.
"""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tests.fuzz.families import FAMILIES

PACKAGE = Path(__file__).parents[2] / "src" / "speech2face"
DECODERS = {
    *("json.load", "json.loads", "tomllib.load", "tomllib.loads", "csv.reader", "csv.DictReader"),
    *("np.load", "np.frombuffer", "safe_open", "load_file", "torch.load", "onnx.load", "pickle.load", "pickle.loads"),
    *("Image.open", "av.open", "ElementTree.fromstring", "zipfile.ZipFile", "tarfile.open", "c2pa.Reader"),
}
DECODING_METHODS = (".model_validate", ".model_validate_json", ".validate_json", ".InferenceSession")


def readers() -> set[str]:
    """Find every function of the package that calls a decoder, as `module.py:qualified.name`."""
    return {
        f"{path.relative_to(PACKAGE).as_posix()}:{name}"
        for path in PACKAGE.rglob("*.py")
        for name, call in _calls(ast.parse(path.read_text(encoding="utf-8")), "")
        if call in DECODERS or call.endswith(DECODING_METHODS)
    }


def _calls(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Names of the functions around each call, and what is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _calls(child, f"{name}.{child.name}".lstrip("."))
        else:
            if isinstance(child, ast.Call):
                yield name, ast.unparse(child.func)
            yield from _calls(child, name)


def read_with() -> dict[str, list[str]]:
    """Read all whole inputs; returns, by family, the functions of the package that ran meanwhile."""
    ran: dict[str, list[str]] = {}
    for name, family in FAMILIES.items():
        seeds = family.seeds()
        found: set[tuple[str, str]] = set()

        def note(frame: FrameType, event: str, _: object, found: set[tuple[str, str]] = found) -> None:
            if event == "call":
                found.add((frame.f_code.co_filename, frame.f_code.co_qualname))

        threading.setprofile(note)
        sys.setprofile(note)
        try:
            with family.reader() as read:
                for content in seeds:
                    try:
                        read(content)
                    except family.allowed:
                        continue
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        ran[name] = sorted(
            f"{Path(file).relative_to(PACKAGE).as_posix()}:{function.replace('.<locals>', '')}"
            for file, function in found
            if Path(file).is_relative_to(PACKAGE)
        )
    return ran


if __name__ == "__main__":
    json.dump(read_with(), sys.stdout)
