"""The networks of a release learned from pairs: sound of any length to columns, mean column to face embedding."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import HOP, SAMPLE_RATE, WINDOW, FloatArray, frame_count, spectrogram
from speech2face.audio.tiling import tile
from speech2face.models.paired_release import PairedRelease
from speech2face.runtime import FACE_DECODER, Runtime

VOICE_COLUMNS = "voice_columns.onnx"
VOICE_HEAD = "voice_head.onnx"
BLOCK_COLUMNS = 16  # 10 s in one run: what the paper's encoder holds at once stays under half a gigabyte
SEGMENT_COLUMNS = 6  # 3.8 s: the shortest stretch of speech whose voice is compared with another's
MOST_SEGMENTS = 32


@dataclass(frozen=True)
class ColumnSum:
    """The columns of one stretch of speech, added up."""

    total: NDArray[np.float64]  # (channels, column frequencies)
    count: int
    spoken: float = math.inf
    """How many columns' worth of it is speech; infinite where nobody looked."""


def join(sums: Sequence[ColumnSum]) -> ColumnSum:
    """Several stretches as one."""
    total = np.sum([part.total for part in sums], axis=0)
    return ColumnSum(total, sum(part.count for part in sums), sum(part.spoken for part in sums))


class ColumnStream:
    """Speech in pieces of any length in, columns out, each computed once: what `voice/column_stream.py` does, in ONNX.

    The graph takes new frames and what its layers kept of the old ones. At first they have kept nothing but zeros, and
    the columns that grow out of these are dropped.
    """

    def __init__(self, runtime: PairedRuntime) -> None:
        self._runtime = runtime
        (_, *kept), (columns, *_) = runtime.inputs(VOICE_COLUMNS), runtime.outputs(VOICE_COLUMNS)
        self._kept = {name: np.zeros(shape, np.float32) for name, shape in kept}
        self._channels_and_frequencies = columns[1][1:3]
        self._first_name, first_shape = kept[0]  # the first layer's: frames themselves
        self._first_frames = first_shape[-1]
        geometry = runtime.release.geometry
        self._drop = (geometry.receptive_frames - self._first_frames) // geometry.column_hop - 1
        self._waiting = np.zeros(0, np.float32)  # samples from the next frame on
        self._started = False

    def push(self, heard: FloatArray) -> FloatArray:
        """Hear a piece, (samples,); the columns that became whole, (channels, column frequencies, columns)."""
        hop = self._runtime.release.geometry.column_hop
        self._waiting = np.concatenate([self._waiting, heard])
        if not self._started and frame_count(self._waiting.size) >= self._first_frames:
            self._kept = self._kept | {self._first_name: self._frames(self._first_frames)}
            self._started = True
        found = [np.zeros((*self._channels_and_frequencies, 0), np.float32)]
        while self._started and (steps := min(BLOCK_COLUMNS, frame_count(self._waiting.size) // hop)):
            found.append(self._step(self._frames(steps * hop)))
        return np.concatenate(found, axis=2)

    def fork(self) -> ColumnStream:
        """Another that has heard the same, and may go on hearing something else."""
        return copy.copy(self)  # nothing it holds is changed in place

    def _frames(self, count: int) -> FloatArray:
        """The next frames, (1, 2, frequency, count), which are then no longer waiting."""
        taken = spectrogram(self._waiting[: (count - 1) * HOP + WINDOW])[None]
        self._waiting = self._waiting[count * HOP :]
        return taken

    def _step(self, frames: FloatArray) -> FloatArray:
        columns, *kept = self._runtime.run(VOICE_COLUMNS, frames=frames, **self._kept)
        self._kept = dict(zip(self._kept, kept, strict=True))
        dropped = min(self._drop, columns.shape[3])
        self._drop -= dropped
        return np.asarray(columns[0, :, :, dropped:])


class PairedRuntime(Runtime):
    """The three networks: one run a stretch of speech, one run a recording, one run a picture."""

    graphs: ClassVar[tuple[str, ...]] = (VOICE_COLUMNS, VOICE_HEAD, FACE_DECODER)
    release: PairedRelease

    def __init__(self, release: PairedRelease, threads: int | None = None) -> None:
        super().__init__(release, threads)

    def column_sums(self, heard: FloatArray) -> list[ColumnSum]:
        """Encode everything, (samples,); what is kept does not grow with its length."""
        geometry = self.release.geometry
        clip = round(geometry.clip_seconds * SAMPLE_RATE)
        if heard.size < clip:
            heard = tile(heard, clip)
        count = (frame_count(heard.size) - geometry.receptive_frames) // geometry.column_hop + 1
        assert count > 0, "a clip is shorter than one column"
        length = max(SEGMENT_COLUMNS, -(-count // MOST_SEGMENTS))
        # A remainder under half a segment joins the one before: its voice would be a poor one to compare.
        last = max(0, (count - length // 2) // length - 1)
        segments: dict[int, ColumnSum] = {}
        stream, done, column = ColumnStream(self), 0, geometry.column_hop * HOP
        for start in range(0, heard.size, BLOCK_COLUMNS * column):
            columns = stream.push(heard[start : start + BLOCK_COLUMNS * column])
            places = np.minimum((done + np.arange(columns.shape[2])) // length, last)
            done += columns.shape[2]
            for place in np.unique(places):
                here = columns[:, :, places == place]
                part = ColumnSum(here.sum(axis=2, dtype=np.float64), here.shape[2])
                segments[place] = join([segments[place], part]) if place in segments else part
        assert done == count
        return list(segments.values())

    def read(self, stretches: Sequence[ColumnSum]) -> FloatArray:
        """The face embedding that each stretch of speech says, (stretches, K)."""
        means = np.stack([part.total / part.count for part in stretches]).astype(np.float32)
        return np.asarray(self.run(VOICE_HEAD, mean_column=means)[0])
