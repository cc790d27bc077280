"""Defects of real archives, one of each kind in every 64 studies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter, zoom

from datbatch import errors
from datbatch.simulation.examination import SimulatedStudy, subject_phantom
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
    """One thing that is wrong with a study."""

    name: str
    place: int
    """Number of the study with this defect, in each block of 64."""
    code: str
    """Stable code with which the study must be refused or excluded."""


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
"""The first eight studies of an archive have one of them, the first twelve two."""


def defect_of(index: int) -> Defect | None:
    """Give the defect of study number `index` in an archive with defects."""
    return {defect.place: defect for defect in DEFECTS}.get(index % BLOCK)


def write_defective(folder: Path, study: SimulatedStudy, header: StudyHeader, defect: str) -> None:
    """Write a study with a defect of its file into a folder that exists."""
    path = folder / "NM_TOMO.dcm"
    others = {"other-modality": _ct, "reconstructed": _reconstructed, "static": _static}
    if defect == "not-dicom":
        path.write_text("Export failed: connection to the archive was lost.\n" * 40, encoding="ascii")
    elif defect == "truncated":
        content = write_study(folder, study, header).read_bytes()
        path.write_bytes(content[: len(content) * 6 // 10])
    else:
        save(others[defect](study, header) if defect in others else _changed(study, header, defect), path)


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
    site = study.site
    if defect == "photopeak-missing":
        site = replace(site, convention=replace(site.convention, photopeak_kev=(126.0, 154.0)))
    projections = np.zeros_like(study.projections) if defect == "counts-zero" else study.projections
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
    """Leave out the last views of each head; the rotation item still declares them."""
    views = np.array(dataset.AngularViewVector)
    kept = np.flatnonzero(views <= views.max() - dropped)
    frames = dataset.pixel_array[kept]
    for name in ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector"):
        setattr(dataset, name, np.array(getattr(dataset, name))[kept].tolist())
    dataset.NumberOfFrames = len(kept)
    dataset.PixelData = frames.astype("<u2").tobytes()


def _static(study: SimulatedStudy, header: StudyHeader) -> Dataset:
    """Give one planar image of each head instead of a rotation."""
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
    """Give slices that look like another workstation's reconstruction: the blurred object itself."""
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
    # Stations write one detector item for all heads here, and the place of the slices into it.
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
