"""The paper's voice encoder on a stream: every column once, as soon as its frames are there, and their running mean.

All of Table 1's convolutions are unpadded, so this is exact: whatever the pieces, the embedding is that of the whole
recording up to float rounding. Between two steps each layer keeps the last time steps of its input that the next output
still needs, two or three, and nothing else.

A step takes `COLUMN_HOP` frames, or a multiple, and gives one column, or as many. Before the first step the first layer
keeps the recording's first `FIRST_FRAMES` frames and all others zeros; what grows out of the zeros are
`WARM_UP_COLUMNS` columns, which are dropped. So one graph serves the start and what follows, also as ONNX.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speech2face.audio.spectrogram import FREQUENCIES, HOP, WINDOW
from speech2face.errors import SpeechTooShort
from speech2face.voice.encoder import (
    COLUMN_HOP,
    KERNEL,
    RECEPTIVE_FRAMES,
    TABLE_1,
    Columns,
    VoiceEncoder,
)
from speech2face.voice.front_end import SpectrogramFrontEnd

FIRST_FRAMES = KERNEL - TABLE_1[0].stride  # 3
WARM_UP_COLUMNS = (RECEPTIVE_FRAMES - FIRST_FRAMES) // COLUMN_HOP - 1  # 3
assert FIRST_FRAMES + (WARM_UP_COLUMNS + 1) * COLUMN_HOP == RECEPTIVE_FRAMES, "the first column ends with a step"
COLUMNS_AT_ONCE = 8  # 5 s in one step: bounds the memory of a long piece, and is large enough to be fast


class ColumnStep(nn.Module):
    """One step of the stream: new frames and what the layers kept -> new columns and what they keep now."""

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, frames: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        """(batch, 2, frequency, COLUMN_HOP * new) -> columns (batch, channels, COLUMN_FREQUENCIES, new), then the kept.

        `kept` are as many tensors as layers, in the shapes of `start`.
        """
        keep = []
        x = frames
        for number, (layer, before) in enumerate(zip(TABLE_1, kept, strict=True)):
            x = torch.cat([before, x], dim=-1)
            keep.append(x[..., x.shape[-1] - (KERNEL - layer.stride) :])
            x = self.columns.stage(number, x)
        return x, *keep

    def start(self, first_frames: Tensor) -> tuple[Tensor, ...]:
        """What is kept before the first step, from a recording's (batch, 2, frequency, FIRST_FRAMES)."""
        assert first_frames.shape[1:] == (2, FREQUENCIES, FIRST_FRAMES)
        batch = first_frames.shape[0]
        return first_frames, *(first_frames.new_zeros(batch, *shape) for shape in self.kept_shapes()[1:])

    def kept_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, frequency, time steps) of what each layer keeps."""
        shapes, frequencies = [], FREQUENCIES
        for layer, convolution in zip(TABLE_1, self.columns.convolutions, strict=True):
            assert isinstance(convolution, nn.Conv2d)
            shapes.append((convolution.in_channels, frequencies, KERNEL - layer.stride))
            frequencies = (frequencies - KERNEL) // layer.stride + 1
        return shapes


class ColumnStream:
    """Spectrogram pieces of any length in, the face embedding of all that was heard so far out."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        """encoder: in evaluation, for in training every column depends on the others in its batch."""
        assert not encoder.training, "a stream needs the encoder in evaluation: encoder.eval()"
        self.encoder = encoder
        self.columns = 0
        """How many are in the mean."""
        self._step = ColumnStep(encoder.columns)
        self._kept: tuple[Tensor, ...] = ()
        self._waiting: list[Tensor] = []  # frames that do not make a step yet, in pieces as they came
        self._frames = 0  # heard in all
        self._done = 0  # of them given to a step, or to its start
        self._made = 0  # columns, the dropped ones too
        self._sum: Tensor | None = None  # of columns, (batch, channels, frequency)

    @property
    def frames(self) -> int:
        """Frames heard so far."""
        return self._frames

    @torch.inference_mode()
    def push(self, spectrogram: Tensor) -> int:
        """Hear a piece (batch, 2, frequency, any); returns how many columns became whole.

        The batch, mostly 1, is that many recordings of one length side by side.
        """
        assert spectrogram.ndim == 4 and spectrogram.shape[1:3] == (2, FREQUENCIES)
        self._frames += spectrogram.shape[-1]
        self._waiting.append(spectrogram)
        before = self.columns
        whole = (self._frames - FIRST_FRAMES) // COLUMN_HOP * COLUMN_HOP + FIRST_FRAMES
        steps = whole - self._done  # frames that can be given to the network
        if steps > 0:
            waiting = torch.cat(self._waiting, dim=-1)  # less than a step and the piece itself
            ready, rest = waiting[..., :steps], waiting[..., steps:]
            self._done += steps
            self._waiting = [rest.clone()]  # a view would hold all of it
            self._run(ready)
        return self.columns - before

    def mean_column(self) -> Tensor:
        """(batch, channels, COLUMN_FREQUENCIES), the mean of all columns so far.

        Raises:
            SpeechTooShort: there is none yet.
        """
        if self._sum is None or not self.columns:
            raise SpeechTooShort(
                f"{self._frames} frames are too few for the voice encoder, which sees {RECEPTIVE_FRAMES} at once;"
                " go on speaking, or repeat the speech until it is long enough, as the paper does"
            )
        return (self._sum / self.columns).float()

    @torch.inference_mode()
    def embedding(self) -> Tensor:
        """(batch, embedding), the face embedding of all that was heard so far.

        Raises:
            SpeechTooShort: fewer than `RECEPTIVE_FRAMES` frames so far.
        """
        found: Tensor = self.encoder.head(self.mean_column())
        return found

    def _run(self, frames: Tensor) -> None:
        """Steps over frames that make whole ones."""
        if not self._kept:
            self._kept = self._step.start(frames[..., :FIRST_FRAMES])
            frames = frames[..., FIRST_FRAMES:]
        for piece in torch.split(frames, COLUMNS_AT_ONCE * COLUMN_HOP, dim=-1):
            if piece.shape[-1]:
                columns, *kept = self._step(piece, *self._kept)
                self._kept = tuple(tensor.clone() for tensor in kept)  # views would hold all of their layers' inputs
                self._add(columns)

    def _add(self, columns: Tensor) -> None:
        grown_of_zeros = min(columns.shape[-1], max(0, WARM_UP_COLUMNS - self._made))
        self._made += columns.shape[-1]
        true = columns[..., grown_of_zeros:]
        # In double precision: hours of columns still add up.
        total = true.double().sum(dim=-1)
        self._sum = total if self._sum is None else self._sum + total
        self.columns += true.shape[-1]


class WaveformColumnStream:
    """Waveform pieces of any length in, the face embedding of all that was heard so far out."""

    def __init__(self, encoder: VoiceEncoder) -> None:
        parameter = next(encoder.parameters())
        self.stream = ColumnStream(encoder)
        self._front_end = SpectrogramFrontEnd().to(parameter.device)
        self._waiting: Tensor | None = None  # samples that the next frame begins with

    @property
    def columns(self) -> int:
        """How many are in the mean."""
        return self.stream.columns

    @torch.inference_mode()
    def push(self, waveform: Tensor) -> int:
        """Hear a piece (batch, samples) float32 at 16 kHz; returns how many columns became whole."""
        heard = waveform if self._waiting is None else torch.cat([self._waiting, waveform], dim=1)
        new = 0
        block = COLUMNS_AT_ONCE * COLUMN_HOP * HOP
        while heard.shape[1] >= WINDOW:
            piece = heard[:, : block + WINDOW - HOP]
            spectrogram = self._front_end(piece)
            new += self.stream.push(spectrogram)
            heard = heard[:, spectrogram.shape[-1] * HOP :]
        self._waiting = heard.clone()
        return new

    def embedding(self) -> Tensor:
        """(batch, embedding), the face embedding of all that was heard so far.

        Raises:
            SpeechTooShort: no column is whole yet, which takes 2.6 s.
        """
        return self.stream.embedding()
