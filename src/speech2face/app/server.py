"""Listen, serve, and end in order."""

import logging
import signal
import socket
from types import FrameType

import uvicorn

from speech2face.app.security import check_address
from speech2face.app.service import Service, Settings, create_app
from speech2face.errors import InvalidOption

log = logging.getLogger(__name__)
SEND_BUFFER_BYTES = 256 * 1024  # two large pictures


class Server(uvicorn.Server):
    """uvicorn's, but live sessions hear of the end before their sockets are closed."""

    service: Service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal ends the service in order, and a second interrupt at once; uvicorn would raise it again after."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, say goodbye to who speaks, finish what is under way."""
        log.info("ending")
        for server in self.servers:
            server.close()
        await self.service.end_live(self.service.limits.shutdown_seconds)
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InvalidOption: the address is taken, or none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What a client that does not read may leave in the kernel; inherited, as is the next.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a client that takes nothing for a minute is gone
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
        listening.bind(found[4])
        listening.listen(128)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidOption(f"cannot listen at {host} port {port}: {reason}; choose another with --port") from None
    return listening


def make_server(settings: Settings) -> Server:
    """A server whose models are known to be there.

    Raises:
        InvalidOption: an address that would need a token.
        WeightsError: a model that is missing or none.
    """
    check_address(settings.host, settings.token)
    app = create_app(settings)
    service: Service = app.state.service
    service.shelf.check()
    limits = settings.limits
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=4 * limits.frame_bytes,  # what is a little too big is still told so
        ws_per_message_deflate=False,  # sound and pictures do not shrink, and it costs memory a client
        timeout_graceful_shutdown=round(limits.shutdown_seconds),
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=32 * 1024,
    )
    server = Server(config)
    server.service = service

    def give_up() -> None:
        server.should_exit = True

    service.on_failure = give_up
    return server


def serve(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        InvalidOption, WeightsError: what keeps it from starting, or a model that turns out damaged.
    """
    server = make_server(settings)
    listening = listen(settings.host, settings.port)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("listening", extra={"data": {"address": f"http://{name}:{listening.getsockname()[1]}"}})
    server.run(sockets=[listening])
    if server.service.shelf.failure is not None:
        raise server.service.shelf.failure
