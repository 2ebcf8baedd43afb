"""What is built and installed: the sources are complete, the wheel has what runs and nothing else, hints fit both."""

import email
import json
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from speech2face.errors import install_command

ROOT = Path(__file__).parents[1]
SOURCES = ("README.md", "LICENSE", "start.py", "constraints.txt", "tests/conftest.py", "recipes/__init__.py")
MOST_BYTES = 12_000  # of the description: what is read before anything is installed


def build(what: str, source: Path, folder: Path) -> Path:
    """Build a wheel or the sources, without a download."""
    pytest.importorskip("hatchling")  # of the test set; not in the environments of the matrix
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(folder)], cwd=source, check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as it is built from the sources that are given away, not from this tree."""
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(build("sdist", ROOT, folder / "sdist")) as sources:
        sources.extractall(folder, filter="data")
    (unpacked,) = folder.glob("speech2face-*")
    assert [name for name in SOURCES if not (unpacked / name).exists()] == []
    return zipfile.ZipFile(build("wheel", unpacked, folder / "wheel"))


def test_the_wheel_built_from_the_sources_has_the_whole_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    package = ROOT / "src" / "speech2face"
    wanted = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == wanted
    assert "speech2face/configs/dlib-decoder.toml" in found


def test_the_description_is_short_and_has_no_link_or_picture_that_leads_nowhere(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    description = email.message_from_bytes(wheel.read(name)).get_payload()
    assert isinstance(description, str)
    assert len(description.encode()) < MOST_BYTES
    assert "start.py portrait" in description and "`docs/api.md`" in description
    assert [target for target in re.findall(r"\]\(([^)]+)\)", description) if not target.startswith("http")] == []


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ({"url": "file:///home/me/s2f", "dir_info": {"editable": True}}, ["-e", "/home/me/s2f[serve,calls]"]),
        ({"url": "file:///home/me/a%20b/speech2face.whl"}, ["/home/me/a b/speech2face.whl[serve,calls]"]),
        ({"url": "https://host.example/s2f.tar.gz"}, ["speech2face[serve,calls] @ https://host.example/s2f.tar.gz"]),
        (
            {"url": "https://host.example/s2f", "vcs_info": {"vcs": "git"}},
            ["speech2face[serve,calls] @ git+https://host.example/s2f"],
        ),
        (None, ["speech2face[serve,calls]"]),  # it came by its name, so that there is somebody's
    ],
)
def test_a_hint_installs_the_extra_of_what_is_installed_with_the_python_that_runs(
    origin: dict[str, object] | None, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = SimpleNamespace(read_text=lambda name: None if origin is None else json.dumps(origin))
    monkeypatch.setattr(metadata, "distribution", lambda name: installed)
    words = shlex.split(install_command(["serve", "calls"]))
    assert words == [sys.executable, "-m", "pip", "install", *wanted]


def test_a_hint_from_sources_that_are_not_installed_names_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert shlex.split(install_command(["serve"]))[-2:] == ["-e", f"{ROOT}[serve]"]


def test_no_message_of_the_package_names_what_is_installed_elsewhere() -> None:
    hints = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "src").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"pip install|speech2face\[\w", line)
    ]
    assert hints == []
