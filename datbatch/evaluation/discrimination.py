"""How well scores tell the classes apart: area under the ROC curve, the difference of two areas, the best cut."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Bools, Floats
from datbatch.evaluation.estimates import Estimate, normal_interval


@dataclass(frozen=True)
class AreaDifference:
    """Area under one curve less area under another, of the same studies."""

    difference: Estimate
    p: float
    """Two-sided, of the hypothesis that the areas are equal; NaN where the difference has no standard error."""


def area_under_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> Estimate:
    """Give the area under the ROC curve with DeLong's interval at 95 %.

    The area is the probability that a positive study scores higher than a negative one, ties counted half;
    its variance is that of the two samples' placement values (DeLong et al. 1988, Biometrics 44:837; ranks
    as in Sun and Xu 2014, IEEE Signal Process Lett 21:1389). NaN when a class is empty.
    """
    truth, values = _scored(labels, scores)
    if truth.all() or not truth.any():
        return Estimate(math.nan, math.nan, 0.0, 1.0)
    placed = _placements(truth, values)
    error = _standard_error(*placed) if min(map(np.size, placed)) > 1 else math.nan
    return normal_interval(float(placed[0].mean()), error, 0.0, 1.0)


def compare_areas(labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> AreaDifference:
    """Compare the areas under the ROC curves of two scores of the same studies (DeLong et al. 1988, Biometrics 44:837).

    The difference of the areas is the mean difference of the placement values, study by study, and its variance is
    theirs: in this form the covariance of the two areas needs no term of its own. Scores are higher in positive
    studies.
    """
    truth, one = _scored(labels, first)
    _, other = _scored(labels, second)
    if truth.all() or not truth.any():
        return AreaDifference(Estimate(math.nan, math.nan, -1.0, 1.0), math.nan)
    pairs = zip(_placements(truth, one), _placements(truth, other), strict=True)
    positive, negative = (a - b for a, b in pairs)
    difference = float(positive.mean())
    error = _standard_error(positive, negative) if min(positive.size, negative.size) > 1 else math.nan
    p = math.erfc(abs(difference) / error / math.sqrt(2.0)) if error > 0 else math.nan
    return AreaDifference(normal_interval(difference, error, -1.0, 1.0), p)


def youden_cut(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Give the cut at or above which a study is best called positive.

    It maximises sensitivity + specificity (Youden 1950, Cancer 3:32) and lies midway between the neighbouring
    scores; of equally good cuts the middle one. NaN without both classes, or when all scores are equal.
    """
    truth, values = _scored(labels, scores)
    levels = np.unique(values)
    if truth.all() or not truth.any() or levels.size < 2:
        return math.nan
    cuts = (levels[1:] + levels[:-1]) / 2
    # Counted from sorted scores: the number at or above a cut is what searchsorted leaves.
    positive, negative = np.sort(values[truth]), np.sort(values[~truth])
    sensitivity = 1.0 - np.searchsorted(positive, cuts) / positive.size
    specificity = np.searchsorted(negative, cuts) / negative.size
    total = sensitivity + specificity
    best = cuts[total >= total.max() - 1e-12]
    return float(best[(best.size - 1) // 2])


def _placements(truth: Bools, values: Floats) -> tuple[Floats, Floats]:
    """Give for each positive study the share of negatives below it, for each negative that of positives above it."""
    # Takes most of a second to import, and only this needs it.
    from scipy.stats import rankdata

    positive, negative = values[truth], values[~truth]
    ranks = rankdata(np.concatenate([positive, negative]))
    m, n = positive.size, negative.size
    return (ranks[:m] - rankdata(positive)) / n, 1.0 - (ranks[m:] - rankdata(negative)) / m


def _standard_error(positive: Floats, negative: Floats) -> float:
    return math.sqrt(sum(float(placed.var(ddof=1)) / placed.size for placed in (positive, negative)))


def _scored(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Bools, Floats]:
    truth, values = np.asarray(labels).astype(np.int64), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be vectors of one length")
    if not np.isin(truth, (0, 1)).all() or np.isnan(values).any():
        raise ValueError("labels must be 0 or 1 and scores must be numbers")
    return truth == 1, values
