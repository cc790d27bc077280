"""What a store holds, what failed in it, and its repair."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from datbatch.archive import read_linkage
from datbatch.cohort import schema
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.lock import writes
from datbatch.cohort.orphans import Orphan, find_orphans, remove_orphans
from datbatch.cohort.runs import Runs
from datbatch.cohort.store import Store, linkage_path
from datbatch.cohort.verify import Damage, recorded_volumes, verify_store
from datbatch.errors import StoreError
from datbatch.execution.imaging_run import manifest_columns
from datbatch.execution.model_run import explain_cohort
from datbatch.execution.origin import read_manifest, read_origin
from datbatch.execution.progress import Progress
from datbatch.execution.record import RUNNING, outcome_of
from datbatch.execution.rerun import run_again
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
    status: str
    stage: str
    reason: str
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
    names = ("study", "site", "scanner", "status", "error_stage", "error_reason", "error_code")
    columns = [store.read_table(name) for name in names]
    files = read_linkage(linkage_path(cohort)) if with_files else {}
    found: dict[str, list[Failure]] = {}
    for study, site, scanner, status, stage, reason, code in zip(*columns, strict=True):
        if status in (schema.FAILED, schema.EXCLUDED):
            found.setdefault(code, []).append(
                Failure(study, site, scanner, status, stage, reason, files.get(study, ()))
            )
    return found


@dataclass(frozen=True)
class Verified:
    """What `datbatch verify` found."""

    volumes: int
    """Volumes read."""
    damages: list[Damage]
    orphans: list[Orphan]
    """Files that belong to nothing; not looked for while a command is at work."""


def verify_cohort(cohort: Location, *, quiet: bool = False) -> Verified:
    """Compare everything with its record, and look for what belongs to nothing, with progress."""
    progress = Progress("verify", recorded_volumes(cohort), "volumes", quiet=quiet)
    at_work = any(outcome_of(one) == RUNNING for one in Runs(cohort).read())
    try:
        expected = manifest_columns(read_manifest(cohort))
    except StoreError:
        # A store that was handed on: the manifest stays with whom it can lead to persons.
        expected = {}
    try:
        count, damages = verify_store(cohort, expected=expected, tables=not at_work, progress=progress.advance)
    finally:
        progress.close()
    return Verified(count, damages, [] if at_work else find_orphans(cohort))


@writes
def repair_cohort(
    cohort: Location,
    found: Verified,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> int:
    """Compute damaged granules again and remove what killed writers left. Returns how many files were removed."""
    ledger = Ledger(cohort)
    swept = remove_orphans(cohort, found.orphans)
    ledger.remove(damage.key for damage in found.damages if damage.key is not None)
    if found.damages:
        origin = read_origin(cohort)
        # A damaged shard cannot be rewritten study by study: the granule's task writes it whole.
        run_again(origin, cohort, fold=True, cluster=cluster, workers=workers, quiet=quiet)
        for model in sorted({model for damage in found.damages if (model := _model_of(damage))}):
            explain_cohort(cohort, origin.config, model=model, cluster=cluster, workers=workers, quiet=quiet)
    return swept


def _model_of(damage: Damage) -> str:
    """Name the model whose results are damaged; empty where none are."""
    match = re.match(r"(?:relevance|ledger/explain)/([^/]+)", damage.array)
    return match[1] if match else ""
