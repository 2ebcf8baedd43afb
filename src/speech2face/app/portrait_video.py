"""A portrait as a moving picture: a small, steady number of frames a second, one portrait fading into the next."""

from asyncio import sleep
from fractions import Fraction
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

FRAMES_PER_SECOND: Final = 8  # a fade of six steps; each costs an encoding
FADE_SECONDS: Final = 0.75
VIDEO_PIXELS: Final = 320
CLOCK: Final = 90_000  # RFC 3551: video's time stamps
LABEL: Final = "synthetic average face"
LABEL_GROUND: Final = (45, 50, 54)
WAITING: Final = "no voice yet"
GROUND: Final = (213, 217, 218)  # that of the page's empty stage


@lru_cache(maxsize=8)
def label(pixels: int, text: str) -> "Pixels":
    """White text on a dark ground for the lower left corner of a picture so wide, (height, width, 3)."""
    size = max(11, pixels // 20)
    margin = size // 3
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    picture = Image.new("RGB", (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin), LABEL_GROUND)
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, font=font, anchor="ls", fill=(255, 255, 255))
    return np.asarray(picture)


def labelled(image: "Pixels", text: str = LABEL) -> "Pixels":
    """A picture, (height, width, 3), with a line of text in its lower left corner, which a screenshot does not lose."""
    picture = image.copy()
    patch = label(len(image), text)[:, : len(image)]
    left = len(image) // 40
    bottom = len(image) - left
    picture[bottom - len(patch) : bottom, left : left + patch.shape[1]] = patch[:, : picture.shape[1] - left]
    return picture


def scaled(image: "Pixels", pixels: int) -> "Pixels":
    """A square picture at the video's width; at video sizes nobody tells this filter from a slower one."""
    return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.BILINEAR))


def planes(image: "Pixels") -> "Pixels":
    """A picture, (height, width, 3) RGB, as a video encoder wants it: (height * 3 / 2, width), YUV 4:2:0."""
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    converted: NDArray[Any] = frame.reformat(format="yuv420p").to_ndarray()
    return converted.astype(np.uint8, copy=False)


def waiting_picture(pixels: int = VIDEO_PIXELS) -> "Pixels":
    """What is shown before there is a portrait."""
    return labelled(np.full((pixels, pixels, 3), GROUND, np.uint8), WAITING)


class PortraitVideo(MediaStreamTrack):
    """A video track whose picture is set from outside; frames come at a steady pace, whoever asks for them."""

    kind = "video"

    def __init__(self, pixels: int = VIDEO_PIXELS) -> None:
        super().__init__()
        self._shown = self._wanted = planes(waiting_picture(pixels))
        self._fading_since: float | None = None
        self._started: float | None = None
        self._frames = 0

    def show(self, picture: "Pixels") -> None:
        """Fade to a picture that `planes` made."""
        now = monotonic()
        self._shown, self._wanted, self._fading_since = self._mixed(now), picture, now

    def _mixed(self, now: float) -> "Pixels":
        """What is to be seen now."""
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
        due = self._started + self._frames / FRAMES_PER_SECOND
        if now - due > 1.0:  # the process was held up: no burst of frames afterwards
            self._started += now - due
            due = now
        await sleep(max(0.0, due - now))
        frame = VideoFrame.from_ndarray(self._mixed(monotonic()), format="yuv420p")
        frame.pts, frame.time_base = self._frames * CLOCK // FRAMES_PER_SECOND, Fraction(1, CLOCK)
        self._frames += 1
        return frame
