"""Augmentation by random morphs of alike faces (Cole et al. 2017): new people between those of a data set.

A seed face A is drawn, then B among its `NEIGHBOURS` nearest; landmarks and textures are interpolated by a random
weight, and the face so made is set into A's photograph, brought to the new shape, by its gradients. As always in that
way of blending, the surroundings decide the colours: they stay A's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest, Part
from speech2face.data.members import Clip
from speech2face.data.record import MORPH_OF
from speech2face.data.shards import Place, write_shards
from speech2face.decoder.warp import BorderedSpline
from speech2face.errors import DatasetError
from speech2face.face.detect import Picture
from speech2face.training.stages import TRAINING_SPLIT, to_unit

NEIGHBOURS = 200  # k of Cole et al.
LANDMARK_WEIGHT = 10.0  # lambda of Cole et al.
REFERENCE_PIXELS = 224  # their picture: landmarks count in its pixels, textures as its numbers in [0, 1]
DESCRIPTOR_PIXELS = 28  # textures are compared at this size, weighted so that distances stay about the same
HULL_MARGIN = -0.03  # of the picture: an outline that the mask cut through would leave a halo in the background


@dataclass(frozen=True, eq=False)
class Draw:
    """Which faces make a morph; places in the data set."""

    seed: int
    partner: int
    weight: float
    """Share of the partner, 0 to 1."""


def face_descriptors(landmarks: Tensor, textures: Tensor) -> Tensor:
    """Vectors, (batch, numbers), from which `nearest_faces` finds distances; see there.

    landmarks (batch, landmarks, 2) in pixels of the textures (batch, 3, size, size).
    """
    shape = landmarks.flatten(1) * (REFERENCE_PIXELS / textures.shape[-1])
    small = adaptive_avg_pool2d(textures, DESCRIPTOR_PIXELS).flatten(1) * (REFERENCE_PIXELS / DESCRIPTOR_PIXELS)
    return torch.cat([shape, small], dim=1)


def nearest_faces(descriptors: Tensor, face: int, landmarks: int, *, count: int = NEIGHBOURS) -> NDArray[np.intp]:
    """The faces nearest to one by lambda ||L_A - L_B|| + ||T_A - T_B||, nearest first, at most `count`, not itself."""
    difference = descriptors - descriptors[face]
    shape, texture = difference[:, : 2 * landmarks], difference[:, 2 * landmarks :]
    distance = LANDMARK_WEIGHT * shape.norm(dim=1) + texture.norm(dim=1)
    distance[face] = torch.inf
    order = torch.argsort(distance, stable=True)[: min(count, len(distance) - 1)]
    return np.asarray(order.cpu().numpy(), dtype=np.intp)


def draw_morph(descriptors: Tensor, landmarks: int, *, seed: int, number: int, neighbours: int = NEIGHBOURS) -> Draw:
    """What the morph of this number is made of: follows from the seed and the number alone."""
    random = np.random.default_rng((seed, number))
    face = int(random.integers(len(descriptors)))
    near = nearest_faces(descriptors, face, landmarks, count=neighbours)
    return Draw(face, int(random.choice(near)), float(random.random()))


@dataclass(frozen=True)
class Morpher:
    """Makes morphs of aligned faces on one mean shape."""

    mean_landmarks: Tensor
    """(landmarks, 2), pixels."""
    size: int
    """Pixels of the faces, both ways."""

    @property
    def spline(self) -> BorderedSpline:
        """The face decoder's warp, at every pixel."""
        return BorderedSpline(self.size, self.size)

    def textures(self, faces: Tensor, landmarks: Tensor) -> Tensor:
        """Faces (batch, 3, size, size) in [0, 1] brought to the mean shape."""
        return self.spline.move(faces, landmarks, self.mean_landmarks.expand_as(landmarks))

    def morph(
        self, faces: tuple[Tensor, Tensor], landmarks: tuple[Tensor, Tensor], weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Faces between A and B, (batch, 3, size, size), and their landmarks, (batch, landmarks, 2).

        `faces` and `landmarks` are A's and B's; weight (batch,) is B's share. With a share of 0 it is A's photograph.
        """
        share = weight[:, None, None]
        own = torch.lerp(landmarks[0], landmarks[1], share.expand_as(landmarks[0]))
        # Straight from each photograph to the new shape: by way of the mean shape it would be resampled twice.
        at_own = [self.spline.move(face, points, own) for face, points in zip(faces, landmarks, strict=True)]
        inner = torch.lerp(at_own[0], at_own[1], share[..., None].expand_as(at_own[0]))
        mask = hull_mask(own, self.size, margin_pixels=HULL_MARGIN * self.size)
        return blend_gradients(inner, at_own[0], mask), own


# --- A data set for the face decoder, enlarged by morphs (Cole et al. 2017 made about a million of 12,000 photographs).
# Written once, before the training: a morph's face embedding has to come from the face embedder that made the others,
# and that need not be one that runs inside the training.

Embed = Callable[[Picture], NDArray[np.float32] | None]
"""An aligned face (height, width, 3) -> its embedding, or None where no face is seen."""
FACE_PARTS: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")
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
                labels={MORPH_OF: ""},
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
            labels={MORPH_OF: " ".join(table.key_of(face) for face in both)},
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


# --- Gradient-domain composition of two pictures (Perez et al. 2003), solved exactly by sine transforms, on any device.
# Only the gradients are pasted, not the colours, so no seam is left at the edge of the mask. The unknowns are all
# pixels but the picture's outermost, which stay the background's: on such a rectangle the Poisson equation is
# diagonal in sines, a few products of small matrices instead of the sparse system of 50,000 unknowns that an
# irregular boundary needs.

DIRECTIONS = 64  # of the half planes whose common part stands for a convex hull


def hull_mask(points: Tensor, size: int, *, margin_pixels: float = 0.0) -> Tensor:
    """1 inside the convex hull of points (batch, points, 2) grown by the margin, else 0: (batch, 1, size, size)."""
    angles = torch.arange(DIRECTIONS, device=points.device) * (2 * math.pi / DIRECTIONS)
    outward = torch.stack([angles.cos(), angles.sin()])  # (2, directions)
    reach = (points @ outward).amax(dim=1) + margin_pixels  # (batch, directions)
    steps = torch.arange(size, dtype=points.dtype, device=points.device)
    grid = torch.stack([steps.repeat(size), steps.repeat_interleave(size)], dim=-1)  # (size * size, 2)
    inside = ((grid @ outward)[None] <= reach[:, None]).all(dim=2)
    return inside.reshape(-1, 1, size, size).to(points.dtype)


def _sines(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal sine transform (count, count), its own inverse, and the eigenvalues of -u'' in it, (count,)."""
    steps = torch.arange(1, count + 1, dtype=torch.float64)
    matrix = torch.sin(torch.outer(steps, steps) * (math.pi / (count + 1))) * math.sqrt(2 / (count + 1))
    eigenvalues = 2 - 2 * torch.cos(steps * (math.pi / (count + 1)))
    return matrix.to(like), eigenvalues.to(like)


def blend_gradients(inner: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """The picture with inner's gradients inside the mask, the background's outside, and the background's border.

    All (batch, channels, height, width), mask (batch, 1, height, width). Returned in [0, 1], as they are.
    """
    across, down = (_pasted(inner, background, mask, axis) for axis in (3, 2))
    divergence = (across[..., 1:-1, 1:] - across[..., 1:-1, :-1]) + (down[..., 1:, 1:-1] - down[..., :-1, 1:-1])
    border = background - pad(background[..., 1:-1, 1:-1], (1, 1, 1, 1))
    around = border[..., :-2, 1:-1] + border[..., 2:, 1:-1] + border[..., 1:-1, :-2] + border[..., 1:-1, 2:]
    right = around - divergence  # -laplace u = -divergence, what is known of u on the right
    rows, row_values = _sines(right.shape[-2], right)
    columns, column_values = _sines(right.shape[-1], right)
    waves = rows @ right @ columns / (row_values[:, None] + column_values[None])
    return (border + pad(rows @ waves @ columns, (1, 1, 1, 1))).clamp(0.0, 1.0)


def _pasted(inner: Tensor, background: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Differences of neighbours along an axis: the inner picture's where both are inside the mask."""
    count = mask.shape[axis] - 1
    both = mask.narrow(axis, 0, count) * mask.narrow(axis, 1, count)
    return torch.lerp(background.diff(dim=axis), inner.diff(dim=axis), both.expand_as(inner.diff(dim=axis)))
