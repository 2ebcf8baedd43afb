"""Whole recordings in, portraits out: `POST /v1/portrait`, `POST /v1/portraits`, `GET /v1/models`."""

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field
from starlette.responses import JSONResponse

from speech2face.app import schemas
from speech2face.app.http import Problem, Upload, code_of, problem_of, valid
from speech2face.app.service import MEDIA_TYPES, PictureFormat, encoded, in_base64, portrait_at, resized
from speech2face.app.sessions import in_thread
from speech2face.audio.recording import read_recording
from speech2face.batch import contact_sheet
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.portrait import reconstruct

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

FACTS_HEADER = "Speech2Face-Facts"
MAX_SEED = 2**31 - 1
Wanted = Literal["png", "webp", "svg", "json"]
router = APIRouter(tags=["portraits"])


class Options(schemas.AttributeOptions):
    """What may be asked of a portrait, in the query or in the body; the body's word counts."""

    model_config = ConfigDict(extra="forbid")

    samples: int = Field(0, ge=0, description="Further faces, equally consistent with the voice.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Makes the samples repeatable.")
    exaggerate: schemas.Exaggeration = Field(0.0, description="How far to move the face away from the average face.")
    model: schemas.ModelName | None = Field(None, description="Default: the first of /v1/models.")
    style: schemas.Shown | None = Field(
        None, description="Like a photograph, or drawn. Default: drawn as SVG, else not."
    )
    pixels: schemas.Pixels | None = Field(None, description="Width and height. Default: the model's.")
    picture: PictureFormat = Field("png", description="Kind of the pictures inside a JSON answer.")


@dataclass(frozen=True)
class Drawn:
    """One portrait, encoded as it was asked for: a picture with its facts, or JSON that holds both."""

    content: bytes
    media_type: str
    facts: dict[str, Any]


def draw(model: "Model", recording: bytes, options: Options, wanted: Wanted, max_seconds: float) -> Drawn:
    """From the bytes of a recording to those of its answer; for a worker thread.

    Raises:
        Speech2FaceError: whatever is wrong with the recording or the options.
    """
    model.check(options.given())
    if wanted == "svg" and options.samples:
        raise InvalidOption("an SVG holds one face; samples come as PNG, WebP or JSON")
    portrait = reconstruct(
        model,
        read_recording(recording, max_seconds=max_seconds),
        given=options.given(),
        samples=options.samples,
        exaggerate=options.exaggerate,
        seed=options.seed,
        style=options.style or ("drawn" if wanted == "svg" else "photographic"),
    )
    facts = portrait.facts()
    if wanted == "svg":
        return Drawn(portrait.svg(), MEDIA_TYPES["svg"], facts)
    form: PictureFormat = options.picture if wanted == "json" else wanted
    encode = partial(encoded, portrait, form)
    if wanted != "json" and portrait.samples:
        return Drawn(encode(image=contact_sheet(portrait), kind="contact sheet"), MEDIA_TYPES[form], facts)
    picture = encode(image=portrait_at(portrait, options.pixels))
    if wanted != "json":
        return Drawn(picture, MEDIA_TYPES[form], facts)
    values: dict[str, Any] = {"facts": facts, "picture": in_base64(picture, MEDIA_TYPES[form])}
    if portrait.drawing is not None:
        values["drawing"] = in_base64(portrait.svg(), MEDIA_TYPES["svg"])
    if portrait.samples:
        samples = [encode(image=resized(each, options.pixels), kind="sample") for each in portrait.samples]
        values["samples"] = [in_base64(sample, MEDIA_TYPES[form]) for sample in samples]
        sheet = encode(image=contact_sheet(portrait), kind="contact sheet")
        values["sheet"] = in_base64(sheet, MEDIA_TYPES[form])
    content = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Drawn(content, "application/json", facts)


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


def _options(request: Request, body: Upload, service: "Service") -> Options:
    options = valid(Options.model_validate, dict(request.query_params) | body.options)
    _check_samples(options.samples, service.limits.samples)
    return options


def _check_samples(samples: int, most: int) -> None:
    if samples > most:
        raise InvalidOption(f"{samples} samples were asked for; at most {most} come in one answer")


async def _drawn(service: "Service", recording: bytes, options: Options, wanted: Wanted) -> Drawn:
    model = service.registry.model(options.model)
    seconds = service.limits.recording_seconds
    try:
        drawn = await in_thread(service.threads, partial(draw, model, recording, options, wanted, seconds))
    except Speech2FaceError as error:
        service.metrics.count("speech2face_refusals_total", code=code_of(error))
        raise
    service.metrics.count("speech2face_portraits_total")
    return drawn


def facts_header(facts: dict[str, Any]) -> str:
    """The facts as one line of ASCII JSON."""
    return json.dumps(facts, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


@router.post(
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
        drawn = await _drawn(service, body.recordings[0][1], _options(request, body, service), wanted)
    headers = {"Cache-Control": "no-store"}
    if wanted != "json":
        headers[FACTS_HEADER] = facts_header(drawn.facts)
    return Response(drawn.content, headers=headers, media_type=drawn.media_type)


@router.post(
    "/v1/portraits",
    summary="Several recordings, a portrait each",
    response_model=schemas.ResultsBody,
    responses=schemas.answers("Every recording gave a portrait.", 400, 408, 413, 415, 422, 429, 503)
    | {207: {"description": "Some did; each result has its own status.", "model": schemas.ResultsBody}},
    openapi_extra=schemas.upload(Options, several=True),
)
async def portraits(request: Request) -> Response:
    """Draw every file of a multipart body; one that cannot be used does not spoil the others."""
    service: Service = request.app.state.service
    service.registry.model()
    async with service.gate.admitted(request) as arrival:
        body = await arrival.read(several=True)
        if not body.recordings:
            raise Problem(422, "invalid_request", "no file came; send multipart/form-data with one part a recording")
        options = _options(request, body, service)
        service.registry.model(options.model)
        _check_samples(options.samples * len(body.recordings), service.limits.samples_per_request)
        calls = (_result(service, name, recording, options) for name, recording in body.recordings)
        results = await asyncio.gather(*calls)
    content = b'{"results":[' + b",".join(result for _, result in results) + b"]}"
    status = 200 if all(status == 200 for status, _ in results) else 207
    return Response(content, status, {"Cache-Control": "no-store"}, "application/json")


async def _result(service: "Service", name: str, recording: bytes, options: Options) -> tuple[int, bytes]:
    """Status and JSON of one of several recordings."""
    try:
        drawn = await _drawn(service, recording, options, "json")
    except Speech2FaceError as error:
        problem = problem_of(error)
        values = {"name": name, "status": problem.status, "problem": problem.to_dict()}
        return problem.status, json.dumps(values).encode()
    head = json.dumps({"name": name, "status": 200}).encode()
    return 200, head[:-1] + b',"portrait":' + drawn.content + b"}"


@router.get(
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
