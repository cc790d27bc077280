"""Killed at random moments and started again, a run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.faults.conftest import with_key_of
from tests.pipeline import (
    assert_same_content,
    granules_done,
    imaging_content,
    kill_group,
    made_once,
    run_command,
    start_command,
)

CONFIG = "[store]\ngranule_studies = 1\n"
WORKER_KILLS = 5
DRIVER_KILLS = 6


@pytest.fixture(scope="session")
def uninterrupted(shared_folder: Path, archive: Path) -> Path:
    folder = shared_folder / "uninterrupted"

    def make() -> None:
        (folder / "config.toml").write_text(CONFIG)
        run_command(
            "run", archive, folder / "cohort.zarr", "--config", folder / "config.toml", "--workers", 2, expect=3
        )

    return made_once(folder, make) / "cohort.zarr"


def fresh_store(tmp_path: Path, uninterrupted: Path) -> tuple[Path, Path]:
    """Give the path of a store that will get the same pseudonyms, and its parameter file."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    return with_key_of(uninterrupted, tmp_path / "cohort.zarr"), config


def worker_processes(driver: int) -> list[psutil.Process]:
    """List the worker processes below a driver, without the helpers of multiprocessing."""
    try:
        below = psutil.Process(driver).children(recursive=True)
        return [p for p in below if "spawn_main" in " ".join(p.cmdline())]
    except psutil.NoSuchProcess:
        return []


def test_killed_workers_and_killed_drivers_leave_no_trace(tmp_path: Path, archive: Path, uninterrupted: Path) -> None:
    cohort, config = fresh_store(tmp_path, uninterrupted)
    chance = np.random.default_rng(11)
    kills = {"worker": 0, "driver": 0}
    seen = []
    for turn in itertools.count():
        if kills["worker"] >= WORKER_KILLS and kills["driver"] >= DRIVER_KILLS:
            break
        process = start_command("run", archive, cohort, "--config", config, "--workers", 2)
        before, start = granules_done(cohort), time.monotonic()
        # Every second shot waits for work to be under way, however slow the machine; the others hit at any moment.
        aim = chance.uniform(1.0, 9.0) if turn % 2 else 90.0
        while time.monotonic() < start + aim and process.poll() is None:
            time.sleep(0.05)
            if turn % 2 == 0 and granules_done(cohort) > before:
                time.sleep(chance.uniform(0.0, 1.5))
                break
        victims = worker_processes(process.pid)
        if kills["worker"] < WORKER_KILLS and victims and process.poll() is None:
            os.kill(victims[chance.integers(len(victims))].pid, signal.SIGKILL)
            kills["worker"] += 1
            time.sleep(chance.uniform(0.0, 2.0))
        if process.poll() is None:
            kills["driver"] += 1
            if kills["driver"] % 2:
                kill_group(process)
            else:
                # Its workers must notice by themselves; the next round starts while they do.
                process.kill()
                process.wait()
        else:
            # Finished before the shot: take something away, so that the next round has work again.
            seen.append(granules_done(cohort))
            done = sorted((cohort / "ledger").glob("*/*/0*.json"))
            for index in chance.choice(len(done), len(done) // 2, replace=False):
                done[index].unlink()
        seen.append(granules_done(cohort))
    assert kills["worker"] + kills["driver"] >= 10
    assert max(seen) > 0, "no kill hit a run at work"
    answer = run_command("run", archive, cohort, "--config", config, "--workers", 2, expect=3)
    assert answer["studies"] == len(imaging_content(uninterrupted)["study"])
    assert_same_content(imaging_content(cohort), imaging_content(uninterrupted))


def test_the_number_of_workers_changes_no_bit(tmp_path: Path, archive: Path, uninterrupted: Path) -> None:
    # Three against two; one against two is compared on the cluster that others started (test_cluster).
    cohort, config = fresh_store(tmp_path, uninterrupted)
    run_command("run", archive, cohort, "--config", config, "--workers", 3, expect=3)
    assert_same_content(imaging_content(cohort), imaging_content(uninterrupted))


def test_an_interrupted_run_says_so_and_resumes(tmp_path: Path, archive: Path, uninterrupted: Path) -> None:
    cohort, config = fresh_store(tmp_path, uninterrupted)
    process = start_command("run", archive, cohort, "--config", config, "--workers", 2)
    limit = time.monotonic() + 120
    while granules_done(cohort) < 1 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode == 130
    run_command("run", archive, cohort, "--config", config, expect=3)
    assert_same_content(imaging_content(cohort), imaging_content(uninterrupted))
