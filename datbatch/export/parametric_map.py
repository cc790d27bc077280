"""DICOM Parametric Map of one volume, with the meaning of its values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes

from datbatch import __version__
from datbatch.export.frames import OWN_SPACE, Frame
from datbatch.export.nifti import NOTICE
from datbatch.export.subject import SCHEME, STAND_IN_CLASS, Subject, uid
from datbatch.imaging import Volume

MANUFACTURER = "datbatch"
MNI_FRAME_OF_REFERENCE = "1.2.840.10008.1.4.1.15"
"""Well-known frame of reference of the mean of 152 brains in MNI space (SPM2 AVG152T1)."""


@dataclass(frozen=True)
class Quantity:
    """What the values of a map mean."""

    label: str
    """At most 16 capitals, digits and underscores (code string)."""
    words: str
    """Meaning, at most 64 characters."""
    code: CodedConcept
    unit: Any
    """Code of UCUM."""
    signed: bool
    """Whether values below zero are shown too."""


def _quantity(label: str, code: str, words: str, unit: Any, *, signed: bool) -> Quantity:
    concept = CodedConcept(code, SCHEME, words[0].upper() + words[1:])
    return Quantity(label, words, concept, unit, signed)


_UPTAKE, _RELEVANCE = "uptake over that of the reference region", "layer-wise relevance for the classifier's decision"
UPTAKE = _quantity("UPTAKE_RATIO", "uptake-ratio", _UPTAKE, codes.UCUM.Ratio, signed=False)
RELEVANCE = _quantity("RELEVANCE", "relevance", _RELEVANCE, codes.UCUM.NoUnits, signed=True)


def parametric_map(
    volume: Volume,
    quantity: Quantity,
    subject: Subject,
    frame: Frame,
    *,
    series: int,
    source: Dataset,
    detail: str = "",
) -> Dataset:
    """Make a Parametric Map (PS3.3 A.75) with float32 values, unchanged; equal values give equal UIDs.

    Slices are transaxial, from the head to the feet as the writer sorts them; columns run to the patient's left, rows
    to the back, so that viewers show the usual radiological view. An affine in RAS becomes positions in LPS (x and y
    change their sign).

    Parameters
    ----------
    volume : Volume
        Axes along x, y and z of its space, as acquired (never mirrored).
    frame : {"as-acquired", "own-space"}
        Space of the volume.
    series : int
        Number of the series within the study.
    source : Dataset
        Object that the map was derived from; for the first map `Subject.source`, which is not referred to.
    detail : str
        What else tells maps of the same quantity apart, such as the model: part of the UIDs.
    """
    frames, first_mm = frames_lps(volume)
    spacing = np.abs(np.diag(volume.affine)[:3])
    content = hashlib.sha256(frames.tobytes()).hexdigest()
    own_frame = uid(subject.key, "frame of reference")
    first_map = source.SOPClassUID == STAND_IN_CLASS
    if first_map:
        source.FrameOfReferenceUID = own_frame if frame == OWN_SPACE else MNI_FRAME_OF_REFERENCE
        source.PositionReferenceIndicator = ""
        source.Rows, source.Columns = frames.shape[1:]
        source.ImageOrientationPatient, source.ImagePositionPatient = [1, 0, 0, 0, 1, 0], first_mm
        source.PixelSpacing, source.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    low, high = float(frames.min()), float(frames.max())
    bound = max(-low, high) or 1.0
    centre, width = (0.0, 2 * bound) if quantity.signed else (bound / 2, bound)
    made = ParametricMap(
        [source],
        frames,
        series_instance_uid=uid(subject.key, quantity.label, frame, detail, "series"),
        series_number=series,
        sop_instance_uid=uid(subject.key, quantity.label, frame, detail, content),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="datbatch",
        software_versions=__version__,
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label=quantity.label,
                lut_explanation=quantity.words,
                unit=quantity.unit,
                value_range=(low, high),
                slope=1.0,
                intercept=0.0,
                quantity_definition=quantity.code,
            )
        ],
        # LINEAR_EXACT: the function LINEAR allows no window narrower than 1, and relevance is small.
        voi_lut_transformations=[highdicom.VOILUTTransformation(centre, width, voi_lut_function="LINEAR_EXACT")],
        content_label=quantity.label,
        content_description=f"{quantity.label}. {NOTICE}",
        pixel_measures=highdicom.PixelMeasuresSequence([spacing[1], spacing[0]], spacing[2], spacing[2]),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0]),
        plane_positions=[
            highdicom.PlanePositionSequence("PATIENT", [first_mm[0], first_mm[1], first_mm[2] + spacing[2] * index])
            for index in range(len(frames))
        ],
    )
    if first_map:
        _forget_source(made)
    return subject.finish(made, f"{quantity.label.split('_')[0]} {frame}. {NOTICE}")


def frames_lps(volume: Volume) -> tuple[npt.NDArray[np.float32], list[float]]:
    """Turn a volume without rotation (RAS) into transaxial frames as DICOM counts them: shape (z, row, column).

    Column 0 lies furthest right, row 0 furthest to the front. The list is the centre of frame 0, row 0, column 0 in LPS
    mm.
    """
    frames = np.ascontiguousarray(np.asarray(volume.data, dtype=np.float32).transpose(2, 1, 0)[:, ::-1, ::-1])
    affine = np.asarray(volume.affine, dtype=np.float64)
    corner = affine @ [volume.data.shape[0] - 1.0, volume.data.shape[1] - 1.0, 0.0, 1.0]
    return frames, [float(-corner[0]), float(-corner[1]), float(corner[2])]


def _forget_source(dataset: Dataset) -> None:
    """Remove references to the projections: they are not part of the export."""
    for group in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if keyword in dataset:
            delattr(dataset, keyword)
