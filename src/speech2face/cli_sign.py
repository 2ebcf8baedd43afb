"""Signed pictures on the command line: `certificate`, `inspect`, and the options that name a key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from speech2face.errors import InvalidOption, TamperedPicture
from speech2face.terminal import need_extra, print_json, print_rows

if TYPE_CHECKING:
    from speech2face.signing.signer import PictureSigner
    from speech2face.signing.verification import Signature

KEY_VARIABLE: Final = "SPEECH2FACE_SIGN_KEY"
CERTIFICATE_VARIABLE: Final = "SPEECH2FACE_SIGN_CERTIFICATE"
TRUST_VARIABLE: Final = "SPEECH2FACE_TRUST"
SIGN_PACKAGES: Final = ("c2pa", "cryptography")
TRUST_WORDS: Final = {
    "trusted": "a certificate of a root that is relied on",
    "untrusted": "a certificate of no root that is relied on: anybody can make one; name roots with --trust",
    "development": "a development certificate: proves nothing about who signed",
    "expired": "a certificate that has expired; without a time stamp nobody can tell when it signed",
    "unfit": "a certificate that is not one for signing pictures",
}
SignKey = Annotated[
    Path | None,
    typer.Option("--sign-key", envvar=KEY_VARIABLE, help="PEM file of the key to sign pictures with (extra c2pa)."),
]
SignCertificate = Annotated[
    Path | None,
    typer.Option(
        "--sign-certificate", envvar=CERTIFICATE_VARIABLE, help="PEM file of its certificate and those above it."
    ),
]


def open_signer(key: Path | None, certificate: Path | None, models: Sequence[Path | None]) -> PictureSigner | None:
    """What signs the pictures of these releases; None where neither key nor certificate is named.

    Raises:
        InvalidOption: one without the other, or files that cannot sign.
        MissingExtra: the C2PA library is not installed.
    """
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        named, wanted = ("certificate", "key") if key is None else ("key", "certificate")
        raise InvalidOption(f"--sign-{named} alone signs nothing; name --sign-{wanted} too")
    need_extra("signing", "c2pa", SIGN_PACKAGES)
    from speech2face.signing.credentials import PASSWORD_VARIABLE, load_credential
    from speech2face.signing.signer import PictureSigner, release_digests

    credential = load_credential(key, certificate, password=os.environ.get(PASSWORD_VARIABLE) or None)
    return PictureSigner(credential, release_digests(models))


def certificate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for key.pem, certificate.pem and root.pem.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 365,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a key that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make a key and a certificate to try signing with. For development: they prove nothing about who signed."""
    need_extra("making a certificate", "c2pa", SIGN_PACKAGES[1:])
    from speech2face.batch import printable
    from speech2face.signing.development import write_development_credential
    from speech2face.signing.names import DEVELOPMENT

    key, chain, root = write_development_credential(out, days=days, force=force)
    if quiet:
        return
    print_rows(
        [
            ("key", f"{printable(key)} (keep it to yourself; only you can read it)"),
            ("certificate", printable(chain)),
            ("root", f"{printable(root)} (for inspect --trust)"),
            ("valid for", f"{days} days"),
            ("note", DEVELOPMENT),
        ]
    )


def inspect(
    picture: Annotated[Path, typer.Argument(help="A picture drawn by this program.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    trust: Annotated[
        Path | None,
        typer.Option(envvar=TRUST_VARIABLE, help="PEM file of the root certificates that are relied on."),
    ] = None,
) -> None:
    """Print what a picture says about itself, who signed it, and what was changed since."""
    from dataclasses import asdict

    from speech2face.batch import printable
    from speech2face.report import provenance_rows
    from speech2face.signing.verification import inspect_picture

    found = inspect_picture(picture, trust=None if trust is None else _roots(trust))
    if as_json:
        print_json(asdict(found))
    else:
        rows = provenance_rows(picture, found.provenance, dict(found.facts))
        print_rows([*rows[:1], *signature_rows(found.signature), *rows[1:]])
    if found.signature.state == "tampered":
        what = ", ".join(finding.code for finding in found.signature.findings)
        raise TamperedPicture(f"{printable(picture)} is not as it was signed: {what}")


def _roots(file: Path) -> bytes:
    need_extra("judging who signed", "c2pa", SIGN_PACKAGES)
    from speech2face.signing.credentials import read_pem

    return read_pem(file)


def signature_rows(signature: Signature) -> list[tuple[str, str]]:
    """Whether a picture is as it was signed, by whom, and what was changed."""
    from speech2face.batch import printable

    state = {
        "intact": "signed, and as it was signed",
        "tampered": "TAMPERED WITH: not as it was signed",
        "unsigned": "none; what follows is what the picture says of itself, and anybody could have written it",
        "not checked": "not checked",
    }[signature.state]
    rows = [("signature", state)]
    if signature.signer is not None and signature.trust is not None:
        rows += [("signed by", printable(signature.signer)), ("with", TRUST_WORDS[signature.trust])]
    return rows + [("found", printable(finding.text)) for finding in signature.findings]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (inspect, certificate):
        app.command()(command)
