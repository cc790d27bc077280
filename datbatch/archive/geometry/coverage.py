"""Whether angles cover a circle or half of one evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datbatch.errors import MissingViewsError, UnsupportedGeometryError

MIN_VIEWS = 16
_SAME = 0.1
"""Angles closer than this share of the usual step are one direction."""
_GAP = 1.5
"""A distance of more than this many steps is a gap."""

Angles = npt.NDArray[np.float64]


def gaps_deg(angles_deg: Angles) -> Angles:
    """Give the distance from each of the sorted angles to the next one on the circle."""
    return np.diff(angles_deg, append=angles_deg[0] + 360.0)


def directions(angles_deg: Angles) -> npt.NDArray[np.int64]:
    """Give the number of each view's direction, from 0 in growing order of angle: shape (view,), int64.

    Views of equal angle (within a tenth of a step) share a direction; `angles_deg` may have any order.
    """
    wrapped = np.mod(angles_deg, 360.0)
    order = np.argsort(wrapped, kind="stable")
    gaps = gaps_deg(wrapped[order])
    wide = gaps > 0.01
    step = float(np.median(gaps[wide])) if wide.any() else 360.0
    starts_anew = gaps > max(_SAME * step, 0.01)
    number = np.concatenate([[0], np.cumsum(starts_anew[:-1])])
    if not starts_anew[-1] and starts_anew.any():
        # The last angles lie just below 360: the same direction as the first.
        number[number == number[-1]] = 0
    found = np.empty(number.size, dtype=np.int64)
    found[order] = number
    return found


def is_even(angles_deg: Angles) -> bool:
    """Tell whether all directions have equally many views and cover the circle, or one arc of 180 degrees or more."""
    number = directions(angles_deg)
    counts = np.bincount(number)
    distinct = np.sort([np.mod(angles_deg, 360.0)[number == k].min() for k in range(counts.size)])
    gaps = gaps_deg(distinct)
    step = float(np.median(gaps))
    wide = int((gaps > _GAP * step).sum())
    return bool((counts == counts[0]).all()) and (wide == 0 or (wide == 1 and 360.0 - gaps.max() + step > 179.0))


def check_coverage(angles_deg: Angles, declared_arcs_deg: Sequence[float], *, head_missing: bool) -> tuple[str, ...]:
    """Refuse sorted directions with gaps; give the flag `arc-partial` where they do not cover the circle.

    Less than half of the circle is refused, and an arc that the header does not declare. With `head_missing` (a
    declared head has no views) the directions must cover the circle.
    """
    if angles_deg.size < MIN_VIEWS:
        raise MissingViewsError(f"{angles_deg.size} views are too few to reconstruct")
    gaps = gaps_deg(angles_deg)
    step = float(np.median(gaps))
    wide = gaps > _GAP * step
    if not wide.any():
        return ()
    arc = 360.0 - float(gaps.max()) + step
    if wide.sum() > 1 or head_missing:
        raise MissingViewsError(f"{wide.sum()} gaps between the views, up to {gaps.max():g} degrees wide")
    if arc < 180.0 - 0.5 * step:
        raise UnsupportedGeometryError(f"the views cover {arc:g} degrees, less than half of the circle")
    # Some cameras declare the arc from the first view to the last, others one step more.
    if not any(abs(arc - less - declared) <= 0.5 * step for declared in declared_arcs_deg for less in (0.0, step)):
        raise MissingViewsError(f"the views cover {arc:g} degrees, which the header does not declare")
    return ("arc-partial",)
