"""How fast galleries are built and searched, each number beside its floor.

python benchmarks/gallery.py --faces 1000000 --postgres 100000 --write

Faces are made up: unit vectors of 512 numbers, twenty around each person, people in a space whose directions count less
and less, as those of face recognisers do. Every search goes through `Gallery.search`, entries and chance included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from record import Result, matrix_rate, median_seconds, peak_memory, print_results, write

from speech2face.data.storage import Storage
from speech2face.face.embedders import EmbedderRecord
from speech2face.gallery.entries import RECORD, Entry, GalleryRecord, Space
from speech2face.gallery.files import TRAINED_PER_LIST, FileWriter, Vectors, made_probes, nearest, recall
from speech2face.gallery.gallery import Gallery

SIZE = 512
FACES_OF_ONE = 20
AT_ONCE = 20_000
PROBES, EXACT_PROBES = 200, 12
TARGET_MS, TARGET_RECALL = 5.0, 0.99
KMEANS_ROUNDS = 10  # faiss's default for inverted lists
OUT = Path(__file__).with_suffix(".csv")


def faces(count: int) -> Iterator[Vectors]:
    """Unit vectors (AT_ONCE, SIZE), one person after another."""
    rng = np.random.default_rng(0)
    scale = (1 + np.arange(SIZE)) ** -0.25
    for start in range(0, count, AT_ONCE):
        part = min(AT_ONCE, count - start)
        people = np.repeat(rng.standard_normal((-(-part // FACES_OF_ONE), SIZE)), FACES_OF_ONE, 0)[:part] * scale
        found = people + rng.standard_normal((part, SIZE)) * scale * 0.7
        yield (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def entries(start: int, count: int) -> list[Entry]:
    """Without pictures."""
    rows = range(start, start + count)
    return [
        Entry(f"face-{row:08d}", f"person-{row // FACES_OF_ONE:07d}", "made up", labels={"half": str(row % 2)})
        for row in rows
    ]


def build(folder: Path, count: int, backend: str) -> float:
    """Seconds to write the gallery, its faces being there already."""
    record = GalleryRecord("made", Space(SIZE, EmbedderRecord("planted", SIZE)), backend, "made")
    writer = FileWriter(Storage(folder), record)
    seconds, start = 0.0, 0
    for vectors in faces(count):
        some, begun = entries(start, len(vectors)), time.perf_counter()
        writer.put(some, vectors)
        seconds, start = seconds + time.perf_counter() - begun, start + len(vectors)
    begun = time.perf_counter()
    writer.finish()
    return seconds + time.perf_counter() - begun


def searched(folder: Path, database: str = "") -> dict[str, float]:
    """In this process: seconds to open, of a search, recall@10, memory."""
    begun = time.perf_counter()
    with Gallery.open(folder, database=database or None) as gallery:
        vectors = np.load(next(folder.glob("vectors-*.npy")), mmap_mode="r")
        count = PROBES if gallery.index_facts() else EXACT_PROBES
        probes = made_probes(vectors, count, np.random.default_rng(7))
        gallery.search(probes[0])
        opened = time.perf_counter() - begun
        turn = iter(np.tile(probes, (2, 1)))
        one = median_seconds(lambda: gallery.search(next(turn)), count)
        peak = peak_memory()
        private = _private_bytes()
        found = [[int(hit.entry.id[5:]) for hit in gallery.search(probe).hits] for probe in probes]
    right = nearest(vectors, probes, 10)
    reached = recall(np.array(found), right.rows)
    return {"open": opened, "search": one, "peak": peak, "private": private, "recall": reached}


def _private_bytes() -> int:
    """Memory that is this process's own: files that are mapped do not count, the system may drop them."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) * 1024


def in_a_process_of_its_own(folder: Path, database: str = "") -> dict[str, float]:
    """`searched`, so that memory is that of a search alone."""
    command = [sys.executable, __file__, "--search", str(folder), "--database", database]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def read_rate() -> float:
    """Bytes a second that memory gives to all cores."""
    whole = np.ones(2**27, np.float32)
    return whole.nbytes / median_seconds(lambda: whole @ whole, 5)


def of_files(folder: Path, count: int) -> list[Result]:
    """Exact and faiss, in one folder after another."""
    million = f"{count:,} faces of {SIZE} numbers"
    results, rate, flops = [], read_rate(), matrix_rate()
    for backend in ("exact", "faiss"):
        place = folder / backend
        seconds = build(place, count, backend)
        record = json.loads((place / RECORD).read_text())
        done, index = in_a_process_of_its_own(place), record["index"]
        written = sum(file["bytes"] for file in record["files"].values())
        if index is None:
            read, why = count * SIZE * 4 / rate * 1e3, "all vectors read once at the measured memory rate"
            floor, floor_is = 2 * written / rate, "all bytes copied once through memory"
        else:
            read = count * SIZE / 8 * index["looked_at"] / index["lists"] / rate * 1e3
            why = f"{index['looked_at']} of {index['lists']} lists, a bit a number, read once at the memory rate"
            trained = index["lists"] * TRAINED_PER_LIST * KMEANS_ROUNDS
            floor = 2 * SIZE * index["lists"] * (trained + count) / flops
            floor_is = "k-means and assignment at the matrix-product rate"
        results += [
            Result(f"{backend}: build, {million}", seconds, "s", floor, floor_is),
            Result(f"{backend}: open and first search, {million}", done["open"], "s", 0, ""),
            Result(f"{backend}: search, {million}", done["search"] * 1e3, "ms", read, why, _target(backend, TARGET_MS)),
            Result(f"{backend}: recall@10, {million}", done["recall"], "", 10 / count, "chance", TARGET_RECALL),
            Result(f"{backend}: own memory of a search process, {million}", done["private"] / 2**20, "MiB", 0, ""),
            Result(
                f"{backend}: with files mapped, {million}", done["peak"] / 2**20, "MiB", written / 2**20, "its files"
            ),
        ]
    return results


def _target(backend: str, value: float) -> float | None:
    return value if backend == "faiss" else None


def of_postgres(folder: Path, count: int, address: str) -> list[Result]:
    """pgvector, over a socket of this machine."""
    from speech2face.gallery.postgres import PostgresBuild

    what, place, copy = f"{count:,} faces of {SIZE} numbers", folder / "postgres", folder / "copy"
    rate, flops = read_rate(), matrix_rate()
    build(copy, count, "exact")
    record = GalleryRecord("made", Space(SIZE, EmbedderRecord("planted", SIZE)), "postgres", "made", address)
    begun, start = time.perf_counter(), 0
    writer = PostgresBuild(record, address, "made")
    for vectors in faces(count):
        for row in range(0, len(vectors), 1000):
            some = vectors[row : row + 1000]
            writer.put(entries(start, len(some)), some)
            start += len(some)
    filled = time.perf_counter() - begun
    Storage(place).write(RECORD, writer.finish().encode())
    seconds = time.perf_counter() - begun
    writer.close()
    (place / "vectors-000001.npy").symlink_to(next(copy.glob("vectors-*.npy")))
    done = in_a_process_of_its_own(place, address)
    read = count * SIZE * 4 / rate * 1e3
    return [
        Result(f"pgvector: rows written, {what}", filled, "s", 2 * count * SIZE * 4 / rate, "all bytes copied once"),
        Result(
            f"pgvector: build with its graph, {what}",
            seconds,
            "s",
            2 * SIZE * 128 * count / flops,
            "128 comparisons a face",
        ),
        Result(f"pgvector: search, {what}", done["search"] * 1e3, "ms", read, "exact: all vectors read once"),
        Result(f"pgvector: recall@10, {what}", done["recall"], "", 10 / count, "chance", TARGET_RECALL),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--postgres", type=int, default=0, help="faces in PostgreSQL; 0 leaves it out")
    parser.add_argument("--database", default="", help="address; without one a server is started")
    parser.add_argument("--folder", type=Path, help="where galleries are built; default: a temporary folder")
    parser.add_argument("--write", action="store_true", help="append to the CSV")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search:
        print(json.dumps(searched(arguments.search, arguments.database)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = of_files(Path(folder), arguments.faces) if arguments.faces else []
        if arguments.postgres:
            sys.path.append(str(Path(__file__).resolve().parent.parent))
            from tests.gallery.server import running_server

            with ExitStack() as running:
                address = arguments.database or running.enter_context(running_server()).address
                results += of_postgres(Path(folder), arguments.postgres, address)
    print_results(results)
    if arguments.write:
        write(results, OUT)


if __name__ == "__main__":
    main()
