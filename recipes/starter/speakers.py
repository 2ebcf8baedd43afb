"""What tells speakers of one recording apart: where embeddings of half seconds lie, and how two at once sound.

    python -m recipes.starter.speakers --starter ../shared/starter --features build/starter/features \\
        --out src/speech2face/weights/starter                # some six minutes of a core, most of it encoding

Embeddings and overlaps from the calibration speakers alone, each six seconds long through a channel drawn by a seed,
once alone and once with another one speaking over it: the heads were learned from the training speakers, whose
embeddings lie further apart than anybody else's. Readings from the training speakers: how they differ, from their
packed statistics through all channels; how one of them varies, from half seconds of some, which are kept beside those
in pieces.npz. Writes speakers.safetensors, and its checksum into model.json.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from scipy.linalg import eigh

from recipes.starter.channels import CHANNELS, babble_of, heard
from recipes.starter.features import HEARD_SECONDS, Packed, decode, spoken
from speech2face.audio.spectrogram import LEAST_VARIANCE, SAMPLE_RATE, FloatArray
from speech2face.conversation import AROUND, PIECE_SAMPLES
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.models.attributes import SPEAKER_SPACE, AttributeRuntime, load_attribute_release
from speech2face.models.release import read_manifest, write_manifest
from speech2face.outputs import replace_file, replacing
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


# --- Readings: what differs between the speakers of one recording.

PIECE_SPEAKERS = 300  # drawn to be encoded in half seconds, clean and through two channels, if they are for training
LEAST_TRAINING_SECONDS = 4.5
PIECE_SECONDS, CLEAN_SECONDS = 8.0, 12.0
SEGMENT_SECONDS = 3.7  # packed statistics of more are left out: they vary less
PRINCIPAL_AXES = 600  # hold 93 % of the variance
CANDIDATES, READINGS = 128, 64
WITHIN_SHRINKAGE = 0.03  # of the covariance within a speaker towards its mean variance
TOGETHER = 4  # speakers of a recording, as far as its mean is concerned


def encode_training(runtime: AttributeRuntime, speakers: Sequence[Speaker]) -> dict[str, np.ndarray]:
    """Pooled statistics of half seconds in order, (pieces, 2 * channels), whose they are and through which channel."""
    members = [row for row, each in enumerate(speakers) if each.split == "train"]
    able = [row for split in ("train", "calibration") for row, each in enumerate(speakers) if each.split == split]
    able = [row for row in able if speakers[row].seconds >= LEAST_TRAINING_SECONDS]
    chosen = np.random.default_rng(0).permutation(able)[:PIECE_SPEAKERS].tolist()
    made = [
        (row, channel, pieces)
        for row in chosen
        if speakers[row].split == "train"
        for channel, pieces in encode_channels(runtime, speakers, row, members)
    ]
    return {
        "statistics": np.concatenate([pieces for *_, pieces in made]),
        "speaker": np.repeat([row for row, *_ in made], [len(pieces) for *_, pieces in made]),
        "channel": np.repeat([channel for _, channel, _ in made], [len(pieces) for *_, pieces in made]),
    }


def encode_channels(
    runtime: AttributeRuntime, speakers: Sequence[Speaker], row: int, members: Sequence[int]
) -> list[tuple[int, np.ndarray]]:
    """Half seconds of one speaker, (pieces, 2 * channels) in float16: clean, and through two channels."""
    rng = np.random.default_rng([row, 41])
    babble = babble_of(lambda other: decode(speakers[other].file, HEARD_SECONDS), members)
    voice = decode(speakers[row].file, CLEAN_SECONDS + 2)
    sounds = [("clean", voice, CLEAN_SECONDS)]
    for channel in rng.permutation([name for name in CHANNELS if name not in ("clean", "noisy_again")])[:2].tolist():
        through = heard(voice[: 10 * SAMPLE_RATE], channel, babble, rng, fixed=False)
        sounds.append((channel, through, PIECE_SECONDS))
    return [
        (
            CHANNELS.index(channel),
            pooled(pieces_of(runtime, spoken(sound)[: int(seconds * SAMPLE_RATE)])).astype(np.float16),
        )
        for channel, sound, seconds in sounds
    ]


def pooled_windows(statistics: np.ndarray) -> np.ndarray:
    """Each piece of one sound with its neighbours, (pieces, 2 * channels) -> the same without the first and last."""
    mean, deviation = np.split(statistics.astype(np.float32), 2, axis=1)
    square = np.square(deviation) + np.square(mean)
    count = len(mean) - 2 * AROUND
    means = sum(mean[at : count + at] for at in range(2 * AROUND + 1)) / (2 * AROUND + 1)
    squares = sum(square[at : count + at] for at in range(2 * AROUND + 1)) / (2 * AROUND + 1)
    return np.concatenate([means, np.sqrt(np.maximum(squares - np.square(means), LEAST_VARIANCE))], axis=1)


def read_windows(made: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Windows of the encoded half seconds, (windows, 2 * channels), and their sessions, (windows,)."""
    session = made["speaker"] * len(CHANNELS) + made["channel"]
    some = [key for key in dict.fromkeys(session.tolist()) if (session == key).sum() > 2 * AROUND]
    parts = [pooled_windows(made["statistics"][session == key]) for key in some]
    return np.concatenate(parts), np.repeat(some, [len(part) for part in parts])


def read_segments(folder: Path, speakers: Sequence[Speaker]) -> tuple[np.ndarray, np.ndarray]:
    """Packed statistics of training speakers, (segments, 2 * channels) in float16, and their sessions, (segments,)."""
    train = np.array([each.split == "train" for each in speakers])
    statistics, sessions = [], []
    for place, channel in enumerate(CHANNELS):
        if channel == "noisy_again":
            continue
        packed = Packed(folder, channel)
        whose = packed.rows[:, 0].astype(int)
        kept = (whose >= 0) & (packed.rows[:, 2] < SEGMENT_SECONDS) & train[whose]
        statistics.append(packed.statistics[kept].reshape(kept.sum(), -1))
        sessions.append(whose[kept] * len(CHANNELS) + place)
    return np.concatenate(statistics), np.concatenate(sessions)


def session_means(x: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys, mean and number of rows of each, and the place of each row's key."""
    keys, at = np.unique(key, return_inverse=True)
    count = np.bincount(at)
    total = np.zeros((len(keys), x.shape[1]))
    np.add.at(total, at, x)
    return keys, total / count[:, None], count, at


def within_sessions(x: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Covariance of rows around the mean of their session, every session with two rows weighing the same."""
    _, mean, count, at = session_means(x, session)
    weight = np.where(count[at] > 1, 1 / np.maximum(count[at] - 1, 1), 0) / (count > 1).sum()
    around = x - mean[at]
    return np.asarray((around * weight[:, None]).T @ around)


def fit_lines(folder: Path, speakers: Sequence[Speaker], made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Lines on pooled statistics along which speakers differ most within one channel: Fisher's discriminant, twice.

    Once by segments of many speakers, and within what that leaves by windows of some.
    """
    segments, session = read_segments(folder, speakers)
    windows_of, piece_session = read_windows(made)
    rng = np.random.default_rng(0)
    sample = segments[rng.choice(len(segments), min(5000, len(segments)), replace=False)].astype(np.float32)
    centre, segment_centre = windows_of.mean(0), sample.mean(0)
    scale = (sample.std(0) + 1e-4) ** -0.5
    scale[len(scale) // 2 :] *= SPREAD_WEIGHT
    scale /= np.sqrt(np.mean(np.square(scale * sample.std(0))))
    some = windows_of[rng.permutation(len(windows_of))[:3000]]
    axes = principal_axes(np.concatenate([(sample - segment_centre) * scale, (some - centre) * scale]), rng)
    blocks = range(0, len(segments), 4000)
    z = np.concatenate([((segments[at : at + 4000] - segment_centre) * scale) @ axes for at in blocks])
    windows_z = ((windows_of - centre) * scale) @ axes
    del segments, windows_of

    sessions, means, *_ = session_means(z, session)
    _, of_speaker, _, at = session_means(means, sessions // len(CHANNELS))
    channels = np.cov((means - of_speaker[at]).T, bias=True)
    for channel in np.unique(sessions % len(CHANNELS)):
        means[sessions % len(CHANNELS) == channel] -= means[sessions % len(CHANNELS) == channel].mean(0)
    between = np.cov(session_means(means, sessions // len(CHANNELS))[1].T)
    within = within_sessions(z, session)
    size = len(within)
    within += WITHIN_SHRINKAGE * np.trace(within) / size * np.eye(size)
    _, first = eigh(between, within, subset_by_index=[size - CANDIDATES, size - 1])
    within = first.T @ within_sessions(windows_z, piece_session) @ first
    within = 0.9 * within + 0.1 * np.diag(np.diag(within))
    variances, second = eigh(first.T @ between @ first, within, subset_by_index=[CANDIDATES - READINGS, CANDIDATES - 1])
    lines = first @ second[:, ::-1]
    channels = lines.T @ channels @ lines
    stored = ((scale[:, None] * (axes @ lines)).T).astype(np.float16)
    return {
        "lines": stored,
        "lines_bias": -stored.astype(np.float32) @ centre,
        "shift": channels @ np.linalg.inv(channels + np.diag(variances[::-1]) / TOGETHER),
    } | fit_readings(windows_z @ lines, piece_session)


def principal_axes(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first axes of centred rows, (numbers, axes), by a random start and two powers (Halko et al. 2011)."""
    x = x.astype(np.float32)
    found = rng.standard_normal((x.shape[1], PRINCIPAL_AXES + 50)).astype(np.float32)
    for _ in range(2):
        found = np.linalg.qr(x.T @ (x @ found))[0]
    *_, rows = np.linalg.svd(x @ found, full_matrices=False)
    return np.asarray(found @ rows.T[:, :PRINCIPAL_AXES], np.float32)


def fit_readings(readings: np.ndarray, session: np.ndarray) -> dict[str, np.ndarray]:
    """Scale and variance between speakers of readings of unit length, each channel around its mean."""
    readings = readings.copy()
    for channel in np.unique(session % len(CHANNELS)):
        readings[session % len(CHANNELS) == channel] -= readings[session % len(CHANNELS) == channel].mean(0)
    units = readings / np.linalg.norm(readings, axis=1, keepdims=True)
    sessions, means, count, at = session_means(units, session)
    within = (np.square(units - means[at]) * (count[at] / np.maximum(count[at] - 1, 1))[:, None]).mean(0)
    # A session has some fifteen windows, of which a third do not overlap with others.
    between = session_means(means, sessions // len(CHANNELS))[1].var(0) - within / 15
    return {"lines_scale": within**-0.5, "lines_between": np.maximum(between / within, LEAST_BETWEEN)}


def half_seconds(file: Path, runtime: AttributeRuntime, speakers: Sequence[Speaker]) -> dict[str, np.ndarray]:
    """Half seconds of training speakers, encoded unless the file is there."""
    if not file.exists():
        made = encode_training(runtime, speakers)
        with replacing(file) as whole, whole.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **made)
    with np.load(file) as stored:
        return {name: stored[name] for name in stored.files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="the packed statistics")
    parser.add_argument("--out", type=Path, required=True, help="folder of the release")
    parser.add_argument("--split", default="calibration")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    runtime = AttributeRuntime(load_attribute_release(arguments.out), threads=1)
    speakers = read_speakers(arguments.starter)
    alone, both = (windows(each) for each in encode(runtime, speakers, arguments.split))
    made = half_seconds(arguments.features / "pieces.npz", runtime, speakers)
    tensors = fit_space(runtime, alone) | fit_overlap(alone, both) | fit_lines(arguments.features, speakers, made)
    kinds = {name: np.float16 if name == "lines" else np.float32 for name in tensors}
    stored = {name: np.ascontiguousarray(values, kinds[name]) for name, values in tensors.items()}
    replace_file(arguments.out / SPEAKER_SPACE, save(stored))
    manifest = read_manifest(arguments.out)
    files = dict.fromkeys([*manifest.pop("files"), SPEAKER_SPACE])
    write_manifest(arguments.out, manifest, list(files))


if __name__ == "__main__":
    main()
