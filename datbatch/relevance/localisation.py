"""Whether relevance lies where it is expected: relevance mass and rank accuracy in a region."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from datbatch.arrays import Bools


def relevance_mass(values: npt.NDArray[Any], mask: Bools) -> float | None:
    """Give the share of relevance that lies inside a mask, 0 to 1; None where there is no relevance.

    sum of R_i over the mask / sum of R_i over all voxels (Arras et al. 2022, Inf Fusion 81:14, Eq. 1). Relevance
    (x, y, z) is not negative here: its positive part, or its magnitude.
    """
    total = float(values.sum(dtype=np.float64))
    return float(values[mask].sum(dtype=np.float64)) / total if total > 0 else None


def relevance_rank(values: npt.NDArray[Any], mask: Bools) -> float | None:
    """Give the share of the K voxels of highest relevance that lie inside a mask of K voxels, 0 to 1.

    Arras et al. 2022, Inf Fusion 81:14, Eq. 3. Voxels of equal relevance at rank K count by their expected share.
    None where the mask is empty or the map (x, y, z) constant.
    """
    count = int(mask.sum())
    if count == 0 or np.ptp(values) == 0:
        return None
    flat, inside = values.reshape(-1), mask.reshape(-1)
    least = np.partition(flat, flat.size - count)[flat.size - count]
    above, tied = flat > least, flat == least
    places = count - int(above.sum())
    return (int(inside[above].sum()) + places * float(inside[tied].mean())) / count


def widen(mask: Bools, margin_mm: float, spacing_mm: float) -> Bools:
    """Give what lies within `margin_mm` of a mask's voxels (distance between voxel centres), the mask included."""
    return np.asarray(distance_transform_edt(~mask, sampling=spacing_mm) <= margin_mm, dtype=bool)
