"""The calls that are on, and for a while those that were: `GET` and `DELETE /v1/calls/{call}`, and their pictures."""

import asyncio
import contextlib
import json
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import httpx
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from speech2face.app import schemas as call_openapi
from speech2face.app.http import Metrics, Problem, code_of
from speech2face.app.service import encoded
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.live import LiveLook, LiveSession, PcmFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speech2face.app.http import Limits
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

# --------------------------------------------------------------------------------------------------
# How telephone platforms write the start of a call's stream: one table, from which one form is made.
# All of them send JSON with an `event` and base64 in `media.payload`; names, encodings and the byte order of L16
# differ. Sources are the platforms' own pages: Twilio "Media Streams - WebSocket Messages"; SignalWire "cXML Stream"
# (attribute `codec`); Telnyx "Stream call media over WebSocket"; Plivo "Audio stream"; Exotel "Stream and Voicebot
# applet" and "WebSocket protocol". Plivo's page leaves the byte order of L16 open; programs that use it read little-
# endian.
# --------------------------------------------------------------------------------------------------

Sound = Literal["audio/x-mulaw", "audio/x-alaw", "audio/x-l16"]
TELEPHONE_RATE: Final = 8000
NAMES: Final[dict[str, Sound]] = {
    "mulaw": "audio/x-mulaw", "ulaw": "audio/x-mulaw", "pcmu": "audio/x-mulaw",
    "alaw": "audio/x-alaw", "pcma": "audio/x-alaw",
    "l16": "audio/x-l16", "linear16": "audio/x-l16", "slin": "audio/x-l16",
}  # fmt: skip
EXOTEL_RAW: Final = ("raw", "raw/slin", "base64")  # its names for 16-bit samples, by the age of its documentation
PARAMETERS_TEXT: Final = re.compile(r"([^\s,;:={}]+)\s*[:=]\s*([^,;{}]*)")  # {X-PH-one: 1, X-PH-two: 2} or one=1,two=2


class UnsupportedPlatform(ValueError):
    """A platform's form that is known by name and not understood."""


@dataclass(frozen=True)
class Platform:
    """One platform's names and sounds."""

    name: str
    stream: str  # the stream's identifier, in the message or its "start"
    call: str  # the call's, in "start"
    form: str  # the sound's form, in "start"
    rate: str  # its sample rate, in the form
    parameters: str  # what the caller of the platform's API passed on, in "start" or the message
    sounds: Mapping[Sound, tuple[int, ...]]  # with their rates
    default: Sound = "audio/x-mulaw"
    names: Mapping[str, Sound] = field(default_factory=dict)  # of sounds, beside the usual ones
    big_endian: bool = False  # of L16
    states_tracks: bool = True  # where it does not, each track begins with its first frame
    advice: str = ""

    def heard(self) -> str:
        """Which of its sounds are heard, in words."""
        return ", ".join(f"{sound} at {' or '.join(map(str, rates))} Hz" for sound, rates in self.sounds.items())


G711: Final[dict[Sound, tuple[int, ...]]] = {"audio/x-mulaw": (TELEPHONE_RATE,), "audio/x-alaw": (TELEPHONE_RATE,)}
PLATFORMS: Final = (
    Platform(
        name="Twilio or SignalWire",
        stream="streamSid",
        call="callSid",
        form="mediaFormat",
        rate="sampleRate",
        parameters="customParameters",
        sounds=G711 | {"audio/x-l16": (16_000, 24_000)},  # SignalWire's L16@16000h and L16@24000h, little-endian
        advice="leave out SignalWire's `codec`, or set it to L16@16000h or L16@24000h",
    ),
    Platform(
        name="Telnyx",
        stream="stream_id",
        call="call_control_id",
        form="media_format",
        rate="sample_rate",
        parameters="custom_parameters",
        sounds=G711 | {"audio/x-l16": (8_000, 16_000, 24_000)},
        big_endian=True,  # payloads are those of RTP, whose L16 is in network order (RFC 3551, section 4.5.11)
        states_tracks=False,
        advice="set stream_codec to PCMU, PCMA or L16",
    ),
    Platform(
        name="Plivo",
        stream="streamId",
        call="callId",
        form="mediaFormat",
        rate="sampleRate",
        parameters="extra_headers",
        sounds=G711 | {"audio/x-l16": (8_000, 16_000, 24_000)},
        default="audio/x-l16",
        advice="set contentType to audio/x-l16;rate=8000, audio/x-l16;rate=16000 or audio/x-mulaw;rate=8000",
    ),
    Platform(
        name="Exotel",
        stream="stream_sid",
        call="call_sid",
        form="media_format",
        rate="sample_rate",
        parameters="custom_parameters",
        sounds=G711 | {"audio/x-l16": (8_000, 16_000, 24_000)},
        default="audio/x-l16",
        names=dict.fromkeys(EXOTEL_RAW, "audio/x-l16"),
        states_tracks=False,
        advice="set sample-rate to 8000, 16000 or 24000",
    ),
)


@dataclass(frozen=True)
class SoundForm:
    """What a platform's payloads hold; `sound` is None where that is nothing that is heard."""

    platform: Platform
    stated: str  # as the platform wrote it
    sound: Sound | None
    sample_rate: int
    channels: int

    @property
    def big_endian(self) -> bool:
        """Whether the bytes of a sample come in network order."""
        return self.sound == "audio/x-l16" and self.platform.big_endian

    def refusal(self) -> str | None:
        """Why it is not heard; None where it is."""
        rates = self.platform.sounds.get(self.sound, ()) if self.sound is not None else ()
        if self.sample_rate in rates and self.channels == 1:
            return None
        found = f"{self.stated} at {self.sample_rate} Hz in {self.channels} channel{'s' * (self.channels != 1)}"
        heard = f"{self.platform.heard()} in one channel are heard from {self.platform.name}"
        return f"{found} is not heard: {heard}; {self.platform.advice}"


def plain_start(values: dict[str, Any]) -> tuple[Platform, dict[str, Any]]:
    """A `start` of any platform: whose it is, and Twilio's names for what it says.

    Raises:
        UnsupportedPlatform: a form that is known by name alone.
        ValueError: no platform's.
    """
    start = values.get("start")
    inner: dict[str, Any] = start if isinstance(start, dict) else {}
    for platform in PLATFORMS:
        stream = values.get(platform.stream) or inner.get(platform.stream)
        if stream is not None:
            break
    else:
        if isinstance(inner.get("mediaFormat"), dict):
            raise UnsupportedPlatform(_unsupported("Voximplant"))
        names = ", ".join(f"{platform.stream} ({platform.name})" for platform in PLATFORMS)
        raise ValueError(f'"start" names no stream: it has none of {names}')
    form = inner.get(platform.form)
    if form is not None and not isinstance(form, dict):
        raise ValueError(f"start.{platform.form}: must be an object")
    named: dict[str, Any] = {"mediaFormat": _plain_form(platform, form or {})}
    if inner.get(platform.call) is not None:
        named["callSid"] = inner[platform.call]
    if platform.states_tracks and "tracks" in inner:
        named["tracks"] = inner["tracks"]
    parameters = inner.get(platform.parameters, values.get(platform.parameters))
    if parameters is not None:
        named["customParameters"] = _parameters(parameters)
    return platform, {"event": "start", "streamSid": stream, "start": named}


def _plain_form(platform: Platform, form: dict[str, Any]) -> dict[str, Any]:
    """Its encoding, sample rate and channels; a rate may stand in the encoding's name."""
    stated = str(form.get("encoding") or "")
    named = re.search(r"(?:;\s*rate=|@)(\d+)", stated)
    plain: dict[str, Any] = {"encoding": stated or platform.default}
    rate = form.get(platform.rate) or (named and named.group(1))
    if rate:
        plain["sampleRate"] = rate
    if form.get("channels") is not None:
        plain["channels"] = form["channels"]
    return plain


def sound_form(platform: Platform, encoding: str, sample_rate: int, channels: int) -> SoundForm:
    """What an encoding's name means on a platform: `PCMU`, `audio/x-mulaw`, `audio/L16;rate=16000`, `L16@24000h`."""
    word = re.split(r"[;@]", encoding.strip().lower())[0].removeprefix("audio/").removeprefix("x-")
    sound = platform.names.get(word) or NAMES.get(word)
    return SoundForm(platform, encoding, sound, sample_rate, channels)


def _parameters(stated: object) -> dict[str, Any]:
    """Custom parameters, from an object or from the text that Plivo makes of its extra headers."""
    if isinstance(stated, dict):
        found = {str(name): value for name, value in stated.items()}
    else:
        text = str(stated)
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            read = None
        pairs = ((name.strip("\"' "), value.strip("\"' ")) for name, value in PARAMETERS_TEXT.findall(text))
        found = read if isinstance(read, dict) else dict(pairs)
    return {re.sub(r"^X-PH-", "", name, flags=re.IGNORECASE): value for name, value in found.items()}


def check_form(values: dict[str, Any]) -> None:
    """Refuse a first message whose platform is known and not understood.

    Raises:
        UnsupportedPlatform: naming it.
    """
    for name, is_it in (
        ("Vonage", values.get("event") == "websocket:connected" or "content-type" in values),
        ("Bandwidth", isinstance(values.get("eventType"), str)),
        ("Azure Communication Services", isinstance(values.get("kind"), str)),
        ("Genesys AudioHook", values.get("type") == "open" and "version" in values),
    ):
        if is_it:
            raise UnsupportedPlatform(_unsupported(name))


def _unsupported(name: str) -> str:
    understood = ", ".join(platform.name for platform in PLATFORMS)
    return f"a stream as {name} writes it is not understood; {understood} are, and WS /v1/live takes any sound"


# --------------------------------------------------------------------------------------------------
# Portraits posted to an address that a call named, beside the call: only to hosts that the service's owner allowed.
# A slow or dead receiver costs the call nothing: at most one message is under way, the newest waits, older ones give
# way.
# --------------------------------------------------------------------------------------------------

log = logging.getLogger(__name__)
PORTS: Final = {"http": 80, "https": 443}
RETRY_SECONDS: Final = 0.5  # before the second try; doubled before each further one
GIVE_UP_AFTER: Final = 5  # messages in a row that were not taken
Message = dict[str, Any]


def check_callback(address: str, hosts: Collection[str]) -> str:
    """The address, if it leads to an allowed host.

    Args:
        address: http or https, without user name and password.
        hosts: "name" for its standard ports, or "name:port".

    Raises:
        InvalidOption: nothing is sent there.
    """
    try:
        url = httpx.URL(address)  # the parser that will send it: no other can read another host in the same address
        host = url.host.lower()
    except (httpx.InvalidURL, ValueError):
        raise InvalidOption("the callback is no address of http or https") from None
    if url.scheme not in PORTS:
        found = f'"{url.scheme}"' if url.scheme else "no scheme"
        raise InvalidOption(f"the callback is no address of http or https: it has {found}")
    if url.userinfo or not host:
        raise InvalidOption("the callback needs a host, and no user name or password in it")
    port = PORTS[url.scheme] if url.port is None else url.port
    if not 0 < port < 2**16:
        raise InvalidOption(f"the callback's port {port} is outside 1 to {2**16 - 1}")
    written = f"[{host}]" if ":" in host else host
    standard = port == PORTS[url.scheme]
    if f"{written}:{port}" not in hosts and not (standard and written in hosts):
        raise InvalidOption(
            f"callbacks to {written}:{port} are not allowed; start the service with --callback-host {written}:{port}"
        )
    return address


class Callback:
    """The messages of one call to one address."""

    def __init__(self, address: str, limits: "Limits") -> None:
        self._address, self._limits = address, limits
        self._waiting: dict[str, Callable[[], Awaitable[Message | None]]] = {}  # by track, the newest
        self._changed = asyncio.Event()
        self._ended = False
        self._failed_in_a_row = 0
        self.taken = self.failed = self.passed_over = 0
        self._task = asyncio.create_task(self._post_all())

    def counts(self) -> dict[str, Any]:
        """How it went, JSON-ready; the address is not repeated."""
        return {
            "taken": self.taken,
            "failed": self.failed,
            "passed_over": self.passed_over,
            "given_up": self._failed_in_a_row >= GIVE_UP_AFTER,
        }

    def show(self, track: str, message: Callable[[], Awaitable[Message | None]]) -> None:
        """A track's newest portrait; made when it is its turn, never waited for."""
        self.passed_over += track in self._waiting
        self._waiting[track] = message
        self._changed.set()

    def finish(self) -> None:
        """The call has ended; what waits is still sent."""
        self._ended = True
        self._changed.set()

    def cancel(self) -> None:
        """The call is forgotten; nothing more is sent."""
        self._task.cancel()

    async def _post_all(self) -> None:
        timeout = httpx.Timeout(self._limits.callback_seconds)
        async with httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client:
            while True:
                await self._changed.wait()
                while self._waiting:
                    track = next(iter(self._waiting))
                    message = await self._waiting.pop(track)()
                    if message is not None and self._failed_in_a_row < GIVE_UP_AFTER:
                        await self._post(client, message)
                if self._ended:
                    return
                self._changed.clear()

    async def _post(self, client: httpx.AsyncClient, message: Message) -> None:
        pause = RETRY_SECONDS
        for attempt in range(self._limits.callback_tries):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
                # The whole exchange is bounded, not each read of it: a receiver may dribble.
                async with asyncio.timeout(self._limits.callback_seconds):
                    async with client.stream("POST", self._address, json=message) as answer:
                        status = answer.status_code
                if 200 <= status < 300:
                    self.taken += 1
                    self._failed_in_a_row = 0
                    return
                if status < 500 and status != 429:
                    break  # it will not take it later either
        self.failed += 1
        self._failed_in_a_row += 1
        if self._failed_in_a_row == GIVE_UP_AFTER:
            log.warning("callback given up", extra={"data": {"failed": self.failed}})


def message_of(call: str, track: str, number: int, facts: dict[str, Any] | None, **more: Any) -> Message:
    """What is posted."""
    return {"event": "portrait", "call": call, "track": track, "number": number, "facts": facts, **more}


# --------------------------------------------------------------------------------------------------
# One voice in a call and the portrait of it so far; it outlives its sound by its last picture and facts alone.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrackOptions:
    """What is wanted of a portrait."""

    pixels: int | None = None
    exaggerate: float = 0.0


class CallTrack:
    """A `LiveSession` of a call; for worker threads, one at a time by its own lock."""

    def __init__(self, model: "Model", source: PcmFormat, options: TrackOptions) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        self._lock = threading.Lock()
        self._options = options
        self._session: LiveSession | None = LiveSession(model, source, exaggerate=options.exaggerate)
        self._look: LiveLook | None = None
        self._picture: tuple[int, bytes] | None = None  # the number of the look it is of, and a labelled PNG
        self.number = 0  # of looks that say something new
        self.facts: dict[str, Any] | None = None
        self.problem: dict[str, Any] | None = None  # why there will be no portrait

    @property
    def drawable(self) -> bool:
        """Whether there is a portrait."""
        return self._picture is not None or (self._look is not None and self._look.embedding is not None)

    def hear(self, sound: bytes, *, look: bool) -> bool:
        """Hear the next sound; whether there is speech that no look has seen, after looking where that is wanted.

        Raises:
            Speech2FaceError: the sound cannot be used.
        """
        with self._lock:
            if self._session is None:
                return False
            new = self._session.push(sound)
            if not new or not look:
                return new
            self._see(self._session.look())
            return False

    def look(self) -> None:
        """What is believed so far."""
        with self._lock:
            if self._session is not None:
                self._see(self._session.look())

    def _see(self, look: LiveLook) -> None:
        self._look, self.facts = look, look.facts()
        self.number += 1

    def image(self) -> "NDArray[np.uint8] | None":
        """The portrait's pixels, (height, width, 3); None where too little was heard, or the call has ended."""
        with self._lock:
            if self._session is None or self._look is None or self._look.embedding is None:
                return None
            return self._session.draw(self._look, pixels=self._options.pixels).image

    def picture(self) -> tuple[int, bytes] | None:
        """The portrait as a labelled PNG and the look it is of; drawn when it is first asked for."""
        with self._lock:
            return self._drawn()

    def _drawn(self) -> tuple[int, bytes] | None:
        look = self._look
        if self._session is None or look is None or look.embedding is None:
            return self._picture
        if self._picture is None or self._picture[0] != self.number:
            portrait = self._session.draw(look, pixels=self._options.pixels)
            self._picture = self.number, encoded(portrait.image, portrait.facts(), "portrait", "png")
        return self._picture

    def finish(self) -> None:
        """The end of the sound: the last portrait is drawn, the voice forgotten."""
        with self._lock:
            if self._session is None:
                return
            try:
                self._see(self._session.finish())
                self._drawn()
            except Speech2FaceError as error:
                self.problem = {"code": code_of(error), "text": str(error)}
                self._picture, self.facts = None, None
            self._forget_voice()

    def close(self) -> None:
        """Forget the voice; a picture that was drawn stays."""
        with self._lock:
            self._forget_voice()

    def _forget_voice(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session.reset()
        self._session, self._look = None, None


router = APIRouter(tags=["calls"])
HEADERS = {"Cache-Control": "no-store"}


@dataclass
class Call:
    """One call: a track a voice. Its facts and last pictures outlive it for a bounded time."""

    name: str
    kind: Literal["media-stream", "webrtc"]
    hang_up: Callable[[], None]
    tracks: dict[str, CallTrack] = field(default_factory=dict)
    received: dict[str, Callable[[], dict[str, float]]] = field(default_factory=dict)
    callback: "Callback | None" = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, JSON-ready."""
        return {
            "call": self.name,
            "kind": self.kind,
            "state": "running" if self.ended is None else "ended",
            "reason": self.reason,
            "seconds": round((self.ended or time.monotonic()) - self.began, 1),
            "tracks": {name: self._track(name, track) for name, track in self.tracks.items()},
            "callback": None if self.callback is None else self.callback.counts(),
        }

    def _track(self, name: str, track: CallTrack) -> dict[str, Any]:
        counts = self.received.get(name)
        return {
            "number": track.number,
            "facts": track.facts,
            "picture": f"/v1/calls/{self.name}/{name}.png" if track.drawable else None,
            "problem": track.problem,
            "received": {} if counts is None else counts(),
        }


class Seat:
    """One voice among the live sessions: counted with them, and told with them when the service ends."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up
        self.gone = asyncio.Event()

    def end(self) -> None:
        """The service ends."""
        self._hang_up()


class CallBook:
    """Calls by name; bounded in number and time."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, name: str) -> Call:
        """A call.

        Raises:
            Problem: 404.
        """
        if name not in self._calls:
            raise Problem(404, "unknown_call", "no such call; it never was, or it has been forgotten")
        return self._calls[name]

    def find(self, name: str) -> Call | None:
        """A call, or None."""
        return self._calls.get(name)

    def open(self, call: Call) -> bool:
        """Write a call down; False where one of that name is running. An ended one gives way."""
        known = self._calls.get(call.name)
        if known is not None and known.ended is None:
            return False
        self._calls.pop(call.name, None)
        self._calls[call.name] = call
        return True

    def close(self, call: Call, reason: str) -> None:
        """The call has ended; it is forgotten after `call_keep_seconds`, or sooner where many end."""
        if call.ended is not None:
            return
        call.ended, call.reason = time.monotonic(), reason
        asyncio.get_running_loop().call_later(self._service.limits.call_keep_seconds, self._forget, call)
        ended = [each for each in self._calls.values() if each.ended is not None]
        for oldest in sorted(ended, key=lambda each: each.ended or 0.0)[: -self._service.limits.calls_kept]:
            self._forget(oldest)

    def drop(self, call: Call) -> None:
        """It never came to be: nobody could be taken in."""
        call.ended, call.reason = time.monotonic(), "refused"
        self._forget(call)

    def delete(self, name: str) -> None:
        """Forget a call now; one that is running is ended.

        Raises:
            Problem: 404.
        """
        call = self.get(name)
        self._forget(call)
        call.hang_up()

    def _forget(self, call: Call) -> None:
        if self._calls.get(call.name) is call:
            del self._calls[call.name]

    def known(self, call: Call) -> bool:
        """Whether it has not been forgotten, or replaced by another of its name."""
        return self._calls.get(call.name) is call

    @contextlib.contextmanager
    def seat(self, hang_up: Callable[[], None]) -> Iterator[Seat | None]:
        """A place among the live sessions; None where there is none."""
        service = self._service
        if service.ending or len(service.live) >= service.limits.sessions_at_once:
            yield None
            return
        seat = Seat(hang_up)
        service.live.add(seat)
        try:
            yield seat
        finally:
            seat.gone.set()
            service.live.discard(seat)


def book_of(request: Request) -> CallBook:
    """The application's calls."""
    book = request.app.state.calls
    assert isinstance(book, CallBook)
    return book


@router.get("/v1/calls/{call}", summary="One call and what is believed of each voice", **call_openapi.CALL)
async def read_call(call: str, request: Request) -> Response:
    """Facts of every track, and where its picture is."""
    return JSONResponse(book_of(request).get(call).to_dict(), headers=HEADERS)


@router.get("/v1/calls/{call}/{track}.png", summary="The portrait of one voice of a call", **call_openapi.PICTURE)
async def read_picture(call: str, track: str, request: Request) -> Response:
    """The newest portrait, labelled; drawn when it is asked for."""
    tracks = book_of(request).get(call).tracks
    if track not in tracks:
        raise Problem(404, "unknown_track", "this call has no such track")
    threads = request.app.state.service.live_threads
    drawn = await asyncio.get_running_loop().run_in_executor(threads, tracks[track].picture)
    if drawn is None:
        text = "too little of a voice was heard to draw a portrait"
        raise Problem(404, "no_portrait", text, headers={"Retry-After": "1"})
    return Response(drawn[1], headers=HEADERS, media_type="image/png")


@router.delete("/v1/calls/{call}", status_code=204, summary="End and forget a call", **call_openapi.DELETE)
async def delete_call(call: str, request: Request) -> Response:
    """Nothing of it is left in the service."""
    book_of(request).delete(call)
    return Response(status_code=204)


# --------------------------------------------------------------------------------------------------
# Sound of one voice on its way to be heard: bounded, taken in hops, looked at as often as wanted.
# --------------------------------------------------------------------------------------------------

HOP_SECONDS: Final = 0.1  # heard at once: five frames cost hardly more than one
STEP_HOPS: Final = 10  # most that is heard at once, so that a flood does not keep the others waiting
FIRST_LOOK_SECONDS: Final = 0.2  # between looks until there is a portrait: they cost nothing
T = TypeVar("T")


class Unheard:
    """Sound that has come and was not heard yet."""

    def __init__(self, bytes_per_second: int, most_seconds: float, frame_bytes: int = 1) -> None:
        """Args: `frame_bytes` is one sample's size; what is taken is never cut within one."""
        self._hop_bytes = round(HOP_SECONDS * bytes_per_second) // frame_bytes * frame_bytes
        self._most_bytes = round(most_seconds * bytes_per_second)
        self._sound = bytearray()
        self._changed = asyncio.Condition()
        self._ended = False
        self.dropped_bytes = 0

    async def put(self, sound: bytes) -> None:
        """Append, and wait while there is too much."""
        async with self._changed:
            self._sound += sound
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._sound) <= self._most_bytes)

    async def offer(self, sound: bytes) -> None:
        """Append, or drop it where there is too much: for a sender that does not wait."""
        async with self._changed:
            if len(self._sound) + len(sound) > self._most_bytes:
                self.dropped_bytes += len(sound)
                return
            self._sound += sound
            self._changed.notify_all()

    async def end(self, last: bytes = b"") -> None:
        """No more comes."""
        async with self._changed:
            self._sound += last
            self._ended = True
            self._changed.notify_all()

    async def take(self, timeout: float | None) -> bytes | None:
        """At least a hop, or what there is at the end or after `timeout`; None when all was taken."""
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait_for(lambda: len(self._sound) >= self._hop_bytes or self._ended)
            if self._ended and not self._sound:
                return None
            taken = bytes(self._sound[: STEP_HOPS * self._hop_bytes])
            del self._sound[: len(taken)]
            self._changed.notify_all()
            return taken


async def in_thread(executor: Executor, call: Callable[[], T]) -> T:
    """Do it in a worker thread."""
    waiting: Awaitable[T] = asyncio.get_running_loop().run_in_executor(executor, call)
    return await waiting


async def hear_all(
    unheard: Unheard,
    track: CallTrack,
    *,
    executor: Executor,
    updates_per_second: float,
    updated: Callable[[], Awaitable[None]],
    metrics: Metrics,
) -> None:
    """Hear everything to the end, and say so after each look that brought something new.

    Raises:
        Speech2FaceError: the sound cannot be used.
    """
    due, next_look = False, 0.0
    while (sound := await unheard.take(max(0.0, next_look - time.monotonic()) if due else None)) is not None:
        came, number = time.monotonic(), track.number
        look = came >= next_look
        due = await in_thread(executor, lambda: track.hear(sound, look=look)) or due  # noqa: B023
        if due and look:
            await in_thread(executor, track.look)
        if track.number > number:
            due, next_look = False, came + (1 / updates_per_second if track.drawable else FIRST_LOOK_SECONDS)
            await updated()
            metrics.observe("speech2face_call_update_seconds", time.monotonic() - came)


# --------------------------------------------------------------------------------------------------
# One track's frames of sound in order: those out of order sorted, those twice dropped, those lost made good.
# --------------------------------------------------------------------------------------------------

WINDOW_CHUNKS: Final = 10  # frames that wait for an earlier one: 200 ms, beyond which it is given up
FOLLOWS_MS: Final = 10  # a frame whose time is this near the last one's end follows it, whatever its number
JITTER_MS: Final = 40  # time stamps of two frames may be this far off before time is missing
MAX_FILL_MS: Final = 1000  # a longer pause tells no more
SILENCE: Final = {"audio/x-mulaw": b"\xff", "audio/x-alaw": b"\xd5", "audio/x-l16": b"\0\0"}  # one sample
REMEMBERED_LOST: Final = 256


class TrackOrder:
    """Frames in as they come, bytes out in the order they were spoken.

    A frame is the next one by its number, or by its time: where a platform counts over both tracks, or leaves numbers
    out, nothing is missing. What is lost becomes as much silence as the time stamps say, so that a pause stays a pause.
    """

    def __init__(self, encoding: Sound = "audio/x-mulaw", sample_rate: int = TELEPHONE_RATE) -> None:
        self._silence = SILENCE[encoding]
        self._samples_per_ms = sample_rate / 1000
        self.bytes_per_second = sample_rate * len(self._silence)
        self._next: int | None = None
        self._clock_ms: float = 0.0  # where the next sample is, by the time stamps
        self._waiting: dict[int, tuple[int, bytes]] = {}  # time stamp in ms and sound, by number
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self.received = self.lost = self.late = self.repeated = 0
        self.filled_ms = 0.0

    def push(self, chunk: int | None, timestamp_ms: int | None, sound: bytes) -> bytes:
        """One frame; all sound that is in order now, often none or one frame, silence included.

        A frame without number or time is as it came.
        """
        self.received += 1
        if chunk is None or timestamp_ms is None:
            return self.flush() + sound
        if self._next is None:
            self._next = 1 if chunk in range(1, WINDOW_CHUNKS) else chunk
            self._clock_ms = max(0, timestamp_ms - 20 * (chunk - self._next))
        if chunk < self._next:
            if chunk in self._given_up:
                del self._given_up[chunk]
                self.late += 1
            else:
                self.repeated += 1
            return b""
        if chunk in self._waiting:
            self.repeated += 1
            return b""
        self._waiting[chunk] = (timestamp_ms, sound)
        return self._ready()

    def flush(self) -> bytes:
        """The end: all that still waits, in order."""
        ready = b""
        while self._waiting:
            ready += self._take(min(self._waiting))
        return ready

    def counts(self) -> dict[str, float]:
        """How the frames came, JSON-ready."""
        return {
            "frames": self.received,
            "lost": self.lost,
            "late": self.late,
            "repeated": self.repeated,
            "silence_seconds": round(self.filled_ms / 1000, 2),
        }

    def _ready(self) -> bytes:
        ready = b""
        while self._waiting:
            first = min(self._waiting)
            follows = abs(self._waiting[first][0] - self._clock_ms) <= FOLLOWS_MS
            if first != self._next and not follows and len(self._waiting) <= WINDOW_CHUNKS:
                break
            ready += self._take(first)
        return ready

    def _take(self, chunk: int) -> bytes:
        timestamp_ms, sound = self._waiting.pop(chunk)
        assert self._next is not None
        missing_ms = timestamp_ms - self._clock_ms
        if chunk > self._next and missing_ms > FOLLOWS_MS:
            self._give_up(self._next, chunk)
        self._next = chunk + 1
        fill_ms = 0.0
        if missing_ms > JITTER_MS or (missing_ms > FOLLOWS_MS and chunk - 1 in self._given_up):
            fill_ms = min(missing_ms, MAX_FILL_MS)
            self._clock_ms += missing_ms
        elif missing_ms < -MAX_FILL_MS:  # the sender's clock was set back
            self._clock_ms = timestamp_ms
        self.filled_ms += fill_ms
        self._clock_ms += 1000 * len(sound) / self.bytes_per_second
        return self._silence * round(fill_ms * self._samples_per_ms) + sound

    def _give_up(self, first: int, end: int) -> None:
        self.lost += end - first
        for chunk in range(max(first, end - REMEMBERED_LOST), end):
            self._given_up[chunk] = None
        while len(self._given_up) > REMEMBERED_LOST:
            self._given_up.popitem(last=False)
