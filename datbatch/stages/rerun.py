"""Run everything that a store was made from again: for `retry`, `template` and a repair."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from datbatch.config import Config
from datbatch.location import Location
from datbatch.stages.imaging import RunSummary, run_imaging
from datbatch.stages.origin import Origin


def run_again(
    origin: Origin, cohort: Location, *, config: Config | None = None, fold: bool = False, **where: Any
) -> RunSummary:
    """Run everything that a store was made from again; what is done stays.

    Parameters
    ----------
    origin : Origin
        Folders and parameters.
    cohort : Path
        Folder of the store.
    config : Config, optional
        Other parameters.
    fold : bool
        As for `run_imaging`.
    **where
        `cluster`, `workers` and `quiet` of `run_imaging`.
    """
    config = origin.config if config is None else config
    ran = [
        run_imaging(given.folder, cohort, config, participants=given.participants, fold=fold, source=source, **where)
        for source, given in origin.folders.items()
    ]
    # Each leaves the studies of the others as they are: the last one counts them all.
    seconds: Counter[str] = Counter()
    for one in ran:
        seconds.update(one.seconds)
    return replace(ran[-1], processed=sum(one.processed for one in ran), seconds=dict(seconds))
