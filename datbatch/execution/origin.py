"""Where a store came from: archive, table and parameters, kept beside the store for the operator, mode 0600."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datbatch.config import Config
from datbatch.errors import StoreError


@dataclass(frozen=True)
class Origin:
    """What `datbatch run` was called with."""

    archive: Path
    participants: Path | None
    config: Config


def origin_path(cohort: Path) -> Path:
    """Give the path of the record, beside the store: it holds paths, and paths may hold names."""
    return cohort.with_name(f"{cohort.stem}.origin.json")


def write_origin(cohort: Path, origin: Origin) -> None:
    """Record where the store comes from, replacing an earlier record whole."""
    content: dict[str, Any] = {
        "archive": str(origin.archive.absolute()),
        "participants": None if origin.participants is None else str(origin.participants.absolute()),
        "config": origin.config.to_dict(),
    }
    path = origin_path(cohort)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
    aside.replace(path)


def read_origin(cohort: Path) -> Origin:
    """Read where the store comes from.

    Raises
    ------
    StoreError
        When there is no record.
    """
    try:
        content = json.loads(origin_path(cohort).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            "the record of the store's origin is missing",
            "Call `datbatch run ARCHIVE COHORT` with the archive.",
        ) from error
    participants = content["participants"]
    return Origin(
        Path(content["archive"]),
        None if participants is None else Path(participants),
        Config.from_dict(content["config"]),
    )
