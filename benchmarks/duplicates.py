"""What the search for duplicates finds of changed copies and what it wrongly finds, and what it costs.

    python benchmarks/duplicates.py                        # three minutes
    python benchmarks/duplicates.py --starter ../shared/starter

Writes benchmarks/duplicates.csv (appends). Recordings and faces are the starter material's: one recording a speaker,
cut to 6 s, and all faces that are found. They are the training split, changed copies of some of them the test split; a
pair of a copy and another one is a false find. Time is one core's; the floor of reading is decoding PNG and WAV alone.
What the paper's number of clips costs is extrapolated, from random fingerprints and sketches: their buckets are as even
as can be.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from record import Result, print_results, write

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data import duplicates
from speech2face.data.duplicates import FRAMES, NUMBERS, PIXELS, Kind, Projection, fingerprint, picture_vector, unit
from speech2face.data.faces import aligned_face, face_alignment
from speech2face.data.members import decode_png, decode_wav, encode_png, encode_wav, to_samples
from speech2face.face.detect import DlibDetector
from speech2face.face.embed import DlibEmbedder
from speech2face.face.landmarks import DlibLandmarker

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS, COPIES, FACE_COPIES = 300, 60, 20
CLIP = 6 * SAMPLE_RATE
MANY = 50_000
PAPER = 1_700_000  # clips of the paper's training set

Waveform = NDArray[np.float32]
Picture = NDArray[np.uint8]


def coded(waveform: Waveform, codec: str, container: str, rate: int, bits: int) -> Waveform:
    """There and back through a codec."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono", bit_rate=bits)
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(to_samples(np.clip(waveform, -1, 1))[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return read_recording(sink.getvalue()).waveform


def sound_changes(random: np.random.Generator) -> dict[str, Callable[[Waveform], Waveform]]:
    """What may have been done to a recording."""

    def noisy(decibels: float) -> Callable[[Waveform], Waveform]:
        factor = np.float32(10 ** (-decibels / 20))
        return lambda w: w + factor * w.std() * random.standard_normal(w.size, dtype=np.float32)

    return {
        "level x 0.3": lambda w: 0.3 * w,
        "begins 1 s later": lambda w: w[SAMPLE_RATE:],
        "noise at 20 dB": noisy(20),
        "noise at 10 dB": noisy(10),
        "MP3 32 kbit/s": lambda w: coded(w, "libmp3lame", "mp3", 16_000, 32_000),
        "AAC 32 kbit/s at 44.1 kHz": lambda w: coded(w, "aac", "adts", 44_100, 32_000),
        "Opus 12 kbit/s": lambda w: coded(w, "libopus", "ogg", 48_000, 12_000),
    }


def picture_changes() -> dict[str, Callable[[Image.Image], Image.Image]]:
    """What may have been done to a photograph."""

    def jpeg(picture: Image.Image, quality: int) -> Image.Image:
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=quality)
        return Image.open(sink).convert("RGB")

    def cut(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        return picture.crop((width // 20, height // 17, width * 93 // 100, height * 97 // 100))

    return {
        "JPEG quality 30": lambda p: jpeg(p, 30),
        "half the size": lambda p: jpeg(p.resize((p.width // 2, p.height // 2), Image.Resampling.LANCZOS), 60),
        "a quarter brighter": lambda p: p.point(lambda value: value * 1.25 + 10),
        "cut": cut,
        "turned by 3 degrees": lambda p: p.rotate(3, Image.Resampling.BICUBIC),
        "grey": lambda p: p.convert("L").convert("RGB"),
    }


def found_shares(pairs: dict[tuple[int, int], float], wanted: dict[int, int]) -> tuple[float, int]:
    """Share of the copies that were found, and pairs that are none."""
    true = {(original, copy) for copy, original in wanted.items()}
    return len(true & set(pairs)) / len(true), len(set(pairs) - true)


def row(waveform: Waveform) -> NDArray[np.uint32]:
    """A clip's fingerprint as the search keeps it."""
    words = fingerprint(to_samples(np.clip(waveform[:CLIP], -1, 1)))
    return np.pad(words, (0, FRAMES - len(words)))


def recordings(folder: Path) -> list[Result]:
    """Of the starter's voices."""
    names = sorted((folder / "voices").glob("*.opus"))[::5]
    waveforms = (read_recording(name).waveform for name in names)
    some = [next(waveform for waveform in waveforms if waveform.size >= 3 * SAMPLE_RATE) for _ in range(RECORDINGS)]
    some = [waveform[: CLIP + SAMPLE_RATE] for waveform in some]
    originals = np.stack([row(waveform) for waveform in some])
    results, random = [], np.random.default_rng(0)
    group = np.repeat(np.array([0, 1], np.int16), (RECORDINGS, COPIES))
    for name, change in sound_changes(random).items():
        words = np.concatenate([originals, np.stack([row(change(waveform)) for waveform in some[:COPIES]])])
        pairs = duplicates._same_recordings(words, group)
        share, false = found_shares(pairs, {RECORDINGS + number: number for number in range(COPIES)})
        results += shown(f"recordings, {name}", share, false)
    return results


def shown(what: str, share: float, false: int) -> list[Result]:
    """Two rows."""
    return [
        Result(f"copies found: {what}", share, "of 1", 0.0, "nobody looks"),
        Result(f"false pairs: {what}", false, "pairs", 0.0, "none"),
    ]


class Faces:
    """Pictures as the search sees them."""

    def __init__(self) -> None:
        self._detector, self._landmarker, self._embedder = (
            DlibDetector(enlargements=0),
            DlibLandmarker(),
            DlibEmbedder(),
        )
        self._picture, self._embedding = Projection(PIXELS * PIXELS), Projection(128)

    def seen(self, photograph: Image.Image) -> tuple[NDArray[np.int8], NDArray[np.int8]] | None:
        """Sketches of the aligned face and of its embedding."""
        picture = np.asarray(photograph)
        boxes = self._detector.detect(picture)
        if not boxes:
            return None
        box = max(boxes, key=lambda each: each.area)
        face = aligned_face(picture, face_alignment(self._landmarker.find(picture, box)))
        embedding = self._embedder.embed_box(picture, box)
        return self._picture.sketch(picture_vector(face)), self._embedding.sketch(unit(embedding))


def photographs(folder: Path) -> list[Result]:
    """Of the starter's faces. Two generated ones (s052.jpg is one) are one picture: the only false pair is true."""
    names = sorted((folder / "faces").glob("*.jpg")) + sorted((folder / "faces_synthetic").glob("*.jpg"))
    faces, pictures, originals = Faces(), [], []
    for name in names:
        picture = Image.open(name).convert("RGB")
        picture.thumbnail((480, 480), Image.Resampling.LANCZOS)
        seen = faces.seen(picture)
        if seen is not None:
            pictures.append(picture)
            originals.append(seen)
    every, results = len(pictures) // FACE_COPIES, []
    duplicates.ENOUGH_EMBEDDINGS = 0
    kinds: tuple[tuple[Kind, int], ...] = (("photograph", 0), ("face_embedding", 1))
    for what, change in picture_changes().items():
        copies = {}
        for number in range(0, len(pictures), every):
            if (seen := faces.seen(change(pictures[number]))) is not None:
                copies[number] = seen
        wanted = {len(originals) + place: number for place, number in enumerate(copies)}
        group = np.repeat(np.array([0, 1], np.int16), (len(originals), len(copies)))
        for kind, place in kinds:
            sketches = np.stack([seen[place] for seen in [*originals, *copies.values()]])
            share, false = found_shares(duplicates._near(sketches, group, kind), wanted)
            results += shown(f"{kind}s, {what}", share, false)
    return results


def costs() -> Iterator[Result]:
    """Of reading a clip, and of bringing many together."""
    random = np.random.default_rng(0)
    waveform = (0.1 * random.standard_normal(CLIP)).astype(np.float32)
    small = Image.fromarray(random.integers(40, 220, (12, 12, 3)).astype(np.uint8))
    picture = np.asarray(small.resize((224, 224), Image.Resampling.BICUBIC))
    sound, png = encode_wav(to_samples(waveform)), encode_png(picture)
    projection, embedding = Projection(PIXELS * PIXELS), Projection(4096)
    vector = random.standard_normal(4096, dtype=np.float32)

    def decode() -> None:
        decode_wav(memoryview(sound))
        decode_png(memoryview(png), (224, 224))

    def trace() -> None:
        fingerprint(decode_wav(memoryview(sound)))
        projection.sketch(picture_vector(decode_png(memoryview(png), (224, 224))))
        embedding.sketch(unit(vector))

    yield Result("a clip's traces", 1000 * cpu(trace, 30), "ms", 1000 * cpu(decode, 30), "decoding WAV and PNG")
    words = random.integers(1, 2**32, (MANY, FRAMES), dtype=np.uint32)
    words[:, 312:] = 0  # 6 s
    group = (random.random(MANY) < 0.1).astype(np.int16)
    seconds = cpu(lambda: duplicates._same_recordings(words, group), 1)
    yield Result("recordings of the paper's set compared", seconds * PAPER / MANY, "s", 0.0, "nobody looks")
    sketches = np.clip(random.normal(0, 30, (MANY, NUMBERS)), -127, 127).astype(np.int8)
    seconds = cpu(lambda: duplicates._near(sketches, group, "photograph"), 1)
    yield Result("photographs of the paper's set compared", seconds * PAPER / MANY, "s", 0.0, "nobody looks")
    kept = FRAMES * 4 + 2 * NUMBERS
    yield Result("memory of the paper's set", PAPER * kept / 1e9, "GB", 0.0, "nobody looks")


def cpu(call: Callable[[], object], runs: int) -> float:
    """Processor seconds of a call: a busy machine changes little."""
    if runs > 1:
        call()
    started = time.process_time()
    for _ in range(runs):
        call()
    return (time.process_time() - started) / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, default=ROOT.parent / "shared" / "starter")
    folder = parser.parse_args().starter
    results = [*recordings(folder), *photographs(folder), *costs()]
    print_results(results)
    write(results, ROOT / "benchmarks" / "duplicates.csv")


if __name__ == "__main__":
    main()
