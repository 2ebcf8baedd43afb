"""What signs the pictures of this process: one key for everything that leaves, so that no route can forget it."""

from speech2face.provenance import Signer

_signer: Signer | None = None


def sign_with(signer: Signer | None) -> None:
    """From now on sign with this; None signs nothing."""
    global _signer
    _signer = signer


def current() -> Signer | None:
    """What signs now."""
    return _signer
