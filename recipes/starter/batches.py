"""Random batches of voices: crops of packed features through made microphones.

Everything here is numpy in the mel domain, cheap enough to do anew for every crop.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speech2face.evaluation.clips import Speaker
from speech2face.voice.belief import BIN_EDGES
from speech2face.voice.compact import mel_centres_hz

TELEPHONE_SHARE = 0.2  # of crops, beside those that went through a real codec
SEGMENT_FRAMES = 300  # 3 s: what the encoder hears at once; longer speech is several segments, pooled


class Packed:
    """Packed mel features of one variant, read as a memory map."""

    def __init__(self, folder: Path, name: str) -> None:
        self.frames = np.load(folder / f"{name}.npy", mmap_mode="r")  # (frames of all, BANDS)
        self.offsets = np.load(folder / f"{name}.offsets.npy")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def length(self, index: int) -> int:
        """Frames of one recording."""
        return int(self.offsets[index + 1] - self.offsets[index])

    def crop(self, index: int, frames: int, rng: np.random.Generator) -> np.ndarray:
        """A random stretch, (frames, BANDS)."""
        start = int(self.offsets[index] + rng.integers(self.length(index) - frames + 1))
        return np.asarray(self.frames[start : start + frames])

    def whole(self, index: int, frames: int | None = None) -> np.ndarray:
        """The first `frames` frames, or all, (frames, BANDS)."""
        stop = int(self.offsets[index + 1])
        start = int(self.offsets[index])
        return np.asarray(self.frames[start : stop if frames is None else min(stop, start + frames)])


def sampling_weights(speakers: list[Speaker], decade_balance: float) -> np.ndarray:
    """How often each speaker is drawn, (speakers,), summing to one: rare decades of age and women more often."""
    keys = [
        (s.age[0] // 10, s.gender, s.age_is_impression) if s.age and s.gender else (None, s.gender, False)
        for s in speakers
    ]
    counts = {key: keys.count(key) for key in set(keys)}
    weights = np.array([counts[key] ** -decade_balance for key in keys])
    unlabelled = np.array([key[0] is None for key in keys])
    # Nothing but who speaks is learned from the unlabelled: a fifth of the draws is enough for that.
    if unlabelled.any() and not unlabelled.all():
        weights[unlabelled] *= 0.2 * weights[~unlabelled].sum() / weights[unlabelled].sum() / 0.8
    return np.asarray(weights / weights.sum())


class Batches:
    """Random batches of crops from the packed variants."""

    DURATIONS = ((1.0, 0.2), (2.0, 0.3), (3.0, 0.3), (6.0, 0.2))  # seconds, share of batches
    NOT_VOICE_SHARE = 0.06

    def __init__(
        self, folder: Path, rows: list[int], speakers: list[Speaker], *, decade_balance: float, seed: int, seconds: int
    ) -> None:
        names = sorted(path.name.removesuffix(".offsets.npy") for path in folder.glob("augmented-*.offsets.npy"))
        self.variants = [Packed(folder, "clean"), *[Packed(folder, name) for name in names]]
        self.not_voices = [Packed(folder, f"not_voice-{name}") for name in ["clean", *names]]
        self.rows = np.array(rows)
        self.lengths = np.array([[variant.length(row) for variant in self.variants] for row in rows]).min(1)
        self.weights = sampling_weights([speakers[row] for row in rows], decade_balance)
        self.rng = np.random.default_rng(seed)
        self.seconds = seconds

    def noise(self, count: int, frames: int) -> np.ndarray:
        """Sounds without speech, (count, frames, BANDS)."""
        source = self.not_voices[int(self.rng.integers(len(self.not_voices)))]
        stretches = [source.whole(int(index)) for index in self.rng.integers(len(source), size=count)]
        return np.stack([np.resize(stretch, (frames, stretch.shape[1])) for stretch in stretches]).astype(np.float32)

    def draw(self) -> tuple[Tensor, np.ndarray]:
        """Log mel energies (batch, segments, BANDS, frames) and positions among `rows`, (batch,); -1 is not a voice."""
        rng = self.rng
        possible = [(d, share) for d, share in self.DURATIONS if (self.lengths >= int(d * 100) - 2).any()]
        shares = np.array([share for _, share in possible])
        seconds = rng.choice([d for d, _ in possible], p=shares / shares.sum())
        frames = int(seconds * 100) - 2  # whole windows only
        weights = np.where(self.lengths >= frames, self.weights, 0)
        positions = rng.choice(len(self.rows), size=int(self.seconds / seconds), p=weights / weights.sum())
        positions[rng.uniform(size=positions.size) < self.NOT_VOICE_SHARE] = -1
        crops = []
        for position in positions:
            if position < 0:
                source = self.not_voices[int(rng.integers(len(self.not_voices)))]
                index = int(rng.integers(len(source)))
                stretch = source.whole(index)
                crops.append(np.resize(stretch, (frames, stretch.shape[1])))
            else:
                # Every fifth crop is clean: that is what most people will send.
                which = 0 if rng.uniform() < 0.2 else int(rng.integers(len(self.variants)))
                crops.append(self.variants[which].crop(int(self.rows[position]), frames, rng))
        heard = microphone(np.stack(crops).astype(np.float32), self.noise(len(crops), frames), rng)
        batch = torch.from_numpy(heard).transpose(1, 2)  # (batch, BANDS, frames)
        segments = max(1, frames // (SEGMENT_FRAMES - 2))
        batch = batch[..., : frames // segments * segments]  # (batch, BANDS, segments * frames)
        batch = batch.reshape(*batch.shape[:2], segments, -1).transpose(1, 2)  # (batch, segments, BANDS, frames)
        return batch, positions


def microphone(log_mel: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random smooth frequency response, noise and a telephone's band on some crops, (batch, frames, BANDS).

    In the mel domain: energies of independent sounds add, so this is what the waveform would have given, for next to
    nothing.
    """
    batch, _, bands = log_mel.shape
    curve = np.cos(np.pi * np.arange(1, 6)[:, None] * (np.arange(bands) + 0.5) / bands)  # (5, BANDS)
    decibels = (rng.normal(size=(batch, 5)) * np.array([4.0, 3.0, 2.5, 2.0, 1.5])) @ curve
    decibels[rng.uniform(size=batch) < 0.25] = 0
    log_mel = log_mel + (decibels * np.log(10) / 10).astype(np.float32)[:, None]
    level, ground = (np.log(np.exp(part).mean((1, 2))) for part in (log_mel, noise))
    gain = level - ground - rng.uniform(3, 30, batch) * np.log(10) / 10
    gain[rng.uniform(size=batch) < 0.65] = -30.0
    log_mel = np.logaddexp(log_mel, noise + gain[:, None, None].astype(np.float32))
    hertz = mel_centres_hz()
    for row in np.flatnonzero(rng.uniform(size=batch) < TELEPHONE_SHARE):
        octaves_above = np.log2(np.maximum(hertz / rng.uniform(3300, 4000), 1))
        octaves_below = np.log2(np.maximum(rng.uniform(100, 320) / hertz, 1))
        log_mel[row] -= (150 * octaves_above + 5 * octaves_below).astype(np.float32)
    return np.asarray(log_mel, np.float32)


def masked(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment (Park et al. 2019): hide one band range and one time range a segment, (batch, BANDS, frames)."""
    mel = mel.clone()
    fill = float(mel.mean())
    for row in range(mel.shape[0]):
        if rng.uniform() < 0.5:
            width = int(rng.integers(1, 14))
            start = int(rng.integers(0, mel.shape[1] - width))
            mel[row, start : start + width] = fill
        if rng.uniform() < 0.5:
            width = int(rng.integers(1, 25))
            start = int(rng.integers(0, mel.shape[2] - width))
            mel[row, :, start : start + width] = fill
    return mel


# --------------------------------------------------------------------------------------------------
# Ages as a distribution over bins, learned from intervals: a decade, an exact age, an annotator's impression.
# --------------------------------------------------------------------------------------------------

EXACT_SPREAD_YEARS = 2  # an exact age is taken as itself and two years on both sides


def interval_masses(speakers: list[Speaker]) -> np.ndarray:
    """Share of each bin that lies in a speaker's age interval, (speakers, bins); all ones where no age is known."""
    masses = np.ones((len(speakers), BIN_EDGES.size - 1), np.float32)
    for row, speaker in enumerate(speakers):
        if speaker.age is None:
            continue
        low, high = speaker.age
        if high - low == 1:
            low, high = low - EXACT_SPREAD_YEARS, high + EXACT_SPREAD_YEARS
        overlap = np.minimum(high, BIN_EDGES[1:]) - np.maximum(low, BIN_EDGES[:-1])
        masses[row] = np.clip(overlap, 0, None) / np.diff(BIN_EDGES)
    return masses


def interval_loss(logits: Tensor, masses: Tensor) -> Tensor:
    """Negative log likelihood of "the age lies in this interval", (batch, bins) twice -> (batch,)."""
    return -torch.logsumexp(torch.log_softmax(logits, 1) + masses.clamp(min=1e-6).log(), 1)
