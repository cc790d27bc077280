"""`datbatch plan`, `run` and `import`: from an archive into a store."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datbatch.commands.command import (
    EXIT_FAILED_STUDIES,
    EXIT_OK,
    Answer,
    add_command,
    cluster_options,
    config_of,
    location,
    path,
    where,
)
from datbatch.progress import duration

if TYPE_CHECKING:
    from datbatch.stages.estimate import Cost
    from datbatch.stages.imaging import RunSummary


def add(parsers: Any) -> None:
    """Describe the commands."""
    for name, function, words in (
        ("plan", plan, "show what `run` would do, and why"),
        ("run", run, "read, reconstruct, normalise, quantify, store"),
    ):
        made = add_command(parsers, name, function, words, f"datbatch {name} archive cohort.zarr")
        made.add_argument("archive", type=location, help="folder of DICOM files, of any shape")
        made.add_argument("cohort", type=location, help="store, made where there is none")
        table = "table of labels, sites, ages (default: in the archive)"
        made.add_argument("--participants", type=location, help=table)
        if name == "plan":
            made.add_argument("--no-cost", action="store_true", help="measure nothing: only what would run, and why")
        cluster_options(made, config=True)

    words = "take in volumes that were reconstructed elsewhere (DICOM or NIfTI), where projections are lost"
    example = "datbatch import tomograms cohort.zarr --participants participants.csv"
    made = add_command(parsers, "import", import_tomograms, words, example)
    made.add_argument("archive", type=location, metavar="FOLDER", help="of DICOM tomograms or NIfTI files")
    made.add_argument("cohort", type=location, help="store, of `run` or `import`; made where there is none")
    made.add_argument("--participants", type=location, help="table of labels, sites, ages (default: in the folder)")
    words = "parameter file (default: the parameters of the store)"
    made.add_argument("--config", type=path, metavar="TOML", help=words)
    cluster_options(made)


def plan(options: argparse.Namespace) -> Answer:
    """Say what `run` would do, why, and what it would cost."""
    from datbatch.stages.estimate import estimate_cost
    from datbatch.stages.imaging import prepare
    from datbatch.stages.planning import plan_run, stage_lines
    from datbatch.stages.train import plan_models

    config = config_of(options)
    started = time.monotonic()
    manifest = prepare(options.archive, options.cohort, config, participants=options.participants, quiet=options.quiet)
    place = {"cluster": where(options)["cluster"], "workers": options.workers, "scan_s": time.monotonic() - started}
    plan = plan_run(manifest, options.cohort, config)
    stages = (*plan.stages, *plan_models(options.cohort, config, plan.stages))
    cost = None if options.no_cost else estimate_cost(plan, options.archive, options.cohort, config, **place)
    status, studies = Counter(entry.outcome.status for entry in manifest.entries), len(manifest.entries)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(status.items()))
    lines = [f"{studies} studies in {manifest.files_found} files: {counts}", *stage_lines(stages)]
    lines += [] if cost is None else _cost_lines(cost)
    values: dict[str, Any] = {"studies": studies, "manifest": dict(status), "stages": [asdict(one) for one in stages]}
    return Answer("\n".join(lines), values | {"cost": None if cost is None else asdict(cost)})


def _cost_lines(cost: Cost) -> list[str]:
    """Describe the estimate in a few lines."""
    if cost.seconds_per_study is None:
        return ["nothing to run"]
    hours = "" if cost.node_hours is None else f"{cost.node_hours:.2g} node hours, "
    lines = [
        f"about {duration(cost.seconds)} with {cost.workers} workers {cost.where}, without time in a queue "
        f"({cost.seconds_per_study:.2f} s a study and worker, measured on this machine): "
        f"{hours}{cost.core_hours:.2g} core hours",
        f"{cost.worker_memory_mb:.0f} MB of memory a worker; {cost.disk_mb:.0f} MB on disk in {cost.objects} files",
    ]
    return [*lines, *(f"warning: {one}" for one in cost.warnings)]


def run(options: argparse.Namespace) -> Answer:
    """Take an archive into a store."""
    from datbatch.stages.imaging import run_imaging

    ran = run_imaging(
        options.archive, options.cohort, config_of(options), participants=options.participants, **where(options)
    )
    return run_answer(ran, f"{options.cohort}\nNext: datbatch train {options.cohort}")


def import_tomograms(options: argparse.Namespace) -> Answer:
    """Take tomograms that were reconstructed elsewhere into a store."""
    from datbatch import schema
    from datbatch.archive.origin import read_origin
    from datbatch.cohort.store import Store
    from datbatch.stages.imaging import run_imaging

    # With other parameters every study of the store would be computed again.
    kept = options.config is None and Store.exists(options.cohort)
    config = read_origin(options.cohort).config if kept else config_of(options)
    ran = run_imaging(
        options.archive, options.cohort, config, participants=options.participants, source=schema.TOMOGRAM,
        **where(options)
    )  # fmt: skip
    return run_answer(ran, f"{options.cohort}\nNext: datbatch norms {options.cohort}")


def run_answer(ran: RunSummary, then: str) -> Answer:
    """Say what became of the studies, and what to do then."""
    code = EXIT_FAILED_STUDIES if ran.failed else EXIT_OK
    return Answer(f"{outcome(ran)}\n{then}", asdict(ran), code)


def outcome(ran: RunSummary) -> str:
    """Say what became of the studies."""
    done = f"{ran.done} done, {ran.failed} failed, {ran.excluded} excluded"
    lines = [f"{ran.studies} studies: {done}; {ran.processed} computed now, the rest kept"]
    return "\n".join([*lines, *(f"  {code:<24} {count}" for code, count in sorted(ran.failures.items()))])
