"""Writes a small data set of made clips into the folder `data`, and reads a batch of it: docs/data-format.md.

python examples/data_set.py
"""

import numpy as np

from speech2face.data.clips import ClipDataset, clip_loader
from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import BatchOrder, ShardWriter
from speech2face.face.embedders import EmbedderRecord


def main() -> None:
    """Write, open and read it."""
    random = np.random.default_rng(0)
    with ShardWriter("data", embedder=EmbedderRecord("dlib", 128)) as writer:
        for number in range(100):
            writer.add(
                Clip(
                    key=f"clip-{number:06d}",
                    speaker=f"speaker {number % 20}",
                    split="test" if number % 20 < 4 else "train",
                    waveform=random.uniform(-0.5, 0.5, 96_000).astype(np.float32),  # [-1, 1] at 16 kHz
                    face_embedding=random.standard_normal(128).astype(np.float32),
                    labels={"gender": None},
                    licence="CC0 1.0",
                    consent="made up",
                )
            )

    manifest = Manifest.open("data")
    clips = ClipDataset(manifest, "train", parts=("waveform", "face_embedding"), seconds=6.0)
    order = BatchOrder(clips.table, 8, seed=1, start_step=5)
    for batch in clip_loader(clips, order, workers=2):
        print(batch["waveform"].shape, batch["face_embedding"].shape, batch["speaker"])
        break  # it goes on for ever


if __name__ == "__main__":
    main()
