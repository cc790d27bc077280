"""Gaussian smoothing on fewer samples: the blurred image is only computed where it is needed."""

from __future__ import annotations

import numba
import numpy as np

from datbatch.arrays import Floats, Floats32, Ints
from datbatch.imaging.volume import Volume

FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
REACH_SIGMA = 3.0
"""Where the Gaussian is cut."""


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _weighted_rows(rows: Floats32, first: Ints, weights: Floats32, out: Floats32) -> None:
    """Each output row is a weighted sum of consecutive input rows."""
    for i in range(out.shape[0]):
        out[i, :] = 0.0
        for tap in range(weights.shape[1]):
            weight = weights[i, tap]
            if weight != 0.0:
                row = rows[first[i] + tap]
                for j in range(out.shape[1]):
                    out[i, j] += weight * row[j]


def _thin_axis(data: Floats32, axis: int, centres: Floats, sigma: float) -> Floats32:
    """Blur along one axis at fractional `centres` (voxels); weights are renormalised at the edges."""
    moved = np.ascontiguousarray(np.moveaxis(data, axis, 0))
    rows = moved.reshape(moved.shape[0], -1)
    reach = max(REACH_SIGMA * sigma, 0.5)
    taps = min(int(2 * reach) + 2, rows.shape[0])
    first = np.clip(np.ceil(centres - reach).astype(np.int64), 0, rows.shape[0] - taps)
    distance = first[:, None] + np.arange(taps)[None, :] - centres[:, None]
    weights = np.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2) * (np.abs(distance) <= reach)
    weights /= weights.sum(axis=1, keepdims=True)
    out = np.empty((centres.size, rows.shape[1]), np.float32)
    _weighted_rows(rows, first, weights.astype(np.float32), out)
    return np.moveaxis(out.reshape(centres.size, *moved.shape[1:]), 0, axis)


def smooth_and_thin(volume: Volume, fwhm_mm: float, sampling_mm: float) -> Volume:
    """Blur with a Gaussian and keep samples about `sampling_mm` apart, never finer than the volume's own.

    At the edges the Gaussian is renormalised to what is inside: a cut field of view does not fade out. The samples
    are centred in the old grid; the volume may have any affine.
    """
    data = volume.data
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    to_old = np.eye(4)
    for axis in range(3):
        step = max(1.0, sampling_mm / spacing[axis])
        count = max(2, int((data.shape[axis] - 1) / step) + 1)
        start = ((data.shape[axis] - 1) - step * (count - 1)) / 2.0
        centres = start + step * np.arange(count)
        data = _thin_axis(data, axis, centres, fwhm_mm / FWHM_PER_SIGMA / spacing[axis])
        to_old[axis, axis], to_old[axis, 3] = step, start
    return Volume(np.ascontiguousarray(data), volume.affine @ to_old)
