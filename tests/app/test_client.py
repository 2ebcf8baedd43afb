"""`speech2face.client` against a real server: what it gives back, and which error it raises."""

import asyncio
import io
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

import speech2face
from speech2face.app.http import Access
from speech2face.client import Client, LiveUpdate, ServiceError
from speech2face.errors import (
    InvalidGiven,
    InvalidOption,
    NotMedia,
    RecordingNotFound,
    SilentRecording,
    UnreadableRecording,
)
from tests.app.listening import Listening, server
from tests.app.speaking import EXAMPLES, PIECE, label_in, pcm, voice, wav

TOKEN = "a-token-of-many-letters"
SILENCE = wav(np.zeros(32_000, np.float32))


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(token=TOKEN) as running:
        yield running


@pytest.fixture
def client(listening: Listening) -> Iterator[Client]:
    with Client(listening.address, token=TOKEN) as made:
        yield made


def test_a_portrait_is_the_librarys_with_its_facts(client: Client) -> None:
    picture, facts = client.portrait(EXAMPLES / "female.mp3", age=40, seed=None)
    wanted = speech2face.reconstruct(
        speech2face.load_model(), EXAMPLES / "female.mp3", given=speech2face.Given(age=40.0)
    )
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture))), wanted.image)
    assert facts == wanted.facts() == label_in(picture)[1]


def test_a_drawing_is_an_svg_with_its_label(client: Client) -> None:
    svg, facts = client.drawing(EXAMPLES / "female.mp3", exaggerate=0.5)
    assert label_in(svg, ".svg")[1] == facts
    assert (facts["style"], facts["exaggerate"]) == ("drawn", 0.5)
    drawn, facts = client.portrait(EXAMPLES / "female.mp3", style="drawn", pixels=64)
    assert Image.open(io.BytesIO(drawn)).size == (64, 64)
    assert facts["style"] == "drawn"


def test_a_refusal_is_the_librarys_error(client: Client) -> None:
    for recording, options, kind in (
        (SILENCE, {}, SilentRecording),
        (b"words", {}, NotMedia),
        (SILENCE, {"age": 3}, InvalidGiven),
        ("no/such/file.mp3", {}, RecordingNotFound),
    ):
        with pytest.raises(kind):
            client.portrait(recording, **options)
    with pytest.raises(ServiceError, match="colour") as refused:
        client.portrait(SILENCE, colour="red")
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")


def test_of_several_each_is_a_portrait_or_an_error(client: Client) -> None:
    she, silence = client.portraits([EXAMPLES / "female.mp3", SILENCE], pixels=64)
    assert she.name == "female.mp3"
    assert she.picture is not None
    assert she.facts is not None
    assert she.facts["gender"]["reading"] == "feminine"
    assert isinstance(silence.error, SilentRecording)
    assert (silence.picture, silence.facts) == (None, None)
    assert client.portraits([]) == []


def test_a_conversation_has_a_picture_of_each_speaker_and_of_who_spoke_when(client: Client) -> None:
    told = client.conversation(EXAMPLES / "conversation.opus", pixels=64)
    assert [speaker["speaker"] for speaker in told.facts["speakers"]] == [1, 2, 3]
    assert label_in(told.timeline)[1] == told.facts
    facts = [label_in(portrait)[1] for portrait in told.portraits]
    assert facts == [speaker["portrait"] for speaker in told.facts["speakers"]]
    with pytest.raises(SilentRecording):
        client.conversation(SILENCE)
    with pytest.raises(InvalidOption, match="conversation"):
        client.portraits([SILENCE], speakers="auto")


def test_models_and_health(client: Client) -> None:
    assert [model["name"] for model in client.models()] == ["starter"]
    assert client.health()["status"] == "ready"


def test_a_wrong_token_and_a_service_that_is_not_there_say_so(listening: Listening) -> None:
    with Client(listening.address, token="wrong") as stranger:
        with pytest.raises(ServiceError) as refused:
            stranger.models()
        assert refused.value.status == 401
        with pytest.raises(ServiceError, match="token"):
            next(stranger.live([b""]))
    with Client("http://127.0.0.1:1") as lost:
        with pytest.raises(ServiceError, match="running"):
            lost.health()
        with pytest.raises(ServiceError, match="running"):
            next(lost.live([b""]))
        with pytest.raises(ServiceError, match="running"):
            asyncio.run(first_of(lost.live_async(no_sound())))


async def first_of(updates: AsyncIterator[LiveUpdate]) -> LiveUpdate:
    return await anext(updates)


async def no_sound() -> AsyncIterator[bytes]:
    yield b""


def pieces() -> Iterator[bytes]:
    content = pcm(voice(3.0))
    for place in range(0, len(content), PIECE):
        yield content[place : place + PIECE]


def check(updates: list[LiveUpdate]) -> None:
    assert updates[-1].facts["seconds_recorded"] == pytest.approx(3.0, abs=0.1)
    assert updates[-1].picture is not None
    assert Image.open(io.BytesIO(updates[-1].picture)).size == (128, 128)


def test_live_sound_gives_updates_until_it_ends(client: Client) -> None:
    check(list(client.live(pieces(), sample_rate=16_000, pixels=128)))


def test_live_sound_gives_updates_in_asyncio_too(client: Client) -> None:
    async def sound() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    async def run() -> list[LiveUpdate]:
        return [update async for update in client.live_async(sound(), sample_rate=16_000, pixels=128)]

    check(asyncio.run(run()))


def test_sound_that_fails_on_the_way_fails_here_and_not_after_two_minutes(client: Client) -> None:
    def unplugged() -> Iterator[bytes]:
        yield next(pieces())
        raise OSError("unplugged")

    async def unplugged_async() -> AsyncIterator[bytes]:
        for piece in unplugged():
            yield piece

    async def run() -> list[LiveUpdate]:
        return [update async for update in client.live_async(unplugged_async(), sample_rate=16_000)]

    with pytest.raises(OSError, match="unplugged"):
        list(client.live(unplugged(), sample_rate=16_000))
    with pytest.raises(OSError, match="unplugged"):
        asyncio.run(run())


def test_live_silence_is_the_librarys_error(client: Client) -> None:
    with pytest.raises(SilentRecording):
        list(client.live([bytes(32_000)], sample_rate=16_000))


@contextmanager
def another_program(*says: str | bytes) -> Iterator[str]:
    """The address of a program that is no service of this one: it answers HTTP with a page, and sockets with `says`."""

    def page(connection: ServerConnection, request: Request) -> Response | None:
        return None if "Upgrade" in request.headers else connection.respond(HTTPStatus.OK, "<html>Welcome</html>")

    def speak(connection: ServerConnection) -> None:
        connection.recv()
        for message in says:
            connection.send(message)
        connection.close(1001, "going away")

    with serve(speak, "127.0.0.1", 0, process_request=page) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.socket.getsockname()[1]}"
        finally:
            running.shutdown()
            thread.join()


def test_another_program_at_the_address_is_said_to_be_one() -> None:
    with another_program() as address, Client(address) as client:
        for ask in (client.health, client.models):
            with pytest.raises(ServiceError, match="is not speech2face serve"):
                ask()


@pytest.mark.parametrize(
    "answer",
    [
        *('{"results": []}', '{"results": 5}', '{"results": [5]}', '{"results": [{"name": "a", "status": 200}]}'),
        *('{"results": [{"status": 422, "problem": {}}]}', '{"results": [{"problem": {"kind": "NoSpeech"}}]}'),
        *('{"models": 5}', "[]", "5"),
    ],
)
def test_json_of_another_program_is_said_to_be_one(answer: str) -> None:
    with Client() as client:
        there = httpx.MockTransport(lambda request: httpx.Response(200, text=answer))
        client._http = httpx.Client(base_url=client.url, transport=there)
        asked: tuple[Callable[[], Any], ...] = (
            *(client.models, lambda: client.portrait(b"x"), lambda: client.portraits([b"x"])),
            lambda: client.conversation(b"x"),
        )
        for ask in asked:
            with pytest.raises(ServiceError, match="is not speech2face serve"):
                ask()


@pytest.mark.parametrize("says", ["hello", "[1]", '{"type": "welcome"}', b"\xff\xfe", "{}"])
def test_a_socket_of_another_program_is_said_to_be_one(says: str | bytes) -> None:
    with another_program(says) as address, Client(address) as client:
        with pytest.raises(ServiceError, match="is not speech2face serve"):
            next(client.live([b""]))
        with pytest.raises(ServiceError, match="is not speech2face serve"):
            asyncio.run(first_of(client.live_async(no_sound())))


def test_a_service_that_ends_before_it_was_ready_says_so() -> None:
    with another_program() as address, Client(address) as client:
        with pytest.raises(ServiceError, match="going away") as ended:
            next(client.live([b""]))
        assert ended.value.status == 1001
        with pytest.raises(ServiceError, match="going away"):
            asyncio.run(first_of(client.live_async(no_sound())))


def test_a_refused_look_at_the_state_is_an_error_and_no_state() -> None:
    with server(access=Access(hosts=frozenset({"faces.example.org"}))) as running:
        with Client(running.address) as client:
            client._http.headers["Host"] = "another.example.org"
            with pytest.raises(ServiceError, match="allowed-host") as refused:
                client.health()
        assert refused.value.status == 421


def test_an_address_is_taken_in_capitals_too(listening: Listening) -> None:
    with Client(listening.address.replace("http", "HTTP"), token=TOKEN) as client:
        check(list(client.live(pieces(), sample_rate=16_000, pixels=128)))


ADDRESSES_THAT_ARE_NONE = (
    *(None, 3, "", "http://[::1", "nowhere", "//127.0.0.1", "ftp://127.0.0.1", "ws://127.0.0.1"),
    *("http://127.0.0.1:99999", "http://127.0.0.1:port", "http://127.0.0.1/#token=abc", "http://127.0.0.1/?token=abc"),
    *("http://127.0.0.1\n", "http://127.0.0.1\0", "http://a b"),
)


def test_what_a_caller_passes_is_taken_or_refused_by_name(client: Client) -> None:
    content = (EXAMPLES / "male.flac").read_bytes()
    expected = client.portrait(content)[1]
    for form in (bytearray(content), memoryview(content), io.BytesIO(content), str(EXAMPLES / "male.flac")):
        assert client.portrait(form)[1] == expected
    wrong: list[Callable[[], Any]] = [
        *(lambda source=source: client.portrait(source) for source in (None, 3, object(), io.StringIO("text"))),
        *(lambda several=several: client.portraits(several) for several in ("voice.wav", b"voice", None, 3)),
        *(lambda value=value: client.portrait(content, seed=value) for value in ([1], {"a": 1}, object())),
        *(lambda url=url: Client(url) for url in ADDRESSES_THAT_ARE_NONE),
        *(lambda token=token: Client(token=token) for token in ("löwe", "a\nb", 3)),
        lambda: Client(seconds="x"),  # type: ignore[arg-type]
        *(lambda seconds=seconds: Client(seconds=seconds) for seconds in (0, -1)),
        lambda: list(client.live(pieces(), given=object())),
        lambda: list(client.live(pieces(), motion="poses")),
        lambda: list(client.live(["text"])),  # type: ignore[list-item]
    ]
    for call in wrong:
        with pytest.raises((InvalidOption, UnreadableRecording)):
            call()
    error = pickle.loads(pickle.dumps(ServiceError("busy", code="busy", status=503)))
    assert (str(error), error.code, error.status) == ("busy", "busy", 503)
