"""What the API says about its calls."""

from typing import Any, Final

from pydantic import BaseModel

from speech2face.app.openapi import BINARY, TEXT, errors_of

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
