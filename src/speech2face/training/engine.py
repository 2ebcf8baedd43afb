"""The training loop of both stages: face decoder from photographs, voice encoder with the face side frozen.

What a step does depends on nothing but the settings and the step's number: the clips follow from (seed, step), the
random numbers are seeded anew at each step from (seed, step, rank), the learning rate is a function of the step. So a
checkpoint needs no more than weights, moments and the number of steps done, and going on from it is exact.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from speech2face.data.layout import Part
from speech2face.errors import CheckpointError, InvalidSettings, LossNotFinite, TrainingStopped
from speech2face.training.checkpoint import (
    AVERAGE,
    NETWORK,
    OPTIMISER,
    newest_checkpoint,
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    save_checkpoint,
)
from speech2face.training.optimisation import RunningAverage, clip_gradients, learning_rate, make_optimiser
from speech2face.training.progress import Moment, Progress, Speed
from speech2face.training.ranks import Ranks
from speech2face.training.run_folder import Records, write_settings
from speech2face.training.settings import TrainingSettings
from speech2face.training.stopping import StopRequest

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]


class WeightRule(Protocol):
    """How the weights of a stage's loss should be: measured once, before hours are spent on others."""

    @property
    def balanced_at(self) -> int:
        """Steps after which the rule holds."""
        ...

    def gradients(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Length of each term's gradient; nothing in the network changes."""
        ...

    def judge(self, gradients: Mapping[str, float], step: int) -> tuple[dict[str, float], tuple[str, ...]]:
        """Named numbers to keep, and sentences that the user must read."""
        ...


class Stage(Protocol):
    """What is trained, and by which loss; the loop knows neither voices nor faces."""

    name: str
    network: nn.Module
    parts: tuple[Part, ...]

    def to(self, device: torch.device) -> None:
        """Move the network and everything frozen."""
        ...

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms, each (); `network` is `self.network`, perhaps wrapped."""
        ...

    def evaluate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Named numbers on clips that are not trained on."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What the user must know before hours are spent: what is left out of the loss."""
        ...

    @property
    def rule(self) -> WeightRule | None:
        """By which the weights of its loss are judged."""
        ...


class Batches(Protocol):
    """Where clips come from."""

    def training(self, start_step: int) -> Iterable[Batch]:
        """This rank's share of each step's clips, on the CPU, for ever, from a step on."""
        ...

    def evaluation(self) -> Iterable[Batch]:
        """The clips of the evaluation, the same ones each time."""
        ...

    @property
    def sha256(self) -> str:
        """Of the manifest."""
        ...


@dataclass
class Reported:
    """A step's numbers on their way from the device: read one step later, so that nothing waits for them."""

    step: int
    terms: Tensor
    """(terms + 2,): each term, the gradient's length, and whether a rank was asked to stop."""
    names: tuple[str, ...]
    finished: Moment
    """When the step was done and its numbers copied."""

    @classmethod
    def send(cls, step: int, numbers: Tensor, names: tuple[str, ...]) -> Reported:
        """Begin the copy to the host without waiting for it."""
        host = numbers
        if numbers.is_cuda:
            host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
        return cls(step, host, names, Moment.now(numbers.device))

    def values(self) -> list[float]:
        """The numbers, once they are here."""
        self.finished.wait()
        return [float(value) for value in self.terms]


@dataclass
class Trainer:
    """One training in one process."""

    settings: TrainingSettings
    stage: Stage
    batches: Batches
    ranks: Ranks
    stop: StopRequest
    quiet: bool = False
    step: int = field(default=0, init=False)
    """Steps done."""

    def __post_init__(self) -> None:
        run, optimiser = self.settings.run, self.settings.optimiser
        if self.settings.data.batch % (self.ranks.count * optimiser.accumulation):
            raise InvalidSettings(
                f"data.batch {self.settings.data.batch} cannot be shared by {self.ranks.count} processes in"
                f" {optimiser.accumulation} pieces each; make it a multiple of"
                f" {self.ranks.count * optimiser.accumulation}"
            )
        self.stage.to(self.ranks.device)
        if run.channels_last:
            self.stage.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = make_optimiser(self.stage.network, optimiser)
        self.average = RunningAverage(self.stage.network, optimiser.ema) if optimiser.ema else None
        self.resume()
        self.network = self._wrapped()

    def _wrapped(self) -> nn.Module:
        network = self.stage.network
        if self.ranks.count > 1:
            on_card = self.ranks.device.type == "cuda"
            network = DistributedDataParallel(network, device_ids=[self.ranks.device] if on_card else None)
        return torch.compile(network) if self.settings.run.compile else network  # type: ignore[return-value]

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        config: Any = self.stage.network.config
        return {
            "stage": self.stage.name,
            "network": config.to_dict(),
            "seed": self.settings.seed,
            "manifest": self.batches.sha256,
            "batch": self.settings.data.batch,
        }

    def resume(self) -> None:
        """Go on from the newest checkpoint of the run folder, if there is one.

        Raises:
            CheckpointError: it is damaged, or belongs to another model or other data.
        """
        file = newest_checkpoint(self.settings.out)
        if file is None:
            return
        checkpoint = read_checkpoint(file)
        for key, value in self._identity().items():
            if checkpoint.metadata[key] != value:
                raise CheckpointError(
                    f"{file.path} was trained with another {key}: {_difference(checkpoint.metadata[key], value)};"
                    " choose another `out`, or the settings it was started with"
                )
        self.stage.network.load_state_dict(checkpoint.part(NETWORK))
        restore_optimiser(self.stage.network, self.optimiser, checkpoint.part(OPTIMISER))
        if self.average is not None:
            # A run that begins to keep an average begins it with what it has.
            averaged = checkpoint.part(AVERAGE) or checkpoint.part(NETWORK)
            self.average.tensors = {name: tensor.to(self.ranks.device) for name, tensor in averaged.items()}
        self.step = checkpoint.step

    def save(self) -> None:
        """Write a checkpoint of the steps done; only the first rank does.

        Raises:
            CannotWrite: no space, no permission.
        """
        if not self.ranks.first:
            return
        tensors = {f"{NETWORK}{name}": tensor for name, tensor in self.stage.network.state_dict().items()}
        moments = optimiser_tensors(self.stage.network, self.optimiser)
        tensors |= {f"{OPTIMISER}{name}": tensor for name, tensor in moments.items()}
        if self.average is not None:
            tensors |= {f"{AVERAGE}{name}": tensor for name, tensor in self.average.tensors.items()}
        facts = {"step": self.step, "settings": self.settings.to_dict(), "ranks": self.ranks.count}
        save_checkpoint(self.settings.out, tensors, self._identity() | facts, keep=self.settings.run.keep)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def train(self, stop_at: int | None = None) -> None:
        """All steps that are left, or those before `stop_at`.

        Raises:
            LossNotFinite: with all terms; the last checkpoint is from before it.
            TrainingStopped: asked to stop by a signal; a checkpoint was written.
            CannotWrite: a checkpoint could not be written.
        """
        run = self.settings.run
        last = min(run.steps, stop_at or run.steps)
        if self.step >= last:
            return
        balanced_at = min(self.stage.rule.balanced_at, run.steps) if self.stage.rule else None
        with self._reporting(last) as report:
            waiting: Reported | None = None
            for batch in self.batches.training(self.step):
                reported = self.advance(batch)
                stopping = report.read(waiting) if waiting else False
                waiting = reported
                ends = self.step == last
                saves, evaluates = self.step % run.checkpoint_every == 0 or ends, self.step % run.evaluate_every == 0
                if saves or stopping or evaluates or self.step == balanced_at:
                    stopping = report.read(waiting) or stopping  # nothing is saved that has not been looked at
                    waiting = None
                    if self.step == balanced_at:
                        report.balanced(*self.balance(batch))
                    if saves or stopping:
                        self.save()
                    if stopping:
                        raise TrainingStopped(
                            f"stopped at step {self.step} of {last}; its checkpoint is written, start again to go on"
                        )
                    if evaluates or ends:
                        report.evaluated(self.evaluate())
                    report.go_on(Moment.now(self.ranks.device))
                if ends:
                    return

    def advance(self, batch: Batch) -> Reported:
        """One step: forward, backward, update."""
        settings = self.settings.optimiser
        _seed(self.settings.seed, self.step, self.ranks.rank)
        rate = learning_rate(settings, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        pieces = _pieces(self._on_device(batch), settings.accumulation)
        total: dict[str, Tensor] = {}
        for number, piece in enumerate(pieces):
            with self._gradients_stay_here() if number + 1 < len(pieces) else contextlib.nullcontext():
                with self._autocast():
                    terms = self.stage.losses(self.network, piece)
                loss = torch.stack(tuple(terms.values())).sum() / len(pieces)
                loss.backward()  # type: ignore[no-untyped-call]
            for name, term in terms.items():
                total[name] = total.get(name, 0) + term.detach() / len(pieces)
        length = clip_gradients(self.stage.network, settings.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update(self.stage.network, self.step)
        self.step += 1
        stop = torch.tensor(float(self.stop.asked), device=self.ranks.device)
        numbers = self.ranks.mean(torch.stack([*total.values(), length.detach().to(loss), stop.to(loss)]).float())
        return Reported.send(self.step, numbers, tuple(total))

    def evaluate(self) -> dict[str, float]:
        """The stage's numbers on validation clips; the other ranks wait for the first one."""
        numbers: dict[str, float] = {}
        if self.ranks.first:
            network = self.stage.network
            averaged = self.average.in_place_of(network) if self.average else contextlib.nullcontext()
            network.eval()
            moved = (self._on_device(batch) for batch in self.batches.evaluation())
            with averaged, torch.inference_mode(), self._autocast():
                numbers = self.stage.evaluate(network, moved)
            network.train()
        self.ranks.wait()
        return numbers

    def balance(self, batch: Batch) -> tuple[dict[str, float], tuple[str, ...]]:
        """What the stage's rule says of the weights of its loss, on this step's clips of all ranks."""
        rule, network = self.stage.rule, self.stage.network
        assert rule is not None
        network.eval()  # as `speech2face balance` measures, and so that nothing is counted into running statistics
        pieces = _pieces(self._on_device(batch), self.settings.optimiser.accumulation)
        with self._autocast():
            found = [rule.gradients(network, piece) for piece in pieces]
        network.train()
        names = tuple(found[0])
        lengths = torch.tensor([[piece[name] for name in names] for piece in found], device=self.ranks.device).mean(0)
        return rule.judge(dict(zip(names, self.ranks.mean(lengths).tolist(), strict=True)), self.step)

    def _on_device(self, batch: Batch) -> Batch:
        return {name: part.to(self.ranks.device, non_blocking=True) for name, part in batch.items()}

    def _autocast(self) -> torch.autocast:
        """bfloat16 where asked for; float32 needs no scaling of the loss in either."""
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.settings.run.precision == "bf16")

    def _gradients_stay_here(self) -> contextlib.AbstractContextManager[None]:
        """No exchange between ranks before the step's last piece."""
        inner = getattr(self.network, "_orig_mod", self.network)
        return inner.no_sync() if isinstance(inner, DistributedDataParallel) else contextlib.nullcontext()

    @contextlib.contextmanager
    def _reporting(self, last: int) -> Iterator[Report]:
        self.network.train()
        with contextlib.ExitStack() as opened:
            records = None
            if self.ranks.first:
                write_settings(self.settings.out, self.settings.to_dict())
                records = Records(self.settings.out, start_step=self.step)
                opened.callback(records.close)
            shown = opened.enter_context(Progress(self.step, last, quiet=self.quiet or not self.ranks.first))
            report = Report(self.settings, records, shown)
            yield report
            report.ended()


class Report:
    """What becomes of a step's numbers."""

    def __init__(self, settings: TrainingSettings, records: Records | None, shown: Progress) -> None:
        self.settings = settings
        self.records = records
        self.shown = shown
        self._speed = Speed()
        self._step = 0

    def read(self, reported: Reported) -> bool:
        """Look at one step's numbers; returns whether some rank was asked to stop.

        Raises:
            LossNotFinite: with all terms.
        """
        if reported.step == self._step:
            return False
        *values, gradient_norm, stop = reported.values()
        terms = dict(zip(reported.names, values, strict=True))
        if not np.isfinite([*values, gradient_norm]).all():
            shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
            raise LossNotFinite(
                f"the loss of step {reported.step} is not finite: {shown}, gradient norm {gradient_norm:g};"
                " lower optimiser.learning_rate or set optimiser.clip_norm; the last checkpoint is from before it"
            )
        self._step = reported.step
        self._speed.step(reported.finished, self.settings.data.batch)
        loss = sum(values)
        run = self.settings.run
        written = reported.step % run.log_every == 0
        if written:
            rate = self._speed.of_late()
            if self.records is not None:
                extra = {
                    "loss": loss,
                    "gradient_norm": gradient_norm,
                    "learning_rate": learning_rate(self.settings.optimiser, reported.step - 1),
                    "clips": reported.step * self.settings.data.batch,
                } | ({} if rate is None else {"clips_per_second": rate})
                self.records.write(reported.step, "training", terms | extra)
            self.shown.rate(reported.step, rate, self.settings.data.batch)
        self.shown.step(reported.step, loss, terms, written=written)
        return stop > 0

    def go_on(self, now: Moment) -> None:
        """Steps begin again: what was done since the last one counts for no step's time."""
        self._speed.begin(now)

    def evaluated(self, numbers: dict[str, float]) -> None:
        """Numbers of an evaluation."""
        if self.records is not None and numbers:
            self.records.write(self._step, "evaluation", numbers)
        self.shown.evaluation(self._step, numbers)

    def balanced(self, numbers: dict[str, float], warnings: tuple[str, ...]) -> None:
        """What the rule of the weights says."""
        if self.records is not None:
            self.records.write(self._step, "balance", numbers)
            for sentence in warnings:
                self.shown.warning(sentence)
                if logger.hasHandlers():  # else logging itself would print it a second time, with --quiet too
                    logger.warning("%s", sentence)

    def ended(self) -> None:
        """The whole of this start's steps."""
        self.shown.ended(self._step, self._speed.clips, self._speed.seconds)


def _seed(seed: int, step: int, rank: int) -> None:
    """Random numbers of a step (dropout, morphs) that follow from these three alone."""
    word = int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])
    torch.manual_seed(word >> 1)


def _pieces(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    parts = {name: part.chunk(count) for name, part in batch.items()}
    return [{name: chunks[number] for name, chunks in parts.items()} for number in range(count)]


def _difference(had: Any, has: Any) -> str:
    """Which keys differ, for messages."""
    if isinstance(had, dict) and isinstance(has, dict):
        keys = [key for key in sorted({*had, *has}) if had.get(key) != has.get(key)]
        return ", ".join(f"{key} {had.get(key)}, now {has.get(key)}" for key in keys)
    return f"{had}, now {has}"
