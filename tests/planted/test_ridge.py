"""The kernel ridge that an encoder must beat: by hand, and from numbers that lose or keep the order of time."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.planted import scores, shards
from recipes.planted.ridge import (
    BANDS,
    CEPSTRA,
    LAGS,
    PENALTIES,
    WIDTHS,
    FaceRidge,
    features_and_faces,
    movement,
    stationary,
)
from recipes.planted.shards import Split, write_world
from recipes.planted.world import World
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest


def spoken(seconds: float = 2.0) -> NDArray[np.float32]:
    (waveform,) = World(seed=3).waveforms(range(1), seconds)
    return waveform


def pulses(pitch_hz: float) -> NDArray[np.float32]:
    waveform = np.zeros(SAMPLE_RATE, np.float32)
    waveform[:: round(SAMPLE_RATE / pitch_hz)] = 0.5
    return waveform


def speakers(count: int = 60, missing: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, 4)) * [1, 10, 0.1, 3] + [0, 5, 0, -2]
    faces = np.c_[np.sin(features[:, 0]), features[:, 1] / 10, rng.standard_normal(count)] + 7
    features[:missing, 2] = np.nan
    return features, faces.astype(np.float32)


def test_predictions_are_those_of_the_formula_at_the_width_and_penalty_chosen() -> None:
    features, faces = speakers()
    ridge = FaceRidge(features[:40], faces[:40])
    gamma, alpha = ridge.chosen["gamma"], ridge.chosen["alpha"]
    assert min(abs(gamma * 4 - width) for width in WIDTHS) < 1e-9
    assert alpha in PENALTIES
    middle, scale, mean = features[:40].mean(0), features[:40].std(0), faces[:40].mean(0)
    known, asked = (features[:40] - middle) / scale, (features[40:] - middle) / scale

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(-gamma * np.square(a[:, None] - b[None]).sum(2)))

    weights = np.linalg.solve(kernel(known, known) + alpha * np.eye(40), faces[:40] - mean)
    np.testing.assert_allclose(ridge.predict(features[40:]), kernel(asked, known) @ weights + mean, atol=1e-4)


def test_what_can_be_learned_is_learned_and_what_cannot_is_answered_with_about_the_mean() -> None:
    features, faces = speakers(400)
    said = FaceRidge(features[:300], faces[:300]).predict(features[300:])
    residual = np.square(said - faces[300:]).mean(0) / faces[300:].var(0)
    assert residual[0] < 0.2 and residual[1] < 0.2 and 0.9 < residual[2] < 1.3


def test_a_feature_that_is_missing_counts_as_the_training_speakers_mean() -> None:
    features, faces = speakers(missing=3)
    ridge = FaceRidge(features[:40], faces[:40])
    asked = features[40:].copy()
    asked[:, 2] = np.nan
    filled = features[40:].copy()
    filled[:, 2] = np.nanmean(features[:40, 2])
    np.testing.assert_allclose(ridge.predict(asked), ridge.predict(filled), atol=1e-6)


def test_averages_do_not_know_in_what_order_things_were_said() -> None:
    waveform = spoken()
    half = len(waveform) // 2
    swapped = np.concatenate([waveform[half:], waveform[:half]])
    np.testing.assert_allclose(stationary(swapped)[:-1], stationary(waveform)[:-1], atol=0.15)
    assert stationary(waveform).shape == (2 * BANDS + 1,)


def test_a_louder_voice_has_higher_means_the_same_spread_and_the_same_pitch() -> None:
    quiet, loud = stationary(pulses(160)), stationary(np.float32(2) * pulses(160))
    np.testing.assert_allclose(loud[:BANDS] - quiet[:BANDS], np.log(4), atol=0.01)
    np.testing.assert_allclose(loud[BANDS:], quiet[BANDS:], atol=0.01)
    assert quiet[-1] == pytest.approx(np.log2(160), abs=0.02)


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE, dtype=np.float32)
    assert np.isnan(stationary(noise)[-1])


def test_played_backwards_one_half_of_the_covariances_stays_and_the_other_changes_its_sign() -> None:
    waveform = spoken()
    frames = (len(waveform) - 400) // 160 * 160 + 400  # whole frames, so that both directions cut the same ones
    forwards, backwards = movement(waveform[:frames]), movement(np.ascontiguousarray(waveform[:frames][::-1]))
    symmetric, one_way = CEPSTRA * (CEPSTRA + 1) // 2, CEPSTRA * (CEPSTRA - 1) // 2
    blocks = np.tile(np.r_[np.ones(symmetric), -np.ones(one_way)], len(LAGS))
    sign = np.r_[blocks, np.ones(CEPSTRA), -np.ones(CEPSTRA)]
    assert forwards.shape == sign.shape
    np.testing.assert_allclose(backwards, sign * forwards, atol=0.05)
    assert np.abs(forwards[sign < 0]).max() > 0.3


def test_a_channel_that_stays_the_same_throughout_changes_no_movement() -> None:
    waveform = spoken()
    np.testing.assert_allclose(movement(0.25 * waveform), movement(waveform), atol=0.01)


def test_features_and_faces_come_in_the_order_of_the_clips(tmp_path: Path) -> None:
    world = World(seed=5, kind="movement")
    write_world(tmp_path, world, [Split("train", 3, 0.5)], processes=1)
    clips = ClipDataset(Manifest.open(tmp_path), "train", seconds=0.5)
    features, faces = features_and_faces(lambda waveform: waveform[:5].astype(np.float64), clips)
    np.testing.assert_allclose(faces, world.face_embedding(world.traits(range(3))), atol=1e-5)
    np.testing.assert_allclose(features[2], clips[2]["waveform"].numpy()[:5] / 32768, atol=1e-7)


def test_a_harder_world_is_written_and_its_ridges_scored_beside_the_best_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, table = str(tmp_path / "world"), tmp_path / "scores.csv"
    size = ["--train", "9", "--validation", "0", "--test", "12", "--seconds", "1", "--test-seconds", "1.5"]
    monkeypatch.setattr(sys, "argv", ["shards", "--out", world, "--kind", "movement", "--processes", "1", *size])
    shards.main()
    assert scores.world_of(Manifest.open(world)) == World(kind="movement")
    ridges = ["--ridge", "averages=stationary", "--ridge", "order=movement", "--learn-seconds", "1"]
    lengths = ["--seconds", "1", "--seconds", "1.5"]
    arguments = ["--world", world, "--out", str(table), *lengths, *ridges, "--fact", "date=2026-01-01"]
    monkeypatch.setattr(sys, "argv", ["scores", *arguments])
    scores.main()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = {(row["run"], row["seconds"]) for row in rows}
    named = {(f"{name}, movement", length) for name in ("averages", "order") for length in ("1", "1.5")}
    assert runs == named | {("best prediction, movement", "0")}
    assert {row["number"] for row in rows} >= {"r2", "share_of_best", "r2_speaking_rate", "r2_formant_direction"}
    assert all(row["best"] == "0.6075" for row in rows if row["number"] == "r2")
