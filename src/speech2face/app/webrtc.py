"""Calls by WebRTC: `POST /v1/webrtc/offer` takes a peer's offer, hears its voice and shows it a face."""

import asyncio
import logging
import secrets
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import FileResponse, JSONResponse

from speech2face.app import call_openapi
from speech2face.app.call_messages import Identifier
from speech2face.app.call_track import TrackOptions
from speech2face.app.calls import Call, CallBook
from speech2face.app.live_messages import Exaggeration
from speech2face.app.problems import Problem, code_of, disconnected, problem_of, slow_body, too_many
from speech2face.app.uploads import first_mistake
from speech2face.errors import MissingExtra, Speech2FaceError
from speech2face.terminal import need_extra

if TYPE_CHECKING:
    from speech2face.app.limits import Limits
    from speech2face.app.service import Service
    from speech2face.app.webrtc_peer import Meeting, Peer

log = logging.getLogger(__name__)
router = APIRouter(tags=["calls"])
PEERS = ("a", "b")


class Offer(BaseModel):
    """A peer's session description, and what it wants to see."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["offer"]
    sdp: str = Field(min_length=1)
    call: Identifier | None = Field(None, description="Two peers that name the same call see each other's face.")
    sees: Literal["own", "other"] | None = Field(None, description='Default: "other" in a named call, else "own".')
    pixels: Annotated[int, Field(ge=128, le=512, multiple_of=16)] = 320
    exaggerate: Exaggeration = 0.0
    model: Annotated[str, Field(max_length=200)] | None = None


class Meetings:
    """The WebRTC calls that are on."""

    def __init__(self, service: "Service", book: CallBook) -> None:
        self._service, self._book = service, book
        self._meetings: dict[str, Meeting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, offer: Offer) -> dict[str, str]:
        """Take a peer in; the answer to its offer.

        Raises:
            Problem: why not.
        """
        # The libraries take half a second to import the first time; others are served meanwhile.
        await asyncio.to_thread(import_module, "speech2face.app.webrtc_peer")
        from speech2face.app.webrtc_peer import Peer

        model = self._service.shelf.model(offer.model)
        options = TrackOptions(offer.pixels, offer.exaggerate)
        meeting = self._meeting(offer.call or secrets.token_urlsafe(12))
        name = next((each for each in PEERS if each not in meeting.peers), None)
        if name is None:
            raise too_many("two peers are in this call already")
        sees = offer.sees or ("own" if offer.call is None else "other")
        peer = meeting.peers[name] = Peer(name, meeting, model, options, sees)
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._attend(peer, meeting, offer.sdp, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answer = await answered
        for shown in meeting.shown_to(peer):
            if shown.image is not None:
                await peer.see(shown.image)
        return {"type": "answer", "sdp": answer, "call": meeting.call.name, "peer": name}

    def _meeting(self, name: str) -> "Meeting":
        from speech2face.app.webrtc_peer import Meeting

        known = self._meetings.get(name)
        if known is not None and known.call.ended is None and self._book.known(known.call):
            return known
        call = Call(name, "webrtc", lambda: None)
        meeting = Meeting(call)
        call.hang_up = meeting.hang_up
        if not self._book.open(call):
            raise Problem(422, "call_exists", "a telephone call of this name is running")
        self._meetings[name] = meeting
        return meeting

    def leave(self, call: str, peer: str) -> None:
        """Hang up a peer whose answer nobody took."""
        meeting = self._meetings.get(call)
        if meeting is not None and peer in meeting.peers:
            meeting.peers[peer].hang_up("peer_gone")

    async def _attend(self, peer: "Peer", meeting: "Meeting", sdp: str, answered: asyncio.Future[str]) -> None:
        """The peer's whole stay; its answer, or why there is none, as soon as it is known."""
        try:
            with self._book.seat(lambda: peer.hang_up("shutdown")) as seat:
                if seat is None:
                    raise too_many("as many people are speaking as can be heard; try again later")
                answer = await peer.answer(sdp, self._service)
                if not answered.cancelled():
                    answered.set_result(answer)
                await peer.run(self._book)
        except Exception as failure:
            meeting.peers.pop(peer.name, None)
            if not answered.done():
                if not meeting.peers and not meeting.call.tracks:
                    self._book.drop(meeting.call)
                answered.set_exception(failure)
            elif not answered.cancelled():
                log.exception("a peer's stay failed")
        finally:
            if not meeting.peers and self._meetings.get(meeting.call.name) is meeting:
                del self._meetings[meeting.call.name]


async def _read(request: Request, limits: "Limits") -> Offer:
    """The body.

    Raises:
        ClientDisconnect: the client left before it was whole.
        Problem: 408, 413 or 422.
    """
    body = b""
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.offer_bytes:
                    raise Problem(413, "offer_too_large", f"an offer may have {limits.offer_bytes} bytes")
    except TimeoutError:
        raise slow_body(limits.body_seconds) from None
    try:
        return Offer.model_validate_json(body)
    except ValidationError as error:
        raise first_mistake(error) from None


def need_webrtc() -> None:
    """Refuse where the extra is not installed.

    Raises:
        Problem: 501.
    """
    try:
        need_extra("WebRTC", "calls", ("aiortc",))
    except MissingExtra as error:
        raise Problem(501, code_of(error), str(error)) from None


@router.get("/v1/webrtc", summary="What a WebRTC peer needs to know before its offer", **call_openapi.WEBRTC)
async def settings(request: Request) -> Response:
    """The STUN servers to ask, none by default; 501 where the service cannot do WebRTC."""
    need_webrtc()
    stun = request.app.state.service.settings.stun
    return JSONResponse({"ice_servers": [{"urls": stun}] if stun else []}, headers={"Cache-Control": "no-store"})


@router.post("/v1/webrtc/offer", summary="A WebRTC peer's offer, answered", **call_openapi.offer(Offer))
async def offer(request: Request) -> Response:
    """Hear the peer's audio; send it a video of the face that goes with its voice, or with the other peer's."""
    service: Service = request.app.state.service
    need_webrtc()
    wanted = await _read(request, service.limits)
    service.shelf.model(wanted.model)
    meetings: Meetings = request.app.state.meetings
    try:
        answer: dict[str, Any] = await meetings.join(wanted)
    except Speech2FaceError as error:
        raise problem_of(error) from error
    if await request.is_disconnected():
        meetings.leave(answer["call"], answer["peer"])  # without the answer it cannot connect: its seat is free again
        raise disconnected()
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def install(app: FastAPI, service: "Service") -> None:
    """Add the routes and the page."""
    from speech2face.app.service import PAGE_FOLDER

    app.state.meetings = Meetings(service, app.state.calls)
    app.include_router(router)

    @app.get("/call", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE_FOLDER / "call.html", headers={"Cache-Control": "no-cache"})
