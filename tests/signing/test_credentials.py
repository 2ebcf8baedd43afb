"""Keys and certificates: what can sign is taken, everything else is refused in one line before anything is drawn."""

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("c2pa", reason="signing needs the extra `c2pa`")
pytest.importorskip("cryptography", reason="signing needs the extra `c2pa`")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from speech2face.errors import CannotWrite, InvalidOption, OutputExists
from speech2face.provenance import picture_bytes
from speech2face.signing import (
    PictureSigner,
    development_credential,
    inspect_picture,
    load_credential,
    write_development_credential,
)
from tests.signing.pictures import FACTS, PICTURE, PROVENANCE

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def key_pem(key: CertificateIssuerPrivateKeyTypes, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(PEM, PKCS8, lock)


def chain_pem(
    key: CertificateIssuerPrivateKeyTypes,
    *,
    use: x509.ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    self_signed: bool = False,
) -> bytes:
    """A certificate for this key under a root that is made for it."""
    root_key = key if self_signed else ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]) for text in ("root", "own")]
    now = datetime.now(UTC)
    subject = names[0] if self_signed else names[1]
    begun = x509.CertificateBuilder(
        names[0], subject, key.public_key(), 7, now - timedelta(hours=1), now + timedelta(hours=1)
    )
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    own = (
        begun.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(root_key, None if isinstance(root_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return own.public_bytes(PEM)


def pair(folder: Path, key: bytes, chain: bytes) -> tuple[Path, Path]:
    files = folder / "key.pem", folder / "certificate.pem"
    for path, content in zip(files, (key, chain), strict=True):
        path.write_bytes(content)
    return files


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "Es384"),
        (lambda: rsa.generate_private_key(65537, 2048), "Ps256"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
    ],
)
def test_every_kind_of_key_signs(
    make: Callable[[], CertificateIssuerPrivateKeyTypes], algorithm: str, tmp_path: Path
) -> None:
    key = make()
    credential = load_credential(*pair(tmp_path, key_pem(key), chain_pem(key)))
    (tmp_path / "a.png").write_bytes(picture_bytes(PICTURE, PROVENANCE, FACTS, signer=PictureSigner(credential, {})))
    found = inspect_picture(tmp_path / "a.png").signature
    assert (found.state, found.algorithm, found.signer) == ("intact", algorithm, "own")


def test_a_key_with_a_password_opens_with_it_alone(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    files = pair(tmp_path, key_pem(key, b"open"), chain_pem(key))
    assert load_credential(*files, password="open").algorithm == "ES256"
    with pytest.raises(InvalidOption, match="needs a password; set the variable SPEECH2FACE_SIGN_PASSWORD"):
        load_credential(*files)
    with pytest.raises(InvalidOption, match="does not open the key"):
        load_credential(*files, password="shut")
    files = pair(tmp_path, key_pem(key), chain_pem(key))
    assert load_credential(*files, password="not needed").algorithm == "ES256"


def old(*, start_days: float, days: int) -> Callable[[Path], tuple[Path, Path]]:
    def make(folder: Path) -> tuple[Path, Path]:
        made = development_credential(days=days, start=datetime.now(UTC) + timedelta(days=start_days))
        return pair(folder, made["key.pem"], made["certificate.pem"])

    return make


def wrong_pair(folder: Path) -> tuple[Path, Path]:
    return pair(folder, development_credential()["key.pem"], development_credential()["certificate.pem"])


def of(**options: object) -> Callable[[Path], tuple[Path, Path]]:
    def make(folder: Path) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        return pair(folder, key_pem(key), chain_pem(key, **options))  # type: ignore[arg-type]

    return make


def weak(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(65537, 1024)
    return pair(folder, key_pem(key), chain_pem(key))


def swapped(folder: Path) -> tuple[Path, Path]:
    key, certificate = wrong_pair(folder)
    return certificate, key


REFUSED: list[tuple[Callable[[Path], tuple[Path, Path]], str]] = [
    (wrong_pair, "is not that of the first certificate"),
    (old(start_days=-10, days=5), "expired on"),
    (old(start_days=5, days=5), "valid only from"),
    (of(self_signed=True), "not self-signed"),
    (of(use=ExtendedKeyUsageOID.SERVER_AUTH), "not for signing pictures"),
    (weak, "RSA of 2048 bits"),
    (swapped, "no private key that can be read"),
    (lambda folder: (folder / "nothing.pem", folder / "nothing.pem"), "cannot read .*No such file"),
    (lambda folder: (folder, folder), "cannot read .*directory"),
    (lambda folder: pair(folder, b"\x00\x01", b"\x00"), "is no PEM file"),
    (lambda folder: pair(folder, b"-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n", b""), "private key"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_what_cannot_sign_is_refused_in_one_line(
    make: Callable[[Path], tuple[Path, Path]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidOption, match=said) as refused:
        load_credential(*make(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_key_is_not_shown_with_its_credential(tmp_path: Path) -> None:
    made = development_credential()
    credential = load_credential(*pair(tmp_path, made["key.pem"], made["certificate.pem"]))
    assert "PRIVATE" not in repr(credential)


def test_a_new_key_is_its_owners_alone_and_replaces_none_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "keys"
    key, certificate, root = write_development_credential(folder)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.stat().st_mode & 0o004 for path in (certificate, root)] == [0o004, 0o004]
    first = key.read_bytes()
    for path in (certificate, root):
        path.unlink()
        with pytest.raises(OutputExists, match="--force"):
            write_development_credential(folder)
    assert (key.read_bytes(), sorted(path.name for path in folder.iterdir())) == (first, ["key.pem"])
    write_development_credential(folder, force=True)
    assert key.read_bytes() != first
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    load_credential(key, certificate)


@pytest.mark.parametrize("a_moment_ago", [False, True])
def test_where_one_file_is_taken_none_is_written(
    a_moment_ago: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root.pem").write_text("")
    if a_moment_ago:  # after it was looked for
        monkeypatch.setattr("speech2face.outputs.check_outputs", lambda paths, force: None)
    with pytest.raises(OutputExists, match=r"root\.pem exists already"):
        write_development_credential(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["root.pem"]


def test_where_no_key_can_be_written_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite):
        write_development_credential(tmp_path / "file" / "keys")
    with pytest.raises(CannotWrite, match="is a file; name a folder"):
        write_development_credential(tmp_path / "file", force=True)
