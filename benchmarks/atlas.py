"""The analytic atlas against the anatomical one: overlap, volume and place of each structure.

    DATBATCH_TEST_DATA=/path/to/data python benchmarks/atlas.py

prints a Markdown table. The anatomical structures are where the probability of the reference (CIT168 for the basal
ganglia, Pauli et al. 2018; Allen Human Reference Atlas for the rest, Ding et al. 2016) exceeds one half, on the
store's grid: the cerebellum and the brain stem end where the grid ends.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.imaging import analytic_atlas
from datbatch.imaging.shapes import structure_mask

STEM = Path("atlas") / "subcortical_probabilities_2mm"
BAR, REACH = 0.80, 0.88
BARRED = ("putamen_left", "putamen_right", "caudate_left", "caudate_right")
VOXEL_ML = schema.SPACING_MM**3 / 1000
Mask = npt.NDArray[np.bool_]


def reference_masks(folder: Path) -> dict[str, Mask]:
    image = nibabel.as_closest_canonical(nibabel.load(folder / STEM.with_suffix(".nii.gz")))
    names = json.loads((folder / STEM.with_suffix(".json")).read_text())["volumes"]
    lowest = round((schema.ORIGIN_MM[2] - image.affine[2, 3]) / schema.SPACING_MM)
    probability = image.get_fdata(dtype=np.float32)[:, :, lowest : lowest + schema.SHAPE[2]]
    return {name: probability[..., index] > 0.5 for index, name in enumerate(names)}


def analytic_masks() -> dict[str, Mask]:
    """Give the regions of the store by anatomical side, and what is only drawn (pallidum, accumbens, cerebellum)."""
    atlas = analytic_atlas()
    found = {name: atlas.mask(name) for name in ("thalamus", "brain_stem", "ventricles")}
    for structure in ("putamen", "caudate"):
        found |= {
            f"{structure}_{name}": atlas.mask(f"{structure}_{side}")
            for name, side in zip(("left", "right"), schema.SIDES, strict=True)
        }
    x = schema.coordinates_mm(0)[:, None, None]
    for structure in ("pallidum", "accumbens"):
        both = atlas.labels == schema.ATLAS_LABELS.index(structure) + 1
        found |= {f"{structure}_left": both & (x < 0), f"{structure}_right": both & (x > 0)}
    axes = (schema.coordinates_mm(0), schema.coordinates_mm(1), schema.coordinates_mm(2))
    half = structure_mask("cerebellum", axes)
    return found | {"cerebellum": half | half[::-1]}


def centroid_mm(mask: Mask) -> npt.NDArray[np.float64]:
    return np.argwhere(mask).mean(axis=0) * schema.SPACING_MM + np.array(schema.ORIGIN_MM)


def dice(one: Mask, other: Mask) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def table(folder: Path) -> str:
    ours, theirs = analytic_masks(), reference_masks(folder)
    lines = [
        "| structure | Dice | bar | reach | volume, ml (reference) | distance of centroids, mm |",
        "|---|---|---|---|---|---|",
    ]
    order = ("putamen", "caudate", "thalamus", "brain_stem", "ventricles", "pallidum", "accumbens", "cerebellum")
    for structure in order:
        for name in (name for name in sorted(theirs) if name.startswith(structure)):
            own, other = ours[name], theirs[name]
            overlap = dice(own, other)
            bar, reach = (f"{BAR:.2f}", f"{REACH:.2f}") if name in BARRED else ("", "")
            distance = float(np.linalg.norm(centroid_mm(own) - centroid_mm(other)))
            volumes = f"{own.sum() * VOXEL_ML:.1f} ({other.sum() * VOXEL_ML:.1f})"
            lines.append(f"| {name.replace('_', ' ')} | {overlap:.3f} | {bar} | {reach} | {volumes} | {distance:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DATBATCH_TEST_DATA"),
        help="folder that holds atlas/ (default: $DATBATCH_TEST_DATA)",
    )
    options = parser.parse_args()
    if options.data is None or not (Path(options.data) / STEM.with_suffix(".nii.gz")).is_file():
        parser.error(f"give the folder that holds {STEM}.nii.gz: --data, or DATBATCH_TEST_DATA")
    print(table(Path(options.data)))


if __name__ == "__main__":
    main()
