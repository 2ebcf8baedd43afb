import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec.core
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.shards import write_shards
from speech2face.errors import DatasetError, MissingExtra, SpeakerLeak
from tests.data.made_clips import EMBEDDER, EMBEDDING, FACE, LANDMARKS, made_clip, made_data


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    stated = json.loads((folder / MANIFEST).read_text())
    change(stated)
    (folder / MANIFEST).write_text(json.dumps(stated))


def change_index(folder: Path, change: Callable[[str], str]) -> None:
    """Of the first shard, with its checksum made right again: what a faulty writer would leave."""
    path = folder / "test-000000.csv"
    path.write_text(change(path.read_text()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_manifest(folder, lambda stated: stated["shards"][0].update(index_sha256=digest))


def test_a_manifest_says_what_was_written(tmp_path: Path) -> None:
    manifest = made_data(tmp_path, 40)
    assert asdict(manifest.layout) == {
        "waveform": True,
        "embedding": EMBEDDING,
        "face": FACE,
        "landmarks": LANDMARKS,
    }
    assert manifest.layout.parts == ("waveform", "face_embedding", "aligned_face", "landmarks")
    assert manifest.embedder == EMBEDDER
    assert manifest.statement == {"made": "up"}
    assert manifest.sha256 == hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()
    assert sorted(manifest.splits) == ["test", "train"]
    test, every = manifest.clips("test"), manifest.clips()
    assert [test.key_of(clip) for clip in range(len(test))] == [f"clip-{n:04d}" for n in (8, 9, 18, 19, 28, 29, 38, 39)]
    assert {test.speakers[number] for number in test.speaker} == {"speaker 8", "speaker 9"}
    assert len(every) == 40
    assert_array_equal(every.seconds, np.full(40, 0.1, np.float32))


def test_labels_licences_and_consent_come_in_the_order_of_the_clips(tmp_path: Path) -> None:
    manifest = made_data(tmp_path, 40)
    assert manifest.column("age_years", "test") == ["8", "9", "18", "19", "28", "29", "38", "39"]
    assert manifest.column("language", "test") == [""] * 8
    assert set(manifest.column("consent")) == {'given, "in writing"'}
    with pytest.raises(DatasetError, match="no label 'accent'; it has licence, consent, age_years, gender, language"):
        manifest.column("accent")


def test_verify_finds_one_changed_bit(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    seen: list[str] = []
    manifest.verify(lambda shard: seen.append(shard.file))
    assert seen == [shard.file for shard in manifest.shards]
    path = tmp_path / "train-000001.tar"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"train-000001\.tar has been changed"):
        Manifest.open(tmp_path).verify()


def test_a_shard_cut_short_is_named_with_its_bytes(tmp_path: Path) -> None:
    shard = made_data(tmp_path).shards[2]
    (tmp_path / shard.file).write_bytes((tmp_path / shard.file).read_bytes()[:4096])
    said = rf"{shard.file} is cut short: it has 4096 bytes, the manifest says {shard.bytes}; copy it again"
    with pytest.raises(DatasetError, match=said):
        Manifest.open(tmp_path)


def test_a_missing_shard_or_index_is_named(tmp_path: Path) -> None:
    made_data(tmp_path)
    (tmp_path / "train-000000.csv").rename(tmp_path / "away")
    with pytest.raises(DatasetError, match=r"train-000000\.csv"):
        Manifest.open(tmp_path)
    (tmp_path / "away").rename(tmp_path / "train-000000.csv")
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(DatasetError, match=r"train-000001\.tar is missing"):
        Manifest.open(tmp_path)


def test_a_folder_without_a_manifest_is_no_data_set(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match=r"has no manifest\.json"):
            Manifest.open(place)


def test_a_speaker_in_two_splits_is_a_leak_that_names_both(tmp_path: Path) -> None:
    clips = [made_clip(number) for number in range(20)] + [made_clip(23, split="test")]
    write_shards(tmp_path, clips, embedder=EMBEDDER)
    with pytest.raises(SpeakerLeak, match=r"1 speakers in more than one split .speaker 3 in test and train"):
        Manifest.open(tmp_path)


def test_a_clip_given_twice_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [made_clip(0), made_clip(1), made_clip(0)], embedder=EMBEDDER, clips_per_shard=2)
    with pytest.raises(DatasetError, match=r"more than once .clip-0000"):
        Manifest.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("1234", "4321").replace("seconds", "minutes"), "has the columns"),
        (lambda text: text.replace("clip-0009,", "clip-0009,,"), "line 3"),
        (lambda text: text.replace("0.100", "soon"), "number that is none"),
        (lambda text: text.replace("0.100", "nan"), "bytes its shard"),
        (lambda text: text.replace(",0,", ",512,"), "bytes its shard"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "bytes its shard"),
        (lambda text: "", "has the columns none"),
    ],
)
def test_an_index_that_contradicts_its_shard_is_refused(
    tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    made_data(tmp_path)
    change_index(tmp_path, change)
    with pytest.raises(DatasetError, match=rf"test-000000\.csv.*{said}"):
        Manifest.open(tmp_path)


def test_an_index_changed_afterwards_is_refused(tmp_path: Path) -> None:
    made_data(tmp_path)
    path = tmp_path / "train-000000.csv"
    path.write_text(path.read_text().replace("speaker 1", "speaker 2"))
    with pytest.raises(DatasetError, match=r"train-000000\.csv has been changed"):
        Manifest.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stated: stated.update(format=2), "format is 2; it must be 1"),
        (lambda stated: stated.update(sample_rate=8000), "sample_rate is 8000; it must be 16000"),
        (lambda stated: stated.pop("layout"), "layout is missing"),
        (lambda stated: stated["layout"].update(embedding=0), "layout.embedding is 0; it must be greater than 0"),
        (lambda stated: stated["layout"].pop("face") and stated["layout"].pop("waveform"), "layout"),
        (lambda stated: stated["embedder"].update(kind="unheard of"), "embedder"),
        (lambda stated: stated.update(shards=[]), "shards: list should have at least 1 item"),
        (lambda stated: stated["shards"][0].pop("bytes"), "shards.0.bytes is missing"),
        (lambda stated: stated["shards"][0].update(file="../x.tar"), "no name of a file"),
        (lambda stated: stated["shards"][0].update(clips=3), "has 7 clips, the manifest says 3"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    made_data(tmp_path)
    change_manifest(tmp_path, change)
    with pytest.raises(DatasetError, match=said):
        Manifest.open(tmp_path)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    made_data(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(DatasetError, match="no JSON"):
        Manifest.open(tmp_path)


def test_an_unknown_split_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no split 'validation'; it has test, train"):
        made_data(tmp_path).clips("validation")


def test_a_data_set_behind_a_url_is_the_same(tmp_path: Path) -> None:
    url = f"memory://{uuid4()}/data"
    local, remote = made_data(tmp_path), made_data(url)
    assert remote.sha256 == local.sha256
    assert_array_equal(remote.table.key, local.table.key)
    remote.verify()
    with pytest.raises(DatasetError, match=r"memory://.*/nowhere has no manifest"):
        Manifest.open(f"memory://{uuid4()}/nowhere")


def test_an_address_nothing_can_open_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="unheard-of"):
        Manifest.open("unheard-of://bucket/data")

    def not_installed(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", not_installed)
    with pytest.raises(MissingExtra, match="s3://bucket/data needs a package that is not installed: Install s3fs"):
        Manifest.open("s3://bucket/data")
