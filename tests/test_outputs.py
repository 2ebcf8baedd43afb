"""Files that belong together: all of them or none, and nothing of the user's is lost."""

import os
from pathlib import Path

import pytest

from speech2face import outputs
from speech2face.errors import CannotWrite, OutputExists
from speech2face.outputs import check_outputs, write_together


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_all_files_appear_and_nothing_else(tmp_path: Path) -> None:
    write_together({tmp_path / "a.png": b"A", tmp_path / "new" / "b.json": b"B"})
    assert names(tmp_path) == ["a.png", "b.json", "new"]
    assert (tmp_path / "new" / "b.json").read_bytes() == b"B"


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    write_together({tmp_path / "a": b""})
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_one_name_taken_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"mine")
    with pytest.raises(OutputExists, match="b exists already"):
        write_together({tmp_path / "a": b"A", tmp_path / "b": b"B"})
    assert names(tmp_path) == ["b"]
    assert (tmp_path / "b").read_bytes() == b"mine"


def test_a_name_taken_in_the_last_moment_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "check_outputs", lambda paths, force: None)
    (tmp_path / "b").write_bytes(b"mine")
    with pytest.raises(OutputExists):
        write_together({tmp_path / "new" / "a": b"A", tmp_path / "b": b"B"})
    assert names(tmp_path) == ["b"]
    assert (tmp_path / "b").read_bytes() == b"mine"


def test_force_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_together({tmp_path / "a": b"new", tmp_path / "b": b"B"}, force=True)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_takes_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    put_in_place, calls = outputs._put_in_place, []

    def fail_at_the_third(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise failure
        put_in_place(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(outputs, "_put_in_place", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else CannotWrite):
        write_together({tmp_path / "a": b"A", tmp_path / "new" / "b": b"B", tmp_path / "c": b"C"}, force=True)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_without_hard_links_it_works_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_together({tmp_path / "a": b"A"})
    assert (tmp_path / "a").read_bytes() == b"A"
    (tmp_path / "b").write_bytes(b"mine")
    monkeypatch.setattr(outputs, "check_outputs", lambda paths, force: None)
    with pytest.raises(OutputExists):
        write_together({tmp_path / "c": b"C", tmp_path / "b": b"B"})
    assert names(tmp_path) == ["a", "b"]


def test_places_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "a.png", tmp_path / ("n" * 300)):
        with pytest.raises(CannotWrite):
            check_outputs([path])
    check_outputs([tmp_path / "not" / "yet" / "there.png"])


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the administrator may write everywhere
    with pytest.raises(CannotWrite, match="permission"):
        check_outputs([tmp_path / "a.png"])
