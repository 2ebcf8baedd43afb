"""One live client: its messages, its engine in the worker threads, and the ways it can end."""

import asyncio
import contextlib
import logging
import time
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app.limits import CloseCode, Limits
from speech2face.app.live_messages import (
    PROTOCOL,
    Control,
    Download,
    Finish,
    Hold,
    Reset,
    Samples,
    Set,
    Start,
    read_control,
    read_start,
)
from speech2face.app.live_queues import HOP_SECONDS, Allowance, Inbox, Outbox
from speech2face.app.metrics import Metrics
from speech2face.app.problems import Problem, code_of
from speech2face.app.shelf import describe
from speech2face.errors import InvalidOption, Speech2FaceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from speech2face.app.live_engine import LiveEngine, Reply
    from speech2face.app.service import Service

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
        from speech2face.app.live_engine import LiveEngine

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
        from speech2face.app.live_engine import Reply

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
