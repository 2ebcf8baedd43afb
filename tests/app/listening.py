"""The program as a process of its own, or a server in a thread, on a port of this machine that was free."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import speech2face
from speech2face.app.http import Limits
from speech2face.app.server import listen, make_server
from speech2face.app.service import Service, Settings
from tests.app.speaking import wait_until

SOURCE = Path(speech2face.__file__).resolve().parents[1]  # the tree's, or that of an installed wheel


@dataclass
class Program:
    """The program while it runs; `log` is its standard error."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def address(self) -> str:
        found = re.search(r'"address": "(http://[^"]+)"', self.log.read_text())
        return found.group(1) if found else ""

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(180)


@contextmanager
def program(log: Path, *arguments: str) -> Iterator[Program]:
    """Start the service, wait until it listens, and end it."""
    with start_program(log, "serve", "--port", "0", *arguments) as running:
        wait_until(lambda: bool(running.address) or running.process.poll() is not None)
        yield running


@contextmanager
def start_program(log: Path, *arguments: str) -> Iterator[Program]:
    """Start the program, and end it."""
    command = [sys.executable, "-m", "speech2face", *arguments]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors, text=True, env=environment) as process:
        try:
            yield Program(process, log)
        finally:
            if process.poll() is None:
                process.kill()


@dataclass(frozen=True)
class Listening:
    """A server in this process."""

    address: str
    service: Service

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])


@contextmanager
def server(limits: Limits | None = None, **settings: object) -> Iterator[Listening]:
    """A real server with the starter, ready."""
    made = make_server(Settings(port=0, workers=2, limits=limits or Limits(), **settings))  # type: ignore[arg-type]
    opened = listen("127.0.0.1", 0)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [opened]})
    thread.start()
    try:
        wait_until(lambda: made.service.registry.state == "ready" and made.started)
        yield Listening(f"http://127.0.0.1:{opened.getsockname()[1]}", made.service)
    finally:
        made.should_exit = True
        thread.join(180)
        assert not thread.is_alive()


def free_port() -> int:
    """A port of loopback that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def health(address: str) -> str:
    return str(httpx.get(f"{address}/health", trust_env=False, timeout=180).json()["status"])
