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

    def percentile(self, share: float) -> float:
        """The level that `share` of all do not pass, in dB."""
        reached = np.cumsum(self._counts)
        rank = share * (reached[-1] - 1)
        low = int(np.searchsorted(reached, np.floor(rank), side="right"))
        high = int(np.searchsorted(reached, np.ceil(rank), side="right"))
        return LOWEST_DB + STEP_DB * (low + (high - low) * (rank - np.floor(rank)))


class SpeechRuns:
    """Which frames are kept as speech, one by one: the spans that `audio/activity.py` makes of all of them."""

    def __init__(self) -> None:
        self.frames = 0
        self._run = 0
        self._run_end: int | None = None  # of the last run that was long enough, exclusive
        self._kept_to = 0

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

    Direct current and levels are those of all that was heard so far, where a recording's are those of the whole of it.
    """

    def __init__(self) -> None:
        import webrtcvad

        self._detector = webrtcvad.Vad(AGGRESSIVENESS)
        self._runs = SpeechRuns()
        self._waiting = np.zeros(0, np.float32)  # samples short of a frame
        self._undecided = np.zeros((0, FRAME), np.float32)
        self._undecided_from = 0
        self._sum = 0.0
        self._samples = 0
        self.peaks_db = LevelCounts()
        self.levels_db = LevelCounts()
        self.speaking = False

    def push(self, waveform: FloatArray) -> FloatArray:
        """The next piece, (samples,); the speech that is certain now, (samples,), without direct current."""
        self._sum += float(np.sum(waveform, dtype=np.float64))
        self._samples += waveform.size
        joined = np.concatenate([self._waiting, waveform])
        count = joined.size // FRAME
        self._waiting = joined[count * FRAME :]
        if not count:
            return np.zeros(0, np.float32)
        framed = joined[: count * FRAME].reshape(count, FRAME) - np.float32(self._sum / self._samples)
        self._undecided = np.concatenate([self._undecided, framed])
        return self._keep(self._heard(framed))

    def _heard(self, framed: FloatArray) -> np.ndarray:
        """Decisions, (frames, samples) -> (frames,) bool."""
        peaks = np.abs(framed).max(axis=1)
        level_db = 10 * np.log10(np.mean(framed.astype(np.float64) ** 2, axis=1) + 1e-12)
        self.peaks_db.add(20 * np.log10(peaks + 1e-9))
        self.levels_db.add(level_db)
        loud = 10 ** (self.peaks_db.percentile(LOUD_SHARE) / 20)
        pcm = (np.clip(framed * (TARGET_PEAK / max(loud, 1e-9)), -1.0, 1.0) * 32767).astype("<i2")
        speech = np.fromiter((self._detector.is_speech(f.tobytes(), SAMPLE_RATE) for f in pcm), bool, len(pcm))
        least_db = max(self.levels_db.percentile(LOUD_SHARE) - GATE_DB, 20 * np.log10(SILENCE_RMS))
        return np.asarray(speech & (level_db > least_db))

    def _keep(self, decisions: np.ndarray) -> FloatArray:
        kept = []
        for heard in decisions:
            span = self._runs.push(bool(heard))
            self.speaking = span is not None
            if span is not None:
                kept.append(self._undecided[span[0] - self._undecided_from : span[1] - self._undecided_from])
        passed = self._runs.undecided_from - self._undecided_from
        self._undecided, self._undecided_from = self._undecided[passed:].copy(), self._runs.undecided_from
        return np.concatenate(kept).reshape(-1) if kept else np.zeros(0, np.float32)
