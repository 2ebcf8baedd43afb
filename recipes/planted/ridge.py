"""What an encoder has to beat: no network, but numbers of a recording and a kernel ridge from them to a face.

`stationary` is averages over time: the same frames in any other order give the same numbers. `movement` is the other
half: what follows what and how soon, each recording's average being taken out first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recipes.planted.synthesiser import FloatArray
from speech2face.audio.spectrogram import FFT_SIZE, FREQUENCIES, SAMPLE_RATE, stft
from speech2face.data.clips import ClipDataset
from speech2face.evaluation.observations import pitch_hz
from speech2face.metrics.matching import Embeddings
from speech2face.voice.encoder import from_pcm

Features = Callable[[NDArray[np.float32]], FloatArray]

BANDS = 80
LOWEST_HZ = 30.0  # below any voice's fundamental, above the rumble of a hand on a microphone
HIGHEST_HZ = 7800.0
MEL_FLOOR = 1e-12  # power; far below 16-bit quantisation noise, so that only digital silence meets it


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Hertz to mel (O'Shaughnessy 1987, 2595 log10(1 + f/700))."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


def mel_edges_hz() -> np.ndarray:
    """Where each filter begins, and after it the last two ends, (BANDS + 2,)."""
    edges_mel = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    return np.asarray(700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0))


def mel_filters() -> NDArray[np.float32]:
    """Triangular filters of unit height, (BANDS, FREQUENCIES).

    Low filters are narrower than a bin; every filter is at least two bins wide on each side so none is empty.
    """
    edges_hz = mel_edges_hz()
    bin_hz = SAMPLE_RATE / FFT_SIZE
    centre = edges_hz[1:-1, None]
    below = np.maximum(centre - edges_hz[:-2, None], bin_hz)
    above = np.maximum(edges_hz[2:, None] - centre, bin_hz)
    hertz = np.arange(FREQUENCIES)[None] * bin_hz
    rising, falling = 1 - (centre - hertz) / below, 1 - (hertz - centre) / above
    return np.asarray(np.clip(np.minimum(rising, falling), 0, 1), np.float32)


def log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithm of mel energies, (samples,) -> (frames, BANDS)."""
    transform = stft(waveform)
    power = transform.real**2 + transform.imag**2  # (frames, frequency)
    return np.log(power @ mel_filters().T + np.float32(MEL_FLOOR))


AT_ONCE = 100  # clips read together
FOLDS = 3
WIDTHS = (0.03, 0.1, 0.3, 1.0)
"""Tried for the kernel exp(-width d^2), d^2 being the mean squared distance over the standardised features."""
PENALTIES = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
CEPSTRA = 9
LAGS = (1, 2, 3, 5, 8, 12, 17, 24)  # frames of 10 ms: from within a glide to a syllable's length
DELTA = 3  # frames


def stationary(waveform: NDArray[np.float32]) -> FloatArray:
    """Mean and standard deviation over time of each mel band's log energy, and the pitch in octaves (NaN: no pitch)."""
    level = log_mel(waveform).astype(np.float64)  # (frames, bands)
    return np.concatenate([level.mean(0), level.std(0), [np.log2(pitch_hz(waveform))]])


def movement(waveform: NDArray[np.float32]) -> FloatArray:
    """Covariances of cepstral coefficients some frames apart, and how their changes are spread.

    Parts that are the same with time reversed stand apart from those that change sign: a fast rise and a slow fall
    differ from a slow rise and a fast fall in the latter alone.
    """
    cepstra = dct(log_mel(waveform).astype(np.float64), norm="ortho", axis=1)[:, :CEPSTRA]
    cepstra = (cepstra - cepstra.mean(0)) / cepstra.std(0)
    numbers: list[FloatArray] = []
    for lag in LAGS:
        together = cepstra[:-lag].T @ cepstra[lag:] / (len(cepstra) - lag)
        numbers.append((together + together.T)[np.triu_indices(CEPSTRA)])
        numbers.append((together - together.T)[np.triu_indices(CEPSTRA, 1)])
    change = cepstra[DELTA:] - cepstra[:-DELTA]
    change -= change.mean(0)
    variance = np.mean(change**2, axis=0)
    numbers += [np.log(variance), np.mean(change**3, axis=0) / variance**1.5]
    return np.concatenate(numbers)


FEATURES: Mapping[str, Features] = {"stationary": stationary, "movement": movement}


def features_and_faces(features: Features, clips: ClipDataset) -> tuple[FloatArray, Embeddings]:
    """Features and face embeddings of all clips, (clips, features) and (clips, embedding)."""
    found, faces = [], []
    for start in range(0, len(clips), AT_ONCE):
        batch = clips.batch(range(start, min(start + AT_ONCE, len(clips))))
        found += [features(waveform) for waveform in from_pcm(batch["waveform"]).numpy()]
        faces.append(batch["face_embedding"].numpy())
    return np.stack(found), np.concatenate(faces)


class FaceRidge:
    """Kernel ridge from features of a recording to the face embedding, both taken about their means.

    The kernel is exp(-gamma d^2) over standardised features. Its width and the penalty are chosen by holding out each
    third of the training speakers in turn; a missing feature counts as the training speakers' mean.
    """

    def __init__(self, features: FloatArray, faces: Embeddings) -> None:
        """Learn from (speakers, features) and (speakers, embedding)."""
        ridge = make_pipeline(SimpleImputer(), StandardScaler(), KernelRidge(kernel="rbf"))
        about_the_mean = TransformedTargetRegressor(ridge, transformer=StandardScaler(with_std=False))
        grid = {
            "regressor__kernelridge__gamma": [width / features.shape[1] for width in WIDTHS],
            "regressor__kernelridge__alpha": PENALTIES,
        }
        search = GridSearchCV(about_the_mean, grid, scoring="neg_mean_squared_error", cv=KFold(FOLDS))
        self._fitted = search.fit(features, faces)

    @property
    def chosen(self) -> dict[str, float]:
        """`gamma`, of the kernel, and `alpha`, the penalty."""
        return {name.rsplit("__", 1)[1]: float(value) for name, value in self._fitted.best_params_.items()}

    def predict(self, features: FloatArray) -> Embeddings:
        """(speakers, features) to predicted face embeddings (speakers, embedding)."""
        return np.asarray(self._fitted.predict(features), np.float32)
