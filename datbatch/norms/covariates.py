"""Age and sex as columns of a linear model, centred on the studies that it is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datbatch.arrays import Bools, Floats, Texts

DECADE_YEARS = 10.0
FEMALE, MALE = "F", "M"
AGE, SEX = "age_per_decade", "male_less_female"


@dataclass(frozen=True)
class Covariates:
    """Which covariates a model has, and where their zero lies.

    A covariate that a study lacks is set to the mean: the study is compared with the average person. `variance` tells
    how much wider its interval must be.
    """

    terms: tuple[str, ...]
    mean: Floats
    """Mean over the studies of the fit, shape (term,): age in years, share of men."""
    variance: Floats
    """Variance of the columns over the studies of the fit, shape (term,)."""

    def columns(self, age_years: Floats, sex: Texts) -> tuple[Floats, Bools]:
        """Give the columns of studies, and what is missing in them, each (study, term).

        A column holds decades from the mean age, or 1 less the share of men for men, its negative for women; 0
        where missing. An age is missing where NaN, a sex where neither F nor M.
        """
        raw = _raw(self.terms, age_years, sex)
        missing = np.isnan(raw)
        return np.where(missing, 0.0, (raw - self.mean) / _units(self.terms)), missing


def fit_covariates(age_years: Floats, sex: Texts, *, use_age: bool, use_sex: bool) -> tuple[Covariates, Bools]:
    """Choose the covariates and centre them on the studies that state them all, which the mask names.

    The other studies can take no part in a fit.
    """
    terms = (AGE,) * use_age + (SEX,) * use_sex
    raw = _raw(terms, age_years, sex)
    complete = np.asarray(np.isfinite(raw).all(axis=1))
    known = raw[complete]
    if not len(known):
        nothing = np.zeros(len(terms))
        return Covariates(terms, nothing, nothing), complete
    return Covariates(terms, known.mean(axis=0), (known / _units(terms)).var(axis=0)), complete


def _raw(terms: tuple[str, ...], age_years: Floats, sex: Texts) -> Floats:
    male = np.where(sex == MALE, 1.0, np.where(sex == FEMALE, 0.0, np.nan))
    columns = {AGE: np.asarray(age_years, dtype=np.float64), SEX: male}
    return np.stack([columns[term] for term in terms], axis=1) if terms else np.empty((len(male), 0))


def _units(terms: tuple[str, ...]) -> Floats:
    return np.array([DECADE_YEARS if term == AGE else 1.0 for term in terms])
