"""Portraits a second over HTTP, live speakers at once, and whether memory stays flat; each beside its floor.

    python benchmarks/serve.py                 # about two minutes
    python benchmarks/serve.py --minutes 30    # the soak in full

Writes benchmarks/serve.csv (appends). The service is a process of its own, the clients are in this one, both on
loopback. Floors: for a request, the same recording through the library in one thread; for rates, the cores over that;
for a live speaker, the engine alone; for memory, what the service holds after its first portrait.
"""

import argparse
import asyncio
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from record import ROOT, Result, median_seconds, print_results, processor, write
from websockets.asyncio.client import connect

SECONDS = 6
RATE = 16_000
CHUNK_SECONDS = 0.1
PORTRAITS_A_SECOND = 30
SPEAKERS = 8
UPDATES_A_SECOND = 4


def made_voice() -> np.ndarray:
    """The examples' female voice, repeated to six seconds, (samples,)."""
    from speech2face.audio.recording import read_recording

    return np.resize(read_recording(ROOT / "examples" / "female.mp3").waveform, SECONDS * RATE)


def wav_bytes(waveform: np.ndarray) -> bytes:
    from tests.recordings import encode

    return encode(waveform[None], RATE, container="wav", codec="pcm_s16le")


def pcm_bytes(waveform: np.ndarray) -> bytes:
    return (waveform * 32767).astype("<i2").tobytes()


@dataclass
class Service:
    """A running service and what it costs."""

    process: subprocess.Popen[str]
    address: str
    first_answer_seconds: float

    def resident_mb(self) -> float:
        """Resident memory now."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_service() -> Service:
    """The program as a user starts it, on a free port; timed from its start to its first answer."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "speech2face", "serve", "--port", "0", "--log-level", "info"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    address = json.loads(process.stderr.readline())["address"]
    httpx.get(f"{address}/health", trust_env=False).raise_for_status()
    first = time.perf_counter() - started
    # Its log must not fill the pipe.
    subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    while httpx.get(f"{address}/health", trust_env=False).json()["status"] != "ready":
        time.sleep(0.05)
    return Service(process, address, first)


async def steady_posts(address: str, body: bytes, per_second: float, seconds: float) -> list[float]:
    """Seconds each request took, sent on a fixed schedule whatever the service does; waiting counts from its time.

    A refused request (429), or one that took a minute, took for ever.
    """
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60, limits=limits) as client:
        begin = time.perf_counter() + 0.2

        async def one(number: int) -> float:
            due = begin + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                answer = await client.post("/v1/portrait", content=body, headers={"Accept": "image/png"})
            except httpx.TimeoutException:
                return math.inf
            if answer.status_code == 429:
                return math.inf
            answer.raise_for_status()
            return time.perf_counter() - due

        return await asyncio.gather(*(one(number) for number in range(round(per_second * seconds))))


async def busy_posts(address: str, body: bytes, clients: int, seconds: float) -> float:
    """Portraits a second that come out when so many clients ask as fast as they can."""
    done = 0
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
        end = time.perf_counter() + seconds

        async def ask() -> None:
            nonlocal done
            while time.perf_counter() < end:
                (await client.post("/v1/portrait", content=body)).raise_for_status()
                done += 1

        begin = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(clients)))
        return done / (time.perf_counter() - begin)


@dataclass
class Spoken:
    """One live speaker's call: seconds from a chunk sent to the update it completed, and updates that were due."""

    delays: list[float]
    updates: int
    due: int
    heard_seconds: float


async def speaker(address: str, sound: bytes, seconds: float, offset: float, chunk_seconds: float) -> Spoken:
    """Speak in real time; each update is timed from the moment the latest sound it has heard was sent."""
    chunk = 2 * round(chunk_seconds * RATE)
    sent: list[float] = []
    delays: list[float] = []
    heard_seconds = 0.0
    await asyncio.sleep(offset)
    async with connect(f"ws{address[4:]}/v1/live", max_size=None, proxy=None) as socket:
        start = {"type": "start", "format": "s16le", "sample_rate": RATE, "updates_per_second": UPDATES_A_SECOND}
        await socket.send(json.dumps(start))
        await socket.recv()

        async def feed() -> None:
            begin = time.perf_counter()
            for number in range(round(seconds / chunk_seconds)):
                await asyncio.sleep(max(0.0, begin + number * chunk_seconds - time.perf_counter()))
                place = number * chunk % (len(sound) - chunk)
                sent.append(time.perf_counter())
                await socket.send(sound[place : place + chunk])

        feeding = asyncio.create_task(feed())
        end = time.perf_counter() + seconds + 1.0
        while (left := end - time.perf_counter()) > 0:
            try:
                values = json.loads(await asyncio.wait_for(socket.recv(), left))
            except TimeoutError:
                break
            if values.get("picture"):
                await socket.recv()
                heard_seconds = values["facts"]["seconds_recorded"]
                heard = round(heard_seconds / chunk_seconds)
                delays.append(time.perf_counter() - sent[min(heard, len(sent)) - 1])
        await feeding
    # Chunks of 100 ms complete an update every 300 ms at the earliest; the first second is waiting for a voice.
    return Spoken(delays, len(delays), int((seconds - 1.5) / 0.3), heard_seconds)


async def all_speak(
    address: str, sound: bytes, count: int, seconds: float, chunk_seconds: float = CHUNK_SECONDS
) -> list[Spoken]:
    """So many speakers at once, not all at the same instant."""
    calls = (speaker(address, sound, seconds, 0.037 * number, chunk_seconds) for number in range(count))
    return await asyncio.gather(*calls)


def library_seconds(body: bytes) -> tuple[float, float]:
    """The same work without the service, in one thread: decode, hear, draw, PNG; on the clock and of the processor."""
    from speech2face import load_model
    from speech2face.app.server import Options, draw
    from speech2face.audio.recording import read_recording

    model = load_model(threads=1)
    model.warm()
    options = Options.model_validate({})
    begin = time.process_time()
    runs = 25
    seconds = median_seconds(lambda: draw(model, body, options, "png", read_recording), runs, warm_up=0)
    return seconds, (time.process_time() - begin) / runs


def engine_seconds(sound: bytes) -> float:
    """Processor time the live engine alone takes for a second of speech, updates and pictures included."""
    from speech2face import load_model
    from speech2face.app.live import LiveVoice, read_start

    model = load_model(threads=1)
    model.warm()
    start = {"type": "start", "format": "s16le", "sample_rate": RATE, "updates_per_second": UPDATES_A_SECOND}
    engine = LiveVoice(model, read_start(json.dumps(start)))
    chunk = 2 * round(CHUNK_SECONDS * RATE)
    begin = time.process_time()
    for number, place in enumerate(range(0, len(sound) - chunk, chunk)):
        if engine.push(sound[place : place + chunk]) and number % 3 == 0:
            engine.update()
    return (time.process_time() - begin) / (len(sound) / 2 / RATE)


def http_results(service: Service, body: bytes, seconds: float) -> list[Result]:
    floor, floor_processor = library_seconds(body)
    cores = os.cpu_count() or 1
    delays = asyncio.run(steady_posts(service.address, body, PORTRAITS_A_SECOND, seconds))
    before = service.cpu_seconds()
    most = asyncio.run(busy_posts(service.address, body, 2 * cores, seconds))
    each = (service.cpu_seconds() - before) / (most * seconds)
    why = "the same work through the library in one thread"
    steady = f"{PORTRAITS_A_SECOND} portraits/s of 6 s WAV over HTTP"
    return [
        Result("from the program's start to its first answer", service.first_answer_seconds, "s", 0, "", 1.0),
        Result(f"{steady}, median", statistics.median(delays) * 1e3, "ms", floor * 1e3, why),
        Result(f"{steady}, p95", float(np.percentile(delays, 95, method="higher")) * 1e3, "ms", floor * 1e3, why, 300),
        Result(f"{steady}, refused", sum(map(math.isinf, delays)), "", 0, "", 0),
        Result("most portraits/s of 6 s WAV over HTTP", most, "1/s", cores / floor_processor, f"cores / {why}", 30),
        Result("processor time of a portrait over HTTP", each * 1e3, "ms", floor_processor * 1e3, why),
    ]


def live_results(service: Service, sound: bytes, seconds: float) -> list[Result]:
    floor = engine_seconds(sound * 3)
    before = service.cpu_seconds()
    calls = asyncio.run(all_speak(service.address, sound, SPEAKERS, seconds))
    share = (service.cpu_seconds() - before) / sum(call.heard_seconds for call in calls)
    delays = [delay for call in calls for delay in call.delays]
    missed = sum(max(0, call.due - call.updates) for call in calls)
    why = "the engine alone, per second of speech"
    # Every chunk is due an update: nothing waits for its turn.
    alone = asyncio.run(all_speak(service.address, sound, 1, seconds, 1 / UPDATES_A_SECOND))[0].delays
    return [
        Result("one live speaker, sound to update, median", statistics.median(alone) * 1e3, "ms", 0, "", 40),
        Result("one live speaker, sound to update, p95", float(np.percentile(alone, 95)) * 1e3, "ms", 0, ""),
        Result(f"{SPEAKERS} live speakers, one core's share each", share * 100, "%", floor * 100, why, 10),
        Result(f"{SPEAKERS} live speakers, sound to update, median", statistics.median(delays) * 1e3, "ms", 0, ""),
        Result(f"{SPEAKERS} live speakers, sound to update, p95", float(np.percentile(delays, 95)) * 1e3, "ms", 0, ""),
        Result(f"{SPEAKERS} live speakers, updates missed in {seconds:g} s", missed, "", 0, "", 0),
    ]


def soak_results(service: Service, body: bytes, sound: bytes, minutes: float) -> list[Result]:
    """Half the load of both kinds all the time; memory after the first tenth and at the end."""
    first = service.resident_mb()
    marks: list[float] = []

    async def load() -> None:
        end = time.perf_counter() + 60 * minutes
        while time.perf_counter() < end:
            each = min(10.0, max(2.0, end - time.perf_counter()))
            posts = steady_posts(service.address, body, 8, each)
            await asyncio.gather(posts, all_speak(service.address, sound, 3, each))
            marks.append(service.resident_mb())

    asyncio.run(load())
    settled = marks[len(marks) // 3]
    why = "after the first third"
    return [
        Result("resident memory when ready", first, "MB", 0, ""),
        Result(f"resident memory after {minutes:g} minutes of both loads", marks[-1], "MB", settled, why),
        Result(f"growth over the last two thirds of {minutes:g} minutes", marks[-1] - settled, "MB", 0, "", 10),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the soak (1)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of every other load (10)")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    # Others at work on the same cores spoil every time on the clock; the row says so.
    hardware = processor() + (f", shared: load {load:.0f} before the run" if load > 1 else "")
    waveform = made_voice()
    body, sound = wav_bytes(waveform), pcm_bytes(waveform)
    service = start_service()
    try:
        results = http_results(service, body, options.seconds)
        results += live_results(service, sound, options.seconds)
        results += soak_results(service, body, sound, options.minutes)
    finally:
        service.process.terminate()
        service.process.wait(30)
    print_results(results)
    if not options.no_write:
        write(results, ROOT / "benchmarks" / "serve.csv", hardware)


if __name__ == "__main__":
    main()
