"""The starter's voices as packed mel features: each recording clean and through many microphones, rooms and lines.

Made once and read as memory maps, so that training is nothing but the network's arithmetic.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from speech2face.audio.recording import any_tags
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import find_speech
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.training import augment as augmentation
from speech2face.training.augment import not_a_voice
from speech2face.voice.compact import log_mel

logger = logging.getLogger(__name__)

MAX_SECONDS = 30.0  # a speaker's minute adds little to their half minute, and would drown those who gave five seconds
EVALUATION_SECONDS = 60.0
MIN_SECONDS = 0.6
NOISY_SNR_DB = 10.0
NOT_VOICES_A_VARIANT = 300


def decode(file: Path, max_seconds: float) -> FloatArray:
    """A starter recording as a waveform at 16 kHz, (samples,)."""
    with av.open(str(file), **any_tags()) as container:
        converter = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        parts = [part for frame in container.decode(audio=0) for part in converter.resample(frame)]
        parts += converter.resample(None)
    waveform = np.concatenate([part.to_ndarray().reshape(-1) for part in parts]).astype(np.float32)
    return waveform[: int(max_seconds * SAMPLE_RATE)]


def spoken(waveform: FloatArray) -> FloatArray:
    """The speech of a waveform, or all of it where the detector finds almost none, (samples,)."""
    activity = find_speech(waveform)
    return activity.speech() if activity.seconds >= MIN_SECONDS else activity.waveform


def channel(waveform: FloatArray, name: str, babble: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The evaluation's fixed channels: "clean", "telephone" (G.711 mu-law), "noisy" (10 dB, speech babble or noise)."""
    if name == "telephone":
        return augmentation.companded(waveform, "mu")
    if name == "noisy":
        from speech2face.training.augment import coloured_noise

        noise = babble if rng.uniform() < 0.5 else coloured_noise(waveform.size, rng)
        return augmentation.mix(waveform, noise, NOISY_SNR_DB)
    assert name == "clean"
    return waveform


def _babble(speakers: list[Speaker], samples: int, rng: np.random.Generator) -> FloatArray:
    """Four other speakers at once, (samples,)."""
    total = np.zeros(samples, np.float32)
    for index in rng.integers(len(speakers), size=4):
        total += np.resize(decode(speakers[int(index)].file, MAX_SECONDS), samples)
    return total


def _features(job: tuple[int, str]) -> list[np.ndarray]:
    """All features of one speaker in one variant: "clean", "telephone", "noisy" or "augmented-N"."""
    index, variant = job
    speakers = _SPEAKERS
    speaker = speakers[index]
    rng = np.random.default_rng([index, *variant.encode()])
    evaluation = not variant.startswith("augmented")
    waveform = decode(speaker.file, EVALUATION_SECONDS if speaker.split != "train" and evaluation else MAX_SECONDS)
    same_split = [other for other in speakers if other.split == speaker.split]
    # Decoding four others for each voice is dear: babble only where the draw wants it.
    babble = _babble(same_split, waveform.size, rng) if variant == "noisy" or rng.uniform() < 0.25 else None
    if evaluation:
        waveform = channel(waveform, variant, babble if babble is not None else waveform, rng)
    else:
        fallback = np.roll(waveform[::-1], 1000) if babble is None else babble
        waveform = augmentation.degraded(waveform, fallback, rng)
    speech = spoken(waveform)
    if speech.size < int(MIN_SECONDS * SAMPLE_RATE):
        speech = np.resize(speech, int(MIN_SECONDS * SAMPLE_RATE))
    return [log_mel(speech).astype(np.float16)]


def _not_voice_features(job: tuple[int, str]) -> list[np.ndarray]:
    index, variant = job
    rng = np.random.default_rng([index, 77, *variant.encode()])
    waveform = not_a_voice(int(SAMPLE_RATE * rng.uniform(3, 6)), rng)
    if rng.uniform() < 0.4:
        waveform = augmentation.degraded(waveform, waveform, rng)
    return [log_mel(waveform).astype(np.float16)]


_SPEAKERS: list[Speaker] = []


def _start_worker(starter: Path) -> None:
    _SPEAKERS.extend(read_speakers(starter))


def _pack(out: Path, name: str, rows: Iterator[list[np.ndarray]]) -> None:
    """Write features one after another, (frames of all, BANDS), with the offset of each; whole or not at all."""
    parts = [part for row in rows for part in row]
    offsets = np.cumsum([0] + [part.shape[0] for part in parts])
    temporary = out / f".{name}.tmp.npy"
    np.save(temporary, np.concatenate(parts))
    np.save(out / f"{name}.offsets.npy", offsets)
    temporary.replace(out / f"{name}.npy")


def prepare(starter: Path, out: Path, *, variants: int, workers: int) -> None:
    """Write `clean`, `telephone`, `noisy`, `augmented-N` and the sounds without speech as packed features."""
    out.mkdir(parents=True, exist_ok=True)
    count = len(read_speakers(starter))
    names = ["clean", "augmented-0", "augmented-1", "telephone", "noisy"]
    names += [f"augmented-{index}" for index in range(2, variants)]
    with get_context("fork").Pool(workers, _start_worker, (starter,)) as pool:
        for name in names:
            if (out / f"{name}.npy").exists():
                continue
            started = time.monotonic()
            if name == "clean" or name.startswith("augmented"):
                jobs = [(index, name) for index in range(NOT_VOICES_A_VARIANT)]
                _pack(out, f"not_voice-{name}", pool.imap(_not_voice_features, jobs, chunksize=8))
            _pack(out, name, pool.imap(_features, [(index, name) for index in range(count)], chunksize=8))
            logger.info("%s in %.0f s", name, time.monotonic() - started)
    (out / "features.json").write_text(json.dumps({"speakers": count, "variants": variants}))


def main() -> None:
    """Command line: python -m recipes.starter.features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True, help="the starter folder")
    parser.add_argument("--out", type=Path, required=True, help="where the packed features go (about 0.4 GB a variant)")
    parser.add_argument("--variants", type=int, default=5, help="augmented variants of every recording")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    prepare(arguments.starter, arguments.out, variants=arguments.variants, workers=arguments.workers)


if __name__ == "__main__":
    main()
