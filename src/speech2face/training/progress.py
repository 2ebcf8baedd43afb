"""How far a training is: a bar on a terminal, lines elsewhere, both on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar


class Progress:
    """Steps done, the loss, clips/s and the time left."""

    def __init__(self, start: int, last: int, *, quiet: bool) -> None:
        self._last = last
        self._done = start
        self._quiet = quiet
        self._clips_per_second = 0.0
        self._left = ""
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

    def rate(self, steps_per_second: float, clips_per_second: float) -> None:
        """The speed of late."""
        self._clips_per_second = clips_per_second
        seconds = (self._last - self._done) / steps_per_second if steps_per_second else 0
        self._left = f", {timedelta(seconds=round(seconds))} left"

    def step(self, step: int, loss: float, terms: Mapping[str, float], *, written: bool) -> None:
        """A step is done."""
        self._done = step
        if self._quiet:
            return
        text = f"loss {loss:.4g}"
        if len(terms) > 1:
            text += f" ({', '.join(f'{name} {value:.4g}' for name, value in terms.items())})"
        if self._clips_per_second:
            text += f", {self._clips_per_second:.1f} clips/s{self._left}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif written:
            self._line(f"[{step}/{self._last}] {text}")

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers on validation clips."""
        if numbers and not self._quiet:
            self._line(f"[{step}/{self._last}] evaluation: " + ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)
