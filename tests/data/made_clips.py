"""Small clips and data sets that the tests of the data format share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import ShardWriter
from speech2face.face.embedders import EmbedderRecord

EMBEDDING, FACE, LANDMARKS = 8, (6, 5), 4
EMBEDDER = EmbedderRecord("planted", EMBEDDING)


def made_clip(number: int, *, samples: int = 1600, faces: bool = True, split: str | None = None) -> Clip:
    """Clip `number` of speaker `number` mod 10; speakers 8 and 9 are the test split."""
    random = np.random.default_rng(number)
    return Clip(
        key=f"clip-{number:04d}",
        speaker=f"speaker {number % 10}",
        split=split or ("test" if number % 10 >= 8 else "train"),
        waveform=random.integers(-32768, 32768, samples).astype(np.int16),
        face_embedding=random.standard_normal(EMBEDDING).astype(np.float32),
        aligned_face=random.integers(0, 256, (*FACE, 3)).astype(np.uint8) if faces else None,
        landmarks=random.random((LANDMARKS, 2)).astype(np.float32) if faces else None,
        labels={"gender": "fm"[number % 2], "age_years": number, "language": None},
        licence="CC0 1.0",
        consent='given, "in writing"',
    )


def made_clips(count: int, *, faces: bool = True) -> Iterator[Clip]:
    """The first so many."""
    return (made_clip(number, faces=faces) for number in range(count))


def made_data(folder: Path | str, count: int = 40, *, clips_per_shard: int = 7, faces: bool = True) -> Manifest:
    """A data set, written and opened."""
    with ShardWriter(folder, embedder=EMBEDDER, statement={"made": "up"}, clips_per_shard=clips_per_shard) as writer:
        for clip in made_clips(count, faces=faces):
            writer.add(clip)
    return Manifest.open(folder)
