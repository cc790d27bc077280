"""What a run would cost, measured on a few of its own studies."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from datbatch.archive.manifest import INCLUDED
from datbatch.cohort import schema
from datbatch.config import Config
from datbatch.execution.planning import ImagingPlan
from datbatch.execution.progress import duration
from datbatch.execution.stages import image_study
from datbatch.location import Location

SAMPLE = 3
BYTES_PER_STUDY = int(0.85 * 4 * np.prod(schema.SHAPE))
"""Uptake after compression: measured 2.1 MB of 2.5 MB."""


@dataclass(frozen=True)
class Cost:
    """Estimate of a run's cost."""

    studies: int
    """Included studies of the granules that would run."""
    seconds_per_study: float | None
    """On one core of this machine; None when nothing would run."""
    disk_mb: float
    objects: int
    """Files of the volumes and the ledger."""

    def text(self) -> str:
        """Describe the estimate in one line."""
        if self.seconds_per_study is None:
            return "nothing to run"
        core_seconds = duration(self.studies * self.seconds_per_study)
        return (
            f"about {core_seconds} on one core ({self.seconds_per_study:.2f} s a study, measured on this machine), "
            f"{self.disk_mb:.0f} MB, {self.objects} files"
        )


def estimate_cost(plan: ImagingPlan, archive: Location, config: Config) -> Cost:
    """Image a few of the pending studies in memory and scale up.

    The first one is not counted: it pays for what a process compiles and loads once.
    """
    pending = [entry for granule in plan.pending for entry in granule.entries if entry.status == INCLUDED]
    seconds = []
    for entry in pending[: SAMPLE + 1]:
        start = time.perf_counter()
        image_study(entry.pseudonym, [archive / name for name in entry.files], config)
        seconds.append(time.perf_counter() - start)
    measured = seconds[1:] or seconds
    return Cost(
        studies=len(pending),
        seconds_per_study=float(np.mean(measured)) if measured else None,
        disk_mb=len(pending) * BYTES_PER_STUDY / 1e6,
        objects=len(plan.pending) * (1 + len(plan.identities)),
    )
