"""A WebRTC peer in a test: it speaks a made voice, and keeps the frames it is shown."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from speech2face.audio.spectrogram import FloatArray
from tests.app.speaking import voice

RATE = 16_000
FRAME = RATE // 50


class SpokenVoice(MediaStreamTrack):
    """A voice said over and over, in 20 ms frames as time goes by."""

    kind = "audio"

    def __init__(self, waveform: FloatArray) -> None:
        super().__init__()
        self._samples = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
        self._started = time.monotonic()
        self._frames = 0

    async def recv(self) -> AudioFrame:
        """The next frame, when it is due."""
        await asyncio.sleep(max(0.0, self._started + self._frames * FRAME / RATE - time.monotonic()))
        places = np.arange(self._frames * FRAME, (self._frames + 1) * FRAME) % self._samples.size
        frame = AudioFrame.from_ndarray(self._samples[places][None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._frames * FRAME, Fraction(1, RATE)
        self._frames += 1
        return frame


class TestPeer:
    """A connection to the service, and what it was shown."""

    __test__ = False

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.frame: Any = None
        self.frames = 0
        self.answer: dict[str, Any] = {}
        self._watching: asyncio.Task[None] | None = None
        self.connection.on("track", self._came)

    def _came(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            self._watching = asyncio.create_task(self._watch(track))

    async def _watch(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                self.frame = await track.recv()
                self.frames += 1
        except MediaStreamError:
            return

    async def call(self, address: str, *, speaks: bool = True, **wishes: Any) -> httpx.Response:
        """Send an offer and take the answer."""
        if speaks:
            self.connection.addTrack(SpokenVoice(voice()))
        self.connection.addTransceiver("video", direction="recvonly")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = {"type": "offer", "sdp": self.connection.localDescription.sdp} | wishes
        async with httpx.AsyncClient(trust_env=False, timeout=180) as client:
            response = await client.post(f"{address}/v1/webrtc/offer", json=offer)
        if response.status_code == 200:
            self.answer = response.json()
            await self.connection.setRemoteDescription(RTCSessionDescription(self.answer["sdp"], "answer"))
        return response

    def image(self) -> np.ndarray:
        """The newest frame, (height, width, 3)."""
        assert self.frame is not None
        image: np.ndarray = self.frame.to_ndarray(format="rgb24")
        return image

    async def close(self) -> None:
        """Leave; a track that was never connected would not end by itself."""
        await self.connection.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])


@asynccontextmanager
async def peer() -> AsyncIterator[TestPeer]:
    """A peer that leaves at the end."""
    made = TestPeer()
    try:
        yield made
    finally:
        await made.close()


async def until(holds: Callable[[], bool], seconds: float = 180.0) -> None:
    """Let others go on until it holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came about"
        await asyncio.sleep(0.02)
