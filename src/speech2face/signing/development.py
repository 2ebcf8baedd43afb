"""A key and a certificate chain of one's own, to try signing with: valid in form, and proof of nothing."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from speech2face.errors import CannotWrite, OutputExists
from speech2face.signing.names import DEVELOPMENT

COUNTRY_OF_NOBODY: Final = "ZZ"  # ISO 3166-1: user-assigned
CERTIFICATE_MODE: Final = 0o644  # a certificate is for everybody to read
KEY_FILE, CERTIFICATE_FILE, ROOT_FILE = "key.pem", "certificate.pem", "root.pem"
DAYS: Final = 365
MAX_DAYS: Final = 3650
_EARLIER: Final = timedelta(minutes=5)  # clocks of other machines may be behind


def development_credential(*, days: int = DAYS, start: datetime | None = None) -> dict[str, bytes]:
    """Key, chain and root as PEM by file name; the root's own key is forgotten, so that it signs nothing else."""
    start = (datetime.now(UTC) - _EARLIER) if start is None else start
    end = start + timedelta(days=days)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, own_name = _name("speech2face development root"), _name("speech2face development signer")

    def begun(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(root_name, name, public, x509.random_serial_number(), start, end)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)

    root = (
        begun(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    own = (
        begun(own_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        # c2pa-kp-claimSigning is for who passed the conformance programme; emailProtection is accepted of everybody.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = own.public_bytes(pem) + root.public_bytes(pem)
    return {KEY_FILE: secret, CERTIFICATE_FILE: chain, ROOT_FILE: root.public_bytes(pem)}


def write_development_credential(folder: Path, *, days: int = DAYS, force: bool = False) -> tuple[Path, Path, Path]:
    """Make a key, its certificate chain and the chain's root in a folder; only the owner may read the key.

    Raises:
        OutputExists: one of the files is there already and `force` is not set.
        CannotWrite: whatever the operating system objects to.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise CannotWrite(f"{folder} is a file; name a folder")
    files = {folder / name: content for name, content in development_credential(days=days).items()}
    for path in files:
        if not force and os.path.lexists(path):
            raise OutputExists(f"{path} exists already; choose another folder, or --force to replace the key")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_private(files, force=force)
    except FileExistsError as error:
        raise OutputExists(f"{error.filename2 or folder} exists already; use --force, or another folder") from None
    except OSError as error:
        raise CannotWrite(f"cannot write into {folder}: {error.strerror or error}") from error
    key, certificate, root = files
    return key, certificate, root


def _write_private(files: Mapping[Path, bytes], *, force: bool) -> None:
    """Each file readable by its owner alone from its first byte on; then, all being whole, put in place."""
    with contextlib.ExitStack() as cleanup, contextlib.ExitStack() as undo:
        staged = []
        for path, content in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".speech2face-")  # made with mode 600
            cleanup.callback(Path(name).unlink, missing_ok=True)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.name != KEY_FILE:
                Path(name).chmod(CERTIFICATE_MODE)
            staged.append((Path(name), path))
        for temporary, path in staged:
            if force:
                temporary.replace(path)
            else:
                os.link(temporary, path)
                undo.callback(path.unlink)
        undo.pop_all()  # all are there: none is taken back


def _name(common: str) -> x509.Name:
    parts = {
        NameOID.COUNTRY_NAME: COUNTRY_OF_NOBODY,
        NameOID.ORGANIZATION_NAME: DEVELOPMENT,
        NameOID.COMMON_NAME: common,
    }
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates, key_cert_sign=certificates, crl_sign=certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
