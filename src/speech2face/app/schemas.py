"""What the API takes and gives, as models of pydantic: FastAPI makes the served `/openapi.json` from them.

Answers are typed dictionaries, since that is what is sent: a key that a model does not state is not there, never null.
"""

from typing import Annotated, Any, Final, Literal, NotRequired

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, with_config
from typing_extensions import TypedDict

from speech2face.limits import PORTRAIT_PIXELS
from speech2face.models.contract import Given
from speech2face.portrait import MAX_EXAGGERATION

Exaggeration = Annotated[float, Field(ge=0, le=MAX_EXAGGERATION, allow_inf_nan=False)]
Shown = Literal["photographic", "drawn", "line"]
Pixels = Annotated[int, Field(ge=64, le=2 * PORTRAIT_PIXELS)]
ModelName = Annotated[str, Field(max_length=200)]
Identifier = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]*[A-Za-z0-9_:-][A-Za-z0-9_.:-]*$", max_length=128)
]
"""Name of a call; dots alone would lead elsewhere in an address."""
JsonObject = dict[str, Any]

DESCRIPTION: Final = (
    "A recording of a voice in, the synthetic average face that goes with such a voice out. Nothing that is sent is"
    " kept. Live sound goes over the WebSocket /v1/live, whose messages docs/api.md describes. Where the service was"
    " started with a token, every request but /, /call, /docs, /page and /health needs the header"
    " `Authorization: Bearer TOKEN`."
)


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": values})


class AttributeOptions(BaseModel):
    """Attributes stated instead of taken from the voice; which values are possible is the model's to say."""

    age: float | None = Field(None, ge=0, le=150, allow_inf_nan=False, description="Stated instead of heard.")
    gender: Literal["female", "male"] | None = Field(None, description="Stated instead of heard.")
    group: Annotated[str, Field(max_length=80)] | None = Field(None, description="Stated; GET /v1/models lists them.")
    hair: Annotated[str, Field(max_length=80)] | None = Field(None, description="A style; GET /v1/models lists them.")

    def given(self) -> Given:
        """For the model."""
        return Given(age=self.age, gender=self.gender, group=self.group, hair=self.hair)


# --- Answers.


@with_config(
    _example(
        type="urn:speech2face:error:no_speech",
        title="Cannot be used",
        status=422,
        code="no_speech",
        detail="no speech was found in the recording; it needs somebody talking",
        kind="NoSpeech",
        exit_code=16,
    )
)
class ProblemBody(TypedDict):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: Annotated[str, Field(description="Stable; for programs.")]
    detail: Annotated[str, Field(description="One sentence; for people.")]
    kind: NotRequired[Annotated[str, Field(description="Name of the library's error, where it is one.")]]
    exit_code: NotRequired[Annotated[int, Field(description="What the command line would leave with.")]]


class CautionBody(TypedDict):
    """What to be careful about."""

    code: str
    text: str


class GenderBody(TypedDict):
    """How feminine or masculine the voice is read."""

    reading: Literal["feminine", "masculine"]
    probability: float
    text: str
    """Both in words."""


class VersionBody(TypedDict):
    """A model's name and version."""

    name: str
    version: str


@with_config(
    _example(
        age=33.2,
        age_interval_80=[21.2, 48.2],
        gender={"reading": "feminine", "probability": 0.9912, "text": "feminine (over 99 %)"},
        seconds_heard=6.96,
        seconds_recorded=7.05,
        cautions=[],
        given={},
        exaggerate=0.0,
        style="photographic",
        seed=None,
        model={"name": "starter", "version": "2.0.0"},
        notice="Synthetic average face: what a voice like this most often goes with. Nobody's likeness.",
    )
)
class FactsBody(TypedDict):
    """Everything about a portrait but its picture."""

    age: NotRequired[Annotated[float, Field(description="Apparent age in years; models that state attributes.")]]
    age_interval_80: NotRequired[Annotated[list[float], Field(min_length=2, max_length=2)]]
    gender: NotRequired[GenderBody]
    seconds_heard: Annotated[float, Field(description="Of speech.")]
    seconds_recorded: float
    track: NotRequired[Annotated[int, Field(description="The sound track that was heard, from 1.")]]
    tracks: NotRequired[Annotated[int, Field(description="How many sound tracks the recording has.")]]
    speaker: NotRequired[Annotated[int, Field(description="Live, with `speakers`: of whom this is, from 1.")]]
    speakers: NotRequired[Annotated[int, Field(description="How many were told apart so far.")]]
    cautions: list[CautionBody]
    given: Annotated[JsonObject, Field(description="What was stated instead of heard.")]
    exaggerate: float
    style: Shown
    seed: NotRequired[int | None]
    hair: NotRequired[Annotated[str, Field(description="Style of the hair that is shown.")]]
    sample_hair: NotRequired[Annotated[list[str], Field(description="That of every sample.")]]
    model: VersionBody
    reference_population: NotRequired[dict[str, float]]
    notice: Annotated[str, Field(description="To be shown beside the picture.")]


@with_config(_example(media_type="image/png", base64="iVBORw0KGgo="))
class PictureBody(TypedDict):
    """A picture inside JSON."""

    media_type: str
    base64: str


class PortraitBody(TypedDict):
    """A portrait as JSON."""

    facts: FactsBody
    picture: PictureBody
    drawing: NotRequired[Annotated[PictureBody, Field(description="The drawing as SVG, in `drawn` and `line`.")]]
    samples: NotRequired[Annotated[list[PictureBody], Field(description="Where samples were asked for.")]]
    sheet: NotRequired[Annotated[PictureBody, Field(description="The face and the samples on one picture.")]]


class SpeakerBody(TypedDict):
    """One speaker of a conversation."""

    speaker: Annotated[int, Field(description="From 1, in the order in which they begin, those who are drawn first.")]
    seconds: float
    segments: Annotated[list[list[float]], Field(description="From and to in seconds, where this speaker is heard.")]
    note: Annotated[str, Field(description="Why no portrait was drawn, else empty.")]
    portrait: FactsBody | None


class ConversationFactsBody(TypedDict):
    """Who spoke when, and what is said of each."""

    shows: str
    synthetic_faces: int
    photographs: int
    seconds_recorded: float
    speakers: list[SpeakerBody]
    left_out: Annotated[list[list[float]], Field(description="Speech of two at once, or nobody's for sure.")]
    given: JsonObject
    exaggerate: float
    style: Shown
    model: VersionBody
    notice: Annotated[str, Field(description="To be shown beside the picture.")]


class ConversationBody(TypedDict):
    """A recording in which several people speak."""

    facts: ConversationFactsBody
    timeline: Annotated[PictureBody, Field(description="The faces, and who spoke when.")]
    portraits: Annotated[list[PortraitBody], Field(description="Of the speakers who are drawn, in their order.")]


class ResultBody(TypedDict):
    """One of several recordings."""

    name: str
    status: int
    portrait: NotRequired[PortraitBody]
    conversation: NotRequired[Annotated[ConversationBody, Field(description="Where speakers were asked for.")]]
    problem: NotRequired[ProblemBody]


class ResultsBody(TypedDict):
    """Several recordings, in their order."""

    results: list[ResultBody]


class ModelBody(TypedDict):
    """What a model is, and what may be asked of it."""

    name: str
    version: str
    licence: str
    default: bool
    states_attributes: bool
    given: Annotated[JsonObject, Field(description="Attributes that may be stated; empty where the model takes none.")]
    exaggerate: list[float]
    samples: int
    styles: Annotated[list[Shown], Field(description="How its faces can be shown.")]
    notice: str


class ModelsBody(TypedDict):
    """All models of the service."""

    models: list[ModelBody]


class HealthBody(TypedDict):
    """Whether the models are loaded."""

    status: Literal["starting", "ready", "failed", "ending"]
    version: str
    live_sessions: int


@with_config(
    _example(
        call="CA0123",
        kind="media-stream",
        state="running",
        reason=None,
        seconds=12.4,
        tracks={
            "inbound": {
                "number": 9,
                "facts": {"age": 38.1, "seconds_heard": 8.6},
                "picture": "/v1/calls/CA0123/inbound.png",
                "problem": None,
                "received": {"frames": 620, "lost": 0, "late": 0, "repeated": 0, "silence_seconds": 0},
            }
        },
        callback=None,
    )
)
class CallBody(TypedDict):
    """A call and what is believed of each of its voices."""

    call: str
    kind: Literal["media-stream", "webrtc"]
    state: Literal["running", "ended"]
    reason: Annotated[str | None, Field(description="Why it ended.")]
    seconds: float
    tracks: dict[str, JsonObject]
    callback: Annotated[JsonObject | None, Field(description="How many messages were taken, failed, passed over.")]


class IceBody(TypedDict):
    """For RTCPeerConnection."""

    ice_servers: list[JsonObject]


class AnswerBody(TypedDict):
    """The session description to go on with."""

    type: Literal["answer"]
    sdp: str
    call: Annotated[str, Field(description="Its name, for GET /v1/calls.")]
    peer: Annotated[Literal["a", "b"], Field(description="The name of its voice among the call's tracks.")]


# --- Errors, and bodies that FastAPI does not read itself: they are counted and bounded while they arrive.

ERRORS: Final = {
    400: "The body is not what its type says, or the client left before it was whole.",
    401: "The token is missing or wrong.",
    404: "There is no such call, or not yet a portrait of it.",
    405: "Another method is wanted.",
    406: "None of the accepted types can be given.",
    408: "The body did not arrive in time.",
    413: "More bytes, seconds or files than one request may hold.",
    415: "Several recordings come as multipart/form-data.",
    421: "The Host header names another site.",
    422: "The recording or an option cannot be used; `code` says why.",
    429: "As much is being drawn as can be; see Retry-After.",
    500: "A mistake of the service.",
    501: "The service was installed without what this needs.",
    503: "The models are still being loaded, or the service is ending; see Retry-After.",
}
OF_EVERY_ROUTE: Final = (401, 405, 421, 500)
TEXT: Final[JsonObject] = {"type": "string"}
BINARY: Final[JsonObject] = {"schema": {"type": "string", "format": "binary"}}
PROBLEM_CONTENT: Final[JsonObject] = {
    "application/problem+json": {"schema": {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}}
}
Responses = dict[int | str, JsonObject]


def errors_of(*statuses: int, without: int | None = None) -> Responses:
    """What can go wrong with a route, beside what can with each."""
    retry = {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}}
    return {
        status: {"description": ERRORS[status], "content": PROBLEM_CONTENT} | (retry if status in (429, 503) else {})
        for status in sorted({*OF_EVERY_ROUTE, *statuses} - {without})
    }


def answers(description: str, *statuses: int, **content: JsonObject) -> Responses:
    """The description of a route's answer, kinds of content beside JSON, and what can go wrong."""
    return {200: {"description": description, **content}, **errors_of(*statuses)}


def json_body(model: type[BaseModel]) -> JsonObject:
    """`openapi_extra` of a route that reads one JSON object, which may need the token."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}, "security": [{}, {"token": []}]}


def upload(options: type[BaseModel], *, several: bool = False) -> JsonObject:
    """`openapi_extra` of a route that takes recordings, with options in the query or in the body."""
    properties = {name: _without_null(value) for name, value in options.model_json_schema()["properties"].items()}
    file: JsonObject = {"type": "string", "format": "binary"}
    form = _object("file", file={"type": "array", "items": file} if several else file, **properties)
    content: JsonObject = {"multipart/form-data": {"schema": form}}
    if not several:
        base64 = {"type": "string", "contentEncoding": "base64", "description": "The bytes of a recording."}
        content["application/json"] = {"schema": _object("recording", recording=base64, **properties)}
        content["application/octet-stream"] = BINARY
    return {
        "parameters": [
            {"name": name, "in": "query", "description": value.get("description", ""), "schema": value}
            for name, value in properties.items()
        ],
        "requestBody": {"required": True, "content": content},
        "security": [{}, {"token": []}],
    }


def _object(required: str, **properties: JsonObject) -> JsonObject:
    return {"type": "object", "required": [required], "properties": properties}


def _without_null(schema: JsonObject) -> JsonObject:
    """A query cannot say null: it leaves the name out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    plain = {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    if plain.get("default", 0) is None:
        del plain["default"]
    return plain | (kinds[0] if kinds else {})


def describe_token(app: FastAPI, root_path: str) -> None:
    """Let the application's description name the token that a service may want, and the path it is shown under."""

    def described() -> JsonObject:
        if app.openapi_schema is None:
            servers = [{"url": root_path}] if root_path else None
            schema = get_openapi(
                title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, servers=servers
            )
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
