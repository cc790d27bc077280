"""Intensity scaling, hottest voxels, binding ratios and mirroring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.arrays import Bools, Floats, Floats32
from datbatch.config import QuantifyConfig
from datbatch.errors import EmptyVolumeError, GridMismatchError, ReferenceRegionError
from datbatch.imaging.agreement import binding_flags
from datbatch.imaging.atlas import Atlas, analytic_atlas
from datbatch.imaging.binding import VOXEL_VOLUME_ML, Binding, mean_of_hottest, measure_binding
from datbatch.imaging.binding_regions import atlas_binding_regions
from datbatch.imaging.resample import mirror, require_image

MOST_NORMAL_DIFFERENCE = 0.10
"""Greatest difference between a template's putamina that is taken for anatomy, relative to their mean."""
SIDE_NOISE = 68.0
"""Standard deviation of right less left putaminal ratio from counting, times the square root of the study's counts: 49
to 80 by site with the default reconstruction, much the same at any level of binding. It was measured as half the
difference between two halves of a study to which its counts are dealt at random (`benchmarks/sides.py`)."""
CERTAIN_SIDE = 1.96
"""Standard deviations beyond which counting noise does not explain a difference (95 %)."""
FEW_COUNTS = 1.0e6
"""Assumed where a study's counts are not known: the lowest usual number."""


@dataclass(frozen=True)
class Quantification:
    """One study in the form that the store keeps."""

    uptake: Floats32
    """Shape (x, y, z). Normalised, scaled to the reference region, mirrored so that the ipsilateral side lies left."""
    reference_value: float
    """Counts that intensities were divided by."""
    mirrored: bool
    """Whether left and right were exchanged."""
    lower_side: str
    """The patient's side of lower putaminal binding, "left" or "right"; "uncertain" where it was mirrored or not by a
    difference that counting noise can explain."""
    specific_binding_ratio: Floats
    """Shape (region,). In the order of `schema.REGIONS`."""
    binding: Binding
    """The binding ratios by all definitions and backgrounds, in the mirrored frame."""
    flags: tuple[str, ...]
    """Codes out of `schema.QUANTIFICATION_FLAGS`."""


def reference_level(volume: Floats32, reference_mask: Bools, percentile: float = 75.0) -> float:
    """Give the percentile of a volume inside the reference region, linearly interpolated.

    A `GridMismatchError` says that mask and volume differ in shape, a `ReferenceRegionError` that the region is
    empty or its level not positive, an `EmptyVolumeError` that values in it are not finite.
    """
    values = _inside(volume, reference_mask)
    if values.size == 0:
        raise ReferenceRegionError("the reference region holds no voxel of the field of view")
    level = float(np.percentile(values, percentile))
    if level <= 0:
        raise ReferenceRegionError(f"the level of the reference region is {level:.3g}, not positive")
    return level


def scale_to_reference(volume: Floats32, reference_mask: Bools, percentile: float = 75) -> Floats32:
    """Divide a volume by the percentile of the reference region (Nazari et al. 2022: the 75th).

    1 is then the level of the reference region; errors as in `reference_level`.
    """
    level = reference_level(volume, reference_mask, percentile)
    return np.asarray(np.asarray(volume, np.float64) / level, np.float32)


def hottest_voxels_mean(
    values: npt.NDArray[Any], region_mask: Bools, *, volume_ml: float, voxel_volume_ml: float
) -> float:
    """Give the mean of the hottest voxels of a region that together have a given volume.

    Of the n = volume_ml / voxel_volume_ml hottest voxels the last one counts by the fraction that is left. A
    smaller region is averaged whole. A `GridMismatchError` says that mask and values differ in shape, an
    `EmptyVolumeError` that the region is empty, a volume not positive, or a value in the region not finite.
    """
    inside = _inside(values, region_mask)
    if inside.size == 0:
        raise EmptyVolumeError("the region for the hottest voxels is empty")
    if not (volume_ml > 0 and voxel_volume_ml > 0):
        raise EmptyVolumeError("the volumes for the hottest voxels must be positive")
    return mean_of_hottest(inside, volume_ml / voxel_volume_ml)


def specific_binding_ratio(region_mean: float, reference_mean: float) -> float:
    """Give (region - reference) / reference; a `ReferenceRegionError` refuses a reference that is not positive."""
    if not reference_mean > 0:
        raise ReferenceRegionError(f"the mean of the reference region is {reference_mean:.3g}, not positive")
    return (region_mean - reference_mean) / reference_mean


def normal_side_ratio(template: Floats32, config: QuantifyConfig, atlas: Atlas | None = None) -> float:
    """Give the right over the left putaminal binding ratio of a template, as a study's is measured.

    The two putamina of a healthy person are not mirror images: the left one is larger and lies further back.
    Regions that are mirror images therefore measure different binding right and left where there is no difference,
    in a template of normal studies and in each of them. A difference above `MOST_NORMAL_DIFFERENCE` is not taken
    for anatomy. The ratio is 1 where a putamen of the template has no specific binding.

    Parameters
    ----------
    template : ndarray, shape `schema.SHAPE`, float32
        Mean of normal studies on the store's grid.
    config : QuantifyConfig
        Percentile and volumes.
    atlas : Atlas, optional
        Regions; the analytic atlas by default.
    """
    atlas = atlas or analytic_atlas()
    level = reference_level(template, atlas.mask(schema.REFERENCE) & (template != 0), config.reference_percentile)
    left, right = (_striatal_ratio(template, f"putamen_{side}", config, atlas, level) for side in schema.SIDES)
    if min(left, right) <= 0:
        return 1.0
    most = (1 + MOST_NORMAL_DIFFERENCE / 2) / (1 - MOST_NORMAL_DIFFERENCE / 2)
    return float(np.clip(right / left, 1 / most, most))


def quantify(
    normalised: Floats32,
    config: QuantifyConfig,
    atlas: Atlas | None = None,
    side_ratio: float = 1.0,
    counts: float | None = None,
) -> Quantification:
    """Scale, quantify and mirror one normalised study (Nazari et al. 2022).

    Striatal regions: mean of the hottest voxels in large unilateral regions; others: mean of the region; each less
    the reference level, over it. The definitions of `measure_binding` come in addition. Voxels outside the field of
    view (exactly 0) count neither in the means of regions nor in the reference level; a region wholly outside has
    the ratio NaN.

    The image is mirrored where the right putamen's ratio is lower than the left one's, in proportion to what is
    normal for them. With `side_ratio` 1 this is the paper's rule to the letter; otherwise the ratio of the
    ipsilateral side may exceed that of the other by as much as the normal difference.

    Parameters
    ----------
    normalised : ndarray, shape `schema.SHAPE`, float32
        Study on the store's grid, in counts.
    config : QuantifyConfig
        Percentile and volumes.
    atlas : Atlas, optional
        Regions; the analytic atlas by default.
    side_ratio : float, optional
        Right over left putaminal ratio in normals, from `normal_side_ratio`.
    counts : float, optional
        Sum of the study's projections, from which the noise of the difference of the sides follows.

    Raises
    ------
    GridMismatchError, EmptyVolumeError, ReferenceRegionError
        When the volume is on another grid; is constant or not finite; has no uptake in the reference region, or the
        region lies outside the field of view.
    """
    if normalised.shape != schema.SHAPE:
        raise GridMismatchError(f"a volume of shape {normalised.shape} is not on the grid {schema.SHAPE}")
    require_image(normalised)
    atlas = atlas or analytic_atlas()
    level = reference_level(normalised, atlas.mask(schema.REFERENCE) & (normalised != 0), config.reference_percentile)
    uptake = np.asarray(np.asarray(normalised, np.float64) / level, np.float32)
    ratios = _binding_ratios(uptake, config, atlas)
    left, right = (ratios[schema.REGIONS.index(f"putamen_{side}")] for side in schema.SIDES)
    mirrored = bool(right < side_ratio * left)
    noise = SIDE_NOISE / np.sqrt(FEW_COUNTS if counts is None else max(counts, 1.0))
    certain = abs(right - side_ratio * left) > CERTAIN_SIDE * noise
    lower_side = schema.UNCERTAIN if not certain else "right" if mirrored else "left"
    if mirrored:
        uptake = mirror(uptake)
        ratios = _binding_ratios(uptake, config, atlas)
    regions = atlas_binding_regions(atlas)
    binding = measure_binding(uptake, config, regions)
    flags = binding_flags(uptake, binding, regions)
    return Quantification(uptake, level, mirrored, lower_side, ratios, binding, flags)


def _binding_ratios(uptake: Floats32, config: QuantifyConfig, atlas: Atlas) -> Floats:
    """Give the ratios (region,) of a scaled volume, whose reference level is 1; the ipsilateral side is left."""
    ratios = np.full(len(schema.REGIONS), np.nan)
    for index, (name, mask) in enumerate(zip(schema.REGIONS, atlas.masks, strict=True)):
        if name in atlas.hottest:
            ratios[index] = _striatal_ratio(uptake, name, config, atlas)
        else:
            values = uptake[mask]
            values = values[values != 0]
            if values.size:
                ratios[index] = specific_binding_ratio(float(values.mean(dtype=np.float64)), 1.0)
    return ratios


def _striatal_ratio(volume: Floats32, name: str, config: QuantifyConfig, atlas: Atlas, level: float = 1.0) -> float:
    """Give the binding ratio by hottest voxels of a striatal region."""
    volumes_ml = {"putamen": config.putamen_hottest_ml, "caudate": config.caudate_hottest_ml}
    mean = hottest_voxels_mean(
        volume, atlas.hottest[name], volume_ml=volumes_ml[name.split("_")[0]], voxel_volume_ml=VOXEL_VOLUME_ML
    )
    return specific_binding_ratio(mean, level)


def _inside(values: npt.NDArray[Any], mask: Bools) -> Floats:
    if values.shape != mask.shape:
        raise GridMismatchError(f"a region of shape {mask.shape} does not fit a volume of shape {values.shape}")
    inside = np.asarray(values[np.asarray(mask, bool)], np.float64)
    if not np.isfinite(inside).all():
        raise EmptyVolumeError("values in the region are not finite")
    return inside
