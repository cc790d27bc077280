"""Slices of volumes: cut, turned for the screen, and marked with their sides; needs no drawing library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.imaging.volume import Volume

Floats = npt.NDArray[np.float64]
Convention = Literal["radiological", "neurological"]


@dataclass(frozen=True)
class Plane:
    """A slice ready for the screen."""

    image: Floats
    """Shape (row, column). Row 0 is anterior, or superior where the slice is coronal."""
    extent_mm: tuple[float, float, float, float]
    """x at the left and right edge, y (or z) at the bottom and top edge (matplotlib's `extent`)."""


def transaxial_plane(volume: Volume, z_mm: float, convention: Convention = "radiological") -> Plane:
    """Cut a volume across the body axis, in the slice nearest to a height, and turn it: anterior at the top.

    The radiological convention shows x < 0 (left) on the right. An oblique grid is a ValueError; the axes of any other
    may run along x, y and z in any order and direction.
    """
    return _cut(volume, 2, z_mm, convention)


def coronal_plane(volume: Volume, y_mm: float, convention: Convention = "radiological") -> Plane:
    """Cut a volume from side to side, upright; superior at the top. See `transaxial_plane`."""
    return _cut(volume, 1, y_mm, convention)


def _cut(volume: Volume, across: int, at_mm: float, convention: Convention) -> Plane:
    linear = np.asarray(volume.affine[:3, :3], dtype=np.float64)
    order = [int(axis) for axis in np.argmax(np.abs(linear), axis=1)]
    spacing = linear[[0, 1, 2], order]
    rest = linear.copy()
    rest[[0, 1, 2], order] = 0.0
    if sorted(order) != [0, 1, 2] or np.abs(rest).max() > 1e-3 * np.abs(spacing).min():
        raise ValueError("only grids along the body's axes can be shown as slices")
    data = np.transpose(np.asarray(volume.data), order)
    origin = np.asarray(volume.affine[:3, 3], dtype=np.float64)
    places = origin[across] + spacing[across] * np.arange(data.shape[across])
    nearest = int(np.argmin(np.abs(places - at_mm)))
    plane = np.asarray(np.take(data, nearest, axis=across), dtype=np.float64)
    low, high = [], []
    for place, axis in enumerate((0, 3 - across)):
        ends = origin[axis] + spacing[axis] * np.array([-0.5, plane.shape[place] - 0.5])
        if spacing[axis] < 0:
            plane = np.flip(plane, axis=place)
        low.append(float(ends.min()))
        high.append(float(ends.max()))
    # Here plane[i, j] is at rising x and y or z; a picture has rows from the top, so the second must fall.
    image = plane.T[::-1]
    if convention == "radiological":
        return Plane(image[:, ::-1].copy(), (high[0], low[0], low[1], high[1]))
    return Plane(image.copy(), (low[0], high[0], low[1], high[1]))


def store_plane(plane: Floats, convention: Convention = "radiological") -> Plane:
    """Turn one (x, y) slice of the store's grid for display."""
    return transaxial_plane(store_volume(plane[:, :, np.newaxis]), schema.ORIGIN_MM[2], convention)


def store_volume(data: npt.NDArray[Any]) -> Volume:
    """Give an array on the store's grid its place in space."""
    return Volume(np.asarray(data, dtype=np.float32), schema.grid_affine())


class Marks(NamedTuple):
    """What is written at the two sides of a picture: x < 0 (left of MNI space) and x > 0."""

    low_x: str
    high_x: str

    def on(self, plane: Plane) -> tuple[str, str]:
        """Give the marks for the left and the right edge of a slice."""
        return (self.low_x, self.high_x) if plane.extent_mm[0] < plane.extent_mm[1] else (self.high_x, self.low_x)


ANATOMICAL = Marks("L", "R")
"""A volume in MNI space that was not mirrored, such as the template."""
AVERAGE = Marks("I", "C")
"""A mean over mirrored studies: ipsilateral and contralateral; the patients' own sides are mixed."""


def study_marks(mirrored: bool) -> Marks:
    """Mark one study in the store's frame: ipsilateral at x < 0, and the patient's own side; right where mirrored."""
    return Marks("I = R", "C = L") if mirrored else Marks("I = L", "C = R")


def patient_marks(mirrored: bool) -> Marks:
    """Mark one study as it was acquired: left at x < 0; right is the ipsilateral side where the store mirrors it."""
    return Marks("L (C)", "R (I)") if mirrored else Marks("L (I)", "R (C)")


def symmetric_limits(arrays: Sequence[npt.NDArray[Any]], percentile: float = 99.9) -> tuple[float, float]:
    """Give one scale for all arrays, centred at zero, up to a percentile of the finite magnitudes above zero."""
    top = _upper(arrays, percentile)
    return -top, top


def uptake_limits(arrays: Sequence[npt.NDArray[Any]], percentile: float = 99.9) -> tuple[float, float]:
    """Give one scale from zero for all arrays; see `symmetric_limits`."""
    return 0.0, _upper(arrays, percentile)


def _upper(arrays: Sequence[npt.NDArray[Any]], percentile: float) -> float:
    values = np.concatenate([np.abs(np.asarray(a, dtype=np.float64)).ravel() for a in arrays] or [np.empty(0)])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.percentile(values, percentile)) if len(values) else 1.0
