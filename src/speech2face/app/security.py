"""Who may talk to the service, and what a browser may do with its page."""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from speech2face.app.problems import Problem
from speech2face.errors import InvalidOption

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_LETTERS: Final = 16  # at least: it is all that stands between a network and the service
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS: Final = ("/", "/call", "/health", "/favicon.ico")  # without a token: what the page needs to ask for one
PAGE: Final = "/page/"
CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "media-src blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(host: str, token: str | None) -> None:
    """Refuse to be open to a network without a token, and a token that can be guessed.

    Raises:
        InvalidOption: with what to do.
    """
    if token is not None and (len(token) < TOKEN_LETTERS or not token.isascii() or not token.isprintable()):
        raise InvalidOption(
            f"the token needs at least {TOKEN_LETTERS} printable ASCII letters; make one with:"
            ' python3 -c "import secrets; print(secrets.token_urlsafe())"'
        )
    if token is None and not is_loopback(host):
        raise InvalidOption(
            f"{host} can be reached from other machines, which needs a token: give --token or set SPEECH2FACE_TOKEN"
            " (or leave --host out to serve this machine alone)"
        )


def right_token(expected: str | None, *stated: str | None) -> bool:
    """Whether one of the stated tokens, bare or as `Bearer TOKEN`, is the expected one; None expects none."""
    if expected is None:
        return True
    found = [text.removeprefix("Bearer ").encode() for text in stated if text]
    return any(hmac.compare_digest(text, expected.encode()) for text in found)


class Door:
    """Checks host, origin and token before anything else is done, and adds the headers to every answer."""

    def __init__(self, app: App, *, token: str | None, any_host: bool) -> None:
        self._app = app
        self._token = token
        self._any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._refusal(scope, headers)
        if problem is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await problem.response()(scope, receive, _with_headers(send))
        else:
            await receive()  # the connect event
            await send({"type": "websocket.close", "code": 1008, "reason": problem.text})  # before accepting: HTTP 403

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Problem | None:
        host = headers.get("host", "")
        if not self._any_host and _name(host) not in LOOPBACK_NAMES:
            # Another site's name that was made to point here (DNS rebinding) must not reach the service.
            return Problem(421, "wrong_host", "this service answers to localhost, 127.0.0.1 and [::1] alone")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host.lower():
            return Problem(403, "wrong_origin", "another site's page may not use this service")
        if scope["type"] == "websocket":
            return None  # its token comes in the first message
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(PAGE) or right_token(self._token, headers.get("authorization")):
            return None
        return Problem(
            401,
            "token",
            "this service needs its token: send the header Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _name(host: str) -> str:
    """The host without its port, lower case."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    """Host and port of an origin, lower case."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((n.lower().encode(), v.encode()) for n, v in HEADERS.items() if n.lower().encode() not in present),
            ]
        await send(message)

    return sending
