"""Where an exported volume lies: MNI space as acquired or mirrored, or the study's own space."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.cohort.views.results import StudyResults
from datbatch.imaging import Volume
from datbatch.imaging.resample import inverse, resample

Frame = Literal["as-acquired", "ipsilateral-left", "own-space"]
FRAMES: tuple[Frame, ...] = get_args(Frame)
AS_ACQUIRED, IPSILATERAL_LEFT, OWN_SPACE = FRAMES
FRAME_WORDS = {
    AS_ACQUIRED: "MNI space, x < 0 is the patient's left",
    IPSILATERAL_LEFT: "MNI space, mirrored where needed: x < 0 is the side of lower putamen binding",
    OWN_SPACE: "the study's own space before normalisation, x < 0 is the patient's left",
}
"""What each frame is, in words for people."""


def placed(results: StudyResults, volume: npt.NDArray[np.float32], frame: Frame) -> Volume:
    """Put uptake or relevance of a study, as the store holds it, into a frame (RAS millimetres).

    In MNI space values are exact; in the study's own space they are interpolated (trilinear), and 0 outside the store's
    grid. Without a usable `template_to_study` that raises GridMismatchError.
    """
    if frame == IPSILATERAL_LEFT:
        return Volume(np.ascontiguousarray(volume), schema.grid_affine())
    acquired = Volume(results.as_acquired(volume), schema.grid_affine())
    if frame == AS_ACQUIRED:
        return acquired
    affine, shape = own_grid(results.template_to_study)
    return Volume(resample(acquired, inverse(results.template_to_study), affine, shape), affine)


def own_grid(template_to_study: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], tuple[int, int, int]]:
    """Find a grid in the study's own space that covers the store's: its affine to study mm (RAS), and its size.

    The grid of the reconstruction is not stored. This one has the store's spacing, its axes run along the study's, and
    its voxels stand at whole multiples of the spacing, so that the axis of rotation (x = y = 0) meets voxel centres.
    """
    inverse(template_to_study)
    ends = [schema.coordinates_mm(axis)[[0, -1]] for axis in range(3)]
    corners = np.stack([*(axis.ravel() for axis in np.meshgrid(*ends)), np.ones(8)])
    reached = (np.asarray(template_to_study, np.float64) @ corners)[:3]
    low = np.floor(reached.min(axis=1) / schema.SPACING_MM)
    high = np.ceil(reached.max(axis=1) / schema.SPACING_MM)
    affine = np.diag([schema.SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = schema.SPACING_MM * low
    x, y, z = (int(size) for size in high - low + 1)
    return affine, (x, y, z)
