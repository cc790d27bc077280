"""What a run would cost, measured on a few of its own studies, for this machine or for a cluster that a file describes.

The few go through the real task, on workers like the run's, into a store that is thrown away: what is measured is all
that a study costs, from its files to its bytes on disk and its ledger objects.
"""

from __future__ import annotations

import heapq
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
from dask.utils import parse_bytes

from datbatch import schema
from datbatch.archive import Entry
from datbatch.archive.origin import earlier_folders
from datbatch.cohort.facts import LEDGER
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.store import Store
from datbatch.config import Config
from datbatch.errors import INCLUDED, WorkerLostError
from datbatch.location import Location, beside
from datbatch.progress import duration
from datbatch.stages.imaging_task import ImagingTask, image_granule
from datbatch.stages.planning import ImagingPlan, PlannedGranule, granule_keys
from datbatch.study.space import configured_space, recorded, write_space
from datbatch.workers import driver
from datbatch.workers.cluster_file import IMAGER, Pool, read_cluster_file

SAMPLE = 4
"""Studies that each worker images for the estimate, after one that is not counted."""
MOST_WORKERS = 8
"""Workers that take part in the estimate at most; more are scaled up from these."""
VOLUME_BYTES = 4 * int(np.prod(schema.SHAPE))


@dataclass(frozen=True)
class Measured:
    """What a few studies cost."""

    start_s: float
    """From the start of the workers to the end of each one's first study, which loads and compiles."""
    study_s: float
    """Of one worker, files to ledger, while as many others work as the run would have here."""
    memory_mb: float
    """Peak of a worker and the process of its studies, with its first few."""
    disk_mb: float
    """Bytes a study in the store, volumes and ledger."""


@dataclass(frozen=True)
class Cost:
    """Estimate of a run's cost."""

    studies: int
    """Included studies of the granules that would run."""
    granules: int
    workers: int
    where: str
    seconds: float
    """From the call of the command to its end, once the workers are there: a queue's time is not known."""
    seconds_per_study: float | None
    """On one worker like this machine's; None when nothing would run."""
    worker_memory_mb: float
    disk_mb: float
    objects: int
    """Files of the volumes and the ledger."""
    node_hours: float | None
    """Jobs times hours; None without a cluster file."""
    core_hours: float
    warnings: tuple[str, ...] = ()


def estimate_cost(
    plan: ImagingPlan,
    archive: Location,
    cohort: Location,
    config: Config,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    scan_s: float = 0.0,
) -> Cost:
    """Take a few of the pending studies through the real task and scale up.

    Parameters
    ----------
    plan : ImagingPlan
        What would run.
    archive, cohort : Path or S3Location
        As for the run; the few studies are written beside the store, and removed.
    config : Config
        All parameters.
    cluster : str, optional
        Cluster file, or a running scheduler, as for the run; this machine by default.
    workers : int, optional
        Worker processes on this machine.
    scan_s : float
        How long the scan of the archive took just now: a run finds what it read, see `archive.scan_cache`.
    """
    before_s = _since_start_s() - scan_s
    pools = _pools(cluster)
    here = workers or os.cpu_count() or 1
    if pools:
        count, where = sum((len(pool.hosts) or pool.jobs) * pool.workers for pool in pools), "of the cluster file"
    elif cluster:
        with driver.connect(cluster) as client:
            count, where = driver.worker_count(client), "of the running cluster"
    else:
        count, where = here, "on this machine"
    sizes = [sum(entry.outcome == INCLUDED for entry in granule.entries) for granule in plan.pending]
    studies = sum(sizes)
    if not studies:
        return Cost(0, len(sizes), count, where, before_s, None, 0.0, 0.0, 0, None, 0.0)
    # A cluster's nodes are not here: what one worker of this machine does alone is the nearest to them.
    measured = _measure(plan, archive, cohort, config, min(here, MOST_WORKERS) if not cluster else 1)
    seconds = before_s + measured.start_s + makespan([size * measured.study_s for size in sizes], count)
    largest = max(len(granule.entries) for granule in plan.pending)
    # A worker holds what it has encoded of a granule, and joins it for an upload.
    copies = 1 if isinstance(cohort, Path) else 2
    memory_mb = measured.memory_mb + copies * VOLUME_BYTES * max(0, largest - SAMPLE) / 1e6
    jobs = sum(len(pool.hosts) or pool.jobs for pool in pools)
    cores = sum((len(pool.hosts) or pool.jobs) * pool.cores for pool in pools) if pools else count
    return Cost(
        studies=studies,
        granules=len(sizes),
        workers=count,
        where=where,
        seconds=seconds,
        seconds_per_study=measured.study_s,
        worker_memory_mb=memory_mb,
        disk_mb=studies * measured.disk_mb,
        objects=len(sizes) * (1 + len(plan.identities)),
        node_hours=jobs * seconds / 3600 if pools else None,
        core_hours=cores * seconds / 3600,
        warnings=tuple(_warnings(pools, memory_mb, max(sizes) * measured.study_s + measured.start_s, len(sizes))),
    )


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Give when the last of some tasks ends, each taken in order by the worker that is free first."""
    free = [0.0] * max(1, min(workers, len(seconds)))
    for task in seconds:
        heapq.heapreplace(free, free[0] + task)
    return max(free)


def _since_start_s() -> float:
    """Give the age of this process: a run loads the same."""
    return time.time() - float(psutil.Process().create_time())


def _pools(cluster: str | None) -> list[Pool]:
    """Give the pools of a cluster file that would image; none for a scheduler that runs already."""
    if cluster is None or Path(cluster).suffix != ".toml":
        return []
    described = read_cluster_file(Path(cluster))
    return described.serving(IMAGER) if described.pool else []


def _warnings(pools: Sequence[Pool], memory_mb: float, granule_s: float, granules: int) -> list[str]:
    """Say what of a cluster file does not suit what was measured."""
    found = []
    for pool in pools:
        share = parse_bytes(pool.memory) / pool.workers / 1e6
        if share < memory_mb:
            found.append(f"pool {pool.name} gives a worker {share:.0f} MB, it needs {memory_mb:.0f} MB")
        lifetime = pool.lifetime_s[0] - pool.lifetime_s[1]
        if pool.walltime and lifetime < 2 * granule_s:
            found.append(
                f"the walltime of pool {pool.name} holds few granules of {duration(granule_s)}: give it more time"
            )
    count = sum((len(pool.hosts) or pool.jobs) * pool.workers for pool in pools)
    if count > granules:
        found.append(f"{count} workers for {granules} granules: {count - granules} would have nothing to do")
    return found


@dataclass(frozen=True)
class _Sampled:
    """What a worker tells of its sample."""

    studies: int
    seconds: float
    memory_bytes: int


def _measure(plan: ImagingPlan, archive: Location, cohort: Location, config: Config, workers: int) -> Measured:
    """Image a few studies on each of some workers, all at work at once, as in the run."""
    pending = [(entry, granule) for granule in plan.pending for entry in granule.entries if entry.outcome == INCLUDED]
    places = np.linspace(0, len(pending) - 1, workers * (SAMPLE + 1)).round().astype(int)
    chosen = [pending[place] for place in places]
    folder = Path(tempfile.mkdtemp(prefix=".plan-", dir=beside(cohort, "plan").absolute().parent))
    records: list[_Sampled] = []

    def sample(client: Any, name: str, count: int) -> None:
        records.clear()
        tasks = [
            _sample_task(
                folder / f"{name}{worker}.zarr", cohort, plan, archive, config, chosen[worker::workers][:count]
            )
            for worker in range(workers)
        ]
        driver.run_tasks(client, image_sample, tasks, on_record=records.append, on_lost=lambda task: [])

    try:
        start = time.perf_counter()
        with driver.connect(workers=workers) as client:
            sample(client, "first", 1)
            start_s = time.perf_counter() - start
            sample(client, "few", SAMPLE)
        if not records:
            raise WorkerLostError("the studies that the estimate is made from ended their workers")
        written = [path for name in ("uptake/c*", f"{LEDGER}/**/*.json") for path in folder.glob(f"few*.zarr/{name}")]
        return Measured(
            start_s=start_s,
            study_s=sum(one.seconds for one in records) / sum(one.studies for one in records),
            memory_mb=max(record.memory_bytes for record in records) / 1e6,
            disk_mb=sum(path.stat().st_size for path in written) / sum(one.studies for one in records) / 1e6,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def image_sample(task: ImagingTask) -> _Sampled:
    """Do a granule's task and say how long it took, and how much memory worker and study process held at most."""
    start = time.perf_counter()
    image_granule(task)
    seconds = time.perf_counter() - start
    processes = [os.getpid(), *(child.pid for child in psutil.Process().children())]
    return _Sampled(len(task.entries), seconds, sum(map(_peak_bytes, processes)))


def _peak_bytes(process: int) -> int:
    """Read the peak of a process's memory; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _sample_task(
    path: Path,
    cohort: Location,
    plan: ImagingPlan,
    archive: Location,
    config: Config,
    chosen: Sequence[tuple[Entry, PlannedGranule]],
) -> ImagingTask:
    """Make a store for a few studies and the task that images them, with what is known of them from earlier stages."""
    # A study stands for several where there are few; a store holds each once.
    unique = {entry.pseudonym: (entry, granule) for entry, granule in chosen}
    entries = tuple(entry for entry, _ in unique.values())
    store = Store.create(path, granule_studies=len(entries))
    store.grow([entry.pseudonym for entry in entries])
    write_space(store, configured_space(config))
    keys, known = granule_keys(plan.identities, 0, entries), Ledger(cohort)
    for stage, key in keys.items():
        rows = [
            row
            for entry, granule in unique.values()
            if stage not in granule.missing
            for row in known.read(granule.keys[stage]) or ()
            if row.study == entry.pseudonym
        ]
        if len(rows) == len(entries):
            Ledger(path).commit(key, rows)
    imported = earlier_folders(cohort).get(schema.TOMOGRAM)
    tomograms = None if imported is None else imported.folder.absolute()
    return ImagingTask(path, archive.absolute(), 0, entries, keys, recorded(config), tomograms=tomograms)
