"""What lies between a live client and its engine: bounded both ways, so that neither side can fill the memory."""

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from speech2face.app.live_messages import Control
from speech2face.audio.stream import LEAST_RESAMPLED_SECONDS

if TYPE_CHECKING:
    from speech2face.app.live_engine import Reply

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
