import itertools
import multiprocessing
import os
import pickle
import signal
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from speech2face.audio.spectrogram import tile
from speech2face.data.clips import Batch, ClipDataset, Parts, clip_loader
from speech2face.data.manifest import PARTS, Manifest, Part
from speech2face.data.members import Clip
from speech2face.data.shards import BatchOrder, PassOrder, ShardCache, write_shards
from speech2face.errors import DatasetError
from tests.data.made_clips import made_clip, made_data


def clips_of(manifest: Manifest, *, parts: Sequence[Part] = PARTS, seconds: float = 0.1) -> ClipDataset:
    return ClipDataset(manifest, "train", parts=parts, seconds=seconds)


def same(one: Sequence[Batch], other: Sequence[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


def scaled(parts: Parts, random: np.random.Generator) -> None:
    parts["waveform"][:] = (parts["waveform"] * random.uniform(0.5, 1)).astype(np.int16)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    clips = clips_of(made_data(tmp_path))
    read = clips[3]
    written = made_clip(int(clips.table.key_of(3)[-4:]))
    assert written.waveform is not None and written.aligned_face is not None
    assert_array_equal(read["waveform"], written.waveform)
    assert_array_equal(read["face_embedding"], written.face_embedding)
    assert_array_equal(read["aligned_face"], written.aligned_face.transpose(2, 0, 1))
    assert_array_equal(read["landmarks"], written.landmarks)
    assert clips.table.speakers[int(read["speaker"])] == written.speaker
    dtypes = {key: value.dtype for key, value in read.items()}
    assert dtypes == {
        "waveform": torch.int16,
        "face_embedding": torch.float32,
        "aligned_face": torch.uint8,
        "landmarks": torch.float32,
        "speaker": torch.int64,
    }


def test_only_the_parts_asked_for_are_there(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    assert set(ClipDataset(manifest, "test")[0]) == {"waveform", "face_embedding", "speaker"}
    assert set(ClipDataset(manifest, None, parts=["landmarks"])[39]) == {"landmarks", "speaker"}


def test_a_clip_too_short_is_repeated_then_cut_and_a_long_one_gives_its_beginning(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)  # 1,600 samples each
    written = made_clip(0).waveform
    assert written is not None
    for samples in (1, 700, 1600, 1601, 3200, 4000):
        read = clips_of(manifest, seconds=samples / 16_000)[0]["waveform"]
        assert_close(read, torch.from_numpy(tile(written, samples)))


def test_a_part_the_clips_do_not_have_is_named(tmp_path: Path) -> None:
    manifest = made_data(tmp_path, faces=False)
    with pytest.raises(DatasetError, match="no aligned_face and no landmarks; they have waveform, face_embedding"):
        clips_of(manifest)


def test_photographs_without_recordings_are_a_data_set_too(tmp_path: Path) -> None:
    face = made_clip(1).aligned_face
    write_shards(tmp_path, [Clip("a", "anna", "train", aligned_face=face), Clip("b", "bo", "train", aligned_face=face)])
    manifest = Manifest.open(tmp_path)
    assert manifest.layout.parts == ("aligned_face",)
    assert clips_of(manifest, parts=["aligned_face"])[1]["aligned_face"].shape == (3, 6, 5)


def test_a_data_set_is_a_sequence_that_ends(tmp_path: Path) -> None:
    clips = clips_of(made_data(tmp_path, 10))
    assert len(list(clips)) == len(clips) == 8  # type: ignore[call-overload]  # torch gives it no __iter__
    assert same([clips[-1]], [clips[7]])


def test_workers_change_nothing(tmp_path: Path) -> None:
    clips = ClipDataset(made_data(tmp_path), "train", parts=PARTS, seconds=0.1, augment=scaled, seed=5)
    order = BatchOrder(clips.table, 4, seed=1)
    alone = list(itertools.islice(clip_loader(clips, order), 20))
    assert same(list(itertools.islice(clip_loader(clips, order, workers=2), 20)), alone)


def test_a_loader_that_starts_at_a_step_goes_on_where_another_stopped(tmp_path: Path) -> None:
    clips = ClipDataset(made_data(tmp_path), "train", seconds=0.1, augment=scaled, seed=5)  # 32 clips: 8 steps an epoch
    every = list(itertools.islice(clip_loader(clips, BatchOrder(clips.table, 4, seed=1)), 20))
    for start in (3, 8, 13):
        later = clip_loader(clips, BatchOrder(clips.table, 4, seed=1, start_step=start), workers=start % 2)
        assert same(list(itertools.islice(later, 20 - start)), every[start:])


def test_chance_is_another_in_each_epoch_but_the_same_for_a_draw(tmp_path: Path) -> None:
    clips = ClipDataset(made_data(tmp_path), "train", seconds=0.1, augment=scaled, seed=5)
    first, again, next_epoch = (clips.batch([draw])["waveform"] for draw in (3, 3, 3 + len(clips)))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_epoch)
    other = ClipDataset(Manifest.open(tmp_path), "train", seconds=0.1, augment=scaled, seed=6)
    assert not torch.equal(other.batch([3])["waveform"], first)


def test_a_pass_gives_every_clip_once_also_the_last_few(tmp_path: Path) -> None:
    clips = ClipDataset(made_data(tmp_path), "test", parts=["face_embedding"])
    batches = list(clip_loader(clips, PassOrder(clips.table, 3)))
    assert [len(batch["speaker"]) for batch in batches] == [3, 3, 2]
    assert_close(torch.cat([b["face_embedding"] for b in batches]), torch.stack([c["face_embedding"] for c in clips]))  # type: ignore[attr-defined]


def break_first_test_shard(folder: Path, old: bytes, new: bytes) -> None:
    path = folder / "test-000000.tar"
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said", "workers"),
    [
        (b"clip-0008.wav", b"clip-0008.wax", "contradicts its checksum", 0),
        (b"ustar", b"?star", "no tar header", 0),
        ((16_000).to_bytes(4, "little"), (8_000).to_bytes(4, "little"), "8000 Hz; 16000 Hz is needed", 0),
        (b"'shape': (8,)", b"'shape': (9,)", "no NumPy array", 0),
        (b"\x89PNG", b"\x89PNX", "no PNG", 0),
        (b"\x89PNG", b"\x89PNX", "no PNG", 1),
    ],
)
def test_a_damaged_clip_is_one_line_with_file_and_clip(
    tmp_path: Path, old: bytes, new: bytes, said: str, workers: int
) -> None:
    made_data(tmp_path)
    break_first_test_shard(tmp_path, old, new)
    clips = ClipDataset(Manifest.open(tmp_path), "test", parts=PARTS)
    with pytest.raises(DatasetError, match=rf"\A[^\n]*test-000000\.tar, clip clip-0008: [^\n]*{said}[^\n]*\Z"):
        list(clip_loader(clips, PassOrder(clips.table, 8), workers=workers))


def test_a_clip_without_one_of_its_members_is_named(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    path = tmp_path / "test-000000.tar"
    content = bytearray(path.read_bytes())
    start = content.index(b"clip-0008.wav")
    content[start : start + 13] = b"clip-0008.wau"
    total = int(content[start + 148 : start + 154], 8) - 1  # right again, "u" being one less than "v": a writer's fault
    content[start + 148 : start + 154] = f"{total:06o}".encode()
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"clip-0008: has no member clip-0008\.wav"):
        ClipDataset(manifest, "test")[0]


def test_a_shard_cut_short_or_gone_after_opening_is_named(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    path = tmp_path / "test-000000.tar"
    os.truncate(path, path.stat().st_size - 3000)
    clips = ClipDataset(manifest, "test", parts=PARTS)
    with pytest.raises(DatasetError, match=r"test-000000\.tar is cut short"):
        clips.batch(range(len(clips)))
    path.unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*test-000000\.tar: No such file"):
        ClipDataset(manifest, "test")[0]


def test_a_data_set_that_was_read_may_be_forked_and_pickled(tmp_path: Path) -> None:
    clips = clips_of(made_data(tmp_path))
    first = clips[0]
    assert same([pickle.loads(pickle.dumps(clips))[0]], [first])
    order = PassOrder(clips.table, 8)
    assert same(list(clip_loader(clips, order, workers=2)), list(clip_loader(clips, order)))


def test_a_forked_process_leaves_its_parents_files_alone(tmp_path: Path) -> None:
    clips = clips_of(made_data(tmp_path, clips_per_shard=40))
    first = clips[0]
    (file,) = clips._reader._files.values()
    place = file.tell()
    child = multiprocessing.get_context("fork").Process(target=clips.batch, args=([20],))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == 0
    assert file.tell() == place  # a file opened before the fork has one place for both
    assert same([clips[0]], [first])


def test_more_shards_than_open_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech2face.data.shards.OPEN_FILES", 2)
    clips = clips_of(made_data(tmp_path, clips_per_shard=2))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert len(clips.batch(range(32))["speaker"]) == 32
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 2


@pytest.mark.parametrize("cached", [False, True])
def test_a_data_set_behind_a_url_reads_the_same(tmp_path: Path, cached: bool) -> None:
    url = f"memory://{uuid4()}/data"
    cache = ShardCache(tmp_path / "cache", 10**9) if cached else None
    remote = ClipDataset(made_data(url), "train", parts=PARTS, seconds=0.1, cache=cache)
    local = clips_of(made_data(tmp_path / "local"))
    draws = list(range(len(local)))[::-1]
    assert same([remote.batch(draws)], [local.batch(draws)])
    assert (tmp_path / "cache").exists() is cached


def test_a_cache_holds_no_more_than_it_may_and_refuses_changed_bytes(tmp_path: Path) -> None:
    url = f"memory://{uuid4()}/data"
    manifest = made_data(url, 60, clips_per_shard=8)
    most = 3 * max(shard.bytes for shard in manifest.shards)
    clips = ClipDataset(manifest, "train", seconds=0.1, cache=ShardCache(tmp_path / "cache", most))
    for clip in range(len(clips)):
        assert (
            clips.table.speakers[int(clips[clip]["speaker"])] == made_clip(int(clips.table.key_of(clip)[-4:])).speaker
        )
    kept = [path.stat().st_size for path in (tmp_path / "cache").iterdir()]
    assert 0 < sum(kept) <= most
    with manifest.storage._remote[0].open(f"{manifest.storage._remote[1]}/test-000000.tar", "r+b") as file:
        file.seek(0)
        file.write(b"X")
    with pytest.raises(DatasetError, match=r"test-000000\.tar has been changed or damaged"):
        ClipDataset(manifest, "test", cache=ShardCache(tmp_path / "cache", most))[0]


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs a system that tells who sent a signal")
def test_a_scheduler_that_signals_all_processes_does_not_take_the_workers(tmp_path: Path) -> None:
    clips = clips_of(made_data(tmp_path))
    loader = clip_loader(clips, BatchOrder(clips.table, 4), workers=1, prefetch=1)
    batches = iter(loader)
    next(batches)
    worker = loader._loader._iterator._workers[0]  # type: ignore[union-attr]
    # Sent by a process that is not the worker's parent.
    assert os.system(f"kill -TERM {worker.pid}; kill -INT {worker.pid}") == 0
    for _ in range(10):
        next(batches)
    assert worker.is_alive()
    worker.terminate()  # by the parent: obeyed, or a training's end would wait for ever
    worker.join(timeout=20)
    assert worker.exitcode == 0
