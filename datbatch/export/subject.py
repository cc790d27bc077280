"""Whose results a DICOM object holds: a pseudonym, or, where asked for, the patient and study of the original files."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from datbatch import schema
from datbatch.archive import inspect_file, pseudonym, study_identifier
from datbatch.cohort.views.results import StudyResults
from datbatch.errors import UnreadableDicomError

STAND_IN_CLASS = "1.2.840.10008.5.1.4.1.1.128"
"""SOP class of the stand-in for what the maps derive from: single frames, as the writer of maps wants them."""
SCHEME = "99DATBATCH"
"""Private coding scheme of what no standard scheme names."""
UNICODE = "ISO_IR 192"
"""Character set of all objects: names are converted to it."""
_NAMESPACE = uuid.UUID("5b1c2ad6-3f0e-4a35-9c77-4c9f6a3d9b10")
"""Of the names that UIDs are made from; never changed, or equal exports would get other UIDs."""
METHOD = "pseudonym by keyed hash; no element of the original copied"
"""DeidentificationMethod."""
_REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Elements of the patient and study modules that must be there, empty where not known (PS3.3 C.7.1.1, C.7.2.1)."""
_OPTIONAL = ("PatientAge", "IssuerOfPatientID", "StudyDescription")
_COPIED = (*_REQUIRED, *_OPTIONAL, "StudyInstanceUID", "SpecificCharacterSet")
"""What is taken from an original file."""


@dataclass(frozen=True)
class Subject:
    """Patient and study modules of all objects of one study."""

    key: str
    """What UIDs are made from: the pseudonym or, where the objects name a patient, the original's StudyInstanceUID, so
    that no UID leads from the one to the other."""
    elements: Mapping[str, Any]
    """Values by DICOM keyword."""
    identified: bool
    """Whether they name a patient."""

    def source(self) -> Dataset:
        """Give a data set with these modules that stands for the image from which all others derive."""
        dataset = Dataset()
        dataset.SpecificCharacterSet = UNICODE
        for keyword, value in self.elements.items():
            setattr(dataset, keyword, value)
        dataset.SOPClassUID = STAND_IN_CLASS
        dataset.SOPInstanceUID = uid(self.key, "source")
        dataset.SeriesInstanceUID = uid(self.key, "source series")
        return dataset

    def finish(self, dataset: Dataset, description: str) -> Dataset:
        """Complete an object: its patient, its description, and whether identity was removed."""
        for keyword in _OPTIONAL:
            if keyword in self.elements:
                setattr(dataset, keyword, self.elements[keyword])
        dataset.SeriesDescription = description
        if dataset.Modality != "SR":
            dataset.BodyPartExamined = "BRAIN"
        scheme = Dataset()
        scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, "Terms of datbatch"
        scheme.CodingSchemeResponsibleOrganization = "datbatch"
        dataset.CodingSchemeIdentificationSequence = [scheme]
        if not self.identified:
            dataset.PatientIdentityRemoved = "YES"
            dataset.DeidentificationMethod = METHOD
        return dataset


def pseudonymous(results: StudyResults) -> Subject:
    """Give the modules of a study under its pseudonym: no name, no date; sex, and age capped at 89 years."""
    elements = dict.fromkeys(_REQUIRED, "")
    elements |= {
        "PatientName": f"{results.study}^",
        "PatientID": results.study,
        "PatientSex": results.sex if results.sex in ("F", "M", "O") else "",
        "StudyInstanceUID": uid(results.study, "study"),
    }
    if math.isfinite(results.age_years):
        elements["PatientAge"] = f"{int(min(results.age_years, schema.AGE_CAP_YEARS)):03d}Y"
    return Subject(results.study, elements, identified=False)


def from_original(results: StudyResults, path: Path, key: bytes) -> Subject:
    """Give the modules of one of the study's original files, so that an archive files the results beside it.

    The key of the pseudonyms tells whether the file is of this study: results must never be filed under another
    patient. UnreadableDicomError is raised where it is not, or where it cannot be read within safe bounds.
    """
    # This reader keeps safe bounds; the general reader below gets only files that this one could read.
    stated = inspect_file(path).study_uid
    if not stated or pseudonym(key, study_identifier(stated)) != results.study:
        raise UnreadableDicomError(
            "the original file does not belong to the study", "Give the file or archive of the study."
        )
    try:
        original = dcmread(path, specific_tags=list(_COPIED), stop_before_pixels=True)
        elements = dict.fromkeys(_REQUIRED, "")
        elements |= {keyword: str(original[keyword].value or "") for keyword in _COPIED if keyword in original}
    except (InvalidDicomError, OSError, ValueError, KeyError, RecursionError) as error:
        raise UnreadableDicomError("the original file of the study cannot be read") from error
    return Subject(elements["StudyInstanceUID"], elements, identified=True)


def uid(*parts: object) -> str:
    """Give a UID that depends on the parts alone: 2.25 and a name-based UUID (PS3.5 B.2, RFC 9562 5.5)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(str(part) for part in parts)).int}"
