"""DICOM in: read one study's raw projections; scan an archive into a manifest."""

from datbatch.archive.geometry.acquisition import Acquisition, StudyFacts
from datbatch.archive.geometry.projections import read_study
from datbatch.archive.geometry.tomogram import Tomogram, read_tomogram
from datbatch.archive.inspection import FileFacts, inspect_file
from datbatch.archive.manifest import Entry, Manifest
from datbatch.archive.pseudonyms import (
    key_check,
    load_or_create_key,
    pseudonym,
    read_linkage,
    study_identifier,
    write_linkage,
)
from datbatch.archive.scan import scan_archive
from datbatch.archive.sources import SOURCES

__all__ = [
    "SOURCES",
    "Acquisition",
    "Entry",
    "FileFacts",
    "Manifest",
    "StudyFacts",
    "Tomogram",
    "inspect_file",
    "key_check",
    "load_or_create_key",
    "pseudonym",
    "read_linkage",
    "read_study",
    "read_tomogram",
    "scan_archive",
    "study_identifier",
    "write_linkage",
]
