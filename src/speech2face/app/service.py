"""The application: one process that holds the models, draws on request, and keeps nothing."""

import asyncio
import base64
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

import numpy as np

from speech2face.app.http import Gate, Limits, Metrics, Problem, not_ready, right_token, shutting_down, too_many
from speech2face.errors import InvalidOption, Speech2FaceError, WeightsError
from speech2face.inputs import file_size
from speech2face.limits import MAX_SAMPLES
from speech2face.models.release import SHIPPED, read_manifest
from speech2face.portrait import MAX_EXAGGERATION
from speech2face.provenance import Signer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speech2face.models.contract import Model
    from speech2face.portrait import LabelledPicture, Portrait
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
    limits: Limits = field(default_factory=Limits)
    callback_hosts: frozenset[str] = frozenset()  # where calls may have portraits posted: "name" or "name:port"
    stun: str | None = None  # a STUN server for WebRTC calls; None: addresses of this machine alone
    signer: Signer | None = None  # signs every PNG and WebP that leaves


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


class Service:
    """What all requests share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.registry = ModelRegistry(settings.models)
        self.metrics = Metrics()
        # Apart, so that an hour of uploads does not keep those who speak waiting.
        self.threads = Threads(settings.workers, "portrait")
        self.live_threads = Threads(settings.workers, "live")
        self.gate = Gate(self.limits)
        self.live: set[SessionSlot] = set()
        self.ending = False
        self.on_failure: Callable[[], None] = lambda: None
        self.metrics.gauge("speech2face_live_sessions", lambda: len(self.live))
        self.metrics.gauge("speech2face_uploads_held_bytes", lambda: self.gate.held_bytes)
        self.metrics.gauge("speech2face_ready", lambda: self.registry.state == "ready")

    def allowed(self, *stated: str | None) -> bool:
        """Whether one of the stated tokens is right."""
        return right_token(self.settings.token, *stated)

    @contextlib.contextmanager
    def slot(self, hang_up: Callable[[], None]) -> Iterator[None]:
        """Hold one of the session slots; `hang_up` is called when the service ends.

        Raises:
            Problem: 503 while the service is ending, 429 where all slots are taken.
        """
        if self.ending:
            raise shutting_down("the service is ending")
        if len(self.live) >= self.limits.sessions_at_once:
            raise too_many("as many people are speaking as can be heard; try again later")
        slot = SessionSlot(hang_up)
        self.live.add(slot)
        try:
            yield
        finally:
            slot.gone.set()
            self.live.discard(slot)

    async def open_models(self) -> None:
        """Load the models beside the first answers; a damaged one ends the service."""
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
        from speech2face.models.open import load_model

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
            raise not_ready()
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise Problem(422, "unknown_model", f'no model "{name[:80]}" here; there is {", ".join(self._models)}')
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
    from speech2face.drawn.avatar import rasterise

    return rasterise(portrait.drawing, pixels)
