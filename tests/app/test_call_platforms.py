"""Calls as each telephone platform streams them: one portrait from all, and a refusal that names who is not heard."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

from av import AudioFrame
from starlette.testclient import TestClient

from speech2face import load_model, read_recording, reconstruct
from speech2face.app.http import Limits
from speech2face.app.telephone import plain_start
from tests.app.speaking import voice
from tests.app.telephone import STOP, mulaw, start
from tests.app.test_media_stream import FAST, TELEPHONE, Make, hold_call, line, picture_of, pixels
from tests.recordings import encode

__all__ = ["line"]  # the fixture


def l16(wav: bytes, rate: int, order: str) -> bytes:
    """The sound of a recording, 16-bit samples at `rate` in a byte order."""
    from av.audio.resampler import AudioResampler

    waveform = read_recording(wav).waveform
    frame = AudioFrame.from_ndarray((waveform[None] * 32767).astype(np.int16), format="s16", layout="mono")
    frame.sample_rate = 16_000
    resampler = AudioResampler(format="s16", layout="mono", rate=rate)
    samples = np.hstack([each.to_ndarray()[0] for each in (*resampler.resample(frame), *resampler.resample(None))])
    return bytes(samples.astype(f"{order}i2").tobytes())


def telnyx(form: dict[str, Any], payloads: list[bytes], track: str = "inbound") -> list[dict[str, Any]]:
    """A call as Telnyx documents it."""
    begin = {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "32DE0DEA-53CB",
        "start": {
            "user_id": "3E6F995F",
            "call_control_id": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
            "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
            "custom_parameters": {"pixels": "128"},
            "media_format": form,
        },
    }
    media = [
        {
            "event": "media",
            "sequence_number": str(number + 2),
            "stream_id": "32DE0DEA-53CB",
            "media": {"track": track, "chunk": str(number + 1), "timestamp": str(20 * number), "payload": payload},
        }
        for number, payload in enumerate(in_base64(payloads))
    ]
    return [{"event": "connected", "version": "1.0.0"}, begin, *media, {"event": "stop", "stream_id": "32DE0DEA-53CB"}]


def plivo(form: dict[str, Any], payloads: list[bytes]) -> list[dict[str, Any]]:
    """A call as Plivo documents it: times are those of the day, parameters a text."""
    begin = {
        "sequenceNumber": 0,
        "event": "start",
        "start": {
            "callId": "5401fd2e-6344-40df-a22c-c8ffea7a92e7",
            "streamId": "c4dfd815",
            "accountId": "500025",
            "tracks": ["inbound"],
            "mediaFormat": form,
        },
        "extra_headers": "{X-PH-pixels: 128; X-PH-other: x}",
    }
    media = [
        {
            "sequenceNumber": number + 1,
            "streamId": "c4dfd815",
            "event": "media",
            "media": {
                "track": "inbound",
                "timestamp": str(1778597597091 + 20 * number),
                "chunk": number + 1,
                "payload": payload,
            },
        }
        for number, payload in enumerate(in_base64(payloads))
    ]
    return [begin, *media, {"event": "stop", "streamId": "c4dfd815"}]


def exotel(form: dict[str, Any], payloads: list[bytes]) -> list[dict[str, Any]]:
    """A call as Exotel documents it: no track is named, pieces are of 100 ms."""
    begin = {
        "event": "start",
        "sequence_number": "1",
        "stream_sid": "MZ7",
        "start": {
            "stream_sid": "MZ7",
            "call_sid": "CA7",
            "account_sid": "AC7",
            "from": "+10",
            "custom_parameters": {"pixels": "128"},
            "media_format": form,
        },
    }
    media = [
        {
            "event": "media",
            "sequence_number": str(number + 2),
            "stream_sid": "MZ7",
            "media": {"chunk": str(number + 1), "timestamp": str(100 * number), "payload": payload},
        }
        for number, payload in enumerate(in_base64(payloads))
    ]
    return [{"event": "connected"}, begin, *media, {"event": "stop", "stream_sid": "MZ7"}]


def signalwire(form: dict[str, Any], payloads: list[bytes]) -> list[dict[str, Any]]:
    """A call as SignalWire documents it: Twilio's form with other codecs."""
    begin = start("CA-signalwire", pixels="128")
    begin["start"]["mediaFormat"] = form
    media = [
        {
            "event": "media",
            "streamSid": "MZ1",
            "media": {"track": "inbound", "chunk": str(n + 1), "timestamp": str(20 * n), "payload": payload},
        }
        for n, payload in enumerate(in_base64(payloads))
    ]
    return [begin, *media, STOP]


def in_base64(payloads: list[bytes]) -> list[str]:
    return [base64.b64encode(payload).decode() for payload in payloads]


def cut(samples: bytes, size: int) -> list[bytes]:
    return [samples[at : at + size] for at in range(0, len(samples), size)]


Platform = Callable[[dict[str, Any], list[bytes]], list[dict[str, Any]]]
CALLS: dict[Platform, str] = {telnyx: "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ",
         plivo: "5401fd2e-6344-40df-a22c-c8ffea7a92e7", exotel: "CA7", signalwire: "CA-signalwire"}  # fmt: skip
SENT: list[tuple[Platform, dict[str, Any], int, str]] = [
    (telnyx, {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}, 8000, "mulaw"),
    (telnyx, {"encoding": "PCMA", "sample_rate": 8000, "channels": 1}, 8000, "alaw"),
    (telnyx, {"encoding": "L16", "sample_rate": 16000, "channels": 1}, 16000, ">"),
    (plivo, {"encoding": "audio/x-l16", "sampleRate": 8000}, 8000, "<"),
    (plivo, {"encoding": "audio/x-l16", "sampleRate": 16000}, 16000, "<"),
    (plivo, {"encoding": "audio/x-mulaw", "sampleRate": 8000}, 8000, "mulaw"),
    (exotel, {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"}, 8000, "<"),
    (exotel, {"encoding": "base64", "sample_rate": "16000", "bit_rate": "128kbps"}, 16000, "<"),
    (exotel, {"encoding": "audio/x-mulaw", "sample_rate": "8000"}, 8000, "mulaw"),
    (signalwire, {"encoding": "L16@24000h", "sampleRate": 24000, "channels": 1}, 24000, "<"),
    (signalwire, {"encoding": "audio/l16;rate=16000"}, 16000, "<"),
    (signalwire, {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, 8000, "mulaw"),
]


@pytest.mark.parametrize(
    ("platform", "form", "rate", "sound"), SENT, ids=lambda value: str(getattr(value, "__name__", value))
)
def test_the_call_stream_of_each_platform_is_heard_as_the_recording_it_is(
    line: TestClient, platform: Platform, form: dict[str, Any], rate: int, sound: str
) -> None:
    if sound in ("mulaw", "alaw"):
        wav = encode(voice()[None], 16_000, container="wav", codec=f"pcm_{sound}", codec_rate=8000)
        samples, width = wav[wav.index(b"data") + 8 :], 1
    else:
        samples, width = l16(encode(voice()[None], 16_000, container="wav", codec="pcm_s16le"), rate, sound), 2
    milliseconds = 100 if platform is exotel else 20
    assert hold_call(line, *platform(form, cut(samples, rate * width * milliseconds // 1000)), stop=False) == (1000, [])
    track = line.get(f"/v1/calls/{CALLS[platform]}").json()["tracks"]["inbound"]
    whole = reconstruct(load_model(), read_recording(TELEPHONE)).facts()
    assert track["facts"]["gender"]["reading"] == whole["gender"]["reading"] == "feminine"
    assert track["facts"]["seconds_heard"] == pytest.approx(whole["seconds_heard"], abs=0.5)
    assert track["facts"]["seconds_recorded"] == pytest.approx(whole["seconds_recorded"], abs=0.12)
    assert track["received"]["lost"] == track["received"]["silence_seconds"] == 0
    assert pixels(picture_of(line, CALLS[platform])).shape == (128, 128, 3), "custom parameters are read"


def test_l16_at_sixteen_kilohertz_gives_the_portrait_of_the_same_samples_in_a_file(line: TestClient) -> None:
    wav = encode(voice()[None], 16_000, container="wav", codec="pcm_s16le")
    samples = wav[wav.index(b"data") + 8 :]
    whole = reconstruct(load_model(), read_recording(wav)).facts()
    for platform, swapped in ((telnyx, True), (plivo, False)):
        sent = np.frombuffer(samples, "<i2").astype(">i2").tobytes() if swapped else samples
        form = {"encoding": "L16", "sample_rate": 16000, "sampleRate": 16000}
        hold_call(line, *platform(form, cut(sent, 640)), stop=False)
        facts = line.get(f"/v1/calls/{CALLS[platform]}").json()["tracks"]["inbound"]["facts"]
        assert facts["age"] == pytest.approx(whole["age"], abs=0.05)
        assert facts["seconds_heard"] == whole["seconds_heard"]


def test_a_track_that_no_start_named_begins_with_its_first_frame_and_takes_a_session_slot(limited: Make) -> None:
    both = [telnyx({"encoding": "PCMU"}, cut(mulaw(TELEPHONE), 160), name) for name in ("inbound", "outbound")]
    mixed = [*both[0][:2], *(frame for pair in zip(both[0][2:-1], both[1][2:-1], strict=True) for frame in pair)]
    client = limited(FAST)
    assert hold_call(client, *mixed)[0] == 1000
    tracks = client.get(f"/v1/calls/{CALLS[telnyx]}").json()["tracks"]
    assert {name: track["facts"]["gender"]["reading"] for name, track in tracks.items()} == {
        "inbound": "feminine",
        "outbound": "feminine",
    }
    full = limited(Limits(sessions_at_once=1))
    assert [each["code"] for each in hold_call(full, *mixed[:4], stop=False)[1]] == ["too_many"]


def test_frames_without_number_or_time_are_heard_as_they_come(line: TestClient) -> None:
    bare = [
        {"event": "media", "stream_sid": "MZ7", "media": {"payload": payload}}
        for payload in in_base64(cut(mulaw(TELEPHONE), 800))
    ]
    begin = exotel({"encoding": "audio/x-mulaw"}, [])[1]
    assert hold_call(line, begin, *bare)[0] == 1000
    check = line.get("/v1/calls/CA7").json()["tracks"]["inbound"]
    assert check["facts"]["seconds_recorded"] == pytest.approx(len(mulaw(TELEPHONE)) / 8000, abs=0.05)


@pytest.mark.parametrize(
    ("platform", "form", "words"),
    [
        (telnyx, {"encoding": "OPUS", "sample_rate": 16000}, ("Telnyx", "OPUS", "stream_codec")),
        (telnyx, {"encoding": "G722", "sample_rate": 8000}, ("Telnyx", "G722", "PCMU")),
        (plivo, {"encoding": "audio/x-l16", "sampleRate": 48000}, ("Plivo", "48000", "contentType")),
        (exotel, {"encoding": "opus", "sample_rate": 8000}, ("Exotel", "opus", "sample-rate")),
        (signalwire, {"encoding": "G722", "sampleRate": 8000}, ("SignalWire", "G722", "codec")),
        (signalwire, {"encoding": "audio/x-mulaw", "channels": 2}, ("2 channels", "one channel")),
    ],
)
def test_a_sound_that_is_not_heard_is_refused_with_the_platforms_name_and_way_out(
    line: TestClient, platform: Platform, form: dict[str, Any], words: tuple[str, ...]
) -> None:
    closed, said = hold_call(line, *platform(form, [])[:-1], stop=False)
    assert (closed, [each["code"] for each in said]) == (4400, ["unsupported_format"])
    for word in words:
        assert word in said[0]["text"]


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ({"event": "websocket:connected", "content-type": "audio/l16;rate=16000"}, "Vonage"),
        ({"content-type": "audio/l16;rate=16000", "app": "demo"}, "Vonage"),
        ({"eventType": "start", "metadata": {"callId": "c-1"}}, "Bandwidth"),
        ({"event": "start", "start": {"mediaFormat": {"encoding": "PCM16", "sampleRate": 16000}}}, "Voximplant"),
        ({"kind": "AudioMetadata", "audioMetadata": {}}, "Azure"),
        ({"version": "2", "type": "open", "id": "x"}, "Genesys"),
    ],
)
def test_a_platform_that_is_not_understood_is_named(line: TestClient, first: dict[str, Any], name: str) -> None:
    closed, said = hold_call(line, first, stop=False)
    assert (closed, [each["code"] for each in said]) == (4400, ["unsupported_platform"])
    assert name in said[0]["text"]
    assert "/v1/live" in said[0]["text"]


@pytest.mark.parametrize(
    "begin",
    [
        {"event": "start"},
        {"event": "start", "start": []},
        {"event": "start", "start": {"callSid": "CA1"}},
        {"event": "start", "streamSid": 5},
        {"event": "start", "stream_id": "x", "start": {"media_format": "PCMU"}},
        {"event": "start", "streamId": "x", "start": {"mediaFormat": {"sampleRate": "many"}}},
        {"event": "start", "stream_sid": "x", "start": {"call_sid": "../x"}},
    ],
)
def test_a_start_that_is_no_platforms_is_a_bad_message(line: TestClient, begin: dict[str, Any]) -> None:
    closed, said = hold_call(line, begin, stop=False)
    assert (closed, [each["code"] for each in said]) == (4400, ["bad_message"])


def test_half_a_sample_of_l16_is_a_bad_message(line: TestClient) -> None:
    messages = plivo({"encoding": "audio/x-l16", "sampleRate": 8000}, [bytes(321)])[:-1]
    assert [each["code"] for each in hold_call(line, *messages, stop=False)[1]] == ["bad_message"]


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("{}", {}),
        ('{"pixels": "128"}', {"pixels": "128"}),
        ("{X-PH-pixels: 128; X-PH-token: abc}", {"pixels": "128", "token": "abc"}),
        ("pixels=128,token=abc", {"pixels": "128", "token": "abc"}),
        ({"X-PH-token": "abc"}, {"token": "abc"}),
        (5, {}),
    ],
)
def test_custom_parameters_are_read_from_an_object_or_a_text(stated: object, found: dict[str, str]) -> None:
    begin = plivo({}, [])[0] | {"extra_headers": stated}
    assert plain_start(begin)[1]["start"]["customParameters"] == found
