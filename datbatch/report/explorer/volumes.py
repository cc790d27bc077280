"""One study's volumes for the explorer: on half the grid, in bytes, compressed."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.cohort.views.results import StudyResults
from datbatch.report.parts.planes import patient_marks, study_marks, symmetric_limits, uptake_limits

VOLUME_BYTES = 100_000
"""About the size of one study: the estimate that is shown before the files are written."""
LEVELS = 127
"""Number of steps on each side of zero; values are rounded to them."""


def halve(volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give every second voxel along each axis, all of odd length, after a filter of (1, 2, 1)/4.

    The first and the last voxel stay where they are, so that the half grid is symmetric where the whole one is. The
    filter widens a resolution of 10 mm by half a millimetre.
    """
    half = np.asarray(volume, dtype=np.float32)
    for axis in range(3):
        moved = np.moveaxis(half, axis, 0)
        padded = np.concatenate([moved[:1], moved, moved[-1:]])
        # Neighbours are added first, so that a flipped volume gives the same bits.
        filtered = 0.25 * (padded[:-2:2] + padded[2::2]) + 0.5 * padded[1:-1:2]
        half = np.moveaxis(filtered, 0, axis)
    return half


def study_volumes(results: StudyResults) -> dict[str, Any]:
    """Give everything that the explorer draws of one study, as JSON values.

    `uptake` and `relevance` (or None) are in the frame of the store; positive relevance speaks for reduced uptake. Each
    has `data`, int8 with z fastest, compressed (zlib, RFC 1950), in base64; `step`, the value of one step of it; `top`,
    the end of a good scale. `patient_marks` and `store_marks` are the words for low and high x in the two frames.
    """
    model = results.model
    uptake = halve(results.uptake)
    relevance = None if model is None else halve(model.sign * model.relevance)
    return {
        "uptake": _packed(uptake, uptake_limits([uptake])[1]),
        "relevance": None if relevance is None else _packed(relevance, symmetric_limits([relevance])[1]),
        "mirrored": results.mirrored,
        "patient_marks": list(patient_marks(results.mirrored)),
        "store_marks": list(study_marks(results.mirrored)),
    }


def _packed(volume: npt.NDArray[np.float32], top: float) -> dict[str, Any]:
    step = float(np.abs(np.nan_to_num(volume)).max()) / LEVELS or 1.0
    steps = np.rint(np.nan_to_num(volume) / step).astype(np.int8)
    packed = zlib.compress(np.ascontiguousarray(steps).tobytes(), 6)
    return {"data": base64.b64encode(packed).decode("ascii"), "step": step, "top": top}
