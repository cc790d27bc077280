"""Rounds of SIGKILL at random moments: what a resumed run leaves, bit by bit, beside what an uninterrupted one left.

    python benchmarks/faults.py --rounds 100

Each round starts `datbatch run` on a small simulated archive, kills workers, processes of studies, the driver, the
scheduler (in a process of its own) or all of them at once, up to three times, and then lets it end. Arrays, tables and
ledger must be those of the uninterrupted run, every byte verified. Imaging is a stand-in that depends on the files
alone (tests/faults/stand_in), because what is tried is not the arithmetic. The same seed aims at the same moments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from datbatch import __version__
from datbatch.cohort.facts import LEDGER
from datbatch.cohort.store import Store, key_path
from datbatch.cohort.verify import verify_store
from tests.pipeline import PROGRAM, assert_same_content, granules_done, imaging_content

STAND_IN = Path(__file__).parent.parent / "tests" / "faults" / "stand_in"
VICTIMS = ("a worker", "the process of a study", "the driver", "the scheduler", "all at once")
WORKER, STUDY, DRIVER, SCHEDULER, ALL = VICTIMS
ENVIRONMENT = os.environ | {"DATBATCH_STAND_IN": "cheap", "PYTHONPATH": str(STAND_IN), "OMP_NUM_THREADS": "1"}
PATIENCE_SECONDS = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return fault_rounds(options, Path(folder))


def fault_rounds(options: argparse.Namespace, folder: Path) -> int:
    """Run all rounds, print the table; 1 where any differed or no shot hit a run at work."""
    archive, config = folder / "archive", folder / "config.toml"
    config.write_text("[store]\ngranule_studies = 1\n")
    subprocess.run([PROGRAM, "simulate", archive, "--studies", str(options.studies), "--quiet"], check=True, stdout=2)
    whole = folder / "whole" / "cohort.zarr"
    begin = time.monotonic()
    finish(archive, whole, config)
    span = time.monotonic() - begin
    rounds, differing = Counter[str](), Counter[str]()
    shots, at_work = Counter[str](), Counter[str]()
    for number in range(options.rounds):
        chance = np.random.default_rng([options.seed, number])
        victim = VICTIMS[number % len(VICTIMS)]
        own = folder / "round" / "cohort.zarr"
        own.parent.mkdir()
        shutil.copy(key_path(whole), key_path(own))
        for _ in range(int(chance.integers(1, 4))):
            hit = disturb(victim, archive, own, config, span, chance)
            shots[victim] += hit is not None
            at_work[victim] += bool(hit)
        finish(archive, own, config)
        rounds[victim] += 1
        try:
            compare(own, whole)
        except AssertionError as difference:
            differing[victim] += 1
            print(f"round {number} of seed {options.seed}, {victim}: {difference}", file=sys.stderr, flush=True)
        shutil.rmtree(own.parent)
    print(f"datbatch {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    print("| SIGKILL for | rounds | kills | of a run with studies done and not done | rounds that differ |")
    print("|---|---|---|---|---|")
    for victim in VICTIMS:
        cells = (rounds[victim], shots[victim], at_work[victim], differing[victim])
        print(f"| {victim} | {' | '.join(map(str, cells))} |")
    print(f"\n{differing.total()} of {rounds.total()} rounds differ, or lost or doubled a study")
    return int(bool(differing) or not at_work.total())


def finish(archive: Path, cohort: Path, config: Path) -> None:
    """Let a run go to its end."""
    done = subprocess.run(
        command(archive, cohort, config), env=ENVIRONMENT, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    if done.returncode not in (0, 3):
        raise SystemExit(f"a run did not end well: {done.stdout}{done.stderr}")


def command(archive: Path, cohort: Path, config: Path, cluster: str = "") -> list[str]:
    where = ["--cluster", cluster] if cluster else ["--workers", "2"]
    return [PROGRAM, "run", str(archive), str(cohort), "--config", str(config), "--json", "--quiet", *where]


def disturb(
    victim: str, archive: Path, cohort: Path, config: Path, span: float, chance: np.random.Generator
) -> bool | None:
    """Start a run and kill something of it; tell whether it was at work then, None where it had ended before."""
    cluster, others = "", list[subprocess.Popen[bytes]]()
    if victim == SCHEDULER:
        cluster, others = start_cluster(cohort.parent)
    process = start(command(archive, cohort, config, cluster))
    # Half of the shots at any moment, half at a moment after the first study of this run.
    before, aim = granules_done(cohort), chance.uniform(0.0, 1.2 * span)
    patient = chance.random() < 0.5
    end = time.monotonic() + (PATIENCE_SECONDS if patient else aim)
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.02)
        if patient and granules_done(cohort) > before:
            time.sleep(chance.uniform(0.0, 1.5))
            break
    hit: bool | None = None
    if process.poll() is None:
        done = granules_done(cohort)
        hit = 0 < done < granules_done(cohort.parent.parent / "whole" / "cohort.zarr")
        shoot(victim, process, others, chance)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=PATIENCE_SECONDS)
    kill_group(process)
    for other in others:
        kill_group(other)
    return hit


def shoot(
    victim: str, driver: subprocess.Popen[bytes], others: list[subprocess.Popen[bytes]], chance: np.random.Generator
) -> None:
    """Kill the victim."""
    if victim == ALL:
        kill_group(driver)
    elif victim == DRIVER:
        # Its workers must notice by themselves; the next run starts while they do.
        driver.kill()
    elif victim == SCHEDULER:
        others[0].kill()
    else:
        mark = "datbatch.workers.losable" if victim == STUDY else "spawn_main"
        with contextlib.suppress(psutil.NoSuchProcess):
            found = [p for p in psutil.Process(driver.pid).children(recursive=True) if mark in " ".join(p.cmdline())]
            if found:
                found[chance.integers(len(found))].kill()


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def start_cluster(folder: Path) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """Start a scheduler and two workers in processes of their own; give the address and the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    python, quiet = [sys.executable, "-m"], ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), *quiet]
    worker = [*python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--death-timeout", "20", *quiet]
    worker += ["--local-directory", str(folder / "dask"), "--nworkers", "2", "--host", "127.0.0.1"]
    return address, [start(scheduler), start(worker)]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def compare(own: Path, whole: Path) -> None:
    """Compare arrays, tables and ledger of two stores, and each store with its own record."""
    assert_same_content(imaging_content(own), imaging_content(whole))
    left, right = (
        {p.relative_to(s / LEDGER).as_posix(): json.loads(p.read_text()) for p in (s / LEDGER).glob("*/*/*.json")}
        for s in (own, whole)
    )
    assert left == right, "the ledger differs"
    studies = Store(own).studies
    assert len(studies) == len(set(studies))
    damages = verify_store(own).damages
    assert not damages, damages


if __name__ == "__main__":
    sys.exit(main())
