"""A data set for the face decoder, enlarged by morphs (Cole et al. 2017 made about a million of 12,000 photographs).

Written once, before the training: a morph's face embedding has to come from the face embedder that made the others, and
that need not be one that runs inside the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2face.data.clip import Clip
from speech2face.data.clips import ClipDataset
from speech2face.data.layout import Part
from speech2face.data.manifest import Manifest
from speech2face.data.shards import Place, write_shards
from speech2face.errors import DatasetError
from speech2face.face.detector import Picture
from speech2face.training.decoder_stage import TRAINING_SPLIT, to_unit
from speech2face.training.morph import NEIGHBOURS, Morpher, draw_morph, face_descriptors

Embed = Callable[[Picture], NDArray[np.float32] | None]
"""An aligned face (height, width, 3) -> its embedding, or None where no face is seen."""

FACE_PARTS: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")
LABEL = "morph_of"  # empty for a photograph, else the keys of the two clips
ATTEMPTS = 3  # draws a morph wanted, before an embedder that sees no face in most of them is given up
READ_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class FaceSource:
    """The faces of one split of a data set, read when they are needed."""

    clips: ClipDataset
    licences: list[str]
    consents: list[str]

    @classmethod
    def open(cls, manifest: Manifest, split: str) -> FaceSource:
        """A split of a data set.

        Raises:
            DatasetError: it lacks embeddings, faces or landmarks, or its faces are not square.
        """
        clips = ClipDataset(manifest, split, parts=FACE_PARTS)
        if manifest.layout.face is not None and manifest.layout.face[0] != manifest.layout.face[1]:
            raise DatasetError(f"{manifest.storage}: faces of {manifest.layout.face} pixels; morphs need square ones")
        return cls(clips, *(manifest.column(name, split) for name in ("licence", "consent")))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All faces in order, (batch, 3, size, size) in [0, 1], with their landmarks (batch, landmarks, 2)."""
        for start in range(0, len(self.clips), READ_AT_ONCE):
            batch = self.clips.batch(range(start, min(start + READ_AT_ONCE, len(self.clips))))
            yield to_unit(batch["aligned_face"]), batch["landmarks"]

    def photographs(self) -> Iterator[Clip]:
        """The clips as they are, less what a face decoder does not read."""
        table = self.clips.table
        for number in range(len(self.clips)):
            parts = self.clips[number]
            yield Clip(
                key=table.key_of(number),
                speaker=table.speakers[table.speaker[number]],
                split=table.splits[table.split[number]],
                face_embedding=parts["face_embedding"].numpy(),
                aligned_face=np.ascontiguousarray(parts["aligned_face"].permute(1, 2, 0).numpy()),
                landmarks=parts["landmarks"].numpy(),
                labels={LABEL: ""},
                licence=self.licences[number],
                consent=self.consents[number],
            )

    def joined(self, column: list[str], faces: tuple[int, int]) -> str:
        """What holds for a morph of two faces: the licence, the consent of both."""
        return " and ".join(sorted({column[face] for face in faces}))


def make_morphs(
    source: FaceSource, embed: Embed, *, count: int, seed: int, neighbours: int = NEIGHBOURS
) -> Iterator[Clip]:
    """New people between those of the source, `count` of them; the same again from the same seed.

    Raises:
        DatasetError: fewer than two faces, or the embedder sees a face in too few of the morphs.
    """
    if len(source.clips) < 2:
        raise DatasetError("a morph needs two faces; the training split has fewer")
    mean = torch.cat([landmarks for _, landmarks in source.batches()]).mean(0)
    size = source.clips[0]["aligned_face"].shape[-1]
    morpher = Morpher(mean, size)
    described = [face_descriptors(points, morpher.textures(faces, points)) for faces, points in source.batches()]
    descriptors = torch.cat(described)
    made = 0
    for number in range(ATTEMPTS * count):
        if made == count:
            return
        draw = draw_morph(descriptors, len(mean), seed=seed, number=number, neighbours=neighbours)
        pair = source.clips.batch([draw.seed, draw.partner])
        faces, points = to_unit(pair["aligned_face"]), pair["landmarks"]
        morph, own = morpher.morph((faces[:1], faces[1:]), (points[:1], points[1:]), torch.tensor([draw.weight]))
        picture = morph[0].permute(1, 2, 0).mul(255).round().byte().contiguous().numpy()
        embedding = embed(picture)
        if embedding is None:
            continue
        made += 1
        both, table = (draw.seed, draw.partner), source.clips.table
        yield Clip(
            key=f"morph-{number:08d}",
            speaker=f"morph-{number:08d}",
            split=TRAINING_SPLIT,
            face_embedding=np.asarray(embedding, dtype=np.float32),
            aligned_face=picture,
            landmarks=own[0].numpy(),
            labels={LABEL: " ".join(table.key_of(face) for face in both)},
            licence=source.joined(source.licences, both),
            consent=source.joined(source.consents, both),
        )
    raise DatasetError(
        f"the face embedder saw a face in only {made} of {ATTEMPTS * count} morphs; are these aligned as it expects?"
    )


def write_morphs(
    manifest: Manifest, folder: Place, embed: Embed, *, count: int, seed: int = 0, neighbours: int = NEIGHBOURS
) -> None:
    """A data set with the faces of another and `count` morphs of its training split's; waveforms are left behind.

    Raises:
        DatasetError: as `make_morphs`.
        OutputExists, CannotWrite: the folder holds a data set, or cannot be written.
    """

    def everything() -> Iterator[Clip]:
        for split in manifest.splits:
            yield from FaceSource.open(manifest, split).photographs()
        training = FaceSource.open(manifest, TRAINING_SPLIT)
        yield from make_morphs(training, embed, count=count, seed=seed, neighbours=neighbours)

    made_of = {"morphs": count, "morph_seed": seed, "morphs_of_manifest": manifest.sha256}
    write_shards(folder, everything(), embedder=manifest.embedder, statement=dict(manifest.statement) | made_of)
