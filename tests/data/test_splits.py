from collections import Counter

import pytest

from speech2face.data.record import Record, assign_split, check_speakers, official_split, speaker_draw, split_of
from speech2face.errors import InvalidOption, SpeakerLeak

SPEAKERS = [f"id{number:05d}" for number in range(20_000)]


def test_the_split_of_a_speaker_never_changes() -> None:
    """Stored: another result would move people of prepared data from training to test."""
    assert [assign_split(f"id{number:05d}", seed=0) for number in (10001, 10017, 10058)] == [
        "train",
        "validation",
        "test",
    ]
    assert speaker_draw("id10001", seed=0) == 0.4687406092270052
    assert speaker_draw("id10001", seed=1) != 0.4687406092270052


def test_shares_are_kept() -> None:
    """20,000 speakers: five standard deviations of a share of 5 % are 0.8 %."""
    counted = Counter(assign_split(speaker, seed=3) for speaker in SPEAKERS)
    assert counted["validation"] / 20_000 == pytest.approx(0.05, abs=0.008)
    assert counted["test"] / 20_000 == pytest.approx(0.05, abs=0.008)
    assert sum(counted.values()) == 20_000
    assert set(counted) == {"train", "validation", "test"}


def test_the_order_of_the_shares_does_not_matter() -> None:
    one, other = {"train": 0.5, "test": 0.5}, {"test": 0.5, "train": 0.5}
    assert all(assign_split(s, seed=0, shares=one) == assign_split(s, seed=0, shares=other) for s in SPEAKERS[:500])


def test_letters_composed_differently_are_the_same_speaker() -> None:
    assert speaker_draw("Jos\u00e9", seed=0) == speaker_draw("Jose\u0301", seed=0)


def test_a_share_of_nothing_gets_nobody() -> None:
    shares = {"train": 0.5, "test": 0.5, "validation": 0.0}
    assert {assign_split(speaker, seed=0, shares=shares) for speaker in SPEAKERS[:500]} == {"train", "test"}


@pytest.mark.parametrize("shares", [{"train": 0.9}, {"train": 1.5, "test": -0.5}, {}, {"train": float("nan")}])
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InvalidOption, match="the shares of the splits"):
        assign_split("Ann", seed=0, shares=shares)


def test_official_splits_win() -> None:
    record = Record("a", "a.wav", "Ann", "pairs", split="test")
    assert split_of(record, seed=0, shares={"train": 1.0}) == "test"
    assert split_of(Record("a", "a.wav", "Ann", "pairs"), seed=0, shares={"train": 1.0}) == "train"


def test_validation_is_taken_from_official_training_only() -> None:
    drawn = Counter(official_split("train", speaker, seed=0, validation=0.1) for speaker in SPEAKERS[:5000])
    assert set(drawn) == {"train", "validation"}
    assert drawn["validation"] / 5000 == pytest.approx(0.1, abs=0.02)
    assert official_split("test", "Ann", seed=0, validation=0.9) == "test"
    assert official_split("train", "Ann", seed=0, validation=0.0) == "train"


def test_a_speaker_in_two_splits_is_named_before_anything_is_prepared() -> None:
    check_speakers([("Ann", "train"), ("Bob", "test"), ("Ann", "train")])
    with pytest.raises(SpeakerLeak, match=r"1 speakers are in more than one split \(Ann in test and train\)"):
        check_speakers([("Ann", "train"), ("Bob", "test"), ("Ann", "test")])
