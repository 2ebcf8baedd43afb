"""A telephone platform in a test: a voice as 8 kHz mu-law in JSON messages, and somebody who takes callbacks."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from tests.app.speaking import Socket
from tests.recordings import encode

ADDRESS = "ws://localhost:8765/v1/media-stream"
FRAME_BYTES = 160  # 20 ms


def telephone_wav(waveform: FloatArray) -> bytes:
    """A waveform, (samples,) at 16 kHz, as a WAV file of 8 kHz mu-law."""
    return encode(waveform[None], 16_000, container="wav", codec="pcm_mulaw", codec_rate=8000)


def mulaw(wav: bytes) -> bytes:
    """The samples of `telephone_wav`."""
    return wav[wav.index(b"data") + 8 :]


def frames(samples: bytes, track: str = "inbound") -> list[dict[str, Any]]:
    """Media messages of 20 ms, the last one shorter."""
    pieces = [samples[at : at + FRAME_BYTES] for at in range(0, len(samples), FRAME_BYTES)]
    return [
        {
            "event": "media",
            "sequenceNumber": str(number + 2),
            "streamSid": "MZ1",
            "media": {
                "track": track,
                "chunk": str(number + 1),
                "timestamp": str(20 * number),
                "payload": base64.b64encode(piece).decode(),
            },
        }
        for number, piece in enumerate(pieces)
    ]


def start(call: str = "CA1", *, tracks: tuple[str, ...] = ("inbound",), **parameters: Any) -> dict[str, Any]:
    """A start message as Twilio sends it."""
    return {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "MZ1",
        "start": {
            "streamSid": "MZ1",
            "accountSid": "AC0",
            "callSid": call,
            "tracks": list(tracks),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
        },
    }


STOP: dict[str, Any] = {"event": "stop", "sequenceNumber": "99999", "streamSid": "MZ1", "stop": {"callSid": "CA1"}}


def send(socket: Socket, *messages: dict[str, Any]) -> None:
    """Say each."""
    for message in messages:
        socket.send_text(json.dumps(message))


def noise(seconds: float) -> bytes:
    """A quiet line without a voice."""
    return bytes(np.random.default_rng(0).choice([0xFE, 0xFF, 0x7E, 0x7F], round(seconds * 8000)).astype(np.uint8))


@dataclass
class Receiver:
    """Takes callbacks on a port of this machine; `status` is its answer, None lets them wait."""

    port: int = 0
    status: int | None = 200
    messages: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"http://{self.host}/portraits"


@contextmanager
def receiver(status: int | None = 200) -> Iterator[Receiver]:
    """A receiver that listens."""
    made = Receiver(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.requests += 1
            content = self.rfile.read(int(self.headers["content-length"]))
            if made.status is None:
                made.release.wait(10)
                return
            status = 200 if self.path.endswith("/elsewhere") else made.status
            if status == 200:
                made.messages.append(json.loads(content))
            self.send_response(status)
            if made.status == 307:
                self.send_header("location", made.address + "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.release.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()
