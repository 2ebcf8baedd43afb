"""Prepare shards in processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from speech2face.data.crew import Limits, OnCulprits, OnResult, Outcome, Prepare, run_tasks
from speech2face.errors import Speech2FaceError

if TYPE_CHECKING:
    from speech2face.data.prepare import ShardResult, ShardTask

TICK_SECONDS = 0.5  # between looks at memory and time
RENEW_SHARE = 0.5  # of the memory limit: a worker that still holds so much between two shards is replaced
BEGUN = "begun"
_CLOSING_SECONDS = 5.0


def run_local(
    tasks: Iterable[ShardTask],
    workers: int,
    on_result: OnResult | None = None,
    *,
    prepare: Prepare | None = None,
    limits: Limits | None = None,
    on_culprits: OnCulprits | None = None,
) -> Iterator[ShardResult]:
    """Results as they come from `workers` processes; no more tasks are taken than there are workers.

    Raises:
        Speech2FaceError: as `crew.run_tasks`.
    """
    assert workers > 0
    if prepare is None:
        from speech2face.data.prepare import prepare_shard

        prepare = prepare_shard
    yield from run_tasks(LocalCrew(workers, prepare, limits or Limits()), tasks, on_result, on_culprits)


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

    def enforce(self, limits: Limits) -> None:
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


class LocalCrew:
    """Processes of this machine; see `crew.Crew`."""

    def __init__(self, workers: int, prepare: Prepare, limits: Limits) -> None:
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
