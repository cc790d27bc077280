"""Read a tomogram that was reconstructed elsewhere: DICOM slices or NIfTI; left and right are never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.facts import age_years, scanner_name, sex
from datbatch.archive.dicom.header import has_mark, parse, read_bytes
from datbatch.archive.dicom.nifti_volume import read_volume
from datbatch.archive.geometry.acquisition import StudyFacts
from datbatch.archive.geometry.anatomical import to_anatomical, values_digest
from datbatch.archive.geometry.slices import plan_stack
from datbatch.errors import ArchiveError, ContradictoryGeometryError, SeveralTomogramsError
from datbatch.location import Location

_SAME_PLACE_MM = 0.01
"""What rounding of a header's numbers may do to the place of a voxel."""
VERSION = 1
"""Raised when the same files give other volumes."""


@dataclass(frozen=True)
class Tomogram:
    """A reconstructed volume of one study, its axes along the body's.

    Attributes
    ----------
    data : ndarray, shape (x, y, z), float32
        Values as they are stored, in an unknown unit; x grows to the patient's right, y to the front, z to the head.
    affine : ndarray, shape (4, 4), float64
        Voxel index to millimetres, RAS.
    study : StudyFacts
        Identity-free facts; of NIfTI none.
    """

    data: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    study: StudyFacts = field(default_factory=StudyFacts)


def read_tomogram(files: Sequence[Location]) -> Tomogram:
    """Read the reconstructed volume of one study.

    Parameters
    ----------
    files : sequence of path
        One object of class NM with all slices, one NM or PET object a slice, or one NIfTI file.

    Returns
    -------
    Tomogram

    Raises
    ------
    DatbatchError
        The named kind that says why the files cannot be read safely.
    """
    if not files:
        raise ArchiveError("no files are given for the study", "Give the study's DICOM or NIfTI files.")
    contents = [read_bytes(file) for file in files]
    dicom = [has_mark(data) for data, _ in contents]
    if all(dicom):
        return _read_slices(contents)
    if any(dicom):
        raise SeveralTomogramsError("DICOM and NIfTI files of one study")
    found = [_read_nifti(data, size) for data, size in contents]
    if len({values_digest(one.data) for one in found}) > 1:
        raise SeveralTomogramsError(f"{len(found)} NIfTI files of one study")
    if any(not _same(found[0], other) for other in found[1:]):
        # Grouped because their values are the same: one of the headers is wrong, and nothing says which.
        raise ContradictoryGeometryError("two files hold the same values and lay them differently into space")
    return found[0]


def _same(one: Tomogram, other: Tomogram) -> bool:
    return np.array_equal(one.data, other.data) and np.allclose(one.affine, other.affine, atol=_SAME_PLACE_MM)


def _read_slices(contents: Sequence[tuple[bytes, int]]) -> Tomogram:
    stack = plan_stack([parse(data, size) for data, size in contents])
    data, affine = to_anatomical(stack.values(), stack.affine)
    elements = stack.headers[0].elements
    facts = StudyFacts(
        sex=sex(elements), age_years=age_years(elements), scanner=scanner_name(elements), flags=stack.flags
    )
    return Tomogram(data, affine, facts)


def _read_nifti(data: bytes, size: int) -> Tomogram:
    volume = read_volume(data, size)
    return Tomogram(*to_anatomical(volume.values, volume.affine()))
