"""The command `serve`: the page, the API and live sound in one process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from speech2face.cli.models import open_signer
from speech2face.cli.options import SignCertificate, SignKey, settings_of
from speech2face.console import note
from speech2face.errors import need_extra

SERVE_PACKAGES = ("fastapi", "uvicorn", "websockets", "python_multipart", "soxr")
TOKEN_VARIABLE = "SPEECH2FACE_TOKEN"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8765,
    model: Annotated[
        list[Path] | None, typer.Option(help="Folder of a release; may be named several times. Default: the starter.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help=f"Secret that every request must show. Default: the variable {TOKEN_VARIABLE}.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Threads that draw. Default: one a core.")] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SPEECH2FACE_ALLOWED_HOST",
            help="NAME or NAME:PORT of the page's address behind a proxy; may be named several times.",
        ),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SPEECH2FACE_ALLOWED_ORIGIN",
            help="Another site whose pages may use the API, as https://NAME; may be named several times.",
        ),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SPEECH2FACE_PROXY",
            help="Address or network of a proxy whose X-Forwarded-For and -Proto are believed. Default: nobody's are.",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(envvar="SPEECH2FACE_ROOT_PATH", help="Path under which a proxy shows the service, as /voice.")
    ] = "",
    sign_key: SignKey = None,
    sign_certificate: SignCertificate = None,
    callback_host: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME:PORT that calls may have portraits posted to; may be named several times."),
    ] = None,
    stun: Annotated[
        str | None, typer.Option(help="STUN server for WebRTC calls, as stun:HOST:PORT. Default: none is asked.")
    ] = None,
    peer_network: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SPEECH2FACE_PEER_NETWORK",
            help="Network whose addresses WebRTC peers may name beside their own; may be named several times.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")] = False,
) -> None:
    """Show the page and answer the API until interrupted. Nothing of voices or faces is kept."""
    options = dict(locals())
    need_extra("serving", "serve", SERVE_PACKAGES)
    from speech2face.app.http import Access
    from speech2face.app.server import serve as run
    from speech2face.app.service import Settings, default_workers

    models = tuple(model or [None])
    settings = settings_of(
        Settings,
        options,
        models=models,
        token=token or os.environ.get(TOKEN_VARIABLE) or None,
        workers=workers or default_workers(),
        access=Access(
            hosts=frozenset(allowed_host or ()),
            origins=frozenset(allowed_origin or ()),
            proxies=tuple(proxy or ()),
            root_path=root_path,
            peer_networks=tuple(peer_network or ()),
        ),
        callback_hosts=frozenset(name.lower() for name in callback_host or ()),
        signer=open_signer(sign_key, sign_certificate, models),
    )
    run(settings, lambda address: _say_where(address, open_page=open_page))
    note("ended")


def _say_where(address: str, *, open_page: bool) -> None:
    """Tell who sits at a terminal what to open; whoever reads the log finds it there."""
    if sys.stderr.isatty():
        note(f"open {address} in a browser on this machine; Ctrl+C ends the service")
    if open_page:
        import webbrowser

        if not webbrowser.open(address):
            note(f"no browser was found; open {address} yourself")
