"""Pools of jobs, here as processes of this machine: jobs that end are replaced, and none is left over."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from datbatch.errors import ClusterError
from datbatch.workers import driver, pools
from datbatch.workers.cluster_file import ACCELERATOR, IMAGING


def cluster_file(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "cluster.toml"
    both = f'[[pool]]\nname = "cpu"\n{{}}\n[[pool]]\nname = "both"\nresources = ["{ACCELERATOR}"]\n'
    path.write_text(f'kind = "local"\nfolder = "{tmp_path}/run"\n' + both.format("\n".join(lines)))
    return str(path)


def jobs() -> list[psutil.Process]:
    """Give the jobs that run below this process."""
    return [p for p in psutil.Process().children() if "distributed.cli.dask_worker" in " ".join(p.cmdline())]


def own_name(_: int) -> str:
    from distributed import get_worker

    return str(get_worker().name)


def test_a_job_that_is_killed_is_replaced_and_only_pools_that_serve_are_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TEND_SECONDS", 0.2)
    names: list[str] = []

    def note(name: str) -> None:
        names.append(name)
        if len(names) == 3:
            os.killpg(jobs()[0].pid, signal.SIGKILL)

    with driver.connect(cluster_file(tmp_path)) as client:
        driver.run_tasks(client, own_name, range(12), on_record=note, on_lost=lambda task: [task])
        assert len(jobs()) == 1
    assert len(names) == 12
    assert set(names) == {"cpu.1", "cpu.2"}
    assert not jobs()
    assert not list((tmp_path / "run").iterdir())


def test_a_result_that_is_lost_with_its_worker_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TEND_SECONDS", 0.2)
    names: list[str] = []

    with driver.connect(cluster_file(tmp_path)) as client:

        def note(name: str) -> None:
            names.append(name)
            if len(names) == 1:
                # Time for the second task to end; its record lies on the worker still.
                time.sleep(2.0)
                os.killpg(jobs()[0].pid, signal.SIGKILL)
                while any(worker["name"] == name for worker in driver.workers_of(client).values()):
                    time.sleep(0.05)
                time.sleep(0.5)

        driver.run_tasks(client, own_name, range(4), on_record=note, on_lost=lambda task: [task])
    assert names == ["cpu.1", "cpu.2", "cpu.2", "cpu.2"]


def test_the_accelerators_pool_serves_what_asks_for_it(tmp_path: Path) -> None:
    names: list[str] = []
    with driver.connect(cluster_file(tmp_path), resource=ACCELERATOR) as client:
        driver.run_tasks(
            client, own_name, [1], on_record=names.append, on_lost=lambda task: [task], on_accelerator=True
        )
    assert names == ["both.1"]


def test_jobs_that_end_without_a_worker_end_the_run_with_their_logs_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TEND_SECONDS", 0.1)
    place = cluster_file(tmp_path, 'prologue = ["echo no such module", "exit 1"]')
    with pytest.raises(ClusterError, match="pool cpu ended without a worker"), driver.connect(place):
        pass
    logs = list((tmp_path / "run").glob("*/cpu.*.log"))
    assert len(logs) == pools.STARTS
    assert "no such module" in logs[0].read_text()
    assert logs[0].parent.stat().st_mode & 0o777 == 0o700
    assert not jobs()


def test_imaging_and_accelerated_tasks_of_one_cluster_go_to_workers_of_their_own() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        driver.Client(cluster) as client,
    ):
        from distributed import Nanny

        async def add(name: str, resource: str) -> Nanny:
            return await Nanny(cluster.scheduler_address, nthreads=1, name=name, resources={resource: 1})

        added = [cluster.sync(add, f"for-{resource}", resource) for resource in (IMAGING, ACCELERATOR)]
        for on_accelerator, wanted in ((False, f"for-{IMAGING}"), (True, f"for-{ACCELERATOR}")):
            names: list[str] = []
            driver.run_tasks(
                client, own_name, range(6), on_record=names.append, on_lost=lambda task: [task],
                on_accelerator=on_accelerator,
            )  # fmt: skip
            assert names == [wanted] * 6
        for nanny in added:
            cluster.sync(nanny.close)
