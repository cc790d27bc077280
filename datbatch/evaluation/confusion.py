"""Studies by truth and call, and the figures of merit that follow from these counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.evaluation.estimates import Proportion, wilson


@dataclass(frozen=True)
class Confusion:
    """Studies by truth and call; positive is reduced uptake."""

    true_negative: int
    false_positive: int
    false_negative: int
    true_positive: int


@dataclass(frozen=True)
class Metrics:
    """What the paper reports of a classifier, with intervals."""

    confusion: Confusion
    accuracy: Proportion
    sensitivity: Proportion
    specificity: Proportion
    positive_predictive_value: Proportion
    negative_predictive_value: Proportion


def confusion(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> Confusion:
    """Count studies by truth and call, 1 (positive) or 0 (negative).

    A `ValueError` refuses other values and vectors of different lengths: the caller leaves out a study without
    label.
    """
    truth, calls = np.asarray(labels).astype(np.int64), np.asarray(predicted).astype(np.int64)
    if truth.shape != calls.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and calls {calls.shape} must be vectors of one length")
    if not (np.isin(truth, (0, 1)).all() and np.isin(calls, (0, 1)).all()):
        raise ValueError("labels and calls must be 0 or 1")
    counts = np.bincount(2 * truth + calls, minlength=4)
    return Confusion(*(int(count) for count in counts))


def classification_metrics(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> Metrics:
    """Give accuracy, sensitivity, specificity, PPV and NPV with Wilson intervals.

    Examples
    --------
    The paper's test set:

    >>> truth = [0] * 150 + [1] * 138
    >>> calls = [0] * 148 + [1] * 2 + [0] * 10 + [1] * 128
    >>> found = classification_metrics(truth, calls)
    >>> [round(100 * p.value, 1) for p in (found.accuracy, found.sensitivity, found.specificity)]
    [95.8, 92.8, 98.7]
    """
    found = confusion(labels, predicted)
    tn, fp, fn, tp = found.true_negative, found.false_positive, found.false_negative, found.true_positive
    return Metrics(
        confusion=found,
        accuracy=wilson(tn + tp, tn + fp + fn + tp),
        sensitivity=wilson(tp, tp + fn),
        specificity=wilson(tn, tn + fp),
        positive_predictive_value=wilson(tp, tp + fp),
        negative_predictive_value=wilson(tn, tn + fn),
    )
