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
    share, z2 = successes / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # At 0 and 1 one limit is exactly the share; rounding must not push it past.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Proportion(successes, trials, share, low, high)


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
