from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from speech2face.data.corpora import AVSpeech
from speech2face.data.record import Record, Reject
from speech2face.data.sources import Basis, SourceInUse
from speech2face.errors import DatasetError

ASKED = Basis(consent="ethics board 12/26")
TABLE = """\
0J0-ynqd0dk,90.000000,93.240000,0.421875,0.338889
-_sTg8iT_Ho,30.030000,36.036000,0.617969,0.0
"abcdefghijk",1,4.5,0.5,0.5,more,"and, more"
"""


def corpus(folder: Path, *files: str, table: str = TABLE, name: str = "avspeech_train.csv") -> AVSpeech:
    (folder / name).write_text(table)
    for file in files:
        path = folder / "videos" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return AVSpeech(str(folder / name), str(folder / "videos"))


def kept(source: AVSpeech) -> list[Record]:
    records = list(SourceInUse(source, ASKED).records())
    assert all(isinstance(record, Record) for record in records), records
    return [record for record in records if isinstance(record, Record)]


def test_a_row_is_a_span_of_a_video_with_a_hint_at_the_face(tmp_path: Path) -> None:
    source = corpus(tmp_path, "0J0-ynqd0dk.mp4", "-_/-_sTg8iT_Ho.webm", "abcdefghijk.MKV", "notes.txt", "short.mp4")
    first, second, third = kept(source)
    assert first.key == "av_0J0-ynqd0dk_0090000_0093240_422_339"
    assert first.media == str(tmp_path / "videos" / "0J0-ynqd0dk.mp4")
    assert (first.speaker, first.source, first.photograph) == ("0J0-ynqd0dk", "avspeech", None)
    assert (first.start_seconds, first.end_seconds) == (90.0, 93.24)
    assert (first.face_x, first.face_y) == (0.421875, 0.338889)
    assert second.media.endswith("-_/-_sTg8iT_Ho.webm")
    assert (second.face_x, second.face_y) == (0.617969, 0.0)
    assert third.media.endswith("abcdefghijk.MKV")
    assert (third.start_seconds, third.end_seconds) == (1.0, 4.5)


@pytest.mark.parametrize("name", ["_090.000000-093.240000", "_90_93.24", "_90.0", "-90.02"])
def test_the_time_of_a_cut_video_begins_at_its_clip(tmp_path: Path, name: str) -> None:
    row = TABLE.splitlines(keepends=True)[0]
    (record,) = kept(corpus(tmp_path, f"0J0-ynqd0dk{name}.mp4", "0J0-ynqd0dk_10.0-12.0.mp4", table=row))
    assert record.media.endswith(f"{name}.mp4")
    assert record.start_seconds == 0
    assert record.end_seconds == pytest.approx(3.24)


def test_a_video_that_was_not_downloaded_is_listed(tmp_path: Path) -> None:
    found = list(corpus(tmp_path, "0J0-ynqd0dk_80-85.mp4", "abcdefghijk.mp4.part").records())
    assert [reject.reason for reject in found if isinstance(reject, Reject)] == ["no_media"] * 3
    assert isinstance(found[1], Reject)
    assert found[1].speaker == "-_sTg8iT_Ho"
    assert found[1].detail == f"no file of the video -_sTg8iT_Ho in {tmp_path / 'videos'}"


def test_the_split_is_the_tables(tmp_path: Path) -> None:
    rows = "".join(f"aaaaaaa{number:04d},0,3,0.5,0.5\n" for number in range(400))
    files = [f"aaaaaaa{number:04d}.mp4" for number in range(400)]
    train = [record.split for record in kept(corpus(tmp_path, *files, table=rows))]
    assert set(train) == {"train", "validation"}
    assert 5 < train.count("validation") < 40
    test = corpus(tmp_path, *files, table=rows, name="AVSpeech_test.csv")
    assert {record.split for record in kept(test)} == {"test"}
    own = corpus(tmp_path, *files, table=rows, name="mine.csv")
    assert {record.split for record in kept(own)} == {None}


def test_nobody_was_asked_so_somebody_has_to_say_on_what_consent_rests(tmp_path: Path) -> None:
    source = corpus(tmp_path, "0J0-ynqd0dk.mp4")
    assert kept_consents(source) == {"ethics board 12/26"}
    for reject in SourceInUse(source, Basis()).records():
        assert isinstance(reject, Reject)
        assert reject.reason in ("no_consent", "no_media")
    (first, *_) = SourceInUse(source, Basis(allow=("consent",))).records()
    assert isinstance(first, Record)
    assert first.consent == ""
    assert "CC BY 4.0" in first.licence


def kept_consents(source: AVSpeech) -> set[str]:
    return {record.consent for record in SourceInUse(source, ASKED).records() if isinstance(record, Record)}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "YouTube ID,start segment,end segment,X,Y",
            ":4:1: id is 'YouTube ID', no YouTube id of 11 characters; the of",
        ),
        ("abcdefghijk,zero,4,0.5,0.5", ":4:13: start is 'zero', no number of seconds"),
        ("abcdefghijk,,4,0.5,0.5", ":4:13: start is empty"),
        ("abcdefghijk,4,4,0.5,0.5", ":4:15: end is 4, not after the start at 4"),
        ("abcdefghijk,0,4,1.5,0.5", ":4:17: x is '1.5', no number from 0 to 1"),
        ("abcdefghijk,0,4,0.5", ":4:17: one of x and y is empty"),
        ("abcdefghijk,0", ":4:13: end is empty"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_column(tmp_path: Path, row: str, said: str) -> None:
    source = corpus(tmp_path, "0J0-ynqd0dk.mp4", table=f"{TABLE}{row}\n")
    with pytest.raises(DatasetError) as caught:
        list(source.records())
    assert str(caught.value).startswith(source.table + said)


def test_two_speakers_of_the_same_seconds_are_two_clips_and_the_same_row_twice_is_one(tmp_path: Path) -> None:
    rows = "abcdefghijk,1,4,0.25,0.5\nabcdefghijk,1,4,0.75,0.5\nabcdefghijk,1,4,0.25,0.5\n"
    found = list(corpus(tmp_path, "abcdefghijk.mp4", table=rows).records())
    assert len({each.key for each in found[:2]}) == 2
    assert [each.reason for each in found if isinstance(each, Reject)] == ["repeated"]
    assert found[2].key == found[0].key


def test_no_folder_is_an_error_and_not_a_million_missing_videos(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    with pytest.raises(DatasetError, match="videos is no folder; name the one"):
        list(source.records())


def test_videos_and_table_may_be_behind_urls() -> None:
    place = f"memory://{uuid4()}"
    for name, content in (("avspeech_test.csv", TABLE.encode()), ("all/ab/abcdefghijk.mp4", b"")):
        with fsspec.open(f"{place}/{name}", "wb") as file:
            file.write(content)
    found = list(AVSpeech(f"{place}/avspeech_test.csv", f"{place}/all").records())
    assert [type(each) for each in found] == [Reject, Reject, Record]
    assert found[2].media == f"{place}/all/ab/abcdefghijk.mp4"
