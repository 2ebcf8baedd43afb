"""What one stranger may cost: each thing that claims too much is answered, and others are served meanwhile."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.sync.client import connect

from speech2face.app.http import Access, Gate, Limits, Problem, Shares, address_key
from speech2face.app.service import Service, Settings
from speech2face.audio.apart import MIB
from tests.app.conftest import service_of
from tests.app.listening import Listening, server
from tests.app.speaking import EXAMPLES, pcm, start, voice, wait_until
from tests.app.test_leaving import logged
from tests.audio.test_apart import film, silence

RECORDING = (EXAMPLES / "female.mp3").read_bytes()
TOKEN = "correct-horse-battery"
PROXY = Access(proxies=("127.0.0.1",))


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(Limits(decoding_bytes=48 * MIB)) as running:
        yield running


def post(listening: Listening, content: bytes, **headers: str) -> httpx.Response:
    address = f"{listening.address}/v1/portrait?pixels=64"
    return httpx.post(address, content=content, headers=headers, trust_env=False, timeout=180)


def pictures(count: int) -> bytes:
    """An ID3 tag with so many covers."""
    cover = b"\0image/png\0\3\0" + b"\x89PNG\r\n\x1a\n" + bytes(12)
    body = (b"APIC" + struct.pack(">IH", len(cover), 0) + cover) * count
    return b"ID3\3\0\0" + bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0)) + body


BOMBS = {
    "a film of millions of samples": (film(50_000_000), 422, "corrupt_recording"),
    "silence that swells": (silence(600), 413, "recording_too_long"),
    "an hour of it": (silence(600) * 2, 413, "recording_too_long"),
    "65 channels": (
        b"RIFF" + struct.pack("<I", 36 + 65_000) + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 65, 16_000, 16_000 * 130, 130, 16)
        + b"data" + struct.pack("<I", 65_000) + bytes(65_000),
        422, "corrupt_recording",
    ),
    "a long chain of pictures": (pictures(20_000) + RECORDING, 413, "recording_too_long"),
    "a video of huge frames without sound": (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0) + bytes(40),
        422, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_what_claims_too_much_is_answered_and_others_are_served_meanwhile(listening: Listening, name: str) -> None:
    content, status, code = BOMBS[name]
    with (
        connect(f"ws://127.0.0.1:{listening.port}/v1/live", proxy=None, max_size=None) as speaking,
        ThreadPoolExecutor() as beside,
    ):
        speaking.send(start(picture="none"))
        assert json.loads(speaking.recv())["type"] == "ready"
        asking = beside.submit(post, listening, content)
        speaking.send(pcm(voice(2.0)))
        speaking.send('{"type":"finish"}')
        while json.loads(speaking.recv())["type"] != "end":
            continue
        answer = asking.result()
    assert answer.status_code == status
    assert code is None or answer.json()["code"] == code
    assert post(listening, RECORDING).status_code == 200


def test_a_decoder_that_dies_costs_one_request_alone(listening: Listening) -> None:
    def die(content: bytes) -> httpx.Response:
        wait_until(lambda: bool(listening.service.decoders._workers))
        for worker in tuple(listening.service.decoders._workers):
            worker.process.kill()
        return post(listening, content)

    assert die(RECORDING).status_code in (200, 422)
    assert [post(listening, RECORDING).status_code for _ in range(3)][-1] == 200


NESTED = "[" * 6000
DEEP = '{"a":' * 3000


@pytest.mark.parametrize("text", [NESTED, DEEP, '{"recording":' * 1200])
def test_json_without_end_is_answered_on_every_route(served: TestClient, text: str) -> None:
    for path in ("/v1/portrait", "/v1/webrtc/offer"):
        answer = served.post(path, content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), path
    for path in ("/v1/live", "/v1/media-stream"):
        with served.websocket_connect(f"ws://localhost:8765{path}") as socket:
            socket.send_text(text)
            assert '"bad_message"' in socket.receive_text()
            assert socket.receive()["code"] == 4400


# --- Places by address.


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_what_counts_as_one_client(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) == same
    assert address_key("127.0.0.1") is address_key("::1") is address_key(None) is address_key("testclient") is None


def test_shares_are_given_back() -> None:
    shares = Shares(2)
    for _ in range(3):
        shares.take("192.0.2.1")
        shares.take("192.0.2.1")
        shares.take("192.0.2.2")
        with pytest.raises(Problem, match="your address"):
            shares.take("192.0.2.1")
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            shares.give_back(client)
    assert not shares._held
    Shares(0.5).take("192.0.2.1")  # the only place is anybody's


def test_one_address_cannot_take_all_live_sessions() -> None:
    service = Service(Settings(limits=Limits(sessions_at_once=4)))
    with contextlib.ExitStack() as slots:
        for _ in range(2):
            slots.enter_context(service.slot(print, "192.0.2.1"))
        with pytest.raises(Problem, match="your address"):
            slots.enter_context(service.slot(print, "192.0.2.1"))
        slots.enter_context(service.slot(print, "192.0.2.2"))
        assert len(service.live) == 3
    assert not service.live
    service.close()


def test_one_address_cannot_take_all_places_of_requests() -> None:
    with server(Limits(requests_at_once=4, uploads_held_bytes=4000), access=PROXY) as listening:
        gate: Gate = listening.service.gate
        for _ in range(2):
            gate.requests_of.take("192.0.2.1")
        refused = post(listening, RECORDING[:500], **{"X-Forwarded-For": "192.0.2.1"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
        assert refused.headers["retry-after"]
        other = post(listening, RECORDING[:500], **{"X-Forwarded-For": "192.0.2.2"})
        assert other.status_code == 422, "it is looked at"
        large = post(listening, bytes(3000), **{"X-Forwarded-For": "192.0.2.2"})
        assert (large.status_code, large.json()["code"]) == (429, "too_many"), "more than half of what is held"
        assert (gate.requests, gate.held_bytes, len(gate.bytes_of._held)) == (0, 0, 0)


def test_one_address_does_not_draw_in_all_threads() -> None:
    async def wait_in_line() -> list[str]:
        service = Service(Settings(workers=2))
        began: list[str] = []
        go_on = asyncio.Event()

        async def draw(client: str) -> None:
            async with service.turn(client):
                began.append(client)
                await go_on.wait()

        tasks = [asyncio.create_task(draw(each)) for each in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")]
        await asyncio.sleep(0.01)
        first = list(began)
        go_on.set()
        await asyncio.gather(*tasks)
        assert not service._turns
        service.close()
        return first

    assert asyncio.run(wait_in_line()) == ["192.0.2.1", "192.0.2.2"]


def test_who_only_connects_holds_no_session_of_others(limited: Callable[..., TestClient]) -> None:
    client = limited(Limits(sessions_at_once=1, start_seconds=180.0), token=TOKEN)
    with client.websocket_connect("ws://localhost:8765/v1/live") as silent:
        with client.websocket_connect("ws://localhost:8765/v1/live") as speaking:
            speaking.send_text(start(token=TOKEN))
            assert json.loads(speaking.receive_text())["type"] == "ready"
            assert len(service_of(client).live) == 1
        silent.send_text(start(token="wrong-horse-battery"))
        assert json.loads(silent.receive_text())["code"] == "token"


# --- Readers that do not read.


def test_an_answer_that_is_not_taken_is_let_go_of_and_holds_no_place() -> None:
    request = (
        f"POST /v1/portrait?samples=24 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Content-Length: {len(RECORDING)}\r\n\r\n"
    ).encode()
    with logged() as records, server(Limits(answer_seconds=3.0, requests_at_once=1)) as listening:
        gate = listening.service.gate
        with socket.create_connection(("127.0.0.1", listening.port)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(request + RECORDING)
            wait_until(lambda: gate.answer_bytes > 10**6)
            assert gate.requests == 0
            assert post(listening, RECORDING).status_code == 200
            wait_until(lambda: gate.answer_bytes == 0)
    assert [each.getMessage() for each in records if each.exc_info] == []


def test_as_many_answers_as_can_be_held_make_the_next_request_wait() -> None:
    with server(Limits(answers_held_bytes=1000)) as listening:
        listening.service.gate.answer_bytes = 1000
        assert post(listening, RECORDING).json()["code"] == "too_many"
        listening.service.gate.answer_bytes = 0
        assert post(listening, RECORDING).status_code == 200
