"""Portraits posted to an address that a call named, beside the call: only to hosts that the service's owner allowed.

A slow or dead receiver costs the call nothing: at most one message is under way, the newest waits, older ones give way.
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import httpx

from speech2face.errors import InvalidOption

if TYPE_CHECKING:
    from speech2face.app.limits import Limits

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


def in_base64(picture: bytes) -> dict[str, str]:
    """A PNG inside JSON."""
    return {"media_type": "image/png", "base64": base64.b64encode(picture).decode()}
