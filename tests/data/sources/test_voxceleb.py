from pathlib import Path

import pytest

from speech2face.data.corpora import VoxCeleb, VoxCeleb1, VoxCeleb2, read_metadata
from speech2face.data.record import Record, Reject
from speech2face.data.sources import Basis, SourceInUse
from speech2face.errors import DatasetError, SpeakerLeak

ASKED = Basis(consent="ethics board 12/26")
VOX1 = """\
VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet
id10001\tA.J._Buckley\tm\tIreland\tdev
id10270\tEartha_Kitt\tf\tUSA\ttest
"""
VOX2 = """\
VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set 
id00012 ,n000012 ,m ,dev 
id00017 ,n000017 ,f ,test 
"""  # noqa: W291
HQ = """\
VoxCeleb2ID,VGGFace2ID,Name,Gender,Set
id00012,n000012,Aamir_Khan,m,dev
"""


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def written(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


def kept(source: VoxCeleb) -> list[Record]:
    records = list(SourceInUse(source, ASKED).records())
    assert all(isinstance(record, Record) for record in records), records
    return [record for record in records if isinstance(record, Record)]


def test_voxceleb_1_as_it_is_unpacked(tmp_path: Path) -> None:
    touch(tmp_path / "wav", "id10270/5r0dWxy17C8/00002.wav", "id10270/5r0dWxy17C8/00001.wav")
    touch(tmp_path / "wav", "id10001/1zcIwhmdeo4/00001.wav", "id10001/notes.txt", "readme.wav")
    source = VoxCeleb1(str(tmp_path), written(tmp_path / "vox1_meta.csv", VOX1), validation=0)
    first, *others = kept(source)
    assert first.key == "vox1_id10001_1zcIwhmdeo4_00001"
    assert first.media == str(tmp_path / "wav/id10001/1zcIwhmdeo4/00001.wav")
    assert (first.speaker, first.source, first.split) == ("id10001", "voxceleb1", "train")
    assert (first.start_seconds, first.end_seconds, first.photograph, first.face_x) == (None, None, None, None)
    assert {label: text for label, text in first.labels.items() if text} == {"gender": "male", "nationality": "Ireland"}
    assert [(other.key[-5:], other.split, other.labels["gender"]) for other in others] == [
        ("00001", "test", "female"),
        ("00002", "test", "female"),
    ]


def test_nobodys_name_is_in_the_records(tmp_path: Path) -> None:
    touch(tmp_path / "faces", "Eartha_Kitt/1.jpg")
    touch(tmp_path / "wav", "id10270/5r0dWxy17C8/00002.wav")
    (record,) = kept(VoxCeleb1(str(tmp_path / "wav"), written(tmp_path / "meta", VOX1)))
    assert "Kitt" not in str(record)


@pytest.mark.parametrize(
    ("content", "speaker", "names"),
    [(VOX2, "id00012", ("n000012",)), (HQ, "id00012", ("n000012", "Aamir_Khan"))],
)
def test_metadata_of_voxceleb_2_in_both_known_forms(
    tmp_path: Path, content: str, speaker: str, names: tuple[str, ...]
) -> None:
    found = dict(read_metadata(written(tmp_path / "vox2_meta.csv", content), 2))
    assert found[speaker].names == names
    assert (found[speaker].gender, found[speaker].official) == ("male", "train")


def test_of_sound_and_video_the_video_is_taken_and_the_sound_beside_pictures_from_elsewhere(tmp_path: Path) -> None:
    clip = "id00012/21Uxsk56VDQ/00001"
    touch(tmp_path, f"dev/aac/{clip}.m4a", f"dev/mp4/{clip}.mp4", f"dev/txt/{clip}.txt", "faces/id00012/1.png")
    (record,) = kept(VoxCeleb2(str(tmp_path)))
    assert record.media == str(tmp_path / f"dev/mp4/{clip}.mp4")
    (record,) = kept(VoxCeleb2(str(tmp_path), faces=str(tmp_path / "faces")))
    assert record.media == str(tmp_path / f"dev/aac/{clip}.m4a")
    assert record.photograph == str(tmp_path / "faces/id00012/1.png")


@pytest.mark.parametrize(
    ("tree", "below", "split"),
    [
        ("vox2", "dev/aac/", "train"),
        ("vox2", "vox2_test_aac/", "test"),
        ("test", "wav/", "test"),
        ("vox1_dev_wav/wav", "", "train"),
        ("test/vox", "", None),
        ("my_test", "", None),
    ],
)
def test_without_metadata_the_folders_tell_the_official_split(
    tmp_path: Path, tree: str, below: str, split: str | None
) -> None:
    touch(tmp_path / tree, f"{below}id00012/21Uxsk56VDQ/00001.m4a")
    (record,) = kept(VoxCeleb2(str(tmp_path / tree), validation=0))
    assert record.split == split


def test_a_speaker_unpacked_into_dev_and_test_is_a_leak(tmp_path: Path) -> None:
    touch(tmp_path, "dev/id00012/21Uxsk56VDQ/00001.m4a", "test/id00012/21Uxsk56VDQ/00002.m4a")
    with pytest.raises(SpeakerLeak, match="id00012 is below dev and below test"):
        list(VoxCeleb2(str(tmp_path)).records())


@pytest.mark.parametrize(
    ("version", "metadata", "folder"),
    [(1, VOX1, "Eartha_Kitt"), (1, VOX1, "eartha kitt"), (1, VOX1, "id10270"), (2, VOX2, "n000017")],
)
def test_pictures_are_found_by_identity(tmp_path: Path, version: int, metadata: str, folder: str) -> None:
    speaker = "id10270" if version == 1 else "id00017"
    touch(tmp_path / "tree", f"{speaker}/5r0dWxy17C8/00001.wav")
    touch(tmp_path / "faces", f"{folder}/00000001.JPG", "Somebody_Else/1.jpg")
    faces, place = str(tmp_path / "faces"), written(tmp_path / "meta.csv", metadata)
    assert version in (1, 2)
    (record,) = kept((VoxCeleb1 if version == 1 else VoxCeleb2)(str(tmp_path / "tree"), place, faces))
    assert record.photograph == f"{faces}/{folder}/00000001.JPG"


def test_pictures_of_the_same_video_come_first_and_the_choice_is_stable_and_spread(tmp_path: Path) -> None:
    videos = [f"aaaaaaaaa{number:02d}" for number in range(20)]
    touch(tmp_path / "tree", *(f"id10270/{video}/00001.wav" for video in videos))
    touch(tmp_path / "faces", *(f"Eartha_Kitt/{number}.jpg" for number in range(5)))
    touch(tmp_path / "faces", *(f"Eartha_Kitt/1.6/{videos[0]}/{number:07d}.jpg" for number in range(3)))
    place = written(tmp_path / "meta.csv", VOX1)
    source = VoxCeleb1(str(tmp_path / "tree"), place, str(tmp_path / "faces"))
    chosen = [record.photograph for record in kept(source)]
    assert f"/1.6/{videos[0]}/" in str(chosen[0])
    assert len(set(chosen[1:])) > 3
    assert chosen == [record.photograph for record in kept(source)]


def test_who_has_no_picture_is_listed(tmp_path: Path) -> None:
    touch(tmp_path / "tree", "id10001/1zcIwhmdeo4/00001.wav", "id10270/5r0dWxy17C8/00001.wav")
    touch(tmp_path / "faces", "Eartha_Kitt/1.jpg")
    place = written(tmp_path / "meta.csv", VOX1)
    found = list(VoxCeleb1(str(tmp_path / "tree"), place, str(tmp_path / "faces")).records())
    assert isinstance(found[0], Reject)
    assert (found[0].reason, found[0].speaker) == ("no_photograph", "id10001")
    assert isinstance(found[1], Record)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("VoxCeleb1 ID\tGender\nid10001\tm\n", ":1:1: no column 'set'; the header needs voxceleb1id, gender, set"),
        (VOX1.replace("\tm\t", "\tx\t"), ":2:22: gender is 'x', neither m nor f"),
        (VOX1.replace("\ttest", "\teval"), ":3:27: set is 'eval', neither dev nor test"),
        (VOX1.replace("id10270", "10270"), ":3:1: '10270' is no speaker of VoxCeleb, like id10001"),
        (VOX2, ":1:1: no column 'voxceleb1id'"),
    ],
)
def test_wrong_metadata_are_named_by_line_and_column(tmp_path: Path, content: str, said: str) -> None:
    place = written(tmp_path / "meta.csv", content)
    with pytest.raises(DatasetError) as caught:
        dict(read_metadata(place, 1))
    assert str(caught.value).startswith(place + said)


def test_a_folder_without_recordings_and_the_other_corpuss_metadata_are_errors(tmp_path: Path) -> None:
    touch(tmp_path / "tree", "id00012/21Uxsk56VDQ/00001.txt", "21Uxsk56VDQ/00001.wav")
    with pytest.raises(DatasetError, match="holds no recording of VoxCeleb: they are like id10001/"):
        list(VoxCeleb2(str(tmp_path / "tree")).records())
    touch(tmp_path / "tree", "id00099/21Uxsk56VDQ/00001.m4a")
    with pytest.raises(DatasetError, match="knows no speaker of"):
        list(VoxCeleb2(str(tmp_path / "tree"), written(tmp_path / "meta.csv", VOX2)).records())
