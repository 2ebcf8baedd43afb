"""How soon a live portrait follows the sound, what a speaker costs, and whether a long call grows; beside their floors.

    python benchmarks/live.py                  # about a minute and a half
    python benchmarks/live.py --hours 1        # also an hour of sound through one session: a minute more

Writes benchmarks/live.csv (appends). The voice is the examples' male one, said over and over, in pieces of 250 ms of
16-bit samples at 48 kHz, as a browser sends them. An update is what the piece that completes it starts: resampling,
activity, encoder, belief, cautions, decoder, WebP; where the face stays as it was, the picture that is there. Floor:
the encoder alone, had it to encode every second of speech once.
"""

import argparse
import io
import os
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import ROOT, Result, print_results, processor, write

from speech2face import load_model, read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, log_mel
from speech2face.live import LiveSession, PcmFormat
from speech2face.models.attributes import AttributeModel

UPDATES_PER_SECOND = 4
STREAM_RATE = 48_000
CHUNK_BYTES = STREAM_RATE // UPDATES_PER_SECOND * 2
SPEECH_SECONDS = 45
SPEAKERS, SPEAKER_SECONDS, WORKERS = 8, 20, 2
PIXELS = 512
WEBP = {"quality": 80, "method": 0}


def made_call(seconds: float, *, pause: bool = False) -> bytes:
    """The voice over and over, or the same seconds of a quiet room, as 16-bit samples at `STREAM_RATE`."""
    if pause:
        noise = np.random.default_rng(0).standard_normal(int(seconds * STREAM_RATE)) * 3e-4
        return (noise * 32767).astype("<i2").tobytes()
    waveform = read_recording(ROOT / "examples" / "male.flac").waveform
    speech = np.resize(waveform, int(seconds * SAMPLE_RATE))
    at = np.arange(int(seconds * STREAM_RATE)) * (SAMPLE_RATE / STREAM_RATE)
    return bytes((np.interp(at, np.arange(speech.size), speech) * 32767).astype("<i2").tobytes())


def pieces(call: bytes) -> Iterator[bytes]:
    """The call as it would be sent."""
    for start in range(0, len(call), CHUNK_BYTES):
        yield call[start : start + CHUNK_BYTES]


def update(session: LiveSession, chunk: bytes) -> bool:
    """One piece of sound, and the picture that follows it; whether one did."""
    if not session.push(chunk):
        return False
    look = session.snapshot()
    if look.embedding is None:
        return False
    picture = session.draw(look, pixels=PIXELS).image
    Image.fromarray(picture).save(io.BytesIO(), "WEBP", **WEBP)
    return True


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What the call gives, and its wall and processor seconds in this thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    given = call(*arguments)
    return given, time.perf_counter() - wall, time.thread_time() - cpu


def floor_seconds(model: AttributeModel) -> float:
    """Processor seconds an update of the voice encoder alone, had it to encode every second of speech once."""
    waveform = np.resize(read_recording(ROOT / "examples" / "male.flac").waveform, 3 * SAMPLE_RATE)
    segment = log_mel(waveform)[None]
    spent = (timed(lambda: model.runtime.run("voice_frames.onnx", log_mel=segment))[2] for _ in range(40))
    return statistics.median(spent) / (3 * UPDATES_PER_SECOND)


def one_speaker(model: AttributeModel, floor: float) -> list[Result]:
    """Each update's time, and the whole call's share of a core."""
    session = LiveSession(model, PcmFormat("s16le", STREAM_RATE))
    walls, spents, cpu = [], [], 0.0
    for chunk in pieces(made_call(SPEECH_SECONDS)):
        drawn, wall, spent = timed(update, session, chunk)
        cpu += spent
        if drawn:
            walls.append(wall * 1e3)
            spents.append(spent * 1e3)
    quiet = LiveSession(model, PcmFormat("s16le", STREAM_RATE))
    for chunk in pieces(made_call(6)):
        update(quiet, chunk)
    paused = sum(timed(update, quiet, chunk)[2] for chunk in pieces(made_call(20, pause=True)))
    why = "the voice encoder alone, each second of speech once"
    share_floor = 100 * floor * UPDATES_PER_SECOND
    return [
        Result("update after its last chunk, median", statistics.median(walls), "ms", floor * 1e3, why, 60),
        Result("update after its last chunk, 95 of 100", float(np.percentile(walls, 95)), "ms", floor * 1e3, why),
        Result("update, processor time, median", statistics.median(spents), "ms", floor * 1e3, why),
        Result("one speaker, 4 updates a second", 100 * cpu / SPEECH_SECONDS, "% of a core", share_floor, why, 12),
        Result("one who pauses", 100 * paused / 20, "% of a core", 0, "nothing to encode or draw"),
    ]


def many_speakers(model: AttributeModel, floor: float) -> list[Result]:
    """Several speakers in real time over a pool of threads; an update is missed that is not there at the next chunk."""
    call = list(pieces(made_call(SPEAKER_SECONDS)))
    period = 1 / UPDATES_PER_SECOND
    late: list[float] = []
    lock = threading.Lock()

    def heard(session: LiveSession, chunk: bytes, due: float) -> None:
        if update(session, chunk):
            with lock:
                late.append(time.perf_counter() - due)

    sessions = [LiveSession(model, PcmFormat("s16le", STREAM_RATE)) for _ in range(SPEAKERS)]
    cpu, start = time.process_time(), time.perf_counter() + 0.1
    with ThreadPoolExecutor(WORKERS) as pool:
        previous: dict[int, Future[None]] = {}
        for number, chunk in enumerate(call):
            for speaker, session in enumerate(sessions):
                due = start + number * period + speaker * period / SPEAKERS
                time.sleep(max(0.0, due - time.perf_counter()))
                if speaker in previous:
                    previous[speaker].result()  # a session is for one thread at a time
                previous[speaker] = pool.submit(heard, session, chunk, due)
    share = 100 * (time.process_time() - cpu) / (SPEAKER_SECONDS * SPEAKERS)
    missed = sum(seconds > period for seconds in late)
    why = "the voice encoder alone, each second of speech once"
    return [
        Result(f"{SPEAKERS} speakers, updates", len(late), "", 0, "real time, two threads"),
        Result(f"{SPEAKERS} speakers, missed updates", missed, "", 0, "not there 250 ms later", 0),
        Result(f"{SPEAKERS} speakers, 95 of 100", float(np.percentile(late, 95)) * 1e3, "ms", floor * 1e3, why),
        Result(f"{SPEAKERS} speakers, each", share, "% of a core", 100 * floor * UPDATES_PER_SECOND, why, 12),
    ]


def long_call(model: AttributeModel, hours: float) -> list[Result]:
    """The process's largest size after two minutes of a call, and after hours of it."""
    session = LiveSession(model, PcmFormat("s16le", STREAM_RATE))
    minute = made_call(60)
    peaks, started = [], time.perf_counter()
    for number in range(round(hours * 60)):
        for chunk in pieces(minute):
            session.push(chunk)
        session.snapshot()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if number == 1:
            early = peaks[-1]
    session.finish()
    heard = (time.perf_counter() - started) / (hours * 3600)
    return [
        Result(f"{hours:g} h in one session, growth after 2 min", peaks[-1] - early, "MB", 0, "nothing is kept", 1),
        Result(f"{hours:g} h in one session, time a second of sound", heard * 1e3, "ms", 0, "without pictures"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0.0, help="of sound through one session, over 2 minutes")
    arguments = parser.parse_args()
    # Waiting times are worth only what else the machine does meanwhile; processor times hardly change with it.
    hardware = f"{processor()}, load {os.getloadavg()[0]:.0f} before"
    model = load_model(threads=1)
    assert isinstance(model, AttributeModel), "the starter"
    model.warm()
    floor = floor_seconds(model)
    results = one_speaker(model, floor) + many_speakers(model, floor)
    if arguments.hours:
        results += long_call(model, arguments.hours)
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"), hardware)


if __name__ == "__main__":
    main()
