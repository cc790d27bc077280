"""DICOM objects of single studies: maps of uptake and relevance, structured report, summary picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from datbatch.cohort.views.results import StudyResults
from datbatch.export.frames import Frame, placed
from datbatch.export.parametric_map import RELEVANCE, UPTAKE, parametric_map
from datbatch.export.secondary_capture import secondary_capture
from datbatch.export.structured_report import structured_report
from datbatch.export.subject import Subject
from datbatch.files import write_whole

Draw = Callable[[StudyResults], npt.NDArray[np.uint8]]
"""Draws the summary page of a study: shape (row, column, 3), uint8."""


def dicom_names(study: str, model: str | None, frame: Frame) -> tuple[str, ...]:
    """Name the files of one study, below the folder of the export; `model` is None where none explained it."""
    kinds = ["uptake", *([f"relevance-{model}"] if model is not None else []), "report", "summary"]
    return tuple(f"{study}/{study}_{frame}_{kind}.dcm" for kind in kinds)


def write_study(results: StudyResults, folder: Path, frame: Frame, subject: Subject, draw: Draw) -> None:
    """Write the objects of one study below the folder of the export, maps in a frame that is not mirrored."""
    names = dicom_names(results.study, results.model.name if results.model else None, frame)
    for name, dataset in zip(names, make_objects(results, frame, subject, draw), strict=True):
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        write_whole(folder / name, buffer.getvalue(), private=subject.identified)


def make_objects(results: StudyResults, frame: Frame, subject: Subject, draw: Draw) -> list[Dataset]:
    """Make the objects that `write_study` writes, in the order of `dicom_names`."""
    with warnings.catch_warnings():
        # The writer warns of names of one word; a pseudonym is one, and an original's name is copied as it is.
        warnings.simplefilter("ignore", UserWarning)
        return _objects(results, frame, subject, draw)


def _objects(results: StudyResults, frame: Frame, subject: Subject, draw: Draw) -> list[Dataset]:
    uptake = parametric_map(
        placed(results, results.uptake, frame), UPTAKE, subject, frame, series=9001, source=subject.source()
    )
    maps = [uptake]
    if results.model is not None:
        relevance = placed(results, results.model.relevance, frame)
        name = results.model.name
        maps.append(parametric_map(relevance, RELEVANCE, subject, frame, series=9002, source=uptake, detail=name))
    report = structured_report(results, subject, maps, series=9003)
    # Beside the patient's name the pseudonym would link every other export to the patient.
    shown = replace(results, study="") if subject.identified else results
    return [*maps, report, secondary_capture(draw(shown), subject, series=9004)]
