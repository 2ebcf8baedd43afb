"""A planted world on disk: unseen speakers in the other splits, faces beside voices, shuffled pairs really shuffled."""

from pathlib import Path

import numpy as np
import torch

from recipes.planted import world as bounds
from recipes.planted.scores import Limits, best_predictions, predict, score_run, world_of
from recipes.planted.shards import Split, speaker_number, write_shuffled, write_teacher_head, write_world
from recipes.planted.world import LANDMARKS, FaceArtist, World
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.training.stages import load_teacher_head
from speech2face.voice.encoder import VoiceEncoder, VoiceEncoderConfig

WORLD = World(seed=5)
SPLITS = (Split("train", 3, 0.5), Split("validation", 2, 0.5), Split("test", 2, 2.7))


def written(folder: Path) -> Manifest:
    write_world(folder, WORLD, SPLITS, processes=1)
    return Manifest.open(folder)


def test_a_written_world_is_read_back_as_it_was_made(tmp_path: Path) -> None:
    manifest = written(tmp_path / "world")
    assert world_of(manifest) == WORLD
    clip = ClipDataset(manifest, "train", seconds=0.5)[2]
    np.testing.assert_allclose(
        clip["face_embedding"].numpy(), WORLD.face_embedding(WORLD.traits(range(2, 3)))[0], atol=1e-5
    )
    (waveform,) = WORLD.waveforms(range(2, 3), 0.5)
    np.testing.assert_allclose(clip["waveform"].numpy() / 32768, waveform, atol=1 / 32768)


def test_shuffled_pairs_keep_recordings_and_faces_but_join_them_differently(tmp_path: Path) -> None:
    true = written(tmp_path / "world")
    write_shuffled(tmp_path / "shuffled", true, 0.5)
    paired, shuffled = (
        ClipDataset(manifest, "train", seconds=0.5).batch(range(3))
        for manifest in (true, Manifest.open(tmp_path / "shuffled"))
    )
    assert torch.equal(paired["waveform"], shuffled["waveform"])
    assert torch.equal(paired["face_embedding"].roll(-1, 0), shuffled["face_embedding"])


def test_faces_are_pictures_with_their_points_inside_and_differ_between_people() -> None:
    artist = FaceArtist(WORLD, 32)
    faces, landmarks = artist.draw(WORLD.face_embedding(WORLD.traits(range(3))))
    assert faces.shape == (3, 32, 32, 3) and faces.dtype == np.uint8
    assert landmarks.shape == (3, LANDMARKS, 2)
    assert landmarks.min() > 0 and landmarks.max() < 31
    assert np.abs(faces[0].astype(int) - faces[1]).mean() > 1
    again, _ = artist.draw(WORLD.face_embedding(WORLD.traits(range(1, 2))))
    assert np.abs(again[0].astype(int) - faces[1]).max() <= 1


def test_landmarks_lie_where_the_face_is_at_every_size() -> None:
    embedding = WORLD.face_embedding(WORLD.traits(range(1)))
    (small,), (large,) = (FaceArtist(WORLD, size).draw(embedding)[1] for size in (32, 64))
    np.testing.assert_allclose((small + 0.5) * 2 - 0.5, large, atol=1e-3)


def test_the_teachers_head_is_what_the_training_reads(tmp_path: Path) -> None:
    write_teacher_head(tmp_path / "head.safetensors", WORLD)
    head = load_teacher_head(tmp_path / "head.safetensors", WORLD.embedding)
    weight, bias = WORLD.teacher_head()
    face = WORLD.face_embedding(WORLD.traits(range(1))).astype(np.float32)
    np.testing.assert_allclose(head(torch.from_numpy(face)).numpy(), face @ weight.T + bias, atol=1e-4)


def test_predictions_of_an_untrained_encoder_have_a_row_for_each_speaker(tmp_path: Path) -> None:
    config = VoiceEncoderConfig((2,) * 9, 8, WORLD.embedding)
    predicted, reference = predict(VoiceEncoder(config).eval(), ClipDataset(written(tmp_path), "test", seconds=2.7))
    assert predicted.shape == reference.shape == (2, WORLD.embedding)


def test_scores_of_the_best_prediction_reach_the_best_and_of_a_constant_the_chance() -> None:
    world, traits = WORLD, WORLD.traits(range(400))
    faces = world.face_embedding(traits).astype(np.float32)
    limits = Limits(world, bounds.best_r2(world), 1.0, 0.5, {1: 0.5, 10: 0.9})

    perfect = world.best_prediction(traits.shared).astype(np.float32)

    def scores(predicted: np.ndarray) -> dict[str, float]:
        rows = score_run("it", predicted.astype(np.float32), faces, seconds=3.0, best=perfect, limits=limits)
        return {row.number: row.estimate.value for row in rows}

    best = scores(world.best_prediction(traits.shared))
    assert abs(best["share_of_formula"] - 1) < 0.06 and best["share_of_best"] == 1
    assert abs(best["r2_pitch"] - world.correlation**2) < 0.06
    assert abs(best["squared_correlation"] - world.correlation**2) < 0.04
    stretched = scores(5 * world.best_prediction(traits.shared) + 1)  # what a loss of directions alone leaves open
    assert abs(stretched["squared_correlation"] - best["squared_correlation"]) < 1e-4 and stretched["r2"] < 0
    cheat = scores(np.broadcast_to(world.mean, faces.shape))
    assert abs(cheat["share_of_best"]) < 0.02 and cheat["recall_at_10"] <= 10 / 400


def test_the_best_prediction_is_scored_on_the_very_speakers_of_the_data_set(tmp_path: Path) -> None:
    manifest = written(tmp_path)
    keys = manifest.clips("test")
    best, faces = best_predictions(WORLD, [speaker_number(keys.key_of(clip)) for clip in range(2)])
    data = ClipDataset(manifest, "test", seconds=2.7)
    np.testing.assert_allclose(data.batch(range(2))["face_embedding"].numpy(), faces, atol=1e-5)
    assert best.shape == faces.shape and np.abs(best - faces).max() > 0.1
