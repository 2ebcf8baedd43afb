"""The service ends while something is under way on each of its routes: the documented answer, no traceback, in time."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

from speech2face.app.http import Limits
from tests.app.listening import Listening, server
from tests.app.speaking import start, wait_until
from tests.app.telephone import start as call_start
from tests.app.test_faults import frame
from tests.app.test_leaving import FORM, RECORDING, lines, logged, loud, post, session

BODIES = {
    "portrait": post("/v1/portrait", RECORDING),
    "portraits": post("/v1/portraits", FORM, "multipart/form-data; boundary=b"),
    "offer": post("/v1/webrtc/offer", b'{"type": "offer", "sdp": "v=0"}', "application/json"),
}
SESSIONS = {
    "live": (session("/v1/live"), frame(start().encode(), text=True)),
    "live that has not started": (session("/v1/live"), b""),
    "call": (session("/v1/media-stream"), frame(json.dumps(call_start("CA-ends")).encode(), text=True)),
    "call that has not started": (session("/v1/media-stream"), b""),
}
HANDSHAKES = {handshake for handshake, _ in SESSIONS.values()}
CLOSE_FRAME = 0x88  # RFC 6455, section 5.5.1: the last of a session
LIMITS = Limits(shutdown_seconds=1.0)


@dataclass
class Heard:
    """What a client heard, what was logged loudly meanwhile, and the requests' lines."""

    bytes: bytes
    complaints: list[str]
    requests: list[dict[str, Any]]


def said_when_it_ends(first: bytes, then: bytes, under_way: Callable[[Listening], bool]) -> Heard:
    """Say two things to a service and end it; `then` waits for the first bytes of the answer."""
    heard = b""
    with socket.socket() as client:
        with logged() as records, server(LIMITS) as listening:
            client.settimeout(180)
            client.connect(("127.0.0.1", listening.port))
            client.sendall(first)
            if first in HANDSHAKES:
                heard += client.recv(4096)
                client.sendall(then)
            wait_until(lambda: under_way(listening))
        while piece := _received(client):
            heard += piece
    return Heard(heard, loud(records), lines(records, "request"))


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(65_536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("route", BODIES)
def test_a_body_that_is_still_arriving_is_answered_as_documented(route: str) -> None:
    content = BODIES[route]
    half = content[: content.index(b"\r\n\r\n") + 10]

    def is_read(listening: Listening) -> bool:
        if route == "offer":  # nothing of it is counted while it arrives
            time.sleep(0.3)
        return route == "offer" or listening.service.gate.held_bytes > 0

    found = said_when_it_ends(half, b"", is_read)
    assert found.bytes.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutdown"' in found.bytes
    assert b"retry-after" in found.bytes.lower()
    assert [line["status"] for line in found.requests] == [503]
    # The server says itself, in one line, that it cancels what is late.
    assert [each for each in found.complaints if not each.startswith("Cancel ")] == []


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_session_hears_that_the_service_ends(kind: str) -> None:
    started = "not started" not in kind

    def is_on(listening: Listening) -> bool:
        if not started:
            time.sleep(0.3)
        return len(listening.service.live) == started

    found = said_when_it_ends(*SESSIONS[kind], is_on)
    closes = [found.bytes[at + 2 : at + 4] for at in range(len(found.bytes)) if found.bytes[at] == CLOSE_FRAME]
    assert int.from_bytes(closes[-1]) in ((1001,) if started else (1001, 1012)), (
        "1012: the server's own, before a start"
    )
    assert (b"shutdown" in found.bytes) == started
    assert found.complaints == []
