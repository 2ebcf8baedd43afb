"""`learn` from planted shards to a release that draws, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from recipes.planted import pairs as planted
from recipes.planted.synthesiser import HEARD_TRAITS, synthesise, voice_of
from speech2face.audio.spectrogram import golden_speech
from speech2face.data.media import Rejected
from speech2face.data.members import Clip, encode_npy, encode_png, encode_wav, to_samples
from speech2face.data.shards import write_shards
from speech2face.errors import DatasetError, InvalidOption, OutputExists, SeveralFaces, SpeakerLeak, WeightsError
from speech2face.forget import forget
from speech2face.learning import features
from speech2face.learning.features import (
    FEATURES,
    ClipMaterial,
    ClipNumbers,
    EncodedClips,
    FileMaterial,
    Kept,
    Refusal,
    encode_pairs,
    stored_pairs,
    tabled_pairs,
)
from speech2face.learning.release import (
    CORRECTION_GRAPH,
    GOLDEN,
    GOLDEN_MEAN,
    LearnOptions,
    LearnResult,
    golden_mean,
    learn_release,
    write_sums,
)
from speech2face.learning.scores import LearningTable, check_count
from speech2face.learning.sums import read_sums
from speech2face.live import LiveSession, PcmFormat
from speech2face.models import load_model
from speech2face.models.attributes import load_attribute_model, load_learned_model, pooled_statistics
from speech2face.models.contract import Given
from speech2face.outputs import load_onnxruntime
from speech2face.portrait import reconstruct
from tests.learned_pairs import NOISE_DEVIATION, SIZE
from tests.voices import made_voice

PEOPLE = 64
STATISTICS = 4096


def some_clips(count: int) -> Iterator[Clip]:
    """Clips whose sound and picture are never looked at."""
    for number in range(count):
        name = f"person-{number:03d}"
        yield Clip(
            key=name,
            speaker=name,
            split="train",
            waveform=np.full(160, number + 1, np.int16),
            aligned_face=np.full((8, 8, 3), number, np.uint8),
            landmarks=np.ones((68, 2), np.float32),
            labels={"gender": "female" if number % 2 else "male", "age": "30"},
            licence="CC0-1.0",
            consent="synthetic",
        )


def adult_voice(seconds: float) -> NDArray[np.float32]:
    """A planted man's voice, (samples,): no child's."""
    heard = np.array([-1.0, 0.5, 0.0])
    return synthesise(voice_of(heard, np.zeros(len(HEARD_TRAITS)), "spectrum"), seconds, np.random.default_rng(0))


def by_level(material: ClipMaterial) -> int:
    """Of `some_clips`."""
    return round(float(material.waveform()[0]) * 32767) - 1


def planted_numbers(monkeypatch: pytest.MonkeyPatch, number_of: Callable[[ClipMaterial], int] = by_level) -> list[int]:
    """In place of the networks: numbers of planted people, by the level of the sound; counts what was read."""
    rng = np.random.default_rng(0)
    axes = features.VoiceAxes.of_starter()
    hidden = rng.standard_normal((200, 6))
    into_voice, into_face = rng.standard_normal((6, axes.map.shape[1])), rng.standard_normal((6, SIZE))
    voices = hidden @ into_voice @ np.linalg.pinv(axes.map)
    face = 0.3 * hidden @ into_face + 0.3 * rng.standard_normal((200, SIZE))
    read: list[int] = []

    def answer(self: object, material: ClipMaterial) -> ClipNumbers:
        number = number_of(material)
        read.append(number)
        return ClipNumbers(
            statistics=(axes.centre + voices[number]).astype(np.float16),
            prior_mean=np.zeros(SIZE, np.float32),
            prior_covariance=0.36 * np.eye(SIZE, dtype=np.float32),
            face=face[number].astype(np.float32),
            face_covariance=NOISE_DEVIATION**2 * np.eye(SIZE, dtype=np.float32),
            face_error=1.0,
            seconds=6.0,
        )

    monkeypatch.setattr(features.ClipReader, "read", answer)
    return read


def learned(data: Path, out: Path, **changes: object) -> LearnResult:
    return learn_release(stored_pairs(str(data)), [], out, replace(LearnOptions("mine", licence="CC0-1.0"), **changes))  # type: ignore[arg-type]


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return planted_numbers(monkeypatch)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_shards(tmp_path / "data", some_clips(PEOPLE))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release learned once, for tests that change nothing of it."""
    folder = tmp_path_factory.mktemp("learned")
    write_shards(folder / "data", some_clips(PEOPLE))
    with pytest.MonkeyPatch.context() as patch:
        planted_numbers(patch)
        assert learned(folder / "data", folder / "model").training["pays"]
    return folder / "model"


def test_pairs_become_a_release_that_draws(release: Path) -> None:
    model, voice = load_model(release, threads=1), adult_voice(3.0)
    found = reconstruct(model, (voice, 16_000), samples=2, seed=1)
    plain = reconstruct(load_model(threads=1), (voice, 16_000))
    assert found.image.shape == plain.image.shape
    assert np.abs(found.belief.mean - plain.belief.mean).max() > 0.01
    assert found.attributes is not None
    card = (release / "CARD.md").read_text()
    assert "more than chance" in card
    assert "64 people's pairs: CC0-1.0" in card
    assert all(f"person-{number:03d}" not in card for number in range(PEOPLE))


def test_a_childs_voice_is_left_with_the_starters_belief(release: Path) -> None:
    model, speech = load_learned_model(release, 1), made_voice(3.0)
    sure = replace(model.encode(speech).reading, child_logit=20.0)
    encoding, plain = (replace(each.encode(speech), reading=sure) for each in (model, load_attribute_model()))
    assert encoding.is_child
    np.testing.assert_array_equal(encoding.belief(Given()).mean, plain.belief(Given()).mean)
    one, other = (each.draw(Given(), np.random.default_rng(0)) for each in (encoding, plain))
    np.testing.assert_array_equal(one, other)


def test_a_recording_and_a_call_are_encoded_alike(release: Path) -> None:
    model, voice = load_learned_model(release, 1), adult_voice(6.0)
    session = LiveSession(model, PcmFormat())
    session.push((voice * 32767).astype("<i2").tobytes())
    whole = reconstruct(model, (voice, 16_000)).belief.mean
    plain = reconstruct(load_model(threads=1), (voice, 16_000)).belief.mean
    heard = session.snapshot().belief
    assert heard is not None
    assert np.linalg.norm(heard.mean - whole) < 0.3 * np.linalg.norm(whole - plain)


def test_draws_have_the_stated_mean_and_spread(release: Path) -> None:
    model = load_learned_model(release, 1)
    encoding = model.encode(adult_voice(4.0))
    belief = encoding.belief(Given())
    low, high = model.release.population.limits()
    free = ~np.isfinite(low) & ~np.isfinite(high)  # others are cut at what can be drawn
    drawn = np.stack([encoding.draw(Given(), np.random.default_rng(seed)) for seed in range(3000)])
    np.testing.assert_allclose(drawn.mean(0)[free], belief.mean[free], atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T)[np.ix_(free, free)], belief.covariance[np.ix_(free, free)], atol=0.08)


def test_what_does_not_pay_leaves_the_starters_belief(
    data: Path, numbers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LearningTable.of
    shuffle = np.random.default_rng(1).permutation(PEOPLE)
    monkeypatch.setattr(LearningTable, "of", lambda *given: replace(table := plain(*given), face=table.face[shuffle]))
    made = learned(data, tmp_path / "model")
    assert not made.training["pays"]
    assert "not better than chance" in (tmp_path / "model" / "CARD.md").read_text()
    speech, starter = adult_voice(3.0), load_attribute_model()
    one, other = (model.encode(speech).belief(Given()) for model in (load_model(tmp_path / "model"), starter))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-6)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-6)


def test_nothing_of_a_single_person_is_in_the_release(release: Path) -> None:
    starter = {path.name: path.stat().st_size for path in load_attribute_model().release.folder.iterdir()}
    new = {path.name for path in release.iterdir() if starter.get(path.name) != path.stat().st_size}
    assert new == {"correction.safetensors", "correction.onnx", "model.json", "CARD.md", GOLDEN}
    assert "person-0" not in (release / "model.json").read_text()
    assert (release / "correction.safetensors").stat().st_size < 500_000


def test_the_golden_belief_is_what_the_release_says(release: Path) -> None:
    with np.load(release / GOLDEN) as stored:
        np.testing.assert_allclose(stored[GOLDEN_MEAN], golden_mean(load_learned_model(release)), atol=1e-4)


def test_the_graph_of_the_correction_says_the_golden_belief(release: Path) -> None:
    session = load_onnxruntime().InferenceSession(release / CORRECTION_GRAPH, providers=["CPUExecutionProvider"])
    encoding = load_attribute_model().encode(golden_speech())
    encoding = replace(encoding, reading=replace(encoding.reading, child_logit=-np.inf))
    given = {
        "statistics": pooled_statistics(encoding.moments)[None],
        "attribute_mean": encoding.belief(Given()).mean[None].astype(np.float32),
    }
    with np.load(release / GOLDEN) as stored:
        np.testing.assert_allclose(session.run(["mean"], given)[0][0], stored[GOLDEN_MEAN], atol=1e-4)
        assert np.abs(stored[GOLDEN_MEAN] - given["attribute_mean"][0]).max() > 0.01  # it is corrected
    assert (release / CORRECTION_GRAPH).stat().st_size < 5_000  # its constants are those of the file of tensors


def test_a_damaged_correction_is_refused(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "damaged")
    (tmp_path / "damaged" / "correction.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="damaged"):
        load_model(tmp_path / "damaged")


def test_without_attributes_the_belief_is_of_the_pairs_alone(data: Path, numbers: list[int], tmp_path: Path) -> None:
    made = learned(data, tmp_path / "model", by_attributes=False)
    assert made.training["people"] == PEOPLE
    model = load_learned_model(tmp_path / "model", 1)
    encoding = model.encode(adult_voice(3.0))
    assert not model.release.by_attributes
    assert np.isfinite(encoding.belief(Given()).mean).all()
    aged = encoding.belief(Given(age=75.0)).mean
    assert not np.array_equal(aged, encoding.belief(Given()).mean)


def test_numbers_are_computed_once_and_again_only_for_new_clips(data: Path, numbers: list[int], tmp_path: Path) -> None:
    encode_pairs(stored_pairs(str(data)))
    assert sorted(numbers) == list(range(PEOPLE))
    numbers.clear()
    encode_pairs(stored_pairs(str(data)))
    assert numbers == []
    write_shards(tmp_path / "more", some_clips(PEOPLE + 2))
    (tmp_path / "more" / FEATURES).write_bytes((data / FEATURES).read_bytes())
    encode_pairs(stored_pairs(str(tmp_path / "more")))
    assert sorted(numbers) == [PEOPLE, PEOPLE + 1]


def test_a_forgotten_person_leaves_the_numbers_and_is_named_with_the_model(
    release: Path, numbers: list[int], tmp_path: Path
) -> None:
    data = shutil.copytree(release.parent / "data", tmp_path / "data")
    shutil.copytree(release, tmp_path / "models" / "mine")
    found = forget(data, ["person-005"], models=[tmp_path / "models"])
    assert {trace.path.name for trace in found.models} >= {"model.json", "CARD.md"}
    kept = Kept.read(data / FEATURES, features.networks_sha256())
    assert len(kept.numbers) == PEOPLE - 1
    assert all(speaker != "person-005" for speaker, _ in kept.owner.values())
    assert learned(data, tmp_path / "again").training["people"] == PEOPLE - 1
    assert numbers == []  # the others' are still there


def test_damaged_numbers_are_made_anew(data: Path, numbers: list[int]) -> None:
    (data / FEATURES).write_bytes(b"nothing")
    encode_pairs(stored_pairs(str(data)))
    assert len(numbers) == PEOPLE


def test_refused_clips_are_counted(data: Path, numbers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = features._read

    def read(material: features.StoredMaterial) -> features.Answer:
        answer = plain(material)
        return Refusal("no_speech", "music") if len(numbers) % 8 == 7 else answer

    monkeypatch.setattr(features, "_read", read)
    encoded = encode_pairs(stored_pairs(str(data)))
    assert encoded.rejected["no_speech"] == PEOPLE - len(encoded.clips) > 0


def test_too_few_people_are_refused_and_nothing_is_written(numbers: list[int], tmp_path: Path) -> None:
    write_shards(tmp_path / "few", some_clips(39))
    with pytest.raises(DatasetError, match="39 people are too few"):
        learned(tmp_path / "few", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    check_count(40)


def test_one_person_under_two_names_is_refused(numbers: list[int], tmp_path: Path) -> None:
    clips = list(some_clips(50))
    clips[7] = replace(clips[7], waveform=clips[6].waveform)
    write_shards(tmp_path / "twice", clips)
    with pytest.raises(DatasetError, match=r"same recording is under two names .person-006 and person-007"):
        learned(tmp_path / "twice", tmp_path / "model")
    clips[7] = replace(clips[7], waveform=np.full(160, 199, np.int16), aligned_face=clips[9].aligned_face)
    write_shards(tmp_path / "again", clips)
    with pytest.raises(DatasetError, match="same photograph is under two names"):
        learned(tmp_path / "again", tmp_path / "model")


def test_people_of_the_test_split_are_left_for_the_evaluation(numbers: list[int], tmp_path: Path) -> None:
    clips = [replace(clip, split="test" if number < 5 else "train") for number, clip in enumerate(some_clips(50))]
    write_shards(tmp_path / "split", clips)
    encoded = encode_pairs(stored_pairs(str(tmp_path / "split")))
    assert {clip.key for clip in encoded.clips} == {f"person-{number:03d}" for number in range(5, 50)}


def test_a_data_set_without_faces_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "voices", (replace(clip, aligned_face=None, landmarks=None) for clip in some_clips(3)))
    with pytest.raises(DatasetError, match="no aligned_face"):
        stored_pairs(str(tmp_path / "voices"))


def test_a_release_that_is_there_is_kept_without_force(data: Path, numbers: list[int], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(OutputExists):
        learned(data, tmp_path / "model")
    with pytest.raises(OutputExists, match="no release"):  # and what is none in any case
        learned(data, tmp_path / "model", force=True)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["mine"]
    assert numbers == []  # nothing was computed in vain


def test_sums_of_two_clinics_become_a_release(numbers: list[int], tmp_path: Path) -> None:
    clips, options = list(some_clips(160)), LearnOptions("sums")
    for name, some in (("a", clips[:80]), ("b", clips[80:])):
        write_shards(tmp_path / name, some)
        write_sums(stored_pairs(str(tmp_path / name)), [], tmp_path / f"{name}.sums", options)
    files = [read_sums(tmp_path / f"{name}.sums") for name in "ab"]
    made = learn_release(None, files, tmp_path / "model", options)
    assert made.training["people"] == 160
    assert made.training["pays"]
    assert "of 160 people" in (tmp_path / "model" / "CARD.md").read_text() or made.training["sums_of"] >= 3
    model = load_learned_model(tmp_path / "model", 1)
    assert np.isfinite(model.encode(adult_voice(3.0)).belief(Given()).mean).all()
    with pytest.raises(InvalidOption, match="without-attributes"):
        learn_release(None, files, tmp_path / "other", replace(options, by_attributes=False))


def test_a_person_is_taken_off_a_file_of_sums(data: Path, numbers: list[int], tmp_path: Path) -> None:
    options, pairs = LearnOptions("sums"), stored_pairs(str(data))
    write_sums(pairs, [], tmp_path / "all.sums", options)
    all_of_them = read_sums(tmp_path / "all.sums")
    write_sums(pairs, [all_of_them], tmp_path / "less.sums", options, without=["person-001"])
    assert read_sums(tmp_path / "less.sums").label.people == PEOPLE - 1
    with pytest.raises(InvalidOption, match="not in the data"):
        write_sums(pairs, [all_of_them], tmp_path / "none.sums", options, without=["nobody"])
    plain = replace(options, by_attributes=False)
    with pytest.raises(InvalidOption, match="--without-attributes has to be the same"):  # or other sums would go off
        write_sums(pairs, [all_of_them], tmp_path / "none.sums", plain, without=["person-001"])
    assert not (tmp_path / "none.sums").exists()


def test_forgetting_names_sums_and_what_was_learned_from_them_unless_the_person_was_taken_off(
    numbers: list[int], tmp_path: Path
) -> None:
    write_shards(tmp_path / "data", some_clips(100))
    options, models = LearnOptions("sums"), tmp_path / "models"
    pairs = stored_pairs(str(tmp_path / "data"))
    write_sums(pairs, [], models / "all.sums", options)
    everybody = read_sums(models / "all.sums")
    write_sums(pairs, [everybody], models / "less.sums", options, without=["person-005"])
    for name in ("all", "less"):
        learn_release(None, [read_sums(models / f"{name}.sums")], models / name, options)
    assert "less 1 who withdrew" in (models / "less" / "CARD.md").read_text()

    def accused(speaker: str) -> set[str]:
        found = forget(tmp_path / "data", [speaker], models=[models]).models
        return {str(trace.path.relative_to(models)) for trace in found}

    assert accused("person-005") == {"all.sums", "all/model.json", "all/CARD.md"}
    everything = {f"{name}{file}" for name in ("all", "less") for file in (".sums", "/model.json", "/CARD.md")}
    assert accused("person-006") == everything  # who is in both


# --------------------------------------------------------------------------------------------------
# Several photographs of a person.
# --------------------------------------------------------------------------------------------------


def test_a_poor_photograph_counts_less_than_two_good_ones() -> None:
    axes = features.VoiceAxes.of_starter()
    good = ClipNumbers(
        statistics=axes.centre.astype(np.float16),
        prior_mean=np.zeros(SIZE, np.float32),
        prior_covariance=np.eye(SIZE, dtype=np.float32),
        face=np.ones(SIZE, np.float32),
        face_covariance=np.eye(SIZE, dtype=np.float32),
        face_error=0.3,
        seconds=6.0,
        face_weight=0.9,
    )
    poor = replace(good, face=np.full(SIZE, 10, np.float32), face_weight=0.1, face_error=0.8)
    clip = features.PairClip("a", "Ann", "CC0-1.0", "made", {}, features._NOTHING)
    table = LearningTable.of(
        EncodedClips((clip,) * 3, (good, good, poor), ("sound",) * 3, ("1", "2", "3"), ("1", "2", "3"), {}), axes
    )
    share = np.array([0.9, 0.9, 0.1]) / 1.9
    np.testing.assert_allclose(table.face[0], share @ [1, 1, 10])
    np.testing.assert_allclose(np.diag(table.noise[0]), (1 + (share**2).sum()) / 2)
    same = LearningTable.of(EncodedClips((clip,) * 2, (good, good), ("s", "t"), ("1", "1"), ("1", "2"), {}), axes)
    np.testing.assert_allclose(np.diag(same.noise[0]), 1)  # one photograph with two recordings is one
    assert (same.licences, same.consents) == (("CC0-1.0",), ("made",))
    other, unsaid = replace(clip, licence="CC-BY-NC-4.0", consent="form B"), replace(clip, licence="")
    several = EncodedClips((clip, other, unsaid), (good,) * 3, ("s", "t", "u"), ("1",) * 3, ("1", "2", "3"), {})
    table = LearningTable.of(several, axes)
    assert table.counted(table.licences) == {"CC-BY-NC-4.0 and CC0-1.0 and not stated": 1}
    assert table.counted(table.consents) == {"form B and made": 1}


# --------------------------------------------------------------------------------------------------
# A table of recordings and photographs.
# --------------------------------------------------------------------------------------------------


def table_of(folder: Path, rows: list[str]) -> str:
    (folder / "a.wav").write_bytes(b"sound")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    (folder / "pairs.csv").write_text("\n".join(["recording,photograph,speaker,licence,consent,split", *rows]) + "\n")
    return str(folder / "pairs.csv")


def test_rows_without_licence_or_consent_are_counted_not_learned(tmp_path: Path) -> None:
    rows = ["a.wav,a.png,Ann,CC0-1.0,written,", "a.wav,a.png,Bob,CC0-1.0,,", "b.wav,a.png,Cid,CC0-1.0,written,"]
    pairs = tabled_pairs(table_of(tmp_path, rows))
    assert [clip.speaker for clip in pairs.clips()] == ["Ann"]
    assert pairs.rejected["no_media"] == 1
    assert sum(pairs.rejected.values()) == 2  # Bob's: no consent, or the same files as Ann's
    assert [clip.consent for clip in tabled_pairs(table_of(tmp_path, rows[:1]), consent="other").clips()] == ["written"]


def test_what_the_consent_studio_stored_is_learned_from_and_expired_consent_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="signing needs the extra `serve`")
    from speech2face.consent import ConsentFolder, consent_form
    from tests.test_consent import added, terms

    folder = ConsentFolder(tmp_path / "study")
    folder.prepare(consent_form(terms()))
    now = datetime.now(UTC)
    people: list[str] = []

    def lender(material: ClipMaterial) -> int:
        assert isinstance(material, FileMaterial)
        return people.index(material.record.speaker)

    planted_numbers(monkeypatch, lender)
    for number in range(46):
        signed = now - timedelta(days=400 if number < 3 else number)  # for eleven months
        sound = encode_wav(np.full(160, number + 1, np.int16))
        shown = tuple(encode_png(np.full((8, 8, 3), 3 * number + place, np.uint8)) for place in range(3))
        people.append(added(folder, signed_at=signed, voice=sound, photographs=shown)[0].person)
    pairs = tabled_pairs(str(folder.path / "pairs.csv"))
    made = learn_release(pairs, [], tmp_path / "model", LearnOptions("study", licence="CC0-1.0"))
    assert made.training["people"] == 43
    assert made.training["clips"] == 3 * 43
    assert made.training["rejected"] == {"consent_expired": 9}
    assert "left out, consent_expired: 9" in (tmp_path / "model" / "CARD.md").read_text()
    stored = (tmp_path / "model" / "model.json").read_text()
    assert not any(person in stored for person in people)
    with np.load(folder.path / f"pairs.csv.{FEATURES}") as kept:
        assert set(kept["owner"][:, 1]) == set(people[3:])
    options = LearnOptions("sums")
    write_sums(pairs, [], tmp_path / "all.sums", options)
    write_sums(pairs, [read_sums(tmp_path / "all.sums")], tmp_path / "less.sums", options, without=[people[7]])
    gone = folder.withdraw(people[7], models=[tmp_path])
    assert {trace.path.name for trace in gone.models} == {"model.json", "CARD.md", "all.sums"}
    again = learn_release(
        tabled_pairs(str(folder.path / "pairs.csv")), [], tmp_path / "again", LearnOptions("study", licence="CC0-1.0")
    )
    assert again.training["people"] == 42


@pytest.mark.parametrize(
    ("consent", "ended"),
    [
        ("written, until 2026-05-31", False),
        ("written, until 2026-05-30", True),
        ("until further notice", False),
        ("valid until 2020-01-01 and beyond", False),
        ("", False),
    ],
)
def test_a_last_day_of_consent_is_honoured(consent: str, ended: bool) -> None:
    assert features.consent_ended(consent, date(2026, 5, 31)) is ended


def test_a_speaker_in_two_splits_of_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"other sound")
    rows = ["a.wav,a.png,Ann,CC0-1.0,written,train", "b.wav,a.png,Ann,CC0-1.0,written,test"]
    with pytest.raises(SpeakerLeak, match="Ann"):
        tabled_pairs(table_of(tmp_path, rows))
    with pytest.raises(SpeakerLeak, match="Ann in test and train"):  # a row without a split is learned from
        tabled_pairs(table_of(tmp_path, [rows[0].removesuffix("train"), rows[1]]))
    unsplit = [rows[0].removesuffix("train"), rows[1].replace("test", "validation")]
    assert tabled_pairs(table_of(tmp_path, unsplit)).people == 1


def test_what_is_no_sound_is_a_rejected_clip(tmp_path: Path) -> None:
    encoded = encode_pairs(tabled_pairs(table_of(tmp_path, ["a.wav,a.png,Ann,CC0-1.0,written,"])))
    assert encoded.clips == ()
    assert encoded.rejected == {"unreadable": 1}
    with pytest.raises(DatasetError, match="unreadable 1"):
        LearningTable.of(encoded, features.VoiceAxes.of_starter())


# --------------------------------------------------------------------------------------------------
# Real networks on made voices and drawn faces.
# --------------------------------------------------------------------------------------------------


def test_a_planted_face_is_read_from_its_shard(tmp_path: Path) -> None:
    write_shards(tmp_path / "planted", planted.clips(3, seconds=3.0, seed=0), statement=planted.STATEMENT)
    encoded = encode_pairs(stored_pairs(str(tmp_path / "planted")))
    own: NDArray[np.float32] = planted.faces(load_attribute_model(), 3, 0, planted.SHARE)
    assert len(encoded.clips) + sum(encoded.rejected.values()) == 3
    assert len(encoded.clips) >= 2
    for clip, found in zip(encoded.clips, encoded.numbers, strict=True):
        number = int(clip.key.removeprefix("planted-"))
        assert found.statistics.shape == (STATISTICS,)
        away = found.face - own[number]
        assert np.sqrt(np.square(away).mean()) < 0.5 * np.sqrt(np.square(found.face - own[number - 1]).mean())
    json.dumps(dict(encoded.rejected))


def test_a_table_with_a_file_of_landmarks_needs_no_finder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clip,) = planted.clips(1, seconds=2.0, seed=0)
    planted.write_table([clip], tmp_path)
    (tmp_path / "planted-00000.wav").write_bytes(encode_wav(to_samples(adult_voice(2.0))))
    landmarks = tmp_path / "landmarks.json"
    monkeypatch.setattr("speech2face.face.landmarks.FacePointFinder", None)  # it would be called
    (found,) = encode_pairs(tabled_pairs(str(tmp_path / "pairs.csv"), landmarks=landmarks)).numbers
    own: NDArray[np.float32] = planted.faces(load_attribute_model(), 1, 0, planted.SHARE)
    assert np.abs(found.face - own[0]).mean() < 0.6
    stated = json.loads(landmarks.read_text())["landmarks"]
    landmarks.write_text(json.dumps({"landmarks": {"a": stated["planted-00000"], "b": stated["planted-00000"]}}))
    again = encode_pairs(tabled_pairs(str(tmp_path / "pairs.csv"), landmarks=landmarks))
    assert again.rejected == {"landmarks": 1}  # of another file, so that nothing kept is taken
    with pytest.raises(InvalidOption, match="cannot read the landmarks"):
        tabled_pairs(str(tmp_path / "pairs.csv"), landmarks=tmp_path / "none.json")


def test_why_a_photograph_is_left_out_is_counted_as_the_fit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, (clip,) = features.ClipReader(), planted.clips(1, seconds=2.0, seed=1)
    sound, face = adult_voice(2.0), clip.aligned_face
    assert face is not None and clip.landmarks is not None
    small = np.asarray(Image.fromarray(face).reduce(8))
    material = replace(
        features._NOTHING, sound=encode_wav(to_samples(sound)), face=encode_png(small), face_shape=small.shape[:2],
        points=encode_npy((clip.landmarks / 8).astype(np.float32)), landmarks=len(clip.landmarks),
    )  # fmt: skip
    with pytest.raises(Rejected) as caught:
        reader.read(material)
    assert caught.value.reason == "too_small"

    def crowded(*_: object) -> None:
        raise SeveralFaces("2 faces were found")

    monkeypatch.setattr(reader, "_fitter", lambda find: SimpleNamespace(fit=crowded))
    with pytest.raises(Rejected) as caught:
        reader.read(material)
    assert caught.value.reason == "several_faces"
