"""How long one clip takes to prepare on one core, by stage and kind of source, each stage beside its floor.

    python benchmarks/prepare.py              # about two minutes
    python benchmarks/prepare.py --scaling    # also one worker against two, by the clock: wants a machine at rest

Writes benchmarks/prepare.csv (appends). Media are made first: a face drawn by the shipped model that moves over a
cluttered wall, with the voice of the examples. `720p` is a video as AVSpeech's, 1280 x 720 with the face's place known;
`224p` is one as VoxCeleb 2's, 224 x 224 around the face; `pair` is a recording and a photograph of 1024 x 1024. What is
counted is processor time of one thread, so a busy machine changes little. Floors are what FFmpeg, dlib and zlib take
for the least that has to be done: the speech and one picture decoded, one face found where it is known to be, its
points, one PNG.
"""

import argparse
import dataclasses
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from record import ROOT, Result, forget_peak_memory, peak_memory, print_results, write

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data.faces import PrepareOptions, resized
from speech2face.data.members import layout_of
from speech2face.data.prepare import STAGES, ClipMaker, ShardTask, Stopwatch, index_labels, open_maker, prepare_shard
from speech2face.data.record import Record
from speech2face.data.shards import ShardFile
from speech2face.data.storage import Storage
from speech2face.data.workers import run_local
from speech2face.face.detect import DlibDetector, Picture
from speech2face.face.embedders import EmbedderRecord, describe_embedder
from speech2face.face.landmarks import DlibLandmarker
from speech2face.models.attributes import load_attribute_model

SECONDS, RATE, KEY_EVERY = 10, 25, 60  # of the videos; key frames as often as video sites put them, every few seconds
CLIPS, MEMORY_CLIPS, SCALING_CLIPS = 8, 24, 24
TARGET_MS = 60.0
TARGET_SCALING = 1.8
MILLION, CORES = 1_000_000, 64
KINDS = ("720p", "224p", "pair")


def drawn_face() -> Picture:
    """The average face of a woman of forty, (512, 512, 3)."""
    model = load_attribute_model()
    return np.ascontiguousarray(model.decode(model.release.population.embedding(40.0, 1.0)))


def scenes(width: int, height: int, face_pixels: int) -> Callable[[int], Picture]:
    """Frames by number: the face sways over a wall with structure and the camera's noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 220, (height // 16, width // 16, 3)).astype(np.uint8)
    wall = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    face = Image.fromarray(drawn_face()).resize((face_pixels, face_pixels), Image.Resampling.LANCZOS)

    def frame(number: int) -> Picture:
        picture = wall.copy()
        sway = round(0.02 * width * np.sin(number / 9))
        picture.paste(face, ((width - face_pixels) // 2 + sway, (height - face_pixels) // 2))
        noisy = np.asarray(picture, np.int16) + random.integers(-4, 5, (height, width, 1))
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)

    return frame


def voice() -> np.ndarray:
    """The examples' male voice, repeated, 16-bit (1, samples)."""
    waveform = np.resize(read_recording(ROOT / "examples" / "male.flac").waveform, SECONDS * SAMPLE_RATE)
    return (waveform * 32767).astype(np.int16)[None]


def write_media(path: Path, frame_at: Callable[[int], Picture] | None) -> Path:
    """H.264 and AAC in an MP4, or AAC alone."""
    with av.open(str(path), "w") as sink:
        sound = sink.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        if frame_at is not None:
            first = frame_at(0)
            video = sink.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
            video.height, video.width, video.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
            video.codec_context.gop_size = KEY_EVERY
            for number in range(SECONDS * RATE):
                frame = av.VideoFrame.from_ndarray(frame_at(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                sink.mux(video.encode(frame))
            sink.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(voice(), format="s16", layout="mono")
        samples.sample_rate = SAMPLE_RATE
        sink.mux(sound.encode(samples))
        sink.mux(sound.encode(None))
    return path


def make_records(folder: Path) -> dict[str, Record]:
    """One record of each kind; as many clips of it as wanted are made by giving it other keys."""
    write_media(folder / "720p.mp4", scenes(1280, 720, 420))
    write_media(folder / "224p.mp4", scenes(224, 224, 224))
    write_media(folder / "pair.m4a", None)
    Image.fromarray(scenes(1024, 1024, 700)(0)).save(folder / "pair.jpg", quality=92)

    def record(key: str, media: str, source: str) -> Record:
        return Record(key, str(folder / media), "one", source, start_seconds=2.0, end_seconds=9.0, split="train")

    return {
        "720p": dataclasses.replace(record("a", "720p.mp4", "avspeech"), face_x=0.5, face_y=0.5),
        "224p": record("b", "224p.mp4", "voxceleb2"),
        "pair": dataclasses.replace(record("c", "pair.m4a", "pairs"), photograph=str(folder / "pair.jpg")),
    }


def copies(record: Record, count: int) -> tuple[Record, ...]:
    """The same record under other keys."""
    return tuple(dataclasses.replace(record, key=f"{record.key}{number:04d}") for number in range(count))


def stage_seconds(maker: ClipMaker, record: Record, folder: Path) -> dict[str, float]:
    """Processor seconds a clip of each stage, as `prepare_shard` goes through them."""
    watch = Stopwatch(time.process_time)
    maker.make(record, watch)  # warms caches
    watch = Stopwatch(time.process_time)
    made = [maker.make(one, watch) for one in copies(record, CLIPS)]
    assert maker.embedder is not None
    with watch.stage("embed"):
        embeddings = maker.embedder.embed_crops([each.crop for each in made if each.crop is not None])
    clips = [each.embedded(embedding) for each, embedding in zip(made, embeddings, strict=True)]
    with watch.stage("write"):
        labels = index_labels(tuple(record.labels), maker.options)
        file = ShardFile(Storage(folder), record.key, layout_of(clips[0]), labels)
        for clip in clips:
            file.add(clip)
        file.finish()
    return {stage: seconds / CLIPS for stage, seconds in watch.seconds.items()}


def median_processor_seconds(call: Callable[[], object], runs: int = 9) -> float:
    """Of one call, after one that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return float(np.median(seconds))


def decode_floor(record: Record) -> float:
    """FFmpeg alone, given the file's name: the span's sound and one picture, nothing converted or checked."""

    def decode() -> None:
        with av.open(record.media) as container:
            container.seek(round((record.start_seconds or 0) * 1e6))
            for packet in container.demux(container.streams.audio[0]):
                packet.decode()
                if packet.pts is not None and packet.pts * packet.time_base > 8.0:
                    break
            if container.streams.video:
                container.seek(round((record.start_seconds or 0) * 1e6))
                next(container.decode(container.streams.video[0]))
        if record.photograph is not None:
            Image.open(record.photograph).load()

    return median_processor_seconds(decode)


def first_picture(record: Record) -> Picture:
    """A frame of the record's video, or its photograph."""
    if record.photograph is not None:
        return np.asarray(Image.open(record.photograph).convert("RGB"))
    with av.open(record.media) as container:
        return np.asarray(next(container.decode(container.streams.video[0])).to_ndarray(format="rgb24"), np.uint8)


def floors(record: Record) -> dict[str, tuple[float, str]]:
    """Seconds a clip and what they are, by stage."""
    picture = first_picture(record)
    copy = resized(picture, min(1.0, 320 / max(picture.shape[:2])), grey=True)
    detector, landmarker = DlibDetector(enlargements=0), DlibLandmarker()
    box = detector.detect(picture)[0]
    region = np.ascontiguousarray(copy[: copy.shape[0] // 2, : copy.shape[0] // 2])
    face = np.asarray(Image.fromarray(picture).resize((224, 224)))
    return {
        "decode": (decode_floor(record), "FFmpeg's own decoding of the sound and one picture"),
        "speech": (0.0, "WebRTC's own work, not measured apart"),
        "detect": (median_processor_seconds(lambda: detector.detect(region)), "dlib on a quarter of one small copy"),
        "landmarks": (median_processor_seconds(lambda: landmarker.find(picture, box)), "dlib's points of one face"),
        "align": (0.0, "two resamplings of a face, not measured apart"),
        "embed": (0.0, "dlib's network, nothing of ours"),
        "write": (median_processor_seconds(lambda: zlib.compress(face.tobytes(), 6)), "zlib alone on one aligned face"),
    }


def stage_results(records: dict[str, Record], folder: Path, embedder: EmbedderRecord) -> list[Result]:
    """Rows of each kind and stage, their sums, and what a million clips cost."""
    maker, results = open_maker(PrepareOptions(), embedder, None), list[Result]()
    for kind in KINDS:
        seconds, least = stage_seconds(maker, records[kind], folder), floors(records[kind])
        for stage in STAGES:
            value, (floor, floor_is) = seconds[stage] * 1e3, least[stage]
            results.append(Result(f"{kind}, {stage}", value, "ms", floor * 1e3, floor_is))
        networks = ("detect", "embed")
        rest = sum(value for stage, value in seconds.items() if stage not in networks) * 1e3
        rest_floor = sum(floor for stage, (floor, _) in least.items() if stage not in networks) * 1e3
        whole = sum(seconds.values())
        results += [
            Result(f"{kind}, all but detector and embedder", rest, "ms", rest_floor, "sum of the floors", TARGET_MS),
            Result(f"{kind}, clips a second and core", 1 / whole, "1/s", 0, ""),
            Result(f"{kind}, a million clips on {CORES} cores", MILLION * whole / CORES / 3600, "h", 0, "arithmetic"),
        ]
    return results


def scaling_results(record: Record, folder: Path, embedder: EmbedderRecord) -> list[Result]:
    """One worker against two, by the clock; starting them is not counted."""
    rates = {}
    for workers in (1, 2):

        def task(number: int, out: Path = folder / f"workers{workers}") -> ShardTask:
            named = dataclasses.replace(record, key=f"{record.key}-{number}-")
            return ShardTask(f"train-{number:06d}", copies(named, SCALING_CLIPS), str(out), PrepareOptions(), embedder)

        warm, shards = workers, 4 * workers  # the first shard of each worker loads its models
        ended = []
        for _ in run_local([task(number) for number in range(warm + shards)], workers):
            ended.append(time.perf_counter())
        rates[workers] = (shards * SCALING_CLIPS) / (ended[-1] - ended[warm - 1])
    load = f"load of this machine {os.getloadavg()[0]:.1f}"
    return [
        Result("clips a second, one worker, by the clock", rates[1], "1/s", 0, load),
        Result("two workers over one, by the clock", rates[2] / rates[1], "x", 1, load, TARGET_SCALING),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scaling", action="store_true", help="also one worker against two")
    arguments = parser.parse_args()
    embedder = describe_embedder("dlib")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make_records(folder)
        task = ShardTask("train-000000", copies(records["720p"], MEMORY_CLIPS), name, PrepareOptions(), embedder)
        forget_peak_memory()  # encoding the videos took more than the shard will
        before = peak_memory() / 2**20
        kept = prepare_shard(task).kept
        assert kept == MEMORY_CLIPS, f"only {kept} clips were kept"
        peak = peak_memory() / 2**20
        results = [
            Result(
                f"peak memory of a process, a shard of {MEMORY_CLIPS} clips of 720p",
                peak,
                "MB",
                before,
                "before that shard",
            )
        ]
        results += stage_results(records, folder, embedder)
        if arguments.scaling:
            results += scaling_results(records["224p"], folder, embedder)
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
