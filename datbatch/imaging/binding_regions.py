"""The regions of all definitions of binding as places in the flattened volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from datbatch import schema
from datbatch.arrays import Bools, Floats32, Indices
from datbatch.imaging.atlas import Atlas, analytic_atlas, large_volume_masks

SEEN_SHARE = 0.5
"""Share of a region that must lie inside the field of view for its mean to count."""


@dataclass(frozen=True)
class Region:
    """One region as places in the flattened volume.

    Their order makes the sums over mirror images equal to the last bit.
    """

    parts: tuple[Indices, ...]
    """Left, right (in the order of the mirrored left) and midline; a one-sided region has one part."""

    @property
    def size(self) -> int:
        """Voxels of the region."""
        return sum(part.size for part in self.parts)

    def values(self, flat: Floats32) -> Floats32:
        """Give the values inside the region."""
        return np.concatenate([flat[part] for part in self.parts])

    def total(self, flat: Floats32) -> tuple[float, int]:
        """Give the sum over the region and how many of its voxels were seen (are not exactly 0)."""
        inside = [flat[part] for part in self.parts]
        return sum(float(v.sum(dtype=np.float64)) for v in inside), sum(int(np.count_nonzero(v)) for v in inside)

    def seen(self, flat: Floats32) -> float:
        """Give the share of the region inside the field of view."""
        return sum(int(np.count_nonzero(flat[part])) for part in self.parts) / self.size if self.size else 0.0

    def mean(self, flat: Floats32) -> float:
        """Give the mean of the voxels that were seen, NaN where these are less than half of the region."""
        total, seen = self.total(flat)
        return total / seen if seen and seen >= SEEN_SHARE * self.size else np.nan


@dataclass(frozen=True)
class BindingRegions:
    """All regions of the definitions."""

    hottest: dict[str, Region]
    fixed: dict[str, Region]
    large: dict[str, Region]
    """By name of the striatal region: where the hottest voxels are sought (putamen, caudate), the structures themselves
    (putamen, caudate, striatum), and the large volumes (striatum)."""
    backgrounds: dict[str, Region]
    large_backgrounds: dict[str, Region]
    """By the names of `schema.BACKGROUNDS`; the latter are those of the large volume."""


def binding_regions(masks: Bools, hottest: Mapping[str, Bools]) -> BindingRegions:
    """Prepare the regions of an atlas that is symmetric about the midline: `Atlas.masks` and `Atlas.hottest`."""
    named: dict[str, Bools] = dict(zip(schema.REGIONS, masks, strict=True))
    large = large_volume_masks(masks)
    structures = {name: named[f"{name}_ipsilateral"] for name in schema.STRUCTURES[:2]}
    return BindingRegions(
        hottest=_pairs({name: hottest[f"{name}_ipsilateral"] for name in structures}),
        fixed=_pairs(structures | {"striatum": structures["putamen"] | structures["caudate"]}),
        large=_pairs({"striatum": large["striatum_ipsilateral"]}),
        backgrounds={name: _bilateral(named[name]) for name in schema.BACKGROUNDS},
        large_backgrounds={name: _bilateral(large[name]) for name in schema.BACKGROUNDS},
    )


@lru_cache(maxsize=2)
def atlas_binding_regions(atlas: Atlas) -> BindingRegions:
    """Give the regions of an atlas, prepared once."""
    return binding_regions(atlas.masks, atlas.hottest)


def analytic_binding_regions() -> BindingRegions:
    """Give the regions of the analytic atlas."""
    return atlas_binding_regions(analytic_atlas())


def _pairs(masks: dict[str, Bools]) -> dict[str, Region]:
    """Give both sides of ipsilateral (left) masks, each voxel of the right where its mirror image stands."""
    found = {}
    for name, mask in masks.items():
        left = np.flatnonzero(mask)
        found[f"{name}_ipsilateral"] = Region((left,))
        found[f"{name}_contralateral"] = Region((_mirrored(left),))
    return found


def _bilateral(mask: Bools) -> Region:
    middle = schema.SHAPE[0] // 2
    places = np.flatnonzero(mask)
    x = places // (schema.SHAPE[1] * schema.SHAPE[2])
    left = places[x < middle]
    return Region((left, _mirrored(left), places[x == middle]))


def _mirrored(places: Indices) -> Indices:
    plane = schema.SHAPE[1] * schema.SHAPE[2]
    return np.asarray(places + (schema.SHAPE[0] - 1 - 2 * (places // plane)) * plane, np.intp)
