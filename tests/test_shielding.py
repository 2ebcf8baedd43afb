"""What a voice gives away: measured, taken away, and said plainly where it could not be."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import speech2face
from speech2face import cli, shielding
from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.audio.speech import require_speech
from speech2face.audio.vocoder import VoiceChange
from speech2face.cli.video import _goal_text
from speech2face.errors import GoalsNotReached, InvalidOption, NoSpeech, OutputExists, SilentRecording, TooLittleSpeech
from speech2face.models.attributes import Correction, LearnedModel, LearnedRelease, pooled_statistics
from speech2face.models.contract import Model
from speech2face.provenance import read_provenance
from speech2face.shielding import KINDS, Exposure, Shielded, encode_waveform, find_goals, shield, sound_kind
from speech2face.voice.belief import BIN_CENTRES, AttributeBelief
from tests.recordings import music
from tests.voices import made_voice

EXAMPLES = Path(__file__).parents[1] / "examples"
OPEN = Exposure(0.52, 35.0, (10.0, 60.0), 51.0, 0.1, False, None)
TELLING = Exposure(0.99, 30.0, (22.0, 40.0), 51.0, 0.0, False, None)
QUIET = np.zeros(SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return speech2face.load_model(threads=1)


def made(**changes: Any) -> Shielded:
    """One that reached its goals, without having been measured."""
    face = np.full((64, 64, 3), 128, np.uint8)
    values: dict[str, Any] = {
        "audio": made_voice(1.5),
        "rate": SAMPLE_RATE,
        "before": TELLING,
        "after": OPEN,
        "same_speaker": 0.1,
        "understandable": 0.4,
        "kept_beyond": None,
        "change": VoiceChange(pitch_hz=160.0),
        "loudness_db": 0.0,
        "seconds_heard": 1.4,
        "faces": (face, face),
        "model_name": "starter",
        "model_version": "1",
        "notice": "Nobody's likeness.",
    }
    return Shielded(**(values | changes))


# --- Whole, on made voices.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["female.mp3", "male.flac"])
def test_a_made_voice_gives_away_less_and_is_as_long_and_as_loud(name: str, model: Model) -> None:
    recording = read_recording(EXAMPLES / name)
    found = shield(recording, model)
    goals = {goal.name: goal for goal in found.goals}
    assert found.before.femininity == pytest.approx(0.994 if "female" in name else 0.04, abs=0.02)
    assert goals["gender_probability"].reached and 0.4 <= found.after.femininity <= 0.6
    assert goals["understandable"].reached
    assert found.same_speaker < 0.42, "which the release's own caution takes for another speaker"
    assert found.after.interval_share > 0.6
    assert found.audio.shape == recording.waveform.shape and found.audio.dtype == np.float32
    assert np.abs(found.audio).max() <= 1.0
    spans = require_speech(recording.waveform).spans
    levels = [
        np.sqrt(np.mean(np.concatenate([sound[a:b] for a, b in spans]) ** 2))
        for sound in (recording.waveform, found.audio)
    ]
    assert abs(20 * np.log10(levels[1] / levels[0])) < 1.0
    assert np.mean(np.abs(found.audio - recording.waveform) ** 2) > 0.5 * np.mean(recording.waveform**2)
    read = speech2face.reconstruct(model, (found.audio, found.rate)).attributes
    assert read is not None and read.femininity == pytest.approx(found.after.femininity, abs=0.15)


@pytest.mark.slow
def test_the_same_recording_gives_the_same_sound(model: Model) -> None:
    voice = (made_voice(3.0), SAMPLE_RATE)
    told: list[tuple[str, int, int | None]] = []
    first = shield(voice, model, progress=lambda *how_far: told.append(how_far))
    second = shield(voice, model)
    tries = [(done, of) for what, done, of in told if what == "changes tried"]
    assert 1 <= len(tries) <= shielding.MOST_TRIES == 26
    assert tries == [(number, 26) for number in range(1, len(tries) + 1)]
    assert ("seconds changed", 3, 3) in told
    np.testing.assert_array_equal(first.audio, second.audio)
    assert first.facts() == second.facts()


@pytest.mark.parametrize(
    ("sound", "error"),
    [
        (np.zeros(3 * SAMPLE_RATE, np.float32), SilentRecording),
        (np.random.default_rng(0).uniform(-0.3, 0.3, 3 * SAMPLE_RATE).astype(np.float32), NoSpeech),
        (music(4, np.random.default_rng(1)).astype(np.float32), NoSpeech),
        (np.concatenate([QUIET, made_voice(0.6), QUIET]), TooLittleSpeech),
    ],
)
def test_what_holds_no_voice_is_refused(sound: np.ndarray, error: type[Exception], model: Model) -> None:
    with pytest.raises(error):
        shield((sound, SAMPLE_RATE), model)


def test_a_model_that_states_neither_age_nor_gender_is_refused(model: Model) -> None:
    class Paired:
        release = model.release

        def encode(self) -> None: ...

        def decode(self) -> None: ...

    with pytest.raises(InvalidOption, match="neither age nor gender"):
        shield((made_voice(2), SAMPLE_RATE), Paired())  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="load_model"):
        shield((made_voice(2), SAMPLE_RATE), "starter")  # type: ignore[arg-type]


# --- Parts.


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"after": replace(OPEN, femininity=0.61)}, ["gender_probability"]),
        ({"after": replace(OPEN, femininity=0.39)}, ["gender_probability"]),
        ({"after": replace(OPEN, age_interval=(20.0, 60.0))}, ["age_interval_share"]),
        ({"same_speaker": 0.22}, ["same_speaker"]),
        ({"understandable": 0.1}, ["understandable"]),
    ],
)
def test_each_goal_is_missed_by_itself(changes: dict[str, Any], missed: list[str]) -> None:
    found = made(**changes)
    assert [goal.name for goal in found.goals if not goal.reached] == missed
    assert found.reached is (not missed)
    assert found.facts()["reached"] is (not missed)
    json.dumps(found.facts(), allow_nan=False)


def test_the_widest_interval_is_that_of_an_unfamiliar_recording(model: Model) -> None:
    encoding: Any = model.encode(made_voice(3))
    low, high = replace(encoding, reading=replace(encoding.reading, distance=99.0)).attributes.age_interval()
    assert encoding.widest_interval_years == pytest.approx(high - low)
    assert shielding.expose(encoding).interval_share <= 1 + 1e-9


def test_walking_on_stays_within_what_there_is() -> None:
    far = VoiceChange(pitch_hz=280.0, formants=1.5, mcadams=0.6, breath=1.0)
    moved = [shielding._walked(far, stride, 1) for stride in shielding.STRIDES]
    assert [change == far for change in moved] == [True, True, True, True]
    back = [shielding._walked(far, stride, -1) for stride in shielding.STRIDES]
    assert all(change != far for change in back)


def test_an_unchanged_voice_misses_the_goals() -> None:
    reached = {goal.name: goal.reached for goal in find_goals(TELLING, TELLING, 1.0, 1.0)}
    assert reached == dict.fromkeys(reached, False) | {"understandable": True}


def test_louder_peaks_are_bent_and_the_loudness_is_kept() -> None:
    voice = made_voice(1.0)
    spiky = voice.copy()
    spiky[::400] += 3.0
    level = float(np.sqrt(np.mean(voice**2)))
    levelled = shielding._levelled(spiky, ((0, spiky.size),), level)
    assert np.abs(levelled).max() < 1.0
    assert np.sqrt(np.mean(levelled**2)) == pytest.approx(level, rel=0.05)


def test_what_is_kept_of_a_correction_is_its_share_along_itself() -> None:
    before = np.array([3.0, 0.0], np.float32)
    assert shielding._kept(before, np.array([1.5, 7.0], np.float32)) == pytest.approx(0.5)
    assert shielding._kept(np.zeros(2, np.float32), before) is None
    assert shielding._kept(None, None) is None


def test_a_correction_beyond_age_and_gender_is_stated_by_its_length() -> None:
    belief = AttributeBelief(np.ones(BIN_CENTRES.size) / BIN_CENTRES.size, femininity=0.5)
    read = SimpleNamespace(attributes=belief, beyond_attributes=None, widest_interval_years=90.0, is_child=False)
    assert shielding.expose(read).beyond is None
    read.beyond_attributes = np.array([3.0, -4.0], np.float32)
    assert shielding.expose(read).beyond == pytest.approx(5.0)


def test_a_learned_model_says_what_a_voice_moves_beyond_attributes(model: Any) -> None:
    size, channels = model.release.mean_embedding.size, 2 * 2048
    weights = np.random.default_rng(0).standard_normal((channels, size)).astype(np.float32) * 1e-3
    square = np.zeros((size, size), np.float32)
    correction = Correction(np.zeros(channels, np.float32), weights, square, np.full(size, 5, np.float32), square)
    release = LearnedRelease(**vars(model.release), training={})
    vars(release)["correction"] = correction  # as if read from its file
    learned = LearnedModel(release, model.runtime)
    voice = made_voice(3)
    encoding: Any = learned.encode(voice)
    np.testing.assert_allclose(encoding.beyond_attributes, pooled_statistics(encoding.moments) @ weights, atol=1e-3)
    assert shielding.expose(encoding).beyond == pytest.approx(np.linalg.norm(encoding.beyond_attributes))
    assert model.encode(voice).beyond_attributes is None


def test_the_gender_reading_is_worded_as_everywhere() -> None:
    (wanted,) = [goal for goal in made().goals if goal.name == "gender_probability"]
    assert _goal_text(wanted) == "feminine (99 %) -> feminine (52 %)  reached (wanted: 60 % or less)"
    assert shielding._caption(TELLING)[0] == "voice read as feminine (99 %)"
    assert shielding._caption(replace(TELLING, femininity=0.004))[0] == "voice read as masculine (over 99 %)"


def test_the_sheet_is_labelled_and_shows_both_faces() -> None:
    said, facts = read_provenance(made().sheet())
    assert said.kind == "comparison sheet" and said.notice == "Nobody's likeness."
    assert facts["synthetic_faces"] == 2


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_of_sound_file_is_read_back(suffix: str) -> None:
    voice = made_voice(2.0)
    read = read_recording(encode_waveform(voice, sound_kind(Path("voice" + suffix)), comment="made"))
    assert read.sample_rate in (SAMPLE_RATE, 48_000)
    assert abs(read.waveform.size - voice.size) < SAMPLE_RATE // 10
    assert np.std(read.waveform) == pytest.approx(np.std(voice), rel=0.1)
    if suffix in (".wav", ".flac"):
        np.testing.assert_allclose(read.waveform, voice, atol=1 / 32_768)


def test_a_shielded_file_says_that_it_is_synthetic(tmp_path: Path) -> None:
    import av

    made().save(tmp_path / "voice.flac")
    with av.open(str(tmp_path / "voice.flac")) as file:
        assert "Synthetic voice" in file.metadata["comment"]
    with pytest.raises(OutputExists):
        made().save(tmp_path / "voice.flac")
    with pytest.raises(InvalidOption, match=r"\.wav"):
        made().save(tmp_path / "voice.txt")


# --- The command.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a recording in it; shielding is not done but made up."""
    (tmp_path / "talk.mp3").write_bytes((EXAMPLES / "female.mp3").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shielding, "shield", lambda source, model, **_: made())
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["speech2face", "shield", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_writes_a_numbered_neighbour(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [run(monkeypatch, "talk.mp3") for _ in range(2)] == [0, 0]
    assert sorted(path.name for path in folder.iterdir()) == ["talk-shielded-2.wav", "talk-shielded.wav", "talk.mp3"]
    said = capsys.readouterr().out
    assert "feminine (99 %) -> feminine (52 %)" in said and "no proof" in said


def test_a_stated_name_is_kept_and_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("talk.mp3", "-o", "out.flac", "--sheet", "faces.png", "-q")
    assert run(monkeypatch, *words) == 0
    assert run(monkeypatch, *words) == OutputExists.exit_code
    assert run(monkeypatch, *words, "--force") == 0
    assert read_recording(folder / "out.flac").codec == "flac"
    assert read_provenance(folder / "faces.png")[0].kind == "comparison sheet"


@pytest.mark.parametrize("words", [("-o", "out.txt"), ("-o", "out"), ("--sheet", "faces.jpg")])
def test_what_cannot_be_written_is_refused_before_anything_is(
    words: tuple[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "talk.mp3", *words) == InvalidOption.exit_code
    assert [path.name for path in folder.iterdir()] == ["talk.mp3"]


def test_goals_that_are_missed_are_named_and_the_nearest_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shielding, "shield", lambda source, model, **_: made(same_speaker=0.5))
    assert run(monkeypatch, "talk.mp3", "--json") == GoalsNotReached.exit_code
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert facts["reached"] is False and facts["files"] == ["talk-shielded.wav"]
    assert "same speaker" in captured.err
    assert (folder / "talk-shielded.wav").is_file()


def test_a_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, ".") == InvalidOption.exit_code
