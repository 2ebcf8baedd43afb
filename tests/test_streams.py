"""Standard streams that leave, are closed, full or of another encoding: one rule for all commands, in processes."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from speech2face import errors
from speech2face.cli import app, main
from speech2face.cli.terminal import BROKEN_PIPE_EXIT_CODE
from tests.recordings import encode
from tests.voices import made_voice

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "speech2face"
FULL = Path("/dev/full")
CANNOT_WRITE = errors.CannotWrite.exit_code


@dataclass(frozen=True)
class Ended:
    """A process that has ended; bytes, as it wrote them."""

    code: int
    out: bytes
    err: bytes


def run(
    *arguments: str | bytes | Path, out: Any = subprocess.PIPE, err: Any = subprocess.PIPE, **variables: str
) -> Ended:
    """The program as a process; `out` and `err` are files, or None for a descriptor that is closed."""
    closed = "".join(f" {number}>&-" for number, stream in ((1, out), (2, err)) if stream is None)
    command = ["bash", "-c", f'exec "$@"{closed}', "bash", sys.executable, "-m", "speech2face", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if out is None else out,
        stderr=subprocess.DEVNULL if err is None else err,
        env=environment | {"PYTHONPATH": str(SOURCE.parent), "COLUMNS": "80"} | variables,
        timeout=300,
    )
    return Ended(ended.returncode, ended.stdout or b"", ended.stderr or b"")


@contextmanager
def left() -> Iterator[int]:
    """A pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def full() -> Iterator[int]:
    """A disk without space."""
    if not FULL.exists():
        pytest.skip("this system has no /dev/full")
    descriptor = os.open(FULL, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def recording(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(made_voice(4.0)[None], 16_000, container="wav", codec="pcm_s16le"))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, its portrait, a data set and a gallery."""
    folder = tmp_path_factory.mktemp("streams")
    assert run("portrait", recording(folder / "voice.wav"), "-o", folder / "face.png", "-q").code == 0
    if not _missing("torch"):
        from tests.data.made_clips import made_data
        from tests.gallery.made import made_gallery

        made_data(folder / "data", 8)
        made_gallery(folder / "gallery", count=4).close()
    return folder


def _missing(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is None


RESULTS = {  # every kind of result: a table, lines of JSON, a text, the help
    "portrait": ["portrait", "{place}/voice.wav", "-o", "{new}/one.png"],
    "portrait --json": ["portrait", "{place}/voice.wav", "-o", "{new}/one.png", "--json"],
    "inspect": ["inspect", "{place}/face.png"],
    "inspect --json": ["inspect", "{place}/face.png", "--json"],
    "certificate": ["certificate", "-o", "{new}"],
    "data show": ["data", "show", "{place}/data"],
    "data show --json": ["data", "show", "{place}/data", "--json"],
    "gallery show": ["gallery", "show", "{place}/gallery"],
    "gallery show --json": ["gallery", "show", "{place}/gallery", "--json"],
    "--version": ["--version"],
    "--help": ["--help"],
}


def arguments_of(name: str, place: Path, new: Path) -> list[str]:
    if name.startswith(("data", "gallery")) and _missing("torch"):
        pytest.skip("a data set needs the extra `train`")
    if name == "certificate" and _missing("cryptography"):
        pytest.skip("certificates need the extra `c2pa`")
    return [word.format(place=place, new=new) for word in RESULTS[name]]


@pytest.mark.parametrize("name", RESULTS)
def test_a_reader_that_has_left_is_code_141_without_a_word(name: str, place: Path, tmp_path: Path) -> None:
    with left() as pipe:
        ended = run(*arguments_of(name, place, tmp_path), out=pipe)
    assert (ended.code, ended.err) == (BROKEN_PIPE_EXIT_CODE, b"")
    if name.startswith("portrait"):
        assert {path.name for path in tmp_path.iterdir()} == {"one.png", "one.json"}, "files that are written stay"


@pytest.mark.parametrize("name", RESULTS)
def test_a_full_standard_output_is_one_line_and_code_21(name: str, place: Path, tmp_path: Path) -> None:
    with full() as disk:
        ended = run(*arguments_of(name, place, tmp_path), out=disk)
    assert ended.code == CANNOT_WRITE
    assert ended.err.startswith(b"speech2face: error: standard output cannot be written: ")
    assert ended.err.count(b"\n") == 1


def unexpected(err: bytes) -> bytes:
    """What standard error holds beside the notes of `data show` on what an export would miss."""
    return b"".join(
        line for line in err.splitlines(keepends=True) if not line.startswith((b"for export: ", b"for training: "))
    )


@pytest.mark.parametrize("name", RESULTS)
def test_a_closed_standard_output_is_an_empty_one(name: str, place: Path, tmp_path: Path) -> None:
    ended = run(*arguments_of(name, place, tmp_path), out=None)
    assert (ended.code, unexpected(ended.err)) == (0, b"")


ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    ("name", "variables"), [*((name, ASCII) for name in RESULTS), ("portrait", C_LOCALE), ("inspect --json", C_LOCALE)]
)
def test_another_encoding_gets_escapes_and_json_stays_json(
    name: str, variables: dict[str, str], place: Path, tmp_path: Path
) -> None:
    ended = run(*arguments_of(name, place, tmp_path), **variables)
    assert (ended.code, unexpected(ended.err)) == (0, b"")
    assert ended.out.isascii()
    if name.endswith("--json"):
        assert isinstance(json.loads(ended.out), dict)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_names_of_any_letters_are_printed_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    """Latin, Greek, an emoji, and a byte that is no letter of UTF-8."""
    names = ["é.wav", "φωνή.wav", "\U0001f600.wav"]
    for name in names:
        recording(tmp_path / "in" / name)
    odd = os.path.join(os.fsencode(tmp_path / "in"), b"\xff.wav")
    try:
        os.rename(recording(tmp_path / "in" / "odd.wav"), os.fsdecode(odd))
    except OSError:
        pytest.skip("this file system takes no such name")
    arguments = ("portrait", tmp_path / "in", "-o", tmp_path / "out")
    listed = run(*arguments, "--json", PYTHONIOENCODING=encoding)
    assert listed.code == 0, listed.err
    read = [json.loads(line)["recording"] for line in listed.out.decode(encoding).splitlines()]
    assert {Path(name).name for name in read} == {*names, "?.wav"}
    lines = run(*arguments, "--force", PYTHONIOENCODING=encoding)
    assert lines.code == 0
    assert len(lines.out.splitlines()) == 4
    missing = run("portrait", odd + b"x", PYTHONIOENCODING=encoding)
    assert (missing.code, missing.err.count(b"\n")) == (errors.RecordingNotFound.exit_code, 1)


@pytest.mark.parametrize("state", ["left", "full", "closed"])
def test_a_broken_standard_error_costs_its_notes_and_nothing_else(state: str, place: Path, tmp_path: Path) -> None:
    with left() as pipe, full() as disk:
        broken = {"left": pipe, "full": disk, "closed": None}[state]
        batch = run(
            "portrait", place / "voice.wav", tmp_path / "none.wav", "-o", tmp_path / "out", "--json", err=broken
        )
        mistake = run("portrait", place / "none.wav", err=broken)
        misuse = run("portrait", "--nothing", err=broken)
    assert batch.code == errors.SomeRecordingsFailed.exit_code
    assert len(batch.out.splitlines()) == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"voice.png", "voice.json"}
    assert mistake.code == errors.RecordingNotFound.exit_code
    assert misuse.code == errors.USAGE_EXIT_CODE


def test_a_batch_stops_where_its_reader_leaves_and_keeps_what_is_written(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        recording(tmp_path / "in" / f"{name}.wav")
    with left() as pipe:
        ended = run("portrait", tmp_path / "in", "-o", tmp_path / "out", "--json", "-q", out=pipe)
    assert (ended.code, ended.err) == (BROKEN_PIPE_EXIT_CODE, b"")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.png"]


def test_files_are_whole_where_the_standard_streams_are_closed(place: Path, tmp_path: Path) -> None:
    """The first file that is opened would get the number of standard output, and whatever is printed with it."""
    ended = run("portrait", place / "voice.wav", "-o", tmp_path / "one.png", out=None, err=None)
    assert ended.code == 0
    assert json.loads((tmp_path / "one.json").read_text())["recording"]
    assert run("inspect", tmp_path / "one.png").code == 0


def commands() -> list[tuple[list[str], Any]]:
    """Every command by its words."""

    def walk(command: Any, words: list[str]) -> Iterator[tuple[list[str], Any]]:
        yield words, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, [*words, name])

    return [*walk(typer.main.get_command(app), [])]


@pytest.mark.parametrize(
    ("words", "command"), commands(), ids=lambda value: "-".join(value) if isinstance(value, list) else ""
)
def test_help_at_eighty_columns_shows_every_options_whole_name(
    words: list[str], command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: that of a process of its own is among `RESULTS`, and each of these would take a second."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["speech2face", *words, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown, told = capsys.readouterr()
    assert (ended.value.code or 0, unexpected(told.encode())) == (0, b"")
    assert shown.splitlines() and max(map(len, shown.splitlines())) <= 80
    options = [name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[0] == "-"]
    assert [name for name in options if name not in shown] == []


@pytest.mark.parametrize("words", [[], ["data"], ["gallery"]], ids=["speech2face", "data", "gallery"])
def test_no_command_is_answered_with_the_help_and_code_two(words: list[str]) -> None:
    ended = run(*words)
    assert (ended.code, ended.out) == (errors.USAGE_EXIT_CODE, b"")
    assert b"Commands:" in ended.err
    assert b"speech2face: error" not in ended.err


def test_commands_print_by_the_functions_that_know_this_rule() -> None:
    printing, modules = [], sorted((SOURCE / "cli").rglob("*.py"))
    assert SOURCE / "cli" / "terminal.py" in modules
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "typer.secho"):
                printing.append(f"{module.name}:{node.lineno}")
    assert printing == []
