"""Any recording a user may have becomes one waveform here: mono float32 in [-1, 1] at 16 kHz.

Decoding and resampling are FFmpeg's, through PyAV. The content decides what a recording is, never its file name.

A recording that stops before its header says so is refused, not used in part: a portrait of half a recording would
look like one of the whole. Formats that declare no length (a live Ogg stream, raw AMR, an MP3 without its length tag)
cannot be told from a shorter recording and are read as far as they go.
"""

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.arguments import BytesLike, PathLike, plain_source
from speech2face.audio.array import array_and_rate, checked_waveform, decode_array, is_array, is_array_with_rate
from speech2face.audio.completeness import declared_seconds, declares_for_all_streams, ends_inside_ogg_page
from speech2face.audio.resampling import ChannelResampler, mix
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.tags import any_tags
from speech2face.config import MAX_PIPED_BYTES, MAX_RECORDING_SECONDS
from speech2face.errors import (
    CorruptRecording,
    EmptyRecording,
    NoAudioStream,
    NotMedia,
    RecordingNotFound,
    RecordingTooLong,
    Speech2FaceError,
    UnreadableRecording,
)

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

Samples = NDArray[Any] | Sequence[Any]
Source = PathLike | BytesLike | BinaryIO | tuple[Any, Any] | Samples
"""A path, the bytes of a file, a binary file, or an array of samples and its rate in a tuple."""

LOST_SECONDS = 0.5  # what may be missing or undecodable: encoder padding and one bad packet, not a word
LEAST_PACKET_SECONDS = 0.02  # what a bad packet without a stated length is counted as
LOST_SHARE = 0.02  # ... or this share of the declared length, for headers that round
# FFmpeg opens other files and addresses named inside playlists; a recording must never make it do so.
OPEN_OPTIONS = {"protocol_whitelist": "none"}

# WAV and AVI, RF64, FLAC, Ogg, Matroska and WebM, AIFF, CAF, AMR; and the boxes an MP4 begins with.
KNOWN_BEGINNINGS = frozenset({b"RIFF", b"RF64", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"FORM", b"caff", b"#!AM"})
KNOWN_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free"})


@dataclass(frozen=True)
class Recording:
    """One decoded recording.

    `waveform` is mono float32 in [-1, 1] at 16 kHz, (samples,); `sample_rate` and `channels` are the original's;
    `container` and `codec` are FFmpeg's names for what was found; `seconds` is the decoded length.
    """

    waveform: FloatArray
    sample_rate: int
    channels: int
    codec: str
    container: str
    name: str
    seconds: float


def read_recording(
    source: Source, *, sample_rate: float | None = None, max_seconds: float = MAX_RECORDING_SECONDS
) -> Recording:
    """Decode the first audio stream of a recording.

    `source` is a path, the bytes themselves, or a binary file object; a seekable one is read whole from its beginning,
    one that is not (a pipe) from where it stands, up to `MAX_PIPED_BYTES`. The caller's file is left open. Or samples
    that were decoded already, `(array, sample_rate)` or an array with its `sample_rate`: see `audio/array.py`.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, or no permission.
        EmptyRecording, NotMedia, NoAudioStream: nothing to decode.
        CorruptRecording: damaged, cut off, or with samples that are not finite numbers.
        RecordingTooLong: over `max_seconds`, by its header or while decoding.
    """
    if is_array(source) or is_array_with_rate(source) or sample_rate is not None:
        return _from_array(*array_and_rate(source, sample_rate), max_seconds)
    with _opened(source) as (file, name):
        return _decode(file, name, max_seconds)


def _from_array(array: NDArray[Any], sample_rate: int, max_seconds: float) -> Recording:
    waveform, channels = decode_array(array, sample_rate, max_seconds)
    seconds = waveform.size / SAMPLE_RATE
    return Recording(waveform, sample_rate, channels, str(array.dtype), "array", "recording", seconds)


def checked_recording(recording: Recording) -> Recording:
    """One that the caller may have made or changed, with a waveform that is what its docstring says.

    Raises:
        InvalidOption, EmptyRecording, CorruptRecording: it cannot be used.
    """
    return replace(recording, waveform=checked_waveform(recording.waveform, recording.seconds))


def is_recording(path: Path) -> bool:
    """Whether a file's content is media with sound, damaged or not; nothing is decoded."""
    try:
        with _opened(path) as (file, name), _container(file, name) as container:
            _first_audio_stream(container, name)
    except (NotMedia, NoAudioStream, EmptyRecording):
        return False
    except Speech2FaceError:
        return True  # reading it will say what is wrong
    return True


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """The source as a seekable binary file and a name for messages."""
    source = plain_source(source, "the recording", others=", an array with its rate, or a Recording")
    if isinstance(source, bytes):
        yield _not_empty(io.BytesIO(source), "recording"), "recording"
    elif isinstance(source, Path):
        path = source
        with _open_path(path) as file:
            yield _not_empty(_rewindable(file, path.name), path.name), path.name
    else:
        name = _file_name(source)
        yield _not_empty(_rewindable(source, name), name), name


def _open_path(path: Path) -> BinaryIO:
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise UnreadableRecording(f"{path} is a folder, not a recording; name a file in it")
        return open(path, "rb")
    except FileNotFoundError:
        raise RecordingNotFound(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableRecording(f"cannot read {path}: {reason}") from None


def _file_name(file: BinaryIO) -> str:
    """A file object's own name; pipes and sockets have numbers or none."""
    name = getattr(file, "name", None)
    return Path(name).name.strip("<>") if isinstance(name, str) and name else "recording"


def _rewindable(file: BinaryIO, name: str) -> BinaryIO:
    """The file itself where it can seek, else its content in memory: most containers are read back and forth."""
    if hasattr(file, "seekable") and file.seekable():
        return file
    content = io.BytesIO()
    while block := file.read(2**20):
        content.write(block)
        if content.tell() > MAX_PIPED_BYTES:
            raise RecordingTooLong(
                f"{name} is over {MAX_PIPED_BYTES // 2**20} MiB, the most that is read from a pipe; give it as a file"
            )
    return content


def _not_empty(file: BinaryIO, name: str) -> BinaryIO:
    if file.seek(0, os.SEEK_END) == 0:
        raise EmptyRecording(f"{name} is empty: 0 bytes")
    file.seek(0)
    return file


class _Nameless:
    """What PyAV needs of a file, without its name: FFmpeg would let the extension weigh in on the format."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _container(file: BinaryIO, name: str) -> "InputContainer":
    import av  # 50 ms, and not needed to refuse a missing file

    try:
        return av.open(_Nameless(file), mode="r", options=OPEN_OPTIONS, **any_tags())
    except (av.FFmpegError, ValueError) as error:
        raise _unopenable(file, name) from error


def _decode(file: BinaryIO, name: str, max_seconds: float) -> Recording:
    with _container(file, name) as container:
        stream = _first_audio_stream(container, name)
        declared = _checked_length(container, stream, file, name, max_seconds)
        sound = _read_sound(container, stream, name, max_seconds)
        present = sound.reach_seconds if declares_for_all_streams(container) else sound.seconds
        if declared is not None and declared - present > max(LOST_SECONDS, LOST_SHARE * declared):
            raise CorruptRecording(
                f"{name} is cut off: it states {declared:.1f} s, {present:.1f} s are there; copy it again"
            )
        return Recording(
            waveform=mix(sound.channels),
            sample_rate=sound.sample_rate,
            channels=len(sound.channels),
            codec=stream.codec_context.name,
            container=container.format.name,
            name=name,
            seconds=sound.seconds,
        )


def _unopenable(file: BinaryIO, name: str) -> CorruptRecording | NotMedia:
    """Why FFmpeg could not open it: a known format that is damaged, or no media at all."""
    file.seek(0)
    head = file.read(8)
    if head[:4] in KNOWN_BEGINNINGS or head[4:8] in KNOWN_MP4_BOXES:
        return CorruptRecording(f"{name} is damaged or cut off, its header is not whole; copy it again")
    return NotMedia(f"{name} is not a sound or video file that can be decoded")


def _first_audio_stream(container: "InputContainer", name: str) -> "AudioStream":
    if not container.streams.audio:
        raise NoAudioStream(f"{name} has no sound in it ({container.format.long_name}); give a recording with a voice")
    stream = container.streams.audio[0]
    # PyAV leaves the context out where FFmpeg has no decoder, against its own annotation.
    if getattr(stream, "codec_context", None) is None:
        raise NotMedia(f"{name} holds sound in a codec that cannot be decoded; convert it to WAV or FLAC")
    return stream


def _checked_length(
    container: "InputContainer", stream: "AudioStream", file: BinaryIO, name: str, max_seconds: float
) -> float | None:
    """The stated length, refused before anything is decoded where it is over the limit or the file is cut."""
    position = file.tell()  # FFmpeg goes on reading where it stopped
    declared = declared_seconds(container, stream, file)
    cut = container.format.name == "ogg" and ends_inside_ogg_page(file)
    file.seek(position)
    if cut:
        raise CorruptRecording(f"{name} is cut off in the middle of a page; copy it again")
    if declared is not None and declared > max_seconds:
        raise RecordingTooLong(f"{name} lasts {declared:.0f} s, at most {max_seconds:.0f} s are read; cut it first")
    return declared


@dataclass(frozen=True)
class _Sound:
    """What was decoded: `channels` (channels, samples) at 16 kHz, and how far any stream of the file reaches."""

    channels: FloatArray
    sample_rate: int
    seconds: float
    reach_seconds: float


def _read_sound(container: "InputContainer", stream: "AudioStream", name: str, max_seconds: float) -> _Sound:
    """Decode and resample every channel of the stream, refusing what is damaged, empty or over the limit."""
    import av

    resampler = ChannelResampler(name, max_seconds)
    # Floats once, not a fraction for every packet: that would take as long as decoding.
    tick_seconds = {each.index: float(each.time_base or 0) for each in container.streams}
    lost_seconds = reach_seconds = 0.0
    try:
        for packet in container.demux():
            tick = tick_seconds.get(packet.stream_index, 0.0)  # transport streams may gain streams on the way
            seconds = (packet.duration or 0) * tick
            if packet.pts is not None:
                reach_seconds = max(reach_seconds, packet.pts * tick + seconds)
            if packet.stream is not stream:  # not its index: damage can give that to another stream
                continue
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                lost_seconds += max(seconds, LEAST_PACKET_SECONDS)
                if lost_seconds > LOST_SECONDS:
                    raise
                continue
            for frame in frames:
                resampler.add(frame)
        channels = resampler.finish()
    except av.FFmpegError as error:
        raise CorruptRecording(f"{name} is damaged: {error.strerror or type(error).__name__}; copy it again") from error
    if channels.shape[1] == 0:
        raise EmptyRecording(f"{name} has an audio stream without a single sample")
    if not np.isfinite(channels).all():
        raise CorruptRecording(f"{name} holds samples that are not finite numbers; export it again")
    return _Sound(channels, resampler.sample_rate, channels.shape[1] / SAMPLE_RATE, reach_seconds)
