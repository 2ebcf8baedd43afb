"""The calls that are on, and for a while those that were: `GET` and `DELETE /v1/calls/{call}`, and their pictures."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import httpx
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from speech2face.app import schemas
from speech2face.app.http import PORTS, Problem, disconnected, pieces_of, plain_address, valid, written
from speech2face.app.service import SoundBuffer, VoiceSession, encode_all, encoded, in_thread
from speech2face.errors import InvalidOption, Speech2FaceError, need_extra
from speech2face.limits import Style
from speech2face.live import LiveSession, PcmFormat

if TYPE_CHECKING:
    from speech2face.app.http import Limits
    from speech2face.app.service import Service
    from speech2face.models.contract import Model
    from speech2face.portrait import Portrait

# --- Portraits posted to an address that a call named, beside the call: only to hosts that the service's owner allowed.
# A slow or dead receiver costs the call nothing: at most one message is under way, the newest waits, older ones give
# way.

log = logging.getLogger(__name__)
RETRY_SECONDS: Final = 0.5  # before the second try; doubled before each further one
GIVE_UP_AFTER: Final = 5  # messages in a row that were not taken
CallbackMessage = dict[str, Any]


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
    if url.port is not None and not 0 < url.port < 2**16:
        raise InvalidOption(f"the callback's port {url.port} is outside 1 to {2**16 - 1}")
    names = written(host, url.port, url.scheme)
    if names.isdisjoint(hosts):
        name = max(names, key=len)
        raise InvalidOption(f"callbacks to {name} are not allowed; start the service with --callback-host {name}")
    return address


async def callback_addresses(url: httpx.URL) -> list[str]:
    """The addresses that a checked callback's host has now, to be connected to as they are and not looked up again.

    Raises:
        InvalidOption: it leads where no name should, or to this network and to another one at once: its owner may
            write any address, but a name is answered by whoever has it.
    """
    standard = PORTS[url.scheme]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(url.host, url.port or standard, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    stated = plain_address(url.host.strip("[]")) is not None or url.host == "localhost"
    if not stated and (unfit := unfit_addresses(addresses)):
        raise InvalidOption(f"the callback's host has the address {unfit[0]}, where nothing is sent by name")
    return addresses


def unfit_addresses(addresses: Collection[str]) -> list[str]:
    """Those that a name may not stand for: this machine, its link (where clouds keep secrets), groups, or a mixture."""
    plain = {each: plain_address(each.partition("%")[0]) for each in addresses}
    unfit = [
        each
        for each, address in plain.items()
        if address is None
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    ]
    inside = [each for each, address in plain.items() if address is not None and address.is_private]
    return unfit or (inside if len(inside) < len(plain) else [])


class Callback:
    """The messages of one call to one address."""

    def __init__(self, address: str, limits: "Limits") -> None:
        self._address, self._limits = address, limits
        self._waiting: dict[str, Callable[[], Awaitable[CallbackMessage | None]]] = {}  # by track, the newest
        self._changed = asyncio.Event()
        self._ended = False
        self._failed_in_a_row = 0
        self.taken = self.failed = self.passed_over = 0
        self.task = asyncio.create_task(self._post_all())

    def counts(self) -> dict[str, Any]:
        """How it went, JSON-ready; the address is not repeated."""
        return {
            "taken": self.taken,
            "failed": self.failed,
            "passed_over": self.passed_over,
            "given_up": self._failed_in_a_row >= GIVE_UP_AFTER,
        }

    def show(self, track: str, message: Callable[[], Awaitable[CallbackMessage | None]]) -> None:
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
        self.task.cancel()

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

    async def _status(self, client: httpx.AsyncClient, message: CallbackMessage, attempt: int) -> int:
        """The answer's status; the connection is to an address, so that no name is looked up twice."""
        url = httpx.URL(self._address)
        addresses = await callback_addresses(url)
        host = addresses[attempt % len(addresses)]
        request = client.build_request(
            "POST",
            url.copy_with(host=host),
            json=message,
            headers={"Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.host},
        )
        answer = await client.send(request, stream=True)
        await answer.aclose()
        return answer.status_code

    async def _post(self, client: httpx.AsyncClient, message: CallbackMessage) -> None:
        pause = RETRY_SECONDS
        for attempt in range(self._limits.callback_tries):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, InvalidOption):
                # The whole exchange is bounded, not each read of it: a receiver may dribble.
                async with asyncio.timeout(self._limits.callback_seconds):
                    status = await self._status(client, message, attempt)
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


# --- One voice in a call and the portrait of it so far; it outlives its sound by its last picture and facts alone.

HOP_SECONDS: Final = 0.1  # encoded at once: five frames cost hardly more than one
FIRST_SNAPSHOT_SECONDS: Final = 0.2  # between snapshots until there is a portrait: they cost nothing


@dataclass(frozen=True)
class TrackOptions:
    """What is wanted of a portrait."""

    pixels: int | None = None
    exaggerate: float = 0.0
    style: Style = Style.photographic
    moves: bool = False


class CallVoice(VoiceSession):
    """A voice of a call."""

    def __init__(self, model: "Model", source: PcmFormat, options: TrackOptions) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        super().__init__(model, source, exaggerate=options.exaggerate, style=options.style)
        self._options = options
        self._picture: tuple[int, bytes] | None = None  # the number of the snapshot it is of, and a labelled PNG
        self.facts: dict[str, Any] | None = None
        self.problem: dict[str, Any] | None = None  # why there will be no portrait

    @property
    def drawable(self) -> bool:
        """Whether there is a portrait."""
        return self._picture is not None or super().drawable

    def look(self) -> None:
        """Take a snapshot of what is believed so far."""
        with self._lock:
            if self._session is not None:
                self.facts = self._take(self._session.snapshot()).facts()

    def portrait(self) -> "Portrait | None":
        """The portrait of the newest snapshot; None where too little was heard, or the call has ended."""
        with self._lock:
            return None if self._session is None else self._drawn(self._session)

    def _drawn(self, session: LiveSession) -> "Portrait | None":
        snapshot = self._snapshot
        if snapshot is None or snapshot.embedding is None:
            return None
        return session.draw(snapshot, pixels=self._options.pixels)

    def picture(self) -> tuple[int, bytes] | None:
        """The portrait as a labelled PNG and the snapshot it is of; drawn when it is first asked for."""
        with self._lock:
            return self._newest_picture()

    def _newest_picture(self) -> tuple[int, bytes] | None:
        outdated = self._picture is None or self._picture[0] != self.number
        if self._session is not None and outdated and (portrait := self._drawn(self._session)) is not None:
            self._picture = self.number, encoded(portrait)
        return self._picture

    def finish(self) -> None:
        """The end of the sound: the last portrait is drawn, the voice forgotten."""
        with self._lock:
            if self._session is None:
                return
            try:
                self.facts = self._take(self._session.finish()).facts()
                self._newest_picture()
            except Speech2FaceError as error:
                self.problem = {"code": error.code, "text": str(error)}
                self._picture, self.facts = None, None
            self._forget_voice()


class CallTrack:
    """A voice of a call on its way: the buffer of its sound, and the task that encodes what is in it."""

    def __init__(self, voice: CallVoice, source: PcmFormat, service: "Service") -> None:
        self.voice, self._service = voice, service
        bytes_per_second = source.sample_rate * source.frame_bytes
        self.buffer: SoundBuffer[bytes] = SoundBuffer(
            round(service.limits.call_unheard_seconds * bytes_per_second),
            hop_bytes=round(HOP_SECONDS * bytes_per_second),
            hop_seconds=HOP_SECONDS,
            step_bytes=bytes_per_second,
        )

    async def encode(self, updates_per_second: float, updated: Callable[[], Awaitable[None]]) -> None:
        """Encode all that comes, and say so after each snapshot that brought something new.

        Raises:
            Speech2FaceError: the sound cannot be used.
        """

        async def show() -> None:
            await in_thread(self._service.live_threads, self.voice.look)
            await updated()

        await encode_all(
            self.buffer,
            self.voice,
            executor=self._service.live_threads,
            interval=lambda: 1 / updates_per_second if self.voice.drawable else FIRST_SNAPSHOT_SECONDS,
            show=show,
            observe=lambda seconds: self._service.metrics.observe("speech2face_call_update_seconds", seconds),
        )

    async def finish(self, *, kept: bool) -> None:
        """Draw the last portrait and forget the voice; of a call that is not `kept` nothing is drawn any more."""
        await in_thread(self._service.live_threads, self.voice.finish if kept else self.voice.close)


async def open_track(model: "Model", source: PcmFormat, options: TrackOptions, service: "Service") -> CallTrack:
    """Begin with one voice of a call.

    Raises:
        Speech2FaceError: what the model cannot draw.
    """
    voice = await in_thread(service.live_threads, lambda: CallVoice(model, source, options))
    return CallTrack(voice, source, service)


router = APIRouter(tags=["calls"])
HEADERS = {"Cache-Control": "no-store"}


@dataclass
class Call:
    """One call: a track a voice. Its facts and last pictures outlive it for a bounded time."""

    name: str
    kind: Literal["media-stream", "webrtc"]
    hang_up: Callable[[], None]
    voices: dict[str, CallVoice] = field(default_factory=dict)
    received: dict[str, Callable[[], dict[str, float]]] = field(default_factory=dict)
    callback: "Callback | None" = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    reason: str | None = None
    deleted: bool = False
    """Nothing of it is drawn or posted any more. One that only gave way to others still posts what it has."""
    forgetting: asyncio.TimerHandle | None = None
    """What forgets it in time, and until then holds its pictures."""

    def to_dict(self, root_path: str = "") -> dict[str, Any]:
        """Everything but the pictures, JSON-ready; `root_path` is where a proxy shows the service."""
        return {
            "call": self.name,
            "kind": self.kind,
            "state": "running" if self.ended is None else "ended",
            "reason": self.reason,
            "seconds": round((self.ended or time.monotonic()) - self.began, 1),
            "tracks": {name: self._track(name, voice, root_path) for name, voice in self.voices.items()},
            "callback": None if self.callback is None else self.callback.counts(),
        }

    def _track(self, name: str, voice: CallVoice, root_path: str) -> dict[str, Any]:
        counts = self.received.get(name)
        return {
            "number": voice.number,
            "facts": voice.facts,
            "picture": f"{root_path}/v1/calls/{self.name}/{name}.png" if voice.drawable else None,
            "problem": voice.problem,
            "received": {} if counts is None else counts(),
        }


class CallBook:
    """Calls by name; bounded in number and time."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._calls: dict[str, Call] = {}
        self._posting: set[asyncio.Task[None]] = set()

    def get(self, name: str) -> Call:
        """A call.

        Raises:
            Problem: 404.
        """
        if name not in self._calls:
            raise Problem(404, "unknown_call", "no such call; it never was, or it has been forgotten")
        return self._calls[name]

    def open(self, call: Call) -> bool:
        """Write a call down; False where one of that name is running. An ended one gives way."""
        if (known := self._calls.get(call.name)) is not None:
            if known.ended is None:
                return False
            self._forget(known)
        self._calls[call.name] = call
        return True

    def close(self, call: Call, reason: str) -> None:
        """The call has ended; it is forgotten after `call_keep_seconds`, or sooner where many end."""
        if call.ended is not None:
            return
        call.ended, call.reason = time.monotonic(), reason
        if call.deleted:  # while it ran
            return
        loop = asyncio.get_running_loop()
        call.forgetting = loop.call_later(self._service.limits.call_keep_seconds, self._forget, call)
        ended = [each for each in self._calls.values() if each.ended is not None]
        too_many = max(0, len(ended) - self._service.limits.calls_kept)
        for oldest in sorted(ended, key=lambda each: each.ended or 0.0)[:too_many]:
            self._forget(oldest)

    def post(self, call: Call, address: str) -> None:
        """From now on post a call's portraits to a checked address."""
        call.callback = Callback(address, self._service.limits)
        self._posting.add(call.callback.task)
        call.callback.task.add_done_callback(self._posting.discard)

    async def posted(self) -> None:
        """Wait, within a bound, until the last portraits of calls that have ended were posted."""
        if self._posting:
            await asyncio.wait(self._posting, timeout=self._service.limits.shutdown_seconds)

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
        call.deleted = True
        self._forget(call)
        if call.callback is not None:
            call.callback.cancel()  # also what was made before and is being tried again
        call.hang_up()

    def _forget(self, call: Call) -> None:
        if call.forgetting is not None:
            call.forgetting.cancel()  # it would hold facts and pictures until its time
            call.forgetting = None
        if self._calls.get(call.name) is call:
            del self._calls[call.name]


class PngResponse(Response):
    """A labelled PNG."""

    media_type = "image/png"


def _call(request: Request, name: str) -> Call:
    book: CallBook = request.app.state.calls
    return book.get(name)


@router.get(
    "/v1/calls/{call}",
    summary="One call and what is believed of each voice",
    response_model=schemas.CallBody,
    responses=schemas.answers("The call.", 404, 422),
)
async def read_call(call: str, request: Request) -> Response:
    """Facts of every track, and where its picture is."""
    root_path = request.app.state.service.settings.access.root_path
    return JSONResponse(_call(request, call).to_dict(root_path), headers=HEADERS)


@router.get(
    "/v1/calls/{call}/{track}.png",
    summary="The portrait of one voice of a call",
    response_class=PngResponse,
    responses=schemas.errors_of(404, 422, 503),
)
async def read_picture(call: str, track: str, request: Request) -> Response:
    """The newest portrait, labelled; drawn when it is asked for."""
    voices = _call(request, call).voices
    if track not in voices:
        raise Problem(404, "unknown_track", "this call has no such track")
    drawn = await in_thread(request.app.state.service.live_threads, voices[track].picture)
    if drawn is None:
        text = "too little of a voice was heard to draw a portrait"
        raise Problem(404, "no_portrait", text, headers={"Retry-After": "1"})
    return PngResponse(drawn[1], headers=HEADERS)


@router.delete(
    "/v1/calls/{call}",
    status_code=204,
    summary="End and forget a call",
    responses={204: {"description": "It is forgotten."}, **schemas.errors_of(404, 422)},
)
async def delete_call(call: str, request: Request) -> Response:
    """Nothing of it is left in the service."""
    request.app.state.calls.delete(call)
    return Response(status_code=204)


# --- What WebRTC peers ask for; what answers them needs the extra `calls` and is imported when it is first wanted.


class Offer(BaseModel):
    """A peer's session description, and what it wants to see."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["offer"]
    sdp: str = Field(min_length=1)
    call: schemas.Identifier | None = Field(
        None, description="Two peers that name the same call see each other's face."
    )
    sees: Literal["own", "other"] | None = Field(None, description='Default: "other" in a named call, else "own".')
    pixels: Annotated[int, Field(ge=128, le=512, multiple_of=16)] = 320
    exaggerate: schemas.Exaggeration = 0.0
    style: schemas.Shown = Field("photographic", description="How the face of this peer's voice is shown.")
    motion: bool = Field(
        False, description="Whether that face moves as it speaks, with 25 frames a second in place of 8."
    )
    model: schemas.ModelName | None = None


WEBRTC: Final = ("WebRTC", "calls", ("aiortc",))  # what needs which extra


@router.get(
    "/v1/webrtc",
    summary="What a WebRTC peer needs to know before its offer",
    response_model=schemas.IceBody,
    responses=schemas.answers("For RTCPeerConnection.", 501),
)
async def settings(request: Request) -> Response:
    """The STUN servers to ask, none by default; 501 where the service cannot do WebRTC."""
    need_extra(*WEBRTC)
    stun = request.app.state.service.settings.stun
    return JSONResponse({"ice_servers": [{"urls": stun}] if stun else []}, headers=HEADERS)


@router.post(
    "/v1/webrtc/offer",
    summary="A WebRTC peer's offer, answered",
    response_model=schemas.AnswerBody,
    responses=schemas.answers("The session description to go on with.", 400, 408, 413, 422, 429, 501, 503),
    openapi_extra=schemas.json_body(Offer),
)
async def offer(request: Request) -> Response:
    """Hear the peer's audio; send it a video of the face that goes with its voice, or with the other peer's."""
    service: Service = request.app.state.service
    need_extra(*WEBRTC)
    wanted = await _read_offer(request, service.limits)
    client = None if request.client is None else request.client.host
    service.registry.model(wanted.model)
    # The libraries take half a second to import the first time; others are served meanwhile.
    webrtc = await asyncio.to_thread(import_module, "speech2face.app.webrtc")
    meetings = webrtc.meetings_of(request.app)
    answer: dict[str, Any] = await meetings.join(wanted, client)
    if await request.is_disconnected():
        meetings.leave(answer["call"], answer["peer"])  # without the answer it cannot connect: its slot is free again
        raise disconnected()
    return JSONResponse(answer, headers=HEADERS)


async def _read_offer(request: Request, limits: "Limits") -> Offer:
    """The body.

    Raises:
        ClientDisconnect: the client left before it was whole.
        Problem: 408, 413 or 422.
    """
    body = b""
    async for piece in pieces_of(request, limits):
        body += piece
        if len(body) > limits.offer_bytes:
            raise Problem(413, "offer_too_large", f"an offer may have {limits.offer_bytes} bytes")
    return valid(Offer.model_validate_json, body)
