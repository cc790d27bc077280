"""The sources of a study: raw projections, or a tomogram that was reconstructed elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from datbatch import schema
from datbatch.archive.dicom.facts import age_years, sex
from datbatch.archive.dicom.header import has_mark, parse, read_bytes
from datbatch.archive.dicom.nifti_volume import is_nifti, read_volume
from datbatch.archive.geometry.anatomical import placed_digest, to_anatomical, values_digest
from datbatch.archive.geometry.slices import tomogram_refusal
from datbatch.archive.geometry.tomogram import read_tomogram
from datbatch.archive.inspection import (
    FileFacts,
    StudyCheck,
    StudyFiles,
    check_study,
    faults_named,
    header_facts,
    inspect_file,
)
from datbatch.errors import DONE, DatbatchError, NotTomogramError, Outcome
from datbatch.location import Location

_NIFTI_NAMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Source:
    """How studies of one kind are found and checked; no content of files raises an error."""

    inspect: Callable[[Location], FileFacts]
    check: Callable[[StudyFiles], StudyCheck]


def inspect_tomogram(path: Location) -> FileFacts:
    """Classify a file by its content: slices of a tomogram, a NIfTI volume, or something else."""
    try:
        data, size = read_bytes(path)
    except DatbatchError as error:
        return FileFacts(0, has_mark=False, outcome=Outcome.failed(error))
    digest = hashlib.sha256(data).hexdigest()
    if has_mark(data):
        header = parse(data, size)
        facts = header_facts(header.elements, size, digest, tomogram_refusal(header))
        if facts.outcome == DONE:
            facts = replace(facts, sex=sex(header.elements), age_years=age_years(header.elements))
        return facts
    found = FileFacts(size, has_mark=path.name.lower().endswith(_NIFTI_NAMES) or is_nifti(data), digest=digest)
    try:
        return _nifti_facts(found, data)
    except DatbatchError as error:
        return replace(found, outcome=Outcome.failed(error))


def _nifti_facts(found: FileFacts, data: bytes) -> FileFacts:
    """Add the digests of the volume; that of its values also where its place in space is refused."""
    if not found.has_mark:
        raise NotTomogramError("neither DICOM nor NIfTI")
    volume = read_volume(data, found.size)
    found = replace(found, values=values_digest(volume.values))
    try:
        # The header's texts are not part of the content: a de-identified copy is the same study.
        return replace(found, digest=placed_digest(*to_anatomical(volume.values, volume.affine())))
    except DatbatchError as error:
        return replace(found, outcome=Outcome.failed(error))


def check_tomogram(study: StudyFiles) -> StudyCheck:
    """Read a study's tomogram; no content raises an error."""
    return faults_named(lambda given: StudyCheck(pixels=values_digest(read_tomogram(given.paths).data)), study)


SOURCES: Mapping[str, Source] = {
    schema.PROJECTIONS: Source(inspect_file, check_study),
    schema.TOMOGRAM: Source(inspect_tomogram, check_tomogram),
}
"""By their names in the store."""
