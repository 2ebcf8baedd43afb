"""Names mean one thing: a class's name stands once in the package, and lists of names name what there is."""

import ast
from importlib.util import find_spec
from pathlib import Path

from speech2face.drivers import KINDS
from tests.conftest import SLOW, TESTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "speech2face"


def test_a_class_name_stands_once_in_the_package() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_every_kind_of_driver_has_a_check_and_something_built_in() -> None:
    missing = [kind.name for kind in KINDS.values() if not find_spec(kind.conformance.partition(":")[0])]
    assert missing + [kind.name for kind in KINDS.values() if not kind.built_in] == []


def test_slow_tests_are_named_by_files_that_there_are() -> None:
    assert [name for name in SLOW if not (TESTS / name).is_file()] == []
