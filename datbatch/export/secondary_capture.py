"""DICOM Secondary Capture of a study's summary page."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from pydicom import Dataset

from datbatch import __version__
from datbatch.export.nifti import NOTICE
from datbatch.export.parametric_map import MANUFACTURER
from datbatch.export.subject import Subject, uid


def secondary_capture(picture: npt.NDArray[np.uint8], subject: Subject, *, series: int) -> Dataset:
    """Make a Secondary Capture Image (PS3.3 A.8.1) of a page, shape (row, column, 3); equal pictures give equal UIDs.

    `series` is the number of the series within the study. The picture itself says that it is no result of a medical
    device.
    """
    study = subject.source()
    made = SCImage(
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=study.StudyInstanceUID,
        series_instance_uid=uid(subject.key, "summary series"),
        series_number=series,
        sop_instance_uid=uid(subject.key, "summary", hashlib.sha256(picture.tobytes()).hexdigest()),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_id=study.PatientID,
        patient_name=study.PatientName,
        patient_birth_date=study.PatientBirthDate,
        patient_sex=study.PatientSex,
        accession_number=study.AccessionNumber,
        study_id=study.StudyID,
        study_date=study.StudyDate,
        study_time=study.StudyTime,
        referring_physician_name=study.ReferringPhysicianName,
        patient_orientation=("L", "P"),
        specific_character_set=study.SpecificCharacterSet,
    )
    made.BurnedInAnnotation = "YES" if subject.identified else "NO"
    made.SoftwareVersions = __version__
    made.ImageComments = f"{NOTICE}."
    return subject.finish(made, f"Summary. {NOTICE}")
