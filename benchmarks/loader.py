"""How many clips a second one core reads from shards, beside the bytes' own cost, and how long a large manifest takes.

    python benchmarks/loader.py            # about a minute; 1.5 GB of a temporary folder
    python benchmarks/loader.py --folder /data/tmp

Writes benchmarks/loader.csv (appends). Shards are on a local disk and in its cache: what is measured is the loader. A
rate is clips of 6 s over the time they took by the clock, what was read ahead before left out: the definition of the
training's own `clips_per_second` (`Speed`), and `benchmarks/training.py` calls this very function, so that both files
say one thing. The clock also counts what else the machine does; one row therefore divides by the processor time of the
one process that reads, which a busy machine changes little, and it alone has a target. Floors: reading the same
stretches of the same files with `pread` and nothing else; for faces, Pillow's PNG decoding alone. The target is what an
H200 could take at 60 % of its measured bfloat16 rate, 886 clips/s, times 1.5, over 16 cores.
"""

import argparse
import csv
import hashlib
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from record import Result, machine, peak_memory, print_results, write

from speech2face.data.clips import ClipDataset, clip_loader
from speech2face.data.manifest import IndexRow, Layout, Manifest, Part, ShardRecord, encode_index
from speech2face.data.members import Clip
from speech2face.data.shards import BatchOrder, write_manifest, write_shards
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.engine import Moment, Speed

CLIPS, CLIPS_PER_SHARD = 2000, 250
SECONDS, EMBEDDING, FACE, LANDMARKS = 6, 4096, 224, 68
BATCH, BATCHES = 32, 60
PREFETCH = 4  # batches in waiting a worker
READ_SECONDS = 5.0  # that a rate by the clock is measured over, at least
TARGET = 886 * 1.5 / 16
EMBEDDER = EmbedderRecord("vggface", EMBEDDING)
ENCODER: tuple[Part, ...] = ("waveform", "face_embedding")
DECODER: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")
PREAD = "reading the same bytes with pread, of processor time"
MANY = 1_700_000  # clips of the paper's training set


def made_face(random: np.random.Generator) -> np.ndarray:
    """Smooth like a face, with a photograph's noise: a PNG of about 80 kB."""
    small = Image.fromarray(random.integers(40, 220, (12, 12, 3)).astype(np.uint8))
    smooth = np.asarray(small.resize((FACE, FACE), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + random.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)


def made_data(folder: Path) -> Manifest:
    """Clips as the paper's stages read them."""
    random = np.random.default_rng(0)
    faces = [made_face(random) for _ in range(20)]
    clips = (
        Clip(
            key=f"clip-{number:06d}",
            speaker=f"{number // 12}",
            split="train",
            waveform=random.integers(-9000, 9000, SECONDS * 16_000).astype(np.int16),
            face_embedding=random.standard_normal(EMBEDDING).astype(np.float32),
            aligned_face=faces[number % len(faces)],
            landmarks=random.random((LANDMARKS, 2)).astype(np.float32),
        )
        for number in range(CLIPS)
    )
    write_shards(folder, clips, embedder=EMBEDDER, clips_per_shard=CLIPS_PER_SHARD)
    return Manifest.open(folder)


def processor_seconds(call: Callable[[], object], runs: int) -> float:
    """Median of one call in this process, after one that is not counted."""
    seconds = []
    for _ in range(runs + 1):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


def pread_rate(clips: ClipDataset, manifest: Manifest, lengths: np.ndarray) -> float:
    """Clips/s of reading the same bytes in the same order and doing nothing with them."""
    assert manifest.storage.local is not None
    handles = [os.open(manifest.storage.local / shard.file, os.O_RDONLY) for shard in manifest.shards]
    order = list(itertools.islice(BatchOrder(clips.table, BATCH), BATCHES))
    table = clips.table

    def read() -> None:
        for draw in itertools.chain(*order):
            clip = draw % len(table)
            os.pread(handles[table.shard[clip]], int(lengths[clip]), int(table.offset[clip]))

    seconds = processor_seconds(read, 5)
    for handle in handles:
        os.close(handle)
    return BATCH * BATCHES / seconds


def png_rate(manifest: Manifest) -> float:
    """Faces/s of Pillow's decoder alone."""
    sink = io.BytesIO()
    Image.fromarray(made_face(np.random.default_rng(0))).save(sink, "PNG")
    return 100 / processor_seconds(lambda: [Image.open(io.BytesIO(sink.getvalue())).load() for _ in range(100)], 5)


def loader_rate(clips: ClipDataset, workers: int, *, seconds: float = READ_SECONDS) -> float:
    """Clips/s of the loader alone by the clock, as a training counts them."""
    batches = iter(clip_loader(clips, BatchOrder(clips.table, BATCH), workers=workers, prefetch=PREFETCH))
    for _ in range(2 * PREFETCH * workers):  # what was read before anybody waited for it
        next(batches)
    speed, clock = Speed(), torch.device("cpu")
    while speed.seconds < seconds:
        speed.step(Moment.now(clock), len(next(batches)["speaker"]))
    rate = speed.of_late()
    assert rate is not None
    return rate


def processor_rate(clips: ClipDataset) -> float:
    """Clips of the loader over the processor time of the one process that reads them."""
    batches = iter(clip_loader(clips, BatchOrder(clips.table, BATCH)))

    def read() -> None:
        for _ in itertools.islice(batches, BATCHES):
            pass

    return BATCH * BATCHES / processor_seconds(read, 5)


def loader_result(clips: ClipDataset, stage: str, workers: int, floor: float, floor_is: str) -> Result:
    """A row of the loader by the clock; `floor` is the rate of one process."""
    question = f"loader alone, {stage}'s clips of {SECONDS} s, workers: {workers}"
    return Result(question, loader_rate(clips, workers), "clips/s", floor * max(1, workers), floor_is)


def encoder_loader(folder: Path, workers: int) -> Result:
    """The same row for whoever wants it beside the step of a training."""
    manifest = made_data(folder)
    clips = ClipDataset(manifest, "train", parts=ENCODER, seconds=SECONDS)
    floor = pread_rate(clips, manifest, clips.table.length_without_face)
    return loader_result(clips, "encoder", workers, floor, PREAD)


def reading(folder: Path) -> list[Result]:
    """Both stages' clips."""
    manifest = made_data(folder)
    results = []
    for stage, parts in (("encoder", ENCODER), ("decoder", DECODER)):
        clips = ClipDataset(manifest, "train", parts=parts, seconds=SECONDS)
        table = clips.table
        floor, floor_is = (
            pread_rate(clips, manifest, table.length if stage == "decoder" else table.length_without_face),
            PREAD,
        )
        if stage == "decoder":
            floor, floor_is = 1 / (1 / floor + 1 / png_rate(manifest)), f"{floor_is}, and Pillow's PNG decoding"
        question = f"loader alone, {stage}'s clips of {SECONDS} s, one core, of its processor time"
        results.append(Result(question, processor_rate(clips), "clips/s", floor, floor_is, TARGET))
        results += [loader_result(clips, stage, workers, floor, floor_is) for workers in (0, 1, 2)]
    return results


def made_manifest(folder: Path) -> None:
    """Indexes of the paper's number of clips, over files of zeros that take no room."""
    layout, records = Layout(waveform=True, embedding=EMBEDDING, face=None, landmarks=None), []
    length = 192_512 + 512 + 16_896 + 1024
    for number in range(MANY // 1000):
        name, first = f"train-{number:06d}", 1000 * number
        rows = [
            IndexRow(
                *(f"AbCdEfGhIjK_{c:07d}", f"{c // 12:08d}", "train", 6.0, "CC BY 4.0", ""),
                *(i * length, length, length, ()),
            )
            for i, c in enumerate(range(first, first + 1000))
        ]
        index, size = encode_index(rows, ()), 1000 * length + 1024
        (folder / f"{name}.csv").write_bytes(index)
        with (folder / f"{name}.tar").open("wb") as shard:
            shard.truncate(size)
        digest = hashlib.sha256(index).hexdigest()
        records.append(ShardRecord(f"{name}.tar", f"{name}.csv", 1000, size, "0" * 64, digest))
    write_manifest(folder, layout, records, embedder=EMBEDDER)


def parse_rate(folder: Path) -> float:
    """Seconds for the standard library's csv to read all indexes, row by row, keeping nothing."""
    started = time.process_time()
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            for _ in csv.reader(file):
                pass
    return time.process_time() - started


def opening(folder: Path) -> list[Result]:
    """A fresh process opens the paper's number of clips and enters the middle of an epoch."""
    made_manifest(folder)
    started = time.process_time()
    manifest = Manifest.open(folder)
    seconds = time.process_time() - started
    table = manifest.clips("train")
    started = time.process_time()
    next(iter(BatchOrder(table, 8, start_step=300_000)))
    entered = time.process_time() - started
    peak = peak_memory() / 2**20
    floor_is = "the csv module over the same files, keeping nothing"
    table_megabytes = 63 * MANY / 1e6
    return [
        Result("open 1.7 M clips, processor time", seconds, "s", parse_rate(folder), floor_is, 10),
        Result("enter an epoch of 1.7 M clips at any step", entered, "s", 0, ""),
        Result("peak memory of that process, torch included", peak, "MB", table_megabytes, "the table alone", 1000),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where temporary data may be written")
    parser.add_argument("--opening", action="store_true", help="only the manifest (the script calls itself so)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hardware = machine()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = opening(Path(folder)) if arguments.opening else reading(Path(folder))
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"), hardware)
    if not arguments.opening:  # memory is of a process that did nothing else
        again = [sys.executable, __file__, "--opening"]
        subprocess.run(again + (["--folder", str(arguments.folder)] if arguments.folder else []), check=True)


if __name__ == "__main__":
    main()
