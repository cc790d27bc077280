"""Whether probabilities mean what they say: temperature, reliability, calibration error, Brier score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats
from datbatch.evaluation.estimates import Proportion, wilson
from datbatch.evaluation.outputs import probability

BINS = 10
LEAST_STUDIES = 10
"""Validation studies of both classes that a temperature needs."""
_LOG_LIMIT = math.log(100.0)


@dataclass(frozen=True)
class ReliabilityBin:
    """Studies whose probability lies in one interval."""

    lower: float
    upper: float
    studies: int
    predicted: float
    """Mean probability of the positive class; NaN without studies."""
    positive: Proportion
    """Share that is positive."""


@dataclass(frozen=True)
class Calibration:
    """How well probabilities agree with what is true."""

    studies: int
    brier: float
    """Mean squared difference of probability and truth (Brier 1950, Mon Weather Rev 78:1)."""
    log_loss: float
    """Mean of -ln of the probability of the true class."""
    expected_error: float
    """Expected calibration error: |mean probability - share of positives| over the bins, weighted by studies."""
    bins: tuple[ReliabilityBin, ...]


def fit_temperature(labels: npt.ArrayLike, odds: npt.ArrayLike) -> float | None:
    """Fit the temperature that log odds are divided by, on the validation set; between 0.01 and 100.

    T minimises the cross-entropy of sigmoid(log odds / T) (Guo et al. 2017, Proc Mach Learn Res 70:1321). Truth
    enters as Platt's targets (n+ + 1) / (n+ + 2) and 1 / (n- + 2), not as 1 and 0 (Platt 1999, Advances in Large
    Margin Classifiers): if the classes are fully apart on the validation set, as they often are, 1 / T would grow
    without bound. None where the studies are fewer than `LEAST_STUDIES` or of one class. `odds` are the log odds of
    the positive class.
    """
    truth, values = np.asarray(labels).astype(np.int64) == 1, np.asarray(odds, dtype=np.float64)
    positive = int(truth.sum())
    negative = truth.size - positive
    if truth.size < LEAST_STUDIES or not positive or not negative:
        return None
    # Half a second of import that only fitting needs.
    from scipy.optimize import minimize_scalar

    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(log_temperature: float) -> float:
        scaled = values * math.exp(-log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - target * scaled))

    # Convex in 1 / T, so it has one minimum in ln T.
    found = minimize_scalar(loss, bounds=(-_LOG_LIMIT, _LOG_LIMIT), method="bounded", options={"xatol": 1e-9})
    return math.exp(float(found.x))


def calibrated_probability(odds: npt.ArrayLike, temperature: float | None) -> Floats:
    """Give sigmoid(log odds / T); without a temperature the probability as it is."""
    return probability(np.asarray(odds, dtype=np.float64) / (temperature if temperature is not None else 1.0))


def reliability(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = BINS) -> Calibration:
    """Compare probabilities of the positive class with how often it is true.

    Bins are of equal width, the last one closed above (Naeini et al. 2015, Proc AAAI 29:2901, for the expected
    calibration error; DeGroot and Fienberg 1983, Statistician 32:12, for the reliability diagram). Labels are 0 or
    1.
    """
    truth, p = np.asarray(labels).astype(np.int64), np.asarray(probabilities, dtype=np.float64)
    if truth.shape != p.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and probabilities {p.shape} must be vectors of one length")
    if not p.size:
        return Calibration(0, math.nan, math.nan, math.nan, ())
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    found = []
    for index in range(bins):
        inside, count = place == index, int((place == index).sum())
        mean = float(p[inside].mean()) if count else math.nan
        share = wilson(int(truth[inside].sum()), count)
        found.append(ReliabilityBin(index / bins, (index + 1) / bins, count, mean, share))
    error = math.fsum(b.studies * abs(b.predicted - b.positive.value) for b in found if b.studies) / p.size
    # Rounding to 0 or 1 must not cost infinitely much.
    of_truth = np.clip(np.where(truth == 1, p, 1.0 - p), np.finfo(np.float64).tiny, 1.0)
    brier, log_loss = float(np.mean((p - truth) ** 2)), float(-np.log(of_truth).mean())
    return Calibration(int(p.size), brier, log_loss, error, tuple(found))
