"""One interface, three backends: search, filter, upsert, delete, forget."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face.data.record import Tombstones, read_tombstones
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, InvalidOption, RunLocked, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.forget import check_galleries, clean_gallery
from speech2face.gallery.entries import RECORD, Entry, Upserted, parse_where
from speech2face.gallery.files import FileStore, FileWriter, unit_rows
from speech2face.gallery.gallery import Gallery
from tests.gallery.made import SIZE, SPACE, made_entry, made_faces, made_gallery


@pytest.fixture(params=["exact", "faiss", "postgres"])
def gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gallery]:
    """Of forty faces, in each backend."""
    backend: str = request.param
    address = ""
    if backend == "faiss":
        pytest.importorskip("faiss", reason="install the extra `retrieval`")
    elif backend == "postgres":
        address = request.getfixturevalue("server").address
    with made_gallery(tmp_path / "gallery", backend, address=address) as opened:
        yield opened


def ids(gallery: Gallery, probe: np.ndarray, top: int = 10, **where: str) -> list[str]:
    return [hit.entry.id for hit in gallery.search(probe, top, where).hits]


def test_a_face_finds_itself_and_everything_known_of_it(gallery: Gallery) -> None:
    found = gallery.search(3 * made_faces(40)[17], 5)
    assert found.hits[0].entry == made_entry(17)
    assert found.hits[0].cosine == pytest.approx(1, abs=1e-5)
    assert [hit.rank for hit in found.hits] == [1, 2, 3, 4, 5]
    assert [hit.chance for hit in found.hits] == [rank / 40 for rank in range(1, 6)]
    assert (found.of, found.exact) == (40, True)


def test_ranks_and_the_random_face_are_those_of_numpy(gallery: Gallery) -> None:
    faces, probe = made_faces(40), made_faces(1, seed=3)[0]
    cosines = faces @ probe / np.linalg.norm(faces, axis=1) / np.linalg.norm(probe)
    found = gallery.search(probe, 40)
    assert [int(hit.entry.id[5:]) for hit in found.hits] == np.argsort(-cosines).tolist()
    np.testing.assert_allclose([hit.cosine for hit in found.hits], np.sort(cosines)[::-1], atol=1e-5)
    np.testing.assert_allclose(found.random_cosine, [cosines.mean(), cosines.std()], atol=1e-5)


def test_a_filter_keeps_what_has_all_its_labels(gallery: Gallery) -> None:
    found = gallery.search(made_faces(1, seed=3)[0], 40, {"gender": "female", "age": "22"})
    assert {int(hit.entry.id[5:]) for hit in found.hits} == {n for n in range(40) if n % 2 == 0 and n % 5 == 2}
    assert found.of == len(found.hits) == 4
    assert found.hits[0].chance == 0.25
    assert gallery.search(made_faces(1)[0], 3, {"gender": "unknown"}).hits == ()
    with pytest.raises(InvalidOption, match=r'no label "hair"; it has speaker, .*age, gender|gender, age'):
        gallery.search(made_faces(1)[0], 3, {"hair": "red"})


def test_an_id_that_is_there_is_replaced(gallery: Gallery) -> None:
    probe = made_faces(1, seed=8)
    old, new = replace(made_entry(5), labels={"hair": "red"}), made_entry(99)
    assert gallery.upsert([old, new], np.concatenate([probe, made_faces(1, seed=9)])) == Upserted(1, 1)
    assert len(gallery) == 41
    found = gallery.search(probe[0], 1, {"hair": "red"})
    assert (found.hits[0].entry, found.of) == (old, 1)
    assert gallery.search(made_faces(40)[5], 1).hits[0].cosine < 0.99


def test_the_same_id_twice_in_one_upsert_is_one_entry_the_later(gallery: Gallery) -> None:
    both = [replace(made_entry(70), source="first"), replace(made_entry(70), source="second")]
    assert gallery.upsert(both, made_faces(2, seed=6)) == Upserted(1, 1)
    assert gallery.search(made_faces(2, seed=6)[1], 1).hits[0].entry.source == "second"
    assert len(gallery) == 41


def test_what_is_deleted_is_gone_and_may_come_back(gallery: Gallery) -> None:
    assert gallery.delete(["face-00003", "face-00099"]) == 1
    assert "face-00003" not in ids(gallery, made_faces(40)[3], 40)
    gallery.upsert([made_entry(3)], made_faces(40)[3:4])
    assert ids(gallery, made_faces(40)[3], 1) == ["face-00003"]


def test_whoever_is_forgotten_is_gone_and_does_not_come_back(gallery: Gallery) -> None:
    done = gallery.forget(["speaker 4", "speaker 44"])
    assert (done.entries, done.speakers, done.unknown) == (2, ("speaker 4",), ("speaker 44",))
    assert done.near["speaker 44"][0] == "speaker 14"
    assert "speaker 4" not in gallery.speakers()
    assert not {"face-00008", "face-00009"} & set(ids(gallery, made_faces(40)[8], 40))
    assert (len(gallery), gallery.forgotten()) == (38, 2)
    with pytest.raises(DatasetError, match="was forgotten"):
        gallery.upsert([made_entry(8)], made_faces(1))
    with pytest.raises(DatasetError, match="was forgotten"):  # the face under another name
        gallery.upsert([replace(made_entry(8), speaker="somebody else")], made_faces(1))
    assert gallery.forget(["speaker 4"]).unknown == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (replace(made_entry(60), consent="  "), "no consent basis"),
        (replace(made_entry(60), speaker=""), "no speaker"),
        (replace(made_entry(60), labels={"a": "two\nlines"}), "not one line"),
    ],
)
def test_an_entry_that_may_not_enter_keeps_all_of_its_company_out(gallery: Gallery, entry: Entry, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        gallery.upsert([made_entry(61), entry], made_faces(2))
    assert len(gallery) == 40


def test_numbers_of_another_size_or_without_direction_are_refused(gallery: Gallery) -> None:
    with pytest.raises(WeightsError, match="of 12 numbers, not of shape"):
        gallery.search(np.ones(13))
    with pytest.raises(WeightsError, match="of 12 numbers"):
        gallery.upsert([made_entry(60)], np.ones((1, 13), np.float32))
    with pytest.raises(DatasetError, match="zero or not finite"):
        gallery.search(np.zeros(SIZE))
    with pytest.raises(InvalidOption, match="1 to 1000"):
        gallery.search(np.ones(SIZE), 0)
    assert len(gallery) == 40


def test_a_model_with_another_embedder_is_refused_and_another_with_the_same_is_not(gallery: Gallery) -> None:
    gallery.check_space(replace(SPACE, model_name="better", model_sha256="1" * 64))
    other = replace(SPACE, model_name="other", embedder=EmbedderRecord("planted", SIZE, settings={"seed": 1}))
    with pytest.raises(
        WeightsError, match=r"the gallery made.* was built with face embeddings of planted .*; other says"
    ):
        gallery.check_space(other)


def test_a_data_set_that_forgets_cleans_its_galleries(gallery: Gallery, tmp_path: Path) -> None:
    place = tmp_path / "gallery"
    tombstones = Tombstones.new().with_speakers(["speaker 2", "speaker 9"]).with_clips(["face-00030"])
    check_galleries([place])
    assert len(gallery) == 40
    assert clean_gallery(place, tombstones, ["speaker 9", "never there"]) == {"speaker 2", "speaker 9"}
    with Gallery.open(place) as after:
        assert not {"speaker 2", "speaker 9"} & after.speakers()
        assert len(after) == 40 - 2 - 2 - 1
        assert after.forgotten() == 3


def test_filters_are_read_from_text() -> None:
    assert parse_where(["gender=female", "note=a=b"]) == {"gender": "female", "note": "a=b"}
    for bad in (["gender"], ["=x"], ["a=1", "a=2"]):
        with pytest.raises(InvalidOption):
            parse_where(bad)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def break_at(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Writing fails like a full disk."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"speech2face.gallery.files.{where}", fail)


@pytest.mark.parametrize("where", ["NewFile", "FileWriter._pictures"])
def test_a_change_that_fails_leaves_the_gallery_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    made_gallery(tmp_path / "g")
    before = content(tmp_path / "g")
    with monkeypatch.context() as broken:
        break_at(broken, where)
        with pytest.raises(OSError, match="No space"):
            Gallery.open(tmp_path / "g").upsert([made_entry(70)], made_faces(1))
    after = content(tmp_path / "g")
    assert {name: after[name] for name in before} == before
    gallery = Gallery.open(tmp_path / "g")
    gallery.upsert([made_entry(70)], made_faces(1))
    assert len(Gallery.open(tmp_path / "g")) == 41
    assert not [name for name in content(tmp_path / "g") if "000001" in name]  # nor what the failure left


def test_nothing_of_a_forgotten_speaker_is_left_in_any_file(tmp_path: Path) -> None:
    gallery = made_gallery(tmp_path / "g")
    traces = (b"face-00008", b"speaker 4,", unit_rows(made_faces(40))[8].tobytes())
    for trace in traces:
        assert any(trace in found for found in content(tmp_path / "g").values())
    gallery.forget(["speaker 4"])
    for trace in traces:
        assert not any(trace in found for found in content(tmp_path / "g").values())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda g: next(g.glob("vectors*")).write_bytes(b"short"), "has 5 bytes"),
        (lambda g: (g / RECORD).write_text("{}"), "is damaged"),
        (lambda g: (g / RECORD).write_text("[]"), "is damaged"),
        (lambda g: (g / RECORD).unlink(), "holds no gallery"),
        (lambda g: next(g.glob("entries*")).unlink(), "entries-.* is missing, gallery.json names it"),
    ],
)
def test_a_damaged_gallery_is_refused(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    made_gallery(tmp_path / "g")
    damage(tmp_path / "g")
    with pytest.raises(DatasetError, match=said):
        Gallery.open(tmp_path / "g")


def test_two_cannot_write_at_once_and_the_second_must_open_again(tmp_path: Path) -> None:
    first, second = made_gallery(tmp_path / "g"), Gallery.open(tmp_path / "g")
    writer = FileWriter(Storage(tmp_path / "g"), first.record)
    with pytest.raises(RunLocked):
        second.delete(["face-00001"])
    writer.close()
    stale = FileStore(tmp_path / "g")
    first.delete(["face-00001"])
    with pytest.raises(DatasetError, match="changed by another process"):
        stale.writer()
    assert second.delete(["face-00002"]) == 1  # it looks at the gallery as it is now
    assert len(first) == len(Gallery.open(tmp_path / "g")) == 38


def test_of_two_that_forget_at_once_neither_loses_the_others_tombstones(gallery: Gallery, tmp_path: Path) -> None:
    """Each in a process of its own, before there is any record: one salt, all names."""
    code = (
        "import sys; from pathlib import Path; from speech2face.gallery.gallery import Gallery\n"
        "store = Gallery.open(sys.argv[1])._store; print(flush=True); sys.stdin.readline()\n"
        "for n in range(12): store.forget([f'{sys.argv[2]} {n}'], [])\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "gallery"), who], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for who in ("anna", "bert")
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
    for process in started:
        process.communicate(b"\n", timeout=100)
        assert process.returncode == 0
    assert gallery.forgotten() == 24
    assert gallery.forget([f"{who} {n}" for who in ("anna", "bert") for n in range(12)]).unknown == ()


def test_whom_another_process_removes_by_the_tombstone_meanwhile_was_there(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bury = type(gallery._store).forget

    def then_the_other(store: Any, speakers: Sequence[str], ids: Sequence[str]) -> Any:
        before = bury(store, speakers, ids)
        with Gallery.open(tmp_path / "gallery") as other:
            other.delete([identity for identity, who in other._store.people().items() if who in speakers])
        return before

    monkeypatch.setattr(type(gallery._store), "forget", then_the_other)
    done = gallery.forget(["speaker 4"])
    assert (done.entries, done.speakers, done.unknown) == (2, ("speaker 4",), ())


def test_somebody_forgotten_while_the_last_files_are_written_does_not_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = made_gallery(tmp_path / "g").writer()
    writer.put([replace(made_entry(90), speaker="speaker 77"), made_entry(91)], made_faces(2))
    whole, pictures = FileWriter._pictures, iter(["speaker 77"])

    def meanwhile(self: FileWriter, new: Sequence[Entry]) -> Iterator[bytes]:
        for name in pictures:
            with pytest.raises(RunLocked):
                Gallery.open(tmp_path / "g").forget([name])
        return whole(self, new)

    monkeypatch.setattr(FileWriter, "_pictures", meanwhile)
    assert writer.finish().entries == 41
    assert "speaker 77" not in Gallery.open(tmp_path / "g").speakers()


def test_a_face_of_the_forgotten_under_another_name_does_not_enter_while_it_is_written(gallery: Gallery) -> None:
    with contextlib.closing(gallery.writer()) as writer:
        gallery._store.forget(["speaker 44"], ["face-00088"])
        writer.put([replace(made_entry(88), speaker="another"), made_entry(90)], made_faces(2))
        writer.finish()
    assert len(gallery) == 41


def test_a_face_that_enters_while_its_speaker_is_forgotten_goes_too(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at who is there and the tombstone, another process adds one."""
    bury, late = type(gallery._store).forget, iter([made_entry(88)])

    def first_the_other(store: Any, speakers: Sequence[str], ids: Sequence[str]) -> Any:
        for entry in late:
            with contextlib.closing(store.writer()) as writer:
                writer.put([entry], unit_rows(made_faces(1)))
                gallery.record = writer.finish()
        return bury(store, speakers, ids)

    monkeypatch.setattr(type(gallery._store), "forget", first_the_other)
    assert gallery.forget(["speaker 44"]).entries == 1
    assert len(gallery) == 40


def test_somebody_forgotten_while_a_gallery_is_written_does_not_enter(tmp_path: Path) -> None:
    gallery = made_gallery(tmp_path / "g")
    writer = gallery.writer()
    writer.put([replace(made_entry(90), speaker="speaker 4")], made_faces(1))
    with pytest.raises(RunLocked, match="wait for it, then forget again: the tombstones are written"):
        Gallery.open(tmp_path / "g").forget(["speaker 4"])
    assert read_tombstones(Storage(tmp_path / "g")) is not None
    writer.finish()
    assert "speaker 4" not in Gallery.open(tmp_path / "g").speakers()


def test_the_page_of_galleries_shows_code_that_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gallery.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Callable[[Path, np.ndarray], int]] = {}
    exec(code, names)
    made_gallery(tmp_path / "g")
    assert names["use"](tmp_path / "g", made_faces(1, seed=2)[0]) == 38
    assert Gallery.open(tmp_path / "g").forgotten() == 1


@pytest.mark.parametrize("names", ["speaker 1", b"speaker 1", None, 3, [1], [None]])
def test_what_is_no_list_of_names_forgets_and_removes_nobody(gallery: Gallery, names: Any) -> None:
    for remove in (gallery.forget, gallery.delete):
        with pytest.raises(InvalidOption, match="name"):
            remove(names)
    assert (len(gallery), gallery.forgotten()) == (40, 0)


def test_what_cannot_be_searched_for_is_refused_by_name(gallery: Gallery) -> None:
    probe = made_faces(1)[0]
    for wrong in (2.5, "3", True, None, 0, 10_000):
        with pytest.raises(InvalidOption, match="top"):
            gallery.search(probe, wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="labels are text, such as '22'"):
        gallery.search(probe, 5, {"age": 22})  # type: ignore[dict-item]
    for shape in (made_faces(2), made_faces(1)[0, :3], 3.0):
        with pytest.raises(WeightsError, match="shape"):
            gallery.search(shape)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="array"):
        gallery.search(["a"] * SIZE)  # type: ignore[arg-type]
    assert gallery.search(probe.tolist(), 3).hits == gallery.search(probe, 3).hits


def test_a_text_that_could_not_be_read_again_is_refused(gallery: Gallery) -> None:
    with pytest.raises(DatasetError, match="200000 letters"):
        gallery.upsert([replace(made_entry(50), labels={"note": "x" * 200_000})], made_faces(1))
    assert len(gallery) == 40


def test_who_was_forgotten_by_another_process_is_not_found_any_more(tmp_path: Path) -> None:
    folder, probe = tmp_path / "gallery", made_faces(40)[17]
    with made_gallery(folder) as reader:
        reader.upsert([replace(made_entry(17), thumbnail=b"a picture")], made_faces(40)[17:18])
        assert reader.search(probe, 1).hits[0].entry.thumbnail == b"a picture"
        with Gallery.open(folder) as other:
            other.forget(["speaker 8"])
        found = reader.search(probe, 40)
        assert found.of == 38
        assert not [hit for hit in found.hits if hit.entry.speaker == "speaker 8"]
        reader.upsert([made_entry(60)], made_faces(1))  # and it can be changed here too
        with pytest.raises(DatasetError, match="forgotten"):
            reader.upsert([made_entry(17)], made_faces(1))
        record = replace(reader.record, identity="another", files={})
        with contextlib.closing(FileWriter(Storage(folder), record)) as writer:
            writer.put([made_entry(1)], unit_rows(made_faces(1)))
            writer.finish()
        with pytest.raises(DatasetError, match="open it again"):
            reader.search(probe)
