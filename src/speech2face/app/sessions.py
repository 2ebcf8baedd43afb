"""What the page, telephone platforms and WebRTC peers share: a voice in the worker threads and the way its sound comes.

`VoiceSession` is the engine, `SoundBuffer` what lies before it, `encode_all` takes from one to the other, and
`SocketConnection` is a WebSocket from its acceptance to its close. Everything is bounded, so that neither side can fill
the memory.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, TypeVar

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app.http import CloseCode, Metrics, Problem, code_of, one_line
from speech2face.audio.stream import LEAST_RESAMPLED_SECONDS
from speech2face.errors import Speech2FaceError
from speech2face.limits import Style
from speech2face.live import LiveSession, LiveSnapshot, Media, PcmFormat

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model
    from speech2face.portrait import GivenLike

log = logging.getLogger(__name__)
T = TypeVar("T")
Wish = TypeVar("Wish")


class VoiceSession:
    """A `LiveSession` and its newest snapshot; for worker threads, one at a time by its own lock."""

    def __init__(
        self,
        model: "Model",
        source: PcmFormat | Media,
        *,
        given: "GivenLike | None" = None,
        exaggerate: float = 0.0,
        style: Style | str = Style.photographic,
    ) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        self._lock = threading.Lock()
        self._session: LiveSession | None = LiveSession(model, source, given=given, exaggerate=exaggerate, style=style)
        self._snapshot: LiveSnapshot | None = None
        self.number = 0  # of snapshots

    @property
    def drawable(self) -> bool:
        """Whether the newest snapshot can be drawn."""
        return self._snapshot is not None and self._snapshot.embedding is not None

    def push(self, sound: bytes) -> bool:
        """Encode the next sound; whether there is speech that no snapshot has seen.

        Raises:
            Speech2FaceError: the sound cannot be used.
        """
        with self._lock:
            return self._session is not None and self._session.push(sound)

    def _take(self, snapshot: LiveSnapshot) -> LiveSnapshot:
        """Keep a snapshot as the newest one; the lock is held."""
        self._snapshot = snapshot
        self.number += 1
        return snapshot

    def close(self) -> None:
        """Forget the voice now, not when the garbage is collected; waits for what is under way."""
        with self._lock:
            self._forget_voice()

    def _forget_voice(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._snapshot = None, None


# --- Sound on its way to the encoder.

STEP_BYTES: Final = 96_000  # most sound encoded in one step, so that a flood keeps nobody waiting: 1 s at 48 kHz
HOP_SECONDS: Final = LEAST_RESAMPLED_SECONDS  # less sound than this is not encoded at once anyway, and each step costs
SOUND_BYTES: Final = 64  # a message of sound counts at least so much, or empty ones would never fill the buffer
WISH_BYTES: Final = 1024  # what a wish counts


class SoundBuffer(Generic[Wish]):
    """Bounded audio buffer of one voice, with the wishes said between its pieces, in the order they came."""

    def __init__(
        self, most_bytes: int, *, hop_bytes: int = 1, hop_seconds: float = HOP_SECONDS, step_bytes: int = STEP_BYTES
    ) -> None:
        """Args: less than `hop_bytes` waits `hop_seconds` for more; at most `step_bytes` are taken, or one message."""
        self._most_bytes, self._hop_bytes, self._hop_seconds = most_bytes, hop_bytes, hop_seconds
        self._step_bytes = step_bytes
        self._items: deque[bytes | Wish] = deque()
        self._bytes = self._sound_bytes = self._wishes = 0
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, item: bytes | Wish) -> None:
        """Append sound or a wish, as soon as there is room for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(item))
            self._append(item)

    async def offer(self, sound: bytes) -> bool:
        """Append sound where there is room, for a sender that does not wait; whether there was."""
        async with self._changed:
            if room := self._has_room(sound):
                self._append(sound)
            return room

    async def end(self, last: bytes = b"") -> None:
        """Say that no more comes after the `last` sound, which needs no room."""
        async with self._changed:
            if last:
                self._append(last)
            self._ended = True
            self._changed.notify_all()

    async def take(self, timeout: float | None) -> bytes | Wish | None:
        """The next wish, or the sound before it; empty where nothing came in time, None when all was taken."""
        async with self._changed:
            if not await self._wait(lambda: bool(self._items) or self._ended, timeout):
                return b""
            if not self._items:
                return None
            await self._wait(self._hop_is_there, None if self._hop_is_there() else self._hop_seconds)
            taken = self._next()
            self._changed.notify_all()
            return taken

    async def _wait(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait_for(holds)
        return holds()

    def _hop_is_there(self) -> bool:
        return (
            self._ended or self._wishes > 0 or self._sound_bytes >= self._hop_bytes or self._bytes >= self._most_bytes
        )

    def _has_room(self, item: bytes | Wish) -> bool:
        return self._bytes == 0 or self._bytes + _size(item) <= self._most_bytes

    def _append(self, item: bytes | Wish) -> None:
        self._items.append(item)
        self._count(item, 1)
        self._changed.notify_all()

    def _next(self) -> bytes | Wish:
        first = self._pop()
        if not isinstance(first, bytes):
            return first
        pieces, size = [first], len(first)
        while self._items and isinstance(following := self._items[0], bytes):
            size += len(following)
            if size > self._step_bytes:
                break
            pieces.append(following)
            self._pop()
        return b"".join(pieces)

    def _pop(self) -> bytes | Wish:
        item = self._items.popleft()
        self._count(item, -1)
        return item

    def _count(self, item: bytes | Wish, sign: int) -> None:
        self._bytes += sign * _size(item)
        if isinstance(item, bytes):
            self._sound_bytes += sign * len(item)
        else:
            self._wishes += sign


def _size(item: object) -> int:
    return max(len(item), SOUND_BYTES) if isinstance(item, bytes) else WISH_BYTES


async def in_thread(executor: Executor, call: Callable[[], T]) -> T:
    """Do it in a worker thread."""
    waiting: Awaitable[T] = asyncio.get_running_loop().run_in_executor(executor, call)
    return await waiting


SLOW_READER_SECONDS: Final = 0.05  # between looks whether the last update has been taken


async def encode_all(
    buffer: SoundBuffer[Wish],
    voice: VoiceSession,
    *,
    executor: Executor,
    interval: Callable[[], float],
    show: Callable[[], Awaitable[None]],
    answer: Callable[[Wish], Awaitable[bool]] | None = None,
    busy: Callable[[], bool] = lambda: False,
    observe: Callable[[float], None],
) -> None:
    """Encode everything that comes, one step after the other, and show what is new, until the buffer ends.

    Args:
        buffer: where sound and wishes come from.
        voice: what encodes the sound, in the threads of `executor`.
        interval: seconds from one showing to the next, asked after each.
        show: shows what is believed so far.
        answer: does what was wished; whether something new is to be shown.
        busy: whether the last showing has not been taken yet; none is made meanwhile, and the sound is encoded on.
        observe: takes the seconds from the sound that completed a showing to its end.

    Raises:
        Speech2FaceError: the sound cannot be used.
    """
    due, next_showing = False, 0.0

    def patience() -> float | None:
        return max(next_showing - time.monotonic(), SLOW_READER_SECONDS if busy() else 0.0) if due else None

    while (item := await buffer.take(patience())) is not None:
        came = time.monotonic()
        if not isinstance(item, bytes):
            assert answer is not None
            due |= await answer(item)
        elif item:
            sound = item
            due |= await in_thread(executor, lambda: voice.push(sound))  # noqa: B023
        if due and came >= next_showing and not busy():
            due = False
            await show()
            next_showing = came + interval()
            observe(time.monotonic() - came)


# --- A WebSocket from its acceptance to its close.


class Ended(Exception):
    """The session is over; `error` is said to the client before the close, where there is one."""

    def __init__(self, code: CloseCode, reason: str, error: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.error = code, reason, error


class BadMessage(ValueError):
    """A message that does not keep to the protocol; one line that says what is wrong."""

    code = "bad_message"


def checked(read: Callable[[Any], T], message: Any) -> T:
    """A message as a model of pydantic reads it.

    Raises:
        BadMessage: its first mistake.
    """
    try:
        return read(message)
    except ValidationError as error:
        raise BadMessage(one_line(error)) from None


CLOSE_CODES: Final = {
    "not_ready": CloseCode.NOT_READY,
    "shutdown": CloseCode.SHUTDOWN,
    "too_many": CloseCode.TOO_MANY,
}


@contextlib.contextmanager
def refusals_end(code: CloseCode = CloseCode.BAD_MESSAGE) -> Iterator[None]:
    """Whatever is refused within ends the session.

    Raises:
        Ended: with `code`, or that of the service's own reason.
    """
    try:
        yield
    except Problem as problem:
        raise Ended(CLOSE_CODES.get(problem.code, code), problem.text, problem.code) from None
    except Speech2FaceError as error:
        raise Ended(code, str(error), code_of(error)) from None
    except BadMessage as error:
        raise Ended(CloseCode.BAD_MESSAGE, str(error), error.code) from None


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


class SocketConnection:
    """One client on a WebSocket: its session slots, its pace, and the ways it can end."""

    kind: ClassVar[str]
    """What the log and the client call it."""

    def __init__(self, socket: WebSocket, service: "Service") -> None:
        self._socket, self._service = socket, service
        self._limits = service.limits
        self._metrics: Metrics = service.metrics
        self._threads = service.live_threads
        self._allowance = Allowance(self._limits.messages_per_second, self._limits.message_burst)
        self._slots = contextlib.ExitStack()
        self._hung_up = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._over = asyncio.Event()  # one of the tasks

    def hang_up(self) -> None:
        """End the session because the service ends, or what it belongs to was deleted."""
        self._hung_up.set()

    async def run(self) -> None:
        """Serve the client until it, we or the limits end it."""
        started = time.monotonic()
        reason, code = "internal", int(CloseCode.INTERNAL)
        try:
            self._take_slot()
            await self._serve()
        except Ended as ended:
            reason, code = ended.error or ended.reason, await self._say_goodbye(ended)
        except WebSocketDisconnect as left:
            reason, code = "peer_gone", left.code
        except asyncio.CancelledError:
            reason, code = "shutdown", int(CloseCode.SHUTDOWN)
            raise
        except Exception:
            log.exception("%s failed", self.kind)
            code = await self._say_goodbye(Ended(CloseCode.INTERNAL, "internal error", "internal"))
        finally:
            self._slots.close()
            data = {"code": code, "reason": reason, "seconds": round(time.monotonic() - started, 3)}
            log.info(self.kind, extra={"data": data | self._closed(code, reason)})

    async def _serve(self) -> NoReturn:
        """From the first message to the end, which is an exception.

        Raises:
            Ended, WebSocketDisconnect: how it ended.
        """
        raise NotImplementedError

    async def _received(self, message: str | bytes) -> None:
        """Take a message after the first."""
        raise NotImplementedError

    def _error(self, ended: Ended) -> dict[str, Any]:
        """What is said of an error that ends the session."""
        raise NotImplementedError

    def _closed(self, code: int, reason: str) -> dict[str, Any]:
        """Count the end; what the log says of it beside."""
        raise NotImplementedError

    def _take_slot(self) -> None:
        with refusals_end():
            self._slots.enter_context(self._service.slot(self.hang_up))

    def _check_token(self, stated: str | None) -> None:
        if not self._service.allowed(stated, self._socket.headers.get("authorization")):
            raise Ended(CloseCode.TOKEN, "the token is missing or wrong", "token")

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

    async def _in_time(self, first: Awaitable[T]) -> T:
        """What the first message says, which must come soon."""
        try:
            async with asyncio.timeout(self._limits.start_seconds):
                return await first
        except TimeoutError:
            raise Ended(CloseCode.IDLE, "no start message came", "idle") from None

    async def _read_all(self) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    received = await self._receive()
            except TimeoutError:
                raise Ended(CloseCode.IDLE, f"nothing came for {self._limits.idle_seconds:g} s", "idle") from None
            await self._received(received)

    async def _watch(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._limits.session_seconds):
                await self._hung_up.wait()
        except TimeoutError:
            raise Ended(CloseCode.IDLE, "the session has lasted as long as one may", "session_over") from None
        if self._service.ending:
            raise Ended(CloseCode.SHUTDOWN, "the service is ending", "shutdown")
        raise Ended(CloseCode.FINISHED, "deleted")

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do some of the session's work beside the rest; the session is over with the first that ends."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._over.set())
        self._tasks.append(task)
        return task

    async def _until_over(self) -> NoReturn:
        """Wait until some of the work ends, and say how: an orderly end before a failure."""
        await self._over.wait()
        ends = [task.exception() for task in self._tasks if task.done() and not task.cancelled()]
        ended = next((end for end in ends if isinstance(end, Ended)), next(filter(None, ends), None))
        raise ended or WebSocketDisconnect(1006)

    async def _say_goodbye(self, ended: Ended) -> int:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(self._limits.send_seconds):
                if ended.error is not None:
                    await self._socket.send_json(self._error(ended))
                await self._socket.close(ended.code, ended.reason.encode()[:120].decode("utf-8", "ignore"))
        return int(ended.code)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await in_thread(self._threads, call)


async def stop(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
