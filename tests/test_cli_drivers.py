"""`speech2face drivers`: what other packages add is listed, checked, and refused with what is wrong."""

import json
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.drivers import KINDS, DriverKind
from speech2face.errors import InvalidOption, MissingExtra

GOOD, BAD = object(), object()


def check(driver: object) -> None:
    assert driver is not BAD, "it gives a face of three ears"


@pytest.fixture(autouse=True)
def _measures(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = DriverKind("measures", f"{__name__}:check", {"recall": f"{__name__}:GOOD", "nose": f"{__name__}:GOOD"})
    monkeypatch.setitem(KINDS, "measures", kind)
    points = [
        EntryPoint("ears", f"{__name__}:BAD", kind.group),
        EntryPoint("eyes", f"{__name__}:GOOD", kind.group),
        EntryPoint("gone", "no_such_package:driver", kind.group),
        EntryPoint("nose", f"{__name__}:BAD", kind.group),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **of: EntryPoints(points).select(**of))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["drivers", *arguments])


def test_drivers_of_a_kind_are_listed_with_where_they_come_from() -> None:
    printed = run("list", "measures", "--json")
    assert printed.exit_code == 0
    assert json.loads(printed.output) == {
        "measures": {
            "recall": "built in",
            "nose": f"built in; {__name__}:BAD of this name is never used",
            "ears": f"{__name__}:BAD",
            "eyes": f"{__name__}:GOOD",
            "gone": "no_such_package:driver",
        }
    }
    assert "recall (built in)" in run("list", "measures").output


def test_all_kinds_are_listed() -> None:
    assert set(json.loads(run("list", "--json").output)) == set(KINDS)
    assert all(kind in run("list").output for kind in KINDS)


@pytest.mark.parametrize("name", ["recall", "eyes"])
def test_a_driver_that_keeps_to_its_protocol_is_ok(name: str) -> None:
    printed = run("check", "measures", name)
    assert (printed.exit_code, printed.output) == (0, "ok\n")


def test_a_driver_that_does_not_is_told_what_is_wrong() -> None:
    printed = run("check", "measures", "ears")
    assert printed.exit_code == 1
    assert "it gives a face of three ears" in printed.output
    assert "Traceback" not in printed.output


@pytest.mark.parametrize("arguments", [("check", "noses", "x"), ("list", "noses"), ("check", "measures", "mouth")])
def test_an_unknown_kind_or_name_is_refused_with_what_there_is(arguments: tuple[str, ...]) -> None:
    failure = run(*arguments).exception
    assert isinstance(failure, InvalidOption)
    assert "measures" in str(failure)


def test_a_driver_that_cannot_be_imported_or_checked_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("check", "measures", "gone").exception, InvalidOption)
    monkeypatch.setitem(
        KINDS, "measures", DriverKind("measures", "no_such_package:check", {"recall": f"{__name__}:GOOD"})
    )
    assert isinstance(run("check", "measures", "recall").exception, MissingExtra)
