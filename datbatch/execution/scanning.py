"""Scan an archive in processes that can be lost: a file that crashes a decoder gets a code and ends nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from datbatch.archive import SOURCES, FileFacts, Manifest, scan_archive
from datbatch.archive.inspection import StudyCheck
from datbatch.config import Config
from datbatch.errors import DatbatchError
from datbatch.execution.isolation import LosableMap
from datbatch.location import Location

PROCESSES = 4
"""Most processes that read at a time: login nodes and file servers are shared."""


def scan_losable(
    archive: Location,
    config: Config,
    *,
    key: bytes,
    participants: Location | None,
    known: Sequence[str],
    source: str,
    progress: Callable[[int, int], None],
) -> Manifest:
    """Scan an archive; see `datbatch.archive.scan_archive`."""
    processes = min(PROCESSES, os.cpu_count() or 1)
    with LosableMap(SOURCES[source].inspect.__module__, config.limits, processes, _unread) as mapper:
        return scan_archive(
            archive, key=key, participants=participants, known=known, config=config.archive, source=source,
            mapper=mapper, progress=progress,
        )  # fmt: skip


def _unread(function: Callable[..., Any], error: DatbatchError) -> FileFacts | StudyCheck:
    """Say of a file, or of a study's files, what became of the process that read them."""
    if any(function is source.inspect for source in SOURCES.values()):
        return FileFacts(0, has_mark=True, code=error.code, reason=error.reason)
    return StudyCheck(error.code, error.reason)
