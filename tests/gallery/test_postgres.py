"""What only a database does: it goes away and comes back, is built by one of several machines, and has an index."""

import contextlib
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

psycopg = pytest.importorskip("psycopg", reason="install the extra `retrieval`")

from speech2face.data.storage import Storage  # noqa: E402
from speech2face.errors import DatasetError, InvalidOption, RunLocked  # noqa: E402
from speech2face.gallery import postgres as postgres_connection  # noqa: E402
from speech2face.gallery import postgres as postgres_tables  # noqa: E402
from speech2face.gallery.entries import (  # noqa: E402
    RECORD,
    GalleryRecord,
    Upserted,
)
from speech2face.gallery.files import nearest, recall, unit_rows  # noqa: E402
from speech2face.gallery.gallery import Gallery  # noqa: E402
from speech2face.gallery.postgres import (  # noqa: E402  # noqa: E402
    Database,
    PostgresBuild,
    Tables,
    is_taken,
    shown,
    without_password,
)
from tests.gallery.made import SIZE, SPACE, made_entry, made_faces, made_gallery  # noqa: E402
from tests.gallery.server import Server  # noqa: E402


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A gallery's name that no other test has."""
    return f"g{abs(hash(request.node.nodeid)) % 10**12}"


def some(numbers: range) -> tuple[list[Any], np.ndarray]:
    return [made_entry(number) for number in numbers], unit_rows(made_faces(numbers.stop))[numbers.start :]


def rows_in(server: Server, table: str) -> int:
    with psycopg.connect(server.address) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert found is not None
        return int(found[0])


def test_a_server_that_goes_away_in_a_build_and_comes_back_costs_nothing(
    server: Server, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = GalleryRecord(name, SPACE, "postgres", "made", server.address)
    build = PostgresBuild(record, server.address, "plan")
    build.put(*some(range(20)))
    server.stop()
    back = threading.Timer(0.3, server.start)
    back.start()
    with caplog.at_level(logging.WARNING):
        build.put(*some(range(20, 40)))
    back.join()
    assert "went away" in caplog.text
    Storage(tmp_path / "g").write(RECORD, build.finish().encode())
    build.close()
    with Gallery.open(tmp_path / "g") as gallery:
        assert len(gallery) == 40
        for number in (3, 33):
            assert gallery.search(made_faces(40)[number], 1).hits[0].entry == made_entry(number)


def test_a_server_that_does_not_come_back_ends_the_build_and_the_next_goes_on(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "ATTEMPTS", 3)
    monkeypatch.setattr(postgres_connection, "FIRST_WAIT_SECONDS", 0.01)
    record = GalleryRecord(name, SPACE, "postgres", "made", server.address)
    build = PostgresBuild(record, server.address, "plan")
    build.put(*some(range(20)))
    server.stop()
    try:
        with pytest.raises(DatasetError, match=r"did not come back.*goes on where it stopped"):
            build.put(*some(range(20, 40)))
    finally:
        server.start()
    build.close()
    assert not is_taken(server.address, name)  # nobody sees half a gallery
    again = PostgresBuild(record, server.address, "plan")
    assert again.resumed
    assert again.digests(["face-00003", "face-00033"]) == {"face-00003": "d3"}
    again.close()
    other = PostgresBuild(record, server.address, "another plan")
    assert not other.resumed and other.digests(["face-00003"]) == {}
    other.close()


def test_entries_that_end_in_an_error_leave_nothing_of_their_batch(server: Server, name: str) -> None:
    build = PostgresBuild(GalleryRecord(name, SPACE, "postgres", "made"), server.address, "plan")
    entries, vectors = some(range(10))
    entries[9] = replace(entries[9], consent="")  # the table itself refuses it
    with pytest.raises(DatasetError, match="refuses"):
        build.put(entries, vectors)
    build.close()
    assert rows_in(server, f"gallery_{name}_building") == 0


def test_only_one_machine_builds_a_gallery(server: Server, name: str) -> None:
    record = GalleryRecord(name, SPACE, "postgres", "made")
    first = PostgresBuild(record, server.address, "plan")
    with pytest.raises(RunLocked, match="another process builds"):
        PostgresBuild(record, server.address, "plan")
    first.close()
    PostgresBuild(record, server.address, "plan").close()


def test_a_gallery_that_is_replaced_is_searched_until_the_new_one_is_there(server: Server, tmp_path: Path) -> None:
    with made_gallery(tmp_path / "g", "postgres", address=server.address) as old:
        build = PostgresBuild(replace(old.record, identity="new"), server.address, "plan")
        build.put(*some(range(10)))
        assert len(old) == 40
        build.finish()
        build.finish()  # as after an answer that was lost
        build.close()
    with pytest.raises(DatasetError, match="holds another gallery under this name"):
        Gallery.open(tmp_path / "g")


def test_whoever_is_forgotten_leaves_a_build_that_is_not_finished_too(server: Server, tmp_path: Path) -> None:
    with made_gallery(tmp_path / "g", "postgres", address=server.address) as gallery:
        build = PostgresBuild(replace(gallery.record, identity="new"), server.address, "plan")
        build.put(*some(range(10)))
        gallery.forget(["speaker 4"])
        assert rows_in(server, f"gallery_{gallery.record.name}_building") == 8
        build.put(*some(range(8, 12)))  # by a machine that read the tombstones before
        build.finish()
        build.close()
        assert rows_in(server, f"gallery_{gallery.record.name}") == 10


def test_two_machines_see_one_gallery(server: Server, tmp_path: Path) -> None:
    with made_gallery(tmp_path / "g", "postgres", address=server.address) as here:
        Storage(tmp_path / "there").write(RECORD, (tmp_path / "g" / RECORD).read_bytes())
        with Gallery.open(tmp_path / "there") as there:
            there.upsert([made_entry(50)], made_faces(1, seed=4))
            assert here.search(made_faces(1, seed=4)[0], 1).hits[0].entry.id == "face-00050"
            here.forget(["speaker 25"])
            assert len(there) == 40
            with pytest.raises(DatasetError, match="was forgotten"):
                there.upsert([made_entry(50)], made_faces(1))


def test_whoever_writes_does_not_bring_back_somebody_forgotten_meanwhile(server: Server, tmp_path: Path) -> None:
    with made_gallery(tmp_path / "g", "postgres", address=server.address) as gallery:
        writer = gallery.writer()
        gallery.forget(["speaker 4"])
        assert writer.put(*some(range(8, 12))) == Upserted(0, 2)
        assert len(gallery) == 38


def test_the_index_reaches_the_recall_it_states_and_filters_find_enough(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tables, "INDEXED_FROM", 500)
    with made_gallery(tmp_path / "g", "postgres", count=1000, address=server.address) as gallery:
        facts = gallery.index_facts()
        assert facts is not None and facts["recall_at_10"] >= 0.99
        probes = made_faces(20, seed=2)
        found = [gallery.search(probe, 10) for probe in probes]
        assert not any(each.exact for each in found)
        ids = np.array([[int(hit.entry.id[5:]) for hit in each.hits] for each in found])
        assert recall(ids, nearest(unit_rows(made_faces(1000)), unit_rows(probes), 10).rows) >= 0.95
        few = gallery.search(probes[0], 10, {"speaker": "speaker 77"})
        assert (few.exact, few.of, len(few.hits)) == (True, 2, 2)
        half = gallery.search(probes[0], 10, {"gender": "female", "age": "22"})
        assert (half.of, len(half.hits), half.exact) == (100, 10, True)  # the index found too few of these


def test_what_a_random_face_has_is_drawn_from_the_whole_table(server: Server, tmp_path: Path) -> None:
    with made_gallery(tmp_path / "g", "postgres", count=0, address=server.address) as gallery:
        faces = np.abs(made_faces(3000)) * np.where(np.arange(3000) < 1500, 1, -1)[:, None]  # two halves, apart
        with contextlib.closing(gallery.writer()) as writer:
            writer.put([made_entry(number) for number in range(3000)], unit_rows(faces))
        cosines = unit_rows(faces) @ unit_rows(np.ones((1, SIZE)))[0]
        for where, kept in ({}, slice(None)), ({"gender": "female"}, slice(0, None, 2)):
            mean, sd = gallery.search(np.ones(SIZE), 1, where).random_cosine
            assert abs(mean - cosines[kept].mean()) < 0.15 and abs(sd - cosines[kept].std()) < 0.05


def test_an_address_is_kept_and_shown_without_its_password() -> None:
    address = "postgresql://someone:secret@db.example:5433/faces"
    assert "secret" not in without_password(address) + shown(address)
    assert "db.example" in without_password(address)
    with pytest.raises(DatasetError, match="no address"):
        without_password("host=a password=secret nonsense")


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("the first connection waits for nobody"))


def test_where_nobody_answers_the_first_time_nothing_is_waited_for(tmp_path: Path, no_waiting: None) -> None:
    with pytest.raises(DatasetError, match=r"no database at host=.*--database"):
        Database(f"host={tmp_path} dbname=x")


@pytest.mark.parametrize("bad", ["", "Capital", "1st", "a" * 41, 'a"; drop'])
def test_a_name_that_is_none_in_a_database_is_refused(bad: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be called"):
        Tables(bad)
