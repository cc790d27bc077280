"""Regions on the store's grid, from one table of analytic shapes, symmetric about the midline."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from datbatch.cohort import schema
from datbatch.imaging.shapes import structure_mask

_Mask = npt.NDArray[np.bool_]

STRIATAL_REGIONS = tuple(f"{structure}_{side}" for structure in ("putamen", "caudate") for side in schema.SIDES)
"""Regions that have a large region for the hottest voxels."""
HOTTEST_MARGIN_MM, UNDECIDED_MM = 8.0, 3.0
"""How far the large regions reach beyond putamen and caudate (resolution and misalignment together), and by how much
nearer to one of them a voxel must be to be its own: between the two, each spills over into the other."""
STRIATUM_MARGIN_MM, OTHER_MARGIN_MM = 8.0, 4.0
"""How far the reference region keeps from the striata (spill-out), and from thalamus, brain stem and ventricles."""
MIDLINE_GAP_MM = 1.0
"""Large regions stay this far from the midline, so that those of the two sides share no voxel."""
LARGE_VOLUME_MARGIN_MM, RIM_MM = 18.0, 12.0
"""How far the large volume reaches beyond putamen and caudate, and how far its backgrounds keep from the outline of
the brain. Blurred with 6 to 20 mm FWHM, 97 % of the specific counts stay inside the one; in the other the loss over
the brain's edge stays so small that the ratio of the two hardly depends on resolution."""


def region_masks() -> _Mask:
    """Give every region on the store's grid, in the store's mirrored frame (ipsilateral = left = x < 0).

    Left and right regions are exact mirror images. `whole_brain` includes every other region; `reference` is the
    whole brain without striata, thalamus, brain stem and ventricles, each with a margin. Putamen, caudate, thalamus,
    brain stem and ventricles do not overlap.

    Returns
    -------
    ndarray, shape (region, x, y, z), bool
        In the order of `schema.REGIONS`; read-only.
    """
    return _all_masks()[0]


def hottest_region_masks() -> dict[str, _Mask]:
    """Give the large unilateral regions in which the hottest voxels are sought, by name of the striatal region.

    A point within 8 mm of putamen or caudate of one side belongs to that which is nearer by 3 mm, and each structure
    to its own region; no two regions share a voxel.

    Returns
    -------
    dict of str to ndarray, shape (x, y, z), bool
        Read-only.
    """
    return _all_masks()[1]


def large_volume_masks(masks: _Mask | None = None) -> dict[str, _Mask]:
    """Give the regions of the method that does not depend on resolution, by name of side and of background.

    Each striatum's region holds what lies within 18 mm of its putamen and caudate, inside the brain and on its side of
    the midline: all specific counts in spite of blur. Thalamus, brain stem and ventricles stay in it, because the
    striatum's counts spill over into them. Its backgrounds keep 12 mm from the outline of the brain, whose blur lowers
    them, and (save `whole_brain`) clear of both large volumes (Tossici-Bolt et al. EJNMMI 2006;33:1491-1499; EJNMMI
    Physics 2017;4:8).

    Parameters
    ----------
    masks : ndarray, shape (region, x, y, z), bool, optional
        In the order of `schema.REGIONS`, symmetric about the midline; those of `region_masks` when not given.

    Returns
    -------
    dict of str to ndarray, shape (x, y, z), bool
        `striatum_ipsilateral`, `striatum_contralateral` and the names of `schema.BACKGROUNDS`.
    """
    named = dict(zip(schema.REGIONS, masks if masks is not None else region_masks(), strict=True))
    brain = named["whole_brain"]
    left = (schema.coordinates_mm(0) < -MIDLINE_GAP_MM)[:, None, None]
    striatum = named["putamen_ipsilateral"] | named["caudate_ipsilateral"]
    ipsilateral = _within(striatum, LARGE_VOLUME_MARGIN_MM) & brain & left
    contralateral = np.ascontiguousarray(ipsilateral[::-1])
    # The grid cuts the brain below: there its outline is that of the grid, not of the brain.
    outside = np.pad(~brain, 1, mode="edge")
    inner = brain & ~_within(outside, RIM_MM)[1:-1, 1:-1, 1:-1]
    far = inner & ~_within(_both(striatum), LARGE_VOLUME_MARGIN_MM)
    return {
        "striatum_ipsilateral": ipsilateral,
        "striatum_contralateral": contralateral,
        "reference": named["reference"] & far,
        "occipital": named["occipital"] & far,
        "whole_brain": inner,
    }


def label_volume() -> npt.NDArray[np.uint8]:
    """Give the regions as one label image: 0 outside the brain, else 1 + the index in `schema.REGIONS`.

    Where regions overlap the first in that order counts, save that `whole_brain` is given only to what is neither
    another region nor reference.

    Returns
    -------
    ndarray, shape `schema.SHAPE`, uint8
    """
    masks = region_masks()
    labels = np.zeros(schema.SHAPE, np.uint8)
    for name in ("whole_brain", "reference", *reversed(schema.REGIONS[:-2])):
        index = schema.REGIONS.index(name)
        labels[masks[index]] = index + 1
    return labels


@lru_cache(maxsize=1)
def _all_masks() -> tuple[_Mask, dict[str, _Mask]]:
    axes = (schema.coordinates_mm(0), schema.coordinates_mm(1), schema.coordinates_mm(2))
    left = (axes[0] < 0)[:, None, None]
    one_sided = {name: structure_mask(name, axes) & left for name in ("putamen", "caudate")}
    one_sided["caudate"] &= ~one_sided["putamen"]
    striatum = one_sided["putamen"] | one_sided["caudate"] | structure_mask("accumbens", axes)
    striatum |= structure_mask("pallidum", axes)
    striata = _both(striatum)
    taken = _both(one_sided["putamen"] | one_sided["caudate"])
    midline = {}
    for name in ("thalamus", "ventricles", "brain_stem"):
        midline[name] = _both(structure_mask(name, axes)) & ~taken
        taken = taken | midline[name]
    cerebellum = _both(structure_mask("cerebellum", axes))
    brain = _both(structure_mask("cerebrum", axes)) | cerebellum | striata | taken
    spared = _within(striata, STRIATUM_MARGIN_MM) | _within(
        midline["thalamus"] | midline["ventricles"] | midline["brain_stem"], OTHER_MARGIN_MM
    )
    regions = {
        **{f"{name}_ipsilateral": mask for name, mask in one_sided.items()},
        **{f"{name}_contralateral": mask[::-1] for name, mask in one_sided.items()},
        **midline,
        "occipital": _both(structure_mask("occipital", axes)) & brain & ~cerebellum & ~spared,
        "whole_brain": brain,
        "reference": brain & ~spared,
    }
    masks = np.stack([regions[name] for name in schema.REGIONS])
    masks.setflags(write=False)
    large = _large_regions(one_sided, (axes[0] < -MIDLINE_GAP_MM)[:, None, None])
    for mask in large.values():
        mask.setflags(write=False)
    return masks, large


def _large_regions(one_sided: dict[str, _Mask], side: _Mask) -> dict[str, _Mask]:
    """Divide the surroundings of the left striatum by nearness, and mirror them."""
    putamen, caudate = (_distance_mm(one_sided[name]) for name in ("putamen", "caudate"))
    large = {}
    for name, own, other in (("putamen", putamen, caudate), ("caudate", caudate, putamen)):
        large[name] = side & ((own == 0) | ((own <= HOTTEST_MARGIN_MM) & (own + UNDECIDED_MM <= other)))
    return {
        name: np.ascontiguousarray(large[name.split("_")[0]][:: 1 if name.endswith("ipsilateral") else -1])
        for name in STRIATAL_REGIONS
    }


def _both(mask: _Mask) -> _Mask:
    """Join a mask with its mirror image."""
    return np.asarray(mask | mask[::-1], bool)


def _distance_mm(mask: _Mask) -> npt.NDArray[np.float64]:
    """Give each voxel's distance to the nearest voxel of the mask."""
    return np.asarray(distance_transform_edt(~mask, sampling=schema.SPACING_MM), np.float64)


def _within(mask: _Mask, margin_mm: float) -> _Mask:
    return np.asarray(_distance_mm(mask) <= margin_mm, bool)
