"""A face that speaks in a virtual camera while sound comes in, from a pipe or a microphone."""

import io
import struct
import subprocess
import sys
import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from speech2face import video as camera
from speech2face.errors import CannotWrite, InvalidOption, UnreadableRecording
from speech2face.live import PcmFormat
from speech2face.models import load_model
from speech2face.models.contract import Model
from speech2face.video import AHEAD_FRAMES, SpeakingCamera, opened_device, piped_sound, planes, raw_writer, show
from tests.voices import made_voice

PIXELS = 128
FRAME_BYTES = 2 * 16_000 // 25


@cache
def model() -> Model:
    return load_model()


def pcm(seconds: float) -> bytes:
    return (made_voice(seconds) * 20_000).astype("<i2").tobytes()


def made(**options: object) -> SpeakingCamera:
    return SpeakingCamera(model(), PcmFormat("s16le", 16_000), pixels=PIXELS, style="line", **options)


def mouth(frame: np.ndarray) -> np.ndarray:
    """The part below the nose, which the label at the top is not in."""
    return np.asarray(frame[PIXELS // 2 :].astype(int))


def test_the_face_comes_with_the_voice_moves_with_it_and_rests_afterwards() -> None:
    face = made()
    assert face.is_waiting
    waiting = face.frame()
    face.hear(pcm(3.0))
    while face.unshown:
        assert np.array_equal(face.frame(), waiting), "no face before anybody looked"
    face.look()
    assert not face.is_waiting
    face.hear(pcm(3.0))
    speaking = []
    while face.unshown:
        speaking.append(face.frame())
    while not face.still:
        resting = face.frame()
    moved = [np.abs(mouth(frame) - mouth(resting)).mean() for frame in speaking]
    assert max(moved) > 4 * np.abs(mouth(face.frame()) - mouth(resting)).mean()
    assert max(moved) > 0.5
    face.close()


def test_a_microphone_that_is_ahead_is_caught_up_with_and_a_pipe_keeps_every_frame() -> None:
    face = made()
    face.hear(bytes(20 * FRAME_BYTES))
    face.frame()
    assert face.unshown == 19
    face.frame(most_unshown=AHEAD_FRAMES)
    assert face.unshown == AHEAD_FRAMES - 1


def test_frames_come_until_the_sound_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(camera, "sleep", slept.append)
    sound = io.BufferedReader(io.BytesIO(pcm(2.0)))
    source, pieces = piped_sound(sound, 16_000)
    assert source == PcmFormat("s16le", 16_000, 1)
    out = io.BytesIO()
    count = show(made(), pieces, raw_writer(out.write))
    assert count >= 50
    assert len(out.getvalue()) == count * PIXELS * PIXELS * 3 // 2
    assert max(slept) <= count / 25
    shown = io.BytesIO()
    assert show(made(), lambda: b"", raw_writer(shown.write), stopped=iter([False] * 3 + [True]).__next__) == 3
    assert shown.getvalue() == 3 * planes(camera.waiting_picture(PIXELS)).tobytes()


def wav(sample_bytes: int) -> io.BufferedReader:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(sample_bytes)
        file.setframerate(22_050)
        file.writeframes(bytes(4410 * 2 * sample_bytes))
    return io.BufferedReader(io.BytesIO(sink.getvalue()))


def test_the_header_of_a_wav_says_how_its_samples_come() -> None:
    source, pieces = piped_sound(wav(2), 16_000)
    assert source == PcmFormat("s16le", 22_050, 2)
    taken = b""
    while (piece := pieces()) is not None:
        taken += piece
    assert taken == bytes(4410 * 4)
    with pytest.raises(UnreadableRecording, match="no 16-bit samples"):
        piped_sound(wav(1), 16_000)
    with pytest.raises(UnreadableRecording, match="cannot be read"):
        piped_sound(io.BufferedReader(io.BytesIO(b"RIFF1234WAVE")), 16_000)
    with pytest.raises(InvalidOption):
        piped_sound(io.BufferedReader(io.BytesIO(b"")), 1)


@pytest.mark.parametrize("stated", [0, 0x7FFF_F000, 0xFFFF_FFFF])
@pytest.mark.parametrize("extensible", [False, True])
def test_a_wav_that_was_begun_before_its_length_was_known_is_heard_to_the_end(stated: int, extensible: bool) -> None:
    size, sound = stated.to_bytes(4, "little"), pcm(0.5)
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else 1, 1, 16_000, 32_000, 2, 16)
    fmt += struct.pack("<HHIH14x", 22, 16, 4, 1) if extensible else b""
    header = b"RIFF" + size + b"WAVEfmt " + len(fmt).to_bytes(4, "little") + fmt
    title = b"LIST" + (5).to_bytes(4, "little") + b"INFOx\0"
    source, pieces = piped_sound(io.BufferedReader(io.BytesIO(header + title + b"data" + size + sound)), 8_000)
    assert source == PcmFormat("s16le", 16_000, 1)
    taken = b""
    while (piece := pieces()) is not None:
        taken += piece
    assert taken == sound


def test_what_follows_a_wav_is_not_heard() -> None:
    content = wav(2).read()
    _, pieces = piped_sound(io.BufferedReader(io.BytesIO(content + b"LIST" + bytes(100))), 16_000)
    taken = b""
    while (piece := pieces()) is not None:
        taken += piece
    assert taken == bytes(4410 * 4)


def test_a_device_that_is_no_camera_is_refused_with_the_way_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, why in (
        (tmp_path / "none", "there is no camera"),
        (tmp_path / "file", "no device"),
        (Path("/dev/null"), "takes no frames"),
    ):
        with pytest.raises(CannotWrite, match=f"{why}.*v4l2loopback"), opened_device(path, PIXELS) as write:
            write(camera.waiting_picture(PIXELS))


def test_frames_reach_a_device_as_it_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera is here: FFmpeg's raw container stands for it, which gets the same packets."""
    monkeypatch.setattr(camera, "DEVICES", "rawvideo")
    monkeypatch.setattr("stat.S_ISCHR", lambda mode: True)
    (tmp_path / "device").write_bytes(b"")
    with opened_device(tmp_path / "device", PIXELS) as write:
        for _ in range(3):
            write(camera.waiting_picture(PIXELS))
    assert (tmp_path / "device").read_bytes() == 3 * planes(camera.waiting_picture(PIXELS)).tobytes()


@pytest.mark.slow
def test_the_command_shows_what_is_piped_into_it() -> None:
    command = [sys.executable, "-m", "speech2face", "camera", "-", "-o", "-", "--pixels", str(PIXELS), "--quiet"]
    done = subprocess.run(command, input=pcm(2.0), capture_output=True, check=True)
    assert done.stderr == b""
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, PIXELS * 3 // 2, PIXELS)
    assert len(frames) >= 50
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(command, input=pcm(1.0), stdout=full, stderr=subprocess.PIPE, check=False)
        assert ended.returncode == CannotWrite.exit_code
        assert ended.stderr.count(b"\n") == 1 and b"standard output cannot be written" in ended.stderr
    refused = subprocess.run([*command[:4], "voice.wav", "-o", "-"], capture_output=True, text=True, check=False)
    assert refused.returncode == InvalidOption.exit_code
    assert "speech2face video" in refused.stderr
