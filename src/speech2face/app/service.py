"""The application: one process that holds the models, draws on request, and keeps nothing."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from speech2face import __version__
from speech2face.app import metrics, openapi, signatures
from speech2face.app.limits import CloseCode, Limits
from speech2face.app.live_socket import LiveConnection
from speech2face.app.observer import Observer
from speech2face.app.problems import TITLES, Problem, disconnected
from speech2face.app.security import Door, is_loopback, right_token
from speech2face.app.shelf import Shelf
from speech2face.app.uploads import Gate
from speech2face.errors import Speech2FaceError
from speech2face.provenance import Signer

if TYPE_CHECKING:
    from speech2face.app.calls import Seat

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


class Service:
    """What all requests share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.shelf = Shelf(settings.models)
        self.metrics = metrics.Metrics()
        # Apart, so that an hour of uploads does not keep those who speak waiting.
        self.threads = Threads(settings.workers, "portrait")
        self.live_threads = Threads(settings.workers, "live")
        self.gate = Gate(self.limits)
        self.live: set[LiveConnection | Seat] = set()
        self.ending = False
        self.on_failure: Callable[[], None] = lambda: None
        self.metrics.gauge("speech2face_live_sessions", lambda: len(self.live))
        self.metrics.gauge("speech2face_uploads_held_bytes", lambda: self.gate.held_bytes)
        self.metrics.gauge("speech2face_ready", lambda: self.shelf.state == "ready")

    def allowed(self, *stated: str | None) -> bool:
        """Whether one of the stated tokens is right."""
        return right_token(self.settings.token, *stated)

    async def open_models(self) -> None:
        """Load the models beside the first answers; a damaged one ends the service."""
        try:
            await asyncio.to_thread(self.shelf.open)
            log.info("ready", extra={"data": {"models": [model["name"] for model in self.shelf.describe()]}})
        except Speech2FaceError as error:
            log.error("%s", error)
            self.on_failure()

    async def end_live(self, seconds: float) -> None:
        """Say goodbye to everybody who speaks, within a bound."""
        self.ending = True
        for connection in tuple(self.live):
            connection.end()
        waits = [asyncio.create_task(connection.gone.wait()) for connection in self.live]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()

    def close(self) -> None:
        """Let go of the threads; what they do is finished, what waits is not begun."""
        for pool in (self.threads, self.live_threads):
            pool.shutdown(wait=False, cancel_futures=True)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application with its routes; `app.state.service` is what they share."""
    from speech2face.app import calls, portraits

    service = Service(settings or Settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(service.open_models())
        signatures.sign_with(service.settings.signer)
        yield
        await service.end_live(service.limits.shutdown_seconds)
        await opening
        service.close()
        signatures.sign_with(None)

    app = FastAPI(
        title="Speech2Face",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the pages FastAPI would show load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    _add_handlers(app)
    _add_own_routes(app, service)
    app.include_router(portraits.router)
    calls.install(app, service)
    _add_page(app)
    openapi.install(app, portraits.Options.model_json_schema())
    app.add_middleware(Observer, service_metrics=service.metrics)
    app.add_middleware(Door, token=service.settings.token, any_host=_any_host(service.settings))
    return app


def _any_host(settings: Settings) -> bool:
    """A service for a network does not know its own names; its token keeps other sites' pages out."""
    return not is_loopback(settings.host)


def _add_own_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health", tags=["service"], summary="Whether the models are loaded", **openapi.HEALTH)
    async def health() -> JSONResponse:
        state = "ending" if service.ending else service.shelf.state
        values = {"status": state, "version": __version__, "live_sessions": len(service.live)}
        return JSONResponse(values, 503 if state == "failed" else 200, {"Cache-Control": "no-store"})

    @app.get("/metrics", tags=["service"], summary="Counts, as Prometheus reads them", **openapi.METRICS)
    async def read_metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics.text(), media_type=metrics.TEXT_TYPE)

    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        turned_away = _turned_away(service)
        if turned_away is not None:
            code, name, text = turned_away
            await socket.send_json({"type": "error", "code": name, "text": text, "fatal": True})
            await socket.close(code, text)
            return
        connection = LiveConnection(socket, service)
        service.live.add(connection)
        try:
            await connection.run()
        finally:
            service.live.discard(connection)


def _turned_away(service: Service) -> tuple[CloseCode, str, str] | None:
    """Why nobody else can be heard now: close code, error code and words; None where there is room."""
    if service.ending:
        return CloseCode.SHUTDOWN, "shutdown", "the service is ending"
    if len(service.live) >= service.limits.sessions_at_once:
        return CloseCode.TOO_MANY, "too_many", "as many people are speaking as can be heard; try again later"
    return None


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        file = PAGE_FOLDER / "index.html"
        if not file.is_file():
            raise Problem(404, "not_found", "this installation has no page; the API is at /v1 and /openapi.json")
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    app.mount("/page", _Static(directory=PAGE_FOLDER, check_dir=False))


class _Static(StaticFiles):
    """The page's files; a browser asks each time whether they changed, which is a few bytes."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """One file."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return disconnected().response()

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        status = error.status_code if error.status_code in TITLES else 400
        code = TITLES[status].lower().replace(" ", "_")
        return Problem(status, code, str(error.detail), headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = [{"where": ".".join(map(str, e["loc"])), "text": str(e["msg"])} for e in error.errors()]
        text = "; ".join(f"{each['where']}: {each['text']}" for each in found)
        return Problem(422, "invalid_request", text, more={"errors": found}).response()
