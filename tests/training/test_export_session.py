"""From run folders to a release; exporting itself is held by test_paired_release."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face import cli, load_model
from speech2face.cli.models import release_rows
from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.data.statement import LEAST_CLIPS
from speech2face.errors import CheckpointError, DatasetError, InvalidOption, OutputExists, SpeakerLeak, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.models.paired import PairedModel
from speech2face.models.release import MANIFEST
from speech2face.training.checkpoint import NETWORK, save_checkpoint
from speech2face.training.export import Citation, export_by_runs
from speech2face.training.settings import settings_from
from tests.paired import EMBEDDING, PLANTED, tiny_decoder, tiny_encoder

SECONDS = 6.0  # as the golden embedding of the release whose files are taken
CITATION = Citation("mine", "1.0.0", "CC0-1.0")
UNCHECKED = "not checked whether these speakers were trained on"


def clips(
    count: int = LEAST_CLIPS, embedding: int = EMBEDDING, *, speaker: str = "speaker", licence: str = "CC0-1.0"
) -> list[Clip]:
    """Noise and faces, two clips a speaker; the first speaker's are for training."""
    rng = np.random.default_rng(0)
    return [
        Clip(
            key=f"clip{number:03d}",
            speaker=f"{speaker}{number // 2}",
            split="train" if number < 2 else "validation",
            waveform=(0.1 * rng.standard_normal(40_000)).astype(np.float32),
            face_embedding=rng.standard_normal(embedding).astype(np.float32),
            licence=licence,
        )
        for number in range(count + 2)
    ]


def write_run(folder: Path, stage: str, network: Any, data: Path) -> Path:
    """A run folder with one checkpoint, as the engine leaves it."""
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
    model, notes = export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(other))
    assert "not what the voice encoder was trained with" in notes[0]
    assert "not checked whether these speakers were trained on" in notes[1]
    assert "that the face decoder learned from the same embedder is not checked" in notes[2]
    assert ("measured on", f"{LEAST_CLIPS + 4} clips, {UNCHECKED}") in release_rows(
        tmp_path / "out", model.release.training
    )


@pytest.mark.usefixtures("quick_export")
def test_the_card_states_what_was_learned_from_and_not_what_was_measured_on(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = clips(LEAST_CLIPS + 4, speaker="other", licence="Of the others")
    write_shards(tmp_path / "others", other, embedder=PLANTED, statement={"what": "the others"})
    model, _ = export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(tmp_path / "others"))
    learned, measured = (tmp_path / "out" / "CARD.md").read_text().split("## How well it does")
    assert "| CC0-1.0 | 18 | 9 |" in learned
    assert "| train | 2 | 1 |" in learned
    assert f"{LEAST_CLIPS + 4} clips of unseen speakers (others, split validation, manifest SHA-256" in measured
    assert Manifest.open(tmp_path / "others").sha256 not in learned
    record = json.dumps(model.release.training)
    for text in ("the others", "Of the others", str(tmp_path)):
        assert text not in learned
        assert text not in record
    assert model.release.training["voice_data"]["statement"]["licences"]["CC0-1.0"]["clips"] == 18
    assert model.release.training["measured_on"]["speakers"] == (LEAST_CLIPS + 4) // 2


@pytest.mark.usefixtures("quick_export")
def test_a_training_set_that_is_gone_is_said_to_be_gone(runs: tuple[Path, Path], tmp_path: Path) -> None:
    write_shards(tmp_path / "others", clips(speaker="other", licence="Of the others"), embedder=PLANTED)
    (tmp_path / "data").rename(tmp_path / "away")
    with pytest.raises(DatasetError, match="--data"):
        export_by_runs(*runs, tmp_path / "out", citation=CITATION)
    model, notes = export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(tmp_path / "others"))
    card = (tmp_path / "out" / "CARD.md").read_text()
    assert "What is in this data set is not stated here: when the release was made, it is no longer at hand." in card
    assert f"{LEAST_CLIPS} clips, {UNCHECKED}" in card
    assert "unseen" not in card
    assert "Of the others" not in card
    assert any(UNCHECKED in sentence for sentence in notes)
    stated = model.release.training["voice_data"]
    assert (stated["statement"], stated["gone"]) == (None, "it is no longer at hand")
    # The same data at another place are the same data.
    export_by_runs(*runs, tmp_path / "again", citation=CITATION, data=str(tmp_path / "away"))
    assert f"{LEAST_CLIPS} clips of unseen speakers" in (tmp_path / "again" / "CARD.md").read_text()


def test_measuring_on_speakers_that_were_trained_on_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    known = [replace(clip, split="validation") for clip in clips()]
    write_shards(tmp_path / "known", known, embedder=PLANTED)
    with pytest.raises(SpeakerLeak, match=r"1 speakers of .*known.*\(speaker0\).*--data") as refused:
        export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(tmp_path / "known"))
    assert refused.value.exit_code == 42
    assert not (tmp_path / "out").exists()


def test_data_of_another_embedder_are_not_measured_on(runs: tuple[Path, Path], tmp_path: Path) -> None:
    write_shards(tmp_path / "faces", clips(), embedder=EmbedderRecord("onnx", EMBEDDING, "1" * 64))
    with pytest.raises(WeightsError, match="measure on data of the same face embedder"):
        export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(tmp_path / "faces"))


def test_too_few_clips_are_refused_before_anything_is_computed(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("speech2face.training.export.predict")
    write_shards(tmp_path / "few", clips(LEAST_CLIPS - 2), embedder=PLANTED)
    write_shards(tmp_path / "none", clips(0), embedder=PLANTED)
    for name, count in (("few", LEAST_CLIPS - 2), ("none", 0)):
        with pytest.raises(DatasetError, match=rf"{count} clips .*{name}.*--data.*more validation speakers"):
            export_by_runs(*runs, tmp_path / "out", citation=CITATION, data=str(tmp_path / name))
    with pytest.raises(InvalidOption, match="--clips 3"):
        export_by_runs(*runs, tmp_path / "out", citation=CITATION, clips=3)


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
