import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from speech2face.errors import WeightsError
from speech2face.models import load_model
from speech2face.models.attributes import AttributeRuntime, VoiceReading, load_attribute_release
from speech2face.models.release import MANIFEST, SHIPPED, read_stored, sha256
from speech2face.voice.belief import BIN_CENTRES, Calibration

PARITY = 1e-2  # of embeddings and readings between processors: matrices of eight bits are summed exactly, the rest not
GREY_LEVELS = 1
WHISPER = Path(__file__).parents[2] / "shared" / "starter" / "whisper" / "whisper_base_encoder.safetensors"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "release"))


def test_the_shipped_release_is_complete_undamaged_and_under_forty_megabytes() -> None:
    release = load_attribute_release()
    assert release.name == "starter"
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 40e6
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
        ({"format": 1}, "format 1, this program reads format 2"),  # starter 1.0.0
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


def mean_age(logits: np.ndarray) -> float:
    return float(Calibration().age_probabilities(logits, 1.0) @ BIN_CENTRES)


def golden_reading(runtime: AttributeRuntime) -> VoiceReading:
    from speech2face.audio.spectrogram import golden_speech

    return runtime.read([runtime.segment_moments(golden_speech())])


def test_golden_tensors_come_out_again() -> None:
    golden = np.load(SHIPPED / "golden.npz")
    runtime = AttributeRuntime(load_attribute_release())
    reading = golden_reading(runtime)
    for name, value in vars(reading).items():
        np.testing.assert_allclose(value, golden[name], atol=PARITY, rtol=PARITY, err_msg=name)
    image = runtime.decode(golden["face_embedding"], int(golden["hair"]))[::4, ::4].transpose(2, 0, 1)
    assert np.abs(image.astype(int) - golden["image"].astype(int)).max() <= GREY_LEVELS


def test_torch_and_onnx_draw_the_same_faces() -> None:
    torch = pytest.importorskip("torch", reason="parity needs torch; install the extra `train`")
    from recipes.starter.release import load_face_decoder

    runtime = AttributeRuntime(load_attribute_release())
    decoder = load_face_decoder(SHIPPED, json.loads((SHIPPED / "face.json").read_text()))
    rng = np.random.default_rng(0)
    embeddings = [
        runtime.release.population.embedding(age, femininity) for age, femininity in ((18, 0.0), (50, 1.0), (80, 0.4))
    ]
    embeddings = [z + np.float32(0.1) * rng.standard_normal(z.size).astype(np.float32) for z in embeddings]
    hair = [decoder.config.hair_styles.index(style) for style in ("bald", "curly", "long")]
    with torch.inference_mode():
        pictures = decoder(torch.from_numpy(np.stack(embeddings)), torch.tensor(hair)).numpy()
    for embedding, style, picture in zip(embeddings, hair, pictures, strict=True):
        drawn = runtime.decode(embedding, style).transpose(2, 0, 1)
        assert np.abs(drawn.astype(int) - np.rint(picture * 255)).max() <= GREY_LEVELS


def test_a_program_that_knows_no_hair_draws_the_plain_style() -> None:
    runtime = AttributeRuntime(load_attribute_release())
    embedding = runtime.release.population.embedding(30.0, 0.0)
    plain = runtime.decode(embedding, runtime.release.hair_styles.index("short"))
    np.testing.assert_array_equal(runtime.decode(embedding), plain)


def test_mattes_of_hair_are_whole_and_their_edges_soft_but_narrow() -> None:
    """No holes within hair that hides the scalp, no hair where none can be, no halo of thin alpha around it."""
    release = load_attribute_release()
    stored = read_stored(release.file("face.safetensors"), ["hair_front", "hair_back", "hair_tone"])
    for style, front, back in zip(release.hair_styles[1:], stored["hair_front"], stored["hair_back"], strict=True):
        matte = front / 255.0
        seen = matte.sum()
        assert seen > 2000, style
        assert matte[400:, 225:286].max() < 0.05, f"{style} lies on the chin"
        assert matte[225:330, 200:311].max() < 0.05, f"{style} lies on the face"
        thin = ((matte > 0.02) & (matte < 0.2)).sum()
        if style in ("shaved", "receding"):
            assert matte.max() < 1.01  # the scalp shines through
            continue
        assert thin < 0.25 * (matte >= 0.2).sum(), f"{style} has a halo"
        solid = ndimage.binary_closing(matte > 0.5, iterations=3)
        holes = ndimage.binary_erosion(solid, iterations=6) & (matte < 0.5)
        assert holes.sum() < 0.002 * solid.sum(), f"{style} has holes"
        assert back.max() > 0, style


@pytest.mark.slow
def test_eight_bits_say_what_the_published_layers_say_in_full_precision() -> None:
    torch = pytest.importorskip("torch", reason="parity needs torch; install the extra `train`")
    if not WHISPER.exists():
        pytest.skip("the published encoder is not here (shared/starter/whisper)")
    from recipes.starter.encoder import load_frames
    from recipes.starter.features import decode, spoken
    from recipes.starter.release import load_head
    from speech2face.audio.spectrogram import log_mel
    from speech2face.evaluation.clips import read_speakers

    runtime = AttributeRuntime(load_attribute_release())
    frames, head = load_frames(WHISPER), load_head(SHIPPED / "voice.safetensors")
    said, expected = [], []
    for speaker in read_speakers(WHISPER.parents[1])[::60]:
        speech = spoken(decode(speaker.file, 3.0))
        reading = runtime.read([runtime.segment_moments(speech)])
        with torch.inference_mode():
            full = head(frames(torch.from_numpy(log_mel(speech))[None]))
        said.append([reading.gender_logit, reading.voice_logit, reading.child_logit, mean_age(reading.age_logits)])
        expected.append([float(full[index][0]) for index in (1, 2, 3)] + [mean_age(full.age_logits[0].numpy())])
    for one, other in zip(np.array(said).T, np.array(expected).T, strict=True):
        assert np.corrcoef(one, other)[0, 1] >= 0.995


def test_weights_are_stored_once_and_no_path_of_the_makers_machine_is_inside() -> None:
    for name in ("voice_frames.onnx", "voice_head.onnx", "face_decoder.onnx"):
        data = (SHIPPED / name).read_bytes()
        assert b"/home" not in data
        assert b"site-packages" not in data
        if name != "voice_frames.onnx":  # which holds its own eight-bit weights, and any three bytes among them
            assert len(data) < 300_000
            assert b".py" not in data
