"""Mean images and relevance of the test set, read one study at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import distance_transform_edt

from datbatch import schema

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupMean:
    """Mean over the studies of one outcome; relevance is oriented."""

    studies: int
    """Studies averaged; 0 leaves both volumes at NaN."""
    uptake: Floats
    relevance: Floats
    """Like uptake of shape (x, y, z), in the store's frame."""


@dataclass(frozen=True)
class Case:
    """One misclassified study: only its transaxial slice (x, y) through the striatum is kept; relevance is oriented."""

    position: int
    """Row in the store."""
    uptake: Floats
    relevance: Floats


@dataclass(frozen=True)
class GroupImages:
    """What is kept of the volumes of the test set."""

    true_negative: GroupMean
    true_positive: GroupMean
    cases: tuple[Case, ...]
    """Misclassified studies in the store's order, at most as many as were asked for."""
    peak_distance_mm: Floats
    """For each study: from the most relevant voxel to the striatum, 0 inside; NaN where not measured."""
    unreadable: int
    """Test studies whose volumes have missing values and were left out."""

    def means(self) -> dict[str, GroupMean]:
        """Give the means that there are, by the name of their outcome."""
        both = {"true_negative": self.true_negative, "true_positive": self.true_positive}
        return {name: group for name, group in both.items() if group.studies}

    def heat(self) -> Floats | None:
        """Give mean relevance, true positive less true negative, shape (x, y, z); None where one is not there."""
        both = len(self.means()) == 2
        return self.true_positive.relevance - self.true_negative.relevance if both else None


def striatum_distance_mm(masks: npt.NDArray[np.bool_]) -> Floats:
    """Give each voxel's distance to the nearest voxel of the striatum, in mm between centres; 0 inside.

    `masks` (region, x, y, z) are those of `schema.REGIONS`, here and below.
    """
    # Putamina and caudate nuclei are the first of the regions.
    distance: Floats = distance_transform_edt(~np.any(masks[:4], axis=0), sampling=schema.SPACING_MM)
    return distance


def striatal_slice(masks: npt.NDArray[np.bool_]) -> int:
    """Give the index along z of the transaxial slice with most of both putamina and caudate nuclei.

    The product of both areas is greatest where the slice cuts both structures well.
    """
    areas = masks[:4].sum(axis=(1, 2), dtype=np.int64)
    return int(np.argmax((areas[0] + areas[1]) * (areas[2] + areas[3])))


def peak_distance_mm(relevance: npt.NDArray[Any], distance_mm: Floats) -> float:
    """Give the distance to the striatum of the most relevant voxel, the one of greatest absolute relevance.

    A network that pools gives all voxels of one cell the same relevance; the nearest of them counts. A map that is zero
    or not finite has no most relevant voxel: NaN.
    """
    magnitude = np.abs(relevance)
    greatest = magnitude.max()
    if not np.isfinite(greatest) or greatest == 0:
        return float("nan")
    return float(distance_mm[magnitude == greatest].min())


def scan_test_set(
    uptake: xr.DataArray,
    relevance: xr.DataArray,
    outcomes: Sequence[str],
    *,
    sign: float,
    masks: npt.NDArray[np.bool_],
    cases: int,
) -> GroupImages:
    """Read the volumes of the test set once, one study at a time.

    Parameters
    ----------
    uptake, relevance : DataArray, dimensions (study, x, y, z)
        Lazy arrays of the store. Only basic indexing is used: fancy indexing of a sharded array is eight times slower.
    outcomes : sequence of str, shape (study,)
        TN, TP, FN, FP, or empty outside the test set.
    sign : float
        Orientation of the model's relevance, +1 or -1.
    cases : int
        Misclassified studies to keep.
    """
    shape = masks.shape[1:]
    sums = {name: (np.zeros(shape), np.zeros(shape)) for name in ("TN", "TP")}
    numbers = dict.fromkeys(sums, 0)
    distance_mm, height = striatum_distance_mm(masks), striatal_slice(masks)
    kept: list[Case] = []
    peaks = np.full(len(outcomes), np.nan)
    unreadable = 0
    for position, outcome in enumerate(outcomes):
        if not outcome:
            continue
        image = np.asarray(uptake[position].values, dtype=np.float64)
        oriented = sign * np.asarray(relevance[position].values, dtype=np.float64)
        if not (np.isfinite(image).all() and np.isfinite(oriented).all()):
            unreadable += 1
            continue
        peaks[position] = peak_distance_mm(oriented, distance_mm)
        if outcome in sums:
            images, maps = sums[outcome]
            images += image
            maps += oriented
            numbers[outcome] += 1
        elif len(kept) < cases:
            kept.append(Case(position, image[:, :, height], oriented[:, :, height]))
    negative, positive = (GroupMean(n, *(one / (n or np.nan) for one in sums[name])) for name, n in numbers.items())
    return GroupImages(negative, positive, tuple(kept), peaks, unreadable)
