"""The networks of a release learned from pairs: speech of any length to columns, mean column to face embedding."""

from __future__ import annotations

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
# 15 s: what the paper's encoder holds at once stays under half a gigabyte, and the frames that two blocks share, whose
# lower layers are computed for both, are a tenth.
BLOCK_COLUMNS = 24
SEGMENT_COLUMNS = 6  # 3.8 s: the shortest stretch of speech whose voice is compared with another's
MOST_SEGMENTS = 32


@dataclass(frozen=True)
class ColumnSum:
    """The columns of one stretch of speech, added up."""

    total: NDArray[np.float64]  # (channels, column frequencies)
    count: int


def join(sums: Sequence[ColumnSum]) -> ColumnSum:
    """Several stretches as one."""
    return ColumnSum(np.sum([part.total for part in sums], axis=0), sum(part.count for part in sums))


class PairedRuntime(Runtime):
    """The three networks: one run a block of speech, one run a recording, one run a picture."""

    graphs: ClassVar[tuple[str, ...]] = (VOICE_COLUMNS, VOICE_HEAD, FACE_DECODER)
    release: PairedRelease

    def __init__(self, release: PairedRelease) -> None:
        super().__init__(release)

    def column_sums(self, speech: FloatArray) -> list[ColumnSum]:
        """Encode all the speech, (samples,), in blocks; what is kept does not grow with its length.

        Every column is that of the whole pass: blocks share the frames that a column needs of the one before.
        """
        geometry = self.release.geometry
        clip = round(geometry.clip_seconds * SAMPLE_RATE)
        if speech.size < clip:
            speech = tile(speech, clip)
        count = (frame_count(speech.size) - geometry.receptive_frames) // geometry.column_hop + 1
        assert count > 0, "a clip is shorter than one column"
        step = max(SEGMENT_COLUMNS, -(-count // MOST_SEGMENTS))
        segments: dict[int, ColumnSum] = {}
        for first in range(0, count, BLOCK_COLUMNS):
            columns = self._columns(speech, first, min(BLOCK_COLUMNS, count - first))
            # A remainder under half a segment joins the one before: its voice would be a poor one to compare.
            places = np.minimum((first + np.arange(columns.shape[2])) // step, max(0, (count - step // 2) // step - 1))
            for place in np.unique(places):
                here = columns[:, :, places == place]
                part = ColumnSum(here.sum(axis=2, dtype=np.float64), here.shape[2])
                segments[place] = join([segments[place], part]) if place in segments else part
        return list(segments.values())

    def _columns(self, speech: FloatArray, first: int, count: int) -> FloatArray:
        """Some columns of the speech, (channels, column frequencies, count)."""
        geometry = self.release.geometry
        frames = geometry.receptive_frames + (count - 1) * geometry.column_hop
        start = first * geometry.column_hop * HOP
        piece = speech[start : start + (frames - 1) * HOP + WINDOW]
        columns = self.run(VOICE_COLUMNS, spectrogram=spectrogram(piece)[None])[0][0]
        assert columns.shape[2] == count
        return np.asarray(columns)

    def read(self, stretches: Sequence[ColumnSum]) -> FloatArray:
        """The face embedding that each stretch of speech says, (stretches, K)."""
        means = np.stack([part.total / part.count for part in stretches]).astype(np.float32)
        return np.asarray(self.run(VOICE_HEAD, mean_column=means)[0])
