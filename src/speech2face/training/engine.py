"""The training loop of both stages: face decoder from photographs, voice encoder with the face side frozen.

What a step does depends on nothing but the settings and the step's number: the clips follow from (seed, step), the
random numbers are seeded anew at each step from (seed, step, rank), the learning rate is a function of the step. So a
checkpoint needs no more than weights, moments and the number of steps done, and going on from it is exact.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from speech2face.console import Bar, Tell, note, unheard
from speech2face.data.clips import ClipDataset, clip_loader
from speech2face.data.manifest import Manifest, Part
from speech2face.data.shards import BatchOrder, PassOrder, ShardCache, default_cache_folder
from speech2face.data.statement import data_gaps, missing_packages
from speech2face.data.storage import locked
from speech2face.errors import (
    CheckpointError,
    DatasetError,
    InvalidSettings,
    LossNotFinite,
    TrainingStopped,
    WeightsError,
)
from speech2face.face.embedders import EmbedderRecord
from speech2face.outputs import away_from_home
from speech2face.sheets import Column, draw_grid
from speech2face.training.card import check_decoder_data
from speech2face.training.checkpoint import (
    AVERAGE,
    EVALUATION,
    NETWORK,
    OPTIMISER,
    Records,
    newest_checkpoint,
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    save_checkpoint,
    was_evaluated,
    write_settings,
)
from speech2face.training.losses import Balance, suggest_weights
from speech2face.training.settings import OptimiserSettings, TrainingSettings
from speech2face.training.stages import TRAINING_SPLIT, Batch, EncoderStage, Stage, build_stage, load_network

# --- Adam, the learning rate as a function of the step, and the running average of the weights.


def make_optimiser(network: nn.Module, settings: OptimiserSettings) -> torch.optim.Adam:
    """Adam over what is trainable (Kingma and Ba 2015), with the settings' constants."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    on_card = trained[0].is_cuda
    with away_from_home():  # every optimiser of torch imports its compiler, which makes its cache's folder
        return torch.optim.Adam(
            trained,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True if on_card else None,
        )


def learning_rate(settings: OptimiserSettings, step: int) -> float:
    """The paper's: times `decay` after every `decay_every` steps, in steps; before it a warm-up where one is set."""
    rate = settings.learning_rate * settings.decay ** (step // settings.decay_every)
    return rate * min(1.0, (step + 1) / settings.warm_up) if settings.warm_up else rate


class RunningAverage:
    """Exponential moving average of a network's parameters; buffers (normalisation statistics) are copied as they are.

    Source: Polyak and Juditsky 1992. The first steps average over all there were, so that the start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after step number `step` (from 0) in."""
        decay = min(self.decay, (1 + step) / (10 + step))
        trained = dict(network.named_parameters())
        for name, tensor in network.state_dict().items():
            if name in trained:
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """Let the network have the averaged weights for a while."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.tensors)
        try:
            yield
        finally:
            network.load_state_dict(own)


def clip_gradients(network: nn.Module, clip_norm: float) -> Tensor:
    """Shorten the gradient to `clip_norm` where it is longer, 0 leaving it; returns its length before, ()."""
    if clip_norm:
        return nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])


# --- The processes of one training: alone, or started by torchrun (gloo on processors, NCCL on graphics cards).

EVALUATION_LIMIT = timedelta(hours=2)  # the other ranks wait this long while the first one evaluates


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Average over all ranks, the same shape; alone it is the values themselves."""
        if self.count > 1:
            distributed.all_reduce(values)
            values /= self.count
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            distributed.barrier()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """`auto` takes a graphics card where there is one.

    Raises:
        InvalidSettings: `cuda` without one.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InvalidSettings('run.device is "cuda", but torch finds no graphics card; set it to "auto" or "cpu"')
    if local_rank >= torch.cuda.device_count():
        raise InvalidSettings(f"process {local_rank} of this machine has no graphics card of its own; start fewer")
    return torch.device("cuda", local_rank)


def choose_precision(name: str, device: torch.device) -> str:
    """`auto` takes bf16 on a graphics card made for it, else fp32: elsewhere bfloat16 is emulated, and slower."""
    if name != "auto":
        return name
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process's place, from torchrun's environment; alone where there is none."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    where = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if count == 1:
        yield Ranks(0, 1, where)
        return
    backend = "nccl" if where.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=EVALUATION_LIMIT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), where)
        distributed.barrier()  # a rank that is gone while another still talks to it would abort
    finally:
        distributed.destroy_process_group()


# --- Stop at the end of a step when the system or the user asks for it.

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals() -> Iterator[Event]:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the program as usual."""
    request = Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, _frame: FrameType | None) -> None:
        request.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- How far a training is: a bar on a terminal, lines elsewhere, both on standard error.


@dataclass(frozen=True)
class Moment:
    """A point in time by the device's own clock: a graphics card is behind the processor that gives it work."""

    seconds: float
    event: torch.cuda.Event | None = None

    @classmethod
    def now(cls, device: torch.device) -> Moment:
        """When the device will have done all that it was given so far."""
        if device.type != "cuda":
            return cls(time.perf_counter())
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return cls(0.0, event)

    def wait(self) -> None:
        """Until it has come."""
        if self.event is not None:
            self.event.synchronize()

    def since(self, earlier: Moment) -> float:
        """Seconds from an earlier moment of the same device; both have come."""
        if self.event is None or earlier.event is None:
            return self.seconds - earlier.seconds
        return float(earlier.event.elapsed_time(self.event)) / 1000


class Speed:
    """Clips over the time that their steps took, from the end of the step before to their own.

    The first step of a start is left out: reading begins, a graph is compiled, memory is found. So is whatever is done
    between two steps, evaluations and checkpoints.
    """

    def __init__(self) -> None:
        self.clips, self.seconds = 0, 0.0
        """Of all steps that were timed."""
        self._late_clips, self._late_seconds = 0, 0.0
        self._from: Moment | None = None

    def begin(self, now: Moment) -> None:
        """The next step begins now."""
        self._from = now

    def step(self, finished: Moment, clips: int) -> None:
        """A step is done."""
        if self._from is not None:
            seconds = finished.since(self._from)
            self.clips, self.seconds = self.clips + clips, self.seconds + seconds
            self._late_clips, self._late_seconds = self._late_clips + clips, self._late_seconds + seconds
        self._from = finished

    def of_late(self) -> float | None:
        """Clips a second since this was last asked; None where no step was timed since."""
        rate = self._late_clips / self._late_seconds if self._late_seconds > 0 else None
        self._late_clips, self._late_seconds = 0, 0.0
        return rate


class Progress:
    """Steps done, clips/s, the time left and the loss: a bar on a terminal, a line for each written step elsewhere."""

    def __init__(self, start: int, last: int, *, quiet: bool) -> None:
        self._last = last
        self._quiet = quiet
        self._lines = not quiet and not sys.stderr.isatty()
        self._speed = ""
        self._bar = Bar(f"step {start:,} of {last:,}", last, done=start, quiet=quiet or self._lines, timed=False)

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def rate(self, step: int, clips_per_second: float | None, batch: int) -> None:
        """The speed of late, None where it is not known; the time left follows from it."""
        self._speed = ""
        if clips_per_second is not None:
            left = timedelta(seconds=round((self._last - step) * batch / clips_per_second))
            self._speed = f", {clips_per_second:.1f} clips/s, {left} left"

    def step(self, step: int, loss: float, terms: Mapping[str, float], *, written: bool) -> None:
        """A step is done."""
        if self._quiet or (self._lines and not written):
            return
        text = f"loss {loss:.4g}"
        if len(terms) > 1 and self._lines:  # a terminal of 80 columns has no place for them beside the bar
            text += f" ({', '.join(f'{name} {value:.4g}' for name, value in terms.items())})"
        if self._lines:
            note(f"[{step}/{self._last}] {text}{self._speed}")
        else:
            self._bar.update(step, what=f"step {step:,} of {self._last:,}, {text}{self._speed}")

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers on validation clips."""
        if numbers and not self._quiet:
            note(f"[{step}/{self._last}] evaluation: " + ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))

    def warning(self, sentence: str) -> None:
        """What the user must read."""
        if not self._quiet:
            note(f"warning: {sentence}")

    def ended(self, step: int, clips: int, seconds: float, clips_per_second: float | None) -> None:
        """The last step of this start is done: all its clips, how long it took with everything, and the steps' rate."""
        if not self._quiet:
            rate = "" if clips_per_second is None else f"; {clips_per_second:.1f} clips/s while learning"
            took = timedelta(seconds=round(seconds))
            note(f"[{step}/{self._last}] {clips:,} clips in {took} with evaluations and checkpoints{rate}")


logger = logging.getLogger(__name__)


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


SHOWN = 8  # validation clips whose faces are drawn


@dataclass
class Trainer:
    """One training in one process."""

    settings: TrainingSettings
    stage: Stage
    batches: Batches
    ranks: Ranks
    stop: Event
    quiet: bool = False
    step: int = field(default=0, init=False)
    """Steps done."""
    faces: list[Column] = field(default_factory=list, init=False)
    """Drawn at the last evaluation."""

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
            self.stage.network.to(memory_format=torch.channels_last)
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
        return {
            "stage": self.stage.name,
            "network": self.stage.network.config.to_dict(),
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
        # An earlier start may have ended between this step's checkpoint and its evaluation.
        due = self.step > 0 and (self.step % run.evaluate_every == 0 or self.step == last)
        unevaluated = due and not was_evaluated(self.settings.out, self.step)
        self.ranks.wait()  # from now on the first one writes where all have looked
        if self.step >= last and not unevaluated:
            return
        balanced_at = min(self.stage.rule.balanced_at, run.steps) if self.stage.rule else None
        with self._reporting(last) as report:
            if unevaluated:
                report.evaluated(self.evaluate(), self.faces)
            if self.step >= last:
                return
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
                        report.evaluated(self.evaluate(), self.faces)
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
        stop = torch.tensor(float(self.stop.is_set()), device=self.ranks.device)
        numbers = self.ranks.mean(torch.stack([*total.values(), length.detach().to(loss), stop.to(loss)]).float())
        return Reported.send(self.step, numbers, tuple(total))

    def evaluate(self) -> dict[str, float]:
        """The stage's numbers on validation clips; the other ranks wait for the first one."""
        numbers: dict[str, float] = {}
        if self.ranks.first:
            network = self.stage.network
            averaged = self.average.in_place_of(network) if self.average else contextlib.nullcontext()
            network.eval()
            first: list[Batch] = []

            def moved() -> Iterator[Batch]:
                for batch in self.batches.evaluation():
                    if not first:
                        first.append({name: part[:SHOWN] for name, part in batch.items()})
                    yield self._on_device(batch)

            with averaged, torch.inference_mode(), self._autocast():
                numbers = self.stage.evaluate(network, moved())
                self.faces = self.stage.faces(network, self._on_device(first[0])) if first else []
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
        """bfloat16 where asked for or faster; float32 needs no scaling of the loss in either."""
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def precision(self) -> str:
        """What the networks compute in: bf16 or fp32."""
        return choose_precision(self.settings.run.precision, self.ranks.device)

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint: the network, Adam's two moments of what learns, and the running average."""
        network = self.stage.network
        state = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        learns = sum(each.numel() * each.element_size() for each in network.parameters() if each.requires_grad)
        return int(state * (1 if self.average is None else 2) + 2 * learns)

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
            report = Report(self.settings, records, shown, self.step)
            yield report
            report.ended()


class Report:
    """What becomes of a step's numbers."""

    def __init__(self, settings: TrainingSettings, records: Records | None, shown: Progress, start: int) -> None:
        self.settings = settings
        self.records = records
        self.shown = shown
        self._speed = Speed()
        self._step = start
        self._steps, self._began = 0, time.perf_counter()

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
        self._steps += 1
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

    def evaluated(self, numbers: dict[str, float], faces: Sequence[Column] = ()) -> None:
        """Numbers of an evaluation, and faces drawn meanwhile."""
        if self.records is not None and faces:
            model = (f"{self.settings.stage}, being trained", f"step {self._step}")
            self.records.draw(self._step, draw_grid(faces, None, heard="Voice", model=model))
        if self.records is not None and numbers:
            self.records.write(self._step, EVALUATION, numbers)
        self.shown.evaluation(self._step, numbers)

    def balanced(self, numbers: dict[str, float], warnings: tuple[str, ...]) -> None:
        """What the rule of the weights says."""
        if self.records is not None:
            self.records.write(self._step, "balance", numbers)
            for sentence in warnings:
                self.shown.warning(sentence)
                if logger.hasHandlers():  # else logging itself would print it a second time, with --quiet too
                    logger.warning("%s", sentence, extra={"noted": True})

    def ended(self) -> None:
        """The whole of this start's steps."""
        speed, clips = self._speed, self._steps * self.settings.data.batch
        rate = speed.clips / speed.seconds if speed.seconds > 0 else None
        self.shown.ended(self._step, clips, time.perf_counter() - self._began, rate)


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


# --- Clips of a data set for the engine: each rank's share of each step, from any step on.


class ShardBatches:
    """A manifest's training and evaluation clips; `parts` is set to what the stage reads before any clip is."""

    def __init__(self, settings: TrainingSettings, ranks: Ranks) -> None:
        """Opens and checks the manifest.

        Raises:
            DatasetError: missing, damaged, a speaker in two splits, or without embeddings to learn.
        """
        self.settings = settings
        self.ranks = ranks
        self.parts: tuple[Part, ...] = ()
        self.manifest = Manifest.open(settings.data.manifest)
        if self.manifest.embedder is None:
            raise DatasetError(
                f"{self.manifest.storage} holds no face embeddings; prepare the data with a face embedder"
            )
        self.embedder: EmbedderRecord = self.manifest.embedder
        self._training = self.manifest.clips(TRAINING_SPLIT)
        self.manifest.clips(settings.run.evaluate_split)  # refuse a missing split now, not after hours
        self._order(0)  # and a batch that there are too few clips for

    @property
    def sha256(self) -> str:
        """Of the manifest."""
        return self.manifest.sha256

    @property
    def count(self) -> int:
        """Training clips."""
        return len(self._training)

    @property
    def speakers(self) -> int:
        """Speakers among the training clips."""
        return len(set(self._training.speaker.tolist()))

    def training(self, start_step: int) -> Iterable[dict[str, Tensor]]:
        """This rank's clips of each step, for ever."""
        clips = self._clips(TRAINING_SPLIT)
        pin = self.ranks.device.type == "cuda"
        return clip_loader(clips, self._order(start_step), workers=self.settings.data.workers, pin=pin)

    def _order(self, start_step: int) -> BatchOrder:
        """This rank's share of each step.

        Raises:
            InvalidSettings: a batch that is larger than the split, or cannot be shared by the ranks.
        """
        data = self.settings.data
        return BatchOrder(
            self._training,
            data.batch,
            seed=self.settings.seed,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
            start_step=start_step,
            window_shards=data.window_shards,
        )

    def evaluation(self) -> Iterable[dict[str, Tensor]]:
        """The same clips of the evaluation's split each time, each once."""
        run, data = self.settings.run, self.settings.data
        clips = self._clips(run.evaluate_split)
        order = PassOrder(clips.table, data.batch, limit=run.evaluate_clips)
        return clip_loader(clips, order, workers=min(data.workers, 2))

    def _clips(self, split: str) -> ClipDataset:
        data = self.settings.data
        cache = None
        if self.manifest.storage.local is None:
            folder = data.cache or default_cache_folder()
            cache = ShardCache(folder, round(data.cache_gigabytes * 1e9))
        return ClipDataset(
            self.manifest, split, parts=self.parts, seconds=data.seconds, seed=self.settings.seed, cache=cache
        )


# --- A training from its settings: data, stage, ranks and signals brought together.


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
    said = [f"for export: {name} is not installed; install the extra train" for name in missing_packages()]
    if settings.stage != "encoder":
        return said
    said += [str(gap) for gap in data_gaps(batches.manifest, settings.run.evaluate_split)]
    if settings.teacher.face_decoder is None:
        said.append(
            "for export: a face decoder of this face embedder is needed too, and none is named; train one"
            " (configs/paper-decoder.toml, dlib-decoder.toml), and set teacher.face_decoder to learn its first layer"
        )
        return said
    try:
        unsure = check_decoder_data(load_network(settings.teacher.face_decoder)[1], batches.embedder)
        said += [f"for export: {sentence}" for sentence in unsure]
    except WeightsError as error:
        said.append(f"for export: it is refused: {error}")
    return said


def _slow(trainer: Trainer) -> list[str]:
    """What will take longer, or not fit, though nothing refuses it."""
    said = []
    on_processor = trainer.ranks.device.type == "cpu"
    if on_processor and trainer.precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        said.append("warning: this processor emulates bf16, which is 7 to 13 times slower; set run.precision to auto")
    settings = trainer.settings
    wanted = trainer.checkpoint_bytes * (settings.run.keep + 1)  # one more stands before the oldest goes
    free = shutil.disk_usage(settings.out).free
    if wanted > free:
        said.append(
            f"warning: {settings.run.keep} checkpoints and the one being written take {wanted / 1e6:,.0f} MB,"
            f" {free / 1e6:,.0f} MB are free; set run.keep or out"
        )
    return said


def _say(trainer: Trainer, batches: ShardBatches, missing: list[str]) -> None:
    """What begins, on standard error."""
    settings, network = trainer.settings, trainer.stage.network
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    lines = [
        f"{settings.stage}: {parameters:,} parameters, {batches.count:,} training clips of {batches.speakers:,}"
        f" speakers, {settings.data.batch} a step, {settings.run.steps:,} steps"
        f" ({settings.run.steps * settings.data.batch / max(1, batches.count):,.1f} epochs),"
        f" {trainer.ranks.count} x {trainer.ranks.device.type}, {trainer.precision}",
        f"a checkpoint takes {trainer.checkpoint_bytes / 1e6:,.1f} MB, every {settings.run.checkpoint_every:,} steps;"
        f" the newest {settings.run.keep} stay in {settings.out}",
        *_slow(trainer),
        *trainer.stage.notes(),
        *missing,
    ]
    if trainer.step >= settings.run.steps:
        lines.append(f"finished: all {trainer.step:,} steps are done; raise run.steps to go on")
    elif trainer.step:
        lines.append(f"going on from step {trainer.step:,}")
    for line in lines:
        note(line)


def balance_by_settings(
    settings: TrainingSettings, *, clips: int, progress: Tell = unheard
) -> tuple[int, list[Balance], tuple[str, ...]]:
    """Suggested weights from the newest checkpoint of an encoder's run: its step, the terms, what is left out.

    Raises:
        InvalidSettings: settings of a decoder.
        CheckpointError: nothing is trained yet.
    """
    if settings.stage != "encoder":
        raise InvalidSettings("balance is about the voice encoder's loss; the settings' stage is \"decoder\"")
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
        pairs = []
        with torch.no_grad():
            for number, batch in enumerate(moved):
                progress("batches heard", number, count)
                pairs.append((stage.predict(stage.network, batch), batch["face_embedding"]))
        return newest.step, suggest_weights(stage.loss, pairs), stage.notes()
