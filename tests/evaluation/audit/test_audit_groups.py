"""Who belongs to which group, and what is found of groups that are small, empty or worse."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2face.errors import InvalidOption
from speech2face.evaluation.audit import channels_part, groups_part
from speech2face.evaluation.clips import AuditClip
from speech2face.evaluation.groups import (
    Dimension,
    GroupFinding,
    Question,
    audit_groups,
    band,
    decade,
    dimensions,
    found_worse,
    left_out,
    pitch_band,
    questions,
    strata,
    worst_first,
)
from speech2face.evaluation.observations import CONDITIONS, Observations, answers_about, choose_conditions
from speech2face.metrics.matching import means_of_others, two_way_choice
from speech2face.metrics.measures import ClipMeasure
from speech2face.voice.belief import BIN_CENTRES, AttributeBelief

CLEAN = CONDITIONS[0]
TELEPHONE = CONDITIONS[1]


def clip(number: int, **labels: str) -> AuditClip:
    return AuditClip(f"clip{number}", number, lambda: np.zeros(0, np.float32), labels)


def belief(age: float, femininity: float) -> AttributeBelief:
    near = int(np.abs(BIN_CENTRES - age).argmin())
    return AttributeBelief(np.eye(len(BIN_CENTRES))[near], femininity)


def observed(beliefs: Sequence[AttributeBelief | None], clips: Sequence[AuditClip] = ()) -> Observations:
    """Clean recordings with these statements; those of None were refused."""
    count = len(beliefs)
    heard = np.array([one is not None for one in beliefs])
    values = np.where(heard, 5.0, np.nan)
    applies, refusal = np.ones(count, bool), tuple("" if there else "NoSpeech" for there in heard)
    called_child = np.where(heard, 0.0, np.nan)
    people = clips or [clip(number) for number in range(count)]
    return Observations(
        condition=CLEAN,
        applies=applies,
        refusal=refusal,
        seconds=values,
        embedding=np.zeros((count, 2), np.float32),
        attributes=tuple(beliefs),
        called_child=called_child,
        pitch_hz=np.where(heard, 120.0, np.nan),
        snr_db=np.where(heard, 40.0, np.nan),
        answers=answers_about(people, applies, None, refusal=refusal, attributes=beliefs, called_child=called_child),
    )


def findings_of(
    values: NDArray[np.float64], groups: Sequence[str], speaker: NDArray[np.int64] | None = None
) -> list[GroupFinding]:
    count = len(values)
    measure = ClipMeasure("made", ("speaker",), True, lambda answers: values)
    question = Question(measure, "Made", "made", 1.0, 3)
    nobody = np.zeros(count, np.int64)
    return audit_groups(
        [question],
        [Dimension("kind", np.array(groups))],
        {"clean": observed([belief(30, 0.1)] * count)},
        np.arange(count) if speaker is None else speaker,
        {"": nobody, "gender": nobody, "age": nobody},
        permutations=2000,
    )


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (None, ""),
        ((7, 8), "under 13"),
        ((13, 20), "13-19"),
        ((20, 30), "20s"),
        ((34, 35), "30s"),
        ((80, 90), "70s and older"),
        ((20, 50), ""),  # an impression that spans decades
    ],
)
def test_ages_fall_into_decades(age: tuple[float, float] | None, expected: str) -> None:
    assert decade(age) == expected


def test_a_voice_nearer_to_the_other_genders_has_a_band_of_its_own() -> None:
    man, woman = clip(0, gender="male", age="34"), clip(1, gender="female", age="thirties")
    assert pitch_band(man, 170.0) == "men, 150 Hz and more"
    assert pitch_band(man, 110.0) == "men, under 150 Hz"
    assert pitch_band(woman, 160.0) == "women, under 180 Hz"
    assert pitch_band(clip(2, gender="male", age="9"), 250.0) == "children under 13"
    assert pitch_band(clip(3, gender="male", age="13"), 200.0) == ""  # the voice may not have broken
    assert pitch_band(clip(4, age="40"), 200.0) == ""
    assert pitch_band(man, float("nan")) == ""


def test_bands_have_their_lower_edge_in_them() -> None:
    assert [band(value, (2.0, 3.0), "s") for value in (1.9, 2.0, 2.9, 3.0)] == [
        *("under 2 s", "2 to 3 s", "2 to 3 s", "3 s and more")
    ]
    assert band(float("nan"), (2.0,), "s") == ""


def test_a_division_with_one_group_is_left_out() -> None:
    clips = [clip(0, gender="male", age="30"), clip(1, gender="female", age="31")]
    names = [found.name for found in dimensions(clips, observed([belief(30, 0.1)] * 2))]
    assert "gender" in names
    assert "language" not in names
    assert "age" not in names


def test_the_worst_group_comes_first_and_a_group_too_small_to_test_last() -> None:
    values = np.array([0.9] * 20 + [0.2] * 12 + [0.0] * 7)
    found = worst_first(findings_of(values, ["good"] * 20 + ["bad"] * 12 + ["small"] * 7))
    assert [one.group for one in found] == ["everybody", "bad", "good", "small"]
    assert [one.verdict for one in found] == ["", "worse", "better", "not tested: under 10 speakers"]
    assert found[1].constant != found[1].constant  # no constant answer is known for it


def test_a_group_of_few_shows_no_value_and_no_difference() -> None:
    values = np.random.default_rng(0).uniform(size=31)
    (lone,) = [one for one in findings_of(values, ["a"] * 15 + ["b"] * 15 + ["lone"]) if one.group == "lone"]
    assert (lone.speakers, lone.clips, lone.shown, lone.tested) == (1, 1, False, False)
    assert np.isnan(lone.value.value)
    assert np.isnan(lone.difference.value)
    table = groups_part([lone], [lone.question]).tables[1]
    assert table.rows[0][4] != table.rows[0][4]  # NaN: empty in the CSV


def test_a_group_nobody_has_a_value_of_is_not_there() -> None:
    values = np.array([1.0] * 20 + [np.nan] * 5)
    assert {one.group for one in findings_of(values, ["a"] * 10 + ["b"] * 10 + ["empty"] * 5)} == {
        "everybody",
        "a",
        "b",
    }


def test_a_speaker_with_clips_in_two_groups_is_compared_with_other_speakers_only() -> None:
    # 24 speakers with a clip in each group, 12 with one in `b` alone.
    speaker = np.concatenate([np.arange(24), np.arange(24), np.arange(24, 36)])
    groups = ["a"] * 24 + ["b"] * 36
    values = np.concatenate([np.full(24, 3.0), np.full(24, 5.0), np.full(12, 1.0)])
    found = {one.group: one for one in findings_of(values, groups, speaker)}
    assert found["a"].value.value == pytest.approx(3)
    assert found["a"].difference.value == pytest.approx(3 - 1)  # to the twelve, not to their own other clips
    assert not found["b"].tested  # everybody has a clip in it


def test_gender_counts_both_genders_alike_and_leaves_children_out() -> None:
    clips = [clip(0, gender="female", age="30"), *(clip(n, gender="male", age="30") for n in range(1, 10))]
    clips.append(clip(10, gender="male", age="9"))
    seen = observed([belief(30, 0.1)] * 11, clips)  # everybody is read as a man
    right = questions(seen)[0]
    values = right.values(seen)
    assert np.isnan(values[10])
    assert values[:10].tolist() == [0.0] + [1.0] * 9
    found = audit_groups(
        [right], [], {"clean": seen}, np.arange(11), {like: strata(clips, like) for like in ("", "gender", "age")}
    )
    assert found[0].value.value == pytest.approx(0.5)


def test_ages_that_only_span_a_range_count_by_their_middle_and_impressions_not_at_all() -> None:
    clips = [clip(0, age="twenties"), clip(1, age_impression="adult-like"), clip(2, age="9")]
    seen = observed([belief(42.5, 0.1)] * 3, clips)
    measures = {question.name: question for question in questions(seen)}
    np.testing.assert_allclose(measures["age_error_years"].values(seen), [17.5, np.nan, np.nan])
    np.testing.assert_allclose(measures["age_bias_years"].values(seen), [17.5, np.nan, np.nan])
    np.testing.assert_allclose(measures["child_missed"].values(seen), [np.nan, np.nan, 1.0])


def test_refusals_are_counted_and_their_other_values_are_missing() -> None:
    clips = [clip(0, gender="male", age="30"), clip(1, gender="male", age="30")]
    seen = observed([belief(30, 0.1), None], clips)
    for question in questions(seen):
        values = question.values(seen)
        assert values[1] == 1 if question.name == "refused" else np.isnan(values[1])


def test_refusals_and_labels_that_are_not_understood_are_exclusions_with_their_clip() -> None:
    people = [
        clip(0, gender="Female", age="34"),
        clip(1, gender="other", age="old"),
        clip(2, gender="", age="25-35"),
        clip(3, gender="male", age="20-29"),
    ]
    found = left_out(people, observed([belief(30, 0.9), belief(30, 0.9), belief(30, 0.9), None]))
    assert {(one.clip, one.reason, one.detail) for one in found} == {
        ("clip3", "no_speech", "clean recording"),
        ("clip1", "label_unknown", "gender: other"),
        ("clip2", "no_label", "gender"),
        ("clip1", "label_unknown", "age: old"),
        ("clip2", "age_spans_groups", "25-35"),
    }
    assert not left_out([clip(0)], observed([belief(30, 0.9)]))  # no labels at all is said once, not of every clip
    with_face = replace(clip(0), reference=np.ones(3, np.float32))
    [bare] = left_out([with_face, clip(1)], observed([belief(30, 0.9)] * 2))
    assert (bare.clip, bare.reason) == ("clip1", "no_reference")


def test_a_channel_is_compared_with_the_same_recordings_clean() -> None:
    clips = [clip(n, gender="male", age="30") for n in range(12)]
    clean = observed([belief(27.5 + 5 * (n % 2), 0.1) for n in range(12)], clips)
    worse = [belief(57.5, 0.1)] * 11
    telephone = replace(observed([*worse, None], clips), condition=TELEPHONE)
    question = questions(clean)[2]
    found = audit_groups(
        [question], [], {"clean": clean, "telephone": telephone}, np.arange(12),
        {like: strata(clips, like) for like in ("", "gender", "age")}, permutations=5000,
    )  # fmt: skip
    (changed,) = [one for one in found if one.group == "telephone"]
    assert changed.speakers == 11  # the twelfth was refused in the one
    assert changed.value.value == pytest.approx(27)
    assert changed.difference.value == pytest.approx(27 - np.mean([3, 2] * 5 + [3]))
    assert changed.verdict == "worse"
    assert found_worse(found) == [changed]
    assert channels_part(found, [question]).tables[0].rows[0][:3] == ("channel", "telephone", 11)


def test_the_constant_answer_of_a_group_is_told_beside_it() -> None:
    clips = [clip(n, age="60" if n < 10 else "30") for n in range(30)]
    seen = observed([belief(32.5, 0.1)] * 30, clips)
    question = questions(seen)[2]
    found = audit_groups(
        [question], dimensions(clips, seen), {"clean": seen}, np.arange(30), {"": np.zeros(30, np.int64)} | {
            like: strata(clips, like) for like in ("gender", "age")
        }, permutations=500,
    )  # fmt: skip
    old = next(one for one in found if one.group == "60s")
    assert old.constant == pytest.approx(30)  # the median is 30.5, their middle 60.5
    assert old.value.value == pytest.approx(28)


def test_a_coin_earns_one_half_however_many_women_there_are() -> None:
    clips = [clip(n, gender="female" if n < 20 else "male", age="60" if n % 2 else "30") for n in range(30)]
    seen = observed([belief(32.5, 0.9 if n < 25 else 0.1) for n in range(30)], clips)
    question = questions(seen)[0]
    everybody, *_ = audit_groups(
        [question], dimensions(clips, seen), {"clean": seen}, np.arange(30),
        {like: strata(clips, like) for like in ("", "gender", "age")}, permutations=500,
    )  # fmt: skip
    assert question.name == "gender_balanced_accuracy"
    assert everybody.constant == 0.5  # one gender for everybody is right of two thirds, and of one half in balance
    assert everybody.value.value == pytest.approx(0.75)


def test_two_way_choice_by_hand_with_ties_and_missing_faces_against_us() -> None:
    faces = np.array([[1, 0], [0, 1], [1, 1], [np.nan, np.nan]], np.float32)
    said = np.array([[1, 0.1], [0, 1], [1, 0], [1, 0]], np.float32)
    who = np.arange(4)
    # The third is answered with the first's face: loses to it, beats the second. The fourth has no face.
    np.testing.assert_allclose(two_way_choice(said, faces, who), [1, 1, 0.5, np.nan])
    same = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))
    alike = np.tile(np.array([[0.6, 0.8]], np.float32), (4, 1))
    np.testing.assert_allclose(two_way_choice(same, alike, who), 0)


def test_two_way_choice_leaves_the_speakers_own_other_faces_out_and_keeps_to_a_gender() -> None:
    faces = np.array([[1, 0], [1, 0.01], [0, 1], [0.9, 0.1]], np.float32)
    who = np.array([0, 0, 1, 2])
    gender = np.array(["female", "female", "male", "female"])
    said = faces[[1, 0, 2, 3]]  # each of the first two is answered with the speaker's other face
    np.testing.assert_allclose(two_way_choice(said, faces, who), [1, 1, 1, 1])
    np.testing.assert_allclose(two_way_choice(said, faces, who, gender), [1, 1, np.nan, 1])


def test_the_mean_face_leaves_the_own_speaker_out_and_missing_faces_too() -> None:
    faces = np.array([[1, 0], [3, 0], [0, 4], [np.nan, np.nan]], np.float32)
    means = means_of_others(faces, np.array([0, 0, 1, 2]))
    expected = np.array([[0, 4], [0, 4], [2, 0], [4 / 3, 4 / 3]])
    np.testing.assert_allclose(means, expected, rtol=1e-6)


def test_one_answer_for_everybody_earns_half_a_two_way_choice() -> None:
    faces = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    same = np.tile(faces.mean(0), (200, 1))
    assert float(two_way_choice(same, faces, np.arange(200)).mean()) == pytest.approx(0.5, abs=1e-6)


def test_an_unknown_channel_is_refused_and_clean_is_always_there() -> None:
    with pytest.raises(InvalidOption, match="telephone"):
        choose_conditions(["telefone"])
    assert [one.name for one in choose_conditions(["noise 10 dB"])] == ["clean", "noise 10 dB"]
    assert choose_conditions(None) == CONDITIONS
