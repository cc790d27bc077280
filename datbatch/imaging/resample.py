"""Values of an image on another grid."""

from __future__ import annotations

import numba
import numpy as np

from datbatch.arrays import Floats, Floats32
from datbatch.errors import EmptyVolumeError, GridMismatchError
from datbatch.imaging.volume import Volume

ROUNDING = 1e-6
"""Voxels by which a point may seem outside the field of view and still count as on its edge."""


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _trilinear(source: Floats32, to_index: Floats, target: Floats32) -> None:
    nx, ny, nz = source.shape
    for i in range(target.shape[0]):
        for j in range(target.shape[1]):
            for k in range(target.shape[2]):
                x = to_index[0, 0] * i + to_index[0, 1] * j + to_index[0, 2] * k + to_index[0, 3]
                y = to_index[1, 0] * i + to_index[1, 1] * j + to_index[1, 2] * k + to_index[1, 3]
                z = to_index[2, 0] * i + to_index[2, 1] * j + to_index[2, 2] * k + to_index[2, 3]
                if not (
                    -ROUNDING <= x <= nx - 1 + ROUNDING
                    and -ROUNDING <= y <= ny - 1 + ROUNDING
                    and -ROUNDING <= z <= nz - 1 + ROUNDING
                ):
                    target[i, j, k] = 0.0
                    continue
                x, y, z = min(max(x, 0.0), nx - 1.0), min(max(y, 0.0), ny - 1.0), min(max(z, 0.0), nz - 1.0)
                a, b, c = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
                u, v, w = x - a, y - b, z - c
                low = (1 - u) * ((1 - v) * source[a, b, c] + v * source[a, b + 1, c]) + u * (
                    (1 - v) * source[a + 1, b, c] + v * source[a + 1, b + 1, c]
                )
                high = (1 - u) * ((1 - v) * source[a, b, c + 1] + v * source[a, b + 1, c + 1]) + u * (
                    (1 - v) * source[a + 1, b, c + 1] + v * source[a + 1, b + 1, c + 1]
                )
                target[i, j, k] = (1 - w) * low + w * high


def resample(volume: Volume, template_to_study: Floats, grid_affine: Floats, shape: tuple[int, int, int]) -> Floats32:
    """Bring a study onto the template's grid by trilinear interpolation.

    A voxel of the grid at g (mm) takes the value of the study at `template_to_study` g. Voxels outside the study's
    field of view become exactly 0, so that every value is finite; the registration's `coverage` tells how much of
    the brain they are.

    Parameters
    ----------
    volume : Volume
        The study.
    template_to_study : ndarray, shape (4, 4)
        Template mm to study mm, RAS.
    grid_affine : ndarray, shape (4, 4)
        Voxel index of the grid to template mm.
    shape : tuple of int
        Voxels of the grid along x, y, z.

    Raises
    ------
    EmptyVolumeError, GridMismatchError
        When the volume is thinner than two voxels or not finite; when a matrix is not (4, 4) or cannot be inverted.
    """
    require_image(volume.data)
    to_index = inverse(volume.affine) @ _matrix(template_to_study) @ _matrix(grid_affine)
    target = np.empty(shape, np.float32)
    _trilinear(np.ascontiguousarray(volume.data, np.float32), to_index, target)
    return target


def require_image(data: Floats32) -> None:
    """Refuse what is not a three-dimensional image of finite, differing values."""
    if data.ndim != 3 or min(data.shape) < 2:
        raise EmptyVolumeError(f"an image needs three axes of at least two voxels, not shape {data.shape}")
    low, high = data.min(), data.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EmptyVolumeError("the image holds values that are not finite")
    if low == high:
        raise EmptyVolumeError("all voxels of the image have the same value")


def _matrix(affine: Floats) -> Floats:
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GridMismatchError(f"an affine is a finite (4, 4) matrix, not of shape {matrix.shape}")
    return matrix


def inverse(affine: Floats) -> Floats:
    """Invert an affine; a degenerate one is refused."""
    matrix = _matrix(affine)
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise GridMismatchError("an affine that cannot be inverted does not describe a grid")
    return np.asarray(np.linalg.inv(matrix), np.float64)


def mirror(volume: Floats32) -> Floats32:
    """Give a copy with left and right exchanged, on a grid that is symmetric about x = 0; exact, no interpolation."""
    return np.ascontiguousarray(volume[::-1])
