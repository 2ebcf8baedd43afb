"""Every limit of the service in one place; what lies beyond one is refused with 413, 429 or a close code."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from speech2face.config import MAX_RECORDING_SECONDS

MIB: Final = 2**20


@dataclass(frozen=True)
class Limits:
    """What one process takes; the defaults suit a laptop of two cores and 4 GiB."""

    # Requests
    upload_bytes: int = 64 * MIB  # a request's whole body: ten minutes of uncompressed stereo
    uploads_held_bytes: int = 512 * MIB  # of all requests at once: recordings are held in memory, never on disk
    recording_seconds: float = MAX_RECORDING_SECONDS / 2  # the belief has long stopped moving
    files_per_request: int = 16
    requests_at_once: int = 64  # waiting or being drawn
    samples: int = 24  # further faces of one recording
    samples_per_request: int = 96  # of all its recordings: an answer is held in memory too
    body_seconds: float = 60.0  # in which a request's body must have arrived

    # Live sessions
    sessions_at_once: int = 32
    messages_per_second: float = 2000.0  # a browser's 128 samples at a time are 375 at 48 kHz, 1500 at 192 kHz
    message_burst: int = 4000  # what comes faster waits at the sender
    frame_bytes: int = MIB  # one binary message: 5 s of 48 kHz stereo
    text_bytes: int = 16 * 1024  # one text message
    unheard_bytes: int = 4 * MIB  # sound that has arrived and not been heard yet; then the connection is not read
    updates_per_second: float = 10.0
    start_seconds: float = 10.0  # in which the first message must come
    idle_seconds: float = 120.0  # without any message
    session_seconds: float = 4 * 3600.0
    send_seconds: float = 20.0  # in which a client must take a message

    # Calls; each voice of one counts as a live session
    calls_kept: int = 256  # that have ended: their facts and last pictures
    call_keep_seconds: float = 600.0  # after the end
    call_unheard_seconds: float = 10.0  # of a track's sound that waits; then the connection is not read
    callback_seconds: float = 5.0  # in which a callback must be taken
    callback_tries: int = 3
    offer_bytes: int = 64 * 1024  # a WebRTC offer
    connect_seconds: float = 15.0  # in which a WebRTC peer must be reached

    shutdown_seconds: float = 10.0  # for what is under way when the service is told to end

    def for_a_live_client(self) -> dict[str, Any]:
        """What somebody who speaks the live protocol must know, JSON-ready."""
        names = ("frame_bytes", "text_bytes", "messages_per_second", "updates_per_second", "samples")
        return {name: getattr(self, name) for name in (*names, "idle_seconds", "session_seconds")}


class CloseCode(IntEnum):
    """Why a live session ended; 1000 to 1999 are RFC 6455's, those from 4000 are ours."""

    FINISHED = 1000
    SHUTDOWN = 1001
    INTERNAL = 1011
    BAD_MESSAGE = 4400
    TOKEN = 4401
    IDLE = 4408  # also: the session was too long, or the client does not read
    TOO_BIG = 4413
    UNUSABLE_SOUND = 4422
    TOO_MANY = 4429
    NOT_READY = 4503
