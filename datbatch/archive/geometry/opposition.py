"""Whether a second head without a stated angle really stood opposite the first: the pixels show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.geometry.coverage import gaps_deg
from datbatch.archive.geometry.heads import apart_deg
from datbatch.errors import ContradictoryGeometryError

_NEAR_DEG = 30.0
"""Greatest distance between a view's angle and the angle of the most similar view of the other head."""
_CLEARLY = 1.25
"""Above this ratio of squared differences, a view is more similar to one view than to another, and not by chance."""
_BORDER = 1.5
"""Steps outside the arc of the first head within which a view can still be compared."""
_BLOCKS = 16
"""Blocks along each side of an image; sums over blocks reduce noise."""
_SMOOTHING_DEG = 7.0

View = tuple[float, npt.NDArray[Any]]
"""Angle in degrees and counts, shape (row, bin)."""


def check_second_head(first: Sequence[View], second: Sequence[View]) -> None:
    """Refuse a second head whose views look like views of the first head at another angle.

    At the same angle, or next to it, two heads see nearly the same image. So heads that stood at 90 degrees to each
    other, or one behind the other, are found.
    """
    (angles, images), (others, shown) = _smoothed(first), _smoothed(second)
    gaps = gaps_deg(np.sort(angles))
    for angle, image in zip(others, shown, strict=True):
        apart = apart_deg(angles, angle)
        if apart.min() > _BORDER * np.median(gaps):
            continue
        distance = np.square(images - image).sum(axis=(1, 2))
        near = apart <= _NEAR_DEG
        if _CLEARLY * distance[~near].min(initial=np.inf) < distance[near].min():
            raise ContradictoryGeometryError(
                "only the rotation item states a StartAngle, and the pixels show that the second head was not opposite"
            )


def _smoothed(views: Sequence[View]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give angles (view,) and images (view, block, block); each image is the mean of the views near it."""
    angles = np.array([angle for angle, _ in views])
    images = np.stack([_blocks(image) for _, image in views])
    near = np.array([apart_deg(angles, angle) <= _SMOOTHING_DEG for angle in angles], dtype=np.float64)
    return angles, np.einsum("vw,wrb->vrb", near / near.sum(axis=1, keepdims=True), images)


def _blocks(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum an image over blocks and divide it by its counts, shape (block, block)."""
    summed = image.astype(np.float64)
    for axis in (0, 1):
        edges = np.unique(np.linspace(0, image.shape[axis], _BLOCKS, endpoint=False).astype(np.int64))
        summed = np.add.reduceat(summed, edges, axis=axis)
    return np.asarray(summed / max(summed.sum(), 1.0))
