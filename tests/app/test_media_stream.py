"""Calls as telephone platforms stream them: portraits as of the whole call's recording, and what can fail."""

import asyncio
import gc
import io
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

from PIL import Image
from starlette.testclient import TestClient

from speech2face import load_model, read_recording, reconstruct
from speech2face.app.calls import Callback, CallVoice, TrackOptions, check_callback
from speech2face.app.http import Limits
from speech2face.app.server import create_app
from speech2face.app.service import Settings
from speech2face.errors import InvalidOption, NoSpeech
from speech2face.live import LiveSession, PcmFormat
from tests.app.conftest import service_of
from tests.app.speaking import EXAMPLES, label_in, voice, wait_until
from tests.app.telephone import ADDRESS, STOP, frames, mulaw, noise, receiver, send, start, telephone_wav

STARTER_VOICES = Path(__file__).resolve().parents[3] / "shared" / "starter" / "voices"
FAST = Limits(messages_per_second=1e6, message_burst=10**6)  # calls of seconds are sent in an instant
TELEPHONE = telephone_wav(voice())
Make = Callable[..., TestClient]


@pytest.fixture(scope="module")
def line() -> Iterator[TestClient]:
    """A service that takes calls faster than they are spoken; nobody changes it."""
    app = create_app(Settings(workers=2, limits=FAST))
    with TestClient(app, base_url="http://localhost:8765", raise_server_exceptions=False) as client:
        wait_until(lambda: service_of(client).registry.state == "ready")
        yield client


def close_of(socket: Any) -> tuple[int, list[dict[str, Any]]]:
    """The close code, and what was said before it."""
    said: list[dict[str, Any]] = []
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            return int(message["code"]), said
        said.append(json.loads(message["text"]))


def hold_call(client: TestClient, *messages: dict[str, Any], stop: bool = True) -> tuple[int, list[dict[str, Any]]]:
    """One call from its first message to its end."""
    with client.websocket_connect(ADDRESS) as socket:
        send(socket, *messages, *([STOP] if stop else []))
        return close_of(socket)


def picture_of(client: TestClient, call: str, track: str = "inbound") -> bytes:
    answer = client.get(f"/v1/calls/{call}/{track}.png")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return bytes(answer.content)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def check_against_the_recording(client: TestClient, wav: bytes, call: str) -> None:
    """The call's portrait and facts are those of the same mu-law sound as a file."""
    assert hold_call(client, {"event": "connected"}, start(call), *frames(mulaw(wav))) == (1000, [])
    whole = reconstruct(load_model(), read_recording(wav))
    values = client.get(f"/v1/calls/{call}").json()
    facts = values["tracks"]["inbound"]["facts"]
    assert {name: facts[name] for name in ("age", "gender", "cautions", "seconds_heard")} == {
        name: whole.facts()[name] for name in ("age", "gender", "cautions", "seconds_heard")
    }
    np.testing.assert_array_equal(pixels(picture_of(client, call)), whole.image)


def test_a_call_gives_the_portrait_of_the_same_sound_as_a_file(line: TestClient) -> None:
    check_against_the_recording(line, TELEPHONE, "CA-made")
    provenance, facts = label_in(picture_of(line, "CA-made"))
    assert provenance.kind == "portrait"
    assert [caution["code"] for caution in facts["cautions"]] == ["telephone_band"]
    values = line.get("/v1/calls/CA-made").json()
    assert (values["state"], values["reason"], values["callback"]) == ("ended", "stopped", None)


def test_so_does_a_call_by_a_real_person(line: TestClient) -> None:
    recording = next(iter(sorted(STARTER_VOICES.glob("*.opus"))), None)
    if recording is None:
        pytest.skip("the starter's recordings are not here")
    check_against_the_recording(line, telephone_wav(read_recording(recording).waveform), "CA-real")


def test_each_track_has_its_own_portrait(line: TestClient) -> None:
    inbound = frames(mulaw(TELEPHONE), "inbound")
    outbound = frames(mulaw(telephone_wav(read_recording(EXAMPLES / "male.flac").waveform)), "outbound")
    both = [frame for pair in zip(inbound, outbound, strict=False) for frame in pair]
    assert hold_call(line, start("CA-two", tracks=("inbound", "outbound")), *both)[0] == 1000
    tracks = line.get("/v1/calls/CA-two").json()["tracks"]
    readings = {name: track["facts"]["gender"]["reading"] for name, track in tracks.items()}
    assert readings == {"inbound": "feminine", "outbound": "masculine"}
    assert np.abs(pixels(picture_of(line, "CA-two")) - pixels(picture_of(line, "CA-two", "outbound"))).max() > 0


def test_frames_out_of_order_twice_and_after_dtmf_change_nothing(line: TestClient) -> None:
    plain = frames(mulaw(TELEPHONE)[: 160 * 200])
    disturbed = [frame for at in range(0, 200, 4) for frame in (*reversed(plain[at : at + 4]), plain[at])]
    others: list[dict[str, Any]] = [
        {"event": "dtmf", "dtmf": {"digit": "5"}},
        {"event": "mark", "mark": {"name": "x"}},
        {"event": "new"},
    ]
    assert hold_call(line, start("CA-plain"), *plain)[0] == 1000
    assert hold_call(line, start("CA-odd"), *disturbed[:9], *others, *disturbed[9:])[0] == 1000
    np.testing.assert_array_equal(pixels(picture_of(line, "CA-plain")), pixels(picture_of(line, "CA-odd")))
    received = line.get("/v1/calls/CA-odd").json()["tracks"]["inbound"]["received"]
    assert received == {"frames": 250, "lost": 0, "late": 0, "repeated": 50, "silence_seconds": 0}


FRAME = frames(bytes(160))[0]
ODD_RATE = start()
ODD_RATE["start"]["mediaFormat"] = {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}
LINEAR = start()
LINEAR["start"]["mediaFormat"] = {"encoding": "audio/l16", "sampleRate": 8000, "channels": 1}
HALF_A_LETTER = start()
HALF_A_LETTER["start"]["mediaFormat"] = {"encoding": "\ud800", "sampleRate": 8000, "channels": 1}
BAD_BASE64 = FRAME | {"media": FRAME["media"] | {"payload": "%%%"}}
OTHER_TRACK = FRAME | {"media": FRAME["media"] | {"track": "outbound"}}


@pytest.mark.parametrize(
    ("messages", "close_code", "code"),
    [
        ([FRAME], 4400, "no_start"),
        ([STOP], 4400, "no_start"),
        ([start(), start()], 4400, "bad_message"),
        ([ODD_RATE], 4400, "unsupported_format"),
        ([LINEAR], 4400, "unsupported_format"),
        ([start(), BAD_BASE64], 4400, "bad_base64"),
        ([start(), OTHER_TRACK], 4400, "unknown_track"),
        ([start(), FRAME | {"media": {"chunk": "x"}}], 4400, "bad_message"),
        ([{"event": 5}], 4400, "bad_message"),
        ([start("../CA")], 4400, "bad_message"),
        ([start("..")], 4400, "bad_message"),
        ([start("x" * 129)], 4400, "bad_message"),
        ([HALF_A_LETTER], 4400, "bad_message"),
        ([start(exaggerate="9")], 4400, "bad_message"),
        ([start(model="none")], 4400, "unknown_model"),
        ([start(callback="http://127.0.0.1:9/")], 4400, "invalid_option"),
        ([start(), {"event": "mark", "padding": "x" * 20_000}], 4413, "too_big"),
    ],
)
def test_what_is_no_media_stream_is_refused_with_its_reason(
    line: TestClient, messages: list[dict[str, Any]], close_code: int, code: str
) -> None:
    closed, said = hold_call(line, *messages, stop=False)
    assert (closed, [message["code"] for message in said]) == (close_code, [code])
    wait_until(lambda: not service_of(line).live)


def test_bytes_and_broken_json_are_no_messages(line: TestClient) -> None:
    for message in ({"bytes": b"x"}, {"text": "{"}, {"text": "[]"}, {"text": "[" * 10_000}):
        with line.websocket_connect(ADDRESS) as socket:
            socket.send({"type": "websocket.receive"} | message)
            assert close_of(socket)[0] == 4400


def test_a_track_without_a_voice_says_so_and_the_other_is_drawn(line: TestClient) -> None:
    call = start("CA-quiet", tracks=("inbound", "outbound"))
    assert hold_call(line, call, *frames(mulaw(TELEPHONE)), *frames(noise(3), "outbound"))[0] == 1000
    tracks = line.get("/v1/calls/CA-quiet").json()["tracks"]
    assert tracks["outbound"]["problem"]["code"] in ("silent_recording", "no_speech")
    assert tracks["outbound"]["picture"] is None
    assert line.get("/v1/calls/CA-quiet/outbound.png").json()["code"] == "no_portrait"
    picture_of(line, "CA-quiet")


def test_a_voice_that_turns_out_to_be_none_takes_its_portrait_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(session: LiveSession) -> None:
        raise NoSpeech("nobody spoke")

    track = CallVoice(load_model(), PcmFormat("mulaw", 8000, 1), TrackOptions())
    track.push(mulaw(TELEPHONE))
    track.look()
    assert track.picture() is not None
    monkeypatch.setattr(LiveSession, "finish", refuse)
    track.finish()
    assert (track.picture(), track.facts, track.drawable) == (None, None, False)
    assert track.problem == {"code": "no_speech", "text": "nobody spoke"}


def test_a_peer_that_vanishes_leaves_its_portrait(line: TestClient) -> None:
    with line.websocket_connect(ADDRESS) as socket:
        send(socket, start("CA-gone"), *frames(mulaw(TELEPHONE)))
        socket.close(1006)
        wait_until(lambda: line.get("/v1/calls/CA-gone").json().get("state") == "ended")
    assert line.get("/v1/calls/CA-gone").json()["reason"] == "peer_gone"
    picture_of(line, "CA-gone")


def test_a_running_call_is_polled_and_deleted(line: TestClient) -> None:
    with line.websocket_connect(ADDRESS) as socket:
        send(socket, start("CA-on"), *frames(mulaw(TELEPHONE)))
        # A track is listed from its first sound on, which may come after the call itself is known.
        wait_until(lambda: bool(line.get("/v1/calls/CA-on").json()["tracks"].get("inbound", {}).get("picture")))
        assert label_in(picture_of(line, "CA-on"))[0].kind == "portrait"
        with line.websocket_connect(ADDRESS) as second:
            send(second, start("CA-on"))
            assert close_of(second)[1][0]["code"] == "call_exists"
        assert line.delete("/v1/calls/CA-on").status_code == 204
        assert close_of(socket)[0] == 1000
    assert line.get("/v1/calls/CA-on").status_code == 404
    assert line.delete("/v1/calls/CA-on").json()["code"] == "unknown_call"


def test_calls_are_forgotten_after_a_while_and_beyond_a_number(limited: Make) -> None:
    client = limited(Limits(calls_kept=2))
    for name in ("CA-1", "CA-2", "CA-3"):
        hold_call(client, start(name))
    assert [client.get(f"/v1/calls/CA-{number}").status_code for number in (1, 2, 3)] == [404, 200, 200]
    none = limited(Limits(calls_kept=0))
    hold_call(none, start("CA-0"))
    assert none.get("/v1/calls/CA-0").status_code == 404
    brief = limited(Limits(call_keep_seconds=0.5))
    hold_call(brief, start("CA-4"))
    wait_until(lambda: brief.get("/v1/calls/CA-4").status_code == 404)


@pytest.mark.parametrize("how", ["deleted", "replaced", "beyond the number"])
def test_nothing_holds_a_call_that_is_forgotten(limited: Make, how: str) -> None:
    client = limited(Limits(calls_kept=1))
    hold_call(client, start("CA-gone"))
    gone = weakref.ref(client.app.state.calls.get("CA-gone"))  # type: ignore[attr-defined]
    if how == "deleted":
        assert client.delete("/v1/calls/CA-gone").status_code == 204
    else:
        hold_call(client, start("CA-gone" if how == "replaced" else "CA-next"))

    def collected() -> bool:
        gc.collect()
        return gone() is None

    wait_until(collected)


def test_a_second_track_without_a_place_leaves_no_task_of_the_first(limited: Make) -> None:
    client = limited(Limits(sessions_at_once=1))
    assert hold_call(client, start(tracks=("inbound", "outbound")), stop=False) == (4429, [ANY_MORE])
    wait_until(lambda: not service_of(client).live)

    def left() -> list[str]:
        return [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]

    assert client.portal is not None
    assert not [name for name in client.portal.call(left) if "MediaStreamConnection" in name]


def test_every_track_counts_as_a_session_and_idle_ones_are_closed(limited: Make) -> None:
    client = limited(Limits(sessions_at_once=2))
    with client.websocket_connect(ADDRESS) as socket:
        send(socket, start(tracks=("inbound", "outbound")))
        wait_until(lambda: len(service_of(client).live) == 2)
        assert hold_call(client, start("CA-third"), stop=False) == (4429, [ANY_MORE])
    client = limited(Limits(idle_seconds=0.3, start_seconds=0.3))
    assert hold_call(client, start(), stop=False)[0] == 4408
    assert hold_call(client, stop=False)[0] == 4408
    assert 'speech2face_calls_closed_total{kind="media-stream",reason="idle"} 2' in client.get("/metrics").text


ANY_MORE = {
    "event": "error",
    "code": "too_many",
    "text": "as many people are speaking as can be heard; try again later",
}


def test_the_token_comes_as_a_custom_parameter_never_in_the_address(limited: Make) -> None:
    token = "a-token-of-twenty-letters"
    client = limited(token=token)
    assert hold_call(client, start())[0] == 4401
    assert hold_call(client, start(token=token))[0] == 1000
    with client.websocket_connect(f"{ADDRESS}?token={token}") as socket:
        send(socket, start())
        assert close_of(socket)[0] == 4401
    assert client.get("/v1/calls/CA1").status_code == 401
    assert client.get("/v1/calls/CA1", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_service_that_ends_says_goodbye_to_calls(limited: Make) -> None:
    client = limited()
    with client.websocket_connect(ADDRESS) as socket:
        send(socket, start())
        wait_until(lambda: client.get("/v1/calls/CA1").status_code == 200)
        assert client.portal is not None
        client.portal.call(service_of(client).end_live, 5.0)
        assert close_of(socket)[0] == 1001


def test_portraits_are_posted_while_the_call_goes_on_and_at_its_end(limited: Make) -> None:
    with receiver() as taker:
        client = limited(FAST, callback_hosts=frozenset({taker.host}))
        call = start("CA-post", callback=taker.address, updates_per_second="10")
        with client.websocket_connect(ADDRESS) as socket:
            send(socket, call, *frames(mulaw(TELEPHONE)))
            wait_until(lambda: len(taker.messages) > 0)
            send(socket, STOP)
            assert close_of(socket)[0] == 1000
        wait_until(lambda: taker.messages[-1]["last"])
        last = taker.messages[-1]
        assert (last["call"], last["track"], last["problem"]) == ("CA-post", "inbound", None)
        assert last["facts"]["gender"]["reading"] == "feminine"
        assert last["picture"]["media_type"] == "image/png"
        counts = client.get("/v1/calls/CA-post").json()["callback"]
        assert counts["failed"] == 0
        wait_until(lambda: client.get("/v1/calls/CA-post").json()["callback"]["taken"] == len(taker.messages))


@pytest.mark.parametrize("status", [None, 500, 307])
def test_a_callback_that_fails_hangs_or_points_elsewhere_costs_the_call_nothing(
    limited: Make, status: int | None
) -> None:
    with receiver(status) as taker:
        limits = Limits(messages_per_second=1e6, message_burst=10**6, callback_seconds=0.3, callback_tries=2)
        client = limited(limits, callback_hosts=frozenset({taker.host}))
        started = time.monotonic()
        assert hold_call(client, start("CA-deaf", callback=taker.address), *frames(mulaw(TELEPHONE)))[0] == 1000
        picture_of(client, "CA-deaf")
        assert time.monotonic() - started < 10
        wait_until(lambda: client.get("/v1/calls/CA-deaf").json()["callback"]["failed"] > 0)
        assert taker.messages == []
        if status == 500:
            wait_until(lambda: taker.requests >= 2)  # it is tried again


def test_a_deleted_call_is_not_posted_any_more(limited: Make) -> None:
    with receiver(500) as taker:
        limits = Limits(messages_per_second=1e6, message_burst=10**6, callback_tries=10**6)
        client = limited(limits, callback_hosts=frozenset({taker.host}))
        assert hold_call(client, start("CA-tried", callback=taker.address), *frames(mulaw(TELEPHONE)))[0] == 1000
        wait_until(lambda: taker.requests > 0)
        callback = client.app.state.calls.get("CA-tried").callback  # type: ignore[attr-defined]
        assert client.delete("/v1/calls/CA-tried").status_code == 204
        wait_until(lambda: callback.task.done())


@pytest.mark.parametrize("how", ["replaced", "beyond the number", "the service ends"])
def test_the_last_portrait_is_posted_also_of_a_call_that_is_gone_by_then(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, real = threading.Event(), Callback._post

    async def late(*arguments: Any) -> None:
        while not let_go.is_set():
            await asyncio.sleep(0.01)
        await real(*arguments)

    monkeypatch.setattr(Callback, "_post", late)
    with receiver() as taker:
        limits = Limits(messages_per_second=1e6, message_burst=10**6, calls_kept=1)
        app = create_app(Settings(workers=2, limits=limits, callback_hosts=frozenset({taker.host})))
        with TestClient(app, base_url="http://localhost:8765") as client:
            wait_until(lambda: service_of(client).registry.state == "ready")
            assert hold_call(client, start("CA-1", callback=taker.address), *frames(mulaw(TELEPHONE)))[0] == 1000
            if how == "the service ends":
                threading.Timer(0.5, let_go.set).start()
            else:
                hold_call(client, start("CA-1" if how == "replaced" else "CA-2"))
                let_go.set()
                wait_until(lambda: bool(taker.messages) and taker.messages[-1]["last"])
        assert taker.messages[-1]["last"]
        assert taker.messages[-1]["picture"] is not None


def test_a_picture_that_cannot_be_signed_any_more_is_posted_as_its_problem(
    limited: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*arguments: object, **options: object) -> bytes:
        raise InvalidOption("the certificate has expired")

    monkeypatch.setattr("speech2face.app.calls.encoded", expired)
    with receiver() as taker:
        client = limited(FAST, callback_hosts=frozenset({taker.host}))
        with client.websocket_connect(ADDRESS) as socket:
            send(socket, start("CA-late", callback=taker.address), *frames(mulaw(TELEPHONE)))
            wait_until(lambda: len(taker.messages) > 0)
            send(socket, STOP)
            assert close_of(socket)[0] == 1000
        wait_until(lambda: taker.messages[-1]["last"])
        assert {each["problem"]["code"] for each in taker.messages} == {"invalid_option"}
        assert not any(each["picture"] for each in taker.messages)


def test_a_voice_that_ends_while_its_picture_is_asked_for_is_posted_with_its_problem(
    limited: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(voice: CallVoice) -> None:
        voice.problem = {"code": "no_speech", "text": "nobody spoke"}

    monkeypatch.setattr(CallVoice, "picture", ends)
    with receiver() as taker:
        client = limited(FAST, callback_hosts=frozenset({taker.host}))
        assert hold_call(client, start("CA-end", callback=taker.address), *frames(mulaw(TELEPHONE)))[0] == 1000
        wait_until(lambda: bool(taker.messages) and taker.messages[-1]["last"])
        assert {(each["problem"] or {}).get("code") for each in taker.messages} == {"no_speech"}


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://hooks.example.org:8080/",
        "https://hooks.example.org.evil.example/",
        "https://hooks.example.org@evil.example/",
        "https://user:password@hooks.example.org/",
        "file:///etc/passwd",
        "//hooks.example.org/",
        "ftp://hooks.example.org/",
        "ftp://hooks.example.org:21/",
        "ws://hooks.example.org:80/",
        "javascript://hooks.example.org:80/",
        "https://hooks.example.org:0/",
        "https://evil.example\\@hooks.example.org/",
        "https://hooks.example.org\n/",
        "https://xn--/",
        "x",
        "",
        "https://hooks.example.org:99999/",
        "https://",
    ],
)
def test_callbacks_go_to_allowed_hosts_alone(address: str) -> None:
    with pytest.raises(InvalidOption):
        check_callback(address, {"hooks.example.org", "127.0.0.1:9000"})


def test_a_callback_of_another_scheme_is_refused_in_the_stream(line: TestClient) -> None:
    for address in ("ftp://127.0.0.1:21/", "file:///x", "gopher://127.0.0.1:9000/"):
        closed, said = hold_call(line, start(callback=address), stop=False)
        assert (closed, [message["code"] for message in said]) == (4400, ["invalid_option"])


def test_a_host_without_a_port_stands_for_the_standard_ones() -> None:
    for address in ("https://Hooks.example.org/a?b=c", "http://127.0.0.1:9000/"):
        assert check_callback(address, {"hooks.example.org", "127.0.0.1:9000"}) == address
