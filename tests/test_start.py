"""The first program of a fresh machine: which commands it has, what it installs for each, and with which Python.

Nothing is installed here: what would be is recorded.
"""

import ast
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import start
from tests.screen import on_terminal
from tests.test_commands import COMMANDS

ROOT = Path(__file__).parents[1]
CLI = ROOT / "src" / "speech2face" / "cli"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def with_what_they_bring(extras: set[str]) -> set[str]:
    """Extras that name another extra bring it: `eval` has all of `train`."""
    brought = {name for extra in extras for text in EXTRAS[extra] for name in re.findall(r"speech2face\[(\w+)\]", text)}
    return extras if brought <= extras else with_what_they_bring(extras | brought)


FUNCTIONS = {
    (path.stem, node.name): node
    for path in [*sorted(CLI.glob("*.py")), CLI.parent / "tasks.py"]
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
}
ELSEWHERE = {"train": ("run", "tasks", "train"), "evaluate": ("measure", "tasks", "evaluate")}  # under another name


def asked_for(module: str, function: str) -> Iterator[str]:
    """The extras that a function of the command line, or one that it calls there, refuses to go on without."""
    alias, *renamed = ELSEWHERE.get(function, ("", ""))
    for node in ast.walk(FUNCTIONS[module, function]):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if name == "need_extra":
            yield str(ast.literal_eval(node.args[1]))
        elif name == alias and module != "tasks":
            yield from asked_for(*renamed)
        elif (module, name) in FUNCTIONS and name != function:
            yield from asked_for(module, name)
        elif name in ("open_signer", "record_portrait"):  # of another module of the command line
            yield from asked_for(*next(place for place in FUNCTIONS if place[1] == name))


def test_every_command_can_be_started_and_no_other() -> None:
    assert {name.split()[0] for name in start.NEEDS} == {name.split()[0] for name in COMMANDS}
    assert [name for name in start.NEEDS if " " in name and name not in COMMANDS] == []
    assert start.needed_extras(["portrat", "a.mp3"]) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_refuses_to_go_on_without_is_installed_for_it(name: str) -> None:
    callback = COMMANDS[name].callback
    installed = start.needed_extras(name.split())
    assert installed is not None
    by_options = {*start.WORDS.values(), *start.ENDINGS.values()}
    asked = set(asked_for(callback.__module__.rpartition(".")[2].replace("cli", "__init__"), callback.__name__))
    assert asked <= with_what_they_bring(installed) | by_options
    assert installed <= set(EXTRAS)


def test_the_table_of_what_is_asked_for_is_not_empty() -> None:
    assert set(asked_for("__init__", "portrait")) == {"c2pa", "microphone"}
    assert set(asked_for("models", "evaluate")) == {"eval"}
    assert set(asked_for("gallery", "search")) == {"retrieval"}


def test_options_and_files_bring_their_extras() -> None:
    assert start.needed_extras(["portrait", "--microphone"]) == {"microphone"}
    assert start.needed_extras(["decode", "me.HEIC"]) == {"faces", "heic"}
    assert start.needed_extras(["data", "prepare", "--runner=ray"]) == {"train", "faces", "cluster"}
    assert start.needed_extras(["serve", "--sign-key", "key.pem"]) == {"serve", "c2pa"}
    assert {*start.WORDS.values(), *start.ENDINGS.values(), *start.TEST_EXTRAS, *start.MATRIX_EXTRAS} <= set(EXTRAS)
    assert set(start.MATRIX_EXTRAS) <= set(start.IMPORTS)


@pytest.mark.parametrize("extra", ["", *(extra for extra in start.IMPORTS if extra not in ("", "microphone"))])
def test_the_matrix_imports_every_library_that_is_required_and_no_other(extra: str) -> None:
    """But sounddevice, which cannot be imported where there is no sound system, and a folder of dlib's model files."""
    known = packages_distributions()
    imported = {re.sub("[-_.]+", "-", known[name][0]).lower() for name in start.IMPORTS[extra]}
    required = [re.match(r"[\w.-]+", text) for text in (EXTRAS[extra] if extra else PROJECT["dependencies"])]
    not_imported = {"speech2face", "face-recognition-models"}
    assert imported == {re.sub("[-_.]+", "-", found[0]).lower() for found in required if found} - not_imported


def test_the_supported_pythons_are_those_of_the_package() -> None:
    found = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert list(start.SUPPORTED) == found
    text = (ROOT / "start.py").read_text(encoding="utf-8")
    assert f"Python {', '.join(found[:-1])} or {found[-1]}" in text.split('"""')[1]
    ast.parse(text, feature_version=(3, 7))  # older ones must be able to say which one is wanted


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What would be run and installed, in an environment elsewhere."""
    ran: list[list[str]] = []
    monkeypatch.setattr(start, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(start, "INSTALLED", tmp_path / ".venv" / "installed.json")
    monkeypatch.setattr(start, "environment_program", lambda name, environment=tmp_path: str(environment / name))

    def become(words: Sequence[str]) -> int:
        ran.append(list(words))
        return 0

    def run_shown(step: str, words: Sequence[str]) -> None:
        ran.append(list(words))
        (tmp_path / "python").touch()
        (tmp_path / ".venv").mkdir(exist_ok=True)

    monkeypatch.setattr(start, "become", become)
    monkeypatch.setattr(start, "run_shown", run_shown)
    monkeypatch.setattr(start, "make_environment", lambda step, folder: run_shown(step, ["environment"]))
    return ran


def started(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["start.py", *words])
    return start.main()


def test_a_command_installs_what_it_needs_once_and_keeps_what_others_needed(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert started(monkeypatch, "portrait", "a.mp3") == 0
    assert [words[-1] for words in became] == ["environment", ".", "a.mp3"]
    assert became[-1] == [str(tmp_path / "speech2face"), "portrait", "a.mp3"]
    became.clear()
    started(monkeypatch, "portrait", "a.mp3")
    assert len(became) == 1
    started(monkeypatch, "serve")
    started(monkeypatch, "inspect", "a.png")
    assert [words[-1] for words in became if words[-2:-1] == ["-e"]] == [".[serve]", ".[c2pa,serve]"]
    became.clear()
    monkeypatch.setattr(start, "digest_of", lambda: "another pyproject.toml")
    started(monkeypatch, "portrait", "a.mp3")
    assert [words[-1] for words in became] == ["environment", ".", "a.mp3"]
    assert json.loads((tmp_path / ".venv" / "installed.json").read_text())["extras"] == []


def test_another_python_hands_over_to_one_that_is_supported(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    monkeypatch.setattr(start, "interpreter", lambda version: (Path(f"/python{version}"), f"{version}.1"))
    assert started(monkeypatch, "portrait", "a.mp3") == 0
    assert became == [[f"/python{start.SUPPORTED[-1]}", str(ROOT / "start.py"), "portrait", "a.mp3"]]


def test_where_no_python_will_do_it_is_said_which_to_install(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    monkeypatch.setattr(start, "interpreter", lambda version: None)
    assert started(monkeypatch, "portrait", "a.mp3") == 2
    said = capsys.readouterr().err
    assert "this is 3.99" in said and f"python{start.SUPPORTED[-1]}-venv" in said
    assert said.count("\n") == 1
    assert became == []
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    with pytest.raises(start.Failed, match=r"apt-get install python3\.12-venv"):
        start.any_interpreter()


def test_an_unknown_command_is_refused_with_those_that_there_are(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started(monkeypatch, "portrat", "a.mp3") == 2
    assert "there is no command 'portrat'; there are audit, " in capsys.readouterr().err
    assert became == []


def test_an_installation_shows_that_it_goes_on_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    start.run_shown("[1/2] a step", [sys.executable, "-c", "print('within')"])
    said = capsys.readouterr().err
    assert said.startswith("[1/2] a step ...\n") and "within" not in said and "done, " in said
    with pytest.raises(start.Failed, match="a step: it failed"):
        start.run_shown("a step", [sys.executable, "-c", "import sys; sys.exit('no space left')"])
    assert "no space left" in capsys.readouterr().err


def test_the_matrix_takes_every_bound_and_leaves_out_what_says_nothing_new() -> None:
    pinned = start.lowest()
    assert "numpy==1.26; python_version < '3.13'" in pinned and "sounddevice==0.5" in pinned
    assert start.matrix_rows(["3.11", "3.12", "3.13"]) == [
        *(("3.11", "newest"), ("3.12", "newest"), ("3.13", "newest")),
        *(("3.11", "lowest"), ("3.13", "lowest")),
    ]
    assert start.matrix_rows(["3.12"]) == [("3.12", "newest"), ("3.12", "lowest")]
    large = [("3.11", "all"), ("3.13", "all")]
    assert start.matrix_rows(["3.11", "3.12", "3.13"], large=True)[5:] == large
    assert set(start.LARGE_EXTRAS) <= set(start.IMPORTS) & set(EXTRAS)


@pytest.mark.parametrize("this", start.SUPPORTED)
def test_the_tests_are_passed_on_every_python_and_with_the_lowest_libraries(
    monkeypatch: pytest.MonkeyPatch, this: str
) -> None:
    """On this Python with the newest by `test`, which has all of them."""
    monkeypatch.setattr(start, "this_version", lambda: this)
    rows = start.matrix_rows(start.SUPPORTED)
    passed = {(version, which) for version, which in rows if start.tested(version, which, rows)} | {(this, "newest")}
    assert {version for version, _ in passed} == set(start.SUPPORTED)
    assert {row for row in rows if row[1] == "lowest"} <= passed
    only = start.matrix_rows([this])
    assert [row for row in only if start.tested(*row, only)] == [(this, "lowest")]


def test_what_the_tests_compile_is_kept_for_the_next_of_their_processes(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    told: list[bool] = []

    def told_of(arguments: list[str]) -> int:
        told.append("PYTHONDONTWRITEBYTECODE" in os.environ)
        return 0

    for name in ("test", "fresh", "matrix"):
        monkeypatch.setattr(start, name, told_of)
        assert started(monkeypatch, name) == 0
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert started(monkeypatch, "portrait", "a.mp3") == 0
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"  # a user's own wish for a user's own command
    assert told == [False, False, False]


@pytest.mark.parametrize(("works", "code"), [(True, 0), (False, 1)])
def test_a_python_that_is_missing_is_counted_as_skipped_and_one_that_fails_as_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], works: bool, code: int
) -> None:
    found = {"3.11": (Path("/python3.11"), "3.11.9")}
    monkeypatch.setattr(start, "build_wheel", lambda: Path("a.whl"))
    monkeypatch.setattr(start, "interpreter", found.get)

    def job(row: start.Row, name: str, work: object) -> None:
        if not works:
            raise start.Failed("on purpose")

    monkeypatch.setattr(start.Row, "job", job)
    assert started(monkeypatch, "matrix", "3.11", "3.13") == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"job matrix: of 4 rows {2 * works} passed, {2 * (not works)} failed, 2 skipped, ")


def test_the_line_of_an_installation_does_not_wrap_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "-c", "import time; print('within ' * 40, flush=True); time.sleep(0.8)"]
    with on_terminal(60) as seen:
        start.run_shown("[1/2] a step", words)
    shown = [line for frame in seen.frames for line in frame if "within" in line]
    assert shown and max(map(len, shown)) < 60
    assert [line.partition(",")[0] for line in seen.lines()] == ["[1/2] a step: done"]
