"""Clients that leave at any point of any route, and a service that ends: an answer, one quiet line, no traceback."""

import asyncio
import base64
import contextlib
import json
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

from speech2face.app.http import Limits
from speech2face.app.server import create_app, draw
from speech2face.app.service import Settings
from tests.app import telephone
from tests.app.listening import Listening, server
from tests.app.speaking import EXAMPLES, pcm, start, voice, wait_until
from tests.app.test_faults import frame

CLIENTS = 12  # a route
RECORDING = (EXAMPLES / "female.mp3").read_bytes()
HOST = "Host: 127.0.0.1\r\n"


@contextlib.contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the service, the server and their libraries log meanwhile."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Kept(logging.INFO)
    loggers = [logging.getLogger(name) for name in ("speech2face", "uvicorn", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


def loud(records: list[logging.LogRecord]) -> list[str]:
    """Warnings, errors and tracebacks."""
    return [each.getMessage() for each in records if each.exc_info or each.levelno >= logging.WARNING]


def lines(records: list[logging.LogRecord], event: str) -> list[dict[str, Any]]:
    return [getattr(each, "data", {}) for each in records if each.getMessage() == event]


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\n{HOST}\r\n".encode()


def post(path: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    head = f"POST {path} HTTP/1.1\r\n{HOST}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def session(path: str, *messages: bytes) -> bytes:
    head = (
        f"GET {path} HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return head.encode() + b"".join(messages)


def said(*messages: dict[str, Any]) -> list[bytes]:
    return [frame(json.dumps(message).encode(), text=True) for message in messages]


SOUND = pcm(voice(1.6))
FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + RECORDING + b"\r\n--b--\r\n"
CALL = telephone.frames(telephone.mulaw(telephone.telephone_wav(voice(1.6))))
ROUTES = {
    "page": get("/"),
    "description": get("/openapi.json"),
    "portrait": post("/v1/portrait", RECORDING),
    "portrait in JSON": post(
        "/v1/portrait", json.dumps({"recording": base64.b64encode(RECORDING).decode()}).encode(), "application/json"
    ),
    "portraits": post("/v1/portraits", FORM, "multipart/form-data; boundary=b"),
    "offer": post("/v1/webrtc/offer", json.dumps({"type": "offer", "sdp": "v=0\r\n"}).encode(), "application/json"),
    "live": session(
        "/v1/live",
        frame(start().encode(), text=True),
        *(frame(SOUND[at : at + 3200], text=False) for at in range(0, len(SOUND), 3200)),
        *said({"type": "portrait"}, {"type": "finish"}),
    ),
    "call": session("/v1/media-stream", *said(telephone.start("CA-left"), *CALL, telephone.STOP)),
}


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(Limits(connect_seconds=0.5)) as running:
        yield running


def leave_at(port: int, content: bytes, how: str) -> None:
    """Send so much and go: by a reset, by the usual goodbye, or after the first bytes of the answer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.2)
        client.sendall(content)
        if how == "after the answer began":
            client.recv(64)
        elif how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("route", ROUTES)
def test_clients_that_leave_anywhere_leave_no_traceback_and_nothing_behind(listening: Listening, route: str) -> None:
    content, chance = ROUTES[route], random.Random(route)
    with logged() as records:
        for number in range(CLIENTS):
            cut = len(content) if number % 3 == 0 else chance.randrange(1, len(content))
            leave_at(listening.port, content[:cut], ("reset", "goodbye", "after the answer began")[number % 3])
        wait_until(lambda: not listening.service.live and not listening.service.gate.requests)
        answer = httpx.get(f"{listening.address}/health", trust_env=False, timeout=180)
    assert answer.status_code == 200
    assert loud(records) == []
    assert listening.service.gate.held_bytes == 0


def test_a_client_that_leaves_within_its_offer_is_one_line_with_the_documented_status(listening: Listening) -> None:
    if not _calls_are_there():
        pytest.skip("WebRTC needs the extra `calls`")
    with logged() as records:
        for _ in range(20):
            leave_at(listening.port, ROUTES["offer"][:-5], "goodbye")
        wait_until(lambda: len(lines(records, "request")) == 20)
    assert loud(records) == []
    assert {(line["route"], line["status"]) for line in lines(records, "request")} == {("/v1/webrtc/offer", 400)}


def _calls_are_there() -> bool:
    import importlib.util

    return importlib.util.find_spec("aiortc") is not None


def test_a_socket_that_goes_before_it_is_accepted_is_no_failure() -> None:
    """The server's send raises OSError then (ASGI 2.4)."""

    async def connect(path: str) -> None:
        async def receive() -> MutableMapping[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            raise OSError("the client is gone")

        scope = {
            "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "path": path, "raw_path": b"",
            "query_string": b"", "headers": [(b"host", b"localhost:8765")], "subprotocols": [], "scheme": "ws",
        }  # fmt: skip
        await create_app(Settings())(scope, receive, send)

    with logged() as records:
        for path in ("/v1/live", "/v1/media-stream"):
            asyncio.run(connect(path))
    assert loud(records) == []


def test_a_portrait_cut_by_the_end_of_the_service_is_answered_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        drawing.set()
        go_on.wait(180)
        return draw(*arguments)

    monkeypatch.setattr("speech2face.app.server.draw", slow)
    answers: list[httpx.Response] = []
    with logged() as records, server(Limits(shutdown_seconds=1.0)) as listening:

        def ask() -> None:
            address = f"{listening.address}/v1/portrait?pixels=64"
            answers.append(httpx.post(address, content=RECORDING, trust_env=False, timeout=180))

        asking = threading.Thread(target=ask)
        asking.start()
        assert drawing.wait(180)
        ending = threading.Thread(target=_release_after_the_answer, args=(answers, go_on))
        ending.start()
    asking.join(180)
    ending.join(180)
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "shutdown")]
    assert answers[0].headers["retry-after"]
    assert [each.getMessage() for each in records if each.exc_info] == []
    assert [line["status"] for line in lines(records, "request")] == [503]


def _release_after_the_answer(answers: list[httpx.Response], go_on: threading.Event) -> None:
    """The thread that draws must end, or the test's process would wait for it."""
    end = time.monotonic() + 180
    while not answers and time.monotonic() < end:
        time.sleep(0.02)
    go_on.set()


def test_what_is_asked_of_threads_that_have_ended_is_cancelled() -> None:
    from speech2face.app.service import Threads

    threads = Threads(1)
    threads.shutdown()

    async def ask() -> None:
        await asyncio.get_running_loop().run_in_executor(threads, print)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask())
