"""How soon a call's portrait follows its sound, and what a call costs: telephone and WebRTC, beside their floors.

    python benchmarks/calls.py                 # about a minute; needs the extra `calls`

Writes benchmarks/calls.csv (appends). The voice is the examples' male one, said over and over. A telephone call comes
as 20 ms mu-law frames in JSON, in real time, one update a second. An update is what the frame that completes it starts:
decoding, resampling, activity, encoder, belief, decoder, labelled PNG of 512 x 512. Floor: the encoder's and the
decoder's runs of that update alone. A call's share is the processor time of the whole service process in the call's
middle; the caller is a process of its own.
"""

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from live import floor_seconds
from record import ROOT, Result, print_results, processor, write

from speech2face import load_model, read_recording
from speech2face.app.calls import CallVoice, TrackOptions
from speech2face.app.server import listen, make_server
from speech2face.app.service import Settings
from speech2face.live import PcmFormat
from speech2face.models.attributes import AttributeModel
from tests.recordings import encode

FRAME_BYTES, FRAME_SECONDS = 160, 0.02
HOP_FRAMES = 5  # are heard at once
SECONDS, BEGINNING_SECONDS = 24, 6  # of a call; its beginning is not counted: libraries are loaded, keys made
TRACKS = 2


def telephone_sound(seconds: float) -> bytes:
    """The voice over and over as 8 kHz mu-law."""
    waveform = read_recording(ROOT / "examples" / "male.flac").waveform
    speech = np.resize(waveform, round(seconds * 16_000))
    wav = encode(speech[None], 16_000, container="wav", codec="pcm_mulaw", codec_rate=8000)
    return wav[wav.index(b"data") + 8 :]


def updates(model: AttributeModel, floor: float) -> list[Result]:
    """One track in this thread: what each update takes from the frame that completes it to its picture's bytes."""
    track = CallVoice(model, PcmFormat("mulaw", 8000, 1), TrackOptions(512))
    sound = telephone_sound(60)
    hop = HOP_FRAMES * FRAME_BYTES
    walls, spents, cpu = [], [], time.thread_time()
    for number, at in enumerate(range(0, len(sound), hop)):
        wall, spent = time.perf_counter(), time.thread_time()
        look = number % 10 == 9
        new = track.push(sound[at : at + hop])
        if new and look:
            track.look()
        if look and track.picture() is not None:
            walls.append(1e3 * (time.perf_counter() - wall))
            spents.append(1e3 * (time.thread_time() - spent))
    cpu = time.thread_time() - cpu
    why = "the networks' runs alone"
    return [
        Result("telephone update with its picture, median", statistics.median(walls), "ms", floor * 1e3, why, 60),
        Result("telephone update, 95 of 100", float(np.percentile(walls, 95)), "ms", floor * 1e3, why, 60),
        Result("telephone update, processor time", statistics.median(spents), "ms", floor * 1e3, why, 60),
        Result("one track, engine alone", 100 * cpu / 60, "% of a core", 100 * floor, why, 10),
    ]


@contextmanager
def service() -> Iterator[str]:
    """The service in this process, its model loaded."""
    server = make_server(Settings(port=0))
    socket = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    while not (server.started and server.service.registry.state == "ready"):
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


async def telephone_call(address: str) -> None:
    """A call of two tracks in real time through the socket."""
    from websockets.asyncio.client import connect

    sound = telephone_sound(SECONDS)
    names = ["inbound", "outbound"]
    start = {"callSid": "CA1", "tracks": names, "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000}}
    async with connect(f"ws{address.removeprefix('http')}/v1/media-stream", proxy=None) as socket:
        await socket.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
        began = time.monotonic()
        for number, at in enumerate(range(0, len(sound), FRAME_BYTES)):
            await asyncio.sleep(max(0.0, began + number * FRAME_SECONDS - time.monotonic()))
            payload = base64.b64encode(sound[at : at + FRAME_BYTES]).decode()
            for name in names:
                media: dict[str, Any] = {"track": name, "chunk": number + 1, "timestamp": 20 * number}
                await socket.send(json.dumps({"event": "media", "media": media | {"payload": payload}}))
        await socket.send(json.dumps({"event": "stop"}))
        await socket.wait_closed()


def telephone(floor: float) -> list[Result]:
    """A whole call over the socket: the service's processor time, the sender's apart."""
    with service() as address:
        caller = Caller("telephone", address)
        share = caller.service_share()
        updated = _update_seconds(address)
    why = "the networks' runs alone"
    return [
        Result(
            "telephone call of two tracks through the socket", 100 * share, "% of a core", 100 * floor * TRACKS, why, 10
        ),
        Result("telephone update in the service, mean, without the picture", 1e3 * updated, "ms", floor * 1e3, why, 60),
    ]


def webrtc(floor: float) -> list[Result]:
    """A peer that speaks and sees its own face."""
    with service() as address:
        caller = Caller("webrtc", address)
        share = caller.service_share()
        updated = _update_seconds(address)
    why = "the networks' runs alone"
    return [
        Result("WebRTC call, Opus in, VP8 out, whole service", 100 * share, "% of a core", 100 * floor, why, 10),
        Result("WebRTC update to the video's next picture, mean", 1e3 * updated, "ms", floor * 1e3, why, 60),
    ]


def _update_seconds(address: str) -> float:
    """The mean of the service's own histogram."""
    import httpx

    lines = httpx.get(f"{address}/metrics", trust_env=False).text.splitlines()
    values = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("speech2face_call_update")}
    return values["speech2face_call_update_seconds_sum"] / values["speech2face_call_update_seconds_count"]


class Caller:
    """Somebody who calls, in a process of its own, so that this one's processor time is the service's."""

    def __init__(self, kind: str, address: str) -> None:
        self._command = [sys.executable, __file__, "--call", kind, address]

    def service_share(self) -> float:
        """Hold the call; processor seconds of this process in a second of the call's middle."""
        with subprocess.Popen(self._command) as caller:
            time.sleep(BEGINNING_SECONDS)
            before = time.process_time()
            time.sleep(SECONDS - BEGINNING_SECONDS)
            share = (time.process_time() - before) / (SECONDS - BEGINNING_SECONDS)
        assert caller.returncode == 0, "the call was held to its end"
        return share


async def webrtc_call(address: str) -> None:
    """A peer for some seconds."""
    from tests.app.peers import peer

    async with peer() as speaker:
        answer = await speaker.call(address)
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(SECONDS)
        assert speaker.frames > SECONDS, "it is shown something"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--call", nargs=2, metavar=("KIND", "ADDRESS"), help="for this script itself: hold one call")
    arguments = parser.parse_args()
    if arguments.call:
        kind, address = arguments.call
        asyncio.run(telephone_call(address) if kind == "telephone" else webrtc_call(address))
        return
    hardware = f"{processor()}, load {os.getloadavg()[0]:.0f} before"
    model = load_model(threads=1)
    assert isinstance(model, AttributeModel), "the starter"
    model.warm()
    floor = floor_seconds(model)
    results = updates(model, floor) + telephone(floor) + webrtc(floor)
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"), hardware)


if __name__ == "__main__":
    main()
