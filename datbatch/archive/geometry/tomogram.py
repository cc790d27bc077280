"""Read a tomogram that was reconstructed elsewhere, from DICOM slices or NIfTI; left and right are never guessed."""

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
from datbatch.archive.geometry.slices import stack_slices
from datbatch.errors import ArchiveError, ContradictoryGeometryError, SeveralTomogramsError
from datbatch.location import Location

_SAME_PLACE_MM = 0.01
"""Greatest shift of a voxel by rounded numbers in a header."""
VERSION = 1
"""To be raised when a change of the code gives other volumes for the same files."""


@dataclass(frozen=True)
class Tomogram:
    """A reconstructed volume of one study."""

    data: npt.NDArray[np.float32]
    """Shape (x, y, z), as stored, in an unknown unit; x grows to the patient's right, y to the front, z to the head."""
    affine: npt.NDArray[np.float64]
    """Matrix (4, 4) from voxel index to millimetres, RAS."""
    study: StudyFacts = field(default_factory=StudyFacts)
    """Facts without identity; none from NIfTI."""


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
        Its kind says why the files cannot be read safely.
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
        # One of the headers is wrong, and nothing says which.
        raise ContradictoryGeometryError("two files have the same values at different places in space")
    return found[0]


def _same(one: Tomogram, other: Tomogram) -> bool:
    return np.array_equal(one.data, other.data) and np.allclose(one.affine, other.affine, atol=_SAME_PLACE_MM)


def _read_slices(contents: Sequence[tuple[bytes, int]]) -> Tomogram:
    stack = stack_slices([parse(data, size) for data, size in contents])
    data, affine = to_anatomical(stack.values(), stack.affine)
    elements = stack.headers[0].elements
    facts = StudyFacts(
        sex=sex(elements), age_years=age_years(elements), scanner=scanner_name(elements), flags=stack.flags
    )
    return Tomogram(data, affine, facts)


def _read_nifti(data: bytes, size: int) -> Tomogram:
    volume = read_volume(data, size)
    return Tomogram(*to_anatomical(volume.values, volume.affine()))
