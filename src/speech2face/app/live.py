"""The page's live sound, `WS /v1/live`: its messages, and a session from the first to the last of them."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app import service
from speech2face.app.http import CloseCode
from speech2face.app.schemas import AttributeOptions, Exaggeration, ModelName, Pixels, Shown
from speech2face.app.service import MEDIA_TYPES, WEBP_MOST_PIXELS, PictureFormat, describe, encoded
from speech2face.batch import contact_sheet
from speech2face.conversation import LiveConversation
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.live import LiveMotion, LiveSession, LiveSnapshot, Media, PcmFormat
from speech2face.motion import FRAMES_PER_SECOND, Pose
from speech2face.video import SpeakingFace, speaking_face

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speech2face.app.service import Service
    from speech2face.models.contract import Model
    from speech2face.portrait import Portrait

# --- What a client of `/v1/live` may say in text; sound comes in binary messages.

PROTOCOL: Final = 1


class LiveMessage(BaseModel):
    """Unknown names are mistakes, and said to be."""

    model_config = ConfigDict(extra="forbid", strict=True)


class GivenAttributes(AttributeOptions, LiveMessage):
    """Attributes stated instead of taken from the voice."""


class Start(LiveMessage):
    """The first message: how the sound comes and what is wanted back."""

    type: Literal["start"]
    format: Literal["s16le", "f32le", "mulaw", "alaw", "webm", "ogg"]
    sample_rate: int = Field(48_000, ge=8_000, le=192_000)
    channels: int = Field(1, ge=1, le=8)
    updates_per_second: float = Field(4, gt=0, le=1000, allow_inf_nan=False)
    picture: Literal["webp", "png", "none"] = "webp"
    pixels: Pixels = 256
    given: GivenAttributes = Field(default_factory=lambda: GivenAttributes.model_validate({}))
    exaggerate: Exaggeration = 0.0
    style: Shown = "photographic"
    speakers: Literal["one", "auto"] = "one"
    motion: Literal["none", "poses", "frames"] = "none"
    model: ModelName | None = None
    token: Annotated[str, Field(max_length=1000)] | None = None

    def source(self) -> PcmFormat | Media:
        """How the engine is to read the sound."""
        if self.format == "webm" or self.format == "ogg":
            return Media(self.format)
        return PcmFormat(self.format, self.sample_rate, self.channels)

    def bytes_in(self, seconds: float) -> int:
        """Bytes of so much sound; 1 in a container, whose bytes say nothing of time."""
        source = self.source()
        return int(seconds * source.sample_rate) * source.frame_bytes if isinstance(source, PcmFormat) else 1


class Set(LiveMessage):
    """Change what is given, exaggerated or the style; what is not named stays."""

    type: Literal["set"]
    given: GivenAttributes | None = None
    exaggerate: Exaggeration | None = None
    style: Shown | None = None


class Hold(LiveMessage):
    """Keep the picture as it is; facts go on."""

    type: Literal["hold"]
    on: bool


class Samples(LiveMessage):
    """Faces equally consistent with the voice: a sheet to look at, or a bare row of them for a page to arrange."""

    type: Literal["samples"]
    count: int = Field(6, ge=1, le=1000)
    layout: Literal["sheet", "strip"] = "sheet"
    pixels: Pixels = 160  # of one face in a strip
    seed: int | None = Field(None, ge=0, lt=2**31)  # other faces; None keeps the session's


class Download(LiveMessage):
    """The portrait as a labelled PNG with all its facts, or the drawing as SVG."""

    type: Literal["portrait"]
    picture: Literal["png", "svg"] = "png"
    pixels: Pixels | None = None


class Reset(LiveMessage):
    """Forget the voice so far."""

    type: Literal["reset"]


class Finish(LiveMessage):
    """The sound has ended."""

    type: Literal["finish"]


Control = Annotated[Set | Hold | Samples | Download | Reset | Finish, Field(discriminator="type")]
_CONTROL: TypeAdapter[Control] = TypeAdapter(Control)


def read_start(text: str) -> Start:
    """The first message.

    Raises:
        BadMessage: with one line that says what is wrong.
    """
    return service.checked(Start.model_validate_json, text)


def read_control(text: str) -> Control:
    """Any later message.

    Raises:
        BadMessage: with one line that says what is wrong.
    """
    return service.checked(_CONTROL.validate_json, text)


# --- A live session's side in the worker threads: ready messages out.


@dataclass(frozen=True)
class Reply:
    """One text message and the picture that follows it at once."""

    values: dict[str, Any]
    picture: bytes | None = None


def with_picture(content: bytes, picture: PictureFormat | Literal["svg"], **values: Any) -> Reply:
    """A message that says how many bytes of picture follow it."""
    return Reply(values | {"picture": {"media_type": MEDIA_TYPES[picture], "bytes": len(content)}}, content)


class LiveVoice(service.VoiceSession):
    """The voice of a live client, and the messages that answer what it asked for."""

    def __init__(self, model: "Model", start: Start) -> None:
        """Begin.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        given = start.given.given()
        kind = LiveConversation if start.speakers == "auto" else LiveSession
        super().__init__(model, start.source(), given=given, exaggerate=start.exaggerate, style=start.style, kind=kind)
        self._model, self._start = model, start
        self._held = False
        self._face: SpeakingFace | None = None  # of the newest portrait, where motion is wanted
        self._puppet: Reply | None = None  # of a new face, not yet sent

    def update(self) -> Reply | None:
        """The portrait so far; None where the session is closed."""
        with self._lock:
            return None if self._session is None else self._update(self._session, self._session.snapshot())

    def _update(self, session: LiveSession, snapshot: LiveSnapshot) -> Reply:
        facts = self._take(snapshot).facts()
        values = {"type": "update", "number": self.number, "facts": facts, "listening": facts["listening"]}
        nothing_shown = self._start.picture == "none" and self._start.motion == "none"
        if not self.drawable or nothing_shown or self._held:
            return Reply(values | {"picture": None})
        portrait = session.draw(snapshot, pixels=self._start.pixels)
        self._move(portrait)
        if self._start.picture == "none":  # the face that moves is drawn all the same
            return Reply(values | {"picture": None})
        content = encoded(portrait, self._start.picture)
        return with_picture(content, self._start.picture, **values)

    def _move(self, portrait: "Portrait") -> None:
        """Move the newest face, where motion is wanted."""
        moves_here = self._start.motion == "frames"
        former, face = self._face, None
        if moves_here or (self._start.motion == "poses" and portrait.style.is_vector):  # a page moves drawings alone
            face = speaking_face(self._model, portrait, former)
        if face is not None and face is not former and not moves_here:
            self._puppet = with_picture(face.puppet(), "svg", type="puppet")
        self._face = face  # at the end: frames of the former one are drawn meanwhile

    def new_puppet(self) -> Reply | None:
        """The face to be moved by poses, where it is another than the last one sent."""
        with self._lock:
            puppet, self._puppet = self._puppet, None
            return puppet

    def frame(self, pose: Pose, number: int) -> Reply | None:
        """A labelled frame of the moving face; None where there is no face yet."""
        face = self._face
        if face is None:
            return None
        picture: PictureFormat = "png" if self._start.picture == "png" else "webp"
        image = face.frame(pose, self._start.pixels)
        content = encoded(face.portrait, picture, image=image, kind="video")
        return with_picture(content, picture, type="frame", number=number)

    def finish(self) -> Reply:
        """The end of the sound: the last update.

        Raises:
            Speech2FaceError: there was no voice, or too little of it.
        """
        with self._lock:
            session = self._open()
            return self._update(session, session.finish())

    def set(self, wish: Set) -> None:
        """Change what is given, exaggerated or the style.

        Raises:
            Speech2FaceError: the model cannot draw it; nothing is changed.
        """
        with self._lock:
            given = None if wish.given is None else wish.given.given()
            self._open().set(given=given, exaggerate=wish.exaggerate, style=wish.style)

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
            session, snapshot = self._encoded()
            if wish.seed is not None:
                session.seed = wish.seed
            shown = replace(snapshot, exaggerate=0.0) if strip else snapshot
            portrait = session.draw(shown, samples=wish.count, pixels=wish.pixels if strip else None)
        faces = portrait.samples
        image = np.hstack(faces) if strip else contact_sheet(portrait)
        content = encoded(portrait, "webp", image=image, kind="contact sheet")
        return with_picture(content, "webp", type="sheet", count=len(faces), layout=wish.layout)

    def portrait(self, wish: Download) -> Reply:
        """A labelled PNG or SVG to keep.

        Raises:
            InvalidOption: too little was heard, or an SVG is wanted of what is not drawn.
        """
        with self._lock:
            session, snapshot = self._encoded()
            portrait = session.draw(snapshot, pixels=wish.pixels)
        content = portrait.svg() if wish.picture == "svg" else encoded(portrait)
        return with_picture(content, wish.picture, type="portrait", facts=portrait.facts())

    def reset(self) -> Reply:
        """Forget the voice so far, and the face that moved with it."""
        with self._lock:
            self._open().reset()
            self._face = self._puppet = None
        return Reply({"type": "reset"})

    def _open(self) -> LiveSession:
        if self._session is None:
            raise InvalidOption("the session is over")
        return self._session

    def _encoded(self) -> tuple[LiveSession, LiveSnapshot]:
        session = self._open()
        snapshot = session.snapshot()
        if snapshot.embedding is None:
            raise InvalidOption("too little of a voice was heard to draw a portrait; go on speaking")
        return session, snapshot


# --- From the accepted socket to its close.

MAX_REPLIES: Final = 8  # answers that the client has not taken yet
OVERTAKING: Final = ("reset", "update", "end")  # answers after which an update of what was before says what is over


class Outbox:
    """Answers in order, poses before them, and one update at most, after which none is made until it is taken."""

    def __init__(self) -> None:
        self._poses: deque[tuple[int, list[float]]] = deque(maxlen=FRAMES_PER_SECOND)  # a slow client misses some
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
            if reply.values["type"] in OVERTAKING:
                self._update = None
            self._changed.notify_all()

    async def move(self, first: int, poses: "NDArray[np.float32]") -> None:
        """Append poses, (frames, 9), of which `first` is the number of the first."""
        rows = np.round(poses.astype(float), 4).tolist()
        async with self._changed:
            self._poses.extend(enumerate(rows, first))
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
            await self._changed.wait_for(
                lambda: bool(self._poses or self._replies) or self._update is not None or self._ended
            )
            reply: Reply | None = None
            if self._poses:
                poses = [row for _, row in self._poses]
                reply = Reply({"type": "poses", "first": self._poses[0][0], "poses": poses, "picture": None})
                self._poses.clear()
            elif self._replies:
                reply = self._replies.popleft()
            elif self._update is not None:
                reply, self._update = self._update, None
            self._changed.notify_all()
            return reply


class LiveConnection(service.SocketConnection):
    """A client of `/v1/live`."""

    kind = "live"

    def __init__(self, socket: WebSocket, service: "Service") -> None:
        super().__init__(socket, service)
        self._outbox = Outbox()
        self._updates = 0
        self._motion: LiveMotion | None = None
        self._frames = 0  # poses so far
        self._wanted: asyncio.Queue[tuple[int, Pose]] = asyncio.Queue(FRAMES_PER_SECOND)  # as frames

    def _error(self, ended: service.Ended) -> dict[str, Any]:
        return {"type": "error", "code": ended.error, "text": ended.reason, "fatal": True}

    def _closed(self, code: int, reason: str) -> dict[str, Any]:
        self._metrics.count("speech2face_live_closed_total", code=str(code))
        return {"updates": self._updates}

    async def _serve(self) -> NoReturn:
        start = await self._in_time(self._first_message())
        self._voice = await self._ready(start)
        self._buffer: service.SoundBuffer[Control] = service.SoundBuffer(
            self._limits.unheard_bytes, hop_bytes=start.bytes_in(service.HOP_SECONDS)
        )
        sender = self._spawn(self._send_all())
        self._spawn(self._read_all())
        self._spawn(self._encode(1 / min(start.updates_per_second, self._limits.updates_per_second)))
        self._spawn(self._watch())
        if start.motion == "frames":
            self._spawn(self._draw_frames())
        try:
            await self._until_over()
        except service.Ended:
            if not sender.done():
                await self._outbox.end()  # the last messages go out whole before the goodbye
                with contextlib.suppress(TimeoutError, WebSocketDisconnect):
                    await asyncio.wait_for(asyncio.shield(sender), self._limits.send_seconds)
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            # Not awaited: it waits for the step under way, and whoever cancels us must not wait for that.
            if self._threads.submit(self._voice.close).cancelled():  # the threads are gone: the service has ended
                self._voice.close()
            await service.stop(*self._tasks)

    async def _first_message(self) -> Start:
        received = await self._receive()
        with service.refusals_end():
            if not isinstance(received, str):
                raise service.BadMessage("the first message must be the text of a start message")
            start = read_start(received)
        self._let_in(start.token)
        return start

    async def _ready(self, start: Start) -> LiveVoice:
        with service.refusals_end():
            model = self._service.registry.model(start.model)
            if start.motion != "none" and isinstance(start.source(), Media):
                raise InvalidOption(
                    f"motion goes with sound of a raw format, such as s16le, and {start.format} is none"
                )
            voice = await self._in_thread(lambda: LiveVoice(model, start))
            if start.motion != "none":
                self._motion = LiveMotion(start.source())
        self._drawn_frames = start.motion == "frames"
        ready = {
            "type": "ready",
            "protocol": PROTOCOL,
            "model": describe(model, self._limits.samples),
            "limits": self._limits.for_a_live_client(),
            "notice": model.notice,
        }
        await self._socket.send_json(ready)
        return voice

    async def _received(self, message: str | bytes) -> None:
        with service.refusals_end():
            wish = read_control(message) if isinstance(message, str) else message
            if self._motion is not None:  # before the sound waits for the encoder: lips are later than a voice at once
                if isinstance(wish, bytes):
                    await self._move(await self._in_thread(partial(self._motion.push, wish)))
                elif isinstance(wish, Finish):
                    await self._move(await self._in_thread(self._motion.finish))
                    self._motion = None
            await self._buffer.put(wish)

    async def _move(self, poses: "NDArray[np.float32]") -> None:
        if not len(poses):
            return
        first, self._frames = self._frames, self._frames + len(poses)
        if not self._drawn_frames:
            await self._outbox.move(first, poses)
            return
        for number, row in enumerate(poses, first):
            if self._wanted.full():  # drawing does not keep up: the oldest is left out
                self._wanted.get_nowait()
            self._wanted.put_nowait((number, Pose.of(row)))

    async def _draw_frames(self) -> NoReturn:
        while True:
            number, pose = await self._wanted.get()
            with service.refusals_end(CloseCode.UNUSABLE_SOUND):  # such as a frame that cannot be signed any more
                reply = await self._in_thread(lambda: self._voice.frame(pose, number))  # noqa: B023
            if reply is not None:
                await self._outbox.answer(reply)

    async def _encode(self, interval: float) -> None:
        with service.refusals_end(CloseCode.UNUSABLE_SOUND):
            await service.encode_all(
                self._buffer,
                self._voice,
                executor=self._threads,
                interval=lambda: interval,
                show=self._show,
                answer=self._answer,
                busy=lambda: self._outbox.busy,
                observe=lambda seconds: self._metrics.observe("speech2face_live_update_seconds", seconds),
            )

    async def _show(self) -> None:
        update = await self._in_thread(self._voice.update)
        await self._show_puppet()
        if update is not None:
            await self._outbox.show(update)

    async def _show_puppet(self) -> None:
        if (puppet := self._voice.new_puppet()) is not None:
            await self._outbox.answer(puppet)

    async def _answer(self, wish: Control) -> bool:
        """Do what was asked; whether an update shall follow."""
        if isinstance(wish, Finish):
            last = await self._in_thread(self._voice.finish)
            await self._show_puppet()
            await self._outbox.answer(last)
            await self._outbox.answer(Reply({"type": "end", "reason": "finished"}))
            raise service.Ended(CloseCode.FINISHED, "finished")
        try:
            reply = await self._in_thread(lambda: self._reply(wish))
        except Speech2FaceError as error:
            reply = Reply({"type": "error", "code": error.code, "text": str(error), "fatal": False})
        if reply is not None:
            await self._outbox.answer(reply)
        return reply is None

    def _reply(self, wish: Set | Hold | Samples | Download | Reset) -> Reply | None:
        """The answer to a wish, in a worker thread; None where an update says that it was done."""
        if isinstance(wish, Set):
            self._voice.set(wish)
            return None
        if isinstance(wish, Hold):
            self._voice.hold(wish.on)
            return None
        if isinstance(wish, Samples):
            if wish.count > self._limits.samples:
                raise InvalidOption(f"{wish.count} samples were asked for; at most {self._limits.samples} come at once")
            return self._voice.sheet(wish)
        return self._voice.portrait(wish) if isinstance(wish, Download) else self._voice.reset()

    async def _send_all(self) -> None:
        while (reply := await self._outbox.take()) is not None:
            try:
                async with asyncio.timeout(self._limits.send_seconds):
                    await self._socket.send_json(reply.values)
                    if reply.picture is not None:
                        await self._socket.send_bytes(reply.picture)
            except TimeoutError:
                raise WebSocketDisconnect(CloseCode.IDLE) from None  # it does not read, so nothing can be said to it
            if reply.values["type"] == "update":
                self._updates += 1
                self._metrics.count("speech2face_live_updates_total")
