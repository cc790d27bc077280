"""What a store holds, and what failed in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive import read_linkage
from datbatch.cohort.ledger import Ledger, Runs
from datbatch.cohort.record import outcome_of
from datbatch.cohort.store import Store, linkage_path
from datbatch.errors import Outcome
from datbatch.location import Location


@dataclass(frozen=True)
class CohortState:
    """What is done."""

    studies: dict[str, int]
    """Studies by status."""
    stages: dict[str, int]
    """Studies recorded in the ledger by stage, whatever their outcome."""
    models: list[str]
    normal_range: bool
    """Whether `datbatch norms` was called."""
    normal_range_stale: bool
    """Whether it was before the tables became what they are."""
    imported: int
    """Studies that were reconstructed elsewhere, whatever their status."""
    commands: list[dict[str, Any]]
    """Records of the commands that wrote to the store, the last one last; `outcome` is `running` for one at work."""


@dataclass(frozen=True)
class Failure:
    """One study without result."""

    study: str
    site: str
    scanner: str
    """Empty where the study could not be read."""
    outcome: Outcome
    files: tuple[str, ...] = ()
    """For the operator's terminal only."""


def cohort_state(cohort: Location) -> CohortState:
    """Count what is done, also while a run is at work elsewhere: on another machine too, all stands in the store."""
    store, ledger = Store(cohort), Ledger(cohort)
    studies = len(store.studies)
    stages = {}
    for stage, identity in store.attributes.get("stages", {}).items():
        stages[stage] = _recorded_studies(store, ledger, stage, identity["digest"], studies)
    for model in store.models:
        attributes = store.model_attributes(model)
        if "digest" in attributes:
            name = f"explain/{model}"
            stages[f"explain {model}"] = _recorded_studies(store, ledger, name, attributes["digest"], studies)
    models = [
        name + (" (of earlier uptake)" if store.model_attributes(name).get("stale") else "") for name in store.models
    ]
    normal_range = store.has_normal_range
    stale = normal_range and bool(store.group_attributes(schema.NORMAL_RANGE).get("stale", True))
    commands = [{**one, "outcome": outcome_of(one)} for one in Runs(cohort).read()]
    status = dict(Counter(store.read_table("status")))
    sources = store.read_table("source") if store.has_table("source") else np.array([], dtype=object)
    imported = int((sources == schema.TOMOGRAM).sum())
    return CohortState(status, stages, models, normal_range, stale, imported, commands)


def _recorded_studies(store: Store, ledger: Ledger, stage: str, digest: str, studies: int) -> int:
    """Count the studies that a stage's objects hold, by their names alone: they may be many."""
    size = store.granule_studies
    granules = {key.granule for key in ledger.keys(stage, digest)}
    return sum(max(0, min(size, studies - size * granule)) for granule in granules)


def cohort_failures(cohort: Location, *, with_files: bool = False) -> dict[str, list[Failure]]:
    """List the studies without result by code.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    with_files : bool
        Whether to add the files, from the linkage table beside the store.
    """
    store = Store(cohort)
    columns = [store.read_table(name) for name in ("study", "site", "scanner", *schema.OUTCOME)]
    files = read_linkage(linkage_path(cohort)) if with_files else {}
    found: dict[str, list[Failure]] = {}
    for study, site, scanner, *told in zip(*columns, strict=True):
        outcome = Outcome(*told)
        if outcome.status in (schema.FAILED, schema.EXCLUDED):
            found.setdefault(outcome.code, []).append(Failure(study, site, scanner, outcome, files.get(study, ())))
    return found
