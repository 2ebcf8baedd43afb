"""A key and its certificates, checked before anything is drawn: they belong together, are valid now and may sign.

What C2PA asks of a certificate: its specification, "X.509 Certificates".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from speech2face.errors import InvalidOption

C2PA_SIGNING: Final = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # c2pa-kp-claimSigning
DOCUMENT_SIGNING: Final = ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # RFC 9336
SIGNING_USES: Final = frozenset({C2PA_SIGNING, DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION})
CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
MIN_RSA_BITS: Final = 2048
MAX_PEM_BYTES: Final = 1 << 20
PASSWORD_VARIABLE: Final = "SPEECH2FACE_SIGN_PASSWORD"


@dataclass(frozen=True)
class Credential:
    """What a picture is signed with: `key` and `chain` are PEM, the signer's own certificate first."""

    key: bytes = field(repr=False)
    chain: bytes
    algorithm: str
    owner: str
    valid_until: datetime


def load_credential(key_file: Path, certificate_file: Path, *, password: str | None = None) -> Credential:
    """Read and check a key and its certificate chain.

    Raises:
        InvalidOption: a file that is missing or no PEM, a password missing or wrong, a key of another certificate, a
            certificate that is not valid now or not made for signing.
    """
    key = _read_key(key_file, password)
    chain = _read_chain(certificate_file)
    own = chain[0]
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(serialization.Encoding.DER, public) != own.public_key().public_bytes(
        serialization.Encoding.DER, public
    ):
        raise InvalidOption(
            f"the key {key_file} is not that of the first certificate in {certificate_file}; name a pair"
        )
    _check_certificate(own, certificate_file)
    return Credential(
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        chain=b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain),
        algorithm=_algorithm(key, key_file),
        owner=name_of(own.subject),
        valid_until=own.not_valid_after_utc,
    )


def name_of(name: x509.Name) -> str:
    """The common name and the organisation of a certificate's subject."""
    parts = [str(value.value) for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
             for value in name.get_attributes_for_oid(oid)]  # fmt: skip
    return ", ".join(parts) or name.rfc4514_string()


def read_pem(path: Path) -> bytes:
    """The bytes of a PEM file.

    Raises:
        InvalidOption: it cannot be read, or is no PEM.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"cannot read {path}: {error.strerror}; name a PEM file") from None
    if b"-----BEGIN " not in content or len(content) > MAX_PEM_BYTES:
        raise InvalidOption(f"{path} is no PEM file (it has no line -----BEGIN ...-----)")
    return content


def _read_key(path: Path, password: str | None) -> PrivateKeyTypes:
    content = read_pem(path)
    try:
        return serialization.load_pem_private_key(content, None if password is None else password.encode())
    except TypeError:  # the library's word for a password missing, or given where none is needed
        if password is None:
            raise InvalidOption(f"the key {path} needs a password; set the variable {PASSWORD_VARIABLE}") from None
        return _read_key(path, None)
    except ValueError as error:
        if password is not None and b"ENCRYPTED" in content:
            raise InvalidOption(f"the password in {PASSWORD_VARIABLE} does not open the key {path}") from None
        raise InvalidOption(f"{path} holds no private key that can be read: {_first_line(error)}") from None


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read_pem(path))
    except ValueError as error:
        raise InvalidOption(f"{path} holds no certificate that can be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _check_certificate(certificate: x509.Certificate, path: Path) -> None:
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise InvalidOption(f"the certificate {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it")
    if now < certificate.not_valid_before_utc:
        raise InvalidOption(f"the certificate {path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d} on")
    try:
        uses = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        signs = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        uses, signs = set(), False
    if not signs or uses.isdisjoint(SIGNING_USES) or certificate.subject == certificate.issuer:
        raise InvalidOption(
            f"the certificate {path} is not for signing pictures: C2PA asks for one that is not self-signed, with the"
            " key usage digitalSignature and the extended key usage c2pa-kp-claimSigning or emailProtection"
        )


def _algorithm(key: PrivateKeyTypes, path: Path) -> str:
    """The name of the signature by the kind of the key (C2PA specification, "Digital Signatures")."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return "PS256"
    raise InvalidOption(f"the key {path} is of no kind that C2PA knows; use EC P-256, Ed25519, or RSA of 2048 bits")
