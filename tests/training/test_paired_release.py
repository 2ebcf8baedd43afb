import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from speech2face.audio.spectrogram import spectrogram
from speech2face.data.statement import LEAST_CLIPS
from speech2face.errors import CannotWrite, DatasetError, OutputExists, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.models.paired import load_paired_model
from speech2face.models.release import MANIFEST
from speech2face.training import export as paired_release
from speech2face.training.card import paired_card
from speech2face.training.export import (
    FALSE_ALARMS,
    _without_torchvision,
    load_half,
    measure,
    predict,
    save_half,
    tell_speakers,
    whole_tensors,
)
from speech2face.voice.encoder import VoiceEncoderConfig
from tests.paired import EMBEDDING, tiny_decoder, tiny_encoder, tiny_measures, torch, write_tiny


def test_torch_and_onnx_agree_and_weights_are_stored_once(paired_folder: Path) -> None:
    model, encoder, decoder = load_paired_model(paired_folder), tiny_encoder(), tiny_decoder()
    load_half(encoder, paired_folder / "voice.safetensors")
    load_half(decoder, paired_folder / "face.safetensors")
    rng = np.random.default_rng(0)
    speech = 0.1 * rng.standard_normal(7 * 16_000).astype(np.float32)
    faces = (1 + rng.standard_normal((3, EMBEDDING))).astype(np.float32)
    with torch.inference_mode():
        said = encoder(torch.from_numpy(spectrogram(speech))[None])[0].numpy()
        pictures = np.rint(decoder(torch.from_numpy(faces)).numpy() * 255)
    np.testing.assert_allclose(
        model.encode(speech).face_embedding, said, atol=1e-5 * float(np.linalg.norm(said)), rtol=0
    )
    for face, picture in zip(faces, pictures, strict=True):
        assert np.abs(model.decode(face).transpose(2, 0, 1) - picture).max() <= 1
    assert np.ptp(pictures) > 0
    # A graph holds shapes and names, the safetensors file beside it the numbers: in half precision but for short rows.
    numbers = sum(tensor.numel() for tensor in encoder.state_dict().values())
    assert 2 * numbers < (paired_folder / "voice.safetensors").stat().st_size < 3 * numbers + 10_000
    for path in paired_folder.glob("*.onnx"):
        data = path.read_bytes()
        assert not [trace for trace in (b"/home", b"site-packages", b".py") if trace in data]


def test_what_half_precision_cannot_hold_stays_in_single(tmp_path: Path) -> None:
    encoder, again = tiny_encoder(), tiny_encoder()
    encoder.get_buffer("columns.norms.0.running_var").fill_(1e6)
    encoder.head.second.weight.data[0, 0] = 1e5
    save_half(encoder, tmp_path / "voice.safetensors", {}, whole=whole_tensors(encoder))
    load_half(again, tmp_path / "voice.safetensors")
    assert float(again.get_buffer("columns.norms.0.running_var")[0]) == 1e6
    assert again.head.second.weight[0, 0].item() == 1e5
    stored = load_file(tmp_path / "voice.safetensors")
    assert stored["head.first.weight"].dtype == torch.float16


def test_the_manifest_and_the_card_state_what_it_was_made_of(paired_folder: Path) -> None:
    values = json.loads((paired_folder / MANIFEST).read_text())
    assert (values["kind"], values["licence"], values["embedder"]["kind"]) == ("paired", "CC0-1.0", "planted")
    assert values["training"]["encoder steps"] == 7
    assert 0 < values["training"]["rounding"]["face_embedding"] < 1e-2
    card = (paired_folder / "CARD.md").read_text()
    assert card.startswith("# Model card: tiny 0.1.0\n")
    for text in ("CC0-1.0", "encoder steps: 7", "not the speaker's face", "12 numbers", "chance"):
        assert text in card


def test_the_card_says_the_sizes_that_are_there(paired_folder: Path) -> None:
    values = json.loads((paired_folder / MANIFEST).read_text())
    card = (paired_folder / "CARD.md").read_text()
    parameters = sum(tensor.numel() for tensor in tiny_encoder().parameters())
    assert "convolutions of 4, 4, 4, 4, 4, 4, 4, 4, 4 channels (Table 1: 64, 64, 128" in card
    assert (
        f"hidden layer of 16 (Table 1: 4096); face embedding of 12 numbers (Table 1: 4096); {parameters:,} par" in card
    )
    paper = values["voice"] | VoiceEncoderConfig().to_dict()
    assert "(Oh et al., CVPR 2019, Table 1)," in paired_card(values | {"voice": paper})


def test_the_card_shows_short_tables_and_no_folders(paired_folder: Path) -> None:
    values = json.loads((paired_folder / MANIFEST).read_text())
    counts = {f"licence {n:02d}": {"clips": 30 - n, "speakers": 2, "hours": 0.5} for n in range(14)}
    statement = {
        "format": 1, "clips": 329, "speakers": 28, "hours": 7.0, "clips_a_speaker": {}, "duplicates": None,
        "licences": counts, "consents": {"not known": {"clips": 329, "speakers": 28, "hours": 7.0}},
        "labels": {"accent": {"not known": counts["licence 00"]}, "language": {"de|en": counts["licence 00"]}},
        "rejects": {"no_face": 1200, "silent": 3}, "landmarks": None, "forgotten_speakers": 0,
        "settings": {"sources": [{"folder": "/home/somebody/clips"}]},
        "from": "taken from /home/somebody/clips, see https://example.org/terms", "by": None,
    }  # fmt: skip
    data = {"name": "clips", "manifest_sha256": "0" * 64, "gone": None, "landmarks": None, "statement": statement}
    training = values["training"] | {"voice_data": data, "face_data": data, "kept": None, "at": {"disk": "/srv/a/b c"}}
    card = paired_card(values | {"training": training})
    for row in (
        "329 clips of 28 speakers, 7.00 hours",
        "| licence 08 | 22 | 2 | 0.50 |\n| 5 others | 95 | up to 10 | 2.50 |\n\n",
        "| not known | 329 | 28 | 7.00 |",
        "| de\\|en | 30 | 2 | 0.50 |",
        "Not known of any clip: accent.",
        "| no_face | 1,200 | no face was found |",
        "- from: taken from clips, see https://example.org/terms",
        "  - disk: b c",
        "- by: not stated",
    ):
        assert row in card
    for text in ("None", "{", "/home", "/srv", "licence 09", "300-W"):
        assert text not in card


@pytest.mark.parametrize("holder", ["voice_data", "face"])
def test_landmarks_of_dlibs_predictor_bring_the_caution_of_its_licence(paired_folder: Path, holder: str) -> None:
    values = json.loads((paired_folder / MANIFEST).read_text())
    if holder == "face":
        values["face"]["landmarks"] = 68
    else:
        gone = {"name": "a", "manifest_sha256": "0", "gone": "it is gone", "landmarks": None, "statement": None}
        values["training"] |= {"voice_data": gone | {"landmarks": 68}, "face_data": gone}
    assert "iBUG 300-W, whose licence excludes commercial use" in paired_card(values)


def test_only_lines_on_torchvision_are_kept_back_while_exporting(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    with caplog.at_level(logging.WARNING), _without_torchvision():
        logger.warning("torchvision is not installed. Skipping %s", "torchvision::nms")
        logger.warning("something else")
    logger.warning("torchvision is not installed. Skipping %s", "torchvision::roi_align")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["something else", "torchvision is not installed. Skipping torchvision::roi_align"]


def test_parts_of_different_embeddings_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the face decoder has face embeddings of 9"):
        write_tiny(tmp_path / "release", decoder=tiny_decoder(9))
    with pytest.raises(WeightsError, match="the face embedder has face embeddings of 128"):
        write_tiny(tmp_path / "release", embedder=EmbedderRecord("dlib", 128))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_export")
def test_a_release_that_is_there_is_replaced_only_when_asked_and_only_by_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "release"
    write_tiny(out)
    before = (out / MANIFEST).read_bytes()
    with pytest.raises(OutputExists):
        write_tiny(out)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(paired_release, "write_manifest", full)
        with pytest.raises(CannotWrite, match="No space left"):
            write_tiny(out, force=True)
    assert (out / MANIFEST).read_bytes() == before
    write_tiny(out, force=True, citation={"version": "0.2.0"})
    assert json.loads((out / MANIFEST).read_text())["version"] == "0.2.0"
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.usefixtures("quick_export")
def test_graphs_that_say_something_else_are_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = paired_release.write_networks

    def wrong(out: Path, *arguments: Any) -> dict[str, float]:
        rounding = right(out, *arguments)
        golden = dict(np.load(out / "golden.npz"))
        np.savez(out / "golden.npz", **golden | {"face_embedding": golden["face_embedding"] * 1.01})
        return rounding

    monkeypatch.setattr(paired_release, "write_networks", wrong)
    with pytest.raises(WeightsError, match="differ from the trained ones"):
        write_tiny(tmp_path / "release")
    assert list(tmp_path.iterdir()) == []


def test_measures_are_those_of_the_embeddings() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((60, 5)).astype(np.float32) + 3
    predicted = target + np.array([0.5, 0, 0, 0, 0], np.float32)
    found = measure(predicted, target, np.arange(60))
    np.testing.assert_allclose(found.mean_embedding, target.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.spread.deviations, [0.5], atol=1e-5)
    assert found.clips == 60
    assert found.numbers["r2"] < 1
    assert found.same_speaker is None  # one clip a speaker tells nothing
    assert tiny_measures().spread.deviations.size >= 3


def test_a_threshold_between_speakers_is_placed_only_where_they_differ() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(150), 4)
    people = rng.standard_normal((150, 20))[speakers]
    noise = rng.standard_normal((600, 20))
    found = tell_speakers((people + 0.3 * noise).astype(np.float32), speakers)
    assert found is not None
    assert found.caught > 0.9
    directions = people + 0.3 * noise
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    same = (directions[::4] * directions[1::4]).sum(1)
    assert abs((same < found.threshold).mean() - FALSE_ALARMS) < 0.05
    assert tell_speakers(noise.astype(np.float32), speakers) is None  # embeddings that know nobody


def test_too_few_clips_are_refused() -> None:
    batch = {
        "waveform": torch.zeros(2, 48_000, dtype=torch.int16),
        "face_embedding": torch.zeros(2, EMBEDDING),
        "speaker": torch.zeros(2, dtype=torch.int64),
    }
    with pytest.raises(DatasetError, match=f"at least {LEAST_CLIPS}"):
        predict(tiny_encoder(), [batch])
