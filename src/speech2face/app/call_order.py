"""One track's frames of sound in order: those out of order sorted, those twice dropped, those lost made good."""

from collections import OrderedDict
from typing import Final

from speech2face.app.call_platforms import TELEPHONE_RATE, Sound

WINDOW_CHUNKS: Final = 10  # frames that wait for an earlier one: 200 ms, beyond which it is given up
FOLLOWS_MS: Final = 10  # a frame whose time is this near the last one's end follows it, whatever its number
JITTER_MS: Final = 40  # time stamps of two frames may be this far off before time is missing
MAX_FILL_MS: Final = 1000  # a longer pause tells no more
SILENCE: Final = {"audio/x-mulaw": b"\xff", "audio/x-alaw": b"\xd5", "audio/x-l16": b"\0\0"}  # one sample
REMEMBERED_LOST: Final = 256


class TrackOrder:
    """Frames in as they come, bytes out in the order they were spoken.

    A frame is the next one by its number, or by its time: where a platform counts over both tracks, or leaves numbers
    out, nothing is missing. What is lost becomes as much silence as the time stamps say, so that a pause stays a pause.
    """

    def __init__(self, encoding: Sound = "audio/x-mulaw", sample_rate: int = TELEPHONE_RATE) -> None:
        self._silence = SILENCE[encoding]
        self._samples_per_ms = sample_rate / 1000
        self.bytes_per_second = sample_rate * len(self._silence)
        self._next: int | None = None
        self._clock_ms: float = 0.0  # where the next sample is, by the time stamps
        self._waiting: dict[int, tuple[int, bytes]] = {}  # time stamp in ms and sound, by number
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self.received = self.lost = self.late = self.repeated = 0
        self.filled_ms = 0.0

    def push(self, chunk: int | None, timestamp_ms: int | None, sound: bytes) -> bytes:
        """One frame; all sound that is in order now, often none or one frame, silence included.

        A frame without number or time is as it came.
        """
        self.received += 1
        if chunk is None or timestamp_ms is None:
            return self.flush() + sound
        if self._next is None:
            self._next = 1 if chunk in range(1, WINDOW_CHUNKS) else chunk
            self._clock_ms = max(0, timestamp_ms - 20 * (chunk - self._next))
        if chunk < self._next:
            if chunk in self._given_up:
                del self._given_up[chunk]
                self.late += 1
            else:
                self.repeated += 1
            return b""
        if chunk in self._waiting:
            self.repeated += 1
            return b""
        self._waiting[chunk] = (timestamp_ms, sound)
        return self._ready()

    def flush(self) -> bytes:
        """The end: all that still waits, in order."""
        ready = b""
        while self._waiting:
            ready += self._take(min(self._waiting))
        return ready

    def counts(self) -> dict[str, float]:
        """How the frames came, JSON-ready."""
        return {
            "frames": self.received,
            "lost": self.lost,
            "late": self.late,
            "repeated": self.repeated,
            "silence_seconds": round(self.filled_ms / 1000, 2),
        }

    def _ready(self) -> bytes:
        ready = b""
        while self._waiting:
            first = min(self._waiting)
            follows = abs(self._waiting[first][0] - self._clock_ms) <= FOLLOWS_MS
            if first != self._next and not follows and len(self._waiting) <= WINDOW_CHUNKS:
                break
            ready += self._take(first)
        return ready

    def _take(self, chunk: int) -> bytes:
        timestamp_ms, sound = self._waiting.pop(chunk)
        assert self._next is not None
        missing_ms = timestamp_ms - self._clock_ms
        if chunk > self._next and missing_ms > FOLLOWS_MS:
            self._give_up(self._next, chunk)
        self._next = chunk + 1
        fill_ms = 0.0
        if missing_ms > JITTER_MS or (missing_ms > FOLLOWS_MS and chunk - 1 in self._given_up):
            fill_ms = min(missing_ms, MAX_FILL_MS)
            self._clock_ms += missing_ms
        elif missing_ms < -MAX_FILL_MS:  # the sender's clock was set back
            self._clock_ms = timestamp_ms
        self.filled_ms += fill_ms
        self._clock_ms += 1000 * len(sound) / self.bytes_per_second
        return self._silence * round(fill_ms * self._samples_per_ms) + sound

    def _give_up(self, first: int, end: int) -> None:
        self.lost += end - first
        for chunk in range(max(first, end - REMEMBERED_LOST), end):
            self._given_up[chunk] = None
        while len(self._given_up) > REMEMBERED_LOST:
            self._given_up.popitem(last=False)
