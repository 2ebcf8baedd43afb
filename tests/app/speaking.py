"""What tests of the service say and hear: made voices as bytes, and the live protocol's messages."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import FloatArray
from speech2face.provenance import Provenance, read_provenance
from tests.recordings import encode

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PIECE = 3200  # bytes: 100 ms of 16 kHz s16le


class Socket(Protocol):
    """What Starlette's and websockets' test sockets have in common."""

    def send_text(self, data: str) -> None: ...
    def send_bytes(self, data: bytes) -> None: ...
    def receive_text(self) -> str: ...
    def receive_bytes(self) -> bytes: ...


def voice(seconds: float | None = None) -> FloatArray:
    """A woman's voice of the examples, (samples,) at 16 kHz, repeated up to `seconds`."""
    waveform = read_recording(EXAMPLES / "female.mp3").waveform
    return waveform if seconds is None else np.resize(waveform, round(seconds * 16_000))


def wav(waveform: FloatArray) -> bytes:
    return encode(waveform[None], 16_000, container="wav", codec="pcm_s16le")


def pcm(waveform: FloatArray) -> bytes:
    return (waveform * 32767).astype("<i2").tobytes()


def start(**options: Any) -> str:
    """A start message for `pcm`."""
    return json.dumps({"type": "start", "format": "s16le", "sample_rate": 16_000, "updates_per_second": 10} | options)


def say(socket: Socket, **message: Any) -> None:
    socket.send_text(json.dumps(message))


def speak(socket: Socket, waveform: FloatArray) -> None:
    content = pcm(waveform)
    for place in range(0, len(content), PIECE):
        socket.send_bytes(content[place : place + PIECE])


def hear(socket: Socket) -> tuple[dict[str, Any], bytes | None]:
    """One text message and the picture that follows it."""
    values: dict[str, Any] = json.loads(socket.receive_text())
    return values, socket.receive_bytes() if values.get("picture") else None


def hear_until(socket: Socket, kind: str) -> list[tuple[dict[str, Any], bytes | None]]:
    """Everything up to the first message of a kind."""
    heard = [hear(socket)]
    while heard[-1][0]["type"] != kind:
        assert heard[-1][0]["type"] != "error" or not heard[-1][0]["fatal"], heard[-1]
        heard.append(hear(socket))
    return heard


def label_in(picture: bytes, suffix: str = "") -> tuple[Provenance, dict[str, Any]]:
    """What a picture says about itself; `suffix` is ".svg" where it is a drawing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        path.write_bytes(picture)
        return read_provenance(path)


def wait_until(holds: Callable[[], bool], seconds: float = 180.0) -> None:
    """Look every few milliseconds; fails after `seconds`, which is no measurement but an end to waiting."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.01)
