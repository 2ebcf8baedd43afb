"""Memory of the service under mixed hostile traffic, and whether others are served meanwhile. Loopback only, bounded.

    python benchmarks/hostile.py --minutes 20        # needs the extras `calls` and `eval`

Starts `speech2face serve` as a process of its own, and for so many minutes sends what strangers could: damaged and
swelling recordings, bodies that drip, answers that nobody reads, nonsense in JSON, forms, frames and offers, candidates
of other machines, clients that leave anywhere. Beside it one ordinary client asks for a portrait every other second.
Writes benchmarks/hostile.csv (time, resident memory of the service and of its decoders, what was served),
benchmarks/hostile_answers.csv (what was tried, how often, what came back) and docs/images/hostile.png.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from record import ROOT
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from speech2face.outputs import encode_csv, replace_file
from tests.app.telephone import STOP, frames, mulaw, telephone_wav
from tests.app.telephone import start as call_start
from tests.audio.test_apart import film, silence
from tests.fuzz.mutation import mutated
from tests.recordings import encode

SENDERS = 4
SAMPLED_SECONDS = 5.0
ORDINARY_SECONDS = 2.0
GOOD = (ROOT / "examples" / "female.mp3").read_bytes()
FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + GOOD + b"\r\n--b--\r\n"
TELEPHONE = (np.sin(np.arange(16_000 * 2) * 0.1) * np.sin(np.arange(16_000 * 2) * 0.002) * 0.5).astype(np.float32)


def recordings() -> tuple[bytes, ...]:
    """Whole recordings of some formats, which mutants are made of."""
    voice = (np.sin(np.arange(16_000 * 2) * 0.05) * 0.4).astype(np.float32)[None]
    forms = (("wav", "pcm_s16le"), ("flac", "flac"), ("mp4", "aac"), ("ogg", "libopus"), ("webm", "libopus"))
    return GOOD, *(encode(voice, 48_000, container=container, codec=codec) for container, codec in forms)


class Traffic:
    """What strangers do to one service; each method is one of them, from an address of its own."""

    def __init__(self, port: int, seed: int, offer: str, sink: int) -> None:
        self.port, self.chance, self.offer, self.sink = port, random.Random(seed), offer, sink
        self.seeds, self.swelling = recordings(), (film(50_000_000), silence(120), silence(600))
        self.telephone = frames(mulaw(telephone_wav(TELEPHONE)))[:60]
        self.counts: Counter[tuple[str, str]] = Counter()
        self.kinds: dict[str, Callable[[], str]] = {
            name: getattr(self, name) for name in dir(self) if name.startswith(("send_", "hold_"))
        }

    def address(self) -> dict[str, str]:
        """Somebody of some hundred, as the stated proxy says."""
        return {"X-Forwarded-For": f"203.0.113.{self.chance.randrange(1, 200)}"}

    def post(self, path: str, content: bytes, **headers: str) -> str:
        """The status and the code of an answer."""
        address = f"http://127.0.0.1:{self.port}{path}"
        answer = httpx.post(address, content=content, headers=self.address() | headers, trust_env=False, timeout=120)
        code = answer.json().get("code", "") if "problem" in answer.headers.get("content-type", "") else ""
        return f"{answer.status_code} {code}".strip()

    def mutant(self, *seeds: bytes) -> bytes:
        """One of them, damaged."""
        return mutated(seeds, self.chance.randrange(2**40))

    def send_damaged_recording(self) -> str:
        """A mutant of a recording."""
        return self.post("/v1/portrait?pixels=64", self.mutant(*self.seeds))

    def send_swelling_recording(self) -> str:
        """One that is far larger than its bytes."""
        return self.post("/v1/portrait?pixels=64", self.chance.choice(self.swelling))

    def send_damaged_form(self) -> str:
        """A mutant of a form."""
        return self.post("/v1/portraits", self.mutant(FORM), **{"Content-Type": "multipart/form-data; boundary=b"})

    def send_nonsense_in_json(self) -> str:
        """Brackets without end, and mutants."""
        content = self.chance.choice((b"[" * 100_000, b'{"a":' * 9000, self.mutant(b'{"recording": "AAAA"}')))
        return self.post("/v1/portrait", content, **{"Content-Type": "application/json"})

    def send_offer_of_others(self) -> str:
        """Candidates of machines that never asked."""
        lines = [f"a=candidate:{n} 1 udp 1 127.0.0.{n} {self.sink} typ host" for n in range(2, 60)]
        sdp = re.sub(r"(a=mid:\S+)", lambda found: "\r\n".join((found.group(1), *lines)), self.offer)
        content = json.dumps({"type": "offer", "sdp": sdp}).encode()
        return self.post("/v1/webrtc/offer", content, **{"Content-Type": "application/json"})

    def send_damaged_offer(self) -> str:
        """A mutant of an offer."""
        sdp = self.mutant(self.offer.encode()).decode("utf-8", "replace")
        content = json.dumps({"type": "offer", "sdp": sdp or "v"}).encode()
        return self.post("/v1/webrtc/offer", content, **{"Content-Type": "application/json"})

    def _talk(self, path: str, messages: list[str | bytes], *, reads: bool = True) -> str:
        """Say them over a WebSocket, leave or wait for the end."""
        uri, headers = f"ws://127.0.0.1:{self.port}{path}", self.address()
        failed = (WebSocketException, TimeoutError, OSError)
        code: int | None = None
        with (
            contextlib.suppress(*failed),
            connect(uri, proxy=None, additional_headers=headers, close_timeout=1, max_size=None) as speaking,
        ):
            try:
                for message in messages:
                    speaking.send(message)
                while reads:
                    speaking.recv(timeout=3)
            finally:
                code = speaking.protocol.close_code
        return str(code) if reads and code is not None else "left"

    def send_damaged_live_messages(self) -> str:
        """Text and sound of a live session, damaged."""
        said = b'{"type": "start", "format": "webm", "updates_per_second": 10}'
        sound = self.mutant(self.seeds[-1], self.seeds[-2])
        messages: list[str | bytes] = [
            self._text(said, 0.3),
            *(sound[at : at + 900] for at in range(0, len(sound), 900)),
        ]
        return self._talk("/v1/live", [*messages, self._text(b'{"type": "finish"}', 0.3)])

    def send_damaged_call(self) -> str:
        """A telephone call whose messages are damaged."""
        messages = [call_start(f"CA-{self.chance.randrange(10**9)}"), *self.telephone, STOP]
        return self._talk("/v1/media-stream", [self._text(json.dumps(each).encode(), 0.02) for each in messages])

    def _text(self, content: bytes, share: float) -> str:
        damaged = self.mutant(content) if self.chance.random() < share else content
        return damaged.decode("utf-8", "replace")

    def hold_a_session_unread(self) -> str:
        """Ask for pictures and read none."""
        start = json.dumps({"type": "start", "format": "s16le", "sample_rate": 16_000, "updates_per_second": 10})
        tone = (np.sin(np.arange(16_000) * 0.05) * 9000).astype("<i2").tobytes()
        return self._talk("/v1/live", [start, tone, *['{"type": "portrait"}'] * 20], reads=False)

    def _raw(self, content: bytes, wait: float) -> str:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(content)
            time.sleep(wait)
        return "left"

    def hold_a_dripping_body(self) -> str:
        """Begin a body and say little more."""
        head = b"POST /v1/portrait HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n\r\n"
        return self._raw(head + bytes(self.chance.randrange(200_000)), self.chance.random() * 8)

    def hold_an_answer_untaken(self) -> str:
        """Ask for a large answer and read nothing of it."""
        head = (
            "POST /v1/portrait?samples=12 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
            f"Content-Length: {len(GOOD)}\r\n\r\n"
        )
        return self._raw(head.encode() + GOOD, 3 + self.chance.random() * 5)

    def send_no_http(self) -> str:
        """Bytes, and heads without end."""
        return self._raw(
            self.chance.choice((self.chance.randbytes(900), b"GET / HTTP/1.1\r\nA: " + b"x" * 90_000)), 0.1
        )

    def send_and_leave(self) -> str:
        """Leave anywhere in a request."""
        head = f"POST /v1/portrait HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        return self._raw(head[: self.chance.randrange(len(head))], 0)

    def go_on(self, ends: float) -> None:
        """Be one stranger after the other."""
        names = sorted(self.kinds)
        while time.monotonic() < ends:
            name = self.chance.choice(names)
            try:
                found = self.kinds[name]()
            except (httpx.HTTPError, OSError) as error:
                found = type(error).__name__
            self.counts[name.partition("_")[2].replace("_", " "), found] += 1


def resident(pid: int) -> float:
    """MiB of main memory of a process; 0 where it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError):
        return 0.0


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(each) for each in task.read_text().split()]
    return found


class Ordinary:
    """One who only wants portraits: how often there was one, and how long it took."""

    def __init__(self, port: int) -> None:
        self.port, self.served, self.refused, self.seconds = port, 0, 0, list[float]()

    def go_on(self, ends: float) -> None:
        """Ask until the end."""
        address = f"http://127.0.0.1:{self.port}/v1/portrait?pixels=128"
        while time.monotonic() < ends:
            started = time.monotonic()
            with contextlib.suppress(httpx.HTTPError):
                headers = {"X-Forwarded-For": "198.51.100.1"}
                answer = httpx.post(address, content=GOOD, headers=headers, trust_env=False, timeout=120)
                self.served += answer.status_code == 200
                self.refused += answer.status_code != 200
                self.seconds.append(time.monotonic() - started)
            time.sleep(ORDINARY_SECONDS)


async def whole_offer() -> str:
    """A peer's offer of a voice and a video."""
    from tests.app.test_webrtc import made_offer

    return await made_offer()


def start_service(log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The service and its port, once it can draw."""
    command = [sys.executable, "-m", "speech2face", "serve", "--port", "0", "--proxy", "127.0.0.1"]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors)
    while not (found := re.search(r'"address": "http://[^"]+:(\d+)"', log.read_text())):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    port = int(found.group(1))
    while httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()["status"] != "ready":
        time.sleep(0.1)
    return process, port


def packets_in(sink: socket.socket) -> int:
    """How many came so far."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while sink.recv(2048):
            count += 1
    return count


def plot(rows: list[list[float]], path: Path, minutes: float) -> None:
    """Memory over time."""
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(figsize=(7.2, 3.2), layout="constrained")
    times, service, decoders = (np.array([row[column] for row in rows]) for column in (0, 1, 2))
    axes.plot(times, service, color="#20496b", label="the service")
    axes.plot(times, decoders, color="#c06030", linewidth=0.9, label="its decoders, together")
    axes.set(xlabel="minutes", ylabel="resident memory, MiB", xlim=(0, minutes), ylim=(0, None))
    axes.legend(frameon=False, loc="upper right")
    axes.set_title(f"{int(rows[-1][3]):,} hostile requests in {minutes:.0f} minutes", loc="left", fontsize=9)
    figure.savefig(path, dpi=160, metadata={"Software": None})


def main() -> None:
    """Run it and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT)
    stated = parser.parse_args()
    offer = asyncio.run(whole_offer())
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.2", 0))
        sink.setblocking(False)
        log = Path(folder) / "log"
        process, port = start_service(log)
        began = time.monotonic()
        ends = began + 60 * stated.minutes
        traffic = [Traffic(port, stated.seed + n, offer, sink.getsockname()[1]) for n in range(SENDERS)]
        ordinary = Ordinary(port)
        everybody: list[Traffic | Ordinary] = [*traffic, ordinary]
        threads = [threading.Thread(target=each.go_on, args=(ends,)) for each in everybody]
        for thread in threads:
            thread.start()
        rows: list[list[float]] = []
        while any(thread.is_alive() for thread in threads):
            sent = sum(sum(each.counts.values()) for each in traffic)
            decoders = sum(map(resident, children(process.pid)))
            minutes, service = (time.monotonic() - began) / 60, resident(process.pid)
            row = (minutes, service, decoders, sent, ordinary.served, ordinary.refused)
            rows.append([round(value, 2) for value in row])
            time.sleep(SAMPLED_SECONDS)
        process.send_signal(signal.SIGTERM)
        status, text = process.wait(60), log.read_text()
        packets = packets_in(sink)
    head = ["minutes", "service_mib", "decoders_mib", "hostile_requests", "ordinary_served", "ordinary_refused"]
    replace_file(stated.out / "benchmarks" / "hostile.csv", encode_csv([head, *rows]))
    counts: Counter[tuple[str, str]] = sum((each.counts for each in traffic), Counter())
    answers: list[list[object]] = [[*found, count] for found, count in sorted(counts.items())]
    replace_file(
        stated.out / "benchmarks" / "hostile_answers.csv", encode_csv([["tried", "answer", "count"], *answers])
    )
    plot(rows, stated.out / "docs" / "images" / "hostile.png", stated.minutes)
    half = len(rows) // 2
    first, second = (np.median([row[1] for row in part]) for part in (rows[half // 2 : half], rows[half:]))
    print(f"{sum(counts.values())} hostile requests in {stated.minutes:g} minutes; exit status {status}")
    print(f"median memory of the service: {first:.0f} MiB in the second quarter, {second:.0f} MiB in the second half")
    median = np.median(ordinary.seconds)
    print(f"ordinary portraits: {ordinary.served} served, {ordinary.refused} refused, median {median:.2f} s")
    print(f"packets to a machine that offers named: {packets}; tracebacks in the log: {text.count('Traceback')}")
    print(
        "\n".join(
            line[:300] for line in text.splitlines() if '"level": "error"' in line or '"level": "warning"' in line
        )[:3000]
    )


if __name__ == "__main__":
    main()
