"""Where somebody speaks, decided while they speak: the rule of `audio/activity.py` with levels known so far."""

import numpy as np

from speech2face.audio.activity import (
    AGGRESSIVENESS,
    FRAME,
    GATE_DB,
    MIN_GAP_FRAMES,
    MIN_RUN_FRAMES,
    PADDING_FRAMES,
    SILENCE_RMS,
    TARGET_PEAK,
)
from speech2face.audio.quality import FLOOR_POWER, QUIET_SHARE
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray

STEP_DB = 0.1  # how finely levels are counted
LOWEST_DB = -120.0
LOUD_SHARE = 0.95


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


class SpeechRuns:
    """Which frames are kept as speech, one by one: the spans that `audio/activity.py` makes of all of them."""

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

    def push(self, heard: bool) -> tuple[int, int] | None:
        """The next frame's decision; the frames that are kept from now on, half-open, or None."""
        at, self.frames = self.frames, self.frames + 1
        self._run = self._run + 1 if heard else 0
        if self._run >= MIN_RUN_FRAMES:
            start = max(0, at + 1 - self._run - PADDING_FRAMES)
            if self._run_end is not None and start - (self._run_end + PADDING_FRAMES) < MIN_GAP_FRAMES:
                start = self._kept_to
            self._run_end = at + 1
        elif self._run_end is not None and at < self._run_end + PADDING_FRAMES:
            start = at
        else:
            return None
        self._kept_to = at + 1
        return start, at + 1


class ActivityStream:
    """A waveform in pieces in; the speech in it out.

    Direct current and levels are those of all that was heard so far, where a recording's are those of the whole of it:
    given everything in one piece, it decides as `find_speech` does, but for the rounding of levels to `STEP_DB`.
    """

    def __init__(self) -> None:
        import webrtcvad

        self._detector = webrtcvad.Vad(AGGRESSIVENESS)
        self._runs = SpeechRuns()
        self._waiting = np.zeros(0, np.float32)  # samples short of a frame
        self._undecided = np.zeros((0, FRAME), np.float32)
        self._undecided_from = 0  # frame
        self._sum, self._square, self._samples = 0.0, 0.0, 0
        self._speech_square, self._speech_samples = 0.0, 0
        self._peaks_db, self._levels_db = LevelCounts(), LevelCounts()

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
        return LOWEST_DB if loud_db is None else loud_db

    def snr_db(self) -> float | None:
        """`quality.snr_db` of all so far; None before the first speech."""
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
        joined = np.concatenate([self._waiting, waveform])
        count = joined.size // FRAME
        self._waiting = joined[count * FRAME :]
        if not count:
            return np.zeros(0, np.float32)
        framed = joined[: count * FRAME].reshape(count, FRAME) - np.float32(self._sum / self._samples)
        self._undecided = np.concatenate([self._undecided, framed])
        speech = self._keep(self._decide(framed))
        self._speech_samples += speech.size
        self._speech_square += float(np.sum(np.square(speech, dtype=np.float64)))
        return speech

    def _decide(self, framed: FloatArray) -> np.ndarray:
        """Whether each frame is loud enough and a voice, (frames, samples) -> (frames,) bool."""
        power = np.mean(np.square(framed, dtype=np.float64), axis=1)
        level_db = 10 * np.log10(power + 1e-12)
        self._peaks_db.add(20 * np.log10(np.abs(framed).max(axis=1) + 1e-9))
        self._levels_db.add(level_db)
        loud_db = self._levels_db.percentile(LOUD_SHARE)
        assert loud_db is not None, "levels were just counted"
        scale = np.float32(TARGET_PEAK / 10 ** (self.loud_db / 20))
        pcm = (np.clip(framed * scale, -1.0, 1.0) * 32767).astype("<i2")
        voiced = np.fromiter((self._detector.is_speech(f.tobytes(), SAMPLE_RATE) for f in pcm), bool, len(pcm))
        # A muted microphone's own noise, brought to the level of speech, would pass for it until somebody speaks.
        return np.asarray(voiced & (level_db > max(loud_db - GATE_DB, 20 * np.log10(SILENCE_RMS))))

    def _keep(self, decisions: np.ndarray) -> FloatArray:
        """The frames that are speech now, joined, (samples,); those that never will be are forgotten."""
        spans = [span for heard in decisions if (span := self._runs.push(bool(heard))) is not None]
        first = self._undecided_from
        kept = [self._undecided[start - first : stop - first] for start, stop in spans]
        speech = np.concatenate(kept).reshape(-1) if kept else np.zeros(0, np.float32)
        self._undecided_from = self._runs.undecided_from
        self._undecided = self._undecided[self._undecided_from - first :].copy()  # not a view on everything before
        return speech
