"""What those who sign and those who verify must agree on."""

from typing import Any, Final

ASSERTION: Final = "org.speech2face.portrait"  # C2PA wants a domain turned round; nobody is asked to resolve it
PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
DEVELOPMENT: Final = "development, proves nothing about who signed"  # organisation in a development certificate
# Settings of the C2PA library under which it asks nothing of any network.
OFFLINE: Final[dict[str, Any]] = {
    "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False, "verify_trust": True},
    "builder": {"thumbnail": {"enabled": False}},  # the picture is small, and a second one would have to be labelled
}
