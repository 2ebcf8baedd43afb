"""The heads of the starter's voice encoder: linear lines, fitted in closed form or by convex minimisation.

    python -m recipes.starter.heads --starter ../shared/starter --features FEATURES --out build/starter/head.safetensors

Every voice is heard clean and through every channel, whole and in cuts of one and two seconds; all of one speaker's
crops together weigh as much as those of any other.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.optimize import minimize

from recipes.starter.channels import CHANNELS
from recipes.starter.features import CUTS_SECONDS, Packed
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.training.export import save_half
from speech2face.training.pretrained import DISTANCE_SECONDS, VoiceHead, WhisperConfig

logger = logging.getLogger(__name__)

# Chosen among tenfold steps by the speakers of training and calibration alone: docs/experiments.md.
AGE_PENALTY = 0.6  # of a ridge whose kernel is x.x / numbers
GENDER_PENALTY, CHILD_PENALTY, VOICE_PENALTY = 10_000.0, 1000.0, 300.0
AGE_EXPANSION = 1.75  # of what the line says over its median: added to it once more so many times
AGE_SPREAD_GROWTH = 0.4  # of the spread, for every year stated over that median
DAMPING = 0.5  # the power of its deviation by which a number is divided; 1 would be plain standardisation
SPREAD_WEIGHT = 0.5  # of spreads over time beside means over time
CUT_WEIGHT = 0.3  # of a short cut beside the whole of a recording
CLEAN_WEIGHT = 2.0  # of the recording itself beside what channels make of it
SOUND_SECONDS = 2.0  # of a made sound at least
BEGINNING_SECONDS = 3.0  # the first segment alone: another cut, which needs no encoding of its own
WITHIN_SHRINKAGE = 0.1  # of the within-speaker covariance towards its mean variance


@dataclass(frozen=True)
class Crops:
    """Statistics of many stretches of speech, (crops, numbers), means before spreads, and whose they are."""

    statistics: np.ndarray
    speaker: np.ndarray  # (crops,) places in the list of speakers
    channel: np.ndarray  # (crops,) places in CHANNELS
    weight: np.ndarray  # (crops,) of every speaker summing to one
    whole: np.ndarray  # (crops,) bool: all that was heard, no short cut
    seconds: np.ndarray  # (crops,)

    def where(self, kept: np.ndarray) -> "Crops":
        """Some of them, `kept` (crops,) bool."""
        return Crops(*(getattr(self, field.name)[kept] for field in fields(self)))

    def standardised(self, centre: np.ndarray, scale: np.ndarray) -> "Crops":
        """The same with every number around `centre`, times `scale`."""
        return replace(self, statistics=(self.statistics - centre) * scale)


def gather(folder: Path, rows: Sequence[int], channels: Sequence[str] = CHANNELS) -> Crops:
    """The crops of some speakers through some channels."""
    statistics, speaker, channel, whole, lengths = [], [], [], [], []
    for place, name in enumerate(channels):
        packed = Packed(folder, name)
        for row in rows:
            all_seconds = None
            for seconds in (None, BEGINNING_SECONDS, *CUTS_SECONDS):
                pooled = packed.pooled(row, seconds)
                if pooled is not None and pooled[1] != all_seconds:  # a beginning that is the whole is no other crop
                    all_seconds = all_seconds or pooled[1]
                    statistics.append(pooled[0])
                    speaker.append(row)
                    channel.append(place)
                    whole.append(seconds is None)
                    lengths.append(pooled[1])
    whose, all_of_it = np.array(speaker), np.array(whole)
    weight = np.where(all_of_it, 1.0, CUT_WEIGHT) * np.where(np.array(channels)[channel] == "clean", CLEAN_WEIGHT, 1.0)
    weight /= np.bincount(whose, weight)[whose]
    return Crops(np.stack(statistics), whose, np.array(channel), weight, all_of_it, np.array(lengths))


def standard(crops: Crops) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every number and what it is multiplied by, (numbers,) each, every speaker weighing the same.

    Numbers are divided by the root of their deviation, so that those that vary most say most, and spreads over time
    weigh half as much as means: docs/experiments.md has both beside plain standardisation. All of them together have
    a mean square of one.
    """
    mean = np.average(crops.statistics, axis=0, weights=crops.weight)
    deviation = np.sqrt(np.average(np.square(crops.statistics - mean), axis=0, weights=crops.weight) + 1e-8)
    scale = deviation**-DAMPING
    scale[len(scale) // 2 :] *= SPREAD_WEIGHT
    return mean.astype(np.float32), (scale / np.sqrt(np.mean(np.square(scale * deviation)))).astype(np.float32)


def ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weighted ridge regression of centred columns: slopes (numbers,) and bias."""
    numbers = x.shape[1]
    bias = float(np.average(y, weights=weight))
    weighted = x * weight[:, None].astype(np.float32)
    gram = (weighted.T @ x) / numbers
    gram[np.diag_indices(numbers)] += penalty
    return np.linalg.solve(gram, weighted.T @ (y - bias).astype(np.float32) / numbers), bias


def logistic(x: np.ndarray, positive: np.ndarray, weight: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weighted logistic regression with a squared penalty on the slopes: slopes (numbers,) and bias."""
    sign = np.where(positive, 1.0, -1.0).astype(np.float32)
    weight = (weight / weight.mean()).astype(np.float32)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = parameters[:-1].astype(np.float32), parameters[-1]
        margin = sign * (x @ slope + np.float32(bias))
        pull = -weight * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        value = float(weight @ np.logaddexp(0, -margin)) + 0.5 * penalty * float(slope @ slope)
        return value, np.append(x.T @ pull + penalty * slope, pull.sum()).astype(np.float64)

    start = np.zeros(x.shape[1] + 1)
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return fitted[:-1].astype(np.float32), float(fitted[-1])


def balanced(weight: np.ndarray, *groupings: np.ndarray) -> np.ndarray:
    """Weights scaled so that all combinations of the groupings weigh the same, (crops,)."""
    _, cell = np.unique(np.stack(groupings), axis=1, return_inverse=True)
    cell = cell.reshape(-1)
    return np.asarray(weight / np.bincount(cell, weight)[cell])


def fit_gender(crops: Crops, speakers: Sequence[Speaker], penalty: float = GENDER_PENALTY) -> tuple[np.ndarray, float]:
    """The line that is above zero for women, both genders weighing the same in every channel."""
    kept = np.array([speakers[row].gender is not None and not speakers[row].is_child for row in crops.speaker])
    some = crops.where(kept)
    female = np.array([speakers[row].gender == "female" for row in some.speaker])
    return logistic(some.statistics, female, balanced(some.weight, female, some.channel), penalty)


def fit_age(crops: Crops, speakers: Sequence[Speaker], penalty: float = AGE_PENALTY) -> tuple[np.ndarray, float]:
    """The line of age in years, of all who told their age."""
    kept = np.array([has_age(speakers[row]) for row in crops.speaker])
    some = crops.where(kept)
    ages = np.array([speakers[row].age_years for row in some.speaker])
    return ridge(some.statistics, ages, some.weight, penalty)


def median_of_adults(crops: Crops, speakers: Sequence[Speaker], slope: np.ndarray) -> float:
    """Median of what a line says of adults, each heard whole, less its bias; 0 where there is no adult."""
    adult = crops.whole & np.array([speakers[row].is_adult for row in crops.speaker])
    return float(np.median(crops.statistics[adult] @ slope)) if adult.any() else 0.0


def has_age(speaker: Speaker) -> bool:
    """Whether the speaker told an age; an impression of annotators is none."""
    return speaker.age is not None and not speaker.age_is_impression


def fit_child(crops: Crops, speakers: Sequence[Speaker], penalty: float = CHILD_PENALTY) -> tuple[np.ndarray, float]:
    """The line above zero for children: they weigh half of all, adults of their corpus 15 %, others 35 %.

    All children are of one corpus; so it is children that are learned, not the corpus.
    """
    kept = np.array([speakers[row].is_child or speakers[row].is_adult for row in crops.speaker])
    some = crops.where(kept)
    child = np.array([speakers[row].is_child for row in some.speaker])
    home = {speakers[row].source for row in some.speaker if speakers[row].is_child}
    kind = np.array([0 if speakers[row].is_child else 1 if speakers[row].source in home else 2 for row in some.speaker])
    share = np.array([0.5, 0.15, 0.35])[kind]
    return logistic(some.statistics, child, balanced(some.weight, kind) * share, penalty)


def fit_voice(crops: Crops, sounds: np.ndarray, penalty: float = VOICE_PENALTY) -> tuple[np.ndarray, float]:
    """The line above zero for voices; `sounds` (sounds, numbers) are none.

    Sounds are of two seconds and more, and so are the voices beside them: else to be short would be to be a voice.
    """
    long = crops.statistics[crops.seconds >= SOUND_SECONDS]
    x = np.concatenate([long, sounds])
    voice = np.arange(len(x)) < len(long)
    return logistic(x, voice, balanced(np.ones(len(x)), voice), penalty)


def fit_embedding(crops: Crops, size: int) -> np.ndarray:
    """Directions along which speakers differ most beside their own crops, (size, numbers); Fisher's discriminant."""
    numbers = crops.statistics.shape[1]
    weight = crops.weight[:, None].astype(np.float32)
    people, at = np.unique(crops.speaker, return_inverse=True)
    means = np.zeros((len(people), numbers), np.float32)
    np.add.at(means, at, crops.statistics * weight)
    between = np.cov(means.T)
    inside = crops.statistics - means[at]
    within = (inside * weight).T @ inside / len(people)
    within += WITHIN_SHRINKAGE * np.trace(within) / numbers * np.eye(numbers)
    _, directions = eigh(between, within, subset_by_index=[numbers - size, numbers - 1])
    return np.asarray(directions.T[::-1], np.float32)


def fit_distance(crops: Crops, axes: int) -> np.ndarray:
    """Principal axes of the statistics, each over its deviation, (axes, numbers)."""
    weight = crops.weight[:, None].astype(np.float32)
    covariance = (crops.statistics * weight).T @ crops.statistics / crops.weight.sum()
    numbers = len(covariance)
    variances, vectors = eigh(covariance, subset_by_index=[numbers - axes, numbers - 1])
    return np.asarray((vectors / np.sqrt(variances)).T[::-1], np.float32)


def fit_typical_distance(distance: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """How far recordings of so many seconds lie: at one second, and the power of the seconds by which it falls."""
    log_seconds = np.log(np.clip(seconds, *DISTANCE_SECONDS))
    slope, at_one = np.polyfit(log_seconds, np.log(distance), 1)
    return float(np.exp(at_one)), float(-slope)


def fit_head(folder: Path, speakers: Sequence[Speaker], rows: Sequence[int], config: WhisperConfig) -> VoiceHead:
    """Every head, learned from some speakers."""
    crops = gather(folder, rows)
    centre, scale = standard(crops)
    crops = crops.standardised(centre, scale)
    sounds = (Packed(folder, "no-voices").sounds() - centre) * scale
    lines = [fit_gender(crops, speakers), fit_age(crops, speakers)]
    lines += [fit_voice(crops, sounds), fit_child(crops, speakers)]
    head = VoiceHead(config)
    slope, bias = lines[1]
    knee = median_of_adults(crops, speakers, slope) + bias
    with torch.no_grad():
        head.centre.copy_(torch.from_numpy(centre))
        head.scale.copy_(torch.from_numpy(scale))
        head.lines.weight.copy_(torch.from_numpy(np.stack([slope for slope, _ in lines])))
        head.lines.bias.copy_(torch.tensor([bias for _, bias in lines]))
        head.embed.weight.copy_(torch.from_numpy(fit_embedding(crops, config.speaker_embedding)))
        axes = fit_distance(crops, config.distance_axes)
        head.distance.weight.copy_(torch.from_numpy(axes))
        typical = fit_typical_distance(np.square(crops.statistics @ axes.T).mean(1), crops.seconds)
        head.typical_distance.copy_(torch.tensor(typical))
        head.age_shape.copy_(torch.tensor([knee, AGE_EXPANSION, AGE_SPREAD_GROWTH]))
    return head.eval()


def main() -> None:
    """Command line: python -m recipes.starter.heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    speakers = read_speakers(arguments.starter)
    rows = [row for row, s in enumerate(speakers) if s.split == "train"]
    head = fit_head(arguments.features, speakers, rows, WhisperConfig())
    save_half(head, arguments.out, {"config": json.dumps(head.config.to_dict())})
    logger.info("heads of %d speakers", len(rows))


if __name__ == "__main__":
    main()
