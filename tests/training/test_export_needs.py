"""What an export will miss is said before anything is prepared or trained, by the export's own numbers."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.cli.data import _foresee
from speech2face.data.manifest import Manifest
from speech2face.data.session import Plan, prepare_data
from speech2face.data.shards import write_shards
from speech2face.data.statement import (
    LEAST_CLIPS,
    LEAST_PAIRS,
    SpeakerPairs,
    data_gaps,
    planned_gaps,
    training_gaps,
)
from speech2face.errors import DatasetError, InvalidSettings
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.engine import train_by_settings
from speech2face.training.export import check_clips, tell_speakers
from tests.data import stand_in
from tests.data.stand_in import preparation, texts
from tests.paired import PLANTED
from tests.training.test_export_session import clips
from tests.training.test_session import settings_of


def data(folder: Path, count: int, *, clips_a_speaker: int = 2, split: str = "validation") -> Manifest:
    """So many clips in the split, beside one that is trained on."""
    made = clips(2 * count + 2)[: count + 2]
    speakers = [f"speaker{number // clips_a_speaker}" for number in range(count)]
    placed = [dataclasses.replace(clip, speaker=who, split=split) for clip, who in zip(made[2:], speakers, strict=True)]
    write_shards(folder, [dataclasses.replace(made[0], speaker="trained on"), *placed], embedder=PLANTED)
    return Manifest.open(folder)


def test_one_clip_too_few_is_said_to_be_refused_as_the_export_refuses_it(tmp_path: Path) -> None:
    (gap,) = data_gaps(data(tmp_path / "few", LEAST_CLIPS - 1))
    assert gap.refused and f"has {LEAST_CLIPS - 1} clips" in gap.sentence
    assert "--shares" in gap.sentence and "--data" in gap.sentence
    with pytest.raises(DatasetError):
        check_clips(LEAST_CLIPS - 1)
    (gap,) = data_gaps(data(tmp_path / "enough", LEAST_CLIPS))
    assert not gap.refused
    check_clips(LEAST_CLIPS)


def test_a_split_that_is_not_there_has_no_clips(tmp_path: Path) -> None:
    (gap,) = data_gaps(data(tmp_path / "other", 20, split="test"))
    assert gap.refused and "the split validation, which has 0 clips" in gap.sentence
    (gap,) = data_gaps(data(tmp_path / "named", 20, split="test"), "test")
    assert not gap.refused


@pytest.mark.parametrize(
    ("people", "each", "enough"), [(101, 2, True), (100, 2, False), (101, 1, False), (40, 9, False)]
)
def test_pairs_are_enough_where_the_export_finds_them_enough(people: int, each: int, enough: bool) -> None:
    speakers = np.repeat(np.arange(people), each)
    directions = np.random.default_rng(0).standard_normal((people, 40))[speakers]
    told = tell_speakers(directions.astype(np.float32), speakers)
    assert SpeakerPairs.of(speakers).enough is (told is not None) is enough


def test_too_few_pairs_are_a_gap_that_names_what_to_add(tmp_path: Path) -> None:
    (gap,) = data_gaps(data(tmp_path / "one clip each", LEAST_PAIRS + 1, clips_a_speaker=1))
    assert not gap.refused and "several clips of each speaker" in gap.sentence and "--shares" not in gap.sentence
    (gap,) = data_gaps(data(tmp_path / "few people", 2 * LEAST_PAIRS, clips_a_speaker=50))
    assert "196 pairs of clips of one speaker and 3 of two" in gap.sentence
    assert "several clips of each speaker" not in gap.sentence and "--shares" in gap.sentence
    assert data_gaps(data(tmp_path / "enough", 2 * LEAST_PAIRS + 2)) == ()
    (gap,) = data_gaps(Manifest.open(tmp_path / "enough"), clips=100)
    assert "pairs" in gap.sentence


def test_data_without_face_embeddings_are_said_to_be_no_use(tmp_path: Path) -> None:
    bare = [dataclasses.replace(clip, face_embedding=None) for clip in clips()]
    write_shards(tmp_path / "bare", bare)
    (gap,) = data_gaps(Manifest.open(tmp_path / "bare"))
    assert gap.refused and "no face embeddings" in gap.sentence


def test_data_of_faces_alone_are_not_measured_on(tmp_path: Path) -> None:
    faces = [dataclasses.replace(clip, waveform=None) for clip in clips()]
    write_shards(tmp_path / "faces", faces, embedder=PLANTED)
    assert data_gaps(Manifest.open(tmp_path / "faces")) == ()


def test_a_plan_tells_what_is_certain_to_be_missing() -> None:
    (gap,) = planned_gaps([10, 5])
    assert gap.refused and "at most 15 clips" in gap.sentence
    (gap,) = planned_gaps([])
    assert "at most 0 clips" in gap.sentence
    (gap,) = planned_gaps([2 * LEAST_PAIRS])
    assert not gap.refused
    assert planned_gaps([2 * LEAST_PAIRS, 1]) == ()


def test_a_preparation_shows_its_plan_before_it_prepares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    def foresee(plan: Plan) -> None:
        _foresee(plan)
        said.append(capsys.readouterr().err)
        assert not list((tmp_path / "data").glob("*.tar"))

    prepare_data(
        tmp_path / "data",
        preparation(texts(tmp_path / "media")),
        lambda tasks, on_poison: map(stand_in.prepare, tasks),
        foresee=foresee,
    )
    assert len(said) == 1 and "the split validation, which has at most 0 clips" in said[0]


def test_the_command_that_shows_data_says_what_an_export_will_miss(tmp_path: Path) -> None:
    data(tmp_path / "few", 3)
    shown = CliRunner().invoke(app, ["data", "show", str(tmp_path / "few")])
    assert "for export: a release is measured on the split validation, which has 3 clips" in shown.output
    stated = json.loads(CliRunner().invoke(app, ["data", "show", str(tmp_path / "few"), "--json"]).output)
    assert [gap["refused"] for gap in stated["export"]] == [True]
    data(tmp_path / "enough", 2 * LEAST_PAIRS + 2)
    stated = json.loads(CliRunner().invoke(app, ["data", "show", str(tmp_path / "enough"), "--json"]).output)
    assert stated["export"] == []


def test_a_training_says_beforehand_what_its_export_will_miss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(tmp_path / "few", 3)
    small = {"data": {"batch": 1}, "run": {"steps": 1}}
    train_by_settings(settings_of("encoder", tmp_path / "few", tmp_path / "run", **small))
    said = capsys.readouterr().err
    assert said.index("which has 3 clips; under 16 it is refused") < said.index("[1/1]")
    train_by_settings(settings_of("encoder", tmp_path / "few", tmp_path / "quiet", **small), quiet=True)
    assert capsys.readouterr().err == ""


def test_a_training_says_that_its_face_decoder_learned_from_another_embedder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.paired import EMBEDDING, tiny_decoder
    from tests.training.test_export_session import write_run

    write_shards(tmp_path / "faces", clips(), embedder=EmbedderRecord("onnx", EMBEDDING, "1" * 64))
    decoder = write_run(tmp_path / "decoder", "decoder", tiny_decoder(), tmp_path / "faces")
    data(tmp_path / "few", 3)
    settings = settings_of(
        "encoder", tmp_path / "few", tmp_path / "run",
        teacher={"face_decoder": str(decoder)}, data={"batch": 1}, run={"steps": 1},
    )  # fmt: skip
    train_by_settings(settings)
    assert "for export: it is refused: the face decoder learned from embeddings" in capsys.readouterr().err


def test_too_few_training_clips_for_a_step_are_said_before_training_refuses_them(tmp_path: Path) -> None:
    few = data(tmp_path / "few", 3)
    (gap,) = training_gaps(few)
    assert gap.refused and str(gap).startswith("for training: ") and "--set data.batch=1" in gap.sentence
    with pytest.raises(InvalidSettings):
        train_by_settings(settings_of("encoder", tmp_path / "few", tmp_path / "run", data={"batch": 8}), quiet=True)
    assert training_gaps(few, batch=1) == ()
    none = data(tmp_path / "none", 20, split="test")
    assert "the split validation, which is empty" in training_gaps(none, batch=1)[0].sentence
    stated = json.loads(CliRunner().invoke(app, ["data", "show", str(tmp_path / "few"), "--json"]).output)
    assert [each["refused"] for each in stated["training"]] == [True]


def test_a_voice_encoder_without_a_face_decoder_is_told_that_its_export_needs_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech2face.training.engine.missing_packages", lambda: ["onnx"])
    data(tmp_path / "few", 3)
    small = {"data": {"batch": 1}, "run": {"steps": 1}}
    train_by_settings(settings_of("encoder", tmp_path / "few", tmp_path / "run", **small))
    said = capsys.readouterr().err
    assert "for export: a face decoder of this face embedder is needed too" in said
    assert "for export: onnx is not installed" in said
