"""The normal range: what is expected at an age, sex and site, and how far normal studies lie from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from datbatch.arrays import Bools, Floats, Indices, Ints, Texts
from datbatch.errors import NormalRangeError
from datbatch.norms.covariates import AGE, FEMALE, MALE, SEX, Covariates, fit_covariates
from datbatch.norms.mixed import MixedModel, fit_mixed_model, unknown_model
from datbatch.norms.outliers import is_outlier

COVERAGE = 0.95
MINIMUM_NORMALS = 10
MINIMUM_FREEDOM = 4
"""Least residual degrees of freedom; with them the interval is 1.4 times as wide as with many normals."""
MINIMUM_SITE_NORMALS = 3
INTERCEPT = "intercept"


@dataclass(frozen=True)
class Prediction:
    """Studies compared with the normal range, each array (study, measure) float64, in the measure's own unit."""

    expected: Floats
    sd: Floats
    """Of one new normal study about `expected`, uncertainty of the fit included."""
    lower: Floats
    upper: Floats
    """Ends of the 95 % prediction interval."""
    z: Floats
    """(value - expected) / sd."""
    warnings: Mapping[str, Bools]
    """Which studies each code of `norms.warnings` concerns, shape (study,)."""


@dataclass(frozen=True)
class NormalRange:
    """One linear model for each measure. Rows are the sites with normals of their own, and last any other site."""

    covariates: Covariates
    coefficient: Floats
    """Shape (term, measure): intercept (at the mean covariates), then the covariates' terms."""
    covariance: Floats
    """Shape (measure, term, term)."""
    residual_sd: Floats
    """Within a site, shape (measure,)."""
    site_sd: Floats
    """Between sites, shape (measure,); NaN where it is unknown, 0 where the model has no sites."""
    site_rows: Mapping[str, int]
    """Row of each site that has enough normals."""
    site_effect: Floats
    """Shape (row, measure)."""
    site_columns: Floats
    """Mean columns of a site's normals times the site's shrinkage, shape (row, term, measure)."""
    site_variance: Floats
    """What remains unknown of the site's deviation, shape (row, measure)."""
    quantile: Floats
    """Half the width of the interval in prediction sd, shape (row, measure)."""
    normals: Ints
    """Normal studies fitted, shape (measure,)."""
    outliers: Ints
    """Normal studies rejected, shape (measure,)."""
    normals_by_site: Mapping[str, int]
    age_range: tuple[float, float]
    sexes: frozenset[str]
    use_site: bool

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return (INTERCEPT, *self.covariates.terms)

    def predict(self, values: Floats, age_years: Floats, sex: Texts, site: Texts) -> Prediction:
        """Compare studies with the normal range.

        For a study with columns x at site s, with k the site's shrinkage and m the mean columns of its normals,

            expected = x b + u_s
            sd^2 = s_e^2 + (1 - k) s_u^2 + (x - k m)' Cov(b) (x - k m)

        (Prasad and Rao, J Am Stat Assoc 1990, plus the new study's own s_e^2). At another site u_s = k = 0. A
        missing covariate is set to its mean and adds (b^2 + Var(b)) times its variance. The interval is
        expected +- t sd, with Satterthwaite's degrees of freedom for the sum of the two variances (Biometrics
        1946).

        The normals of the fit lie a little too close to their own prediction; other studies have no influence
        on it.

        Parameters
        ----------
        values : ndarray, shape (study, measure), float64
            NaN where unknown.
        age_years : ndarray, shape (study,), float64
        sex, site : ndarray of str, shape (study,)
            NaN or an empty text where unknown.
        """
        columns, missing = self.covariates.columns(age_years, sex)
        x = np.column_stack([np.ones(len(columns)), columns])
        rows = np.array([self.site_rows.get(str(name), len(self.site_effect) - 1) for name in site], dtype=np.intp)
        expected, variance = x @ self.coefficient + self.site_effect[rows], np.empty(values.shape)
        slope_variance = np.diagonal(self.covariance, axis1=1, axis2=2).T[1:]
        widening = self.covariates.variance[:, None] * (self.coefficient[1:] ** 2 + slope_variance)
        for row in range(len(self.site_effect)):
            here = rows == row
            v = x[here, :, None] - self.site_columns[row]
            variance[here] = np.einsum("nti,itu,nui->ni", v, self.covariance, v) + self.site_variance[row]
        variance += self.residual_sd**2 + missing @ widening
        sd = np.sqrt(variance)
        reach = self.quantile[rows] * sd
        z = (values - expected) / sd
        return Prediction(expected, sd, expected - reach, expected + reach, z, self._warnings(age_years, sex, site))

    def _warnings(self, age_years: Floats, sex: Texts, site: Texts) -> dict[str, Bools]:
        found: dict[str, Bools] = {}
        if AGE in self.covariates.terms:
            low, high = self.age_range
            found |= {"age-missing": np.isnan(age_years), "age-extrapolated": (age_years < low) | (age_years > high)}
        if SEX in self.covariates.terms:
            known = np.isin(sex, (FEMALE, MALE))
            found |= {"sex-missing": ~known, "sex-without-normals": known & ~np.isin(sex, sorted(self.sexes))}
        if self.use_site:
            normals = np.array([self.normals_by_site.get(str(name), 0) for name in site])
            found["site-missing"] = site == ""
            found["site-without-normals"] = (site != "") & (normals == 0)
            found["site-few-normals"] = (normals > 0) & (normals < MINIMUM_SITE_NORMALS)
        return found

    def to_dict(self, measures: tuple[str, ...]) -> dict[str, Any]:
        """Give what was fitted in JSON types, by measure (NaN as null): for attributes and messages."""
        return {
            "terms": list(self.terms),
            "zero": dict(zip(self.covariates.terms, map(float, self.covariates.mean), strict=True)),
            "normals_by_site": dict(self.normals_by_site),
            "age_range": [_number(age) for age in self.age_range],
            "measures": {
                name: {
                    "coefficient": [_number(b) for b in self.coefficient[:, i]],
                    "standard_error": [_number(e) for e in np.sqrt(np.diag(self.covariance[i]))],
                    "residual_sd": _number(self.residual_sd[i]),
                    "site_sd": _number(self.site_sd[i]),
                    "site_effect": {s: _number(self.site_effect[r, i]) for s, r in self.site_rows.items()},
                    "normals": int(self.normals[i]),
                    "outliers": int(self.outliers[i]),
                }
                for i, name in enumerate(measures)
            },
        }


def fit_normal_range(
    values: Floats,
    age_years: Floats,
    sex: Texts,
    site: Texts,
    *,
    use_age: bool = True,
    use_sex: bool = True,
    use_site: bool = True,
) -> NormalRange:
    """Fit the normal range to normal studies.

    Each measure gets its own linear model with age, sex and a random intercept for the site (`fit_mixed_model`),
    after rejection of outliers (`is_outlier`). Values are taken as they are, not as logarithms: measures near zero
    have none, and for the others nothing is gained. Of simulated new normals 2.0 % lie below and 3.2 % above the
    interval of the values (nominal 2.5 %), 3.2 % and 2.2 % with logarithms.

    Parameters
    ----------
    values : ndarray, shape (study, measure), float64
        Of normal studies alone; NaN where unknown.
    age_years : ndarray, shape (study,), float64
    sex, site : ndarray of str, shape (study,)
        A study that lacks what the model uses (NaN age, a sex other than F and M, an empty site) takes no part.
    use_age, use_sex, use_site : bool
        Which of them the model has.

    Returns
    -------
    NormalRange
        All NaN for a measure with fewer than 10 values, too few for its sites, or without any spread.

    Raises
    ------
    NormalRangeError
        When fewer than 10 studies can take part, or too few for the sites and covariates.
    """
    covariates, complete = fit_covariates(age_years, sex, use_age=use_age, use_sex=use_sex)
    if use_site:
        complete = complete & (site != "")
        covariates, _ = fit_covariates(age_years[complete], sex[complete], use_age=use_age, use_sex=use_sex)
    if complete.sum() < MINIMUM_NORMALS:
        raise NormalRangeError(
            f"{int(complete.sum())} of {len(values)} normal studies of the training split can be used, at least "
            f"{MINIMUM_NORMALS} are needed (without age {int(np.isnan(age_years).sum()) if use_age else 0}, "
            f"without sex {int((~np.isin(sex, (FEMALE, MALE))).sum()) if use_sex else 0}, "
            f"without site {int((site == '').sum()) if use_site else 0})"
        )
    columns = np.column_stack([np.ones(complete.sum()), covariates.columns(age_years[complete], sex[complete])[0]])
    names, number = np.unique(site[complete].astype(str), return_inverse=True)
    if not use_site:
        names, number = names[:1], np.zeros(len(columns), dtype=np.intp)
    counts = np.bincount(number)
    if _freedom(columns, number) < MINIMUM_FREEDOM:
        raise NormalRangeError(
            f"{len(columns)} normal studies of the training split are too few for {names.size} sites and "
            f"{len(covariates.terms)} covariates"
        )
    own = np.flatnonzero((counts >= MINIMUM_SITE_NORMALS) & use_site)
    rows = [_fit_measure(column, columns, number, names.size, own, use_site) for column in values[complete].T]
    ages = age_years[complete]
    return NormalRange(
        covariates=covariates,
        coefficient=np.stack([row.model.coefficient for row in rows], axis=1),
        covariance=np.stack([row.model.covariance for row in rows]),
        residual_sd=np.sqrt([row.model.residual_variance for row in rows]),
        site_sd=np.sqrt([row.model.site_variance if use_site else 0.0 * row.model.residual_variance for row in rows]),
        site_rows={str(names[site]): index for index, site in enumerate(own)},
        site_effect=np.stack([row.effect for row in rows], axis=1),
        site_columns=np.stack([row.columns for row in rows], axis=2),
        site_variance=np.stack([row.variance for row in rows], axis=1),
        quantile=np.stack([row.quantile for row in rows], axis=1),
        normals=np.array([row.normals for row in rows]),
        outliers=np.array([row.outliers for row in rows]),
        normals_by_site={str(n): int(c) for n, c in zip(names, counts, strict=True)} if use_site else {},
        age_range=(float(ages.min()), float(ages.max())) if use_age else (np.nan, np.nan),
        sexes=frozenset(map(str, sex[complete])),
        use_site=use_site,
    )


@dataclass(frozen=True)
class _Measure:
    """The model of one measure, with its rows as in `NormalRange`."""

    model: MixedModel
    effect: Floats
    columns: Floats
    variance: Floats
    quantile: Floats
    normals: int
    outliers: int


def _fit_measure(values: Floats, columns: Floats, site: Indices, sites: int, own: Indices, use_site: bool) -> _Measure:
    kept = np.isfinite(values)
    usable = kept.sum() >= MINIMUM_NORMALS and _freedom(columns[kept], site[kept]) >= MINIMUM_FREEDOM
    if usable:
        kept[kept] = ~is_outlier(values[kept], columns[kept][:, 1:], site[kept])
        model = fit_mixed_model(values[kept], columns[kept], site[kept], sites)
        # Values that age, sex and site explain to the last digit have no spread that another could be measured by.
        least = max(1e-12 * np.var(values[kept]), 1e-24 * np.mean(values[kept] ** 2))
        usable = model.residual_variance > least > 0
    if not usable:
        model = unknown_model(columns.shape[1], sites)
    there = np.bincount(site[kept], minlength=sites) > 0
    found, present = model.residual_variance, int(there.sum())
    # A model with one site has its deviation in the intercept: nothing of it is unknown there, everything elsewhere.
    between = np.append((1 - model.shrinkage[own]) * model.site_variance, model.site_variance)
    if present < 2:
        between[:-1][there[own]] = 0.0
    if not use_site:
        between[:] = 0.0
    with np.errstate(invalid="ignore"):
        freedom = (found + between) ** 2 / (found**2 / model.freedom + between**2 / max(present - 1, 1))
    return _Measure(
        model=model,
        effect=np.append(model.site_effect[own], 0.0 * found),
        columns=np.vstack([model.shrinkage[own, None] * model.site_columns[own], np.zeros(columns.shape[1])]),
        variance=between,
        quantile=np.asarray(-stdtrit(freedom, (1 - COVERAGE) / 2), dtype=np.float64),
        normals=int(kept.sum()) if usable else 0,
        outliers=int(np.isfinite(values).sum() - kept.sum()),
    )


def _freedom(columns: Floats, site: Indices) -> int:
    """Give the degrees of freedom that sites and covariates leave."""
    return int(len(columns) - (columns.shape[1] - 1) - np.unique(site).size)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
