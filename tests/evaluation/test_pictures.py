from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.errors import InvalidOption
from speech2face.evaluation.pictures import PictureSet, choose_rows
from tests.evaluation.picture_sets import SIDE, made_set, tiny_model


def test_the_model_draws_both_the_voice_and_the_clips_own_face() -> None:
    (model, tiny), clips = tiny_model(), made_set()
    with PictureSet.open(clips, model) as pictures:
        assert pictures.kinds == ("voice", "face")
        assert clips.reference is not None
        for row in (0, 3):
            voice, face = pictures.picture("voice", row), pictures.picture("face", row)
            assert voice is not None
            assert face is not None
            assert np.array_equal(voice, tiny.decode(clips.predicted[6.0][row]))
            assert np.array_equal(face, tiny.decode(clips.reference[row]))
        assert pictures.picture("original", 0) is None
    assert pictures.exclusions == ()


def test_a_picture_is_drawn_once_while_there_is_room_and_again_where_there_is_none() -> None:
    (model, tiny), clips = tiny_model(), made_set()
    with PictureSet.open(clips, model) as pictures:
        first = pictures.picture("voice", 1)
        assert np.array_equal(pictures.picture("voice", 1), first)  # type: ignore[arg-type]
        assert tiny.drawn == 1
        pictures._room = 0
        for _ in range(2):
            pictures.picture("voice", 2)
    assert tiny.drawn == 3


def test_a_clip_without_prediction_or_reference_is_a_counted_exclusion() -> None:
    clips = made_set()
    assert clips.reference is not None
    clips.predicted[6.0][2] = np.nan
    clips.reference[5] = np.nan
    with PictureSet.open(clips, tiny_model()[0]) as pictures:
        for _ in range(2):  # counted once
            assert pictures.picture("voice", 2) is None
            assert pictures.picture("face", 5) is None
        found = {(exclusion.clip, exclusion.reason) for exclusion in pictures.exclusions}
        assert found == {("clip-2", "no_prediction"), ("clip-5", "no_reference")}
        assert len(pictures.exclusions) == 2


def test_another_systems_pictures_are_read_by_key_and_missing_or_damaged_ones_are_counted(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7), (200, 10, 20)).save(tmp_path / "clip-0.png")
    Image.new("RGB", (30, 30), (0, 250, 0)).save(tmp_path / "clip-1.jpg")
    (tmp_path / "clip-2.png").write_bytes(b"no picture")
    with PictureSet.open(made_set(), pictures_folder=tmp_path) as pictures:
        first, second = pictures.picture("voice", 0), pictures.picture("voice", 1)
        assert first is not None
        assert second is not None
        assert first.shape == (7, 9, 3)
        assert first[0, 0].tolist() == [200, 10, 20]
        assert second.shape == (30, 30, 3)
        assert pictures.picture("voice", 2) is None
        assert pictures.picture("voice", 3) is None
        reasons = {exclusion.clip: exclusion.reason for exclusion in pictures.exclusions}
        assert reasons == {"clip-2": "picture_unreadable", "clip-3": "picture_missing"}
        assert pictures.kinds == ("voice",)


def test_a_key_leads_nowhere_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    clips = replace(made_set(clips=1), keys=("../secret",))
    with PictureSet.open(clips, pictures_folder=tmp_path / "pictures") as pictures:
        assert pictures.picture("voice", 0) is None
        assert pictures.exclusions[0].reason == "picture_missing"


def test_originals_are_the_datas_aligned_faces_by_key(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="clips are read with torch; install the extra `train`")
    faces = [np.full((8, 8, 3), 10 * row, np.uint8) for row in range(3)]
    write_shards(
        tmp_path / "data",
        [Clip(f"clip-{row}", f"s{row}", "test", aligned_face=faces[row]) for row in (2, 0, 1)],
    )
    with PictureSet.open(made_set(), tiny_model()[0], Manifest.open(tmp_path / "data")) as pictures:
        for row in range(3):
            original = pictures.picture("original", row)
            assert original is not None
            assert np.array_equal(original, faces[row])
        assert pictures.picture("original", 3) is None
        assert [(e.clip, e.reason) for e in pictures.exclusions] == [("clip-3", "no_original")]


def test_neither_model_nor_folder_is_refused_and_so_is_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="--model"):
        PictureSet.open(made_set())
    with pytest.raises(InvalidOption, match="no folder"):
        PictureSet.open(made_set(), pictures_folder=tmp_path / "none")


def test_the_mean_face_is_drawn_from_the_mean_reference() -> None:
    (model, tiny), clips = tiny_model(), made_set()
    assert clips.reference is not None
    with PictureSet.open(clips, model) as pictures:
        assert np.array_equal(pictures.mean_face(), tiny.decode(clips.reference.mean(0)))  # type: ignore[arg-type]
    with PictureSet.open(replace(clips, reference=None), model) as pictures:
        assert np.array_equal(pictures.mean_face(), tiny.decode(clips.predicted[6.0].mean(0)))  # type: ignore[arg-type]


def test_embeddings_come_from_the_embedder_and_a_picture_without_a_face_is_counted() -> None:
    class Reddest:
        size = 1

        def embed(self, picture: np.ndarray) -> np.ndarray | None:
            red = picture[SIDE // 2, SIDE // 2, 0]
            return None if red > 200 else np.array([red], np.float32)

    clips = made_set()
    clips.predicted[6.0][0] = (1.0, 0, 0)
    with PictureSet.open(clips, tiny_model()[0], embedder=Reddest()) as pictures:
        assert pictures.embedding("voice", 0) is None
        assert pictures.embedding("voice", 0) is None
        picture = pictures.picture("voice", 1)
        assert picture is not None
        assert pictures.embedding("voice", 1) == picture[SIDE // 2, SIDE // 2, 0]
        assert [(e.clip, e.reason, e.detail) for e in pictures.exclusions] == [("clip-0", "no_face", "voice")]


def test_rows_are_chosen_by_seed_among_those_with_a_prediction() -> None:
    clips = made_set(clips=20)
    clips.predicted[6.0][3] = np.nan
    chosen = choose_rows(clips, 5, seconds=6.0)
    assert chosen == choose_rows(clips, 5, seconds=6.0) != choose_rows(clips, 5, seconds=6.0, seed=1)
    assert len(set(chosen)) == 5
    assert list(chosen) == sorted(chosen)
    assert choose_rows(clips, 100, seconds=6.0) == tuple(row for row in range(20) if row != 3)
