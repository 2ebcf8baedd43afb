"""Recordings as they arrive: in memory, counted while they come, never in a temporary file."""

import asyncio
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from speech2face.app.problems import Problem, slow_body, too_many

if TYPE_CHECKING:
    from speech2face.app.limits import Limits

BASE64_PIECE: Final = 2**20  # letters; a multiple of four


@dataclass(frozen=True)
class Upload:
    """One request's recordings by their names, and the options that came with them in the body."""

    recordings: tuple[tuple[str, bytes], ...]
    options: dict[str, Any]


class Gate:
    """How much is let in at once: requests, and bytes of recordings held in memory."""

    def __init__(self, limits: "Limits") -> None:
        self._limits = limits
        self.requests = 0
        self.held_bytes = 0

    @asynccontextmanager
    async def admitted(self, request: Request) -> AsyncIterator["Arrival"]:
        """Let one request in, or refuse it.

        Raises:
            Problem: 429, as many are being served as can be.
        """
        if self.requests >= self._limits.requests_at_once:
            raise too_many(f"{self.requests} requests are being served already; try again in a moment")
        self.requests += 1
        arrival = Arrival(self, request, self._limits)
        try:
            yield arrival
        finally:
            self.requests -= 1
            self.held_bytes -= arrival.bytes


class Arrival:
    """One request's body."""

    def __init__(self, gate: Gate, request: Request, limits: "Limits") -> None:
        self._gate, self._request, self._limits = gate, request, limits
        self.bytes = 0

    async def read(self, *, several: bool = False) -> Upload:
        """The body as recordings: multipart, JSON with base64, or the bytes of the recording itself.

        Raises:
            Problem: 400 or 422 for a body that is not what it says, 408, 413, 415 where several are to come, 429.
        """
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if several and kind != "multipart/form-data":
            raise Problem(415, "not_multipart", "several recordings come as multipart/form-data, one part each")
        stated = self._request.headers.get("content-length", "")
        if stated.isdigit():
            self._check_size(int(stated))
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                if kind == "multipart/form-data":
                    return await self._multipart()
                body = b"".join([piece async for piece in self._pieces()])
        except TimeoutError:
            raise slow_body(self._limits.body_seconds) from None
        if kind != "application/json":
            return Upload((("recording", body),), {})
        return await asyncio.to_thread(_from_json, body)  # of 64 MiB it takes a while, and others are speaking

    def _check_size(self, size: int) -> None:
        if size > self._limits.upload_bytes:
            most = self._limits.upload_bytes // 2**20
            raise Problem(413, "upload_too_large", f"a request may hold at most {most} MiB; send a shorter recording")

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._request.stream():
            self.bytes += len(piece)
            self._gate.held_bytes += len(piece)
            self._check_size(self.bytes)
            if self._gate.held_bytes > self._limits.uploads_held_bytes:
                raise too_many("the service holds as many recordings as it can; try again in a moment")
            yield piece

    async def _multipart(self) -> Upload:
        parser = _InMemory(
            self._request.headers,
            self._pieces(),
            max_files=self._limits.files_per_request,
            max_fields=32,
        )
        parser.spool_max_size = parser.max_file_size = 2 * self._limits.upload_bytes  # the second: older Starlette
        try:
            form = await parser.parse()
            assert parser.whole, "without its last boundary the last part would be left out in silence"
        except (MultiPartException, KeyError, AssertionError) as error:
            text = getattr(error, "message", "it has no boundary or is cut off")
            if "Too many files" in text:
                most = self._limits.files_per_request
                raise Problem(413, "too_many_files", f"a request may hold at most {most} files") from None
            raise Problem(400, "bad_multipart", f"the multipart body cannot be read: {text}") from None
        recordings: list[tuple[str, bytes]] = []
        options: dict[str, Any] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                recordings.append((value.filename or name, await value.read()))
            else:
                options[name] = value
        await form.close()
        return Upload(tuple(recordings), options)


class _InMemory(MultiPartParser):
    """Starlette's parser, but nothing goes to a temporary file: the request's own limit is reached first."""

    max_file_size: int
    whole = False

    def on_end(self) -> None:
        """The last boundary was found."""
        self.whole = True


def _from_json(body: bytes) -> Upload:
    """`{"recording": base64, ...options}`."""
    try:
        values = from_json(body)  # a third of the standard library's time, in which nobody else is heard
    except ValueError:  # also what is no UTF-8, or nested without end
        raise Problem(400, "bad_json", "the body is not JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("recording"), str):
        raise Problem(422, "invalid_request", 'the JSON needs "recording": a recording\'s bytes in base64') from None
    try:
        recording = _from_base64(values.pop("recording"))
    except ValueError:
        raise Problem(422, "bad_base64", '"recording" is not base64') from None
    given = values.pop("given", {})
    if not isinstance(given, dict):
        raise Problem(422, "invalid_request", '"given" is an object of age, gender and group')
    return Upload((("recording", recording),), values | given)


def _from_base64(text: str) -> bytes:
    """The bytes, piece by piece, so that between two of them others are heard.

    Raises:
        ValueError: it is not base64.
    """
    if "=" in text[:-2]:
        raise ValueError("padding is at the end alone")
    starts = range(0, len(text), BASE64_PIECE)
    return b"".join(binascii.a2b_base64(text[at : at + BASE64_PIECE], strict_mode=True) for at in starts)


def first_mistake(error: ValidationError) -> Problem:
    """Options that cannot be, as an answer."""
    from speech2face.app.live_messages import one_line

    return Problem(422, "invalid_request", one_line(error))
