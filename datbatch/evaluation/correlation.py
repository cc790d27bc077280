"""How closely two measurements of the same studies go together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats
from datbatch.evaluation.estimates import Z_95, Estimate


@dataclass(frozen=True)
class Correlation:
    """Two coefficients of correlation."""

    studies: int
    pearson: Estimate
    """Of the values."""
    spearman: Estimate
    """Of the ranks."""


def correlate(first: npt.ArrayLike, second: npt.ArrayLike) -> Correlation:
    """Correlate two measurements (study,), with 95 % intervals by Fisher's transformation.

    atanh(r) is about normal with variance 1 / (n - 3) (Fisher 1921, Metron 1:3); for ranks with (1 + r^2 / 2) / (n
    - 3) (Bonett and Wright 2000, Psychometrika 65:23). The standard error is that of r: (1 - r^2) times that of
    atanh(r). A study with a value that is not finite is left out. With fewer than four studies, or one value
    throughout, the coefficients are NaN.
    """
    from scipy.stats import rankdata

    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    n = int(known.sum())
    if n < 4 or np.ptp(one) == 0 or np.ptp(other) == 0:
        nothing = Estimate(math.nan, math.nan, -1.0, 1.0)
        return Correlation(n, nothing, nothing)
    r, rho = _coefficient(one, other), _coefficient(rankdata(one), rankdata(other))
    return Correlation(n, _fisher(r, 1 / (n - 3)), _fisher(rho, (1 + rho**2 / 2) / (n - 3)))


def _coefficient(one: Floats, other: Floats) -> float:
    return float(np.clip(np.corrcoef(one, other)[0, 1], -1.0, 1.0))


def _fisher(r: float, variance: float) -> Estimate:
    if abs(r) == 1.0:
        return Estimate(r, 0.0, r, r)
    centre, error = math.atanh(r), math.sqrt(variance)
    return Estimate(r, (1 - r**2) * error, math.tanh(centre - Z_95 * error), math.tanh(centre + Z_95 * error))
