"""What the sign of a model's relevance means, learned once per model, never on the test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Bools, Floats
from datbatch.errors import TrainingDataError
from datbatch.schema import TRAINING, VALIDATION

LEAST_OF_A_CLASS = 5
"""Validation studies of each class that are needed to learn the sign; with fewer, chance may choose it."""


@dataclass(frozen=True)
class Orientation:
    """How the relevance of the ipsilateral putamen tells the classes apart."""

    sign: int
    """+1 or -1: factor after which positive studies have the higher putamen relevance."""
    threshold: float
    """Cut of the oriented putamen relevance; a map with at least this is typical of a positive study."""
    auc: float
    """Area under the ROC curve of the oriented putamen relevance, on what it was learned from (at least 0.5)."""


def orienting_studies(split: npt.NDArray[Any], labels: npt.NDArray[np.integer]) -> Bools:
    """Choose the studies (mask) that orientation is learned from: the validation set's, never the test set's.

    If the validation set has fewer than `LEAST_OF_A_CLASS` studies of a class, the training set joins it: the wrong
    sign would turn the meaning of every map, which is worse than to learn from studies that trained the network.

    Parameters
    ----------
    split : ndarray of str, shape (study,)
        "train", "validation", "test" or empty.
    labels : ndarray of int, shape (study,)
        0 (negative), 1 (positive) or -1 (unknown).
    """
    chosen: Bools = (np.asarray(split) == VALIDATION) & (labels >= 0)
    if np.bincount(labels[chosen], minlength=2).min() < LEAST_OF_A_CLASS:
        chosen |= (np.asarray(split) == TRAINING) & (labels >= 0)
    return chosen


def learn_orientation(putamen_relevance: Floats, labels: npt.NDArray[np.integer]) -> Orientation:
    """Find the sign and the cut that separate the classes best.

    Relevance that starts from the predicted class says by itself nothing of the class: with other initial weights
    the putamen of positive studies may come out positive or negative. The sign is the one with an area under the
    ROC curve of at least one half. The cut maximises the mean of sensitivity and specificity (Youden 1950, Cancer
    3:32) and lies midway between the neighbouring values.

    Parameters
    ----------
    putamen_relevance : ndarray, shape (study,)
        Relevance of the ipsilateral putamen (hottest voxels) of `orienting_studies`, not oriented.
    labels : ndarray of int, shape (study,)
        0 (negative) or 1 (positive).

    Raises
    ------
    TrainingDataError
        When a class is missing or a value is not finite.
    """
    values, positive = np.asarray(putamen_relevance, dtype=np.float64), np.asarray(labels) == 1
    if not np.isfinite(values).all():
        raise TrainingDataError("the putamen relevance of a validation study is not finite")
    if positive.all() or not positive.any():
        raise TrainingDataError("the validation set needs studies of both classes to orient relevance")
    area = _area(values, positive)
    sign = 1 if area >= 0.5 else -1
    oriented = sign * values
    levels = np.unique(oriented)
    # Below all, and between neighbours. A cut above all calls every study negative: no better than one below all.
    cuts = np.concatenate([levels[:1], (levels[:-1] + levels[1:]) / 2])
    typical = oriented >= cuts[:, None]
    balanced = typical[:, positive].mean(axis=1) + (~typical[:, ~positive]).mean(axis=1)
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    # Of equally good cuts the one nearest to zero, where relevance itself changes its meaning.
    threshold = float(cuts[best[np.argmin(np.abs(cuts[best]))]])
    return Orientation(sign=sign, threshold=threshold, auc=max(area, 1.0 - area))


def inconsistent(oriented: npt.ArrayLike, predicted: npt.ArrayLike, threshold: float) -> Bools:
    """Flag maps that are typical of the class that was not predicted (Nazari et al. 2022, "Results").

    Parameters
    ----------
    oriented : array, shape (study,)
        Putamen relevance times the orientation's sign; a study without a finite value is not flagged.
    predicted : array of int, shape (study,)
        Predicted class, 0 or 1.
    threshold : float
        The orientation's cut.
    """
    values = np.asarray(oriented, dtype=np.float64)
    return np.asarray(np.isfinite(values) & ((values >= threshold) != (np.asarray(predicted) == 1)))


def _area(values: Floats, positive: Bools) -> float:
    """Give the probability that a positive study has the higher value, ties counted half (Mann and Whitney 1947)."""
    # A second of import that only learning needs.
    from scipy.stats import rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    return float((rankdata(values)[positive].sum() - m * (m + 1) / 2) / (m * n))
