"""Preparations that are stopped in every way, and what they leave: always what an undisturbed one leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speech2face.data.corpora import Pairs
from speech2face.data.manifest import Manifest
from speech2face.data.prepare import ShardResult, ShardTask
from speech2face.data.record import PLAN, SOURCES, WORKERS, read_rejects
from speech2face.data.session import JOURNAL, prepare_data
from speech2face.data.sources import Basis, SourceInUse
from speech2face.data.storage import NewFile, Storage
from speech2face.data.workers import OnPoison, Tally, WorkerLimits, run_local, spoken_time
from speech2face.errors import (
    CannotWrite,
    DatasetError,
    OutputExists,
    PreparationFailed,
    RunLocked,
    SpeakerLeak,
    Speech2FaceError,
)
from tests.data import stand_in
from tests.data.stand_in import preparation, texts

LIMITS = WorkerLimits(memory_bytes=2**29, seconds=20)


def in_processes(workers: int = 2, limits: WorkerLimits = LIMITS):  # type: ignore[no-untyped-def]
    """A runner of the stand-in."""

    def run(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterable[ShardResult]:
        return run_local(tasks, workers, prepare=stand_in.prepare, limits=limits, on_poison=on_poison)

    return run


def here(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterable[ShardResult]:
    """A runner without processes: fast, and stopped where a test wants."""
    return map(stand_in.prepare, tasks)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a data set."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    """What an undisturbed run of the same texts leaves."""
    prepare_data(tmp_path / "undisturbed", preparation(texts(tmp_path / "media")), here)
    return contents(tmp_path / "undisturbed")


def test_a_preparation_keeps_what_is_good_and_says_why_the_rest_fell_out(tmp_path: Path) -> None:
    source = texts(tmp_path / "media")
    (tmp_path / "media" / "003.txt").unlink()
    manifest = prepare_data(tmp_path / "out", preparation(source), here)
    found = {each.key: each.reason for each in read_rejects(Storage(tmp_path / "out"))}
    assert found == {f"clip-{n:03d}": "unreadable" for n in (8, 17, 26, 35)} | {"clip-003": "no_media"}
    assert len(manifest.table) == 40 - 5
    assert set(manifest.splits) <= {"train", "test"}
    assert manifest.embedder == stand_in.EMBEDDER
    assert JOURNAL not in contents(tmp_path / "out")


def test_where_every_path_is_wrong_the_first_are_named_and_all_are_listed(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    rows = "\n".join(f"missing/{number}.wav;Ann;clip-00{number}" for number in range(5))
    (tmp_path / "tables" / "pairs.csv").write_text(f"recording;speaker;key\n{rows}\n")
    source = SourceInUse(Pairs(str(tmp_path / "tables" / "pairs.csv")), Basis())
    wrong = replace(preparation(texts(tmp_path / "media")), sources=(source,))
    for _ in range(2):  # and again, where the table of the first try lies
        with pytest.raises(DatasetError) as caught:
            prepare_data(tmp_path / "out", wrong, here)
        said = str(caught.value)
        assert "5 times no_media" in said
        assert [f"there is no {tmp_path}/tables/missing/{n}.wav" in said for n in range(4)] == [True] * 3 + [False]
        assert f"paths are relative to {tmp_path}/tables" in said
        assert f"all are listed in {tmp_path}/out/{SOURCES}" in said
        assert [each.reason for each in read_rejects(Storage(tmp_path / "out"))] == ["no_media"] * 5
    for number in range(5):  # the paths mended, the same folder takes the data
        (tmp_path / "tables" / "missing").mkdir(exist_ok=True)
        (tmp_path / "tables" / "missing" / f"{number}.wav").touch()
    sources = (replace(source, basis=Basis(licence="own", consent="written")),)
    prepare_data(tmp_path / "out", replace(wrong, sources=sources), here)
    assert not [each for each in read_rejects(Storage(tmp_path / "out")) if each.reason == "no_media"]


def test_processes_give_the_same_bytes_whatever_their_number(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        prepare_data(out, preparation(texts(tmp_path / "media")), in_processes(workers))
        assert contents(out) == undisturbed


def test_a_worker_killed_once_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    def said(folder: Path) -> stand_in.Texts:
        return texts(folder, c002="kill once", c030="kill once")

    media = tmp_path / "media"
    source = said(media)
    for name in ("002", "030"):
        (media / f"{name}.txt.done").touch()
    prepare_data(tmp_path / "undisturbed", preparation(source), here)
    for path in media.glob("*.done"):
        path.unlink()
    prepare_data(tmp_path / "out", preparation(source), in_processes())
    assert len(list(media.glob("*.done"))) == 2
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("said", "why"),
    [("kill", "SIGKILL"), ("raise", "ArithmeticError"), ("eat", "512 MiB of memory"), ("sleep 60", "not done after")],
)
def test_a_record_that_ends_every_worker_is_found_and_left_out(tmp_path: Path, said: str, why: str) -> None:
    source = texts(tmp_path / "media", 4, c002=said)
    limits = replace(LIMITS, seconds=0.7) if said.startswith("sleep") else LIMITS
    manifest = prepare_data(tmp_path / "out", preparation(source), in_processes(limits=limits))
    failed = [each for each in read_rejects(Storage(tmp_path / "out")) if each.reason == "failed"]
    assert [each.key for each in failed] == ["clip-002"]
    assert why in failed[0].detail
    assert len(manifest.table) == 4 - 1
    before = contents(tmp_path / "out")
    prepare_data(tmp_path / "out", preparation(source), here)  # would kill this process if it were tried again
    assert contents(tmp_path / "out") == before


def test_many_failing_records_are_not_the_records_fault(tmp_path: Path) -> None:
    source = texts(tmp_path / "media", 5, **{f"c{number:03d}": "raise" for number in range(5)})
    with pytest.raises(PreparationFailed, match="not their fault"):
        prepare_data(tmp_path / "out", preparation(replace(source, split="train")), in_processes())


def test_a_stopped_driver_goes_on_without_touching_finished_shards(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    source, out = texts(tmp_path / "media"), tmp_path / "out"

    def stopped(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterator[ShardResult]:
        for _, task in zip(range(2), tasks, strict=False):
            yield stand_in.prepare(task)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_data(out, preparation(source), stopped)
    assert JOURNAL in contents(out) and "manifest.json" not in contents(out)
    (out / ".speech2face-left-behind").write_bytes(b"half")
    finished = {path: path.stat().st_mtime_ns for path in out.glob("t*-0*")}
    assert len(finished) == 3 * 2
    tallies: list[str] = []
    prepare_data(out, preparation(source), here, lambda tally: tallies.append(tally.line()))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert contents(out) == undisturbed
    assert "2 of" in tallies[0]


def test_a_damaged_journal_costs_only_time(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    prepare_data(out, preparation(texts(tmp_path / "media")), here)
    (out / JOURNAL).write_text("[}")
    prepare_data(out, preparation(texts(tmp_path / "media")), here)
    assert contents(out) == undisturbed


DRIVER = """
import sys
from pathlib import Path
from speech2face.data.session import prepare_data
from tests.data.stand_in import Texts, preparation
from tests.data.test_session import in_processes
if __name__ == "__main__":
    prepare_data(sys.argv[2], preparation(Texts(sys.argv[1], 40)), in_processes(2))
"""


def test_a_driver_killed_with_signal_9_goes_on_and_its_workers_die_with_it(tmp_path: Path) -> None:
    media, out = tmp_path / "media", tmp_path / "out"
    source = texts(media, c010="sleep 0.3", c020="sleep 30")
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "src")])
    driver = subprocess.Popen(
        [sys.executable, str(script), str(media), str(out)], env=os.environ | {"PYTHONPATH": path}
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.rejects.csv"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while any(_runs(int(child)) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children and not any(_runs(int(child)) for child in children)
    assert not (out / "manifest.json").exists()
    texts(media)  # nobody sleeps any more
    prepare_data(out, preparation(source), in_processes())
    prepare_data(tmp_path / "undisturbed", preparation(source), here)
    assert contents(out) == contents(tmp_path / "undisturbed")


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, source = tmp_path / "out", texts(tmp_path / "media")
    written, write = 0, NewFile.write

    def full(file: NewFile, content: bytes) -> None:
        nonlocal written
        written += len(content)
        if written > 30_000:
            raise CannotWrite("no space left on device")
        write(file, content)

    with monkeypatch.context() as patched:
        patched.setattr(NewFile, "write", full)
        with pytest.raises(CannotWrite, match="no space"):
            prepare_data(out, preparation(source), here)
    assert not list(out.glob(".speech2face-*"))
    prepare_data(out, preparation(source), here)
    assert contents(out) == undisturbed


def test_an_error_of_a_worker_arrives_as_it_is(tmp_path: Path) -> None:
    def run(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterable[ShardResult]:
        return run_local((replace(task, out="/proc/nowhere") for task in tasks), 2, prepare=stand_in.prepare)

    with pytest.raises(CannotWrite, match="nowhere"):
        prepare_data(tmp_path / "out", preparation(texts(tmp_path / "media")), run)


def test_no_more_tasks_are_taken_than_there_are_workers(tmp_path: Path) -> None:
    taken, done, most = 0, 0, 0

    def counted(tasks: Iterator[ShardTask]) -> Iterator[ShardTask]:
        nonlocal taken, most
        for task in tasks:
            taken += 1
            most = max(most, taken - done)
            yield task

    def run(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterator[ShardResult]:
        nonlocal done
        for result in run_local(counted(tasks), 2, prepare=stand_in.prepare):
            done += 1
            yield result

    prepare_data(tmp_path / "out", preparation(texts(tmp_path / "media")), run)
    assert done >= 6 and most == 2


def test_another_plan_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    source, out = texts(tmp_path / "media"), tmp_path / "out"
    prepare_data(out, preparation(source), here)
    first = preparation(source)
    with pytest.raises(OutputExists, match=r"seed was 0 and is 1"):
        prepare_data(out, replace(first, grouping=replace(first.grouping, seed=1)), here)
    with pytest.raises(OutputExists, match=r"options\.seconds was 6\.0 and is 3\.0"):
        prepare_data(out, replace(first, options=replace(first.options, seconds=3.0)), here)
    (tmp_path / "media" / "000.txt").unlink()
    with pytest.raises(OutputExists, match="other records"):
        prepare_data(out, first, here)


def test_a_data_set_made_otherwise_is_not_written_over(tmp_path: Path) -> None:
    from tests.data.made_clips import made_data

    made_data(tmp_path / "out")
    with pytest.raises(OutputExists, match="not prepared here"):
        prepare_data(tmp_path / "out", preparation(texts(tmp_path / "media")), here)


def test_two_preparations_do_not_write_into_one_folder(tmp_path: Path) -> None:
    source = texts(tmp_path / "media")

    def again(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterator[ShardResult]:
        with pytest.raises(RunLocked, match="another process"):
            prepare_data(tmp_path / "out", preparation(source), here)
        yield from here(tasks, on_poison)

    prepare_data(tmp_path / "out", preparation(source), again)


def used(*sources: stand_in.Texts) -> list[SourceInUse]:
    return [SourceInUse(source, Basis()) for source in sources]


def test_what_can_be_known_before_media_are_opened_is_said_before(tmp_path: Path) -> None:
    first = preparation(texts(tmp_path / "media"))
    never = lambda tasks, on_poison: pytest.fail("nothing should have been prepared")  # noqa: E731
    source = texts(tmp_path / "media")
    with pytest.raises(DatasetError, match="40 keys are given to more than one record"):
        prepare_data(tmp_path / "out", replace(first, sources=used(source, source)), never)
    twice = [replace(source, split=split) for split in ("train", "validation")]
    with pytest.raises(SpeakerLeak, match="train and validation"):
        prepare_data(tmp_path / "out", replace(first, sources=used(*twice)), never)
    with pytest.raises(DatasetError, match="no record to prepare: 40 times no_media"):
        prepare_data(tmp_path / "out", replace(first, sources=used(replace(source, folder="gone"))), never)
    assert not (tmp_path / "out" / PLAN).exists()


def test_media_that_come_or_go_while_shards_are_made_are_noticed(tmp_path: Path) -> None:
    source = texts(tmp_path / "media")

    def run(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterator[ShardResult]:
        (tmp_path / "media" / "039.txt").unlink()
        yield from here(tasks, on_poison)

    with pytest.raises(DatasetError, match="sources are being changed"):
        prepare_data(tmp_path / "out", preparation(source), run)


def test_output_may_be_a_url(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    fsspec = pytest.importorskip("fsspec")
    prepare_data("memory://prepared", preparation(texts(tmp_path / "media")), here)
    system = fsspec.filesystem("memory")
    try:
        found = {Path(name).name: system.cat(name) for name in system.ls("/prepared", detail=False)}
        assert found == undisturbed
        prepare_data("memory://prepared", preparation(texts(tmp_path / "media")), here)  # all finished
        assert len(Manifest.open("memory://prepared").table) == 36
    finally:
        system.rm("/prepared", recursive=True)


def test_a_url_that_cannot_be_reached_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(Speech2FaceError, match="nothing-there"):
        prepare_data("nothing-there://x", preparation(texts(tmp_path / "media")), here)


def test_the_plan_names_no_speaker_and_holds_no_record(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    plan = json.loads(undisturbed[PLAN])
    assert b"speaker 3" not in undisturbed[PLAN] and b"clip-003" not in undisturbed[PLAN]
    assert sum(shard["records"] for shard in plan["shards"]) == 40
    assert WORKERS not in undisturbed and SOURCES in undisturbed


def test_the_tally_tells_speed_and_time_left_of_this_run_alone() -> None:
    times = iter([0.0, 10.0, 10.0])
    tally = Tally(100, 4, now=lambda: next(times))
    tally.add_finished(40)
    tally.reject("no_media", 3)
    tally.add(ShardResult("train-000001", None, (), 20, {"decode": 1.0}))
    assert tally.line() == (
        "60 of 100 records; 2 of 4 shards; 2.0 clips/s; 20 kept; 3 rejected (no_media 3); 20 s left"
    )
    assert [spoken_time(seconds) for seconds in (50, 600, 9000)] == ["50 s", "10 min", "2.5 h"]
