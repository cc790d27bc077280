"""A three-dimensional image with its place in space."""

from __future__ import annotations

from dataclasses import dataclass

from datbatch.arrays import Floats, Floats32


@dataclass(frozen=True)
class Volume:
    """Image values on a grid.

    Attributes
    ----------
    data : ndarray, shape (x, y, z), float32
        Values.
    affine : ndarray, shape (4, 4), float64
        Voxel index to millimetres; right, anterior and superior are positive (RAS).
    """

    data: Floats32
    affine: Floats
