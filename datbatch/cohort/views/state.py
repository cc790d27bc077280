"""What a store holds, and what failed in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive import read_linkage
from datbatch.cohort.cohort import Cohort
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
    """Studies recorded in the ledger by stage, with any outcome."""
    models: list[str]
    normal_range: bool
    """Whether `datbatch norms` was called."""
    normal_range_stale: bool
    """Whether the tables have changed since then."""
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
    """Count what is done; a run may be at work, also on another machine: everything is in the store."""
    opened = Cohort(cohort)
    store, size = opened.store, opened.store.granule_studies
    recorded = partial(opened.ledger.recorded_studies, granule_studies=size, studies=len(store.studies))
    stages = {name: recorded(name, stage["digest"]) for name, stage in opened.stages.items()}
    models = []
    for model in store.models:
        attributes = store.model_attributes(model)
        models.append(model + " (of earlier uptake)" * bool(attributes.get("stale")))
        if "digest" in attributes:
            stages[f"{schema.EXPLAIN} {model}"] = recorded(f"{schema.EXPLAIN}/{model}", attributes["digest"])
    sources = store.read_table("source") if store.has_table("source") else np.array([], dtype=object)
    has_range = store.has_normal_range
    return CohortState(
        studies=dict(Counter(store.read_table("status"))),
        stages=stages,
        models=models,
        normal_range=has_range,
        normal_range_stale=has_range and bool(store.group_attributes(schema.NORMAL_RANGE).get("stale", True)),
        imported=int((sources == schema.TOMOGRAM).sum()),
        commands=[{**one, "outcome": outcome_of(one)} for one in opened.runs.read()],
    )


def cohort_failures(cohort: Location, *, with_files: bool = False) -> dict[str, list[Failure]]:
    """List the studies without result by code; if wanted with their files, from the linkage table beside the store."""
    store = Store(cohort)
    columns = [store.read_table(name) for name in ("study", "site", "scanner", *schema.OUTCOME)]
    files = read_linkage(linkage_path(cohort)) if with_files else {}
    found: defaultdict[str, list[Failure]] = defaultdict(list)
    for study, site, scanner, *told in zip(*columns, strict=True):
        outcome = Outcome(*told)
        if outcome.status in (schema.FAILED, schema.EXCLUDED):
            found[outcome.code].append(Failure(study, site, scanner, outcome, files.get(study, ())))
    return dict(found)
