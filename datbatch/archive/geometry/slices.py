"""The slices of a study's DICOM files and their place in space, from the headers alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.elements import Elements
from datbatch.archive.dicom.frames import frame_count
from datbatch.archive.dicom.header import Header
from datbatch.archive.dicom.kinds import MEDIA_DIRECTORY, NM_IMAGE_STORAGE, lossy
from datbatch.archive.dicom.pixels import PixelFormat, pixel_format, stored_frames
from datbatch.archive.geometry.anatomical import MAX_OBLIQUE_DEG
from datbatch.archive.geometry.heads import read_detectors
from datbatch.archive.geometry.orientation import check_letters, check_patient_pose, plane_directions
from datbatch.errors import (
    ContradictoryGeometryError,
    DatbatchError,
    InvalidTomogramError,
    MissingOrientationError,
    NotTomogramError,
    SeveralTomogramsError,
    TruncatedError,
)

PET_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
"""One slice per file; stations without a class for SPECT slices export them in this class."""
_MODALITIES = {NM_IMAGE_STORAGE: ("NM", "ST", "OT", ""), PET_IMAGE_STORAGE: ("PT", "NM", "ST", "")}
_LEAST_SLICES = 8
_SAME_DIRECTION = 1e-3
_TRANSAXIAL = math.cos(math.radians(MAX_OBLIQUE_DEG))
_SAME_STEP = 0.02
"""As a share of the distance of slices."""
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Slices of one tomogram, first to last."""

    headers: tuple[Header, ...] = field(repr=False)
    """Of one file with all slices, or of one file per slice in the order of slices."""
    formats: tuple[PixelFormat, ...]
    frames: npt.NDArray[np.int64]
    """Number of each slice's frame, where one file holds all slices."""
    affine: _Array
    """Index (column, row, slice) to millimetres, RAS."""
    flags: tuple[str, ...]

    def values(self) -> npt.NDArray[np.float32]:
        """Read the slices, shape (column, row, slice), with the slope and intercept of each file."""
        parts = []
        for header, form in zip(self.headers, self.formats, strict=True):
            chosen = self.frames if len(self.headers) == 1 else np.zeros(1, dtype=np.int64)
            parts.append((stored_frames(header, form, chosen) * form.slope + form.intercept).astype(np.float32))
        return np.concatenate(parts).transpose(2, 1, 0)


def tomogram_refusal(header: Header) -> DatbatchError | None:
    """Give the error that refuses an object as slices of a tomogram, or None where its kind is right."""
    if header.problem is not None:
        return header.problem
    elements = header.elements
    stored, meta = elements.text("SOPClassUID"), elements.text("MediaStorageSOPClassUID")
    if MEDIA_DIRECTORY in (stored, meta):
        return NotTomogramError("a media directory, not an image")
    if stored not in _MODALITIES:
        return NotTomogramError("neither nuclear medicine nor PET (SOPClassUID)")
    if meta not in ("", stored):
        return NotTomogramError("file meta and data set contradict each other about the SOP class")
    if elements.text("Modality") not in _MODALITIES[stored]:
        return NotTomogramError("SOPClassUID and Modality contradict each other")
    kind = (*elements.texts("ImageType"), "", "", "", "")[:4]
    if stored == NM_IMAGE_STORAGE and kind[2] != "RECON TOMO":
        return NotTomogramError(
            "raw projections (ImageType TOMO)" if kind[2] == "TOMO" else "ImageType does not say RECON TOMO"
        )
    if stored == NM_IMAGE_STORAGE and kind[3] not in ("EMISSION", ""):
        return NotTomogramError("ImageType says RECON TOMO, but not EMISSION")
    others = set(elements.pointers("FrameIncrementPointer")) - {"SliceVector"}
    if others:
        return NotTomogramError("frames depend on more than the slice (FrameIncrementPointer)")
    return lossy(header)


def stack_slices(headers: Sequence[Header]) -> Stack:
    """Find from the headers how the slices lie in the patient.

    Parameters
    ----------
    headers : sequence of Header
        One study's files in any order: all slices in one, or one file per slice.

    Raises
    ------
    MissingOrientationError
        When a header does not say where left is, or which way slices are stacked.
    ContradictoryGeometryError
        When two statements about it contradict each other.
    SeveralTomogramsError
        When the files are of several series, or there are several files of many slices.
    InvalidTomogramError
        When slices are missing, too few, or not above each other.
    NotTomogramError
        When an object is of another kind.
    """
    for header in headers:
        refused = tomogram_refusal(header)
        if refused is not None:
            raise refused
    whole = [header for header in headers if frame_count(header.elements) > 1]
    series = {header.elements.text("SeriesInstanceUID") for header in headers}
    if len(series) > 1 or (whole and len(headers) > 1):
        raise SeveralTomogramsError(f"{len(headers)} files of {len(series)} series")
    flags = tuple(dict.fromkeys(flag for h in headers for flag in check_patient_pose(h.elements, oriented=True)))
    return _stack_frames(headers[0], flags) if whole else _stack_files(headers, flags)


def _stack_frames(header: Header, flags: tuple[str, ...]) -> Stack:
    """Stack the frames of one file in the direction that the sign of SpacingBetweenSlices gives (PS3.3 C.8.4.15).

    Some stations write a wrong sign. It turns transaxial slices upside down, and normalisation refuses that. But it
    mirrors coronal and sagittal slices, and nothing shows that they are mirrored.
    """
    elements = header.elements
    right, down = _plane(elements)
    spacing = elements.number("SpacingBetweenSlices")
    if not spacing:
        raise MissingOrientationError("SpacingBetweenSlices is missing: the direction of the slices is not known")
    if abs(np.cross(right, down)[2]) < _TRANSAXIAL:
        raise MissingOrientationError(
            "coronal or sagittal slices in one file: only the sign of SpacingBetweenSlices gives their direction",
            "Export transaxial slices, or one file per slice.",
        )
    form = pixel_format(header)
    numbers = elements.integers("SliceVector") or tuple(range(1, form.frames + 1))
    if sorted(numbers) != list(range(1, form.frames + 1)):
        raise (TruncatedError if len(numbers) > form.frames else ContradictoryGeometryError)(
            f"SliceVector does not name each of the {form.frames} frames once"
        )
    position = _position(elements) or (0.0, 0.0, 0.0)
    affine = _affine(form, right, down, spacing * np.cross(right, down), np.array(position))
    return Stack((header,), (form,), np.argsort(numbers).astype(np.int64), affine, _checked(form.frames, flags))


def _stack_files(headers: Sequence[Header], flags: tuple[str, ...]) -> Stack:
    """Stack the slices of one file each by their positions."""
    right, down = _plane(headers[0].elements)
    formats = [pixel_format(header) for header in headers]
    positions = []
    for header, form in zip(headers, formats, strict=True):
        own = np.concatenate(_plane(header.elements))
        if np.abs(own - np.concatenate([right, down])).max() > _SAME_DIRECTION:
            raise ContradictoryGeometryError("ImageOrientationPatient differs between the slices")
        first = formats[0]
        grid = (form.rows, form.columns, form.row_size_mm, form.pixel_size_mm)
        if grid != (first.rows, first.columns, first.row_size_mm, first.pixel_size_mm):
            raise ContradictoryGeometryError("Rows, Columns or PixelSpacing differ between the slices")
        position = _position(header.elements)
        if position is None:
            raise MissingOrientationError(
                "ImagePositionPatient of a slice is missing: the order of the slices is not known"
            )
        positions.append(position)
    places, normal = np.array(positions), np.cross(right, down)
    order = np.argsort(places @ normal, kind="stable")
    step = _step(places[order], normal, [headers[k].elements.number("SpacingBetweenSlices") for k in order])
    affine = _affine(formats[0], right, down, step * normal, places[order[0]])
    ordered = tuple(headers[k] for k in order), tuple(formats[k] for k in order)
    return Stack(*ordered, np.zeros(len(headers), dtype=np.int64), affine, _checked(len(headers), flags))


def _step(places: _Array, normal: _Array, stated: list[float | None]) -> float:
    """Give the distance of neighbouring slices, mm."""
    if len(places) < 2:
        return 1.0
    steps = np.diff(places, axis=0)
    along = steps @ normal
    step = float(np.median(along))
    if along.min() <= 0.0:
        raise ContradictoryGeometryError("two slices have the same ImagePositionPatient")
    if np.abs(along - step).max() > _SAME_STEP * step:
        raise InvalidTomogramError("slices are missing, or not equally far apart (ImagePositionPatient)")
    if np.linalg.norm(steps - along[:, None] * normal, axis=1).max() > _SAME_STEP * step:
        raise InvalidTomogramError("slices do not lie above each other (ImagePositionPatient)")
    if any(value and abs(abs(value) - step) > _SAME_STEP * step for value in stated):
        raise ContradictoryGeometryError("SpacingBetweenSlices and ImagePositionPatient contradict each other")
    return step


def _checked(slices: int, flags: tuple[str, ...]) -> tuple[str, ...]:
    if slices < _LEAST_SLICES:
        raise InvalidTomogramError(f"{slices} slices are too few for a head", "Find the missing slices.")
    return flags


def _plane(elements: Elements) -> tuple[_Array, _Array]:
    """Give the directions of rows and columns (LPS) from the object or its detector items."""
    stated = [detector.orientation for detector in read_detectors(elements) if detector.orientation]
    if not stated:
        raise MissingOrientationError("ImageOrientationPatient is missing")
    right, down = plane_directions(stated[0])
    for other in stated[1:]:
        if np.abs(np.concatenate(plane_directions(other)) - np.concatenate([right, down])).max() > _SAME_DIRECTION:
            raise ContradictoryGeometryError("ImageOrientationPatient differs between the detector items")
    check_letters(elements.texts("PatientOrientation"), right, down, "ImageOrientationPatient")
    return right, down


def _position(elements: Elements) -> tuple[float, float, float] | None:
    """Give the position of the first slice, LPS mm; None where none is stated."""
    items = elements.items("DetectorInformationSequence")
    stated = [item.numbers("ImagePositionPatient") for item in (elements, *items)]
    found = [position for position in stated if position]
    if not found:
        return None
    if any(len(position) != 3 for position in found):
        raise ContradictoryGeometryError("ImagePositionPatient does not have three values")
    for one, other in itertools.pairwise(found):
        if not np.allclose(one, other, atol=0.1):
            raise ContradictoryGeometryError("two ImagePositionPatient of one object contradict each other")
    x, y, z = found[0]
    return x, y, z


def _affine(form: PixelFormat, right: _Array, down: _Array, step: _Array, position: _Array) -> _Array:
    affine = np.eye(4)
    affine[:3, 0] = right * form.pixel_size_mm
    affine[:3, 1] = down * form.row_size_mm
    affine[:3, 2] = step
    affine[:3, 3] = position
    return np.asarray(_TO_RAS @ affine, dtype=np.float64)
