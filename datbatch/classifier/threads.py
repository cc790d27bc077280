"""Threads that each compute pieces of their own, instead of one computation cut into slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """Runs a function on many items, each from start to end in one thread of the processor.

    So results do not depend on the number of threads, which would otherwise change the order of sums. And no thread
    waits for another at the end of every layer (measured: two thirds of the processor time of torch's own threads).
    On an accelerator the items follow each other in the calling thread.
    """

    def __init__(self, device: torch.device) -> None:
        self._before = torch.get_num_threads()
        self._pool = (
            ThreadPoolExecutor(self._before, "compute", initializer=torch.set_num_threads, initargs=(1,))
            if device.type == "cpu"
            else None
        )

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Give the function's results in the order of the items."""
        return [function(item) for item in items] if self._pool is None else list(self._pool.map(function, items))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            # A thread's own setting is also what threads that start later take over.
            torch.set_num_threads(self._before)
