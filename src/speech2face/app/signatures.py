"""What signs the pictures of this process: one key for everything that leaves, so that no route can forget it."""

from dataclasses import replace
from typing import Any

from speech2face.provenance import SIGNED, Provenance, Signer

_signer: Signer | None = None


def sign_with(signer: Signer | None) -> None:
    """From now on sign with this; None signs nothing."""
    global _signer
    _signer = signer


def current() -> Signer | None:
    """What signs now."""
    return _signer


def promised(provenance: Provenance) -> Provenance:
    """What a picture that will be signed says of itself; no digest of pixels, which WebP keeps only nearly."""
    return provenance if _signer is None else replace(provenance, signed=SIGNED)


def signed(content: bytes, media_type: str, provenance: Provenance, facts: dict[str, Any]) -> bytes:
    """The bytes of a picture, signed if this process signs."""
    return content if _signer is None else _signer.sign(content, media_type, provenance, facts)
