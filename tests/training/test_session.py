"""A training as the command line starts it: shards on disk, both stages, and everything that can be wrong with them."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speech2face.cli import app
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.data.storage import locked
from speech2face.errors import CheckpointError, DatasetError, InvalidSettings, RunLocked, SpeakerLeak, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.provenance import read_provenance
from speech2face.training.checkpoint import find_checkpoint, read_checkpoint
from speech2face.training.engine import balance_by_settings, train_by_settings
from speech2face.training.settings import TrainingSettings, settings_from
from speech2face.training.stages import load_network
from tests.training.small_training import read_numbers

EMBEDDING, FACE, LANDMARKS = 8, 32, 5


def made_clips() -> Iterator[Clip]:
    rng = np.random.default_rng(0)
    for number in range(12):
        embedding = rng.standard_normal(EMBEDDING).astype(np.float32)
        face = np.full((FACE, FACE, 3), 128 + 40 * np.tanh(embedding[0]), np.uint8)
        landmarks = rng.uniform(8, 24, (LANDMARKS, 2)).astype(np.float32)
        sound = (0.05 * rng.standard_normal(30_000)).clip(-1, 1).astype(np.float32)
        split = "train" if number < 8 else "validation"
        yield Clip(f"c{number:02d}", f"s{number:02d}", split, sound, embedding, face, landmarks)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_shards(folder, made_clips(), embedder=EmbedderRecord("planted", EMBEDDING), clips_per_shard=4)
    return folder


def settings_of(stage: str, shards: Path, out: Path, **tables: dict[str, Any]) -> TrainingSettings:
    values: dict[str, Any] = {
        "stage": stage,
        "out": str(out),
        "data": {"manifest": str(shards), "batch": 4, "seconds": 2.63, "workers": 0},
        "encoder": {"channels": [2] * 9, "hidden": 4},
        "decoder": {"first": 6, "base_channels": 8},
        "run": {"steps": 4, "log_every": 1, "evaluate_every": 4, "checkpoint_every": 2},
    }
    for name, table in tables.items():
        values[name] = {**values.get(name, {}), **table}
    return settings_from(values)


def write_head(path: Path, embedding: int = EMBEDDING) -> Path:
    from safetensors.torch import save_file

    save_file({"fc8.weight": torch.randn(3, embedding), "fc8.bias": torch.zeros(3)}, path)
    return path


@pytest.fixture(scope="module")
def decoder_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "decoder"
    train_by_settings(settings_of("decoder", shards, out), quiet=True)
    return out


def test_both_stages_train_and_the_encoder_compares_in_the_decoders_first_layer(
    shards: Path, decoder_run: Path, tmp_path: Path
) -> None:
    teacher = {"face_decoder": str(decoder_run), "head": str(write_head(tmp_path / "head.safetensors"))}
    settings = settings_of("encoder", shards, tmp_path / "encoder", teacher=teacher)
    train_by_settings(settings, quiet=True)
    (evaluation,) = read_numbers(settings.out, "evaluation")
    assert {"decoder_layer", "cosine", "distillation", "r2", "recall_at_1_chance"} <= evaluation.keys()
    encoder, metadata = load_network(settings.out)
    assert metadata["network"]["embedding"] == EMBEDDING and metadata["step"] == 4
    assert encoder(torch.randn(1, 2, 257, 300)).shape == (1, EMBEDDING)
    decoder, _ = load_network(decoder_run)
    assert decoder(torch.randn(2, EMBEDDING)).shape == (2, 3, FACE, FACE)


def test_shards_resume_to_the_last_bit_with_workers_too(shards: Path, tmp_path: Path) -> None:
    def weights(name: str, *stops: int | None) -> dict[str, torch.Tensor]:
        settings = settings_of("encoder", shards, tmp_path / name, data={"workers": 1})
        for stop in stops:
            train_by_settings(settings, stop_at=stop, quiet=True)
        return read_checkpoint(find_checkpoint(settings.out)).tensors

    whole, parts = weights("whole", None), weights("parts", 3, None)
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_balance_measures_the_newest_checkpoint(shards: Path, decoder_run: Path, tmp_path: Path) -> None:
    settings = settings_of("encoder", shards, tmp_path / "run", teacher={"face_decoder": str(decoder_run)})
    with pytest.raises(CheckpointError, match="train first"):
        balance_by_settings(settings, clips=8)
    train_by_settings(settings, stop_at=1, quiet=True)
    step, found, left_out = balance_by_settings(settings, clips=8)
    assert step == 1 and [term.term for term in found] == ["decoder_layer", "cosine"]
    assert "distillation" in left_out[0]
    with pytest.raises(InvalidSettings, match='stage is "decoder"'):
        balance_by_settings(settings_of("decoder", shards, tmp_path / "d"), clips=8)


def test_a_shard_cut_short_is_refused_and_nothing_is_left_behind(shards: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    shard = sorted(copy.glob("*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(DatasetError, match=rf"{shard.name} is cut short"):
        train_by_settings(settings_of("encoder", copy, tmp_path / "run"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_speaker_in_two_splits_is_refused(tmp_path: Path) -> None:
    both = ("c00", "c11")  # one of training, one of validation
    leaking = (dataclasses.replace(clip, speaker="same") if clip.key in both else clip for clip in made_clips())
    folder = tmp_path / "shards"
    write_shards(folder, leaking, embedder=EmbedderRecord("planted", EMBEDDING))
    with pytest.raises(SpeakerLeak, match="same in train and validation"):
        train_by_settings(settings_of("encoder", folder, tmp_path / "run"), quiet=True)


def test_a_decoder_for_other_embeddings_is_refused(shards: Path, decoder_run: Path, tmp_path: Path) -> None:
    other = [
        dataclasses.replace(clip, face_embedding=np.ones(5, np.float32) * number)
        for number, clip in enumerate(made_clips())
    ]
    write_shards(tmp_path / "other", other, embedder=EmbedderRecord("planted", 5))
    settings = settings_of("encoder", tmp_path / "other", tmp_path / "run", teacher={"face_decoder": str(decoder_run)})
    with pytest.raises(InvalidSettings, match="takes embeddings of 8 numbers, the data's have 5"):
        train_by_settings(settings, quiet=True)


def test_an_encoder_in_the_decoders_place_is_refused(shards: Path, tmp_path: Path) -> None:
    settings = settings_of("encoder", shards, tmp_path / "run")
    train_by_settings(settings, stop_at=1, quiet=True)
    wrong = settings_of("encoder", shards, tmp_path / "next", teacher={"face_decoder": str(settings.out)})
    with pytest.raises(InvalidSettings, match="holds no decoder: encoder"):
        train_by_settings(wrong, quiet=True)


def test_a_head_of_another_length_is_refused(shards: Path, tmp_path: Path) -> None:
    head = write_head(tmp_path / "head.safetensors", 5)
    with pytest.raises(WeightsError, match=r"fc8.weight is \(3, 5\).*8 numbers"):
        train_by_settings(settings_of("encoder", shards, tmp_path / "run", teacher={"head": str(head)}), quiet=True)
    (tmp_path / "text").write_text("no weights")
    text = settings_of("encoder", shards, tmp_path / "run", teacher={"head": str(tmp_path / "text")})
    with pytest.raises(WeightsError, match="speech2face convert"):
        train_by_settings(text, quiet=True)


def test_a_batch_larger_than_the_split_is_refused_before_a_folder_is_made(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="larger than the split, which has 8 clips"):
        train_by_settings(settings_of("encoder", shards, tmp_path / "run", data={"batch": 9}), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_loss_of_nothing_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="nothing is left of the loss"):
        train_by_settings(settings_of("encoder", shards, tmp_path / "run", encoder_loss={"cosine": 0}), quiet=True)


def test_two_trainings_in_one_folder_are_refused(shards: Path, tmp_path: Path) -> None:
    settings = settings_of("encoder", shards, tmp_path / "run")
    with locked(settings.out), pytest.raises(RunLocked, match="choose another `out`"):
        train_by_settings(settings, quiet=True)


def test_a_term_that_is_far_off_is_said_unless_it_is_to_be_quiet(
    shards: Path, decoder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(name: str, cosine: float, *, quiet: bool = False) -> str:
        settings = settings_of(
            "encoder", shards, tmp_path / name,
            teacher={"face_decoder": str(decoder_run)}, encoder_loss={"cosine": cosine}, run={"steps": 2},
        )  # fmt: skip
        train_by_settings(settings, quiet=quiet)
        (line,) = read_numbers(settings.out, "balance")
        suggestions.append(line["cosine_suggested_weight"])
        return capsys.readouterr().err

    suggestions: list[float] = []
    assert "warning: at step 2 the gradient of cosine" in (first := said("weak", 1e-6))
    assert "`speech2face balance` measures: --set encoder_loss.cosine=" in first
    assert "hardly counts" in first
    assert "warning" not in said("by the rule", suggestions[0])
    assert said("quiet", 1e-6, quiet=True) == ""


def test_the_command_line_trains_and_balances(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'stage = "encoder"\nout = "{tmp_path / "run"}"\n[data]\nmanifest = "{shards}"\nbatch = 4\nseconds = 2.63\n'
        "workers = 0\n[encoder]\nchannels = [2, 2, 2, 2, 2, 2, 2, 2, 2]\nhidden = 4\n[run]\nsteps = 2\nlog_every = 1\n"
    )
    app(["train", str(config), "--set", "seed=3"], standalone_mode=False)
    said = capsys.readouterr().err
    assert "8 training clips of 8 speakers" in said and "[2/2] loss" in said and "clips/s" in said
    assert "distillation is left out" in said
    app(["balance", str(config), "--set", "seed=3", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["step"] == 2


def board_of(run: Path) -> list[Any]:
    """Every value that a run has written for TensorBoard."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    (file,) = (run / "tensorboard").iterdir()
    return [value for event in loader.EventFileLoader(str(file)).Load() for value in event.summary.value]


def check_picture(values: list[Any], folder: Path) -> None:
    """No photograph is copied into the run's folder: what the picture shows is drawn, and its label says so."""
    (picture, *_) = [value for value in values if value.tag == "validation faces"]
    content = picture.tensor.string_val[2] if picture.HasField("tensor") else picture.image.encoded_image_string
    (folder / "faces.png").write_bytes(content)
    provenance, facts = read_provenance(folder / "faces.png")
    assert provenance.kind == "comparison sheet" and provenance.digital_source_type.endswith("trainedAlgorithmicMedia")
    assert facts["photographs"] == 0 and facts["synthetic_faces"] > 0


def test_tensorboard_shows_the_encoders_terms_and_faces_drawn_of_voices(
    shards: Path, decoder_run: Path, tmp_path: Path
) -> None:
    teacher = {"face_decoder": str(decoder_run)}
    train_by_settings(settings_of("encoder", shards, tmp_path / "run", teacher=teacher), quiet=True)
    values = board_of(tmp_path / "run")
    assert {"training/decoder_layer", "training/cosine", "evaluation/cosine"} <= {value.tag for value in values}
    check_picture(values, tmp_path)


def test_tensorboard_shows_the_decoders_terms_and_faces_drawn_of_face_embeddings(
    decoder_run: Path, tmp_path: Path
) -> None:
    values = board_of(decoder_run)
    assert {"training/landmarks", "training/texture", "training/loss"} <= {value.tag for value in values}
    check_picture(values, tmp_path)
