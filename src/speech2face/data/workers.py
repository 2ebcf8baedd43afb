"""Hand shards to workers, wherever they run: as many as there are workers, dead ones replaced, poison records left out.

A worker may be killed (by the system for memory, by hand) or be ended by what it decodes. A shard whose worker died is
done again; if that happens twice, the record that does it is searched by halving and becomes a reject.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from speech2face.data.record import Record, Reject, reject
from speech2face.errors import InvalidOption, MissingExtra, PreparationFailed, Speech2FaceError
from speech2face.outputs import hush

if TYPE_CHECKING:
    from speech2face.data.prepare import ShardResult, ShardTask

logger = logging.getLogger(__name__)
Prepare = Callable[["ShardTask"], "ShardResult"]
OnPoison = Callable[["ShardTask", tuple[Reject, ...]], None]
DEATHS_BEFORE_SEARCH = 2  # the first may be somebody's kill, or another program's hunger for memory
MOST_DEATHS = 4
MOST_POISON_SHARE = 0.1  # of a shard's records: more than that is not the records' fault
MOST_POISON_OF_FEW = 3


@dataclass(frozen=True)
class WorkerLimits:
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


class WorkerPool(Protocol):
    """Protocol of a worker pool: submit a shard, get its result or how its worker ended."""

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


def run_tasks(pool: WorkerPool, tasks: Iterable[ShardTask], on_poison: OnPoison | None = None) -> Iterator[ShardResult]:
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
            while flying < pool.size and (task := again.popleft() if again else next(coming, None)) is not None:
                pool.start(task)
                flying += 1
            if not flying:
                return
            outcome = pool.next()
            flying -= 1
            if outcome.result is not None:
                yield outcome.result
            else:
                again.append(_mended(pool, outcome, deaths, on_poison))
    finally:
        pool.close()


def _prepare() -> Prepare:
    from speech2face.data.prepare import prepare_shard  # PyAV and dlib, which whoever starts workers does not need

    return prepare_shard


def _mended(pool: WorkerPool, outcome: Outcome, deaths: Counter[str], on_poison: OnPoison | None) -> ShardTask:
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
    poison = find_poison_records(pool, task)
    if not poison:
        return task
    if on_poison is not None:
        on_poison(task, tuple(reject(record, "failed", why) for record, why in poison))
    out = {record.key for record, _ in poison}
    return replace(task, records=tuple(record for record in task.records if record.key not in out))


def find_poison_records(pool: WorkerPool, task: ShardTask) -> list[tuple[Record, str]]:
    """The records that end a worker each time, found by halving, and how they do it.

    Raises:
        PreparationFailed: so many that the fault is elsewhere.
    """
    most = max(MOST_POISON_OF_FEW, round(MOST_POISON_SHARE * len(task.records)))
    found: list[tuple[Record, str]] = []

    def search(records: tuple[Record, ...]) -> None:
        with tempfile.TemporaryDirectory(prefix="speech2face-") as folder:
            outcome = pool.alone(replace(task, records=records, out=folder))
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


# --- Prepare shards in processes of this machine.

TICK_SECONDS = 0.5  # between looks at memory and time
RENEW_SHARE = 0.5  # of the memory limit: a worker that still holds so much between two shards is replaced
BEGUN = "begun"
_CLOSING_SECONDS = 5.0


def run_local(
    tasks: Iterable[ShardTask],
    workers: int,
    *,
    prepare: Prepare | None = None,
    limits: WorkerLimits | None = None,
    on_poison: OnPoison | None = None,
) -> Iterator[ShardResult]:
    """Results as they come from `workers` processes; no more tasks are taken than there are workers.

    Raises:
        Speech2FaceError: as `run_tasks`.
    """
    assert workers > 0
    yield from run_tasks(LocalPool(workers, prepare or _prepare(), limits or WorkerLimits()), tasks, on_poison)


class Worker:
    """A process that does one task after another."""

    def __init__(self, prepare: Prepare) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process with threads in it may hang the child
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
        self.process.start()
        theirs.close()
        self.task: ShardTask | None = None
        self._began: float | None = None  # None until it has the task: starting a process may take seconds
        self._ended_for: str | None = None

    def begin(self, task: ShardTask) -> None:
        """Send it to work; a worker that died meanwhile is noticed by `outcome`."""
        self.task, self._began = task, None
        with contextlib.suppress(OSError):
            self.connection.send(task)

    def outcome(self) -> Outcome | None:
        """What came of the task, None where it has only begun; to be called when the connection has something."""
        assert self.task is not None
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            why = self._ended_for or f"its worker died ({_ending(self.process.exitcode)})"
            return Outcome(self.task, broke=why, died=True)
        if kind == BEGUN:
            self._began = time.monotonic()
            return None
        return told(self.task, kind, value)

    def enforce(self, limits: WorkerLimits) -> None:
        """End the process if it uses more than it may."""
        passed = 0.0 if self._began is None else time.monotonic() - self._began
        if limits.seconds is not None and passed > limits.seconds:
            self._end(f"not done after {limits.seconds:g} s")
        if limits.memory_bytes is not None and self.memory_bytes() > limits.memory_bytes:
            self._end(f"more than {limits.memory_bytes / 2**20:,.0f} MiB of memory")

    def _end(self, why: str) -> None:
        self._ended_for = why
        self.process.kill()

    def memory_bytes(self) -> int:
        """Main memory in use; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.join(_CLOSING_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class LocalPool:
    """Processes of this machine; see `WorkerPool`."""

    def __init__(self, workers: int, prepare: Prepare, limits: WorkerLimits) -> None:
        self.size = workers
        self._prepare, self._limits = prepare, limits
        self._free: list[Worker] = []
        self._busy: list[Worker] = []

    def start(self, task: ShardTask) -> None:
        """Give a task to a worker that is free, a new one where there is none."""
        assert len(self._busy) < self.size
        worker = self._free.pop() if self._free else Worker(self._prepare)
        worker.begin(task)
        self._busy.append(worker)

    def next(self) -> Outcome:
        """Wait for one of those that were started."""
        assert self._busy
        while True:
            ready = wait([worker.connection for worker in self._busy], TICK_SECONDS)
            for worker in self._busy:
                if worker.connection not in ready:
                    worker.enforce(self._limits)
                elif (outcome := worker.outcome()) is not None:
                    self._busy.remove(worker)
                    self._keep_or_close(worker, outcome)
                    return outcome

    def _keep_or_close(self, worker: Worker, outcome: Outcome) -> None:
        limit = self._limits.memory_bytes
        full = limit is not None and worker.memory_bytes() > RENEW_SHARE * limit
        if outcome.result is None or full:
            worker.close()
        else:
            self._free.append(worker)

    def alone(self, task: ShardTask) -> Outcome:
        """Do a task in a process of its own."""
        worker = Worker(self._prepare)
        try:
            worker.begin(task)
            while True:
                if not worker.connection.poll(TICK_SECONDS):
                    worker.enforce(self._limits)
                elif (outcome := worker.outcome()) is not None:
                    return outcome
        finally:
            worker.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in (*self._busy, *self._free):
            worker.process.terminate()  # all at once; then wait for each
        for worker in (*self._busy, *self._free):
            worker.close()
        self._busy, self._free = [], []


def attempt(prepare: Prepare, task: ShardTask) -> tuple[str, Any]:
    """Do a task; whatever it raises is told, not raised, so that it comes through pickle as what it is."""
    try:
        return "result", prepare(task)
    except Speech2FaceError as error:
        return "error", error
    except Exception as error:  # nobody foresaw it: one record must not end a run of days
        return "failed", f"{type(error).__name__}: {error}"


def told(task: ShardTask, kind: str, value: Any) -> Outcome:
    """The outcome that `attempt` told of."""
    if kind == "result":
        return Outcome(task, result=value)
    if kind == "error":
        return Outcome(task, error=value)
    return Outcome(task, broke=str(value))


def _serve(connection: Connection, prepare: Prepare) -> None:
    """A worker's life: ends with its parent's, also when that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            task = connection.recv()
            connection.send((BEGUN, None))
            connection.send(attempt(prepare, task))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


# --- Prepare shards on a Ray cluster (extra `cluster`): the same function and the same shards, on other machines.
# All machines must have the program installed and see the same paths or URLs, for the media as for the output.
# Whoever started the cluster stops it; one that was started here, for want of an address, is stopped here.

IN_FLIGHT_PER_CPU = 2  # one in work and one on its way
SHARDS_PER_PROCESS = 50  # then a worker's process is renewed, with whatever it kept in memory


def run_ray(
    tasks: Iterable[ShardTask],
    address: str | None,
    *,
    workers: int | None = None,
    prepare: Prepare | None = None,
    limits: WorkerLimits | None = None,
    on_poison: OnPoison | None = None,
) -> Iterator[ShardResult]:
    """Results as they come from a cluster: "auto", an address, or None for one of this machine's own.

    Raises:
        MissingExtra: Ray is not installed.
        InvalidOption: there is no cluster at the address.
        Speech2FaceError: as `run_tasks`.
    """
    pool = RayPool(address, workers=workers, prepare=prepare or _prepare(), limits=limits or WorkerLimits())
    yield from run_tasks(pool, tasks, on_poison)


class RayPool:
    """Processes of a cluster; see `WorkerPool`."""

    def __init__(self, address: str | None, *, workers: int | None, prepare: Prepare, limits: WorkerLimits) -> None:
        """`workers` bounds the shards in work; without it, two for each of the cluster's CPUs."""
        self._ray = _import_ray()
        self._joined = not self._ray.is_initialized()
        if self._joined:
            self._join(address, workers)
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if not cpus:
            raise InvalidOption("the Ray cluster has no CPU to give")
        self.size = workers or IN_FLIGHT_PER_CPU * cpus
        self._limits = limits
        self._flying: dict[Any, tuple[ShardTask, float]] = {}
        options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0}
        if limits.memory_bytes is not None:
            self._check_memory(limits.memory_bytes)
            options["memory"] = limits.memory_bytes  # Ray starts no more of them on a machine than fit
        self._remote = self._ray.remote(**options, max_calls=SHARDS_PER_PROCESS)(attempt)
        self._alone = self._ray.remote(**options, max_calls=1)(attempt)
        self._prepare = self._ray.put(prepare)

    def _join(self, address: str | None, workers: int | None) -> None:
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if address is None:
            settings |= {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
        try:
            self._ray.init(address=address, **settings)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InvalidOption(
                f"no Ray cluster at {address or 'this machine'} ({' '.join(str(error).split())[:200]}); start one with "
                "ray start --head, or use --runner local"
            ) from error

    def _check_memory(self, wanted: int) -> None:
        """Ray would wait for ever for a machine that is large enough."""
        largest = max((node["Resources"].get("memory", 0) for node in self._ray.nodes() if node["Alive"]), default=0)
        if wanted > largest:
            self.close()
            raise InvalidOption(
                f"no machine of the cluster gives a worker {wanted / 1e9:g} GB, the largest {largest / 1e9:.1f}; lower "
                "--worker-memory"
            )

    def start(self, task: ShardTask) -> None:
        """Give a task to the cluster."""
        self._flying[self._remote.remote(self._prepare, task)] = (task, time.monotonic())

    def next(self) -> Outcome:
        """Wait for one of those that were started."""
        assert self._flying
        while True:
            ready, _ = self._ray.wait(list(self._flying), num_returns=1, timeout=TICK_SECONDS)
            if ready:
                task, _ = self._flying.pop(ready[0])
                return self._outcome(ready[0], task)
            if self._limits.seconds is not None:
                for reference, (_, began) in self._flying.items():
                    # A task on its way waits for the one in work, so it may take twice as long.
                    if time.monotonic() - began > IN_FLIGHT_PER_CPU * self._limits.seconds:
                        self._ray.cancel(reference, force=True)

    def _outcome(self, reference: Any, task: ShardTask) -> Outcome:
        try:
            kind, value = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # killed, out of memory, a machine gone, cancelled
            return Outcome(task, broke=f"its worker died ({type(error).__name__})", died=True)
        return told(task, kind, value)

    def alone(self, task: ShardTask) -> Outcome:
        """Do a task in a process of its own."""
        return self._outcome(self._alone.remote(self._prepare, task), task)

    def close(self) -> None:
        """Call back what is not done; leave the cluster, and stop it if it was started here."""
        for reference in self._flying:
            self._ray.cancel(reference, force=True)
        self._flying = {}
        if self._joined:
            self._ray.shutdown()


def _import_ray() -> Any:
    hush()  # it neither reports on its users, nor asks for a way to
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("Ray needs the extra 'cluster'", "cluster") from error
    return ray


# --- How far a preparation is: clips a second, kept, rejected by reason, time left.

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
