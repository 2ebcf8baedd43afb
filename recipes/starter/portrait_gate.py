"""Whether portraits differ because voices do: one number of the release gate, on validation speakers.

    python -m recipes.starter.portrait_gate --starter ../shared/starter --out docs/portrait_gate.csv

- difference: the median, over pairs of speakers of one gender, of how far their portraits differ inside the face;
- age_r: how well the age that is stated agrees with the age that an independent reader finds in the picture.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from recipes.starter.features import HEARD_SECONDS, decode
from speech2face.errors import Speech2FaceError
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.evaluation.readers import AppearanceReader, read_pictures
from speech2face.metrics.intervals import Estimate, SpeakerBootstrap, bootstrap
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.models.contract import Given
from speech2face.outputs import encode_csv, replace_file
from speech2face.portrait import encode_speech

LEAST_SECONDS = 3.0
LEAST_DIFFERENCE = 8.0  # grey levels, 0 to 255
LEAST_AGE_R = 0.85
PIXELS = 128  # pictures are compared in this size


class Drawn(NamedTuple):
    """The expected face of one speaker and the age that was stated with it."""

    speaker: Speaker
    picture: np.ndarray
    age: float


def draw(model: AttributeModel, speakers: Sequence[Speaker]) -> list[Drawn]:
    """The portraits of all speakers who are not refused."""
    found = []
    for speaker in speakers:
        try:
            _, said = encode_speech(model, decode(speaker.file, HEARD_SECONDS))
        except Speech2FaceError:
            continue
        assert said.attributes is not None
        found.append(Drawn(speaker, model.decode(said.belief(Given()).mean), said.attributes.age_mean))
    return found


def face_region(model: AttributeModel) -> np.ndarray:
    """Inside the outline of the mean face's points, (PIXELS, PIXELS) bool."""
    points = model.landmarks(model.release.mean_embedding)
    size = model.decode(model.release.mean_embedding).shape[0]
    outline = points[ConvexHull(points).vertices] * (PIXELS / size)
    mask = Image.new("1", (PIXELS, PIXELS))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    return np.array(mask)


def difference(drawn: Sequence[Drawn], region: np.ndarray) -> Estimate:
    """Median over pairs of one gender of the mean absolute difference inside the face, in grey levels of 255."""
    small = [Image.fromarray(one.picture).resize((PIXELS, PIXELS), Image.Resampling.BOX) for one in drawn]
    faces = np.stack([np.asarray(picture, np.float32)[region].reshape(-1) for picture in small])
    gender = np.array([one.speaker.gender for one in drawn])
    apart = np.array([np.abs(faces - face).mean(1) for face in faces])  # (speakers, speakers)
    pairs = np.triu(gender[:, None] == gender[None], 1)

    def median_of(rows: np.ndarray) -> float:
        chosen = np.ix_(np.sort(rows), np.sort(rows))  # nobody drawn twice is a pair with themselves
        return float(np.median(apart[chosen][pairs[chosen]]))

    return bootstrap(median_of, np.arange(len(drawn)))


def measure(model: AttributeModel, speakers: Sequence[Speaker]) -> list[tuple[str, Estimate, float]]:
    """Both numbers, and the least that the gate asks of each."""
    drawn = draw(model, speakers)
    read = read_pictures(AppearanceReader(model.release.folder), [one.picture for one in drawn])
    seen = np.array([np.nan if one is None or one.age is None else one.age for one in read])
    stated = np.array([one.age for one in drawn])
    return [
        ("difference_between_speakers_of_one_gender", difference(drawn, face_region(model)), LEAST_DIFFERENCE),
        ("age_r", SpeakerBootstrap(np.arange(len(drawn))).correlation(seen, stated), LEAST_AGE_R),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, help="a CSV")
    arguments = parser.parse_args()
    speakers = [
        s for s in read_speakers(arguments.starter) if s.split == "validation" and s.gender and s.is_adult
        and s.seconds >= LEAST_SECONDS
    ]  # fmt: skip
    table: list[list[object]] = [["metric", "value", "low_95", "high_95", "speakers", "least", "passed"]]
    for name, estimate, least in measure(load_attribute_model(arguments.model), speakers):
        table.append([name, *(f"{v:.4g}" for v in estimate.cells()), estimate.n, least, estimate.value >= least])
    print(encode_csv(table).decode(), end="")
    if arguments.out:
        replace_file(arguments.out, encode_csv(table))


if __name__ == "__main__":
    main()
