"""`WS /v1/live`: what a client hears while it speaks, and how a session ends."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

import speech2face
from speech2face.app.http import Limits
from speech2face.app.live import LiveVoice, read_start
from speech2face.audio.recording import read_recording
from speech2face.live import LiveMotion
from speech2face.motion import Pose, find_poses
from tests.app.conftest import service_of
from tests.app.speaking import EXAMPLES, hear, hear_until, label_in, pcm, say, speak, start, voice, wait_until
from tests.recordings import encode

LIVE = "ws://localhost:8765/v1/live"


def ready(socket: WebSocketTestSession, **options: Any) -> dict[str, Any]:
    socket.send_text(start(**options))
    values, _ = hear(socket)
    assert values["type"] == "ready", values
    return values


def refused(socket: WebSocketTestSession, code: int) -> dict[str, Any]:
    """The fatal error, and the close code after it."""
    while True:
        values, _ = hear(socket)
        if values["type"] == "error" and values["fatal"]:
            break
    with pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_text()
    assert closed.value.code == code
    return values


def leave(socket: WebSocketTestSession, client: TestClient) -> None:
    """Go as a browser does whose page is closed, and wait until the service knows."""
    socket.close()
    service = client.app.state.service  # type: ignore[attr-defined]
    wait_until(lambda: not service.live)


def test_the_portrait_sharpens_and_ends_as_the_library_would_draw_it(served: TestClient) -> None:
    sound = voice()
    with served.websocket_connect(LIVE) as socket:
        greeting = ready(socket, picture="png", pixels=512)
        assert greeting["protocol"] == 1
        assert greeting["model"]["name"] == "starter"
        assert greeting["limits"]["frame_bytes"] == Limits().frame_bytes
        assert "Synthetic" in greeting["notice"]
        speak(socket, sound)
        say(socket, type="finish")
        heard = hear_until(socket, "end")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 1000
    updates = [(values, picture) for values, picture in heard if values["type"] == "update"]
    assert [values["number"] for values, _ in updates] == [*range(1, len(updates) + 1)]
    last, picture = updates[-1]
    wanted = speech2face.reconstruct(speech2face.load_model(), pcm_recording(sound))
    assert last["facts"]["seconds_heard"] == pytest.approx(wanted.seconds_heard, abs=0.1)
    assert last["facts"]["age"] == pytest.approx(wanted.facts()["age"], abs=1.0)
    assert picture is not None
    image = np.asarray(Image.open(io.BytesIO(picture))).astype(float)
    assert np.abs(image - wanted.image).mean() < 1.0  # grey levels
    assert label_in(picture)[0].kind == "portrait"


def pcm_recording(sound: Any) -> bytes:
    return encode(sound[None], 16_000, container="wav", codec="pcm_s16le")


def test_an_update_says_how_many_bytes_of_picture_follow(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, pixels=256)
        speak(socket, voice(2.0))
        say(socket, type="finish")
        heard = hear_until(socket, "end")
    pictures = [(values["picture"], picture) for values, picture in heard if picture is not None]
    assert pictures
    for described, picture in pictures:
        assert described == {"media_type": "image/webp", "bytes": len(picture)}
        assert Image.open(io.BytesIO(picture)).size == (256, 256)


def test_updates_come_at_most_as_often_as_asked(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, updates_per_second=0.001, picture="none")
        speak(socket, voice(4.0))
        say(socket, type="finish")
        heard = hear_until(socket, "end")
    assert [values["type"] for values, _ in heard] == ["update", "update", "end"]  # the first, and the last


def test_hold_keeps_the_picture_while_the_facts_go_on(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket)
        say(socket, type="hold", on=True)
        speak(socket, voice(3.0))
        say(socket, type="finish")
        updates = [values for values, _ in hear_until(socket, "end") if values["type"] == "update"]
    assert updates[-1]["facts"]["seconds_heard"] > 2
    assert [values["picture"] for values in updates] == [None] * len(updates)


def test_given_attributes_are_followed_by_an_update(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket)
        speak(socket, voice(2.0))
        say(socket, type="set", given={"age": 70}, exaggerate=1)
        say(socket, type="portrait", pixels=256)
        heard = hear_until(socket, "portrait")
        (values, picture) = heard[-1]
        say(socket, type="finish")
        last = hear_until(socket, "end")[-2][0]
    assert values["facts"]["given"] == {"age": 70.0}
    assert picture is not None
    provenance, facts = label_in(picture)
    assert (provenance.exaggerate, provenance.given) == (1.0, {"age": "70.0"})
    assert facts == values["facts"]
    assert last["facts"]["given"] == {"age": 70.0}


def test_the_style_is_changed_while_somebody_speaks_and_the_drawing_kept_as_svg(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, style="drawn", pixels=128)
        speak(socket, voice(2.0))
        say(socket, type="portrait", picture="svg")
        values, svg = hear_until(socket, "portrait")[-1]
        say(socket, type="samples", count=2, layout="strip", pixels=64)
        strip = hear_until(socket, "sheet")[-1][1]
        say(socket, type="set", style="photographic")
        say(socket, type="portrait", picture="svg")
        error = hear_until(socket, "error")[-1][0]
        say(socket, type="finish")
        heard = hear_until(socket, "end")
    assert (values["picture"]["media_type"], values["facts"]["style"]) == ("image/svg+xml", "drawn")
    assert svg is not None
    assert strip is not None
    assert label_in(svg, ".svg")[1] == values["facts"]
    assert Image.open(io.BytesIO(strip)).size == (128, 64)
    assert (error["code"], error["fatal"]) == ("invalid_option", False)
    assert heard[-2][0]["facts"]["style"] == "photographic"


def test_what_cannot_be_drawn_is_said_and_the_session_goes_on(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket)
        say(socket, type="set", given={"age": 5})
        say(socket, type="portrait")  # nothing was heard yet
        say(socket, type="samples", count=500)
        errors = [hear(socket)[0] for _ in range(3)]
        speak(socket, voice(2.0))
        say(socket, type="finish")
        assert hear_until(socket, "end")[-2][0]["facts"]["given"] == {}
    assert [error["code"] for error in errors] == ["invalid_given", "invalid_option", "invalid_option"]
    assert not any(error["fatal"] for error in errors)


def test_a_sheet_has_as_many_faces_as_asked(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, picture="none")
        speak(socket, voice(2.0))
        say(socket, type="samples", count=3)
        values, picture = hear_until(socket, "sheet")[-1]
        say(socket, type="samples", count=25)
        assert "at most 24" in hear_until(socket, "error")[-1][0]["text"]
        say(socket, type="samples", count=24, layout="strip", pixels=1024)  # no WebP is that wide
        assert "smaller" in hear_until(socket, "error")[-1][0]["text"]
        say(socket, type="finish")
        hear_until(socket, "end")
    assert (values["count"], values["picture"]["media_type"]) == (3, "image/webp")
    assert picture is not None
    assert label_in(picture)[0].kind == "contact sheet"


def test_two_resets_at_once_forget_the_voice_once_and_for_all(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, picture="none")
        speak(socket, voice(2.0))
        say(socket, type="reset")
        say(socket, type="reset")
        hear_until(socket, "reset")
        hear_until(socket, "reset")
        speak(socket, voice(1.6))
        say(socket, type="finish")
        last = hear_until(socket, "end")[-2][0]
    assert last["facts"]["seconds_recorded"] == pytest.approx(1.6, abs=0.1)


@pytest.mark.parametrize("container", ["webm", "ogg"])
def test_opus_as_a_browser_records_it_is_heard_while_it_comes(served: TestClient, container: str) -> None:
    content = encode(voice(3.0)[None], 16_000, container=container, codec="libopus", codec_rate=48_000)
    with served.websocket_connect(LIVE) as socket:
        ready(socket, format=container, picture="none")
        for place in range(0, len(content), 777):
            socket.send_bytes(content[place : place + 777])
        say(socket, type="finish")
        last = hear_until(socket, "end")[-2][0]
    assert last["facts"]["seconds_recorded"] == pytest.approx(3.0, abs=0.1)
    assert last["facts"]["gender"]["reading"] == "feminine"


@pytest.mark.parametrize(
    "first",
    [
        "{",
        "[]",
        '{"type": "finish"}',
        start(format="mp3"),
        start(sample_rate=7999),
        start(sample_rate="16000"),
        start(channels=0),
        start(updates_per_second=0),
        start(pixels=100_000),
        start(exaggerate=-1),
        start(style="oil"),
        start(given={"age": 5}),
        start(given={"height": 5}),
        start(model="nobody"),
        start(colour="red"),
        start(updates_per_second=float("nan")),
    ],
)
def test_a_start_that_cannot_be_closes_with_a_reason(served: TestClient, first: str) -> None:
    with served.websocket_connect(LIVE) as socket:
        socket.send_text(first)
        error = refused(socket, 4400)
    assert error["text"]
    assert "Traceback" not in error["text"]


def test_sound_before_the_start_is_a_bad_message(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        socket.send_bytes(b"\0" * 320)
        refused(socket, 4400)


@pytest.mark.parametrize("text", ["{", '{"type":"dance"}', '{"type":"hold"}', '{"type":"samples","count":0}', "5"])
def test_a_bad_message_ends_only_its_own_session(served: TestClient, text: str) -> None:
    with served.websocket_connect(LIVE) as other, served.websocket_connect(LIVE) as socket:
        ready(other)
        ready(socket)
        socket.send_text(text)
        assert refused(socket, 4400)["code"] == "bad_message"
        speak(other, voice(1.6))
        say(other, type="finish")
        assert hear_until(other, "end")[-1][0]["reason"] == "finished"


def test_sound_that_cannot_be_decoded_closes_with_its_error(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, format="webm")
        socket.send_bytes(b"this is no WebM" * 1000)
        say(socket, type="finish")
        assert refused(socket, 4422)["code"] in ("not_media", "corrupt_recording")


def test_silence_to_the_end_closes_with_its_error(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket)
        socket.send_bytes(bytes(32_000))
        say(socket, type="finish")
        assert refused(socket, 4422)["code"] == "silent_recording"


def test_messages_beyond_the_limits_close_with_their_codes(limited: Callable[..., TestClient]) -> None:
    client = limited(Limits(frame_bytes=5000, text_bytes=500, messages_per_second=0.001, message_burst=10))
    with client.websocket_connect(LIVE) as socket:
        ready(socket)
        socket.send_bytes(bytes(5002))
        assert refused(socket, 4413)["code"] == "too_big"
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(start(model="x" * 600))
        refused(socket, 4413)
    with client.websocket_connect(LIVE) as socket:
        ready(socket)
        socket.send_text("\N{GREEK SMALL LETTER ALPHA}" * 300)  # 600 bytes
        assert refused(socket, 4413)["code"] == "too_big"
    with client.websocket_connect(LIVE) as socket:
        ready(socket)
        for _ in range(11):
            socket.send_bytes(bytes(2))
        assert refused(socket, 4429)["code"] == "too_many"


def test_idle_and_endless_sessions_are_closed(limited: Callable[..., TestClient]) -> None:
    client = limited(Limits(idle_seconds=0.05, start_seconds=0.05))
    with client.websocket_connect(LIVE) as socket:
        assert refused(socket, 4408)["code"] == "idle"  # no start came
    with client.websocket_connect(LIVE) as socket:
        ready(socket)
        assert refused(socket, 4408)["code"] == "idle"
    with limited(Limits(session_seconds=0.05)).websocket_connect(LIVE) as socket:
        ready(socket)
        assert refused(socket, 4408)["code"] == "session_over"


def test_one_session_too_many_is_turned_away_and_a_left_one_makes_room(limited: Callable[..., TestClient]) -> None:
    client = limited(Limits(sessions_at_once=1))
    with client.websocket_connect(LIVE) as socket:
        ready(socket)
        with client.websocket_connect(LIVE) as second:
            second.send_text(start())
            assert refused(second, 4429)["code"] == "too_many"
        leave(socket, client)
    with client.websocket_connect(LIVE) as socket:
        ready(socket)
        leave(socket, client)


def test_the_token_of_a_live_session_comes_with_its_start(limited: Callable[..., TestClient]) -> None:
    token = "a-token-of-many-letters"
    client = limited(token=token)
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(start())
        assert refused(socket, 4401)["code"] == "token"
    with client.websocket_connect(LIVE) as socket:
        ready(socket, token=token)
        leave(socket, client)
    with client.websocket_connect(LIVE, headers={"Authorization": f"Bearer {token}"}) as socket:
        ready(socket)
        leave(socket, client)


def test_the_metrics_count_updates_and_close_codes(limited: Callable[..., TestClient]) -> None:
    client = limited()
    with client.websocket_connect(LIVE) as socket:
        ready(socket, picture="none")
        speak(socket, voice(1.6))
        say(socket, type="finish")
        updates = len([values for values, _ in hear_until(socket, "end") if values["type"] == "update"])
        # Before the socket is left: the test client cancels what the service still does when it leaves.
        wait_until(lambda: 'live_closed_total{code="1000"} 1' in client.get("/metrics").text)
    text = client.get("/metrics").text
    assert f"speech2face_live_updates_total {updates}" in text
    assert "speech2face_live_sessions 0" in text
    assert json.dumps("female") not in text


def test_with_speakers_a_new_voice_gets_a_face_of_its_own_and_a_known_one_comes_back(served: TestClient) -> None:
    woman, man = voice(6.0), read_recording(EXAMPLES / "male.flac").waveform
    with served.websocket_connect(LIVE) as socket:
        ready(socket, speakers="auto", pixels=64)
        read = []
        for sound in (woman, man, woman):
            speak(socket, sound)
            say(socket, type="portrait", pixels=64)  # answered when all before it is encoded
            read.append(hear_until(socket, "portrait")[-1][0]["facts"]["gender"]["reading"])
        say(socket, type="finish")
        facts = [values["facts"] for values, _ in hear_until(socket, "end") if values["type"] == "update"]
    assert read == ["feminine", "masculine", "feminine"]
    assert (facts[-1]["speaker"], facts[-1]["gender"]["reading"]) == (1, "feminine")
    assert facts[-1]["speakers"] == 2
    assert facts[-1]["seconds_heard"] == pytest.approx(12, abs=1.5)


def moving(heard: list[tuple[dict[str, Any], bytes | None]], kind: str) -> list[tuple[dict[str, Any], bytes | None]]:
    return [(values, picture) for values, picture in heard if values["type"] == kind]


def test_poses_come_while_a_voice_is_heard_and_equal_those_of_the_recording(served: TestClient) -> None:
    sound = voice(3.0)
    with served.websocket_connect(LIVE) as socket:
        ready(socket, style="line", motion="poses", pixels=128)
        speak(socket, sound)
        say(socket, type="finish")
        heard = hear_until(socket, "end")
    rows: dict[int, list[float]] = {}
    for values, _ in moving(heard, "poses"):
        rows |= dict(enumerate(values["poses"], values["first"]))
    wanted = find_poses(np.asarray((sound * 32767).astype("<i2") / 32768, np.float32))
    missed = len(wanted) - len(rows)  # a client that is slow misses some, and here nobody reads before the end
    assert missed < len(wanted)
    assert max(np.abs(np.array(row) - wanted[number]).max() for number, row in rows.items()) < 2e-3
    puppets = moving(heard, "puppet")
    assert puppets
    picture = puppets[-1][1]
    assert picture is not None and b"data-open-round" in picture
    assert label_in(picture, ".svg")[0].kind == "portrait"


def test_poses_are_found_in_a_worker_thread_and_keep_nobody_else_waiting(
    served: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[bool] = []

    def watched(step: Any) -> Any:
        def run(*arguments: Any) -> Any:
            beside.append(asyncio._get_running_loop() is None)
            return step(*arguments)

        return run

    for name in ("push", "finish"):
        monkeypatch.setattr(LiveMotion, name, watched(getattr(LiveMotion, name)))
    with served.websocket_connect(LIVE) as socket:
        ready(socket, style="line", motion="poses", pixels=128)
        speak(socket, voice(3.0))
        say(socket, type="finish")
        hear_until(socket, "end")
    assert len(beside) > 1 and all(beside)


@pytest.mark.parametrize("style", ["photographic", "drawn"])
def test_a_synthesiser_s_stream_gets_labelled_frames_of_a_face_that_speaks(served: TestClient, style: str) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, style=style, motion="frames", pixels=128)
        speak(socket, voice(2.0))
        while hear_until(socket, "update")[-1][1] is None:  # before there is a face, nothing is shown
            pass
        speak(socket, voice(2.0))
        frames = [hear_until(socket, "frame")[-1] for _ in range(5)]
        say(socket, type="finish")
        hear_until(socket, "end")
    numbers = [values["number"] for values, _ in frames]
    assert numbers == sorted(set(numbers))
    pictures = [picture for _, picture in frames if picture is not None]
    assert len({bytes(picture) for picture in pictures}) > 1  # it moves
    with Image.open(io.BytesIO(pictures[0])) as picture:
        assert picture.size == (128, 128)
    assert label_in(pictures[0])[0].kind == "video"


@pytest.mark.parametrize(
    ("motion", "style", "comes"), [("frames", "photographic", "frame"), ("poses", "drawn", "puppet")]
)
def test_a_face_moves_without_pictures_between(served: TestClient, motion: str, style: str, comes: str) -> None:
    with served.websocket_connect(LIVE) as socket:
        ready(socket, picture="none", style=style, motion=motion, pixels=128)
        speak(socket, voice(2.0))
        heard = hear_until(socket, "update")
        while heard[-1][0]["listening"] == "waiting":
            heard += hear_until(socket, "update")
        speak(socket, voice(2.0))
        heard += hear_until(socket, comes) if not moving(heard, comes) else []
        say(socket, type="finish")
        heard += hear_until(socket, "end")
    assert all(picture is not None for _, picture in moving(heard, comes))
    assert not any(values["picture"] for values, _ in moving(heard, "update"))


def test_a_reset_forgets_the_face_that_moved(served: TestClient) -> None:
    model = service_of(served).registry.model()
    sound = pcm(voice(2.0))
    for motion in ("frames", "poses"):
        said = start(motion=motion, style="drawn", pixels=64)
        speaker = LiveVoice(model, read_start(said))
        speaker.push(sound)
        speaker.update()
        assert (speaker.new_puppet() is not None) == (motion == "poses")
        assert speaker.frame(Pose(), 1) is not None
        speaker.reset()
        assert speaker.frame(Pose(), 2) is None
        speaker.push(sound)
        speaker.update()
        # The page has taken the old one away, so the same face is another one to it.
        assert (speaker.new_puppet() is not None) == (motion == "poses")
        speaker.close()


def test_motion_wants_raw_samples(served: TestClient) -> None:
    with served.websocket_connect(LIVE) as socket:
        socket.send_text(start(format="webm", motion="poses"))
        text = refused(socket, 4400)["text"]
        assert text == "motion goes with sound of a raw format, such as s16le, and webm is none"
