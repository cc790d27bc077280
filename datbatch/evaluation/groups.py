"""Groups of studies in which a classifier may do better or worse: site, sex, age, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats, Texts
from datbatch.evaluation.confusion import Metrics, classification_metrics

AGE_LIMITS_YEARS = (60.0, 70.0, 80.0)
"""Borders of the age bands."""
UNKNOWN = "not known"


@dataclass(frozen=True)
class Group:
    """A classifier's figures in one group of studies."""

    by: str
    """What the studies are grouped by."""
    name: str
    metrics: Metrics


def age_bands(ages: npt.ArrayLike) -> Texts:
    """Name each study's age band, from ages in years."""
    years = np.asarray(ages, dtype=np.float64)
    first, *_, last = AGE_LIMITS_YEARS
    between = pairwise(AGE_LIMITS_YEARS)
    names = [f"below {first:.0f}", *(f"{a:.0f} to {b - 1:.0f}" for a, b in between), f"{last:.0f} and above"]
    return _banded(years, np.asarray(AGE_LIMITS_YEARS), names)


def count_levels(counts: npt.ArrayLike) -> Texts:
    """Name each study's level of counts: thirds of the given studies, with their borders in millions."""
    values = np.asarray(counts, dtype=np.float64)
    known = values[np.isfinite(values)]
    if known.size < 3 or np.ptp(known) == 0:
        return np.where(np.isfinite(values), "all", UNKNOWN).astype(np.str_)
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    lowest, highest = f"lowest third (below {low / 1e6:.2f} million)", f"highest third (from {high / 1e6:.2f} million)"
    return _banded(values, np.array([low, high]), [lowest, "middle third", highest])


def group_metrics(
    by: str,
    names: npt.ArrayLike,
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    along: npt.ArrayLike | None = None,
) -> tuple[Group, ...]:
    """Give a classifier's figures in each group, with Wilson intervals; studies of no known group come last.

    `names` tell each study's group, empty where it is not known; truth and calls are 0 or 1. The groups are ordered
    by the values `along` which they run, such as the age of bands of age, else by name.
    """
    given = np.asarray(names).astype(np.str_)
    given = np.where(given == "", UNKNOWN, given)
    truth, calls = np.asarray(labels), np.asarray(predicted)
    values = np.zeros(given.shape) if along is None else np.asarray(along, dtype=np.float64)
    members = [(name, given == name) for name in sorted(set(given.tolist()))]
    members.sort(key=lambda member: (member[0] == UNKNOWN, float(np.min(values[member[1]]))))
    return tuple(Group(by, name, classification_metrics(truth[inside], calls[inside])) for name, inside in members)


def _banded(values: Floats, borders: Floats, names: Sequence[str]) -> Texts:
    # NaN is sorted behind the last border; it is set apart afterwards.
    return np.where(np.isfinite(values), np.asarray(names)[np.searchsorted(borders, values, side="right")], UNKNOWN)
