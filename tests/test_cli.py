"""The command line, with a model that draws grey squares: what is written, printed and refused, with which code."""

import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from speech2face import __version__, cli, errors
from speech2face.audio.recording import read_recording
from speech2face.errors import SilentRecording, Speech2FaceError
from speech2face.inputs import read_toml
from speech2face.limits import Style
from speech2face.models.contract import Given
from speech2face.portrait import LabelledPicture
from speech2face.provenance import Kind, portrait_svg, provenance_of, read_provenance
from tests.recordings import encode

ROOT = Path(__file__).parents[1]


@dataclass
class Ran:
    """What one run of the program left behind."""

    code: int
    out: str
    err: str

    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Program:
    """The program inside this process, in an empty working folder."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, *arguments: str | Path) -> Ran:
        self.monkeypatch.setattr(sys, "argv", ["speech2face", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = self.capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


def fake_portrait(given: Given, samples: int, exaggerate: float, style: Style, seed: int | None) -> Any:
    square = np.full((512, 512, 3), 128, np.uint8)
    facts = {
        "age": 34.2,
        "age_interval_80": [24.0, 47.0],
        "gender": {"reading": "feminine", "probability": 0.97},
        "seconds_heard": 1.5,
        "seconds_recorded": 2.0,
        "cautions": [{"code": "noise", "text": "There is loud noise."}],
        "given": given.to_dict(),
        "exaggerate": exaggerate,
        "style": style.value,
        "seed": seed,
        "model": {"name": "fake", "version": "0.0"},
        "notice": "nobody's likeness",
    }
    drawing = "<svg xmlns='http://www.w3.org/2000/svg'></svg>" if style.is_vector else None
    return FakePortrait(square, (square,) * samples, facts, drawing, seed)


@dataclass
class FakePortrait(LabelledPicture):
    """A grey square with the facts of a portrait."""

    image: np.ndarray
    samples: tuple[np.ndarray, ...]
    values: dict[str, Any]
    drawing: str | None
    seed: int | None
    kind: ClassVar[Kind] = "portrait"
    model_name: str = "fake"
    model_version: str = "0.0"
    notice: str = "nobody's likeness"

    def facts(self) -> dict[str, Any]:
        return dict(self.values)

    def svg(self) -> bytes:
        assert self.drawing is not None
        return portrait_svg(self.drawing, provenance_of(self.values, "portrait"), self.values)


_drawn = fake_portrait


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    monkeypatch.chdir(tmp_path)
    run = Program(tmp_path, monkeypatch, capsys)

    def reconstruct(model: Any, source: Any, **options: Any) -> Any:
        run.calls.append({"source": source} | options)
        if not read_recording(source).waveform.any():
            raise SilentRecording("the recording is silent")
        return fake_portrait(**options)

    model = SimpleNamespace(check=lambda given: given.check(("white", "black")))
    monkeypatch.setattr("speech2face.portrait.reconstruct", reconstruct)
    monkeypatch.setattr("speech2face.models.load_model", lambda folder: model)
    return run


def recording(path: Path, *, silent: bool = False, container: str = "wav", codec: str = "pcm_s16le") -> Path:
    sound = np.zeros((1, 16_000)) if silent else np.sin(np.arange(16_000) / 10)[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(sound, 16_000, container=container, codec=codec))
    return path


def test_one_recording_becomes_a_picture_and_its_facts(program: Program) -> None:
    ran = program("portrait", recording(Path("talk.wav")))
    assert ran.code == 0
    assert program.files() == ["talk.json", "talk.png", "talk.wav"]
    for text in (
        "34 years (80 % interval 24 to 47)",
        "feminine (97 %)",
        "1.5 s of 2.0 s",
        "loud noise",
        "talk.png",
        "nobody",
    ):
        assert text in ran.out
    assert ran.err == ""
    provenance, facts = read_provenance("talk.png")
    assert provenance.model_name == "fake"
    beside = json.loads(Path("talk.json").read_text())
    assert beside == {"recording": "talk.wav"} | facts
    assert b"talk" not in Path("talk.png").read_bytes()  # a picture does not say whose recording it was drawn from


@pytest.mark.parametrize(
    ("out", "files"),
    [
        ("face.png", ["face.json", "face.png"]),
        ("FACE.PNG", ["FACE.json", "FACE.PNG"]),
        ("new/folder", ["new/folder/talk.json", "new/folder/talk.png"]),
        ("new/face.v2.png", ["new/face.v2.json", "new/face.v2.png"]),
    ],
)
def test_out_is_a_picture_or_a_folder(program: Program, out: str, files: list[str]) -> None:
    assert program("portrait", recording(Path("talk.wav")), "-o", out).code == 0
    assert program.files() == sorted([*files, "talk.wav"])


def test_json_is_one_line_on_standard_output(program: Program) -> None:
    ran = program("portrait", recording(Path("talk.wav")), "--json")
    (facts,) = ran.json()
    assert facts["age"] == 34.2
    assert facts["files"] == ["talk.png", "talk.json"]
    assert ran.err == ""


@pytest.mark.parametrize("style", ["drawn", "line"])
def test_a_drawn_portrait_leaves_its_drawing_beside_it_which_says_what_it_is(program: Program, style: str) -> None:
    assert program("portrait", recording(Path("talk.wav")), "--style", style, "-q").code == 0
    assert program.files() == ["talk.json", "talk.png", "talk.svg", "talk.wav"]
    provenance, facts = read_provenance("talk.svg")
    assert (provenance.kind, provenance.notice) == ("portrait", "nobody's likeness")
    assert provenance.digital_source_type.endswith("trainedAlgorithmicMedia")
    assert facts["style"] == style


def test_samples_come_with_a_contact_sheet(program: Program) -> None:
    assert program("portrait", recording(Path("talk.wav")), "--samples", "3", "--seed", "5", "-q").code == 0
    pictures = [f"talk-sample-0{number}.png" for number in (1, 2, 3)]
    assert program.files() == sorted(["talk.json", "talk.png", "talk.wav", "talk-sheet.png", *pictures])
    assert [read_provenance(name)[0].kind for name in ("talk.png", pictures[0], "talk-sheet.png")] == [
        "portrait",
        "sample",
        "contact sheet",
    ]
    assert read_provenance("talk-sheet.png")[0].seed == 5
    with Image.open("talk-sheet.png") as sheet:
        assert min(sheet.size) > 512


def test_one_draw_is_one_on_the_sheet_and_in_words(program: Program) -> None:
    titles: list[str] = []

    def drawn(expected: Any, samples: Any, *, title: str, footer: str) -> Any:
        titles.append(title)
        return expected

    program.monkeypatch.setattr("speech2face.batch.draw_contact_sheet", drawn)
    for count in (1, 2):
        out = program("portrait", recording(Path("talk.wav")), "--samples", str(count), "--force").out
        titles.append(next(line for line in out.splitlines() if line.startswith("contact sheet")))
    assert [re.findall(r"\b[12] \w+", title) for title in titles] == [
        ["1 draw"],
        ["1 sample"],
        ["2 draws"],
        ["2 samples"],
    ]


def test_options_reach_the_model_and_the_metadata(program: Program) -> None:
    path = recording(Path("talk.wav"))
    ran = program("portrait", path, "--given", "age=40, gender=female,group=black", "--exaggerate", "0.5")
    assert ran.code == 0
    assert program.calls[0]["given"] == Given(age=40.0, gender="female", group="black")
    provenance, _ = read_provenance("talk.png")
    assert provenance.given == {"age": "40.0", "gender": "female", "group": "black"}
    assert provenance.exaggerate == 0.5
    assert "age 40.0, gender female, group black" in ran.out


def test_standard_input_is_a_recording(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    content = recording(Path("talk.wav")).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert program("portrait", "-", "--quiet").code == 0
    assert program.files() == ["stdin.json", "stdin.png", "talk.wav"]


def test_a_batch_goes_on_after_a_bad_recording(program: Program) -> None:
    names = [
        recording(Path("a.wav")),
        recording(Path("b.wav"), silent=True),
        Path("missing.wav"),
        recording(Path("c.wav")),
    ]
    ran = program("portrait", *names, "-o", "faces")
    assert ran.code == errors.SomeRecordingsFailed.exit_code
    assert [name for name in program.files() if name.startswith("faces/")] == [
        "faces/a.json",
        "faces/a.png",
        "faces/c.json",
        "faces/c.png",
    ]
    assert len(ran.out.splitlines()) == 2
    assert "speech2face: error: b.wav: the recording is silent" in ran.err
    assert "missing.wav: no such file" in ran.err
    assert "speech2face: error: 2 portraits, 2 failed" in ran.err.splitlines()[-1]


def test_a_batch_as_json_has_a_line_for_every_recording(program: Program) -> None:
    ran = program("portrait", recording(Path("a.wav")), recording(Path("b.wav"), silent=True), "--json", "-q")
    good, bad = ran.json()
    assert good["recording"] == "a.wav"
    assert bad["error"]["exit_code"] == SilentRecording.exit_code


def test_a_folder_is_searched_by_content(program: Program) -> None:
    recording(Path("in/a.wav"))
    recording(Path("in/deep/really_opus.txt"), container="ogg", codec="libopus")
    Path("in/notes.wav").write_text("no sound at all")
    Path("in/.hidden.wav").write_bytes(b"")
    ran = program("portrait", "in", "-o", "out")
    assert ran.code == 0
    assert [name for name in program.files() if name.startswith("out/")] == [
        "out/a.json",
        "out/a.png",
        "out/really_opus.json",
        "out/really_opus.png",
    ]
    assert "skipped in/notes.wav" in ran.err
    assert "2 portraits, 0 failed, 1 skipped" in ran.err


def test_a_folder_without_recordings_is_an_error(program: Program) -> None:
    Path("in").mkdir()
    Path("in/notes.txt").write_text("nothing")
    ran = program("portrait", "in")
    assert ran.code == errors.RecordingNotFound.exit_code


def test_recordings_of_one_name_get_different_files(program: Program) -> None:
    names = [
        recording(Path("x/a.wav")),
        recording(Path("a.mp3"), container="mp3", codec="libmp3lame"),
        recording(Path("y/a.wav")),
        recording(Path("A.WAV")),
        recording(Path("a-sheet.wav")),  # would be the first one's contact sheet
    ]
    ran = program("portrait", *names, "-o", "out", "--samples", "1", "--json")
    assert ran.code == 0
    written = [name for facts in ran.json() for name in facts["files"]]
    assert len({name.casefold() for name in written}) == len(written) == 5 * 4
    assert [facts["files"][0] for facts in ran.json()][:3] == ["out/a.png", "out/a-mp3.png", "out/a-wav.png"]


def test_a_batch_seed_gives_every_recording_the_same_draws_as_alone(program: Program) -> None:
    names = [recording(Path("a.wav")), recording(Path("b.wav"))]
    program("portrait", *names, "--seed", "3", "-q", "--samples", "1")
    assert [call["seed"] for call in program.calls] == [3, 3]


def test_a_track_is_handed_on_where_it_is_asked_for_and_only_there(program: Program) -> None:
    path = recording(Path("talk.wav"))
    program.monkeypatch.setattr(sys.modules[__name__], "fake_portrait", lambda track=None, **rest: _drawn(**rest))
    assert program("portrait", path, "-q").code == 0
    assert program("portrait", path, "-qf", "--track", "2").code == 0
    assert [call.get("track") for call in program.calls] == [None, 2]
    assert "track" not in program.calls[0]
    ran = program("portrait", path, "-qf", "--track", "0")
    assert (ran.code, "counted from 1" in ran.err) == (23, True)


def test_a_recording_that_cannot_be_read_does_not_end_a_folder(program: Program) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        recording(Path("talks") / name)
    real = open

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    def failing(file: Any, *arguments: Any, **named: Any) -> Any:
        return Broken(bytes(100)) if str(file).endswith("b.wav") else real(file, *arguments, **named)

    program.monkeypatch.setattr("builtins.open", failing)
    ran = program("portrait", "talks", "-o", "out")
    assert ran.code == errors.SomeRecordingsFailed.exit_code
    assert "b.wav: cannot read b.wav: Input/output error" in ran.err
    assert "Traceback" not in ran.err
    assert [name for name in program.files() if name.endswith(".png")] == ["out/a.png", "out/c.png"]


def test_a_name_of_the_programs_choice_gets_a_number_where_it_is_taken(program: Program) -> None:
    path = recording(Path("talk.wav"))
    Path("talk.json").write_text("mine")
    Path("talk-3.png").symlink_to("nowhere")
    for _ in range(2):
        assert program("portrait", path, "-q").code == 0
    made = ["talk-2.json", "talk-2.png", "talk-4.json", "talk-4.png"]
    assert [name for name in program.files() if name in made] == made
    assert Path("talk.json").read_text() == "mine"
    assert program("portrait", path, "--force", "-q").code == 0
    assert json.loads(Path("talk.json").read_text())["age"] == 34.2
    assert "talk-5.png" not in program.files()


def test_a_folder_twice_keeps_what_is_there_and_names_that_differ_in_one_run(program: Program) -> None:
    recording(Path("talks/a.wav"))
    recording(Path("talks/a.mp3"), container="mp3", codec="libmp3lame")
    assert program("portrait", "talks", "-o", "out", "-q").code == 0
    first = {name: Path(name).read_bytes() for name in program.files()}
    assert program("portrait", "talks", "-o", "out", "-q").code == 0
    assert {name: Path(name).read_bytes() for name in first} == first
    added = [name for name in program.files() if name not in first and name.endswith(".png")]
    assert sorted(first)[:4] == ["out/a-wav.json", "out/a-wav.png", "out/a.json", "out/a.png"]
    assert added == ["out/a-2.png", "out/a-wav-2.png"]


def test_a_name_of_the_users_choice_is_not_overwritten_without_force(program: Program) -> None:
    path = recording(Path("talk.wav"))
    Path("face.json").write_text("mine")
    ran = program("portrait", path, "-o", "face.png")
    assert ran.code == errors.OutputExists.exit_code
    assert program.calls == []  # refused before any work
    assert program.files() == ["face.json", "talk.wav"]
    assert Path("face.json").read_text() == "mine"
    assert program("portrait", path, "-o", "face.png", "--force", "-q").code == 0
    assert json.loads(Path("face.json").read_text())["age"] == 34.2


def test_standard_output_gets_the_picture_and_nothing_else(program: Program) -> None:
    path, output = recording(Path("talk.wav")), io.BytesIO()
    program.monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output))
    ran = program("portrait", path, "-o", "-")
    assert output.getvalue() == fake_portrait(Given(), 0, 0.0, Style.photographic, None).labelled_bytes()
    assert "caution: There is loud noise." in ran.err
    assert program.files() == ["talk.wav"]


@pytest.mark.parametrize("options", [["--json"], ["--samples", "2"], ["other.wav"]])
def test_standard_output_takes_one_picture_and_no_text(program: Program, options: list[str]) -> None:
    ran = program("portrait", recording(Path("talk.wav")), "-o", "-", *options)
    assert (ran.code, ran.out) == (errors.InvalidOption.exit_code, "")
    assert "--out" in ran.err
    assert program.files() == ["talk.wav"]


@pytest.mark.parametrize("command", ["portrait", "decode"])
def test_an_address_is_refused_as_one_with_what_to_do(program: Program, command: str) -> None:
    ran = program(command, "https://example.org/talk.mp3")
    assert ran.code == errors.RecordingNotFound.exit_code
    assert "is an address" in ran.err and "download it first" in ran.err
    ran = program(command, "file:///home/me/talk.mp3")
    assert "by its path alone" in ran.err
    with pytest.raises(errors.RecordingNotFound, match="is an address"):
        read_recording("https://example.org/talk.mp3")
    assert "no such file" in program(command, "C:/talk.mp3").err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("portrait", "LONG"), errors.UnreadableRecording),
        (("portrait", "LONG", "talk.wav"), errors.SomeRecordingsFailed),
        (("portrait", "talk.wav", "-o", "LONG"), errors.CannotWrite),
        (("portrait", "talk.wav", "-o", "LONG.png"), errors.CannotWrite),
        (("decode", "LONG"), errors.UnreadableRecording),
        (("shield", "LONG"), errors.UnreadableRecording),
    ],
)
def test_a_name_that_no_file_can_have_is_one_line(
    program: Program, arguments: tuple[str, ...], error: type[Speech2FaceError]
) -> None:
    recording(program.folder / "talk.wav")
    ran = program(*(word.replace("LONG", "a" * 300) for word in arguments))
    assert ran.code == error.exit_code, ran.err
    assert "Traceback" not in ran.err
    assert ran.err.splitlines()[-1].startswith("speech2face: error: ")


def test_a_folder_that_may_not_be_looked_into_is_named_as_such(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = recording(program.folder / "closed" / "talk.wav").parent
    denied = PermissionError(errno.EACCES, "Permission denied")
    real = {name: getattr(os, name) for name in ("lstat", "scandir", "stat")}

    def refusing(name: str) -> Any:
        def ask(path: Any, *arguments: Any, **options: Any) -> Any:
            inside = Path(os.fsdecode(path)).parent.name == "closed" if isinstance(path, str | bytes | Path) else False
            if inside or (name == "scandir" and Path(path).name == "closed"):
                raise denied
            return real[name](path, *arguments, **options)

        return ask

    for name in ("lstat", "stat"):
        monkeypatch.setattr(os, name, refusing(name))
    ran = program("portrait", "closed/talk.wav")
    assert (ran.code, "Permission denied" in ran.err) == (errors.UnreadableRecording.exit_code, True)
    ran = program("portrait", closed)
    assert ran.code == errors.SomeRecordingsFailed.exit_code and "talk.wav: Permission denied" in ran.err
    monkeypatch.setattr(os, "scandir", refusing("scandir"))
    ran = program("portrait", closed)
    assert (ran.code, "cannot read the folder" in ran.err) == (errors.UnreadableRecording.exit_code, True)


def test_a_number_out_of_range_is_named_as_it_was_given(program: Program) -> None:
    recording(program.folder / "talk.wav")
    assert "--seed 2147483648 is outside 0 to 2147483647" in program("portrait", "talk.wav", "--seed", "2147483648").err
    assert "--exaggerate 2.5 is outside 0 to 2\n" in program("portrait", "talk.wav", "--exaggerate", "2.5").err


@pytest.mark.parametrize("command", ["portrait", "shield"])
def test_an_empty_name_is_not_the_folder_one_is_in(program: Program, command: str) -> None:
    recording(program.folder / "talk.wav")
    ran = program(command, "")
    assert ran.code == errors.RecordingNotFound.exit_code
    assert "is empty" in ran.err
    assert program.files() == ["talk.wav"]


def test_settings_of_a_name_that_no_file_can_have_are_refused() -> None:
    with pytest.raises(errors.InvalidSettings, match="no such file"):
        read_toml(Path("a" * 300))


@pytest.mark.parametrize("letter", ["a", "\u3042"])
def test_the_longest_name_that_a_recording_can_have_leaves_room_for_what_is_added(
    program: Program, letter: str
) -> None:
    stem = letter * (251 // len(letter.encode()))
    recording(program.folder / f"{stem}.wav")
    ran = program("portrait", f"{stem}.wav", "--samples", "2")
    assert ran.code == 0, ran.err
    ran = program("portrait", f"{stem}.wav", "--samples", "2")
    assert ran.code == 0, ran.err
    assert len(program.files()) == 11
    assert sum(name.startswith(letter * 60) for name in program.files()) == 11


def test_a_file_that_appears_meanwhile_is_not_overwritten(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(model: Any, source: Any, **options: Any) -> Any:
        Path("talk.json").write_text("mine")
        return fake_portrait(**options)

    monkeypatch.setattr("speech2face.portrait.reconstruct", slow)
    assert program("portrait", recording(Path("talk.wav"))).code == errors.OutputExists.exit_code
    assert program.files() == ["talk.json", "talk.wav"]
    assert Path("talk.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing.wav"], errors.RecordingNotFound),
        (["silent.wav"], errors.SilentRecording),
        (["text.wav"], errors.NotMedia),
        (["empty.wav"], errors.EmptyRecording),
        (["talk.wav", "-o", "face.jpg"], errors.InvalidOption),
        (["talk.wav", "-o", "face.svg", "--style", "drawn"], errors.InvalidOption),
        (["talk.wav", "talk.wav", "-o", "face.png"], errors.InvalidOption),
        (["-", "-"], errors.InvalidOption),
        (["talk.wav", "-o", "text.wav/face.png"], errors.CannotWrite),
        (["talk.wav", "--samples", "-1"], errors.InvalidOption),
        (["talk.wav", "--samples", "101"], errors.InvalidOption),
        (["talk.wav", "--exaggerate", "nan"], errors.InvalidOption),
        (["talk.wav", "--population", "white=much"], errors.InvalidGiven),
        (["talk.wav", "--population", "white=1,white=2"], errors.InvalidGiven),
        (["talk.wav", "--seed", "-1"], errors.InvalidOption),
        (["talk.wav", "--given", "age=forty"], errors.InvalidGiven),
        (["talk.wav", "--given", "age=7"], errors.InvalidGiven),
        (["talk.wav", "--given", "age=40,age=41"], errors.InvalidGiven),
        (["talk.wav", "--given", "gender=cat"], errors.InvalidGiven),
        (["talk.wav", "--given", "group=martian"], errors.InvalidGiven),
        (["talk.wav", "--given", "name=Bob"], errors.InvalidGiven),
        (["talk.wav", "--given", ""], errors.InvalidGiven),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_its_own_code_and_nothing_written(
    program: Program, arguments: list[str], error: type[Speech2FaceError]
) -> None:
    recording(Path("talk.wav"))
    recording(Path("silent.wav"), silent=True)
    Path("text.wav").write_text("Dear diary,\n")
    Path("empty.wav").touch()
    before = program.files()
    ran = program("portrait", *arguments)
    assert ran.code == error.exit_code
    assert ran.out == ""
    assert ran.err.startswith("speech2face: error: ")
    assert ran.err.count("\n") == 1
    assert program.files() == before


@pytest.mark.parametrize(
    "arguments", [["portrait"], ["portrait", "--nope", "x"], ["draw"], ["portrait", "x", "--samples", "y"]]
)
def test_misuse_is_one_line_and_code_two(program: Program, arguments: list[str]) -> None:
    ran = program(*arguments)
    assert ran.code == errors.USAGE_EXIT_CODE
    assert ran.err.startswith("speech2face: error: ")
    assert ran.err.count("\n") == 1


def test_a_name_with_a_line_break_stays_on_one_line(program: Program) -> None:
    ran = program("portrait", "two\nlines [red]\udcff.wav")
    assert ran.code == errors.RecordingNotFound.exit_code
    assert ran.err.count("\n") == 1


def test_every_error_has_its_own_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Speech2FaceError)]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes) > 15
    assert all(code == 1 or 10 <= code < 64 for code in codes)  # free of the shells' and typer's own


def test_inspect_reads_a_portrait_back(program: Program) -> None:
    program("portrait", recording(Path("talk.wav")), "-q", "--seed", "1")
    ran = program("inspect", "talk.png")
    assert ran.code == 0
    for text in ("synthetic portrait", "fake 0.0", "trainedAlgorithmicMedia", "34 years", "nobody's likeness"):
        assert text in ran.out
    (read,) = program("inspect", "talk.png", "--json").json()
    assert read["provenance"]["model_name"] == "fake"
    assert read["facts"]["seed"] == 1


def test_inspect_refuses_what_is_not_a_portrait(program: Program) -> None:
    Image.new("RGB", (8, 8)).save("plain.png")
    assert program("inspect", "plain.png").code == errors.NotAPortrait.exit_code
    assert program("inspect", "nothing.png").code == errors.RecordingNotFound.exit_code


def test_an_interruption_is_quiet_and_writes_nothing(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("speech2face.portrait.reconstruct", interrupt)
    ran = program("portrait", recording(Path("talk.wav")))
    assert ran.code == errors.INTERRUPTED_EXIT_CODE
    assert "Traceback" not in ran.err
    assert program.files() == ["talk.wav"]


def test_settings_come_with_the_package_and_are_named_shown_and_copied(program: Program) -> None:
    names = [line.split()[0] for line in program("configs", "list").out.splitlines()]
    assert {"dlib-decoder", "paper-encoder", "studio"} < set(names)
    (captions,) = program("configs", "list", "--json").json()
    assert list(captions) == names and all(captions.values())
    shown = program("configs", "show", "dlib-decoder").out
    assert program("configs", "copy", "dlib-decoder").out == "dlib-decoder.toml\n"
    assert Path("dlib-decoder.toml").read_text() == shown
    assert program("configs", "copy", "dlib-decoder").code == errors.OutputExists.exit_code
    assert program("configs", "copy", "studio", "-o", "mine/terms.toml").code == 0
    ran = program("configs", "show", "dlib")
    assert ran.code == errors.InvalidOption.exit_code and "there are dlib-decoder, " in ran.err


def test_settings_are_found_by_name_unless_a_file_here_has_it(program: Program) -> None:
    assert read_toml(Path("dlib-decoder"))["stage"] == "decoder"
    Path("dlib-decoder").mkdir()  # as a training's folder may be called
    assert read_toml(Path("dlib-decoder"))["stage"] == "decoder"
    Path("dlib-encoder").write_text('stage = "mine"')
    assert read_toml(Path("dlib-encoder")) == {"stage": "mine"}
    with pytest.raises(errors.InvalidSettings, match="no such file, and none of dlib-decoder, "):
        read_toml(Path("dlib"))


def test_every_command_line_of_the_readme_runs_twice_in_one_folder(program: Program) -> None:
    shutil.copytree(ROOT / "examples", "examples", ignore=shutil.ignore_patterns("plugin"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "examples/" in block]
    lines = [line for block in blocks for line in block.splitlines() if " portrait examples/" in line or "- --" in line]
    assert len(lines) >= 8
    for line in [line for line in lines if "--model" not in line] * 2:
        words, rest = re.split("[#<>]", line)[0], re.search("< (.*)", line)
        if rest is not None:
            program.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(rest[1]).read_bytes())))
        with program.monkeypatch.context() as patch:
            if ">" in line:
                patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
            assert program(*shlex.split(words[words.index("portrait ") :])).code == 0, line
    assert {"female.png", "female-2.png", "portraits/female-2.png", "male-sheet.png"} <= set(program.files())


def test_the_version_is_printed(program: Program) -> None:
    assert program("--version").out == f"speech2face {__version__}\n"


def test_help_names_every_option(program: Program) -> None:
    shown = program("portrait", "--help").out
    options = (
        "--out",
        "--json",
        "--samples",
        "--given",
        "--population",
        "--exaggerate",
        "--seed",
        "--force",
        "--model",
        "--quiet",
    )
    assert [option for option in options if option not in shown] == []


HELP_THEN_LIST_IMPORTS = """
import sys
from speech2face import cli
sys.argv = ["speech2face", "--help"]
try:
    cli.main()
except SystemExit:
    print([name for name in ("numpy", "av", "PIL", "onnxruntime", "torch") if name in sys.modules])
"""


def test_help_imports_nothing_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", HELP_THEN_LIST_IMPORTS], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m speech2face --help; echo code $? >&2"
    ran = subprocess.run(["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=True)
    assert "Traceback" not in ran.stderr
    assert "BrokenPipe" not in ran.stderr
