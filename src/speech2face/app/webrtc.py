"""Calls by WebRTC: a peer's offer is answered, its voice encoded, and a face shown to it. Needs the extra `calls`."""

import asyncio
import contextlib
import logging
import secrets
from asyncio import sleep, to_thread
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from fractions import Fraction
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from aioice.ice import get_host_addresses
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import SessionDescription
from av import VideoFrame
from fastapi import FastAPI
from PIL import Image

from speech2face.app.calls import Call, CallBook, CallTrack, Offer, TrackOptions, open_track
from speech2face.app.http import Problem, too_many
from speech2face.app.service import Allowance, in_thread, stop
from speech2face.errors import Speech2FaceError
from speech2face.limits import Style
from speech2face.live import LiveMotion, PcmFormat
from speech2face.motion import FRAMES_PER_SECOND as MOVING_FRAMES_PER_SECOND
from speech2face.motion import Pose
from speech2face.portrait import Portrait, check_style
from speech2face.video import SpeakingFace, labelled, planes, speaking_face, waiting_picture

if TYPE_CHECKING:
    from av import AudioFrame
    from numpy.typing import NDArray

    from speech2face.app.http import Reachable
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

    PixelArray = NDArray[np.uint8]

log = logging.getLogger(__name__)
PEERS = ("a", "b")


class Meetings:
    """The WebRTC calls that are on."""

    def __init__(self, service: "Service", book: CallBook) -> None:
        self._service, self._book = service, book
        self._meetings: dict[str, Meeting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, offer: Offer, client: str | None) -> dict[str, str]:
        """Take in a peer whose HTTP connection comes from `client`; the answer to its offer.

        Raises:
            Problem: why not.
            InvalidOption: a style that the model's faces cannot be shown in.
        """
        model = self._service.registry.model(offer.model)
        # Now, and not with the first sound, when nobody waits for an answer any more.
        options = TrackOptions(offer.pixels, offer.exaggerate, check_style(model, offer.style), moves=offer.motion)
        meeting = self._meeting(offer.call or secrets.token_urlsafe(12))
        name = next((each for each in PEERS if each not in meeting.peers), None)
        if name is None:
            raise too_many("two peers are in this call already")
        sees = offer.sees or ("own" if offer.call is None else "other")
        reachable = self._service.settings.access.reachable(client)
        peer = meeting.peers[name] = Peer(name, meeting, model, options, sees, reachable)
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._attend(peer, meeting, offer.sdp, client, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answer = await answered
        for shown in meeting.shown_to(peer):
            if shown.image is not None:
                await peer.see(shown)
        return {"type": "answer", "sdp": answer, "call": meeting.call.name, "peer": name}

    def _meeting(self, name: str) -> "Meeting":
        known = self._meetings.get(name)
        if known is not None and known.call.ended is None and not known.call.deleted:
            return known
        call = Call(name, "webrtc", lambda: None)
        meeting = Meeting(call)
        call.hang_up = meeting.hang_up
        if not self._book.open(call):
            raise Problem(422, "call_exists", "a telephone call of this name is running")
        self._meetings[name] = meeting
        return meeting

    def leave(self, call: str, peer: str) -> None:
        """Hang up a peer whose answer nobody took."""
        meeting = self._meetings.get(call)
        if meeting is not None and peer in meeting.peers:
            meeting.peers[peer].hang_up("peer_gone")

    async def _attend(
        self, peer: "Peer", meeting: "Meeting", sdp: str, client: str | None, answered: asyncio.Future[str]
    ) -> None:
        """The peer's whole stay; its answer, or why there is none, as soon as it is known."""
        try:
            with self._service.slot(lambda: peer.hang_up("shutdown"), client):
                answer = await peer.answer(sdp, self._service)
                if not answered.cancelled():
                    answered.set_result(answer)
                await peer.run(self._book)
        except Exception as failure:
            if meeting.peers.get(peer.name) is peer:  # another may have its place by now
                del meeting.peers[peer.name]
            if not answered.done():
                if not meeting.peers and not meeting.call.voices:
                    self._book.drop(meeting.call)
                answered.set_exception(failure)
            elif not answered.cancelled():
                log.exception("a peer's stay failed")
        finally:
            if not meeting.peers and self._meetings.get(meeting.call.name) is meeting:
                del self._meetings[meeting.call.name]


def meetings_of(app: FastAPI) -> Meetings:
    """The application's WebRTC calls, of which there are none at first."""
    if not hasattr(app.state, "meetings"):
        app.state.meetings = Meetings(app.state.service, app.state.calls)
    meetings: Meetings = app.state.meetings
    return meetings


# --- One browser, or any other WebRTC peer: its voice is heard, and a face comes back as video.

UPDATES_PER_SECOND = 1.0
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

    def __init__(
        self,
        name: str,
        meeting: Meeting,
        model: "Model",
        options: TrackOptions,
        sees: Sees,
        reachable: "Reachable",
    ) -> None:
        """Args: `options.pixels` is the video's width; the portrait that is polled keeps the model's."""
        self.name, self.sees, self._reachable = name, sees, reachable
        self._pixels = options.pixels or VIDEO_PIXELS
        self.video = PortraitVideo(self._pixels)
        self.image: NDArray[np.uint8] | None = None  # its newest portrait, (height, width, 3)
        self.moving = MovingFace()
        self._meeting, self._model = meeting, model
        self._options = replace(options, pixels=None)
        self._hung_up = asyncio.Event()
        self._connected = False
        self._settled = asyncio.Event()  # connected, or hung up before
        self._reason = "deleted"
        self._reading: asyncio.Task[None] | None = None
        self._encoding: asyncio.Task[None] | None = None
        self._track: CallTrack | None = None

    def hang_up(self, reason: str = "deleted") -> None:
        """End the connection."""
        if not self._hung_up.is_set():
            self._reason = reason
            self._hung_up.set()
            self._settled.set()

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
            await self._release()
            raise
        return str(self.connection.localDescription.sdp)

    async def _agree(self, sdp: str) -> None:
        try:
            sdp = allowed_offer(sdp, self._reachable)
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            self._check_transports()
            self._bound_packets()
            if not any(each.kind == "video" for each in self.connection.getTransceivers()):
                raise Problem(422, "no_video", "the offer has no video to receive; add a transceiver for it")
            self.connection.addTrack(self.video)
            self._take_one_voice()
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

    def _bound_packets(self) -> None:
        """Drop what comes too fast, and ICE checks from elsewhere, which readers of the answer can send for others."""
        limits = self._service.limits
        allowance = Allowance(limits.packets_per_second, limits.packet_burst)
        connections: set[Any] = {
            each.receiver.transport.transport._connection for each in self.connection.getTransceivers()
        }
        for ice in connections:

            def received(data: bytes, component: int, take: Any = ice.data_received) -> None:
                if allowance.admits(monotonic()):
                    take(data, component)

            def asked(message: Any, address: tuple[str, int], *more: Any, take: Any = ice.request_received) -> None:
                allowed = address[0] in self._reachable or self._is_here(address[0])
                if allowed and allowance.admits(monotonic()):
                    take(message, address, *more)

            ice.data_received, ice.request_received = received, asked

    def _is_here(self, host: str) -> bool:
        """Whether the peer is on this machine, and this is one of its addresses."""
        on_loopback = any(address.is_loopback for address in self._reachable.own)
        return on_loopback and host in get_host_addresses(use_ipv4=True, use_ipv6=True)

    def _take_one_voice(self) -> None:
        """Agree to one voice and our own video: of more, decoded frames would pile up that nobody looks at."""
        heard = False
        for transceiver in self.connection.getTransceivers():
            if transceiver.kind == "audio" and not heard:
                heard, transceiver.direction = True, "recvonly"
            else:
                shows = transceiver.sender.track is self.video
                transceiver.direction = "sendonly" if shows else "inactive"

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
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            self.hang_up("unreachable")
        return self._connected

    async def _finish(self, book: CallBook) -> None:
        self._meeting.peers.pop(self.name, None)
        await self._release()
        if self._track is not None:
            await self._track.finish(kept=not self._meeting.call.deleted)
        if not self._meeting.peers:
            book.close(self._meeting.call, self._reason)
        self._service.metrics.count("speech2face_calls_closed_total", kind="webrtc", reason=self._reason)
        log.info("peer", extra={"data": {"reason": self._reason}})

    async def _release(self) -> None:
        """No more is read; what has come is encoded. A track that was never connected would not end by itself."""
        await self._close_connection()
        if self._reading is not None:
            await stop(self._reading)
        if self._track is not None and self._encoding is not None:
            await self._track.buffer.end()
            await self._encoding

    async def _close_connection(self) -> None:
        self.video.stop()
        # AttributeError: of a description that was refused half way, before any socket was opened.
        with contextlib.suppress(ConnectionError, OSError, AttributeError):
            await self.connection.close()

    def _state_changed(self) -> None:
        state = self.connection.connectionState
        if state == "connected":
            self._connected = True
            self._settled.set()
        elif state == "failed":
            self.hang_up("peer_gone" if self._connected else "unreachable")
        elif state == "closed":
            self.hang_up("peer_gone")

    def _track_came(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._reading is None:
            self._reading = asyncio.create_task(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        """The peer's voice, until it ends; what keeps it from being heard ends the peer's stay, which shows no face."""
        try:
            await self._hear(track)
        except Speech2FaceError:
            self.hang_up("unusable_sound")
        except Exception:
            log.exception("a peer's voice cannot be read")
            self.hang_up("internal")

    async def _hear(self, track: MediaStreamTrack) -> None:
        rate = 0
        while (frame := await self._frame(track)) is not None:
            if self._track is None:
                rate = frame.sample_rate
                source = PcmFormat("s16le", rate, 1)
                if self._options.moves:
                    self.moving.listen(source)
                self._track = await open_track(self._model, source, self._options, self._service)
                self._meeting.call.voices[self.name] = self._track.voice
                self._encoding = asyncio.create_task(self._encode(self._track))
            if frame.sample_rate == rate:
                sound = mono(frame)
                self.moving.hear(sound, self._service.live_threads)
                await self._track.buffer.offer(sound)
        if self._track is not None:
            await self._track.buffer.end()

    async def _frame(self, track: MediaStreamTrack) -> Any:
        try:
            async with asyncio.timeout(self._service.limits.idle_seconds):
                return await track.recv()
        except MediaStreamError:
            return None
        except TimeoutError:
            self.hang_up("idle")
            return None

    async def _encode(self, track: CallTrack) -> None:
        try:
            await track.encode(UPDATES_PER_SECOND, self._show_to_all)
        except Speech2FaceError:
            self.hang_up("unusable_sound")
        except Exception:
            log.exception("a peer's voice cannot be encoded")
            self.hang_up("internal")

    async def _show_to_all(self) -> None:
        """The portrait so far, to everybody who sees this peer."""
        assert self._track is not None
        portrait = await in_thread(self._service.live_threads, self._track.voice.portrait)
        if portrait is None:
            return
        self.image = portrait.image
        await in_thread(self._service.live_threads, lambda: self.moving.show(self._model, portrait))
        for viewer in tuple(self._meeting.peers.values()):
            if self in self._meeting.shown_to(viewer):
                await viewer.see(self)

    async def see(self, shown: "Peer") -> None:
        """Show this peer another's portrait, or its own, labelled, at the size it asked for; a drawn one moves."""
        pixels, image = self._pixels, shown.image
        assert image is not None
        if shown.moving.face is not None:
            self.video.watch(shown.moving)
        else:
            picture = await in_thread(self._service.live_threads, lambda: planes(labelled(scaled(image, pixels))))
            self.video.show(picture)


MOST_SECTIONS: Final = 4  # of an offer; each may open sockets
MOST_STATED: Final = 128  # candidates in an offer; a browser states some ten a section
MOST_CANDIDATES: Final = 16  # of them that are tried
CANDIDATE: Final = "a=candidate:"
ALL_STATED: Final = "a=end-of-candidates"


def allowed_offer(sdp: str, reachable: "Reachable") -> str:
    """An offer without the candidates that lead elsewhere than to `reachable` addresses; the first few of the rest.

    They go before the library sees them: it would send packets to each, and ask the network for names.

    Raises:
        Problem: 422, more sections or candidates than a call needs, or a data channel.
        ValueError: a port is none; the library finds out when it is too late to say so.
    """
    lines = sdp.splitlines()  # as the library cuts them
    stated = [line for line in lines if line.startswith(CANDIDATE)]
    media = SessionDescription.parse(sdp).media
    if len(media) > MOST_SECTIONS or len(stated) > MOST_STATED:
        text = f"an offer may have {MOST_SECTIONS} sections and {MOST_STATED} candidates"
        raise Problem(422, "bad_offer", f"{text}; this one has {len(media)} and {len(stated)}")
    if any(each.kind not in ("audio", "video") for each in media):
        raise Problem(422, "bad_offer", "a call has sound and video alone here; leave data channels out of the offer")
    if any(not 0 < candidate.port < 2**16 for each in media for candidate in each.ice_candidates):
        raise ValueError("a candidate's port is none")
    kept = [line for line in dict.fromkeys(stated) if _host_of(line) in reachable][:MOST_CANDIDATES]
    # What was said to be the end is none where some were left out: the peer's own checks say where it is.
    gone = {*stated, ALL_STATED}.difference(kept) if len(kept) < len({*stated}) else set()
    offer = "\r\n".join(line for line in lines if line.rstrip() not in gone and line not in gone) + "\r\n"
    left = [candidate for each in SessionDescription.parse(offer).media for candidate in each.ice_candidates]
    if any(candidate.ip not in reachable for candidate in left):
        raise ValueError("a candidate that is written in two ways")
    log.info("offer", extra={"data": {"candidates": len(stated), "left_out": len(stated) - len(left)}})
    return offer


def _host_of(candidate: str) -> str:
    """The address that a line of a candidate states (RFC 8839, section 5.1); empty where it states none."""
    words = candidate.split()
    return words[4] if len(words) > 4 else ""


def mono(frame: "AudioFrame") -> bytes:
    """A decoded frame's samples, 16 bits, both channels of a stereo one in one: a voice is the same in both."""
    channels = len(frame.layout.channels)
    samples = frame.to_ndarray().reshape(-1, channels)  # aiortc decodes to packed 16-bit samples
    if channels == 1:
        return bytes(samples.astype("<i2").tobytes())
    return bytes((samples.astype(np.int32).sum(axis=1) // channels).astype("<i2").tobytes())


# --- A portrait as a moving picture: a small, steady number of frames a second, one portrait fading into the next.

FRAMES_PER_SECOND: Final = 8  # of a still portrait: a fade of six steps; each costs an encoding
FADE_SECONDS: Final = 0.75
VIDEO_PIXELS: Final = 320
CLOCK: Final = 90_000  # RFC 3551: video's time stamps


def scaled(image: "PixelArray", pixels: int) -> "PixelArray":
    """A square picture at the video's width; at video sizes nobody tells this filter from a slower one."""
    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.BILINEAR))


class MovingFace:
    """The face of a peer's voice, and how it is held just now."""

    def __init__(self) -> None:
        self.face: SpeakingFace | None = None
        self.pose = Pose()
        self._motion: LiveMotion | None = None
        self._unheard, self._most_unheard = bytearray(), 0  # a second: lips that come later are of another word
        self._step: Future[None] | None = None

    def listen(self, source: PcmFormat) -> None:
        """Begin to move with sound of this format."""
        self._motion, self._most_unheard = LiveMotion(source), source.sample_rate * source.frame_bytes

    def hear(self, sound: bytes, executor: Executor) -> None:
        """Take the next sound: a worker thread finds the pose, one step at a time, in all that came by then."""
        if self._motion is None:
            return
        self._unheard += sound
        if self._step is None or self._step.done():
            heard, self._unheard = bytes(self._unheard[-self._most_unheard :]), bytearray()
            self._step = executor.submit(self._move, self._motion, heard)

    def _move(self, motion: LiveMotion, sound: bytes) -> None:
        if len(poses := motion.push(sound)):
            self.pose = Pose.of(poses[-1])

    def show(self, model: "Model", portrait: Portrait) -> None:
        """Take another portrait of the voice; one that cannot be moved stays as it is."""
        if self._motion is not None and Style.drawn in model.styles:
            self.face = speaking_face(model, portrait, self.face)

    def planes(self, pixels: int) -> "PixelArray | None":
        """The face as it is held now, for a video so wide."""
        return None if self.face is None else planes(self.face.frame(self.pose, pixels, place="bottom"))


class PortraitVideo(MediaStreamTrack):
    """A video track whose picture is set from outside; frames come at a steady pace, whoever asks for them."""

    kind = "video"

    def __init__(self, pixels: int = VIDEO_PIXELS) -> None:
        super().__init__()
        self._pixels = pixels
        self._watched: MovingFace | None = None
        self._frames_per_second = FRAMES_PER_SECOND
        self._time = 0  # of the next frame, by `CLOCK`
        self._shown = self._wanted = planes(waiting_picture(pixels))
        self._fading_since: float | None = None
        self._started: float | None = None

    def watch(self, moving: MovingFace) -> None:
        """From now on show a face that moves, with more frames a second."""
        self._watched, self._frames_per_second = moving, MOVING_FRAMES_PER_SECOND

    def show(self, picture: "PixelArray") -> None:
        """Fade to a picture that `planes` made."""
        now = monotonic()
        self._shown, self._wanted, self._fading_since = self._mixed(now), picture, now

    def _mixed(self, now: float) -> "PixelArray":
        """Current frame: a cross-fade of the last two portraits."""
        if self._fading_since is None:
            return self._wanted
        share = (now - self._fading_since) / FADE_SECONDS
        if share >= 1:
            self._fading_since = None
            return self._wanted
        weight = round(256 * share)
        mixed = self._shown.astype(np.uint16) * (256 - weight) + self._wanted.astype(np.uint16) * weight
        return (mixed >> 8).astype(np.uint8)

    async def recv(self) -> VideoFrame:
        """The next frame, when it is due.

        Raises:
            MediaStreamError: the track was stopped.
        """
        if self.readyState != "live":
            raise MediaStreamError
        now = monotonic()
        if self._started is None:
            self._started = now
        due = self._started + self._time / CLOCK
        if now - due > 1.0:  # the process was held up: no burst of frames afterwards
            self._started += now - due
            due = now
        await sleep(max(0.0, due - now))
        picture = None
        if self._watched is not None:  # in a thread: it is a third of the time to the next frame
            picture = await to_thread(self._watched.planes, self._pixels)
        frame = VideoFrame.from_ndarray(self._mixed(monotonic()) if picture is None else picture, format="yuv420p")
        frame.pts, frame.time_base = self._time, Fraction(1, CLOCK)
        self._time += CLOCK // self._frames_per_second
        return frame
