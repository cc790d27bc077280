"""What Dask and the store cost beside bare functions and plain Zarr, how workers scale, and whether `plan` is right.

    python benchmarks/throughput.py build/throughput --studies 64

prints a Markdown table with the bars beside the measured values. Simulated studies; both sides take the same ones, one
thread each. The bare loop calls the functions of the stages on one study after the other and keeps nothing. Beside the
wall time stand processor seconds, which hold on a machine that has other things to do; the speed-up and the estimate
can only be judged by the wall, on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import zarr

from datbatch import __version__, schema
from datbatch.archive import Entry, scan_archive
from datbatch.cohort import layout
from datbatch.cohort.shard import VolumeReader
from datbatch.cohort.store import Store
from datbatch.config import Config
from datbatch.errors import INCLUDED
from datbatch.simulation import simulate_archive
from datbatch.stages.imaging_task import ImagingTask, image_granule
from datbatch.stages.planning import granule_keys
from datbatch.study.imaging import image_study, imaging_identities
from datbatch.study.space import configured_space, write_space
from datbatch.workers import driver

SEED = 7
GRANULE = Config().store.granule_studies
PROGRAM = str(Path(sys.executable).parent / "datbatch")


@dataclass(frozen=True)
class Spent:
    """Seconds by the wall and of processors."""

    wall: float
    worked: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/throughput"))
    parser.add_argument("--studies", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5, help="of imaging")
    parser.add_argument("--repeats", type=int, default=5, help="of writing and reading")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"):
        os.environ[name] = "1"
    archive = options.folder / f"archive-{options.studies}"
    if not archive.exists():
        simulate_archive(archive, options.studies, seed=SEED, defects=False, workers=os.cpu_count() or 1)
    entries = [e for e in scan_archive(archive, key=b"0" * 32).entries if e.outcome == INCLUDED]
    if options.bare:
        print(json.dumps(vars(bare_loop(archive, entries))))
        return
    print(f"datbatch {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
          f"{time.strftime('%Y-%m-%d')}; load before: {os.getloadavg()[0]:.1f}; {len(entries)} studies\n")  # fmt: skip
    print("| figure | wall | processor seconds | bar |\n|---|---|---|---|")
    ways: dict[str, Callable[[], Spent]] = {
        "bare": lambda: bare_loops(options.folder, options.studies, 1),
        "two bare": lambda: bare_loops(options.folder, options.studies, 2),
        "one": lambda: through_dask(options.folder, archive, entries, 1),
        "two": lambda: through_dask(options.folder, archive, entries, 2),
    }
    turns = [{name: way() for name, way in ways.items()} for _ in range(options.turns)]
    bare, twice, one, two = (median([turn[name] for turn in turns]) for name in ways)
    for name, workers, spent in (("bare loop", 1, bare), ("Dask and store, one worker", 1, one),
                                 ("Dask and store, two workers", 2, two)):  # fmt: skip
        row(f"{name}, a study and worker", f"{workers * spent.wall / len(entries):.3f} s",
            f"{spent.worked / len(entries):.3f}", "")  # fmt: skip
    shares = sorted(turn["bare"].wall / turn["one"].wall for turn in turns)
    row(f"bare loop / Dask and store ({percent(shares[0])} to {percent(shares[-1])})",
        percent(statistics.median(shares)), percent(bare.worked / one.worked), "90 %, reach 97")  # fmt: skip
    row("speed-up from 1 to 2 workers", f"{one.wall / two.wall:.2f}", f"{2 * one.worked / two.worked:.2f}", "1.8, 1.9")
    row("speed-up from one bare loop to two at once", f"{2 * bare.wall / twice.wall:.2f}", "", "")
    volumes = imaged_volumes(options.folder)
    for what, ours, plain in compared(options.folder, volumes, options.repeats):
        size = volumes.nbytes / 1e6
        row(f"{what}, ours / plain Zarr, MB/s", f"{size / ours.wall:.0f} / {size / plain.wall:.0f}", "", "")
        row(f"{what}, ours of plain Zarr's", percent(plain.wall / ours.wall), percent(plain.worked / ours.worked),
            "80 %, reach 95")  # fmt: skip
    estimated, took = estimate_and_run(options.folder, archive)
    row("plan's estimate / the run", f"{estimated:.1f} s / {took:.1f} s, {100 * (estimated / took - 1):+.0f} %", "",
        "25 %, reach 10")  # fmt: skip


def row(name: str, wall: str, worked: str, bar: str) -> None:
    print(f"| {name} | {wall} | {worked} | {bar} |", flush=True)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def spent(function: Callable[[], object]) -> Spent:
    start, worked = time.perf_counter(), time.process_time()
    function()
    return Spent(time.perf_counter() - start, time.process_time() - worked)


def median(some: Sequence[Spent]) -> Spent:
    return Spent(statistics.median(s.wall for s in some), statistics.median(s.worked for s in some))


def bare_loops(folder: Path, studies: int, count: int) -> Spent:
    """Let so many fresh processes image all studies at the same time; the mean of what each spent."""
    arguments = [sys.executable, __file__, str(folder), "--studies", str(studies), "--bare"]
    # Dask leaves in this process what it tells its workers about memory: a bare loop is not told.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    loops = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
    done = [json.loads(loop.communicate()[0].splitlines()[-1]) for loop in loops]
    return Spent(*(statistics.mean(each[name] for each in done) for name in ("wall", "worked")))


def bare_loop(archive: Path, entries: Sequence[Entry]) -> Spent:
    """Call the functions of the stages on each study; the first call, which loads and compiles, is not counted."""
    config = Config()
    space = configured_space(config)

    def image(entry: Entry) -> None:
        image_study(entry.pseudonym, [archive / name for name in entry.files], config, space=space)

    image(entries[0])
    return spent(lambda: [image(entry) for entry in entries])


def timed_granule(task: ImagingTask) -> float:
    """Do the task of a granule and give the processor seconds of the worker and of its process for studies."""
    before = processor_seconds()
    image_granule(task)
    return processor_seconds() - before


def processor_seconds() -> float:
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


def through_dask(folder: Path, archive: Path, entries: Sequence[Entry], workers: int) -> Spent:
    """Image all studies on some workers into a store; first a granule for each worker that is not counted."""
    config = Config()
    stores = [new_store(folder / f"{name}-{workers}.zarr", entries, config) for name in ("first", "cohort")]
    warm, tasks = (tasks_of(store, archive, entries, config) for store in stores)
    worked: list[float] = []
    with driver.connect(workers=workers) as client:

        def run(some: Sequence[ImagingTask]) -> None:
            driver.run_tasks(client, timed_granule, some, on_record=worked.append, on_lost=lambda task: [task])

        run(warm[:workers])
        worked.clear()
        driver_spent = spent(lambda: run(tasks))
    return Spent(driver_spent.wall, driver_spent.worked + sum(worked))


def new_store(path: Path, entries: Sequence[Entry], config: Config) -> Store:
    shutil.rmtree(path, ignore_errors=True)
    store = Store.create(path, granule_studies=GRANULE)
    store.grow([entry.pseudonym for entry in entries])
    write_space(store, configured_space(config))
    return store


def tasks_of(store: Store, archive: Path, entries: Sequence[Entry], config: Config) -> list[ImagingTask]:
    tasks = []
    for number, first in enumerate(range(0, len(entries), GRANULE)):
        some = tuple(entries[first : first + GRANULE])
        keys = granule_keys(imaging_identities(config), number, some)
        tasks.append(ImagingTask(store.path.absolute(), archive.absolute(), number, some, keys, config))
    return tasks


def imaged_volumes(folder: Path) -> npt.NDArray[np.float32]:
    """Give a granule of real volumes, from the store that was just made."""
    reader = VolumeReader(folder / "cohort-1.zarr", schema.UPTAKE.name)
    return np.stack([reader[index] for index in range(GRANULE)])


def compared(folder: Path, volumes: npt.NDArray[np.float32], repeats: int) -> list[tuple[str, Spent, Spent]]:
    """Write and read the same volumes with the same codecs, ours and plain Zarr in turns; medians."""
    path = folder / "plain.zarr"
    shutil.rmtree(path, ignore_errors=True)
    store = new_store(folder / "ours.zarr", [Entry(f"s{n}", (), "") for n in range(GRANULE)], Config())
    plain = zarr.create_array(
        path, shape=volumes.shape, dtype="float32", chunks=(1, *schema.SHAPE), shards=volumes.shape,
        compressors=layout.volume_codecs(schema.UPTAKE),
        fill_value=np.nan, chunk_key_encoding={"name": "default", "separator": "."},
    )  # fmt: skip
    ways: dict[str, Callable[[], object]] = {
        "write ours": lambda: store.write_volumes(schema.UPTAKE.name, 0, volumes),
        "write plain": lambda: plain.__setitem__(slice(None), volumes),
        "read ours": lambda: one_by_one(store.volumes()),
        "read plain": lambda: one_by_one(zarr.open_array(path, mode="r")),
    }
    times: dict[str, list[Spent]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            once = spent(way)
            if turn:
                times[name].append(once)
    assert np.array_equal(store.volumes()[1], np.asarray(plain[1]))
    usual = {name: median(some) for name, some in times.items()}
    return [(what, usual[f"{what} ours"], usual[f"{what} plain"]) for what in ("write", "read")]


def one_by_one(volumes: Any) -> None:
    """Read every volume of a granule, as training does."""
    for index in range(GRANULE):
        volumes[index]


def estimate_and_run(folder: Path, archive: Path) -> tuple[float, float]:
    """Give what `datbatch plan` said, and how long `datbatch run` took, both as commands."""
    for left in folder.glob("planned*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    arguments = [str(archive), str(folder / "planned.zarr"), "--json"]
    done = subprocess.run([PROGRAM, "plan", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    estimated = float(json.loads(done.stdout)["cost"]["seconds"])
    start = time.perf_counter()
    subprocess.run([PROGRAM, "run", *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return estimated, time.perf_counter() - start


if __name__ == "__main__":
    main()
