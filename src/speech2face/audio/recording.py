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
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from speech2face import errors
from speech2face.audio import completeness
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import DEFAULT_ACTIVITY, open_voice_activity, require_speech
from speech2face.inputs import (
    BytesLike,
    PathLike,
    brief,
    described,
    plain_source,
    real_number,
    refuse_address,
    whole_number,
)
from speech2face.limits import MAX_PIPED_BYTES, MAX_RECORDING_CHANNELS, MAX_RECORDING_SECONDS

if TYPE_CHECKING:
    from av.audio.fifo import AudioFifo
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

# --- Frames as FFmpeg decodes them become channels at 16 kHz, and channels become one waveform.

DEAD_CHANNEL_DB = 30.0  # a channel this far under the loudest one carries cross-talk or hiss, not the voice
SAMPLE_RATES = range(1_000, 1_536_001)  # what hardware does, with room; beyond it a header is damaged, and takes ages
GATHERED_SAMPLES = 16_384  # a third of a second at 48 kHz, accordingly less of over `MAX_RECORDING_CHANNELS` channels
MOST_CHANNELS = 64  # the most that FFmpeg resamples; a damaged header states 65,535
# Some kilobytes of FLAC can claim half an hour of eight silent channels: 2 GB while they are mixed. So one channel may
# always be as long as the limit; beyond that a file may take what it would at 320 bit/s a channel, less than a voice.
FREE_BYTES = int(MAX_RECORDING_SECONDS) * SAMPLE_RATE * 4
BYTES_A_BYTE = 8 * SAMPLE_RATE * 4 // 320


def joined(blocks: Sequence[FloatArray]) -> FloatArray:
    """Return blocks (channels, samples) one after the other, those without samples left out."""
    filled = [block for block in blocks if block.size]
    return np.concatenate(filled, axis=1) if filled else np.zeros((1, 0), np.float32)


class StreamResampler:
    """Frames of any format, rate and layout in; all channels at 16 kHz out, as many as the first frame has.

    With `gathered_samples` small frames wait for the next ones: resampled one by one, as small as decoders make them,
    the calls would take longer than the work. What comes out is the same.
    """

    def __init__(self, name: str = "the sound", gathered_samples: int = 0) -> None:
        self.name = name
        self.sample_rate = 0  # of the first frame; what the container says may be that of a later part
        self._least_samples = gathered_samples
        self._gathered: AudioFifo | None = None
        self._swr: AudioResampler | None = None
        self._layout: AudioLayout | None = None
        self._format: tuple[str, str, int] | None = None

    def push(self, frame: "AudioFrame") -> list[FloatArray]:
        """Take the next frame and return what became ready, blocks of (channels, samples).

        Raises:
            CorruptRecording: a number of channels or samples a second that no recording has.
        """
        # Joined Ogg and MP3 files change in the middle. AudioFifo trusts what it is given: it must not see that.
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        ready: list[FloatArray] = []
        if found != self._format:
            ready = self.finish()
            self._begin(frame)
            self._format = found
        assert self._gathered is not None
        frame.pts = None  # gaps and jumps in time stamps are not filled: only what was recorded counts
        self._gathered.write(frame)
        channels = max(MAX_RECORDING_CHANNELS, frame.layout.nb_channels)
        if self._gathered.samples * channels >= self._least_samples * MAX_RECORDING_CHANNELS:
            ready += self._resampled()
        return ready

    def finish(self) -> list[FloatArray]:
        """Return what is still gathered or in the filter, blocks of (channels, samples); the next frame begins anew."""
        if self._swr is None:
            return []
        ready = [*self._resampled(), *map(_block, self._swr.resample(None))]
        self._gathered = self._swr = self._format = None
        return ready

    def _begin(self, frame: "AudioFrame") -> None:
        from av.audio.fifo import AudioFifo
        from av.audio.resampler import AudioResampler

        if frame.sample_rate not in SAMPLE_RATES:
            raise errors.CorruptRecording(f"{self.name} states {frame.sample_rate} samples a second; export it again")
        if frame.layout.nb_channels > MOST_CHANNELS:
            found = f"{frame.layout.nb_channels} channels, at most {MOST_CHANNELS} are read"
            raise errors.CorruptRecording(f"{self.name} states {found}; export it again")
        self._layout = self._layout or frame.layout
        self.sample_rate = self.sample_rate or frame.sample_rate
        self._gathered = AudioFifo()
        self._swr = AudioResampler(format="flt", layout=self._layout, rate=SAMPLE_RATE)

    def _resampled(self) -> list[FloatArray]:
        assert self._gathered is not None
        assert self._swr is not None
        frame = self._gathered.read()
        return [] if frame is None else [_block(each) for each in self._swr.resample(frame)]


def _block(frame: "AudioFrame") -> FloatArray:
    """Channels of a frame, (channels, samples); interleaved, because PyAV 18 miscounts the planes of eight or more."""
    interleaved = frame.to_ndarray().astype(np.float32, copy=False)  # (1, samples x channels)
    return interleaved.reshape(-1, frame.layout.nb_channels).T


class ChannelResampler:
    """A whole recording's way through a `StreamResampler`: all its channels at 16 kHz are kept, within limits."""

    def __init__(self, name: str, max_seconds: float, file_bytes: int | None = None) -> None:
        self.name = name
        self.max_seconds = max_seconds
        self.most_bytes = None if file_bytes is None else FREE_BYTES + BYTES_A_BYTE * file_bytes
        self.blocks: list[FloatArray] = []
        self.samples = 0
        self._stream = StreamResampler(name, GATHERED_SAMPLES)

    @property
    def sample_rate(self) -> int:
        """Samples a second of the first frame."""
        return self._stream.sample_rate

    def add(self, frame: "AudioFrame") -> None:
        """Take the next frame.

        Raises:
            CorruptRecording, RecordingTooLong: what no recording has, or more than is read.
        """
        self._keep(self._stream.push(frame))

    def flush(self) -> None:
        """Resample what is still gathered into `blocks`, (channels, samples) each; the next frame begins anew."""
        self._keep(self._stream.finish())

    def finish(self) -> FloatArray:
        """Return everything so far, (channels, samples)."""
        self.flush()
        return joined(self.blocks)

    def _keep(self, blocks: list[FloatArray]) -> None:
        for block in blocks:
            self.blocks.append(block)
            self.samples += block.shape[1]
            limit = self.max_seconds * min(1.0, MAX_RECORDING_CHANNELS / block.shape[0])
            if self.samples > limit * SAMPLE_RATE:
                raise errors.RecordingTooLong(
                    f"{self.name} goes on after {limit:.0f} s, the most that is read; cut it first"
                )
            if self.most_bytes is not None and self.samples * block.shape[0] * block.itemsize > self.most_bytes:
                found = f"over {self.samples / SAMPLE_RATE:.0f} s in {block.shape[0]} channels"
                raise errors.RecordingTooLong(f"{self.name} claims {found}: so few bytes hold no voice for so long")


def mix(channels: FloatArray) -> FloatArray:
    """All channels that carry sound in one, (channels, samples) -> (samples,) in [-1, 1].

    A dead channel would cost 6 dB and an inverted one everything, so the first is left out and the second turned
    round. Samples beyond full scale, which float formats allow, bring the whole down to it: nothing is clipped. One
    channel alone stays as it was recorded, direct current and all: only which channels live is judged without it.
    """
    starts = range(0, max(channels.shape[1], 1), BLOCK_SAMPLES)  # a whole hour at once would be copied four times over
    return mix_blocks([channels[:, start : start + BLOCK_SAMPLES] for start in starts])


def mix_blocks(blocks: list[FloatArray]) -> FloatArray:
    """The same of channels in pieces, (channels, samples) each and at least one; empties the list to spare memory."""
    loudest_sample = max(float(np.abs(block).max(initial=0.0)) for block in blocks)
    scale = np.float32(loudest_sample if loudest_sample > 1.0 else 1.0)  # squares must not overflow
    size = sum(block.shape[1] for block in blocks)
    total = np.sum([(block / scale).sum(axis=1, dtype=np.float64) for block in blocks], axis=0)
    centre = (total / max(size, 1)).astype(np.float32)[:, None]  # (channels, 1)
    levelled = (block / scale - centre for block in blocks)
    energy = np.sum([np.einsum("cs,cs->c", block, block, dtype=np.float64) for block in levelled], axis=0)
    live = live_channels(energy)
    if not live.any():
        return np.zeros(size, np.float32)
    loudest = int(energy.argmax())
    alike = np.zeros(int(live.sum()), np.float64)
    for block in blocks:
        centred = block / scale - centre
        alike += centred[live] @ centred[loudest]
    signs = np.where(alike < 0, -1.0, 1.0).astype(np.float32)
    mixed = np.empty(size, np.float32)
    at = 0
    while blocks:
        scaled = (blocks.pop(0) / scale)[live]
        mixed[at : at + scaled.shape[1]] = signs @ scaled / np.float32(len(scaled))
        at += scaled.shape[1]
    # The mean of what is within full scale, but for rounding.
    peak = float(max(mixed.max(initial=0.0), -mixed.min(initial=0.0)))
    return np.asarray(mixed / peak if peak > 1.0 else mixed, np.float32)


def live_channels(energy: "np.ndarray") -> "np.ndarray":
    """Return which channels of these energies, (channels,), carry sound beside the loudest; none in silence."""
    return np.asarray(energy > energy.max() * 10 ** (-DEAD_CHANNEL_DB / 10))


Samples = NDArray[Any] | Sequence[Any]
Source = PathLike | BytesLike | BinaryIO | tuple[Any, Any] | Samples
"""A path, the bytes of a file, a binary file, or an array of samples and its rate in a tuple."""
LOST_SECONDS = 0.5  # what may be missing or undecodable: encoder padding and one bad packet, not a word
LEAST_PACKET_SECONDS = 0.02  # what a bad packet without a stated length is counted as
LOST_SHARE = 0.02  # ... or this share of the declared length, for headers that round
# Codecs of which no packet is nothing but zeros, not even of silence, where it is longer than Opus's pauses.
NEVER_ZERO_CODECS = frozenset({"aac", "aac_latm", "ac3", "alac", "eac3", "flac", "opus", "libopus", "vorbis"}) | {
    *("mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float")
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
    """A decoded recording: its waveform, and what was found in the file.

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

    def __repr__(self) -> str:
        """Return one line without the samples."""
        facts = f"{str(self.seconds)[:8]} s", f"{self.codec} at {self.sample_rate} Hz in {self.container}"
        return brief(self, str(self.name), *facts, f"track {self.track} of {self.tracks}")


def read_recording(
    source: Source,
    *,
    sample_rate: float | None = None,
    max_seconds: float = MAX_RECORDING_SECONDS,
    track: int | None = None,
    voice_activity: str = DEFAULT_ACTIVITY,
) -> Recording:
    """Decode one sound track of a recording.

    `source` is a path, the bytes themselves, or a binary file object; a seekable one is read whole from its beginning,
    one that is not (a pipe) from where it stands, up to `MAX_PIPED_BYTES`. The caller's file is left open. Or samples
    that were decoded already, `(array, sample_rate)` or an array with its `sample_rate`: see `decode_array`. `track` is
    the number of the track, from 1; None takes the one that a player would, or where there is no speech in it the next
    that has some, as the detector called `voice_activity` finds it. An array is one track.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, no permission, or reading failed.
        EmptyRecording, NotMedia, NoAudioStream: nothing to decode.
        CorruptRecording: damaged, cut off, or with samples that are not finite numbers.
        RecordingTooLong: over `max_seconds`, by its header or while decoding.
        InvalidOption: there is no such track, number or detector.
    """
    track = None if track is None else whole_number("track", track, -sys.maxsize, sys.maxsize)
    max_seconds = real_number("max_seconds", max_seconds)
    open_voice_activity(voice_activity)  # an unknown name is refused, also where there is one track
    if is_array(source) or is_array_with_rate(source) or sample_rate is not None:
        if track not in (None, 1):
            raise errors.InvalidOption(f"an array of samples has no track {track}; leave `track` out")
        array, rate = array_and_rate(source, sample_rate)
        waveform, channels = decode_array(array, rate, max_seconds)
        seconds = waveform.size / SAMPLE_RATE
        return Recording(waveform, rate, channels, str(array.dtype), "array", "recording", seconds)
    with _opened(source) as (file, name):
        parts = completeness.find_parts(completeness.ByteSource(file, name))
        return _decode(parts, name, max_seconds, track, voice_activity)


def checked_recording(recording: Recording) -> Recording:
    """One that the caller may have made or changed, with a waveform that is what its docstring says.

    Raises:
        InvalidOption, EmptyRecording, CorruptRecording: it cannot be used.
    """
    return replace(recording, waveform=checked_waveform(recording.waveform, recording.seconds))


def is_recording(path: Path) -> bool:
    """Whether a file's content is media with sound, damaged or not; nothing is decoded."""
    try:
        with _opened(path) as (file, name), _container(completeness.ByteSource(file, name), name) as container:
            choose_track(container, name)
    except (errors.NotMedia, errors.NoAudioStream):
        return False
    except errors.Speech2FaceError:
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
            raise errors.UnreadableRecording(f"{path} is a folder, not a recording; name a file in it")
        return open(path, "rb")
    except FileNotFoundError:
        refuse_address(str(path))
        raise errors.RecordingNotFound(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise completeness.unreadable(str(path), error) from None


def _file_name(file: BinaryIO) -> str:
    """A file object's own name; pipes and sockets have numbers or none."""
    name = getattr(file, "name", None)
    return Path(name).name.strip("<>") if isinstance(name, str) and name else "recording"


def _rewindable(file: BinaryIO, name: str) -> BinaryIO:
    """The file itself where it can seek, else its content in memory: most containers are read back and forth."""
    if completeness.is_rewindable(file, name):
        return file
    content = io.BytesIO()
    while block := completeness.read_bytes(file, 2**20, name):
        content.write(block)
        if content.tell() > MAX_PIPED_BYTES:
            raise errors.RecordingTooLong(
                f"{name} is over {MAX_PIPED_BYTES // 2**20} MiB, the most that is read from a pipe; give it as a file"
            )
    return content


def _container(file: completeness.ByteSource, name: str) -> "InputContainer":
    import av  # 50 ms, and not needed to refuse a missing file

    file.seek(0)
    try:
        opened: InputContainer = av.open(file, mode="r", options=OPEN_OPTIONS, **any_tags())
        return opened
    except (av.FFmpegError, *DECODER_ERRORS) as error:
        file.check()
        raise _unopenable(file, name) from error


def _unopenable(file: completeness.ByteSource, name: str) -> errors.CorruptRecording | errors.NotMedia:
    """Why FFmpeg could not open it: a known format that is damaged, or no media at all."""
    head = file.read_at(0, 8)
    if head[:4] in KNOWN_BEGINNINGS or head[4:8] in KNOWN_MP4_BOXES:
        return errors.CorruptRecording(f"{name} is damaged or cut off, its header is not whole; copy it again")
    return errors.NotMedia(f"{name} is not a sound or video file that can be decoded")


def _decode(
    parts: list[completeness.RecordingPart], name: str, max_seconds: float, track: int | None, voice_activity: str
) -> Recording:
    """The track that was asked for; else the first in the order of players in which somebody speaks, or the first."""
    with _container(parts[0].source, name) as container:
        preferred = tracks_by_preference(container, name) if track is None else [choose_track(container, name, track)]
        numbers = [track_number(container, stream) for stream in preferred]
    first: Recording | errors.Speech2FaceError | None = None
    for number in numbers:
        try:
            recording = _decode_track(parts, name, max_seconds, number)
            if len(numbers) > 1:
                require_speech(recording.waveform, voice_activity=voice_activity)
            return recording
        except (errors.NoSpeech, errors.SilentRecording, errors.TooLittleSpeech):
            first = first or recording
        except (errors.CorruptRecording, errors.EmptyRecording, errors.RecordingTooLong) as error:
            first = first or error
    if isinstance(first, Recording):
        return first
    assert first is not None
    raise first


def _decode_track(parts: list[completeness.RecordingPart], name: str, max_seconds: float, number: int) -> Recording:
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
        raise errors.EmptyRecording(f"{name} has an audio stream without a single sample")
    if not all(np.isfinite(block).all() for block in resampler.blocks):
        raise errors.CorruptRecording(f"{name} holds samples that are not finite numbers; export it again")
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
    container: "InputContainer",
    stream: "AudioStream",
    part: completeness.RecordingPart,
    resampler: ChannelResampler,
    number: int,
) -> None:
    """Decode one part, refusing it where less is there than should be."""
    import av

    name = resampler.name
    wanted = completeness.expected(container, stream, part, number)
    _check_expected(wanted, name, resampler.max_seconds)
    before = resampler.samples
    reading = _Reading(container, stream, resampler)
    try:
        reading.read_all()
        resampler.flush()
    except errors.Speech2FaceError:
        part.source.check()  # what could not be read is the better reason
        raise
    except (av.FFmpegError, *DECODER_ERRORS) as error:
        part.source.check()
        raise errors.CorruptRecording(f"{name} is damaged: {_reason(error)}; copy it again") from error
    part.source.check()
    seconds = (resampler.samples - before) / SAMPLE_RATE
    present = reading.reach_seconds if completeness.declares_for_all_streams(container) else seconds
    if wanted.seconds is not None and wanted.present_seconds is None:
        _check_length(wanted.seconds, present, name)
    elif reading.stopped is not None and not reading.walked:
        raise errors.CorruptRecording(f"{name} is damaged: {_reason(reading.stopped)}; copy it again")
    if _is_too_much(reading.gap_seconds, seconds):
        _check_lost(completeness.hole_seconds(container, part, reading.gap_seconds), seconds, name)
    _check_lost(wanted.lost_seconds, seconds, name)


def _check_expected(wanted: completeness.Expected, name: str, max_seconds: float) -> None:
    """Refuse before anything is decoded what is known by then."""
    if wanted.seconds is None:
        return
    if wanted.present_seconds is not None:
        _check_length(wanted.seconds, wanted.present_seconds, name)
    if wanted.seconds > max_seconds:
        most = f"at most {max_seconds:.0f} s are read"
        raise errors.RecordingTooLong(f"{name} lasts {wanted.seconds:.0f} s, {most}; cut it first")


def _check_length(stated: float, present: float, name: str) -> None:
    if _is_too_much(stated - present, stated):
        raise errors.CorruptRecording(
            f"{name} is cut off: it states {stated:.1f} s, {present:.1f} s are there; copy it again"
        )


def _check_lost(lost: float, decoded: float, name: str) -> None:
    if _is_too_much(lost, lost + decoded):
        raise errors.CorruptRecording(f"{name} is damaged: {lost:.1f} s are missing inside it; copy it again")


def _is_too_much(lost: float, of: float) -> bool:
    return lost > max(LOST_SECONDS, LOST_SHARE * of)


class _Reading:
    """One sound stream on its way into a resampler, and what its packets say of holes.

    `reach_seconds` is how far any stream of the file reaches, `gap_seconds` what the stream's time stamps leap over;
    `stopped` is why there were no more packets, where that was not the end: bytes behind the sound, or damage.
    """

    def __init__(self, container: "InputContainer", stream: "AudioStream", resampler: ChannelResampler) -> None:
        self.container, self.stream, self.resampler = container, stream, resampler
        self.reach_seconds = self.gap_seconds = 0.0
        self.stopped: Exception | None = None
        self._lost_seconds = 0.0
        self._codec = stream.codec_context.name
        self._decoded = (0, 0.0)  # bytes and seconds of packets that could be decoded
        self.walked = container.format.name in completeness.WALKED_DEMUXERS

    def read_all(self) -> None:
        """Decode to the end.

        Raises:
            CorruptRecording: more than half a second cannot be decoded.
        """
        # Floats once, not a fraction for every packet: that would take as long as decoding.
        tick_seconds = {each.index: float(each.time_base or 0) for each in self.container.streams}
        follows: float | None = None
        for packet in self._packets():
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

    def _packets(self) -> "Iterator[Packet[Any]]":
        import av

        try:
            yield from self.container.demux()
        except av.FFmpegError as error:
            self.stopped = error
            for frame in self.stream.decode(None):  # as the end itself has the decoder give what it holds
                self.resampler.add(frame)

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
        self._decoded = (self._decoded[0] + packet.size, self._decoded[1] + seconds)
        for frame in frames:
            self.resampler.add(frame)

    def _lose(self, packet: "Packet[Stream]", seconds: float, reason: str) -> None:
        """Count a packet as lost: one that swallowed damage as long as its bytes would sound.

        Raises:
            CorruptRecording: more than half a second is lost.
        """
        size, spent = (0, 0.0) if self.walked else self._decoded  # what lies between these frames is counted already
        self._lost_seconds += max(seconds, LEAST_PACKET_SECONDS, packet.size * spent / size if size else 0.0)
        if self._lost_seconds > LOST_SECONDS:
            raise errors.CorruptRecording(f"{self.resampler.name} is damaged: {reason}; copy it again")


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


MAX_CHANNELS = 8
LAYOUTS = ("mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1")  # FFmpeg's for one to eight; all are kept apart


# --- Samples that the caller already has, with their rate, become the recording that a file of them would be.
# `(array, sample_rate)` is what `librosa.load`, `soundfile.read` and `torchaudio.load` return;
# `scipy.io.wavfile.read` has it the other way round. Both orders are taken, and so are (samples,), (channels,
# samples) and (samples, channels).

NAME = "the array"
BLOCK_SAMPLES = 2**18  # of every channel in one frame
LONGER_SECONDS = 0.1  # than stated: it is at another rate than 16 kHz
UNSIGNED_MIDDLE = 128  # 8-bit samples of files are unsigned: silence is 128
TYPES = "float16 to float64 in [-1, 1], int16, int32, or uint8 as in files"


def is_array(value: object) -> bool:
    """Whether a value is an array or a tensor, of whatever library."""
    return hasattr(value, "__array__")


def is_array_with_rate(value: object) -> bool:
    """Whether a value is a pair, an array and its rate."""
    return isinstance(value, tuple | list) and len(value) == 2


def array_and_rate(value: Any, sample_rate: object) -> tuple[NDArray[Any], int]:
    """The array and its rate, of `(array, rate)`, `(rate, array)`, or an array with the rate stated beside it.

    Raises:
        InvalidOption: no array, no rate, two of them, or a rate that cannot be.
    """
    if is_array_with_rate(value) and not is_array(value):
        if sample_rate is not None:
            raise errors.InvalidOption("the rate is stated twice, beside the array and as sample_rate; state it once")
        first, second = value
        value, sample_rate = (second, first) if np.ndim(_plain(first)) == 0 else (first, second)
    elif sample_rate is None:
        raise errors.InvalidOption("an array does not say how many samples a second it has; give (array, sample_rate)")
    if getattr(sample_rate, "ndim", None) == 0 or (isinstance(sample_rate, float) and sample_rate.is_integer()):
        sample_rate = _plain(sample_rate).item()
        sample_rate = int(sample_rate) if isinstance(sample_rate, float) and sample_rate.is_integer() else sample_rate
    return _plain(value), whole_number("sample_rate", sample_rate, SAMPLE_RATES[0], SAMPLE_RATES[-1])


def _plain(value: Any) -> NDArray[Any]:
    """As a numpy array; a tensor leaves its graph and its device.

    Raises:
        InvalidOption: it is not one.
    """
    try:
        if is_array(value) and hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if value.is_floating_point() else value  # numpy has no bfloat16
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise errors.InvalidOption(f"no array of samples can be made of {described(value)}: {error}") from None


def as_floats(samples: NDArray[Any], name: str = NAME) -> FloatArray:
    """Samples of any type that sound is stored in, (any), as float32; full scale is 1, floats may go beyond it.

    Raises:
        InvalidOption: a type that says nothing about full scale.
        CorruptRecording: samples that are not finite numbers.
    """
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):
            floats = samples.astype(np.float32)
        if not np.isfinite(floats).all():
            raise errors.CorruptRecording(f"{name} holds samples that are not finite numbers; export it again")
        return floats
    if kind == "i" and size in (2, 4):
        return np.asarray(samples / np.float64(2 ** (8 * size - 1)), np.float32)
    if kind == "u" and size == 1:
        return np.asarray((samples.astype(np.float32) - UNSIGNED_MIDDLE) / UNSIGNED_MIDDLE, np.float32)
    raise errors.InvalidOption(f"{name} has samples of type {samples.dtype}; give {TYPES}")


def _channels(array: NDArray[Any]) -> NDArray[Any]:
    """(samples,), (channels, samples) or (samples, channels) as (channels, samples): a sound is longer than wide.

    Raises:
        InvalidOption: another shape.
    """
    channels = array[None] if array.ndim == 1 else array
    if channels.ndim != 2:
        raise errors.InvalidOption(f"{NAME} has the shape {array.shape}; give (samples,) or (channels, samples)")
    if channels.shape[0] > channels.shape[1] > 0:
        channels = channels.T
    if channels.size and channels.shape[0] > MAX_CHANNELS:
        raise errors.InvalidOption(
            f"{NAME} of shape {array.shape} has {channels.shape[0]} channels; give 1 to {MAX_CHANNELS}"
        )
    return channels


def decode_array(array: NDArray[Any], sample_rate: int, max_seconds: float) -> tuple[FloatArray, int]:
    """The waveform of an array as of a file, (samples,) mono at 16 kHz, and its number of channels.

    Raises:
        InvalidOption: a shape or a type that is no sound.
        EmptyRecording, CorruptRecording, RecordingTooLong: as of a file.
    """
    channels = _channels(array)
    if not channels.size:
        raise errors.EmptyRecording(f"{NAME} has no samples: its shape is {array.shape}")
    seconds = channels.shape[1] / sample_rate
    if seconds > max_seconds:
        raise errors.RecordingTooLong(
            f"{NAME} lasts {seconds:.0f} s, at most {max_seconds:.0f} s are read; cut it first"
        )
    floats = as_floats(channels)
    if sample_rate != SAMPLE_RATE:
        resampler = ChannelResampler(NAME, max_seconds)
        for start in range(0, floats.shape[1], BLOCK_SAMPLES):
            resampler.add(_frame(floats[:, start : start + BLOCK_SAMPLES], sample_rate))
        floats = resampler.finish()
    if not floats.size:
        raise errors.EmptyRecording(f"{NAME} is too short: {channels.shape[1]} samples")
    return mix(floats), len(channels)


def _frame(channels: FloatArray, sample_rate: int) -> "AudioFrame":
    from av.audio.frame import AudioFrame

    interleaved = np.ascontiguousarray(channels.T).reshape(1, -1)
    frame = AudioFrame.from_ndarray(interleaved, format="flt", layout=LAYOUTS[len(channels) - 1])
    frame.sample_rate = sample_rate
    return frame


def checked_waveform(waveform: object, seconds: object) -> FloatArray:
    """The waveform of a `Recording` that may be the caller's own, (samples,) float32 in [-1, 1] at 16 kHz.

    Raises:
        InvalidOption: no array, not mono, or at another rate than its length in seconds says.
        EmptyRecording, CorruptRecording: no samples, or some that are not finite numbers.
    """
    what, way_out = "the recording's waveform", "give read_recording((array, sample_rate)) what you have"
    if not is_array(waveform):
        raise errors.InvalidOption(f"{what} is {described(waveform)}; {way_out}")
    array = _plain(waveform)
    if array.ndim != 1:
        raise errors.InvalidOption(f"{what} has the shape {array.shape}, mono is (samples,); {way_out}")
    if not array.size:
        raise errors.EmptyRecording(f"{what} has no samples")
    floats = as_floats(array, what)
    lasts, stated = floats.size / SAMPLE_RATE, real_number("the recording's seconds", seconds)
    if lasts > stated + LONGER_SECONDS:  # shorter is a part of the recording, cut by the caller
        found = f"{floats.size} samples are {lasts:.2f} s at {SAMPLE_RATE} Hz, where the recording says {stated:.2f} s"
        raise errors.InvalidOption(f"{what}: {found}; {way_out}")
    return mix(floats[None]) if float(np.abs(floats).max()) > 1.0 else floats


# --- Which of several sound tracks is read: the one that a player would play, unless another one was asked for.

# Bits of FFmpeg's AV_DISPOSITION_*; PyAV 13.0 does not show them, and the order of the file decides there.
DEFAULT, COMMENT, KARAOKE, VISUAL_IMPAIRED, CLEAN_EFFECTS = 0x0001, 0x0008, 0x0020, 0x0100, 0x0200
NOT_THE_MAIN_SOUND = COMMENT | KARAOKE | VISUAL_IMPAIRED | CLEAN_EFFECTS


def tracks_by_preference(container: "InputContainer", name: str) -> "list[AudioStream]":
    """The sound tracks that can be decoded, as players would choose: default ones, then by their order in the file.

    Raises:
        NoAudioStream: there is no sound.
        NotMedia: none of it can be decoded.
    """
    if not container.streams.audio:
        raise errors.NoAudioStream(
            f"{name} has no sound in it ({container.format.long_name}); give a recording with a voice"
        )
    # PyAV leaves the context out where FFmpeg has no decoder, against its own annotation.
    decodable = [stream for stream in container.streams.audio if getattr(stream, "codec_context", None) is not None]
    if not decodable:
        raise errors.NotMedia(f"{name} holds sound in a codec that cannot be decoded; convert it to WAV or FLAC")
    return sorted(decodable, key=_preference)


def _preference(stream: "AudioStream") -> tuple[bool, bool]:
    flags = int(getattr(stream, "disposition", 0))
    return bool(flags & NOT_THE_MAIN_SOUND), not flags & DEFAULT


def track_number(container: "InputContainer", stream: "AudioStream") -> int:
    """A track's number among the sound tracks of its file, from 1."""
    return 1 + [each.index for each in container.streams.audio].index(stream.index)


def choose_track(container: "InputContainer", name: str, track: int | None = None) -> "AudioStream":
    """The sound track that is read: the `track`-th of the file, from 1, or the one that a player would choose.

    Raises:
        NoAudioStream: there is no sound.
        NotMedia: it cannot be decoded.
        InvalidOption: there is no track of that number.
    """
    preferred = tracks_by_preference(container, name)
    if track is None:
        return preferred[0]
    count = len(container.streams.audio)
    if not 1 <= track <= count:
        there = "one sound track" if count == 1 else f"{count} sound tracks"
        raise errors.InvalidOption(f"{name} has {there}; track {track} is none of them")
    stream = container.streams.audio[track - 1]
    if stream not in preferred:
        raise errors.NotMedia(
            f"track {track} of {name} is in a codec that cannot be decoded; choose another or convert it"
        )
    return stream


# --- Tags of recordings in any encoding must not keep PyAV from opening them, in whichever of its versions is there.

STRICT_BEFORE = 19  # from this version on PyAV takes tags that are not UTF-8, and no longer knows the setting for it


def any_tags() -> dict[str, Any]:
    """What `av.open` must be told so that title and artist may be in any encoding: Latin-1, Shift-JIS, rubbish."""
    import av  # 50 ms, and not needed to refuse a missing file

    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < STRICT_BEFORE else {}


def can_encode(codec: str) -> bool:
    """Whether this PyAV's FFmpeg has an encoder of this name; which ones its wheels hold differs by version."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(codec, "w")
    except UnknownCodecError:
        return False
    return True
