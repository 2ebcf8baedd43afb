"""Write a planted world as a data set (docs/data-format.md): python -m recipes.planted.shards --help."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from recipes.planted.synthesiser import SHARED
from recipes.planted.world import FaceArtist, World
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip, to_samples
from speech2face.data.shards import ShardWriter
from speech2face.face.embedders import EmbedderRecord

AT_ONCE = 50  # speakers that a process makes in one go
FIRST_SPEAKER = {"train": 0, "validation": 10_000_000, "test": 20_000_000, "confirmation": 30_000_000}
"""Speakers of different splits have different numbers, however many there are."""
STATEMENT = {
    "what": "a planted world: synthetic voices and faces of nobody, paired by a known rule (docs/planted.md)",
    "licence": "CC0-1.0",
}


@dataclass(frozen=True)
class Split:
    """How much of a world is written under one name; a speaker has one recording."""

    name: str
    speakers: int
    seconds: float
    """Of each recording; 0 writes faces alone."""

    @property
    def numbers(self) -> range:
        """Numbers of its speakers in the world."""
        first = FIRST_SPEAKER[self.name]
        return range(first, first + self.speakers)


def speaker_name(number: int) -> str:
    """Name of a speaker and of the one clip of it."""
    return f"planted-{number:08d}"


def speaker_number(name: str) -> int:
    """The number in a speaker's name."""
    return int(name.removeprefix("planted-"))


def embedder_record(world: World) -> EmbedderRecord:
    """The record that names a world's face embeddings."""
    return EmbedderRecord("planted", world.embedding, settings=asdict(world))


def _recordings(world: World, speakers: range, seconds: float) -> list[NDArray[np.int16]]:
    return [to_samples(waveform) for waveform in world.waveforms(speakers, seconds)]


def _waveforms(world: World, split: Split, processes: int) -> Iterator[NDArray[np.int16] | None]:
    """Samples of each speaker's recording, made by several processes."""
    if not split.seconds:
        yield from repeat(None, split.speakers)
        return
    parts = [split.numbers[at : at + AT_ONCE] for at in range(0, split.speakers, AT_ONCE)]
    if processes == 1:
        made = (_recordings(world, part, split.seconds) for part in parts)
        yield from (samples for part in made for samples in part)
        return
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(_recordings, repeat(world), parts, repeat(split.seconds)):
            yield from part


def clips(world: World, split: Split, artist: FaceArtist | None = None, *, processes: int = 1) -> Iterator[Clip]:
    """The clips of a split, one a speaker; with an artist they have aligned faces and landmarks."""
    traits = world.traits(split.numbers)
    embeddings = world.face_embedding(traits).astype(np.float32)
    faces: Sequence[NDArray[np.uint8] | None] = [None] * split.speakers
    landmarks: Sequence[NDArray[np.float32] | None] = faces  # type: ignore[assignment]
    if artist is not None:
        faces, landmarks = artist.draw(embeddings.astype(np.float64))  # type: ignore[assignment]
    for row, (number, samples) in enumerate(zip(split.numbers, _waveforms(world, split, processes), strict=True)):
        labels = {
            name: round(float(trait), 4) for name, trait in zip(world.shared_traits, traits.shared[row], strict=True)
        }
        yield Clip(
            key=speaker_name(number),
            speaker=speaker_name(number),
            split=split.name,
            waveform=samples,
            face_embedding=embeddings[row],
            aligned_face=faces[row],
            landmarks=landmarks[row],
            labels=labels,
            licence=STATEMENT["licence"],
            consent="synthetic: nobody is shown or heard",
        )


def write_world(
    folder: Path, world: World, splits: Sequence[Split], *, face_pixels: int | None = None, processes: int = 1
) -> None:
    """Write splits of a world as one data set; `face_pixels` adds aligned faces of this size.

    Raises:
        OutputExists, CannotWrite: of the shard writer.
    """
    artist = None if face_pixels is None else FaceArtist(world, face_pixels)
    with ShardWriter(folder, embedder=embedder_record(world), statement=STATEMENT) as writer:
        for split in splits:
            for clip in clips(world, split, artist, processes=processes):
                writer.add(clip)


def write_shuffled(folder: Path, source: Manifest, seconds: float) -> None:
    """Write training and validation clips of a world again, each voice with the next speaker's face.

    The recordings, the faces and their numbers are the same; nothing of a voice tells anything of its face any more.

    Raises:
        OutputExists, CannotWrite: of the shard writer.
    """
    with ShardWriter(folder, embedder=source.embedder, statement=STATEMENT) as writer:
        for name in ("train", "validation"):
            data = ClipDataset(source, name, seconds=seconds)
            for number in range(len(data)):
                voice, face = data[number], data[(number + 1) % len(data)]
                key = data.table.key_of(number)
                waveform, embedding = voice["waveform"].numpy(), face["face_embedding"].numpy()
                writer.add(Clip(key, speaker=key, split=name, waveform=waveform, face_embedding=embedding))


def write_teacher_head(path: Path, world: World) -> None:
    """The planted teacher's classification layer, as `speech2face train` reads it (`teacher.head`)."""
    weight, bias = world.teacher_head()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"fc8.weight": torch.from_numpy(weight), "fc8.bias": torch.from_numpy(bias)}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--train", type=int, default=12_000, help="speakers to learn from")
    parser.add_argument("--validation", type=int, default=300)
    parser.add_argument("--test", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a recording; 0 writes faces alone")
    parser.add_argument("--confirmation", type=int, default=0, help="speakers of a second test")
    parser.add_argument("--test-seconds", type=float, default=12.0)
    parser.add_argument("--faces", type=int, help="pixels of aligned faces; none are drawn without it")
    parser.add_argument("--shuffle", metavar="FOLDER", help="that data set again, with other people's faces")
    parser.add_argument("--head", type=Path, help="also write the planted teacher's classification layer here")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the world")
    parser.add_argument("--kind", choices=tuple(SHARED), default="spectrum", help="what of a voice its face shows")
    arguments = parser.parse_args()
    if arguments.shuffle:
        write_shuffled(arguments.out, Manifest.open(arguments.shuffle), arguments.seconds)
        return
    world = World(seed=arguments.seed, kind=arguments.kind)
    splits = [
        Split("train", arguments.train, arguments.seconds),
        Split("validation", arguments.validation, arguments.seconds),
        Split("test", arguments.test, arguments.test_seconds if arguments.seconds else 0),
        Split("confirmation", arguments.confirmation, arguments.test_seconds if arguments.seconds else 0),
    ]
    if arguments.head:
        write_teacher_head(arguments.head, world)
    write_world(
        arguments.out,
        world,
        [split for split in splits if split.speakers],
        face_pixels=arguments.faces,
        processes=arguments.processes,
    )


if __name__ == "__main__":
    main()
