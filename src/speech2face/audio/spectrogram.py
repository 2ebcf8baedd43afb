"""Front ends: the compressed complex spectrogram of the paper's encoder, and the log-mel energies of the starter's.

Source: Speech2Face (Oh et al., CVPR 2019), section 3.1: 16 kHz, Hann window of 25 ms, hop of 10 ms, 512 FFT bands, and
sgn(x)|x|^0.3 on the real and imaginary parts, so that 6 s give 598 x 257 x 2.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
SAMPLE_SCALE = 32_768  # 16-bit samples are a waveform in [-1, 1) times this; exact for what was 16-bit before
WINDOW = SAMPLE_RATE * 25 // 1000  # 25 ms = 400 samples
HOP = SAMPLE_RATE * 10 // 1000  # 10 ms = 160 samples
FFT_SIZE = 512  # the window is padded with zeros on the right
FREQUENCIES = FFT_SIZE // 2 + 1  # 257 one-sided bins, 0 Hz and 8 kHz included
COMPRESSION = 0.3
FloatArray = NDArray[np.float32]
# Periodic, as torch.hann_window makes it by default.
_HANN: FloatArray = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def frame_count(samples: int) -> int:
    """Number of whole frames in `samples` samples; there is no padding, so 96,000 samples give 598."""
    return max(0, (samples - WINDOW) // HOP + 1)


def stft(waveform: FloatArray) -> NDArray[np.complex64]:
    """Uncompressed short-time Fourier transform, (samples,) -> (frames, frequency).

    Frames are cut by hand: the libraries' calls without centring frame by the FFT size and give 597 frames for 6 s.
    """
    assert waveform.ndim == 1 and waveform.dtype == np.float32, "a waveform is mono float32"
    assert waveform.size >= WINDOW, "shorter than one window"
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]  # (frames, WINDOW)
    return np.fft.rfft(frames * _HANN, n=FFT_SIZE, axis=1).astype(np.complex64, copy=False)


def spectrogram(waveform: FloatArray) -> FloatArray:
    """Compressed complex spectrogram, (samples,) -> (2, frequency, frames); channel 0 real, channel 1 imaginary."""
    transform = stft(waveform)
    parts = np.stack([transform.real.T, transform.imag.T])  # (2, frequency, frames)
    return np.ascontiguousarray(np.copysign(np.abs(parts) ** np.float32(COMPRESSION), parts), dtype=np.float32)


# --- Speech that is shorter than wanted is repeated, then cut: Speech2Face (Oh et al., CVPR 2019), section 3.1.

Numbers = TypeVar("Numbers", bound=np.generic)


def tile(waveform: NDArray[Numbers], samples: int) -> NDArray[Numbers]:
    """Exactly `samples` samples from the beginning of a waveform (..., any), repeated where it is shorter.

    Any type of sample, so that 16-bit sound stays 16-bit.
    """
    length = waveform.shape[-1]
    assert length > 0, "nothing to repeat"
    if length >= samples:
        return waveform[..., :samples]
    times: tuple[Any, ...] = (1,) * (waveform.ndim - 1) + (-(-samples // length),)
    return np.tile(waveform, times)[..., :samples]


# --- The log-mel energies that the starter's voice encoder hears, by numpy alone: the front end of OpenAI's Whisper.
#
# Radford et al. 2022 take 80 mel bands of a power spectrum, its logarithm cut at eight decades under the loudest value.
# Here every stretch of speech is first brought to one mean energy, so that a louder voice gives the same numbers.

MEL_FFT_SIZE = SAMPLE_RATE * 25 // 1000  # 25 ms
BANDS = 80
MEL_FREQUENCIES = MEL_FFT_SIZE // 2 + 1
HIGHEST_HZ = SAMPLE_RATE / 2
DECADES = 8  # of energy under the loudest value are told apart
MEAN_ENERGY = 0.1  # of a stretch, the median of speech whose peak is 1: what Whisper was trained on is about as loud
LEAST_ENERGY = 1e-10

# Slaney's mel scale (Auditory Toolbox, 1998): linear up to 1 kHz, then logarithmic.
LINEAR_HZ = 200 / 3
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27


def mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    """Frequencies in hertz of values on Slaney's mel scale, of the same shape."""
    return np.where(mel < BREAK_MEL, mel * LINEAR_HZ, BREAK_HZ * np.exp(LOG_STEP * (mel - BREAK_MEL)))


@cache
def mel_filters() -> FloatArray:
    """Triangular filters of equal area from 0 to 8 kHz, (BANDS, MEL_FREQUENCIES)."""
    highest = BREAK_MEL + np.log(HIGHEST_HZ / BREAK_HZ) / LOG_STEP
    edges = mel_to_hertz(np.linspace(0, highest, BANDS + 2))[:, None]  # (BANDS + 2, 1)
    hertz = np.arange(MEL_FREQUENCIES) * (SAMPLE_RATE / MEL_FFT_SIZE)
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)  # (BANDS, MEL_FREQUENCIES)
    return np.asarray(triangles * 2 / (edges[2:] - edges[:-2]), np.float32)


@cache
def _window() -> FloatArray:
    """A periodic Hann window, (MEL_FFT_SIZE,)."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(MEL_FFT_SIZE) / MEL_FFT_SIZE), np.float32)


def mel_energies(waveform: FloatArray) -> FloatArray:
    """Mel energies of a waveform, (samples,) -> (frames, BANDS); frames are centred, the ends mirrored."""
    padded = np.pad(waveform, MEL_FFT_SIZE // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, MEL_FFT_SIZE)[::HOP][: max(1, waveform.size // HOP)]
    spectrum = np.fft.rfft(frames * _window(), axis=1)  # (frames, MEL_FREQUENCIES)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # Not by a matrix product: OpenBLAS's threads would wait for more of them on the core that the encoder is to have.
    return np.asarray(np.einsum("fk,bk->fb", power.astype(np.float32), mel_filters()), np.float32)


def log_mel(waveform: FloatArray) -> FloatArray:
    """What the encoder hears of one stretch of speech, (samples,) -> (BANDS, frames)."""
    energies = mel_energies(waveform)
    levelled = energies * np.float32(MEAN_ENERGY / max(float(energies.mean()), 1e-20))
    logarithm = np.log10(np.maximum(levelled, LEAST_ENERGY))
    return np.asarray((np.maximum(logarithm, logarithm.max() - DECADES) + 4) / 4, np.float32).T.copy()


# --- How long speech is cut for the compact voice encoder.

SEGMENT_SECONDS = 3  # what the encoder was trained to hear at once
SEGMENT_SAMPLES = SEGMENT_SECONDS * SAMPLE_RATE
SEGMENT_HOPS = SEGMENT_SAMPLES // HOP
LEAST_VARIANCE = 1e-5  # over time, of an output of the encoder's layers: a constant one has no smaller spread


def segment_spans(length: int, segment: int = SEGMENT_SAMPLES) -> list[tuple[int, int]]:
    """Half-open ranges that cover `length`: whole segments, the last one taking the remainder (up to twice as long).

    A range never changes once more speech than two segments has followed its start, so a live encoder computes it once.
    """
    count = max(1, length // segment)
    return [(i * segment, length if i == count - 1 else (i + 1) * segment) for i in range(count)]


# --------------------------------------------------------------------------------------------------
# The made voice whose readings are stored beside every release: the same on every machine.
# --------------------------------------------------------------------------------------------------


def golden_speech() -> FloatArray:
    """Four seconds of a made voice, a buzz through three formants: the same on every machine, (samples,)."""
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 2.5 * time)) / SAMPLE_RATE
    waveform = np.zeros_like(time)
    for harmonic in range(1, 50):
        hertz = 130.0 * harmonic
        gain = sum(a / (1 + ((hertz - f) / w) ** 2) for f, w, a in ((600, 90, 1.0), (1300, 120, 0.5), (2600, 200, 0.3)))
        waveform += gain * np.sin(harmonic * phase)
    waveform *= 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    return np.asarray(0.3 * waveform / np.abs(waveform).max(), np.float32)


# --------------------------------------------------------------------------------------------------
# A call of any length as a few stretches: the longer ago, the longer.
# --------------------------------------------------------------------------------------------------

Stretch = TypeVar("Stretch")
MOST_STRETCHES = 32  # over a minute and a half in segments of three seconds before the first are joined
RECENT_STRETCHES = 16  # stay as fine as they came: somebody else taking over is noticed within one or two of them


def merge_oldest(
    stretches: list[Stretch], join: Callable[[Stretch, Stretch], Stretch], length: Callable[[Stretch], float]
) -> list[Stretch]:
    """At most `MOST_STRETCHES` of them: of those that are not recent, the shortest neighbours are joined."""
    kept = list(stretches)
    while len(kept) > MOST_STRETCHES:
        old = range(len(kept) - RECENT_STRETCHES - 1)
        at = min(old, key=lambda place: length(kept[place]) + length(kept[place + 1]))
        kept[at : at + 2] = [join(kept[at], kept[at + 1])]
    return kept
