"""What went wrong, as the API says it: RFC 9457's problem+json with a stable code, one sentence, never a traceback."""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import JSONResponse

from speech2face.errors import RecordingTooLong, Speech2FaceError

PROBLEM_TYPE: Final = "application/problem+json"
TITLES: Final = {
    400: "Bad request",
    401: "Token missing or wrong",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    413: "Too large",
    415: "Unsupported media type",
    408: "Request timeout",
    421: "Misdirected request",
    422: "Cannot be used",
    429: "Too many requests",
    500: "Internal error",
    501: "Not installed",
    503: "Not ready",
}


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text
        self.headers, self.more = dict(headers or {}), dict(more or {})

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "type": f"urn:speech2face:error:{self.code}",
            "title": TITLES[self.status],
            "status": self.status,
            "code": self.code,
            "detail": self.text,
            **self.more,
        }

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.to_dict(), self.status, self.headers, PROBLEM_TYPE)


def code_of(error: Speech2FaceError) -> str:
    """`NoSpeech` as `no_speech`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def problem_of(error: Speech2FaceError) -> Problem:
    """What is wrong with a recording or an option, with the exit code that the command line would leave with."""
    status = 413 if isinstance(error, RecordingTooLong) else 422
    more = {"kind": type(error).__name__, "exit_code": error.exit_code}
    return Problem(status, code_of(error), str(error), more=more)


def too_many(text: str, seconds: int = 1) -> Problem:
    """Come back in `seconds`."""
    return Problem(429, "too_many", text, headers={"Retry-After": str(seconds)})


def slow_body(seconds: float) -> Problem:
    """The request did not arrive within `seconds`."""
    return Problem(408, "slow_body", f"the body took over {seconds:g} s to arrive")


def disconnected() -> Problem:
    """The client left while it was being read; nobody hears this, the log and the metrics count it."""
    return Problem(400, "disconnected", "the client left before its request was whole")


def shutting_down() -> Problem:
    """The service ends before the answer could be made."""
    return Problem(503, "shutdown", "the service is ending; try again when it is back", headers={"Retry-After": "5"})


def not_ready() -> Problem:
    """The networks are still being loaded."""
    return Problem(503, "not_ready", "the model is being loaded; try again in a second", headers={"Retry-After": "1"})
