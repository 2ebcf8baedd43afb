"""What a caller passes in Python is taken, or refused with a typed error that says what may be given."""

import array as standard_arrays
import dataclasses
import io
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face import (
    Given,
    Recording,
    decode_photograph,
    load_model,
    read_provenance,
    read_recording,
    reconstruct,
    shield,
)
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import (
    CorruptRecording,
    EmptyRecording,
    InvalidGiven,
    InvalidOption,
    NotAPortrait,
    RecordingTooLong,
    Speech2FaceError,
    UnreadableRecording,
)
from speech2face.live import LiveSession, Media, PcmFormat
from speech2face.models.contract import Model
from speech2face.provenance import Provenance, picture_bytes
from tests.recordings import encode
from tests.voices import made_voice

VOICE = made_voice(2.5)
RATE = 44_100


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(threads=1)


@pytest.fixture(scope="module")
def content() -> bytes:
    return encode(VOICE[None], SAMPLE_RATE, container="wav", codec="pcm_s16le")


def voice_at(sample_rate: int) -> FloatArray:
    """The voice at another rate, by FFmpeg as a file has it."""
    if sample_rate == SAMPLE_RATE:
        return VOICE
    time = np.arange(int(VOICE.size * sample_rate / SAMPLE_RATE)) / sample_rate
    return np.interp(time, np.arange(VOICE.size) / SAMPLE_RATE, VOICE).astype(np.float32)


class PathObject:
    def __init__(self, path: Path, *, of_bytes: bool = False) -> None:
        self.path = bytes(path) if of_bytes else str(path)

    def __fspath__(self) -> str | bytes:
        return self.path


def test_every_form_of_bytes_and_path_is_the_same_recording(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(content)
    expected = read_recording(content).waveform
    sources: list[Any] = [bytearray(content), memoryview(content), memoryview(bytearray(content))]
    sources += [io.BytesIO(content), path, str(path), PathObject(path), PathObject(path, of_bytes=True)]
    for source in sources:
        np.testing.assert_array_equal(read_recording(source).waveform, expected)


@pytest.mark.parametrize("sample_rate", [8_000, SAMPLE_RATE, RATE, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_array_is_the_recording_that_a_file_of_it_is(sample_rate: int, channels: int) -> None:
    sound = np.stack([voice_at(sample_rate), voice_at(sample_rate) * 0.5][:channels])
    expected = read_recording(encode(sound, sample_rate, container="wav", codec="pcm_f32le"))
    for given in ((sound, sample_rate), (sound.T, sample_rate), (sample_rate, sound), [sound.tolist(), sample_rate]):
        found = read_recording(given)
        np.testing.assert_allclose(found.waveform, expected.waveform, atol=2e-6)
        assert (found.sample_rate, found.channels, found.seconds) == (sample_rate, channels, expected.seconds)
    np.testing.assert_array_equal(read_recording(sound, sample_rate=sample_rate).waveform, found.waveform)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "<i2", ">i2", "<i4", "u1"])
def test_samples_of_every_type_that_sound_is_stored_in_are_taken(dtype: str) -> None:
    kind = np.dtype(dtype)
    scaled: Any = VOICE if kind.kind == "f" else VOICE * 2.0 ** (8 * kind.itemsize - 1) + (128 if dtype == "u1" else 0)
    samples = scaled.astype(kind)
    found = read_recording((samples, SAMPLE_RATE)).waveform
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, VOICE, atol=0.01 if dtype == "u1" else 5e-4)


def test_tensors_are_taken_from_their_graph(model: Model) -> None:
    torch = pytest.importorskip("torch", reason="tensors come with torch; install the extra `train`")
    tensor = torch.from_numpy(VOICE[None].copy()).requires_grad_()
    expected = reconstruct(model, (VOICE, SAMPLE_RATE))
    found = reconstruct(model, (tensor * 1, SAMPLE_RATE))
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_allclose(read_recording((tensor.bfloat16(), SAMPLE_RATE)).waveform, VOICE, atol=2e-3)


def test_portraits_of_an_array_and_of_its_file_are_the_same(model: Model) -> None:
    samples = np.rint(VOICE * 32_768).astype(np.int16)
    file = encode(samples[None] / 32_768, SAMPLE_RATE, container="wav", codec="pcm_s16le")
    expected = reconstruct(model, file)
    for portrait in (
        reconstruct(model, (samples, SAMPLE_RATE)),
        reconstruct(model, samples, sample_rate=np.int64(SAMPLE_RATE)),  # type: ignore[arg-type]
        reconstruct(model, read_recording(file)),
    ):
        np.testing.assert_array_equal(portrait.image, expected.image)
        assert portrait.facts() == expected.facts()


WRONG_SOURCES: dict[str, tuple[Any, type[Speech2FaceError]]] = {
    "nothing": (None, UnreadableRecording),
    "a number": (7, UnreadableRecording),
    "an object": (object(), UnreadableRecording),
    "a dictionary": ({"array": VOICE}, UnreadableRecording),
    "a set": ({1, 2}, UnreadableRecording),
    "an array without a rate": (VOICE, InvalidOption),
    "a list of numbers": ([0.1] * 5, UnreadableRecording),
    "a rate of nothing": ((VOICE, 0), InvalidOption),
    "a rate in words": ((VOICE, "16 kHz"), InvalidOption),
    "no rate": ((VOICE, None), InvalidOption),
    "a broken rate": ((VOICE, 16_000.5), InvalidOption),
    "two arrays": ((VOICE, VOICE), InvalidOption),
    "two names": (("a.wav", "b.wav"), InvalidOption),
    "rows of different length": (([[0.1], [0.1, 0.2]], SAMPLE_RATE), InvalidOption),
    "three axes": ((np.zeros((2, 3, 4)), SAMPLE_RATE), InvalidOption),
    "a single number": ((np.float32(1), SAMPLE_RATE), InvalidOption),
    "nine channels": ((np.zeros((9, 16_000)), SAMPLE_RATE), InvalidOption),
    "complex numbers": ((VOICE.astype(np.complex64), SAMPLE_RATE), InvalidOption),
    "words": ((np.array(["a"] * 100), SAMPLE_RATE), InvalidOption),
    "truths": ((VOICE > 0, SAMPLE_RATE), InvalidOption),
    "64-bit integers": ((VOICE.astype(np.int64), SAMPLE_RATE), InvalidOption),
    "objects": ((np.array([None] * 100), SAMPLE_RATE), InvalidOption),
    "no samples": ((np.zeros(0, np.float32), SAMPLE_RATE), EmptyRecording),
    "no samples in two channels": ((np.zeros((2, 0), np.float32), SAMPLE_RATE), EmptyRecording),
    "no numbers": ((np.full(16_000, np.nan, np.float32), SAMPLE_RATE), CorruptRecording),
    "beyond all numbers": ((np.full(16_000, 1e300), SAMPLE_RATE), CorruptRecording),
    "an hour": ((np.zeros(3_601 * 1_000, np.int16), 1_000), RecordingTooLong),
}


@pytest.mark.parametrize("wrong", WRONG_SOURCES)
def test_what_is_no_recording_is_refused(wrong: str, model: Model) -> None:
    source, error = WRONG_SOURCES[wrong]
    with pytest.raises(error):
        reconstruct(model, source)
    with pytest.raises(error):
        read_recording(source)


def test_the_rate_is_stated_once() -> None:
    with pytest.raises(InvalidOption, match="twice"):
        read_recording((VOICE, RATE), sample_rate=RATE)


def test_a_released_memoryview_is_refused(content: bytes) -> None:
    view = memoryview(content)
    view.release()
    with pytest.raises(Speech2FaceError):
        read_recording(view)


GOOD = Recording(VOICE, SAMPLE_RATE, 1, "pcm_s16le", "wav", "voice.wav", VOICE.size / SAMPLE_RATE)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"waveform": np.stack([VOICE, VOICE])}, InvalidOption),
        ({"waveform": VOICE[None]}, InvalidOption),
        ({"waveform": np.where(np.arange(VOICE.size) == 9, np.nan, VOICE)}, CorruptRecording),
        ({"waveform": np.zeros(0, np.float32)}, EmptyRecording),
        ({"waveform": VOICE.astype(np.complex64)}, InvalidOption),
        ({"waveform": VOICE.tolist()}, InvalidOption),
        ({"waveform": None}, InvalidOption),
        ({"waveform": voice_at(RATE), "sample_rate": RATE}, InvalidOption),
        ({"seconds": None}, InvalidOption),
        ({"seconds": "2.5"}, InvalidOption),
    ],
)
def test_a_wrong_recording_is_refused(changes: dict[str, Any], error: type[Speech2FaceError], model: Model) -> None:
    with pytest.raises(error):
        reconstruct(model, dataclasses.replace(GOOD, **changes))


def test_a_recording_that_the_caller_cut_or_that_has_another_precision_is_taken(model: Model) -> None:
    expected = reconstruct(model, (VOICE[:32_000], SAMPLE_RATE)).belief.mean
    waveforms: list[Any] = [VOICE[:32_000], VOICE[:32_000].astype(np.float64)]
    for waveform in waveforms:
        found = reconstruct(model, dataclasses.replace(GOOD, waveform=waveform)).belief.mean
        np.testing.assert_array_equal(found, expected)


def stated(**values: Any) -> Given:
    return Given(**values)


def each(name: str, error: type[Speech2FaceError], *values: Any) -> list[tuple[dict[str, Any], type[Speech2FaceError]]]:
    return [({name: value}, error) for value in values]


WRONG_OPTIONS: list[tuple[dict[str, Any], type[Speech2FaceError]]] = [
    *each("samples", InvalidOption, "3", 2.5, None, True, [1], -1, 10**30, np.array([1, 2])),
    *each("seed", InvalidOption, "x", -1, 1.5, True, [1], 2**64),
    *each("exaggerate", InvalidOption, None, "1", float("nan"), float("inf"), True, 3, [1], 1j),
    *each("style", InvalidOption, "oil", None, 3, [], {}),
    *each("given", InvalidGiven, "female", {"years": 30}, {3: 30}, {"age": "30"}, {"age": 7}, 30, []),
    *each("given", InvalidGiven, *(stated(age=age) for age in ("30", float("nan"), [30], True))),
    *each("given", InvalidGiven, stated(gender=1), stated(gender=[]), stated(gender="other")),
    *each("given", InvalidGiven, stated(group=1), stated(group=[]), stated(group="Martian")),
    ({"sample_rate": 16_000}, InvalidOption),
]


@pytest.mark.parametrize(
    "options",
    [
        *({"track": value} for value in ("1", 1.5, True, [1])),
        *({"max_seconds": value} for value in ("9", float("nan"))),
    ],
)
def test_a_wrong_option_of_reading_is_refused(content: bytes, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        read_recording(content, **options)


@pytest.mark.parametrize("options", [{"track": 2}, {"sample_rate": 8_000}])
def test_what_is_no_option_of_a_recording_that_was_read_is_refused(options: dict[str, Any], model: Model) -> None:
    with pytest.raises(InvalidOption):
        shield(GOOD, model, **options)


@pytest.mark.parametrize(("options", "error"), WRONG_OPTIONS, ids=[str(options) for options, _ in WRONG_OPTIONS])
def test_a_wrong_option_is_refused(options: dict[str, Any], error: type[Speech2FaceError], model: Model) -> None:
    with pytest.raises(error):
        reconstruct(model, GOOD, **options)


@pytest.mark.parametrize("wrong", [None, "starter", object()])
def test_what_is_no_model_is_refused(wrong: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: reconstruct(wrong, GOOD),
        lambda: LiveSession(wrong, PcmFormat()),
        lambda: decode_photograph(wrong, b""),
    ]
    for call in calls:
        with pytest.raises(InvalidOption, match="load_model"):
            call()


def test_numbers_of_numpy_are_numbers_and_facts_stay_json_ready(model: Model) -> None:
    import json

    options: Any = {"samples": np.int64(1), "seed": np.uint32(7), "exaggerate": np.float32(0.5)}
    found = reconstruct(model, GOOD, given=Given(age=np.float32(40)), **options)  # type: ignore[arg-type]
    expected = reconstruct(model, GOOD, given=Given(age=40), samples=1, seed=7, exaggerate=0.5)
    assert json.loads(json.dumps(found.facts())) == expected.facts()
    np.testing.assert_array_equal(found.samples[0], expected.samples[0])


@pytest.mark.parametrize("options", [{"folder": 7}, {"folder": b"starter"}, {"threads": "2"}, {"threads": 0}])
def test_a_model_is_not_loaded_from_anything_else(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        load_model(**options)


@pytest.mark.parametrize("weights", [None, 3, ["Asian"], {"Asian": "1"}, {"Asian": None}, {3: 1.0}, {"Asian": -1}])
def test_a_wrong_population_is_refused(weights: Any, model: Model) -> None:
    with pytest.raises(InvalidGiven):
        model.with_population(weights)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PcmFormat([]),  # type: ignore[arg-type]
        lambda: PcmFormat(None),  # type: ignore[arg-type]
        lambda: PcmFormat("s16le", "16000"),  # type: ignore[arg-type]
        lambda: PcmFormat("s16le", 16_000.5),  # type: ignore[arg-type]
        lambda: PcmFormat("s16le", 16_000, "2"),  # type: ignore[arg-type]
        lambda: Media([]),  # type: ignore[arg-type]
        lambda: Media(None),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_source_of_live_sound_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidOption):
        make()


@pytest.mark.parametrize(
    "options", [{"seed": "x"}, {"exaggerate": "1"}, {"style": 3}, {"given": {"years": 30}}, {"source": "s16le"}]
)
def test_a_session_refuses_wrong_options(options: dict[str, Any], model: Model) -> None:
    with pytest.raises(Speech2FaceError):
        LiveSession(model, **({"source": PcmFormat()} | options))


def test_a_session_takes_every_form_of_samples_and_refuses_others(model: Model) -> None:
    samples = np.rint(VOICE * 32_768).astype("<i2")
    forms: list[Any] = [samples.tobytes(), bytearray(samples.tobytes()), memoryview(samples.tobytes()), samples]
    seen = []
    for form in forms:
        session = LiveSession(model, PcmFormat())
        session.push(form)
        seen.append(session.finish())
    for look in seen[1:]:
        assert look.facts() == seen[0].facts()
    session = LiveSession(model, PcmFormat())
    pieces: list[Any] = ["text", None, 3, [1, 2], VOICE, samples[None]]
    for wrong in pieces:
        with pytest.raises(InvalidOption):
            session.push(wrong)
    for options in ({"samples": "3"}, {"samples": -1}, {"pixels": 0}, {"pixels": "9"}):
        with pytest.raises(InvalidOption):
            session.draw(seen[0], **options)
    with pytest.raises(InvalidOption):
        session.draw(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 3, object(), VOICE, ["a.jpg"], io.StringIO("text")])
def test_what_is_no_photograph_is_refused(wrong: Any, model: Model) -> None:
    with pytest.raises(UnreadableRecording):
        decode_photograph(model, wrong)


def test_a_picture_is_read_back_from_every_form_and_nothing_else(tmp_path: Path) -> None:
    stated = Provenance("starter", "0.1", "speech2face", "portrait")
    content = picture_bytes(np.zeros((8, 8, 3), np.uint8), stated, {"seed": None})
    path = tmp_path / "portrait.png"
    path.write_bytes(content)
    forms: list[Any] = [path, str(path), PathObject(path), content, bytearray(content), memoryview(content)]
    for form in [*forms, io.BytesIO(content)]:
        assert read_provenance(form)[0].model_name == "starter"
    for wrong in (None, 3, object(), VOICE):
        with pytest.raises(UnreadableRecording):
            read_provenance(wrong)  # type: ignore[arg-type]
    with pytest.raises(NotAPortrait):
        read_provenance(b"nothing")


def _embedding(model: Model) -> FloatArray:
    return np.asarray(reconstruct(model, GOOD).belief.mean)


def test_a_model_goes_into_another_process(model: Model) -> None:
    expected = _embedding(model)
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        np.testing.assert_array_equal(workers.apply(_embedding, (model,)), expected)


@pytest.mark.parametrize("kind", ["starter", pytest.param("paired", marks=pytest.mark.slow)])
def test_a_model_comes_back_whole_from_pickle(kind: str, model: Model, request: pytest.FixtureRequest) -> None:
    used = model if kind == "starter" else load_model(request.getfixturevalue("paired_folder"), threads=1)
    expected = reconstruct(used, GOOD, samples=1, seed=3, style=used.styles[-1])
    again = pickle.loads(pickle.dumps(used))
    found = reconstruct(again, GOOD, samples=1, seed=3, style=again.styles[-1])
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.samples[0], expected.samples[0])
    assert found.facts() == expected.facts() == pickle.loads(pickle.dumps(found)).facts()


def test_standard_arrays_are_arrays_too() -> None:
    samples = standard_arrays.array("h", np.rint(VOICE * 32_768).astype(np.int16).tolist())
    np.testing.assert_allclose(read_recording((samples, SAMPLE_RATE)).waveform, VOICE, atol=5e-4)
