"""Any recording a user may have becomes one waveform here: mono float32 in [-1, 1] at 16 kHz.

Decoding and resampling are FFmpeg's, through PyAV. The content decides what a recording is, never its file name.

A recording that stops before its header says so is refused, not used in part: a portrait of half a recording would
look like one of the whole. So is one with a hole, where pages, frames or packets show it. Formats that declare no
length (a live Ogg stream, raw AMR, an MP3 without its length tag) cannot be told from a shorter recording and are read
as far as they go.
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

from speech2face.audio.activity import require_speech
from speech2face.audio.arguments import BytesLike, PathLike, plain_source
from speech2face.audio.array import array_and_rate, checked_waveform, decode_array, is_array, is_array_with_rate
from speech2face.audio.byte_source import ByteSource, is_rewindable, not_empty, read_bytes, unreadable
from speech2face.audio.completeness import (
    WALKED_DEMUXERS,
    Expected,
    Part,
    declares_for_all_streams,
    expected,
    find_parts,
    hole_seconds,
)
from speech2face.audio.resampling import ChannelResampler, mix_blocks
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.tags import any_tags
from speech2face.audio.tracks import choose_track, track_number, tracks_by_preference
from speech2face.config import MAX_PIPED_BYTES, MAX_RECORDING_SECONDS
from speech2face.errors import (
    CorruptRecording,
    EmptyRecording,
    InvalidOption,
    NoAudioStream,
    NoSpeech,
    NotMedia,
    RecordingNotFound,
    RecordingTooLong,
    SilentRecording,
    Speech2FaceError,
    TooLittleSpeech,
    UnreadableRecording,
)

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

Samples = NDArray[Any] | Sequence[Any]
Source = PathLike | BytesLike | BinaryIO | tuple[Any, Any] | Samples
"""A path, the bytes of a file, a binary file, or an array of samples and its rate in a tuple."""

LOST_SECONDS = 0.5  # what may be missing or undecodable: encoder padding and one bad packet, not a word
LEAST_PACKET_SECONDS = 0.02  # what a bad packet without a stated length is counted as
LOST_SHARE = 0.02  # ... or this share of the declared length, for headers that round
# Codecs of which no packet is nothing but zeros, not even of silence, where it is longer than Opus's pauses.
NEVER_ZERO_CODECS = frozenset({"aac", "aac_latm", "ac3", "alac", "eac3", "flac", "opus", "libopus", "vorbis"}) | {
    *("mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float"),
}
LEAST_ZERO_BYTES = 8
# RFC 4867, section 5.3: five bits of a frame's first byte are fixed, but of a frame without data writers differ.
AMR_CODECS = frozenset({"amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb"})
AMR_FIXED_BITS, AMR_GOOD, AMR_NO_DATA = 0x87, 0x04, 15
# What PyAV lets through for damaged bytes, beside FFmpeg's own errors: a demuxer's IndexError, a size beyond C's.
DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
)
# FFmpeg opens other files and addresses named inside playlists; a recording must never make it do so.
OPEN_OPTIONS = {"protocol_whitelist": "none"}

# WAV and AVI, RF64, FLAC, Ogg, Matroska and WebM, AIFF, CAF, AMR; and the boxes an MP4 begins with.
KNOWN_BEGINNINGS = frozenset(
    {b"RIFF", b"RF64", b"BW64", b"riff", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"FORM", b"caff", b".snd", b"#!AM"}
)
KNOWN_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free"})


@dataclass(frozen=True)
class Recording:
    """One decoded recording.

    `waveform` is mono float32 in [-1, 1] at 16 kHz, (samples,); `sample_rate` and `channels` are the original's;
    `container` and `codec` are FFmpeg's names for what was found; `seconds` is the decoded length; `track` is the sound
    track that was read, from 1, of `tracks`.
    """

    waveform: FloatArray
    sample_rate: int
    channels: int
    codec: str
    container: str
    name: str
    seconds: float
    track: int = 1
    tracks: int = 1


def read_recording(
    source: Source,
    *,
    sample_rate: float | None = None,
    max_seconds: float = MAX_RECORDING_SECONDS,
    track: int | None = None,
) -> Recording:
    """Decode one sound track of a recording.

    `source` is a path, the bytes themselves, or a binary file object; a seekable one is read whole from its beginning,
    one that is not (a pipe) from where it stands, up to `MAX_PIPED_BYTES`. The caller's file is left open. Or samples
    that were decoded already, `(array, sample_rate)` or an array with its `sample_rate`: see `audio/array.py`. `track`
    is the number of the track, from 1; None takes the one that a player would, or where there is no speech in it the
    next that has some. An array is one track.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, no permission, or reading failed.
        EmptyRecording, NotMedia, NoAudioStream: nothing to decode.
        CorruptRecording: damaged, cut off, or with samples that are not finite numbers.
        RecordingTooLong: over `max_seconds`, by its header or while decoding.
        InvalidOption: there is no such track.
    """
    if is_array(source) or is_array_with_rate(source) or sample_rate is not None:
        if track not in (None, 1):
            raise InvalidOption(f"an array of samples has no track {track}; leave `track` out")
        return _from_array(*array_and_rate(source, sample_rate), max_seconds)
    with _opened(source) as (file, name):
        return _decode(find_parts(not_empty(ByteSource(file, name))), name, max_seconds, track)


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
        with _opened(path) as (file, name):
            source = not_empty(ByteSource(file, name))
            with _container(source, name) as container:
                choose_track(container, name)
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
        yield io.BytesIO(source), "recording"
    elif isinstance(source, Path):
        path = source
        with _open_path(path) as file:
            yield _rewindable(file, path.name), path.name
    else:
        name = _file_name(source)
        yield _rewindable(source, name), name


def _open_path(path: Path) -> BinaryIO:
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise UnreadableRecording(f"{path} is a folder, not a recording; name a file in it")
        return open(path, "rb")
    except FileNotFoundError:
        raise RecordingNotFound(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise unreadable(str(path), error) from None


def _file_name(file: BinaryIO) -> str:
    """A file object's own name; pipes and sockets have numbers or none."""
    name = getattr(file, "name", None)
    return Path(name).name.strip("<>") if isinstance(name, str) and name else "recording"


def _rewindable(file: BinaryIO, name: str) -> BinaryIO:
    """The file itself where it can seek, else its content in memory: most containers are read back and forth."""
    if is_rewindable(file, name):
        return file
    content = io.BytesIO()
    while block := read_bytes(file, 2**20, name):
        content.write(block)
        if content.tell() > MAX_PIPED_BYTES:
            raise RecordingTooLong(
                f"{name} is over {MAX_PIPED_BYTES // 2**20} MiB, the most that is read from a pipe; give it as a file"
            )
    return content


class _Nameless:
    """What PyAV needs of a file, without its name: FFmpeg would let the extension weigh in on the format."""

    def __init__(self, file: ByteSource) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _container(file: ByteSource, name: str) -> "InputContainer":
    import av  # 50 ms, and not needed to refuse a missing file

    file.seek(0)
    try:
        opened: InputContainer = av.open(_Nameless(file), mode="r", options=OPEN_OPTIONS, **any_tags())
        return opened
    except (av.FFmpegError, *DECODER_ERRORS) as error:
        file.check()
        raise _unopenable(file, name) from error


def _unopenable(file: ByteSource, name: str) -> CorruptRecording | NotMedia:
    """Why FFmpeg could not open it: a known format that is damaged, or no media at all."""
    head = file.read_at(0, 8)
    if head[:4] in KNOWN_BEGINNINGS or head[4:8] in KNOWN_MP4_BOXES:
        return CorruptRecording(f"{name} is damaged or cut off, its header is not whole; copy it again")
    return NotMedia(f"{name} is not a sound or video file that can be decoded")


def _decode(parts: list[Part], name: str, max_seconds: float, track: int | None) -> Recording:
    """The track that was asked for; else the first in the order of players in which somebody speaks, or the first."""
    with _container(parts[0].source, name) as container:
        preferred = tracks_by_preference(container, name) if track is None else [choose_track(container, name, track)]
        numbers = [track_number(container, stream) for stream in preferred]
    first: Recording | Speech2FaceError | None = None
    for number in numbers:
        try:
            recording = _decode_track(parts, name, max_seconds, number)
            if len(numbers) > 1:
                require_speech(recording.waveform)
            return recording
        except (NoSpeech, SilentRecording, TooLittleSpeech):
            first = first or recording
        except (CorruptRecording, EmptyRecording, RecordingTooLong) as error:
            first = first or error
    if isinstance(first, Recording):
        return first
    assert first is not None
    raise first


def _decode_track(parts: list[Part], name: str, max_seconds: float, number: int) -> Recording:
    """One sound track through all parts of a file."""
    resampler = ChannelResampler(name, max_seconds, sum(part.source.size for part in parts))
    found: tuple[str, str, int] | None = None
    for part in parts:
        with _container(part.source, name) as container:
            count = len(container.streams.audio)
            stream = choose_track(container, name, min(number, max(1, count)))
            found = found or (stream.codec_context.name, container.format.name, count)
            _read_part(container, stream, part, resampler, number)
    if not resampler.samples:
        raise EmptyRecording(f"{name} has an audio stream without a single sample")
    if not all(np.isfinite(block).all() for block in resampler.blocks):
        raise CorruptRecording(f"{name} holds samples that are not finite numbers; export it again")
    assert found is not None
    channels = len(resampler.blocks[0])
    return Recording(
        waveform=mix_blocks(resampler.blocks),
        sample_rate=resampler.sample_rate,
        channels=channels,
        codec=found[0],
        container=found[1],
        name=name,
        seconds=resampler.samples / SAMPLE_RATE,
        track=number,
        tracks=found[2],
    )


def _read_part(
    container: "InputContainer", stream: "AudioStream", part: Part, resampler: ChannelResampler, number: int
) -> None:
    """Decode one part, refusing it where less is there than should be."""
    import av

    name = resampler.name
    wanted = expected(container, stream, part, number)
    _check_expected(wanted, name, resampler.max_seconds)
    before = resampler.samples
    reading = _Reading(container, stream, resampler)
    try:
        reading.read_all()
        resampler.flush()
    except Speech2FaceError:
        part.source.check()  # what could not be read is the better reason
        raise
    except (av.FFmpegError, *DECODER_ERRORS) as error:
        part.source.check()
        raise CorruptRecording(f"{name} is damaged: {_reason(error)}; copy it again") from error
    part.source.check()
    seconds = (resampler.samples - before) / SAMPLE_RATE
    present = reading.reach_seconds if declares_for_all_streams(container) else seconds
    if wanted.seconds is not None and wanted.present_seconds is None:
        _check_length(wanted.seconds, present, name)
    if _is_too_much(reading.gap_seconds, seconds):
        _check_lost(hole_seconds(container, part, reading.gap_seconds), seconds, name)
    _check_lost(wanted.lost_seconds, seconds, name)


def _check_expected(wanted: Expected, name: str, max_seconds: float) -> None:
    """Refuse before anything is decoded what is known by then."""
    if wanted.seconds is None:
        return
    if wanted.present_seconds is not None:
        _check_length(wanted.seconds, wanted.present_seconds, name)
    if wanted.seconds > max_seconds:
        most = f"at most {max_seconds:.0f} s are read"
        raise RecordingTooLong(f"{name} lasts {wanted.seconds:.0f} s, {most}; cut it first")


def _check_length(stated: float, present: float, name: str) -> None:
    if _is_too_much(stated - present, stated):
        raise CorruptRecording(f"{name} is cut off: it states {stated:.1f} s, {present:.1f} s are there; copy it again")


def _check_lost(lost: float, heard: float, name: str) -> None:
    if _is_too_much(lost, lost + heard):
        raise CorruptRecording(f"{name} is damaged: {lost:.1f} s are missing inside it; copy it again")


def _is_too_much(lost: float, of: float) -> bool:
    return lost > max(LOST_SECONDS, LOST_SHARE * of)


class _Reading:
    """One sound stream on its way into a resampler, and what its packets say of holes.

    `reach_seconds` is how far any stream of the file reaches, `gap_seconds` what the stream's time stamps leap over.
    """

    def __init__(self, container: "InputContainer", stream: "AudioStream", resampler: ChannelResampler) -> None:
        self.container, self.stream, self.resampler = container, stream, resampler
        self.reach_seconds = self.gap_seconds = 0.0
        self._lost_seconds = 0.0
        self._codec = stream.codec_context.name
        self._heard = (0, 0.0)  # bytes and seconds of packets that could be decoded
        self._walked = container.format.name in WALKED_DEMUXERS

    def read_all(self) -> None:
        """Decode to the end.

        Raises:
            CorruptRecording: more than half a second cannot be decoded.
        """
        # Floats once, not a fraction for every packet: that would take as long as decoding.
        tick_seconds = {each.index: float(each.time_base or 0) for each in self.container.streams}
        follows: float | None = None
        for packet in self.container.demux():
            tick = tick_seconds.get(packet.stream_index, 0.0)  # transport streams may gain streams on the way
            seconds = (packet.duration or 0) * tick
            begins = None if packet.pts is None else packet.pts * tick
            if begins is not None:
                self.reach_seconds = max(self.reach_seconds, begins + seconds)
            if packet.stream is not self.stream:  # not its index: damage can give that to another stream
                continue
            if begins is not None:
                if follows is not None and seconds:
                    self.gap_seconds += max(0.0, begins - follows - tick)
                follows = begins + seconds
            self._decode(packet, seconds)

    def _decode(self, packet: "Packet[Any]", seconds: float) -> None:
        import av

        if _is_no_packet(packet, self._codec):
            self._lose(packet, seconds, "Invalid data found when processing input")
            return
        try:
            frames = self.stream.decode(packet)
        except av.FFmpegError as error:
            self._lose(packet, seconds, _reason(error))
            return
        self._heard = (self._heard[0] + packet.size, self._heard[1] + seconds)
        for frame in frames:
            self.resampler.add(frame)

    def _lose(self, packet: "Packet[Stream]", seconds: float, reason: str) -> None:
        """Count a packet as lost: one that swallowed damage as long as its bytes would sound.

        Raises:
            CorruptRecording: more than half a second is lost.
        """
        size, heard = (0, 0.0) if self._walked else self._heard  # what lies between these frames is counted already
        self._lost_seconds += max(seconds, LEAST_PACKET_SECONDS, packet.size * heard / size if size else 0.0)
        if self._lost_seconds > LOST_SECONDS:
            raise CorruptRecording(f"{self.resampler.name} is damaged: {reason}; copy it again")


def _is_no_packet(packet: "Packet[Stream]", codec: str) -> bool:
    """Whether a decoder would make sound of what was never a packet of that codec."""
    if codec in NEVER_ZERO_CODECS:
        return packet.size >= LEAST_ZERO_BYTES and not any(bytes(packet))
    if codec in AMR_CODECS and packet.size:
        first = bytes(packet)[0]
        return first & AMR_FIXED_BITS != AMR_GOOD and first >> 3 & 15 != AMR_NO_DATA
    return False


def _reason(error: BaseException) -> str:
    """What FFmpeg or PyAV says went wrong; codecs have numbers of their own that it has no words for."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return "Invalid data found when processing input" if text.startswith("Error number") else text
