"""Every driver, built in or added, keeps to the protocol of its kind; one can be added without an edit here."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from speech2face.drivers import KINDS, DriverKind
from speech2face.errors import DatasetError, InvalidOption, MissingExtra

PACKAGE = """
class Named:
    name = "another"

fine, other, misnamed = object(), object(), Named()

def check(driver):
    assert driver in (fine, misnamed), "no shape of its own"
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DriverKind:
    """A kind of one built-in driver, and a package that adds three more of it and tries to replace the first."""
    (tmp_path / "some_package.py").write_text(PACKAGE)
    metadata = tmp_path / "some_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[speech2face.kinds_of_tests]\n"
        "good = some_package:fine\nwrong = some_package:other\nlost = nowhere_to_be_found:fine\n"
        "own = some_package:other\nmisnamed = some_package:misnamed\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return DriverKind("kinds_of_tests", "some_package:check", {"own": "some_package:fine"})


def drivers() -> list[tuple[str, str]]:
    return [(kind.name, name) for kind in KINDS.values() for name in kind.names()]


OWN_FILES = ("vggface", "onnx")
"""Face embedders whose weights are a file of the user; tests/face/test_embedder_drivers.py checks them with one."""


@pytest.mark.parametrize(("kind", "name"), drivers(), ids=lambda value: str(value))
def test_a_driver_keeps_to_its_protocol(kind: str, name: str) -> None:
    if name in OWN_FILES:
        with pytest.raises(AssertionError, match="weights are a file of the user"):
            KINDS[kind].check(name)
        return
    try:
        KINDS[kind].check(name)
    except DatasetError as error:
        if name == "postgres":  # its check needs a server at the default address
            pytest.skip(f"no database here: {error}")
        raise
    except (ModuleNotFoundError, MissingExtra) as error:
        if (getattr(error, "name", None) or "").startswith("speech2face"):
            raise
        pytest.skip(f"this driver needs an extra: {error}")


def test_names_are_listed_without_importing_the_package_that_adds_them(added: DriverKind) -> None:
    assert added.names() == ["own", "good", "lost", "misnamed", "wrong"]
    assert "some_package" not in sys.modules


def test_a_driver_that_does_not_keep_to_its_protocol_is_told_where(added: DriverKind) -> None:
    added.check("good")
    with pytest.raises(AssertionError, match="no shape of its own"):
        added.check("wrong")


def test_nobody_takes_the_name_of_what_is_built_in(added: DriverKind) -> None:
    assert len(entry_points(group=added.group)) == 5
    assert added.load("own") is added.load("good")  # the package's `own` is another
    with pytest.raises(AssertionError, match="some_package:other is never used: 'own' is built in"):
        added.check("own")


def test_a_driver_that_calls_itself_otherwise_than_its_entry_point_is_told(added: DriverKind) -> None:
    with pytest.raises(AssertionError, match="it calls itself 'another', its entry point 'misnamed'"):
        added.check("misnamed")


def test_a_driver_that_cannot_be_had_is_a_users_mistake_with_the_names_that_there_are(added: DriverKind) -> None:
    with pytest.raises(
        InvalidOption, match=r"no 'gold' here; known are own, good, lost, misnamed, wrong\. Another package"
    ):
        added.load("gold")
    with pytest.raises(InvalidOption, match=r"'lost' \(nowhere_to_be_found:fine, .*ModuleNotFoundError"):
        added.load_added()


def test_the_table_of_kinds_imports_no_driver() -> None:
    script = "import sys, speech2face.drivers; print(*(name for name in sys.modules if 'speech2face.' in name))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) <= {"speech2face.drivers", "speech2face.errors", "speech2face.outputs"}
