"""What tells speakers of one recording apart: where embeddings of half seconds lie, and how two at once sound.

    python -m recipes.starter.speakers --starter ../shared/starter --out src/speech2face/weights/starter

From the calibration speakers alone, each six seconds long through a channel drawn by a seed, once alone and once with
another one speaking over it: the heads were learned from the training speakers, whose embeddings lie further apart than
anybody else's. Writes speakers.safetensors, and its checksum into model.json.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from recipes.starter.channels import CHANNELS, babble_of, heard
from recipes.starter.features import HEARD_SECONDS, decode, spoken
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.conversation import AROUND, PIECE_SAMPLES
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.models.attributes import SPEAKER_SPACE, AttributeRuntime, load_attribute_release
from speech2face.models.release import read_manifest, write_manifest
from speech2face.outputs import replace_file
from speech2face.voice.diarization import pooled

logger = logging.getLogger(__name__)
SAMPLES = 6 * SAMPLE_RATE  # of each speaker
LEAST_SAMPLES = 5.5 * SAMPLE_RATE
LEVEL_DB, MOST_LEVEL_DB = 4.0, 9.0  # by which the second voice is louder or softer: deviation, and at most
AXES = 64
LEAST_BETWEEN = 0.02  # of the variance within a speaker; axes that differ less say nothing
OVERLAP_PENALTY = 3000.0  # of the ridge; 300 is as good
SPREAD_WEIGHT = 0.5  # of spreads over time beside means, as in the heads


def pieces_of(runtime: AttributeRuntime, waveform: FloatArray) -> np.ndarray:
    """Moments of each half second, (pieces, 3, channels)."""
    cuts = range(0, waveform.size - PIECE_SAMPLES + 1, PIECE_SAMPLES)
    return np.concatenate([runtime.segment_moments(waveform[at : at + PIECE_SAMPLES]).sums for at in cuts])


def encode(runtime: AttributeRuntime, speakers: Sequence[Speaker], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Moments of each speaker alone, and with another one, (speakers, pieces, 3, channels) each."""
    members = [row for row, speaker in enumerate(speakers) if speaker.split == split]
    babble = babble_of(lambda row: decode(speakers[row].file, HEARD_SECONDS), members)
    channels = [name for name in CHANNELS if name != "noisy_again"]
    voices = [spoken(decode(speakers[row].file, 7.5)) for row in members if speakers[row].seconds >= 6.5]
    voices = [np.resize(voice, SAMPLES) for voice in voices if voice.size >= LEAST_SAMPLES]
    rng = np.random.default_rng(5)
    alone: list[np.ndarray] = []
    both: list[np.ndarray] = []
    for place, voice in enumerate(voices):
        channel, seed = channels[int(rng.integers(len(channels)))], int(rng.integers(1 << 30))
        other = voices[int(rng.integers(len(voices)))]
        if other is voice:
            other = voices[(place + 1) % len(voices)]
        level = 10 ** (np.clip(rng.normal(0, LEVEL_DB), -MOST_LEVEL_DB, MOST_LEVEL_DB) / 20)
        mixed = voice / _rms(voice) + level * other / _rms(other)
        mixed = (mixed / np.abs(mixed).max() * 0.8).astype(np.float32)
        for sound, moments in ((voice, alone), (mixed, both)):
            through = heard(sound, channel, babble, np.random.default_rng(seed), fixed=False)
            moments.append(pieces_of(runtime, np.resize(through[:SAMPLES], SAMPLES)))
    logger.info("%d speakers", len(voices))
    return np.stack(alone), np.stack(both)


def _rms(waveform: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform)))) + 1e-9


def windows(moments: np.ndarray) -> np.ndarray:
    """Each piece with its neighbours, (speakers, pieces, 3, channels) -> the same without the first and last."""
    count = moments.shape[1]
    return np.asarray(np.sum([moments[:, at : count - 2 * AROUND + at] for at in range(2 * AROUND + 1)], axis=0))


def fit_space(runtime: AttributeRuntime, moments: np.ndarray) -> dict[str, np.ndarray]:
    """Centre, axes and variances between speakers, from windows (speakers, windows, 3, channels)."""
    people, count = moments.shape[:2]
    embeddings = runtime.speaker_embeddings(moments.reshape(-1, *moments.shape[2:])).reshape(people, count, -1)
    centre = embeddings.mean((0, 1))
    units = embeddings - centre
    units /= np.linalg.norm(units, axis=2, keepdims=True)
    means = units.mean(1)
    # The heads' axes have one variance within a speaker already (Fisher's discriminant): it is taken as round.
    within = np.square(units - means[:, None]).sum() / (people * (count - 1)) / units.shape[2]
    variances, axes = np.linalg.eigh(np.cov(means.T))
    # A mean of windows that overlap by two thirds is as sure as that of a third as many.
    between = (variances[::-1][:AXES] - within * (2 * AROUND + 1) / count) / within
    kept = between > LEAST_BETWEEN
    project = axes[:, ::-1][:, :AXES][:, kept].T / np.sqrt(within)
    return {"centre": centre, "project": project, "between": between[kept]}


def fit_overlap(alone: np.ndarray, both: np.ndarray) -> dict[str, np.ndarray]:
    """The line above zero where two speak at once, by ridge regression on -1 and 1."""
    x = np.concatenate([pooled(each.reshape(-1, *each.shape[2:])) for each in (alone, both)])
    y = np.repeat([-1.0, 1.0], len(x) // 2)
    centre, scale = x.mean(0), x.std(0) ** -0.5
    scale[len(scale) // 2 :] *= SPREAD_WEIGHT
    x = (x - centre) * scale
    slope = x.T @ np.linalg.solve(x @ x.T + OVERLAP_PENALTY * np.eye(len(x)), y) * scale
    return {"overlap": slope, "overlap_bias": np.array([-centre @ slope])}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the release")
    parser.add_argument("--split", default="calibration")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    runtime = AttributeRuntime(load_attribute_release(arguments.out), threads=1)
    alone, both = (windows(each) for each in encode(runtime, read_speakers(arguments.starter), arguments.split))
    tensors = fit_space(runtime, alone) | fit_overlap(alone, both)
    stored = {name: np.ascontiguousarray(values, np.float32) for name, values in tensors.items()}
    replace_file(arguments.out / SPEAKER_SPACE, save(stored))
    manifest = read_manifest(arguments.out)
    files = dict.fromkeys([*manifest.pop("files"), SPEAKER_SPACE])
    write_manifest(arguments.out, manifest, list(files))


if __name__ == "__main__":
    main()
