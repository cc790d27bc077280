"""Study and template at one smoothing: what is compared, where, and the outline of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from datbatch.arrays import Bools, Floats, Floats32
from datbatch.errors import EmptyVolumeError
from datbatch.imaging.registration.alignment import Moving, Samples
from datbatch.imaging.resample import inverse
from datbatch.imaging.volume import Volume

TEMPLATE_MARGIN_MM = 8.0
"""The template is compared inside the head's outline and this far around it."""
OUTLINE_FRACTION = 0.5
"""The outline is where the smoothed image exceeds this fraction of its level."""


@dataclass(frozen=True)
class Level:
    """Study and template with the same smoothing."""

    study: Moving
    near: Samples
    """Points of the template that are fitted: inside the head's outline and around it."""
    everywhere: Samples
    """All points of the template's grid."""
    head: Bools
    """Shape (point,). Which of `everywhere` are inside the outline."""
    intensity: float
    """Of the template; the outline is a fraction of it."""


def level(study: Volume, template: Volume, centre_mm: Floats | None = None) -> Level:
    """Choose the samples of a smoothed template and take its gradient there.

    The study has the same smoothing. Coordinates are relative to `centre_mm`, by default the middle of the template's
    head.
    """
    values = template.data.astype(np.float64)
    axes = template.affine[:3, :3]
    gradients = np.stack([np.gradient(values, axis=axis) for axis in range(3)], axis=-1).reshape(-1, 3)
    gradients = gradients @ np.linalg.inv(axes)
    points = np.indices(values.shape).reshape(3, -1).T @ axes.T + template.affine[:3, 3]
    intensity = head_intensity(template.data)
    head = values > OUTLINE_FRACTION * intensity
    if centre_mm is None:
        centre_mm = points[head.ravel()].mean(axis=0)
    sampling_mm = float(np.linalg.norm(axes, axis=0).mean())
    near = binary_dilation(head, iterations=max(1, round(TEMPLATE_MARGIN_MM / sampling_mm))).ravel()
    points = points - centre_mm
    return Level(
        Moving(study.data, inverse(study.affine)),
        Samples(points[near], values.ravel()[near], gradients[near], centre_mm, sampling_mm),
        Samples(points, values.ravel(), gradients, centre_mm, sampling_mm),
        head.ravel(),
        intensity,
    )


def head_intensity(data: Floats32) -> float:
    """Give the typical intensity inside the head: the mean of what exceeds the mean of the positive values."""
    positive = data[data > 0]
    if positive.size == 0:
        raise EmptyVolumeError("the image has no positive value")
    return float(positive[positive >= positive.mean(dtype=np.float64)].mean(dtype=np.float64))


def at_unit_intensity(image: Volume) -> Volume:
    """Divide by the typical intensity of the head, so that the unit of the counts does not matter."""
    return Volume((image.data / head_intensity(image.data)).astype(np.float32), image.affine)


def head_centre_mm(image: Volume) -> Floats:
    """Give the centre of the head, from the voxels inside its outline."""
    head = np.argwhere(image.data > OUTLINE_FRACTION * head_intensity(image.data))
    return np.asarray(image.affine[:3, :3] @ head.mean(axis=0) + image.affine[:3, 3], np.float64)


def field_of_view(study: Volume) -> Volume:
    """Cut off the empty slices at both ends of every axis, where nothing was measured; at least two must be left."""
    affine, data = study.affine.copy(), study.data
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero((data != 0).any(axis=others))
        first, last = int(filled[0]), int(filled[-1])
        if last - first < 1:
            raise EmptyVolumeError("the image is not thicker than one slice")
        data = data[tuple(slice(first, last + 1) if a == axis else slice(None) for a in range(3))]
        affine[:3, 3] += affine[:3, axis] * first
    return Volume(data, affine)
