"""Listen, serve, and end in order."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from speech2face import __version__
from speech2face.app import http as metrics
from speech2face.app import schemas as openapi
from speech2face.app import service as signatures
from speech2face.app.calls import CallBook, router
from speech2face.app.http import (
    TITLES,
    CloseCode,
    Door,
    Observer,
    Problem,
    check_address,
    disconnected,
    is_loopback,
)
from speech2face.app.live import LiveConnection
from speech2face.app.service import PAGE_FOLDER, Service, Settings
from speech2face.errors import InvalidOption

if TYPE_CHECKING:
    from fastapi import FastAPI

    from speech2face.app.service import Service

log = logging.getLogger(__name__)
SEND_BUFFER_BYTES = 256 * 1024  # two large pictures


class Server(uvicorn.Server):
    """uvicorn's, but live sessions hear of the end before their sockets are closed."""

    service: Service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal ends the service in order, and a second interrupt at once; uvicorn would raise it again after."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, say goodbye to who speaks, finish what is under way."""
        log.info("ending")
        for server in self.servers:
            server.close()
        await self.service.end_live(self.service.limits.shutdown_seconds)
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InvalidOption: the address is taken, or none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What a client that does not read may leave in the kernel; inherited, as is the next.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a client that takes nothing for a minute is gone
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
        listening.bind(found[4])
        listening.listen(128)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidOption(f"cannot listen at {host} port {port}: {reason}; choose another with --port") from None
    return listening


def make_server(settings: Settings) -> Server:
    """A server whose models are known to be there.

    Raises:
        InvalidOption: an address that would need a token.
        WeightsError: a model that is missing or none.
    """
    check_address(settings.host, settings.token)
    app = create_app(settings)
    service: Service = app.state.service
    service.shelf.check()
    limits = settings.limits
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=4 * limits.frame_bytes,  # what is a little too big is still told so
        ws_per_message_deflate=False,  # sound and pictures do not shrink, and it costs memory a client
        timeout_graceful_shutdown=round(limits.shutdown_seconds),
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=32 * 1024,
    )
    server = Server(config)
    server.service = service

    def give_up() -> None:
        server.should_exit = True

    service.on_failure = give_up
    return server


def serve(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        InvalidOption, WeightsError: what keeps it from starting, or a model that turns out damaged.
    """
    server = make_server(settings)
    listening = listen(settings.host, settings.port)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("listening", extra={"data": {"address": f"http://{name}:{listening.getsockname()[1]}"}})
    server.run(sockets=[listening])
    if server.service.shelf.failure is not None:
        raise server.service.shelf.failure


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application with its routes; `app.state.service` is what they share."""
    from speech2face.app import portraits

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
    install(app, service)
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


def install(app: "FastAPI", service: "Service") -> None:
    """Add everything about calls to the application."""
    from speech2face.app import telephone as media_stream
    from speech2face.app import webrtc

    app.state.calls = CallBook(service)
    app.include_router(router)
    app.include_router(media_stream.router)
    webrtc.install(app, service)
