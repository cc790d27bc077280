"""Regions on the store's grid, derived from one image of labels: the analytic shapes or a user's own atlas."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from datbatch import schema
from datbatch.arrays import Bools, Floats
from datbatch.errors import AtlasError, GridMismatchError
from datbatch.imaging.shapes import structure_mask

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
MIDLINE_STRUCTURES = ("thalamus", "ventricles", "brain_stem")
STRUCTURES = ("putamen", "caudate", *MIDLINE_STRUCTURES, "accumbens", "pallidum", "occipital", "brain")
"""What an atlas is drawn from. Where two structures claim a voxel, the first in this order has it."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """The regions that a study is quantified with."""

    masks: Bools
    """Shape (region, x, y, z). In the order of `schema.REGIONS`; read-only."""
    hottest: Mapping[str, Bools]
    """Shape (x, y, z). Large unilateral regions of the striatal regions; read-only."""
    labels: npt.NDArray[np.uint8]
    """Shape (x, y, z). 0 outside the brain, else 1 + the index in `schema.ATLAS_LABELS`; all else follows from it;
    read-only."""

    @cached_property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the labels."""
        return hashlib.sha256(np.ascontiguousarray(self.labels).tobytes()).hexdigest()[:16]

    def mask(self, region: str) -> Bools:
        """Give one region by its name."""
        return np.asarray(self.masks[schema.REGIONS.index(region)])


@lru_cache(maxsize=1)
def analytic_atlas() -> Atlas:
    """Give the atlas that ships with the package, drawn from `shapes.shape_table`."""
    axes = (schema.coordinates_mm(0), schema.coordinates_mm(1), schema.coordinates_mm(2))
    drawn = {name: structure_mask(name, axes) for name in STRUCTURES if name != "brain"}
    drawn["putamen"], drawn["caudate"] = (_left(drawn[name]) for name in ("putamen", "caudate"))
    cerebellum = _both(structure_mask("cerebellum", axes))
    drawn["brain"] = _both(structure_mask("cerebrum", axes)) | cerebellum
    for name, mask in drawn.items():
        if name != "occipital":
            drawn["brain"] = drawn["brain"] | mask
    drawn["occipital"] = drawn["occipital"] & _both(drawn["brain"]) & ~cerebellum
    return atlas_from_labels(symmetric_labels(drawn))


def symmetric_labels(left: Mapping[str, Bools]) -> npt.NDArray[np.uint8]:
    """Draw structures and their mirror images into one image of labels.

    The store's frame is mirrored, so that a region must not depend on the side. Putamen and caudate are drawn left of
    the midline (x < 0) and mirrored; every other structure is joined with its own mirror image. Conflicts are settled
    in the order of `STRUCTURES`.

    Parameters
    ----------
    left : mapping of str to ndarray, shape `schema.SHAPE`, bool
        By name of `STRUCTURES`; what is missing is left out.

    Returns
    -------
    ndarray, shape `schema.SHAPE`, uint8
        1 + the index in `schema.ATLAS_LABELS`, 0 outside the brain.
    """
    labels = np.zeros(schema.SHAPE, np.uint8)
    for structure in reversed(STRUCTURES):
        mask = left.get(structure)
        if mask is None:
            continue
        if structure in ("putamen", "caudate"):
            mask = _left(mask)
            labels[mask] = _value(f"{structure}_ipsilateral")
            labels[mask[::-1]] = _value(f"{structure}_contralateral")
        else:
            labels[_both(mask)] = _value("whole_brain" if structure == "brain" else structure)
    return labels


def atlas_from_labels(labels: npt.NDArray[np.uint8]) -> Atlas:
    """Derive all regions from an image of labels.

    `whole_brain` is what has a label. `reference` is the whole brain without striata (pallidum and accumbens among
    them), thalamus, brain stem and ventricles, each with a margin; `occipital` keeps the same margins. Large regions:
    a point within 8 mm of putamen or caudate of one side belongs to that which is nearer by 3 mm, and each structure
    to its own region.

    Parameters
    ----------
    labels : ndarray, shape `schema.SHAPE`, uint8
        1 + the index in `schema.ATLAS_LABELS`, symmetric about the midline; `reference` and `whole_brain` are one.

    Raises
    ------
    GridMismatchError
        When the labels are on another grid.
    AtlasError
        When they are not symmetric, or a structure is missing.
    """
    if labels.shape != schema.SHAPE:
        raise GridMismatchError(f"labels of shape {labels.shape} are not on the grid {schema.SHAPE}")
    named = {name: labels == _value(name) for name in schema.ATLAS_LABELS}
    if not all(np.array_equal(mask, named[_twin(name)][::-1]) for name, mask in named.items()):
        raise AtlasError("the labels of the two sides are no mirror images")
    brain = labels > 0
    one_sided = {name: named[f"{name}_ipsilateral"] for name in ("putamen", "caudate")}
    striata = _both(one_sided["putamen"] | one_sided["caudate"]) | named["accumbens"] | named["pallidum"]
    spared = brain
    others = np.any([named[name] for name in MIDLINE_STRUCTURES], axis=0)
    if striata.any() and others.any():
        spared = _within(striata, STRIATUM_MARGIN_MM) | _within(others, OTHER_MARGIN_MM)
    regions = named | {
        "occipital": named["occipital"] & ~spared,
        "whole_brain": brain,
        "reference": brain & ~spared,
    }
    missing = [name for name in schema.REGIONS if not regions[name].any()]
    if missing:
        raise AtlasError(f"the atlas has no voxel of {', '.join(missing)}")
    masks = np.stack([regions[name] for name in schema.REGIONS])
    large = _large_regions(one_sided, (schema.coordinates_mm(0) < -MIDLINE_GAP_MM)[:, None, None])
    canonical = np.zeros(schema.SHAPE, np.uint8)
    for name in ("whole_brain", "reference", "pallidum", "accumbens", *reversed(schema.REGIONS[:-2])):
        canonical[regions[name]] = _value(name)
    for array in (masks, canonical, *large.values()):
        array.setflags(write=False)
    return Atlas(masks, large, canonical)


def large_volume_masks(masks: Bools | None = None) -> dict[str, Bools]:
    """Give the regions of the method that does not depend on resolution, by name of side and of background.

    Each striatum's region holds what lies within 18 mm of its putamen and caudate, inside the brain and on its side of
    the midline: all specific counts in spite of blur. Thalamus, brain stem and ventricles stay in it, because the
    striatum's counts spill over into them. Its backgrounds keep 12 mm from the outline of the brain, whose blur lowers
    them, and (save `whole_brain`) clear of both large volumes (Tossici-Bolt et al. EJNMMI 2006;33; EJNMMI
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
    named = dict(zip(schema.REGIONS, masks if masks is not None else analytic_atlas().masks, strict=True))
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


def _value(name: str) -> int:
    return schema.ATLAS_LABELS.index(name) + 1


def _twin(name: str) -> str:
    """Name the region on the other side; one that lies on both is its own."""
    structure, _, side = name.rpartition("_")
    return f"{structure}_{schema.SIDES[1 - schema.SIDES.index(side)]}" if side in schema.SIDES else name


def _left(mask: Bools) -> Bools:
    return np.asarray(mask & (schema.coordinates_mm(0) < 0)[:, None, None], bool)


def _large_regions(one_sided: dict[str, Bools], side: Bools) -> dict[str, Bools]:
    """Divide the surroundings of the left striatum by nearness, and mirror them."""
    putamen, caudate = (_distance_mm(one_sided[name]) for name in ("putamen", "caudate"))
    large = {}
    for name, own, other in (("putamen", putamen, caudate), ("caudate", caudate, putamen)):
        large[name] = side & ((own == 0) | ((own <= HOTTEST_MARGIN_MM) & (own + UNDECIDED_MM <= other)))
    return {
        name: np.ascontiguousarray(large[name.split("_")[0]][:: 1 if name.endswith("ipsilateral") else -1])
        for name in STRIATAL_REGIONS
    }


def _both(mask: Bools) -> Bools:
    """Join a mask with its mirror image."""
    return np.asarray(mask | mask[::-1], bool)


def _distance_mm(mask: Bools) -> Floats:
    """Give each voxel's distance to the nearest voxel of the mask."""
    return np.asarray(distance_transform_edt(~mask, sampling=schema.SPACING_MM), np.float64)


def _within(mask: Bools, margin_mm: float) -> Bools:
    return np.asarray(_distance_mm(mask) <= margin_mm, bool)
