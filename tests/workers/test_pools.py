"""Pools of jobs, here as processes of this machine: jobs that end are replaced, and none is left over."""

import os
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster, Nanny, get_worker
from distributed.utils import get_ip

from datbatch.errors import ClusterError
from datbatch.workers import driver, pools
from datbatch.workers.cluster_file import ACCELERATOR, IMAGER
from datbatch.workers.pools import SETTINGS, WORKER_SETTINGS, worker_environment
from tests.pipeline import wait_until
from tests.workers.test_driver import listening


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TEND_SECONDS", 0.2)


def cluster_file(tmp_path: Path, *lines: str, kind: str = "local") -> str:
    path = tmp_path / "cluster.toml"
    both = f'[[pool]]\nname = "cpu"\n{{}}\n[[pool]]\nname = "both"\nresources = ["{ACCELERATOR}"]\n'
    both += 'hosts = ["there"]\n' if kind == "ssh" else ""
    path.write_text(f'kind = "{kind}"\nfolder = "{tmp_path}/run"\n' + both.format("\n".join(lines)))
    return str(path)


def jobs() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "distributed.cli.dask_worker" in " ".join(p.cmdline())]


def own_name(_: int) -> str:
    return str(get_worker().name)


def run(client: Client, tasks: int, after: Callable[[list[str]], object] = len, **more: bool) -> list[str]:
    """Give the names of the workers that did some tasks; `after` sees those so far."""
    names: list[str] = []

    def note(name: str) -> None:
        names.append(name)
        after(names)

    driver.run_tasks(client, own_name, range(tasks), on_record=note, on_lost=lambda task: [task], **more)
    return names


def kill_after(count: int) -> Callable[[list[str]], object]:
    return lambda names: os.killpg(jobs()[0].pid, signal.SIGKILL) if len(names) == count else None


def test_a_job_that_is_killed_is_replaced_and_only_pools_that_serve_are_started(tmp_path) -> None:
    with driver.connect(cluster_file(tmp_path)) as client:
        names = run(client, 12, kill_after(3))
        assert len(jobs()) == 1
        assert listening() == {"127.0.0.1"}
    assert len(names) == 12
    assert set(names) == {"cpu.1", "cpu.2"}
    assert not jobs()
    assert not list((tmp_path / "run").iterdir())


def test_a_result_that_is_lost_with_its_worker_is_made_again(tmp_path) -> None:
    with driver.connect(cluster_file(tmp_path)) as client:

        def kill_first(names: list[str]) -> None:
            if len(names) == 1:
                # Time for the second task to end; its record lies on the worker still.
                time.sleep(2.0)
                kill_after(1)(names)
                while any(worker["name"] == names[0] for worker in driver.workers_of(client).values()):
                    time.sleep(0.05)
                time.sleep(0.5)

        names = run(client, 4, kill_first)
    assert names == ["cpu.1", "cpu.2", "cpu.2", "cpu.2"]


def test_machines_behind_ssh_reach_the_scheduler_encrypted_and_get_a_new_job_each(tmp_path, monkeypatch) -> None:
    pytest.importorskip("cryptography")
    # It notes the machine, and runs there what it is given: here.
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$4" >>{tmp_path}/hosts\nexec sh -c "$5"\n')
    (tmp_path / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with driver.connect(cluster_file(tmp_path, 'hosts = ["node1", "node2"]', kind="ssh")) as client:
        assert client.scheduler.address.startswith(f"tls://{get_ip()}:")
        (key,) = (tmp_path / "run").glob("*/key.pem")
        assert key.stat().st_mode & 0o777 == 0o600
        client.wait_for_workers(2)
        run(client, 30, kill_after(3))
        wait_until(lambda: len((tmp_path / "hosts").read_text().split()) == 3)
    first, second, third = (tmp_path / "hosts").read_text().split()
    assert {first, second} == {"node1", "node2"}
    assert third in (first, second)
    assert not jobs()
    assert not list((tmp_path / "run").iterdir())


def test_the_accelerators_pool_serves_what_asks_for_it(tmp_path) -> None:
    with driver.connect(cluster_file(tmp_path), resource=ACCELERATOR) as client:
        assert run(client, 1, on_accelerator=True) == ["both.1"]


def test_jobs_that_end_without_a_worker_end_the_run_with_their_logs_kept(tmp_path) -> None:
    place = cluster_file(tmp_path, 'prologue = ["echo no such module", "exit 1"]')
    with pytest.raises(ClusterError, match="pool cpu ended without a worker"), driver.connect(place):
        pass
    logs = list((tmp_path / "run").glob("*/cpu.*.log"))
    assert len(logs) == pools.STARTS
    assert "no such module" in logs[0].read_text()
    assert logs[0].parent.stat().st_mode & 0o777 == 0o700
    assert not jobs()


def test_imaging_and_accelerated_tasks_of_one_cluster_go_to_workers_of_their_own() -> None:
    async def add(name: str, resource: str) -> Nanny:
        return await Nanny(cluster.scheduler_address, nthreads=1, name=name, resources={resource: 1})

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        added = [cluster.sync(add, f"for-{resource}", resource) for resource in (IMAGER, ACCELERATOR)]
        for on_accelerator, wanted in ((False, f"for-{IMAGER}"), (True, f"for-{ACCELERATOR}")):
            assert run(client, 6, on_accelerator=on_accelerator) == [wanted] * 6
        for nanny in added:
            cluster.sync(nanny.close)


def test_workers_elsewhere_understand_the_same_as_those_of_this_machine() -> None:
    words = [shlex.split(line) for line in worker_environment()]
    assert {word for word, _ in words} == {"export"}
    told = dask.config.collect_env(dict(pair.split("=", 1) for _, pair in words))
    with dask.config.set(SETTINGS):
        for key, value in WORKER_SETTINGS.items():
            assert dask.config.get(key, config=told) == dask.config.get(key) == value
