"""An audit from its command to its files, over models and data of every kind there is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.audio.speech import find_speech
from speech2face.cli import app
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.errors import CorruptRecording, DatasetError, OutputExists
from speech2face.evaluation.audit import END, START, AuditSettings, audit
from speech2face.evaluation.clips import AuditClip
from speech2face.evaluation.observations import (
    CONDITIONS,
    between_speakers,
    changed,
    grey_difference,
    measure_stability,
    observe,
)
from speech2face.face.embedders import EmbedderRecord
from speech2face.models import load_model
from tests.voices import made_voice

STARTER = Path(__file__).parents[3].parent / "shared" / "starter"


def made_speakers(count: int, embedding: int = 12) -> Iterator[Clip]:
    """Men of low voices and women of high ones, with faces that are noise."""
    rng = np.random.default_rng(0)
    for number in range(count):
        pitch = 105 + 5 * (number % 5) if number % 2 else 200 + 5 * (number % 5)
        yield Clip(
            key=f"clip-{number}",
            speaker=f"speaker {number}",
            split="test",
            waveform=made_voice(2.2, pitch),
            face_embedding=rng.standard_normal(embedding).astype(np.float32),
            labels={"gender": "male" if number % 2 else "female", "age": 20 + 2 * number, "language": "en"},
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "made"
    write_shards(folder, made_speakers(14), embedder=EmbedderRecord("planted", 12))
    return folder


def test_the_shipped_starter_is_audited_by_one_command(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `eval`")
    card = tmp_path / "card.md"
    card.write_text("# Card\n\n## Limits\n\nMany.\n")
    arguments = ["audit", "--data", str(data), "--out", str(tmp_path / "report"), "--channels", "telephone"]
    ran = CliRunner().invoke(app, [*arguments, "--card", str(card), "--json", "--quiet"], catch_exceptions=False)
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["recordings"] == 14
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [part["name"] for part in results["parts"]] == ["groups", "channels", "calibration", "stability"]
    assert results["data"]["split"] == "test"
    written = card.read_text()
    assert written.startswith("# Card\n")
    assert written.endswith("## Limits\n\nMany.\n")
    assert START in written
    assert END in written
    assert "gender: male" in written
    assert "channel: telephone" in written
    for name in ("index.html", "numbers.csv", "tables/groups-by-age-error-years.csv", "figures/stability-channels.png"):
        assert (tmp_path / "report" / name).stat().st_size > 100
    page = (tmp_path / "report" / "index.html").read_text()
    assert "clip-1" not in page  # no single recording is named


def test_a_paired_model_is_audited_against_the_own_faces(data: Path, tmp_path: Path, paired_folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `eval`")
    settings = AuditSettings(str(data), tmp_path / "report", paired_folder, clips=12, channels=("telephone",))
    done = audit(replace(settings, permutations=200))
    found = {one.question.name: one for one in done.findings if one.group == "everybody"}
    assert set(found) == {"angle_degrees", "two_way_choice", "two_way_choice_same_gender", "spread_coverage", "refused"}
    assert 0.3 < found["two_way_choice"].value.value < 0.7  # random weights know nobody
    assert found["two_way_choice"].constant == 0.5
    assert found["refused"].value.value == 0
    (angle,) = [
        one for one in done.parts[0].numbers if one.metric == "angle_degrees" and one.conditions["group"] == "everybody"
    ]
    assert angle.chance is None
    assert angle.mean_face == found["angle_degrees"].constant
    coverage = next(part for part in done.parts if part.name == "calibration")
    assert not coverage.skipped
    assert {number.conditions["stated"] for number in coverage.numbers} == {"0.5", "0.8", "0.9", "0.95"}


def test_what_cannot_be_written_or_read_is_refused_before_anything_is_heard(data: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "results.json").write_text("{}")
    with pytest.raises(OutputExists, match="--force"):
        audit(AuditSettings(str(data), tmp_path / "report"))
    with pytest.raises(DatasetError):
        audit(AuditSettings(str(tmp_path / "nowhere"), tmp_path / "other"))
    ran = CliRunner().invoke(
        app, ["audit", "--data", str(data), "--out", str(tmp_path / "new"), "--channels", "gramophone"]
    )
    assert isinstance(ran.exception, Exception)
    assert "gramophone" in str(ran.exception)


def voice_clip(number: int, waveform: np.ndarray) -> AuditClip:
    return AuditClip(f"clip {number}", number, lambda: waveform)


def test_a_recording_that_cannot_be_read_is_a_counted_refusal() -> None:
    def broken() -> np.ndarray:
        raise CorruptRecording("cut off")

    clips = [
        voice_clip(0, made_voice(2.0)),
        AuditClip("clip 1", 1, broken),
        voice_clip(2, np.zeros(32_000, np.float32)),
    ]
    seen = observe(load_model(), clips, CONDITIONS[:2])
    for name in ("clean", "telephone"):
        assert seen[name].refusal == ("", "CorruptRecording", "SilentRecording")
        assert seen[name].heard.tolist() == [True, False, False]
        assert np.isnan(seen[name].embedding[1:]).all()


def test_a_damaged_shard_ends_the_audit() -> None:
    def damaged() -> np.ndarray:
        raise DatasetError("the shard is cut short")

    with pytest.raises(DatasetError, match="cut short"):
        observe(load_model(), [AuditClip("clip 0", 0, damaged)], CONDITIONS[:1])


def test_a_recording_too_short_to_be_cut_is_left_out_not_refused() -> None:
    first_six = next(one for one in CONDITIONS if one.cut_seconds == 6)
    seen = observe(
        load_model(), [voice_clip(0, made_voice(2.0)), voice_clip(1, made_voice(8.0))], [CONDITIONS[0], first_six]
    )
    assert seen[first_six.name].applies.tolist() == [False, True]
    assert seen[first_six.name].seconds[1] == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one.name)
def test_a_condition_changes_a_voice_the_same_way_every_time(condition: object) -> None:
    assert isinstance(condition, type(CONDITIONS[0]))
    voice = made_voice(7.0)
    clip = voice_clip(0, voice)
    first, second = changed(clip, voice, condition), changed(clip, voice, condition)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()
    assert float(np.abs(first).max()) > 0.05
    if condition.cut_seconds is None:
        assert abs(first.size - voice.size) < SAMPLE_RATE // 5
    else:
        assert find_speech(first).seconds == pytest.approx(condition.cut_seconds, abs=0.1)
    assert (condition.name == "clean") == np.array_equal(first, voice)


def test_noise_lies_as_far_under_the_voice_as_its_name_says() -> None:
    voice = made_voice(3.0)
    for decibels in (20, 10, 0):
        condition = next(one for one in CONDITIONS if one.name == f"noise {decibels} dB")
        noise = changed(voice_clip(0, voice), voice, condition) - voice
        assert 10 * np.log10(np.mean(voice**2) / np.mean(noise**2)) == pytest.approx(decibels, abs=0.1)


def test_a_telephone_has_nothing_above_four_kilohertz() -> None:
    voice = made_voice(3.0)
    power = np.abs(np.fft.rfft(changed(voice_clip(0, voice), voice, CONDITIONS[1]))) ** 2
    hertz = np.fft.rfftfreq(voice.size, 1 / SAMPLE_RATE)[: power.size]
    assert power[hertz > 4300].sum() < 1e-4 * power.sum()


def test_a_voice_that_does_not_change_does_not_move() -> None:
    model = load_model()
    clips = [voice_clip(number, made_voice(2.0, pitch)) for number, pitch in enumerate((100.0, 140.0, 220.0))]
    same = [CONDITIONS[0], *(type(CONDITIONS[0])(name, "channel", CONDITIONS[0].change) for name in ("again",))]
    found = measure_stability(observe(model, clips, same), np.arange(3), model.decode)
    (again,) = found.movements
    assert again.embedding_share.value == 0
    assert again.grey_levels.value == 0
    assert again.gender_turned.value == 0
    assert found.between_embeddings > 0
    assert found.between_grey_levels > 0


def test_the_distance_between_speakers_leaves_their_own_clips_out() -> None:
    embeddings = np.array([[0, 0], [0, 0], [3, 4]], np.float32)
    assert between_speakers(embeddings, np.array([0, 0, 1])) == pytest.approx(5)
    assert np.isnan(between_speakers(embeddings, np.zeros(3, np.int64)))
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert grey_difference(black, white) == 255


@pytest.mark.skipif(not STARTER.is_dir(), reason="the starter data are not here")
def test_real_voices_of_the_starter_are_audited(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `eval`")
    done = audit(AuditSettings(str(STARTER), tmp_path / "report", clips=10, channels=("telephone",), permutations=100))
    assert done.facts.data["split"] == "validation"
    assert done.facts.data["heard"] >= 8
    (everybody,) = [one for one in done.findings if one.group == "everybody" and one.question.name == "age_error_years"]
    assert everybody.value.value < 20


def test_what_the_labels_do_not_allow_is_said_and_not_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `eval`")
    unlabelled = (replace(clip, labels={"language": "en"}) for clip in made_speakers(3))
    write_shards(tmp_path / "data", unlabelled, embedder=EmbedderRecord("planted", 12))
    done = audit(AuditSettings(str(tmp_path / "data"), tmp_path / "report", channels=()))
    groups, channels, calibration, stability = done.parts
    assert {number.metric for number in groups.numbers} == set()  # three speakers are too few to show
    assert [question.name for question in done.questions] == ["refused"]
    assert sum(note.startswith("Not measured") for note in groups.notes) == 7
    assert channels.skipped
    assert calibration.skipped
    assert stability.skipped
