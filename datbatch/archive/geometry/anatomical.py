"""Turn the axes of a reconstructed volume to right, anterior, superior; refuse what cannot be an image of a head."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from datbatch.errors import EmptyVolumeError, InvalidTomogramError

MAX_VOXELS = 1 << 26
VOXEL_MM = (0.5, 10.0)
"""Smaller voxels mean a wrong unit; larger ones show no striatum."""
EXTENT_MM = ((100.0, 800.0), (100.0, 800.0), (50.0, 800.0))
"""Least and greatest extent along right, anterior and superior: from a cut-out brain to a whole gantry."""
MAX_OBLIQUE_DEG = 30.0
"""Beyond this angle the axes could be confused; normalisation corrects heads turned by up to twice as much."""
_PERPENDICULAR = 0.02
"""Greatest cosine between two axes."""
_FARTHEST_MM = 10_000.0
_RECHECK = "Check the file; the image itself is of no use."

_Array = npt.NDArray[np.float64]


def to_anatomical(
    values: npt.NDArray[np.float32], affine: _Array
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Reorder and reverse the axes of a volume so that they run to right, anterior, superior; no value changes.

    Parameters
    ----------
    values : ndarray, shape (i, j, k), float32
        In the order of the file.
    affine : ndarray, shape (4, 4), float64
        Voxel index to millimetres, RAS.

    Returns
    -------
    tuple of ndarray
        Values (x, y, z), C order, and their affine (4, 4), RAS.

    Raises
    ------
    InvalidTomogramError
        When the axes are not perpendicular or too oblique, or voxels or extent are not those of a head.
    EmptyVolumeError
        When values are not finite, nowhere positive, or all the same.
    """
    order, signs = _axes(affine)
    turned = values.transpose(order)
    placed = np.array(affine, dtype=np.float64)
    placed[:3, :3] = affine[:3, list(order)]
    for axis in range(3):
        if signs[axis] < 0:
            placed[:3, 3] += placed[:3, axis] * (turned.shape[axis] - 1)
            placed[:3, axis] *= -1.0
            turned = np.flip(turned, axis)
    _check_extent(turned.shape, np.linalg.norm(placed[:3, :3], axis=0))
    data = np.ascontiguousarray(turned, dtype=np.float32)
    if not np.isfinite(data).all():
        raise EmptyVolumeError("the image holds values that are not finite", _RECHECK)
    if data.max() <= 0.0:
        raise EmptyVolumeError("the image is nowhere positive", _RECHECK)
    if data.min() == data.max():
        raise EmptyVolumeError("all values of the image are the same", _RECHECK)
    return data, placed


def values_digest(values: npt.NDArray[np.float32]) -> str:
    """Give a SHA-256 of a volume's values; it is the same for every copy, whatever the order of axes and directions."""
    content = hashlib.sha256(repr(sorted(values.shape)).encode())
    content.update(np.sort(values, axis=None).astype("<f4").tobytes())
    return content.hexdigest()


def placed_digest(data: npt.NDArray[np.float32], affine: _Array) -> str:
    """Give a SHA-256 of a volume and its place in space, as `to_anatomical` gave them."""
    content = hashlib.sha256(repr((data.shape, (np.round(affine, 2) + 0.0).tolist())).encode())
    content.update(data.astype("<f4").tobytes())
    return content.hexdigest()


def _axes(affine: _Array) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Give for right, anterior and superior the axis of the file along it, and the axis's sign."""
    if not (np.isfinite(affine).all() and np.abs(affine).max() <= _FARTHEST_MM):
        raise InvalidTomogramError("the image lies far outside of any scanner")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.min() <= 0.0:
        raise InvalidTomogramError("the size of a voxel is missing")
    cosines = affine[:3, :3] / sizes
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > _PERPENDICULAR:
        raise InvalidTomogramError("the axes of the image are not perpendicular to each other")
    nearest = np.abs(cosines).max(axis=0)
    if nearest.min() < math.cos(math.radians(MAX_OBLIQUE_DEG)):
        tilt = math.degrees(math.acos(nearest.min()))
        raise InvalidTomogramError(
            f"an axis of the image is {tilt:.0f} degrees from the nearest axis of the body, more than "
            f"{MAX_OBLIQUE_DEG:g}",
            "Give the transaxial slices, not oblique ones.",
        )
    x, y, z = (int(axis) for axis in np.argmax(np.abs(cosines), axis=1))
    right, anterior, superior = (float(np.sign(cosines[row, axis])) for row, axis in enumerate((x, y, z)))
    return (x, y, z), (right, anterior, superior)


def _check_extent(shape: tuple[int, ...], sizes_mm: _Array) -> None:
    if not (sizes_mm.min() >= VOXEL_MM[0] and sizes_mm.max() <= VOXEL_MM[1]):
        raise InvalidTomogramError(f"a voxel of {by(sizes_mm)} mm; possible is {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm")
    extent = np.array(shape) * sizes_mm
    if any(not low <= length <= high for length, (low, high) in zip(extent, EXTENT_MM, strict=True)):
        raise InvalidTomogramError(f"an image of {by(extent)} mm is not of a head")


def by(lengths: _Array) -> str:
    """Write lengths as `2 x 2 x 4`."""
    return " x ".join(f"{length:.4g}" for length in lengths)
