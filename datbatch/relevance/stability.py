"""How much a map depends on what it should not: noise in the image, and the initial weights of the network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from datbatch.arrays import Floats, Floats32
from datbatch.relevance.similarity import correlation

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def add_noise(
    volume: npt.NDArray[np.floating], share: float, generator: np.random.Generator, *, fwhm_mm: float, spacing_mm: float
) -> Floats32:
    """Add noise like that of a reconstructed image: growing with the root of uptake, and blurred.

    u + share sqrt(max(u, 0)) n, where u (x, y, z) is uptake in multiples of the reference level and n Gaussian
    noise of mean 0 and standard deviation 1, correlated over `fwhm_mm`: at the reference level the noise is `share`
    of it, and its variance is proportional to uptake as that of counts. A share of 0 gives the volume as it is.
    """
    sigma = fwhm_mm / FWHM_PER_SIGMA / spacing_mm
    white = generator.standard_normal(volume.shape, dtype=np.float32)
    reach = int(np.ceil(4 * sigma))
    impulse = np.zeros(2 * reach + 1)
    impulse[reach] = 1.0
    # A blur divides the variance of white noise by the sum of its squared weights, once for each axis.
    gain = float(np.sum(gaussian_filter(impulse, sigma) ** 2)) ** (volume.ndim / 2)
    noise = gaussian_filter(white, sigma, mode="wrap") / gain
    return np.asarray(volume + share * np.sqrt(np.maximum(volume, 0.0)) * noise, dtype=np.float32)


def pairwise_rank_correlation(maps: Sequence[npt.NDArray[Any]]) -> float | None:
    """Give the mean rank correlation over all pairs of maps (voxel,); None where one is constant or there is one.

    The maps are of the same study, or means of the same studies, explained by several networks.
    """
    if not all(np.isfinite(one).all() for one in maps):
        return None
    found = [correlation(first, second) for first, second in combinations([rankdata(one) for one in maps], 2)]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


def sign_agreement(values: Floats) -> float | None:
    """Give how often two networks agree about the sign of a figure, (network, study); NaN where there is none.

    The share is of all pairs of networks and studies; None where there is no pair.
    """
    agreeing: list[float] = []
    for first, second in combinations(values, 2):
        known = np.isfinite(first) & np.isfinite(second)
        agreeing += (np.sign(first[known]) == np.sign(second[known])).tolist()
    return float(np.mean(agreeing)) if agreeing else None
