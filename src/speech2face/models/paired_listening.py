"""The paired model's encoder on sound as it comes: every column once, and all of them added up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from speech2face.audio.spectrogram import HOP, SAMPLE_RATE, FloatArray
from speech2face.audio.tiling import tile
from speech2face.models.paired_runtime import SEGMENT_COLUMNS, ColumnStream, ColumnSum, join
from speech2face.models.stretches import merge_oldest

if TYPE_CHECKING:
    from speech2face.models.paired_model import PairedHearing, PairedModel


class PairedListening:
    """One speaker's sound so far: column sums, stretch by stretch, and the encoder's memory of the last frames.

    Under the length of a training clip it is repeated, as in the paper: a copy of the encoder's memory hears
    what is missing, so that no more than the clip's remainder is encoded at a look.
    """

    def __init__(self, model: PairedModel) -> None:
        self._model = model
        self._clip_samples = round(model.release.geometry.clip_seconds * SAMPLE_RATE)
        self._short: FloatArray | None = np.zeros(0, np.float32)  # everything, until it is as long as a clip
        self._stream = ColumnStream(model.runtime)
        self._sums: list[ColumnSum] = []
        self._column_samples = model.release.geometry.column_hop * HOP
        self._spoken = 0.0  # columns' worth of speech, of sound that is no column yet

    def push(self, heard: FloatArray, spoken_seconds: float | None = None) -> None:
        """Hear the next stretch, (samples,), pauses and all."""
        if self._short is not None:
            joined = np.concatenate([self._short, heard])
            self._short = joined if joined.size < self._clip_samples else None
        columns = self._stream.push(heard)
        self._spoken += math.inf if spoken_seconds is None else spoken_seconds * SAMPLE_RATE / self._column_samples
        if new := columns.shape[2]:
            self._sums = merge_oldest(
                gathered(self._sums, columns, self._spoken / new), lambda *pair: join(pair), lambda part: part.count
            )
            self._spoken = 0.0

    def hearing(self) -> PairedHearing:
        """What is read from everything so far."""
        sums = self._sums
        if self._short is not None:
            assert self._short.size > 0, "nothing was heard"
            repeated = tile(self._short, self._clip_samples)[self._short.size :]
            sums = gathered(sums, self._stream.fork().push(repeated))
        # As `column_sums` cuts a recording: what is less than a segment and a half joins the one before.
        remainder = sums[-1].count % SEGMENT_COLUMNS
        together = 3 if 0 < remainder < SEGMENT_COLUMNS // 2 else 2
        return self._model.heard((*sums[:-together], join(sums[-together:])))


def gathered(sums: list[ColumnSum], columns: FloatArray, spoken: float = math.inf) -> list[ColumnSum]:
    """Sums of `SEGMENT_COLUMNS` each, the last perhaps of fewer, with more columns (channels, frequency, any).

    `spoken` is how much of each new column is speech.
    """
    grown = list(sums)
    at = 0
    while at < columns.shape[2]:
        open_columns = SEGMENT_COLUMNS - grown[-1].count if grown and grown[-1].count < SEGMENT_COLUMNS else 0
        here = columns[:, :, at : at + (open_columns or SEGMENT_COLUMNS)]
        part = ColumnSum(here.sum(axis=2, dtype=np.float64), here.shape[2], here.shape[2] * spoken)
        if open_columns:
            grown[-1] = join([grown[-1], part])
        else:
            grown.append(part)
        at += here.shape[2]
    return grown
