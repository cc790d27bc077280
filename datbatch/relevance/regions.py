"""Statistics of relevance by region, computed while the map is in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Bools, Floats, Indices
from datbatch.errors import EmptyVolumeError, GridMismatchError
from datbatch.schema import STATISTICS


def region_statistics(
    relevance: npt.NDArray[np.floating],
    masks: Bools,
    coordinates_mm: Sequence[Floats],
    *,
    hottest_ml: float,
    voxel_volume_ml: float,
) -> Floats:
    """Summarise a relevance map in each region: (region, statistic), in the order of `schema.STATISTICS`.

    An empty region has masses of zero and is NaN otherwise.

    Parameters
    ----------
    relevance : ndarray, shape (x, y, z)
        Relevance of each voxel.
    masks : ndarray of bool, shape (region, x, y, z)
        Regions; they may overlap.
    coordinates_mm : sequence of ndarray
        Voxel centres along x, y and z, in MNI millimetres.
    hottest_ml : float
        Volume of the hottest voxels, see `hottest_mean`.
    voxel_volume_ml : float
        Volume of a voxel.

    Raises
    ------
    GridMismatchError, EmptyVolumeError
        When the shapes do not belong together; when a value is not finite.
    """
    if masks.shape[1:] != relevance.shape or tuple(axis.size for axis in coordinates_mm) != relevance.shape:
        raise GridMismatchError(f"relevance {relevance.shape} and regions {masks.shape[1:]} differ in their grid")
    flat = relevance.reshape(-1)
    if not np.isfinite(flat).all():
        raise EmptyVolumeError("the relevance map has values that are not finite")
    shape, voxels = relevance.shape, hottest_ml / voxel_volume_ml
    rows = [_one_region(flat, np.flatnonzero(mask), shape, coordinates_mm, voxels) for mask in masks]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(STATISTICS))


def _one_region(
    flat: npt.NDArray[np.floating],
    voxels: Indices,
    shape: tuple[int, ...],
    coordinates_mm: Sequence[Floats],
    hottest_count: float,
) -> tuple[float, ...]:
    if voxels.size == 0:
        return (np.nan,) * (len(STATISTICS) - 2) + (0.0, 0.0)
    values = flat[voxels].astype(np.float64)
    places = []
    for index in (int(values.argmax()), int(values.argmin())):
        position = np.unravel_index(voxels[index], shape)
        places.append((values[index], *(float(axis[at]) for axis, at in zip(coordinates_mm, position, strict=True))))
    # Order of schema.STATISTICS: mean, hottest, maximum and where, minimum and where, masses of either sign.
    masses = (float(np.maximum(values, 0.0).sum()), float(np.minimum(values, 0.0).sum()))
    return (float(values.mean()), hottest_mean(values, hottest_count), *places[0], *places[1], *masses)


def hottest_mean(values: Floats, count: float) -> float:
    """Average the `count` most relevant values: those of the largest magnitude, with their signs.

    The paper applies the hottest-voxels analysis of uptake to relevance, whose sign depends on the class: the most
    relevant voxels are those of "highest absolute value" (Nazari et al. 2022, "Discussion"). Chosen by magnitude,
    the mean of a sign-flipped map is the sign-flipped mean, so that turning a model's orientation changes only the
    sign. The last voxel counts by the fraction that is left; all count where there are fewer, at least one.
    """
    if count >= values.size:
        return float(values.mean())
    whole = int(count)
    order = np.argpartition(-np.abs(values), whole)[: whole + 1]
    chosen = values[order]
    # argpartition puts the element of rank `whole` at that place: it is the one that counts by a fraction.
    return float((chosen[:whole].sum() + (count - whole) * chosen[whole]) / count)
