"""Killed at random moments and started again, a run ends with the bits of an uninterrupted one."""

import itertools
import os
import signal
import time

import numpy as np
import psutil

from tests.faults.conftest import with_key_of
from tests.pipeline import (
    assert_same_content,
    granules_done,
    imaging_content,
    kill_group,
    run_command,
    start_command,
    wait_until,
)

WORKER_KILLS = 5
DRIVER_KILLS = 6


def worker_processes(driver: int) -> list[psutil.Process]:
    """List the worker processes below a driver, without the helpers of multiprocessing."""
    try:
        below = psutil.Process(driver).children(recursive=True)
        return [p for p in below if "spawn_main" in " ".join(p.cmdline())]
    except psutil.NoSuchProcess:
        return []


def test_killed_workers_and_killed_drivers_leave_no_trace(tmp_path, archive, cohort, config) -> None:
    own = with_key_of(cohort, tmp_path / "cohort.zarr")
    chance = np.random.default_rng(11)
    kills = {"worker": 0, "driver": 0}
    seen = []
    for turn in itertools.count():
        if kills["worker"] >= WORKER_KILLS and kills["driver"] >= DRIVER_KILLS:
            break
        process = start_command("run", archive, own, "--config", config, "--workers", 2)
        before, start = granules_done(own), time.monotonic()
        # Every second shot waits for work to be under way, however slow the machine; the others hit at any moment.
        aim = chance.uniform(0.5, 6.0) if turn % 2 else 90.0
        while time.monotonic() < start + aim and process.poll() is None:
            time.sleep(0.05)
            if turn % 2 == 0 and granules_done(own) > before:
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
            seen.append(granules_done(own))
            done = sorted((own / "ledger").glob("*/*/0*.json"))
            for index in chance.choice(len(done), len(done) // 2, replace=False):
                done[index].unlink()
        seen.append(granules_done(own))
    assert kills["worker"] + kills["driver"] >= 10
    assert max(seen) > 0, "no kill hit a run at work"
    answer = run_command("run", archive, own, "--config", config, "--workers", 2, expect=3)
    assert answer["studies"] == len(imaging_content(cohort)["study"])
    assert_same_content(imaging_content(own), imaging_content(cohort))


def test_an_interrupted_run_of_one_worker_says_so_and_resumes_with_three_to_the_bits_of_two(
    tmp_path, archive, cohort, config
) -> None:
    own = with_key_of(cohort, tmp_path / "cohort.zarr")
    command = ("run", archive, own, "--config", config, "--workers")
    process = start_command(*command, 1)
    wait_until(lambda: granules_done(own) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    run_command(*command, 3, expect=3)
    assert_same_content(imaging_content(own), imaging_content(cohort))
