"""What a store holds, what failed in it, and its repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datbatch.archive import read_linkage
from datbatch.cohort import schema
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.lock import writes
from datbatch.cohort.store import Store, linkage_path, sweep_partial_files
from datbatch.cohort.verify import Damage, recorded_volumes, verify_store
from datbatch.execution.imaging_run import run_imaging
from datbatch.execution.model_run import explain_cohort
from datbatch.execution.origin import read_origin
from datbatch.execution.progress import Progress


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


@dataclass(frozen=True)
class Failure:
    """One study without result."""

    study: str
    site: str
    status: str
    stage: str
    reason: str
    files: tuple[str, ...] = ()
    """For the operator's terminal only."""


def cohort_state(cohort: Path) -> CohortState:
    """Count what is done, also while a run is at work elsewhere."""
    store, ledger = Store(cohort), Ledger(cohort)
    stages = {}
    for stage, identity in store.attributes.get("stages", {}).items():
        stages[stage] = ledger.recorded_studies(stage, identity["digest"])
    for model in store.models:
        attributes = store.model_attributes(model)
        if "digest" in attributes:
            stages[f"explain {model}"] = ledger.recorded_studies(f"explain/{model}", attributes["digest"])
    models = [
        name + (" (of earlier uptake)" if store.model_attributes(name).get("stale") else "") for name in store.models
    ]
    normal_range = store.has_normal_range
    stale = normal_range and bool(store.group_attributes(schema.NORMAL_RANGE).get("stale", True))
    return CohortState(dict(Counter(store.read_table("status"))), stages, models, normal_range, stale)


def cohort_failures(cohort: Path, *, with_files: bool = False) -> dict[str, list[Failure]]:
    """List the studies without result by code.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    with_files : bool
        Whether to add the files, from the linkage table beside the store.
    """
    store = Store(cohort)
    names = ("study", "site", "status", "error_stage", "error_reason", "error_code")
    columns = [store.read_table(name) for name in names]
    files = read_linkage(linkage_path(cohort)) if with_files else {}
    found: dict[str, list[Failure]] = {}
    for study, site, status, stage, reason, code in zip(*columns, strict=True):
        if status in (schema.FAILED, schema.EXCLUDED):
            found.setdefault(code, []).append(Failure(study, site, status, stage, reason, files.get(study, ())))
    return found


def verify_cohort(cohort: Path, *, quiet: bool = False) -> tuple[int, list[Damage]]:
    """Compare every recorded volume with its hash, with progress."""
    progress = Progress("verify", recorded_volumes(cohort), "volumes", quiet=quiet)
    try:
        return verify_store(cohort, progress=progress.advance)
    finally:
        progress.close()


@writes
def repair_cohort(
    cohort: Path,
    damages: Sequence[Damage],
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> int:
    """Compute damaged granules again and remove what killed writers left. Returns how many files were removed."""
    ledger = Ledger(cohort)
    swept = sweep_partial_files(cohort)
    ledger.remove(damage.key for damage in damages)
    if damages:
        origin = read_origin(cohort)
        # A damaged shard cannot be rewritten study by study: the granule's task writes it whole.
        run_imaging(
            origin.archive, cohort, origin.config, participants=origin.participants,
            cluster=cluster, workers=workers, quiet=quiet,
        )  # fmt: skip
        for model in sorted({d.array.split("/")[1] for d in damages if d.array.startswith("relevance/")}):
            explain_cohort(cohort, origin.config, model=model, cluster=cluster, workers=workers, quiet=quiet)
    return swept
