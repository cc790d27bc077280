"""How a GPU rounds the factors of products; a CPU always computes in the type of the values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products(precision: str = "float32") -> Iterator[None]:
    """Round the factors of products to TF32 (10 bits of mantissa) only with the precision "tf32".

    By default PyTorch always does so in convolutions. That is good enough for training, but logits and relevance must
    be the same on every machine.
    """
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    try:
        matrices.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before
