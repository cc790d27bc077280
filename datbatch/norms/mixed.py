"""A linear model with a random intercept for each site, by restricted maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datbatch.arrays import Floats, Indices
from datbatch.errors import NormalRangeError

LOG_RATIOS = np.linspace(-14.0, 9.0, 70)
"""Where the log of the variance ratio (between sites over within) is first sought."""


@dataclass(frozen=True)
class MixedModel:
    """Estimates for one measure; the first term is the intercept."""

    coefficient: Floats
    """Shape (term,)."""
    covariance: Floats
    """Of the coefficients, shape (term, term)."""
    residual_variance: float
    """Within a site."""
    site_variance: float
    """Between sites; NaN where one site alone has studies."""
    site_effect: Floats
    """Best linear unbiased prediction of each site's deviation, shape (site,)."""
    shrinkage: Floats
    """Share of a site's mean residual that is taken for its deviation, shape (site,)."""
    site_columns: Floats
    """Mean of the columns over each site's studies, shape (site, term); 0 where it has none."""
    freedom: int
    """Degrees of freedom of the residual variance."""


def fit_mixed_model(values: Floats, columns: Floats, site: Indices, sites: int) -> MixedModel:
    """Fit y = X b + u_site + e with u ~ N(0, s_u^2), e ~ N(0, s_e^2).

    Sites are random, not fixed: their deviations are shrunk towards the common mean, more with fewer studies, and
    the variance between sites tells how far a site that was never seen may lie (Laird and Ware, Biometrics 1982).
    s_e^2 is the residual mean square within sites (Henderson's method 3, Biometrics 1953): unbiased, and a multiple
    of chi squared for any sites, so that intervals by Student's t hold with few studies too. The ratio r =
    s_u^2 / s_e^2 then maximises the restricted likelihood, which needs only sums per site:

        -2 l(r) = RSS(r) / s_e^2 + sum_s log(1 + n_s r) + log |X' V^-1 X| - log r

    The last summand is the prior of Chung et al. (Psychometrika 2013), proportional to the standard deviation
    between sites: with the few sites of an archive the likelihood alone often puts it at zero, and intervals for
    new sites would be much too narrow.

    `values` (study,) are finite. The first of the `columns` (study, term) is 1; one that the others span gets
    coefficient and variance 0. `site` is the number of the study's site; of the `sites` some may have no study. A
    `NormalRangeError` says that too few studies are left to estimate the residual variance.
    """
    # Loaded only for a fit: a study that is compared with a fitted range need not wait for it.
    from scipy.optimize import minimize_scalar

    free = _independent(columns)
    x, terms = columns[:, free], columns.shape[1]
    middle = float(values.mean())
    y = values - middle
    count = np.bincount(site, minlength=sites).astype(np.float64)
    x_sum = np.stack([np.bincount(site, column, sites) for column in x.T], axis=1)
    y_sum = np.bincount(site, y, sites)
    xx, xy, yy = x.T @ x, x.T @ y, float(y @ y)
    present = int((count > 0).sum())
    rss, freedom = _within_sites(y, x[:, 1:], site)
    if freedom < 1:
        raise NormalRangeError("the normal studies of a measure are too few for its sites and covariates")
    variance = max(rss / freedom, np.finfo(float).tiny)

    def solve(ratio: float) -> tuple[Floats, Floats, float]:
        # V^-1 = 1 - sum over sites of c 1 1', c = r / (1 + n r).
        c = ratio / (1 + count * ratio)
        precision = xx - (x_sum * c[:, None]).T @ x_sum
        right = xy - x_sum.T @ (c * y_sum)
        b = np.asarray(np.linalg.solve(precision, right), dtype=np.float64)
        fit = (yy - float(c @ y_sum**2) - float(b @ right)) / variance
        return b, precision, fit + float(np.log1p(count * ratio).sum() + np.linalg.slogdet(precision)[1])

    def deviance(log_ratio: float) -> float:
        return solve(float(np.exp(log_ratio)))[2] - log_ratio

    ratio = 0.0
    if present > 1:
        best = int(np.argmin([deviance(float(value)) for value in LOG_RATIOS]))
        bounds = LOG_RATIOS[max(best - 1, 0)], LOG_RATIOS[min(best + 1, LOG_RATIOS.size - 1)]
        ratio = float(np.exp(minimize_scalar(deviance, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))
    b, precision, _ = solve(ratio)
    shrinkage = count * ratio / (1 + count * ratio)
    mean = np.zeros((sites, terms))
    mean[:, free] = x_sum / np.maximum(count, 1)[:, None]
    coefficient, covariance = np.zeros(terms), np.zeros((terms, terms))
    coefficient[free] = b
    covariance[np.ix_(free, free)] = variance * np.linalg.inv(precision)
    effect = shrinkage * (y_sum / np.maximum(count, 1) - mean @ coefficient)
    coefficient[0] += middle
    return MixedModel(
        coefficient=coefficient,
        covariance=covariance,
        residual_variance=variance,
        site_variance=ratio * variance if present > 1 else np.nan,
        site_effect=effect,
        shrinkage=shrinkage,
        site_columns=mean,
        freedom=freedom,
    )


def unknown_model(terms: int, sites: int) -> MixedModel:
    """Stand for a measure that cannot be fitted: all NaN."""
    return MixedModel(
        coefficient=np.full(terms, np.nan),
        covariance=np.full((terms, terms), np.nan),
        residual_variance=np.nan,
        site_variance=np.nan,
        site_effect=np.full(sites, np.nan),
        shrinkage=np.full(sites, np.nan),
        site_columns=np.full((sites, terms), np.nan),
        freedom=1,
    )


def _within_sites(values: Floats, columns: Floats, site: Indices) -> tuple[float, int]:
    """Give the residual sum of squares of a fit with a free intercept for each site, and its degrees of freedom."""
    count = np.maximum(np.bincount(site), 1)
    y = values - (np.bincount(site, values) / count)[site]
    x = np.stack([c - (np.bincount(site, c) / count)[site] for c in columns.T], axis=1) if columns.size else columns
    x = x[:, _independent(x)]
    slope = np.linalg.lstsq(x, y, rcond=None)[0]
    return float(((y - x @ slope) ** 2).sum()), values.size - x.shape[1] - np.unique(site).size


def _independent(columns: Floats) -> Indices:
    """Choose the columns that are not spanned by those before them."""
    chosen: list[int] = []
    for index in range(columns.shape[1]):
        if np.linalg.matrix_rank(columns[:, [*chosen, index]], tol=1e-6 * np.sqrt(len(columns))) > len(chosen):
            chosen.append(index)
    return np.array(chosen, dtype=np.intp)
