"""How far a training is: a bar on a terminal, lines elsewhere, both on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar


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
    """Steps done, the loss, clips/s and the time left."""

    def __init__(self, start: int, last: int, *, quiet: bool) -> None:
        self._last = last
        self._quiet = quiet
        self._speed = ""
        self._bar: Bar | None = None
        if not quiet and sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("step"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=last, completed=start)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def rate(self, step: int, clips_per_second: float | None, batch: int) -> None:
        """The speed of late, None where it is not known; the time left follows from it."""
        self._speed = ""
        if clips_per_second is not None:
            left = timedelta(seconds=round((self._last - step) * batch / clips_per_second))
            self._speed = f", {clips_per_second:.1f} clips/s, {left} left"

    def step(self, step: int, loss: float, terms: Mapping[str, float], *, written: bool) -> None:
        """A step is done."""
        if self._quiet:
            return
        text = f"loss {loss:.4g}"
        if len(terms) > 1:
            text += f" ({', '.join(f'{name} {value:.4g}' for name, value in terms.items())})"
        text += self._speed
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif written:
            self._line(f"[{step}/{self._last}] {text}")

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers on validation clips."""
        if numbers and not self._quiet:
            self._line(f"[{step}/{self._last}] evaluation: " + ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))

    def warning(self, sentence: str) -> None:
        """What the user must read."""
        if not self._quiet:
            self._line(f"warning: {sentence}")

    def ended(self, step: int, clips: int, seconds: float) -> None:
        """The last step of this start is done; clips and seconds are those of all timed steps."""
        if seconds > 0 and not self._quiet:
            took = timedelta(seconds=round(seconds))
            self._line(f"[{step}/{self._last}] {clips:,} clips in {took}, {clips / seconds:.1f} clips/s")

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)
