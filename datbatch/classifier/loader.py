"""Batches of studies from any store of volumes, read ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from datbatch.arrays import Floats32
from datbatch.errors import GridMismatchError

READERS = 2
BATCHES_AHEAD = 2


class Images(Protocol):
    """A store of volumes, one per study, read by basic indexing.

    Fancy indexing of a sharded array decodes each shard again for every study: eight times slower (measured).
    """

    def __getitem__(self, index: int, /) -> Any:
        """Give study `index` as an array of shape (x, y, z)."""


class Kept:
    """A store whose volumes stay in memory once they were read, because decoding takes time.

    They may take `limit_bytes` together; volumes beyond that are read again each time.
    """

    def __init__(self, images: Images, limit_bytes: int) -> None:
        self._images, self._left, self._lock = images, limit_bytes, Lock()
        self._volumes: dict[int, Floats32] = {}

    def __getitem__(self, index: int, /) -> Floats32:
        """Give study `index`, shape (x, y, z); not to be written to."""
        volume = self._volumes.get(index)
        if volume is None:
            volume = np.asarray(self._images[index], dtype=np.float32)
            with self._lock:
                if index not in self._volumes and volume.nbytes <= self._left:
                    self._volumes[index] = volume
                    self._left -= volume.nbytes
        return volume


def epoch_order(members: npt.NDArray[np.integer], *, seed: int, epoch: int) -> npt.NDArray[np.integer]:
    """Shuffle the studies of an epoch; the order depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(np.sort(members))


def load_groups(
    images: Images, groups: Iterable[Sequence[int]], *, shape: tuple[int, int, int], device: torch.device
) -> Iterator[torch.Tensor]:
    """Read groups of studies while the consumer computes; a group may be empty.

    Gives the volumes of each group, (study, 1, x, y, z), float32, on the device (to a CUDA device from pinned memory,
    without waiting), channels last in memory. A `GridMismatchError` refuses a volume of another shape.
    """
    waiting: deque[tuple[torch.Tensor, list[Future[None]]]] = deque()
    with ThreadPoolExecutor(READERS, thread_name_prefix="loader") as pool:
        try:
            for group in groups:
                buffer = torch.empty((len(group), 1, *shape), pin_memory=device.type == "cuda")
                reads = [pool.submit(_read, images, study, buffer[row, 0].numpy()) for row, study in enumerate(group)]
                waiting.append((buffer, reads))
                if len(waiting) > BATCHES_AHEAD:
                    yield _finish(*waiting.popleft(), device)
            while waiting:
                yield _finish(*waiting.popleft(), device)
        finally:
            # A consumer that stops early must not wait for studies that are no longer needed.
            pool.shutdown(wait=True, cancel_futures=True)


def _read(images: Images, study: int, row: Floats32) -> None:
    volume = np.asarray(images[study])
    if volume.shape != row.shape:
        raise GridMismatchError(f"study {study} has a grid of {volume.shape} voxels, not {row.shape}")
    row[...] = volume


def _finish(buffer: torch.Tensor, reads: list[Future[None]], device: torch.device) -> torch.Tensor:
    for read in reads:
        read.result()
    return buffer.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last_3d)
