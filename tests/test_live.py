from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from speech2face import Given, Portrait, load_model, read_recording, reconstruct
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.stream import SETTLED_SECONDS
from speech2face.errors import CorruptRecording, InvalidGiven, InvalidOption, NoSpeech, SilentRecording, TooLittleSpeech
from speech2face.live import LiveSession, LiveSnapshot, Media, PcmFormat
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.models.contract import Model
from speech2face.models.release import FACE_DECODER
from tests.recordings import encode
from tests.voices import made_voice

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FLOATS = PcmFormat("f32le")
LIVE_TOLERANCE = 0.25  # of an embedding whose coordinates have deviations around one; see docs/live.md


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(threads=1)


@pytest.fixture(scope="module")
def man() -> FloatArray:
    return read_recording(EXAMPLES / "male.flac").waveform


@pytest.fixture(scope="module")
def woman() -> FloatArray:
    return read_recording(EXAMPLES / "female.mp3").waveform


def chunks(waveform: FloatArray, seconds: float = 0.25) -> Iterator[bytes]:
    content, size = waveform.astype("<f4").tobytes(), int(seconds * SAMPLE_RATE) * 4
    yield from (content[at : at + size] for at in range(0, len(content), size))


def recorded(model: Model, waveform: FloatArray, given: Given | None = None) -> Portrait:
    content = encode(waveform[None], SAMPLE_RATE, container="wav", codec="pcm_f32le")
    return reconstruct(model, content, given=given)


def looks(session: LiveSession, waveform: FloatArray) -> list[LiveSnapshot]:
    return [session.snapshot() for chunk in chunks(waveform) if session.push(chunk)]


def embedding(look: LiveSnapshot) -> FloatArray:
    assert look.embedding is not None
    return look.embedding


def codes(look: LiveSnapshot) -> set[str]:
    return {caution.code for caution in look.cautions}


def test_the_end_of_a_call_is_the_portrait_of_its_recording(model: Model, man: FloatArray) -> None:
    session = LiveSession(model, FLOATS)
    looks(session, man)
    look, portrait = session.finish(), recorded(model, man)
    np.testing.assert_allclose(embedding(look), portrait.belief.mean, atol=1e-6)
    drawn = session.draw(look)
    others = {"track": 1, "tracks": 1, "hair": drawn.hair}  # what a file or a picture has, and a look has not
    assert look.facts() | others | {"listening": ""} == portrait.facts() | {"listening": ""}
    np.testing.assert_array_equal(drawn.image, portrait.image)


def test_the_last_look_is_already_near_it(model: Model, man: FloatArray, woman: FloatArray) -> None:
    for voice in (man, woman, man * 0.5 + np.float32(0.4)):
        last = looks(LiveSession(model, FLOATS), voice)[-1]
        assert np.linalg.norm(embedding(last) - recorded(model, voice).belief.mean) < LIVE_TOLERANCE


def test_the_portrait_sharpens_while_somebody_speaks(model: Model, man: FloatArray) -> None:
    assert isinstance(model, AttributeModel)
    release = model.release  # the example is synthesised: the longer, the surer it is unlike anybody, which widens
    alike = replace(model, release=replace(release, calibration=replace(release.calibration, distance_slope=0.0)))
    seen = [look for look in looks(LiveSession(alike, FLOATS), np.tile(man, 4)) if look.embedding is not None]
    assert len(seen) > 10
    heard = [look.seconds_heard for look in seen]
    assert heard == sorted(heard)
    first, last = (np.subtract(*look.facts()["age_interval_80"][::-1]) for look in (seen[0], seen[-1]))
    assert last < first
    assert seen[-1].facts()["gender"]["reading"] == "masculine"


def test_before_a_second_of_speech_there_are_facts_but_no_picture(model: Model, man: FloatArray) -> None:
    session = LiveSession(model, FLOATS)
    for chunk in chunks(man[: SAMPLE_RATE // 2]):
        session.push(chunk)
    look = session.snapshot()
    assert look.embedding is None
    facts = look.facts()
    assert facts["listening"] == "waiting"
    assert "age" not in facts
    assert facts["notice"] == model.notice
    with pytest.raises(InvalidOption, match="go on speaking"):
        session.draw(look)


def test_a_pause_is_said_and_changes_nothing(model: Model, man: FloatArray) -> None:
    session = LiveSession(model, FLOATS)
    last = looks(session, man)[-1]
    assert last.listening == "hearing"
    room = np.asarray(1e-4 * np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE), np.float32)
    first, *later = list(chunks(room, 1.0))
    session.push(first)
    session.snapshot()
    pushed = [session.push(chunk) for chunk in later]
    assert not any(pushed)
    look = session.snapshot()
    assert look.listening == "paused"
    assert look.seconds_recorded > last.seconds_recorded + 3


def test_encoded_and_raw_sound_say_the_same(model: Model, man: FloatArray) -> None:
    content = encode(man[None], SAMPLE_RATE, container="webm", codec="libopus", codec_rate=48_000)
    session = LiveSession(model, Media("webm"))
    for at in range(0, len(content), 900):
        session.push(content[at : at + 900])
    np.testing.assert_allclose(embedding(session.finish()), reconstruct(model, content).belief.mean, atol=1e-6)


def test_what_is_given_holds_at_once_and_what_cannot_be_changes_nothing(model: Model, man: FloatArray) -> None:
    session = LiveSession(model, FLOATS)
    looks(session, man)
    heard = embedding(session.snapshot())
    session.set(given=Given(gender="female", age=60))
    given = session.snapshot()
    assert given.facts()["given"] == {"age": 60, "gender": "female"}
    np.testing.assert_allclose(embedding(given), recorded(model, man, given.given).belief.mean, atol=LIVE_TOLERANCE)
    with pytest.raises(InvalidGiven):
        session.set(given=Given(age=5), exaggerate=1.0)
    with pytest.raises(InvalidOption):
        session.set(given=Given(), exaggerate=9.0)
    assert session.snapshot().facts()["given"] == {"age": 60, "gender": "female"}
    assert session.snapshot().exaggerate == 0.0
    session.set(given=Given())
    np.testing.assert_array_equal(embedding(session.snapshot()), heard)


def test_exaggeration_and_size_are_those_of_a_portrait(model: Model, man: FloatArray) -> None:
    session = LiveSession(model, FLOATS, exaggerate=1.0)
    looks(session, man)
    look = session.finish()
    expected = reconstruct(model, EXAMPLES / "male.flac", exaggerate=1.0)
    assert np.abs(session.draw(look).image - expected.image.astype(float)).max() <= 1
    assert session.draw(look, pixels=128).image.shape == (128, 128, 3)


def test_a_picture_is_used_again_only_where_no_pixel_would_move_by_more_than_a_grey_level(
    model: Model, man: FloatArray
) -> None:
    session = LiveSession(model, FLOATS)
    seen = [look for look in looks(session, np.tile(man, 5)) if look.embedding is not None]
    images = [session.draw(look).image for look in seen]
    again = [later is before for before, later in pairwise(images)]
    assert 0.05 < np.mean(again) < 0.9
    for look, image in zip(seen[::3], images[::3], strict=True):
        difference = np.abs(image.astype(int) - model.decode(embedding(look)).astype(int))
        assert difference.max() <= 1
    assert session.draw(seen[-1], pixels=64).image.shape == (64, 64, 3)


@pytest.mark.parametrize("style", ["photographic", "line"])
def test_samples_are_drawn_by_the_sessions_seed(model: Model, man: FloatArray, style: str) -> None:
    session = LiveSession(model, FLOATS, seed=7, style=style)
    looks(session, man)
    look = session.finish()
    sheet, again = session.draw(look, samples=2), session.draw(look, samples=2)
    expected = reconstruct(model, EXAMPLES / "male.flac", samples=2, seed=7, style=style)
    for one, other, known in zip(sheet.samples, again.samples, expected.samples, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one - known.astype(float)).max() <= 1
    assert sheet.facts()["seed"] == 7
    with pytest.raises(InvalidOption, match="samples"):
        session.draw(look, samples=1000)


def test_another_voice_is_noticed_and_forgotten_with_a_reset(model: Model, man: FloatArray, woman: FloatArray) -> None:
    session = LiveSession(model, FLOATS)
    alone = looks(session, np.tile(man, 4))
    assert not any("several_speakers" in codes(look) for look in alone)
    both = looks(session, np.tile(woman, 3))
    assert "several_speakers" in codes(both[-1])
    session.reset()
    assert session.snapshot().listening == "waiting"
    after = looks(session, woman)[-1]
    assert "several_speakers" not in codes(after)
    np.testing.assert_allclose(embedding(session.finish()), recorded(model, woman).belief.mean, atol=1e-5)


def test_whoever_speaks_after_a_long_silence_gets_a_portrait_of_the_voice_alone(model: Model, man: FloatArray) -> None:
    hiss = (0.001 * np.random.default_rng(0).standard_normal(80 * SAMPLE_RATE)).astype(np.float32)
    session = LiveSession(model, FLOATS)
    for piece in chunks(hiss, 0.5):
        session.push(piece)
    assert session.snapshot().belief is None
    for piece in chunks(man, 0.5):
        session.push(piece)
    found, alone = session.finish(), reconstruct(model, (man, SAMPLE_RATE))
    assert found.seconds_heard < man.size / SAMPLE_RATE + 0.5
    assert found.attributes is not None and alone.attributes is not None
    assert abs(found.attributes.age_mean - alone.attributes.age_mean) < 6
    assert abs(found.attributes.femininity - alone.attributes.femininity) < 0.1


def test_a_call_beyond_a_minute_ends_near_its_recording(model: Model, man: FloatArray) -> None:
    waveform = np.tile(man, 1 + int(1.1 * SETTLED_SECONDS * SAMPLE_RATE) // man.size)
    session = LiveSession(model, FLOATS)
    for chunk in chunks(waveform, 5.0):
        session.push(chunk)
    look, portrait = session.finish(), recorded(model, waveform)
    assert np.linalg.norm(embedding(look) - portrait.belief.mean) < LIVE_TOLERANCE
    assert look.seconds_heard == pytest.approx(portrait.seconds_heard, rel=0.02)
    assert codes(look) == {caution.code for caution in portrait.cautions}


@pytest.mark.parametrize(
    ("waveform", "error"),
    [
        (np.zeros(0, np.float32), SilentRecording),
        (np.zeros(3 * SAMPLE_RATE, np.float32), SilentRecording),
        (np.asarray(0.1 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE), np.float32), NoSpeech),
        (np.concatenate([made_voice(0.5), np.zeros(SAMPLE_RATE, np.float32)]), TooLittleSpeech),
    ],
    ids=["nothing", "silence", "noise", "one word"],
)
def test_sound_without_enough_of_a_voice_ends_as_its_recording(
    model: Model, waveform: FloatArray, error: type[Exception]
) -> None:
    session = LiveSession(model, FLOATS)
    assert all(look.embedding is None for look in looks(session, waveform))
    with pytest.raises(error):
        session.finish()


def test_damaged_sound_is_refused_as_it_comes(model: Model) -> None:
    session = LiveSession(model, FLOATS)
    with pytest.raises(CorruptRecording):
        session.push(np.full(4000, np.nan, "<f4").tobytes())
    session = LiveSession(model, Media("ogg"))
    with pytest.raises(CorruptRecording):
        session.push(b"this is no sound " * 10_000)
    session.close()


def test_sessions_of_one_model_do_not_disturb_each_other(model: Model, man: FloatArray, woman: FloatArray) -> None:
    one, other = LiveSession(model, FLOATS), LiveSession(model, FLOATS)
    for a, b in zip(chunks(man), chunks(woman), strict=False):
        one.push(a)
        other.push(b)
    assert one.snapshot().facts()["gender"]["reading"] == "masculine"
    assert other.snapshot().facts()["gender"]["reading"] == "feminine"


def test_a_paired_model_is_heard_live(paired_folder: Path) -> None:
    model = load_model(paired_folder)
    session = LiveSession(model, FLOATS)
    voice = made_voice(4.0)
    seen = looks(session, voice)
    assert seen[-1].attributes is None
    assert "age" not in seen[-1].facts()
    look = session.finish()
    np.testing.assert_allclose(embedding(look), recorded(model, voice).belief.mean, atol=1e-5)
    assert session.draw(look, samples=1).image.shape == recorded(model, voice).image.shape


@pytest.mark.usefixtures("threads_as_for_a_user")
def test_a_model_shared_by_many_keeps_each_run_on_one_core_and_says_the_same(man: FloatArray) -> None:
    one, many = load_attribute_model(), load_model(threads=1)
    assert isinstance(many, AttributeModel)
    threads = {
        model.runtime.threads: model.runtime._open(FACE_DECODER).result().get_session_options().intra_op_num_threads
        for model in (one, many)
    }
    assert threads == {None: 0, 1: 1}
    np.testing.assert_allclose(recorded(one, man).belief.mean, recorded(many, man).belief.mean, atol=1e-4)


@pytest.mark.parametrize(("stated", "threads"), [("3", 3), ("", 0), ("4,2", 0), ("many", 0)])
@pytest.mark.usefixtures("threads_as_for_a_user")
def test_as_many_threads_work_as_the_variable_states(
    monkeypatch: pytest.MonkeyPatch, stated: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    session = load_attribute_model().runtime._open(FACE_DECODER).result()
    assert session.get_session_options().intra_op_num_threads == threads
