"""A training from its settings: data, stage, ranks and signals brought together."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from pathlib import Path

import torch

from speech2face.errors import CheckpointError, InvalidSettings, WeightsError
from speech2face.training.balance import Balance, suggest_weights
from speech2face.training.checkpoint import load_network, newest_checkpoint
from speech2face.training.encoder_stage import EncoderStage
from speech2face.training.engine import Trainer
from speech2face.training.export_needs import data_gaps
from speech2face.training.paired_sources import check_decoder_data
from speech2face.training.ranks import joined
from speech2face.training.reading import ShardBatches
from speech2face.training.run_folder import locked
from speech2face.training.settings import TrainingSettings
from speech2face.training.stages import build_stage
from speech2face.training.stopping import on_signals

log = logging.getLogger(__name__)


def train_by_settings(settings: TrainingSettings, *, stop_at: int | None = None, quiet: bool = False) -> None:
    """Train until the settings' last step, or `stop_at`; goes on from the newest checkpoint of the run folder.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with settings, data, folder or loss.
    """
    with joined(settings.run.device) as ranks, contextlib.ExitStack() as opened:
        batches = ShardBatches(settings, ranks)
        torch.manual_seed(settings.seed)  # the networks' first weights
        stage = build_stage(settings, batches.manifest)
        batches.parts = stage.parts
        if ranks.first:
            opened.enter_context(locked(settings.out))
        ranks.wait()  # nobody reads a checkpoint before it is known whose folder it is
        stop = opened.enter_context(on_signals())
        trainer = Trainer(settings, stage, batches, ranks, stop, quiet=quiet)
        if ranks.first and not quiet:
            _say(trainer, batches, [] if trainer.step >= settings.run.steps else _missing(settings, batches))
        trainer.train(stop_at)


def _missing(settings: TrainingSettings, batches: ShardBatches) -> list[str]:
    """What `speech2face export` will refuse or leave out of what is trained here; a decoder's data are not measured on.

    Said now, because what it takes is to prepare or to train again.
    """
    if settings.stage != "encoder":
        return []
    said = [str(gap) for gap in data_gaps(batches.manifest, settings.run.evaluate_split)]
    if settings.teacher.face_decoder is not None:
        try:
            check_decoder_data(load_network(settings.teacher.face_decoder)[1], batches.embedder)
        except WeightsError as error:
            said.append(f"for export: it is refused: {error}")
    return said


def _say(trainer: Trainer, batches: ShardBatches, missing: list[str]) -> None:
    """What begins, on standard error."""
    settings, network = trainer.settings, trainer.stage.network
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    lines = [
        f"{settings.stage}: {parameters:,} parameters, {batches.count:,} training clips of {batches.speakers:,}"
        f" speakers, {settings.data.batch} a step, {settings.run.steps:,} steps"
        f" ({settings.run.steps * settings.data.batch / max(1, batches.count):,.1f} epochs),"
        f" {trainer.ranks.count} x {trainer.ranks.device.type}, {settings.run.precision}",
        *trainer.stage.notes(),
        *missing,
    ]
    if trainer.step >= settings.run.steps:
        lines.append(f"finished: all {trainer.step:,} steps are done; raise run.steps to go on")
    elif trainer.step:
        lines.append(f"going on from step {trainer.step:,}")
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def balance_by_settings(settings: TrainingSettings, *, clips: int) -> tuple[int, list[Balance], tuple[str, ...]]:
    """Suggested weights from the newest checkpoint of an encoder's run: its step, the terms, what is left out.

    Raises:
        InvalidSettings: settings of a decoder.
        CheckpointError: nothing is trained yet.
    """
    if settings.stage != "encoder":
        raise InvalidSettings('balance is about the voice encoder\'s loss; the settings\' stage is "decoder"')
    newest = newest_checkpoint(settings.out)
    if newest is None:
        raise CheckpointError(
            f"{settings.out} holds no checkpoint; train first: the paper measured after 1000 steps (train --stop-at"
            " 1000)"
        )
    with joined(settings.run.device) as ranks:
        batches = ShardBatches(settings, ranks)
        stage = build_stage(settings, batches.manifest)
        assert isinstance(stage, EncoderStage)
        stage.network, _ = load_network(Path(newest.path))
        batches.parts = stage.parts
        stage.to(ranks.device)
        count = max(1, clips // settings.data.batch)
        moved = (
            {name: part.to(ranks.device) for name, part in batch.items()}
            for batch in itertools.islice(batches.training(newest.step), count)
        )
        with torch.no_grad():
            pairs = [(stage.predict(stage.network, batch), batch["face_embedding"]) for batch in moved]
        return newest.step, suggest_weights(stage.loss, pairs), stage.notes()
