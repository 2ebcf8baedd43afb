"""Every request counted and logged by its route, which holds nothing of what was asked."""

import asyncio
import logging
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.websockets import WebSocketDisconnect

from speech2face.app.metrics import Metrics
from speech2face.app.problems import Problem, shutting_down
from speech2face.app.security import App, Receive, Scope, Send

log = logging.getLogger(__name__)
INTERNAL = Problem(500, "internal", "something went wrong here; the service's log says what")


class Observer:
    """ASGI: stands around the routes of HTTP; live sessions say themselves how they went."""

    def __init__(self, app: App, *, service_metrics: Metrics) -> None:
        self._app = app
        self._metrics = service_metrics

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
            await send(message)

        try:
            await self._app(scope, receive, sending)
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
            self._metrics.count(
                "speech2face_requests_total", route=route, method=_method(scope["method"]), status=str(status)
            )
            self._metrics.observe("speech2face_request_seconds", seconds, route=route)
            data = {"route": route, "method": scope["method"], "status": status, "ms": round(seconds * 1000, 1)}
            log.info("request", extra={"data": data})

    async def _session(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: who leaves before it is accepted, and the server's end, are no failures of ours."""
        try:
            await self._app(scope, receive, send)
        except (WebSocketDisconnect, OSError, asyncio.CancelledError):  # OSError: of a send to who has gone
            log.debug("a socket went before its session was over")


def _method(name: str) -> str:
    """A client may invent methods; the metrics must not grow by them."""
    return name if name in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH") else "other"
