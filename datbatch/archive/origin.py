"""Where a store came from: archive, parameters, manifest. The files are beside the store, for its owner alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datbatch.archive.manifest import Entry, Manifest
from datbatch.config import Config
from datbatch.errors import (
    ContradictoryLabelError,
    DuplicateStudyError,
    MissingFilesError,
    MissingLabelError,
    StoreError,
)
from datbatch.files import read_private, write_whole
from datbatch.location import Location, beside, parse_location
from datbatch.schema import FAILED, PROJECTIONS, TOMOGRAM


@dataclass(frozen=True)
class Given:
    """A folder of studies and its participants' table."""

    folder: Location
    participants: Location | None


@dataclass(frozen=True)
class Origin:
    """What `datbatch run` and `datbatch import` were called with."""

    folders: Mapping[str, Given]
    """By their source, projections or tomogram; at least one."""
    config: Config

    @property
    def archive(self) -> Location:
        """Folder of the projections, or of the tomograms in a cohort without projections."""
        return self.folders.get(PROJECTIONS, next(iter(self.folders.values()))).folder

    @property
    def tomograms(self) -> Location | None:
        """Folder of the imported tomograms, where there are any."""
        return self.folders[TOMOGRAM].folder if TOMOGRAM in self.folders else None


def origin_path(cohort: Location) -> Path:
    """Give the path of the record of a run's arguments: it holds paths, and paths may hold names."""
    return beside(cohort, "origin.json")


def manifest_path(cohort: Location) -> Path:
    """Give the path of the manifest that the store was made from."""
    return beside(cohort, "manifest.json")


def write_origin(cohort: Location, origin: Origin, manifest: Manifest) -> None:
    """Record where the store comes from; an earlier record is replaced."""
    folders = {source: _plain(given) for source, given in origin.folders.items()}
    # In the first version a store had projections only.
    content = {
        **folders.get(PROJECTIONS, {"archive": None, "participants": None}),
        "tomograms": folders.get(TOMOGRAM),
        "config": origin.config.to_dict(),
    }
    write_whole(origin_path(cohort), origin_text(content), private=True)
    write_whole(manifest_path(cohort), manifest.to_json(), private=True)


def origin_text(content: Mapping[str, Any]) -> bytes:
    """Give the record as its file holds it."""
    return json.dumps(content, indent=1).encode()


def _plain(given: Given) -> dict[str, str | None]:
    participants = None if given.participants is None else str(given.participants.absolute())
    return {"archive": str(given.folder.absolute()), "participants": participants}


def read_origin(cohort: Location) -> Origin:
    """Read what the store was made with.

    Raises
    ------
    StoreError
        When there is no record.
    ExposedFileError
        When others can read it.
    """
    try:
        content = json.loads(read_private(origin_path(cohort)))
    except (OSError, ValueError) as error:
        raise StoreError(
            "the record of the store's origin is missing", "Call `datbatch run ARCHIVE COHORT` with the archive."
        ) from error
    recorded = {PROJECTIONS: content, TOMOGRAM: content.get("tomograms")}
    folders = {source: _given(one) for source, one in recorded.items() if one and one["archive"] is not None}
    return Origin(folders, Config.from_dict(content["config"], recorded=True))


def _given(recorded: Mapping[str, str | None]) -> Given:
    participants, archive = recorded["participants"], parse_location(str(recorded["archive"]))
    return Given(archive, None if participants is None else parse_location(participants))


def earlier_folders(cohort: Location) -> Mapping[str, Given]:
    """Give the folders that the store was made from; none for a new store, or where the record is lost."""
    try:
        return read_origin(cohort).folders
    except StoreError:
        return {}


def read_manifest(cohort: Location) -> Manifest:
    """Read the manifest that the store was made from; errors are those of `read_origin`."""
    try:
        return Manifest.from_json(read_private(manifest_path(cohort)))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            "the manifest beside the store is missing", "Call `datbatch run ARCHIVE COHORT` with the archive."
        ) from error


_READABLE = {DuplicateStudyError.code, MissingLabelError.code, ContradictoryLabelError.code}
"""Errors of a study with good files."""


def keep_others(manifest: Manifest, cohort: Location, source: str) -> Manifest:
    """Keep the earlier entry of a study where this folder has no files of it, or no better ones.

    The store keeps the results of studies whose files are gone, or lie in the folder of the other source. Projections
    and tomogram of one study are one entry; it is read from its projections where they are good. So the order of `run`
    and `import` does not matter.
    """
    gone = any(entry.outcome.code == MissingFilesError.code for entry in manifest.entries)
    if not gone and not earlier_folders(cohort).keys() - {source}:
        # To read the manifest of a large archive takes seconds.
        return manifest
    try:
        before = {entry.pseudonym: entry for entry in read_manifest(cohort).entries}
    except StoreError:
        return manifest
    entries = tuple(_better(entry, before.get(entry.pseudonym, entry)) for entry in manifest.entries)
    return replace(manifest, entries=entries)


def _better(found: Entry, before: Entry) -> Entry:
    if found.outcome.code == MissingFilesError.code:
        return before
    if found.source == before.source or _rank(found) < _rank(before):
        return found
    return before


def _rank(entry: Entry) -> tuple[bool, bool]:
    """Order the two sources of one study, the better one first: good files before bad ones, then projections."""
    good = entry.outcome.status != FAILED or entry.outcome.code in _READABLE
    return not good, entry.source != PROJECTIONS
