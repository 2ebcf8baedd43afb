"""Recording from the microphone, for `portrait --microphone`: the reading so far is shown while somebody speaks."""

from __future__ import annotations

import queue
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from speech2face.audio.stream import SAMPLE_BYTES
from speech2face.batch import heard_text
from speech2face.console import Bar, note
from speech2face.errors import MissingExtra, UnreadableRecording, need_extra
from speech2face.live import LiveSession, LiveSnapshot, PcmFormat

if TYPE_CHECKING:
    from speech2face.models.contract import Model
    from speech2face.portrait import Portrait

SILENCE_SECONDS: Final = 3.0  # after speech: longer than a breath between two sentences
WAIT_SECONDS: Final = 15.0  # for the first word
LOOK_SECONDS: Final = 0.5  # of sound between two readings on a terminal
LINE_SECONDS: Final = 2.0  # and between two lines elsewhere
TICK_SECONDS: Final = 0.2  # how soon Ctrl-C is noticed where no sound comes


def record_portrait(model: Model, *, samples: int, quiet: bool, **options: Any) -> Portrait:
    """Hear the default microphone until Ctrl-C or silence, and return the portrait of what was said; nothing is kept.

    `options` are those of a `LiveSession`: what is stated, exaggeration, style, seed and voice activity.

    Raises:
        MissingExtra: the extra `microphone`, or the library PortAudio, is not installed.
        UnreadableRecording: there is no microphone, or it cannot be read.
        SilentRecording, NoSpeech, TooLittleSpeech: nobody spoke, or for too short.
    """
    chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with interrupted() as stop, Bar("listening", quiet=quiet, timed=False) as bar:
        with open_microphone(lambda data, *_: chunks.put(bytes(data))) as sample_rate:
            session = LiveSession(model, PcmFormat("s16le", sample_rate), **options)
            if not quiet:
                note(f"speak now; it ends after {SILENCE_SECONDS:.0f} s of silence, or with Ctrl-C")
            _listen(session, chunks, sample_rate, stop, partial(_show, bar, quiet=quiet))
        while stop.is_set() and not chunks.empty():  # said before Ctrl-C, on a machine that is slower than speech
            session.push(chunks.get())
        return session.draw(session.finish(), samples=samples)


def _listen(
    session: LiveSession,
    chunks: queue.SimpleQueue[bytes],
    sample_rate: int,
    stop: Event,
    show: Callable[[LiveSnapshot], None],
) -> None:
    """Give the session what the microphone hears until nobody has spoken for a while, or `stop` is set."""
    pause = LOOK_SECONDS if sys.stderr.isatty() else LINE_SECONDS
    seconds = looked_at = shown_at = spoken_at = heard = 0.0  # all but the last in seconds since the beginning
    while not stop.is_set():
        try:
            chunk = chunks.get(timeout=TICK_SECONDS)
        except queue.Empty:
            continue
        session.push(chunk)
        seconds += len(chunk) / SAMPLE_BYTES["s16le"] / sample_rate
        if seconds - looked_at < LOOK_SECONDS:
            continue
        looked_at, snapshot = seconds, session.snapshot()
        if snapshot.seconds_heard != heard:  # less, where what was taken for speech turned out to be the room
            heard, spoken_at = snapshot.seconds_heard, seconds
        if seconds - shown_at >= pause:
            shown_at = seconds
            show(snapshot)
        if seconds - spoken_at >= (SILENCE_SECONDS if heard else WAIT_SECONDS):
            return


def _show(bar: Bar, snapshot: LiveSnapshot, *, quiet: bool) -> None:
    """The reading so far: beside the bar on a terminal, a new line elsewhere."""
    line = heard_text(snapshot.facts())
    if sys.stderr.isatty() or quiet:
        bar.update(what=line)
    else:
        note(line)


@contextmanager
def open_microphone(take: Callable[..., None]) -> Iterator[int]:
    """Hand 16-bit samples of one channel to `take` while the block runs; yields how many come in a second.

    Raises:
        MissingExtra: the extra `microphone`, or the library PortAudio, is not installed.
        UnreadableRecording: there is no microphone, or it cannot be read.
    """
    need_extra("--microphone", "microphone", ("sounddevice",))
    try:
        import sounddevice
    except OSError as error:
        raise MissingExtra(
            f"--microphone needs the library PortAudio ({error}); on Debian and Ubuntu: apt-get install libportaudio2"
        ) from error
    try:
        stream = sounddevice.RawInputStream(channels=1, dtype="int16", callback=take)
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:  # ValueError: there is no device at all
        reason = " ".join(str(error).split())
        raise UnreadableRecording(f"the microphone cannot be read: {reason}; plug one in, or name a file") from error
    try:
        yield round(stream.samplerate)
    finally:
        stream.close()


@contextmanager
def interrupted() -> Iterator[Event]:
    """An event that the first Ctrl-C sets, so that nothing is torn in the middle; a second one ends the program."""
    asked = Event()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
