"""Whole recordings in, portraits out: `POST /v1/portrait`, `POST /v1/portraits`, `GET /v1/models`."""

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from speech2face.app import openapi
from speech2face.app.live_messages import Exaggeration, Pixels
from speech2face.app.pictures import MEDIA_TYPES, PictureFormat, encoded, resized
from speech2face.app.problems import Problem, problem_of
from speech2face.app.uploads import Upload, first_mistake
from speech2face.audio.recording import read_recording
from speech2face.batch import contact_sheet
from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.given import Given
from speech2face.portrait import Portrait, reconstruct

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

FACTS_HEADER = "Speech2Face-Facts"
MAX_SEED = 2**31 - 1
Wanted = Literal["png", "webp", "json"]
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, pictures in base64."""
        extra = {} if self.sheet is None else {"samples": [*map(self._in_base64, self.samples)]}
        sheet = {} if self.sheet is None else {"sheet": self._in_base64(self.sheet)}
        return {"facts": self.facts, "picture": self._in_base64(self.picture)} | extra | sheet

    def _in_base64(self, content: bytes) -> dict[str, str]:
        return {"media_type": self.media_type, "base64": base64.b64encode(content).decode()}


def draw(model: "Model", recording: bytes, options: Options, wanted: Wanted, max_seconds: float) -> Drawn:
    """From the bytes of a recording to those of its answer; for a worker thread.

    Raises:
        Speech2FaceError: whatever is wrong with the recording or the options.
    """
    model.check(options.given())
    heard = read_recording(recording, max_seconds=max_seconds)
    portrait = reconstruct(
        model,
        heard,
        given=options.given(),
        samples=options.samples,
        exaggerate=options.exaggerate,
        seed=options.seed,
    )
    facts = portrait.facts()
    form: PictureFormat = options.picture if wanted == "json" else wanted
    media_type = MEDIA_TYPES[form]
    if wanted != "json" and portrait.samples:
        return Drawn(encoded(contact_sheet(portrait), facts, "contact sheet", form), media_type, facts)
    picture = encoded(resized(portrait.image, options.pixels), facts, "portrait", form)
    if not portrait.samples:
        return Drawn(picture, media_type, facts)
    return Drawn(picture, media_type, facts, *_further(portrait, options.pixels, form))


def _further(portrait: Portrait, pixels: int | None, form: PictureFormat) -> tuple[tuple[bytes, ...], bytes]:
    facts = portrait.facts()
    samples = tuple(encoded(resized(sample, pixels), facts, "sample", form) for sample in portrait.samples)
    return samples, encoded(contact_sheet(portrait), facts, "contact sheet", form)


def wanted_by(accept: str) -> Wanted:
    """The kind of answer by the Accept header; the first that is known among the most wanted ones.

    Raises:
        Problem: 406, none of what is accepted can be given.
    """
    known: dict[str, Wanted] = {
        "image/png": "png",
        "image/webp": "webp",
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
        raise Problem(406, "not_acceptable", "this gives image/png, image/webp or application/json")
    return best[1]


def _options(request: Request, upload: Upload, service: "Service") -> Options:
    try:
        options = Options.model_validate(dict(request.query_params) | upload.options)
    except ValidationError as error:
        raise first_mistake(error) from None
    if options.samples > service.limits.samples:
        text = f"{options.samples} samples were asked for; at most {service.limits.samples} come in one answer"
        raise problem_of(InvalidOption(text))
    return options


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
        return JSONResponse(drawn.to_dict(), headers=headers)
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
        calls = (_result(service, name, recording, options) for name, recording in upload.recordings)
        results = await asyncio.gather(*calls)
    whole = all(result["status"] == 200 for result in results)
    return JSONResponse({"results": results}, 200 if whole else 207, {"Cache-Control": "no-store"})


async def _result(service: "Service", name: str, recording: bytes, options: Options) -> dict[str, Any]:
    try:
        drawn = await _drawn(service, recording, options, "json")
    except Problem as problem:
        return {"name": name, "status": problem.status, "problem": problem.to_dict()}
    return {"name": name, "status": 200, "portrait": drawn.to_dict()}


@router.get("/v1/models", summary="The models, and what may be given to each", **openapi.MODELS)
async def models(request: Request) -> Response:
    """Name, version, licence, the attributes that may be stated, and what is said of every portrait."""
    service: Service = request.app.state.service
    service.shelf.model()
    return JSONResponse({"models": service.shelf.describe()})
