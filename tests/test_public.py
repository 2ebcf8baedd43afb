"""What `import speech2face` offers: complete, imported once, and easy to look at."""

import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import speech2face
from speech2face import errors
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.live import LiveSession, PcmFormat
from speech2face.models.contract import Given, Model
from speech2face.portrait import Portrait, Reconstruction
from speech2face.provenance import read_provenance
from tests.voices import made_voice

VOICE = made_voice(2.5)
LONG_NAME = "a model of a very long name " * 20


@pytest.fixture(scope="module")
def model() -> Model:
    return speech2face.load_model(threads=1)


@pytest.fixture(scope="module")
def portrait(model: Model) -> Portrait:
    return speech2face.reconstruct(model, (VOICE, SAMPLE_RATE))


@pytest.fixture(scope="module")
def drawn(model: Model) -> Portrait:
    return speech2face.reconstruct(model, (VOICE, SAMPLE_RATE), style="drawn")


def made(**changes: Any) -> Reconstruction:
    values: dict[str, Any] = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "face_embedding": np.zeros(4, np.float32),
        "embedder": "dlib",
    }
    return Reconstruction(**(values | {"exaggerate": 0.0, "model_name": "paired", "model_version": "1"} | changes))


def test_every_public_name_is_there_and_shown() -> None:
    assert speech2face.__all__ == sorted(speech2face.__all__, key=lambda name: (name[0].islower(), name))
    assert set(speech2face.__all__) <= set(dir(speech2face))
    for name in speech2face.__all__:
        assert getattr(speech2face, name) is not None
        assert name in vars(speech2face), "kept after its first use"


def test_every_error_is_public() -> None:
    kinds = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert kinds <= set(speech2face.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        speech2face.nothing  # noqa: B018


def test_an_embedding_is_the_mean_that_is_drawn(model: Model, portrait: Portrait) -> None:
    found = speech2face.embed(model, VOICE, sample_rate=SAMPLE_RATE)
    np.testing.assert_array_equal(found, portrait.belief.mean)
    assert not np.array_equal(speech2face.embed(model, (VOICE, SAMPLE_RATE), given={"age": 70}), found)


def test_stated_attributes_are_a_mapping_or_given(model: Model) -> None:
    expected = speech2face.reconstruct(model, (VOICE, SAMPLE_RATE), given=Given(age=40, gender="female"))
    found = speech2face.reconstruct(model, (VOICE, SAMPLE_RATE), given={"age": 40, "gender": "female"})
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.facts() == expected.facts()
    session = LiveSession(model, PcmFormat(), given={"age": 40})
    session.set(given={"gender": "male"})
    assert session.snapshot().given == Given(gender="male")


def test_an_unknown_attribute_is_refused_by_its_name(model: Model) -> None:
    with pytest.raises(errors.InvalidGiven, match="'years' is unknown; there are age, gender, group"):
        speech2face.reconstruct(model, (VOICE, SAMPLE_RATE), given={"years": 40})


@pytest.mark.parametrize("name", ["face.png", "face.JPG", "face.webp"])
def test_a_saved_portrait_is_labelled(name: str, portrait: Portrait, tmp_path: Path) -> None:
    portrait.save(tmp_path / name)
    said, _ = read_provenance(tmp_path / name)
    assert (said.kind, said.notice, said.model_name) == ("portrait", portrait.notice, portrait.model_name)
    with Image.open(tmp_path / name) as picture:
        assert picture.size == portrait.image.shape[1::-1]


def test_a_saved_drawing_is_labelled_and_a_photographic_portrait_has_none(
    drawn: Portrait, portrait: Portrait, tmp_path: Path
) -> None:
    drawn.save(str(tmp_path / "face.svg"))
    assert read_provenance(tmp_path / "face.svg")[0].kind == "portrait"
    with pytest.raises(errors.InvalidOption, match="drawn"):
        portrait.save(tmp_path / "other.svg")


def test_a_portrait_is_saved_over_nothing_unless_forced(portrait: Portrait, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(b"mine")
    with pytest.raises(errors.OutputExists):
        portrait.save(path)
    assert path.read_bytes() == b"mine"
    portrait.save(path, force=True)
    assert read_provenance(path)[0].kind == "portrait"
    with pytest.raises(errors.InvalidOption, match=r"\.png"):
        portrait.save(tmp_path / "face.gif")


def test_a_notebook_shows_the_labelled_picture(portrait: Portrait) -> None:
    content = portrait._repr_png_()
    assert read_provenance(content)[0].kind == "portrait"
    with Image.open(io.BytesIO(content)) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), portrait.image)
    assert read_provenance(made()._repr_png_())[0].kind == "reconstruction"


def test_results_are_one_short_line_at_a_prompt(model: Model, portrait: Portrait, drawn: Portrait) -> None:
    recording = speech2face.read_recording((VOICE, SAMPLE_RATE))
    session = LiveSession(model, PcmFormat())
    session.push(np.rint(VOICE * 32_768).astype("<i2").tobytes())
    for value in (model, portrait, drawn, recording, session, made(), made(model_name=LONG_NAME + "\n")):
        text = repr(value)
        assert text.startswith(f"<{type(value).__name__} "), text
        assert len(text) < 120, text
        assert text.isprintable(), text
    assert "starter" in repr(portrait)
    assert "drawn" in repr(drawn)


def test_an_evaluation_refuses_options_that_there_are_not(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="evaluating needs the extra `eval`")
    with pytest.raises(errors.InvalidOption, match="no option colour; there are models"):
        speech2face.evaluate("data", tmp_path, colour="red")


def test_training_takes_a_mapping_a_file_or_settings(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra `train`")
    with pytest.raises(errors.InvalidSettings, match="stage"):
        speech2face.train({"colour": "red"})
    (tmp_path / "wrong.toml").write_text("colour = 'red'")
    with pytest.raises(errors.InvalidSettings, match="stage"):
        speech2face.train(tmp_path / "wrong.toml")
    with pytest.raises(errors.InvalidOption):
        speech2face.train(3)  # type: ignore[arg-type]
    settings = {"stage": "encoder", "out": str(tmp_path), "data": {"manifest": "none"}}
    with pytest.raises(errors.InvalidOption, match="stop_at is 0"):  # None is the end; 0 was taken for it
        speech2face.train(settings, stop_at=0)
