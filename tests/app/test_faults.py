"""Clients that misbehave on a real socket: giant, slow, gone, deaf; others are served meanwhile."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from speech2face.app.http import Limits
from speech2face.app.live import MAX_REPLIES, Hold, Outbox, Reset
from speech2face.app.service import STEP_BYTES, Allowance, SoundBuffer
from speech2face.audio.spectrogram import FloatArray
from tests.app.listening import Listening, server
from tests.app.speaking import EXAMPLES, pcm, start, voice, wait_until
from tests.recordings import encode

LIMITS = Limits(frame_bytes=64_000, messages_per_second=1000, message_burst=5000)


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(LIMITS) as running:
        yield running


def live(listening: Listening) -> ClientConnection:
    connection = connect(f"ws://127.0.0.1:{listening.port}/v1/live", proxy=None, max_size=None)
    connection.send(start())
    assert json.loads(connection.recv())["type"] == "ready"
    return connection


def serves(listening: Listening) -> bool:
    content = (EXAMPLES / "female.mp3").read_bytes()
    answer = httpx.post(f"{listening.address}/v1/portrait?pixels=64", content=content, trust_env=False, timeout=180)
    return answer.status_code == 200


def test_a_giant_frame_is_refused_before_it_is_held(listening: Listening) -> None:
    with live(listening) as connection:
        with contextlib.suppress(ConnectionClosed):
            connection.send(bytes(LIMITS.frame_bytes * 5))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009  # WebSocket's own: the frame's header already says it
    with live(listening) as connection:
        connection.send(bytes(LIMITS.frame_bytes + 2))
        assert json.loads(connection.recv())["code"] == "too_big"
    assert serves(listening)


def test_a_client_that_vanishes_leaves_nothing_behind(listening: Listening) -> None:
    wait_until(lambda: not listening.service.live)
    connection = live(listening)
    connection.send(pcm(voice(2.0))[:60_000])
    assert len(listening.service.live) == 1
    connection.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not listening.service.live)
    assert serves(listening)


def test_a_client_that_never_reads_is_let_go_of() -> None:
    with (
        server(replace(LIMITS, send_seconds=0.5)) as listening,
        socket.create_connection(("127.0.0.1", listening.port)) as deaf,
    ):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            b"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert deaf.recv(1024).startswith(b"HTTP/1.1 101 ")  # what comes before it the server passes over
        deaf.sendall(frame(start().encode(), text=True))
        wait_until(lambda: len(listening.service.live) == 1)
        deaf.sendall(frame(pcm(voice(1.9)), text=False))
        for _ in range(12):  # 130 kB of PNG each, to nobody
            deaf.sendall(frame(b'{"type":"portrait"}', text=True))
        wait_until(lambda: not listening.service.live)
        assert serves(listening)


def frame(content: bytes, *, text: bool) -> bytes:
    """One WebSocket message of a client, masked with zeros (RFC 6455, section 5.2)."""
    return bytes([0x81 if text else 0x82, 0xFF]) + len(content).to_bytes(8, "big") + bytes(4) + content


def test_a_body_that_never_arrives_is_given_up() -> None:
    with server(Limits(body_seconds=0.5)) as listening, socket.create_connection(("127.0.0.1", listening.port)) as slow:
        slow.sendall(b"POST /v1/portrait HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nRIFF")
        slow.settimeout(180)
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_bodies_that_drip_take_no_place_of_others_and_are_let_go_though_something_always_comes() -> None:
    limits = Limits(requests_at_once=1, body_pause_seconds=3.0)
    head = b"POST /v1/portrait HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nRIFF"
    with server(limits) as listening, contextlib.ExitStack() as sockets:
        drips = [sockets.enter_context(socket.create_connection(("127.0.0.1", listening.port))) for _ in range(3)]
        for drip in drips:
            drip.sendall(head)
            drip.setblocking(False)
        wait_until(lambda: listening.service.gate.held_bytes == 3 * len(b"RIFF"))
        assert serves(listening), "the one place is free"
        answers = [b"", b"", b""]

        def all_answered() -> bool:
            for number, drip in enumerate(drips):
                with contextlib.suppress(OSError):
                    drip.send(b"x")
                with contextlib.suppress(OSError):
                    answers[number] += drip.recv(4096)
            return all(b"slow_body" in answer for answer in answers)

        wait_until(all_answered)
        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 408"] * 3
        wait_until(lambda: listening.service.gate.held_bytes == 0)


def test_a_body_that_comes_in_many_small_pieces_but_fast_enough_is_drawn() -> None:
    content = (EXAMPLES / "female.mp3").read_bytes()
    with server(Limits(body_least_bytes=512, body_pause_seconds=5.0)) as listening:
        pieces = (content[at : at + 256] for at in range(0, len(content), 256))
        answer = httpx.post(f"{listening.address}/v1/portrait?pixels=64", content=pieces, trust_env=False, timeout=180)
    assert answer.status_code == 200


def test_what_is_no_http_is_refused(listening: Listening) -> None:
    with socket.create_connection(("127.0.0.1", listening.port)) as odd:
        odd.settimeout(180)
        odd.sendall(b"\x16\x03\x01 I thought this was TLS\r\n\r\n")
        assert odd.recv(100).startswith(b"HTTP/1.1 400 ")
    assert serves(listening)


def test_sound_faster_than_it_is_heard_waits_at_the_senders(listening: Listening) -> None:
    """A flood of half a minute of sound at once is heard to its end, and nothing of it is lost."""
    sound = pcm(voice(30.0))
    with live(listening) as connection:
        for place in range(0, len(sound), 64_000):
            connection.send(sound[place : place + 64_000])
        connection.send('{"type":"finish"}')
        last: dict[str, object] = {}
        while last.get("type") != "end":
            message = connection.recv()
            values = json.loads(message) if isinstance(message, str) else {}
            if values.get("type") == "update":
                facts = values["facts"]
            last = values or last
    assert facts["seconds_recorded"] == pytest.approx(30.0, abs=0.1)


@pytest.mark.parametrize("sample_rate", [44_100, 48_000, 96_000])
def test_the_pieces_of_an_audio_worklet_are_heard_and_a_burst_of_them_waits(sample_rate: int) -> None:
    """128 samples each, as every browser's AudioWorklet gives them; all at once, as after a stall."""
    seconds, piece = 2.0, 2 * 128
    sound = bytes(resampled(voice(seconds), sample_rate))
    limits = Limits(messages_per_second=2000, message_burst=50)
    with server(limits) as small, connect(f"ws://127.0.0.1:{small.port}/v1/live", proxy=None, max_size=None) as socket:
        socket.send(start(sample_rate=sample_rate, picture="none"))
        socket.recv()
        for at in range(0, len(sound), piece):
            socket.send(sound[at : at + piece])
        socket.send('{"type":"finish"}')
        said: list[dict[str, object]] = []
        while not said or said[-1]["type"] != "end":
            said.append(json.loads(socket.recv()))
    assert {message["type"] for message in said} == {"update", "end"}
    facts = said[-2]["facts"]
    assert isinstance(facts, dict)
    assert facts["seconds_recorded"] == pytest.approx(seconds, abs=0.02)


def resampled(waveform: FloatArray, sample_rate: int) -> bytes:
    """16-bit samples at another rate."""
    wav = encode(waveform[None], 16_000, container="wav", codec="pcm_s16le", codec_rate=sample_rate)
    return wav[wav.index(b"data") + 8 :]


def test_small_pieces_are_heard_as_one_hop_and_a_wish_does_not_wait_for_it() -> None:
    async def run() -> tuple[list[object], bool]:
        buffer: SoundBuffer[object] = SoundBuffer(10 * STEP_BYTES, hop_bytes=1024)
        taking = asyncio.create_task(buffer.take(None))
        for _ in range(3):
            await buffer.put(bytes(256))
            await asyncio.sleep(0)
        waits = not taking.done()
        await buffer.put(bytes(256))
        taken: list[object] = [await taking]
        await buffer.put(b"ab")
        await buffer.put(Reset(type="reset"))
        taken += [await buffer.take(None), await buffer.take(None)]
        await buffer.put(b"cd")  # the rest is heard all the same
        return [*taken, await buffer.take(None)], waits

    taken, waits = asyncio.run(run())
    assert waits
    assert taken == [bytes(1024), b"ab", Reset(type="reset"), b"cd"]


def test_a_hop_is_of_the_stated_format_and_a_container_has_none() -> None:
    from speech2face.app.live import read_start

    assert read_start(start(sample_rate=48_000, channels=2)).bytes_in(0.03) == 1440 * 4
    assert read_start(start(format="f32le", sample_rate=44_100)).bytes_in(0.03) == 1323 * 4
    assert read_start(start(format="webm")).bytes_in(0.03) == 1


def test_a_closed_session_holds_no_voice() -> None:
    import speech2face
    from speech2face.app.live import LiveVoice, read_start

    voice_of_client = LiveVoice(speech2face.load_model(), read_start(start()))
    assert voice_of_client.push(pcm(voice(2.0)))
    voice_of_client.close()
    voice_of_client.close()
    assert voice_of_client._session is None
    assert not voice_of_client.push(pcm(voice(2.0)))
    assert voice_of_client.update() is None


def test_a_buffer_that_has_ended_gives_what_is_left_and_then_none() -> None:
    async def run() -> list[object]:
        buffer: SoundBuffer[object] = SoundBuffer(1000, hop_bytes=500)
        await buffer.put(b"ab")
        await buffer.end(b"cd")
        return [await buffer.take(None), await buffer.take(None)]

    assert asyncio.run(run()) == [b"abcd", None]


def test_the_buffer_joins_sound_and_keeps_the_order() -> None:
    async def run() -> Sequence[object]:
        buffer: SoundBuffer[object] = SoundBuffer(10 * STEP_BYTES)
        for item in (b"a", b"b", Reset(type="reset"), b"c", bytes(STEP_BYTES), Hold(type="hold", on=True)):
            await buffer.put(item)
        return [await buffer.take(1) for _ in range(5)] + [await buffer.take(0)]

    taken = asyncio.run(run())
    assert taken == [b"ab", Reset(type="reset"), b"c", bytes(STEP_BYTES), Hold(type="hold", on=True), b""]


def test_a_full_buffer_makes_the_sender_wait() -> None:
    async def run() -> None:
        buffer: SoundBuffer[object] = SoundBuffer(1000)
        await buffer.put(bytes(800))
        putting = asyncio.create_task(buffer.put(bytes(800)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not putting.done()
        assert await buffer.take(1) == bytes(800)
        await asyncio.wait_for(putting, 1)

    asyncio.run(run())


def test_an_buffer_is_filled_by_empty_messages_too() -> None:
    async def run() -> None:
        buffer: SoundBuffer[object] = SoundBuffer(1000)
        for _ in range(15):
            await buffer.put(b"")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(buffer.put(b""), 0.05)

    asyncio.run(run())


def test_the_outbox_holds_one_update_and_few_answers() -> None:
    from speech2face.app.live import Reply

    async def run() -> None:
        outbox = Outbox()
        await outbox.show(Reply({"type": "update"}))
        assert outbox.busy
        await outbox.answer(Reply({"type": "sheet"}))
        taken = [await outbox.take(), await outbox.take()]
        assert [reply.values["type"] for reply in taken if reply] == ["sheet", "update"]
        assert not outbox.busy
        for _ in range(MAX_REPLIES):
            await outbox.answer(Reply({"type": "reset"}))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(outbox.answer(Reply({"type": "reset"})), 0.05)
        await outbox.end()

    asyncio.run(run())


@pytest.mark.parametrize("last", [("reset",), ("update", "end")])
def test_no_update_of_what_is_over_comes_after_the_answer_that_says_so(last: tuple[str, ...]) -> None:
    from speech2face.app.live import Reply

    async def run() -> list[dict[str, object]]:
        outbox = Outbox()
        await outbox.show(Reply({"type": "update", "number": 1}))  # the client is slow, and has not taken it
        for kind in last:
            await outbox.answer(Reply({"type": kind}))
        await outbox.end()
        taken = []
        while (reply := await outbox.take()) is not None:
            taken.append(reply.values)
        return taken

    assert asyncio.run(run()) == [{"type": kind} for kind in last]


def test_an_allowance_is_a_burst_and_then_a_rate() -> None:
    allowance = Allowance(2.0, 3)
    assert [allowance.spend(100.0) for _ in range(4)] == [True, True, True, False]
    assert allowance.wait_seconds == pytest.approx(0.5)
    assert [allowance.spend(101.0) for _ in range(2)] == [True, False]
