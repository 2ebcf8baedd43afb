"""One live client: its messages, its engine in the worker threads, and the ways it can end."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app.http import CloseCode, Limits, Metrics, Problem, code_of, one_line
from speech2face.app.schemas import Exaggeration, Pixels, Shown
from speech2face.app.service import MEDIA_TYPES, WEBP_MOST_PIXELS, describe, drawing, encoded
from speech2face.audio.stream import LEAST_RESAMPLED_SECONDS
from speech2face.batch import contact_sheet
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.live import LiveLook, LiveSession
from speech2face.models.contract import Given

if TYPE_CHECKING:
    from collections.abc import Callable

    from speech2face.app.service import Service
    from speech2face.audio.stream import Media, PcmFormat
    from speech2face.models.contract import Model

# --------------------------------------------------------------------------------------------------
# What a client of `/v1/live` may say in text; sound comes in binary messages.
# --------------------------------------------------------------------------------------------------

PROTOCOL = 1


class Message(BaseModel):
    """Unknown names are mistakes, and said to be."""

    model_config = ConfigDict(extra="forbid", strict=True)


class GivenAttributes(Message):
    """Attributes stated instead of heard; which values are possible is the model's to say."""

    age: float | None = Field(default=None, ge=0, le=150, allow_inf_nan=False)
    gender: Literal["female", "male"] | None = None
    group: Annotated[str, Field(max_length=80)] | None = None

    def given(self) -> Given:
        """For the model."""
        return Given(age=self.age, gender=self.gender, group=self.group)


class Start(Message):
    """The first message: how the sound comes and what is wanted back."""

    type: Literal["start"]
    format: Literal["s16le", "f32le", "mulaw", "alaw", "webm", "ogg"]
    sample_rate: int = Field(48_000, ge=8_000, le=192_000)
    channels: int = Field(1, ge=1, le=8)
    updates_per_second: float = Field(4, gt=0, le=1000, allow_inf_nan=False)
    picture: Literal["webp", "png", "none"] = "webp"
    pixels: Pixels = 256
    given: GivenAttributes = GivenAttributes()
    exaggerate: Exaggeration = 0.0
    style: Shown = "photographic"
    model: Annotated[str, Field(max_length=200)] | None = None
    token: Annotated[str, Field(max_length=1000)] | None = None

    def source(self) -> "PcmFormat | Media":
        """How the engine is to read the sound."""
        from speech2face.audio.stream import Media, PcmFormat

        if self.format == "webm" or self.format == "ogg":
            return Media(self.format)
        return PcmFormat(self.format, self.sample_rate, self.channels)

    def bytes_in(self, seconds: float) -> int:
        """Bytes of so much sound; 1 in a container, whose bytes say nothing of time."""
        from speech2face.audio.stream import PcmFormat

        source = self.source()
        return int(seconds * source.sample_rate) * source.frame_bytes if isinstance(source, PcmFormat) else 1


class Set(Message):
    """Change what is given, exaggerated or the style; what is not named stays."""

    type: Literal["set"]
    given: GivenAttributes | None = None
    exaggerate: Exaggeration | None = None
    style: Shown | None = None


class Hold(Message):
    """Keep the picture as it is; facts go on."""

    type: Literal["hold"]
    on: bool


class Samples(Message):
    """Faces equally consistent with the voice: a sheet to look at, or a bare row of them for a page to arrange."""

    type: Literal["samples"]
    count: int = Field(6, ge=1, le=1000)
    layout: Literal["sheet", "strip"] = "sheet"
    pixels: Pixels = 160  # of one face in a strip
    seed: int | None = Field(None, ge=0, lt=2**31)  # other faces; None keeps the session's


class Download(Message):
    """The portrait as a labelled PNG with all its facts, or the drawing as SVG."""

    type: Literal["portrait"]
    picture: Literal["png", "svg"] = "png"
    pixels: Pixels | None = None


class Reset(Message):
    """Forget the voice so far."""

    type: Literal["reset"]


class Finish(Message):
    """The sound has ended."""

    type: Literal["finish"]


Control = Annotated[Set | Hold | Samples | Download | Reset | Finish, Field(discriminator="type")]
_CONTROL: TypeAdapter[Control] = TypeAdapter(Control)


def read_start(text: str) -> Start:
    """The first message.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    try:
        return Start.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def read_control(text: str) -> Control:
    """Any later message.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    try:
        return _CONTROL.validate_json(text)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


log = logging.getLogger(__name__)
SLOW_READER_SECONDS = 0.05  # between looks whether the last update has been taken
T = TypeVar("T")


class Ended(Exception):
    """The session is over; `error` is said to the client before the close, where there is one."""

    def __init__(self, code: CloseCode, reason: str, error: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.error = code, reason, error


def bad_message(text: str) -> Ended:
    """The client does not keep to the protocol."""
    return Ended(CloseCode.BAD_MESSAGE, text, "bad_message")


class LiveConnection:
    """From the accepted socket to its close."""

    def __init__(self, socket: WebSocket, service: "Service") -> None:
        self._socket = socket
        self._service = service
        self._limits: Limits = service.limits
        self._metrics: Metrics = service.metrics
        self._executor: Executor = service.live_threads
        self._outbox = Outbox()
        self._allowance = Allowance(self._limits.messages_per_second, self._limits.message_burst)
        self._shutdown = asyncio.Event()
        self.gone = asyncio.Event()
        self._updates = 0

    def end(self) -> None:
        """Close the session because the service ends."""
        self._shutdown.set()

    async def run(self) -> None:
        """Serve the client until it, we or the limits end it."""
        started = time.monotonic()
        code: int = CloseCode.INTERNAL
        try:
            await self._serve()
        except Ended as ended:
            code = await self._say_goodbye(ended)
        except WebSocketDisconnect as left:
            code = left.code
        except asyncio.CancelledError:
            code = CloseCode.SHUTDOWN
            raise
        except Exception:
            log.exception("live session failed")
            code = await self._say_goodbye(Ended(CloseCode.INTERNAL, "internal error", "internal"))
        finally:
            self.gone.set()
            self._metrics.count("speech2face_live_closed_total", code=str(int(code)))
            seconds = round(time.monotonic() - started, 3)
            log.info("live", extra={"data": {"code": int(code), "seconds": seconds, "updates": self._updates}})

    async def _serve(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._limits.start_seconds):
                start = await self._first_message()
        except TimeoutError:
            raise Ended(CloseCode.IDLE, "no start message came", "idle") from None
        engine = await self._engine(start)
        self._inbox = Inbox(self._limits.unheard_bytes, start.bytes_in(HOP_SECONDS))
        sender = asyncio.create_task(self._send_all())
        tasks = [
            sender,
            asyncio.create_task(self._read_all()),
            asyncio.create_task(self._work(engine, start)),
            asyncio.create_task(self._watch()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ends = [task.exception() for task in done]
            ended = next((end for end in ends if isinstance(end, Ended)), next(filter(None, ends), None))
            if isinstance(ended, Ended) and sender not in done:
                await self._outbox.end()  # the last messages go out whole before the goodbye
                with contextlib.suppress(TimeoutError, Ended, WebSocketDisconnect):
                    await asyncio.wait_for(asyncio.shield(sender), self._limits.send_seconds)
            raise ended or WebSocketDisconnect(1006)
        finally:
            for task in tasks:
                task.cancel()
            # Not awaited: it waits for the step under way, and whoever cancels us must not wait for that.
            if self._executor.submit(engine.close).cancelled():  # the threads are gone: the service has ended
                engine.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _first_message(self) -> Start:
        received = await self._receive()
        if not isinstance(received, str):
            raise bad_message("the first message must be the text of a start message")
        try:
            start = read_start(received)
        except ValueError as error:
            raise bad_message(str(error)) from None
        if not self._service.allowed(start.token, self._socket.headers.get("authorization")):
            raise Ended(CloseCode.TOKEN, "the token is missing or wrong", "token")
        return start

    async def _engine(self, start: Start) -> "LiveEngine":

        try:
            model = self._service.shelf.model(start.model)
        except Problem as problem:
            code = CloseCode.NOT_READY if problem.status == 503 else CloseCode.BAD_MESSAGE
            raise Ended(code, problem.text, problem.code) from None
        try:
            engine = await self._in_thread(lambda: LiveEngine(model, start))
        except Speech2FaceError as error:
            raise Ended(CloseCode.BAD_MESSAGE, str(error), code_of(error)) from None
        ready = {
            "type": "ready",
            "protocol": PROTOCOL,
            "model": describe(model, self._limits.samples),
            "limits": self._limits.for_a_live_client(),
            "notice": model.notice,
        }
        await self._send_json(ready)
        return engine

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        await self._keep_pace()
        content: str | bytes | None = message.get("bytes")
        if content is None:
            content = str(message.get("text") or "")
        most = self._limits.frame_bytes if isinstance(content, bytes) else self._limits.text_bytes
        if len(content) > most:
            raise Ended(CloseCode.TOO_BIG, f"a message of {len(content)} is over the limit of {most}", "too_big")
        return content

    async def _keep_pace(self) -> None:
        """A burst waits at the sender, unless it would have to for so long that the session would count as idle."""
        if self._allowance.spend(time.monotonic()):
            return
        if self._allowance.wait_seconds > self._limits.idle_seconds:
            raise Ended(CloseCode.TOO_MANY, "too many messages a second; send larger pieces", "too_many")
        await asyncio.sleep(self._allowance.wait_seconds)

    async def _read_all(self) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    received = await self._receive()
            except TimeoutError:
                raise Ended(CloseCode.IDLE, f"nothing came for {self._limits.idle_seconds:g} s", "idle") from None
            if isinstance(received, str):
                try:
                    await self._inbox.put(read_control(received))
                except ValueError as error:
                    raise bad_message(str(error)) from None
            else:
                await self._inbox.put(received)

    async def _watch(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._limits.session_seconds):
                await self._shutdown.wait()
        except TimeoutError:
            raise Ended(CloseCode.IDLE, "the session has lasted as long as one may", "session_over") from None
        raise Ended(CloseCode.SHUTDOWN, "the service is ending", "shutdown")

    async def _work(self, engine: "LiveEngine", start: Start) -> NoReturn:
        """Hear and answer, one step after the other; an update at most as often as asked, and none while one waits."""
        interval = 1 / min(start.updates_per_second, self._limits.updates_per_second)
        due, next_update = False, 0.0
        while True:
            item = await self._inbox.take(self._patience(next_update) if due else None)
            came = time.monotonic()
            update = None
            try:
                if isinstance(item, bytes):
                    look = came >= next_update and not self._outbox.busy
                    new, update = await self._in_thread(lambda: engine.hear(item, look=look))  # noqa: B023
                    due = (due and update is None) or new
                elif item is not None:
                    due |= await self._answer(engine, item)
            except Speech2FaceError as error:
                raise Ended(CloseCode.UNUSABLE_SOUND, str(error), code_of(error)) from None
            if update is None and due and came >= next_update and not self._outbox.busy:
                update, due = await self._in_thread(engine.update), False
            if update is not None:
                next_update = came + interval
                await self._outbox.show(update)
                self._metrics.observe("speech2face_live_update_seconds", time.monotonic() - came)

    def _patience(self, next_update: float) -> float:
        """How long to wait for sound where an update is due; a slow reader is heard on, not waited for."""
        return max(next_update - time.monotonic(), SLOW_READER_SECONDS if self._outbox.busy else 0.0)

    async def _answer(self, engine: "LiveEngine", wish: Control) -> bool:
        """Do what was asked; whether an update shall follow."""

        if isinstance(wish, Finish):
            last = await self._in_thread(engine.finish)
            await self._outbox.answer(last)
            await self._outbox.answer(Reply({"type": "end", "reason": "finished"}))
            raise Ended(CloseCode.FINISHED, "finished")
        try:
            if isinstance(wish, Set):
                await self._in_thread(lambda: engine.set(wish))
            elif isinstance(wish, Hold):
                await self._in_thread(lambda: engine.hold(wish.on))
            else:
                await self._outbox.answer(await self._in_thread(lambda: self._reply(engine, wish)))
        except Speech2FaceError as error:
            values = {"type": "error", "code": code_of(error), "text": str(error), "fatal": False}
            await self._outbox.answer(Reply(values))
            return False
        return isinstance(wish, Set | Hold)

    def _reply(self, engine: "LiveEngine", wish: Samples | Download | Reset) -> "Reply":
        if isinstance(wish, Samples):
            if wish.count > self._limits.samples:
                raise InvalidOption(f"{wish.count} samples were asked for; at most {self._limits.samples} come at once")
            return engine.sheet(wish)
        return engine.portrait(wish) if isinstance(wish, Download) else engine.reset()

    async def _send_all(self) -> None:
        while (reply := await self._outbox.take()) is not None:
            try:
                async with asyncio.timeout(self._limits.send_seconds):
                    await self._send_json(reply.values)
                    if reply.picture is not None:
                        await self._socket.send_bytes(reply.picture)
            except TimeoutError:
                raise WebSocketDisconnect(CloseCode.IDLE) from None  # it does not read, so nothing can be said to it
            if reply.values["type"] == "update":
                self._updates += 1
                self._metrics.count("speech2face_live_updates_total")

    async def _send_json(self, values: dict[str, Any]) -> None:
        await self._socket.send_json(values)

    async def _say_goodbye(self, ended: Ended) -> int:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(self._limits.send_seconds):
                if ended.error is not None:
                    values = {"type": "error", "code": ended.error, "text": ended.reason, "fatal": True}
                    await self._send_json(values)
                await self._socket.close(ended.code, ended.reason.encode()[:120].decode("utf-8", "ignore"))
        return ended.code

    async def _in_thread(self, call: "Callable[[], T]") -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


# --------------------------------------------------------------------------------------------------
# One live session's side in the worker threads: sound and wishes in, ready messages out.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """One text message and the picture that follows it at once."""

    values: dict[str, Any]
    picture: bytes | None = None


class LiveEngine:
    """A `LiveSession` with what the client asked for; one thread at a time by its own lock."""

    def __init__(self, model: "Model", start: Start) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        self._start = start
        self._lock = threading.Lock()
        self._closed = False
        self._held = False
        self._number = 0
        given = start.given.given()
        self._session = LiveSession(model, start.source(), given=given, exaggerate=start.exaggerate, style=start.style)

    def hear(self, sound: bytes, *, look: bool) -> tuple[bool, Reply | None]:
        """Hear the next sound; whether there is something new to show, and the update itself where it is wanted now.

        Raises:
            Speech2FaceError: the sound cannot be used.
        """
        with self._lock:
            if self._closed:
                return False, None
            new = self._session.push(sound)
            return (False, self._update(self._session.look())) if new and look else (new, None)

    def update(self) -> Reply | None:
        """The portrait so far."""
        with self._lock:
            return None if self._closed else self._update(self._session.look())

    def _update(self, look: LiveLook) -> Reply:
        self._number += 1
        facts = look.facts()
        content = None
        if look.embedding is not None and self._start.picture != "none" and not self._held:
            image = self._session.draw(look, pixels=self._start.pixels).image
            content = encoded(image, facts, "portrait", self._start.picture)
        values = {"type": "update", "number": self._number, "facts": facts, "listening": facts["listening"]}
        if content is None or self._start.picture == "none":
            return Reply(values | {"picture": None})
        described = {"media_type": MEDIA_TYPES[self._start.picture], "bytes": len(content)}
        return Reply(values | {"picture": described}, content)

    def set(self, wish: Set) -> None:
        """Change what is given, exaggerated or the style.

        Raises:
            Speech2FaceError: the model cannot draw it; nothing is changed.
        """
        with self._lock:
            given = None if wish.given is None else wish.given.given()
            self._session.set(given=given, exaggerate=wish.exaggerate, style=wish.style)

    def hold(self, on: bool) -> None:
        """Whether the picture stays as it is."""
        with self._lock:
            self._held = on

    def sheet(self, wish: Samples) -> Reply:
        """The expected face and draws beside it; as a strip the draws alone, side by side without margins.

        A strip shows what is equally likely, so nothing in it is exaggerated.

        Raises:
            InvalidOption: too little was heard, or the strip would be too long.
        """
        strip = wish.layout == "strip"
        if strip and wish.count * wish.pixels > WEBP_MOST_PIXELS:
            too_wide = (
                f"{wish.count} faces of {wish.pixels} pixels are wider than {WEBP_MOST_PIXELS}, the most of a WebP"
            )
            raise InvalidOption(f"{too_wide}; ask for smaller or fewer ones")
        with self._lock:
            if wish.seed is not None:
                self._session.seed = wish.seed
            look = replace(self._heard(), exaggerate=0.0) if strip else self._heard()
            portrait = self._session.draw(look, samples=wish.count, pixels=wish.pixels if strip else None)
        faces = portrait.samples
        image = np.hstack(faces) if strip else contact_sheet(portrait)
        content = encoded(image, portrait.facts(), "contact sheet", "webp")
        described = {"media_type": MEDIA_TYPES["webp"], "bytes": len(content)}
        values = {"type": "sheet", "count": len(faces), "layout": wish.layout, "picture": described}
        return Reply(values, content)

    def portrait(self, wish: Download) -> Reply:
        """A labelled PNG or SVG to keep.

        Raises:
            InvalidOption: too little was heard, or an SVG is wanted of what is not drawn.
        """
        with self._lock:
            portrait = self._session.draw(self._heard(), pixels=wish.pixels)
        facts = portrait.facts()
        svg = wish.picture == "svg"
        content = drawing(portrait) if svg else encoded(portrait.image, facts, "portrait", "png")
        described = {"media_type": MEDIA_TYPES[wish.picture], "bytes": len(content)}
        return Reply({"type": "portrait", "facts": facts, "picture": described}, content)

    def _heard(self) -> LiveLook:
        look = self._session.look()
        if self._closed or look.embedding is None:
            raise InvalidOption("too little of a voice was heard to draw a portrait; go on speaking")
        return look

    def reset(self) -> Reply:
        """Forget the voice so far."""
        with self._lock:
            self._session.reset()
        return Reply({"type": "reset"})

    def finish(self) -> Reply:
        """The end of the sound: the last update.

        Raises:
            Speech2FaceError: there was no voice, or too little of it.
        """
        with self._lock:
            return self._update(self._session.finish())

    def close(self) -> None:
        """Let go of the decoder; waits for what is under way."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._session.close()
                self._session.reset()  # the voice goes now, not when the garbage is collected


# --------------------------------------------------------------------------------------------------
# What lies between a live client and its engine: bounded both ways, so that neither side can fill the memory.
# --------------------------------------------------------------------------------------------------

STEP_BYTES = 96_000  # most sound heard in one step, so that a flood does not keep the others waiting: 1 s at 48 kHz
HOP_SECONDS = LEAST_RESAMPLED_SECONDS  # less sound than this is not heard at once anyway, and each step costs
MAX_REPLIES = 8  # answers that the client has not taken yet


class Inbox:
    """Sound and wishes in the order they came; who puts waits while too much is unheard."""

    def __init__(self, most_bytes: int, hop_bytes: int = 1) -> None:
        """Args: less sound than `hop_bytes` waits for more, for `HOP_SECONDS` at most."""
        self._most_bytes, self._hop_bytes = most_bytes, hop_bytes
        self._items: deque[bytes | Control] = deque()
        self._bytes = 0  # with what each message costs
        self._sound_bytes = 0
        self._wishes = 0
        self._changed = asyncio.Condition()

    async def put(self, item: bytes | Control) -> None:
        """Wait for room, then append."""
        size = _size(item)
        async with self._changed:
            await self._changed.wait_for(lambda: self._bytes == 0 or self._bytes + size <= self._most_bytes)
            self._items.append(item)
            self._count(item, 1)
            self._changed.notify_all()

    async def take(self, timeout: float | None) -> bytes | Control | None:
        """The next wish, or all sound up to it but `STEP_BYTES` at most; None when nothing came in time."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait_for(lambda: bool(self._items))
            except TimeoutError:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._hop_is_there() else HOP_SECONDS):
                    await self._changed.wait_for(self._hop_is_there)
            taken = self._next()
            self._changed.notify_all()
            return taken

    def _hop_is_there(self) -> bool:
        return self._wishes > 0 or self._sound_bytes >= self._hop_bytes or self._bytes >= self._most_bytes

    def _next(self) -> bytes | Control:
        first = self._pop()
        if not isinstance(first, bytes):
            return first
        pieces, size = [first], len(first)
        while self._items and isinstance(following := self._items[0], bytes):
            size += len(following)
            if size > STEP_BYTES:
                break
            pieces.append(following)
            self._pop()
        return b"".join(pieces)

    def _pop(self) -> bytes | Control:
        item = self._items.popleft()
        self._count(item, -1)
        return item

    def _count(self, item: bytes | Control, sign: int) -> None:
        self._bytes += sign * _size(item)
        if isinstance(item, bytes):
            self._sound_bytes += sign * len(item)
        else:
            self._wishes += sign


def _size(item: bytes | Control) -> int:
    # Every message costs something, or empty ones would never fill the inbox.
    return len(item) + 64 if isinstance(item, bytes) else 1024


class Outbox:
    """Answers in order, and one update at most: while it has not been taken, no other one is made."""

    def __init__(self) -> None:
        self._replies: deque[Reply] = deque()
        self._update: Reply | None = None
        self._ended = False
        self._changed = asyncio.Condition()

    @property
    def busy(self) -> bool:
        """Whether an update waits to be taken."""
        return self._update is not None

    async def answer(self, reply: "Reply") -> None:
        """Wait for room, then append."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._replies) < MAX_REPLIES or self._ended)
            self._replies.append(reply)
            self._changed.notify_all()

    async def show(self, update: "Reply") -> None:
        """Put the update in its place."""
        async with self._changed:
            self._update = update
            self._changed.notify_all()

    async def end(self) -> None:
        """Nothing more comes; what is there is still taken."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def take(self) -> "Reply | None":
        """The next message; None at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._replies) or self._update is not None or self._ended)
            reply: Reply | None = None
            if self._replies:
                reply = self._replies.popleft()
            elif self._update is not None:
                reply, self._update = self._update, None
            self._changed.notify_all()
            return reply


class Allowance:
    """Messages a second, with a burst; what comes faster is not refused, but read later: it waits at the sender."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, float(burst)
        self._left = self._burst
        self._asked = 0.0

    def spend(self, now: float) -> bool:
        """One message at `now`, in seconds of any steady clock; whether it is within the allowance."""
        self._left = min(self._burst, self._left + (now - self._asked) * self._per_second)
        self._asked = now
        self._left -= 1
        return self._left >= 0

    @property
    def wait_seconds(self) -> float:
        """How long to wait after the last message until the allowance is kept again."""
        return max(0.0, -self._left / self._per_second)
