from typing import Any

import pytest

from speech2face.data.record import REASONS, Record, Reject, fill_labels, reject
from speech2face.errors import DatasetError


def made(**changes: Any) -> Record:
    return Record(**{"key": "a-1", "media": "a.mp4", "speaker": "Ann", "source": "videos", **changes})


def test_a_clips_labels_say_where_it_came_from() -> None:
    assert made(labels={"age": "40"}).clip_labels == {"age": "40", "source": "videos"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": "a.1"}, "the key is none"),
        ({"key": "a" * 81}, "the key is none"),
        ({"media": ""}, "the media is not named"),
        ({"speaker": " "}, "the speaker ' ' is none"),
        ({"licence": "CC\nBY"}, "the licence 'CC\\\\nBY' is none"),
        ({"split": "dev/test"}, "the split 'dev/test' is none"),
        ({"start_seconds": -1.0}, "the span -1.0 to None s is none"),
        ({"start_seconds": 2.0, "end_seconds": 2.0}, "ends at 2 s, not after its start at 2 s"),
        ({"end_seconds": float("nan")}, "is none: seconds from 0"),
        ({"face_x": 0.5}, "needs x and y"),
        ({"face_x": 0.5, "face_y": 1.5}, r"\(0.5, 1.5\) is outside"),
    ],
)
def test_a_record_that_cannot_become_a_clip_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        made(**changes)


def test_a_name_is_the_same_however_its_letters_were_typed() -> None:
    assert made(speaker="Zo\u00eb").speaker == made(speaker="Zoe\u0308").speaker == "Zo\u00eb"


def test_a_reject_has_a_known_reason_and_one_line_of_detail() -> None:
    assert reject(made(), "no_face", "in none\n of 12 frames") == Reject(
        "a-1", "Ann", "a.mp4", "no_face", "in none of 12 frames"
    )
    assert all(reason.isidentifier() and REASONS[reason] for reason in REASONS)
    with pytest.raises(DatasetError, match="'ugly' is no reason for a reject; there are no_media"):
        reject(made(), "ugly", "")


def test_labels_are_filled_in_their_order_and_none_is_lost() -> None:
    assert list(fill_labels(made(labels={"age": "40"}), ("gender", "age")).labels.items()) == [
        ("gender", ""),
        ("age", "40"),
    ]
    with pytest.raises(DatasetError, match="has the label age, others do not"):
        fill_labels(made(labels={"age": "40"}), ("gender",))
