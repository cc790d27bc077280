"""Slices of volumes: cut, turned for the screen, and marked with their sides; needs no drawing library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.imaging.volume import Volume

Floats = npt.NDArray[np.float64]
Convention = Literal["radiological", "neurological"]


@dataclass(frozen=True)
class Plane:
    """A slice ready for the screen.

    Attributes
    ----------
    image : ndarray, shape (row, column), float64
        Row 0 is anterior, or superior where the slice is coronal.
    extent_mm : tuple of float
        x at the picture's left and right edge, y (or z) at its bottom and top edge (matplotlib's `extent`).
    """

    image: Floats
    extent_mm: tuple[float, float, float, float]


def transaxial_plane(volume: Volume, z_mm: float, convention: Convention = "radiological") -> Plane:
    """Cut a volume across the body axis and turn the slice for display.

    Parameters
    ----------
    volume : Volume
        Any grid whose axes run along x, y and z in any order and direction.
    z_mm : float
        Height of the slice; the nearest one is taken.
    convention : {"radiological", "neurological"}
        Whether x < 0 (left) is shown on the picture's right or left.

    Returns
    -------
    Plane
        Anterior at the top.

    Raises
    ------
    ValueError
        When the volume's grid is oblique.
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


@dataclass(frozen=True)
class Marks:
    """What is written beside the low-x and the high-x side of a picture.

    Attributes
    ----------
    low_x, high_x : str
        For x < 0 (left of MNI space) and x > 0.
    """

    low_x: str
    high_x: str


ANATOMICAL = Marks("L", "R")
"""A volume in MNI space that was not mirrored, such as the template."""
AVERAGE = Marks("I", "C")
"""A mean over mirrored studies: ipsilateral and contralateral; the patients' own sides are mixed."""


def study_marks(mirrored: bool) -> Marks:
    """Mark one study in the store's frame: ipsilateral at x < 0, equal to which of the patient's own sides.

    Parameters
    ----------
    mirrored : bool
        Whether left and right were exchanged when it was stored, so that x < 0 shows the patient's right.
    """
    return Marks("I = R", "C = L") if mirrored else Marks("I = L", "C = R")


def patient_marks(mirrored: bool) -> Marks:
    """Mark one study in the patient's own frame, as acquired: left at x < 0.

    Parameters
    ----------
    mirrored : bool
        Whether left and right are exchanged in the store, so that the patient's right is the ipsilateral side.
    """
    return Marks("L (C)", "R (I)") if mirrored else Marks("L (I)", "R (C)")


def symmetric_limits(arrays: Sequence[npt.NDArray[Any]], percentile: float = 99.9) -> tuple[float, float]:
    """Give one scale for all arrays, centred at zero.

    Parameters
    ----------
    arrays : sequence of ndarrays
        What is compared; NaN is passed over.
    percentile : float
        Of the absolute values that are not zero; greater ones take the last colour.
    """
    return (lambda top: (-top, top))(_upper(arrays, percentile))


def uptake_limits(arrays: Sequence[npt.NDArray[Any]], percentile: float = 99.9) -> tuple[float, float]:
    """Give one scale from zero for all arrays; see `symmetric_limits`."""
    return 0.0, _upper(arrays, percentile)


def _upper(arrays: Sequence[npt.NDArray[Any]], percentile: float) -> float:
    values = np.concatenate([np.abs(np.asarray(a, dtype=np.float64)).ravel() for a in arrays] or [np.empty(0)])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.percentile(values, percentile)) if len(values) else 1.0
