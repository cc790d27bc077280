"""NIfTI images of single studies: uptake and relevance, one file each."""

from __future__ import annotations

from pathlib import Path

from datbatch.cohort.views.results import StudyResults
from datbatch.export.frames import OWN_SPACE, Frame, placed
from datbatch.imaging.nifti import MNI_CODE, SCANNER_CODE, write_nifti

NOTICE = "Research software, not a medical device"


def nifti_names(study: str, model: str | None, frame: Frame) -> tuple[str, ...]:
    """Name the files of one study, below the folder of the export; `model` is None where none explained it."""
    uptake = f"{study}/{study}_{frame}_uptake.nii.gz"
    return (uptake,) if model is None else (uptake, f"{study}/{study}_{frame}_relevance-{model}.nii.gz")


def write_study(results: StudyResults, folder: Path, frame: Frame) -> None:
    """Write the images of one study below the folder of the export.

    Values are those of the store (float32), except in the study's own space, where they are interpolated. sform and
    qform are equal; their code is 4 (MNI) or, in the study's own space, 1 (scanner).
    """
    names = nifti_names(results.study, results.model.name if results.model else None, frame)
    write_image(results, "uptake", folder / names[0], frame)
    if results.model is not None:
        write_image(results, "relevance", folder / names[1], frame)


def write_image(results: StudyResults, kind: str, path: Path, frame: Frame) -> None:
    """Write uptake or relevance of one study to a file."""
    volume = results.uptake if kind == "uptake" or results.model is None else results.model.relevance
    image = placed(results, volume, frame)
    write_nifti(
        path,
        image.data,
        image.affine,
        code=SCANNER_CODE if frame == OWN_SPACE else MNI_CODE,
        description=f"{NOTICE}; {kind}, {frame}",
    )
