import csv
import errno
import os
import re
from pathlib import Path

import pytest

from speech2face.batch import gather
from speech2face.data.corpora import AVSpeech, Pairs, Videos, read_metadata
from speech2face.data.record import LABELS, REASONS, Record, Reject
from speech2face.data.sources import STATED, Basis, SourceInUse
from speech2face.errors import DatasetError, InvalidOption, UnreadableRecording

DOCS = Path(__file__).parents[3] / "docs" / "data-sources.md"
CORPORA = ("avspeech", "voxceleb1", "voxceleb2")
OWN = Basis(licence="own", consent="written")
PAIRS = """\
recording,photograph,speaker,licence,consent,start,end,split,age,mood
a.wav,a.png,Ann,CC0 1.0,"form 3, signed",1.5,8,test,40,calm
b.mp4,,Bob,,,,,,,
"""


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def pairs(folder: Path, content: str = PAIRS, basis: Basis = OWN) -> SourceInUse:
    (folder / "pairs.csv").write_text(content)
    return SourceInUse(Pairs(str(folder / "pairs.csv")), basis)


def reasons(found: list[Record | Reject]) -> list[str | None]:
    return [each.reason if isinstance(each, Reject) else None for each in found]


def test_a_row_is_a_recording_and_a_photograph_beside_the_table(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "a.png", "b.mp4")
    first, second = pairs(tmp_path).records()
    assert isinstance(first, Record)
    assert (first.media, first.photograph) == (str(tmp_path / "a.wav"), str(tmp_path / "a.png"))
    assert (first.speaker, first.source, first.split) == ("Ann", "pairs", "test")
    assert (first.licence, first.consent) == ("CC0 1.0", "form 3, signed")
    assert (first.start_seconds, first.end_seconds) == (1.5, 8.0)
    assert tuple(first.labels) == (*LABELS, "mood")
    assert (first.labels["age"], first.labels["mood"], first.labels["gender"]) == ("40", "calm", "")
    assert isinstance(second, Record)
    assert (second.photograph, second.start_seconds, second.split) == (None, None, None)
    assert (second.licence, second.consent) == ("own", "written")


def test_keys_do_not_change_when_rows_and_folders_move(tmp_path: Path) -> None:
    header, first, second = PAIRS.splitlines()
    keys = []
    for number, rows in enumerate(([first, second], [second, first])):
        folder = tmp_path / str(number)
        touch(folder, "a.wav", "a.png", "b.mp4")
        keys.append({each.speaker: each.key for each in pairs(folder, "\n".join([header, *rows])).records()})
    assert keys[0] == keys[1]
    assert keys[0]["Ann"].startswith("pair_a_")
    assert len(set(keys[0].values())) == 2


def test_what_is_missing_and_what_nobody_may_use_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.mp4")
    assert reasons(list(pairs(tmp_path).records())) == ["no_photograph", None]
    (tmp_path / "a.wav").unlink()
    assert reasons(list(pairs(tmp_path, basis=Basis()).records())) == ["no_media", "no_licence"]
    assert reasons(list(pairs(tmp_path, basis=Basis(licence="own")).records())) == ["no_media", "no_consent"]
    assert reasons(list(pairs(tmp_path, basis=Basis(allow=("licence", "consent"))).records())) == ["no_media", None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("photograph,speaker\na,b\n", ":1:1: no column 'recording'; the header needs recording, speaker"),
        ("recording,speaker,seconds\na,b,1\n", ":1:19: 'seconds' is no column of such a table: a label is"),
        ("recording,speaker,mood!\na,b,1\n", ":1:19: 'mood!' is no column"),
        ("recording,speaker,license\na,b,c\n", ":1:19: 'license' is no column of such a table: did you mean licence?"),
        ("recording,photogaph,speaker\na,b,c\n", ":1:11: 'photogaph' is no column of such a table: did you mean photo"),
        ("recording,speaker,Gendre\na,b,c\n", ":1:19: 'gendre' is no column of such a table: did you mean gender?"),
        ("recording,speaker\na.wav,\n", ":2:7: speaker is empty"),
        ("recording,speaker,start,end\na,b,3,2\n", ":2:7: end is 2, not after the start at 3"),
        ("recording,speaker,end\na,b,0\n", ":2:5: end is 0, not after the start at 0"),
        ("recording,speaker,split\na,b,my set\n", ":2:5: split is 'my set': at most 80 letters"),
        ("recording,speaker,face_x\na,b,0.5\n", ":2:1: one of face_x and face_y is empty"),
        ("recording,speaker,face_x,face_y\na,b,0.5,2\n", ":2:9: face_y is '2', no number from 0 to 1"),
    ],
)
def test_a_wrong_table_of_pairs_is_named_by_line_and_column(tmp_path: Path, content: str, said: str) -> None:
    source = pairs(tmp_path, content)
    with pytest.raises(DatasetError) as caught:
        list(source.records())
    assert str(caught.value).startswith(f"{tmp_path}/pairs.csv{said}")


def test_urls_in_a_table_are_left_as_they_are(tmp_path: Path) -> None:
    content = "recording,speaker\nhttps://example.org/a.wav,Ann\n/nowhere/b.wav,Bob\n"
    first, second = pairs(tmp_path, content).records()
    assert isinstance(first, Record)
    assert first.media == "https://example.org/a.wav"
    assert isinstance(second, Reject)
    assert second.media == "/nowhere/b.wav"


def test_a_folder_of_videos_names_speakers_by_sub_folder_or_file(tmp_path: Path) -> None:
    touch(tmp_path, "Ann/one.mp4", "Ann/more/two.webm", "Bob.mkv", ".hidden/x.mp4", "Ann/notes.txt")
    found = list(SourceInUse(Videos(str(tmp_path)), OWN).records())
    assert [(each.speaker, Path(each.media).name) for each in found] == [
        ("Ann", "two.webm"),
        ("Ann", "one.mp4"),
        ("Bob", "Bob.mkv"),
    ]
    assert len({each.key for each in found}) == 3
    assert reasons(list(SourceInUse(Videos(str(tmp_path)), Basis()).records())) == ["no_licence"] * 3


def test_a_table_of_speakers_says_what_is_known_of_them(tmp_path: Path) -> None:
    touch(tmp_path / "videos", "Ann/one.mp4", "Bob.mkv")
    table = tmp_path / "speakers.csv"
    table.write_text("speaker,licence,consent,split,gender\nAnn,CC0 1.0,signed,test,female\n")
    ann, bob = SourceInUse(Videos(str(tmp_path / "videos"), str(table)), Basis()).records()
    assert isinstance(ann, Record)
    assert (ann.licence, ann.consent, ann.split, ann.labels["gender"]) == ("CC0 1.0", "signed", "test", "female")
    assert isinstance(bob, Reject)
    table.write_text("speaker,licence\nAnn,a\nAnn,b\n")
    with pytest.raises(DatasetError, match=r":3:1: 'Ann' is in line 2 already"):
        list(Videos(str(tmp_path / "videos"), str(table)).records())
    table.write_text("speaker,license\nAnn,a\n")
    with pytest.raises(DatasetError, match=r":1:9: 'license' is no column of such a table: did you mean licence\?"):
        list(Videos(str(tmp_path / "videos"), str(table)).records())
    table.write_text("speaker,colour\nAnn,a\n")
    with pytest.raises(DatasetError, match=r":1:9: 'colour' is no column of such a table: there are speaker, licence"):
        list(Videos(str(tmp_path / "videos"), str(table)).records())


def test_a_folder_without_a_video_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "Ann/one.wav")
    with pytest.raises(DatasetError, match="holds no video"):
        list(Videos(str(tmp_path)).records())


def test_links_in_a_folder_of_videos_end(tmp_path: Path) -> None:
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "a.mp4").touch()
    (tmp_path / "Ann" / "up").symlink_to(tmp_path)
    (tmp_path / "one.mp4").symlink_to("two.mp4")
    (tmp_path / "two.mp4").symlink_to("one.mp4")
    found = [Path(each.media).name for each in Videos(str(tmp_path)).records()]
    assert found == ["a.mp4", "one.mp4", "two.mp4"]


def test_a_folder_inside_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Bob.mp4").touch()
    close_folder(monkeypatch, "Ann")
    with pytest.raises(DatasetError, match=r"cannot list .*Ann: Permission denied"):
        list(Videos(str(tmp_path)).records())
    with pytest.raises(UnreadableRecording, match=r"cannot read the folder .*Ann: Permission denied"):
        gather([str(tmp_path)])


def close_folder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let no folder of this name be listed, for whoever runs the tests."""
    scandir = os.scandir

    def closed(folder: str | os.PathLike[str]) -> object:
        if os.path.basename(folder) == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)


def test_a_file_without_line_ends_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text("x" * 200_000)
    with pytest.raises(DatasetError, match=r"pairs.json:1:1: .*field larger than"):
        list(Pairs(str(tmp_path / "pairs.json")).records())


def test_a_basis_names_what_may_be_missing() -> None:
    with pytest.raises(InvalidOption, match=r"allow.0 is 'everything'; it must be 'licence' or 'consent'"):
        Basis(allow=("everything",))  # type: ignore[arg-type]


def test_the_page_about_sources_says_what_is_filled_in_and_every_reason() -> None:
    page = DOCS.read_text()
    assert [stated.licence for stated in STATED.values() if stated.licence not in page] == []
    assert [stated.why for name, stated in STATED.items() if name in CORPORA and stated.why not in page] == []
    with (DOCS.parent / "reject_reasons.csv").open(encoding="utf-8", newline="") as file:
        assert {row["reason"]: row["meaning"] for row in csv.DictReader(file)} == REASONS


def test_the_tables_of_the_page_about_sources_are_read(tmp_path: Path) -> None:
    blocks = re.findall(r"```\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (own,) = (block for block in blocks if block.startswith("recording,"))
    touch(tmp_path, "ann/greeting.wav", "ann/portrait.png", "bob/talk.mp4")
    assert reasons(list(pairs(tmp_path, own, Basis()).records())) == [None, None]
    (known,) = (block for block in blocks if block.startswith("speaker,"))
    (tmp_path / "speakers.csv").write_text(known)
    touch(tmp_path / "videos", "Ann/one.mp4")
    assert reasons(list(Videos(str(tmp_path / "videos"), str(tmp_path / "speakers.csv")).records())) == [None]
    (celebrities,) = (block for block in blocks if block.startswith("VoxCeleb1 ID"))
    (tmp_path / "vox1_meta.csv").write_text(celebrities)
    assert dict(read_metadata(str(tmp_path / "vox1_meta.csv"), 1))["id10270"].official == "test"
    (spans,) = (block for block in blocks if block.startswith("0J0-ynqd0dk"))
    (tmp_path / "avspeech_train.csv").write_text(spans)
    found = AVSpeech(str(tmp_path / "avspeech_train.csv"), str(tmp_path / "videos")).records()
    assert reasons(list(found)) == ["no_media", "no_media"]


def test_no_corpus_is_said_to_have_asked_people_who_were_not_asked() -> None:
    assert {name for name, stated in STATED.items() if stated.consent} == set()


def test_the_same_pair_twice_is_listed_and_the_same_key_twice_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    content = "recording,speaker,key\na.wav,Ann,\nb.wav,Bob,k1\na.wav,Ann,\n"
    found = list(pairs(tmp_path, content).records())
    assert reasons(found) == [None, None, "repeated"]
    assert isinstance(found[2], Reject)
    assert found[2].detail == "line 4 is of the same files and span as line 2"
    with pytest.raises(DatasetError, match=r":5:11: the key 'k1' is in line 3 already"):
        list(pairs(tmp_path, content + "a.wav,Ann,k1\n").records())


def test_paths_of_windows_are_folders_and_give_the_keys_of_others(tmp_path: Path) -> None:
    touch(tmp_path, "talks/a.wav", "faces/deep/a.png")
    keys = []
    for slash in ("/", "\\"):
        (found,) = pairs(
            tmp_path, f"Recording;Photograph;Speaker\ntalks{slash}a.wav;faces{slash}deep{slash}a.png;Ann\n"
        ).records()
        assert isinstance(found, Record)
        assert (found.media, found.photograph) == (str(tmp_path / "talks/a.wav"), str(tmp_path / "faces/deep/a.png"))
        keys.append(found.key)
    assert keys[0] == keys[1]


def test_a_file_that_is_called_with_a_backslash_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "talks\\a.wav")
    (found,) = pairs(tmp_path, "recording,speaker\ntalks\\a.wav,Ann\n").records()
    assert isinstance(found, Record)
    assert found.media == str(tmp_path / "talks\\a.wav")
