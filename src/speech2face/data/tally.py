"""How far a preparation is: clips a second, kept, rejected by reason, time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speech2face.data.prepare import ShardResult

_REASONS_SHOWN = 4
MINUTE, HOUR = 60, 3600


class Tally:
    """Counts of one run; what earlier runs finished is not part of its speed."""

    def __init__(self, records: int, shards: int, now: Callable[[], float] = time.monotonic) -> None:
        self.records, self.shards = records, shards
        self.done_before = self.done = self.finished_shards = self.kept = 0
        self.rejects: Counter[str] = Counter()
        self.stage_seconds: Counter[str] = Counter()
        self._now, self._began = now, now()

    def add_finished(self, records: int) -> None:
        """A shard that an earlier run finished."""
        self.done_before += records
        self.finished_shards += 1

    def add(self, result: ShardResult) -> None:
        """A shard that was just finished."""
        self.done += result.kept + len(result.rejects)
        self.finished_shards += 1
        self.kept += result.kept
        self.rejects.update(each.reason for each in result.rejects)
        self.stage_seconds.update(result.seconds)

    def reject(self, reason: str, count: int = 1) -> None:
        """Records that never reached a shard."""
        self.rejects[reason] += count

    @property
    def clips_per_second(self) -> float:
        """Records dealt with in a second of this run; 0 before the first."""
        passed = self._now() - self._began
        return self.done / passed if passed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until all are dealt with at the speed so far; None before anything is."""
        speed = self.clips_per_second
        return max(0, self.records - self.done_before - self.done) / speed if speed else None

    def line(self) -> str:
        """All of it in one line."""
        done = self.done_before + self.done
        parts = [f"{done:,} of {self.records:,} records", f"{self.finished_shards:,} of {self.shards:,} shards"]
        parts += [f"{self.clips_per_second:.1f} clips/s", f"{self.kept:,} kept"]
        rejected = ", ".join(f"{reason} {count:,}" for reason, count in self.rejects.most_common(_REASONS_SHOWN))
        more = len(self.rejects) - _REASONS_SHOWN
        parts.append(
            f"{self.rejects.total():,} rejected"
            + (f" ({rejected}{f' and {more} more reasons' if more > 0 else ''})" if rejected else "")
        )
        left = self.seconds_left
        return "; ".join([*parts, *([] if left is None else [f"{spoken_time(left)} left"])])


def spoken_time(seconds: float) -> str:
    """As somebody would say it: 50 s, 12 min, 3.5 h."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
