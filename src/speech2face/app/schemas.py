from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from speech2face.limits import PORTRAIT_PIXELS
from speech2face.portrait import MAX_EXAGGERATION

if TYPE_CHECKING:
    pass

Exaggeration = Annotated[float, Field(ge=0, le=MAX_EXAGGERATION, allow_inf_nan=False)]
Shown = Literal["photographic", "drawn"]
Pixels = Annotated[int, Field(ge=64, le=2 * PORTRAIT_PIXELS)]


# --------------------------------------------------------------------------------------------------
# What the API says about itself: bodies, answers, errors and examples.
# --------------------------------------------------------------------------------------------------

DESCRIPTION: Final = (
    "A recording of a voice in, the synthetic average face that goes with such a voice out. Nothing that is sent is"
    " kept. Live sound goes over the WebSocket /v1/live, whose messages docs/api.md describes. Where the service was"
    " started with a token, every request but /, /page and /health needs the header `Authorization: Bearer TOKEN`."
)
PROBLEM_EXAMPLE: Final = {
    "type": "urn:speech2face:error:no_speech",
    "title": "Cannot be used",
    "status": 422,
    "code": "no_speech",
    "detail": "no speech was found in the recording; it needs somebody talking",
    "kind": "NoSpeech",
    "exit_code": 16,
}
FACTS_EXAMPLE: Final = {
    "age": 33.2,
    "age_interval_80": [21.2, 48.2],
    "gender": {"reading": "feminine", "probability": 0.9912},
    "seconds_heard": 6.96,
    "seconds_recorded": 7.05,
    "cautions": [],
    "given": {},
    "exaggerate": 0.0,
    "style": "photographic",
    "seed": None,
    "model": {"name": "starter", "version": "1.0.0"},
    "notice": "Synthetic average face: what a voice like this most often goes with. Nobody's likeness.",
}
PICTURE_EXAMPLE: Final = {"media_type": "image/png", "base64": "iVBORw0KGgo="}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "number"}
STYLE: Final = {"enum": ["photographic", "drawn"]}
SCHEMAS: Final[dict[str, Any]] = {
    "Problem": _object(
        ("type", "title", "status", "code", "detail"),
        type=TEXT,
        title=TEXT,
        status={"type": "integer"},
        code=TEXT | {"description": "Stable; for programs."},
        detail=TEXT | {"description": "One sentence; for people."},
        kind=TEXT | {"description": "Name of the library's error, where it is one."},
        exit_code={"type": "integer", "description": "What the command line would leave with."},
    )
    | {"description": "RFC 9457.", "example": PROBLEM_EXAMPLE},
    "Facts": _object(
        ("seconds_heard", "seconds_recorded", "cautions", "given", "exaggerate", "style", "model", "notice"),
        age=NUMBER | {"description": "Apparent age in years; models that state attributes."},
        age_interval_80=_list(NUMBER) | {"minItems": 2, "maxItems": 2},
        gender=_object(("reading", "probability"), reading={"enum": ["feminine", "masculine"]}, probability=NUMBER),
        seconds_heard=NUMBER | {"description": "Of speech."},
        seconds_recorded=NUMBER,
        track={"type": "integer", "description": "The sound track that was heard, from 1."},
        tracks={"type": "integer", "description": "How many sound tracks the recording has."},
        cautions=_list(_object(("code", "text"), code=TEXT, text=TEXT)),
        given={"type": "object", "description": "What was stated instead of heard."},
        exaggerate=NUMBER,
        style=STYLE,
        seed={"type": ["integer", "null"]},
        model=_object(("name", "version"), name=TEXT, version=TEXT),
        reference_population={"type": "object", "additionalProperties": NUMBER},
        notice=TEXT | {"description": "To be shown beside the picture."},
    )
    | {"example": FACTS_EXAMPLE},
    "Picture": _object(("media_type", "base64"), media_type=TEXT, base64=TEXT) | {"example": PICTURE_EXAMPLE},
    "Portrait": _object(
        ("facts", "picture"),
        facts=_ref("Facts"),
        picture=_ref("Picture"),
        drawing=_ref("Picture") | {"description": "The drawing as SVG, in the style `drawn`."},
        samples=_list(_ref("Picture")) | {"description": "Where samples were asked for."},
        sheet=_ref("Picture") | {"description": "The face and the samples on one picture."},
    ),
    "Result": _object(
        ("name", "status"), name=TEXT, status={"type": "integer"}, portrait=_ref("Portrait"), problem=_ref("Problem")
    ),
    "Results": _object(("results",), results=_list(_ref("Result"))),
    "Model": _object(
        (
            *("name", "version", "licence", "default", "states_attributes", "given", "exaggerate", "samples"),
            *("styles", "notice"),
        ),
        name=TEXT,
        version=TEXT,
        licence=TEXT,
        default={"type": "boolean"},
        states_attributes={"type": "boolean"},
        given={"type": "object", "description": "Attributes that may be stated; empty where the model takes none."},
        exaggerate=_list(NUMBER),
        samples={"type": "integer"},
        styles=_list(STYLE) | {"description": "How its faces can be shown."},
        notice=TEXT,
    ),
    "Models": _object(("models",), models=_list(_ref("Model"))),
    "Health": _object(
        ("status", "version", "live_sessions"),
        status={"enum": ["starting", "ready", "failed", "ending"]},
        version=TEXT,
        live_sessions={"type": "integer"},
    ),
}
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
BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}


def errors_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What can go wrong with a route, beside what can with each."""
    wanted = sorted({401, 405, 421, 500, *statuses})
    body = {"application/problem+json": {"schema": _ref("Problem"), "example": PROBLEM_EXAMPLE}}
    retry = {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}}
    return {
        status: {"description": ERRORS[status], "content": body} | (retry if status in (429, 503) else {})
        for status in wanted
    }


def _answer(description: str, schema: str, **more: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}, **more}}


UPLOAD_ERRORS: Final = errors_of(400, 406, 408, 413, 422, 429, 503)
PORTRAIT: Final[dict[str, Any]] = {
    "responses": {
        200: _answer(
            "The portrait as a labelled picture, its facts in the header; or both as JSON.",
            "Portrait",
            **{"image/png": BINARY, "image/webp": BINARY, "image/svg+xml": {"schema": TEXT}},
        )
        | {"headers": {"Speech2Face-Facts": {"schema": TEXT, "description": "The facts as one line of JSON."}}},
        **UPLOAD_ERRORS,
    },
}
PORTRAITS: Final[dict[str, Any]] = {
    "responses": {
        200: _answer("Every recording gave a portrait.", "Results"),
        207: _answer("Some did; each result has its own status.", "Results"),
        **errors_of(400, 408, 413, 415, 422, 429, 503),
    },
}
MODELS: Final[dict[str, Any]] = {
    "responses": {200: _answer("All models, the first is the default.", "Models"), **errors_of(503)}
}
HEALTH: Final[dict[str, Any]] = {
    "responses": {
        200: _answer("It answers; `status` says whether it can draw.", "Health"),
        503: _answer("A model turned out damaged, and the service is about to end.", "Health"),
        **{status: each for status, each in errors_of().items() if status != 401},
    },
}
METRICS: Final[dict[str, Any]] = {
    "responses": {
        200: {"description": "Text format 0.0.4.", "content": {"text/plain": {"schema": TEXT}}},
        **errors_of(),
    },
}


def install(app: FastAPI, options: dict[str, Any]) -> None:
    """Let the application describe itself; `options` is the JSON schema of what a portrait may be asked for."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
            schema.setdefault("components", {}).setdefault("schemas", {}).update(SCHEMAS)
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            properties = {name: _without_null(value) for name, value in options["properties"].items()}
            for path, several in (("/v1/portrait", False), ("/v1/portraits", True)):
                operation = schema["paths"][path]["post"]
                operation["parameters"] = [_parameter(name, value) for name, value in properties.items()]
                operation["requestBody"] = _body(properties, several=several)
                operation["security"] = [{}, {"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query cannot say null: it leaves the name out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    plain = {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    if plain.get("default", 0) is None:
        del plain["default"]
    return plain | (kinds[0] if kinds else {})


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "schema": plain, "description": schema.get("description", "")}


def _body(properties: dict[str, Any], *, several: bool) -> dict[str, Any]:
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    form = _object(("file",), file=_list(file) if several else file, **properties)
    kinds: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if not several:
        base64 = {"type": "string", "contentEncoding": "base64", "description": "The bytes of a recording."}
        kinds["application/json"] = {"schema": _object(("recording",), recording=base64, **properties)}
        kinds["application/octet-stream"] = BINARY
    return {"required": True, "content": kinds}


# --------------------------------------------------------------------------------------------------
# What the API says about its calls.
# --------------------------------------------------------------------------------------------------

CALL_EXAMPLE: Final = {
    "call": "CA0123",
    "kind": "media-stream",
    "state": "running",
    "reason": None,
    "seconds": 12.4,
    "tracks": {
        "inbound": {
            "number": 9,
            "facts": {"age": 38.1, "seconds_heard": 8.6},
            "picture": "/v1/calls/CA0123/inbound.png",
            "problem": None,
            "received": {"frames": 620, "lost": 0, "late": 0, "repeated": 0, "silence_seconds": 0},
        }
    },
    "callback": None,
}
CALL_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["call", "kind", "state", "reason", "seconds", "tracks", "callback"],
    "properties": {
        "call": TEXT,
        "kind": {"enum": ["media-stream", "webrtc"]},
        "state": {"enum": ["running", "ended"]},
        "reason": {"type": ["string", "null"], "description": "Why it ended."},
        "seconds": {"type": "number"},
        "tracks": {"type": "object", "additionalProperties": {"type": "object"}},
        "callback": {"type": ["object", "null"], "description": "How many messages were taken, failed, passed over."},
    },
}
CALL: Final[dict[str, Any]] = {
    "responses": {
        200: {
            "description": "The call.",
            "content": {"application/json": {"schema": CALL_SCHEMA, "example": CALL_EXAMPLE}},
        },
        **errors_of(404, 422),
    }
}
PICTURE: Final[dict[str, Any]] = {
    "responses": {
        200: {"description": "A labelled PNG.", "content": {"image/png": BINARY}},
        **errors_of(404, 422, 503),
    },
}
DELETE: Final[dict[str, Any]] = {
    "responses": {204: {"description": "It is forgotten."}, **errors_of(404, 422)},
}
ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "sdp", "call", "peer"],
    "properties": {
        "type": {"const": "answer"},
        "sdp": TEXT,
        "call": TEXT | {"description": "Its name, for GET /v1/calls."},
        "peer": {"enum": ["a", "b"], "description": "The name of its voice among the call's tracks."},
    },
}
WEBRTC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["ice_servers"],
    "properties": {"ice_servers": {"type": "array", "items": {"type": "object"}}},
}
WEBRTC: Final[dict[str, Any]] = {
    "responses": {
        200: {"description": "For RTCPeerConnection.", "content": {"application/json": {"schema": WEBRTC_SCHEMA}}},
        **errors_of(501),
    },
}


def offer(model: type[BaseModel]) -> dict[str, Any]:
    """`POST /v1/webrtc/offer` with its body."""
    body = {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}
    answer = {
        "description": "The session description to go on with.",
        "content": {"application/json": {"schema": ANSWER_SCHEMA}},
    }
    return {
        "openapi_extra": {"requestBody": body, "security": [{}, {"token": []}]},
        "responses": {200: answer, **errors_of(400, 408, 413, 422, 429, 501, 503)},
    }
