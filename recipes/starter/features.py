"""The starter's voices as packed statistics: each recording clean and through many microphones, rooms and lines.

    python -m recipes.starter.features --starter ../shared/starter --out build/starter/features

The encoder is frozen, so its outputs are computed once, by the very graph that is shipped; to learn on them takes
minutes. A file a channel: statistics of the whole segments of each speaker, and of short cuts of one and two seconds.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from recipes.starter.channels import CHANNELS, FIXED, babble_of, heard, no_voice
from recipes.starter.encoder import FRAMES, write_frames
from speech2face.audio.recording import any_tags
from speech2face.audio.spectrogram import LEAST_VARIANCE, SAMPLE_RATE, FloatArray, log_mel, segment_spans
from speech2face.audio.speech import find_speech
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.outputs import load_onnxruntime

logger = logging.getLogger(__name__)

HEARD_SECONDS = 12.0  # of a recording, of which the following are encoded: a longer one tells hardly more
TRAIN_SECONDS, DEGRADED_SECONDS, SCORED_SECONDS = 9.0, 6.0, 30.0
MIN_SECONDS = 0.6
CUTS_SECONDS = (1, 2)
NO_VOICES = "no-voices"  # the file of made sounds
NO_VOICE_SOUNDS = 400


class Row(NamedTuple):
    """Whose statistics one row of a file holds, and of how much speech."""

    speaker: int
    cut: int
    """Seconds of a short cut; 0 for a segment of the whole."""
    seconds: float


@lru_cache(200)
def decode(file: Path, max_seconds: float) -> FloatArray:
    """A starter recording as a waveform at 16 kHz, (samples,)."""
    with av.open(str(file), **any_tags()) as container:
        converter = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        parts = [part for frame in container.decode(audio=0) for part in converter.resample(frame)]
        parts += converter.resample(None)
    waveform = np.concatenate([part.to_ndarray().reshape(-1) for part in parts]).astype(np.float32)
    return waveform[: int(max_seconds * SAMPLE_RATE)]


def spoken(waveform: FloatArray) -> FloatArray:
    """The speech of a waveform, or all of it where the detector finds almost none, (samples,)."""
    activity = find_speech(waveform)
    speech = activity.speech() if activity.seconds >= MIN_SECONDS else activity.waveform
    least = int(MIN_SECONDS * SAMPLE_RATE)
    return speech if speech.size >= least else np.resize(speech, least)


@dataclass
class Worker:
    """What one process needs: the speakers and the encoder's graph."""

    speakers: list[Speaker]
    session: Any

    def statistics(self, speech: FloatArray) -> np.ndarray:
        """Mean and standard deviation of each output over time, (samples,) -> (2, channels)."""
        count, total, square = self.session.run(None, {"log_mel": log_mel(speech)[None]})[0][0]
        mean = total / count
        return np.stack([mean, np.sqrt(np.maximum(square / count - mean * mean, LEAST_VARIANCE))]).astype(np.float16)

    def voice(self, index: int, channel: str) -> tuple[list[Row], list[np.ndarray]]:
        """One speaker through one channel: segments, then cuts."""
        speaker, rng = self.speakers[index], np.random.default_rng([index, *channel.encode()])
        scored = speaker.split != "train"
        fixed = scored and channel in FIXED
        long = scored and channel == "clean"
        others = [row for row, other in enumerate(self.speakers) if other.split == speaker.split]
        babble = babble_of(lambda row: decode(self.speakers[row].file, HEARD_SECONDS), others)
        recorded = decode(speaker.file, SCORED_SECONDS if long else HEARD_SECONDS)
        speech = spoken(heard(recorded, channel, babble, rng, fixed=fixed))
        short = DEGRADED_SECONDS if channel != "clean" and not scored else TRAIN_SECONDS
        most = SCORED_SECONDS if long else short
        speech = speech[: int(most * SAMPLE_RATE)]
        parts = [(0, speech[start:stop]) for start, stop in segment_spans(speech.size)]
        for cut in CUTS_SECONDS:
            spare = speech.size - cut * SAMPLE_RATE
            if spare > 0:
                start = 0 if fixed else int(rng.integers(spare + 1))
                parts.append((cut, speech[start : start + cut * SAMPLE_RATE]))
        rows = [Row(index, cut, part.size / SAMPLE_RATE) for cut, part in parts]
        return rows, [self.statistics(part) for _, part in parts]

    def sound(self, index: int) -> tuple[list[Row], list[np.ndarray]]:
        """One made sound without speech."""
        waveform = no_voice(np.random.default_rng([index, 77]))
        return [Row(-1, 0, waveform.size / SAMPLE_RATE)], [self.statistics(waveform)]


_WORKER: list[Worker] = []


def _start(starter: Path, graph: Path) -> None:
    runtime = load_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # pieces of every length would each keep memory of their own
    _WORKER.append(Worker(read_speakers(starter), runtime.InferenceSession(str(graph), options)))


def _work(job: tuple[str, int]) -> tuple[list[Row], list[np.ndarray]]:
    channel, index = job
    return _WORKER[0].sound(index) if channel == NO_VOICES else _WORKER[0].voice(index, channel)


def _pack(file: Path, made: Iterable[tuple[list[Row], list[np.ndarray]]]) -> None:
    """Write one channel's rows, whole or not at all."""
    rows, statistics = [], []
    for some, parts in made:
        rows += some
        statistics += parts
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, rows=np.array(rows, np.float32), statistics=np.stack(statistics))
    temporary.replace(file)


def prepare(starter: Path, out: Path, *, workers: int) -> None:
    """Write the encoder's graph, and a file for each channel and for the sounds without speech."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / FRAMES).exists():
        write_frames(starter / "whisper" / "whisper_base_encoder.safetensors", out / FRAMES)
    speakers = read_speakers(starter)
    with get_context("spawn").Pool(workers, _start, (starter, out / FRAMES)) as pool:
        for channel in (*CHANNELS, NO_VOICES):
            file, started = out / f"{channel}.npz", time.monotonic()
            if file.exists():
                continue
            # Of those without a label nothing but who speaks is learned: clean they are enough for that.
            indices = [i for i, s in enumerate(speakers) if channel == "clean" or s.gender or s.age]
            if channel not in FIXED:  # through which nothing is scored
                indices = [i for i in indices if speakers[i].split != "validation"]
            jobs = [(channel, i) for i in (range(NO_VOICE_SOUNDS) if channel == NO_VOICES else indices)]
            _pack(file, pool.imap(_work, jobs, chunksize=4))
            logger.info("%s in %.0f s", channel, time.monotonic() - started)
    (out / "features.json").write_text(json.dumps({"speakers": len(speakers), "channels": CHANNELS}))


class Packed:
    """The packed statistics of one channel."""

    def __init__(self, folder: Path, channel: str) -> None:
        with np.load(folder / f"{channel}.npz") as file:
            self.rows, self.statistics = file["rows"], file["statistics"]  # (rows, 3), (rows, 2, channels)
        self._places: dict[tuple[int, int], list[int]] = {}
        for place, (speaker, cut, _) in enumerate(self.rows):
            self._places.setdefault((int(speaker), int(cut)), []).append(place)

    def speakers(self) -> Iterator[int]:
        """Every speaker that is in it."""
        return (speaker for speaker, cut in self._places if cut == 0 and speaker >= 0)

    def sounds(self) -> np.ndarray:
        """Pooled statistics of the sounds without speech, (sounds, 2 * channels)."""
        found = self.statistics[self._places[-1, 0]]
        return np.asarray(found.reshape(len(found), -1), np.float32)

    def pooled(self, speaker: int, seconds: float | None = None) -> tuple[np.ndarray, float] | None:
        """Mean and deviation over the first `seconds` of a speaker, (2 * channels,), and how many seconds they are.

        One and two seconds are short cuts; otherwise whole segments are added up. None where there is too little.
        """
        if seconds in CUTS_SECONDS:
            places = self._places.get((speaker, int(seconds)), [])
        else:
            places = self._places.get((speaker, 0), [])
            if places and seconds is not None:
                ends = np.cumsum(self.rows[places, 2])
                places = places[: int(np.searchsorted(ends, seconds - 0.01)) + 1] if ends[-1] >= seconds - 0.05 else []
        if not places:
            return None
        weight = self.rows[places, 2][:, None]
        mean, deviation = self.statistics[places].astype(np.float32).transpose(1, 0, 2)
        total = weight.sum()
        pooled = (weight * mean).sum(0) / total
        square = (weight * (np.square(deviation) + np.square(mean))).sum(0) / total
        spread = np.sqrt(np.maximum(square - np.square(pooled), LEAST_VARIANCE))
        return np.concatenate([pooled, spread]), float(total)


def main() -> None:
    """Command line: python -m recipes.starter.features."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True, help="the starter folder")
    parser.add_argument("--out", type=Path, required=True, help="where the packed statistics go (about 0.6 GB)")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    prepare(arguments.starter, arguments.out, workers=arguments.workers)


if __name__ == "__main__":
    main()
