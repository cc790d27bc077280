"""On a real SLURM, with jobs cancelled and a node drained: the bytes of a local run.

cluster/slurm-testbed/start.sh makes one on a machine that may be thrown away; `pytest -m slurm` then runs these tests.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from datbatch.cohort.store import key_path
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR
from tests import pipeline
from tests.pipeline import assert_same_content, granules_done, imaging_content, run_command, start_command

CONFIG = "[store]\ngranule_studies = 1\n"
PATIENCE_SECONDS = 240.0
GPU = "datbatch-gpu"


pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def slurm() -> None:
    pytest.importorskip("dask_jobqueue")
    if shutil.which("sinfo") is None:
        pytest.skip("no SLURM is installed")
    # Where none answers, this waits for ten seconds.
    if subprocess.run(["sinfo", "--noheader"], capture_output=True, check=False).returncode:
        pytest.skip("no SLURM answers")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def jobs(name: str, state: str = "RUNNING") -> list[str]:
    return said("squeue", "--noheader", "--format=%A", f"--name={name}", f"--states={state}").split()


def node() -> str:
    return said("sinfo", "--noheader", "--format=%n").split()[0]


wait_until = partial(pipeline.wait_until, patience_seconds=PATIENCE_SECONDS)


@pytest.fixture
def cluster_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "cluster.toml"
    path.write_text(
        f"""kind = "slurm"
interface = "lo"
folder = "{tmp_path}/run"

[[pool]]
name = "cpu"
jobs = 2
memory = "3GB"
walltime = "00:10:00"
queue = "batch"

[[pool]]
name = "gpu"
resources = ["accelerator"]
memory = "4GB"
walltime = "00:10:00"
queue = "batch"
directives = ["--gres=gpu:1"]
"""
    )
    yield path
    # A node that is not drained refuses it.
    subprocess.run(["scontrol", "update", f"nodename={node()}", "state=resume"], capture_output=True, check=False)


def test_a_job_cancelled_and_a_node_drained_in_the_middle_change_no_byte(tmp_path, archive, cluster_file) -> None:
    local, own, config = tmp_path / "local.zarr", tmp_path / "own.zarr", tmp_path / "config.toml"
    config.write_text(CONFIG)
    run_command("run", archive, local, "--config", config, "--workers", 2, expect=3)
    shutil.copy(key_path(local), key_path(own))
    process = start_command("run", archive, own, "--config", config, "--cluster", cluster_file)
    try:
        wait_until(lambda: granules_done(own) >= 2, "no granule came from the jobs")
        first = jobs("datbatch-cpu")
        assert len(first) == 2
        assert not jobs(GPU), "imaging waits for no GPU"
        said("scontrol", "update", f"nodename={node()}", "state=drain", "reason=test")
        said("scancel", *first)
        wait_until(lambda: len(jobs("datbatch-cpu", "PENDING")) == 2, "the cancelled jobs were not replaced")
        waiting = jobs("datbatch-cpu", "PENDING")
        said("scancel", waiting[0])
        wait_until(
            lambda: set(jobs("datbatch-cpu", "PENDING")) > {waiting[1]}, "one that still waited was not replaced"
        )
        assert process.poll() is None
        said("scontrol", "update", f"nodename={node()}", "state=resume")
        wait_until(lambda: process.poll() is not None, "the run did not end")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 3
    wait_until(lambda: not said("squeue", "--noheader"), "jobs were left over")
    assert_same_content(imaging_content(own), imaging_content(local))
    assert not list((tmp_path / "run").iterdir()), "keys or logs were left over"


def test_walltime_renews_the_workers(tmp_path, cluster_file) -> None:
    cluster_file.write_text(cluster_file.read_text().replace("00:10:00", "00:00:40"))
    records: list[str] = []
    with driver.connect(str(cluster_file)) as client:
        driver.run_tasks(client, nap, range(60), on_record=records.append, on_lost=lambda task: [task])
    assert len(records) == 60
    assert len(set(records)) > 2


def test_a_killed_driver_leaves_no_job(tmp_path, archive, cluster_file) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    process = start_command("run", archive, tmp_path / "own.zarr", "--config", config, "--cluster", cluster_file)
    wait_until(lambda: jobs("datbatch-cpu"), "no job started")
    time.sleep(5)
    process.kill()
    process.wait()
    wait_until(lambda: not said("squeue", "--noheader"), "jobs outlived their driver")


def test_the_accelerators_pool_gets_the_graphics_processor_of_its_job(cluster_file) -> None:
    records: list[str] = []
    with driver.connect(str(cluster_file), resource=ACCELERATOR) as client:
        driver.run_tasks(
            client, granted, range(3), on_record=records.append, on_lost=lambda task: [task], on_accelerator=True
        )
        assert len(jobs(GPU)) == 1
        assert not jobs("datbatch-cpu")
    assert records == ["gpu:1"] * 3


def nap(_: int) -> str:
    import os

    time.sleep(3)
    return os.environ["SLURM_JOB_ID"]


def granted(_: int) -> str:
    import os

    shown = said("scontrol", "show", "job", os.environ["SLURM_JOB_ID"])
    return "gpu:1" if "gres:gpu:1" in shown or "gres/gpu=1" in shown else shown
