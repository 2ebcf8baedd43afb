"""The processes of one training: alone, or started by torchrun (gloo on processors, NCCL on graphics cards)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from speech2face.errors import InvalidSettings

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
