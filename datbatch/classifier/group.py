"""The processes that train one network together: all get what each of them computes, bit by bit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from torch import distributed

from datbatch.errors import UnlikeProcessesError

PATIENCE = timedelta(minutes=10)
"""Time that a process waits for the others: longer than one of them writes a checkpoint."""


@dataclass(frozen=True)
class Group:
    """One process of those that train together; alone unless torch.distributed has been started."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Processes in all."""

    def mine(self, part: int) -> bool:
        """Tell whether this process computes a part; parts go round."""
        return part % self.size == self.rank

    def share(self, parts: Sequence[torch.Tensor]) -> None:
        """Fill every part, in place, with what the process that computes it has there.

        Bytes are only copied, never added: sums are left to the receiver, so that their order does not depend on
        the number of processes.
        """
        if self.size > 1:
            for number, part in enumerate(parts):
                distributed.broadcast(part, src=number % self.size)

    def require_equal(self, values: torch.Tensor, what: str) -> None:
        """Check that every process holds the same whole numbers; else each raises an `UnlikeProcessesError`."""
        rows = values.new_empty((self.size, values.numel()))
        rows[self.rank] = values.reshape(-1)
        self.share(list(rows))
        if not bool((rows == rows[0]).all()):
            raise UnlikeProcessesError(f"the processes that train together differ in {what}")


@contextmanager
def joined(rendezvous: Path, *, rank: int, size: int, host: str) -> Iterator[Group]:
    """Join the processes that train together; gloo between processors, NCCL between accelerators.

    Through the file `rendezvous`, new for each group, the processes find each other; all of them must see it.
    `host` is the address by which the others reach this one: nothing listens on another network.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name
    store = distributed.FileStore(str(rendezvous), size)  # type: ignore[attr-defined]
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Group(rank, size)
    finally:
        # Closes the connections, so that those who wait for this process end too.
        distributed.destroy_process_group()


ALONE = Group()
