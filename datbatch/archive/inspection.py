"""Inspect one file, and check one study; what is wrong with them is in the result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from datbatch.archive.dicom.elements import Elements
from datbatch.archive.dicom.facts import age_years, sex
from datbatch.archive.dicom.frames import declared_detectors
from datbatch.archive.dicom.header import has_mark, parse, read_bytes
from datbatch.archive.dicom.kinds import MEDIA_DIRECTORY, NM_IMAGE_STORAGE, refusal
from datbatch.archive.geometry.heads import read_detectors
from datbatch.archive.geometry.projections import read_study
from datbatch.archive.inclusion import System
from datbatch.config import ArchiveConfig
from datbatch.errors import DONE, DatbatchError, InternalError, MemoryExceededError, NotDicomError, Outcome
from datbatch.location import Location


@dataclass(frozen=True)
class FileFacts:
    """What a file's header says; its identifiers group files and join rows, and are never shown or stored."""

    size: int
    has_mark: bool
    """Whether it begins like a DICOM Part 10 file, or like another kind that is wanted."""
    digest: str = field(default="", repr=False)
    """SHA-256 of its bytes; empty where it was not read."""
    outcome: Outcome = DONE
    """Done for what is looked for: projections, or slices of a tomogram."""
    values: str = field(default="", repr=False)
    """SHA-256 of a volume's values (`anatomical.values_digest`), where no header states a study."""
    study_uid: str = field(default="", repr=False)
    sop_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    sex: str = ""
    age_years: float | None = None
    system: System = field(default_factory=System)
    is_media_directory: bool = False


def inspect_file(path: Location) -> FileFacts:
    """Classify a file by its content, without decoding pixels; no content raises an error."""
    try:
        data, size = read_bytes(path)
    except DatbatchError as error:
        return FileFacts(0, has_mark=False, outcome=Outcome.failed(error))
    digest = hashlib.sha256(data).hexdigest()
    if not has_mark(data):
        missing = Outcome.failed(NotDicomError("the DICOM mark is missing"))
        return FileFacts(size, has_mark=False, digest=digest, outcome=missing)
    header = parse(data, size)
    elements = header.elements
    refused = refusal(header)
    system, age, stated_sex = System(), None, ""
    if elements.text("SOPClassUID") == NM_IMAGE_STORAGE:
        try:
            collimators = [detector.collimator for detector in read_detectors(elements) if detector.collimator]
            system = System(declared_detectors(elements), *collimators[:1])
        except DatbatchError as error:
            refused = refused or error
        age, stated_sex = age_years(elements), sex(elements)
    return replace(header_facts(elements, size, digest, refused), sex=stated_sex, age_years=age, system=system)


def header_facts(elements: Elements, size: int, digest: str, refused: DatbatchError | None) -> FileFacts:
    """Give the identifiers of a DICOM file, and the error that refuses it, if any."""
    return FileFacts(
        size,
        has_mark=True,
        digest=digest,
        outcome=Outcome.failed(refused) if refused else DONE,
        study_uid=elements.text("StudyInstanceUID"),
        sop_uid=elements.text("SOPInstanceUID"),
        patient_id=elements.text("PatientID"),
        accession_number=elements.text("AccessionNumber"),
        is_media_directory=MEDIA_DIRECTORY in (elements.text("SOPClassUID"), elements.text("MediaStorageSOPClassUID")),
    )


@dataclass(frozen=True)
class StudyCheck:
    """Whether a study's files can be read together."""

    outcome: Outcome = DONE
    pixels: str = field(default="", repr=False)
    """SHA-256 of the projections, or of a volume's values; it is equal for copies with other identifiers."""
    system: System = field(default_factory=System)


@dataclass(frozen=True)
class StudyFiles:
    """The files of one study, to be checked."""

    paths: tuple[Location, ...] = field(repr=False)
    config: ArchiveConfig


def check_study(study: StudyFiles) -> StudyCheck:
    """Read a study's projections; no content raises an error."""
    return faults_named(_check_projections, study)


def _check_projections(study: StudyFiles) -> StudyCheck:
    acquisition = read_study(study.paths, config=study.config)
    digest = hashlib.sha256(repr(acquisition.projections.shape).encode())
    digest.update(acquisition.projections.astype("<f8").tobytes())
    return StudyCheck(
        pixels=digest.hexdigest(), system=System(acquisition.study.detectors, acquisition.study.collimator)
    )


def faults_named(check: Callable[[StudyFiles], StudyCheck], study: StudyFiles) -> StudyCheck:
    """Check a study; what goes wrong becomes its outcome."""
    try:
        return check(study)
    except DatbatchError as error:
        return StudyCheck(Outcome.failed(error))
    except MemoryError:
        return StudyCheck(Outcome.failed(MemoryExceededError("reading needed more memory than a study may take")))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # An unforeseen header must not end a scan of thousands of studies; the type alone carries no identity.
        return StudyCheck(Outcome.failed(InternalError(f"reading ended with {type(error).__name__}")))


def content_digest(digests: Sequence[str]) -> str:
    """Give one SHA-256 for several files' digests, whatever their order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
