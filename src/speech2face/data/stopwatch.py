"""Where the time of a preparation goes, by stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal, get_args

Stage = Literal["decode", "speech", "detect", "landmarks", "align", "embed", "write"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class Stopwatch:
    """Seconds spent in each stage; stages do not overlap."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Counts what happens inside, also when it ends in an error."""
        started = self._clock()
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - started
