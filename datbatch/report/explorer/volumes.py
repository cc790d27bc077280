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
"""What one study takes, about: what is said before the files are written."""
LEVELS = 127
"""Steps on either side of zero that a value is rounded to."""


def halve(volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give every second voxel along each axis after a filter of (1, 2, 1)/4.

    The first and the last voxel of an odd axis stay where they are, so that the half grid is symmetric where the whole
    one is. The filter widens a resolution of 10 mm by half a millimetre.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z)
        Each length odd.

    Returns
    -------
    ndarray, shape ((x + 1) / 2, (y + 1) / 2, (z + 1) / 2), float32
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

    Parameters
    ----------
    results : StudyResults
        As `ResultsReader` gives it.

    Returns
    -------
    dict
        `uptake` and `relevance` (or None): `data`, int8 in the order x, y, z with z fastest, compressed (zlib, RFC
        1950) and base64; `step`, what one of its steps is worth; `top`, the end of a good scale. In the frame of the
        store, relevance oriented: positive speaks for reduced uptake. `mirrored`, and what to write beside low and
        high x in both frames: `patient_marks`, `store_marks`.
    """
    own, stored = patient_marks(results.mirrored), study_marks(results.mirrored)
    model = results.model
    uptake = halve(results.uptake)
    relevance = None if model is None else halve(model.sign * model.relevance)
    return {
        "uptake": _packed(uptake, uptake_limits([uptake])[1]),
        "relevance": None if relevance is None else _packed(relevance, symmetric_limits([relevance])[1]),
        "mirrored": results.mirrored,
        "patient_marks": [own.low_x, own.high_x],
        "store_marks": [stored.low_x, stored.high_x],
    }


def _packed(volume: npt.NDArray[np.float32], top: float) -> dict[str, Any]:
    step = float(np.abs(np.nan_to_num(volume)).max()) / LEVELS or 1.0
    steps = np.rint(np.nan_to_num(volume) / step).astype(np.int8)
    packed = zlib.compress(np.ascontiguousarray(steps).tobytes(), 6)
    return {"data": base64.b64encode(packed).decode("ascii"), "step": step, "top": top}
