"""Clips to evaluate on: of a manifest and of a folder; splits, draws, labels, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from speech2face.data.members import encode_wav, to_samples
from speech2face.errors import DatasetError
from speech2face.evaluation.clips import open_clips
from tests.data.made_clips import made_clip, made_data
from tests.voices import made_voice

HEADER = "speaker,file,seconds,gender,age,age_impression,language,accent,source,licence\n"


def voices_folder(folder: Path, speakers: int = 12) -> Path:
    """Recordings as in the starter's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(speakers):
        name = f"voice_{number:02d}"
        (folder / f"{name}.wav").write_bytes(encode_wav(to_samples(made_voice(2.0, 100 + 10 * number))))
        gender = ("male", "female")[number % 2]
        rows.append(f"{name},{name}.wav,2.0,{gender},twenties,,en,,made,CC0-1.0\n")
    (folder / "voices.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


def test_a_manifests_split_is_read_with_sound_faces_and_labels(tmp_path: Path) -> None:
    made_data(tmp_path, 40)
    clips = open_clips(tmp_path)
    assert clips.split == "test" and len(clips.keys) == 8
    assert clips.speakers == ("speaker 8", "speaker 9") and set(clips.speaker.tolist()) == {0, 1}
    references = clips.references()
    assert references is not None
    for row in (0, 7):
        number = int(clips.keys[row].removeprefix("clip-"))
        made = made_clip(number)
        assert made.face_embedding is not None and made.waveform is not None
        np.testing.assert_array_equal(references[row], made.face_embedding)
        np.testing.assert_allclose(clips.waveform(row), made.waveform / 32768, atol=1e-4)
        assert clips.labels["gender"][row] == "fm"[number % 2] and clips.labels["licence"][row] == "CC0 1.0"
    assert clips.embedder is not None and clips.embedder.size == references.shape[1]


def test_a_limit_draws_some_clips_by_the_seed_in_the_data_sets_order(tmp_path: Path) -> None:
    made_data(tmp_path, 40)
    first, again, other = (open_clips(tmp_path, split="train", limit=10, seed=seed).keys for seed in (0, 0, 1))
    assert first == again != other
    everything = open_clips(tmp_path, split="train").keys
    assert list(first) == [key for key in everything if key in first]
    assert len(open_clips(tmp_path, split="all").keys) == 40


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    made_data(tmp_path, 40)
    with pytest.raises(DatasetError, match="no split 'dev'; it has test, train"):
        open_clips(tmp_path, split="dev")


def test_a_place_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        open_clips(tmp_path / "nowhere")


def test_a_folder_of_recordings_is_split_as_the_starters_training_was(tmp_path: Path) -> None:
    folder = voices_folder(tmp_path / "voices", 20)
    clips, of_parent = open_clips(folder), open_clips(tmp_path)
    assert clips.split == "validation" and clips.keys == of_parent.keys
    assert 0 < len(clips.keys) < 20 and clips.references() is None
    assert set(clips.labels) >= {"gender", "age", "language"} and clips.labels["age"][0] == "twenties"
    np.testing.assert_allclose(clips.waveform(0).size / 16000, 2.0, atol=0.01)
    assert len(clips.sha256) == 64 and clips.sha256 == of_parent.sha256


def test_a_recording_that_is_gone_or_named_twice_is_refused_before_anything_is_heard(tmp_path: Path) -> None:
    folder = voices_folder(tmp_path / "voices", 12)
    with (folder / "voices.csv").open("a", encoding="utf-8") as file:
        file.write("voice_00,voice_00.wav,2.0,male,twenties,,en,,made,CC0-1.0\n")
    with pytest.raises(DatasetError, match="names voice_00 twice"):
        open_clips(folder, split="all")
    voices_folder(folder, 12)
    (folder / "voice_03.wav").unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 of its recordings, voice_03\.wav"):
        open_clips(folder, split="all")


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "voices.csv").write_text("speaker,file\nx,x.wav\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"voices\.csv lacks or mistakes"):
        open_clips(tmp_path)
