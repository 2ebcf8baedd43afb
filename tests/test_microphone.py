"""Recording from a microphone: a stand-in for the library hands over an example's sound, as a device would."""

import importlib.machinery
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from speech2face import cli, errors, load_model, read_recording, reconstruct
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.cli import video as microphone
from speech2face.console import Bar
from speech2face.live import LiveSnapshot
from tests.screen import on_terminal

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
BLOCK = 512  # samples that a device hands over at a time
QUIET = np.zeros(20 * SAMPLE_RATE, np.int16)
Ran = tuple[int, str]


def speech(seconds: float) -> np.ndarray:
    waveform = read_recording(EXAMPLES / "female.mp3").waveform
    return (np.resize(waveform, round(seconds * SAMPLE_RATE)) * 32767).astype(np.int16)


class Device:
    """What `RawInputStream` of the stand-in is: it plays `sound`, then calls `afterwards` in its own thread."""

    sound: np.ndarray = QUIET
    afterwards: Callable[[], object] = staticmethod(lambda: None)
    trouble: Exception | None = None

    def __init__(self, *, channels: int, dtype: str, callback: Callable[..., None]) -> None:
        assert (channels, dtype) == (1, "int16")
        if self.trouble is not None:
            raise self.trouble
        self.samplerate, self._callback = float(SAMPLE_RATE), callback

    def start(self) -> None:
        threading.Thread(target=self._play, daemon=True).start()

    def _play(self) -> None:
        for place in range(0, self.sound.size, BLOCK):
            piece = memoryview(self.sound[place : place + BLOCK].tobytes())
            self._callback(piece, len(piece) // 2, None, None)
        type(self).afterwards()

    def close(self) -> None:
        pass


class PortAudioError(Exception):
    pass


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> type[Device]:
    module = ModuleType("sounddevice")
    module.__spec__ = importlib.machinery.ModuleSpec("sounddevice", None)
    kind = type("OneDevice", (Device,), {})
    vars(module).update(RawInputStream=kind, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return kind


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    monkeypatch.chdir(tmp_path)

    def program(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["speech2face", "portrait", "--microphone", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), capsys.readouterr().err

    return program


def test_silence_ends_it_and_the_portrait_is_that_of_what_was_said(
    device: type[Device], run: Callable[..., Ran]
) -> None:
    said = speech(4)
    device.sound = np.concatenate([said, QUIET[: 5 * SAMPLE_RATE], said])
    code, shown = run()
    assert code == 0
    facts = json.loads(Path("microphone.json").read_text())
    assert facts["recording"] == "microphone"
    assert 7 <= facts["seconds_recorded"] < 9  # neither cut off at once nor on into what came after the silence
    heard = device.sound[: round(facts["seconds_recorded"] * SAMPLE_RATE)]
    alone = reconstruct(load_model(), (heard, SAMPLE_RATE)).facts()
    assert {name: facts[name] for name in ("age", "age_interval_80", "gender")} == {
        name: alone[name] for name in ("age", "age_interval_80", "gender")
    }
    readings = [line for line in shown.splitlines() if line.endswith(" s heard")]
    assert len(readings) >= 3
    assert readings[-1].startswith("age ")
    assert Path("microphone.png").exists()


def test_a_room_that_hums_before_somebody_speaks_does_not_end_it_in_the_middle_of_a_sentence(
    device: type[Device], run: Callable[..., Ran]
) -> None:
    hiss = (0.001 * 32767 * np.random.default_rng(0).standard_normal(12 * SAMPLE_RATE)).astype(np.int16)
    device.sound = np.concatenate([hiss, speech(8), QUIET[: 5 * SAMPLE_RATE]])
    assert run("-q")[0] == 0
    facts = json.loads(Path("microphone.json").read_text())
    assert facts["seconds_recorded"] > 20
    assert facts["seconds_heard"] > 7


def test_on_a_narrow_terminal_the_reading_stays_below_what_is_said_and_on_one_row(
    device: type[Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of the log comes while somebody speaks, as one of another library would."""
    device.sound = np.concatenate([speech(6), QUIET[: 5 * SAMPLE_RATE]])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["speech2face", "portrait", "--microphone"])
    shown = microphone._show

    def show_and_log(bar: Bar, snapshot: LiveSnapshot, **options: Any) -> None:
        shown(bar, snapshot, **options)
        logging.getLogger("speech2face.live").warning("an event of the log")

    monkeypatch.setattr(microphone, "_show", show_and_log)
    with on_terminal(60) as seen, pytest.raises(SystemExit):
        cli.main()
    lines = seen.lines()
    events = [line for line in lines if "an event of the log" in line]
    assert len(events) > 3 and all(line.endswith("warning  an event of the log") for line in events)
    assert not any(line.startswith("age ") for line in lines), "the reading is gone with the recording"
    readings = [line for frame in seen.frames for line in frame if line.startswith("age ")]
    assert readings and max(map(len, readings)) <= 60
    assert not any("an event" in line for line in readings)


def test_an_interruption_ends_the_recording_and_not_the_program(device: type[Device], run: Callable[..., Ran]) -> None:
    device.sound, device.afterwards = speech(3), staticmethod(lambda: signal.raise_signal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    assert run("-q", "-o", "me.png") == (0, "")
    assert json.loads(Path("me.json").read_text())["recording"] == "microphone"
    assert signal.getsignal(signal.SIGINT) is before


def test_where_nobody_speaks_it_ends_and_nothing_is_written(device: type[Device], run: Callable[..., Ran]) -> None:
    code, shown = run()
    assert code == errors.SilentRecording.exit_code, shown
    assert list(Path().iterdir()) == []


def test_no_microphone_and_no_library_are_said(device: type[Device], run: Callable[..., Ran]) -> None:
    device.trouble = PortAudioError("Error querying device -1")
    code, shown = run()
    assert code == errors.UnreadableRecording.exit_code
    assert "Error querying device -1; plug one in, or name a file" in shown


def test_without_the_extra_it_is_named(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, shown = run()
    assert code == errors.MissingExtra.exit_code
    assert "'microphone'" in shown


def test_recordings_and_a_microphone_are_not_taken_together(run: Callable[..., Ran]) -> None:
    assert run("talk.wav")[0] == errors.USAGE_EXIT_CODE
    assert run("--track", "2")[0] == errors.InvalidOption.exit_code
