"""What a model predicts, and the file of it: the same after reading, and none of other data or another model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import DatasetError, NoSpeech, Speech2FaceError, WeightsError
from speech2face.evaluation.clips import Clips, open_clips
from speech2face.evaluation.predictions import (
    Answer,
    EvaluationSet,
    ReleasePredictor,
    encode_predictions,
    open_predictor,
    predict,
    read_predictions,
)
from speech2face.evaluation.report import Exclusion, ModelFacts
from speech2face.models.attributes import load_attribute_model
from tests.data.made_clips import EMBEDDER, EMBEDDING, made_data
from tests.evaluation.test_collect import voices_folder

FACTS = ModelFacts("made", "1", "paired", EMBEDDER.to_dict(), "a" * 64)


class MadeListener:
    """Says how many samples it heard; refuses the third recording of every batch."""

    model, learned_from = None, ""

    def __init__(self, facts: ModelFacts = FACTS, size: int = EMBEDDING) -> None:
        self.facts, self._size = facts, size

    def answer(self, waveforms: Sequence[FloatArray]) -> list[Answer | Speech2FaceError]:
        said: list[Answer | Speech2FaceError] = [Answer(np.full(self._size, w.size, np.float32)) for w in waveforms]
        said[2] = NoSpeech("no speech was found")
        return said


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    folder = tmp_path_factory.mktemp("data")
    made_data(folder, 40)
    return open_clips(folder)


@pytest.fixture(scope="module")
def predicted(clips: Clips) -> EvaluationSet:
    return predict(MadeListener(), clips, [0.05, 1.0])


def stored(path: Path, evaluation: EvaluationSet, **replaced: Any) -> Path:
    """The file of predictions, with arrays replaced; None leaves one out."""
    path.write_bytes(encode_predictions(evaluation))
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays.files} | replaced
    np.savez(path, **{name: values for name, values in kept.items() if values is not None})
    return path


def test_so_many_seconds_are_heard_and_who_was_not_understood_is_an_exclusion(predicted: EvaluationSet) -> None:
    assert set(predicted.predicted) == {0.05, 1.0}
    assert predicted.predicted[0.05][0, 0] == 0.05 * SAMPLE_RATE
    assert predicted.predicted[1.0][0, 0] == 1600  # the whole of a tenth of a second
    assert np.isnan(predicted.predicted[1.0][2]).all() and np.isfinite(predicted.predicted[1.0][3]).all()
    assert [(e.clip, e.reason) for e in predicted.exclusions] == [(predicted.keys[2], "no_speech")] * 2
    assert predicted.measurable(1.0).sum() == len(predicted) - 1


def test_reasons_are_the_errors_names() -> None:
    assert NoSpeech("x").code == "no_speech" and DatasetError("x").code == "dataset_error"


def test_embeddings_of_another_embedder_or_length_are_refused(clips: Clips) -> None:
    other = replace(FACTS, embedder={"kind": "dlib", "size": EMBEDDING, "sha256": None, "settings": {}})
    with pytest.raises(WeightsError, match="evaluate on data of the model's own face embedder"):
        predict(MadeListener(other), clips, [1.0])
    with pytest.raises(WeightsError, match=f"embeddings of 5 numbers, those of .* have {EMBEDDING}"):
        predict(MadeListener(replace(FACTS, embedder=None), 5), clips, [1.0])


def test_a_model_of_attributes_is_not_held_against_embeddings(clips: Clips) -> None:
    found = predict(MadeListener(replace(FACTS, kind="attributes", embedder=None), 5), clips, [1.0])
    assert found.reference is None and any("not compared" in note for note in found.notes)


def test_a_file_gives_back_what_was_predicted(clips: Clips, predicted: EvaluationSet, tmp_path: Path) -> None:
    found = read_predictions(stored(tmp_path / "p.npz", predicted), clips, model=FACTS)
    assert (found.keys, found.model, found.exclusions) == (predicted.keys, FACTS, predicted.exclusions)
    for heard, values in predicted.predicted.items():
        np.testing.assert_array_equal(found.predicted[heard], values)
    assert found.reference is not None and predicted.reference is not None
    np.testing.assert_array_equal(found.reference, predicted.reference)


def test_another_program_needs_to_write_keys_and_embeddings_alone(
    clips: Clips, predicted: EvaluationSet, tmp_path: Path
) -> None:
    path = tmp_path / "other.npz"
    values = np.ones((len(clips.keys), EMBEDDING))
    values[1] = np.inf
    np.savez(path, keys=np.array([*clips.keys[1:], "somebody-else"]), embeddings=values)
    found = read_predictions(path, clips)
    assert found.model.name == "other" and list(found.predicted) == [0.0]
    missing = {e.clip: e.reason for e in found.exclusions}
    assert missing == {clips.keys[0]: "not_heard", clips.keys[2]: "not_heard"}  # not named, not finite
    assert found.measurable(0.0).sum() == len(clips.keys) - 2
    assert "1 of the file's 8 clips are none of those asked for." in found.notes


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"data_sha256": np.array("b" * 64)}, "predicted on a data set of SHA-256 bbbb"),
        ({"embeddings": np.ones((2, 8, 3), np.float32)}, "embeddings of 3 numbers, those of .* have 8"),
        ({"embeddings": np.ones((2, 7, 8), np.float32)}, "must be floating point"),
        ({"embeddings": np.ones((2, 8, 8), np.int32)}, "must be floating point"),
        ({"seconds": np.array([1.0, 1.0])}, "one of them twice"),
        ({"keys": np.array(["x"] * 8)}, "names 7 clips twice"),
        ({"keys": np.array([f"x{number}" for number in range(8)])}, "names none of the 8 clips"),
        ({"keys": np.arange(8)}, "must be the clips' names"),
        ({"keys": None}, "lacks keys"),
        ({"embeddings": None}, "lacks embeddings"),
        ({"format": np.array(9)}, "has format 9; this version reads 1"),
        ({"format": np.array("one")}, "has format one; this version reads 1"),
        ({"seconds": np.array([np.nan, 1.0])}, "must be numbers from 0"),
        ({"seconds": np.array([-1.0, 1.0])}, "must be numbers from 0"),
        ({"seconds": np.array(["two", "six"])}, "must be numbers from 0"),
        ({"exclusions": np.array("{cut short")}, "`exclusions` is not the JSON"),
        ({"exclusions": np.array("[[1, 2, 3, 4]]")}, "`exclusions` is not the JSON"),
        ({"exclusions": np.array("7")}, "`exclusions` is not the JSON"),
        ({"model": np.array('{"name": "x", "embedder": {"kind": "dlib"}}')}, "is not the JSON of name"),
        ({"model": np.array('{"name": "x", "embedder": "dlib"}')}, "is not the JSON of name"),
        ({"model": np.array("{}")}, "is not the JSON of name"),
        ({"attributes": np.ones((2, 8, 4))}, "`attributes` is"),
    ],
)
def test_a_file_that_does_not_go_with_the_clips_says_why(
    clips: Clips, predicted: EvaluationSet, tmp_path: Path, replaced: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_predictions(stored(tmp_path / "p.npz", predicted, **replaced), clips)


def test_another_models_predictions_are_not_drawn_by_this_one(
    clips: Clips, predicted: EvaluationSet, tmp_path: Path
) -> None:
    path = stored(tmp_path / "p.npz", predicted)
    with pytest.raises(WeightsError, match="holds predictions of made 1"):
        read_predictions(path, clips, model=replace(FACTS, sha256="c" * 64))
    foreign = json.dumps({"name": "x", "embedder": {"kind": "dlib", "size": 8, "sha256": None, "settings": {}}})
    with pytest.raises(WeightsError, match="the model's own face embedder"):
        read_predictions(stored(path, predicted, model=np.array(foreign)), clips)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 cut short"])
def test_what_is_no_file_of_arrays_is_one_error(clips: Clips, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"no \.npz file of plain arrays"):
        read_predictions(tmp_path / "p.npz", clips)
    with pytest.raises(DatasetError, match="no such file"):
        read_predictions(tmp_path / "q.npz", clips)


def test_one_array_alone_is_no_file_of_arrays(clips: Clips, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.ones((8, 8)))
    with pytest.raises(DatasetError, match=r"write it with numpy\.savez"):
        read_predictions(tmp_path / "p.npy", clips)


def test_pickles_are_not_read(clips: Clips, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", keys=np.array([{}], dtype=object), embeddings=np.ones((1, 8)))
    with pytest.raises(DatasetError, match="plain arrays"):
        read_predictions(tmp_path / "p.npz", clips)


def test_the_shipped_starter_states_attributes_of_recordings(tmp_path: Path) -> None:
    clips = open_clips(voices_folder(tmp_path / "voices", 4), split="all")
    predictor = open_predictor(None)
    assert isinstance(predictor, ReleasePredictor) and predictor.facts.kind == "attributes"
    found = predict(predictor, clips, [0.2, 2.0])
    assert {e.reason for e in found.exclusions} <= {"too_little_speech", "no_speech"}
    assert set(found.stated) <= {2.0}
    file = tmp_path / "p.npz"
    file.write_bytes(encode_predictions(found))
    again = read_predictions(file, clips, model=predictor.facts)
    for heard, stated in found.stated.items():
        np.testing.assert_array_equal(again.stated[heard].age, stated.age)
        assert ((stated.low <= stated.age) & (stated.age <= stated.high)).all()
    assert load_attribute_model().release.name == found.model.name


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="neither a release nor a training"):
        open_predictor(tmp_path)


def test_an_exclusion_keeps_its_clip_and_reason(predicted: EvaluationSet) -> None:
    assert predicted.exclusions[0] == Exclusion(predicted.keys[2], "no_speech", "0.05 s: no speech was found")
