"""Whole recordings in, portraits out: `POST /v1/portrait`, `POST /v1/portraits`, `GET /v1/models`."""

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from speech2face.app import schemas as openapi
from speech2face.app.http import Problem, Upload, first_mistake, problem_of
from speech2face.app.schemas import Exaggeration, Pixels, Shown
from speech2face.app.service import MEDIA_TYPES, PictureFormat, drawing, encoded, in_base64, portrait_at, resized
from speech2face.audio.recording import read_recording
from speech2face.batch import contact_sheet
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.models.contract import Given
from speech2face.portrait import reconstruct

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

FACTS_HEADER = "Speech2Face-Facts"
MAX_SEED = 2**31 - 1
Wanted = Literal["png", "webp", "svg", "json"]
router = APIRouter(tags=["portraits"])


class Options(BaseModel):
    """What may be asked of a portrait, in the query or in the body; the body's word counts."""

    model_config = ConfigDict(extra="forbid")

    samples: int = Field(0, ge=0, description="Further faces, equally consistent with the voice.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Makes the samples repeatable.")
    exaggerate: Exaggeration = Field(0.0, description="How far to move the face away from the average face.")
    age: float | None = Field(None, ge=0, le=150, allow_inf_nan=False, description="Stated instead of heard.")
    gender: Literal["female", "male"] | None = Field(None, description="Stated instead of heard.")
    group: Annotated[str, Field(max_length=80)] | None = Field(None, description="Stated; GET /v1/models lists them.")
    model: Annotated[str, Field(max_length=200)] | None = Field(None, description="Default: the first of /v1/models.")
    style: Shown | None = Field(None, description="Like a photograph, or drawn. Default: drawn as SVG, else not.")
    pixels: Pixels | None = Field(None, description="Width and height. Default: the model's.")
    picture: PictureFormat = Field("png", description="Kind of the pictures inside a JSON answer.")

    def given(self) -> Given:
        """The attributes that are stated."""
        return Given(age=self.age, gender=self.gender, group=self.group)


@dataclass(frozen=True)
class Drawn:
    """One portrait, encoded as it was asked for."""

    picture: bytes
    media_type: str
    facts: dict[str, Any]
    samples: tuple[bytes, ...] = ()
    sheet: bytes | None = None
    drawing: bytes | None = None

    def to_json(self) -> bytes:
        """As JSON, pictures in base64; megabytes, so for a worker thread."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, pictures in base64."""
        values: dict[str, Any] = {"facts": self.facts, "picture": in_base64(self.picture, self.media_type)}
        if self.drawing is not None:
            values["drawing"] = in_base64(self.drawing, MEDIA_TYPES["svg"])
        if self.sheet is not None:
            values["samples"] = [in_base64(sample, self.media_type) for sample in self.samples]
            values["sheet"] = in_base64(self.sheet, self.media_type)
        return values


def draw(model: "Model", recording: bytes, options: Options, wanted: Wanted, max_seconds: float) -> Drawn:
    """From the bytes of a recording to those of its answer; for a worker thread.

    Raises:
        Speech2FaceError: whatever is wrong with the recording or the options.
    """
    model.check(options.given())
    if wanted == "svg" and options.samples:
        raise InvalidOption("an SVG holds one face; samples come as PNG, WebP or JSON")
    heard = read_recording(recording, max_seconds=max_seconds)
    portrait = reconstruct(
        model,
        heard,
        given=options.given(),
        samples=options.samples,
        exaggerate=options.exaggerate,
        seed=options.seed,
        style=options.style or ("drawn" if wanted == "svg" else "photographic"),
    )
    facts = portrait.facts()
    if wanted == "svg":
        return Drawn(drawing(portrait), MEDIA_TYPES["svg"], facts)
    form: PictureFormat = options.picture if wanted == "json" else wanted
    media_type = MEDIA_TYPES[form]
    if wanted != "json" and portrait.samples:
        return Drawn(encoded(contact_sheet(portrait), facts, "contact sheet", form), media_type, facts)
    picture = encoded(portrait_at(portrait, options.pixels), facts, "portrait", form)
    svg = None if portrait.drawing is None else drawing(portrait)
    if not portrait.samples:
        return Drawn(picture, media_type, facts, drawing=svg)
    samples = tuple(encoded(resized(each, options.pixels), facts, "sample", form) for each in portrait.samples)
    sheet = encoded(contact_sheet(portrait), facts, "contact sheet", form)
    return Drawn(picture, media_type, facts, samples, sheet, svg)


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


def _options(request: Request, upload: Upload, service: "Service") -> Options:
    try:
        options = Options.model_validate(dict(request.query_params) | upload.options)
    except ValidationError as error:
        raise first_mistake(error) from None
    _check_samples(options.samples, service.limits.samples)
    return options


def _check_samples(samples: int, most: int) -> None:
    if samples > most:
        raise problem_of(InvalidOption(f"{samples} samples were asked for; at most {most} come in one answer"))


async def _drawn(service: "Service", recording: bytes, options: Options, wanted: Wanted) -> Drawn:
    model = service.shelf.model(options.model)
    seconds = service.limits.recording_seconds
    call = asyncio.get_running_loop().run_in_executor(service.threads, draw, model, recording, options, wanted, seconds)
    try:
        drawn = await call
    except Speech2FaceError as error:
        problem = problem_of(error)
        service.metrics.count("speech2face_refusals_total", code=problem.code)
        raise problem from error
    service.metrics.count("speech2face_portraits_total")
    return drawn


def facts_header(facts: dict[str, Any]) -> str:
    """The facts as one line of ASCII JSON."""
    return json.dumps(facts, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


@router.post("/v1/portrait", summary="One recording, one portrait", **openapi.PORTRAIT)
async def portrait(request: Request) -> Response:
    """Draw the face that a voice like the one in the recording most often goes with."""
    service: Service = request.app.state.service
    wanted = wanted_by(request.headers.get("accept", ""))
    service.shelf.model()
    async with service.gate.admitted(request) as arrival:
        upload = await arrival.read()
        if len(upload.recordings) != 1:
            text = f"one file is wanted, {len(upload.recordings)} came; /v1/portraits takes several"
            raise Problem(422, "invalid_request", text)
        drawn = await _drawn(service, upload.recordings[0][1], _options(request, upload, service), wanted)
    headers = {"Cache-Control": "no-store"}
    if wanted == "json":
        return Response(await _in_json(service, drawn), headers=headers, media_type="application/json")
    return Response(
        drawn.picture, headers=headers | {FACTS_HEADER: facts_header(drawn.facts)}, media_type=drawn.media_type
    )


@router.post("/v1/portraits", summary="Several recordings, a portrait each", **openapi.PORTRAITS)
async def portraits(request: Request) -> Response:
    """Draw every file of a multipart body; one that cannot be used does not spoil the others."""
    service: Service = request.app.state.service
    service.shelf.model()
    async with service.gate.admitted(request) as arrival:
        upload = await arrival.read(several=True)
        if not upload.recordings:
            raise Problem(422, "invalid_request", "no file came; send multipart/form-data with one part a recording")
        options = _options(request, upload, service)
        service.shelf.model(options.model)
        _check_samples(options.samples * len(upload.recordings), service.limits.samples_per_request)
        calls = (_result(service, name, recording, options) for name, recording in upload.recordings)
        results = await asyncio.gather(*calls)
    content = b'{"results":[' + b",".join(result for _, result in results) + b"]}"
    status = 200 if all(status == 200 for status, _ in results) else 207
    return Response(content, status, {"Cache-Control": "no-store"}, "application/json")


async def _result(service: "Service", name: str, recording: bytes, options: Options) -> tuple[int, bytes]:
    """Status and JSON of one of several recordings."""
    try:
        drawn = await _drawn(service, recording, options, "json")
    except Problem as problem:
        values = {"name": name, "status": problem.status, "problem": problem.to_dict()}
        return problem.status, json.dumps(values).encode()
    head = json.dumps({"name": name, "status": 200}).encode()
    return 200, head[:-1] + b',"portrait":' + await _in_json(service, drawn) + b"}"


async def _in_json(service: "Service", drawn: Drawn) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(service.threads, drawn.to_json)


@router.get("/v1/models", summary="The models, and what may be given to each", **openapi.MODELS)
async def models(request: Request) -> Response:
    """Name, version, licence, the attributes that may be stated, and what is said of every portrait."""
    service: Service = request.app.state.service
    service.shelf.model()
    return JSONResponse({"models": service.shelf.describe(service.limits.samples)})
