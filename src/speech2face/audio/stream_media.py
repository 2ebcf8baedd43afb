"""Encoded sound as it arrives, such as a browser's recorder sends it, decoded while it comes.

FFmpeg asks for bytes where it likes, so it runs in a thread of its own that waits for them. Whoever pushes waits until
that thread wants more: nothing piles up between the two, and what a push returns does not depend on the machine's load.
"""

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np

from speech2face.audio.recording import LEAST_PACKET_SECONDS, LOST_SECONDS, OPEN_OPTIONS
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.stream import MAX_CHANNELS, StreamResampler, joined
from speech2face.audio.tags import any_tags
from speech2face.config import MAX_RECORDING_SECONDS
from speech2face.errors import CorruptRecording, InvalidOption, NoAudioStream, RecordingTooLong, Speech2FaceError

Container = Literal["webm", "ogg", "mp4"]
DEMUXERS: dict[str, str] = {"webm": "matroska", "ogg": "ogg", "mp4": "mp4"}  # FFmpeg's names for what reads them
MAX_CHUNK_SECONDS = MAX_RECORDING_SECONDS  # a few kilobytes of silence can claim to be hours
PROBE_BYTES = 64 * 1024  # the header of such a stream is a few hundred bytes; cover pictures are not sent
CLOSING_SECONDS = 10.0


@dataclass(frozen=True)
class Media:
    """Encoded sound in a container that can be read from the front: its kind is stated, never guessed."""

    container: Container = "webm"

    def __post_init__(self) -> None:
        """Refuse what cannot be decoded as a stream.

        Raises:
            InvalidOption: with what is possible.
        """
        if not isinstance(self.container, str) or self.container not in DEMUXERS:
            raise InvalidOption(f'the container "{self.container}" cannot be streamed; send {", ".join(DEMUXERS)}')


class _Feed:
    """A file for FFmpeg whose bytes come from another thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._bytes = bytearray()
        self._ended = False
        self._starving = False
        self._left = False

    def read(self, count: int) -> bytes:
        """For FFmpeg: up to `count` bytes, waiting for the first; none at the end."""
        with self._changed:
            while not self._bytes and not self._ended:
                self._starving = True
                self._changed.notify_all()
                self._changed.wait()
            self._starving = False
            taken = bytes(self._bytes[:count])
            del self._bytes[:count]
            return taken

    def leave(self) -> None:
        """For FFmpeg's thread: it will not read again."""
        with self._changed:
            self._left = True
            self._bytes.clear()
            self._changed.notify_all()

    def give(self, chunk: bytes, *, last: bool = False) -> None:
        """Add bytes and wait until all of them were taken and more are wanted, or nobody reads any more."""
        with self._changed:
            if not self._left:
                self._bytes += chunk
            self._ended = self._ended or last
            self._starving = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._left or (self._starving and not self._bytes))

    def end(self) -> None:
        """No more bytes, and those not yet read are dropped; does not wait."""
        with self._changed:
            self._bytes.clear()
            self._ended = True
            self._changed.notify_all()


class MediaStream:
    """Encoded sound as bytes, cut anywhere."""

    def __init__(self, source: Media) -> None:
        self.source = source
        self._feed = _Feed()
        self._blocks: list[FloatArray] = []
        self._seconds = 0.0  # decoded since the last push
        self._failure: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def push(self, chunk: bytes) -> FloatArray:
        """The next bytes; what could be decoded of all so far, (channels, samples).

        Raises:
            CorruptRecording, NoAudioStream, RecordingTooLong: nothing more can be decoded; the stream has ended then.
        """
        return self._give(chunk, last=False)

    def finish(self) -> FloatArray:
        """The end; what was still on its way, (channels, samples).

        Raises:
            CorruptRecording, NoAudioStream, RecordingTooLong: as for `push`.
        """
        ready = self._give(b"", last=True)
        self.close()
        return ready

    def close(self) -> None:
        """Stop decoding and wait for the thread to end; harmless when done twice."""
        self._closed = True
        self._feed.end()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)

    def _give(self, chunk: bytes, *, last: bool) -> FloatArray:
        if self._closed or not (chunk or last):
            return np.zeros((1, 0), np.float32)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="media-stream", daemon=True)
            self._thread.start()
        self._seconds = 0.0
        self._feed.give(chunk, last=last)
        if self._failure is not None:
            failure = self._failure
            self.close()
            raise failure
        ready, self._blocks = joined(self._blocks), []
        if not np.isfinite(ready).all():
            self.close()
            raise CorruptRecording("the sound holds samples that are not finite numbers; send it again")
        return ready

    def _run(self) -> None:
        import av

        try:
            self._decode()
        except Speech2FaceError as error:
            self._failure = error
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self._failure = CorruptRecording(f"the {self.source.container} stream is damaged: {reason}; send it again")
        except BaseException as error:  # whoever pushes gets it: a thread's own end would be silent
            self._failure = error
        finally:
            self._feed.leave()

    def _decode(self) -> None:
        import av

        options = OPEN_OPTIONS | {"probesize": str(PROBE_BYTES)}
        resampler, lost_seconds = StreamResampler(), 0.0
        demuxer = DEMUXERS[self.source.container]
        with av.open(self._feed, mode="r", format=demuxer, options=options, **any_tags()) as container:
            if not container.streams.audio:
                raise NoAudioStream("the stream has no sound in it; send one with a voice")
            stream = container.streams.audio[0]
            if getattr(stream, "codec_context", None) is None:
                raise CorruptRecording("the stream's codec cannot be decoded; send Opus")
            for packet in container.demux(stream):
                try:
                    frames = stream.decode(packet)
                except av.FFmpegError:
                    lost_seconds += max(float((packet.duration or 0) * (packet.time_base or 0)), LEAST_PACKET_SECONDS)
                    if lost_seconds > LOST_SECONDS:
                        raise
                    continue
                for frame in frames:
                    self._keep(resampler.push(frame))
                if self._closed:
                    return
        self._keep(resampler.finish())

    def _keep(self, block: FloatArray) -> None:
        if len(block) > MAX_CHANNELS:
            raise CorruptRecording(f"the stream has {len(block)} channels; up to {MAX_CHANNELS} can be heard")
        self._blocks.append(block)
        self._seconds += block.shape[1] / SAMPLE_RATE
        if self._seconds > MAX_CHUNK_SECONDS:
            raise RecordingTooLong(f"one piece of the stream holds over {MAX_CHUNK_SECONDS:.0f} s of sound")
