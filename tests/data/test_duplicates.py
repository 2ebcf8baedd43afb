from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from speech2face.data.duplicates import (
    ENOUGH_EMBEDDINGS,
    FRAMES,
    MOST_DIFFERING,
    Projection,
    bucket_pairs,
    centred,
    count_duplicates,
    differing_share,
    encode_duplicates,
    find_duplicates,
    fingerprint,
    keys,
    near_pairs,
    not_compared,
    ones,
    picture_vector,
    unit,
)
from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.errors import DatasetError
from tests.data.made_clips import EMBEDDER, EMBEDDING

Samples = NDArray[np.int16]


def sound(number: int, *, seconds: float = 4.0) -> Samples:
    """Tones that change every 80 ms under a little noise: as busy as speech, and never the same."""
    random = np.random.default_rng(number)
    samples, piece = round(16_000 * seconds), 1280
    time = np.arange(piece) / 16_000
    pieces = [
        sum(np.sin(2 * np.pi * hertz * time + random.random()) for hertz in random.uniform(200, 2200, 6))
        for _ in range(samples // piece + 1)
    ]
    wave = np.concatenate(pieces)[:samples] + random.normal(0, 0.3, samples)
    return (wave * 2500).astype(np.int16)


def picture(number: int) -> NDArray[np.uint8]:
    """(48, 48, 3), smooth spots."""
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(30, 220, (9, 9, 3)).astype(np.uint8))
    return np.asarray(small.resize((48, 48), Image.Resampling.BICUBIC))


def made(number: int, split: str, **parts: Any) -> Clip:
    if "waveform" not in parts:
        parts["waveform"] = sound(number)
    clip = Clip(
        key=f"{split}-{number}",
        speaker=f"{split} speaker {number}",
        split=split,
        aligned_face=picture(number),
        face_embedding=np.random.default_rng(number).standard_normal(EMBEDDING).astype(np.float32),
    )
    return replace(clip, **parts)


def data(folder: Path, clips: list[Clip]) -> Manifest:
    write_shards(folder, clips, embedder=EMBEDDER, clips_per_shard=3)
    return Manifest.open(folder)


def noisy(samples: Samples) -> Samples:
    noise = np.random.default_rng(9).normal(0, 0.1 * samples.std(), samples.size)
    return (samples + noise).astype(np.int16)


@pytest.mark.parametrize(
    "change",
    [lambda s: s // 5, lambda s: s[5000:], lambda s: np.concatenate([sound(77, seconds=1.5), s]), noisy],
    ids=["quieter", "later", "after another", "noisy"],
)
def test_the_same_recording_is_found_whatever_was_done_to_it(
    tmp_path: Path, change: Callable[[Samples], Samples]
) -> None:
    clips = [made(number, "train") for number in range(6)]
    copy = made(10, "test", waveform=change(sound(2)))
    (found,) = find_duplicates(data(tmp_path, [*clips, copy, made(11, "test")]))
    assert found.kind == "recording"
    assert {found.clip, found.other_clip} == {"train-2", "test-10"}
    assert {found.speaker, found.other_speaker} == {"train speaker 2", "test speaker 10"}
    assert {found.split, found.other_split} == {"train", "test"}
    assert found.likeness >= 1 - MOST_DIFFERING


def test_the_same_photograph_is_found_whatever_was_done_to_it(tmp_path: Path) -> None:
    brighter = np.clip(picture(3).astype(int) * 6 // 5 + 9, 0, 255).astype(np.uint8)
    clips = [made(number, "train") for number in range(6)] + [made(10, "test", aligned_face=brighter)]
    (found,) = find_duplicates(data(tmp_path, clips))
    assert (found.kind, {found.clip, found.other_clip}) == ("photograph", {"train-3", "test-10"})


def test_the_same_embedding_is_found_once_enough_are_known(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    common = random.standard_normal(EMBEDDING).astype(np.float32)
    parts: dict[str, Any] = {"waveform": None, "aligned_face": np.full((8, 8, 3), 128, np.uint8)}
    clips = [
        made(number, "train", **parts, face_embedding=3 * common + random.standard_normal(EMBEDDING).astype(np.float32))
        for number in range(ENOUGH_EMBEDDINGS)
    ]
    embedding = clips[7].face_embedding
    assert embedding is not None
    copy = made(1000, "test", **parts, face_embedding=2 * embedding)
    found = find_duplicates(data(tmp_path / "many", [*clips, copy]))
    assert ("train-7", "test-1000") in {(each.clip, each.other_clip) for each in found} | {
        (each.other_clip, each.clip) for each in found
    }
    assert {each.kind for each in found} == {"face_embedding"}
    assert find_duplicates(data(tmp_path / "few", [*clips[:20], copy])) == []


def test_copies_within_a_split_and_different_clips_are_no_duplicates(tmp_path: Path) -> None:
    twice = made(20, "train", waveform=sound(0), aligned_face=picture(0))
    clips = [*(made(number, "train") for number in range(5)), twice, *(made(n, "test") for n in range(30, 35))]
    assert find_duplicates(data(tmp_path, clips)) == []


def test_silence_and_an_even_ground_are_like_nothing(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"waveform": np.zeros(64_000, np.int16), "aligned_face": np.full((8, 8, 3), 7, np.uint8)}
    assert find_duplicates(data(tmp_path, [made(0, "train", **nothing), made(1, "test", **nothing)])) == []


def test_worker_processes_find_the_same(tmp_path: Path) -> None:
    clips = [made(number, "train") for number in range(4)] + [
        made(10, "test", waveform=sound(1), aligned_face=picture(1))
    ]
    manifest, heard = data(tmp_path, clips), list[int]()
    alone = find_duplicates(manifest, progress=heard.append)
    assert [each.kind for each in alone] == ["recording", "photograph"]
    assert heard == [1, 4, 5]  # a shard of the test split, two of the other
    assert find_duplicates(manifest, workers=1) == alone


def test_a_damaged_clip_is_named(tmp_path: Path) -> None:
    manifest = data(tmp_path, [made(0, "train"), made(1, "test")])
    path = tmp_path / "train-000000.tar"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"RIFF", b"RUFF", 1))
    with pytest.raises(DatasetError, match=r"train-000000\.tar, clip train-0: no WAV; prepare it anew"):
        find_duplicates(manifest)


def test_what_was_found_is_written_as_csv(tmp_path: Path) -> None:
    clips = [made(0, "train"), made(1, "test", aligned_face=picture(0))]
    found = find_duplicates(data(tmp_path, clips))
    header, row = encode_duplicates(found).decode().splitlines()
    assert header == "kind,likeness,clip,speaker,split,other_clip,other_speaker,other_split"
    assert row == "photograph,1.0,test-1,test speaker 1,test,train-0,train speaker 0,train"


def test_what_was_not_compared_is_no_nought(tmp_path: Path) -> None:
    few = data(tmp_path / "few", [made(0, "train"), made(1, "test")])
    assert not_compared(few) == {"face_embedding": "not compared (under 200 clips)"}
    assert count_duplicates(["photograph"], not_compared(few)) == {
        "recording": 0,
        "photograph": 1,
        "face_embedding": "not compared (under 200 clips)",
    }
    assert count_duplicates(["face_embedding"], not_compared(few))["face_embedding"] == 1  # when there were more clips
    alone = data(tmp_path / "alone", [made(0, "train"), made(1, "train")])
    assert set(not_compared(alone).values()) == {"not compared (one split)"}
    silent = data(tmp_path / "silent", [made(n, s, waveform=None) for n, s in enumerate(("train", "test"))])
    assert not_compared(silent)["recording"] == "not compared (no recordings)"


def test_every_kind_is_compared_in_two_hundred_clips(tmp_path: Path) -> None:
    samples = np.ones(160, np.int16)
    clips = [made(n, "test" if n < 9 else "train", waveform=samples) for n in range(ENOUGH_EMBEDDINGS)]
    write_shards(tmp_path, clips, embedder=EMBEDDER)
    assert not_compared(Manifest.open(tmp_path)) == {}


def test_bits_are_counted() -> None:
    assert ones(np.array([0, 1, 0xFFFFFFFF, 0x80000001], np.uint32)).tolist() == [0, 1, 32, 2]


def test_the_share_of_differing_bits_is_of_frames_both_have() -> None:
    one = np.array([[0b1111, 0, 0b1], [1, 0, 0]], np.uint32)
    other = np.array([[0b1100, 7, 0b1], [1, 0, 0]], np.uint32)
    assert differing_share(one, other, least_frames=2).tolist() == [2 / 64, 1]


def test_fingerprints_of_different_sounds_differ_in_half_their_bits() -> None:
    """By chance 0.5 with a standard deviation of 0.5 / sqrt(32 x frames) if all bits were drawn alone; they are not."""
    words = [fingerprint(sound(number))[None] for number in range(6)]
    shares = [float(differing_share(a, b, least_frames=1)[0]) for n, a in enumerate(words) for b in words[:n]]
    assert 0.4 < min(shares) < max(shares) < 0.6


def test_a_fingerprint_is_cut_at_ten_seconds_and_empty_below_a_window() -> None:
    assert fingerprint(sound(0, seconds=12)).size == FRAMES
    assert fingerprint(sound(0, seconds=0.3)).size == 0
    assert not fingerprint(np.zeros(64_000, np.int16)).any()


def test_keys_are_the_same_words_of_any_copy() -> None:
    words = np.arange(1, 4001, dtype=np.uint32)
    chosen, frames = keys(words, 8)
    assert 400 < len(chosen) < 600
    assert (words[frames] == chosen).all()
    assert set(keys(words[1000:], 8)[0]) == {word for word in chosen if word > 1000}


def test_a_projection_keeps_angles() -> None:
    random, projection = np.random.default_rng(1), Projection(1024)
    for cosine in (0.5, 0.9, 0.99):
        one, off = (unit(random.standard_normal(1024).astype(np.float32)) for _ in range(2))
        off = unit(off - (off @ one) * one)
        other = np.float32(cosine) * one + np.float32((1 - cosine**2) ** 0.5) * off
        a, b = (projection.sketch(v).astype(float) for v in (one, other))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(
            cosine, abs=4 * (1 - cosine**2) / 16 + 0.002
        )


def test_near_vectors_meet_as_by_brute_force() -> None:
    random = np.random.default_rng(2)
    base = random.standard_normal((300, 256))
    copies = base[:40] + random.standard_normal((40, 256)) * np.linspace(0.01, 0.6, 40)[:, None]
    sketches = np.clip(np.rint(30 * np.concatenate([base, copies])), -127, 127).astype(np.int8)
    vectors, group = centred(sketches, 20.0), np.repeat([0, 1], (300, 40))
    exact = (vectors.astype(np.float32) @ vectors.astype(np.float32).T) >= 0.93
    wanted = {(a, b) for a, b in zip(*np.nonzero(exact), strict=True) if a < 300 <= b}
    found = {pair for ones_, others, _ in near_pairs(vectors, group, 0.93) for pair in zip(ones_, others, strict=True)}
    assert found == wanted
    assert 20 < len(wanted) < 40


def test_a_crowded_bucket_costs_its_window_and_a_small_one_all_its_pairs() -> None:
    bucket, group = np.zeros(1000, np.uint32), np.arange(1000) % 2
    assert sum(len(one) for one, _ in bucket_pairs(bucket, group, window=8)) < 8 * 1000
    small = {(a, b) for one, other in bucket_pairs(bucket[:6], group[:6]) for a, b in zip(one, other, strict=True)}
    assert small == {(a, b) for a in range(6) for b in range(a + 1, 6) if (a + b) % 2}


def test_the_vector_of_a_picture_does_not_see_light() -> None:
    vector = picture_vector(picture(1))
    assert float(vector @ picture_vector((picture(1) // 2 + 60).astype(np.uint8))) > 0.98
    assert abs(float(vector @ picture_vector(picture(2)))) < 0.3
