"""The child reading: a linear layer fitted to the finished encoder's pooled statistics.

There are 74 children to learn from, all of one corpus. A layer of its own with a strong penalty, and adults of that
same corpus weighing as much as all others together, keeps it from learning the corpus instead of the children.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from recipes.starter.batches import Packed
from recipes.starter.voices import load_encoder, recording_moments, save_encoder
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.voice.compact import CompactVoiceEncoder

logger = logging.getLogger(__name__)

VARIANTS = ("clean", "augmented-0", "augmented-1", "augmented-2", "augmented-3")
CROP_SECONDS = (2, 5)
OTHER_ADULTS_SHARE = 0.35  # of the adults of other corpora, drawn anew for each variant: enough to know them by
PENALTY = 100.0  # on the squared weights of standardised statistics, over a loss summed over all crops


def pooled_statistics(encoder: CompactVoiceEncoder, mel: np.ndarray) -> np.ndarray:
    """What the head sees of a stretch of log mel energies, (frames, BANDS) -> (2 * channels,)."""
    with torch.inference_mode():
        return np.asarray(encoder.head.pooled(recording_moments(encoder, mel))[0].numpy())


def gather(
    encoder: CompactVoiceEncoder, speakers: list[Speaker], features: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled statistics of training crops, whether each is a child, and its weight: (crops, d), (crops,), (crops,)."""
    rng = np.random.default_rng(0)
    rows = [row for row, s in enumerate(speakers) if s.split == "train" and (s.is_child or s.is_adult)]
    home = {speakers[row].source for row in rows if speakers[row].is_child}
    statistics, child, at_home = [], [], []
    for name in VARIANTS:
        packed = Packed(features, name)
        for row in rows:
            if speakers[row].source not in home and rng.uniform() > OTHER_ADULTS_SHARE:
                continue
            for seconds in CROP_SECONDS:
                statistics.append(
                    pooled_statistics(encoder, packed.crop(row, min(packed.length(row), seconds * 100), rng))
                )
                child.append(speakers[row].is_child)
                at_home.append(speakers[row].source in home)
    return np.stack(statistics), np.array(child), balanced_weights(np.array(child), np.array(at_home))


def balanced_weights(child: np.ndarray, at_home: np.ndarray) -> np.ndarray:
    """Children weigh half of all, adults of their corpus a quarter, other adults a quarter, (crops,) each."""
    weights = np.zeros(child.size)
    for mask, share in ((child, 0.5), (~child & at_home, 0.25), (~child & ~at_home, 0.25)):
        weights[mask] = share / max(mask.sum(), 1)
    return np.asarray(weights / weights.sum() * child.size)


def logistic(
    statistics: np.ndarray, child: np.ndarray, weights: np.ndarray, penalty: float
) -> tuple[np.ndarray, float]:
    """Weighted logistic regression on standardised columns, folded back: weights (d,) and bias of the raw columns."""
    mean, deviation = statistics.mean(0), statistics.std(0) + 1e-6
    scaled = (statistics - mean) / deviation
    sign = np.where(child, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = parameters[:-1], parameters[-1]
        margin = sign * (scaled @ slope + bias)
        pull = -weights * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        value = weights @ np.logaddexp(0, -margin) + 0.5 * penalty * slope @ slope
        return float(value), np.append(scaled.T @ pull + penalty * slope, pull.sum())

    fitted = minimize(loss, np.zeros(scaled.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    slope = fitted[:-1] / deviation
    return slope, float(fitted[-1] - slope @ mean)


def fit(encoder: CompactVoiceEncoder, speakers: list[Speaker], features: Path) -> None:
    """Set the encoder's child layer."""
    statistics, child, weights = gather(encoder, speakers, features)
    slope, bias = logistic(statistics, child, weights, PENALTY)
    with torch.no_grad():
        encoder.head.child.weight.copy_(torch.from_numpy(slope[None]))
        encoder.head.child.bias.fill_(bias)
    right = np.average((statistics @ slope + bias > 0) == child, weights=weights)
    logger.info("%d crops of %d children's; %.3f right in training", child.size, child.sum(), right)


def main() -> None:
    """Command line: python -m recipes.starter.child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--voice", type=Path, required=True, help="the trained voice encoder")
    parser.add_argument("--out", type=Path, required=True, help="the same with its child layer")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    encoder = load_encoder(arguments.voice)
    fit(encoder, read_speakers(arguments.starter), arguments.features)
    save_encoder(encoder, arguments.out)


if __name__ == "__main__":
    main()
