"""Classical descriptors of a voice: pitch, harmonicity, cepstral statistics, modulation; one row a speaker.

They are no input of the encoder. They teach it twice: predicting them is one of its tasks (what phonetics knows to
carry age is then in its statistics), and a kernel regression on them is the teacher whose beliefs about age it distils.
"""

import argparse
import itertools
import logging
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.fft import dct

from recipes.starter.features import decode, spoken
from speech2face.audio.spectrogram import HOP, SAMPLE_RATE, FloatArray, stft
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.voice.compact import log_mel

logger = logging.getLogger(__name__)

PITCH_WINDOW = SAMPLE_RATE // 20  # 50 ms: three periods of the lowest voice
PITCH_RANGE_HZ = (60, 500)
VOICED = 0.5  # normalised autocorrelation; under it a frame has no pitch to speak of
MODULATION_EDGES_HZ = (0.5, 1.5, 3, 5, 8, 13, 20, 30, 50)
MAX_SECONDS = 15.0


def pitch_track(speech: FloatArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fundamental in hertz, normalised autocorrelation at its lag, and level in decibels, (frames,) each.

    Autocorrelation over its window's own (Boersma 1993).
    """
    window = np.hanning(PITCH_WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(speech, PITCH_WINDOW)[::HOP] * window
    size, longest = 2048, SAMPLE_RATE // PITCH_RANGE_HZ[0]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, size, axis=1)) ** 2, axis=1)[:, : longest + 1]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)[: longest + 1]
    normalised = correlation / (correlation[:, :1] + 1e-9) / (own / own[0])
    shortest = SAMPLE_RATE // PITCH_RANGE_HZ[1]
    within = normalised[:, shortest:]
    level_db = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    return SAMPLE_RATE / (within.argmax(1) + shortest), within.max(1), level_db


def voice_source(speech: FloatArray) -> np.ndarray:
    """Pitch level and range, harmonicity, short-time steadiness, voicing: (21,)."""
    pitch, strength, level_db = pitch_track(speech)
    voiced = (strength > VOICED) & (level_db > np.percentile(level_db, 30))
    if voiced.sum() < 10:  # a whisper: take its least noisy half
        voiced = strength >= np.median(strength)
    log_pitch = np.log(pitch[voiced])
    share = np.clip(strength, 0.01, 0.999)
    harmonicity_db = 10 * np.log10(share / (1 - share))[voiced]
    pairs = voiced[1:] & voiced[:-1]
    jumps = np.abs(np.diff(np.log(pitch)))[pairs]
    jumps = jumps[jumps < 0.15]  # larger ones are octave errors
    shimmer = np.abs(np.diff(level_db))[pairs]
    cepstrum = np.fft.irfft(np.log(np.abs(stft(speech)) ** 2 + 1e-9), axis=1)[:, :256]
    peak = np.abs(cepstrum[:, SAMPLE_RATE // PITCH_RANGE_HZ[1] :]).max(1)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]]))))[::2]

    def mean(values: np.ndarray) -> float:
        return float(values.mean()) if values.size else 0.0

    def middle(values: np.ndarray) -> float:
        return float(np.median(values)) if values.size else 0.0

    return np.array([
        *np.percentile(log_pitch, [5, 25, 50, 75, 95]), log_pitch.mean(), log_pitch.std(),
        *np.percentile(harmonicity_db, [10, 50, 90]), harmonicity_db.mean(),
        middle(jumps), mean(jumps), np.log(peak.mean() + 1e-6), *np.percentile(peak, [50, 90]),
        middle(shimmer), mean(shimmer), voiced.mean(), len(runs) / voiced.size, mean(runs),
    ])  # fmt: skip


def spectral_statistics(speech: FloatArray) -> np.ndarray:
    """Cepstral means and spreads, their speeds, modulation spectra and correlations, (362,)."""
    mel = log_mel(speech)
    mel = np.maximum(mel - np.log(np.exp(mel).mean()), -11.0)  # level-free
    cepstra = dct(mel, axis=1, norm="ortho")[:, :40]
    speed = cepstra[2:] - cepstra[:-2]
    acceleration = speed[2:] - speed[:-2]
    level = mel.mean(1)
    loud = level > np.percentile(level, 40)
    modulation = []
    size = max(1024, len(cepstra))
    hertz = np.linspace(0, 50, size // 2 + 1)
    for column in range(12):
        power = np.abs(np.fft.rfft(cepstra[:, column] - cepstra[:, column].mean(), size)) ** 2
        for low, high in itertools.pairwise(MODULATION_EDGES_HZ):
            modulation.append(np.log(power[(hertz >= low) & (hertz < high)].mean() / (power.mean() + 1e-9) + 1e-9))
    correlation = np.corrcoef(cepstra[:, :12].T)[np.triu_indices(12, 1)]
    return np.concatenate([
        cepstra.mean(0), cepstra[loud].mean(0) - cepstra.mean(0),
        *(np.log(part.std(0) + 1e-6) for part in (cepstra, speed, acceleration)),
        modulation, correlation,
    ])  # fmt: skip


def describe(speaker: Speaker) -> np.ndarray:
    """All descriptors of one speaker's recording, (383,): the voice source first."""
    speech = spoken(decode(speaker.file, MAX_SECONDS))
    speech = np.resize(speech, max(speech.size, SAMPLE_RATE))
    described = np.concatenate([voice_source(speech), spectral_statistics(speech)])
    return np.asarray(np.nan_to_num(described), np.float32)


def prepare(starter: Path, out: Path, workers: int) -> None:
    """Write `descriptors.npy`, (speakers, descriptors), in the corpus's order."""
    with get_context("fork").Pool(workers) as pool:
        rows = pool.map(describe, read_speakers(starter), chunksize=16)
    temporary = out / ".descriptors.tmp.npy"
    np.save(temporary, np.stack(rows))
    temporary.replace(out / "descriptors.npy")


def main() -> None:
    """Command line: python -m recipes.starter.descriptors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="the folder of packed features")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    prepare(arguments.starter, arguments.features, arguments.workers)


if __name__ == "__main__":
    main()
