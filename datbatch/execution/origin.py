"""Where a store came from: archive, parameters, manifest; beside the store, for the operator alone (mode 0600)."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datbatch.archive import Manifest
from datbatch.config import Config
from datbatch.errors import MissingFilesError, StoreError


@dataclass(frozen=True)
class Origin:
    """What `datbatch run` was called with."""

    archive: Path
    participants: Path | None
    config: Config


def origin_path(cohort: Path) -> Path:
    """Give the path of the record of a run's arguments: it holds paths, and paths may hold names."""
    return cohort.with_name(f"{cohort.stem}.origin.json")


def manifest_path(cohort: Path) -> Path:
    """Give the path of the manifest that the store was made from."""
    return cohort.with_name(f"{cohort.stem}.manifest.json")


def write_origin(cohort: Path, origin: Origin, manifest: Manifest) -> None:
    """Record where the store comes from, replacing an earlier record whole."""
    content = {
        "archive": str(origin.archive.absolute()),
        "participants": None if origin.participants is None else str(origin.participants.absolute()),
        "config": origin.config.to_dict(),
    }
    _write_private(origin_path(cohort), content)
    _write_private(manifest_path(cohort), manifest.to_dict())


def read_origin(cohort: Path) -> Origin:
    """Read what the store was made with.

    Raises
    ------
    StoreError
        When there is no record.
    """
    try:
        content = json.loads(origin_path(cohort).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            "the record of the store's origin is missing", "Call `datbatch run ARCHIVE COHORT` with the archive."
        ) from error
    participants = content["participants"]
    return Origin(
        Path(content["archive"]),
        None if participants is None else Path(participants),
        Config.from_dict(content["config"]),
    )


def keep_vanished(manifest: Manifest, cohort: Path) -> Manifest:
    """Let studies whose files are gone stand as they were: their results are in the store and stay there."""
    try:
        before = Manifest.from_dict(json.loads(manifest_path(cohort).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return manifest
    known = {entry.pseudonym: entry for entry in before.entries}
    entries = tuple(
        known.get(entry.pseudonym, entry) if entry.code == MissingFilesError.code else entry
        for entry in manifest.entries
    )
    return replace(manifest, entries=entries)


def _write_private(path: Path, content: dict[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
    aside.replace(path)
