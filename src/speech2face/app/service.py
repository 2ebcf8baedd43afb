"""The application: one process that holds the models, draws on request, encodes who speaks, and keeps nothing."""

import asyncio
import base64
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, NoReturn, ParamSpec, TypeVar

import numpy as np
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from speech2face.app import http
from speech2face.audio.apart import DecoderLimits, DecoderPool
from speech2face.audio.stream import LEAST_RESAMPLED_SECONDS
from speech2face.errors import InvalidOption, Speech2FaceError, WeightsError
from speech2face.inputs import file_size
from speech2face.limits import MAX_SAMPLES, Style
from speech2face.live import LiveSession, LiveSnapshot, Media, PcmFormat
from speech2face.models.release import SHIPPED, read_manifest
from speech2face.portrait import MAX_EXAGGERATION
from speech2face.provenance import Signer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speech2face.audio.recording import Recording
    from speech2face.models.contract import Model
    from speech2face.portrait import GivenLike, LabelledPicture, Portrait
    from speech2face.provenance import PictureEncoding

log = logging.getLogger(__name__)
PAGE_FOLDER = Path(__file__).parent / "page"
P = ParamSpec("P")
T = TypeVar("T")


def default_workers() -> int:
    """Threads that draw: one a core up to four, beyond which the decoder's own threads are in the way."""
    return min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Settings:
    """What `speech2face serve` was asked for."""

    host: str = "127.0.0.1"
    port: int = 8765
    models: tuple[Path | None, ...] = (None,)
    token: str | None = None
    workers: int = field(default_factory=default_workers)
    limits: http.Limits = field(default_factory=http.Limits)
    access: http.Access = field(default_factory=http.Access)
    callback_hosts: frozenset[str] = frozenset()  # where calls may have portraits posted: "name" or "name:port"
    stun: str | None = None  # a STUN server for WebRTC calls; None: addresses of this machine alone
    signer: Signer | None = None  # signs every PNG and WebP that leaves

    def __post_init__(self) -> None:
        """Put the callback hosts into the form that addresses are compared in.

        Raises:
            InvalidOption: one that is no host.
        """
        object.__setattr__(self, "callback_hosts", frozenset(map(http.host_name, self.callback_hosts)))


class Threads(ThreadPoolExecutor):
    """Worker threads; a call that comes after their end is cancelled, as one that waited for them is."""

    ended = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """The call's future."""
        if not self.ended:
            return super().submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        future.cancel()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End after what is under way."""
        self.ended = True
        super().shutdown(wait, cancel_futures=cancel_futures)


class SessionSlot:
    """One of the voices that are encoded at once: told when the service ends, and known to have gone."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self.hang_up = hang_up
        self.gone = asyncio.Event()


@dataclass
class Turns:
    """The threads that one address may draw in, and how many of its recordings want one or have it."""

    free: asyncio.Semaphore
    wanted: int = 0


class Service:
    """What all requests share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.registry = ModelRegistry(settings.models)
        self.metrics = http.Metrics()
        # Apart, so that an hour of uploads does not keep those who speak waiting.
        self.threads = Threads(settings.workers, "portrait")
        self.live_threads = Threads(settings.workers, "live")
        decoding = DecoderLimits(self.limits.decoding_bytes, self.limits.decoding_seconds)
        self.decoders = DecoderPool(settings.workers, decoding)  # as many as the threads that wait for them
        self.gate = http.Gate(self.limits)
        self.live: set[SessionSlot] = set()
        self._slots_of = http.Shares(self.limits.share_of_one_address * self.limits.sessions_at_once)
        self._turns: dict[str, Turns] = {}
        self.ending = False
        self.on_failure: Callable[[], None] = lambda: None
        self.metrics.gauge("speech2face_live_sessions", lambda: len(self.live))
        self.metrics.gauge("speech2face_uploads_held_bytes", lambda: self.gate.held_bytes)
        self.metrics.gauge("speech2face_ready", lambda: self.registry.state == "ready")

    @contextlib.asynccontextmanager
    async def turn(self, client: str | None) -> AsyncIterator[None]:
        """Wait until an address has a thread to draw in: none has all of them, however much it sent before others."""
        key = http.address_key(client)
        if key is None:
            yield
            return
        turns = self._turns.setdefault(key, Turns(asyncio.Semaphore(max(1, self.settings.workers - 1))))
        turns.wanted += 1
        try:
            async with turns.free:
                yield
        finally:
            turns.wanted -= 1
            if not turns.wanted:
                self._turns.pop(key, None)

    def read_recording(self, content: bytes) -> "Recording":
        """Decode a stranger's recording, in a process that can die alone.

        Raises:
            Speech2FaceError: it cannot be used, or takes more memory or time than one may.
        """
        return self.decoders.read(content, max_seconds=self.limits.recording_seconds)

    @contextlib.contextmanager
    def slot(self, hang_up: Callable[[], None], client: str | None = None) -> Iterator[None]:
        """Hold one of the session slots for a client's address; `hang_up` is called when the service ends.

        Raises:
            Problem: 503 while the service is ending, 429 where all slots, or those of one address, are taken.
        """
        if self.ending:
            raise http.shutting_down("the service is ending")
        if len(self.live) >= self.limits.sessions_at_once:
            raise http.too_many("as many people are speaking as can be heard; try again later")
        self._slots_of.take(client, what="live sessions are on")
        slot = SessionSlot(hang_up)
        self.live.add(slot)
        try:
            yield
        finally:
            slot.gone.set()
            self.live.discard(slot)
            self._slots_of.give_back(client)

    async def open_models(self) -> None:
        """Load the models and what decodes beside the first answers; a damaged one ends the service."""
        self.decoders.start()
        try:
            await asyncio.to_thread(self.registry.open)
            log.info("ready", extra={"data": {"models": [model["name"] for model in self.registry.describe()]}})
        except Speech2FaceError as error:
            log.error("%s", error)
            self.on_failure()

    async def end_live(self, seconds: float) -> None:
        """Say goodbye to everybody who speaks, within a bound."""
        self.ending = True
        for slot in tuple(self.live):
            slot.hang_up()
        waits = [asyncio.create_task(slot.gone.wait()) for slot in self.live]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()

    def close(self) -> None:
        """Let go of the threads; what they do is finished, what waits is not begun."""
        for pool in (self.threads, self.live_threads):
            pool.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()


# --- The models of one service, opened and warmed beside its start; the first one answers where none is named.

State = Literal["starting", "ready", "failed"]


class ModelRegistry:
    """Models by name; `folders` are releases, None being the starter inside the package."""

    def __init__(self, folders: Sequence[Path | None]) -> None:
        self._folders = tuple(folders) or (None,)
        self._models: dict[str, Model] = {}
        self.state: State = "starting"
        self.failure: Speech2FaceError | None = None

    def check(self) -> None:
        """Refuse at once what is no release or has two of one name; the files themselves are read by `open`.

        Raises:
            WeightsError: no manifest, or none of this program's.
            InvalidOption: two models of one name.
        """
        names: list[str] = []
        for folder in self._folders:
            values = read_manifest(SHIPPED if folder is None else folder)
            missing = [name for name in values.get("files", ()) if file_size((folder or SHIPPED) / name) is None]
            if missing:
                raise WeightsError(f"the release {folder or SHIPPED} lacks {missing[0]}; install or fetch it again")
            if values.get("name") in names:
                raise InvalidOption(f'two models are named "{values["name"]}"; the name is how a request chooses')
            names.append(str(values.get("name")))

    def open(self) -> None:
        """Open and warm all models; to be called in a thread of its own.

        Raises:
            Speech2FaceError: a release is damaged; also kept as `failure`.
        """
        from speech2face.models import load_model

        try:
            for folder in self._folders:
                model = load_model(folder, threads=1)  # requests run beside each other
                model.warm()
                self._models[model.release.name] = model
        except Speech2FaceError as error:
            self.failure, self.state = error, "failed"
            raise
        self.state = "ready"

    def model(self, name: str | None = None) -> "Model":
        """The named model, or the first.

        Raises:
            Problem: 503 while the models are being loaded, 422 for an unknown name.
        """
        if self.state != "ready":
            text = "the model is being loaded; try again in a second"
            raise http.Problem(503, "not_ready", text, headers={"Retry-After": "1"})
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise http.Problem(422, "unknown_model", f'no model "{name[:80]}" here; there is {", ".join(self._models)}')
        return self._models[name]

    def describe(self, samples: int = MAX_SAMPLES) -> list[dict[str, Any]]:
        """What each model is and what may be asked of it, JSON-ready; empty while they are being loaded.

        `samples` is how many one answer may hold.
        """
        models = self._models.values() if self.state == "ready" else ()
        return [describe(model, samples) | {"default": number == 0} for number, model in enumerate(models)]


def describe(model: "Model", samples: int) -> dict[str, Any]:
    """One model, JSON-ready; `given` names the attributes that may be stated, empty where it takes none."""
    from speech2face.voice.belief import ADULT_AGE, OLDEST_FACE

    groups = list(model.population)
    given = {"age": [ADULT_AGE, OLDEST_FACE], "gender": ["female", "male"], "group": groups} if groups else {}
    if model.hair_styles:
        given["hair"] = list(model.hair_styles)
    return {
        "name": model.release.name,
        "version": model.release.version,
        "licence": model.release.licence,
        "states_attributes": bool(groups),
        "given": given,
        "exaggerate": [0, MAX_EXAGGERATION],
        "samples": samples,
        "styles": [style.value for style in model.styles],
        "notice": model.notice,
    }


# --- What signs the pictures of this process: one key for everything that leaves, so that no route can forget it.

_signer: Signer | None = None


def sign_with(signer: Signer | None) -> None:
    """From now on sign with this; None signs nothing."""
    global _signer
    _signer = signer


def encoded(picture: "LabelledPicture", encoding: "PictureEncoding" = "png", **shown: Any) -> bytes:
    """A labelled picture as the bytes of a file, signed by what signs now; `shown` as in its `labelled_bytes`."""
    return picture.labelled_bytes(encoding, signer=_signer, **shown)


# --- Portraits as the bytes that leave the service: every one says in itself that it is synthetic.

PictureFormat = Literal["png", "webp"]
MEDIA_TYPES: Final[dict[PictureFormat | Literal["svg"], str]] = {
    "png": "image/png",
    "webp": "image/webp",
    "svg": "image/svg+xml",
}
WEBP_MOST_PIXELS: Final = 16_383  # width and height that the format can say


def in_base64(picture: bytes, media_type: str) -> dict[str, str]:
    """A picture inside JSON."""
    return {"media_type": media_type, "base64": base64.b64encode(picture).decode()}


def resized(image: "NDArray[np.uint8]", pixels: int | None) -> "NDArray[np.uint8]":
    """A square picture at another width; None leaves it."""
    if pixels is None or pixels == len(image):
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.LANCZOS))


def portrait_at(portrait: "Portrait", pixels: int | None) -> "NDArray[np.uint8]":
    """The portrait at another width; what is drawn is drawn at that width."""
    if pixels is None or portrait.drawing is None:
        return resized(portrait.image, pixels)
    from speech2face.drawn.contours import rasterise

    return rasterise(portrait.drawing, pixels)


# --- What the page, telephone platforms and WebRTC peers share: a voice in the worker threads, and how its sound comes.
# `VoiceSession` is the engine, `SoundBuffer` what lies before it, `encode_all` takes from one to the other, and
# `SocketConnection` is a WebSocket from its acceptance to its close. Everything is bounded, so that neither side can
# fill the memory.

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
        kind: type[LiveSession] = LiveSession,
    ) -> None:
        """Begin; `kind` is the session's.

        Raises:
            Speech2FaceError: what the model cannot draw.
        """
        self._lock = threading.Lock()
        self._session: LiveSession | None = kind(model, source, given=given, exaggerate=exaggerate, style=style)
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

    def __init__(self, code: http.CloseCode, reason: str, error: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.error = code, error
        self.reason = reason.encode("utf-8", "replace").decode()  # it may repeat what came, and has to be sent


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
        raise BadMessage(http.one_line(error)) from None


CLOSE_CODES: Final = {
    "not_ready": http.CloseCode.NOT_READY,
    "shutdown": http.CloseCode.SHUTDOWN,
    "too_many": http.CloseCode.TOO_MANY,
}


@contextlib.contextmanager
def refusals_end(code: http.CloseCode = http.CloseCode.BAD_MESSAGE) -> Iterator[None]:
    """Whatever is refused within ends the session.

    Raises:
        Ended: with `code`, or that of the service's own reason.
    """
    try:
        yield
    except http.Problem as problem:
        raise Ended(CLOSE_CODES.get(problem.code, code), problem.text, problem.code) from None
    except Speech2FaceError as error:
        raise Ended(code, str(error), error.code) from None
    except BadMessage as error:
        raise Ended(http.CloseCode.BAD_MESSAGE, str(error), error.code) from None


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

    def admits(self, now: float) -> bool:
        """As `spend`, of what is dropped where it comes too fast, which then costs nothing."""
        if self.spend(now):
            return True
        self._left += 1
        return False

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
        self._metrics: http.Metrics = service.metrics
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
        reason, code = "internal", int(http.CloseCode.INTERNAL)
        try:
            await self._serve()
        except Ended as ended:
            reason, code = ended.error or ended.reason, await self._say_goodbye(ended)
        except WebSocketDisconnect as left:
            reason, code = "peer_gone", left.code
        except asyncio.CancelledError:
            reason, code = "shutdown", int(http.CloseCode.SHUTDOWN)
            raise
        except Exception:
            log.exception("%s failed", self.kind)
            code = await self._say_goodbye(Ended(http.CloseCode.INTERNAL, "internal error", "internal"))
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
            client = self._socket.client
            self._slots.enter_context(self._service.slot(self.hang_up, None if client is None else client.host))

    def _let_in(self, stated: str | None) -> None:
        """Take a slot, once the token is there: who only connects holds nothing that others wait for."""
        token = self._service.settings.token
        if not http.right_token(token, stated, self._socket.headers.get("authorization")):
            raise Ended(http.CloseCode.TOKEN, "the token is missing or wrong", "token")
        self._take_slot()

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        await self._keep_pace()
        content: str | bytes | None = message.get("bytes")
        if content is None:
            content = str(message.get("text") or "")
        most = self._limits.frame_bytes if isinstance(content, bytes) else self._limits.text_bytes
        size = len(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        if size > most:
            raise Ended(http.CloseCode.TOO_BIG, f"a message of {size} bytes is over the limit of {most}", "too_big")
        return content

    async def _keep_pace(self) -> None:
        """A burst waits at the sender, unless it would have to for so long that the session would count as idle."""
        if self._allowance.spend(time.monotonic()):
            return
        if self._allowance.wait_seconds > self._limits.idle_seconds:
            raise Ended(http.CloseCode.TOO_MANY, "too many messages a second; send larger pieces", "too_many")
        await asyncio.sleep(self._allowance.wait_seconds)

    async def _in_time(self, first: Awaitable[T]) -> T:
        """What the first message says, which must come soon."""
        try:
            async with asyncio.timeout(self._limits.start_seconds):
                return await first
        except TimeoutError:
            raise Ended(http.CloseCode.IDLE, "no start message came", "idle") from None

    async def _read_all(self) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    received = await self._receive()
            except TimeoutError:
                raise Ended(http.CloseCode.IDLE, f"nothing came for {self._limits.idle_seconds:g} s", "idle") from None
            await self._received(received)

    async def _watch(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._limits.session_seconds):
                await self._hung_up.wait()
        except TimeoutError:
            raise Ended(http.CloseCode.IDLE, "the session has lasted as long as one may", "session_over") from None
        if self._service.ending:
            raise Ended(http.CloseCode.SHUTDOWN, "the service is ending", "shutdown")
        raise Ended(http.CloseCode.FINISHED, "deleted")

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
