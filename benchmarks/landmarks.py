"""Where a normalisation is judged: points of the striata and of the whole brain, and how far an affine misses them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.imaging import analytic_atlas


def landmarks() -> dict[str, npt.NDArray[np.float64]]:
    """Give points (n, 4) in MNI mm: of putamen and caudate, and of the whole brain."""
    masks = dict(zip(schema.REGIONS, analytic_atlas().masks, strict=True))
    striata = masks["putamen_ipsilateral"] | masks["putamen_contralateral"]
    striata |= masks["caudate_ipsilateral"] | masks["caudate_contralateral"]
    points = {}
    for name, mask, step in (("striatal", striata, 3), ("brain", masks["whole_brain"], 10)):
        sparse = np.zeros_like(mask)
        sparse[::step, ::step, ::step] = mask[::step, ::step, ::step]
        voxels = np.argwhere(sparse)
        points[name] = np.c_[voxels, np.ones(len(voxels))] @ schema.grid_affine().T
    return points


def error_mm(found: npt.NDArray[np.float64], true: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> float:
    """Give the mean distance between where two affines (4, 4) put points (n, 4)."""
    return float(np.linalg.norm((points @ (found - true).T)[:, :3], axis=1).mean())
