"""The commands `serve` and `studio`: the page, the API and live sound in one process; pages where people consent."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speech2face.cli.terminal import (
    AsJson,
    SignCertificate,
    SignKey,
    listed,
    open_signer,
    print_json,
    print_rows,
    settings_of,
)
from speech2face.console import note
from speech2face.errors import DatasetError, InvalidOption, need_extra

if TYPE_CHECKING:
    from speech2face.consent import StudioTerms, Withdrawn


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


# --- The command `studio`: consent, voice and photographs of whoever sits at this machine; and the records afterwards.

STUDIO_PACKAGES = (*SERVE_PACKAGES, "cryptography")
TERMS = ("organisation", "purpose", "contact", "licence", "term_months", "until", "languages", "version")


def studio(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for voices, photographs and consent.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="What is asked of people, as TOML; see configs show studio.")
    ] = None,
    organisation: Annotated[str | None, typer.Option(help="Who asks. Replaces that of the settings, as do:")] = None,
    purpose: Annotated[str | None, typer.Option(help="What voices and photographs are for, in plain words.")] = None,
    contact: Annotated[str | None, typer.Option(help="Where people withdraw who have lost their code.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of recordings and photographs.")] = None,
    term_months: Annotated[int | None, typer.Option(min=1, help="How long they may be kept; or --until.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Last day for everybody, as 2030-12-31.")] = None,
    languages: Annotated[
        str | None, typer.Option(help="Of the sentences to read, with commas: en,de,fr,es or your own.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Of the wording.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8766,
    verify: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Check every record of this folder, and serve nothing.")
    ] = None,
    withdraw: Annotated[
        str | None, typer.Option(metavar="CODE", help="Erase who has this withdrawal code, or this id, from --out.")
    ] = None,
    erase_expired: Annotated[
        bool, typer.Option("--erase-expired", help="Erase everybody from --out whose term is over.")
    ] = False,
    models: Annotated[
        list[Path] | None,
        typer.Option(help="After an erasure look here for models that have learned of it. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a page on this machine alone where people read, sign, lend voice and photographs, and can withdraw."""
    options = {name: value for name, value in locals().items() if name in TERMS and value is not None}
    asked = sum((verify is not None, withdraw is not None, erase_expired))
    if asked > 1:
        raise InvalidOption("--verify, --withdraw and --erase-expired are three things; ask for one")
    if verify is not None:
        need_extra("verifying consent", "serve", STUDIO_PACKAGES[-1:])
        _verify(verify, as_json=as_json)
        return
    if out is None:
        raise InvalidOption("name the folder: --out FOLDER")
    if asked:
        need_extra("erasing", "serve", STUDIO_PACKAGES[-1:])
        _erase(out, withdraw, models or (), as_json=as_json)
        return
    need_extra("the consent studio", "serve", STUDIO_PACKAGES)
    from speech2face.app.studio import StudioSettings, run_studio

    terms = terms_of(settings, options)
    run_studio(StudioSettings(out, terms, port=port), note)
    note("ended")


def terms_of(settings: Path | None, options: dict[str, Any]) -> StudioTerms:
    """Terms of a settings file, of options, or of both: an option replaces what the file says.

    Raises:
        InvalidOption: a term is missing, unknown or impossible.
    """
    from speech2face.consent import StudioTerms, read_terms

    values = options | ({"languages": listed(options["languages"])} if "languages" in options else {})
    if settings is None:
        return StudioTerms(**values)
    terms = read_terms(settings)
    if "until" in values or "term_months" in values:
        values = {"until": None, "term_months": None} | values
    if isinstance(values.get("until"), str):
        values["until"] = _day(values["until"])
    return replace(terms, **values)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidOption(f"--until {text} is no date; write it as 2030-12-31") from None


def _verify(folder: Path, *, as_json: bool) -> None:
    """Print a line a person; nobody's name is among them.

    Raises:
        DatasetError: something was changed, or is missing.
    """
    from speech2face.consent import ConsentFolder

    found = ConsentFolder(folder)
    states = found.verify(date.today())
    counts = {state: sum(each.state == state for each in states) for state in ("valid", "expired", "invalid")}
    counts["withdrawn"] = found.withdrawn()
    if as_json:
        people = [{"person": each.person, "state": each.state, "detail": each.detail} for each in states]
        print_json({"people": people, "counts": counts, "key": found.public_key})
    else:
        rows = [(each.person, f"{each.state}: {each.detail}") for each in states]
        rows.append(("together", ", ".join(f"{count} {state}" for state, count in counts.items())))
        print_rows([*rows, ("signed with", found.public_key[:16])])
    if counts["invalid"]:
        raise DatasetError(
            f"{counts['invalid']} records of {folder} are not as they were signed; learn nothing of them"
        )


def _erase(folder: Path, code: str | None, models: Sequence[Path], *, as_json: bool) -> None:
    from speech2face.consent import ConsentFolder

    found = ConsentFolder(folder)
    found.check()
    if code is not None:
        done = [found.withdraw(code, models=models)]
    else:
        done = found.erase_expired(date.today(), models=models)
    if as_json:
        print_json({"erased": [_erased(each) for each in done], "looked_for_models": bool(models)})
        return
    print_rows(erased_rows(done, looked=bool(models)))


def _erased(done: Withdrawn) -> dict[str, Any]:
    return {"person": done.person, "files": list(done.files), "models": [str(each.path) for each in done.models]}


def erased_rows(done: Sequence[Withdrawn], *, looked: bool) -> list[tuple[str, str]]:
    """Who went, and what is to be done now."""
    if not done:
        return [("erased", "nobody: no term is over")]
    rows = [("erased", f"{each.person}, {len(each.files)} files") for each in done]
    traces = {trace.path: trace for each in done for trace in each.models}
    rows += [("has learned", f"{path}; learn it anew") for path in sorted(traces)]
    if not looked:
        rows.append(("models", "not looked for; name their folders with --models"))
    elif not traces:
        rows.append(("models", "none of those looked at has learned of it"))
    people = " ".join(each.person for each in done)
    rows.append(("elsewhere", f"from data prepared of it: speech2face data forget {people} --data FOLDER"))
    return rows
