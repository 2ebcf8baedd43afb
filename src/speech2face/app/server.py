"""Listen, serve, and end in order."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from speech2face import __version__
from speech2face.app import calls, portraits, schemas, telephone
from speech2face.app.http import (
    METRICS_TYPE,
    TITLES,
    Authentication,
    Limits,
    Observer,
    Problem,
    check_address,
    disconnected,
    is_loopback,
    problem_of,
)
from speech2face.app.live import LiveConnection
from speech2face.app.service import PAGE_FOLDER, Service, Settings, sign_with
from speech2face.errors import InvalidOption, Speech2FaceError

log = logging.getLogger(__name__)
SEND_BUFFER_BYTES = 256 * 1024  # two large pictures


class OrderlyServer(uvicorn.Server):
    """uvicorn's, but a signal ends it as any other end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal ends the service in order, and a second interrupt at once; uvicorn would raise it again after."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class Server(OrderlyServer):
    """One whose live sessions hear of the end before their sockets are closed."""

    service: Service

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
    service.registry.check()
    server = Server(server_config(app, settings.limits))
    server.service = service

    def give_up() -> None:
        server.should_exit = True

    service.on_failure = give_up
    return server


def server_config(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """How uvicorn runs an application of this package: silent, and within its limits."""
    return uvicorn.Config(
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


def address_of(host: str, listening: socket.socket) -> str:
    """What to open in a browser of this machine."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


def serve(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        InvalidOption, WeightsError: what keeps it from starting, or a model that turns out damaged.
    """
    server = make_server(settings)
    listening = listen(settings.host, settings.port)
    log.info("listening", extra={"data": {"address": address_of(settings.host, listening)}})
    server.run(sockets=[listening])
    if server.service.registry.failure is not None:
        raise server.service.registry.failure


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application with its routes; `app.state.service` is what they share, `app.state.calls` the calls."""
    service = Service(settings or Settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(service.open_models())
        sign_with(service.settings.signer)
        yield
        await service.end_live(service.limits.shutdown_seconds)
        await opening
        service.close()
        sign_with(None)

    app = FastAPI(
        title="Speech2Face",
        version=__version__,
        description=schemas.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the pages FastAPI would show load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service, app.state.calls = service, calls.CallBook(service)
    for each in (router, portraits.router, calls.router, telephone.router):
        app.include_router(each)
    app.mount("/page", PageFiles(directory=PAGE_FOLDER, check_dir=False))
    add_handlers(app)
    schemas.describe_token(app)
    app.add_middleware(Observer, service_metrics=service.metrics)
    # A service for a network does not know its own names; its token keeps other sites' pages out.
    app.add_middleware(Authentication, token=service.settings.token, any_host=not is_loopback(service.settings.host))
    return app


router = APIRouter(tags=["service"])


@router.get(
    "/health",
    summary="Whether the models are loaded",
    response_model=schemas.HealthBody,
    responses={
        200: {"description": "It answers; `status` says whether it can draw."},
        503: {
            "description": "A model turned out damaged, and the service is about to end.",
            "model": schemas.HealthBody,
        },
        **schemas.errors_of(without=401),
    },
)
async def health(request: Request) -> JSONResponse:
    """Whether the models are loaded, the program's version, and how many are speaking."""
    service: Service = request.app.state.service
    state = "ending" if service.ending else service.registry.state
    values = {"status": state, "version": __version__, "live_sessions": len(service.live)}
    return JSONResponse(values, 503 if state == "failed" else 200, {"Cache-Control": "no-store"})


@router.get(
    "/metrics",
    summary="Counts, as Prometheus reads them",
    response_class=PlainTextResponse,
    responses=schemas.answers("Text format 0.0.4."),
)
async def read_metrics(request: Request) -> PlainTextResponse:
    """What the service did; nothing of voices or faces."""
    return PlainTextResponse(request.app.state.service.metrics.text(), media_type=METRICS_TYPE)


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """The page's live sound."""
    await socket.accept()
    await LiveConnection(socket, socket.app.state.service).run()


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return page_file("index.html")


@router.get("/call", include_in_schema=False)
async def call_page() -> Response:
    """The page of calls between two browsers."""
    return page_file("call.html")


def page_file(name: str) -> Response:
    """A page of this installation.

    Raises:
        Problem: 404, it was installed without.
    """
    file = PAGE_FOLDER / name
    if not file.is_file():
        raise Problem(404, "not_found", "this installation has no page; the API is at /v1 and /openapi.json")
    return FileResponse(file, headers={"Cache-Control": "no-cache"})


class PageFiles(StaticFiles):
    """The page's files; a browser asks each time whether they changed, which is a few bytes."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """One file."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_handlers(app: FastAPI) -> None:
    """Let every error be answered as a problem."""

    def answer(kind: type[Exception], problem: Callable[[Any], Problem]) -> None:
        async def handler(request: Request, error: Exception) -> Response:
            return problem(error).response()

        app.add_exception_handler(kind, handler)

    def refused(error: HTTPException) -> Problem:
        status = error.status_code if error.status_code in TITLES else 400
        code = TITLES[status].lower().replace(" ", "_")
        return Problem(status, code, str(error.detail), headers=error.headers)

    def invalid(error: RequestValidationError) -> Problem:
        found = [{"where": ".".join(map(str, each["loc"])), "text": str(each["msg"])} for each in error.errors()]
        text = "; ".join(f"{each['where']}: {each['text']}" for each in found)
        return Problem(422, "invalid_request", text, more={"errors": found})

    answer(Problem, lambda problem: problem)
    answer(Speech2FaceError, problem_of)
    answer(ClientDisconnect, lambda error: disconnected())
    answer(HTTPException, refused)
    answer(RequestValidationError, invalid)
