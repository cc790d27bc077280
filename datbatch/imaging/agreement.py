"""What is unusual about a study's binding ratios: definitions or backgrounds that disagree, regions that are cut."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from datbatch import schema
from datbatch.arrays import Floats32
from datbatch.imaging.binding import Binding
from datbatch.imaging.binding_regions import BindingRegions, analytic_binding_regions

ASYMMETRY_LIMIT_PERCENT = 10.0
"""Two definitions disagree about the lower side if both asymmetry indices exceed this and have opposite signs."""
FIXED_TO_HOTTEST = (0.75, 1.30)
"""Uptake of the atlas' own striatum over that of the hottest voxels around it. It is 0.78 to 1.02 in simulated studies
(more with a finer resolution); where the striatum lies 1 cm beside its region, 0.60 to 0.89."""
LARGE_VOLUME_AND_HOTTEST = ((1.0, -2.0), (6.0, 2.0))
"""Least and greatest ratio by the large volume, each as (factor, offset) of the ratio by the hottest voxels. Blur takes
counts from the hottest voxels and not from the large volume; attenuation lowers the background of the large volume (by
up to 1.2 in the ratio)."""
CUT_SHARE = 0.05
"""Share of a region outside the field of view from which it counts as cut."""
BACKGROUND_LIMIT = 0.15
"""Occipital over whole-brain mean less 1 in simulated studies: -0.03 to 0.10; attenuation corrected, -0.12 to 0.02."""


def binding_flags(uptake: Floats32, binding: Binding, regions: BindingRegions | None = None) -> tuple[str, ...]:
    """Give the codes (of `schema.QUANTIFICATION_FLAGS`) of what is unusual about a study's binding ratios.

    `uptake`, of shape `schema.SHAPE`, is what the ratios were measured in: exactly 0 outside the field of view. The
    regions are those of the analytic atlas when not given.
    """
    regions = regions or analytic_binding_regions()
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
    fixed, hottest = (binding.ratio(name, schema.WHOLE_BRAIN) for name in ("fixed_regions", schema.HOTTEST_VOXELS))
    paper, large = binding.ratio(schema.HOTTEST_VOXELS), binding.ratio("large_volume")
    for side in schema.SIDES:
        name = f"striatum_{side}"
        share = (1 + fixed[name]) / (1 + hottest[name])
        least, greatest = (factor * paper[name] + offset for factor, offset in LARGE_VOLUME_AND_HOTTEST)
        if share < FIXED_TO_HOTTEST[0] or share > FIXED_TO_HOTTEST[1] or large[name] < least or large[name] > greatest:
            return True
    return False


def _cut(flat: Floats32, regions: BindingRegions) -> bool:
    everything = (*regions.fixed.values(), *regions.large.values(), *regions.backgrounds.values())
    return any(region.size and region.seen(flat) < 1 - CUT_SHARE for region in everything)


def _backgrounds_disagree(flat: Floats32, regions: BindingRegions) -> bool:
    """Tell whether occipital and whole-brain uptake disagree; not where less than half of either was seen."""
    occipital, brain = (regions.backgrounds[name].mean(flat) for name in ("occipital", schema.WHOLE_BRAIN))
    if np.isnan(occipital) or np.isnan(brain):
        return False
    return not (brain > 0 and abs(occipital / brain - 1) <= BACKGROUND_LIMIT)
