"""The calls that are on, and for a while those that were: `GET` and `DELETE /v1/calls/{call}`, and their pictures."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from speech2face.app import call_openapi
from speech2face.app.call_track import CallTrack
from speech2face.app.problems import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

    from speech2face.app.callbacks import Callback
    from speech2face.app.service import Service

router = APIRouter(tags=["calls"])
HEADERS = {"Cache-Control": "no-store"}


@dataclass
class Call:
    """One call: a track a voice. Its facts and last pictures outlive it for a bounded time."""

    name: str
    kind: Literal["media-stream", "webrtc"]
    hang_up: Callable[[], None]
    tracks: dict[str, CallTrack] = field(default_factory=dict)
    received: dict[str, Callable[[], dict[str, float]]] = field(default_factory=dict)
    callback: "Callback | None" = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, JSON-ready."""
        return {
            "call": self.name,
            "kind": self.kind,
            "state": "running" if self.ended is None else "ended",
            "reason": self.reason,
            "seconds": round((self.ended or time.monotonic()) - self.began, 1),
            "tracks": {name: self._track(name, track) for name, track in self.tracks.items()},
            "callback": None if self.callback is None else self.callback.counts(),
        }

    def _track(self, name: str, track: CallTrack) -> dict[str, Any]:
        counts = self.received.get(name)
        return {
            "number": track.number,
            "facts": track.facts,
            "picture": f"/v1/calls/{self.name}/{name}.png" if track.drawable else None,
            "problem": track.problem,
            "received": {} if counts is None else counts(),
        }


class Seat:
    """One voice among the live sessions: counted with them, and told with them when the service ends."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up
        self.gone = asyncio.Event()

    def end(self) -> None:
        """The service ends."""
        self._hang_up()


class CallBook:
    """Calls by name; bounded in number and time."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, name: str) -> Call:
        """A call.

        Raises:
            Problem: 404.
        """
        if name not in self._calls:
            raise Problem(404, "unknown_call", "no such call; it never was, or it has been forgotten")
        return self._calls[name]

    def find(self, name: str) -> Call | None:
        """A call, or None."""
        return self._calls.get(name)

    def open(self, call: Call) -> bool:
        """Write a call down; False where one of that name is running. An ended one gives way."""
        known = self._calls.get(call.name)
        if known is not None and known.ended is None:
            return False
        self._calls.pop(call.name, None)
        self._calls[call.name] = call
        return True

    def close(self, call: Call, reason: str) -> None:
        """The call has ended; it is forgotten after `call_keep_seconds`, or sooner where many end."""
        if call.ended is not None:
            return
        call.ended, call.reason = time.monotonic(), reason
        asyncio.get_running_loop().call_later(self._service.limits.call_keep_seconds, self._forget, call)
        ended = [each for each in self._calls.values() if each.ended is not None]
        for oldest in sorted(ended, key=lambda each: each.ended or 0.0)[: -self._service.limits.calls_kept]:
            self._forget(oldest)

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
        self._forget(call)
        call.hang_up()

    def _forget(self, call: Call) -> None:
        if self._calls.get(call.name) is call:
            del self._calls[call.name]

    def known(self, call: Call) -> bool:
        """Whether it has not been forgotten, or replaced by another of its name."""
        return self._calls.get(call.name) is call

    @contextlib.contextmanager
    def seat(self, hang_up: Callable[[], None]) -> Iterator[Seat | None]:
        """A place among the live sessions; None where there is none."""
        service = self._service
        if service.ending or len(service.live) >= service.limits.sessions_at_once:
            yield None
            return
        seat = Seat(hang_up)
        service.live.add(seat)
        try:
            yield seat
        finally:
            seat.gone.set()
            service.live.discard(seat)


def install(app: "FastAPI", service: "Service") -> None:
    """Add everything about calls to the application."""
    from speech2face.app import media_stream, webrtc

    app.state.calls = CallBook(service)
    app.include_router(router)
    app.include_router(media_stream.router)
    webrtc.install(app, service)


def book_of(request: Request) -> CallBook:
    """The application's calls."""
    book = request.app.state.calls
    assert isinstance(book, CallBook)
    return book


@router.get("/v1/calls/{call}", summary="One call and what is believed of each voice", **call_openapi.CALL)
async def read_call(call: str, request: Request) -> Response:
    """Facts of every track, and where its picture is."""
    return JSONResponse(book_of(request).get(call).to_dict(), headers=HEADERS)


@router.get("/v1/calls/{call}/{track}.png", summary="The portrait of one voice of a call", **call_openapi.PICTURE)
async def read_picture(call: str, track: str, request: Request) -> Response:
    """The newest portrait, labelled; drawn when it is asked for."""
    tracks = book_of(request).get(call).tracks
    if track not in tracks:
        raise Problem(404, "unknown_track", "this call has no such track")
    threads = request.app.state.service.live_threads
    drawn = await asyncio.get_running_loop().run_in_executor(threads, tracks[track].picture)
    if drawn is None:
        text = "too little of a voice was heard to draw a portrait"
        raise Problem(404, "no_portrait", text, headers={"Retry-After": "1"})
    return Response(drawn[1], headers=HEADERS, media_type="image/png")


@router.delete("/v1/calls/{call}", status_code=204, summary="End and forget a call", **call_openapi.DELETE)
async def delete_call(call: str, request: Request) -> Response:
    """Nothing of it is left in the service."""
    book_of(request).delete(call)
    return Response(status_code=204)
