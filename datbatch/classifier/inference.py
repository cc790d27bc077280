"""Outputs of a trained network for many studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datbatch.arrays import Floats32
from datbatch.classifier.group import ALONE, Group
from datbatch.classifier.loader import Images, load_groups
from datbatch.classifier.threads import Threads
from datbatch.precision import products
from datbatch.schema import LABELS

Item = TypeVar("Item")


def predict(
    network: nn.Module,
    images: Images,
    studies: Sequence[int] | npt.NDArray[np.integer],
    *,
    shape: tuple[int, int, int],
    batch_size: int = 2,
    group: Group = ALONE,
) -> Floats32:
    """Run the network over studies of a store.

    Parameters
    ----------
    network : Module
        As `build_network` gives it; put into evaluation mode (no dropout) and back.
    images : Images
        Store of volumes, indexed by study.
    studies : sequence of int
        Positions in the store.
    shape : tuple of int
        Grid (x, y, z) of the volumes.
    batch_size : int
        Studies that pass the network together, in one thread each on a processor.
    group : Group
        The processes that share the work, by default one. Each of them makes this call and gets all logits.

    Returns
    -------
    ndarray of float32, shape (study, 2)
        Logits in the order of `schema.LABELS`.
    """
    device = next(network.parameters()).device
    parts = [range(start, min(start + batch_size, len(studies))) for start in range(0, len(studies), batch_size)]
    logits = torch.empty((len(studies), len(LABELS)), device=device)
    training = network.training
    network.eval()

    def infer(job: tuple[range, torch.Tensor]) -> None:
        part, volumes = job
        with torch.inference_mode():
            logits[part.start : part.stop] = network(volumes).float()

    own = [part for number, part in enumerate(parts) if group.mine(number)]
    batches = load_groups(images, [[int(studies[i]) for i in part] for part in own], shape=shape, device=device)
    try:
        with Threads(device) as threads, products():
            for jobs in _batched(zip(own, batches, strict=True), torch.get_num_threads()):
                threads.each(infer, jobs)
    finally:
        network.train(training)
    group.share([logits[part.start : part.stop] for part in parts])
    return logits.cpu().numpy()


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Take items a few at a time, so that no more batches are held than are computed."""
    iterator = iter(items)
    while taken := list(islice(iterator, size)):
        yield taken
