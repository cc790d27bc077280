"""Regions on the store's grid, derived from one image of labels: the analytic shapes or a user's own atlas."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, find_objects

from datbatch import schema
from datbatch.arrays import Bools, Floats
from datbatch.errors import AtlasError, GridMismatchError
from datbatch.imaging.shapes import structure_mask

ONE_SIDED = schema.STRUCTURES[:2]
"""Structures with a region for each side, and a large region around it for the hottest voxels."""
HOTTEST_MARGIN_MM, UNDECIDED_MM = 8.0, 3.0
"""How far the large regions reach beyond putamen and caudate (resolution and misalignment together), and by how much
nearer a voxel must be to one of them to belong to it: between the two, each spills over into the other."""
STRIATUM_MARGIN_MM, OTHER_MARGIN_MM = 8.0, 4.0
"""How far the reference region keeps from the striata (spill-out), and from thalamus, brain stem and ventricles."""
MIDLINE_GAP_MM = 1.0
"""Large regions stay this far from the midline, so that those of the two sides share no voxel."""
LARGE_VOLUME_MARGIN_MM, RIM_MM = 18.0, 12.0
"""How far the large volume reaches beyond putamen and caudate, and how far its backgrounds keep from the outline of
the brain. Blurred with 6 to 20 mm FWHM, 97 % of the specific counts stay inside the large volume, and the backgrounds
lose so little over the brain's edge that the ratio hardly depends on resolution."""
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
    axes = [schema.coordinates_mm(axis) for axis in range(3)]
    drawn = {name: structure_mask(name, axes) for name in STRUCTURES if name != "brain"}
    drawn |= {name: _left(drawn[name]) for name in ONE_SIDED}
    cerebellum = _both(structure_mask("cerebellum", axes))
    drawn["brain"] = _both(structure_mask("cerebrum", axes)) | cerebellum
    drawn["brain"] = np.any([mask for name, mask in drawn.items() if name != "occipital"], axis=0)
    drawn["occipital"] = drawn["occipital"] & _both(drawn["brain"]) & ~cerebellum
    return atlas_from_labels(symmetric_labels(drawn))


def symmetric_labels(left: Mapping[str, Bools]) -> npt.NDArray[np.uint8]:
    """Draw structures and their mirror images into one image of labels, as `Atlas.labels`.

    `left` holds masks of shape `schema.SHAPE` by name of `STRUCTURES`; what is missing is left out. The store's
    frame is mirrored, so a region must not depend on the side: putamen and caudate are drawn left of the midline (x
    < 0) and mirrored, every other structure is joined with its own mirror image. Where two structures claim a
    voxel, the order of `STRUCTURES` decides.
    """
    labels = np.zeros(schema.SHAPE, np.uint8)
    for structure in reversed(STRUCTURES):
        mask = left.get(structure)
        if mask is None:
            continue
        if structure in ONE_SIDED:
            mask = _left(mask)
            labels[mask] = _value(f"{structure}_ipsilateral")
            labels[mask[::-1]] = _value(f"{structure}_contralateral")
        else:
            labels[_both(mask)] = _value(schema.WHOLE_BRAIN if structure == "brain" else structure)
    return labels


def atlas_from_labels(labels: npt.NDArray[np.uint8]) -> Atlas:
    """Derive all regions from an image of labels.

    `whole_brain` is all that has a label. `reference` is the whole brain without striata (with pallidum and
    accumbens), thalamus, brain stem and ventricles, each with a margin; `occipital` keeps the same margins. A voxel
    within 8 mm of putamen or caudate of one side belongs to the large region of the one that is nearer by 3 mm;
    each structure belongs to its own large region.

    Parameters
    ----------
    labels : ndarray, shape `schema.SHAPE`, uint8
        As `Atlas.labels`, symmetric about the midline; `reference` and `whole_brain` count as the same.

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
        raise AtlasError("the labels of the two sides are not mirror images")
    brain = labels > 0
    one_sided = {name: named[f"{name}_ipsilateral"] for name in ONE_SIDED}
    striata = _both(one_sided["putamen"] | one_sided["caudate"]) | named["accumbens"] | named["pallidum"]
    spared = brain
    others = np.any([named[name] for name in MIDLINE_STRUCTURES], axis=0)
    if striata.any() and others.any():
        spared = _within(striata, STRIATUM_MARGIN_MM) | _within(others, OTHER_MARGIN_MM)
    occipital = named["occipital"] & ~spared
    regions = named | {"occipital": occipital, schema.WHOLE_BRAIN: brain, schema.REFERENCE: brain & ~spared}
    missing = [name for name in schema.REGIONS if not regions[name].any()]
    if missing:
        raise AtlasError(f"the atlas has no voxel of {', '.join(missing)}")
    masks = np.stack([regions[name] for name in schema.REGIONS])
    large = _large_regions(one_sided, (schema.coordinates_mm(0) < -MIDLINE_GAP_MM)[:, None, None])
    canonical = np.zeros(schema.SHAPE, np.uint8)
    for name in (schema.WHOLE_BRAIN, schema.REFERENCE, "pallidum", "accumbens", *reversed(schema.REGIONS[:-2])):
        canonical[regions[name]] = _value(name)
    for array in (masks, canonical, *large.values()):
        array.setflags(write=False)
    return Atlas(masks, large, canonical)


def large_volume_masks(masks: Bools | None = None) -> dict[str, Bools]:
    """Give the regions of the large-volume method by name: both striata, and `schema.BACKGROUNDS`.

    Each striatum's region holds what lies within 18 mm of its putamen and caudate, inside the brain and on its side
    of the midline: all specific counts in spite of blur. Thalamus, brain stem and ventricles stay in it, because
    counts of the striatum spill over into them. Its backgrounds keep 12 mm from the outline of the brain, where
    blur lowers the counts, and (except `whole_brain`) do not touch the large volumes (Tossici-Bolt et al. EJNMMI
    2006;33; EJNMMI Physics 2017;4:8).

    `masks`, shape (region, x, y, z), are symmetric about the midline and in the order of `schema.REGIONS`; those of
    the analytic atlas when not given.
    """
    named = dict(zip(schema.REGIONS, analytic_atlas().masks if masks is None else masks, strict=True))
    brain = named[schema.WHOLE_BRAIN]
    left = (schema.coordinates_mm(0) < -MIDLINE_GAP_MM)[:, None, None]
    striatum = named[schema.PUTAMEN] | named["caudate_ipsilateral"]
    ipsilateral = _within(striatum, LARGE_VOLUME_MARGIN_MM) & brain & left
    contralateral = np.ascontiguousarray(ipsilateral[::-1])
    # The grid cuts the brain below: there its outline is that of the grid, not of the brain.
    outside = np.pad(~brain, 1, mode="edge")
    inner = brain & ~_within(outside, RIM_MM)[1:-1, 1:-1, 1:-1]
    far = inner & ~_within(_both(striatum), LARGE_VOLUME_MARGIN_MM)
    return {
        "striatum_ipsilateral": ipsilateral,
        "striatum_contralateral": contralateral,
        schema.REFERENCE: named[schema.REFERENCE] & far,
        "occipital": named["occipital"] & far,
        schema.WHOLE_BRAIN: inner,
    }


def _value(name: str) -> int:
    return schema.ATLAS_LABELS.index(name) + 1


def _twin(name: str) -> str:
    """Name the region on the other side; a region of both sides keeps its name."""
    structure, _, side = name.rpartition("_")
    return f"{structure}_{schema.SIDES[1 - schema.SIDES.index(side)]}" if side in schema.SIDES else name


def _left(mask: Bools) -> Bools:
    return np.asarray(mask & (schema.coordinates_mm(0) < 0)[:, None, None], bool)


def _large_regions(one_sided: dict[str, Bools], side: Bools) -> dict[str, Bools]:
    """Divide the surroundings of the left striatum between putamen and caudate, and mirror them."""
    box = _surroundings(np.any([one_sided[name] for name in ONE_SIDED], axis=0), HOTTEST_MARGIN_MM)
    distances = [_distance_mm(one_sided[name][box]) for name in ONE_SIDED]
    large: dict[str, Bools] = {}
    for name, (own, other) in zip(ONE_SIDED, permutations(distances), strict=True):
        mask = np.zeros(schema.SHAPE, bool)
        mask[box] = (own == 0) | ((own <= HOTTEST_MARGIN_MM) & (own + UNDECIDED_MM <= other))
        mask &= side
        large |= {f"{name}_{s}": np.ascontiguousarray(m) for s, m in zip(schema.SIDES, (mask, mask[::-1]), strict=True)}
    return large


def _both(mask: Bools) -> Bools:
    """Join a mask with its mirror image."""
    return np.asarray(mask | mask[::-1], bool)


def _distance_mm(mask: Bools) -> Floats:
    """Give each voxel's distance to the nearest voxel of the mask."""
    return np.asarray(distance_transform_edt(~mask, sampling=schema.SPACING_MM), np.float64)


def _within(mask: Bools, margin_mm: float) -> Bools:
    near, box = np.zeros(mask.shape, bool), _surroundings(mask, margin_mm)
    near[box] = _distance_mm(mask[box]) <= margin_mm
    return near


def _surroundings(mask: Bools, margin_mm: float) -> tuple[slice, ...]:
    """Give a box that holds a mask with all that is within a margin: distances take long to compute."""
    margin = int(np.ceil(margin_mm / schema.SPACING_MM))
    return tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in find_objects(mask.astype(np.uint8))[0])
