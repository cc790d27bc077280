"""Scan an archive in processes that can be lost: a file that crashes a decoder gets a code, and the scan continues.

The results are kept beside the store, so that the next scan opens only new and changed files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datbatch.archive.inspection import FileFacts, StudyCheck
from datbatch.archive.manifest import Manifest
from datbatch.archive.scan import scan_archive
from datbatch.archive.scan_cache import ScanCache
from datbatch.archive.sources import SOURCES
from datbatch.config import Config
from datbatch.errors import DatbatchError, Outcome
from datbatch.location import Location, beside
from datbatch.schema import PROJECTIONS
from datbatch.workers.losable import LosableMap

PROCESSES = 4
"""Greatest number of processes that read at the same time: login nodes and file servers are shared."""


def scan_losable(
    archive: Location,
    cohort: Location,
    config: Config,
    *,
    key: bytes,
    participants: Location | None,
    known: Sequence[str],
    source: str,
    progress: Callable[[int, int], None],
) -> Manifest:
    """Scan an archive; see `archive.scan.scan_archive`."""
    processes = min(PROCESSES, os.cpu_count() or 1)
    archive = archive.absolute()
    inspect, kept = SOURCES[source].inspect, scan_cache_path(cohort, source)
    with (
        LosableMap(inspect.__module__, config.limits, processes, _unread) as reading,
        ScanCache(kept, archive, reading, key=key, config=config.archive, inspect=inspect) as mapper,
    ):
        return scan_archive(
            archive, key=key, participants=participants, known=known, config=config.archive, source=source,
            mapper=mapper, progress=progress,
        )  # fmt: skip


def scan_cache_path(cohort: Location, source: str = PROJECTIONS) -> Path:
    """Give the path of the results of scans; it is private, because they hold paths, and paths may hold names."""
    return beside(cohort, "scan" if source == PROJECTIONS else f"{source}-scan")


def _unread(function: Callable[..., Any], error: DatbatchError) -> FileFacts | StudyCheck:
    """Give the result of a file, or of a study's files, whose process was lost."""
    if any(function is source.inspect for source in SOURCES.values()):
        return FileFacts(0, has_mark=True, outcome=Outcome.failed(error))
    return StudyCheck(Outcome.failed(error))
