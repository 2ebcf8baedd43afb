"""Near-duplicates across splits: the same recording, the same photograph, or nearly the same face embedding under the
names of two speakers, one of whom is trained on and the other scored.

One pass reads every clip once and keeps 2.6 kB of it; buckets then bring the alike together, so the time grows with
the clips and not with their pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from multiprocessing import get_context
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import rfft
from scipy.ndimage import gaussian_filter
from scipy.signal import resample_poly

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data import members
from speech2face.data.manifest import Layout, Manifest
from speech2face.data.shards import SpanReader
from speech2face.errors import DatasetError
from speech2face.outputs import encode_csv

# --- The fingerprint of a recording: whether two recordings hold the same sound, whatever was done to the file.
# After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, section 4: 32 bits a frame, the
# signs of differences of band energies along frequency and time, of long windows that overlap so much that a shift of
# the frames hardly matters. Ours differ in window and hop, and frames near silence have none. Level, noise, codecs,
# and another beginning leave most bits as they are (benchmarks/duplicates.csv); another speed or pitch does not, and
# another speaker with the same words is another recording.

Fingerprint = NDArray[np.uint32]
"""(frames,), one word a frame; 0 where there is no sound to speak of."""
DECIMATION = 3  # the bands end at 2 kHz
WINDOW = 2048  # 384 ms of the decimated sound
HOP = 96  # 18 ms
BANDS = 33  # one more than bits
LOWEST_HZ, HIGHEST_HZ = 300.0, 2000.0  # the paper's
SECONDS = 10.0  # of a recording that are looked at
FRAMES = (round(SECONDS * SAMPLE_RATE / DECIMATION) - WINDOW) // HOP  # the first window has no predecessor
QUIET = 1e-4  # of the loudest frame's energy: below, bits are noise
_EDGES = np.round(np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * WINDOW * DECIMATION / SAMPLE_RATE).astype(int)
_HANN = np.hanning(WINDOW).astype(np.float32)
_PLACES = np.left_shift(np.uint32(1), np.arange(BANDS - 1, dtype=np.uint32))
_ONES = np.array([bin(number).count("1") for number in range(2**16)], dtype=np.uint8)


def fingerprint(samples: members.Samples) -> Fingerprint:
    """Of int16 samples at 16 kHz, (samples,); up to `FRAMES` words, none where there is less than a window."""
    sound = samples[: round(SECONDS * SAMPLE_RATE)].astype(np.float32)
    sound = resample_poly(sound, 1, DECIMATION).astype(np.float32)
    frames = (sound.size - WINDOW) // HOP + 1
    if frames < 2:
        return np.zeros(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP] * _HANN  # (frames, window)
    power = np.abs(rfft(windows)[:, : _EDGES[-1]]) ** 2  # (frames, frequency)
    energy = np.add.reduceat(power, _EDGES[:-1], axis=1)  # (frames, bands)
    slope = energy[:, :-1] - energy[:, 1:]
    words = ((slope[1:] > slope[:-1]) * _PLACES).sum(1, dtype=np.uint32)
    loudness = energy.sum(1)[1:]
    words[loudness <= QUIET * loudness.max()] = 0
    return np.asarray(words[:FRAMES], dtype=np.uint32)


def ones(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Number of bits set in each word."""
    return np.asarray(_ONES[words & np.uint32(0xFFFF)] + _ONES[words >> np.uint32(16)], dtype=np.uint8)


def keys(words: Fingerprint, share: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """About one word in `share` and the frame it is first at, chosen by the word itself: the same ones of any copy."""
    found, first = np.unique(words, return_index=True)
    chosen = (_mixed(found) % np.uint64(share) == 0) & (found != 0)
    return found[chosen], first[chosen]


def _mixed(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Well spread numbers from words; splitmix64's finaliser (Steele et al. 2014)."""
    mixed = words.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(31))


def differing_share(one: NDArray[np.uint32], other: NDArray[np.uint32], *, least_frames: int) -> NDArray[np.float32]:
    """Share of bits that differ, (pairs,), of words (pairs, frames) frame by frame; frames without a word are left out.

    0 for copies, near 0.5 for different recordings; 1 where fewer than `least_frames` can be compared.
    """
    both = (one != 0) & (other != 0)
    differing = np.where(both, ones(one ^ other), 0).sum(1, dtype=np.int64)
    compared = both.sum(1)
    return np.where(compared >= least_frames, differing / np.maximum(32 * compared, 1), 1.0).astype(np.float32)


# --- Short vectors that are near one another for pictures, or face embeddings, that are near-duplicates, and how to
# find the near ones among millions without comparing all. Vectors of unit length are projected at random to a few
# hundred numbers, which keeps angles (Johnson and Lindenstrauss 1984); the projections' signs, in random groups,
# are the buckets in which near vectors meet (Charikar, STOC 2002).

Sketches = NDArray[np.int8]
"""(clips, NUMBERS): projections of unit vectors, times `SCALE`."""
PIXELS = 32  # side of a small picture
DETAIL_PIXELS = 2.0  # what is smoother than this is light and a face's common shape
NUMBERS = 256  # of a sketch; a cosine of 0.9 is then off by about 0.01
SCALE = 500.0  # a projection is about 1/16: four times that still fits an int8
TABLES = 64  # groups of bits; a pair of cosine 0.9 meets in one of them 19 times of 20, of 0.95 always
BITS = 20  # of a group: unlike vectors meet once in a million, a table
NEIGHBOURS_WINDOW = 32  # in a bucket, that each is compared with: buckets of identical pictures stay affordable
_VECTOR_PAIRS_AT_ONCE = 2**16


def picture_vector(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(PIXELS x PIXELS,), the detail of an aligned face (height, width, 3), of unit length; zero for an even ground."""
    grey = Image.fromarray(picture).convert("L").resize((PIXELS, PIXELS), Image.Resampling.BOX)
    small = np.asarray(grey, dtype=np.float32)
    return unit((small - gaussian_filter(small, DETAIL_PIXELS)).ravel())


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The direction of a vector; zero stays zero."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 1e-6 else np.zeros_like(vector)


class Projection:
    """A random projection, always the same for vectors of one length."""

    def __init__(self, size: int) -> None:
        random = np.random.default_rng([size, NUMBERS])
        self._matrix = random.standard_normal((size, NUMBERS), dtype=np.float32) * np.float32(SCALE / NUMBERS**0.5)

    def sketch(self, vector: NDArray[np.float32]) -> NDArray[np.int8]:
        """(NUMBERS,) of a unit vector (size,)."""
        return np.clip(np.rint(vector @ self._matrix), -127, 127).astype(np.int8)


def centred(sketches: Sketches, shrinkage: float) -> NDArray[np.float16]:
    """Sketches without what all have in common, of unit length: cosines of unlike ones are then around 0.

    The mean counts as much as clips / (clips + shrinkage): of a few it says little about faces in general.
    """
    count = len(sketches)
    mean = sketches.mean(0, dtype=np.float64).astype(np.float32) * np.float32(count / (count + shrinkage))
    found = np.empty(sketches.shape, np.float16)
    for start in range(0, count, _VECTOR_PAIRS_AT_ONCE):
        part = sketches[start : start + _VECTOR_PAIRS_AT_ONCE] - mean
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        found[start : start + _VECTOR_PAIRS_AT_ONCE] = part / np.maximum(lengths, 1e-6)
    return found


def near_pairs(
    vectors: NDArray[np.float16], group: NDArray[np.integer], least_cosine: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Pairs of vectors of different groups with at least this cosine: places of both, the lower first, and cosines.

    A pair may come more than once.
    """
    random = np.random.default_rng(NUMBERS)
    signs = vectors > 0
    for _ in range(TABLES):
        chosen = random.choice(NUMBERS, BITS, replace=False)
        bucket = signs[:, chosen].astype(np.uint32) @ np.left_shift(np.uint32(1), np.arange(BITS, dtype=np.uint32))
        for one, other in bucket_pairs(bucket, group):
            cosines = _cosines(vectors, one, other)
            near = cosines >= least_cosine
            yield one[near], other[near], cosines[near]


def bucket_pairs(
    bucket: NDArray[np.uint32], group: NDArray[np.integer], window: int = NEIGHBOURS_WINDOW
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of entries of one bucket and different groups: each entry with the `window` after it in a random order."""
    shuffled = np.random.default_rng(len(bucket)).permutation(len(bucket))
    order = shuffled[np.argsort(bucket[shuffled], kind="stable")]
    sorted_bucket, sorted_group = bucket[order], group[order]
    for distance in range(1, min(window + 1, len(order))):
        same = sorted_bucket[:-distance] == sorted_bucket[distance:]
        if not same.any():
            return
        first = np.flatnonzero(same & (sorted_group[:-distance] != sorted_group[distance:]))
        one, other = order[first], order[first + distance]
        yield np.minimum(one, other), np.maximum(one, other)


def _cosines(vectors: NDArray[np.float16], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), _VECTOR_PAIRS_AT_ONCE):
        part = slice(start, start + _VECTOR_PAIRS_AT_ONCE)
        left, right = vectors[one[part]].astype(np.float32), vectors[other[part]].astype(np.float32)
        found[part] = np.einsum("pn,pn->p", left, right)
    return found


Kind = Literal["recording", "photograph", "face_embedding"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DUPLICATES = "duplicates.csv"
# What decides, measured in benchmarks/duplicates.csv: copies on one side, different people's on the other.
MOST_DIFFERING = 0.25  # of a fingerprint's bits: copies up to 0.17 (and 0.26 at 10 dB of noise), others from 0.40
LEAST_FRAMES = 64  # compared, 1.5 s of sound
COARSE = 8  # of so many frames one is compared first: most pairs are not alike, and this shows it
MOST_DIFFERING_COARSELY = 0.35
LEAST_COSINE: Mapping[Kind, float] = {"photograph": 0.9, "face_embedding": 0.9}
ENOUGH_EMBEDDINGS = 200  # of fewer it is not known what all faces have in common
SHRINKAGE = 20.0  # clips
KEY_SHARE = 4  # one word of a fingerprint in so many is looked up: some 60 a clip of 6 s
_PAIRS_AT_ONCE = 2**14
_CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class Duplicate:
    """Two clips of different splits that are alike."""

    kind: str
    likeness: float
    """recording: 1 - share of bits that differ, where the two fit best; otherwise the cosine."""
    clip: str
    speaker: str
    split: str
    other_clip: str
    other_speaker: str
    other_split: str


@dataclass(frozen=True, eq=False)
class Traces:
    """What is kept of each clip; None where the data set has no such part."""

    words: NDArray[np.uint32] | None
    """(clips, FRAMES) fingerprints, 0 beyond their end."""
    photographs: Sketches | None
    embeddings: Sketches | None

    @classmethod
    def blank(cls, layout: Layout, clips: int) -> Traces:
        """Of so many clips that are still to be read."""
        return cls(
            words=np.zeros((clips, FRAMES), np.uint32) if layout.waveform else None,
            photographs=np.zeros((clips, NUMBERS), np.int8) if layout.face else None,
            embeddings=np.zeros((clips, NUMBERS), np.int8) if layout.embedding else None,
        )


def find_duplicates(
    manifest: Manifest, *, workers: int = 0, progress: Callable[[int], None] = lambda clips: None
) -> list[Duplicate]:
    """All that were found, in the order of kinds and clips; `workers` are processes that read (0: this one).

    `progress` hears how many clips were read.

    Raises:
        DatasetError: a clip cannot be read.
    """
    if len(manifest.splits) < 2:
        return []
    traces = _read_all(manifest, workers, progress)
    group = manifest.table.split
    found: list[Duplicate] = []
    for kind, pairs in (
        ("recording", {} if traces.words is None else _same_recordings(traces.words, group)),
        ("photograph", _near(traces.photographs, group, "photograph")),
        ("face_embedding", _near(traces.embeddings, group, "face_embedding")),
    ):
        found += [_duplicate(manifest, kind, *pair, likeness) for pair, likeness in sorted(pairs.items())]
    return found


def not_compared(manifest: Manifest) -> dict[str, str]:
    """Kinds that `find_duplicates` passes over in this data set, and why, as a statement says it."""
    layout, few = manifest.layout, len(manifest.table) < ENOUGH_EMBEDDINGS
    why = {
        "recording": None if layout.waveform else "no recordings",
        "photograph": None if layout.face else "no aligned faces",
        "face_embedding": f"under {ENOUGH_EMBEDDINGS} clips" if few else None,
    }
    if not layout.embedding:
        why["face_embedding"] = "no face embeddings"
    if len(manifest.splits) < 2:
        why = dict.fromkeys(KINDS, "one split")
    return {kind: f"not compared ({reason})" for kind, reason in why.items() if reason is not None}


def count_duplicates(kinds: Iterable[str], left_out: Mapping[str, str]) -> dict[str, int | str]:
    """Pairs by kind, as a statement has them; kinds without one too. `left_out`: as `not_compared`."""
    counted = Counter(kinds)
    return {kind: counted[kind] or left_out.get(kind, 0) for kind in KINDS}


def encode_duplicates(duplicates: Iterable[Duplicate]) -> bytes:
    """As CSV."""
    return encode_csv([[each.name for each in fields(Duplicate)], *(asdict(each).values() for each in duplicates)])


def _duplicate(manifest: Manifest, kind: str, one: int, other: int, likeness: float) -> Duplicate:
    table = manifest.table

    def of(clip: int) -> tuple[str, str, str]:
        return table.key_of(clip), table.speakers[table.speaker[clip]], table.splits[table.split[clip]]

    return Duplicate(kind, round(likeness, 3), *of(one), *of(other))


def _read_all(manifest: Manifest, workers: int, progress: Callable[[int], None]) -> Traces:
    traces = Traces.blank(manifest.layout, len(manifest.table))
    for start, end, part in _read_shards(manifest, workers):
        for name in ("words", "photographs", "embeddings"):
            if (whole := getattr(traces, name)) is not None:
                whole[start:end] = getattr(part, name)
        progress(end)
    return traces


def _read_shards(manifest: Manifest, workers: int) -> Iterator[tuple[int, int, Traces]]:
    """First clip, the one after the last, and traces of each shard, in order."""
    starts = np.searchsorted(manifest.table.shard, np.arange(len(manifest.shards) + 1)).tolist()
    spans = [(start, end) for start, end in pairwise(starts) if end > start]
    if workers == 0:
        reader = _ShardReader(manifest)
        for start, end in spans:
            yield start, end, reader.read(start, end)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _open_reader, (manifest.storage.name,)) as pool:
        running = pool.map(_read_span, *zip(*spans, strict=True))
        yield from ((start, end, part) for (start, end), part in zip(spans, running, strict=True))


class _ShardReader:
    """Reads clips and keeps their traces."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest, self._layout = manifest, manifest.layout
        self._reader = SpanReader(manifest.storage, manifest.shards)
        self._picture = Projection(PIXELS * PIXELS) if manifest.layout.face else None
        self._embedding = Projection(manifest.layout.embedding) if manifest.layout.embedding else None

    def read(self, start: int, end: int) -> Traces:
        """Of the clips from `start` to before `end`."""
        part = Traces.blank(self._layout, end - start)
        for first in range(start, end, _CLIPS_AT_ONCE):
            clips = range(first, min(first + _CLIPS_AT_ONCE, end))
            table = self._manifest.table
            spans = [(int(table.shard[c]), int(table.offset[c]), int(table.length[c])) for c in clips]
            for clip, content in zip(clips, self._reader.read(spans), strict=True):
                try:
                    self._trace(content, part, clip - start)
                except members.Malformed as error:
                    where = self._manifest.storage.where(self._manifest.shards[table.shard[clip]].file)
                    raise DatasetError(f"{where}, clip {table.key_of(clip)}: {error}; prepare it anew") from error
        return part

    def _trace(self, content: bytes, part: Traces, row: int) -> None:
        for name, member in members.members(content):
            kind = name.partition(".")[2]
            if kind == members.WAVEFORM and part.words is not None:
                words = fingerprint(members.decode_wav(member))
                part.words[row, : len(words)] = words
            elif kind == members.ALIGNED_FACE and part.photographs is not None and self._picture and self._layout.face:
                picture = members.decode_png(member, self._layout.face)
                part.photographs[row] = self._picture.sketch(picture_vector(picture))
            elif kind == members.FACE_EMBEDDING and part.embeddings is not None and self._embedding:
                vector = members.decode_npy(member, (self._layout.embedding or 0,))
                part.embeddings[row] = self._embedding.sketch(unit(vector))


_OPENED: list[_ShardReader] = []  # of a worker process: the manifest is opened once


def _open_reader(place: str) -> None:
    _OPENED.append(_ShardReader(Manifest.open(place)))


def _read_span(start: int, end: int) -> Traces:
    return _OPENED[0].read(start, end)


def _near(sketches: Sketches | None, group: NDArray[np.int16], kind: Kind) -> dict[tuple[int, int], float]:
    if sketches is None or (kind == "face_embedding" and len(sketches) < ENOUGH_EMBEDDINGS):
        return {}
    found: dict[tuple[int, int], float] = {}
    for pairs in near_pairs(centred(sketches, SHRINKAGE), group, LEAST_COSINE[kind]):
        for one, other, cosine in zip(*(column.tolist() for column in pairs), strict=True):
            if sketches[one].any() and sketches[other].any():  # an even ground is like nothing
                found[one, other] = min(cosine, 1.0)
    return found


def _same_recordings(words: NDArray[np.uint32], group: NDArray[np.int16]) -> dict[tuple[int, int], float]:
    """Pairs of clips that share a word, compared at the shift which that word says."""
    key, frame, clip = _entries(words)
    found: dict[tuple[int, int], float] = {}
    for one, other in bucket_pairs(key, group[clip]):
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            a, b = one[start : start + _PAIRS_AT_ONCE], other[start : start + _PAIRS_AT_ONCE]
            shift = frame[a] - frame[b]
            maybe = _compared(words, clip[a], clip[b], shift, every=COARSE) <= MOST_DIFFERING_COARSELY
            a, b, shift = a[maybe], b[maybe], shift[maybe]
            share = _compared(words, clip[a], clip[b], shift)
            for place in np.flatnonzero(share <= MOST_DIFFERING):
                first, second = sorted((int(clip[a[place]]), int(clip[b[place]])))
                found[first, second] = max(found.get((first, second), 0.0), 1 - float(share[place]))
    return found


def _entries(words: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int16], NDArray[np.int32]]:
    """Words that are looked up, their frames and their clips."""
    found, frames, clips = [np.zeros(0, np.uint32)], [np.zeros(0, np.int16)], [np.zeros(0, np.int32)]
    for clip, row in enumerate(words):
        chosen, first = keys(row, KEY_SHARE)
        found.append(chosen)
        frames.append(first.astype(np.int16))
        clips.append(np.full(len(chosen), clip, np.int32))
    return np.concatenate(found), np.concatenate(frames), np.concatenate(clips)


def _compared(
    words: NDArray[np.uint32],
    one: NDArray[np.int32],
    other: NDArray[np.int32],
    shift: NDArray[np.int16],
    *,
    every: int = 1,
) -> NDArray[np.float32]:
    """Share of bits that differ where frame f of `one` stands beside frame f - shift of `other`;
    one frame in `every` is looked at."""
    frames = np.arange(0, FRAMES, every, dtype=np.int16) - shift[:, None]  # (pairs, frames)
    inside = (frames >= 0) & (frames < FRAMES)
    moved = np.where(inside, words[other[:, None], np.clip(frames, 0, FRAMES - 1)], 0)
    return differing_share(words[one, ::every], moved, least_frames=LEAST_FRAMES // every)
