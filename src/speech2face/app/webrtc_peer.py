"""One browser, or any other WebRTC peer: its voice is heard, and a face comes back as video."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import SessionDescription

from speech2face.app.call_sound import Unheard, hear_all, in_thread
from speech2face.app.call_track import CallTrack, TrackOptions
from speech2face.app.calls import Call, CallBook
from speech2face.app.portrait_video import VIDEO_PIXELS, PortraitVideo, labelled, planes, scaled
from speech2face.app.problems import Problem
from speech2face.errors import Speech2FaceError
from speech2face.live import PcmFormat

if TYPE_CHECKING:
    from av import AudioFrame
    from numpy.typing import NDArray

    from speech2face.app.service import Service
    from speech2face.models.contract import Model

log = logging.getLogger(__name__)
UPDATES_PER_SECOND = 1.0
SAMPLE_BYTES = 2
CODECS = "audio may be Opus, G.722, PCMU or PCMA, video VP8 or H.264"
Sees = Literal["own", "other"]


@dataclass
class Meeting:
    """A WebRTC call: up to two peers."""

    call: Call
    peers: dict[str, "Peer"] = field(default_factory=dict)

    def hang_up(self) -> None:
        """End it for all."""
        for peer in tuple(self.peers.values()):
            peer.hang_up()

    def shown_to(self, viewer: "Peer") -> "list[Peer]":
        """Whose face a peer sees."""
        return [peer for peer in self.peers.values() if (peer is viewer) == (viewer.sees == "own")]


class Peer:
    """From an offer to the end of its connection."""

    def __init__(self, name: str, meeting: Meeting, model: "Model", options: TrackOptions, sees: Sees) -> None:
        """Args: `options.pixels` is the video's width; the portrait that is polled keeps the model's."""
        self.name, self.sees = name, sees
        self._pixels = options.pixels or VIDEO_PIXELS
        self.video = PortraitVideo(self._pixels)
        self.image: NDArray[np.uint8] | None = None  # its newest portrait, (height, width, 3)
        self._meeting, self._model = meeting, model
        self._options = replace(options, pixels=None)
        self._hung_up = asyncio.Event()
        self._connected = asyncio.Event()
        self._reason = "deleted"
        self._hearing: list[asyncio.Task[None]] = []
        self._unheard: Unheard | None = None
        self._working: asyncio.Task[None] | None = None
        self._track: CallTrack | None = None

    def hang_up(self, reason: str = "deleted") -> None:
        """End the connection."""
        if not self._hung_up.is_set():
            self._reason = reason
            self._hung_up.set()

    async def answer(self, sdp: str, service: "Service") -> str:
        """Take an offer; the answer to it.

        Raises:
            Problem: 422, the offer cannot be read, or asks for no video.
        """
        self._service = service
        servers = [RTCIceServer(service.settings.stun)] if service.settings.stun else []
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self.connection.on("connectionstatechange", self._state_changed)
        self.connection.on("track", self._track_came)
        try:
            await self._agree(sdp)
        except BaseException:
            await self._refuse()
            raise
        return str(self.connection.localDescription.sdp)

    async def _agree(self, sdp: str) -> None:
        try:
            check_ports(sdp)
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            self._check_transports()
            if not any(each.kind == "video" for each in self.connection.getTransceivers()):
                raise Problem(422, "no_video", "the offer has no video to receive; add a transceiver for it")
            self.connection.addTrack(self.video)
            await self.connection.setLocalDescription(await self.connection.createAnswer())
            self._check_transports()  # before the library's own task begins to connect, which nobody waits for
        except (Problem, OSError):  # OSError: this machine has no socket to offer, which is not the peer's mistake
            raise
        except OperationError:
            text = f"the offer has a track of codecs that are unknown here; {CODECS}"
            raise Problem(422, "bad_offer", text) from None
        except Exception as error:
            # The library has no class of its own for a text that no browser wrote: whatever it raises is of the text.
            log.debug("bad offer", extra={"data": {"raised": type(error).__name__}})
            raise Problem(422, "bad_offer", "the offer's session description cannot be used") from None

    def _check_transports(self) -> None:
        """Where BUNDLE names no section that is there, the library takes a section's transport away."""
        if any(each.receiver.transport is None for each in self.connection.getTransceivers()):
            raise ValueError("a section without transport")

    async def run(self, book: CallBook) -> None:
        """Until the peer, we or the limits end it."""
        limits = self._service.limits
        try:
            async with asyncio.timeout(limits.session_seconds):
                if await self._reached(limits.connect_seconds):
                    await self._hung_up.wait()
        except TimeoutError:
            self.hang_up("session_over")
        finally:
            await self._finish(book)

    async def _reached(self, seconds: float) -> bool:
        waits = [asyncio.create_task(event.wait()) for event in (self._connected, self._hung_up)]
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not done:
            self.hang_up("unreachable")
        return self._connected.is_set()

    async def _finish(self, book: CallBook) -> None:
        self._meeting.peers.pop(self.name, None)
        await self._close_connection()
        await self._stop_hearing()
        if self._track is not None:
            kept = book.known(self._meeting.call)
            await in_thread(self._service.live_threads, self._track.finish if kept else self._track.close)
        if not self._meeting.peers:
            book.close(self._meeting.call, self._reason)
        self._service.metrics.count("speech2face_calls_closed_total", kind="webrtc", reason=self._reason)
        log.info("peer", extra={"data": {"reason": self._reason}})

    async def _stop_hearing(self) -> None:
        """No more is read; what has come is heard. A track that was never connected would not end by itself."""
        for task in self._hearing:
            task.cancel()
        await asyncio.gather(*self._hearing, return_exceptions=True)
        if self._unheard is not None and self._working is not None:
            await self._unheard.end()
            await self._working

    async def _refuse(self) -> None:
        await self._close_connection()
        await self._stop_hearing()

    async def _close_connection(self) -> None:
        self.video.stop()
        # AttributeError: of a description that was refused half way, before any socket was opened.
        with contextlib.suppress(ConnectionError, OSError, AttributeError):
            await self.connection.close()

    def _state_changed(self) -> None:
        state = self.connection.connectionState
        if state == "connected":
            self._connected.set()
        elif state == "failed":
            self.hang_up("peer_gone" if self._connected.is_set() else "unreachable")
        elif state == "closed":
            self.hang_up("peer_gone")

    def _track_came(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and not self._hearing:
            self._hearing.append(asyncio.create_task(self._hear(track)))

    async def _hear(self, track: MediaStreamTrack) -> None:
        """The peer's voice, until it ends."""
        rate = 0
        while (frame := await self._frame(track)) is not None:
            if self._unheard is None:
                rate = frame.sample_rate
                seconds = self._service.limits.call_unheard_seconds
                self._unheard = Unheard(SAMPLE_BYTES * rate, seconds, SAMPLE_BYTES)
                self._working = asyncio.create_task(self._work(self._unheard, rate))
            if frame.sample_rate == rate:
                await self._unheard.offer(mono(frame))
        if self._unheard is not None:
            await self._unheard.end()

    async def _frame(self, track: MediaStreamTrack) -> Any:
        try:
            async with asyncio.timeout(self._service.limits.idle_seconds):
                return await track.recv()
        except MediaStreamError:
            return None
        except TimeoutError:
            self.hang_up("idle")
            return None

    async def _work(self, unheard: Unheard, rate: int) -> None:
        threads = self._service.live_threads
        try:
            voice = await in_thread(threads, lambda: CallTrack(self._model, PcmFormat("s16le", rate, 1), self._options))
            self._track = self._meeting.call.tracks[self.name] = voice
            await hear_all(
                unheard,
                voice,
                executor=threads,
                updates_per_second=UPDATES_PER_SECOND,
                updated=self._show_to_all,
                metrics=self._service.metrics,
            )
        except Speech2FaceError:
            self.hang_up("unusable_sound")
        except Exception:
            log.exception("a peer's voice cannot be heard")
            self.hang_up("internal")

    async def _show_to_all(self) -> None:
        """The portrait so far, to everybody who sees this peer."""
        assert self._track is not None
        image = await in_thread(self._service.live_threads, self._track.image)
        if image is None:
            return
        self.image = image
        for viewer in tuple(self._meeting.peers.values()):
            if self in self._meeting.shown_to(viewer):
                await viewer.see(image)

    async def see(self, image: "NDArray[np.uint8]") -> None:
        """Show this peer a portrait, (height, width, 3), labelled, at the size it asked for."""
        pixels = self._pixels
        self.video.show(await in_thread(self._service.live_threads, lambda: planes(labelled(scaled(image, pixels)))))


def check_ports(sdp: str) -> None:
    """Refuse candidates that no packet can be sent to; the library finds out when it is too late to say so.

    Raises:
        ValueError: a port is none.
    """
    for media in SessionDescription.parse(sdp).media:
        if any(not 0 < candidate.port < 2**16 for candidate in media.ice_candidates):
            raise ValueError("a candidate's port is none")


def mono(frame: "AudioFrame") -> bytes:
    """A decoded frame's samples, 16 bits, both channels of a stereo one in one: a voice is the same in both."""
    channels = len(frame.layout.channels)
    samples = frame.to_ndarray().reshape(-1, channels)  # aiortc decodes to packed 16-bit samples
    if channels == 1:
        return bytes(samples.astype("<i2").tobytes())
    return bytes((samples.astype(np.int32).sum(axis=1) // channels).astype("<i2").tobytes())
