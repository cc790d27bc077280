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
    """Mean over the studies of one outcome.

    Attributes
    ----------
    studies : int
        Studies averaged; 0 leaves both volumes at NaN.
    uptake, relevance : ndarray, shape (x, y, z), float64
        Mean volumes in the store's frame; relevance is oriented.
    """

    studies: int
    uptake: Floats
    relevance: Floats


@dataclass(frozen=True)
class Case:
    """One misclassified study: only its slice is kept.

    Attributes
    ----------
    position : int
        Row in the store.
    uptake, relevance : ndarray, shape (x, y), float64
        Transaxial slice through the striatum; relevance is oriented.
    """

    position: int
    uptake: Floats
    relevance: Floats


@dataclass(frozen=True)
class GroupImages:
    """What is kept of the volumes of the test set.

    Attributes
    ----------
    true_negative, true_positive : GroupMean
        Mean of the correctly classified studies.
    cases : tuple of Case
        Misclassified studies in the store's order, at most as many as were asked for.
    peak_distance_mm : ndarray, shape (study,), float64
        Distance of the voxel of greatest absolute relevance to the striatum, 0 inside; NaN where not
        measured.
    unreadable : int
        Test studies whose volumes have missing values and were left out.
    """

    true_negative: GroupMean
    true_positive: GroupMean
    cases: tuple[Case, ...]
    peak_distance_mm: Floats
    unreadable: int


def striatum_distance_mm(masks: npt.NDArray[np.bool_]) -> Floats:
    """Give each voxel's distance to the nearest voxel of the striatum.

    Parameters
    ----------
    masks : ndarray, shape (region, x, y, z), bool
        Regions in the order of `schema.REGIONS`.

    Returns
    -------
    ndarray, shape (x, y, z), float64
        Millimetres between voxel centres; 0 inside.
    """
    names = [name for name in schema.REGIONS if name.startswith(("putamen", "caudate"))]
    striatum = np.any(masks[[schema.REGIONS.index(name) for name in names]], axis=0)
    distance: Floats = distance_transform_edt(~striatum, sampling=schema.SPACING_MM)
    return distance


def striatal_slice(masks: npt.NDArray[np.bool_]) -> int:
    """Give the index along z of the transaxial slice with most of both putamina and caudate nuclei.

    The product of both areas is greatest where the slice cuts both structures well.
    """
    areas = {
        structure: sum(
            masks[schema.REGIONS.index(f"{structure}_{side}")].sum(axis=(0, 1), dtype=np.int64) for side in schema.SIDES
        )
        for structure in ("putamen", "caudate")
    }
    return int(np.argmax(np.asarray(areas["putamen"]) * np.asarray(areas["caudate"])))


def peak_distance_mm(relevance: npt.NDArray[Any], distance_mm: Floats) -> float:
    """Give the distance to the striatum of the most relevant voxel, the one of greatest absolute relevance.

    A network that pools gives all voxels of one cell the same relevance; the nearest of them counts. A map
    that is zero or not finite has no most relevant voxel: NaN.
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
        Lazy arrays of the store. Only basic indexing is used: fancy indexing of a sharded array is eight
        times slower.
    outcomes : sequence of str, shape (study,)
        TN, TP, FN, FP, or empty outside the test set.
    sign : float
        Orientation of the model's relevance, +1 or -1.
    masks : ndarray, shape (region, x, y, z), bool
        Regions in the order of `schema.REGIONS`.
    cases : int
        Misclassified studies to keep.

    Returns
    -------
    GroupImages
        Means, slices and distances.
    """
    shape = masks.shape[1:]
    sums = {name: (np.zeros(shape), np.zeros(shape)) for name in ("TN", "TP")}
    numbers = dict.fromkeys(sums, 0)
    distance_mm = striatum_distance_mm(masks)
    height = striatal_slice(masks)
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
    means = {}
    for name, (images, maps) in sums.items():
        n = numbers[name] or np.nan
        means[name] = GroupMean(numbers[name], images / n, maps / n)
    return GroupImages(means["TN"], means["TP"], tuple(kept), peaks, unreadable)
