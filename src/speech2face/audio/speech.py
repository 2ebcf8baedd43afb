"""Where in a recording somebody speaks, and whether there is any speech at all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import FFT_SIZE, SAMPLE_RATE, FloatArray, stft
from speech2face.errors import InvalidOption, NoSpeech, SilentRecording, TooLittleSpeech
from speech2face.inputs import described
from speech2face.limits import MIN_SPEECH_SECONDS

FRAME = SAMPLE_RATE * 30 // 1000  # 30 ms, the longest frame WebRTC's detector takes: the steadiest decision
AGGRESSIVENESS = 1  # of 0..3; noise that passes is refused later by the voice encoder's own "voice" reading
PADDING_FRAMES = 3  # 90 ms kept on both sides of speech: soft onsets and final consonants
MIN_GAP_FRAMES = 10  # pauses shorter than 300 ms are part of the phrase
MIN_RUN_FRAMES = 4  # a lone burst under 120 ms is a click, not a word
FRAMES_AT_ONCE = 10_000  # five minutes
SILENCE_RMS = 10 ** (-70 / 20)  # -70 dBFS: the noise floor of a muted 16-bit input
TARGET_PEAK = 0.5  # WebRTC's detector knows absolute levels, so whispers and shouts are brought to one level first
GATE_DB = 38.0  # frames this far under the loud ones are background even where WebRTC finds speech
LOUD_SHARE = 0.95  # of the frames' peaks, not the peak: one click must not turn the voice down
# Where somebody speaks for less than that share of a long recording, its level is that of the room, which brought to
# the level of speech passes for it. There the loudest second decides, as much as is needed of a voice.
RARE_FRAMES = round(MIN_SPEECH_SECONDS * SAMPLE_RATE / FRAME)
RARE_OVER_DB = 15.0  # of the loudest second over all the rest ...
ROOM_SHARES = (0.1, 0.9)  # ... where nine tenths are a room's: far-off speech with a door that slams is none
ROOM_SPREAD_DB = 8.0  # between the two; steady noise has half as much
DEFAULT_ACTIVITY = "webrtc"  # the driver of the kind `voice_activity` that decides where none is named
Spans = tuple[tuple[int, int], ...]
"""Half-open ranges of samples, in order."""


@dataclass(frozen=True)
class Activity:
    """Stretches of speech in one waveform.

    `spans` are half-open sample ranges in order; `waveform` is the recording they index, (samples,).
    """

    waveform: FloatArray
    spans: Spans

    @property
    def seconds(self) -> float:
        """Seconds of speech."""
        return sum(stop - start for start, stop in self.spans) / SAMPLE_RATE

    def speech(self) -> FloatArray:
        """All the speech joined, (samples,)."""
        if not self.spans:
            return np.zeros(0, np.float32)
        return np.concatenate([self.waveform[start:stop] for start, stop in self.spans])

    def background(self) -> FloatArray:
        """Everything that is not speech joined, (samples,)."""
        keep = np.ones(self.waveform.size, bool)
        for start, stop in self.spans:
            keep[start:stop] = False
        return self.waveform[keep]


class VoiceActivity(Protocol):
    """Tells frames of 30 ms with a voice from those without, in the order in which they were recorded.

    A driver of the kind `voice_activity` is a class, or any callable without arguments, that makes one for each
    recording or call: what it remembers of the frames before is its own.
    """

    def decide(self, frames: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Return whether each of the next frames holds a voice, (frames, 480) int16 at 16 kHz -> (frames,) bool.

        The loudest frames reach about half of full scale, whatever the recording's own level is. What is decided for
        a frame must not depend on how many frames come in one call.
        """
        ...


class WebRtcActivity:
    """The detector of WebRTC: a mixture of Gaussians over the power of six bands (the package `webrtcvad`)."""

    def __init__(self) -> None:
        import webrtcvad

        self._detector = webrtcvad.Vad(AGGRESSIVENESS)

    def decide(self, frames: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Return WebRTC's decision for each of the next frames, (frames, 480) -> (frames,)."""
        decisions = (self._detector.is_speech(frame.astype("<i2").tobytes(), SAMPLE_RATE) for frame in frames)
        return np.fromiter(decisions, bool, len(frames))


def open_voice_activity(name: str = DEFAULT_ACTIVITY) -> VoiceActivity:
    """Return a new detector by its name: WebRTC's, or one that another package adds by an entry point.

    Raises:
        InvalidOption: no detector has this name, or the package that brings it cannot be imported.
    """
    if name == DEFAULT_ACTIVITY:
        return WebRtcActivity()
    if not isinstance(name, str):
        raise InvalidOption(f"voice_activity is {described(name)}; give the name of a detector")
    from speech2face.drivers import KINDS  # finding other packages takes 20 ms, and most ask for none

    detector: VoiceActivity = KINDS["voice_activity"].load(name)()
    return detector


def check_voice_activity(driver: Callable[[], VoiceActivity]) -> None:
    """Check a driver of the kind `voice_activity`: what it returns, and that only the sound decides.

    Raises:
        AssertionError: it does not keep to `VoiceActivity`; the message says where.
    """
    assert callable(driver), "the driver is a class, or a callable without arguments, that makes a detector"
    rng = np.random.default_rng(0)
    swell = np.repeat([0.0, 0.5, 0.01, 0.3], 20)[:, None]
    frames = (swell * rng.uniform(-1, 1, (80, FRAME)) * 32767).astype(np.int16)
    kept = frames.copy()
    whole = np.asarray(driver().decide(frames))
    assert whole.shape == (80,), f"decide returned the shape {whole.shape} for 80 frames, not (80,)"
    assert whole.dtype == bool, f"decide returned {whole.dtype}, not bool"
    assert (frames == kept).all(), "decide changed the frames that it was given"
    assert (np.asarray(driver().decide(frames)) == whole).all(), "two new detectors decide differently about one sound"
    detector = driver()
    pieces = [np.asarray(detector.decide(frames[at : at + 7])) for at in range(0, 80, 7)]
    assert (np.concatenate(pieces) == whole).all(), "in pieces of seven frames the decisions are others than at once"
    assert np.asarray(driver().decide(frames[:0])).shape == (0,), "no frames must give no decisions, the shape (0,)"
    silence = np.asarray(driver().decide(np.zeros((100, FRAME), np.int16)))
    assert not silence[20:].any(), "digital silence is taken for a voice"


def voiced_frames(detector: VoiceActivity, framed: FloatArray, scale: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return frames (frames, 480) brought to the level at which a detector decides, and its decisions (frames,)."""
    scaled = np.clip(framed * np.float32(scale), -1.0, 1.0)
    return scaled, np.asarray(detector.decide((scaled * 32767).astype(np.int16)), bool)


def speech_frames(waveform: FloatArray, voice_activity: str = DEFAULT_ACTIVITY) -> NDArray[np.bool_]:
    """Return a detector's decision with an energy gate for every whole 30 ms, (samples,) -> (frames,) bool."""
    count = waveform.size // FRAME
    if count == 0:
        return np.zeros(0, bool)
    framed = waveform[: count * FRAME].reshape(count, FRAME)
    peaks = np.concatenate([np.abs(block).max(axis=1) for block in frame_blocks(framed)])
    loud, loudest = float(np.percentile(peaks, 100 * LOUD_SHARE)), _loudest_second(peaks)
    room = (float(np.percentile(peaks, 100 * share)) for share in ROOM_SHARES)
    rare = is_rare(*(20 * float(np.log10(peak + 1e-9)) for peak in (*room, loud, loudest)))
    loud = loudest if rare else loud
    detector, decided, levels = open_voice_activity(voice_activity), [], []
    for block in frame_blocks(framed):
        scaled, voiced = voiced_frames(detector, block, TARGET_PEAK / max(loud, 1e-9))
        decided.append(voiced)
        levels.append(10 * np.log10(np.mean(scaled.astype(np.float64) ** 2, axis=1) + 1e-12))
    level_db = np.concatenate(levels)
    loud_db = _loudest_second(level_db) if rare else np.percentile(level_db, 100 * LOUD_SHARE)
    return np.asarray(np.concatenate(decided) & (level_db > loud_db - GATE_DB))


def _loudest_second(levels: FloatArray) -> float:
    """The level that a second of the frames reaches, (frames,); of fewer frames the least of them."""
    place = max(0, levels.size - RARE_FRAMES)
    return float(np.partition(levels, place)[place])


def is_rare(quiet_db: float, room_db: float, loud_db: float, loudest_db: float) -> bool:
    """Return whether only the loudest second can be speech, and the level of a recording is that of a silent room.

    By the levels that `ROOM_SHARES` and `LOUD_SHARE` of its frames do not pass, and that of its loudest second.
    """
    return loudest_db - loud_db > RARE_OVER_DB and room_db - quiet_db < ROOM_SPREAD_DB


def frame_blocks(framed: FloatArray) -> Iterator[FloatArray]:
    """Frames (frames, 480) some minutes at a time: copies of hours of sound at once would be what takes the memory."""
    for start in range(0, len(framed), FRAMES_AT_ONCE):
        yield framed[start : start + FRAMES_AT_ONCE]


class SpeechRuns:
    """Which frames are kept as speech, decided frame by frame: runs of a voice that are long enough, and their edges.

    A run under `MIN_RUN_FRAMES` is a click; `PADDING_FRAMES` are kept on both sides of the others, and pauses under
    `MIN_GAP_FRAMES` between them.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._run = 0
        self._run_end: int | None = None  # of the last run that was long enough, exclusive
        self._kept_to = 0

    @property
    def speaking(self) -> bool:
        """Whether the last frames belong to a phrase, its short pauses included."""
        return self._run_end is not None and self.frames - self._run_end < PADDING_FRAMES + MIN_GAP_FRAMES

    @property
    def undecided_from(self) -> int:
        """The first frame that may still be kept; those before it have been, or never will be."""
        bridge = PADDING_FRAMES + MIN_GAP_FRAMES + PADDING_FRAMES + MIN_RUN_FRAMES
        if self._run_end is not None and self.frames - self._run_end <= bridge:
            return self._kept_to
        return max(self._kept_to, self.frames - PADDING_FRAMES - MIN_RUN_FRAMES)

    def push(self, decisions: NDArray[np.bool_]) -> Spans:
        """Take the next frames' decisions, (frames,); return the spans of frames that are kept from now on, in order.

        A span that goes on where the last one ended is part of it.
        """
        spans: list[tuple[int, int]] = []
        for voiced in decisions.tolist():
            start = self._kept_from(voiced)
            if start is None:
                continue
            if spans and spans[-1][1] == start:
                start, _ = spans.pop()
            spans.append((start, self.frames))
            self._kept_to = self.frames
        return tuple(spans)

    def _kept_from(self, voiced: bool) -> int | None:
        """Take one frame; return the first of the frames that are kept with it, or None where it is not kept now."""
        at, self.frames = self.frames, self.frames + 1
        self._run = self._run + 1 if voiced else 0
        if self._run >= MIN_RUN_FRAMES:
            start = max(0, at + 1 - self._run - PADDING_FRAMES)
            if self._run_end is not None and start - (self._run_end + PADDING_FRAMES) < MIN_GAP_FRAMES:
                start = self._kept_to
            self._run_end = at + 1
            return start
        return at if self._run_end is not None and at < self._run_end + PADDING_FRAMES else None


def find_speech(waveform: FloatArray, *, voice_activity: str = DEFAULT_ACTIVITY) -> Activity:
    """Locate the speech in a waveform, (samples,) at 16 kHz, without refusing anything.

    Direct current is removed for the decision and for what is kept; what a model is given, `encode_speech` decides.
    The frames kept are those of `SpeechRuns`, as in a call. The levels by which frames are judged are exact and those
    of the whole recording, where a call knows only what came so far, to a tenth of a decibel.

    Raises:
        InvalidOption: no detector is called `voice_activity`.
    """
    waveform = waveform - np.mean(waveform, dtype=np.float64).astype(np.float32) if waveform.size else waveform
    kept = SpeechRuns().push(speech_frames(waveform, voice_activity))
    return Activity(waveform, tuple((start * FRAME, stop * FRAME) for start, stop in kept))


def require_speech(
    waveform: FloatArray, min_speech_seconds: float = MIN_SPEECH_SECONDS, *, voice_activity: str = DEFAULT_ACTIVITY
) -> Activity:
    """Locate the speech and refuse a recording with too little of it.

    Raises:
        InvalidOption: no detector is called `voice_activity`.
        SilentRecording: nothing is louder than the noise floor of a muted input.
        NoSpeech: sound, but nowhere a voice.
        TooLittleSpeech: under `min_speech_seconds` of speech.
    """
    rms = _rms_without_direct_current(waveform)
    # A few words in an hour of digital silence are next to nothing in the mean.
    refuse_silence(rms if rms >= SILENCE_RMS else max(rms, _loudest_rms(waveform)))
    activity = find_speech(waveform, voice_activity=voice_activity)
    refuse_too_little(activity.seconds, min_speech_seconds)
    return activity


def _rms_without_direct_current(waveform: FloatArray) -> float:
    mean = waveform.mean(dtype=np.float64) if waveform.size else 0.0
    size = FRAMES_AT_ONCE * FRAME
    blocks = (waveform[start : start + size] for start in range(0, waveform.size, size))
    return float(np.sqrt(sum(float(np.square(block - mean).sum()) for block in blocks) / max(1, waveform.size)))


def _loudest_rms(waveform: FloatArray) -> float:
    """The level that a second of a waveform's frames reaches; 0 where it is shorter."""
    framed = waveform[: waveform.size // FRAME * FRAME].reshape(-1, FRAME)
    if len(framed) < RARE_FRAMES:
        return 0.0
    mean = waveform.mean(dtype=np.float64)
    power = np.concatenate([np.square(block - mean).mean(axis=1) for block in frame_blocks(framed)])
    return float(np.sqrt(_loudest_second(power)))


def refuse_silence(rms: float) -> None:
    """Refuse sound of this level, full scale being 1.

    Raises:
        SilentRecording: nothing is louder than the noise floor of a muted input.
    """
    if rms < SILENCE_RMS:
        raise SilentRecording("the recording is silent; check the microphone or pick another recording")


def refuse_too_little(seconds: float, min_speech_seconds: float = MIN_SPEECH_SECONDS) -> None:
    """Refuse so many seconds of speech.

    Raises:
        NoSpeech: none at all.
        TooLittleSpeech: under `min_speech_seconds`.
    """
    if not seconds:
        raise NoSpeech("no speech was found in the recording; it needs somebody talking")
    if seconds < min_speech_seconds:
        raise TooLittleSpeech(
            f"only {seconds:.1f} s of speech were found, at least {min_speech_seconds:.1f} s are needed;"
            " give a longer recording"
        )


# --- How good a recording is for judging a voice: noise and bandwidth, measured, not guessed from the format.

TELEPHONE_EDGE_HZ = 4000.0
VOICE_BAND_HZ = (300.0, 3400.0)
QUIET_SHARE = 0.05  # the quietest twentieth of the frames is the ground noise: nobody speaks without a gap
FLOOR_POWER = 1e-10  # -100 dBFS: below 16-bit quantisation, where digital silence would give minus infinity


def snr_db(activity: Activity) -> float:
    """Signal-to-noise ratio: level of the speech over the level of the quietest frames, in decibels.

    An upper bound for speech without gaps; digital silence in gaps counts as a clean recording.
    """
    count = activity.waveform.size // FRAME
    framed = activity.waveform[: count * FRAME].reshape(count, FRAME)
    blocks = [np.mean(np.square(block, dtype=np.float64), axis=1) for block in frame_blocks(framed)]
    power = np.concatenate([np.zeros(0), *blocks]) + FLOOR_POWER
    speech_power = float(np.mean(np.square(activity.speech(), dtype=np.float64))) + FLOOR_POWER
    # Digital silence is a gate or a cut, not the room: it says nothing about the noise under the voice.
    audible = power[power > 10 * FLOOR_POWER]
    ground = float(np.quantile(audible, QUIET_SHARE)) if audible.size else FLOOR_POWER
    return 10 * float(np.log10(max(speech_power - ground, FLOOR_POWER) / ground))


def high_band_db(speech: FloatArray) -> float:
    """Power density above 4 kHz relative to that of the voice band, in decibels; a telephone has nothing there."""
    transform = stft(speech[: 4 * SAMPLE_RATE])  # four seconds tell the line; the rest only costs time
    power = np.mean(transform.real**2 + transform.imag**2, axis=0)  # (frequency,)
    hertz = np.arange(power.size) * SAMPLE_RATE / FFT_SIZE
    low, high = VOICE_BAND_HZ
    above = power[(hertz > TELEPHONE_EDGE_HZ * 1.06) & (hertz < 7600)].mean()
    within = power[(hertz >= low) & (hertz <= high)].mean()
    return 10 * float(np.log10((above + 1e-20) / (within + 1e-20)))
