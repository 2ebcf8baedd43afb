"""Whether a picture is as it was signed, by whom, and what was changed if it is not.

The C2PA library checks signature and hashes (its specification, "Validation"). What it finds is put into words here,
and the fingerprints in our own assertion say what of the picture changed. Works without the extra as far as one can.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from speech2face.errors import NotAPortrait, RecordingNotFound
from speech2face.provenance import SIGNED, Provenance, read_provenance
from speech2face.signing import changes
from speech2face.signing.changes import Finding
from speech2face.signing.layout import is_as_written
from speech2face.signing.names import ASSERTION, DEVELOPMENT, OFFLINE, PNG_MARK

State = Literal["intact", "tampered", "unsigned", "not checked"]
Trust = Literal["trusted", "untrusted", "development", "expired", "unfit"]
MANIFEST_MARK: Final = b"jumdc2pa"  # description box of a C2PA store, whatever the picture's format (ISO 19566-5)
CONTENT_CHANGED: Final = "assertion.dataHash.mismatch"
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
    findings: tuple[Finding, ...] = ()
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
    whole, damaged = changes.with_right_checksums(content)
    found = _inspected(path, whole, trust)
    if not damaged:
        return found
    findings = (*found.signature.findings, changes.checksums_wrong(damaged))
    return replace(found, signature=replace(found.signature, state="tampered", findings=findings))


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
        only_xmp = Finding("drawing", "drawings (SVG) are not signed: they carry XMP alone")
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
        return Signature("tampered", (changes.manifest_removed(content, promise.removeprefix(SIGNED).strip()),)), None
    if find_spec("c2pa") is None:
        text = "there is a signed manifest; to verify it: pip install 'speech2face[c2pa]'"
        return Signature("not checked", (Finding("not_checked", text),)), None
    store = _read_store(content, trust)
    if store is None:
        return Signature("tampered", (changes.MANIFEST_DAMAGED,)), None
    broken = [code for code in store.failures if code not in OF_THE_SIGNER and code != CONTENT_CHANGED]
    if broken:
        return Signature("tampered", (changes.manifest_changed(broken),)), None
    return _judged(content, store), _own_words(store)


def _judged(content: bytes, store: _Store) -> Signature:
    """A manifest that is itself as it was signed."""
    own = store.own or {}
    findings = changes.of_content(content, own) if CONTENT_CHANGED in store.failures else ()
    if store.own is None:
        findings = (*findings, changes.others_manifest(store.signer, ours_below=store.ours_below))
    elif not findings and not is_as_written(content):
        findings = (changes.FRAME_CHANGED,)
    return Signature(
        state="tampered" if findings else "intact",
        findings=findings,
        signer=store.signer,
        trust=_trust(store),
        algorithm=store.algorithm,
        model_sha256=_model_digest(own),
    )


def _trust(store: _Store) -> Trust:
    """The worst that is known of who signed; the root of a development certificate makes it no better."""
    found = {OF_THE_SIGNER[code] for code in store.failures if code in OF_THE_SIGNER}
    if DEVELOPMENT in store.signer:
        found.add("development")
    worst_first: tuple[Trust, ...] = ("unfit", "expired", "development", "untrusted")
    return next((trust for trust in worst_first if trust in found), "trusted")


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
    return "image/jpeg" if content.startswith(b"\xff\xd8\xff") else None  # the library finds out by itself
