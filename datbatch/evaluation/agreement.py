"""Agreement of two readers, and of two classifiers, on the same studies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.evaluation.estimates import Estimate, normal_interval


@dataclass(frozen=True)
class McNemar:
    """Whether two classifiers err equally often, from the studies that only one of them has right."""

    first_only: int
    """Studies that only the first has right."""
    second_only: int
    """Studies that only the second has right."""
    exact_p: float
    """Two-sided exact conditional p."""
    mid_p: float
    """Two-sided mid-p: less conservative, and in large comparisons never far above its level."""


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate:
    """Give the agreement of two readers beyond chance, with its standard error.

    kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of agreeing reads and p_e the share expected from the
    readers' marginals; standard error sqrt(p_o (1 - p_o) / n) / (1 - p_e) (Cohen 1960, Educ Psychol Meas 20:37).
    With 1275 agreeing reads of 1306 this gives the paper's 0.952 and 0.008. Reads (study,) may have any categories;
    the caller leaves out a study without one of the reads.
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
    return normal_interval((agreed - chance) / (1 - chance), error, -1.0, 1.0)


def mcnemar(labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """Compare the errors of two classifiers (McNemar 1947, Psychometrika 12:153).

    Of b + c studies that only one of them has right, b is binomial with p = 1/2 when both err equally often. The exact
    p is 2 P(X <= min(b, c)), at most 1; the mid-p takes away P(X = min(b, c)) (Fagerland et al. 2013, BMC Med Res
    Methodol 13:91, who recommend it).

    Parameters
    ----------
    labels, first, second : array of int or bool, shape (study,)
        Truth and the two classifiers' calls, 1 (positive) or 0 (negative).

    Examples
    --------
    One of them alone right once, the other seven times (Fagerland et al. 2013, Table 1):

    >>> found = mcnemar([1] * 8, [1] + [0] * 7, [0] + [1] * 7)
    >>> round(found.exact_p, 3), round(found.mid_p, 3)
    (0.07, 0.039)
    """
    truth, one, other = (np.asarray(values).astype(np.int64) for values in (labels, first, second))
    if not truth.shape == one.shape == other.shape or truth.ndim != 1:
        raise ValueError("labels and calls must be vectors of one length")
    first_only = int(((one == truth) & (other != truth)).sum())
    second_only = int(((one != truth) & (other == truth)).sum())
    n, fewer = first_only + second_only, min(first_only, second_only)
    if not n:
        return McNemar(0, 0, 1.0, 1.0)
    # Takes half a second to import, and only this needs it.
    from scipy.stats import binom

    last = float(binom.pmf(fewer, n, 0.5))
    exact = min(1.0, 2.0 * float(binom.cdf(fewer, n, 0.5)))
    # The middle value of an even number is in both tails.
    return McNemar(first_only, second_only, exact, exact - (last / 2 if 2 * fewer == n else last))
