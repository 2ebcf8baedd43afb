"""Detectors of a voice: the built-in one keeps to its protocol; a package can add one that is chosen by name."""

import runpy
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from speech2face import load_model, read_recording, reconstruct
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.audio.speech import WebRtcActivity, check_voice_activity, find_speech, require_speech
from speech2face.audio.stream import SpeechStream
from speech2face.cli import app
from speech2face.conversation import reconstruct_speakers
from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption, NoSpeech
from speech2face.live import LiveSession, PcmFormat
from tests.audio.test_tracks import film
from tests.voices import made_voice

EXAMPLE = Path(__file__).parents[2] / "examples" / "female.mp3"
PACKAGE = '''
import numpy as np


class Level:
    """Everything over a level is a voice."""

    def decide(self, frames):
        return np.abs(frames.astype(np.int32)).max(axis=1, initial=0) > 1000


class Deaf:
    """Nothing is a voice."""

    def decide(self, frames):
        return np.zeros(len(frames), bool)


class Low:
    """What whistles over its voice is none."""

    def decide(self, frames):
        sound = frames.astype(np.float64)
        return np.abs(np.diff(sound)).mean(axis=1) < np.abs(sound).mean(axis=1)
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_detectors.py").write_text(PACKAGE)
    metadata = tmp_path / "own_detectors-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-detectors\nVersion: 1.0\n")
    points = "level = own_detectors:Level\nlow = own_detectors:Low\ndeaf = own_detectors:Deaf\n"
    (metadata / "entry_points.txt").write_text(f"[speech2face.voice_activity]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_built_in_detector_keeps_to_the_protocol() -> None:
    KINDS["voice_activity"].check("webrtc")


@pytest.mark.usefixtures("added")
def test_an_added_detector_is_checked_and_chosen_by_name() -> None:
    KINDS["voice_activity"].check("level")
    waveform = np.concatenate([made_voice(2.0), np.zeros(SAMPLE_RATE, np.float32)])
    own = find_speech(waveform, voice_activity="level")
    assert own.seconds == pytest.approx(2.0, abs=0.2)
    with pytest.raises(NoSpeech):
        require_speech(waveform, voice_activity="deaf")
    stream = SpeechStream(voice_activity="deaf")
    assert stream.push(waveform[None]).size == 0
    with pytest.raises(NoSpeech):
        stream.settle()


@pytest.mark.usefixtures("added")
def test_a_portrait_is_drawn_of_the_speech_that_the_named_detector_finds(tmp_path: Path) -> None:
    model = load_model()
    usual = reconstruct(model, EXAMPLE)
    np.testing.assert_array_equal(reconstruct(model, EXAMPLE, voice_activity="webrtc").image, usual.image)
    assert reconstruct(model, EXAMPLE, voice_activity="level").seconds_heard != usual.seconds_heard
    command = ["portrait", str(EXAMPLE), "-o", str(tmp_path / "face.png"), "-q", "--voice-activity"]
    assert CliRunner().invoke(app, [*command, "level"]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*command, "deaf", "--force"]).exception, NoSpeech)
    refused = CliRunner().invoke(app, [*command, "gone", "--force"]).exception
    assert isinstance(refused, InvalidOption)
    assert "known are webrtc, deaf, level, low" in str(refused)


@pytest.mark.usefixtures("added")
def test_a_live_session_draws_what_the_named_detector_finds_as_a_recording_does() -> None:
    model, waveform = load_model(threads=1), read_recording(EXAMPLE).waveform
    sound = np.rint(waveform * 32_767).astype("<i2")

    def spoken(name: str) -> LiveSession:
        session = LiveSession(model, PcmFormat(), voice_activity=name)
        session.push(sound.tobytes())
        return session

    session = spoken("level")
    seen, said = session.snapshot(), session.finish()
    portrait = reconstruct(model, (sound, SAMPLE_RATE), voice_activity="level")
    assert said.seconds_heard == portrait.seconds_heard
    assert seen.seconds_heard == pytest.approx(portrait.seconds_heard, abs=0.3)  # the last frames are not decided yet
    assert said.seconds_heard != spoken("webrtc").finish().seconds_heard
    session = spoken("deaf")
    session.reset()  # the detector stays
    session.push(sound.tobytes())
    assert session.snapshot().seconds_heard == 0
    with pytest.raises(NoSpeech):
        session.finish()


@pytest.mark.parametrize("name", ["gone", None, 3])
def test_a_name_that_no_detector_has_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(InvalidOption):
        reconstruct(load_model(), Path("nowhere.mp3"), voice_activity=name)
    with pytest.raises(InvalidOption):
        LiveSession(load_model(), PcmFormat(), voice_activity=name)


def test_the_example_keeps_to_the_protocol_and_finds_a_voice() -> None:
    written = runpy.run_path(str(Path(__file__).parents[2] / "examples/plugin/speech2face_example/activity.py"))
    check_voice_activity(written["Pitch"])
    decided = written["Pitch"]().decide((made_voice(2.0)[: 66 * 480].reshape(66, 480) * 20_000).astype(np.int16))
    assert decided.mean() > 0.7


class Wrong(WebRtcActivity):
    """WebRTC's, but for one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.calls = fault, 0

    def decide(self, frames: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Whether each frame is a voice, wrongly."""
        found = super().decide(frames)
        self.calls += 1
        if self.fault == "changes the frames":
            frames[:] = 0
        faulty: dict[str, Any] = {
            "numbers": found.astype(np.float32),
            "one too few": found[1:],
            "forgets in pieces": found ^ (self.calls > 1),
            "hears silence": np.ones(len(frames), bool),
        }
        return np.asarray(faulty.get(self.fault, found))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("numbers", "not bool"),
        ("one too few", "shape"),
        ("changes the frames", "changed the frames"),
        ("forgets in pieces", "pieces of seven frames"),
        ("hears silence", "digital silence"),
    ],
)
def test_a_detector_that_does_not_keep_to_the_protocol_is_told_where(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_voice_activity(partial(Wrong, fault))


@pytest.mark.usefixtures("added")
@pytest.mark.skipif(not hasattr(av.stream, "Disposition"), reason="this PyAV cannot see a track's flags")
def test_of_several_tracks_the_detector_that_was_asked_for_finds_the_one_with_a_voice() -> None:
    whistled = made_voice(3.0) + 0.3 * np.sin(2 * np.pi * 7000 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)
    content, model = film((whistled / 2).astype(np.float32), made_voice(3.0), flags=(1, 0)), load_model()
    assert read_recording(content).track == 1
    assert read_recording(content, voice_activity="low").track == 2
    assert reconstruct(model, content, voice_activity="low").track == 2
    alone = reconstruct_speakers(model, content, speakers=1, voice_activity="low").speakers[0].portrait
    assert alone is not None and alone.track == 2
    with pytest.raises(InvalidOption):
        read_recording(EXAMPLE, voice_activity="gone")
