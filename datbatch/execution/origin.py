"""Where a store came from: archive, parameters, manifest; beside the store, for the operator alone (mode 0600)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from datbatch.archive import Manifest
from datbatch.config import Config
from datbatch.errors import MissingFilesError, StoreError
from datbatch.files import read_private, write_whole
from datbatch.location import Location, beside, parse_location


@dataclass(frozen=True)
class Origin:
    """What `datbatch run` was called with."""

    archive: Location
    participants: Location | None
    config: Config


def origin_path(cohort: Location) -> Path:
    """Give the path of the record of a run's arguments: it holds paths, and paths may hold names."""
    return beside(cohort, "origin.json")


def manifest_path(cohort: Location) -> Path:
    """Give the path of the manifest that the store was made from."""
    return beside(cohort, "manifest.json")


def write_origin(cohort: Location, origin: Origin, manifest: Manifest) -> None:
    """Record where the store comes from, replacing an earlier record whole."""
    content = {
        "archive": str(origin.archive.absolute()),
        "participants": None if origin.participants is None else str(origin.participants.absolute()),
        "config": origin.config.to_dict(),
    }
    write_whole(origin_path(cohort), json.dumps(content, indent=1).encode(), private=True)
    write_whole(manifest_path(cohort), manifest.to_json(), private=True)


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
    participants = content["participants"]
    return Origin(
        parse_location(content["archive"]),
        None if participants is None else parse_location(participants),
        Config.from_dict(content["config"]),
    )


def read_manifest(cohort: Location) -> Manifest:
    """Read the manifest that the store was made from.

    Raises
    ------
    StoreError
        When there is none.
    ExposedFileError
        When others can read it.
    """
    try:
        return Manifest.from_dict(json.loads(read_private(manifest_path(cohort))))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            "the manifest beside the store is missing", "Call `datbatch run ARCHIVE COHORT` with the archive."
        ) from error


def keep_vanished(manifest: Manifest, cohort: Location) -> Manifest:
    """Let studies whose files are gone stand as they were: their results are in the store and stay there."""
    if all(entry.code != MissingFilesError.code for entry in manifest.entries):
        return manifest
    try:
        before = read_manifest(cohort)
    except StoreError:
        return manifest
    known = {entry.pseudonym: entry for entry in before.entries}
    entries = tuple(
        known.get(entry.pseudonym, entry) if entry.code == MissingFilesError.code else entry
        for entry in manifest.entries
    )
    return replace(manifest, entries=entries)
