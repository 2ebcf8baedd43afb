"""The speech of a record: Speech2Face (Oh et al., CVPR 2019), section 3.1, takes 6 s from the start of the clip.

Only the span is decoded. It is kept as it is where it is shorter: whoever reads the clip repeats it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.audio.activity import SILENCE_RMS, find_speech
from speech2face.audio.completeness import declared_seconds
from speech2face.audio.recording import LEAST_PACKET_SECONDS, LOST_SECONDS
from speech2face.audio.resampling import ChannelResampler, mix
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.data.media import Media, Rejected
from speech2face.errors import CorruptRecording, RecordingTooLong

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

PREROLL_SECONDS = 0.3  # decoded before the span and thrown away: AAC and Opus need some packets to find their feet
ROOM_SECONDS = 60.0  # a frame may be that much longer than the span (raw formats); no memory limit is met before


@dataclass(frozen=True)
class Span:
    """A stretch of a media in seconds; `stop_seconds` is None where it goes to the end."""

    start_seconds: float = 0.0
    stop_seconds: float | None = None

    def at_most(self, seconds: float) -> float:
        """Its length, limited."""
        return seconds if self.stop_seconds is None else min(seconds, self.stop_seconds - self.start_seconds)


def read_speech(media: Media, span: Span, seconds: float) -> FloatArray:
    """The first `seconds` of the span, (samples,) mono float32 in [-1, 1] at 16 kHz; shorter where the span is.

    Raises:
        Rejected: no_audio; unreadable where it is damaged; too_short where the file ends before the span does.
    """
    stream = _stream(media)
    wanted_seconds = span.at_most(seconds)
    channels, began = _decoded(media, stream, span.start_seconds, span.start_seconds + wanted_seconds)
    skipped = max(0, round((span.start_seconds - began) * SAMPLE_RATE))
    channels = channels[:, skipped : skipped + round(wanted_seconds * SAMPLE_RATE)]
    if channels.shape[1] == 0:
        raise Rejected("no_audio", f"{media.place} has no sound from {span.start_seconds:g} s on")
    if not np.isfinite(channels).all():
        raise Rejected("unreadable", f"{media.place} holds samples that are not finite numbers")
    _check_length(media, stream, span, wanted_seconds, channels.shape[1] / SAMPLE_RATE)
    return mix(channels)


def check_speech(waveform: FloatArray, min_speech_seconds: float) -> None:
    """Refuse what nobody can be heard in; 0 asks for no more than sound.

    Raises:
        Rejected: silent, no_speech.
    """
    level = float(np.std(waveform, dtype=np.float64))  # direct current is no sound
    if level < SILENCE_RMS:
        raise Rejected("silent", f"the loudness is {20 * math.log10(max(level, 1e-9)):.0f} dBFS")
    if min_speech_seconds > 0:
        heard = find_speech(waveform).seconds
        if heard < min_speech_seconds:
            raise Rejected("no_speech", f"{heard:.1f} s of speech in {waveform.size / SAMPLE_RATE:.1f} s")


def _stream(media: Media) -> AudioStream:
    streams = media.container.streams.audio
    if not streams:
        raise Rejected("no_audio", f"{media.place} has no sound in it ({media.container.format.long_name})")
    if getattr(streams[0], "codec_context", None) is None:  # against PyAV's own annotation
        raise Rejected("unreadable", f"{media.place} holds sound in a codec that cannot be decoded")
    return streams[0]


def _decoded(media: Media, stream: AudioStream, start: float, stop: float) -> tuple[FloatArray, float]:
    """All channels at 16 kHz, (channels, samples), from a frame at or before the start; and when that frame begins."""
    import av

    resampler = ChannelResampler(media.place, stop - start + ROOM_SECONDS)
    began: float | None = None
    try:
        for frame, seconds in _frames(media, stream, start):
            if seconds >= stop:
                break
            if seconds + frame.samples / max(frame.sample_rate, 1) > start:
                began = seconds if began is None else began
                resampler.add(frame)
        return resampler.finish(), start if began is None else began
    except (av.FFmpegError, CorruptRecording, RecordingTooLong) as error:
        raise Rejected("unreadable", f"{media.place} is damaged: {error}") from error


def _frames(media: Media, stream: AudioStream, start: float) -> Any:
    """Frames from somewhat before the start on, with the second at which each begins."""
    import av

    tick = float(stream.time_base or 0)
    if start > PREROLL_SECONDS and tick > 0:
        _seek(media, stream, start - PREROLL_SECONDS)
    lost, follows = 0.0, 0.0
    for packet in media.container.demux(stream):
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            lost += max((packet.duration or 0) * tick, LEAST_PACKET_SECONDS)
            if lost > LOST_SECONDS:
                raise
            continue
        for frame in frames:
            # Frames without a time follow the one before; the first of a file begins with it.
            seconds = follows if frame.time is None else frame.time - media.begins_seconds
            follows = seconds + frame.samples / max(frame.sample_rate, 1)
            yield frame, seconds


def _seek(media: Media, stream: Any, seconds: float) -> None:
    """To a place at or before; where that cannot be done reading goes on from where it is."""
    import av

    ticks = round((seconds + media.begins_seconds) / float(stream.time_base))
    try:
        media.container.seek(ticks, stream=stream, backward=True)
    except av.FFmpegError:
        media.container.seek(0)


def _check_length(media: Media, stream: AudioStream, span: Span, wanted: float, found: float) -> None:
    """A file that ends before its own header, or before the span its source names, is not whole."""
    if found >= wanted - LOST_SECONDS:
        return
    if span.stop_seconds is None:
        declared = declared_seconds(media.container, stream, media.file)  # type: ignore[arg-type]
        wanted = min(wanted, (declared or 0.0) - span.start_seconds)
    if found < wanted - LOST_SECONDS:
        raise Rejected("too_short", f"{media.place} has {found:.1f} s of sound where {wanted:.1f} s should be")
