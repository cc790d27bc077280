"""Reconstructed images come back as what they were: axes, sides and binding, and what a wrong direction of slices does.

    python benchmarks/imported.py --studies 40

Each study is simulated, reconstructed, and written once as NIfTI by nibabel and once as a DICOM NM object, in an order
and direction of axes drawn for it; both are imported and compared with the study itself. Then its slices are stacked
the wrong way round, as some stations have stated them: nothing but normalisation can notice that.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from datbatch import __version__, schema
from datbatch.archive import Acquisition
from datbatch.config import Config
from datbatch.imaging import reconstruct
from datbatch.simulation import acquire, draw_subject, write_study
from datbatch.study.imaged import ImagedStudy
from datbatch.study.imaging import image_study
from tests.archive.tomograms import ALL_AXES, TRANSAXIAL, multi_frame, nifti

SEED = 61
FORMS = ("sform", "qform", "both")


@dataclass(frozen=True)
class Result:
    """What became of one study; empty where its own projections fail."""

    sides: dict[str, bool] = field(default_factory=dict)
    """Whether the same side is the lower one, by the way it was written."""
    binding: dict[str, float] = field(default_factory=dict)
    """Largest difference of a striatal binding ratio from the study's own."""
    stacked_wrong: str = ""
    """Code of what the study ends with whose slices are stacked the wrong way; `done` where it does not fail."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    print(f"datbatch {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, seed {SEED}\n")
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = [result for result in pool.map(measure, range(options.studies)) if result.sides]
    print("| written as | n | other side | largest difference of a striatal ratio |\n|---|---|---|---|")
    for way in ("NIfTI", "DICOM NM"):
        other = sum(not result.sides[way] for result in found)
        print(f"| {way} | {len(found)} | {other} | {max(result.binding[way] for result in found):.1e} |")
    refused = sum(result.stacked_wrong == "normalisation-failed" for result in found)
    print(f"\nslices stacked the wrong way: refused by normalisation {refused} of {len(found)}")


def measure(index: int) -> Result:
    """Simulate, write, import and compare one study."""
    rng = np.random.default_rng([SEED, index])
    study = acquire(draw_subject(index, SEED))
    radius_mm = np.full(len(study.angles_deg), study.radius_mm)
    volume = reconstruct(
        Acquisition(study.projections, study.angles_deg, study.pixel_size_mm, study.row_size_mm, radius_mm)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = image_study("study", [write_study(folder, study)], Config())
        if own.rows["quantify"].outcome.code:
            return Result()
        axes, plane = ALL_AXES[rng.integers(len(ALL_AXES))], TRANSAXIAL[rng.integers(len(TRANSAXIAL))]
        image = nifti(folder / "a.nii", volume.data, volume.affine, axes=axes, forms=FORMS[rng.integers(len(FORMS))])
        # A workstation stores whole numbers that are not negative.
        counts = np.rint(np.clip(volume.data, 0.0, None) * (30_000 / volume.data.max()))
        objects = multi_frame(folder / "b.dcm", counts, volume.affine, axes=plane)
        wrong = multi_frame(folder / "c.dcm", counts[:, :, ::-1], volume.affine, axes=plane)
        ways = {"NIfTI": imported(image), "DICOM NM": imported(objects)}
        last = imported(wrong).rows["quantify"]
    if any(one.rows["quantify"].outcome.code for one in ways.values()):
        raise SystemExit(f"study {index} cannot be read back")
    expected = own.rows["quantify"].values
    return Result(
        {way: one.rows["quantify"].values["mirrored"] == expected["mirrored"] for way, one in ways.items()},
        {way: _difference(one, own) for way, one in ways.items()},
        last.outcome.code or "done",
    )


def imported(path: Path) -> ImagedStudy:
    """Take a tomogram through the stages of an import."""
    return image_study("study", [path], Config(), source=schema.TOMOGRAM)


def _difference(one: ImagedStudy, other: ImagedStudy) -> float:
    first, second = (np.array(study.rows["quantify"].values["specific_binding_ratio"][:4]) for study in (one, other))
    return float(np.abs(first - second).max())


if __name__ == "__main__":
    main()
