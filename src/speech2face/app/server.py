"""Listen, answer the routes of HTTP, and end in order."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from speech2face import __version__
from speech2face.app import calls, http, schemas, telephone
from speech2face.app.http import Problem, Upload, problem_of, valid
from speech2face.app.live import LiveConnection
from speech2face.app.service import (
    MEDIA_TYPES,
    PAGE_FOLDER,
    PictureFormat,
    Service,
    Settings,
    encoded,
    in_base64,
    in_thread,
    portrait_at,
    resized,
    sign_with,
)
from speech2face.batch import contact_sheet
from speech2face.conversation import reconstruct_speakers
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.limits import MAX_SPEAKERS
from speech2face.portrait import Portrait, reconstruct

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.audio.recording import Recording
    from speech2face.models.contract import Model

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
    http.check_address(settings.host, settings.token)
    http.check_stun(settings.stun)
    app = create_app(settings)
    service: Service = app.state.service
    service.registry.check()
    server = Server(server_config(app, settings.limits, settings.access.proxies))
    server.service = service

    def give_up() -> None:
        server.should_exit = True

    service.on_failure = give_up
    return server


def server_config(app: FastAPI, limits: http.Limits, proxies: Sequence[str] = ()) -> uvicorn.Config:
    """How uvicorn runs an application of this package: silent, within its limits, and trusting the stated proxies."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),  # uvicorn's own default believes everybody on this machine
        forwarded_allow_ips=list(proxies),
        ws_max_size=4 * limits.frame_bytes,  # what is a little too big is still told so
        ws_per_message_deflate=False,  # sound and pictures do not shrink, and it costs memory a client
        timeout_graceful_shutdown=round(limits.shutdown_seconds),
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=32 * 1024,
    )


def address_of(host: str, listening: socket.socket) -> str:
    """What to open in a browser of this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # all addresses are none that a browser can open
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


def serve(settings: Settings, say_where: Callable[[str], None] = lambda address: None) -> None:
    """Serve until a signal ends it; `say_where` is told the address once connections are taken.

    Raises:
        InvalidOption, WeightsError: what keeps it from starting, or a model that turns out damaged.
    """
    server = make_server(settings)
    listening = listen(settings.host, settings.port)
    address = address_of(settings.host, listening)
    log.info("listening", extra={"noted": True, "data": {"address": address}})
    say_where(address)
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
        await app.state.calls.posted()
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
        redirect_slashes=False,  # a redirect names an address, and behind a proxy it would be the wrong one
    )
    app.state.service, app.state.calls = service, calls.CallBook(service)
    for each in (router, portrait_router, calls.router, telephone.router):
        app.include_router(each)
    app.mount("/page", PageFiles(directory=PAGE_FOLDER, check_dir=False))
    add_handlers(app)
    schemas.describe_token(app, service.settings.access.root_path)
    app.add_middleware(http.Observer, service_metrics=service.metrics, gate=service.gate, limits=service.limits)
    # A service for a network that was not told its names does not know them; its token keeps other sites' pages out.
    access = service.settings.access
    app.add_middleware(
        http.Authentication,
        token=service.settings.token,
        any_host=not http.is_loopback(service.settings.host),
        access=access,
    )
    if access.origins:  # around all, so that their pages can also read why they were refused
        app.add_middleware(
            CORSMiddleware,
            allow_origins=tuple(access.origins),
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=(FACTS_HEADER, "Retry-After"),
        )
    check_root_path(app, access.root_path)
    return app


def check_root_path(app: FastAPI, root_path: str) -> None:
    """Refuse a path that begins as one of the service's own does: what it would mean is not to be told.

    Raises:
        InvalidOption: it does.
    """
    first = root_path.split("/")[1:2]
    if first and first[0] in {path.split("/")[1] for path in (*app.openapi()["paths"], *http.OPEN_PATHS, http.PAGE)}:
        raise InvalidOption(f"--root-path {root_path} begins as addresses of the service itself do; choose another")


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
    return PlainTextResponse(request.app.state.service.metrics.text(), media_type=http.METRICS_TYPE)


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


@router.get("/docs", include_in_schema=False)
async def api_page() -> Response:
    """The page that lists the routes, and tries them."""
    return page_file("docs.html")


def page_file(name: str) -> Response:
    """A page of this installation.

    Raises:
        Problem: 404, it was installed without.
    """
    file = PAGE_FOLDER / name
    if not file.is_file():
        raise http.Problem(404, "not_found", "this installation has no page; the API is at /v1 and /openapi.json")
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

    def answer(kind: type[Exception], problem: Callable[[Any], http.Problem]) -> None:
        async def handler(request: Request, error: Exception) -> Response:
            return problem(error).response()

        app.add_exception_handler(kind, handler)

    def refused(error: HTTPException) -> http.Problem:
        status = error.status_code if error.status_code in http.TITLES else 400
        code = http.TITLES[status].lower().replace(" ", "_")
        return http.Problem(status, code, str(error.detail), headers=error.headers)

    def invalid(error: RequestValidationError) -> http.Problem:
        found = [{"where": ".".join(map(str, each["loc"])), "text": str(each["msg"])} for each in error.errors()]
        text = "; ".join(f"{each['where']}: {each['text']}" for each in found)
        return http.Problem(422, "invalid_request", text, more={"errors": found})

    answer(http.Problem, lambda problem: problem)
    answer(Speech2FaceError, http.problem_of)
    answer(ClientDisconnect, lambda error: http.disconnected())
    answer(HTTPException, refused)
    answer(RequestValidationError, invalid)


# --- Whole recordings in, portraits out: `POST /v1/portrait`, `POST /v1/portraits`, `GET /v1/models`.

FACTS_HEADER = "Speech2Face-Facts"
MAX_SEED = 2**31 - 1
Wanted = Literal["png", "webp", "svg", "json"]
portrait_router = APIRouter(tags=["portraits"])
Asked = TypeVar("Asked", bound="Options")


class Options(schemas.AttributeOptions):
    """What may be asked of a portrait, in the query or in the body; the body's word counts."""

    model_config = ConfigDict(extra="forbid")

    samples: int = Field(0, ge=0, description="Further faces, equally consistent with the voice.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Makes the samples repeatable.")
    exaggerate: schemas.Exaggeration = Field(0.0, description="How far to move the face away from the average face.")
    model: schemas.ModelName | None = Field(None, description="Default: the first of /v1/models.")
    style: schemas.Shown | None = Field(
        None, description="Like a photograph, drawn, or in lines. Default: drawn as SVG, else not."
    )
    pixels: schemas.Pixels | None = Field(None, description="Width and height. Default: the model's.")
    picture: PictureFormat = Field("png", description="Kind of the pictures inside a JSON answer.")


class SeveralOptions(Options):
    """The same for `/v1/portraits`."""

    speakers: str | None = Field(
        None,
        pattern=f"^(auto|[1-{MAX_SPEAKERS}])$",
        description="Several people speak in each recording: how many, or auto. Default: one voice is heard in it.",
    )


@dataclass(frozen=True)
class Drawn:
    """One portrait, encoded as it was asked for: a picture with its facts, or JSON that holds both."""

    content: bytes
    media_type: str
    facts: dict[str, Any]


def draw(
    model: "Model", recording: bytes, options: Options, wanted: Wanted, read: "Callable[[bytes], Recording]"
) -> Drawn:
    """From the bytes of a recording, which `read` decodes, to those of its answer; for a worker thread.

    Raises:
        Speech2FaceError: whatever is wrong with the recording or the options.
    """
    model.check(options.given())
    if wanted == "svg" and options.samples:
        raise InvalidOption("an SVG holds one face; samples come as PNG, WebP or JSON")
    portrait = reconstruct(
        model,
        read(recording),
        given=options.given(),
        samples=options.samples,
        exaggerate=options.exaggerate,
        seed=options.seed,
        style=options.style or ("drawn" if wanted == "svg" else "photographic"),
    )
    facts = portrait.facts()
    if wanted == "svg":
        return Drawn(portrait.svg(), MEDIA_TYPES["svg"], facts)
    if wanted == "json":
        return Drawn(_json(portrait_values(portrait, options)), "application/json", facts)
    if portrait.samples:
        sheet = encoded(portrait, wanted, image=contact_sheet(portrait), kind="contact sheet")
        return Drawn(sheet, MEDIA_TYPES[wanted], facts)
    return Drawn(encoded(portrait, wanted, image=portrait_at(portrait, options.pixels)), MEDIA_TYPES[wanted], facts)


def draw_speakers(
    model: "Model", recording: bytes, options: SeveralOptions, read: "Callable[[bytes], Recording]"
) -> Drawn:
    """The same for each speaker of a recording, as JSON.

    Raises:
        Speech2FaceError: whatever is wrong with the recording or the options.
    """
    conversation = reconstruct_speakers(
        model,
        read(recording),
        speakers=options.speakers or "auto",
        given=options.given(),
        samples=options.samples,
        exaggerate=options.exaggerate,
        seed=options.seed,
        style=options.style or "photographic",
    )
    timeline = in_base64(encoded(conversation, options.picture), MEDIA_TYPES[options.picture])
    portraits = [portrait_values(each, options) for each in conversation.portraits]
    facts = conversation.facts()
    values = {"facts": facts, "timeline": timeline, "portraits": portraits}
    return Drawn(_json(values), "application/json", facts)


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def portrait_values(portrait: Portrait, options: Options) -> dict[str, Any]:
    """A portrait as it stands in a JSON answer: facts, pictures in base64."""
    form = options.picture
    encode = partial(encoded, portrait, form)
    picture = encode(image=portrait_at(portrait, options.pixels))
    values: dict[str, Any] = {"facts": portrait.facts(), "picture": in_base64(picture, MEDIA_TYPES[form])}
    if portrait.drawing is not None:
        values["drawing"] = in_base64(portrait.svg(), MEDIA_TYPES["svg"])
    if portrait.samples:
        samples = [encode(image=resized(each, options.pixels), kind="sample") for each in portrait.samples]
        values["samples"] = [in_base64(sample, MEDIA_TYPES[form]) for sample in samples]
        sheet = encode(image=contact_sheet(portrait), kind="contact sheet")
        values["sheet"] = in_base64(sheet, MEDIA_TYPES[form])
    return values


def wanted_by(accept: str) -> Wanted:
    """The kind of answer by the Accept header; the first that is known among the most wanted ones.

    Raises:
        Problem: 406, none of what is accepted can be given.
    """
    known: dict[str, Wanted] = {
        "image/png": "png",
        "image/webp": "webp",
        "image/svg+xml": "svg",
        "application/json": "json",
        "image/*": "png",
        "*/*": "png",
        "application/*": "json",
    }
    best: tuple[float, Wanted] | None = None
    for part in (accept or "*/*").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        stated = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            quality = float(stated)
        except ValueError:
            quality = 0.0
        if name in known and quality > (0.0 if best is None else best[0]):
            best = (quality, known[name])
    if best is None:
        raise Problem(406, "not_acceptable", "this gives image/png, image/webp, image/svg+xml or application/json")
    return best[1]


def _options(request: Request, body: Upload, service: "Service", kind: type[Asked]) -> Asked:
    options = valid(kind.model_validate, dict(request.query_params) | body.options)
    _check_samples(options.samples, service.limits.samples)
    return options


def _check_samples(samples: int, most: int) -> None:
    if samples > most:
        raise InvalidOption(f"{samples} samples were asked for; at most {most} come in one answer")


async def _drawn(request: Request, recording: bytes, options: Options, wanted: Wanted) -> Drawn:
    service: Service = request.app.state.service
    model = service.registry.model(options.model)
    client = None if request.client is None else request.client.host
    drawing = partial(draw, model, recording, options, wanted, service.read_recording)
    if isinstance(options, SeveralOptions) and options.speakers is not None:
        drawing = partial(draw_speakers, model, recording, options, service.read_recording)
    try:
        async with service.turn(client):
            drawn = await in_thread(service.threads, drawing)
    except Speech2FaceError as error:
        service.metrics.count("speech2face_refusals_total", code=error.code)
        raise
    service.metrics.count("speech2face_portraits_total")
    return drawn


@portrait_router.post(
    "/v1/portrait",
    summary="One recording, one portrait",
    response_model=schemas.PortraitBody,
    responses=schemas.answers(
        "The portrait as a labelled picture, its facts in the header; or both as JSON.",
        *(400, 406, 408, 413, 422, 429, 503),
        content={"image/png": schemas.BINARY, "image/webp": schemas.BINARY, "image/svg+xml": {"schema": schemas.TEXT}},
        headers={FACTS_HEADER: {"schema": schemas.TEXT, "description": "The facts as one line of JSON."}},
    ),
    openapi_extra=schemas.upload(Options),
)
async def portrait(request: Request) -> Response:
    """Draw the face that a voice like the one in the recording most often goes with."""
    service: Service = request.app.state.service
    wanted = wanted_by(request.headers.get("accept", ""))
    service.registry.model()
    async with service.gate.admitted(request) as arrival:
        body = await arrival.read()
        if len(body.recordings) != 1:
            text = f"one file is wanted, {len(body.recordings)} came; /v1/portraits takes several"
            raise Problem(422, "invalid_request", text)
        drawn = await _drawn(request, body.recordings[0][1], _options(request, body, service, Options), wanted)
    headers = {"Cache-Control": "no-store"}
    if wanted != "json":
        headers[FACTS_HEADER] = json.dumps(drawn.facts, allow_nan=False, separators=(",", ":"))  # one line of ASCII
    return Response(drawn.content, headers=headers, media_type=drawn.media_type)


@portrait_router.post(
    "/v1/portraits",
    summary="Several recordings, a portrait each, or one of each speaker",
    response_model=schemas.ResultsBody,
    responses=schemas.answers("Every recording gave a portrait.", 400, 408, 413, 415, 422, 429, 503)
    | {207: {"description": "Some did; each result has its own status.", "model": schemas.ResultsBody}},
    openapi_extra=schemas.upload(SeveralOptions, several=True),
)
async def portraits(request: Request) -> Response:
    """Draw every file of a multipart body; one that cannot be used does not spoil the others.

    With `speakers` each result holds, in place of a portrait, one of each of its speakers, and who spoke when.
    """
    service: Service = request.app.state.service
    service.registry.model()
    async with service.gate.admitted(request) as arrival:
        body = await arrival.read(several=True)
        if not body.recordings:
            raise Problem(422, "invalid_request", "no file came; send multipart/form-data with one part a recording")
        options = _options(request, body, service, SeveralOptions)
        service.registry.model(options.model)
        voices = MAX_SPEAKERS if options.speakers else 1
        _check_samples(options.samples * voices * len(body.recordings), service.limits.samples_per_request)
        calls = (_result(request, name, recording, options) for name, recording in body.recordings)
        results = await asyncio.gather(*calls)
    content = b'{"results":[' + b",".join(result for _, result in results) + b"]}"
    status = 200 if all(status == 200 for status, _ in results) else 207
    return Response(content, status, {"Cache-Control": "no-store"}, "application/json")


async def _result(request: Request, name: str, recording: bytes, options: SeveralOptions) -> tuple[int, bytes]:
    """Status and JSON of one of several recordings."""
    try:
        drawn = await _drawn(request, recording, options, "json")
    except Speech2FaceError as error:
        problem = problem_of(error)
        values = {"name": name, "status": problem.status, "problem": problem.to_dict()}
        return problem.status, json.dumps(values).encode()
    head = json.dumps({"name": name, "status": 200}).encode()
    what = b"portrait" if options.speakers is None else b"conversation"
    return 200, head[:-1] + b',"' + what + b'":' + drawn.content + b"}"


@portrait_router.get(
    "/v1/models",
    summary="The models, and what may be given to each",
    response_model=schemas.ModelsBody,
    responses=schemas.answers("All models, the first is the default.", 503),
)
async def models(request: Request) -> Response:
    """Name, version, licence, the attributes that may be stated, and what is said of every portrait."""
    service: Service = request.app.state.service
    service.registry.model()
    return JSONResponse({"models": service.registry.describe(service.limits.samples)})
