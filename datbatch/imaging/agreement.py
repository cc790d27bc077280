"""What is unusual about a study's binding ratios: definitions at odds, regions cut off, backgrounds at odds."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from datbatch import schema
from datbatch.arrays import Floats32
from datbatch.imaging.binding import Binding
from datbatch.imaging.binding_regions import BindingRegions, analytic_binding_regions

ASYMMETRY_LIMIT_PERCENT = 10.0
"""Two definitions disagree about the lower side when both asymmetry indices exceed this and have opposite signs."""
FIXED_TO_HOTTEST = (0.75, 1.30)
"""Uptake of the atlas' own striatum over that of the hottest voxels around it. It is 0.78 to 1.02 in simulated studies
(more with a finer resolution); where the striatum lies 1 cm beside its region, 0.60 to 0.89."""
LARGE_VOLUME_AND_HOTTEST = ((1.0, -2.0), (6.0, 2.0))
"""Least and greatest ratio by the large volume, each as (factor, offset) of that by the hottest voxels: what blur took
from the latter stays in the former, but attenuation lowers the former's background (by up to 1.2 in the ratio)."""
CUT_SHARE = 0.05
"""Share of a region outside the field of view from which it counts as cut."""
BACKGROUND_LIMIT = 0.15
"""Occipital over whole-brain mean less 1 in simulated studies: -0.03 to 0.10; attenuation corrected, -0.12 to 0.02."""


def binding_flags(uptake: Floats32, binding: Binding, regions: BindingRegions | None = None) -> tuple[str, ...]:
    """Name what is unusual about a study's binding ratios.

    Parameters
    ----------
    uptake : ndarray, shape `schema.SHAPE`, float32
        What the ratios were measured in; exactly 0 outside the field of view.
    binding : Binding
        From `measure_binding`.
    regions : BindingRegions, optional
        Those of the analytic atlas when not given.

    Returns
    -------
    tuple of str
        Codes out of `schema.QUANTIFICATION_FLAGS`, in that order.
    """
    regions = regions if regions is not None else analytic_binding_regions()
    flat = np.ascontiguousarray(uptake).ravel()
    found = {
        schema.DEFINITIONS_DISAGREE: _sides_disagree(binding) or _levels_disagree(binding),
        schema.REGION_CUT: _cut(flat, regions),
        schema.REFERENCE_UNUSUAL: _backgrounds_disagree(flat, regions),
    }
    return tuple(code for code in schema.QUANTIFICATION_FLAGS if found[code])


def _sides_disagree(binding: Binding) -> bool:
    """Tell whether two definitions name different sides of one structure as the lower one, both clearly."""
    return any(
        one * other < 0 and min(abs(one), abs(other)) > ASYMMETRY_LIMIT_PERCENT
        for structure in binding.asymmetry_index.T
        for one, other in combinations(structure, 2)
    )


def _levels_disagree(binding: Binding) -> bool:
    """Tell whether a striatum's levels by two definitions cannot belong to one striatum.

    Only what is known counts: comparisons with NaN are false.
    """
    # Against the same mean background, (1 + ratio) is the uptake in its units.
    fixed, hottest = (binding.ratio(name, "whole_brain") for name in ("fixed_regions", "hottest_voxels"))
    paper, large = binding.ratio("hottest_voxels"), binding.ratio("large_volume")
    (least_factor, least_offset), (greatest_factor, greatest_offset) = LARGE_VOLUME_AND_HOTTEST
    for side in schema.SIDES:
        name = f"striatum_{side}"
        share = (1 + fixed[name]) / (1 + hottest[name])
        if share < FIXED_TO_HOTTEST[0] or share > FIXED_TO_HOTTEST[1]:
            return True
        least = least_factor * paper[name] + least_offset
        greatest = greatest_factor * paper[name] + greatest_offset
        if large[name] < least or large[name] > greatest:
            return True
    return False


def _cut(flat: Floats32, regions: BindingRegions) -> bool:
    everything = (*regions.fixed.values(), *regions.large.values(), *regions.backgrounds.values())
    return any(region.size and region.seen(flat) < 1 - CUT_SHARE for region in everything)


def _backgrounds_disagree(flat: Floats32, regions: BindingRegions) -> bool:
    """Tell whether occipital and whole-brain uptake are at odds; where either was hardly seen nothing is known."""
    occipital, brain = (regions.backgrounds[name].mean(flat) for name in ("occipital", "whole_brain"))
    if np.isnan(occipital) or np.isnan(brain):
        return False
    return not (brain > 0 and abs(occipital / brain - 1) <= BACKGROUND_LIMIT)
