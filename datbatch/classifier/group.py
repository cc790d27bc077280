"""The processes that train one network together: what each computes, all of them get, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


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
                torch.distributed.broadcast(part, src=number % self.size)


ALONE = Group()
