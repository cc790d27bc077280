"""Batches of studies from any store of volumes, read ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from datbatch.arrays import Floats32, Ints
from datbatch.errors import GridMismatchError

READERS = 2
BATCHES_AHEAD = 2


class Images(Protocol):
    """A store of volumes, one per study, read by basic indexing.

    Fancy indexing of a sharded array decodes each shard again for every study: eight times slower (measured).
    """

    def __getitem__(self, index: int, /) -> Any:
        """Give study `index` as an array of shape (x, y, z)."""
        ...


class Kept:
    """A store whose volumes stay in memory once they were read, as long as they fit: decoding takes a core's time.

    Parameters
    ----------
    images : Images
        Store of volumes.
    limit_bytes : int
        What the volumes together may take; those beyond it are read again each time.
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


@dataclass(frozen=True)
class Batch:
    """Studies of one step."""

    images: torch.Tensor
    """Volumes (study, 1, x, y, z), float32, on the device, channels last in memory."""
    labels: torch.Tensor
    """Index of the true output (study,), int64, on the device; -1 where unknown."""
    indices: tuple[int, ...]
    """Positions of the studies in the store."""


def epoch_order(members: npt.NDArray[np.integer], *, seed: int, epoch: int) -> npt.NDArray[np.integer]:
    """Shuffle the studies of an epoch over the whole set; the order depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(np.sort(members))


def load_batches(
    images: Images,
    labels: Ints,
    order: Sequence[int] | npt.NDArray[np.integer],
    *,
    shape: tuple[int, int, int],
    batch_size: int,
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """Read studies in the given order, in batches, while the consumer computes.

    Parameters
    ----------
    images : Images
        Store of volumes, indexed by study.
    labels : ndarray of int64, shape (study,)
        Labels of all studies of the store, as `encode_labels` gives them.
    order : sequence of int
        Positions in the store of the studies to read, in order; the last batch may be smaller.
    shape : tuple of int
        Grid (x, y, z) that every volume must have.
    batch_size : int
        Studies of one batch.
    device : torch.device
        Where the batch is put; towards a CUDA device from pinned memory, without waiting.

    Raises
    ------
    GridMismatchError
        When a volume has another shape.
    """
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    yield from load_groups(images, labels, groups, shape=shape, device=device)


def load_groups(
    images: Images,
    labels: Ints,
    groups: Iterable[Sequence[int] | npt.NDArray[np.integer]],
    *,
    shape: tuple[int, int, int],
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """Read groups of studies, each as a batch, while the consumer computes; a group may be empty.

    See `load_batches`, of which this is the general form.
    """
    device = device if device is not None else torch.device("cpu")
    waiting: deque[tuple[list[int], torch.Tensor, list[Future[None]]]] = deque()
    with ThreadPoolExecutor(READERS, thread_name_prefix="loader") as pool:
        try:
            for members in groups:
                group = [int(index) for index in members]
                buffer = torch.empty((len(group), 1, *shape), pin_memory=device.type == "cuda")
                reads = [pool.submit(_read, images, study, buffer[row, 0].numpy()) for row, study in enumerate(group)]
                waiting.append((group, buffer, reads))
                if len(waiting) > BATCHES_AHEAD:
                    yield _finish(*waiting.popleft(), labels, device)
            while waiting:
                yield _finish(*waiting.popleft(), labels, device)
        finally:
            # A consumer that stops early must not wait for studies that nobody will use.
            pool.shutdown(wait=True, cancel_futures=True)


def _read(images: Images, study: int, row: Floats32) -> None:
    volume = np.asarray(images[study])
    if volume.shape != row.shape:
        raise GridMismatchError(f"study {study} has a grid of {volume.shape} voxels, not {row.shape}")
    row[...] = volume


def _finish(
    group: list[int], buffer: torch.Tensor, reads: list[Future[None]], labels: Ints, device: torch.device
) -> Batch:
    for read in reads:
        read.result()
    moved = buffer.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last_3d)
    truth = torch.from_numpy(np.asarray(labels, dtype=np.int64)[group]).to(device, non_blocking=True)
    return Batch(images=moved, labels=truth, indices=tuple(group))
