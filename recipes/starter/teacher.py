"""The teacher of age: kernel ridge regression from classical descriptors to a distribution over age bins.

With a thousand labelled adults a deep network learns their ages by heart. What it distils instead are beliefs about
each speaker from a smooth regression that has not seen that speaker's label: ten folds, each predicted from the other
nine.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from recipes.starter.batches import interval_masses
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.metrics.attributes import mean_absolute_error, spearman
from speech2face.voice.belief import BIN_CENTRES

logger = logging.getLogger(__name__)

FOLDS = 10
WIDTH = 1.0  # of the kernel, over the number of descriptors
RIDGE = 1.0
SOURCE_DESCRIPTORS = 21
SOURCE_COPIES = 4  # pitch and harmonicity count as much as four times as many cepstral numbers
IMPRESSION_WEIGHT = 0.3
FLOOR = 0.004  # probability of the least likely bin


def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Gaussian kernel, (rows, d), (columns, d) -> (rows, columns)."""
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
    return np.asarray(np.exp(-WIDTH / first.shape[1] * np.maximum(squares, 0)))


def regress(known: np.ndarray, targets: np.ndarray, weights: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Weighted kernel ridge regression, (n, d), (n, bins), (n,), (m, d) -> (m, bins)."""
    mean = weights @ targets / weights.sum()
    matrix = kernel(known, known) + np.diag(RIDGE / weights)
    return np.asarray(mean + kernel(asked, known) @ np.linalg.solve(matrix, targets - mean))


def distribution(predicted: np.ndarray) -> np.ndarray:
    """Regression outputs -> probabilities, (m, bins) -> (m, bins)."""
    positive = np.maximum(predicted, FLOOR)
    return np.asarray(positive / positive.sum(1, keepdims=True))


def standardised(descriptors: np.ndarray, training: np.ndarray, gender: np.ndarray) -> np.ndarray:
    """Descriptors in deviations of the training speakers, with gender beside the voice source, (speakers, d)."""
    mean, deviation = descriptors[training].mean(0), descriptors[training].std(0) + 1e-6
    scaled = np.clip((descriptors - mean) / deviation, -4, 4)
    source = np.column_stack([scaled[:, :SOURCE_DESCRIPTORS], gender])
    return np.concatenate([np.tile(source, (1, SOURCE_COPIES)), scaled[:, SOURCE_DESCRIPTORS:]], axis=1)


def gender_column(descriptors: np.ndarray, speakers: list[Speaker], training: np.ndarray) -> np.ndarray:
    """-1 man, 1 woman; where unknown, the nearest side of the labelled speakers' median pitch, (speakers,)."""
    median_pitch = descriptors[:, 2]
    known = {g: np.median(median_pitch[[i for i in training if speakers[i].gender == g]]) for g in ("female", "male")}
    guess = np.where(median_pitch > (known["female"] + known["male"]) / 2, 1.0, -1.0)
    stated = [{"female": 1.0, "male": -1.0, None: np.nan}[s.gender] for s in speakers]
    return np.where(np.isnan(stated), guess, stated)


def teach(starter: Path, features: Path, out: Path) -> None:
    """Write the teacher's belief about each training speaker: `age` (training speakers, bins)."""
    speakers = read_speakers(starter)
    descriptors = np.load(features / "descriptors.npy")
    training = np.array([row for row, s in enumerate(speakers) if s.split == "train"])
    inputs = standardised(descriptors, training, gender_column(descriptors, speakers, training))
    masses = interval_masses(speakers)
    masses = masses / masses.sum(1, keepdims=True)
    labelled = np.array([row for row in training if speakers[row].age is not None])
    weights = np.array([IMPRESSION_WEIGHT if speakers[row].age_is_impression else 1.0 for row in labelled])
    fold = np.random.default_rng(0).integers(FOLDS, size=labelled.size)
    belief = distribution(regress(inputs[labelled], masses[labelled], weights, inputs))
    for index in range(FOLDS):
        seen, asked = labelled[fold != index], labelled[fold == index]
        belief[asked] = distribution(regress(inputs[seen], masses[seen], weights[fold != index], inputs[asked]))
    for name in ("train", "calibration"):
        rows = [row for row, s in enumerate(speakers) if s.split == name and s.is_adult]
        reference = np.array([speakers[row].age_years for row in rows])
        stated = belief[rows] @ BIN_CENTRES
        logger.info("%s: Spearman %.3f, error %.2f years, %d adults", name, spearman(stated, reference),
                    mean_absolute_error(stated, reference), len(rows))  # fmt: skip
    temporary = out.with_name(f".{out.name}.tmp")
    save_file({"age": belief[training].astype(np.float32), "rows": training}, temporary)
    temporary.replace(out)


def main() -> None:
    """Command line: python -m recipes.starter.teacher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    teach(arguments.starter, arguments.features, arguments.out)


if __name__ == "__main__":
    main()
