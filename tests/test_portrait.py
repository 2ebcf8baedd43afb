import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import speech2face
from speech2face import Given, Portrait
from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import EmptyRecording, InvalidGiven, InvalidOption, NoSpeech, SilentRecording
from speech2face.face.appearance import chosen_hair, most_frequent_hair
from speech2face.limits import Style
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.portrait import draw_picture, worn_hair
from speech2face.provenance import NOTICE, read_provenance
from tests.recordings import encode

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def wav_bytes(waveform: FloatArray) -> bytes:
    return encode(waveform[None], 16_000, container="wav", codec="pcm_f32le")


@pytest.fixture(scope="module")
def model() -> AttributeModel:
    return load_attribute_model()


@pytest.fixture(scope="module")
def woman(model: AttributeModel) -> Portrait:
    return speech2face.reconstruct(model, EXAMPLES / "female.mp3")


def test_a_recording_gives_a_picture_and_all_the_facts(woman: Portrait) -> None:
    assert woman.image.shape == (512, 512, 3)
    assert woman.image.dtype == np.uint8
    facts = woman.facts()
    low, high = facts["age_interval_80"]
    assert 5 <= low < facts["age"] < high <= 95
    assert facts["gender"]["reading"] == "feminine"
    assert 0.5 <= facts["gender"]["probability"] <= 1
    assert 1 < facts["seconds_heard"] <= facts["seconds_recorded"]
    assert facts["notice"] == NOTICE
    assert facts["model"] == {"name": "starter", "version": woman.model_version}
    assert woman.samples == ()


def test_a_mans_voice_is_read_as_one_in_every_format(model: AttributeModel) -> None:
    for name in ("male.flac", "male.m4a", "telephone.wav"):
        assert speech2face.reconstruct(model, EXAMPLES / name).facts()["gender"]["reading"] == "masculine"


def test_path_text_bytes_and_file_give_the_same_portrait(model: AttributeModel, woman: Portrait) -> None:
    path = EXAMPLES / "female.mp3"
    with path.open("rb") as file:
        for source in (str(path), path.read_bytes(), file, speech2face.read_recording(path)):
            np.testing.assert_array_equal(speech2face.reconstruct(model, source).image, woman.image)


def test_the_portrait_is_in_the_middle_of_its_frame_on_a_plain_ground(woman: Portrait) -> None:
    corners = woman.image[[0, 0], [0, -1]].astype(int)
    assert np.ptp(corners, axis=0).max() <= 2
    difference = np.abs(woman.image.astype(int) - corners[0]).sum(2)
    columns = np.flatnonzero((difference[:300] > 60).any(0))
    assert abs(columns.mean() - 255.5) < 12


def test_samples_are_repeatable_by_seed_and_differ_from_each_other(model: AttributeModel) -> None:
    first, again, other = (
        speech2face.reconstruct(model, EXAMPLES / "male.flac", samples=2, seed=seed) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples[0], first.samples[1])
    assert not np.array_equal(first.samples[0], other.samples[0])
    np.testing.assert_array_equal(first.image, other.image)  # the portrait itself is the mean: no seed moves it


def test_without_a_seed_one_is_drawn_and_recorded(model: AttributeModel) -> None:
    drawn = speech2face.reconstruct(model, EXAMPLES / "male.flac", samples=1)
    repeated = speech2face.reconstruct(model, EXAMPLES / "male.flac", samples=1, seed=drawn.facts()["seed"])
    np.testing.assert_array_equal(drawn.samples, repeated.samples)


def test_a_drawing_wears_the_most_frequent_hair_and_a_sample_that_of_its_place(model: AttributeModel) -> None:
    embedding = model.release.mean_embedding
    apparent = model.apparent(embedding)
    found: dict[float | None, str] = {}
    for place in (None, 0.05, 0.5, 0.9):
        worn = worn_hair(model, embedding, Given(), place)
        drawn = draw_picture(model, embedding, Style.drawn, hair=worn).drawing or ""
        (found[place],) = re.findall(r'data-style="(\w+)"', drawn)
    assert found.pop(None) == most_frequent_hair(*apparent)
    assert found == {place: chosen_hair(*apparent, place) for place in (0.05, 0.5, 0.9)}
    assert len(set(found.values())) > 1


def test_given_attributes_change_the_face_but_not_what_was_heard(model: AttributeModel, woman: Portrait) -> None:
    given = Given(age=70.0, gender="male", group="black")
    changed = speech2face.reconstruct(model, EXAMPLES / "female.mp3", given=given)
    assert changed.facts()["given"] == {"age": 70.0, "gender": "male", "group": "black"}
    shown = {"given", "hair"}
    assert {k: v for k, v in changed.facts().items() if k not in shown} == {
        k: v for k, v in woman.facts().items() if k not in shown
    }
    assert np.abs(changed.image.astype(int) - woman.image.astype(int)).mean() > 5


def test_hair_is_the_most_frequent_style_or_the_given_one_and_is_recorded(
    model: AttributeModel, woman: Portrait, tmp_path: Path
) -> None:
    assert woman.hair == woman.facts()["hair"] == most_frequent_hair(*model.apparent(woman.belief.mean))
    given = speech2face.reconstruct(model, EXAMPLES / "female.mp3", given={"hair": "bald"})
    assert given.facts()["given"] == {"hair": "bald"}
    assert given.facts()["hair"] == "bald"
    face = (slice(230, 340), slice(200, 310))
    assert np.abs(given.image[face].astype(int) - woman.image[face]).max() <= 1  # the same one
    assert np.abs(given.image[60:110, 200:310].astype(int) - woman.image[60:110, 200:310]).mean() > 20
    given.save(tmp_path / "bald.png")
    provenance, facts = read_provenance(tmp_path / "bald.png")
    assert provenance.given == {"hair": "bald"}
    assert facts["hair"] == "bald"


def test_samples_have_hair_by_chance_and_say_which(model: AttributeModel) -> None:
    drawn = speech2face.reconstruct(model, EXAMPLES / "female.mp3", samples=6, seed=1)
    again = speech2face.reconstruct(model, EXAMPLES / "female.mp3", samples=3, seed=1)
    assert drawn.facts()["sample_hair"] == list(drawn.sample_hair)
    assert drawn.sample_hair[:3] == again.sample_hair
    assert len(set(drawn.sample_hair)) > 1
    long = speech2face.reconstruct(model, EXAMPLES / "female.mp3", samples=2, seed=1, given=Given(hair="long"))
    assert long.sample_hair == ("long", "long")


def test_hair_that_there_is_not_is_refused(model: AttributeModel) -> None:
    with pytest.raises(InvalidGiven, match="bald, short"):
        speech2face.reconstruct(model, "there is no such file", given={"hair": "mohawk"})
    plain = replace(model, release=replace(model.release, hair_styles=()))  # as releases were before hair was a choice
    with pytest.raises(InvalidGiven, match="part of this model's faces"):
        speech2face.reconstruct(plain, "there is no such file", given={"hair": "long"})


@pytest.mark.parametrize("style", [Style.drawn, Style.line])
def test_a_drawing_and_its_samples_wear_the_given_hair(model: AttributeModel, style: Style) -> None:
    drawn = speech2face.reconstruct(
        model, EXAMPLES / "female.mp3", style=style, given={"hair": "curly"}, samples=1, seed=1
    )
    assert drawn.hair == drawn.facts()["hair"] == "curly"
    assert drawn.sample_hair == ("curly",)
    assert 'data-style="curly"' in (drawn.drawing or "")


def test_exaggeration_moves_away_from_the_mean_face_and_is_recorded(model: AttributeModel, woman: Portrait) -> None:
    exaggerated = speech2face.reconstruct(model, EXAMPLES / "female.mp3", exaggerate=0.7)
    assert exaggerated.facts()["exaggerate"] == 0.7
    assert not np.array_equal(exaggerated.image, woman.image)
    mean = model.release.mean_embedding
    moved = model.exaggerated(woman.belief.mean, 0.7)
    # The step is the whole one, up to the end of what the model has learned.
    expected = np.clip(mean + 1.7 * (woman.belief.mean - mean), *model.release.population.limits())
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    assert np.abs(moved - woman.belief.mean).max() > 0.05


def test_exaggeration_draws_nobody_older_than_the_oldest_face_nor_beyond_a_group(model: AttributeModel) -> None:
    old = model.release.population.embedding(75.0, 0.0, np.eye(4)[1])
    oldest = model.release.population.embedding(80.0, 0.0, np.eye(4)[1])
    moved = model.exaggerated(old, 2.0)
    names = list(model.release.population.basis.names)
    for name in ("older", "old", "black"):
        assert moved[names.index(name)] == pytest.approx(oldest[names.index(name)])
    assert moved[names.index("femininity")] == pytest.approx(-3.0)


def test_the_reference_population_is_a_setting_that_is_recorded(model: AttributeModel, woman: Portrait) -> None:
    assert set(woman.facts()["reference_population"].values()) == {0.25}
    other = speech2face.reconstruct(model.with_population({"black": 3, "white": 1}), EXAMPLES / "female.mp3")
    assert other.facts()["reference_population"] == {"white": 0.25, "black": 0.75, "west_asian": 0, "east_asian": 0}
    assert other.image[150:350, 150:350].mean() < woman.image[150:350, 150:350].mean()  # darker skin
    for weights in ({"martian": 1.0}, {"white": -1.0}, {"white": 0.0}, {"white": float("nan")}):
        with pytest.raises(InvalidGiven):
            model.with_population(weights)


@pytest.mark.parametrize("given", [Given(age=12), Given(age=81), Given(gender="other"), Given(group="martian")])  # type: ignore[arg-type]
def test_attributes_no_face_can_show_are_refused_before_anything_is_heard(model: AttributeModel, given: Given) -> None:
    with pytest.raises(InvalidGiven):
        speech2face.reconstruct(model, "there is no such file", given=given)


def test_too_many_samples_and_too_much_exaggeration_are_refused(model: AttributeModel) -> None:
    with pytest.raises(InvalidOption):
        speech2face.reconstruct(model, "no such file", samples=-1)
    with pytest.raises(InvalidOption):
        speech2face.reconstruct(model, "no such file", exaggerate=float("nan"))


def test_silence_and_noise_get_no_face(model: AttributeModel) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SilentRecording):
        speech2face.reconstruct(model, wav_bytes(np.zeros(48_000, np.float32)))
    for seed in range(4):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(64_000).astype(np.float32)
        with pytest.raises(NoSpeech):
            speech2face.reconstruct(model, wav_bytes(noise))
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(64_000) / 16_000) + 1e-3 * rng.standard_normal(64_000)
    with pytest.raises(NoSpeech):
        speech2face.reconstruct(model, wav_bytes(tone.astype(np.float32)))


def test_a_louder_recording_gives_the_same_portrait(model: AttributeModel) -> None:
    heard = speech2face.read_recording(EXAMPLES / "male.flac").waveform
    loud, quiet = (speech2face.reconstruct(model, wav_bytes(heard * gain)) for gain in (1.0, 0.05))
    assert np.abs(loud.image.astype(int) - quiet.image.astype(int)).max() <= 6


def test_more_speech_never_makes_the_seconds_heard_less_and_all_of_it_is_heard(model: AttributeModel) -> None:
    heard = speech2face.read_recording(EXAMPLES / "male.flac").waveform
    long = np.tile(heard, 5)
    assert speech2face.reconstruct(model, wav_bytes(long)).seconds_heard > 4.5 * heard.size / 16_000 * 0.8


def test_a_telephone_recording_is_cautioned(model: AttributeModel) -> None:
    codes = {caution.code for caution in speech2face.reconstruct(model, EXAMPLES / "telephone.wav").cautions}
    assert "telephone_band" in codes
    clean = {caution.code for caution in speech2face.reconstruct(model, EXAMPLES / "female.mp3").cautions}
    assert "telephone_band" not in clean


@pytest.mark.slow
def test_a_refusal_while_the_networks_are_still_loading_keeps_its_exit_code(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    for _ in range(4):
        command = [sys.executable, "-m", "speech2face", "portrait", str(empty), "-o", str(tmp_path / "x.png")]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr.count("\n")) == (EmptyRecording.exit_code, 1), ran.stderr
    assert list(tmp_path.iterdir()) == [empty]
