"""Specific binding by several definitions side by side: hottest voxels, fixed regions, large volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datbatch import schema
from datbatch.arrays import Floats, Floats32
from datbatch.config import QuantifyConfig
from datbatch.errors import ConfigurationError, EmptyVolumeError, GridMismatchError
from datbatch.imaging.binding_regions import SEEN_SHARE, BindingRegions, Region, analytic_binding_regions

VOXEL_VOLUME_ML = schema.SPACING_MM**3 / 1000.0
LARGE_VOLUME_SEEN_SHARE = 0.95
"""Share of the large volume that must lie inside the field of view: its sum lacks counts that were not seen."""


@dataclass(frozen=True)
class Binding:
    """Binding ratios of one study in the form that the store keeps; NaN where a definition has no value."""

    binding_ratio: Floats
    """Shape (definition, background, striatal). In the order of `schema.DEFINITIONS`, `schema.BACKGROUNDS`,
    `schema.STRIATAL`."""
    asymmetry_index: Floats
    """Shape (definition, structure). In percent; positive where the contralateral side binds more."""
    putamen_to_caudate_ratio: Floats
    """Shape (definition, side). Of binding ratios."""

    def ratio(self, definition: str, background: str = schema.REFERENCE) -> dict[str, float]:
        """Give one definition's ratios by striatal region."""
        row = self.binding_ratio[schema.DEFINITIONS.index(definition), schema.BACKGROUNDS.index(background)]
        return dict(zip(schema.STRIATAL, (float(value) for value in row), strict=True))


def measure_binding(uptake: Floats32, config: QuantifyConfig, regions: BindingRegions | None = None) -> Binding:
    """Measure binding by every definition against every background.

    With C(r) the mean of the uptake in region r and c(b) the level of the background b:

    - `hottest_voxels`: H / c - 1, H the mean of the hottest 10 ml (putamen) or 5 ml (caudate) of a large unilateral
      region (Nazari et al. EJNMMI 2022;49:1176-1186); the striatum's H is the mean of both, weighted by volume.
    - `fixed_regions`: C / c - 1 over the atlas' own putamen, caudate, or both.
    - `large_volume`: (sum / c - V) / V_s, with the sum of the uptake times the voxel volume over a large volume V that
      holds all counts of one striatum, and its anatomical volume V_s = 11.2 ml (Tossici-Bolt et al. EJNMMI
      2006;33). It does not depend on resolution; it cannot tell putamen and caudate apart, and these are NaN.

    The level of a background is its mean, with one exception: for `reference` and hottest voxels it is the
    percentile that the paper takes, to which the uptake is scaled. The large volume takes means over the inner
    parts of the backgrounds (`large_volume_masks`).

    Parameters
    ----------
    uptake : ndarray, shape `schema.SHAPE`, float32
        Scaled so that the level of the reference region is 1; exactly 0 outside the field of view.
    config : QuantifyConfig
        Volumes.
    regions : BindingRegions, optional
        Those of the analytic atlas when not given.

    Returns
    -------
    Binding
        NaN where less than half of a region or background (95 % of a large volume) was seen, or where a background is
        not positive.

    Raises
    ------
    GridMismatchError, EmptyVolumeError, ConfigurationError
        When the volume is on another grid, or has values that are not finite, or a volume of the parameters is not
        positive.
    """
    if uptake.shape != schema.SHAPE:
        raise GridMismatchError(f"a volume of shape {uptake.shape} is not on the grid {schema.SHAPE}")
    flat = np.ascontiguousarray(uptake).ravel()
    if not np.isfinite(flat.sum(dtype=np.float64)):
        raise EmptyVolumeError("the volume holds values that are not finite")
    for key in ("putamen_hottest_ml", "caudate_hottest_ml", "striatum_ml"):
        if not getattr(config, key) > 0:
            raise ConfigurationError(f"quantify.{key} must be positive")
    regions = regions or analytic_binding_regions()
    levels = {name: region.mean(flat) for name, region in regions.backgrounds.items()}
    reference_seen = regions.backgrounds[schema.REFERENCE].seen(flat) >= SEEN_SHARE
    levels_of = {
        schema.HOTTEST_VOXELS: levels | {schema.REFERENCE: 1.0 if reference_seen else np.nan},
        "fixed_regions": levels,
        "large_volume": {name: region.mean(flat) for name, region in regions.large_backgrounds.items()},
    }
    means = {
        schema.HOTTEST_VOXELS: _hottest_means(regions, flat, config),
        "fixed_regions": {name: region.mean(flat) for name, region in regions.fixed.items()},
    }
    ratios = np.full((len(schema.DEFINITIONS), len(schema.BACKGROUNDS), len(schema.STRIATAL)), np.nan)
    for i, definition in enumerate(schema.DEFINITIONS):
        for j, background in enumerate(schema.BACKGROUNDS):
            level = levels_of[definition][background]
            if not level > 0:
                continue
            for k, name in enumerate(schema.STRIATAL):
                if definition == "large_volume":
                    ratios[i, j, k] = _large_volume_ratio(regions.large.get(name), flat, level, config)
                else:
                    ratios[i, j, k] = (means[definition][name] - level) / level
    return Binding(ratios, asymmetry_indices(ratios[:, 0]), putamen_to_caudate_ratios(ratios[:, 0]))


def asymmetry_indices(ratios: Floats) -> Floats:
    """Give 100 (contralateral - ipsilateral) / mean of both, in percent: (..., striatal) to (..., structure).

    The binding ratios are compared, not the uptake: the background has no asymmetry, and would make the index of
    the large volume vanish. Where the ratio of a side is not positive the index has no meaning and is NaN; so it
    never exceeds 200 %.
    """
    ipsilateral, contralateral = ratios[..., 0::2], ratios[..., 1::2]
    defined = (ipsilateral > 0) & (contralateral > 0)
    both = np.where(defined, ipsilateral + contralateral, np.nan)
    return np.asarray(200.0 * (contralateral - ipsilateral) / both, np.float64)


def putamen_to_caudate_ratios(ratios: Floats) -> Floats:
    """Give the ratio of putamen over caudate, NaN where the caudate's is not positive; (..., striatal) to (side)."""
    putamen, caudate = ratios[..., 0:2], ratios[..., 2:4]
    return np.asarray(putamen / np.where(caudate > 0, caudate, np.nan), np.float64)


def _hottest_means(regions: BindingRegions, flat: Floats32, config: QuantifyConfig) -> dict[str, float]:
    volumes_ml = {"putamen": config.putamen_hottest_ml, "caudate": config.caudate_hottest_ml}
    means = {}
    for name, region in regions.hottest.items():
        means[name] = np.nan
        if regions.fixed[name].seen(flat) >= SEEN_SHARE:
            values = np.asarray(region.values(flat), np.float64)
            means[name] = mean_of_hottest(values, volumes_ml[name.split("_")[0]] / VOXEL_VOLUME_ML)
    for side in schema.SIDES:
        total = sum(volumes_ml[name] * means[f"{name}_{side}"] for name in volumes_ml)
        means[f"striatum_{side}"] = total / sum(volumes_ml.values())
    return means


def mean_of_hottest(values: Floats, voxels: float) -> float:
    """Give the mean of the `voxels` greatest values; the last one counts by the fraction that is left."""
    wanted = min(voxels, float(values.size))
    whole = int(wanted)
    hottest = np.sort(values)[::-1]
    total = float(hottest[:whole].sum())
    if whole < values.size:
        total += (wanted - whole) * float(hottest[whole])
    return total / wanted


def _large_volume_ratio(region: Region | None, flat: Floats32, level: float, config: QuantifyConfig) -> float:
    if region is None:
        return np.nan
    total, seen = region.total(flat)
    if seen < LARGE_VOLUME_SEEN_SHARE * region.size:
        return np.nan
    return VOXEL_VOLUME_ML * (total / level - seen) / config.striatum_ml
