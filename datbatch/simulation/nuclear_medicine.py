"""Write projections as DICOM Nuclear Medicine Image Storage objects, in a site's convention."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from datbatch.schema import SIMULATED
from datbatch.simulation.examination import SimulatedStudy
from datbatch.simulation.identity import Identity, uid
from datbatch.simulation.population import Subject, draw_person
from datbatch.simulation.sites import Convention, Site

NM_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
IMPLEMENTATION_UID = uid("datbatch", "simulation")
FRAME_DURATION_MS = 20000


@dataclass(frozen=True)
class StudyHeader:
    """What a header says of the person, the examination and the objects."""

    identity: Identity
    institution: str
    """Invented hospital."""
    sex: str
    """DICOM's F or M."""
    age_years: float
    key: tuple[object, ...]
    """What the UIDs follow from: another key gives other UIDs."""

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return uid("study", *self.key)


def study_header(subject: Subject, site: Site) -> StudyHeader:
    """Give the header of a subject's study."""
    return StudyHeader(
        draw_person(subject), site.institution, subject.sex, subject.age_years, (subject.seed, subject.index)
    )


def write_study(folder: Path, study: SimulatedStudy, header: StudyHeader | None = None) -> Path:
    """Write a simulated study as one DICOM file into a folder (made if needed) and give its path.

    The default header is the subject's own.
    """
    return write_projections(
        folder,
        study.projections,
        study.site,
        header or study_header(study.subject, study.site),
        radius_mm=study.radius_mm,
        scatter_window=study.scatter_window,
    )


def write_projections(
    folder: Path,
    projections: npt.NDArray[np.uint16],
    site: Site,
    header: StudyHeader,
    *,
    radius_mm: float = 140.0,
    scatter_window: npt.NDArray[np.uint16] | None = None,
) -> Path:
    """Write any projections in a site's convention as one DICOM file, and give its path.

    Parameters
    ----------
    folder : Path
        Made if needed.
    projections : ndarray, shape (view, row, bin), uint16
        Photopeak counts, detector after detector, at `sites.view_angles(site.convention)`; row 0 is the head side.
    site : Site
        Its camera gives the pixel sizes, its convention the style of the header.
    header : StudyHeader
        Identity and identifiers.
    radius_mm : float, optional
        Radius of rotation.
    scatter_window : ndarray, shape (view, row, bin), uint16, optional
        Counts of the lower window, for sites that record it; zeros by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "NM_TOMO.dcm"
    save(projections_dataset(projections, site, header, radius_mm=radius_mm, scatter_window=scatter_window), path)
    return path


def projections_dataset(
    projections: npt.NDArray[np.uint16],
    site: Site,
    header: StudyHeader,
    *,
    radius_mm: float = 140.0,
    scatter_window: npt.NDArray[np.uint16] | None = None,
) -> Dataset:
    """Give the DICOM object of projections; parameters as in `write_projections`."""
    convention = site.convention
    dataset = common_dataset(header, site, "TOMO", "projections")
    lower = np.zeros_like(projections) if scatter_window is None else scatter_window
    windows = {"photopeak": projections, "scatter": lower}
    frames, vectors = [], []
    for number, name in enumerate(convention.windows, start=1):
        for head, view in _frame_order(convention):
            frames.append(windows[name][head * convention.views_per_head + view])
            vectors.append((number, head + 1, 1, view + 1))
    set_pixels(dataset, np.stack(frames), site)
    columns = np.array(vectors).T.tolist()
    dataset.FrameIncrementPointer = [0x00540010, 0x00540020, 0x00540050, 0x00540090]
    dataset.EnergyWindowVector, dataset.DetectorVector, dataset.RotationVector, dataset.AngularViewVector = columns
    dataset.NumberOfEnergyWindows = len(convention.windows)
    dataset.NumberOfDetectors = convention.heads
    dataset.NumberOfRotations = 1
    dataset.EnergyWindowInformationSequence = [_window(convention, name) for name in convention.windows]
    dataset.DetectorInformationSequence = [_detector(site, head, radius_mm) for head in range(convention.heads)]
    dataset.RotationInformationSequence = [_rotation(convention, radius_mm)]
    dataset.TypeOfDetectorMotion = "STEP AND SHOOT"
    dataset.CountsAccumulated = int(projections.sum(dtype=np.int64))
    return dataset


def common_dataset(header: StudyHeader, site: Site, kind: str, series: str) -> Dataset:
    """Give patient, study, series, equipment and radiopharmaceutical of an NM object, without frames.

    `kind` is value 3 of ImageType (TOMO, RECON TOMO, STATIC); `series` distinguishes the series of a study.
    """
    person = header.identity
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = NM_IMAGE_STORAGE
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "DATBATCH_SIM_1"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL" if kind != "RECON TOMO" else "DERIVED", "PRIMARY", kind, "EMISSION"]
    dataset.SOPClassUID = NM_IMAGE_STORAGE
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("instance", series, *header.key)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = person.study_date
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = person.study_time
    dataset.AccessionNumber = person.accession_number
    dataset.Modality = "NM"
    dataset.Manufacturer = f"{SIMULATED} {site.convention.manufacturer}"
    dataset.ManufacturerModelName = site.convention.model
    dataset.InstitutionName = header.institution
    dataset.ReferringPhysicianName = f"{person.referring_physician}^Dr"
    dataset.PerformingPhysicianName = f"{person.referring_physician}son^Dr"
    dataset.StudyDescription = "DaT SPECT"
    dataset.SeriesDescription = f"{kind} {series}"
    dataset.PatientName = f"{person.family_name}^{person.given_name}"
    dataset.PatientID = person.patient_id
    dataset.PatientBirthDate = person.birth_date
    dataset.PatientSex = header.sex
    dataset.PatientAge = f"{int(header.age_years):03d}Y"
    dataset.StudyInstanceUID = header.study_uid
    dataset.SeriesInstanceUID = uid("series", series, *header.key)
    dataset.FrameOfReferenceUID = uid("frame", *header.key)
    dataset.PositionReferenceIndicator = dataset.PatientOrientation = ""
    dataset.StudyID = "1"
    dataset.SeriesNumber = dataset.AcquisitionNumber = dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "BRAIN"
    _set_orientation_codes(dataset)
    _set_radiopharmaceutical(dataset)
    return dataset


def set_pixels(dataset: Dataset, frames: npt.NDArray[np.uint16], site: Site) -> None:
    """Put frames (frame, row, column) into an object, with the site's pixel size."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.PixelSpacing = [site.camera.row_size_mm, site.camera.pixel_size_mm]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(frames, dtype="<u2").tobytes()


def save(dataset: Dataset, path: Path) -> None:
    """Write a DICOM Part 10 file."""
    dataset.save_as(path, enforce_file_format=True)


def detector_orientation(angle_deg: float) -> list[float]:
    """Give ImageOrientationPatient of a detector at an angle: row direction (-cos, sin, 0), column (0, 0, -1)."""
    angle = np.radians(angle_deg)
    return [round(float(-np.cos(angle)), 6) + 0.0, round(float(np.sin(angle)), 6) + 0.0, 0.0, 0.0, 0.0, -1.0]


def _frame_order(convention: Convention) -> list[tuple[int, int]]:
    """Give (head, view), counted from 0, of each frame of one window."""
    heads, views = range(convention.heads), range(convention.views_per_head)
    if convention.interleaved:
        return [(head, view) for view in views for head in heads]
    return [(head, view) for head in heads for view in views]


def _window(convention: Convention, name: str) -> Dataset:
    limits_kev = convention.photopeak_kev if name == "photopeak" else convention.scatter_kev
    lower, upper = (round(limit / convention.energy_unit_kev, 2) for limit in limits_kev)
    limits = _item(EnergyWindowLowerLimit=lower, EnergyWindowUpperLimit=upper)
    return _item(EnergyWindowRangeSequence=[limits], EnergyWindowName="I-123" if name == "photopeak" else "I-123 low")


def _detector(site: Site, head: int, radius_mm: float) -> Dataset:
    camera, convention = site.camera, site.convention
    start = convention.start_angles_deg[head]
    item = _item(
        CollimatorGridName=convention.collimator_name,
        CollimatorType=convention.collimator_type,
        FieldOfViewShape="RECTANGLE",
        FieldOfViewDimensions=[round(camera.field_of_view_mm), round(camera.bins * camera.pixel_size_mm)],
        FocalDistance=0 if convention.collimator_type == "PARA" else 500,
        ZoomFactor=[1.0, 1.0],
        ZoomCenter=[0.0, 0.0],
        CenterOfRotationOffset=0.0,
        GantryDetectorTilt=0.0,
        RadialPosition={"detector": round(radius_mm, 1), "zero": 0.0}.get(convention.radius_in),
        ImageOrientationPatient=detector_orientation(start) if convention.orientation else None,
        ImagePositionPatient=None,
    )
    if convention.start_per_detector:
        item.StartAngle = start
    return item


def _rotation(convention: Convention, radius_mm: float) -> Dataset:
    item = _item(
        StartAngle=convention.start_angles_deg[0],
        AngularStep=convention.step_deg,
        RotationDirection=convention.direction,
        ScanArc=convention.arc_deg,
        ActualFrameDuration=FRAME_DURATION_MS,
        NumberOfFramesInRotation=convention.views_per_head,
    )
    if convention.radius_in == "rotation":
        item.RadialPosition = [round(radius_mm, 1)] * convention.views_per_head
    return item


def _set_orientation_codes(dataset: Dataset) -> None:
    recumbent = _code("102538003", "recumbent")
    recumbent.PatientOrientationModifierCodeSequence = [_code("40199007", "supine")]
    dataset.PatientOrientationCodeSequence = [recumbent]
    dataset.PatientGantryRelationshipCodeSequence = [_code("102540008", "headfirst")]


def _set_radiopharmaceutical(dataset: Dataset) -> None:
    item = _item(
        RadionuclideCodeSequence=[_code("21572004", "^123^Iodine")],
        Radiopharmaceutical="I-123 ioflupane",
        RadiopharmaceuticalCodeSequence=[_code("429296007", "Ioflupane I^123^")],
        RadionuclideTotalDose=185.0,
        RadiopharmaceuticalRoute="IV",
    )
    dataset.RadiopharmaceuticalInformationSequence = [item]


def _code(value: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
