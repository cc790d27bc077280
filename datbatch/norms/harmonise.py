"""Harmonisation of sites: location and scale of each site by empirical Bayes (ComBat), without labels where applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datbatch.arrays import Bools, Floats, Indices, Texts

MINIMUM_SITE_NORMALS, MINIMUM_SITE_STUDIES = 3, 5
"""Training studies below which a site's location or scale cannot be told."""
MINIMUM_GROUP_STUDIES = 5
"""Training studies of a label below which it is given the spread of all."""
TOLERANCE = 1e-7
ROUNDS = 200


@dataclass(frozen=True)
class Harmonisation:
    """Site effects of each measure."""

    sites: Mapping[str, int]
    """Row of each site that was fitted."""
    intercept: Floats
    """Mean of normal studies at the mean covariates, over all sites, shape (measure,)."""
    slope: Floats
    """Of the covariates, shape (term, measure)."""
    sd: Floats
    """Of the residuals, all sites and labels together, shape (measure,)."""
    location: Floats
    """Shift of a site in units of `sd`, shape (site, measure)."""
    scale: Floats
    """Factor of a site on deviations from the mean, shape (site, measure)."""

    def fitted(self, site: Texts) -> Bools:
        """Say which studies come from a site that was fitted, shape (study,)."""
        return np.isin(site.astype(str), list(self.sites))

    def apply(self, values: Floats, columns: Floats, site: Texts) -> Floats:
        """Remove the effect of the sites from values (study, measure); values of a site that was not fitted stay.

        With m = intercept + columns slope, the mean of normals over all sites at the study's age and sex,

            y' = m + ((y - m) - location sd) / scale

        `columns` (study, term) are as in the fit; 0 where unknown. No label is needed: the effect of disease is
        a part of the deviation from m, and a site's scale acts on it as on all else, as a camera's loss of
        contrast does.
        """
        rows = np.array([self.sites.get(str(name), -1) for name in site], dtype=np.intp)
        neutral = np.zeros((1, values.shape[1]))
        location, scale = np.vstack([self.location, neutral])[rows], np.vstack([self.scale, neutral + 1])[rows]
        mean = self.intercept + columns @ self.slope
        changed = mean + (values - mean - location * self.sd) / scale
        return np.where((rows >= 0)[:, None], changed, values)


def fit_harmonisation(values: Floats, columns: Floats, site: Texts, positive: Bools) -> Harmonisation:
    """Estimate site effects on the training studies by ComBat, so that no label is needed to remove them.

    The model of measure g at site i is (Johnson et al., Biostatistics 2007; Fortin et al., NeuroImage 2018)

        y = a_g + x b_g + d_ig positive + sd_g location_ig + sd_g scale_ig w e,  e ~ N(0, 1)

    with age and sex in x. A site's locations come from a common normal distribution over the measures, the squares
    of its scales from an inverse gamma one; their moments are taken from the data (`site_effect`).

    With normal studies alone it is ComBat as published. The papers have one effect of disease d for all sites, and
    w = 1. Here d is free at each site and w is the spread of the study's label relative to that of all. So a site's
    location is where its normals lie, however many and however severe its patients are, and a site with many
    patients, who vary more than normals, is not taken for one with a large scale.

    Parameters
    ----------
    values : ndarray, shape (study, measure), float64
        Training studies alone, measures of one kind: they share the distribution of site effects. NaN where unknown.
    columns : ndarray, shape (study, term), float64
        Covariates, centred.
    site : ndarray of str, shape (study,)
        Sites with fewer than 3 normal or 5 studies are left out, and so are studies with an empty one.
    positive : ndarray, shape (study,), bool
        The label.

    Returns
    -------
    Harmonisation
        Without any site where fewer than two can be fitted; all NaN for a measure with too few or equal values.
    """
    names, number = np.unique(site.astype(str), return_inverse=True)
    enough = (np.bincount(number) >= MINIMUM_SITE_STUDIES) & (names != "")
    enough &= np.bincount(number, ~positive) >= MINIMUM_SITE_NORMALS
    sites, measures, terms = names[enough], values.shape[1], columns.shape[1]
    intercept, sd = np.full(measures, np.nan), np.full(measures, np.nan)
    slope = np.full((terms, measures), np.nan)
    # A site alone cannot differ from the others.
    if sites.size < 2:
        return Harmonisation({}, intercept, slope, sd, np.zeros((0, measures)), np.zeros((0, measures)))
    chosen = enough[number]
    values, columns, positive = values[chosen], columns[chosen], positive[chosen]
    number = np.searchsorted(sites, site[chosen].astype(str))
    known = np.isfinite(values)
    usable = known.sum(axis=0) >= 2 * sites.size + terms + MINIMUM_GROUP_STUDIES
    usable &= np.where(known, values, -np.inf).max(axis=0) > np.where(known, values, np.inf).min(axis=0)
    location, scale = np.full((sites.size, measures), np.nan), np.full((sites.size, measures), np.nan)
    if usable.any():
        fits = [_standardise(column, columns, number, positive) for column in values[:, usable].T]
        z, weight = np.stack([fit.z for fit in fits], axis=1), np.stack([fit.weight for fit in fits], axis=1)
        intercept[usable], sd[usable] = [fit.intercept for fit in fits], [fit.sd for fit in fits]
        slope[:, usable] = np.stack([fit.slope for fit in fits], axis=1)
        for row in range(sites.size):
            here = number == row
            location[row, usable], scale[row, usable] = site_effect(z[here], weight[here], positive[here])
    return Harmonisation({str(n): i for i, n in enumerate(sites)}, intercept, slope, sd, location, scale)


@dataclass(frozen=True)
class _Standardised:
    """One measure in units of its spread."""

    intercept: float
    slope: Floats
    sd: float
    z: Floats
    """Deviation of normals from the mean of all normals, of patients from that of their site's."""
    weight: Floats
    """1 / w^2 of each study."""


def _standardise(values: Floats, columns: Floats, site: Indices, positive: Bools) -> _Standardised:
    """Fit one measure by least squares with a free mean for each site and label, the second time with weights."""
    known = np.isfinite(values)
    cell = (2 * site + positive)[known]
    data, sick = np.column_stack([values, columns])[known], positive[known]
    weight = np.ones(cell.size)
    for _ in range(2):
        total = np.maximum(np.bincount(cell, weight), np.finfo(float).tiny)
        middle = np.stack([np.bincount(cell, weight * column) / total for column in data.T], axis=1)
        centred = (data - middle[cell]) * np.sqrt(weight)[:, None]
        slope = np.asarray(np.linalg.lstsq(centred[:, 1:], centred[:, 0], rcond=None)[0], dtype=np.float64)
        mean = middle[:, 0] - middle[:, 1:] @ slope
        residual = data[:, 0] - mean[cell] - data[:, 1:] @ slope
        square = residual**2
        for group in (sick, ~sick):
            if group.sum() >= MINIMUM_GROUP_STUDIES:
                weight[group] = square.mean() / max(float(square[group].mean()), float(np.finfo(float).tiny))
    intercept, sd = float(mean[cell[~sick]].mean()), float(np.sqrt(square.mean()))
    z, weights = np.full(values.size, np.nan), np.ones(values.size)
    z[known] = (residual + np.where(sick, 0.0, mean[cell] - intercept)) / sd
    weights[known] = weight
    return _Standardised(intercept, slope, sd, z, weights)


def site_effect(z: Floats, weight: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Give one site's location and scale for each measure: posterior means under priors fitted over the measures.

    With the hyperparameters (mean, t2) of the location and (shape, rate) of the squared scale, q the sum of the
    weights of the normals, and p the patients, whose own mean takes one degree of freedom,

        location = (t2 sum w z + scale^2 mean) / (t2 q + scale^2), sums over the normals
        scale^2 = (rate + [sum w (z - location)^2 + sum_p w z^2] / 2) / ((n - 1_p) / 2 + shape - 1)

    iterated to convergence (Johnson et al. 2007, section 3.2, there with weights of 1 and without patients). `z`
    (study, measure) are standardised values, NaN where unknown, those of patients about their own mean; `weight` is
    the precision of each relative to the mean.
    """
    known = np.isfinite(z)
    w, z = np.where(known, weight, 0.0), np.where(known, z, 0.0)
    sick = positive[:, None] & known
    normals, freedom = (known & ~sick).sum(axis=0), known.sum(axis=0) - (sick.sum(axis=0) > 0)
    patients = np.where(sick, w * z * z, 0.0).sum(axis=0)
    w = np.where(sick, 0.0, w)
    q0, q1, q2 = w.sum(axis=0), (w * z).sum(axis=0), (w * z * z).sum(axis=0)
    told = (normals >= MINIMUM_SITE_NORMALS) & (freedom >= MINIMUM_SITE_NORMALS)
    if not told.any():
        return np.zeros(q0.size), np.ones(q0.size)

    def squares(location: Floats) -> Floats:
        return np.asarray(q2 - 2 * location * q1 + location**2 * q0 + patients)

    crude = q1 / np.where(q0 > 0, q0, 1)
    crude_square = squares(crude) / np.maximum(freedom - 1, 1)
    mean, spread = float(crude[told].mean()), float(crude[told].var(ddof=told.sum() > 1))
    middle = float(crude_square[told].mean())
    # Equal scales of all measures would make the prior a point.
    width = max(float(crude_square[told].var(ddof=told.sum() > 1)), 1e-12 * middle**2)
    shape, rate = 2 + middle**2 / width, middle + middle**3 / width
    location, square = np.where(told, crude, mean), np.where(told, crude_square, middle)
    for _ in range(ROUNDS):
        before = location, square
        location = (spread * q1 + square * mean) / (spread * q0 + square)
        square = (rate + squares(location) / 2) / (freedom / 2 + shape - 1)
        changes = np.abs(location - before[0]).max(), np.abs(square / before[1] - 1).max()
        if max(changes) < TOLERANCE:
            break
    return location, np.sqrt(square)
