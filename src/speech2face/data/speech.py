"""The speech of a record: Speech2Face (Oh et al., CVPR 2019), section 3.1, takes 6 s from the start of the clip.

Only the span is decoded. It is kept as it is where it is shorter: whoever reads the clip repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from speech2face.audio.activity import SILENCE_RMS, find_speech
from speech2face.audio.completeness import declared_seconds, declares_for_all_streams
from speech2face.audio.recording import LEAST_PACKET_SECONDS, LOST_SECONDS
from speech2face.audio.resampling import ChannelResampler, mix
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.tracks import tracks_by_preference
from speech2face.data.media import Media, Rejected
from speech2face.data.packets import reach_seconds, read_packets
from speech2face.errors import CorruptRecording, NoAudioStream, NotMedia, RecordingTooLong

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream

PREROLL_SECONDS = 0.3  # decoded before the span and thrown away: AAC and Opus need some packets to find their feet
ROUNDING_SECONDS = 0.005  # so much more is decoded: time stamps of a millisecond, and a resampler that rounds
ROOM_SECONDS = 60.0  # a frame may be that much longer than the span (raw formats); no memory limit is met before


@dataclass(frozen=True)
class Span:
    """A stretch of a media in seconds; `stop_seconds` is None where it goes to the end."""

    start_seconds: float = 0.0
    stop_seconds: float | None = None

    def at_most(self, seconds: float) -> float:
        """Its length, limited."""
        return seconds if self.stop_seconds is None else min(seconds, self.stop_seconds - self.start_seconds)


def read_speech(media: Media, span: Span, seconds: float, *, track: int | None = None) -> FloatArray:
    """The first `seconds` of sound in the span, (samples,) mono float32 in [-1, 1] at 16 kHz; shorter where it is.

    Sound may begin after the span does, and have gaps: what a source's span holds is taken, up to its end. `track` is
    one of `sound_tracks`; without it, the first of them is read.

    Raises:
        Rejected: no_audio; unreadable where it is damaged; too_short where the file ends before the span does.
    """
    stream = cast("AudioStream", media.container.streams[sound_tracks(media)[0] if track is None else track])
    stop = math.inf if span.stop_seconds is None else span.stop_seconds
    heard = _decoded(media, stream, Span(span.start_seconds, stop), span.at_most(seconds))
    channels = heard.channels
    if channels.shape[1] == 0:
        raise Rejected("no_audio", f"{media.place} has no sound from {span.start_seconds:g} s on")
    if not np.isfinite(channels).all():
        raise Rejected("unreadable", f"{media.place} holds samples that are not finite numbers")
    _check_length(media, stream, span, span.at_most(seconds), heard)
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


def sound_tracks(media: Media) -> list[int]:
    """Numbers of the streams of sound that can be decoded, in the order in which players would choose.

    Raises:
        Rejected: no_audio, unreadable, where there is none.
    """
    try:
        return [stream.index for stream in tracks_by_preference(media.container, media.place)]
    except NoAudioStream:
        raise Rejected("no_audio", f"{media.place} has no sound in it ({media.container.format.long_name})") from None
    except NotMedia:
        raise Rejected("unreadable", f"{media.place} holds sound in a codec that cannot be decoded") from None


@dataclass(frozen=True, eq=False)
class _Heard:
    """Sound of a span, (channels, samples) at 16 kHz, and the seconds of the media at which it begins and ends."""

    channels: FloatArray
    began: float
    ended: float


def _decoded(media: Media, stream: AudioStream, span: Span, seconds: float) -> _Heard:
    """All channels of the first `seconds` of sound inside the span."""
    import av

    assert span.stop_seconds is not None
    resampler = ChannelResampler(media.place, seconds + ROOM_SECONDS)
    first: float | None = None  # when the first frame begins, which may be before the span
    gathered, ended = 0.0, span.start_seconds
    try:
        for frame, at in _frames(media, stream.index, span.start_seconds):
            length = frame.samples / max(frame.sample_rate, 1)
            if at >= span.stop_seconds:
                break
            if at + length > span.start_seconds:
                first = at if first is None else first
                resampler.add(frame)
                gathered, ended = gathered + length, at + length
            if first is not None and gathered >= seconds + max(0.0, span.start_seconds - first) + ROUNDING_SECONDS:
                break
        channels = resampler.finish()
    except (av.FFmpegError, CorruptRecording, RecordingTooLong) as error:
        raise Rejected("unreadable", f"{media.place} is damaged: {error}") from error
    first = span.start_seconds if first is None else first
    skipped = max(0, round((span.start_seconds - first) * SAMPLE_RATE))
    beyond = max(0, round((ended - span.stop_seconds) * SAMPLE_RATE)) if math.isfinite(span.stop_seconds) else 0
    channels = channels[:, : channels.shape[1] - beyond][:, skipped : skipped + round(seconds * SAMPLE_RATE)]
    return _Heard(channels, max(first, span.start_seconds), ended)


def _frames(media: Media, stream: int, start: float) -> Iterator[tuple[AudioFrame, float]]:
    """Frames from somewhat before the start on, with the second at which each begins."""
    import av

    lost, follows = 0.0, 0.0
    for packet in read_packets(media, stream, max(0.0, start - PREROLL_SECONDS)):
        decoder = cast("AudioStream", packet.stream).codec_context
        tick = float(packet.time_base or 0)
        try:
            frames = decoder.decode(packet)
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


def _check_length(media: Media, stream: AudioStream, span: Span, wanted: float, heard: _Heard) -> None:
    """A file that ends before its own header, or before the span its source names, is not whole."""
    found = heard.channels.shape[1] / SAMPLE_RATE
    if found >= wanted - LOST_SECONDS:
        return
    end = span.stop_seconds
    if end is None:
        position = media.file.tell()  # FFmpeg goes on reading where it stopped
        declared = declared_seconds(media.container, stream, media.file)  # type: ignore[arg-type]
        media.file.seek(position)
        end = 0.0 if declared is None else _begins(media, stream) + declared
    if heard.ended >= end - LOST_SECONDS or _others_reach(media, end):
        return
    wanted = min(wanted, end - heard.began)
    raise Rejected("too_short", f"{media.place} has {found:.1f} s of sound where {wanted:.1f} s should be")


def _begins(media: Media, stream: AudioStream) -> float:
    """When the length that a header states begins to count: with the stream; in Matroska with stamp 0, or later."""
    if declares_for_all_streams(media.container):
        return min(0.0, -media.begins_seconds)
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base) - media.begins_seconds


def _others_reach(media: Media, end: float) -> bool:
    """Whether the file is whole though its sound ends early: the pictures go on to the end it states."""
    return bool(media.container.streams.video) and reach_seconds(media) >= end - LOST_SECONDS
