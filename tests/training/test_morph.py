"""Morphs of alike faces, and the blending by gradients that sets them into a photograph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.errors import DatasetError
from speech2face.face.detect import Picture
from speech2face.training.augment import (
    FACE_PARTS,
    Morpher,
    blend_gradients,
    draw_morph,
    face_descriptors,
    hull_mask,
    nearest_faces,
    write_morphs,
)
from tests.training.drawn_faces import SIZE, drawn_data, drawn_face


def faces(traits: list[list[float]]) -> tuple[Tensor, Tensor]:
    drawn = [drawn_face(np.array(one)) for one in traits]
    pictures = np.stack([picture for picture, _ in drawn]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pictures) / 255, torch.from_numpy(np.stack([points for _, points in drawn]))


def noise(channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(1, channels, 12, 14, generator=torch.Generator().manual_seed(seed))


def test_a_picture_blended_into_itself_is_itself() -> None:
    mask = (noise(1, seed=1) > 0.5).float()
    assert_close(blend_gradients(noise(), noise(), mask), noise(), atol=1e-5, rtol=0)


def test_nothing_is_pasted_where_the_mask_is_empty() -> None:
    assert_close(blend_gradients(noise(), noise(seed=1), torch.zeros(1, 1, 12, 14)), noise(seed=1), atol=1e-5, rtol=0)


def test_a_patch_that_is_brighter_throughout_leaves_no_trace() -> None:
    background = 0.4 * noise() + 0.1
    mask = torch.zeros(1, 1, 12, 14)
    mask[..., 3:9, 4:10] = 1.0
    assert_close(blend_gradients(background + 0.3, background, mask), background, atol=1e-5, rtol=0)


def test_the_blended_picture_solves_the_poisson_equation_and_keeps_the_border() -> None:
    inner, background = 0.1 * noise() + 0.45, 0.1 * noise(seed=1) + 0.45
    mask = torch.zeros(1, 1, 12, 14)
    mask[..., 2:10, 3:12] = 1.0
    found = blend_gradients(inner, background, mask)

    def laplacian(picture: Tensor) -> Tensor:
        middle = picture[..., 1:-1, 1:-1]
        return (
            picture[..., :-2, 1:-1]
            + picture[..., 2:, 1:-1]
            + picture[..., 1:-1, :-2]
            + picture[..., 1:-1, 2:]
            - 4 * middle
        )

    deep = (slice(None), slice(None), slice(3, 7), slice(4, 9))  # all neighbours inside the mask
    assert_close(laplacian(found)[deep], laplacian(inner)[deep], atol=1e-5, rtol=0)
    assert_close(laplacian(found)[..., 0, 0], laplacian(background)[..., 0, 0], atol=1e-5, rtol=0)
    for row in (0, -1):
        assert_close(found[..., row, :], background[..., row, :])
        assert_close(found[..., row], background[..., row])


def test_the_hull_of_a_triangle_is_its_inside() -> None:
    mask = hull_mask(torch.tensor([[[2.0, 2.0], [12.0, 2.0], [2.0, 12.0]]]), 16)[0, 0]
    assert [float(mask[y, x]) for x, y in ((3, 3), (7, 6), (2, 11))] == [1.0, 1.0, 1.0]
    assert [float(mask[y, x]) for x, y in ((0, 3), (9, 9), (14, 2), (3, 0))] == [0.0, 0.0, 0.0, 0.0]


def test_the_nearest_faces_by_hand() -> None:
    textures = torch.zeros(4, 3, 28, 28)
    textures[3] = 1.0  # far by texture: sqrt(3 * 224 * 224) = 388
    landmarks = torch.zeros(4, 1, 2)
    landmarks[1, 0, 0] = 2.0  # 16 pixels of 224, times lambda 10: 160
    landmarks[2, 0, 0] = 6.0  # 480
    descriptors = face_descriptors(landmarks, textures)
    assert nearest_faces(descriptors, 0, 1).tolist() == [1, 3, 2]
    assert nearest_faces(descriptors, 0, 1, count=1).tolist() == [1]


def test_draws_follow_from_seed_and_number_alone_and_never_pair_a_face_with_itself() -> None:
    descriptors = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    one, again = (
        [draw_morph(descriptors, 2, seed=4, number=number, neighbours=3) for number in numbers]
        for numbers in (range(30), reversed(range(30)))
    )
    assert [(d.seed, d.partner, d.weight) for d in one] == [(d.seed, d.partner, d.weight) for d in again[::-1]]
    assert all(d.partner in nearest_faces(descriptors, d.seed, 2, count=3) for d in one)
    assert all(d.partner != d.seed and 0 <= d.weight <= 1 for d in one)
    assert len({d.seed for d in one}) > 5
    assert draw_morph(descriptors, 2, seed=5, number=0).weight != one[0].weight


def test_a_morph_without_a_share_of_the_partner_is_the_first_face() -> None:
    pictures, points = faces([[-0.5, 0, 0], [0.5, 1, 0]])
    morpher = Morpher(points.mean(0), SIZE)
    morph, own = morpher.morph((pictures[:1], pictures[1:]), (points[:1], points[1:]), torch.zeros(1))
    assert_close(own, points[:1])
    assert_close(morph, pictures[:1], atol=1e-4, rtol=0)


def test_a_morph_half_way_looks_like_the_face_half_way() -> None:
    pictures, points = faces([[-1, -1, 0], [1, 1, 0], [0, 0, 0]])
    morpher = Morpher(points.mean(0), SIZE)
    morph, own = morpher.morph((pictures[:1], pictures[1:2]), (points[:1], points[1:2]), torch.tensor([0.5]))
    assert_close(own, points[2:])
    error = float((morph - pictures[2:]).abs().mean())
    assert error < 0.25 * float((pictures[0] - pictures[2]).abs().mean())


def embed(picture: Picture) -> np.ndarray | None:
    return np.asarray(picture.astype(np.float32).mean((0, 1)).repeat(2) / 255)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_data_set_is_written_with_its_faces_and_morphs_between_training_faces_only(tmp_path: Path) -> None:
    source = drawn_data(tmp_path / "faces", training=6, validation=3)
    write_morphs(source, tmp_path / "more", embed, count=5, seed=1, neighbours=2)
    more = Manifest.open(tmp_path / "more")
    assert (len(more.clips("train")), len(more.clips("validation"))) == (11, 3)
    made_of = [label.split() for label in more.column("morph_of") if label]
    assert len(made_of) == 5
    assert all(len(set(pair)) == 2 and all(key < "drawn-0006" for key in pair) for pair in made_of)
    clips = ClipDataset(more, "train", parts=FACE_PARTS)
    first, last = clips[0], clips[10]
    original = ClipDataset(source, "train", parts=FACE_PARTS)[0]
    for part in FACE_PARTS:
        assert_close(first[part], original[part], atol=0, rtol=0)
    morph = np.asarray(last["aligned_face"].permute(1, 2, 0))
    assert_close(last["face_embedding"].numpy(), embed(morph))
    assert more.column("licence", "train")[0] == "CC BY 4.0"
    assert set(more.column("licence", "train")[6:]) <= {"CC BY 4.0", "CC0 1.0", "CC BY 4.0 and CC0 1.0"}
    assert more.statement["morphs_of_manifest"] == source.sha256


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    source = drawn_data(tmp_path / "faces", training=4, validation=1)
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_morphs(source, tmp_path / name, embed, count=2, seed=seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_morphs_without_a_visible_face_are_drawn_anew_and_given_up_when_most_are(tmp_path: Path) -> None:
    source = drawn_data(tmp_path / "faces", training=4, validation=1)
    seen: list[int] = []

    def every_second(picture: Picture) -> np.ndarray | None:
        seen.append(1)
        return embed(picture) if len(seen) % 2 else None

    write_morphs(source, tmp_path / "more", every_second, count=3)
    assert len(Manifest.open(tmp_path / "more").clips("train")) == 7
    with pytest.raises(DatasetError, match="only 0 of 9 morphs"):
        write_morphs(source, tmp_path / "none", lambda picture: None, count=3)
    assert not (tmp_path / "none" / "manifest.json").exists()
