"""A training small enough for tests: a tiny encoder, four made clips in memory, any rank."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speech2face.training.checkpoint import NUMBERS
from speech2face.training.engine import Ranks, Trainer
from speech2face.training.losses import EncoderLoss
from speech2face.training.settings import TrainingSettings, settings_from
from speech2face.training.stages import EncoderStage
from speech2face.voice.encoder import VoiceEncoder, VoiceEncoderConfig

SAMPLES = 258 * 160 + 400  # 259 frames: one column
CLIPS, EMBEDDING = 4, 6
TINY = VoiceEncoderConfig((2, 2, 2, 2, 2, 2, 3, 3, 3), hidden=8, embedding=EMBEDDING)


def tiny_settings(out: Path, **tables: dict[str, Any]) -> TrainingSettings:
    """Settings of the tiny encoder; `tables` replace keys of the file's tables."""
    values: dict[str, Any] = {
        "stage": "encoder",
        "out": str(out),
        "data": {"manifest": "none", "batch": 4, "seconds": 2.63},
        "run": {"steps": 10, "log_every": 1, "evaluate_every": 1000, "checkpoint_every": 1000},
        "optimiser": {"learning_rate": 0.01},
    }
    for name, table in tables.items():
        values[name] = {**values.get(name, {}), **table}
    return settings_from(values)


class MemoryBatches:
    """Four clips of noise whose loudness in two bands belongs to their embedding; the same order from any step on."""

    sha256 = "of nothing"

    def __init__(self, batch: int, *, rank: int = 0, ranks: int = 1) -> None:
        generator = np.random.default_rng(7)
        noise = generator.standard_normal((CLIPS, SAMPLES)) * 1000
        noise *= np.linspace(0.2, 3, CLIPS)[:, None]
        self.waveforms = torch.from_numpy(noise.astype(np.int16))
        self.embeddings = torch.from_numpy(generator.standard_normal((CLIPS, EMBEDDING)).astype(np.float32))
        self.batch, self.rank, self.ranks = batch, rank, ranks
        self.asked: list[int] = []

    def training(self, start_step: int) -> Iterator[dict[str, Tensor]]:
        step = start_step
        while True:
            self.asked.append(step)
            chosen = np.random.default_rng((3, step)).permutation(CLIPS)[: self.batch]
            mine = torch.from_numpy(chosen[self.rank :: self.ranks].copy())
            yield {"waveform": self.waveforms[mine], "face_embedding": self.embeddings[mine]}
            step += 1

    def evaluation(self) -> Iterable[dict[str, Tensor]]:
        yield {"waveform": self.waveforms, "face_embedding": self.embeddings}


def tiny_head() -> nn.Linear:
    """A teacher's head of five identities."""
    torch.manual_seed(5)
    return nn.Linear(EMBEDDING, 5)


def tiny_loss() -> EncoderLoss:
    """All three terms, on small fixed layers."""
    torch.manual_seed(6)
    return EncoderLoss(nn.Linear(EMBEDDING, 10), tiny_head(), distillation_weight=1.0)


def tiny_trainer(settings: TrainingSettings, *, ranks: Ranks | None = None, stop: Event | None = None) -> Trainer:
    """A trainer of the tiny encoder in this process."""
    ranks = ranks or Ranks(0, 1, torch.device("cpu"))
    torch.manual_seed(settings.seed)
    stage = EncoderStage(VoiceEncoder(TINY), tiny_loss())
    batches = MemoryBatches(settings.data.batch, rank=ranks.rank, ranks=ranks.count)
    return Trainer(settings, stage, batches, ranks, stop or Event(), quiet=True)


def read_numbers(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of a run, oldest first; of one kind where one is named."""
    lines = [json.loads(line) for line in (folder / NUMBERS).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]
