"""Samples that the caller already has, with their rate, become the recording that a file of them would be.

`(array, sample_rate)` is what `librosa.load`, `soundfile.read` and `torchaudio.load` return; `scipy.io.wavfile.read`
has it the other way round. Both orders are taken, and so are (samples,), (channels, samples) and (samples, channels).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.arguments import described, real_number, whole_number
from speech2face.audio.resampling import SAMPLE_RATES, ChannelResampler, mix
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.stream import LAYOUTS, MAX_CHANNELS
from speech2face.errors import CorruptRecording, EmptyRecording, InvalidOption, RecordingTooLong

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

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
            raise InvalidOption("the rate is stated twice, beside the array and as sample_rate; state it once")
        first, second = value
        value, sample_rate = (second, first) if np.ndim(_plain(first)) == 0 else (first, second)
    elif sample_rate is None:
        raise InvalidOption("an array does not say how many samples a second it has; give (array, sample_rate)")
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
        raise InvalidOption(f"no array of samples can be made of {described(value)}: {error}") from None


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
            raise CorruptRecording(f"{name} holds samples that are not finite numbers; export it again")
        return floats
    if kind == "i" and size in (2, 4):
        return np.asarray(samples / np.float64(2 ** (8 * size - 1)), np.float32)
    if kind == "u" and size == 1:
        return np.asarray((samples.astype(np.float32) - UNSIGNED_MIDDLE) / UNSIGNED_MIDDLE, np.float32)
    raise InvalidOption(f"{name} has samples of type {samples.dtype}; give {TYPES}")


def _channels(array: NDArray[Any]) -> NDArray[Any]:
    """(samples,), (channels, samples) or (samples, channels) as (channels, samples): a sound is longer than wide.

    Raises:
        InvalidOption: another shape.
    """
    channels = array[None] if array.ndim == 1 else array
    if channels.ndim != 2:
        raise InvalidOption(f"{NAME} has the shape {array.shape}; give (samples,) or (channels, samples)")
    if channels.shape[0] > channels.shape[1] > 0:
        channels = channels.T
    if channels.size and channels.shape[0] > MAX_CHANNELS:
        raise InvalidOption(f"{NAME} of shape {array.shape} has {channels.shape[0]} channels; give 1 to {MAX_CHANNELS}")
    return channels


def decode_array(array: NDArray[Any], sample_rate: int, max_seconds: float) -> tuple[FloatArray, int]:
    """The waveform of an array as of a file, (samples,) mono at 16 kHz, and its number of channels.

    Raises:
        InvalidOption: a shape or a type that is no sound.
        EmptyRecording, CorruptRecording, RecordingTooLong: as of a file.
    """
    channels = _channels(array)
    if not channels.size:
        raise EmptyRecording(f"{NAME} has no samples: its shape is {array.shape}")
    seconds = channels.shape[1] / sample_rate
    if seconds > max_seconds:
        raise RecordingTooLong(f"{NAME} lasts {seconds:.0f} s, at most {max_seconds:.0f} s are read; cut it first")
    floats = as_floats(channels)
    if sample_rate != SAMPLE_RATE:
        resampler = ChannelResampler(NAME, max_seconds)
        for start in range(0, floats.shape[1], BLOCK_SAMPLES):
            resampler.add(_frame(floats[:, start : start + BLOCK_SAMPLES], sample_rate))
        floats = resampler.finish()
    if not floats.size:
        raise EmptyRecording(f"{NAME} is too short: {channels.shape[1]} samples")
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
        raise InvalidOption(f"{what} is {described(waveform)}; {way_out}")
    array = _plain(waveform)
    if array.ndim != 1:
        raise InvalidOption(f"{what} has the shape {array.shape}, mono is (samples,); {way_out}")
    if not array.size:
        raise EmptyRecording(f"{what} has no samples")
    floats = as_floats(array, what)
    lasts, stated = floats.size / SAMPLE_RATE, real_number("the recording's seconds", seconds)
    if lasts > stated + LONGER_SECONDS:  # shorter is a part of the recording, cut by the caller
        found = f"{floats.size} samples are {lasts:.2f} s at {SAMPLE_RATE} Hz, where the recording says {stated:.2f} s"
        raise InvalidOption(f"{what}: {found}; {way_out}")
    return mix(floats[None]) if float(np.abs(floats).max()) > 1.0 else floats
