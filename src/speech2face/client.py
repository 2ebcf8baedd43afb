"""Talk to a running `speech2face serve` from Python.

from speech2face.client import Client

client = Client("http://127.0.0.1:8765")
picture, facts = client.portrait("recording.mp3")
"""

import base64
import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, Self
from urllib.parse import urlsplit

from speech2face import errors
from speech2face.errors import InvalidOption, Speech2FaceError, need_extra
from speech2face.inputs import (
    BytesLike,
    PathLike,
    content_of,
    described,
    is_bytes,
    plain_bytes,
    read_content,
    real_number,
)
from speech2face.models.contract import Given

if TYPE_CHECKING:
    import httpx

DEFAULT_URL: Final = "http://127.0.0.1:8765"
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
FACTS_HEADER: Final = "Speech2Face-Facts"
Source = PathLike | BytesLike | BinaryIO


class ServiceError(Speech2FaceError):
    """The service refused or failed for a reason of its own: busy, a token, a limit; `code` and `status` say which."""

    def __init__(self, text: str, *, code: str, status: int) -> None:
        super().__init__(text)
        self.code, self.status = code, status

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it comes back whole from another process."""
        return partial(type(self), code=self.code, status=self.status), self.args


@dataclass(frozen=True)
class ServedPortrait:
    """One of several recordings: its picture (PNG) and facts, or the error it gave."""

    name: str
    picture: bytes | None
    facts: dict[str, Any] | None
    error: Speech2FaceError | None


@dataclass(frozen=True)
class ServedConversation:
    """Who spoke when in a recording, `facts` as those of `Conversation`; the timeline and each portrait as PNG."""

    facts: dict[str, Any]
    timeline: bytes
    portraits: tuple[bytes, ...]


@dataclass(frozen=True)
class LiveUpdate:
    """What is believed after the speech so far; `picture` is None where there is nothing new to draw."""

    number: int
    facts: dict[str, Any]
    listening: str
    picture: bytes | None


class Client:
    """Client of one running service. Use it in a `with` block, or call `close`."""

    def __init__(self, url: str = DEFAULT_URL, *, token: str | None = None, seconds: float = 60.0) -> None:
        """Nothing is sent yet.

        Args:
            url: where the service listens.
            token: its token, where it wants one.
            seconds: after which a request is given up.

        Raises:
            InvalidOption: no address, a token that no header can hold, or no number of seconds.
            MissingExtra: the extra `serve` is not installed.
        """
        need_extra("the client", "serve", ("httpx", "websockets"))
        import httpx

        _check_address(url, token)
        if (seconds := real_number("seconds", seconds)) <= 0:
            raise InvalidOption(f"seconds is {seconds:g}; give a number over 0")
        scheme, _, place = url.partition("://")
        self.url, self._token = f"{scheme.lower()}://{place.rstrip('/')}", token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        own = urlsplit(url).hostname in LOOPBACK_NAMES  # no proxy knows the way to this machine
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=seconds, trust_env=not own)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Return what `/health` says; `status` is "starting", "ready", "ending" or "failed"."""
        answer = self._request("GET", "/health", failures=False)
        if answer.status_code >= 400 and not isinstance(_problem(answer)["status"], str):
            raise _error(_problem(answer))  # of a proxy, or of a service that does not answer to this name
        with self._understood():
            return {"status": answer.json()["status"], **answer.json()}

    def models(self) -> list[dict[str, Any]]:
        """Return the service's models, and which attributes may be stated for each."""
        answer = self._request("GET", "/v1/models")
        with self._understood():
            return list(answer.json()["models"])

    def portrait(self, recording: Source, **options: Any) -> tuple[bytes, dict[str, Any]]:
        """Return the portrait as a labelled PNG, and its facts.

        Args:
            recording: a path, the bytes of a file, or a binary file.
            options: samples, seed, exaggerate, age, gender, group, hair, model, style, pixels; with samples the picture
                is a sheet.

        Raises:
            Speech2FaceError: the kind that `reconstruct` would raise.
            ServiceError: the service itself refuses.
        """
        return self._portrait(recording, "image/png", options)

    def drawing(self, recording: Source, **options: Any) -> tuple[bytes, dict[str, Any]]:
        """Return the portrait as a labelled SVG drawing, and its facts; `options` are those of `portrait` for one face.

        Raises:
            Speech2FaceError: the kind that `reconstruct` would raise.
            ServiceError: the service itself refuses.
        """
        return self._portrait(recording, "image/svg+xml", options)

    def _portrait(self, recording: Source, media_type: str, options: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        _, content = _named(recording, "recording")
        headers = {"Accept": media_type, "Content-Type": "application/octet-stream"}
        answer = self._request("POST", "/v1/portrait", content=content, headers=headers, params=_stated(options))
        with self._understood():
            return answer.content, json.loads(answer.headers[FACTS_HEADER])

    def portraits(self, recordings: Sequence[Source], **options: Any) -> list[ServedPortrait]:
        """Return the portraits of several recordings, in their order; one that fails does not spoil the others.

        Raises:
            ServiceError: the service refuses all of them.
        """
        if is_bytes(recordings) or not isinstance(recordings, Sequence) or isinstance(recordings, str):
            raise InvalidOption(f"the recordings are {described(recordings)}; give a list of them")
        if not recordings:
            return []
        if options.get("speakers") is not None:
            raise InvalidOption("speakers are of one recording: call conversation")
        results = self._results(recordings, options)
        with self._understood():
            return [_answer(result) for result in results]

    def conversation(
        self, recording: Source, *, speakers: int | Literal["auto"] = "auto", **options: Any
    ) -> ServedConversation:
        """Return a portrait of each speaker of a recording, and who spoke when; `options` are those of `portrait`.

        Raises:
            Speech2FaceError: the kind that `reconstruct_speakers` would raise.
            ServiceError: the service itself refuses.
        """
        (result,) = self._results([recording], options | {"speakers": speakers})
        with self._understood():
            if "problem" in result:
                raise _error(result["problem"])
            told = result["conversation"]
            pictures = [told["timeline"], *(each["picture"] for each in told["portraits"])]
            timeline, *portraits = (base64.b64decode(picture["base64"]) for picture in pictures)
            return ServedConversation(told["facts"], timeline, tuple(portraits))

    def _results(self, recordings: Sequence[Source], options: dict[str, Any]) -> list[dict[str, Any]]:
        files = [("file", _named(each, f"{number}")) for number, each in enumerate(recordings)]
        answer = self._request("POST", "/v1/portraits", files=files, params=_stated(options))
        with self._understood():
            results: list[dict[str, Any]] = answer.json()["results"]
            if len(results) != len(recordings):
                raise ValueError("other results than were asked for")
            return results

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Read an answer within.

        Raises:
            ServiceError: it is not as this service writes it: what answers is another program, or of another version.
        """
        try:
            yield
        except (ValueError, KeyError, TypeError):
            text = f"what answers at {self.url} is not speech2face serve, or of another version; look at the address"
            raise ServiceError(text, code="unknown", status=0) from None

    def live(self, sound: Iterable[bytes], **start: Any) -> Iterator[LiveUpdate]:
        """Send sound as it comes and get the portrait so far, until both end.

        Args:
            sound: pieces of any size, as fast as they come; read in a thread of its own.
            start: what the start message holds: sample_rate, channels, format ("s16le"), picture, given, style ...

        Raises:
            Speech2FaceError: the sound cannot be used, or holds no voice.
            ServiceError: the service refuses.
            Exception: whatever `sound` raises; the session is over then.
        """
        from websockets.exceptions import ConnectionClosed, WebSocketException
        from websockets.sync.client import connect

        first = self._start(start)
        try:
            connected = connect(self._live_url(), max_size=None, proxy=None)
        except (OSError, WebSocketException) as error:
            raise self._unreachable(error) from None
        with connected as socket:
            stop = threading.Event()
            failures: list[Exception] = []

            def feed() -> None:
                try:
                    for piece in sound:
                        if stop.is_set():
                            return
                        socket.send(plain_bytes(piece, "a piece of the sound"))
                    socket.send(FINISH)
                except ConnectionClosed:
                    return  # the reader says why
                except Exception as error:
                    failures.append(error)
                    socket.close()

            try:
                socket.send(first)
                self._read_ready(socket.recv())
                threading.Thread(target=feed, daemon=True).start()
                while (values := self._read_message(socket.recv()))["type"] != "end":
                    picture = socket.recv() if values.get("picture") else None
                    if values["type"] == "update":
                        yield self._update(values, picture)
            except ConnectionClosed as closed:
                raise (failures[0] if failures else _closed(closed)) from None
            finally:
                stop.set()

    async def live_async(self, sound: AsyncIterable[bytes], **start: Any) -> AsyncIterator[LiveUpdate]:
        """Do what `live` does, for asyncio."""
        import asyncio

        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, WebSocketException

        first = self._start(start)
        try:
            connected = await connect(self._live_url(), max_size=None, proxy=None)
        except (OSError, WebSocketException) as error:
            raise self._unreachable(error) from None
        async with connected as socket:
            failures: list[Exception] = []
            feeder: asyncio.Task[None] | None = None

            async def feed() -> None:
                try:
                    async for piece in sound:
                        await socket.send(plain_bytes(piece, "a piece of the sound"))
                    await socket.send(FINISH)
                except ConnectionClosed:
                    return
                except Exception as error:
                    failures.append(error)
                    await socket.close()

            try:
                await socket.send(first)
                self._read_ready(await socket.recv())
                feeder = asyncio.create_task(feed())
                while (values := self._read_message(await socket.recv()))["type"] != "end":
                    picture = await socket.recv() if values.get("picture") else None
                    if values["type"] == "update":
                        yield self._update(values, picture)
            except ConnectionClosed as closed:
                raise (failures[0] if failures else _closed(closed)) from None
            finally:
                if feeder is not None:
                    feeder.cancel()

    def _live_url(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/v1/live"

    def _start(self, start: dict[str, Any]) -> str:
        if start.get("motion", "none") != "none":
            raise InvalidOption("updates alone are given here; poses and frames come over the WebSocket (docs/api.md)")
        if isinstance(start.get("given"), Given):
            start = start | {"given": start["given"].to_dict()}
        try:
            return json.dumps({"type": "start", "format": "s16le", "token": self._token} | start, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidOption(f"the start message cannot be written as JSON: {error}") from None

    def _read_message(self, message: str | bytes) -> dict[str, Any]:
        """The next text message.

        Raises:
            ServiceError, Speech2FaceError: it says an error that ends the session, or is another program's.
        """
        with self._understood():
            values: dict[str, Any] = json.loads(message)
            if values["type"] == "error" and values["fatal"]:
                raise _live_error(values)
            return values

    def _read_ready(self, message: str | bytes) -> None:
        with self._understood():
            if self._read_message(message)["type"] != "ready":
                raise ValueError("another first message")

    def _update(self, values: dict[str, Any], picture: str | bytes | None) -> LiveUpdate:
        with self._understood():
            if isinstance(picture, str):
                raise ValueError("a text where a picture was announced")
            return LiveUpdate(values["number"], values["facts"], values["listening"], picture)

    def _unreachable(self, error: Exception) -> ServiceError:
        text = f"{self.url} cannot be reached: {str(error) or type(error).__name__}; is the service running?"
        return ServiceError(text, code="unreachable", status=0)

    def _request(self, method: str, path: str, *, failures: bool = True, **content: Any) -> "httpx.Response":
        import httpx

        try:
            answer = self._http.request(method, path, **content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        if failures and answer.status_code >= 400:
            raise _error(_problem(answer))
        return answer


FINISH: Final = '{"type":"finish"}'


def _named(recording: Source, name: str) -> tuple[str, bytes]:
    """A recording's bytes, and the name of its file or else this one."""
    content = read_content(recording, "the recording")
    return (name, content) if isinstance(content, bytes) else (content.name, content_of(content))


def _stated(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if not (value is None or isinstance(value, str | int | float) or type(value).__module__ == "numpy"):
            raise InvalidOption(f"{name} is {described(value)}; give a number or a name")
    return {name: value for name, value in options.items() if value is not None}


def _check_address(url: object, token: object) -> None:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        leads = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        leads = leads and str(url).isprintable() and " " not in str(url)
    except ValueError:  # brackets that do not close, a port that is none
        leads = False
    if not leads:
        raise InvalidOption(f"the service's address is {described(url)}; give one such as {DEFAULT_URL}")
    if parts.query or parts.fragment:
        raise InvalidOption("the service's address ends before ? and #; its token is given as token=")
    if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
        raise InvalidOption("the token is no line of ASCII text; give the one the service was started with")


def _problem(answer: "httpx.Response") -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = {}
    unknown = {"code": "unknown", "status": answer.status_code, "detail": f"status {answer.status_code}"}
    return unknown | (found if isinstance(found, dict) else {})


def _error(problem: dict[str, Any]) -> Speech2FaceError:
    """The typed error where it is one of the library's."""
    kind = getattr(errors, str(problem.get("kind", "")), None)
    if isinstance(kind, type) and issubclass(kind, Speech2FaceError):
        return kind(problem["detail"])
    return ServiceError(problem["detail"], code=problem["code"], status=problem["status"])


def _answer(result: dict[str, Any]) -> ServedPortrait:
    if result["status"] != 200:
        return ServedPortrait(result["name"], None, None, _error(result["problem"]))
    portrait = result["portrait"]
    return ServedPortrait(result["name"], base64.b64decode(portrait["picture"]["base64"]), portrait["facts"], None)


def _live_error(values: dict[str, Any]) -> Speech2FaceError:
    name = "".join(part.title() for part in values["code"].split("_"))
    return _error({"kind": name, "detail": values["text"], "code": values["code"], "status": 0})


def _closed(closed: Any) -> ServiceError:
    received = closed.rcvd
    code, reason = (1006, "the connection was lost") if received is None else (received.code, received.reason)
    return ServiceError(f"the service ended the session: {reason} ({code})", code="closed", status=code)
