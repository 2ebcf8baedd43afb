"""Hand shards to workers, wherever they run: as many as there are workers, dead ones replaced, culprits left out.

A worker may be killed (by the system for memory, by hand) or be ended by what it decodes. A shard whose worker died is
done again; if that happens twice, the record that does it is searched by halving and becomes a reject.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from speech2face.data.record import Record, Reject, reject
from speech2face.errors import PreparationFailed, Speech2FaceError

if TYPE_CHECKING:
    from speech2face.data.prepare import ShardResult, ShardTask

logger = logging.getLogger(__name__)

Prepare = Callable[["ShardTask"], "ShardResult"]
OnResult = Callable[["ShardResult"], None]
OnCulprits = Callable[["ShardTask", tuple[Reject, ...]], None]

DEATHS_BEFORE_SEARCH = 2  # the first may be somebody's kill, or another program's hunger for memory
MOST_DEATHS = 4
MOST_CULPRITS_SHARE = 0.1  # of a shard's records: more than that is not the records' fault
MOST_CULPRITS_OF_FEW = 3


@dataclass(frozen=True)
class Limits:
    """What a worker may use before it is ended and its shard counted as died; None: no limit."""

    memory_bytes: int | None = None
    """Of main memory, a worker. All workers together hold this many times their number, and the driver a few MB."""
    seconds: float | None = None
    """For one shard."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a shard ended: exactly one of the last three is set."""

    task: ShardTask
    result: ShardResult | None = None
    error: Speech2FaceError | None = None
    """Nothing another attempt would mend: no room, a wrong model."""
    broke: str | None = None
    """The worker died, or an error nobody foresaw: how."""
    died: bool = False
    """It died, which may have had nothing to do with the records."""


class Crew(Protocol):
    """Workers."""

    size: int
    """Shards in work at the same time: the bound of everything that is in memory."""

    def start(self, task: ShardTask) -> None:
        """Give a task to a worker that is free."""
        ...

    def next(self) -> Outcome:
        """Wait for one of those that were started."""
        ...

    def alone(self, task: ShardTask) -> Outcome:
        """Do a task in a process where it harms no other, and wait for it."""
        ...

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        ...


def run_tasks(
    crew: Crew, tasks: Iterable[ShardTask], on_result: OnResult | None = None, on_culprits: OnCulprits | None = None
) -> Iterator[ShardResult]:
    """Results as they come; a task is taken from `tasks` only when a worker is free for it.

    Raises:
        Speech2FaceError: a task's own; the others are stopped, and what they finished stays.
        PreparationFailed: a shard that cannot be done.
    """
    coming, again = iter(tasks), deque["ShardTask"]()
    deaths: Counter[str] = Counter()
    flying = 0
    try:
        while True:
            while flying < crew.size and (task := again.popleft() if again else next(coming, None)) is not None:
                crew.start(task)
                flying += 1
            if not flying:
                return
            outcome = crew.next()
            flying -= 1
            if outcome.result is not None:
                if on_result is not None:
                    on_result(outcome.result)
                yield outcome.result
            else:
                again.append(_mended(crew, outcome, deaths, on_culprits))
    finally:
        crew.close()


def _mended(crew: Crew, outcome: Outcome, deaths: Counter[str], on_culprits: OnCulprits | None) -> ShardTask:
    """The task to do instead of one that gave no result.

    Raises:
        Speech2FaceError: as `run_tasks`.
    """
    if outcome.error is not None:
        raise outcome.error
    task = outcome.task
    deaths[task.name] += 1
    logger.warning("%s: %s", task.name, outcome.broke)
    if deaths[task.name] >= MOST_DEATHS:
        raise PreparationFailed(
            f"shard {task.name} ended its worker {MOST_DEATHS} times, though no record does it alone "
            f"({outcome.broke}); use fewer workers, or allow them more memory or time; finished shards are kept"
        )
    if outcome.died and deaths[task.name] < DEATHS_BEFORE_SEARCH:
        return task
    culprits = find_culprits(crew, task)
    if not culprits:
        return task
    if on_culprits is not None:
        on_culprits(task, tuple(reject(record, "failed", why) for record, why in culprits))
    out = {record.key for record, _ in culprits}
    return replace(task, records=tuple(record for record in task.records if record.key not in out))


def find_culprits(crew: Crew, task: ShardTask) -> list[tuple[Record, str]]:
    """The records that end a worker each time, found by halving, and how they do it.

    Raises:
        PreparationFailed: so many that the fault is elsewhere.
    """
    most = max(MOST_CULPRITS_OF_FEW, round(MOST_CULPRITS_SHARE * len(task.records)))
    found: list[tuple[Record, str]] = []

    def search(records: tuple[Record, ...]) -> None:
        with tempfile.TemporaryDirectory(prefix="speech2face-") as folder:
            outcome = crew.alone(replace(task, records=records, out=folder))
        if outcome.error is not None:
            raise outcome.error
        if outcome.broke is None:
            return
        if len(records) > 1:
            search(records[: len(records) // 2])
            search(records[len(records) // 2 :])
            return
        found.append((records[0], outcome.broke))
        if len(found) > most:
            raise PreparationFailed(
                f"shard {task.name}: more than {most} of {len(task.records)} records fail ({outcome.broke}); that is "
                "not their fault; the shards finished so far are kept"
            )

    search(task.records)
    return found
