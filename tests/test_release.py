import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from speech2face.errors import WeightsError
from speech2face.models.attributes import AttributeRuntime, VoiceReading, load_attribute_release
from speech2face.models.open import load_model
from speech2face.models.release import MANIFEST, SHIPPED, sha256

PARITY = 1e-4  # of embeddings and logits between torch and ONNX Runtime
GREY_LEVELS = 1


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "release"))


def test_the_shipped_release_is_complete_undamaged_and_under_thirty_megabytes() -> None:
    release = load_attribute_release()
    assert release.name == "starter"
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 30e6
    assert release.groups == ("white", "black", "west_asian", "east_asian")
    np.testing.assert_allclose(release.population.group_weights.sum(), 1, atol=1e-6)


def test_a_flipped_byte_is_found_and_the_file_named(copy: Path) -> None:
    path = copy / "voice.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"voice\.safetensors is damaged"):
        load_attribute_release(copy)


def test_a_missing_file_and_a_missing_manifest_are_named(copy: Path, tmp_path: Path) -> None:
    (copy / "face_decoder.onnx").unlink()
    with pytest.raises(WeightsError, match=r"lacks face_decoder\.onnx"):
        load_attribute_release(copy)
    with pytest.raises(WeightsError, match=MANIFEST):
        load_attribute_release(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"calibration": None}, "mistakes"),
        ({"files": {"face.safetensors": "00"}}, "damaged"),
        ({"files": {"f" * 300: "00"}}, "cannot be read"),
        ({"files": {"nul\0": "00"}}, "cannot be read|lacks"),
        ({"files": {"../starter": "00"}}, "no file beside it"),
        ({"files": {"": "00"}}, "no file beside it|lacks"),
    ],
)
def test_a_manifest_of_another_program_is_refused(copy: Path, change: dict[str, object], message: str) -> None:
    values = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(values | change))
    with pytest.raises(WeightsError, match=message):
        load_attribute_release(copy)


def test_a_manifest_that_is_no_json_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_attribute_release(copy)


def test_a_graph_that_is_no_onnx_is_refused_when_it_is_needed(copy: Path) -> None:
    (copy / "voice_head.onnx").write_bytes(b"nothing")
    values = json.loads((copy / MANIFEST).read_text())
    values["files"]["voice_head.onnx"] = sha256(copy / "voice_head.onnx")
    (copy / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_model(copy).warm()


def golden_reading(runtime: AttributeRuntime) -> VoiceReading:
    from speech2face.voice.segments import golden_speech

    return runtime.read([runtime.segment_moments(golden_speech())])


def test_golden_tensors_come_out_again() -> None:
    golden = np.load(SHIPPED / "golden.npz")
    runtime = AttributeRuntime(load_attribute_release())
    reading = golden_reading(runtime)
    np.testing.assert_allclose(reading.speaker_embedding, golden["speaker_embedding"], atol=PARITY, rtol=PARITY)
    np.testing.assert_allclose(reading.age_logits, golden["age_logits"], atol=PARITY, rtol=PARITY)
    for name in ("gender_logit", "voice_logit", "child_logit"):
        np.testing.assert_allclose(getattr(reading, name), golden[name][0], atol=PARITY, rtol=PARITY)
    image = runtime.decode(golden["face_embedding"])[::4, ::4].transpose(2, 0, 1)
    assert np.abs(image.astype(int) - golden["image"].astype(int)).max() <= GREY_LEVELS


def test_torch_and_onnx_agree_on_the_shipped_weights() -> None:
    torch = pytest.importorskip("torch", reason="parity needs torch; install the extra `train`")
    from recipes.starter.release import load_face_decoder, load_released_encoder
    from speech2face.audio.spectrogram import spectrogram
    from speech2face.voice.segments import golden_speech

    runtime = AttributeRuntime(load_attribute_release())
    encoder = load_released_encoder(SHIPPED)
    decoder = load_face_decoder(SHIPPED, json.loads((SHIPPED / "face.json").read_text()))
    reading = golden_reading(runtime)
    rng = np.random.default_rng(0)
    embeddings = [
        runtime.release.population.embedding(age, femininity) for age, femininity in ((18, 0.0), (50, 1.0), (80, 0.4))
    ]
    embeddings = [z + np.float32(0.1) * rng.standard_normal(z.size).astype(np.float32) for z in embeddings]
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(spectrogram(golden_speech()))[None])
        pictures = decoder(torch.from_numpy(np.stack(embeddings))).numpy()
    np.testing.assert_allclose(reading.speaker_embedding, expected[0][0].numpy(), atol=PARITY, rtol=PARITY)
    np.testing.assert_allclose(reading.age_logits, expected[2][0].numpy(), atol=PARITY, rtol=PARITY)
    for embedding, picture in zip(embeddings, pictures, strict=True):
        drawn = runtime.decode(embedding).transpose(2, 0, 1)
        assert np.abs(drawn.astype(int) - np.rint(picture * 255)).max() <= GREY_LEVELS


def test_weights_are_stored_once_and_no_path_of_the_makers_machine_is_inside() -> None:
    for name in ("voice_frames.onnx", "voice_head.onnx", "face_decoder.onnx"):
        data = (SHIPPED / name).read_bytes()
        assert len(data) < 300_000
        assert b"/home" not in data
        assert b"site-packages" not in data
        assert b".py" not in data
