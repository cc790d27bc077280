"""Figures of merit of a binary classifier and of readers, with uncertainty; pure numpy, without torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Z_95 = float(ndtri(0.975))


@dataclass(frozen=True)
class Proportion:
    """A share of studies with its 95 % confidence interval."""

    successes: int
    """Studies that count."""
    trials: int
    """Studies in all."""
    value: float
    """Share; NaN when there were none."""
    low: float
    """Lower limit (Wilson)."""
    high: float
    """Upper limit (Wilson)."""


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


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and 95 % confidence interval."""

    value: float
    standard_error: float
    low: float
    high: float


def log_odds(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Give logit of positive less logit of negative, from (study, 2) in the order of `schema.LABELS`."""
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(values[:, 1] - values[:, 0])


def positive_probability(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Give the softmax output of the positive class, 1 / (1 + exp(-log odds)), without overflow."""
    odds = log_odds(logits)
    return np.exp(-np.logaddexp(0.0, -odds))


def predicted_class(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Give the most activated output; the first of two equal ones, as the relevance target does."""
    return np.asarray(np.argmax(logits, axis=1), dtype=np.int64)


def wilson(successes: int, trials: int) -> Proportion:
    """Give a proportion with Wilson's score interval at 95 % (Wilson 1927, J Am Stat Assoc 22:209)."""
    if trials == 0:
        return Proportion(0, 0, math.nan, 0.0, 1.0)
    share, z2 = successes / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # At 0 and 1 one limit is exactly the share; rounding must not push it past.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Proportion(successes, trials, share, low, high)


def confusion(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> Confusion:
    """Count studies by truth and call.

    Parameters
    ----------
    labels, predicted : array of int or bool, shape (study,)
        1 (positive) or 0 (negative).

    Raises
    ------
    ValueError
        When shapes differ or another value occurs (an unlabelled study must be left out by the caller).
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


def as_json(value: Any) -> Any:
    """Turn figures of merit into what JSON can hold; NaN (an empty class) becomes None."""
    if hasattr(value, "__dataclass_fields__"):
        return as_json(asdict(value))
    if isinstance(value, dict):
        return {key: as_json(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def roc_curve(
    labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Trace sensitivity against false alarms over all cuts.

    Returns
    -------
    false_positive_rate, true_positive_rate, cut : ndarray of float64, shape (cut,)
        A study is called positive when its score is at least the cut; cuts fall from infinity. Rates of an
        empty class are NaN.
    """
    truth, values = _scored(labels, scores)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), max(values.size - 1, 0))
    if values.size == 0:
        return np.full(1, np.nan), np.full(1, np.nan), np.full(1, np.inf)
    hits = np.cumsum(truth[order])[last_of_tie]
    alarms = last_of_tie + 1 - hits
    with np.errstate(invalid="ignore"):
        sensitivity = np.append(0, hits) / np.float64(truth.sum())
        false_alarms = np.append(0, alarms) / np.float64((~truth).sum())
    return false_alarms, sensitivity, np.append(np.inf, values[order][last_of_tie])


def area_under_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> Estimate:
    """Give the area under the ROC curve with DeLong's interval at 95 %.

    The area is the probability that a positive study scores higher than a negative one, ties counted half;
    its variance is that of the two samples' placement values (DeLong et al. 1988, Biometrics 44:837; ranks
    as in Sun and Xu 2014, IEEE Signal Process Lett 21:1389). NaN when a class is empty.
    """
    truth, values = _scored(labels, scores)
    positive, negative = values[truth], values[~truth]
    m, n = positive.size, negative.size
    if m == 0 or n == 0:
        return Estimate(math.nan, math.nan, 0.0, 1.0)
    # Takes most of a second to import, and only this needs it.
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))
    placed_positive = (ranks[:m] - rankdata(positive)) / n
    placed_negative = 1.0 - (ranks[m:] - rankdata(negative)) / m
    area = float(placed_positive.mean())
    variance = sum(
        float(placed.var(ddof=1)) / placed.size for placed in (placed_positive, placed_negative) if placed.size > 1
    )
    error = math.sqrt(variance) if min(m, n) > 1 else math.nan
    return _interval(area, error, 0.0, 1.0)


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate:
    """Give the agreement of two readers beyond chance, with its standard error.

    kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of agreeing reads and p_e the share expected
    from the readers' marginals; standard error sqrt(p_o (1 - p_o) / n) / (1 - p_e) (Cohen 1960, Educ
    Psychol Meas 20:37). With 1275 agreeing reads of 1306 this gives the paper's 0.952 and 0.008.

    Parameters
    ----------
    first, second : array, shape (study,)
        Reads of any categories; a study without one of the reads must be left out by the caller.
    """
    one, other = np.asarray(first), np.asarray(second)
    if one.shape != other.shape:
        raise ValueError("both readers must have read the same studies")
    if one.size == 0:
        return Estimate(math.nan, math.nan, -1.0, 1.0)
    agreed = float((one == other).mean())
    chance = sum(float((one == c).mean() * (other == c).mean()) for c in np.union1d(one, other))
    if chance == 1.0:
        return Estimate(math.nan, math.nan, -1.0, 1.0)
    error = math.sqrt(agreed * (1 - agreed) / one.size) / (1 - chance)
    return _interval((agreed - chance) / (1 - chance), error, -1.0, 1.0)


def _interval(value: float, error: float, least: float, most: float) -> Estimate:
    if not math.isfinite(error):
        return Estimate(value, error, least, most)
    return Estimate(value, error, max(least, value - Z_95 * error), min(most, value + Z_95 * error))


def _scored(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    truth, values = np.asarray(labels).astype(np.int64), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be vectors of one length")
    if not np.isin(truth, (0, 1)).all() or np.isnan(values).any():
        raise ValueError("labels must be 0 or 1 and scores must be numbers")
    return truth == 1, values
