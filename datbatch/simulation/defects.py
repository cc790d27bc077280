"""What goes wrong in real archives, one of each kind in every 64 studies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter, zoom

from datbatch import errors
from datbatch.simulation.identity import uid
from datbatch.simulation.nuclear_medicine import (
    IMPLEMENTATION_UID,
    StudyHeader,
    common_dataset,
    detector_orientation,
    projections_dataset,
    save,
    set_pixels,
    write_study,
)
from datbatch.simulation.sites import Site
from datbatch.simulation.study import SimulatedStudy, subject_phantom

BLOCK = 64
ROTATION_ATTRIBUTES = (
    "RotationVector",
    "AngularViewVector",
    "NumberOfRotations",
    "RotationInformationSequence",
    "TypeOfDetectorMotion",
)


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a study.

    Attributes
    ----------
    name : str
        What is wrong.
    place : int
        Number of the study within its block of 64 that has it.
    code : str
        Stable code with which the study must be refused or excluded.
    """

    name: str
    place: int
    code: str


DEFECTS = (
    Defect("truncated", 5, errors.TruncatedError.code),
    Defect("reconstructed", 9, errors.NotProjectionsError.code),
    Defect("label-contradictory", 13, errors.ContradictoryLabelError.code),
    Defect("angles-missing", 18, errors.MissingAnglesError.code),
    Defect("not-dicom", 22, errors.NotDicomError.code),
    Defect("duplicate", 26, errors.DuplicateStudyError.code),
    Defect("geometry-contradictory", 30, errors.ContradictoryGeometryError.code),
    Defect("other-modality", 34, errors.WrongModalityError.code),
    Defect("views-missing", 38, errors.MissingViewsError.code),
    Defect("label-missing", 42, errors.MissingLabelError.code),
    Defect("photopeak-missing", 46, errors.NoPhotopeakError.code),
    Defect("static", 50, errors.NotProjectionsError.code),
    Defect("counts-zero", 53, errors.NoCountsError.code),
    Defect("one-head", 57, "system-not-eligible"),
    Defect("other-indication", 61, "not-indicated"),
)
"""The first eight studies of an archive hold one of them, the first twelve two."""


def defect_of(index: int) -> Defect | None:
    """Give what is wrong with study number `index` of an archive with defects."""
    return {defect.place: defect for defect in DEFECTS}.get(index % BLOCK)


def write_defective(folder: Path, study: SimulatedStudy, header: StudyHeader, defect: str) -> None:
    """Write a study with a defect of its files into a folder that exists.

    Defects of the participants' table and duplicates leave the files whole.
    """
    path = folder / "NM_TOMO.dcm"
    if defect == "not-dicom":
        path.write_text("Export failed: connection to the archive was lost.\n" * 40, encoding="ascii")
    elif defect == "other-modality":
        save(_ct(study, header), path)
    elif defect == "reconstructed":
        save(_reconstructed(study, header), path)
    elif defect == "static":
        save(_static(study, header), path)
    elif defect == "truncated":
        written = write_study(folder, study, header)
        content = written.read_bytes()
        written.write_bytes(content[: len(content) * 6 // 10])
    else:
        save(_changed(study, header, defect), path)


def one_head(site: Site) -> Site:
    """Give the site with a single head that goes all the way round."""
    style = site.convention
    views = style.views_per_head * style.heads
    return replace(
        site,
        convention=replace(
            style, start_angles_deg=style.start_angles_deg[:1], views_per_head=views, arc_deg=360.0, interleaved=False
        ),
    )


def _changed(study: SimulatedStudy, header: StudyHeader, defect: str) -> Dataset:
    """Give the projections' object with one contradiction or gap."""
    site, projections = study.site, study.projections
    if defect == "photopeak-missing":
        convention = replace(site.convention, photopeak_kev=(126.0, 154.0))
        site = replace(site, convention=convention)
    if defect == "counts-zero":
        projections = np.zeros_like(projections)
    dataset = projections_dataset(
        projections, site, header, radius_mm=study.radius_mm, scatter_window=study.scatter_window
    )
    if defect == "angles-missing":
        for item in (*dataset.DetectorInformationSequence, *dataset.RotationInformationSequence):
            item.pop("StartAngle", None)
    if defect == "geometry-contradictory":
        for item, start in zip(dataset.DetectorInformationSequence, site.convention.start_angles_deg, strict=True):
            item.StartAngle = start
            item.ImageOrientationPatient = detector_orientation(start + 90)
    if defect == "views-missing":
        _drop_last_views(dataset, dropped=8)
    return dataset


def _drop_last_views(dataset: Dataset, dropped: int) -> None:
    """Leave out the last views of each head; the rotation still declares them."""
    views = np.array(dataset.AngularViewVector)
    kept = np.flatnonzero(views <= views.max() - dropped)
    frames = dataset.pixel_array[kept]
    for name in ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector"):
        setattr(dataset, name, np.array(getattr(dataset, name))[kept].tolist())
    dataset.NumberOfFrames = len(kept)
    dataset.PixelData = frames.astype("<u2").tobytes()


def _static(study: SimulatedStudy, header: StudyHeader) -> Dataset:
    """Give a planar image per head instead of a rotation."""
    convention = study.site.convention
    dataset = projections_dataset(study.projections, study.site, header, radius_mm=study.radius_mm)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]
    first = study.projections[:: convention.views_per_head]
    set_pixels(dataset, first, study.site)
    dataset.FrameIncrementPointer = [0x00540010, 0x00540020]
    dataset.EnergyWindowVector = [1] * len(first)
    dataset.DetectorVector = list(range(1, len(first) + 1))
    for name in ROTATION_ATTRIBUTES:
        delattr(dataset, name)
    dataset.EnergyWindowInformationSequence = dataset.EnergyWindowInformationSequence[
        convention.windows.index("photopeak") :
    ][:1]
    dataset.NumberOfEnergyWindows = 1
    dataset.ActualFrameDuration = 300000
    dataset.CountsAccumulated = int(first.sum(dtype=np.int64))
    return dataset


def _reconstructed(study: SimulatedStudy, header: StudyHeader) -> Dataset:
    """Give slices as another workstation would have reconstructed them (the blurred object itself)."""
    phantom = subject_phantom(study.subject)
    blurred = gaussian_filter(phantom.activity, 9.0 / 2.355 / phantom.grid.spacing_mm)
    slices = np.round(1000 * blurred).astype(np.uint16)[::-1, ::-1, ::-1].transpose(2, 1, 0)
    dataset = common_dataset(header, study.site, "RECON TOMO", "reconstructed")
    set_pixels(dataset, slices, study.site)
    spacing = phantom.grid.spacing_mm
    dataset.PixelSpacing = [spacing, spacing]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = spacing
    dataset.FrameIncrementPointer = [0x00540080]
    dataset.SliceVector = list(range(1, len(slices) + 1))
    dataset.NumberOfSlices = len(slices)
    dataset.NumberOfEnergyWindows = dataset.NumberOfDetectors = dataset.NumberOfRotations = 1
    dataset.CountsAccumulated = int(slices.sum(dtype=np.int64))
    whole = projections_dataset(study.projections, study.site, header, radius_mm=study.radius_mm)
    photopeak = study.site.convention.windows.index("photopeak")
    dataset.EnergyWindowInformationSequence = whole.EnergyWindowInformationSequence[photopeak:][:1]
    dataset.RotationInformationSequence = whole.RotationInformationSequence
    # Stations let one detector stand for all heads here, and tell the slices' place in its item.
    dataset.DetectorInformationSequence = whole.DetectorInformationSequence[:1]
    last_mm = [round(float(phantom.grid.axis_mm(axis)[-1]), 3) for axis in range(3)]
    for item in dataset.DetectorInformationSequence:
        item.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        item.ImagePositionPatient = [-last_mm[0], -last_mm[1], last_mm[2]]
    return dataset


def _ct(study: SimulatedStudy, header: StudyHeader) -> Dataset:
    """Give a CT slice of the same head."""
    phantom = subject_phantom(study.subject)
    middle = phantom.attenuation_per_mm[:, :, phantom.grid.shape[2] // 2]
    water = float(phantom.attenuation_per_mm.max()) or 1.0
    hounsfield = zoom(middle / water, 2, order=1)[::-1, ::-1].T * 1040 - 1000
    nuclear = common_dataset(header, study.site, "TOMO", "computed-tomography")
    wanted = (
        "SpecificCharacterSet StudyDate StudyTime AccessionNumber Manufacturer InstitutionName ReferringPhysicianName "
        "StudyDescription PatientName PatientID PatientBirthDate PatientSex PatientAge StudyInstanceUID "
        "SeriesInstanceUID FrameOfReferenceUID PositionReferenceIndicator StudyID SeriesNumber AcquisitionNumber "
        "InstanceNumber SOPInstanceUID ContentDate ContentTime"
    )
    dataset = Dataset()
    for name in wanted.split():
        setattr(dataset, name, nuclear[name].value)
    ct_storage = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ct_storage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    dataset.SeriesInstanceUID = uid("series", "computed-tomography", *header.key)
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientPosition = "HFS"
    dataset.BodyPartExamined = "HEAD"
    dataset.KVP = 120
    set_pixels(dataset, (hounsfield + 1024).astype(np.uint16)[None], study.site)
    del dataset.NumberOfFrames
    dataset.PixelSpacing = [2.0, 2.0]
    dataset.SliceThickness = 2.0
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-127.0, -127.0, 0.0]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    return dataset
