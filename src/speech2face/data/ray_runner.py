"""Prepare shards on a Ray cluster (extra `cluster`): the same function and the same shards, on other machines.

All machines must have the program installed and see the same paths or URLs, for the media as for the output. Whoever
started the cluster stops it; one that was started here, for want of an address, is stopped here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from speech2face.data.crew import Limits, OnCulprits, OnResult, Outcome, Prepare, run_tasks
from speech2face.data.runners import TICK_SECONDS, attempt, told
from speech2face.errors import InvalidOption, MissingExtra
from speech2face.quiet import hush

if TYPE_CHECKING:
    from speech2face.data.prepare import ShardResult, ShardTask

IN_FLIGHT_PER_CPU = 2  # one in work and one on its way
SHARDS_PER_PROCESS = 50  # then a worker's process is renewed, with whatever it kept in memory


def run_ray(
    tasks: Iterable[ShardTask],
    address: str | None,
    on_result: OnResult | None = None,
    *,
    workers: int | None = None,
    prepare: Prepare | None = None,
    limits: Limits | None = None,
    on_culprits: OnCulprits | None = None,
) -> Iterator[ShardResult]:
    """Results as they come from a cluster: "auto", an address, or None for one of this machine's own.

    Raises:
        MissingExtra: Ray is not installed.
        InvalidOption: there is no cluster at the address.
        Speech2FaceError: as `crew.run_tasks`.
    """
    if prepare is None:
        from speech2face.data.prepare import prepare_shard

        prepare = prepare_shard
    crew = RayCrew(address, workers=workers, prepare=prepare, limits=limits or Limits())
    yield from run_tasks(crew, tasks, on_result, on_culprits)


class RayCrew:
    """Processes of a cluster; see `crew.Crew`."""

    def __init__(self, address: str | None, *, workers: int | None, prepare: Prepare, limits: Limits) -> None:
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
        raise MissingExtra("Ray needs the extra 'cluster': pip install 'speech2face[cluster]'") from error
    return ray
