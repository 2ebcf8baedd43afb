"""Sound of one voice on its way to be heard: bounded, taken in hops, looked at as often as wanted."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from speech2face.app.call_track import CallTrack
from speech2face.app.metrics import Metrics

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
