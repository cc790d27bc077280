"""Whether a second head of which the header states no angle really stood opposite the first, told from the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.errors import ContradictoryGeometryError

_NEAR_DEG = 30.0
"""How far from its own angle a view may look most like one of the other head."""
_CLEARLY = 1.25
"""Ratio of squared differences above which a view looks more like one than like another, and not by chance."""
_BORDER = 1.5
"""Steps beyond the arc of the first head at which a view can still be compared."""
_BLOCKS = 16
"""Images are summed over blocks, so many along each side, against noise."""
_SMOOTHING_DEG = 7.0

View = tuple[float, npt.NDArray[Any]]
"""Angle in degrees and counts, shape (row, bin)."""


def check_second_head(first: Sequence[View], second: Sequence[View]) -> None:
    """Compare the views of two heads that were taken at, or next to, the same angle.

    Such a view looks most like the neighbouring one of the other head: heads that really stood at 90 degrees to each
    other, or one behind the other, are noticed.

    Parameters
    ----------
    first, second : sequence of (angle_deg, image)
        Views of each head at the angles that they are taken to have.

    Raises
    ------
    ContradictoryGeometryError
        When a view looks like that of another angle.
    """
    (angles, images), (others, shown) = _smoothed(first), _smoothed(second)
    gaps = np.diff(np.sort(angles), append=angles.min() + 360.0)
    for angle, image in zip(others, shown, strict=True):
        apart = _apart_deg(angles, angle)
        if apart.min() > _BORDER * np.median(gaps):
            continue
        distance = np.square(images - image).sum(axis=(1, 2))
        near = apart <= _NEAR_DEG
        if _CLEARLY * distance[~near].min(initial=np.inf) < distance[near].min():
            raise ContradictoryGeometryError(
                "only the rotation item states a StartAngle, and the pixels say that the second head was not opposite"
            )


def _apart_deg(angles: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    return np.abs((angles - angle + 180.0) % 360.0 - 180.0)


def _smoothed(views: Sequence[View]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give angles (view,) and images (view, block, block), each the mean of those taken near it."""
    angles = np.array([angle for angle, _ in views])
    images = np.stack([_blocks(image) for _, image in views])
    near = np.array([_apart_deg(angles, angle) <= _SMOOTHING_DEG for angle in angles], dtype=np.float64)
    return angles, np.einsum("vw,wrb->vrb", near / near.sum(axis=1, keepdims=True), images)


def _blocks(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum an image over blocks and divide it by its counts; shape (block, block)."""
    summed = image.astype(np.float64)
    for axis in (0, 1):
        edges = np.unique(np.linspace(0, image.shape[axis], _BLOCKS, endpoint=False).astype(np.int64))
        summed = np.add.reduceat(summed, edges, axis=axis)
    return np.asarray(summed / max(summed.sum(), 1.0))
