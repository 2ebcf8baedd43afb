"""From run folders to a release; exporting itself is held by test_paired_release."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face import cli, load_model
from speech2face.data.clip import Clip
from speech2face.data.shards import write_shards
from speech2face.errors import CheckpointError, DatasetError, OutputExists, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.models.paired_model import PairedModel
from speech2face.release import MANIFEST
from speech2face.training.checkpoint import NETWORK, save_checkpoint
from speech2face.training.export_session import export_by_runs
from speech2face.training.paired_measures import LEAST_CLIPS
from speech2face.training.paired_release import Citation
from speech2face.training.settings import settings_from
from tests.paired import EMBEDDING, PLANTED, tiny_decoder, tiny_encoder

SECONDS = 6.0  # as the golden embedding of the release whose files are taken
CITATION = Citation("mine", "1.0.0", "CC0-1.0")


def clips(count: int = LEAST_CLIPS, embedding: int = EMBEDDING) -> list[Clip]:
    """Noise and faces, two clips a speaker; the first speaker's are for training."""
    rng = np.random.default_rng(0)
    return [
        Clip(
            key=f"clip{number:03d}",
            speaker=f"speaker{number // 2}",
            split="train" if number < 2 else "validation",
            waveform=(0.1 * rng.standard_normal(40_000)).astype(np.float32),
            face_embedding=rng.standard_normal(embedding).astype(np.float32),
        )
        for number in range(count + 2)
    ]


def write_run(folder: Path, stage: str, network: Any, data: Path) -> Path:
    """A run folder with one checkpoint, as the engine leaves it."""
    from speech2face.data.manifest import Manifest

    settings = settings_from(
        {"stage": stage, "out": str(folder), "data": {"manifest": str(data), "seconds": SECONDS, "batch": 2}}
    )
    metadata = {
        "stage": stage,
        "network": network.config.to_dict(),
        "seed": 0,
        "manifest": Manifest.open(data).sha256,
        "batch": 2,
        "step": 7,
        "settings": settings.to_dict(),
        "ranks": 1,
    }
    tensors = {f"{NETWORK}{name}": tensor for name, tensor in network.state_dict().items()}
    save_checkpoint(folder, tensors, metadata, keep=1)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A voice encoder's and a face decoder's run on one data set."""
    write_shards(tmp_path / "data", clips(), embedder=PLANTED)
    encoder = write_run(tmp_path / "encoder", "encoder", tiny_encoder(), tmp_path / "data")
    return encoder, write_run(tmp_path / "decoder", "decoder", tiny_decoder(), tmp_path / "data")


@pytest.mark.usefixtures("quick_export")
def test_two_runs_become_a_release_measured_on_unseen_speakers(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "released" / "mine"
    monkeypatch.setattr(
        sys,
        "argv",
        ["speech2face", "export", str(runs[0]), "--decoder", str(runs[1]), "-o", str(out), "--licence", "CC0-1.0"],
    )
    with pytest.raises(SystemExit) as left:
        cli.main()
    printed = capsys.readouterr()
    assert not left.value.code, printed.err
    for text in (f"{LEAST_CLIPS} clips of unseen speakers", "angle degrees", "CARD.md"):
        assert text in printed.out
    assert "several speakers in one recording are not judged" in printed.err
    model = load_model(out)
    assert isinstance(model, PairedModel)
    assert (model.release.name, model.release.embedder) == ("mine", PLANTED)
    assert model.release.geometry.clip_seconds == SECONDS
    training = json.loads((out / MANIFEST).read_text())["training"]
    assert training["encoder_steps"] == 7
    assert training["measured"]["clips"] == LEAST_CLIPS
    with pytest.raises(OutputExists):
        export_by_runs(*runs, out, citation=CITATION)


def test_runs_in_the_wrong_places_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    encoder, decoder = runs
    with pytest.raises(CheckpointError, match="name a voice encoder's"):
        export_by_runs(decoder, encoder, tmp_path / "out", citation=CITATION)
    with pytest.raises(CheckpointError, match="name a face decoder's"):
        export_by_runs(encoder, encoder, tmp_path / "out", citation=CITATION)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        export_by_runs(tmp_path, decoder, tmp_path / "out", citation=CITATION)


@pytest.mark.usefixtures("quick_export")
def test_other_data_must_be_named_and_are_noted(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_shards(other, clips(LEAST_CLIPS + 4), embedder=PLANTED)
    (tmp_path / "data" / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    for path in other.glob("*-*"):
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DatasetError, match="no longer the data the voice encoder was trained with"):
        export_by_runs(*runs, tmp_path / "out", citation=CITATION)
    _, notes = export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(other))
    assert "not what the voice encoder was trained with" in notes[0]
    assert "that the face decoder learned from the same embedder is not checked" in notes[1]


def test_a_decoder_of_another_embedder_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    write_shards(faces, clips(), embedder=EmbedderRecord("onnx", EMBEDDING, "1" * 64))
    decoder = write_run(tmp_path / "other decoder", "decoder", tiny_decoder(), faces)
    with pytest.raises(WeightsError, match="train both with one face embedder"):
        export_by_runs(runs[0], decoder, tmp_path / "out", citation=CITATION)
    narrow = write_run(tmp_path / "narrow", "decoder", tiny_decoder(9), faces)
    with pytest.raises(WeightsError, match="the face decoder has face embeddings of 9"):
        export_by_runs(runs[0], narrow, tmp_path / "out", citation=CITATION)
    assert not (tmp_path / "out").exists()
