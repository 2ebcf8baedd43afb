"""Sound as it arrives, in pieces of any size, becomes channels at 16 kHz, as a recording does at once.

Resampling is FFmpeg's, with the settings used for a recording, so that the same samples come out however they are cut.
"""

import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np

from speech2face.audio import recording
from speech2face.audio.spectrogram import SAMPLE_RATE, WINDOW, FloatArray
from speech2face.audio.speech import (
    DEFAULT_ACTIVITY,
    FLOOR_POWER,
    FRAME,
    GATE_DB,
    LOUD_SHARE,
    QUIET_SHARE,
    RARE_FRAMES,
    ROOM_SHARES,
    SILENCE_RMS,
    TARGET_PEAK,
    Activity,
    SpeechRuns,
    high_band_db,
    is_rare,
    open_voice_activity,
    refuse_silence,
    refuse_too_little,
    require_speech,
    voiced_frames,
)
from speech2face.errors import CorruptRecording, InvalidOption, NoAudioStream, RecordingTooLong, Speech2FaceError
from speech2face.inputs import whole_number
from speech2face.limits import MAX_RECORDING_SECONDS

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
SAMPLE_BYTES: dict[str, int] = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
CODECS: dict[str, str] = {name: f"pcm_{name}" for name in SAMPLE_BYTES}  # FFmpeg's names
SAMPLE_RATES = range(8_000, 192_001)  # from a telephone to the fastest sound card
LEAST_RESAMPLED_SECONDS = 0.03  # smaller pieces wait for the next: the calls would take longer than the work


class SoundStream(Protocol):
    """Bytes in, cut anywhere; channels at 16 kHz out."""

    def push(self, chunk: bytes) -> FloatArray:
        """The next bytes; what became ready, (channels, samples).

        Raises:
            CorruptRecording, RecordingTooLong: the sound is damaged, or swells beyond what is read.
        """
        ...

    def finish(self) -> FloatArray:
        """The end; what was still on its way, (channels, samples)."""
        ...

    def close(self) -> None:
        """Let go of everything; harmless when done twice."""
        ...


@dataclass(frozen=True)
class PcmFormat:
    """How raw sound comes: samples of one encoding and rate, channels interleaved."""

    encoding: Encoding = "s16le"
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidOption: with what is possible.
        """
        if not isinstance(self.encoding, str) or self.encoding not in SAMPLE_BYTES:
            raise InvalidOption(f'the encoding "{self.encoding}" is unknown; send one of {", ".join(SAMPLE_BYTES)}')
        rate = whole_number("sample_rate", self.sample_rate, -sys.maxsize, sys.maxsize)
        if rate not in SAMPLE_RATES:
            raise InvalidOption(
                f"{self.sample_rate} samples a second are outside {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]};"
                " resample before sending"
            )
        if not 1 <= whole_number("channels", self.channels, -sys.maxsize, sys.maxsize) <= recording.MAX_CHANNELS:
            raise InvalidOption(f"{self.channels} channels were stated; 1 to {recording.MAX_CHANNELS} can be heard")

    @property
    def frame_bytes(self) -> int:
        """Number of bytes that one sample of every channel takes."""
        return SAMPLE_BYTES[self.encoding] * self.channels


class PcmStream:
    """Raw samples as bytes, cut anywhere."""

    def __init__(self, source: PcmFormat, least_seconds: float = LEAST_RESAMPLED_SECONDS) -> None:
        self.source = source
        self._waiting = b""
        self._decoder: AudioCodecContext | None = None
        self._resampler = recording.StreamResampler()
        self._least_bytes = int(least_seconds * source.sample_rate) * source.frame_bytes

    def push(self, chunk: bytes) -> FloatArray:
        """The next bytes; what became ready, (channels, samples).

        Raises:
            CorruptRecording: samples that are not finite numbers.
        """
        self._waiting += chunk
        return self._take() if len(self._waiting) >= self._least_bytes else np.zeros((1, 0), np.float32)

    def finish(self) -> FloatArray:
        """What is still on its way, (channels, samples); half a sample at the end is dropped."""
        return recording.joined([self._take(), *self._resampler.finish()])

    def close(self) -> None:
        """Nothing is held but memory."""
        self._waiting = b""

    def _take(self) -> FloatArray:
        import av

        whole = len(self._waiting) // self.source.frame_bytes * self.source.frame_bytes
        content, self._waiting = self._waiting[:whole], self._waiting[whole:]
        if not content:
            return np.zeros((1, 0), np.float32)
        if self._decoder is None:
            created = av.CodecContext.create(CODECS[self.source.encoding], "r")
            self._decoder = cast("AudioCodecContext", created)
            self._decoder.sample_rate = self.source.sample_rate
            self._decoder.layout = recording.LAYOUTS[self.source.channels - 1]
        ready: list[FloatArray] = []
        for frame in self._decoder.decode(av.Packet(content)):
            if frame.format.name == "flt" and not np.isfinite(frame.to_ndarray()).all():
                raise CorruptRecording("the sound holds samples that are not finite numbers; send it again")
            ready += self._resampler.push(frame)
        return recording.joined(ready)


# --- Channels as they arrive become one waveform: the rule of `recording.mix` with what is known so far.


class ChannelMix:
    """Which channels carry the voice, and which of them are inverted, by all the sound so far."""

    def __init__(self) -> None:
        self._samples = 0
        self._sums = np.zeros(0)  # (channels,)
        self._products = np.zeros((0, 0))  # (channels, channels), not yet without direct current
        self._peak = 1.0

    @property
    def changes_nothing(self) -> bool:
        """Whether all sound so far was one channel within full scale: it came out as it went in."""
        return not self._samples and self._peak == 1.0

    def push(self, channels: FloatArray) -> FloatArray:
        """The next piece, (channels, samples) -> (samples,) in [-1, 1]."""
        self._peak = max(self._peak, float(np.abs(channels).max(initial=0.0)))
        scaled = channels / np.float32(self._peak) if self._peak > 1.0 else channels
        if len(scaled) == 1:
            mono: FloatArray = scaled[0]
            return mono
        if not self._samples:
            self._sums, self._products = np.zeros(len(scaled)), np.zeros((len(scaled),) * 2)
        exact = scaled.astype(np.float64)
        self._samples += scaled.shape[1]
        self._sums += exact.sum(axis=1)
        self._products += exact @ exact.T
        mean = self._sums / self._samples
        covariance = self._products - self._samples * np.outer(mean, mean)
        energy = np.diag(covariance)
        live = recording.live_channels(energy)
        if not live.any():
            return np.zeros(scaled.shape[1], np.float32)
        signs = np.where(covariance[:, int(energy.argmax())] < 0, -1.0, 1.0)
        weights = np.where(live, signs, 0.0) / live.sum()
        return np.asarray(np.clip(weights @ exact, -1.0, 1.0), np.float32)


# --- Where somebody speaks, decided while they speak: the rule of `audio/speech.py` with levels known so far.

STEP_DB = 0.1  # how finely levels are counted
LOWEST_DB = -120.0


class LevelCounts:
    """How often each level was met: percentiles of a call of any length, to a tenth of a decibel."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(-LOWEST_DB / STEP_DB) + 201, np.int64)  # up to +20 dBFS, as floats allow

    def add(self, levels_db: np.ndarray) -> None:
        """Count levels, (any,)."""
        places = np.clip(np.rint((levels_db - LOWEST_DB) / STEP_DB), 0, self._counts.size - 1).astype(np.int64)
        np.add.at(self._counts, places, 1)

    def percentile(self, share: float, above_db: float = LOWEST_DB) -> float | None:
        """The level in dB that `share` of those over `above_db` do not pass, between two as `np.percentile` goes.

        None where there is none.
        """
        first = max(0, int(np.ceil((above_db - LOWEST_DB) / STEP_DB)))
        reached = np.cumsum(self._counts[first:])
        if not reached[-1]:
            return None
        rank = share * (reached[-1] - 1)
        low, high = np.searchsorted(reached, [np.floor(rank), np.ceil(rank)], side="right")
        return float(LOWEST_DB + STEP_DB * (first + low + (high - low) * (rank - np.floor(rank))))

    def reached_by(self, count: int) -> float:
        """The level in dB that so many of the loudest reach, or all of them where they are fewer."""
        reached = np.cumsum(self._counts[::-1])
        place = int(np.searchsorted(reached, min(count, int(reached[-1]))))
        return LOWEST_DB + STEP_DB * (self._counts.size - 1 - place)


class ActivityStream:
    """A waveform in pieces in; the speech in it out.

    Direct current and levels are those of all the sound so far, where a recording's are those of the whole of it:
    given everything in one piece, it decides as `find_speech` does, but for the rounding of levels to `STEP_DB`.
    """

    def __init__(self, voice_activity: str = DEFAULT_ACTIVITY) -> None:
        """Take the name of the detector that decides, `DEFAULT_ACTIVITY` being WebRTC's."""
        self._detector = open_voice_activity(voice_activity)
        self._runs = SpeechRuns()
        self._waiting = np.zeros(0, np.float32)  # samples short of a frame
        self._undecided = np.zeros((0, FRAME), np.float32)
        self._undecided_from = 0  # frame
        self._sum, self._square, self._samples = 0.0, 0.0, 0
        self._speech_square, self._speech_samples = 0.0, 0
        self._peaks_db, self._levels_db, self._speech_db = LevelCounts(), LevelCounts(), LevelCounts()
        self._rare = False  # whether only the loudest second so far can be speech
        self.restarts = 0
        """How often all that had been taken for speech turned out to be the room, and was forgotten."""

    @property
    def speaking(self) -> bool:
        """Whether the last frames belong to a phrase."""
        return self._runs.speaking

    @property
    def speech_samples(self) -> int:
        """How much speech was given out."""
        return self._speech_samples

    @property
    def rms(self) -> float:
        """The level of all sound so far without direct current, full scale being 1."""
        if not self._samples:
            return 0.0
        return float(np.sqrt(max(0.0, self._square / self._samples - (self._sum / self._samples) ** 2)))

    @property
    def loud_db(self) -> float:
        """The level that decisions go by now, in dB over full scale; the lowest before the first frame."""
        loud_db = self._peaks_db.percentile(LOUD_SHARE)
        if loud_db is None:
            return LOWEST_DB
        return self._peaks_db.reached_by(RARE_FRAMES) if self._rare else loud_db

    def snr_db(self) -> float | None:
        """`speech.snr_db` of all so far; None before the first speech."""
        if not self._speech_samples:
            return None
        speech_power = self._speech_square / self._speech_samples + FLOOR_POWER
        ground_db = self._levels_db.percentile(QUIET_SHARE, above_db=10 * np.log10(10 * FLOOR_POWER))
        ground = FLOOR_POWER if ground_db is None else 10 ** (ground_db / 10)
        return 10 * float(np.log10(max(speech_power - ground, FLOOR_POWER) / ground))

    def push(self, waveform: FloatArray) -> FloatArray:
        """The next piece, (samples,); the speech that is certain now, (samples,), without direct current."""
        self._sum += float(np.sum(waveform, dtype=np.float64))
        self._square += float(np.sum(np.square(waveform, dtype=np.float64)))
        self._samples += waveform.size
        whole = np.concatenate([self._waiting, waveform])
        count = whole.size // FRAME
        self._waiting = whole[count * FRAME :]
        if not count:
            return np.zeros(0, np.float32)
        framed = whole[: count * FRAME].reshape(count, FRAME) - np.float32(self._sum / self._samples)
        self._undecided = np.concatenate([self._undecided, framed])
        decisions = self._decide(framed)
        self._forget_the_room()
        speech = self._keep(decisions)
        power = np.mean(np.square(speech.reshape(-1, FRAME), dtype=np.float64), axis=1)
        self._speech_db.add(10 * np.log10(power + 1e-12))
        self._speech_samples += speech.size
        self._speech_square += FRAME * float(power.sum())
        return speech

    def _forget_the_room(self) -> None:
        """Forget what was taken for speech before anybody spoke: half of it is no louder than the room is."""
        if not self._rare:
            return
        speech_db, loud_db = self._speech_db.percentile(0.5), self._levels_db.percentile(LOUD_SHARE)
        if speech_db is not None and loud_db is not None and speech_db <= loud_db:
            self._speech_square, self._speech_samples, self._speech_db = 0.0, 0, LevelCounts()
            self.restarts += 1

    def _decide(self, framed: FloatArray) -> np.ndarray:
        """Whether each frame is loud enough and a voice, (frames, samples) -> (frames,) bool."""
        power = np.mean(np.square(framed, dtype=np.float64), axis=1)
        level_db = 10 * np.log10(power + 1e-12)
        self._peaks_db.add(20 * np.log10(np.abs(framed).max(axis=1) + 1e-9))
        self._levels_db.add(level_db)
        quiet_db, room_db, peak_db = (self._peaks_db.percentile(share) or 0.0 for share in (*ROOM_SHARES, LOUD_SHARE))
        self._rare = is_rare(quiet_db, room_db, peak_db, self._peaks_db.reached_by(RARE_FRAMES))
        loud_db = self._levels_db.percentile(LOUD_SHARE)
        assert loud_db is not None, "levels were just counted"
        loud_db = self._levels_db.reached_by(RARE_FRAMES) if self._rare else loud_db
        _, voiced = voiced_frames(self._detector, framed, TARGET_PEAK / 10 ** (self.loud_db / 20))
        # A muted microphone's own noise, brought to the level of speech, would pass for it until somebody speaks.
        return np.asarray(voiced & (level_db > max(loud_db - GATE_DB, 20 * np.log10(SILENCE_RMS))))

    def _keep(self, decisions: np.ndarray) -> FloatArray:
        """The frames that are speech now, joined, (samples,); those that never will be are forgotten."""
        first = self._undecided_from
        kept = [self._undecided[start - first : stop - first] for start, stop in self._runs.push(decisions)]
        speech = np.concatenate(kept).reshape(-1) if kept else np.zeros(0, np.float32)
        self._undecided_from = self._runs.undecided_from
        self._undecided = self._undecided[self._undecided_from - first :].copy()  # not a view on everything before
        return speech


# --- From channels as they arrive to the speech in them, with what is to be known about the sound.

SETTLED_SECONDS = 60  # of one or two channels, accordingly less of more: at most 8 MB
LEVEL_CHANGE_DB = 2.0  # decisions made at a level this far from the present one are made again
MOST_RECONSIDERED_SECONDS = 9  # of speech: to encode more anew would be seen as a halt, and changes little
LINE_SAMPLES = 4 * SAMPLE_RATE  # of speech tell the line it came over; see `high_band_db`


class SpeechStream:
    """One speaker's sound since the beginning.

    Up to `SETTLED_SECONDS` the sound itself is kept, so that decisions can be made again when more is known; after
    that nothing but sums, counts and the last half second.
    """

    def __init__(self, *, pauses: bool = False, voice_activity: str = DEFAULT_ACTIVITY) -> None:
        """Begin without sound.

        Args:
            pauses: `push` and `reconsider` give all the sound, as a model wants it that encodes pauses as well.
            voice_activity: name of the detector that decides what is speech.

        Raises:
            InvalidOption: there is no such detector.
        """
        self._pauses, self._voice_activity = pauses, voice_activity
        self._mix = ChannelMix()
        self._activity = ActivityStream(voice_activity)
        self._sound: list[FloatArray] | None = []  # (channels, samples) each; None after the settled seconds
        self._samples = 0
        self._decided_db: float | None = None
        self._line = np.zeros(0, np.float32)  # the first speech
        self._line_measured = 0  # samples
        self._high_band_db: float | None = None
        self._restarts = 0  # of the activity before it was decided again

    @property
    def seconds(self) -> float:
        """Seconds of sound."""
        return self._samples / SAMPLE_RATE

    @property
    def speech_seconds(self) -> float:
        """Seconds of speech."""
        return self._activity.speech_samples / SAMPLE_RATE

    @property
    def restarts(self) -> int:
        """How often what had been taken for speech turned out to be the room: what was encoded of it is void then."""
        return self._restarts + self._activity.restarts

    @property
    def speaking(self) -> bool:
        """Whether the last half second belongs to a phrase."""
        return self._activity.speaking

    def push(self, channels: FloatArray) -> FloatArray:
        """The next piece, (channels, samples) at 16 kHz; what is to be encoded of it, (samples,).

        That is the speech that is certain now, or with `pauses` the whole piece.
        """
        if not channels.size:
            return np.zeros(0, np.float32)
        self._samples += channels.shape[1]
        if self._sound is not None:
            self._sound.append(channels)
            if self._samples * max(2, len(channels)) > SETTLED_SECONDS * SAMPLE_RATE * 2:
                self._sound = None
        waveform, before = self._mix.push(channels), self.restarts
        speech = self._activity.push(waveform)
        if self.restarts > before:
            self._line, self._line_measured, self._high_band_db = np.zeros(0, np.float32), 0, None
        speech = self._kept(speech)
        return waveform if self._pauses else speech

    def reconsider(self) -> FloatArray | None:
        """What is to be encoded of all sound so far, (samples,), decided again; None where nothing would be gained.

        The level is what it was, the sound is gone, or so much is to be encoded that its beginning matters little; or,
        with `pauses`, the same would be encoded again, whatever is speech in it.
        """
        level_db = self._activity.loud_db
        if self._sound is None or not self._samples:
            return None
        if self._decided_db is not None and abs(level_db - self._decided_db) < LEVEL_CHANGE_DB:
            return None
        self._decided_db = level_db
        self._sound = [recording.joined(self._sound)]
        mix_again, activity = ChannelMix(), ActivityStream(self._voice_activity)
        waveform = mix_again.push(self._sound[0])
        speech = activity.push(waveform)
        encoded = waveform if self._pauses else speech
        changes_nothing = self._pauses and self._mix.changes_nothing
        if encoded.size > MOST_RECONSIDERED_SECONDS * SAMPLE_RATE and not changes_nothing:
            return None
        self._restarts = self.restarts - activity.restarts
        self._mix, self._activity = mix_again, activity
        self._line, self._line_measured = np.zeros(0, np.float32), 0
        self._kept(speech)
        return None if changes_nothing else encoded

    def recorded(self) -> FloatArray | None:
        """All sound so far as the waveform of a recording, (samples,); None where it is gone, or there was none."""
        return recording.mix(recording.joined(self._sound)) if self._sound else None

    def settle(self) -> Activity | None:
        """The speech as a recording's; None where the sound is gone and what was decided stays.

        Raises:
            SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
        """
        if (waveform := self.recorded()) is not None:
            return require_speech(waveform, voice_activity=self._voice_activity)
        if not self.speech_seconds:
            refuse_silence(self._activity.rms)
        refuse_too_little(self.speech_seconds)
        return None

    def snr_db(self) -> float | None:
        """As `speech.snr_db`, of all sound so far; None before the first speech."""
        return self._activity.snr_db()

    def high_band_db(self) -> float | None:
        """As `speech.high_band_db`, of the first speech; measured anew with every second of it."""
        grown = self._line.size - self._line_measured
        if self._line.size >= WINDOW and (grown >= SAMPLE_RATE or (grown and self._line.size == LINE_SAMPLES)):
            self._high_band_db, self._line_measured = high_band_db(self._line), self._line.size
        return self._high_band_db

    def _kept(self, speech: FloatArray) -> FloatArray:
        missing = LINE_SAMPLES - self._line.size
        if missing and speech.size:
            self._line = np.concatenate([self._line, speech[:missing]])
        return speech


# --- Encoded sound as it arrives, such as a browser's recorder sends it, decoded while it comes.
# FFmpeg asks for bytes where it likes, so it runs in a thread of its own that waits for them. Whoever pushes waits
# until that thread wants more: nothing piles up between the two, and what a push returns does not depend on the
# machine's load.

Container = Literal["webm", "ogg", "mp4"]
DEMUXERS: dict[str, str] = {"webm": "matroska", "ogg": "ogg", "mp4": "mp4"}  # FFmpeg's names for what reads them
MAX_CHUNK_SECONDS = MAX_RECORDING_SECONDS  # a few kilobytes of silence can claim to be hours
PROBE_BYTES = 64 * 1024  # the header of such a stream is a few hundred bytes; cover pictures are not sent
CLOSING_SECONDS = 10.0
MOST_MUTE_BYTES = 4 * 2**20  # without a sample of sound among them: more than any header has
# What browsers and recorders stream. A container may name any of a hundred decoders, and here they run beside others.
STREAMED_CODECS = frozenset(
    {"opus", "libopus", "vorbis", "flac", "aac", "alac", "mp3", "mp3float", "speex", "libspeex"}
)


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
        self._mute_bytes = 0  # since the last sample
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
        ready, self._blocks = recording.joined(self._blocks), []
        self._mute_bytes = 0 if ready.size else self._mute_bytes + len(chunk)
        if self._mute_bytes > MOST_MUTE_BYTES:
            self.close()
            raise CorruptRecording(f"{self._mute_bytes} bytes of the stream held no sound; send it again")
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

        options = recording.OPEN_OPTIONS | {"probesize": str(PROBE_BYTES)}
        resampler, lost_seconds = recording.StreamResampler("the stream"), 0.0
        demuxer = DEMUXERS[self.source.container]
        with av.open(self._feed, mode="r", format=demuxer, options=options, **recording.any_tags()) as container:
            if not container.streams.audio:
                raise NoAudioStream("the stream has no sound in it; send one with a voice")
            stream = container.streams.audio[0]
            if getattr(stream, "codec_context", None) is None:
                raise CorruptRecording("the stream's codec cannot be decoded; send Opus")
            codec = stream.codec_context.name
            if codec not in STREAMED_CODECS and not codec.startswith("pcm_"):
                raise CorruptRecording(f"the codec {codec} is not streamed; send Opus")
            for packet in container.demux(stream):
                try:
                    frames = stream.decode(packet)
                except av.FFmpegError:
                    lost_seconds += max(
                        float((packet.duration or 0) * (packet.time_base or 0)), recording.LEAST_PACKET_SECONDS
                    )
                    if lost_seconds > recording.LOST_SECONDS:
                        raise
                    continue
                for frame in frames:
                    self._keep(resampler.push(frame))
                if self._closed:
                    return
        self._keep(resampler.finish())

    def _keep(self, blocks: list[FloatArray]) -> None:
        for block in blocks:
            if len(block) > recording.MAX_CHANNELS:
                raise CorruptRecording(
                    f"the stream has {len(block)} channels; up to {recording.MAX_CHANNELS} can be heard"
                )
            self._blocks.append(block)
            self._seconds += block.shape[1] / SAMPLE_RATE
            if self._seconds > MAX_CHUNK_SECONDS:
                raise RecordingTooLong(f"one piece of the stream holds over {MAX_CHUNK_SECONDS:.0f} s of sound")
