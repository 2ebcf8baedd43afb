"""Signing: one picture or video with its manifest in, the same one that shows every later change out.

The manifest follows the C2PA specification, "Actions": an action `c2pa.created` whose digital source type is
"trainedAlgorithmicMedia"; beside it an assertion of our own. Nothing is asked of a network: no time stamp, no list of
revoked certificates.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from speech2face import __version__
from speech2face.errors import CannotWrite, InvalidOption, NotAPortrait, RecordingNotFound
from speech2face.face.detect import UnreadablePicture, open_picture
from speech2face.models.release import MANIFEST, SHIPPED, read_manifest
from speech2face.outputs import sha256, write_together
from speech2face.provenance import (
    SIGNED,
    Provenance,
    film_texts,
    is_film,
    picture_texts,
    pixel_digest,
    read_provenance,
)

if TYPE_CHECKING:  # the extra: imported where something is signed or verified, for anybody may inspect a picture
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

# --- Whether a signed manifest lies in its file exactly as it was written: the bytes that no signature covers.
# C2PA signs the claim, and by its hashes the assertions and the file around the manifest. What it does not sign are
# the frames between them: lengths and names of boxes (ISO 19566-5), the outer structure of the signature (RFC 9052)
# and the zeros that pad it. Nothing is read from there, yet a change there is a change of the file. A manifest of
# this program has one layout, which is checked byte by byte; every part's length and name follow from what is signed.

# The last twelve bytes of the UUID of a box's kind; the first four are its letters (ISO 19566-5, C2PA "JUMBF").
KIND_END: Final = b"\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
NAMED: Final = 0b00011  # requestable, with a label
SALTED: Final = 0b10011  # and with a private box, which holds the salt of an assertion's hash
JPEG_BOX: Final = b"\x02\x11"  # the number that the C2PA library gives its box
SALT_BYTES: Final = (16, 32)
STORE, MANIFEST_BOX, ASSERTIONS, CLAIM, SIGNATURE = b"c2pa", b"c2ma", b"c2as", b"c2cl", b"c2cs"
CLAIM_NAMES: Final = (b"c2pa.claim.v2", b"c2pa.claim")
HEAD_BYTES: Final = 8
# CBOR (RFC 8949): major types as they are needed here.
BYTES, TEXT, MAP = 2, 3, 5
COSE_SIGN1: Final = b"\xd2\x84"  # tag 18, an array of four
NO_PAYLOAD: Final = b"\xf6"  # it is the claim, which lies elsewhere


T = TypeVar("T")


class OtherLayout(ValueError):
    """The bytes lie otherwise than this program writes them."""


@dataclass(frozen=True)
class _Box:
    kind: bytes
    content: bytes


def is_as_written(content: bytes) -> bool:
    """Whether the one manifest of a PNG, WebP, JPEG or MP4 is laid out as a manifest of this program is.

    To be asked where the C2PA library found everything right that is signed.
    """
    try:
        _check_store(_stored(content))
    except (OtherLayout, IndexError):
        return False
    return True


def _stored(content: bytes) -> bytes:
    """The manifest store, with the frame that the picture's format puts around it checked."""
    if content.startswith(PNG_MARK):
        return _exactly([body for kind, body in _png_chunks(content) if kind == b"caBX"], 1)[0]
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _exactly([body for kind, body in _riff_chunks(content) if kind == b"C2PA"], 1)[0]
    if content.startswith(b"\xff\xd8"):
        return _jpeg_store(content)
    if is_film(content):
        return _mp4_store(content)
    raise OtherLayout("neither PNG nor WebP nor JPEG nor MP4")


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk (PNG specification, section 5.3), to the file's last byte."""
    at = len(PNG_MARK)
    while at < len(content):
        end = at + HEAD_BYTES + int.from_bytes(content[at : at + 4])
        if content[end : end + 4] != zlib.crc32(content[at + 4 : end]).to_bytes(4) or end + 4 > len(content):
            raise OtherLayout("a chunk that is damaged or cut off")
        yield content[at + 4 : at + 8], content[at + HEAD_BYTES : end]
        at = end + 4


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk, to the file's last byte; odd ones are padded with a zero."""
    if int.from_bytes(content[4:8], "little") != len(content) - HEAD_BYTES:
        raise OtherLayout("the file is not as long as it says")
    at = 12
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + HEAD_BYTES + length
        if end + length % 2 > len(content) or content[end : end + length % 2].strip(b"\0"):
            raise OtherLayout("a chunk that is cut off, or padded with something")
        yield content[at : at + 4], content[at + HEAD_BYTES : end]
        at = end + length % 2


def _jpeg_store(content: bytes) -> bytes:
    """The store from its APP11 segments: "JP", a number for the box, one for the segment, a piece of the box.

    From the second on the box's head is said again (C2PA specification, "Embedding manifests into JPEG").
    """
    parts: list[bytes] = []
    first = b""
    at = 2
    while content[at] == 0xFF and content[at + 1] not in (0xDA, 0xD9):
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        segment = content[at + 4 : end]
        if content[at + 1] == 0xEB:
            first = first or segment
            said = b"JP" + JPEG_BOX + (len(parts) + 1).to_bytes(4) + first[8:16]
            if segment[:16] != said:
                raise OtherLayout("segments that do not follow one another")
            parts.append(segment[16:] if parts else segment[8:])
        at = end
    return b"".join(parts)


# What C2PA's hash of an MP4 leaves out (its specification, "BMFF-Based Hash"), and what stands there: the first box as
# FFmpeg writes it with H.264 or MPEG-4, the manifest's own box, and nothing in the room that it kept free.
FIRST_BOXES: Final = (b"isom\0\0\2\0isomiso2avc1mp41", b"isom\0\0\2\0isomiso2mp41")
MP4_BOXES: Final = [b"ftyp", b"uuid", b"free", b"mdat", b"moov", b"uuid"]
MP4_MANIFEST: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"\0\0\0\0manifest\0" + bytes(8)


def _mp4_store(content: bytes) -> bytes:
    boxes = _boxes(content)
    if [box.kind for box in boxes] != MP4_BOXES or boxes[0].content not in FIRST_BOXES or boxes[2].content:
        raise OtherLayout("other boxes than are written")
    if not boxes[1].content.startswith(MP4_MANIFEST):
        raise OtherLayout("a manifest in another box")
    return boxes[1].content.removeprefix(MP4_MANIFEST)


def _boxes(content: bytes) -> list[_Box]:
    """The boxes that fill some bytes without a gap."""
    found, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        if length < HEAD_BYTES or at + length > len(content):
            raise OtherLayout("a box that is longer than what holds it")
        found.append(_Box(content[at + 4 : at + HEAD_BYTES], content[at + HEAD_BYTES : at + length]))
        at += length
    return found


def _inside(box: _Box, kind: bytes, name: bytes) -> list[_Box]:
    """What a box of boxes holds behind its description, which must be this one to the last bit."""
    described, *inside = _boxes(box.content)
    expected = _Box(b"jumd", kind + KIND_END + bytes([NAMED]) + name + b"\0")
    if box.kind != b"jumb" or described != expected:
        raise OtherLayout(f"no box {name.decode('ascii', 'replace')}")
    return inside


def _check_store(store: bytes) -> None:
    (root,) = _exactly(_boxes(store), 1)
    (manifest,) = _exactly(_inside(root, STORE, b"c2pa"), 1)
    name = _name(_boxes(manifest.content)[0])
    assertions, claim, signature = _exactly(_inside(manifest, MANIFEST_BOX, name), 3)
    claim_name = _name(_boxes(claim.content)[0])
    (said,) = _exactly(_inside(claim, CLAIM, claim_name), 1)
    (sealed,) = _exactly(_inside(signature, SIGNATURE, b"c2pa.signature"), 1)
    if claim_name not in CLAIM_NAMES or said.kind != b"cbor" or sealed.kind != b"cbor":
        raise OtherLayout("a claim or signature of another kind")
    if b"self#jumbf=/c2pa/" + name + b"/c2pa.signature" not in said.content:  # the name is thereby signed
        raise OtherLayout("a manifest that is called otherwise than its claim says")
    _check_assertions(_inside(assertions, ASSERTIONS, b"c2pa.assertions"), said.content)
    _check_signature(sealed.content)


def _exactly(found: list[T], count: int) -> list[T]:
    if len(found) != count:
        raise OtherLayout(f"{len(found)} boxes or manifests, where {count} are written")
    return found


def _name(described: _Box) -> bytes:
    """The label in a description; `_inside` checks what is around it."""
    return described.content[17:].partition(b"\0")[0]


def _check_assertions(assertions: list[_Box], claim: bytes) -> None:
    """Each is hashed with its description; what is left is its frame, and their order, which is the claim's."""
    last = -1
    for assertion in assertions:
        described, said = _exactly(_boxes(assertion.content), 2)
        name, salt = _name(described), b""
        if described.content[16] == SALTED:
            (box,) = _exactly(_boxes(described.content[17 + len(name) + 1 :]), 1)
            salt = described.content[17 + len(name) + 1 :]
            if box.kind != b"c2sh" or len(box.content) not in SALT_BYTES:
                raise OtherLayout("an assertion with another private box than a salt")
        toggles = SALTED if salt else NAMED
        expected = _Box(b"jumd", said.kind + KIND_END + bytes([toggles]) + name + b"\0" + salt)
        place = claim.find(b"self#jumbf=c2pa.assertions/" + name)
        if assertion.kind != b"jumb" or described != expected or place <= last:
            raise OtherLayout("assertions that are framed, called or ordered otherwise than the claim says")
        last = place


def _check_signature(sealed: bytes) -> None:
    """COSE_Sign1 with nothing that is not signed but zeros."""
    if not sealed.startswith(COSE_SIGN1):
        raise OtherLayout("another kind of signature")
    at = _string(sealed, len(COSE_SIGN1), BYTES)[1]  # the protected header
    count, at = _head(sealed, at, MAP)
    for _ in range(count):
        key, at = _string(sealed, at, TEXT)
        value, at = _string(sealed, at, BYTES)
        if key not in (b"pad", b"pad2") or value.strip(b"\0"):
            raise OtherLayout("something that nobody signed beside the signature")
    if sealed[at : at + 1] != NO_PAYLOAD:
        raise OtherLayout("a signature with a content of its own")
    if _string(sealed, at + 1, BYTES)[1] != len(sealed):
        raise OtherLayout("something behind the signature")


def _string(content: bytes, at: int, major: int) -> tuple[bytes, int]:
    """A string of bytes or text, and where it ends."""
    length, at = _head(content, at, major)
    if at + length > len(content):
        raise OtherLayout("a string that is cut off")
    return content[at : at + length], at + length


def _head(content: bytes, at: int, major: int) -> tuple[int, int]:
    """The length in the head of a CBOR item, which must be of this type and in its shortest form; where it ends."""
    kind, short = divmod(content[at], 32)
    size = {24: 1, 25: 2, 26: 4}.get(short, 0)
    length = int.from_bytes(content[at + 1 : at + 1 + size]) if size else short
    least = {0: 0, 1: 24, 2: 1 << 8, 4: 1 << 16}[size]
    if kind != major or short > 26 or length < least:
        raise OtherLayout("an item of another type, or in another form")
    return length, at + 1 + size


# --- What those who sign and those who verify must agree on.

ASSERTION: Final = "org.speech2face.portrait"  # C2PA wants a domain turned round; nobody is asked to resolve it
PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
DEVELOPMENT: Final = "development, proves nothing about who signed"  # organisation in a development certificate
# Settings of the C2PA library under which it asks nothing of any network.
OFFLINE: Final[dict[str, Any]] = {
    "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False, "verify_trust": True},
    "builder": {"thumbnail": {"enabled": False}},  # the picture is small, and a second one would have to be labelled
}


# --- What a signed picture looked like, in fingerprints: its pixels, field by field, and its texts.
# C2PA's own hash (its assertion `c2pa.hash.data`) says that some byte of a file changed. These say which.

FIELDS: Final = 8  # a picture is compared in 8 x 8 fields: enough to say eyes or chin, in half a kilobyte
FIELD_DIGITS: Final = 8  # of a hexadecimal digest: for finding changes; proof is the digest of all pixels


@dataclass(frozen=True)
class Digests:
    """Fingerprints of one picture: `pixels`, `xmp` and `facts` are SHA-256, "" where a text is not there."""

    width: int
    height: int
    pixels: str
    fields: tuple[str, ...]
    xmp: str
    facts: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """As they stand in a manifest.

        Raises:
            KeyError, TypeError, ValueError: they are not what this program writes.
        """
        fields = tuple(str(field) for field in values["fields"])
        texts = (str(values[name]) for name in ("xmp", "facts"))
        return cls(int(values["width"]), int(values["height"]), str(values["pixels"]), fields, *texts)

    def changed_fields(self, now: Digests) -> list[tuple[int, int]]:
        """(row, column) of the fields whose pixels are others; to be asked of pictures of one size."""
        pairs = enumerate(zip(self.fields, now.fields, strict=True))
        return [divmod(number, FIELDS) for number, (before, after) in pairs if before != after]


def digests_of(content: bytes, image: NDArray[np.uint8] | None = None) -> Digests:
    """Fingerprints of the bytes of a picture; `image` are its pixels, (height, width, 3), where they are known.

    Of a video there are fingerprints of its texts alone: the frames are under C2PA's own hash.

    Raises:
        UnreadablePicture: it cannot be decoded.
    """
    if is_film(content):
        return Digests(0, 0, "", (), *map(text_digest, film_texts(content)))
    with open_picture(content) as picture:
        if image is None:
            picture.load()  # a PNG's text may lie after its pixels; ours lies before them
            image = np.asarray(picture.convert("RGB"))  # (height, width, 3)
        xmp, facts = picture_texts(picture.info)
    height, width, _ = image.shape
    down, across = ([slice(*edges) for edges in pairwise(field_edges(pixels))] for pixels in (height, width))
    fields = (image[rows, columns] for rows in down for columns in across)
    return Digests(
        width, height, pixel_digest(image), tuple(pixel_digest(field)[:FIELD_DIGITS] for field in fields),
        text_digest(xmp), text_digest(facts),
    )  # fmt: skip


def text_digest(text: str) -> str:
    """SHA-256 of a text, "" for none."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def field_edges(pixels: int) -> list[int]:
    """Where the fields along one side begin and end, 9 numbers from 0 to `pixels`."""
    return [number * pixels // FIELDS for number in range(FIELDS + 1)]


# --- A key and its certificates, checked before anything is drawn: they belong together, are valid now and may sign.
# What C2PA asks of a certificate: its specification, "X.509 Certificates".

SIGNING_USES: Final = frozenset({
    "1.3.6.1.4.1.62558.2.1",  # c2pa-kp-claimSigning
    "1.3.6.1.5.5.7.3.36",  # documentSigning, RFC 9336
    "1.3.6.1.5.5.7.3.4",  # emailProtection, RFC 5280
})  # fmt: skip
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
    from cryptography.hazmat.primitives import serialization

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
    from cryptography.x509.oid import NameOID

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
    from cryptography.hazmat.primitives import serialization

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
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(read_pem(path))
    except ValueError as error:
        raise InvalidOption(f"{path} holds no certificate that can be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _check_certificate(certificate: x509.Certificate, path: Path) -> None:
    from cryptography import x509

    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise InvalidOption(f"the certificate {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it")
    if now < certificate.not_valid_before_utc:
        raise InvalidOption(f"the certificate {path} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d} on")
    try:
        named = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        uses = {use.dotted_string for use in named}
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
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return "PS256"
    raise InvalidOption(f"the key {path} is of no kind that C2PA knows; use EC P-256, Ed25519, or RSA of 2048 bits")


PROGRAM: Final = "speech2face"


class PictureSigner:
    """Signs PNG, WebP and MP4; may be shared by threads. `models`: name -> SHA-256 of the release's record."""

    def __init__(self, credential: Credential, models: Mapping[str, str]) -> None:
        """Sign a tiny picture at once, so that what is wrong with the certificate is known before the first portrait.

        Raises:
            InvalidOption: a certificate that C2PA does not accept.
        """
        self.credential = credential
        import c2pa
        from PIL import Image

        self.models = dict(models)
        self._context = c2pa.Context(c2pa.Settings.from_dict(OFFLINE))
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "PNG")
        created = {"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}
        self._signed(file.getvalue(), "image/png", _definition("trial", [_actions(created)]))

    def sign(
        self,
        content: bytes,
        media_type: str,
        provenance: Provenance,
        facts: Mapping[str, Any],
        image: NDArray[np.uint8] | None = None,
    ) -> bytes:
        """The bytes of a picture with a signed manifest in them; `image` are its pixels, (height, width, 3).

        They save decoding; to be given only where the format keeps them exactly.

        Raises:
            InvalidOption: the certificate has expired meanwhile.
        """
        definition = manifest_definition(
            digests_of(content, image), provenance, facts, self.models.get(provenance.model_name)
        )
        return self._signed(content, media_type, definition)

    def _signed(self, content: bytes, media_type: str, definition: Mapping[str, Any]) -> bytes:
        import c2pa

        own = self.credential
        signed = io.BytesIO()
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg[own.algorithm], own.chain, own.key, b"")
        info.ta_url = None  # no time stamp; before 0.38 the library does not take None above
        try:
            with c2pa.Signer.from_info(info) as signer:  # a new one each time: signers are not for several threads
                c2pa.Builder(json.dumps(definition), context=self._context).sign(
                    signer, media_type, io.BytesIO(content), signed
                )
        except c2pa.C2paError as error:
            raise InvalidOption(f"the certificate of {own.owner} cannot sign: {error}") from error
        return signed.getvalue()


def manifest_definition(
    picture: Digests, provenance: Provenance, facts: Mapping[str, Any], model_sha256: str | None
) -> dict[str, Any]:
    """What the manifest of a picture says; nothing of the voice but what stands in the facts."""
    created = {
        "action": "c2pa.created",
        "digitalSourceType": provenance.digital_source_type,
        "softwareAgent": {"name": PROGRAM, "version": __version__},
        "description": provenance.notice,
    }
    own = {
        "provenance": asdict(provenance),
        "model": {"name": provenance.model_name, "version": provenance.model_version, "sha256": model_sha256},
        "given": provenance.given,
        # As text: the library shows lists of numbers in an assertion as if they were bytes.
        "facts": json.dumps(facts, ensure_ascii=False, allow_nan=False),
        "picture": asdict(picture),
    }
    # "created": the signer vouches for it; a gathered assertion would be somebody else's word.
    assertion = {"label": ASSERTION, "data": own, "kind": "Json", "created": True}
    return _definition(f"synthetic {provenance.kind}", [_actions(created), assertion])


def _definition(title: str, assertions: list[dict[str, Any]]) -> dict[str, Any]:
    generator = [{"name": PROGRAM, "version": __version__}]
    return {"claim_generator_info": generator, "title": title, "assertions": assertions}


def _actions(created: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": "c2pa.actions.v2", "data": {"actions": [created]}, "created": True}


def release_digests(folders: Iterable[Path | None]) -> dict[str, str]:
    """SHA-256 of each release's model.json, which holds those of all its files, by name; None is the starter.

    Raises:
        WeightsError: a folder holds no release.
    """
    places = [SHIPPED if folder is None else folder for folder in folders]
    return {str(read_manifest(place)["name"]): sha256(place / MANIFEST) for place in places}


# --- A key and a certificate chain of one's own, to try signing with: valid in form, and proof of nothing.

COUNTRY_OF_NOBODY: Final = "ZZ"  # ISO 3166-1: user-assigned
KEY_FILE, CERTIFICATE_FILE, ROOT_FILE = "key.pem", "certificate.pem", "root.pem"
DAYS: Final = 365
_EARLIER: Final = timedelta(minutes=5)  # clocks of other machines may be behind


def development_credential(
    *, days: int = DAYS, start: datetime | None = None, organisation: str = DEVELOPMENT
) -> dict[str, bytes]:
    """Key, chain and root as PEM by file name; the root's own key is forgotten, so that it signs nothing else."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    start = (datetime.now(UTC) - _EARLIER) if start is None else start
    end = start + timedelta(days=days)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    country, maker, common = NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME

    def named(what: str) -> x509.Name:
        parts = {country: COUNTRY_OF_NOBODY, maker: organisation, common: f"speech2face development {what}"}
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])

    def usage(*, certificates: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=not certificates, key_cert_sign=certificates, crl_sign=certificates,
            content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip

    root_name, own_name = named("root"), named("signer")

    def begun(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(root_name, name, public, x509.random_serial_number(), start, end)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)

    root = (
        begun(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    own = (
        begun(own_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(certificates=False), critical=True)
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
    write_together(files, force=force, private=[folder / KEY_FILE])
    key, certificate, root = files
    return key, certificate, root


# --- What was done to a picture that is not as it was signed, in words.


@dataclass(frozen=True)
class SignatureFinding:
    """One thing that was found; `code` is for programs and keeps its meaning."""

    code: str
    text: str


CHUNK_FRAME: Final = 12  # bytes of length, kind and checksum
FRAME_CHANGED: Final = SignatureFinding(
    "frame_changed",
    "bytes of the signed manifest that no signature covers, lengths, names or padding, are not as they were written",
)
# T.81, table B.1: markers of a JPEG that stand alone, and the byte that says that 0xFF is one of the picture's own.
JPEG_EOI, JPEG_SOS, JPEG_STUFFED = 0xD9, 0xDA, 0x00
JPEG_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
CHUNK_NAMES: Final = {"IHDR": "its size", "IDAT": "its pixels", "iTXt": "its texts", "caBX": "its signed manifest"}
MANIFEST_DAMAGED: Final = SignatureFinding(
    "manifest_damaged",
    "the signed manifest can no longer be read, as it or the file around it is damaged or cut off: nothing it said can"
    " be relied on",
)


def with_right_checksums(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A PNG whose chunks are read although their checksums are wrong, and the kinds of those chunks.

    Who changes a byte seldom mends the checksum of its chunk (PNG specification, section 5.5), and no picture software
    reads on from there; whoever inspects wants to know more than that.
    """
    wrong: dict[str, None] = {}
    mended = bytearray(content)
    for at, end in _chunk_places(content):
        right = zlib.crc32(content[at + 4 : end - 4]).to_bytes(4)
        if end <= len(content) and content[end - 4 : end] != right:
            wrong[content[at + 4 : at + 8].decode("ascii", "replace")] = None
            mended[end - 4 : end] = right
    return bytes(mended), tuple(wrong)


def _chunk_places(content: bytes) -> Iterator[tuple[int, int]]:
    """Where the chunks of a PNG begin and end, by their lengths; one that is cut off ends beyond the last byte."""
    at = len(PNG_MARK) if content.startswith(PNG_MARK) else len(content)
    while at + CHUNK_FRAME <= len(content):
        end = at + CHUNK_FRAME + int.from_bytes(content[at : at + 4])
        yield at, end
        at = end


def checksums_wrong(kinds: Sequence[str]) -> SignatureFinding:
    """Bytes were changed by something that knows nothing of the format."""
    names = ", ".join(CHUNK_NAMES.get(kind, kind) for kind in kinds)
    return SignatureFinding(
        "checksum_wrong", f"bytes were changed without their checksum, as damage does; in the file: {names}"
    )


def data_after_end(content: bytes) -> tuple[SignatureFinding, ...]:
    """What lies behind the end of a picture, where viewers do not look and anything can be hidden."""
    end = end_of_picture(content)
    if end is None or not content[end:].strip(b"\0 \r\n\t"):
        return ()
    text = f"{len(content) - end} bytes lie after the end of the picture, which no viewer shows"
    return (SignatureFinding("data_after_end", text),)


def end_of_picture(content: bytes) -> int | None:
    """Where a PNG, WebP, JPEG or SVG ends by its own structure; None for others, and where it does not say."""
    if content.startswith(PNG_MARK):
        ends = (end for at, end in _chunk_places(content) if content[at + 4 : at + 8] == b"IEND")
        end = next(ends, None)
        return None if end is None else min(end, len(content))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return min(HEAD_BYTES + int.from_bytes(content[4:8], "little"), len(content))
    if content.startswith(b"\xff\xd8"):
        return _end_of_jpeg(content)
    svg = content.rfind(b"</svg>")
    return None if svg < 0 else svg + len(b"</svg>")


def _end_of_jpeg(content: bytes) -> int | None:
    at = 2
    while (at := content.find(b"\xff", at)) >= 0 and at + 1 < len(content):
        marker = content[at + 1]
        if marker == JPEG_EOI:
            return at + 2
        if marker in (0xFF, JPEG_STUFFED) or marker in JPEG_ALONE:
            at += 1 if marker == 0xFF else 2
        else:  # a segment says how long it is; behind the one that begins a scan, its bytes are searched
            at += 2 + max(2, int.from_bytes(content[at + 2 : at + 4]))
    return None


def manifest_changed(codes: Sequence[str]) -> SignatureFinding:
    """The manifest itself is not as it was signed; `codes` are C2PA's."""
    if any("hashedURI" in code or "assertion" in code for code in codes) and "claimSignature.mismatch" not in codes:
        text = "what the signed manifest states was changed after signing"
    else:
        text = "the signature is not that of this manifest: one of them was changed or put in from elsewhere"
    return SignatureFinding("manifest_changed", f"{text} ({', '.join(sorted(set(codes)))})")


def manifest_removed(content: bytes, pixels: str) -> SignatureFinding:
    """The XMP promises a manifest that is not there; `pixels` is the digest it states, "" for none."""
    try:
        same = bool(pixels) and pixels == _pixels(content)
    except UnreadablePicture:
        same = False
    if same:
        text = "the signed manifest was taken out; the pixels are those that the XMP states, which proves nothing"
        return SignatureFinding("manifest_removed", text)
    if pixels:
        text = "the signed manifest is gone and the pixels are others: saved anew by other software, or changed"
        return SignatureFinding("re_encoded", text)
    return SignatureFinding(
        "manifest_removed", "the signed manifest that the XMP speaks of is gone: taken out, or saved anew"
    )


def others_manifest(signer: str, *, ours_below: bool) -> SignatureFinding:
    """The last manifest is not this program's; `ours_below` where it builds on one that is."""
    if ours_below:
        return SignatureFinding("edited", f"edited after signing, and signed again by {signer}")
    return SignatureFinding("other_manifest", f"the manifest is not this program's; it was signed by {signer}")


def of_content(content: bytes, own: Mapping[str, Any] | None) -> tuple[SignatureFinding, ...]:
    """What of the picture is not as it was signed, by the fingerprints in our own assertion."""
    try:
        before = Digests.from_dict((own or {})["picture"])
    except (KeyError, TypeError, ValueError):
        return (SignatureFinding("content_changed", "the file is not as it was signed"),)
    try:
        now = digests_of(content)
    except UnreadablePicture:
        return (SignatureFinding("picture_damaged", "the picture is damaged: it can no longer be decoded"),)
    found = [*_of_pixels(before, now)]
    for name, was, is_now in (("xmp", before.xmp, now.xmp), ("facts", before.facts, now.facts)):
        word = {"xmp": "XMP, what other software reads,", "facts": "record of the facts"}[name]
        if was and not is_now:
            found.append(SignatureFinding(f"{name}_removed", f"the {word} was taken out"))
        elif was != is_now:
            found.append(SignatureFinding(f"{name}_changed", f"the {word} was changed"))
    if is_film(content) and not found:
        return (SignatureFinding("content_changed", "the video's frames, its sound or its other boxes were changed"),)
    rewritten = SignatureFinding(
        "rewritten", "the file was written anew or added to; its pixels, XMP and facts are as they were signed"
    )
    return tuple(found) or (rewritten,)


def _of_pixels(before: Digests, now: Digests) -> list[SignatureFinding]:
    if before.pixels == now.pixels and (before.width, before.height) == (now.width, now.height):
        return []
    if (before.width, before.height) != (now.width, now.height):
        text = f"the picture is {now.width} x {now.height} pixels; {before.width} x {before.height} were signed"
        return [SignatureFinding("pixels_changed", text)]
    changed = before.changed_fields(now)
    if len(changed) == FIELDS * FIELDS:
        return [SignatureFinding("pixels_changed", "the pixels were changed everywhere, as saving anew with loss does")]
    across, down = field_edges(now.width), field_edges(now.height)
    rows, columns = zip(*changed, strict=True) if changed else ((0,), (0,))
    left, right = across[min(columns)], across[max(columns) + 1] - 1
    top, bottom = down[min(rows)], down[max(rows) + 1] - 1
    where = f"within x {left} to {right}, y {top} to {bottom}"
    text = f"the pixels were changed in {len(changed)} of {FIELDS * FIELDS} fields, {where}"
    return [SignatureFinding("pixels_changed", text)]


def _pixels(content: bytes) -> str:
    with open_picture(content) as picture:
        return pixel_digest(np.asarray(picture.convert("RGB")))


# --- Whether a picture is as it was signed, by whom, and what was changed if it is not.
# The C2PA library checks signature and hashes (its specification, "Validation"). What it finds is put into words
# here, and the fingerprints in our own assertion say what of the picture changed. Works without the extra as far as
# one can.

State = Literal["intact", "tampered", "unsigned", "not checked"]
Trust = Literal["trusted", "untrusted", "self-made", "development", "expired", "unfit"]
MANIFEST_MARK: Final = b"jumdc2pa"  # description box of a C2PA store, whatever the picture's format (ISO 19566-5)
DER_SEQUENCE: Final = b"\x30\x82"  # with a length of two bytes (X.690, section 8.1.3), as every certificate begins
MOST_CERTIFICATES: Final = 16  # of a chain
CONTENT_CHANGED: Final = ("assertion.dataHash.mismatch", "assertion.bmffHash.mismatch")
# Status codes of the specification that say who signed rather than that something changed.
OF_THE_SIGNER: Final[dict[str, Trust]] = {
    "signingCredential.untrusted": "untrusted",
    "signingCredential.expired": "expired",
    "signingCredential.invalid": "unfit",
}


@dataclass(frozen=True)
class Signature:
    """What is known of a picture's signature; the rest is None where no signature holds."""

    state: State
    findings: tuple[SignatureFinding, ...] = ()
    signer: str | None = None
    trust: Trust | None = None
    algorithm: str | None = None
    model_sha256: str | None = None


@dataclass(frozen=True)
class Inspection:
    """What a picture says about itself, and whether that can be relied on.

    `source` is where provenance and facts were read: the manifest, where the XMP is gone.
    """

    provenance: Provenance
    facts: Mapping[str, Any]
    signature: Signature
    source: Literal["XMP", "manifest"] = "XMP"


@dataclass(frozen=True)
class _Store:
    """What the C2PA library read: codes of what failed, who signed, our own assertion (None where it is not last)."""

    failures: tuple[str, ...]
    own: Mapping[str, Any] | None
    ours_below: bool
    signer: str
    algorithm: str | None


def inspect_picture(path: str | Path, *, trust: bytes | None = None) -> Inspection:
    """Read and verify one picture; `trust` holds the root certificates that are relied on, as PEM.

    Raises:
        RecordingNotFound: no such file.
        NotAPortrait: not a picture, or one that no longer says that this program made it.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecordingNotFound(f"no such file: {path}") from None
    except OSError as error:
        raise NotAPortrait(f"{path} cannot be read: {error.strerror}") from error
    whole, damaged = with_right_checksums(content)
    found = _inspected(path, whole, trust)
    after = data_after_end(content)
    if not damaged and not after:
        return found
    rest = tuple(each for each in found.signature.findings if not after or each.code != "rewritten")
    findings = (*after, *rest, *((checksums_wrong(damaged),) if damaged else ()))
    state = found.signature.state if found.signature.state == "unsigned" and not damaged else "tampered"
    return replace(found, signature=replace(found.signature, state=state, findings=findings))


def _inspected(path: Path, content: bytes, trust: bytes | None) -> Inspection:
    try:
        stated = read_provenance(path, content)
    except NotAPortrait:
        # Where the XMP is gone, a manifest that holds speaks for the picture.
        signature, own = _verified(content, None, trust)
        if own is None:
            raise
        return Inspection(*own, signature, "manifest")
    if path.suffix.lower() == ".svg":
        only_xmp = SignatureFinding("drawing", "drawings (SVG) are not signed: they carry XMP alone")
        return Inspection(*stated, Signature("unsigned", (only_xmp,)))
    return Inspection(*stated, _verified(content, stated[0], trust)[0])


def _verified(
    content: bytes, stated: Provenance | None, trust: bytes | None
) -> tuple[Signature, tuple[Provenance, Mapping[str, Any]] | None]:
    """The signature, and what the manifest says of the picture where it holds and is ours."""
    if MANIFEST_MARK not in content:
        promise = "" if stated is None else stated.signed
        if not promise.startswith(SIGNED):
            return Signature("unsigned"), None
        return Signature("tampered", (manifest_removed(content, promise.removeprefix(SIGNED).strip()),)), None
    if find_spec("c2pa") is None:
        text = "there is a signed manifest; verifying it needs the extra 'c2pa'"
        return Signature("not checked", (SignatureFinding("not_checked", text),)), None
    store = _read_store(content, trust)
    if store is None:
        return Signature("tampered", (MANIFEST_DAMAGED,)), None
    broken = [code for code in store.failures if code not in OF_THE_SIGNER and code not in CONTENT_CHANGED]
    if broken:
        return Signature("tampered", (manifest_changed(broken),)), None
    return _judged(content, store), _own_words(store)


def _judged(content: bytes, store: _Store) -> Signature:
    """A manifest that is itself as it was signed."""
    own = store.own or {}
    findings = of_content(content, own) if set(CONTENT_CHANGED) & set(store.failures) else ()
    if store.own is None:
        findings = (*findings, others_manifest(store.signer, ours_below=store.ours_below))
    elif not findings and not is_as_written(content):
        findings = (FRAME_CHANGED,)
    return Signature(
        state="tampered" if findings else "intact",
        findings=findings,
        signer=store.signer,
        trust=_trust(store, content),
        algorithm=store.algorithm,
        model_sha256=_model_digest(own),
    )


def _trust(store: _Store, content: bytes) -> Trust:
    """The worst that is known of who signed; the root of a development certificate makes it no better."""
    found = {OF_THE_SIGNER[code] for code in store.failures if code in OF_THE_SIGNER}
    if DEVELOPMENT in store.signer:
        found.add("development")
    if "untrusted" in found and is_self_made(content):
        found.add("self-made")
    worst_first: tuple[Trust, ...] = ("unfit", "expired", "development", "self-made", "untrusted")
    return next((trust for trust in worst_first if trust in found), "trusted")


def is_self_made(content: bytes) -> bool:
    """Whether who signed a picture also made the certificate: each of its chain is of one organisation.

    To be asked of a chain that ends at no root that is relied on. A company may have an authority of its own; who does
    not rely on its root knows no more of it than of a name that somebody made up.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    found: list[x509.Certificate] = []
    try:
        sealed = _signature_box(_stored(content))
        at = 0
        while (at := sealed.find(DER_SEQUENCE, at)) >= 0 and len(found) < MOST_CERTIFICATES:
            end = at + 4 + int.from_bytes(sealed[at + 2 : at + 4])
            try:
                found.append(x509.load_der_x509_certificate(sealed[at:end]))
                at = end
            except ValueError:
                at += 1
    except (OtherLayout, IndexError, ValueError):
        return False
    makers = {
        tuple(str(value.value) for value in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
        or name.public_bytes()
        for each in found
        for name in (each.subject, each.issuer)
    }
    return len(makers) == 1


def _signature_box(store: bytes) -> bytes:
    """The sealed part of the last manifest of a store, which holds its certificates."""
    (root,) = _exactly(_boxes(store), 1)
    manifest = _boxes(root.content)[-1]
    return _boxes(manifest.content)[-1].content


def _model_digest(own: Mapping[str, Any]) -> str | None:
    model = own.get("model")
    digest = model.get("sha256") if isinstance(model, dict) else None
    return digest if isinstance(digest, str) else None


def _own_words(store: _Store) -> tuple[Provenance, Mapping[str, Any]] | None:
    """What our assertion says of the picture; anybody may sign one, so that nothing in it is taken for granted."""
    try:
        own = store.own or {}
        stated, facts = Provenance(**own["provenance"]), json.loads(own["facts"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    texts = [stated.model_name, stated.model_version, stated.creator_tool, stated.notice, stated.kind, stated.signed]
    texts += [stated.digital_source_type, *(stated.given.values() if isinstance(stated.given, dict) else [None])]
    whole = all(isinstance(text, str) for text in texts) and isinstance(stated.exaggerate, int | float)
    return (stated, facts) if whole and isinstance(facts, dict) else None


def _read_store(content: bytes, trust: bytes | None) -> _Store | None:
    """What is in the file; None where it cannot be read."""
    import c2pa

    settings = OFFLINE if trust is None else OFFLINE | {"trust": {"trust_anchors": trust.decode("ascii", "replace")}}
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(settings))
        with c2pa.Reader(_media_type(content), io.BytesIO(content), context=context) as reader:
            return _parse_store(json.loads(reader.json()))
    except (c2pa.C2paError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _parse_store(values: Mapping[str, Any]) -> _Store:
    active = values["active_manifest"]
    own = {
        label: assertion["data"]
        for label, manifest in values["manifests"].items()
        for assertion in manifest.get("assertions", ())
        if assertion["label"] == ASSERTION and isinstance(assertion["data"], dict)
    }
    signed = values["manifests"][active].get("signature_info", {})
    results = values.get("validation_results", {}).get("activeManifest", {})
    return _Store(
        failures=tuple(failure["code"] for failure in results.get("failure", ())),
        own=own.get(active),
        ours_below=bool(own),
        signer=", ".join(str(signed[key]) for key in ("common_name", "issuer") if signed.get(key)) or "nobody named",
        algorithm=signed.get("alg"),
    )


def _media_type(content: bytes) -> str | None:
    """By the first bytes, for the picture behind them may be damaged."""
    if content.startswith(PNG_MARK):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if is_film(content):
        return "video/mp4"
    return "image/jpeg" if content.startswith(b"\xff\xd8\xff") else None  # the library finds out by itself
