"""Which studies with the label normal lie too far from the others: robust regression, then rejection."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, stdtrit

from datbatch.arrays import Bools, Floats, Indices

HUBER_CUT = 1.345
"""Residual in standard deviations from which Huber's weight falls: 95 % efficiency on Gaussian data."""
REJECTED_SD = 3.5
"""Distance of an outlier: loses 1 in 2,000 true normals, and makes the standard deviation 0.3 % too small."""
MAD_TO_SD = 1.4826
MAD_EFFICIENCY = 0.37
"""Of the median absolute deviation as an estimate of a Gaussian standard deviation."""
ROUNDS = 30


def is_outlier(values: Floats, columns: Floats, site: Indices) -> Bools:
    """Find the studies that do not belong to the normal population, such as mislabelled ones.

    A linear model with an intercept for each site is fitted with Huber's weights (Huber, Ann Math Stat 1964) by
    iterated least squares; the scale is the median absolute deviation of its residuals. Studies further away than
    `REJECTED_SD` are outliers (reweighted least squares, Rousseeuw and Leroy 1987; the cut of Iglewicz and Hoaglin
    1993). With few studies the scale itself is uncertain, and the cut is the quantile of Student's t that is as
    rare.

    `values` (study,) are of one measure, `columns` (study, term) its covariates, `site` the number of the site.
    """
    freedom = values.size - columns.shape[1] - np.unique(site).size
    if freedom < 2:
        return np.zeros(values.size, dtype=bool)
    residual, weight, scale = values, np.ones(values.size), 0.0
    for _ in range(ROUNDS):
        response, root = _within(values, weight, site), np.sqrt(weight)
        free = np.empty_like(columns)
        for index, column in enumerate(columns.T):
            free[:, index] = _within(column, weight, site)
        slope = np.linalg.lstsq(free * root[:, None], response * root, rcond=None)[0]
        residual = response - free @ slope
        before, scale = scale, MAD_TO_SD * float(np.median(np.abs(residual))) * np.sqrt(values.size / freedom)
        if scale == 0.0 or abs(scale - before) < 1e-6 * scale:
            break
        limit = HUBER_CUT * scale
        weight = limit / np.maximum(np.abs(residual), limit)
    if scale == 0.0:
        return np.zeros(values.size, dtype=bool)
    cut = -stdtrit(MAD_EFFICIENCY * freedom, ndtr(-REJECTED_SD))
    return np.asarray(np.abs(residual) > cut * scale)


def _within(column: Floats, weight: Floats, site: Indices) -> Floats:
    """Subtract the weighted mean of each site: the same as a free intercept for it."""
    total = np.maximum(np.bincount(site, weight), np.finfo(float).tiny)
    return np.asarray(column - (np.bincount(site, weight * column) / total)[site])
