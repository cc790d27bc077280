"""Numbers with their uncertainty: a proportion, an estimate, and the form in which JSON holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
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
class Estimate:
    """A number with its standard error and 95 % confidence interval."""

    value: float
    standard_error: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Proportion:
    """Give a proportion with Wilson's score interval at 95 % (Wilson 1927, J Am Stat Assoc 22:209)."""
    if trials == 0:
        return Proportion(0, 0, math.nan, 0.0, 1.0)
    # Takes half a second to import, and only this needs it.
    from scipy.stats import binomtest

    limits = binomtest(successes, trials).proportion_ci(method="wilson")
    return Proportion(successes, trials, successes / trials, float(limits.low), float(limits.high))


def normal_interval(value: float, error: float, least: float, most: float) -> Estimate:
    """Give value -/+ 1.96 standard errors, kept between the least and the most that there can be.

    Without a finite standard error the interval is all that there can be.
    """
    if not math.isfinite(error):
        return Estimate(value, error, least, most)
    return Estimate(value, error, max(least, value - Z_95 * error), min(most, value + Z_95 * error))


def as_json(value: Any) -> Any:
    """Turn figures into what JSON can hold; a number that is not finite (of an empty class) becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
