"""Everything for one study in one folder: page, volumes and figures, written together or not at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

from datbatch import schema
from datbatch.config import canonical_json
from datbatch.errors import ConfigurationError
from datbatch.files import write_whole
from datbatch.imaging.nifti import nifti_bytes
from datbatch.report.parts.planes import Convention
from datbatch.report.study.page import study_page
from datbatch.study.explained import StudyExplanation

PAGE, UPTAKE, RELEVANCE, SUMMARY = "study.html", "uptake.nii.gz", "relevance.nii.gz", "summary.json"
FILES = (PAGE, UPTAKE, RELEVANCE, SUMMARY)
NOTICE = "Research software, not a medical device."


def write_study(study: StudyExplanation, folder: Path, *, convention: Convention = "radiological") -> Path:
    """Write the folder of one explained study and give its page; an earlier folder is replaced.

    `study.html` is the page; `uptake.nii.gz` and `relevance.nii.gz` hold the volumes in MNI space in the patient's own
    frame (not mirrored, x < 0 is the patient's left), relevance turned so that positive speaks for reduced uptake;
    `summary.json` holds all figures. No file holds a name, an identifier, a date or a path of the study.

    Parameters
    ----------
    study : StudyExplanation
        As `study.explain.explain_study` gives it.
    folder : Path
        Folder to make; one that is there must be empty or hold these files alone.
    convention : {"radiological", "neurological"}
        Side on which the page shows the patient's left: right or left.

    Raises
    ------
    ConfigurationError
        When the folder holds other files.
    """
    check_folder(folder)
    step = -1 if study.mirrored else 1
    affine = schema.grid_affine()
    uptake = nifti_bytes(study.uptake[::step], affine, description="DAT uptake/reference; patient L x<0")
    words = "LRP relevance; patient L x<0; >0 speaks for reduced uptake"
    relevance = nifti_bytes(study.orientation * study.relevance[::step], affine, description=words)
    contents = {
        UPTAKE: _compressed(uptake),
        RELEVANCE: _compressed(relevance),
        SUMMARY: canonical_json(json.loads(json.dumps({"notice": NOTICE, **study.summary()}))).encode(),
        PAGE: study_page(study, convention=convention).encode(),
    }
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, content in contents.items():
            write_whole(temporary / name, content)
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return folder / PAGE


def check_folder(folder: Path) -> None:
    """Refuse a file, or a folder with other files: they would be lost."""
    if folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - set(FILES)):
        raise ConfigurationError("the folder for a study's files holds other files", "Give a new folder.")


def _compressed(content: bytes) -> bytes:
    # Noise hardly shrinks: a higher level takes longer and saves nothing.
    return gzip.compress(content, compresslevel=1, mtime=0)
