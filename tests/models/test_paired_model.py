import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face import load_model, reconstruct
from speech2face.audio.spectrogram import COMPRESSION, SAMPLE_RATE, FloatArray, spectrogram, tile
from speech2face.errors import InvalidGiven, TooLittleSpeech, WeightsError
from speech2face.models.contract import Given
from speech2face.models.paired import (
    SEGMENT_COLUMNS,
    ColumnStream,
    ColumnSum,
    PairedEncoding,
    PairedModel,
    join,
    load_paired_model,
)
from speech2face.models.release import MANIFEST, SHIPPED, sha256
from speech2face.provenance import PAIRED_NOTICE
from speech2face.training.export import load_half
from tests.paired import CITATION, EMBEDDING, tiny_encoder, torch
from tests.recordings import encode
from tests.voices import made_voice

PARITY = 1e-5  # of an embedding's length: float rounding


@pytest.fixture(scope="module")
def model(paired_folder: Path) -> PairedModel:
    return load_paired_model(paired_folder)


@pytest.fixture
def copy(paired_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(paired_folder, tmp_path / "release"))


def change(folder: Path, **values: Any) -> None:
    stored = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(stored | values))


def whole_pass(model: PairedModel, speech: FloatArray) -> FloatArray:
    """What the released torch encoder says of all the speech at once."""
    encoder = tiny_encoder()
    load_half(encoder, model.release.file("voice.safetensors"))
    with torch.inference_mode():
        return np.asarray(encoder(torch.from_numpy(spectrogram(speech))[None])[0].numpy())


def assert_says(said: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(said, expected, atol=PARITY * float(np.linalg.norm(expected)), rtol=0)


def wav(waveform: FloatArray) -> bytes:
    return encode(waveform[None], SAMPLE_RATE, container="wav", codec="pcm_f32le")


@pytest.mark.parametrize("seconds", [6.0, 9.7, 21.0, 31.3])
def test_speech_of_any_length_is_heard_whole_in_blocks(model: PairedModel, seconds: float) -> None:
    speech = made_voice(seconds)
    said = model.encode(speech).face_embedding
    assert_says(said, whole_pass(model, speech))


def test_short_speech_is_repeated_to_a_clip_as_in_the_paper(model: PairedModel) -> None:
    speech = made_voice(1.7)
    said = model.encode(speech).face_embedding
    assert_says(said, whole_pass(model, tile(speech, 6 * SAMPLE_RATE)))
    assert sum(part.count for part in model.encode(speech).segments) == 6  # the paper's 6 s leave 6 columns


def test_what_is_kept_of_a_long_recording_is_bounded_and_no_column_is_lost(model: PairedModel) -> None:
    speech = tile(made_voice(10.0), 160 * SAMPLE_RATE)
    segments = model.encode(speech).segments
    frames = (speech.size - 400) // 160 + 1
    assert sum(part.count for part in segments) == (frames - 259) // 64 + 1
    assert len(segments) <= 33
    assert min(part.count for part in segments) >= SEGMENT_COLUMNS // 2


def test_a_stream_in_pieces_of_any_size_gives_the_columns_of_the_whole_each_once(model: PairedModel) -> None:
    speech = made_voice(9.0)
    stream = ColumnStream(model.runtime)
    rng = np.random.default_rng(0)
    found, at = [], 0
    while at < speech.size:
        size = int(rng.choice([1, 160, 399, 5_000, 30_000]))
        found.append(stream.push(speech[at : at + size]))
        at += size
    columns = np.concatenate(found, axis=2)
    whole = ColumnStream(model.runtime).push(speech)
    assert columns.shape == whole.shape == (4, 57, 10)  # 898 frames
    np.testing.assert_allclose(columns, whole, atol=1e-6)
    assert stream.push(np.zeros(0, np.float32)).shape == (4, 57, 0)


def test_columns_add_up() -> None:
    one, two = ColumnSum(np.ones((2, 3)), 1), ColumnSum(np.full((2, 3), 4.0), 2)
    joined = join([one, two])
    np.testing.assert_array_equal(joined.total, np.full((2, 3), 5.0))
    assert joined.count == 3


def test_a_portrait_says_what_the_model_states_and_nothing_else(model: PairedModel) -> None:
    portrait = reconstruct(load_model(model.release.folder), wav(made_voice(8.0)), samples=2, seed=3, exaggerate=0.5)
    facts = portrait.facts()
    assert portrait.image.shape == (64, 64, 3)
    assert portrait.attributes is None
    assert {"age", "age_interval_80", "gender", "reference_population"}.isdisjoint(facts)
    assert facts["model"] == {"name": CITATION.name, "version": CITATION.version}
    assert facts["notice"] == PAIRED_NOTICE
    assert (facts["seed"], facts["exaggerate"]) == (3, 0.5)
    json.dumps(facts, allow_nan=False)


def test_samples_follow_the_seed_and_differ_while_the_portrait_does_not_move(model: PairedModel) -> None:
    voice = wav(made_voice(8.0))
    first, again, other = (reconstruct(model, voice, samples=2, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples[0], first.samples[1])
    assert not np.array_equal(first.samples[0], other.samples[0])
    np.testing.assert_array_equal(first.image, other.image)


def test_exaggeration_moves_away_from_the_mean_face(model: PairedModel) -> None:
    face_embedding = np.arange(EMBEDDING, dtype=np.float32)
    mean = model.release.mean_embedding
    np.testing.assert_allclose(model.exaggerated(face_embedding, 0.7) - mean, 1.7 * (face_embedding - mean), atol=1e-5)
    assert model.exaggerated(face_embedding, 0.0) is face_embedding


@pytest.mark.parametrize("given", [Given(age=40), Given(gender="female"), Given(group="white")])
def test_attributes_are_refused_before_anything_is_heard(model: PairedModel, given: Given) -> None:
    with pytest.raises(InvalidGiven, match="draws from the voice alone"):
        reconstruct(model, "there is no such file", given=given)
    with pytest.raises(InvalidGiven, match="no reference population"):
        model.with_population({"white": 1.0})


def test_refusals_and_cautions_of_the_recording_hold_for_every_kind_of_model(model: PairedModel) -> None:
    silence = np.zeros(8000, np.float32)
    with pytest.raises(TooLittleSpeech):
        reconstruct(model, wav(np.concatenate([silence, made_voice(0.6), silence])))
    voice = np.concatenate([silence, made_voice(2.0), silence])  # whose quietest moments are loud
    codes = [caution.code for caution in reconstruct(model, wav(voice)).cautions]
    assert codes == ["short_recording", "noise"]


@dataclass
class DirectRuntime:
    """Says the first row of the mean column."""

    def read(self, stretches: Sequence[ColumnSum]) -> FloatArray:
        return np.stack([part.total[0] / part.count for part in stretches]).astype(np.float32)


def test_two_speakers_are_found_by_the_worst_cut_around_the_mean_face_and_only_with_a_threshold(
    model: PairedModel,
) -> None:
    runtime: Any = DirectRuntime()
    release = replace(
        model.release, thresholds={"same_speaker_cosine": 0.3}, mean_embedding=np.array([10.0, 10.0], np.float32)
    )
    judging = PairedModel(release, runtime)
    one, other = (ColumnSum(np.array([[10.0 + x, 10.0 + y]]) * 6, 6) for x, y in ((1.0, 0.0), (-0.2, 1.0)))

    def change(model: PairedModel, *segments: ColumnSum) -> float | None:
        return PairedEncoding(model, segments, np.zeros(2, np.float32)).speaker_change()

    assert change(judging, one, one, other) == pytest.approx(-0.2 / np.hypot(0.2, 1.0), abs=1e-4)
    assert change(judging, one, one) == pytest.approx(1.0, abs=1e-5)
    assert change(judging, one) == 1.0  # one segment has no cut
    assert change(PairedModel(model.release, runtime), one, one, other) is None


def test_speech_is_cut_into_segments_whose_voices_the_networks_can_compare(model: PairedModel, copy: Path) -> None:
    thresholds = json.loads((copy / MANIFEST).read_text())["thresholds"]
    change(copy, thresholds=thresholds | {"same_speaker_cosine": 0.5})
    changed = load_paired_model(copy).encode(made_voice(12.0)).speaker_change()
    assert changed is not None
    assert -1 <= changed < 1


def test_the_golden_tensors_come_out_again(model: PairedModel) -> None:
    from speech2face.audio.spectrogram import golden_speech

    golden = np.load(model.release.file("golden.npz"))
    assert_says(model.encode(golden_speech()).face_embedding, golden["face_embedding"])
    drawn = model.decode(model.release.mean_embedding).transpose(2, 0, 1)
    assert np.abs(drawn.astype(int) - golden["image"].astype(int)).max() <= 1
    assert golden["image"].std() > 0
    assert COMPRESSION == 0.3  # what the golden embedding was made with


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 1}, "format 1, this program reads format 2"),
        ({"kind": "dreamt"}, 'kind "dreamt", this program knows attributes, learned, paired, '),
        ({"voice": {}}, "lacks or mistakes 'clip_seconds'"),
        ({"face": {"embedding": 13, "size": 64}}, r"belief\.npz, made for 12 numbers where the face embedding has 13"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(copy: Path, values: dict[str, Any], message: str) -> None:
    change(copy, **values)
    with pytest.raises(WeightsError, match=message):
        load_model(copy)


def test_a_belief_that_is_no_file_of_arrays_is_refused(copy: Path) -> None:
    (copy / "belief.npz").write_bytes(b"nothing")
    files = json.loads((copy / MANIFEST).read_text())["files"]
    change(copy, files=files | {"belief.npz": sha256(copy / "belief.npz")})
    with pytest.raises(WeightsError, match=r"belief\.npz cannot be read"):
        load_model(copy)


def test_the_other_kind_of_release_is_refused_where_one_kind_is_needed() -> None:
    with pytest.raises(WeightsError, match="of kind attributes, where one of kind paired is needed"):
        load_paired_model(SHIPPED)
