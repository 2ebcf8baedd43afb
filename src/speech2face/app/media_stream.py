"""A telephone call as platforms stream it: `WS /v1/media-stream`, JSON with 20 ms or more of sound in each message."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import numpy as np
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app.call_messages import Event, Frame, Started, read_event, read_wishes, sound_of
from speech2face.app.call_order import TrackOrder
from speech2face.app.call_platforms import Sound, SoundForm, UnsupportedPlatform
from speech2face.app.call_sound import Unheard, hear_all, in_thread
from speech2face.app.call_track import CallTrack, TrackOptions
from speech2face.app.callbacks import Callback, Message, check_callback, in_base64, message_of
from speech2face.app.calls import Call, CallBook
from speech2face.app.limits import CloseCode
from speech2face.app.live_queues import Allowance
from speech2face.app.live_socket import Ended, bad_message
from speech2face.app.problems import Problem, code_of
from speech2face.audio.stream import Encoding, PcmFormat
from speech2face.errors import Speech2FaceError

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

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
            number, picture = (streamed.track.number, None) if drawn is None else (drawn[0], in_base64(drawn[1]))
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
