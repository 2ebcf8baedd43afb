"""The package in examples/plugin is installed, and what it adds is found, checked and used without an edit here."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from speech2face.drivers import KINDS

pytest.importorskip("torch", reason="a voice encoder needs the extra `train`")
pytest.importorskip("setuptools", reason="the example is built with it, without the network")

ROOT = Path(__file__).parents[1]
ADDED = {
    "voice_encoders": "bands",
    "face_decoders": "plain",
    "face_embedders": "eigenfaces",
    "data_sources": "interviews",
    "measures": "length_ratio",
    "voice_activity": "pitch",
    "gallery_stores": "lite",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed; its own source is copied, for setuptools builds beside it."""
    copy, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    for path in (ROOT / "examples" / "plugin").rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml", ".md"):
            place = copy / path.relative_to(ROOT / "examples" / "plugin")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", target, copy], check=True)
    return target


def run(installed: Path, *command: str | Path, **variables: str) -> str:
    """Run Python with the example beside the package, and these variables; returns what it printed."""
    paths = os.pathsep.join((str(installed), str(ROOT / "src")))
    around = os.environ | variables | {"PYTHONPATH": paths}
    ran = subprocess.run([sys.executable, *command], env=around, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


CHECK = """
import json
from speech2face.drivers import KINDS

for kind in KINDS.values():
    for name in kind.added():
        if name != "eigenfaces":  # which wants a file of weights; tests/face/test_embedder_drivers.py checks it
            kind.check(name)
print(json.dumps({kind.name: sorted(kind.added()) for kind in KINDS.values() if kind.added()}))
"""


@pytest.mark.slow
def test_what_a_package_adds_is_found_by_its_name_and_keeps_to_the_protocol_of_its_kind(
    installed: Path, tmp_path: Path
) -> None:
    found = run(installed, "-c", CHECK, SPEECH2FACE_DATABASE=f"lite://{tmp_path / 'check.db'}")
    assert json.loads(found) == {kind: [name] for kind, name in ADDED.items()}


@pytest.mark.slow
def test_an_added_source_is_prepared_like_any_other(installed: Path, tmp_path: Path) -> None:
    archive, data = tmp_path / "archive", tmp_path / "data"
    archive.mkdir()
    (archive / "one.wav").write_bytes((ROOT / "examples" / "telephone.wav").read_bytes())
    (archive / "one.json").write_text('{"speaker": "Ann", "consent": "written"}')
    source = ("--source", "interviews", "--source-set", f"interviews.folder={archive}", "--licence", "CC0-1.0")
    rest = ("--set", "want=recording", "--workers", "1", "--out", data)
    run(installed, "-m", "speech2face", "data", "prepare", *source, *rest)
    (index,) = data.glob("*0.csv")
    with index.open(encoding="utf-8", newline="") as file:
        (clip,) = csv.DictReader(file)
    assert (clip["clip"], clip["speaker"], clip["source"]) == ("one", "Ann", "interviews")


def test_nothing_of_the_example_is_there_where_it_is_not_installed() -> None:
    assert [name for kind, name in ADDED.items() if name in KINDS[kind].names()] == []
