"""What training makes small: cross-entropy, with options for weights of the classes and soft labels."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from datbatch.arrays import Floats, Floats32, Ints
from datbatch.schema import LABELS


def mean_loss(logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Give the weighted cross-entropy per study: a batch is not scaled by the weights that happen to be in it."""
    return cross_entropy(logits, truth, weights, reduction="sum") / len(truth)


def target_probabilities(labels: Ints, share: Floats | None) -> Floats32:
    """Give the probability of each class (study, class) that the network is trained towards."""
    positive = (labels == 1).astype(np.float64)
    if share is not None:
        positive = np.where(np.isnan(share), positive, share)
    return np.stack([1.0 - positive, positive], axis=1).astype(np.float32)


def class_weights(kind: str, labels: Ints) -> torch.Tensor:
    """Give each class's weight in the loss: `balanced`, n / (classes n_class), of mean one over the studies."""
    counts = np.bincount(labels, minlength=len(LABELS))
    balanced = labels.size / (len(LABELS) * counts)
    return torch.tensor(balanced if kind == "balanced" else np.ones(len(LABELS)), dtype=torch.float32)
