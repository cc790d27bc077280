"""Where the counts show the head in the field of view: which rows are head, and what is cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from datbatch.arrays import Floats

SMOOTHING_SIGMA_MM = 4.0
PLATEAU_PERCENTILE = 80.0
"""Percentile of the rows' counts that stands for a row through the head."""
VERTEX_SHARE = 0.25
"""The head begins where a row first has this share of the plateau."""
ABOVE_MM, HEAD_MM = 20.0, 170.0
"""Rows this far above and below the vertex are the head; the rows below need not move with it."""
EDGE_PIXELS = 2
VIEWS_PERCENTILE = 90.0
"""A head too wide is cut in some views only."""


@dataclass(frozen=True)
class HeadExtent:
    """Which part of the head is seen."""

    rows: slice
    seen_mm: float
    """From the vertex, or the first row where it is cut, to the last row."""
    top_share: float
    base_share: float
    """Counts of the first and last rows over those of a row through the head."""
    side_share: float
    """Counts of the bins at either edge over those of the fullest bin, in the head's rows of the views with most."""


def head_extent(projections: npt.NDArray[Any], axial: Floats, row_size_mm: float) -> HeadExtent:
    """Find the head in projections (view, row, bin) that hold counts; row 0 is the patient's head side.

    `axial` (view, row) is their sum over the bins.
    """
    profile = gaussian_filter1d(axial.sum(axis=0), SMOOTHING_SIGMA_MM / row_size_mm, mode="nearest")
    rows = profile.size
    plateau = max(float(np.percentile(profile, PLATEAU_PERCENTILE)), np.finfo(np.float64).tiny)
    vertex = int(np.argmax(profile > VERTEX_SHARE * plateau))
    first = max(vertex - round(ABOVE_MM / row_size_mm), 0)
    last = min(vertex + round(HEAD_MM / row_size_mm), rows)
    across = projections[:, vertex:last].sum(axis=1, dtype=np.float64)
    edges = np.maximum(across[:, :EDGE_PIXELS].mean(axis=1), across[:, -EDGE_PIXELS:].mean(axis=1))
    fullest = np.maximum(across.max(axis=1), 1.0)
    return HeadExtent(
        rows=slice(first, last),
        seen_mm=(rows - vertex) * row_size_mm,
        top_share=float(profile[:EDGE_PIXELS].mean() / plateau),
        base_share=float(profile[-EDGE_PIXELS:].mean() / plateau),
        side_share=float(np.percentile(edges / fullest, VIEWS_PERCENTILE)),
    )
