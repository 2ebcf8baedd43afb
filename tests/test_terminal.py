"""What somebody sees on a terminal: a command with a bar leaves whole lines, and shows none where nobody looks."""

import contextlib
import importlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runs import terminal_captures
from speech2face import cli
from speech2face.cli.terminal import print_line
from speech2face.console import Bar, logged, note
from speech2face.errors import DatasetError
from tests.screen import on_terminal
from tests.test_commands import COMMANDS

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "female.mp3")
LONG = "a result of many words, much longer than the terminal is wide " * 3
PAINT = "━╺╸"
SAID = ["a line beside the bar", LONG.strip(), "another package's warning", "an event of the log"]


def busy(tell: Callable[[str, int, int | None], None]) -> None:
    """What work does while its bar is shown: it gets on, and says things in every way that there is."""
    tell("first things", 0, 4)
    note(SAID[0])
    tell("first things", 3, 4)
    print_line(LONG.strip())
    tell("second things, of unknown number", 0, None)
    sys.stderr.write(f"{SAID[2]}\n")
    tell("third things", 1, 2)
    logging.getLogger("speech2face.data").warning(SAID[3])
    tell("third things", 2, 2)


class _Work:
    """Stands for what a command calls: reports how far it is, and fails in the end."""

    def __init__(self, argument: str | int = "progress") -> None:
        self.argument = argument

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        tell = arguments[self.argument] if isinstance(self.argument, int) else options[self.argument]
        busy(tell)
        raise DatasetError("ended on purpose")


def _prepare(out: str, preparation: object, run: object, watch: Callable[[Any], None], **other: object) -> None:
    """Stands for `prepare_data`, whose bar shows a tally."""
    from speech2face.data.workers import Tally

    busy(lambda what, done, of: watch(Tally(10, 2)))
    raise DatasetError("ended on purpose")


def _train(settings: object, overrides: object, *, stop_at: int | None, quiet: bool) -> None:
    """Stands for a training, whose bar shows steps and losses."""
    from speech2face.training.engine import Progress

    with Progress(0, 4, quiet=quiet) as progress:
        progress.rate(1, 8.0, 8)
        busy(lambda what, done, of: progress.step(done, 0.5, {"one": 0.25, "two": 0.25}, written=True))
    raise DatasetError("ended on purpose")


def _unseen(*_: object, **__: object) -> None:
    """Stands for work of which nobody is told how far it is: its bar only moves."""
    busy(lambda what, done, of: None)
    raise DatasetError("ended on purpose")


# Every command with a bar: what is typed, and what is put in place of its work.
FAMILY: dict[str, tuple[list[str], str, Callable[..., Any]]] = {
    "portrait": (["a.wav", "b.wav"], "portrait.reconstruct", _unseen),  # its own loop counts
    "portrait of one": ([EXAMPLE], "portrait.reconstruct", _unseen),
    "portrait --speakers": ([EXAMPLE, "--speakers", "auto"], "conversation.reconstruct_speakers", _Work()),
    "video": (["a.wav", "-o", "a.mp4"], "video.video_bytes", _Work()),
    "video before its frames": (["a.wav", "-o", "a.mp4"], "portrait.reconstruct", _unseen),
    "shield": ([EXAMPLE], "shielding.shield", _Work()),
    "decode": ([EXAMPLE], "portrait.decode_photograph", _unseen),
    "convert": (["a.pt", "b.safetensors"], "face.vggface.convert_vggface", _unseen),
    "learn": (["--pairs", "pairs.csv", "-o", "out"], "learning.release.learn_release", _Work(4)),
    "train": (["none.toml"], "tasks.train", _train),
    "balance": (["none.toml"], "training.engine.balance_by_settings", _Work()),
    "export": (["a", "--decoder", "b", "-o", "c", "--licence", "x"], "training.export.export_by_runs", _Work()),
    "audit": (["--data", "a", "-o", "b"], "evaluation.audit.audit", _Work()),
    "evaluate": (["--data", "a", "-o", "b"], "tasks.evaluate", _Work()),
    "data prepare": (["--videos", "videos", "-o", "out"], "data.session.prepare_data", _prepare),
    "data verify": (["out"], "forget.verify_data", _Work(1)),
    "data forget": (["NAME", "--data", "out"], "forget.forget", _Work()),
    "data show": (["out"], "data.manifest.Manifest.open", _unseen),
    "drivers check": (["measures", "somebody's"], "drivers.DriverKind.check", _unseen),
    "gallery build": (["photos", "-o", "out"], "gallery.build.build_gallery", _Work(4)),
    "gallery search": ([EXAMPLE, "-g", "out"], "gallery.gallery.search_gallery", _Work()),
    "gallery forget": (["NAME", "-g", "out"], "cli.gallery._open", _unseen),
    "gallery show": (["out"], "cli.gallery._open", _unseen),
}
# And every other one, with the reason why nobody waits for it.
SHORT = {
    **dict.fromkeys(("configs list", "configs show", "configs copy"), "settings are a page of text"),
    "drivers list": "names are read, nothing is imported",
    "inspect": "a picture is read once",
    "certificate": "a key is made in milliseconds",
    "camera": "it says where the face is, and goes on until Ctrl-C",
    **dict.fromkeys(("serve", "studio"), "a service says where it listens, and waits itself"),
}


def command_of(name: str) -> str:
    """The command of one of the family: the longest beginning of its name that is one."""
    words = name.split()
    return " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]


def test_every_command_that_is_not_short_shows_that_it_goes_on() -> None:
    assert {command_of(name) for name in FAMILY} == set(COMMANDS) - set(SHORT)
    assert set(SHORT) <= set(COMMANDS)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run one command of the family in this process, its work replaced."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *options: str) -> int:
        arguments, place, work = FAMILY[name]
        command = command_of(name)
        monkeypatch.setattr("speech2face.models.load_model", lambda *_: _Anything())
        if command.split()[0] not in ("portrait", "video", "shield", "decode", "drivers", "gallery"):
            pytest.importorskip("torch", reason="install the extra `train`")
            for replaced in ("training.settings.read_settings", "learning.features.tabled_pairs"):
                where, _, what = replaced.rpartition(".")
                monkeypatch.setattr(importlib.import_module(f"speech2face.{where}"), what, lambda *_, **__: _Anything())
        if command == "video":
            heard = SimpleNamespace(waveform=None, seconds=1.0)
            for inside in ("audio.recording.read_recording", "portrait.reconstruct", "video.original_sound"):
                monkeypatch.setattr(f"speech2face.{inside}", lambda *_, **__: heard)
        monkeypatch.setattr("speech2face.cli.data._preparation", lambda *_: None)
        monkeypatch.setattr("speech2face.cli.gallery._open", lambda *_: contextlib.nullcontext())
        monkeypatch.setattr(f"speech2face.{place}", work)
        monkeypatch.setattr(sys, "argv", ["speech2face", *command.split(), *arguments, *options])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return run


class _Anything:
    """A model of which nothing is asked."""

    def check(self, given: object) -> None:
        """All is well."""


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("name", FAMILY)
def test_a_command_with_a_bar_leaves_whole_lines_and_no_bar(
    name: str, columns: int, started: Callable[..., int]
) -> None:
    with on_terminal(columns) as seen:
        code = started(name)
    assert any(any(mark in line for mark in PAINT) for frame in seen.frames for line in frame), "there was no bar"
    assert not seen.screen.cursor.hidden
    if name == "drivers check":  # what an added part raises is said of it, with a code of its own
        assert code == 1
        return
    assert code in (DatasetError.exit_code, 30), seen.text()
    times = 2 if name == "portrait" else 1  # two recordings
    lines = seen.lines()
    assert lines == [line for line in lines if not set(PAINT) & set(line)]
    assert [lines.count(said) for said in SAID[:3]] == [times] * 3, seen.text()
    assert sum(line.endswith(f"warning  {SAID[3]}") for line in lines) == times, seen.text()
    assert lines[-1].startswith("speech2face: error: ")
    ends = [line for line in lines if line.endswith("ended on purpose")]
    assert len(lines) == 4 * times + len(ends) + (name == "portrait"), seen.text()


@pytest.mark.parametrize("name", FAMILY)
def test_a_line_is_whole_as_soon_as_it_stands_there(name: str, started: Callable[..., int]) -> None:
    """Not only when all is over: whatever stood on the terminal between two lines was never half of one."""
    with on_terminal(100) as seen:
        started(name)
    for frame in seen.frames:
        for line in frame:
            for said in (SAID[0], SAID[1]):
                assert said not in line or line == said


def test_there_is_no_bar_where_it_would_not_be_seen(
    started: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FAMILY:
        started(name)
        said = capsys.readouterr()
        assert not set(PAINT) & set(said.err + said.out), name
        assert "\x1b" not in said.err + said.out, name
        assert said.err.count("things") == 0, name


# These print nothing but their result.
WITHOUT_QUIET = ("balance", "convert", "data show", "drivers check", "gallery show")


@pytest.mark.parametrize("name", [name for name in FAMILY if name not in WITHOUT_QUIET])
def test_there_is_no_bar_with_quiet(name: str, started: Callable[..., int]) -> None:
    with on_terminal(100) as seen:
        started(name, "--quiet")
    assert not any(mark in line for frame in seen.frames for line in frame for mark in PAINT)
    assert not any(line.endswith(SAID[3]) for line in seen.lines()), "a warning is no error"


def test_a_bar_says_how_many_how_fast_and_how_long_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr("speech2face.console.time.monotonic", lambda: float(next(clock)))
    bar = Bar("clips", 40)
    with bar:
        bar.update(20)
        assert bar.line().startswith("clips: 20 of 40, ")
        assert "/s" in bar.line() or "s each" in bar.line()
        assert bar.line().endswith(" left")
        bar.stage("parts", 0, None)
        assert bar.line() == "parts"


def test_bars_within_each_other_share_one_display() -> None:
    with on_terminal(80) as seen:
        with Bar("outer", 2) as outer, Bar("inner", 3) as inner:
            note("between")
            inner.advance()
            outer.advance()
        note("after")
    assert seen.lines() == ["between", "after"]
    both = [frame for frame in seen.frames if any("outer" in line for line in frame)]
    assert any(any("inner" in line for line in frame) for frame in both)


# The log.


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_options_of_the_log(name: str) -> None:
    names = {option for one in COMMANDS[name].params for option in (*one.opts, *one.secondary_opts)}
    assert {"--verbose", "-v", "--log-level"} <= names


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], ["warning", "error"]),
        (["--verbose"], ["info", "warning", "error"]),
        (["--log-level", "debug"], ["debug", "info", "warning", "error"]),
        (["--log-level", "error"], ["error"]),
        (["--quiet"], ["error"]),
        (["--quiet", "--log-level", "info"], ["info", "warning", "error"]),
    ],
)
def test_events_are_shown_from_the_level_that_is_asked_for(
    options: list[str], shown: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("speech2face.anything")

    def speak(*_: Any, **__: Any) -> None:
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)("event at %s", level)

    monkeypatch.setattr("speech2face.tasks.train", speak)
    monkeypatch.setattr(sys, "argv", ["speech2face", "train", "none.toml", *options])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert [level for level in ("debug", "info", "warning", "error") if f"event at {level}" in said] == shown


def test_the_log_is_left_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("speech2face.anything")
    with logged("debug"):
        log.warning("inside")
    log.warning("outside")
    assert [record.message for record in caplog.records] == ["outside"]


def test_a_service_logs_json_where_no_terminal_reads_it_and_lines_for_people_on_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("uvicorn", reason="install the extra `serve`")

    def serve(settings: Any, say_where: Callable[[str], None]) -> None:
        logging.getLogger("speech2face.app").info("listening", extra={"noted": True, "data": {"address": "here"}})
        say_where("http://127.0.0.1:1")
        logging.getLogger("speech2face.app").info("ready", extra={"data": {"models": ["one"]}})

    opened: list[str] = []

    def open_nothing(address: str) -> bool:
        opened.append(address)
        return False

    monkeypatch.setattr("speech2face.app.server.serve", serve)
    monkeypatch.setattr("webbrowser.open", open_nothing)
    monkeypatch.setattr(sys, "argv", ["speech2face", "serve", "--open"])
    with pytest.raises(SystemExit):
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines[:1] + lines[2:3]] == ["listening", "ready"]
    assert "open http://127.0.0.1:1 yourself" in lines[1]
    assert opened == ["http://127.0.0.1:1"]
    with on_terminal(100) as seen, pytest.raises(SystemExit):
        cli.main()
    first, _, last, _ = seen.lines()
    assert first == "open http://127.0.0.1:1 in a browser on this machine; Ctrl+C ends the service"
    assert last.endswith("info     ready  models=['one']")


def test_completion_knows_commands_and_options() -> None:
    """As a shell asks for it: the words typed so far, in bash's variables."""

    def completed(typed: str) -> list[str]:
        asked = {
            "_SPEECH2FACE_COMPLETE": "complete_bash",
            "COMP_WORDS": f"speech2face {typed}",
            "COMP_CWORD": str(len(typed.split(" "))),
        }
        script = "import sys; sys.argv = ['speech2face']; from speech2face import cli; cli.main()"
        ran = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True, check=False
        )
        return ran.stdout.split()

    assert {"portrait", "gallery", "serve"} <= set(completed(""))
    assert completed("data pre") == ["prepare"]
    assert completed("serve --op") == ["--open"]


def test_train_says_what_it_opens_before_torch_is_imported(tmp_path: Path) -> None:
    """Importing torch takes seconds, in which nobody would know that the program has begun."""
    pytest.importorskip("torch", reason="install the extra `train`")
    script = """
import sys
from speech2face import cli, console, tasks

def note(text):
    print(text, "torch" in sys.modules, flush=True)

tasks.note = note
sys.argv = ["speech2face", "train", "nothing.toml"]
cli.main()
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout == "opening torch, the settings and the data False\n"
    assert "nothing.toml" in ran.stderr


@pytest.mark.slow
def test_the_page_shows_a_terminal_as_it_is() -> None:
    """But for the bar's own seconds, and how wide it is painted: python runs/terminal_captures.py writes it anew."""
    command, said = terminal_captures.shown()
    meanwhile, last = terminal_captures.captured(command)
    assert said[:-1] == meanwhile[:-1]
    bar = re.compile(rf"talks/male\.m4a [{PAINT}]+ 2 of 3, ([\d.]+ s each|[\d.]+/s), \d:\d\d:\d\d left")
    assert bar.fullmatch(said[-1]) and bar.fullmatch(meanwhile[-1])
    assert f"`{last[-1]}`" in terminal_captures.PAGE.read_text(encoding="utf-8")
