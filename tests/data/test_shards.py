import dataclasses
import errno
import io
import json
import os
import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.members import Clip, check_clip, layout_of, to_samples
from speech2face.data.shards import ShardWriter, write_manifest, write_shard, write_shards
from speech2face.errors import CannotWrite, DatasetError, OutputExists
from speech2face.face.embedders import EmbedderRecord
from tests.data.made_clips import EMBEDDER, made_clip, made_clips, made_data


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_shard_is_read_by_anything_that_reads_tar_wav_npy_and_png(tmp_path: Path) -> None:
    made_data(tmp_path / "data")
    clip = made_clip(1)
    with tarfile.open(tmp_path / "data" / "train-000000.tar") as shard:
        assert shard.getnames()[5:10] == [
            f"clip-0001.{kind}" for kind in ("json", "embedding.npy", "landmarks.npy", "wav", "face.png")
        ]
        member = {name.partition(".")[2]: shard.extractfile(name) for name in shard.getnames()[5:10]}
        files = {kind: io.BytesIO(file.read()) for kind, file in member.items() if file is not None}
    with wave.open(files["wav"]) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        assert_array_equal(np.frombuffer(sound.readframes(1 << 20), "<i2"), clip.waveform)
    assert_array_equal(np.load(files["embedding.npy"]), clip.face_embedding)
    assert_array_equal(np.load(files["landmarks.npy"]), clip.landmarks)
    assert_array_equal(np.asarray(Image.open(files["face.png"])), clip.aligned_face)
    assert json.load(files["json"]) == {
        "speaker": "speaker 1",
        "split": "train",
        "seconds": 0.1,
        "licence": "CC0 1.0",
        "consent": 'given, "in writing"',
        "labels": {"gender": "m", "age_years": 1, "language": None},
    }


def test_the_index_names_the_bytes_of_each_clip(tmp_path: Path) -> None:
    manifest = made_data(tmp_path / "data")
    table = manifest.clips("test")
    shard = (tmp_path / "data" / manifest.shards[table.shard[1]].file).read_bytes()
    start, length = int(table.offset[1]), int(table.length[1])
    with tarfile.open(fileobj=io.BytesIO(shard[start : start + length] + bytes(1024))) as alone:
        assert {name.partition(".")[0] for name in alone.getnames()} == {table.key_of(1)}
        assert len(alone.getnames()) == 5
    without_face = int(table.length_without_face[1])
    assert shard[start + without_face :].startswith(f"{table.key_of(1)}.face.png".encode())


def test_the_same_clips_give_the_same_bytes(tmp_path: Path) -> None:
    made_data(tmp_path / "one")
    made_data(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_shards_written_apart_in_any_order_are_the_data_set_written_at_once(tmp_path: Path) -> None:
    clips = [made_clip(number, split="train") for number in range(9)]
    write_shards(tmp_path / "at once", clips, embedder=EMBEDDER, clips_per_shard=3)
    labels = ("age_years", "gender", "language")
    records = [
        write_shard(tmp_path / "apart", f"train-{n:06d}", clips[3 * n : 3 * n + 3], labels=labels) for n in (2, 0, 1)
    ]
    write_manifest(tmp_path / "apart", layout_of(clips[0]), records, embedder=EMBEDDER, labels=labels)
    assert contents(tmp_path / "apart") == contents(tmp_path / "at once")


def test_a_shard_ends_at_its_number_of_clips_or_bytes(tmp_path: Path) -> None:
    by_clips = made_data(tmp_path / "clips", 40, clips_per_shard=10)
    assert [shard.clips for shard in by_clips.shards] == [8, 10, 10, 10, 2]  # test has 8, train 32
    size = (by_clips.shards[0].bytes - 1024) // 8  # without the end of the archive
    with ShardWriter(tmp_path / "bytes", embedder=EMBEDDER, bytes_per_shard=3 * size) as writer:
        for number in range(8):
            writer.add(made_clip(number, split="train"))
    assert [shard.clips for shard in Manifest.open(tmp_path / "bytes").shards] == [3, 3, 2]


def test_what_was_16_bit_before_is_exact(tmp_path: Path) -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert_array_equal(to_samples((every / np.float32(32768)).astype(np.float32)), every)
    assert_array_equal(to_samples(np.array([1.0, -1.0], dtype=np.float32)), [32767, -32768])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "a.b"}, "key"),
        ({"key": ""}, "key"),
        ({"split": "train/a"}, "split"),
        ({"speaker": " "}, "speaker"),
        ({"speaker": "two\nlines"}, "speaker"),
        ({"labels": {"offset": 1}}, "label 'offset'"),
        ({"labels": {"age": float("nan")}}, "label age"),
        ({"waveform": np.zeros((2, 5), np.float32)}, "waveform"),
        ({"waveform": np.zeros(0, np.float32)}, "waveform"),
        ({"waveform": np.zeros(5, np.float64)}, "waveform"),
        ({"waveform": np.array([1.5], np.float32)}, "leaves"),
        ({"waveform": np.array([np.nan], np.float32)}, "leaves"),
        ({"face_embedding": np.zeros((1, 8), np.float32)}, "face embedding"),
        ({"face_embedding": np.full(8, np.inf, np.float32)}, "finite"),
        ({"aligned_face": np.zeros((3, 6, 5), np.uint8)}, "aligned face"),
        ({"landmarks": np.zeros((4, 3), np.float32)}, "landmarks"),
        ({"landmarks": np.full((4, 2), np.nan, np.float32)}, "landmarks"),
        ({"waveform": None, "face_embedding": None, "aligned_face": None, "landmarks": None}, "nothing"),
    ],
)
def test_a_malformed_clip_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    check_clip(made_clip(3))
    with pytest.raises(DatasetError, match=said):
        check_clip(dataclasses.replace(made_clip(3), **change))


@pytest.mark.parametrize(
    "other",
    [
        made_clip(1, faces=False),
        dataclasses.replace(made_clip(1), waveform=None),
        dataclasses.replace(made_clip(1), labels={"gender": "f"}),
    ],
)
def test_a_clip_unlike_the_first_is_refused(tmp_path: Path, other: Clip) -> None:
    with pytest.raises(DatasetError, match="clip-0001"):
        write_shards(tmp_path / "data", [made_clip(0), other], embedder=EMBEDDER)


def test_face_embeddings_need_the_record_of_an_embedder_of_their_size(tmp_path: Path) -> None:
    for embedder in (None, EmbedderRecord("planted", 9)):
        with pytest.raises(DatasetError, match="embedder"):
            write_shards(tmp_path / "data", made_clips(3), embedder=embedder)
    assert not (tmp_path / "data" / MANIFEST).exists()


def test_an_error_leaves_whole_shards_no_manifest_and_nothing_temporary(tmp_path: Path) -> None:
    def clips_that_end_badly() -> Iterator[Clip]:
        yield from made_clips(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_shards(tmp_path, clips_that_end_badly(), embedder=EMBEDDER, clips_per_shard=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-000000.csv", "train-000000.tar"]
    with pytest.raises(DatasetError, match="not finished"):
        Manifest.open(tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r"train-000000.tar: No space left on device; make room"):
        write_shards(tmp_path, [made_clip(0)], embedder=EMBEDDER)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_data_set_is_not_written_into(tmp_path: Path) -> None:
    made_data(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(OutputExists, match="choose another folder"):
        ShardWriter(tmp_path)
    assert contents(tmp_path) == before


def test_a_data_set_without_clips_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no clip"):
        write_shards(tmp_path, [])
    with pytest.raises(DatasetError, match="no clip"):
        write_shard(tmp_path, "train-000000", [])
    assert list(tmp_path.iterdir()) == []


def test_new_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    made_data(tmp_path / "data")
    (tmp_path / "any").touch()
    usual = (tmp_path / "any").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "data").iterdir()} == {usual}
