"""A three-dimensional image with its place in space."""

from __future__ import annotations

from dataclasses import dataclass

from datbatch.arrays import Floats, Floats32


@dataclass(frozen=True)
class Volume:
    """Image values on a grid."""

    data: Floats32
    """Shape (x, y, z). Values."""
    affine: Floats
    """Shape (4, 4). Voxel index to millimetres; right, anterior and superior are positive (RAS)."""
