"""A telephone call as platforms stream it: `WS /v1/media-stream`, JSON with 20 ms or more of sound in each message."""

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, TypeVar

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StringConstraints, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app.calls import (
    PLATFORMS,
    Call,
    Callback,
    CallBook,
    CallTrack,
    Message,
    Platform,
    Sound,
    SoundForm,
    TrackOptions,
    TrackOrder,
    Unheard,
    UnsupportedPlatform,
    check_callback,
    check_form,
    hear_all,
    in_thread,
    message_of,
    plain_start,
    sound_form,
)
from speech2face.app.http import CloseCode, Problem, code_of, one_line
from speech2face.app.live import Allowance, Ended, bad_message
from speech2face.app.schemas import Exaggeration, Pixels
from speech2face.app.service import MEDIA_TYPES, in_base64
from speech2face.audio.stream import Encoding, PcmFormat
from speech2face.errors import Speech2FaceError

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

# --------------------------------------------------------------------------------------------------
# What a telephone platform says on `/v1/media-stream`: the JSON form that Twilio Media Streams made common.
# Other platforms' names are turned into Twilio's first (`call_platforms`). Platforms add fields and events of their
# own, so what is not known here is passed over; what is used is checked.
# --------------------------------------------------------------------------------------------------

CALL_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
TRACK_NAMES: Final = ("inbound", "outbound")
MAX_CHUNK: Final = 2**53
Identifier = Annotated[str, StringConstraints(pattern=rf"^{CALL_ID.pattern}$")]
Track = Literal["inbound", "outbound"]


class Part(BaseModel):
    """Numbers may come as strings, as the platforms send them."""

    model_config = ConfigDict(extra="ignore")


class MediaFormat(Part):
    """How the sound comes."""

    encoding: str = "audio/x-mulaw"
    sampleRate: int = 8000
    channels: int = 1


class Wishes(Part):
    """What may be asked, in the platform's custom parameters or in the address's query."""

    token: Annotated[str, Field(max_length=1000)] | None = None
    callback: Annotated[str, Field(max_length=2000)] | None = None
    model: Annotated[str, Field(max_length=200)] | None = None
    pixels: Pixels = 512
    exaggerate: Exaggeration = 0.0
    updates_per_second: float = Field(1.0, gt=0, le=10, allow_inf_nan=False)


class StreamStart(Part):
    """Which call it is."""

    callSid: Identifier | None = None
    tracks: list[Track] = Field(["inbound"], min_length=1, max_length=2)
    mediaFormat: MediaFormat = MediaFormat()
    customParameters: dict[str, Any] = {}


class Media(Part):
    """20 ms of one track."""

    track: Track = "inbound"
    chunk: int | None = Field(None, ge=0, le=MAX_CHUNK)  # None: frames come in order
    timestamp: int | None = Field(None, ge=0, le=MAX_CHUNK)  # milliseconds, since the stream began or since 1970
    payload: str

    def sound(self) -> bytes:
        """The samples.

        Raises:
            binascii.Error, ValueError: no base64.
        """
        return base64.b64decode(self.payload, validate=True)


class Started(Part):
    """`start`"""

    event: Literal["start"]
    streamSid: Identifier
    start: StreamStart
    platform: SkipValidation[Platform] = PLATFORMS[0]

    @property
    def form(self) -> SoundForm:
        """What the payloads hold."""
        form = self.start.mediaFormat
        return sound_form(self.platform, form.encoding, form.sampleRate, form.channels)

    @property
    def call(self) -> str:
        """The call's name; a stream without one is a call of its own."""
        return self.start.callSid or self.streamSid


class Frame(Part):
    """`media`"""

    event: Literal["media"]
    media: Media


class Stopped(Part):
    """`stop`"""

    event: Literal["stop"]


Event = Annotated[Started | Frame | Stopped, Field(discriminator="event")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_KNOWN: Final = ("start", "media", "stop")


def read_event(text: str) -> Event | None:
    """One message; None for an event that changes nothing here: connected, mark, dtmf, and whatever a platform adds.

    Raises:
        UnsupportedPlatform: a platform's form that is not understood.
        ValueError: with one line that says what is wrong.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # brackets nested deeper than the parser goes
        raise ValueError("the message is not JSON") from None
    if isinstance(values, dict):
        check_form(values)
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        raise ValueError('the message must be a JSON object with an "event"')
    if values["event"] not in _KNOWN:
        return None
    platform = PLATFORMS[0]
    if values["event"] == "start":
        platform, values = plain_start(values)
    try:
        return _EVENT.validate_python(values | {"platform": platform})
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def read_wishes(query: dict[str, Any], parameters: dict[str, Any]) -> Wishes:
    """What is asked for; a custom parameter counts more than the query, where no token belongs.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    try:
        return Wishes.model_validate({name: query[name] for name in query if name != "token"} | parameters)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def sound_of(frame: Frame) -> bytes | None:
    """A frame's samples; None where they are not base64."""
    try:
        return frame.media.sound()
    except (binascii.Error, ValueError):
        return None


log = logging.getLogger(__name__)
router = APIRouter()
T = TypeVar("T")
ENCODINGS: Final[dict[Sound, Encoding]] = {"audio/x-mulaw": "mulaw", "audio/x-alaw": "alaw", "audio/x-l16": "s16le"}


@dataclass(frozen=True)
class StreamedTrack:
    """One track on its way: frames put in order, sound that is not heard yet, and the portrait."""

    name: str
    order: TrackOrder
    unheard: Unheard
    track: CallTrack


class MediaStreamConnection:
    """From the accepted socket to its close."""

    def __init__(self, socket: WebSocket, service: "Service", book: CallBook) -> None:
        self._socket, self._service, self._book = socket, service, book
        self._limits = service.limits
        self._allowance = Allowance(self._limits.messages_per_second, self._limits.message_burst)
        self._hung_up = asyncio.Event()
        self._seats = contextlib.ExitStack()
        self._call: Call | None = None
        self._tracks: dict[str, StreamedTrack] = {}
        self._works: list[asyncio.Task[None]] = []
        self._failed = asyncio.Event()  # one of the works
        self._updates_per_second = 1.0
        self._model: Model
        self._form: SoundForm
        self._options = TrackOptions()

    def hang_up(self) -> None:
        """End the stream because the service ends, or the call was deleted."""
        self._hung_up.set()

    async def run(self) -> None:
        """Serve the platform until it, we or the limits end it."""
        started = time.monotonic()
        reason, code = "internal", int(CloseCode.INTERNAL)
        try:
            self._take_seat()
            await self._serve()
        except Ended as ended:
            reason, code = ended.error or ended.reason, await self._say_goodbye(ended)
        except WebSocketDisconnect as left:
            reason, code = "peer_gone", left.code
        except asyncio.CancelledError:
            reason, code = "shutdown", int(CloseCode.SHUTDOWN)
            raise
        except Exception:
            log.exception("media stream failed")
            await self._say_goodbye(Ended(CloseCode.INTERNAL, "internal error", "internal"))
        finally:
            if self._call is not None:
                self._book.close(self._call, reason)
            self._seats.close()
            self._service.metrics.count("speech2face_calls_closed_total", kind="media-stream", reason=reason)
            seconds = round(time.monotonic() - started, 3)
            log.info("call", extra={"data": {"code": code, "reason": reason, "seconds": seconds}})

    def _take_seat(self) -> None:
        if self._seats.enter_context(self._book.seat(self.hang_up)) is None:
            if self._service.ending:
                raise Ended(CloseCode.SHUTDOWN, "the service is ending", "shutdown")
            raise Ended(CloseCode.TOO_MANY, "as many people are speaking as can be heard; try again later", "too_many")

    async def _serve(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._limits.start_seconds):
                started = await self._first_event()
        except TimeoutError:
            raise Ended(CloseCode.IDLE, "no start came", "idle") from None
        try:
            await self._begin(started)
            await self._until_the_end()
        finally:
            await self._finish()

    async def _until_the_end(self) -> NoReturn:
        reader = asyncio.create_task(self._read_all())
        watch = asyncio.create_task(self._watch())
        failed = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait([reader, watch, failed], return_when=asyncio.FIRST_COMPLETED)
            for task in (watch, reader, *self._works):
                if task.done() and (failure := task.exception()) is not None:
                    raise failure
            raise AssertionError("the reader ends by an exception")
        finally:
            for waiting in (reader, watch, failed):
                waiting.cancel()
            await asyncio.gather(reader, watch, failed, return_exceptions=True)
            for track in self._tracks.values():
                await track.unheard.end(track.order.flush())
            await asyncio.gather(*self._works, return_exceptions=True)

    async def _first_event(self) -> Started:
        while True:
            event = await self._event()
            if isinstance(event, Started):
                return event
            if event is not None:
                raise Ended(CloseCode.BAD_MESSAGE, f'"{event.event}" came before "start"', "no_start")

    async def _event(self) -> Event | None:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        if not self._allowance.spend(time.monotonic()):
            await asyncio.sleep(self._allowance.wait_seconds)  # a burst waits at the sender
        text = message.get("text")
        if text is None:
            raise bad_message("the messages of a media stream are text")
        if len(text) > self._limits.text_bytes:
            most = self._limits.text_bytes
            raise Ended(CloseCode.TOO_BIG, f"a message of {len(text)} is over the limit of {most}", "too_big")
        try:
            return read_event(text)
        except UnsupportedPlatform as error:
            raise Ended(CloseCode.BAD_MESSAGE, str(error), "unsupported_platform") from None
        except ValueError as error:
            raise bad_message(str(error)) from None

    async def _begin(self, started: Started) -> None:
        try:
            wishes = read_wishes(dict(self._socket.query_params), started.start.customParameters)
        except ValueError as error:
            raise bad_message(str(error)) from None
        if not self._service.allowed(wishes.token, self._socket.headers.get("authorization")):
            raise Ended(CloseCode.TOKEN, "the token is missing or wrong", "token")
        form = started.form
        if (refusal := form.refusal()) is not None:
            raise Ended(CloseCode.BAD_MESSAGE, refusal, "unsupported_format")
        try:
            model = self._service.shelf.model(wishes.model)
            if wishes.callback is not None:
                check_callback(wishes.callback, self._service.settings.callback_hosts)
        except Problem as problem:
            code = CloseCode.NOT_READY if problem.status == 503 else CloseCode.BAD_MESSAGE
            raise Ended(code, problem.text, problem.code) from None
        except Speech2FaceError as error:
            raise Ended(CloseCode.BAD_MESSAGE, str(error), code_of(error)) from None
        self._model, self._form = model, form
        self._options = TrackOptions(wishes.pixels, wishes.exaggerate)
        self._updates_per_second = wishes.updates_per_second
        call = Call(started.call, "media-stream", self.hang_up)
        if not self._book.open(call):
            raise Ended(CloseCode.BAD_MESSAGE, "a call of this name is running", "call_exists")
        self._call = call
        for name in dict.fromkeys(started.start.tracks if form.platform.states_tracks else ()):
            await self._open_track(name)
        if wishes.callback is not None:
            call.callback = Callback(wishes.callback, self._limits)

    async def _open_track(self, name: str) -> StreamedTrack:
        assert self._call is not None
        if self._tracks:
            self._take_seat()  # the first has the connection's
        assert self._form.sound is not None
        order = TrackOrder(self._form.sound, self._form.sample_rate)
        source = PcmFormat(ENCODINGS[self._form.sound], self._form.sample_rate, 1)
        try:
            track = await self._in_thread(lambda: CallTrack(self._model, source, self._options))
        except Speech2FaceError as error:
            raise Ended(CloseCode.BAD_MESSAGE, str(error), code_of(error)) from None
        unheard = Unheard(order.bytes_per_second, self._limits.call_unheard_seconds, source.frame_bytes)
        streamed = self._tracks[name] = StreamedTrack(name, order, unheard, track)
        self._call.tracks[name], self._call.received[name] = track, order.counts
        work = asyncio.create_task(self._work(streamed))
        work.add_done_callback(lambda done: self._failed.set() if done.cancelled() or done.exception() else None)
        self._works.append(work)
        return streamed

    async def _read_all(self) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    event = await self._event()
            except TimeoutError:
                raise Ended(CloseCode.IDLE, f"nothing came for {self._limits.idle_seconds:g} s", "idle") from None
            if isinstance(event, Frame):
                await self._frame(event)
            elif isinstance(event, Started):
                raise bad_message('a second "start" came')
            elif event is not None:
                raise Ended(CloseCode.FINISHED, "stopped")

    async def _frame(self, frame: Frame) -> None:
        media = frame.media
        track = self._tracks.get(media.track)
        if track is None:
            if self._form.platform.states_tracks:
                raise Ended(CloseCode.BAD_MESSAGE, f'"start" did not name the track {media.track}', "unknown_track")
            track = await self._open_track(media.track)
        sound = sound_of(frame)
        if sound is None:
            raise Ended(CloseCode.BAD_MESSAGE, "a payload is not base64", "bad_base64")
        if self._form.sound == "audio/x-l16":
            if len(sound) % 2:
                raise bad_message(f"a payload of L16 has {len(sound)} bytes; its samples have two each")
            if self._form.big_endian:
                sound = swapped(sound)
        await track.unheard.put(track.order.push(media.chunk, media.timestamp, sound))

    async def _work(self, streamed: StreamedTrack) -> None:
        async def updated() -> None:
            self._post(streamed)

        try:
            await hear_all(
                streamed.unheard,
                streamed.track,
                executor=self._service.live_threads,
                updates_per_second=self._updates_per_second,
                updated=updated,
                metrics=self._service.metrics,
            )
        except Speech2FaceError as error:
            raise Ended(CloseCode.UNUSABLE_SOUND, str(error), code_of(error)) from None

    def _post(self, streamed: StreamedTrack, *, last: bool = False) -> None:
        call = self._call
        if call is None or call.callback is None or not (last or streamed.track.drawable):
            return

        async def message() -> Message | None:
            if not self._book.known(call):
                return None
            drawn = await self._in_thread(streamed.track.picture)
            number, picture = (
                (streamed.track.number, None) if drawn is None else (drawn[0], in_base64(drawn[1], MEDIA_TYPES["png"]))
            )
            return message_of(
                call.name,
                streamed.name,
                number,
                streamed.track.facts,
                picture=picture,
                problem=streamed.track.problem,
                last=last,
            )

        call.callback.show(streamed.name, message)

    async def _watch(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._limits.session_seconds):
                await self._hung_up.wait()
        except TimeoutError:
            raise Ended(CloseCode.IDLE, "the call has lasted as long as one may", "session_over") from None
        if self._service.ending:
            raise Ended(CloseCode.SHUTDOWN, "the service is ending", "shutdown")
        raise Ended(CloseCode.FINISHED, "deleted")

    async def _finish(self) -> None:
        """The last portrait of every track; what was forgotten meanwhile is not drawn any more."""
        kept = self._call is not None and self._book.known(self._call)
        for streamed in self._tracks.values():
            await self._in_thread(streamed.track.finish if kept else streamed.track.close)
            if kept:
                self._post(streamed, last=True)
        if self._call is not None and self._call.callback is not None:
            if kept:
                self._call.callback.finish()
            else:
                self._call.callback.cancel()

    async def _say_goodbye(self, ended: Ended) -> int:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(self._limits.send_seconds):
                if ended.error is not None:
                    await self._socket.send_json({"event": "error", "code": ended.error, "text": ended.reason})
                await self._socket.close(ended.code, ended.reason.encode()[:120].decode("utf-8", "ignore"))
        return int(ended.code)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await in_thread(self._service.live_threads, call)


def swapped(sound: bytes) -> bytes:
    """16-bit samples in the other byte order."""
    return np.frombuffer(sound, ">i2").astype("<i2").tobytes()


@router.websocket("/v1/media-stream")
async def media_stream(socket: WebSocket) -> None:
    """One stream of one call."""
    await socket.accept()
    await MediaStreamConnection(socket, socket.app.state.service, socket.app.state.calls).run()
