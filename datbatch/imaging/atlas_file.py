"""A user's own atlas: an image of labels and the names of the labels, brought to the store's grid."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.arrays import Bools, Floats
from datbatch.errors import AtlasError, GridMismatchError
from datbatch.imaging.atlas import ONE_SIDED, STRUCTURES, Atlas, analytic_atlas, atlas_from_labels, symmetric_labels
from datbatch.imaging.nifti import read_nifti, write_nifti

_ENDINGS = (".nii.gz", ".nii")
MNI_SLICES, MNI_LOWEST_MM = 91, -72.0
"""Slices of the full MNI grid of 2 mm and the height of the lowest; the store's grid is a part of it."""
SIDES = ("left", "right")
_BY_SIDE = {f"{s}_{name}": f"{s}_{side}" for s in ONE_SIDED for name, side in zip(schema.SIDES, SIDES, strict=True)}
"""The store's names of the striatal regions, and those of a user."""
NAMES: Mapping[str, str] = {
    **{name: name for name in _BY_SIDE.values()},
    **_BY_SIDE,
    **{name: name for name in STRUCTURES[2:]},
    **{f"{name}_{side}": name for name in ("accumbens", "pallidum", "thalamus", "occipital") for side in SIDES},
    **dict.fromkeys((schema.WHOLE_BRAIN, schema.REFERENCE, "cerebrum", "cerebellum"), "brain"),
    "background": "",
}
"""Names that a label may have, and the structure that each stands for."""


def read_atlas(path: Path, labels: Mapping[str, Sequence[int]] | None = None) -> Atlas:
    """Read an image of labels and derive the regions by the rules of the analytic atlas.

    The store's frame is mirrored, so left and right are made mirror images: each structure becomes the union of
    itself and its mirrored twin. Where two structures claim a voxel, the order of `STRUCTURES` decides; putamen and
    caudate end at the midline.

    Parameters
    ----------
    path : Path
        NIfTI file of whole numbers, 0 outside the brain, on the store's grid or on the full MNI grid of 2 mm
        (91 x 109 x 91), its axes in any order and direction.
    labels : mapping of str to sequence of int, optional
        Labels by name of `NAMES`. By default the table beside the image, of the same name: `.tsv` with the columns
        `index` and `name`, or `.json` with a label or a list of labels for each name.

    Raises
    ------
    AtlasError
        When a file cannot be read, values are not whole numbers, a label has no name, a name is unknown, a structure
        is missing, or left lies on the right.
    GridMismatchError
        When the image is on another grid.
    """
    data, affine = read_nifti(path, np.float64, AtlasError)
    if not np.array_equal(data, np.rint(data)):
        raise AtlasError("the labels are not whole numbers")
    on_grid = _on_store_grid(data, affine)
    structures = _structures(labels or _read_table(path))
    present = {int(value) for value in np.unique(on_grid)}
    unnamed = sorted(present - structures.keys() - {0})
    if unnamed:
        raise AtlasError(f"{len(unnamed)} labels have no name, the first is {unnamed[0]}")
    drawn = _drawn(on_grid, structures)
    for structure in ONE_SIDED:
        left, right = (drawn.pop(f"{structure}_{side}") for side in SIDES)
        _require_sides(structure, left, right)
        drawn[structure] = left | right[::-1]
    return atlas_from_labels(symmetric_labels(drawn))


def write_labels(path: Path, atlas: Atlas | None = None) -> Path:
    """Write an atlas (the analytic one by default) as NIfTI labels, and the names of the labels as a table beside it.

    The name of the file ends in `.nii.gz` or `.nii`; an `AtlasError` refuses another. Gives the path of the table:
    tab-separated, columns `index` and `name`. `read_atlas` gives the same regions back.
    """
    table = _beside(path, ".tsv")
    write_nifti(path, (atlas or analytic_atlas()).labels, schema.grid_affine())
    lines = ["index\tname", *(f"{i}\t{_BY_SIDE.get(name, name)}" for i, name in enumerate(schema.ATLAS_LABELS, 1))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def _on_store_grid(data: Floats, affine: Floats) -> Floats:
    """Cut the full MNI grid to the store's; an image on the store's grid is left as it is."""
    full, shape = schema.grid_affine(), (*schema.SHAPE[:2], MNI_SLICES)
    if data.shape == schema.SHAPE and np.allclose(affine, full, atol=1e-3):
        return data
    full[2, 3] = MNI_LOWEST_MM
    if data.shape == shape and np.allclose(affine, full, atol=1e-3):
        lowest = round((schema.ORIGIN_MM[2] - MNI_LOWEST_MM) / schema.SPACING_MM)
        return data[:, :, lowest : lowest + schema.SHAPE[2]]
    raise GridMismatchError(
        f"the atlas of shape {data.shape} is neither on the grid of the store nor on the full MNI grid of 2 mm",
        f"Resample it by nearest neighbour to {shape} voxels of 2 mm with the first at (-90, -126, -72) mm; "
        "`datbatch atlas FILE` writes an image of the store's grid.",
    )


def _drawn(labels: Floats, structures: Mapping[int, str]) -> dict[str, Bools]:
    """Give the mask of every structure; the brain is all that belongs to one."""
    drawn = {
        name: np.isin(labels, [value for value, structure in structures.items() if structure == name])
        for name in dict.fromkeys(NAMES.values())
    }
    drawn["brain"] = (labels != 0) & ~drawn.pop("")
    return drawn


def _require_sides(structure: str, left: Bools, right: Bools) -> None:
    for side, mask, sign in (("left", left, -1), ("right", right, 1)):
        if not mask.any():
            raise AtlasError(f"the atlas has no voxel of {structure}_{side}")
        if sign * float(schema.coordinates_mm(0)[np.nonzero(mask)[0]].mean()) <= 0:
            raise AtlasError(
                f"{structure}_{side} lies on the other side of the midline",
                "Correct the names or the affine of the image: left is x < 0.",
            )


def _structures(labels: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """Turn labels by name into structures by label."""
    found: dict[int, str] = {}
    for name, values in labels.items():
        if name not in NAMES:
            # The name itself may be anything, also a person's: it is not repeated.
            raise AtlasError("a name of a label is unknown", f"Use {', '.join(NAMES)}.")
        for value in values:
            if value == 0 and NAMES[name]:
                raise AtlasError("label 0 lies outside the brain and can have no other name")
            if found.setdefault(value, NAMES[name]) != NAMES[name]:
                raise AtlasError(f"label {value} has two names")
    return found


def _read_table(path: Path) -> dict[str, list[int]]:
    """Read the names beside an image: `.tsv` or `.json`."""
    tsv, plain = _beside(path, ".tsv"), _beside(path, ".json")
    try:
        if tsv.exists():
            found: dict[str, list[int]] = {}
            with tsv.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream, delimiter="\t"):
                    found.setdefault(row["name"].strip(), []).append(int(row["index"]))
            return found
        if plain.exists():
            content = json.loads(plain.read_text(encoding="utf-8"))
            return {str(name): _numbers(values) for name, values in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AtlasError(
            f"the table of names cannot be read ({type(error).__name__})",
            'Give a .tsv with the columns index and name, or a .json such as {"putamen_left": 1}.',
        ) from error
    raise AtlasError(
        "there is no table of names beside the atlas",
        "Put a .tsv or .json of the same name beside it, or name the labels in [quantify.atlas_labels].",
    )


def _numbers(values: Any) -> list[int]:
    found = values if isinstance(values, list) else [values]
    if not all(isinstance(value, int) for value in found):
        raise ValueError
    return found


def _beside(path: Path, ending: str) -> Path:
    for own in _ENDINGS:
        if path.name.endswith(own):
            return path.with_name(path.name.removesuffix(own) + ending)
    raise AtlasError("the name of an atlas ends in .nii.gz or .nii")
