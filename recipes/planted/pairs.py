"""Write planted people whose faces follow their voices, as a data set to `learn` from.

    python -m recipes.planted.pairs --out build/pairs --people 200

Voices are those of the planted world (`synthesiser.py`), faces are drawn by the starter's face decoder: age and gender
as anybody's, and of the coordinates beyond them a share that the voice's three shared traits decide. Nobody shown or
heard exists. `--shuffle` gives everybody the next person's face: then voices tell nothing. `--table` writes recordings,
photographs and pairs.csv in place of shards, as somebody has them who begins.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.planted.synthesiser import draw_traits, synthesise, voice_of
from speech2face.data.members import Clip, encode_png, encode_wav, to_samples
from speech2face.data.shards import ShardWriter
from speech2face.face.landmarks import HAND_PLACED, HAND_PLACED_COUNT
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.outputs import write_together

CONSENT = "synthetic: nobody is shown or heard"
STATEMENT = {
    "what": "planted pairs: synthetic voices and faces of nobody, paired by a known rule",
    "licence": "CC0-1.0",
}
SHARE = 0.6
"""Of the variance of a face beyond age and gender, that the voice decides."""
ADULTS = (22.0, 60.0)


def faces(model: AttributeModel, people: int, seed: int, share: float) -> NDArray[np.float32]:
    """Face embeddings, (people, K): women's where the pitch is above the middle, and the rest by traits and chance."""
    traits = draw_traits(range(people), seed=seed).shared  # (people, 3)
    rng = np.random.default_rng([seed, 10])
    population = model.release.population
    spread = population.residual_sd.astype(np.float64)
    rule = np.random.default_rng([seed, 11]).standard_normal((traits.shape[1], spread.size)) / np.sqrt(traits.shape[1])
    follows = traits @ rule
    beyond = np.sqrt(share) * follows + np.sqrt(1 - share) * rng.standard_normal(follows.shape)
    age = rng.uniform(*ADULTS, people)
    groups = rng.dirichlet(np.full(len(population.basis.groups), 2.0), people)
    design = population.basis.design(age, (traits[:, 0] > 0).astype(float), groups)
    return np.concatenate([design, beyond * spread], axis=1).astype(np.float32)


def landmarks_of(model: AttributeModel, face_embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """The hand-placed points of a drawn face, (189, 2); those that the face model does not have lie in its middle."""
    controls = model.landmarks(face_embedding)[: len(HAND_PLACED)]
    points = np.repeat(controls.mean(0)[None], HAND_PLACED_COUNT, 0)
    points[list(HAND_PLACED)] = controls
    return points.astype(np.float32)


def clips(people: int, *, seconds: float, seed: int, share: float = SHARE, shuffled: bool = False) -> Iterator[Clip]:
    """One clip a person."""
    model = load_attribute_model()
    embeddings = faces(model, people, seed, share)
    traits = draw_traits(range(people), seed=seed)
    for number in range(people):
        rng = np.random.default_rng([seed, number, 1])
        waveform = synthesise(voice_of(traits.shared[number], traits.heard[number], "spectrum"), seconds, rng)
        face = embeddings[(number + 1) % people if shuffled else number]
        name = f"planted-{number:05d}"
        yield Clip(
            key=name,
            speaker=name,
            split="train",
            waveform=to_samples(waveform),
            aligned_face=model.decode(face),
            landmarks=landmarks_of(model, face),
            labels={
                "language": "en" if number % 2 else "de",
                "gender": "female" if traits.shared[number, 0] > 0 else "male",
            },
            licence=STATEMENT["licence"],
            consent=CONSENT,
        )


def write_table(people: Sequence[Clip], out: Path) -> None:
    """Write a recording and a photograph a person, and `pairs.csv`, in which every third person is for validation.

    `landmarks.json` has the points of all photographs, for `learn --landmarks`.
    """
    rows = [("recording", "photograph", "speaker", "licence", "consent", "split", "gender", "language")]
    files, landmarks = {}, {}
    for number, clip in enumerate(people):
        assert clip.waveform is not None and clip.aligned_face is not None and clip.landmarks is not None
        landmarks[clip.key] = np.round(clip.landmarks, 2).tolist()
        files[out / f"{clip.key}.wav"] = encode_wav(to_samples(clip.waveform))
        files[out / f"{clip.key}.png"] = encode_png(clip.aligned_face)
        labels = str(clip.labels["gender"]), str(clip.labels["language"])
        split = "validation" if number % 3 == 2 else "train"
        rows.append((f"{clip.key}.wav", f"{clip.key}.png", clip.speaker, clip.licence, clip.consent, split, *labels))
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    files |= {
        out / "pairs.csv": table.getvalue().encode(),
        out / "landmarks.json": json.dumps({"landmarks": landmarks}).encode(),
    }
    write_together(files, force=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a recording")
    parser.add_argument("--share", type=float, default=SHARE, help="of a face beyond age and gender, by its voice")
    parser.add_argument("--seed", type=int, default=0, help="of the people")
    parser.add_argument("--shuffle", action="store_true", help="give everybody the next person's face")
    parser.add_argument("--table", action="store_true", help="write recordings, photographs and pairs.csv, no shards")
    arguments = parser.parse_args()
    people = clips(
        arguments.people,
        seconds=arguments.seconds,
        seed=arguments.seed,
        share=arguments.share,
        shuffled=arguments.shuffle,
    )
    if arguments.table:
        write_table(list(people), arguments.out)
        return
    with ShardWriter(arguments.out, statement=STATEMENT) as writer:
        for clip in people:
            writer.add(clip)


if __name__ == "__main__":
    main()
