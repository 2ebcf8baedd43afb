"""Forgetting: from every file, for ever, provably, and equal to never having known."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face import forget as erasure
from speech2face.cli import app
from speech2face.data import duplicates
from speech2face.data import session as publication
from speech2face.data.manifest import COLUMNS, MANIFEST, Manifest, read_columns
from speech2face.data.record import LABELS as RECORD_LABELS
from speech2face.data.record import (
    MORPH_OF,
    PLAN,
    SOURCE_LABEL,
    TOMBSTONES,
    Record,
    Reject,
    Tombstones,
    read_tombstones,
    write_tombstones,
)
from speech2face.data.session import Preparation, prepare_data
from speech2face.data.shards import ShardWriter, default_cache_folder
from speech2face.data.storage import NewFile, Storage
from speech2face.errors import CannotWrite, DatasetError, InvalidOption, SpeakerNotForgotten
from speech2face.forget import clean_gallery, forget, verify_data
from tests.data.made_clips import EMBEDDER, made_clip, made_clips, made_data
from tests.data.stand_in import Texts, preparation, texts
from tests.data.test_session import contents, here

SPEAKER = "speaker 3"
LABELS = sorted({*RECORD_LABELS, SOURCE_LABEL})


def rest(folder: Path) -> dict[str, bytes]:
    """A data set without its tombstones, whose salt is drawn."""
    return {name: content for name, content in contents(folder).items() if name != TOMBSTONES}


def anywhere(folder: Path, text: bytes) -> list[str]:
    """Files that hold the text, hidden ones too."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Path, Preparation]:
    """A prepared data set and what it was prepared from."""
    first = preparation(texts(tmp_path / "media"))
    (tmp_path / "media" / "010.txt").unlink()  # of speaker 3
    prepare_data(tmp_path / "data", first, here)
    return tmp_path / "data", first


def test_nothing_of_a_forgotten_speaker_is_left_in_any_file(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    assert anywhere(data, SPEAKER.encode()) and anywhere(data, b"clip-003")
    told: list[tuple[str, int, int | None]] = []
    forgotten = forget(data, [SPEAKER], progress=lambda *how_far: told.append(how_far))
    for what in ("indexes read", "shards cleaned"):
        counts = [(done, of) for name, done, of in told if name == what]
        assert counts and counts == [(number, len(counts)) for number in range(1, len(counts) + 1)]
    assert forgotten.clips == 4  # 3, 10, 17, 24, 31, 38 less one missing and one rejected
    assert forgotten.unknown == ()
    assert anywhere(data, SPEAKER.encode()) == []
    for number in range(3, 40, 7):
        assert anywhere(data, f"clip-{number:03d}".encode()) == []
    verified = verify_data(data)
    assert (verified.forgotten, verified.clips) == (1, 40 - 1 - 4 - 4)  # missing, rejected, forgotten
    assert verified.manifest_sha256 == forgotten.manifest_sha256


def test_what_is_left_is_what_would_be_there_without_the_speaker(tmp_path: Path) -> None:
    made_data(tmp_path / "all", clips_per_shard=40)
    clips = [replace(clip) for clip in made_clips(40) if clip.speaker != SPEAKER]
    from speech2face.data.shards import write_shards
    from tests.data.made_clips import EMBEDDER

    write_shards(tmp_path / "without", clips, embedder=EMBEDDER, statement={"made": "up"}, clips_per_shard=40)
    forget(tmp_path / "all", [SPEAKER])
    tars = sorted((tmp_path / "without").glob("*.tar"))
    assert tars
    for tar in tars:
        for name in (tar.name, f"{tar.stem}.csv"):
            assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_another_run_does_not_bring_a_forgotten_speaker_back(prepared: tuple[Path, Preparation]) -> None:
    data, first = prepared
    forget(data, [SPEAKER])
    before = contents(data)
    prepare_data(data, first, here)
    assert contents(data) == before
    for path in data.iterdir():  # all but the tombstones: everything is prepared anew
        if path.name not in (TOMBSTONES, PLAN, ".lock"):
            path.unlink()
    prepare_data(data, first, here)
    assert anywhere(data, SPEAKER.encode()) == []
    verify_data(data)


def test_a_new_folder_honours_tombstones_it_is_given(prepared: tuple[Path, Preparation], tmp_path: Path) -> None:
    data, first = prepared
    forget(data, [SPEAKER])
    stones = read_tombstones(Storage(data))
    prepare_data(tmp_path / "anew", replace(first, forgotten=stones), here)
    assert anywhere(tmp_path / "anew", SPEAKER.encode()) == []
    assert verify_data(tmp_path / "anew").forgotten == 1
    prepare_data(tmp_path / "anew", first, here)  # not named again, and honoured all the same
    assert anywhere(tmp_path / "anew", SPEAKER.encode()) == []


def test_forgetting_before_anything_of_somebody_was_prepared_works_too(tmp_path: Path) -> None:
    first = preparation(texts(tmp_path / "media"))

    def one_shard(tasks: Iterator, on_poison: object) -> Iterator:  # type: ignore[type-arg]
        from tests.data import stand_in

        yield stand_in.prepare(next(tasks))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_data(tmp_path / "data", first, one_shard)
    (tmp_path / "data" / "test-000009.tar").write_bytes(b"speaker 3, a shard whose writing was killed")
    speaker = read_columns(next(tmp_path.glob("data/t*-000000.csv")).read_bytes(), ["speaker"], LABELS, "")[0][0]
    forgotten = forget(tmp_path / "data", [speaker, "nobody known"])
    assert forgotten.unknown == ("nobody known",)
    assert forgotten.manifest_sha256 is None
    prepare_data(tmp_path / "data", first, here)
    assert anywhere(tmp_path / "data", speaker.encode()) == []


@pytest.mark.parametrize("writes", range(1, 30, 3))
def test_forgetting_that_was_interrupted_is_finished_by_forgetting_again(
    prepared: tuple[Path, Preparation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    data, first = prepared
    prepare_data(tmp_path / "other", first, here)
    forget(tmp_path / "other", [SPEAKER])
    finished, finish = 0, NewFile.finish

    def stopped(file: NewFile) -> None:
        nonlocal finished
        finished += 1
        if finished > writes:
            raise CannotWrite("no space left on device")
        finish(file)

    interrupted = False
    with monkeypatch.context() as patched:
        patched.setattr(NewFile, "finish", stopped)
        try:
            forget(data, [SPEAKER])
        except CannotWrite:
            interrupted = True
    if interrupted and read_tombstones(Storage(data)) is not None:
        with pytest.raises(SpeakerNotForgotten, match="interrupted"):
            verify_data(data)
        with pytest.raises(DatasetError, match="interrupted"):
            prepare_data(data, first, here)
    forget(data, [SPEAKER])
    assert rest(data) == rest(tmp_path / "other")
    verify_data(data)


@pytest.mark.parametrize("names", [SPEAKER, b"speaker 3", 3, [3]])
def test_what_is_no_list_of_names_forgets_nobody(prepared: tuple[Path, Preparation], names: Any) -> None:
    folder, _ = prepared
    before = rest(folder)
    with pytest.raises(InvalidOption, match="name"):
        forget(folder, names)
    assert rest(folder) == before


def test_a_damaged_plan_does_not_stand_in_the_way(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    before = Manifest.open(data)
    (data / PLAN).write_bytes(b"{")
    forget(data, [before.table.speakers[0]])
    after = Manifest.open(data)
    assert before.table.speakers[0] not in after.table.speakers
    assert after.statement["settings"] == before.statement["settings"]
    verify_data(data)


def test_when_all_speakers_are_forgotten_no_data_set_is_left(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    assert forget(data, [f"speaker {number}" for number in range(7)]).manifest_sha256 is None
    assert not (data / MANIFEST).exists() and not list(data.glob("*.tar"))
    assert anywhere(data, b"speaker ") == []


def test_a_forgotten_speaker_smuggled_back_is_found(prepared: tuple[Path, Preparation], tmp_path: Path) -> None:
    data, _ = prepared
    stones = Tombstones.new().with_speakers([SPEAKER])
    write_tombstones(Storage(data), stones)
    with pytest.raises(SpeakerNotForgotten, match="still holds clip clip-0"):
        verify_data(data)
    forget(data)
    verify_data(data)
    table = data / "sources.rejects.csv"
    table.write_text(table.read_text() + f"x,{SPEAKER},y,no_media,z\n")
    with pytest.raises(SpeakerNotForgotten, match=r"sources\.rejects\.csv, line"):
        verify_data(data)


def test_verifying_notices_what_no_index_tells(prepared: tuple[Path, Preparation], tmp_path: Path) -> None:
    data, _ = prepared
    verify_data(data)
    shard = sorted(data.glob("*.tar"))[0]
    (data / "stray.tar").write_bytes(shard.read_bytes())
    with pytest.raises(DatasetError, match="stray"):
        verify_data(data)
    (data / "stray.tar").unlink()
    (data / ".speech2face-half").write_bytes(b"")
    with pytest.raises(DatasetError, match="half"):
        verify_data(data)
    (data / ".speech2face-half").unlink()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=shard.name):
        verify_data(data)


def test_a_tombstone_does_not_say_who(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    forget(data, [SPEAKER])
    stated = json.loads((data / TOMBSTONES).read_text())
    assert len(stated["speakers"]) == 1 and len(stated["clips"]) == 6
    assert Tombstones.new().with_speakers([SPEAKER]).speakers != set(stated["speakers"])  # another salt
    assert Tombstones(stated["salt"]).with_speakers([SPEAKER]).speakers == set(stated["speakers"])
    assert not Tombstones(stated["salt"], clips=frozenset(stated["speakers"])).has_clip(SPEAKER)


def test_damaged_tombstones_are_not_taken_for_none(prepared: tuple[Path, Preparation]) -> None:
    data, first = prepared
    (data / TOMBSTONES).write_text('{"format": 1}')
    with pytest.raises(DatasetError, match="restore it"):
        prepare_data(data, first, here)


def test_models_behind_links_are_named_and_links_that_go_round_end(
    prepared: tuple[Path, Preparation], tmp_path: Path
) -> None:
    data, models = prepared[0], tmp_path / "models"
    (tmp_path / "other disk").mkdir()
    models.mkdir()
    text = json.dumps({"manifest": hashlib.sha256((data / MANIFEST).read_bytes()).hexdigest()})
    (tmp_path / "other disk" / "model.json").write_text(text)
    (models / "first").symlink_to(tmp_path / "other disk")
    (tmp_path / "other disk" / "round").symlink_to(models)
    found = [trace.path.name for trace in forget(data, [SPEAKER], models=[models]).models]
    assert found == ["model.json"]


def test_models_checkpoints_and_derived_data_are_named(prepared: tuple[Path, Preparation], tmp_path: Path) -> None:
    data, _ = prepared
    old = Manifest.open(data).sha256
    models = tmp_path / "models"
    for name in ("release", "derived", "of derived", "innocent", "run/checkpoints"):
        (models / name).mkdir(parents=True)
    (models / "release" / "model.json").write_text(json.dumps({"training": {"voice_data_manifest_sha256": old}}))
    derived = json.dumps({"statement": {"morphs_of_manifest": old}})
    (models / "derived" / MANIFEST).write_text(derived)
    of_derived = hashlib.sha256(derived.encode()).hexdigest()
    (models / "of derived" / "CARD.md").write_text(f"- face data manifest sha256: {of_derived}")
    (models / "innocent" / "CARD.md").write_text("- face data manifest sha256: " + 64 * "0")
    header = json.dumps({"__metadata__": {"speech2face": json.dumps({"manifest": old})}}).encode()
    checkpoint = models / "run" / "checkpoints" / "step-00000001-0123456789abcdef.safetensors"
    checkpoint.write_bytes(len(header).to_bytes(8, "little") + header + bytes(100))
    found = {trace.path.relative_to(models).as_posix() for trace in forget(data, [SPEAKER], models=[models]).models}
    assert found == {
        "release/model.json",
        "derived/manifest.json",
        "of derived/CARD.md",
        "run/checkpoints/step-00000001-0123456789abcdef.safetensors",
    }
    later = forget(data, ["speaker 4"], models=[models]).models  # they were in the first manifest too
    assert {trace.path.relative_to(models).as_posix() for trace in later} == found


def test_a_face_that_was_made_of_a_forgotten_ones_goes_too(tmp_path: Path) -> None:
    pairs = {"morph-0": "clip-0003 clip-0005", "morph-1": "clip-0001 clip-0002", "morph-2": "clip-0004 clip-0013"}
    morphs = [
        replace(made_clip(20 + number), key=name, speaker=name, split="train", labels={MORPH_OF: made_of})
        for number, (name, made_of) in enumerate(pairs.items())
    ]
    photographs = [replace(made_clip(number), labels={MORPH_OF: ""}) for number in range(16)]
    data = tmp_path / "data"
    with ShardWriter(data, embedder=EMBEDDER, clips_per_shard=4) as writer:  # morphs lie before what they were made of
        for clip in [*morphs, *photographs]:
            writer.add(clip)
    write_tombstones(Storage(data), Tombstones.new().with_speakers(["somebody"]).with_clips(["clip-0003"]))
    with pytest.raises(SpeakerNotForgotten, match="morph-0"):
        verify_data(data)
    (data / TOMBSTONES).unlink()
    assert forget(data, ["speaker 3"]).clips == 2 + 2  # clips 3 and 13, and a morph of each
    assert verify_data(data).clips == 19 - 4
    assert set(Manifest.open(data).column(MORPH_OF)) == {"", pairs["morph-1"]}
    assert anywhere(data, b"clip-0003") == anywhere(data, b"morph-0") == []


def test_copies_of_rewritten_shards_leave_the_caches(prepared: tuple[Path, Preparation], tmp_path: Path) -> None:
    data, _ = prepared
    cache = tmp_path / "cache"
    cache.mkdir()
    for shard in Manifest.open(data).shards:
        (cache / f"{shard.sha256}.tar").write_bytes((data / shard.file).read_bytes())
    before = {shard.sha256 for shard in Manifest.open(data).shards}
    forgotten = forget(data, [SPEAKER], caches=[cache])
    after = {shard.sha256 for shard in Manifest.open(data).shards}
    assert {path.stem for path in forgotten.cached} == before - after != set()
    assert {path.stem for path in cache.iterdir()} == before & after
    assert anywhere(cache, SPEAKER.encode()) == []


def cached_copies(data: Path, cache: Path) -> set[str]:
    """Copies of all shards, as training keeps them; their SHA-256."""
    cache.mkdir()
    shards = Manifest.open(data).shards
    for shard in shards:
        (cache / f"{shard.sha256}.tar").write_bytes((data / shard.file).read_bytes())
    return {shard.sha256 for shard in shards}


@pytest.mark.parametrize("named", [(), (SPEAKER,)])
def test_a_cache_is_cleaned_by_any_later_forgetting(
    prepared: tuple[Path, Preparation], tmp_path: Path, named: tuple[str, ...]
) -> None:
    data, _ = prepared
    before = cached_copies(data, tmp_path / "cache")
    forget(data, [SPEAKER])
    forget(data, ["speaker 4"])
    after = {shard.sha256 for shard in Manifest.open(data).shards}
    assert anywhere(tmp_path / "cache", SPEAKER.encode())
    forgotten = forget(data, named, caches=[tmp_path / "cache"])
    assert {path.stem for path in forgotten.cached} == before - after
    assert anywhere(tmp_path / "cache", SPEAKER.encode()) == anywhere(tmp_path / "cache", b"speaker 4") == []
    assert {path.stem for path in (tmp_path / "cache").iterdir()} == before & after


@pytest.mark.parametrize("kept", [True, False])
def test_a_cache_is_cleaned_after_an_interruption_and_when_no_data_set_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    made_data(tmp_path / "data")
    before = cached_copies(tmp_path / "data", tmp_path / "cache")
    speakers = [f"speaker {number}" for number in range(10)]
    with monkeypatch.context() as patched:
        patched.setattr(erasure._Erasure, "_republish", lambda *_: pytest.fail("interrupted"))
        with pytest.raises(pytest.fail.Exception):
            forget(tmp_path / "data", speakers)
    stated = json.loads((tmp_path / "data" / TOMBSTONES).read_text())
    assert set(stated["shards"]) == before
    if not kept:  # as a version that did not keep them was interrupted
        del stated["shards"]
        (tmp_path / "data" / TOMBSTONES).write_text(json.dumps(stated))
    assert forget(tmp_path / "data").manifest_sha256 is None
    assert not list((tmp_path / "data").glob("*.tar"))
    assert {path.stem for path in forget(tmp_path / "data", caches=[tmp_path / "cache"]).cached} == before


def test_tombstones_written_before_shards_were_kept_are_read(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    forget(data, [SPEAKER])
    stated = json.loads((data / TOMBSTONES).read_text())
    assert stated.pop("shards")
    (data / TOMBSTONES).write_text(json.dumps(stated))
    stones = read_tombstones(Storage(data))
    assert stones is not None and stones.shards == () and stones.has_speaker(SPEAKER)


@pytest.mark.parametrize("wrong", ["models", "statement", "gallery", "rows", "arrays", "cache", "file", "data", "csv"])
def test_nothing_is_removed_when_anything_named_cannot_be_read(
    prepared: tuple[Path, Preparation], tmp_path: Path, wrong: str
) -> None:
    data, _ = prepared
    cached_copies(data, tmp_path / "cache")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "card.md").symlink_to(tmp_path / "gone.md")
    (tmp_path / "rows.csv").write_text("speaker,x\nspeaker 3\n")
    (tmp_path / "arrays.npz").write_bytes(b"no archive")
    (tmp_path / "right.csv").write_text(f"speaker,x\n{SPEAKER},1\n")
    missing = tmp_path / "missing"
    models = {"models": missing, "statement": tmp_path / "models"}
    galleries = {"gallery": missing, "rows": tmp_path / "rows.csv", "arrays": tmp_path / "arrays.npz"}
    caches = {"cache": missing, "file": tmp_path / "rows.csv"}
    if wrong == "csv":
        (data / "half.csv").write_bytes(b"\xff")
    (data / "train-000077.tar").write_bytes(b"left by a killed run")
    before = contents(data), contents(tmp_path / "cache")
    with pytest.raises(DatasetError):
        forget(
            missing if wrong == "data" else data,
            [SPEAKER],
            caches=[tmp_path / "cache", *([caches[wrong]] if wrong in caches else [])],
            galleries=[tmp_path / "right.csv", *([galleries[wrong]] if wrong in galleries else [])],
            models=[models[wrong]] if wrong in models else [],
        )
    assert (contents(data), contents(tmp_path / "cache")) == before
    assert SPEAKER in (tmp_path / "right.csv").read_text()
    assert not missing.exists()


def test_forgetting_without_a_cache_names_the_one_that_training_uses(
    prepared: tuple[Path, Preparation], tmp_path: Path
) -> None:
    data, _ = prepared
    done = CliRunner().invoke(app, ["data", "forget", SPEAKER, "--data", str(data)])
    assert done.exit_code == 0, done.output
    assert "not looked at" in done.output and str(default_cache_folder()) in done.output
    assert default_cache_folder().name == f"speech2face-shards-{os.getuid()}"
    (tmp_path / "cache").mkdir()
    options = ["data", "forget", "--data", str(data), "--cache", str(tmp_path / "cache")]
    assert "not looked at" not in CliRunner().invoke(app, options).output
    assert json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)["not_looked_at"] == ["models"]


def test_a_name_that_is_nowhere_fails_with_names_like_it_and_has_a_tombstone(
    prepared: tuple[Path, Preparation],
) -> None:
    data, _ = prepared
    options = ["data", "forget", "SPEAKER 33", SPEAKER, "--data", str(data)]
    done = CliRunner().invoke(app, options)
    assert isinstance(done.exception, DatasetError) and done.exception.exit_code == 41
    assert re.search(r'not found in the data: "SPEAKER 33" \(like it: speaker \d', str(done.exception))
    assert anywhere(data, SPEAKER.encode()) == []  # the others were forgotten
    stones = read_tombstones(Storage(data))
    assert stones is not None and stones.has_speaker("SPEAKER 33")
    assert CliRunner().invoke(app, options).exit_code == 0  # both have a tombstone now
    assert isinstance(CliRunner().invoke(app, [*options, "zz", "--json"]).exception, DatasetError)


def test_a_name_typed_in_another_form_or_found_in_a_gallery_alone_is_found(tmp_path: Path) -> None:
    made_data(tmp_path / "data")
    (tmp_path / "data" / "more.csv").write_text("clip,speaker\nc,Zo\u00eb\n")
    (tmp_path / "gallery.csv").write_text("speaker\nann\n\n")
    done = forget(tmp_path / "data", ["Zoe\u0308", "ann", "bob"], galleries=[tmp_path / "gallery.csv"])
    assert done.unknown == ("bob",)
    assert done.near == {"bob": ()}


def test_preparing_refuses_a_folder_without_tombstones(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "pairs.csv").write_text("recording,photograph,speaker\n")
    for wrong in (tmp_path / "data", tmp_path / "missing"):
        options = ["data", "prepare", "--pairs", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, [*options, "--forgotten", str(wrong)])
        assert isinstance(done.exception, DatasetError) and str(wrong) in str(done.exception)
        assert TOMBSTONES in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_rows_leave_gallery_files_and_other_files_are_refused(tmp_path: Path) -> None:
    stones = Tombstones.new().with_speakers(["b"]).with_clips(["c9"])
    arrays = {"speaker": np.array(["a", "b", "c"]), "face_embedding": np.arange(6).reshape(3, 2), "mean": np.zeros(2)}
    np.savez(tmp_path / "gallery.npz", **arrays)  # type: ignore[arg-type]
    assert clean_gallery(tmp_path / "gallery.npz", stones)
    with np.load(tmp_path / "gallery.npz") as found:
        assert found["speaker"].tolist() == ["a", "c"]
        assert found["face_embedding"].tolist() == [[0, 1], [4, 5]]
        assert found["mean"].shape == (2,)
    (tmp_path / "gallery.csv").write_text("clip,speaker,x\nc1,a,1\nc2,b,2\nc9,d,3\n")
    assert clean_gallery(tmp_path / "gallery.csv", stones)
    assert (tmp_path / "gallery.csv").read_text() == "clip,speaker,x\nc1,a,1\n"
    assert not clean_gallery(tmp_path / "gallery.csv", stones)
    (tmp_path / "gallery.bin").write_bytes(b"?")
    with pytest.raises(DatasetError, match="make it anew"):
        clean_gallery(tmp_path / "gallery.bin", stones)


def test_a_table_of_two_clips_a_row_loses_the_rows_of_either(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    table = data / "duplicates.csv"
    header, kept = "kind,clip,speaker,other_clip,other_speaker", "recording,a,speaker 1,b,speaker 2"
    table.write_text(f"{header}\nrecording,a,speaker 1,b,speaker 3\n{kept}\n")
    assert "duplicates.csv" in forget(data, [SPEAKER]).tables
    assert table.read_text().splitlines() == [header, kept]
    stones = read_tombstones(Storage(data))
    assert stones is not None and not stones.has_clip("a")  # it is speaker 1's


def test_an_index_without_its_shard_goes(prepared: tuple[Path, Preparation]) -> None:
    data, _ = prepared
    header = ",".join(COLUMNS)
    (data / "train-000077.csv").write_text(f"{header}\nclip-003,{SPEAKER},train,1.000,,,0,1,1\n")
    forget(data, [SPEAKER])
    assert not (data / "train-000077.csv").exists()


def test_forgetting_needs_a_data_set_and_somebody(tmp_path: Path, prepared: tuple[Path, Preparation]) -> None:
    with pytest.raises(DatasetError, match="no data set"):
        forget(tmp_path, [SPEAKER])
    with pytest.raises(InvalidOption, match="name a speaker"):
        forget(prepared[0])


def test_a_source_row_of_the_forgotten_is_not_listed_again(tmp_path: Path) -> None:
    class Missing(Texts):
        def records(self) -> Iterator[Record | Reject]:
            yield from super().records()
            yield Reject("clip-999", SPEAKER, "x", "no_media", "")

    source = texts(tmp_path / "media", 14)
    first = preparation(Missing(source.folder, source.count))
    prepare_data(tmp_path / "data", first, here)
    forget(tmp_path / "data", [SPEAKER])
    before = contents(tmp_path / "data")
    prepare_data(tmp_path / "data", first, here)
    assert contents(tmp_path / "data") == before
    assert anywhere(tmp_path / "data", b"clip-999") == []


def test_the_file_of_duplicates_has_one_name() -> None:
    assert publication.DUPLICATES == duplicates.DUPLICATES
