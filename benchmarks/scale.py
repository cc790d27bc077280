"""What grows with the number of studies: memory of driver and scheduler, overhead, files, seconds to resume and to ask.

    python benchmarks/scale.py build/scale --studies 1000 3000 10000 30000 100000 --plot docs/scale.png

The arithmetic of imaging is replaced by a row of constant values, and volumes are left out (a missing chunk reads as no
result); everything else is what `datbatch run` does: manifest, plan, Dask workers, ledger, tables, records. Each step
runs in a fresh process. Driver and scheduler share one process; its peak is what the kernel says. The overhead of a
granule is the workers' time that went into anything but the stub: scheduling, opening the store, ledger objects.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from datbatch import __version__, schema
from datbatch.archive import Entry, Manifest, load_or_create_key
from datbatch.archive.origin import read_manifest
from datbatch.cohort.ledger import Row
from datbatch.cohort.store import Store, key_path
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config
from datbatch.errors import DONE, NormalisationError, Outcome
from datbatch.stages import imaging as imaging_run
from datbatch.stages import imaging_task
from datbatch.stages.imaging_task import GranuleRecord, ImagingTask
from datbatch.study import imaging, space
from datbatch.study.imaged import ImagedStudy
from datbatch.study.imaging import IMAGING
from datbatch.workers import driver

STUDIES = (1_000, 3_000, 10_000, 30_000, 100_000)
STEPS = ("run", "resume", "status", "query")
FAILING = 50
"""One study of so many fails, for a reason of its own."""
BARS = {
    "memory": "2 times the smallest, reach 1.2",
    "overhead_ms": "50, reach 15",
    "resume_s": "seconds",
    "query_s": "1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/scale"), help="emptied first")
    parser.add_argument("--studies", type=int, nargs="+", default=list(STUDIES))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--plot", type=Path, help="picture of the growth")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        (count,) = options.studies
        print(json.dumps(measured(options.step, options.folder, count, options.workers)))
        return
    print(f"datbatch {__version__}, Python {platform.python_version()}, {options.workers} workers, "
          f"{time.strftime('%Y-%m-%d')}; volumes left out\n")  # fmt: skip
    print("| studies | granules | driver and scheduler, peak MB | against the smallest | overhead a granule, ms | "
          "of it processor, ms | files | ledger, MB | fold, s | resume, s (processor s) | "
          "status, s (processor s) | one region over all, s (processor s) |")  # fmt: skip
    print("|" + "---|" * 12)
    rows = []
    for count in options.studies:
        rows.append(in_fresh_processes(options.folder, count, options.workers))
        show(rows[-1], rows[0])
    print(f"| bar | | | {BARS['memory']} | {BARS['overhead_ms']} | | no explosion | | | {BARS['resume_s']} | | "
          f"{BARS['query_s']} |")  # fmt: skip
    if options.plot:
        draw(rows, options.plot)


def show(row: Mapping[str, float], first: Mapping[str, float]) -> None:
    print(
        f"| {row['studies']:,} | {row['granules']:,} | {row['peak_mb']:.0f} | {row['peak_mb'] / first['peak_mb']:.2f} "
        f"| {row['overhead_ms']:.1f} | {row['processor_ms']:.1f} | {row['files']:,} | {row['ledger_mb']:.0f} "
        f"| {row['fold_s']:.1f} | "
        + " | ".join(f"{row[f'{step}_s']:.1f} ({row[f'{step}_worked_s']:.2f})" for step in STEPS[1:])
        + " |",
        flush=True,
    )


def in_fresh_processes(folder: Path, count: int, workers: int) -> dict[str, float]:
    """Take every step, each in its own interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found: dict[str, float] = {"studies": count}
    for step in STEPS:
        arguments = [str(folder), "--studies", str(count), "--workers", str(workers), "--step", step]
        done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


def measured(step: str, folder: Path, count: int, workers: int) -> dict[str, float]:
    """Take one step in this process."""
    cohort = folder / "cohort.zarr"
    if step == "status":
        # It loads the network's library, which a run does not: the memory of that step must not hold it.
        from datbatch.cohort.views.state import cohort_state
    start, worked = time.perf_counter(), time.process_time()
    if step == "run":
        return run(folder, cohort, count, workers)
    if step == "resume":
        imaging_run.prepare = lambda *_, **__: read_manifest(cohort)
        ran = imaging_run.run_imaging(folder, cohort, Config(), workers=workers, quiet=True)
        assert ran.processed == 0
        assert ran.done + ran.failed == count
    elif step == "status":
        assert cohort_state(cohort).stages["quantify"] == count
    else:
        tables = open_cohort(cohort).to_dataset()
        means = tables.specific_binding_ratio.sel(region="putamen_ipsilateral").groupby(tables.label).mean().values
        assert all(math.isfinite(mean) for mean in means)
    return {f"{step}_s": time.perf_counter() - start, f"{step}_worked_s": time.process_time() - worked}


def run(folder: Path, cohort: Path, count: int, workers: int) -> dict[str, float]:
    """Run everything on stub studies."""
    stubbed: list[float] = []
    worked_for: list[float] = []
    spent = {"tasks": 0.0, "driver": 0.0, "fold": 0.0}
    run_tasks, fold = driver.run_tasks, imaging_run.fold_imaging

    def timed_tasks(*arguments: Any, on_record: Any, **options: Any) -> None:
        def note(record: GranuleRecord) -> None:
            stubbed.append(record.seconds["stub"])
            worked_for.append(record.seconds["worked"])
            on_record(record)

        start, worked = time.perf_counter(), time.process_time()
        run_tasks(*arguments, on_record=note, **options)
        spent["tasks"], spent["driver"] = time.perf_counter() - start, time.process_time() - worked

    def timed_fold(*arguments: Any, **options: Any) -> None:
        start = time.perf_counter()
        fold(*arguments, **options)
        spent["fold"] = time.perf_counter() - start

    imaging_run.prepare = lambda *_, **__: manifest_of(count)
    imaging_run.Imaging.run = staticmethod(stub_granule)
    imaging_run.fold_imaging = timed_fold
    driver.run_tasks = timed_tasks
    load_or_create_key(key_path(cohort))
    imaging_run.run_imaging(folder, cohort, Config(), workers=workers, quiet=True)
    peak = memory_field("VmHWM")
    files = [path for path in cohort.rglob("*") if path.is_file()]
    granules = len(stubbed)
    return {
        "granules": granules,
        "peak_mb": peak / 1e6,
        "overhead_ms": 1e3 * (spent["tasks"] * workers - sum(stubbed)) / granules,
        "processor_ms": 1e3 * (spent["driver"] + sum(worked_for)) / granules,
        "files": len(files),
        "ledger_mb": sum(path.stat().st_size for path in files if "ledger" in path.parts) / 1e6,
        "fold_s": spent["fold"],
    }


def manifest_of(count: int) -> Manifest:
    """Make the manifest of an archive with so many studies of some sites."""
    return Manifest(tuple(_entry(number) for number in range(count)), count, {})


def _entry(number: int) -> Entry:
    name = hashlib.sha256(str(number).encode()).hexdigest()
    label = schema.LABELS[number % 2]
    return Entry(
        f"s{name[:16]}", (f"site{number % 12}/{name[:8]}/projections.dcm",), name,
        site=f"site {number % 12}", sex="FM"[number % 2], age=40.0 + number % 50, label=label,
        reads=(label,) * len(schema.READS), person=f"p{name[16:32]}",
    )  # fmt: skip


def stub_granule(task: ImagingTask) -> GranuleRecord:
    """Run the real task of a granule with constant rows in place of imaging, and without volumes."""
    seconds = [0.0]

    def stub(study: str, *_: Any, **__: Any) -> ImagedStudy:
        start = time.perf_counter()
        imaged = ImagedStudy(stub_rows(study))
        seconds[0] += time.perf_counter() - start
        return imaged

    worked = time.process_time()
    imaging.image_study = stub
    # A stub needs no process that can be lost; what one costs is part of `benchmarks/throughput.py`.
    imaging_task.call_losable = lambda function, item, *_: function(item)
    space.store_space = lambda *_: None
    Store.shard = lambda *_: SimpleNamespace(write=lambda: None)
    record = imaging_task.image_granule(task)
    return replace(record, seconds={"stub": seconds[0], "worked": time.process_time() - worked - seconds[0]})


def stub_rows(study: str) -> dict[str, Row]:
    """Give rows as large as real ones; some studies fail."""
    if int(hashlib.sha256(study.encode()).hexdigest(), 16) % FAILING == 0:
        failed = Row(study, Outcome.failed(NormalisationError("the study is not like the template"), "register"))
        return {stage.name: failed for stage in IMAGING}
    return {stage.name: Row(study, DONE, stub_values(stage.name)) for stage in IMAGING}


def stub_values(stage: str) -> dict[str, Any]:
    """Give a value for every column that a stage fills."""
    return {v.name: _value(v) for v in schema.STUDY_TABLE if v.writer == stage}


def _value(variable: schema.Variable) -> Any:
    if variable.dtype == "str":
        return f"{schema.SIMULATED} Camera" if variable.name == "scanner" else ""
    value: Any = {"bool": True, "float64": 1.2345678901234567, "float32": 1.2345678}.get(variable.dtype, 3)
    for size in reversed(sizes(variable.dims[1:])):
        value = [value] * size
    return value


def sizes(dims: Sequence[str]) -> list[int]:
    known = {name: len(labels) for name, labels in schema.BINDING_LABELS.items()}
    known |= {"region": len(schema.REGIONS), "angle": len(schema.ANGLES_DEG), "to": 4, "from": 4}
    return [known[dim] for dim in dims]


def memory_field(name: str) -> int:
    """Read a figure of this process, in bytes; unlike `getrusage`, it starts anew with the interpreter."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def draw(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw each figure, from zero, over the number of studies, which is logarithmic."""
    from matplotlib import pyplot

    shown = {
        "peak_mb": "driver and scheduler, peak MB",
        "overhead_ms": "overhead a granule, ms",
        "files": "files in the store",
        "resume_s": "resume of a finished run, s",
        "query_s": "one region over all, s",
        "fold_s": "tables from the ledger, s",
    }
    figure, axes = pyplot.subplots(2, 3, figsize=(10, 5.5), layout="constrained")
    for axis, (name, title) in zip(axes.flat, shown.items(), strict=True):
        axis.semilogx([row["studies"] for row in rows], [row[name] for row in rows], "o-", color="#2b5c8a")
        axis.set_ylim(0, 1.1 * max(row[name] for row in rows))
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("studies")
        axis.grid(which="both", alpha=0.25)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
