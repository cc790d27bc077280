"""Each format for a whole cohort: which files, whose, and in which space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import numpy.typing as npt

from datbatch.archive import load_or_create_key, read_linkage
from datbatch.cohort.store import key_path, linkage_path
from datbatch.cohort.views.query import open_cohort
from datbatch.cohort.views.results import StudyResults, positions
from datbatch.errors import ConfigurationError, MissingFilesError
from datbatch.export import bids, nifti
from datbatch.export.frames import AS_ACQUIRED, IPSILATERAL_LEFT, Frame
from datbatch.export.run import Exported, Format, Which, export_studies
from datbatch.files import write_whole
from datbatch.location import Location

if TYPE_CHECKING:
    from datbatch.export.subject import Subject


def export_nifti(cohort: Location, folder: Path, *, frame: Frame = AS_ACQUIRED, **which: Unpack[Which]) -> Exported:
    """Write uptake and relevance of a store's studies as NIfTI, in a frame of `frames.FRAMES`; see `run.Which`."""
    how = Format(partial(nifti.nifti_names, frame=frame), partial(nifti.write_study, frame=frame))
    return export_studies(open_cohort(cohort), folder, how, **which)


def export_bids(cohort: Location, folder: Path, *, frame: Frame = AS_ACQUIRED, **which: Unpack[Which]) -> Exported:
    """Write the same as a data set in the layout of BIDS derivatives."""
    tree = open_cohort(cohort)
    how = Format(partial(bids.bids_names, frame=frame), partial(bids.write_study, frame=frame))
    bids.write_dataset(tree, folder, frame=frame, model=which.get("model"), studies=which.get("studies"))
    return export_studies(tree, folder, how, **which)


def export_pages(
    cohort: Location, folder: Path, page: Callable[[StudyResults], str], **which: Unpack[Which]
) -> Exported:
    """Write one page of HTML for each study, as `page` gives it; see `run.Which`."""

    def write(results: StudyResults, target: Path) -> None:
        write_whole(target / f"{results.study}.html", page(results).encode())

    how = Format(lambda study, _: (f"{study}.html",), write)
    return export_studies(open_cohort(cohort), folder, how, **which)


def export_dicom(
    cohort: Location,
    folder: Path,
    draw: Callable[[StudyResults], npt.NDArray[np.uint8]],
    *,
    frame: Frame = AS_ACQUIRED,
    source: Path | None = None,
    **which: Unpack[Which],
) -> Exported:
    """Write maps, structured report and summary picture as DICOM.

    Parameters
    ----------
    cohort : Path or S3Location
        Folder of the store.
    folder : Path
        Where to write.
    draw : callable
        Draws the summary page of a study: ndarray of shape (row, column, 3), uint8.
    frame : {"as-acquired", "own-space"}
        Space of the maps.
    source : Path, optional
        The original archive (found through the linkage table beside the store), or one study's file. The objects then
        NAME THE PATIENT, as the originals do, and are readable by their owner alone. By default they bear the
        pseudonym.
    **which
        See `run.Which`.

    Raises
    ------
    ConfigurationError
        When the frame is mirrored, or `source` is a file and not exactly one study is asked for.
    """
    from datbatch.export import dicom
    from datbatch.export.subject import pseudonymous

    if frame == IPSILATERAL_LEFT:
        raise ConfigurationError(
            "DICOM objects are never mirrored: viewers would show the sides wrongly",
            "Choose the frame as-acquired or own-space.",
        )
    tree = open_cohort(cohort)
    if source is not None and source.is_file() and len(positions(tree, which.get("studies"))) != 1:
        raise ConfigurationError("one original file belongs to one study", "Name the study, or give the archive.")
    if source is None:
        subject: Callable[[StudyResults], Subject] = pseudonymous
    else:
        linkage = read_linkage(linkage_path(cohort)) if source.is_dir() else {}
        subject = partial(_original, key=key_path(cohort), source=source, linkage=linkage)

    def write(results: StudyResults, target: Path) -> None:
        dicom.write_study(results, target, frame, subject(results), draw)

    how = Format(partial(dicom.dicom_names, frame=frame), write)
    return export_studies(tree, folder, how, **which)


def _original(results: StudyResults, *, key: Path, source: Path, linkage: Mapping[str, tuple[str, ...]]) -> Subject:
    """Find the study's original file and take patient and study from it."""
    from datbatch.export.subject import from_original

    files = linkage.get(results.study, ())
    path = source / files[0] if files else source
    if not path.is_file() or not key.is_file():
        raise MissingFilesError("the original files of the study, or the key of the pseudonyms, are not there")
    return from_original(results, path, load_or_create_key(key))
