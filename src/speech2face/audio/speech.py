"""Where in a recording somebody speaks, and whether there is anything to hear at all."""

from dataclasses import dataclass

import numpy as np

from speech2face.audio.spectrogram import FFT_SIZE, SAMPLE_RATE, FloatArray, stft
from speech2face.errors import NoSpeech, SilentRecording, TooLittleSpeech
from speech2face.limits import MIN_SPEECH_SECONDS

FRAME = SAMPLE_RATE * 30 // 1000  # 30 ms, the longest frame WebRTC's detector takes: the steadiest decision
AGGRESSIVENESS = 1  # of 0..3; noise that passes is refused later by the voice encoder's own "voice" reading
PADDING_FRAMES = 3  # 90 ms kept on both sides of speech: soft onsets and final consonants
MIN_GAP_FRAMES = 10  # pauses shorter than 300 ms are part of the phrase
MIN_RUN_FRAMES = 4  # a lone burst under 120 ms is a click, not a word
SILENCE_RMS = 10 ** (-70 / 20)  # -70 dBFS: the noise floor of a muted 16-bit input
TARGET_PEAK = 0.5  # WebRTC's detector knows absolute levels, so whispers and shouts are brought to one level first
GATE_DB = 38.0  # frames this far under the loud ones are background even where WebRTC hears speech
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


def speech_frames(waveform: FloatArray) -> np.ndarray:
    """WebRTC's decision with an energy gate for every whole 30 ms, (samples,) -> (frames,) bool."""
    import webrtcvad

    count = waveform.size // FRAME
    if count == 0:
        return np.zeros(0, bool)
    framed = waveform[: count * FRAME].reshape(count, FRAME)
    # The 95th percentile of the frames' peaks, not the peak: one click must not turn the voice down.
    loud = float(np.percentile(np.abs(framed).max(axis=1), 95))
    scaled = np.clip(framed * (TARGET_PEAK / max(loud, 1e-9)), -1.0, 1.0)
    pcm = (scaled * 32767).astype("<i2")
    detector = webrtcvad.Vad(AGGRESSIVENESS)
    heard = np.fromiter((detector.is_speech(frame.tobytes(), SAMPLE_RATE) for frame in pcm), bool, count)
    level_db = 10 * np.log10(np.mean(scaled.astype(np.float64) ** 2, axis=1) + 1e-12)
    return np.asarray(heard & (level_db > np.percentile(level_db, 95) - GATE_DB))


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Half-open ranges where `mask` is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def find_speech(waveform: FloatArray) -> Activity:
    """Locate the speech in a waveform, (samples,) at 16 kHz; without refusing anything.

    Direct current is removed for the decision and for what is kept; what a model hears is `portrait.hear`'s matter.
    """
    waveform = waveform - np.mean(waveform, dtype=np.float64).astype(np.float32) if waveform.size else waveform
    mask = speech_frames(waveform)
    runs = [run for run in _runs(mask) if run[1] - run[0] >= MIN_RUN_FRAMES]
    padded: list[tuple[int, int]] = []
    for start, stop in runs:
        start, stop = max(0, start - PADDING_FRAMES), min(mask.size, stop + PADDING_FRAMES)
        if padded and start - padded[-1][1] < MIN_GAP_FRAMES:
            padded[-1] = (padded[-1][0], stop)
        else:
            padded.append((start, stop))
    return Activity(waveform, tuple((start * FRAME, stop * FRAME) for start, stop in padded))


def require_speech(waveform: FloatArray, min_speech_seconds: float = MIN_SPEECH_SECONDS) -> Activity:
    """Locate the speech and refuse a recording with too little of it.

    Raises:
        SilentRecording: nothing is louder than the noise floor of a muted input.
        NoSpeech: sound, but nowhere a voice.
        TooLittleSpeech: under `min_speech_seconds` of speech.
    """
    centred = waveform - waveform.mean(dtype=np.float64) if waveform.size else waveform
    refuse_silence(float(np.sqrt(np.mean(np.square(centred, dtype=np.float64)))) if waveform.size else 0.0)
    activity = find_speech(waveform)
    refuse_too_little(activity.seconds, min_speech_seconds)
    return activity


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


# --------------------------------------------------------------------------------------------------
# How good a recording is for judging a voice: noise and bandwidth, measured, not guessed from the format.
# --------------------------------------------------------------------------------------------------

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
    power = np.mean(np.square(framed, dtype=np.float64), axis=1) + FLOOR_POWER
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
