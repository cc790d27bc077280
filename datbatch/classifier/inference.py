"""Outputs of a trained network for many studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datbatch.classifier.loader import Images, load_batches
from datbatch.cohort.schema import LABELS


def predict(
    network: nn.Module,
    images: Images,
    studies: Sequence[int] | npt.NDArray[np.integer],
    *,
    shape: tuple[int, int, int],
    batch_size: int = 8,
) -> npt.NDArray[np.float32]:
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
        Studies that pass the network together.

    Returns
    -------
    ndarray of float32, shape (study, 2)
        Logits in the order of `schema.LABELS`.
    """
    device = next(network.parameters()).device
    unknown = np.full(int(np.max(studies, initial=-1)) + 1, -1, dtype=np.int64)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            logits = [
                network(batch.images).float().cpu().numpy()
                for batch in load_batches(images, unknown, studies, shape=shape, batch_size=batch_size, device=device)
            ]
    finally:
        network.train(training)
    return np.concatenate(logits) if logits else np.empty((0, len(LABELS)), dtype=np.float32)
