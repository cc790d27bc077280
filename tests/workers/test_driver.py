"""The window of tasks on a cluster: records come back, poison is found, nothing waits for ever."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import Client

from datbatch.archive import Entry
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.store import Store
from datbatch.config import Config
from datbatch.errors import StoreError, WorkerLostError
from datbatch.stages.imaging import triage
from datbatch.stages.imaging_task import ImagingTask, image_granule
from datbatch.stages.planning import granule_keys
from datbatch.study.imaging import imaging_identities
from datbatch.workers import driver

POISON = 13


def double(number: int) -> int:
    if number == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def out_of_space(_: int) -> int:
    raise OSError(28, "No space left on device", "/home/JOHN_DOE/cohort.zarr")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with driver.connect(workers=2) as connected:
        yield connected


def test_every_task_gives_one_record_and_no_task_is_a_run_too(client) -> None:
    records: list[int] = []
    driver.run_tasks(client, double, range(12), on_record=records.append, on_lost=lambda task: [])
    assert sorted(records) == [2 * n for n in range(12)]
    driver.run_tasks(client, double, [], on_record=pytest.fail, on_lost=lambda task: [])


def test_a_task_that_takes_its_workers_along_is_handed_back_and_the_others_are_saved(client) -> None:
    records: list[int] = []
    lost: list[int] = []

    def replace(task: int) -> list[int]:
        # A task that waited on the same worker may be suspected too: it is run again.
        lost.append(task)
        return [100] if task == POISON else [task]

    driver.run_tasks(client, double, [1, POISON, 2, 3], on_record=records.append, on_lost=replace)
    assert lost.count(POISON) == 1
    assert sorted(records) == [2, 4, 6, 200]
    assert driver.survives(client, double, 1)


def test_what_a_worker_could_not_write_is_named_without_its_path(client) -> None:
    with pytest.raises(StoreError, match="No space left") as caught:
        driver.run_tasks(client, out_of_space, [1], on_record=pytest.fail, on_lost=lambda task: [])
    assert "DOE" not in str(caught.value)


def listening() -> set[str]:
    """Give the addresses that this process and its children listen on."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN}


def test_two_local_clusters_stand_side_by_side_and_listen_on_the_loopback_interface_alone(client) -> None:
    with driver.connect(workers=1) as other:
        assert other.scheduler.address != client.scheduler.address
        assert listening() == {"127.0.0.1"}


def granule(tmp_path: Path, studies: int) -> ImagingTask:
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=studies)
    entries = tuple(Entry(f"s{n}", (f"{n}.dcm",), str(n)) for n in range(studies))
    store.grow([entry.pseudonym for entry in entries])
    config = Config()
    return ImagingTask(store.path, tmp_path, 0, entries, granule_keys(imaging_identities(config), 0, entries), config)


def test_the_study_that_ends_its_worker_is_named_and_the_rest_of_its_granule_goes_on(tmp_path, monkeypatch) -> None:
    task = granule(tmp_path, 3)
    monkeypatch.setattr(driver, "survives", lambda client, function, single: single.entries[0].pseudonym != "s1")
    again = triage(None, task)
    assert (again.lost, again.attempts) == (frozenset({"s1"}), 1)
    image_granule(again)
    rows = Ledger(task.store).read(task.keys["quantify"])
    # The other files do not exist: each study fails for its own reason.
    assert [row.outcome.code for row in rows] == [rows[0].outcome.code, WorkerLostError.code, rows[0].outcome.code]
    assert rows[0].outcome.code != WorkerLostError.code
    assert np.isnan(Store(task.store).volumes()[1]).all()


def test_a_granule_that_is_lost_by_no_single_study_ends_the_run_with_its_number(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(driver, "survives", lambda *_: True)
    task = granule(tmp_path, 2)
    for _ in range(3):
        task = triage(None, task)
    with pytest.raises(WorkerLostError, match="granule 0"):
        triage(None, task)
