"""Two WebRTC peers: one speaks, the other is shown the face that goes with such a voice; and what can go wrong."""

import asyncio
import gc
import importlib.util
import io
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("aiortc", reason="WebRTC needs the extra `calls`")

from aioice.ice import Connection
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from PIL import Image

from speech2face.app.http import Limits
from speech2face.app.service import SoundBuffer
from speech2face.app.webrtc import CLOCK, FRAMES_PER_SECOND, MovingFace, PortraitVideo, mono, scaled
from speech2face.errors import InvalidOption
from speech2face.limits import Style
from speech2face.live import LiveMotion, PcmFormat
from speech2face.models import load_model
from speech2face.portrait import reconstruct
from speech2face.video import labelled, planes
from tests.app.listening import Listening, server
from tests.app.peers import peer, until
from tests.app.speaking import EXAMPLES, label_in, pcm, voice, wait_until
from tests.app.test_leaving import lines, logged, loud

LIMITS = Limits(connect_seconds=180.0, sessions_at_once=3)  # a laden machine takes its time
HASTY = replace(LIMITS, connect_seconds=1.0)
FLOOD = b"\x80flood"  # looks like sound to whoever sees its first byte
GREY_LEVELS = 6.0  # what a video encoder at this size may change on average


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def hasty() -> Iterator[Listening]:
    """A service that gives up soon who cannot be reached."""
    with server(HASTY) as running:
        yield running


@pytest.fixture(autouse=True)
def _nobody_left(listening: Listening) -> Iterator[None]:
    yield
    wait_until(lambda: not listening.service.live)


def get(listening: Listening, path: str) -> httpx.Response:
    return httpx.get(f"{listening.address}{path}", trust_env=False, timeout=180)


def distance(picture: np.ndarray, other: np.ndarray) -> float:
    """Mean difference in grey levels, without the lowest tenth, where the label is."""
    smaller, larger = (np.asarray(Image.fromarray(each).resize((256, 256))).astype(int) for each in (picture, other))
    return float(np.abs(smaller - larger)[:230].mean())


def corner(difference: np.ndarray) -> float:
    """Mean size of a difference of two pictures 256 wide, where the label is."""
    return float(np.abs(difference[-30:-8, 8:140]).mean())


async def portrait_of(listening: Listening, path: str) -> tuple[bytes, np.ndarray]:
    content = (await asyncio.to_thread(get, listening, path)).content
    return content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB").resize((320, 320)))


def test_the_other_peer_sees_the_face_of_who_speaks(listening: Listening) -> None:
    async def meet() -> None:
        async with peer() as speaker, peer() as viewer:
            assert (await speaker.call(listening.address, call="meeting")).status_code == 200
            assert (await viewer.call(listening.address, speaks=False, call="meeting", pixels=256)).status_code == 200
            path = f"/v1/calls/meeting/{speaker.answer['peer']}.png"
            await until(lambda: "call_update_seconds_count 0.0" not in listening.service.metrics.text())

            async def alike() -> bool:
                if viewer.frame is None:
                    return False
                answer = await asyncio.to_thread(get, listening, path)
                if answer.status_code != 200:
                    return False
                _, portrait = await portrait_of(listening, path)
                return distance(viewer.image(), portrait) < GREY_LEVELS

            for _ in range(200):
                if await alike():
                    break
                await asyncio.sleep(0.1)
            content, portrait = await portrait_of(listening, path)
            shown, own = viewer.image(), speaker.image()
            assert (shown.shape, own.shape) == ((256, 256, 3), (320, 320, 3))
            assert distance(shown, portrait) < GREY_LEVELS
            assert distance(own, portrait) > 2 * GREY_LEVELS, "nobody speaks to the speaker, so nobody is shown"
            bare = scaled(portrait, 256)
            with_label, without = (corner(shown - each.astype(int)) for each in (labelled(bare), bare))
            assert with_label < without / 3, "the label is in the corner of every frame"
            provenance, facts = label_in(content)
            assert provenance.kind == "portrait"
            assert facts["gender"]["reading"] == "feminine"
        await until(lambda: not listening.service.live)
        values = (await asyncio.to_thread(get, listening, "/v1/calls/meeting")).json()
        assert (values["state"], values["reason"]) == ("ended", "peer_gone")
        assert values["tracks"]["a"]["facts"]["seconds_heard"] > 1
        assert list(values["tracks"]) == ["a"], "the viewer sent no voice"

    asyncio.run(meet())


def test_a_peer_may_see_the_face_of_its_own_voice_and_leaves_when_deleted(listening: Listening) -> None:
    async def alone() -> None:
        async with peer() as speaker:
            assert (await speaker.call(listening.address)).status_code == 200
            path = f"/v1/calls/{speaker.answer['call']}"

            def drawn() -> bool:
                answer = get(listening, f"{path}/a.png")
                return answer.status_code == 200

            while not await asyncio.to_thread(drawn):
                await asyncio.sleep(0.05)
            _, portrait = await portrait_of(listening, f"{path}/a.png")
            await until(lambda: speaker.frame is not None and distance(speaker.image(), portrait) < 2 * GREY_LEVELS)
            deleted = await asyncio.to_thread(httpx.delete, f"{listening.address}{path}", trust_env=False, timeout=180)
            assert deleted.status_code == 204
            assert (await asyncio.to_thread(get, listening, path)).status_code == 404
            await until(lambda: not listening.service.live)

    asyncio.run(alone())


def test_a_third_peer_and_a_full_service_are_turned_away(listening: Listening) -> None:
    async def crowd() -> None:
        async with peer() as first, peer() as second, peer() as third, peer() as fourth, peer() as fifth:
            for each in (first, second):
                assert (await each.call(listening.address, speaks=False, call="full")).status_code == 200
            refused = await third.call(listening.address, speaks=False, call="full")
            assert (refused.status_code, refused.json()["detail"]) == (429, "two peers are in this call already")
            assert (await fourth.call(listening.address, speaks=False)).status_code == 200
            assert (await fifth.call(listening.address, speaks=False)).status_code == 429

    asyncio.run(crowd())


def test_a_peer_that_cannot_be_reached_is_given_up(hasty: Listening) -> None:
    async def silent() -> None:
        async with peer() as lost:
            lost.connection.addTransceiver("video", direction="recvonly")
            await lost.connection.setLocalDescription(await lost.connection.createOffer())
            offer = {"type": "offer", "sdp": lost.connection.localDescription.sdp, "call": "lost"}
            address = f"{hasty.address}/v1/webrtc/offer"
            answer = await asyncio.to_thread(lambda: httpx.post(address, json=offer, trust_env=False, timeout=180))
            assert answer.status_code == 200
            assert len(hasty.service.live) == 1
            await until(lambda: not hasty.service.live)
            assert (await asyncio.to_thread(get, hasty, "/v1/calls/lost")).json()["reason"] == "unreachable"

    asyncio.run(silent())


def test_a_peer_that_vanishes_without_a_word_is_noticed(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)

    async def vanish() -> None:
        async with peer() as speaker:
            assert (await speaker.call(listening.address, call="vanishing")).status_code == 200
            await until(lambda: speaker.frames > 0)
            transport = speaker.connection.getTransceivers()[0].receiver.transport.transport
            await transport._connection.close()  # the sockets alone: no goodbye is said
            await until(lambda: not listening.service.live)
            values = (await asyncio.to_thread(get, listening, "/v1/calls/vanishing")).json()
            assert values["reason"] == "peer_gone"

    asyncio.run(vanish())


def test_packets_that_come_too_fast_are_dropped_and_the_call_stays(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def take(self: Connection, data: bytes, component: int, receive: Any = Connection.data_received) -> None:
        taken.append(data.startswith(FLOOD))
        receive(self, data, component)

    monkeypatch.setattr("aioice.ice.Connection.data_received", take)
    limits = listening.service.limits

    async def flood() -> None:
        async with peer() as speaker:
            assert (await speaker.call(listening.address, call="flooded")).status_code == 200
            await until(lambda: speaker.frames > 0)
            ice = speaker.connection.getTransceivers()[0].receiver.transport.transport._connection
            began = time.monotonic()
            for _ in range(200):
                for _ in range(100):
                    await ice.send(FLOOD + bytes(100))
                await asyncio.sleep(0.005)
            seconds = time.monotonic() - began + 1
            assert sum(taken) <= limits.packet_burst + limits.packets_per_second * seconds
            assert listening.service.live, "the call is still on"

    asyncio.run(flood())
    wait_until(lambda: not listening.service.live)
    assert get(listening, "/v1/calls/flooded").json()["reason"] == "peer_gone"


def test_a_connected_peer_hears_that_the_service_ends() -> None:
    async def stay() -> None:
        with ExitStack() as stack:
            running = await asyncio.to_thread(stack.enter_context, server(LIMITS))
            async with peer() as speaker:
                assert (await speaker.call(running.address)).status_code == 200
                await until(lambda: speaker.frames > 0)
                await asyncio.to_thread(stack.close)
                await until(lambda: speaker.connection.connectionState == "closed")

    with logged() as records:
        asyncio.run(stay())
    assert loud(records) == []
    assert lines(records, "peer") == [{"reason": "shutdown"}]


WITHOUT_VIDEO = """v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"""


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"type": "offer", "sdp": "x"}, 422, "no_video"),
        ({"type": "offer", "sdp": "m=audio 9 UDP/TLS/RTP/SAVPF 111"}, 422, "bad_offer"),
        ({"type": "offer", "sdp": WITHOUT_VIDEO, "call": "refused"}, 422, "no_video"),
        ({"type": "answer", "sdp": WITHOUT_VIDEO}, 422, "invalid_request"),
        ({"type": "offer", "sdp": WITHOUT_VIDEO, "model": "none"}, 422, "unknown_model"),
        ({"type": "offer", "sdp": WITHOUT_VIDEO, "call": "a/b"}, 422, "invalid_request"),
        ({"type": "offer", "sdp": WITHOUT_VIDEO, "call": ".."}, 422, "invalid_request"),
        ({"type": "offer", "sdp": "x" * 70_000}, 413, "offer_too_large"),
        ([], 422, "invalid_request"),
    ],
)
def test_an_offer_that_cannot_be_is_refused(listening: Listening, body: object, status: int, code: str) -> None:
    answer = httpx.post(f"{listening.address}/v1/webrtc/offer", json=body, trust_env=False, timeout=180)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert get(listening, "/v1/calls/refused").status_code == 404, "an offer that was refused leaves no call behind"


async def made_offer(**codecs: str) -> str:
    """A peer's own offer of a voice and a video, with its codecs renamed."""
    async with peer() as made:
        made.connection.addTransceiver("audio", direction="sendonly")
        made.connection.addTransceiver("video", direction="recvonly")
        await made.connection.setLocalDescription(await made.connection.createOffer())
        sdp = str(made.connection.localDescription.sdp)
    for known, unknown in codecs.items():
        sdp = re.sub(rf" {known}/", f" {unknown}/", sdp)
    return sdp


def test_a_style_that_the_model_has_not_is_refused_with_the_offer(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = listening.service.registry.model()
    monkeypatch.setattr(type(model), "styles", (Style.photographic,))

    async def stay() -> httpx.Response:
        async with peer() as speaker:
            return await speaker.call(listening.address, call="undrawn", style="drawn")

    answer = asyncio.run(stay())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert get(listening, "/v1/calls/undrawn").status_code == 404


@pytest.mark.parametrize(
    ("failure", "reason"), [(InvalidOption("no such sound"), "unusable_sound"), (ValueError("a mistake"), "internal")]
)
def test_a_voice_that_cannot_be_read_ends_the_stay_and_is_named(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: str
) -> None:
    async def fail(*arguments: object) -> None:
        raise failure

    monkeypatch.setattr("speech2face.app.webrtc.open_track", fail)

    async def stay() -> None:
        async with peer() as speaker:
            assert (await speaker.call(listening.address, call="unread")).status_code == 200
            await until(lambda: speaker.connection.connectionState == "closed")

    asyncio.run(stay())
    wait_until(lambda: get(listening, "/v1/calls/unread").json()["state"] == "ended")
    assert get(listening, "/v1/calls/unread").json()["reason"] == reason


@pytest.mark.parametrize(
    "codecs",
    [{"VP8": "AV1", "H264": "VP9"}, {"opus": "speex", "G722": "G729", "PCMU": "GSM", "PCMA": "iLBC"}],
    ids=["video", "audio"],
)
def test_codecs_that_are_not_spoken_here_are_a_bad_offer(listening: Listening, codecs: dict[str, str]) -> None:
    with logged() as records:
        offer = {"type": "offer", "sdp": asyncio.run(made_offer(**codecs)), "call": "refused"}
        answer = httpx.post(f"{listening.address}/v1/webrtc/offer", json=offer, trust_env=False, timeout=180)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_offer")
    assert "Opus" in answer.json()["detail"]
    assert loud(records) == []
    assert get(listening, "/v1/calls/refused").status_code == 404


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (r"a=group:BUNDLE 0 1", "a=group:BUNDLE x 1"),
        (r"a=group:BUNDLE 0 1", "a=group:BUNDLE 9 0 1"),
        (r"(a=candidate.* udp \S+ \S+) \d+ typ", r"\1 99999 typ"),
        (r"(a=candidate.* udp \S+ \S+) \d+ typ", r"\1 0 typ"),
    ],
)
def test_what_the_library_would_fail_on_later_is_refused_at_once(listening: Listening, found: str, put: str) -> None:
    """Its own task dies of it after the answer, with a traceback and nobody to tell."""
    sdp = asyncio.run(made_offer())
    assert re.search(found, sdp)
    with logged() as records:
        offer = {"type": "offer", "sdp": re.sub(found, put, sdp)}
        answer = httpx.post(f"{listening.address}/v1/webrtc/offer", json=offer, trust_env=False, timeout=180)
        wait_until(lambda: not listening.service.live)
        gc.collect()  # a task's exception is complained of when the task is thrown away
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_offer")
    assert loud(records) == []


def test_damaged_descriptions_are_answered_as_documented_and_logged_in_a_line(hasty: Listening) -> None:
    chance, sdp = random.Random(0), asyncio.run(made_offer())
    statuses = set()
    with logged() as records, httpx.Client(trust_env=False, timeout=180) as client:
        for _ in range(80):
            wait_until(lambda: len(hasty.service.live) < LIMITS.sessions_at_once)
            lines = sdp.split("\r\n")
            place = chance.randrange(len(lines))
            lines[place] = chance.choice(
                ["", lines[place][: chance.randrange(len(lines[place]) + 1)], lines[place] + "\r\n" + lines[place]]
            )
            offer = {"type": "offer", "sdp": "\r\n".join(lines)}
            statuses.add(client.post(f"{hasty.address}/v1/webrtc/offer", json=offer).status_code)
    assert statuses <= {200, 422}
    assert 422 in statuses
    assert loud(records) == []


def test_a_speaker_that_cannot_be_reached_gives_its_session_slot_back(hasty: Listening) -> None:
    """Its voice never comes, and nobody waits for it."""
    offer = {"type": "offer", "sdp": asyncio.run(made_offer()), "call": "voice-lost"}
    answer = httpx.post(f"{hasty.address}/v1/webrtc/offer", json=offer, trust_env=False, timeout=180)
    assert answer.status_code == 200
    wait_until(lambda: not hasty.service.live)
    assert get(hasty, "/v1/calls/voice-lost").json()["reason"] == "unreachable"


def test_an_offer_that_never_arrives_is_given_up() -> None:
    with server(Limits(body_seconds=0.2)) as slow, socket.create_connection(("127.0.0.1", slow.port)) as client:
        client.sendall(b"POST /v1/webrtc/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        client.settimeout(180)
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_left_before_its_answer_gives_its_session_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.requests import Request

    async def gone(request: Request) -> bool:
        return True

    monkeypatch.setattr(Request, "is_disconnected", gone)
    with server(Limits()) as listening:
        offer = {"type": "offer", "sdp": asyncio.run(made_offer()), "call": "left"}
        httpx.post(f"{listening.address}/v1/webrtc/offer", json=offer, trust_env=False, timeout=180)
        wait_until(lambda: not listening.service.live)
        assert get(listening, "/v1/calls/left").json()["reason"] == "peer_gone"


def test_a_service_without_the_extra_says_how_to_install_it(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "aiortc" else found(name))
    answer = get(listening, "/v1/webrtc")
    assert (answer.status_code, answer.json()["code"]) == (501, "missing_extra")
    assert answer.json()["detail"] == "WebRTC needs the extra 'calls' (aiortc is missing)"


def test_one_portrait_fades_into_the_next_at_a_steady_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]

    async def pass_time(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("speech2face.app.webrtc.monotonic", lambda: clock[0])
    monkeypatch.setattr("speech2face.app.webrtc.sleep", pass_time)

    async def watch() -> list[tuple[int, int]]:
        video = PortraitVideo(64)
        video._shown = video._wanted = planes(np.zeros((64, 64, 3), np.uint8))
        frames = [await video.recv()]
        video.show(planes(np.full((64, 64, 3), 255, np.uint8)))
        frames += [await video.recv() for _ in range(9)]
        video.stop()
        with pytest.raises(MediaStreamError):
            await video.recv()
        return [(frame.pts or 0, int(frame.to_ndarray(format="gray")[32, 32])) for frame in frames]

    seen = asyncio.run(watch())
    grey = [level for _, level in seen]
    assert [pts for pts, _ in seen] == [number * CLOCK // FRAMES_PER_SECOND for number in range(10)]
    assert grey == sorted(grey)
    assert (grey[0], grey[-1]) == (0, 255)
    assert len({*grey}) > 4, "a fade, no jump"


@pytest.mark.parametrize("style", ["photographic", "line"])
def test_a_face_that_moves_is_shown_25_times_a_second_as_the_voice_holds_it(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr("speech2face.app.webrtc.sleep", at_once)
    model, moving, sound = load_model(), MovingFace(), pcm(voice(1.5))
    moving.listen(PcmFormat("s16le", 16_000))
    moving.show(model, reconstruct(model, EXAMPLES / "female.mp3", style=style))

    async def watch() -> list[tuple[int, float, np.ndarray]]:
        video, seen = PortraitVideo(128), []
        video.watch(moving)
        for place in range(0, len(sound), 1280):  # 40 ms
            moving.hear(sound[place : place + 1280], executor)
            moving._step.result(30)  # type: ignore[union-attr]
            frame = await video.recv()
            seen.append((frame.pts or 0, moving.pose.jaw, frame.to_ndarray(format="gray").astype(int)))
        video.stop()
        return seen

    with ThreadPoolExecutor(1) as executor:
        seen = asyncio.run(watch())
    assert [pts for pts, _, _ in seen] == [number * CLOCK // 25 for number in range(len(seen))]
    jaws = [jaw for _, jaw, _ in seen]
    widest, closed = seen[int(np.argmax(jaws))][2], seen[int(np.argmin(jaws))][2]
    assert max(jaws) > 0.5 > 0.1 > min(jaws)
    mouth = slice(82, 104), slice(52, 76)
    assert np.abs(widest - closed)[mouth].mean() > 8
    bare = planes(scaled(np.zeros((64, 64, 3), np.uint8), 128))[:128].astype(int)
    assert np.abs(widest - bare)[-20:-6, 6:40].max() > 100, "the label is in the corner"


def test_a_face_moves_in_a_worker_thread_with_the_last_second_of_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    free = threading.Event()

    def push(motion: LiveMotion, sound: bytes) -> np.ndarray:
        free.wait(30)
        taken.append(sound)
        return np.full((1, 9), len(taken), np.float32)

    monkeypatch.setattr(LiveMotion, "push", push)
    moving, second = MovingFace(), bytes(2 * 8000)
    with ThreadPoolExecutor(1) as executor:
        moving.listen(PcmFormat("s16le", 8000, 1))
        for _ in range(3):  # nobody waits for the first
            moving.hear(second, executor)
        free.set()
        moving._step.result(30)  # type: ignore[union-attr]
        moving.hear(b"ab", executor)
        moving._step.result(30)  # type: ignore[union-attr]
    assert taken == [second, second[2:] + b"ab"]
    assert moving.pose.jaw == 2


def test_a_peer_that_asks_for_motion_gets_a_face_that_moves(listening: Listening) -> None:
    async def alone() -> None:
        async with peer() as speaker:
            answer = await speaker.call(listening.address, sees="own", style="drawn", motion=True, pixels=128)
            assert answer.status_code == 200
            await until(lambda: "call_update_seconds_count 0.0" not in listening.service.metrics.text())
            seen: set[bytes] = set()

            def moves() -> bool:
                if speaker.frame is not None:
                    seen.add(speaker.image()[80:106].tobytes())
                return len(seen) > 12

            await until(moves, 30.0)  # a still face fades in 6 steps a second, and not all the time

    asyncio.run(alone())


def test_a_stereo_frame_becomes_one_channel_and_what_nobody_hears_is_dropped() -> None:
    frame = AudioFrame.from_ndarray(np.array([[100, 300, -32768, -32768]], np.int16), format="s16", layout="stereo")
    assert mono(frame) == np.array([200, -32768], "<i2").tobytes()

    async def overflow() -> tuple[object, list[bool]]:
        buffer: SoundBuffer[bytes] = SoundBuffer(100)
        there_was_room = [await buffer.offer(b"x" * 70) for _ in range(3)]
        await buffer.end()
        return await buffer.take(None), there_was_room

    assert asyncio.run(overflow()) == (b"x" * 70, [True, False, False])
