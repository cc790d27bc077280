"""The parameter-randomisation test: a map must change when the network forgets what it learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datbatch.arrays import Bools
from datbatch.errors import ModelError
from datbatch.relevance.propagation import layers_in_order, weighted_layers
from datbatch.relevance.similarity import rank_correlation


def cascade(trained: nn.Module, drawn: nn.Module) -> Iterator[tuple[str, nn.Sequential]]:
    """Give the network with ever more layers replaced by freshly drawn ones, from the outputs down, and their names.

    Cascading randomisation of Adebayo et al. 2018, NeurIPS 31, Sect. 3.1. No weight is copied: the networks share
    their layers with the two that are given. `drawn` has weights as training would start from; a `ModelError` says
    that its layers differ. The name is that of the layer replaced last.
    """
    ours, theirs = layers_in_order(trained), layers_in_order(drawn)
    if [_kind(layer) for layer in ours] != [_kind(layer) for layer in theirs]:
        raise ModelError("the freshly drawn network has other layers than the trained one")
    for place, name in reversed(weighted_layers(trained)):
        yield name, nn.Sequential(*ours[:place], *theirs[place:]).eval()


def map_similarity(original: npt.NDArray[Any], other: npt.NDArray[Any], mask: Bools) -> dict[str, float | None]:
    """Compare two maps by rank correlation inside a mask, of magnitudes ("absolute") and with their signs ("signed").

    Adebayo et al. 2018, Sect. 3.2: magnitudes and signed values can differ in what they show. None where a map is
    constant.
    """
    first, second = original[mask], other[mask]
    return {
        "absolute": rank_correlation(np.abs(first), np.abs(second)),
        "signed": rank_correlation(first, second),
    }


def _kind(layer: nn.Module) -> tuple[str, tuple[torch.Size, ...]]:
    return type(layer).__name__, tuple(parameter.shape for parameter in layer.parameters())
