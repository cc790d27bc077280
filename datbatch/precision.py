"""How an accelerator rounds the factors of products; a processor always computes in the type of the values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products(precision: str = "float32") -> Iterator[None]:
    """Let products round their factors to TF32 (10 bits of mantissa) only where that is asked for.

    PyTorch does so in convolutions unless told otherwise. What is trained bears it; logits and relevance that are to
    be the same on every machine do not.

    Parameters
    ----------
    precision : str
        "tf32", or any other name for products in the type of the values.
    """
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    try:
        matrices.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before
