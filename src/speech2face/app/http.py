"""What went wrong, as the API says it: RFC 9457's problem+json with a stable code, one sentence, never a traceback."""

import asyncio
import binascii
import hmac
import ipaddress
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client import Counter as CounterMetric
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.websockets import WebSocketDisconnect

from speech2face.audio.apart import DecoderLimits
from speech2face.errors import InvalidOption, MissingExtra, RecordingTooLong, Speech2FaceError
from speech2face.limits import MAX_RECORDING_SECONDS

T = TypeVar("T")
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


def problem_of(error: Speech2FaceError) -> Problem:
    """What is wrong with a recording or an option, with the exit code that the command line would leave with."""
    status = {RecordingTooLong: 413, MissingExtra: 501}.get(type(error), 422)
    more = {"kind": type(error).__name__, "exit_code": error.exit_code}
    return Problem(status, error.code, str(error), more=more)


def too_many(text: str, seconds: int = 1) -> Problem:
    """Come back in `seconds`."""
    return Problem(429, "too_many", text, headers={"Retry-After": str(seconds)})


def disconnected() -> Problem:
    """The client left while it was being read; nobody hears this, the log and the metrics count it."""
    return Problem(400, "disconnected", "the client left before its request was whole")


def shutting_down(text: str = "the service is ending; try again when it is back") -> Problem:
    """The service ends before the answer could be made."""
    return Problem(503, "shutdown", text, headers={"Retry-After": "5"})


# --- Every limit of the service in one place; what lies beyond one is refused with 413, 429 or a close code.

MIB: Final = 2**20


@dataclass(frozen=True)
class Limits:
    """What one process takes; the defaults suit a laptop of two cores and 4 GiB."""

    # Requests
    upload_bytes: int = 64 * MIB  # a request's whole body: ten minutes of uncompressed stereo
    uploads_held_bytes: int = 512 * MIB  # of all requests at once: recordings are held in memory, never on disk
    recording_seconds: float = MAX_RECORDING_SECONDS / 2  # the belief has long stopped moving
    decoding_bytes: int = DecoderLimits.memory_bytes  # of memory, for one recording: some kilobytes can claim gigabytes
    decoding_seconds: float = DecoderLimits.seconds
    files_per_request: int = 16
    requests_at_once: int = 64  # waiting or being drawn; those whose body is still arriving are not among them
    share_of_one_address: float = 0.5  # of requests, of what is held, of live sessions: nobody takes all places
    samples: int = 24  # further faces of one recording
    samples_per_request: int = 96  # of all its recordings: an answer is held in memory too
    body_seconds: float = 60.0  # in which a request's body must have arrived
    body_least_bytes: int = 16 * 1024  # of a body that is not whole yet, in each `body_pause_seconds`: no dripping
    body_pause_seconds: float = 5.0
    answers_held_bytes: int = 256 * MIB  # of all answers that their readers have not taken yet
    answer_seconds: float = 60.0  # in which an answer must be taken

    # Live sessions
    sessions_at_once: int = 32
    messages_per_second: float = 2000.0  # a browser's 128 samples at a time are 375 at 48 kHz, 1500 at 192 kHz
    message_burst: int = 4000  # what comes faster waits at the sender
    frame_bytes: int = MIB  # one binary message: 5 s of 48 kHz stereo
    text_bytes: int = 16 * 1024  # one text message
    unheard_bytes: int = 4 * MIB  # sound that has arrived and not been heard yet; then the connection is not read
    updates_per_second: float = 10.0
    start_seconds: float = 10.0  # in which the first message must come
    idle_seconds: float = 120.0  # without any message
    session_seconds: float = 4 * 3600.0
    send_seconds: float = 20.0  # in which a client must take a message

    # Calls; each voice of one counts as a live session
    calls_kept: int = 256  # that have ended: their facts and last pictures
    call_keep_seconds: float = 600.0  # after the end
    call_unheard_seconds: float = 10.0  # of a track's sound that waits; then the connection is not read
    callback_seconds: float = 5.0  # in which a callback must be taken
    callback_tries: int = 3
    offer_bytes: int = 64 * 1024  # a WebRTC offer
    connect_seconds: float = 15.0  # in which a WebRTC peer must be reached
    packets_per_second: float = 400.0  # of a WebRTC peer; speech in pieces of 10 ms has 100, more is dropped unread
    packet_burst: int = 800

    shutdown_seconds: float = 10.0  # for what is under way when the service is told to end

    def for_a_live_client(self) -> dict[str, Any]:
        """What somebody who speaks the live protocol must know, JSON-ready."""
        names = ("frame_bytes", "text_bytes", "messages_per_second", "updates_per_second", "samples")
        return {name: getattr(self, name) for name in (*names, "idle_seconds", "session_seconds")}


class CloseCode(IntEnum):
    """Why a live session ended; 1000 to 1999 are RFC 6455's, those from 4000 are ours."""

    FINISHED = 1000
    SHUTDOWN = 1001
    INTERNAL = 1011
    BAD_MESSAGE = 4400
    TOKEN = 4401
    IDLE = 4408  # also: the session was too long, or the client does not read
    TOO_BIG = 4413
    UNUSABLE_SOUND = 4422
    TOO_MANY = 4429
    NOT_READY = 4503


# --- Who may talk to the service, and what a browser may do with its page.

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
TOKEN_LETTERS: Final = 16  # at least: it is all that stands between a network and the service
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
PORTS: Final = {"http": 80, "https": 443}  # that an address need not name
# Without a token: what asks a person for one, and what a supervisor looks at.
OPEN_PATHS: Final = ("/", "/call", "/docs", "/health", "/favicon.ico")
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


STUN: Final = re.compile(r"stun:(\[[\da-fA-F:]+\]|[\w.-]+)(:\d{1,5})?")


def check_stun(address: str | None) -> None:
    """Refuse what the library would find out with the first call.

    Raises:
        InvalidOption: no address of a STUN server (RFC 7064).
    """
    if address is not None and not STUN.fullmatch(address):
        raise InvalidOption(f'"{address}" is no STUN server; write it as stun:stun.example.org:3478')


def written(host: str, port: int | None, scheme: str) -> frozenset[str]:
    """The ways to write where an address leads: "name:port", and "name" alone where the scheme's port is meant."""
    name = f"[{host}]" if ":" in host else host
    standard = PORTS[scheme]
    return frozenset({f"{name}:{port or standard}", *([name] if port in (None, standard) else ())})


@dataclass(frozen=True)
class Access:
    """Who may use a service, and under which names it is known: what its owner stated, checked.

    `hosts` are the names by which browsers reach it, "name" or "name:port"; `origins` other sites whose pages may use
    it; `proxies` the addresses or networks whose word about the client is taken; `root_path` the path under which a
    proxy shows it; `peer_networks` the networks whose addresses a WebRTC peer may name beside its own.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    proxies: tuple[str, ...] = ()
    root_path: str = ""
    peer_networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check, and put into one form.

        Raises:
            InvalidOption: what cannot be a name, an origin, an address or a path.
        """
        fields: dict[str, Any] = {
            "hosts": frozenset(host_name(each) for each in self.hosts),
            "origins": frozenset(_origin(each) for each in self.origins),
            "proxies": tuple(_network(each, "proxy") for each in self.proxies),
            "peer_networks": tuple(_network(each, "network") for each in self.peer_networks),
            "root_path": _root_path(self.root_path),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def knows(self, host: str) -> bool:
        """Whether a Host header, of whatever port, names this service: as a site's name that points here must not."""
        name = _name(host)
        return name in LOOPBACK_NAMES or name in {_name(each) for each in self.hosts}

    def reachable(self, client: str | None) -> "Reachable":
        """Where packets may be sent for a WebRTC peer whose HTTP connection comes from `client`."""
        networks = tuple(ipaddress.ip_network(each) for each in self.peer_networks)
        own = () if client is None else (plain_address(client),)
        return Reachable(frozenset(each for each in own if each is not None), networks)

    def is_own(self, origin: str, host: str) -> bool:
        """Whether a page's origin is this service itself: what the Host header says, or one of its stated names."""
        try:
            page = urlsplit(origin.lower())
            name, port = page.hostname, page.port
        except ValueError:
            return False
        if not name or page.scheme not in PORTS:
            return False
        return not written(name, port, page.scheme).isdisjoint({host.lower(), *self.hosts})


@dataclass(frozen=True)
class Reachable:
    """The addresses that packets may be sent to for one peer: its own, and those of networks the owner stated."""

    own: frozenset[ipaddress.IPv4Address | ipaddress.IPv6Address] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def __contains__(self, host: str) -> bool:
        """Whether this is such an address; a name never is, for nobody knows where it leads."""
        address = plain_address(host)
        return address is not None and (address in self.own or any(address in each for each in self.networks))


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as it is written in full, of IPv4 where IPv6 only wraps it; None for everything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def host_name(text: str) -> str:
    """A name with or without a port, lower case.

    Raises:
        InvalidOption: it is none.
    """
    host = text.strip().lower()
    try:
        parts = urlsplit(f"//{host}")
        right = parts.netloc == host and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        right = False
    if not right or any(letter in host for letter in "*, "):
        raise InvalidOption(f'"{text}" is no host; write NAME or NAME:PORT, as in faces.example.org')
    return host


def _origin(text: str) -> str:
    """Scheme, name and port as a browser writes them."""
    origin = text.strip().lower().rstrip("/")
    scheme, _, host = origin.partition("://")
    if scheme not in PORTS:
        raise InvalidOption(f'"{text}" is no origin; write it as https://app.example.org')
    return f"{scheme}://{host_name(host).removesuffix(f':{PORTS[scheme]}')}"


def _network(text: str, what: str) -> str:
    """An address or a network."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
        return str(network.network_address if network.num_addresses == 1 else network)
    except ValueError:
        raise InvalidOption(f'"{text}" is no {what}; write an address, or a network such as 10.0.0.0/8') from None


def _root_path(text: str) -> str:
    """With a slash before it and none behind; empty for none."""
    path = "/" + text.strip("/") if text.strip("/") else ""
    if not all(letter.isascii() and (letter.isalnum() or letter in "/-_.~") for letter in path) or "//" in path:
        raise InvalidOption(f'"{text}" is no path; write it as /voice')
    return path


def right_token(expected: str | None, *stated: str | None) -> bool:
    """Whether one of the stated tokens, bare or as `Bearer TOKEN`, is the expected one; None expects none.

    The scheme's letters may be of either case (RFC 9110, section 11.1).
    """
    if expected is None:
        return True
    found = [re.sub("^bearer +", "", text, flags=re.IGNORECASE).encode() for text in stated if text]
    return any(hmac.compare_digest(text, expected.encode()) for text in found)


class Authentication:
    """Checks host, origin and token before anything else is done, and adds the headers to every answer.

    The path under which a proxy shows the service is taken away here, where the proxy has left it: all links of the
    pages are relative, so nothing behind this needs to know it.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        any_host: bool,
        access: Access | None = None,
        headers: Mapping[str, str] = HEADERS,
    ) -> None:
        self._app = app
        self._token = token
        self._access = access or Access()
        self._any_host = any_host and not self._access.hosts
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope.get("method") == "HEAD":  # the same but for the body, which the server leaves out
            scope = {**scope, "method": "GET"}
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        root = self._access.root_path
        under_root = bool(root) and (scope["path"] == root or scope["path"].startswith(f"{root}/"))
        if under_root:
            scope = {**scope, "path": scope["path"].removeprefix(root)}
        problem = self._refusal(scope, headers)
        if problem is None and scope["type"] == "http" and under_root and not scope["path"]:
            # Without the slash a browser would look for the page's files beside it, not in it.
            await RedirectResponse(f"{root}/")(scope, receive, self._adding(send))
        elif problem is None:
            await self._app(scope, receive, self._adding(send) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await problem.response()(scope, receive, self._adding(send))
        else:
            await receive()  # the connect event
            await send({"type": "websocket.close", "code": 1008, "reason": problem.text})  # before accepting: HTTP 403

    def _adding(self, send: Send) -> Send:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = ((name.lower().encode(), value.encode()) for name, value in self._headers.items())
                message["headers"] = [*message["headers"], *(each for each in added if each[0] not in present)]
            await send(message)

        return sending

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Problem | None:
        host = headers.get("host", "")
        if not self._any_host and not self._access.knows(host):
            # Another site's name that was made to point here (DNS rebinding) must not reach the service.
            names = ", ".join(sorted({"localhost", "127.0.0.1", "[::1]", *self._access.hosts}))
            text = f"this service answers to {names} alone; it is started with --allowed-host NAME to answer to another"
            return Problem(421, "wrong_host", text)
        origin = headers.get("origin")
        if origin is not None and not (self._access.is_own(origin, host) or origin.lower() in self._access.origins):
            text = (
                "another site's page may not use this service; if this is the service's own page behind a proxy, start"
                " it with --allowed-host NAME, or NAME:PORT, as the address of the page has it"
            )
            return Problem(403, "wrong_origin", text)
        if scope["type"] == "websocket":
            return None  # its token comes in the first message
        path = scope["path"] or "/"
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


# --- Counts of what the service did, as Prometheus reads them; nothing in them tells whose voice it was.

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
COUNTERS: Final = {
    "speech2face_requests_total": ("Requests by route, method and status.", ("route", "method", "status")),
    "speech2face_portraits_total": ("Portraits drawn from whole recordings.", ()),
    "speech2face_refusals_total": ("Recordings that gave no portrait, by error code.", ("code",)),
    "speech2face_live_updates_total": ("Updates sent to live clients.", ()),
    "speech2face_live_closed_total": ("Live sessions ended, by close code.", ("code",)),
    "speech2face_calls_closed_total": ("Calls ended, by kind and reason.", ("kind", "reason")),
}
HISTOGRAMS: Final = {
    "speech2face_request_seconds": ("Time to the last byte of the answer, by route.", ("route",)),
    "speech2face_live_update_seconds": ("From the sound that completes an update to its bytes.", ()),
    "speech2face_call_update_seconds": ("From the frame that completes a call's update to its facts.", ()),
}
GAUGES: Final = {
    "speech2face_live_sessions": "Live sessions now, the voices of calls among them.",
    "speech2face_uploads_held_bytes": "Bytes of recordings in memory.",
    "speech2face_ready": "Whether the models are loaded.",
    "speech2face_resident_bytes_peak": "Largest resident memory of the process so far.",
}


class Metrics:
    """Counters, histograms and gauges of one service, in a registry of its own; safe for several threads."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # times of creation beside every count would double the answer
        self._registry = CollectorRegistry()
        self._counters = {name: CounterMetric(name, *what, registry=self._registry) for name, what in COUNTERS.items()}
        self._histograms = {
            name: Histogram(name, *what, registry=self._registry, buckets=BUCKETS) for name, what in HISTOGRAMS.items()
        }
        self._gauges = {name: Gauge(name, text, registry=self._registry) for name, text in GAUGES.items()}
        self.gauge("speech2face_resident_bytes_peak", _peak_bytes)

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc()

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(seconds)

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Something that is asked when the metrics are read."""
        self._gauges[name].set_function(value)

    def text(self) -> str:
        """Everything in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry).decode()


def _peak_bytes() -> float:
    """The most main memory that this process has used; no number where the system does not tell."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


# --- Every request counted and logged by its route, which holds nothing of what was asked.

log = logging.getLogger(__name__)
INTERNAL = Problem(500, "internal", "something went wrong here; the service's log says what")


ANSWER_PIECE: Final = 256 * 1024  # bytes
METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")  # that are counted by their names


class NotTaken(TimeoutError):
    """A reader took too long."""


class Observer:
    """ASGI: stands around the routes of HTTP; live sessions say themselves how they went."""

    def __init__(self, app: App, *, service_metrics: Metrics, gate: "Gate", limits: "Limits") -> None:
        self._app = app
        self._metrics = service_metrics
        self._gate, self._limits = gate, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "websocket":
            await self._session(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if len(message.get("body", b"")) > ANSWER_PIECE:
                await self._send_slowly(message, send)
            else:
                await send(message)

        try:
            await self._app(scope, receive, sending)
        except NotTaken:
            log.debug("an answer was not taken in time")  # its connection ends; the line below says whose it was
        except asyncio.CancelledError:
            # The time to end in order is over, and the server cancels what is still under way. It would log a
            # traceback of each; the line below says it. Half an answer ends with its connection.
            if not status:
                await shutting_down().response()(scope, receive, sending)
        except Exception:
            log.exception("request failed")
            if status:
                raise  # half an answer is out: the connection ends
            await INTERNAL.response()(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "other")
            # A client may invent methods; the metrics must not grow by them.
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.count("speech2face_requests_total", route=route, method=method, status=str(status))
            self._metrics.observe("speech2face_request_seconds", seconds, route=route)
            data = {"route": route, "method": scope["method"], "status": status, "ms": round(seconds * 1000, 1)}
            log.info("request", extra={"data": data})

    async def _send_slowly(self, message: MutableMapping[str, Any], send: Send) -> None:
        """A large answer in pieces, each as soon as the reader has taken the last: the server would hold all of it.

        Raises:
            NotTaken: it was not taken in time.
        """
        body, more = memoryview(message["body"]), message.get("more_body", False)
        self._gate.answer_bytes += len(body)
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                for at in range(0, len(body), ANSWER_PIECE):
                    last = at + ANSWER_PIECE >= len(body)
                    piece = bytes(body[at : at + ANSWER_PIECE])
                    await send({"type": message["type"], "body": piece, "more_body": more or not last})
        except TimeoutError:
            raise NotTaken from None
        finally:
            self._gate.answer_bytes -= len(body)

    async def _session(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: who leaves before it is accepted, and the server's end, are no failures of ours."""
        try:
            await self._app(scope, receive, send)
        except (WebSocketDisconnect, OSError, asyncio.CancelledError):  # OSError: of a send to who has gone
            log.debug("a socket went before its session was over")


# --- Recordings as they arrive: in memory, counted while they come, never in a temporary file.

BASE64_PIECE: Final = 2**20  # letters; a multiple of four


@dataclass(frozen=True)
class Upload:
    """One request's recordings by their names, and the options that came with them in the body."""

    recordings: tuple[tuple[str, bytes], ...]
    options: dict[str, Any]


def address_key(client: str | None) -> str | None:
    """What counts as one client: an address of IPv4, a network of 64 bits of IPv6, which is what one line is given.

    None for this machine: where a proxy stands here that was not stated, everybody comes from it.
    """
    address = None if client is None else plain_address(client)
    if address is None or address.is_loopback:
        return None
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else str(address)


class Shares:
    """How much of something each address holds, so that none holds all of it."""

    def __init__(self, most: float) -> None:
        self._most = max(1, most)  # where there is one place alone, anybody may have it
        self._held: Counter[str] = Counter()

    def take(self, client: str | None, amount: int = 1, what: str = "requests are being served") -> None:
        """Count so much more.

        Raises:
            Problem: 429, it would be more than one address may hold; nothing is counted.
        """
        key = address_key(client)
        if key is None:
            return
        if self._held[key] + amount > self._most:
            raise too_many(f"as many {what} for your address as for one may be; try again in a moment")
        self._held[key] += amount

    def give_back(self, client: str | None, amount: int = 1) -> None:
        """Count so much less."""
        key = address_key(client)
        if key is not None:
            self._held[key] -= amount
            if self._held[key] <= 0:
                del self._held[key]


class Gate:
    """How much is let in at once: requests, bytes of recordings held in memory, and of answers not taken yet."""

    def __init__(self, limits: "Limits") -> None:
        self._limits = limits
        self.requests = self.held_bytes = self.answer_bytes = 0
        share = limits.share_of_one_address
        self.requests_of = Shares(share * limits.requests_at_once)
        self.bytes_of = Shares(share * limits.uploads_held_bytes)

    @asynccontextmanager
    async def admitted(self, request: Request) -> AsyncIterator["Arrival"]:
        """Let one request in, or refuse it. It takes one of the places once its body is here, not while it arrives.

        Raises:
            Problem: 429, as many are being served as can be.
        """
        self.check()
        arrival = Arrival(self, request, self._limits)
        try:
            yield arrival
        finally:
            arrival.leave()

    def check(self) -> None:
        """Refuse where no place is free.

        Raises:
            Problem: 429.
        """
        if self.requests >= self._limits.requests_at_once:
            raise too_many(f"{self.requests} requests are being served already; try again in a moment")
        if self.answer_bytes >= self._limits.answers_held_bytes:
            raise too_many("as many answers are under way as can be held; try again in a moment")


async def pieces_of(request: Request, limits: "Limits") -> AsyncGenerator[bytes, None]:
    """The body of a request as it arrives.

    Raises:
        Problem: 408, it takes longer than `body_seconds`, or brings less than `body_least_bytes` in some
            `body_pause_seconds`: who sends a byte now and then holds nothing that others wait for.
    """
    clock = asyncio.get_running_loop().time
    stream, came = request.stream(), 0
    end = clock() + limits.body_seconds
    due = min(end, clock() + limits.body_pause_seconds)
    while True:
        try:
            async with asyncio.timeout_at(due):  # around each wait, never around what the reader does with a piece
                piece = await anext(stream, None)
        except TimeoutError:
            text = (
                f"the body did not arrive within {limits.body_seconds:g} s, or came slower than"
                f" {limits.body_least_bytes // 1024} KiB in {limits.body_pause_seconds:g} s; send it again over a"
                " faster line"
            )
            raise Problem(408, "slow_body", text) from None
        if piece is None:
            return
        came += len(piece)
        if came >= limits.body_least_bytes:
            came, due = 0, min(end, clock() + limits.body_pause_seconds)
        yield piece


class Arrival:
    """One request's body."""

    def __init__(self, gate: Gate, request: Request, limits: "Limits") -> None:
        self._gate, self._request, self._limits = gate, request, limits
        self._client = None if request.client is None else request.client.host
        self.bytes = 0
        self.placed = False

    async def read(self, *, several: bool = False) -> Upload:
        """The body as recordings: multipart, JSON with base64, or the bytes of the recording itself.

        Raises:
            Problem: 400 or 422 for a body that is not what it says, 408, 413, 415 where several are to come, 429.
        """
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if several and kind != "multipart/form-data":
            raise Problem(415, "not_multipart", "several recordings come as multipart/form-data, one part each")
        stated = self._request.headers.get("content-length", "")
        if stated.isdigit():
            self._check_size(int(stated))
        if kind == "multipart/form-data":
            upload = await self._multipart()
            self._take_place()
            return upload
        body = b"".join([piece async for piece in self._pieces()])
        self._take_place()
        if kind != "application/json":
            return Upload((("recording", body),), {})
        return await asyncio.to_thread(_from_json, body)  # of 64 MiB it takes a while, and others are speaking

    def _take_place(self) -> None:
        self._gate.check()
        self._gate.requests_of.take(self._client)
        self._gate.requests += 1
        self.placed = True

    def leave(self) -> None:
        """Give back what it held."""
        self._gate.held_bytes -= self.bytes
        self._gate.bytes_of.give_back(self._client, self.bytes)
        if self.placed:
            self._gate.requests -= 1
            self._gate.requests_of.give_back(self._client)

    def _check_size(self, size: int) -> None:
        if size > self._limits.upload_bytes:
            most = self._limits.upload_bytes // 2**20
            raise Problem(413, "upload_too_large", f"a request may hold at most {most} MiB; send a shorter recording")

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        async for piece in pieces_of(self._request, self._limits):
            self._gate.bytes_of.take(self._client, len(piece), "recordings are held")
            self.bytes += len(piece)
            self._gate.held_bytes += len(piece)
            self._check_size(self.bytes)
            if self._gate.held_bytes > self._limits.uploads_held_bytes:
                raise too_many("the service holds as many recordings as it can; try again in a moment")
            yield piece

    async def _multipart(self) -> Upload:
        parser = _InMemory(
            self._request.headers, self._pieces(), max_files=self._limits.files_per_request, max_fields=32
        )
        parser.spool_max_size = parser.max_file_size = 2 * self._limits.upload_bytes  # the second: older Starlette
        try:
            form = await parser.parse()
            assert parser.whole, "without its last boundary the last part would be left out in silence"
        except UnicodeError:  # some codecs raise more than what is no text of theirs
            text = "its names are not of the charset that it states"
            raise Problem(400, "bad_multipart", f"the multipart body cannot be read: {text}") from None
        except (MultiPartException, KeyError, AssertionError) as error:
            text = getattr(error, "message", "it has no boundary or is cut off")
            if "Too many files" in text:
                most = self._limits.files_per_request
                raise Problem(413, "too_many_files", f"a request may hold at most {most} files") from None
            raise Problem(400, "bad_multipart", f"the multipart body cannot be read: {text}") from None
        recordings: list[tuple[str, bytes]] = []
        options: dict[str, Any] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                recordings.append((value.filename or name, await value.read()))
            else:
                options[name] = value
        await form.close()
        return Upload(tuple(recordings), options)


class _InMemory(MultiPartParser):
    """Starlette's parser, but nothing goes to a temporary file: the request's own limit is reached first."""

    max_file_size: int
    whole = False

    def on_end(self) -> None:
        """The last boundary was found."""
        self.whole = True


def _from_json(body: bytes) -> Upload:
    """`{"recording": base64, ...options}`."""
    try:
        values = from_json(body)  # a third of the standard library's time, in which nobody else is heard
    except ValueError:  # also what is no UTF-8, or nested without end
        raise Problem(400, "bad_json", "the body is not JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("recording"), str):
        raise Problem(422, "invalid_request", 'the JSON needs "recording": a recording\'s bytes in base64') from None
    try:
        recording = _from_base64(values.pop("recording"))
    except ValueError:
        raise Problem(422, "bad_base64", '"recording" is not base64') from None
    given = values.pop("given", {})
    if not isinstance(given, dict):
        raise Problem(422, "invalid_request", '"given" is an object of age, gender, group and hair')
    return Upload((("recording", recording),), values | given)


def _from_base64(text: str) -> bytes:
    """The bytes, piece by piece, so that between two of them others are heard.

    Raises:
        ValueError: it is not base64.
    """
    if "=" in text[:-2]:
        raise ValueError("padding is at the end alone")
    starts = range(0, len(text), BASE64_PIECE)
    return b"".join(binascii.a2b_base64(text[at : at + BASE64_PIECE], strict_mode=True) for at in starts)


def valid(read: Callable[[Any], T], values: Any) -> T:
    """What a model of pydantic reads.

    Raises:
        Problem: 422, with the first mistake.
    """
    try:
        return read(values)
    except ValidationError as error:
        raise Problem(422, "invalid_request", one_line(error)) from None


def one_line(error: ValidationError) -> str:
    """The first mistake, by its place, without repeating what was sent."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
