"""How similar two relevance maps are: correlation of values and of ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


def correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """Give Pearson's correlation of two vectors of values of the same voxels.

    It is not defined, None, where one of them is constant or holds a value that is not finite.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.size < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    x, y = x - x.mean(), y - y.mean()
    # Scaled first: squares of very small relevance would vanish.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """Give Spearman's correlation, Pearson's of the ranks (ties share their mean rank); see `correlation`.

    Spearman 1904, Am J Psychol 15:72.
    """
    x, y = np.asarray(first), np.asarray(second)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    return correlation(rankdata(x), rankdata(y))
