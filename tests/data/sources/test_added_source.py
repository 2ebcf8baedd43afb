"""A data source that another package adds by an entry point, as its page shows one, and the conformance check."""

import importlib
import json
import re
import shutil
import tomllib
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.data.manifest import Manifest
from speech2face.data.record import Record
from speech2face.data.sources import SourceInUse, check_data_source, open_source
from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption

SOURCES = KINDS["data_sources"]
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "extending-data-source.md").read_text()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's package, as an installer would leave it."""
    (entry,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    ((group, points),) = tomllib.loads(entry)["project"]["entry-points"].items()
    place = tmp_path / "site"
    (place / "archive_source-1.0.dist-info").mkdir(parents=True)
    shutil.copytree(ROOT / "examples" / "plugin" / "speech2face_example", place / "speech2face_example")
    (place / "archive_source-1.0.dist-info" / "METADATA").write_text("Name: archive-source\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (place / "archive_source-1.0.dist-info" / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    return place


def archive(folder: Path, count: int) -> Path:
    """Interviews of a second of noise each."""
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(count):
        facts = {"speaker": f"person {number}", "consent": "written", "language": "sv"}
        (folder / f"talk-{number}.json").write_text(json.dumps(facts))
        with wave.open(str(folder / f"talk-{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(random.integers(-9000, 9000, 32_000).astype("<i2").tobytes())
    return folder


def test_data_are_prepared_from_a_source_that_another_package_adds(installed: Path, tmp_path: Path) -> None:
    SOURCES.check("interviews")
    folder, out = archive(tmp_path / "archive", 3), tmp_path / "out"
    (folder / "talk-1.wav").unlink()
    chosen = ["--source", "interviews", "--source-set", f"interviews.folder={folder}", "--licence", "own"]
    options = ["--set", "want=recording", "--set", "min_speech_seconds=0", "--shares", "train=1", "--workers", "1"]
    ran = CliRunner().invoke(app, ["data", "prepare", "--out", str(out), *chosen, *options, "-q"])
    assert ran.exit_code == 0, ran.output
    manifest = Manifest.open(out)
    assert [manifest.table.key_of(clip) for clip in range(len(manifest.table))] == ["talk-0", "talk-2"]
    assert manifest.column("language") == ["sv", "sv"] and manifest.column("consent") == ["written", "written"]
    assert manifest.statement["sources"] == {"interviews": {"clips": 2, "speakers": 2, "hours": 0.001}}
    assert manifest.statement["rejects"] == {"no_media": 1}
    again = CliRunner().invoke(app, ["data", "prepare", "--out", str(out), *chosen, *options, "-q"])
    assert again.exit_code == 0, again.output  # the plan is the same one
    assert isinstance(open_source(json.loads((out / "plan.json").read_text())["sources"][0]), SourceInUse)


def test_what_the_command_line_says_of_a_source_that_is_not_there(installed: Path, tmp_path: Path) -> None:
    def said(*options: str) -> str:
        ran = CliRunner().invoke(app, ["data", "prepare", "--out", str(tmp_path / "out"), *options])
        assert isinstance(ran.exception, InvalidOption), ran.output
        return str(ran.exception)

    assert "no 'interview' here; known are avspeech, voxceleb1" in said("--source", "interview")
    assert "interviews" in said("--source", "interview")
    assert "is of no source that --source names" in said("--source", "pairs", "--source-set", "interviews.folder=a")
    assert "unexpected keyword" in said("--source", "interviews", "--source-set", "interviews.colour=red")
    assert "there is no colour; there are table" in said("--source", "pairs", "--source-set", "pairs.colour=red")


@pytest.mark.parametrize("name", list(SOURCES.built_in))
def test_the_sources_that_are_built_in_conform(name: str) -> None:
    SOURCES.check(name)


class Plain:
    """A source as it should be, to be spoilt."""

    name = "plain"

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def settings(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def records(self) -> Iterator[Any]:
        for path in sorted(Path(self.folder).glob("*.wav")):
            yield Record(path.stem, str(path), "Ann", "plain")

    @classmethod
    def example(cls, folder: Path) -> "Plain":
        for name in ("a.wav", "b.wav"):
            (folder / name).touch()
        return cls(str(folder))


class Nameless(Plain):
    name = "two words"


class Forgetful(Plain):
    def settings(self) -> dict[str, Any]:
        return {}


class Unsteady(Plain):
    calls = 0

    def records(self) -> Iterator[Any]:
        self.calls += 1
        yield from list(super().records())[: self.calls]


class Twice(Plain):
    def records(self) -> Iterator[Any]:
        yield from [*super().records(), *super().records()]


class Other(Plain):
    def records(self) -> Iterator[Any]:
        yield from ["a.wav"]


class Believing(Plain):
    def records(self) -> Iterator[Any]:
        yield Record("a", f"{self.folder}/a.wav", "Ann", "plain")


class Taking(Plain):
    def __init__(self, folder: str, **more: Any) -> None:
        super().__init__(folder)


@pytest.mark.parametrize(
    ("driver", "wrong"),
    [
        (Nameless, "the name 'two words' is none"),
        (Forgetful, "cannot be opened with its own settings"),
        (Unsteady, "gives others when it is called again"),
        (Twice, "the key a is given twice"),
        (Other, "what is no Record and no Reject"),
        (Believing, "records whose files are gone"),
        (Taking, "takes a setting that it does not know"),
        (object, "it has no name"),
    ],
)
def test_the_check_names_what_is_wrong_with_a_source(driver: Any, wrong: str) -> None:
    check_data_source(Plain)
    with pytest.raises(AssertionError, match=wrong):
        check_data_source(driver)
