"""The Dask side: connect to a cluster and keep a bounded window of tasks on it. The only importer of distributed."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from datbatch.errors import ConfigurationError, NoAcceleratorError, StoreError, WorkerLostError

ACCELERATOR = "accelerator"
"""Resource of the workers that train, infer and explain: a GPU where there is one, else a CPU slot."""

TASKS_PER_WORKER = 2

Task = TypeVar("Task")
Record = TypeVar("Record")


@contextmanager
def connect(address: str | None = None, *, workers: int | None = None) -> Iterator[Client]:
    """Give a client of a running cluster, or of one made on this machine for the time being.

    Parameters
    ----------
    address : str, optional
        Address of a running scheduler, such as `tcp://10.0.0.1:8786`, or its scheduler file; without one a local
        cluster is started that listens on the loopback interface only.
    workers : int, optional
        Worker processes of the local cluster; one per core by default.

    Raises
    ------
    ConfigurationError
        When no scheduler answers at `address`.
    """
    settings = {
        "distributed.scheduler.allowed-failures": 3,
        "distributed.scheduler.work-stealing": False,
        # Nothing is served over HTTP: no dashboard, and nothing else that could show arguments.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    # Messages of the libraries may show arguments, and arguments hold paths; outcomes are reported by our own words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(settings):
        if address is None:
            count = workers or os.cpu_count() or 1
            with (
                LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    resources={ACCELERATOR: 1},
                    silence_logs=logging.CRITICAL,
                    memory_limit=0,
                ) as cluster,
                Client(cluster) as client,
            ):
                yield client
        else:
            try:
                place = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
                client = Client(**place, timeout=10)
            except (OSError, TimeoutError) as error:
                raise ConfigurationError(
                    "no scheduler answers at the given address",
                    "Start one with `dask scheduler`, or leave --cluster out.",
                ) from error
            with client:
                yield client


def worker_count(client: Client) -> int:
    """Count the workers that are connected now."""
    return len(_workers(client))


def require_accelerator(client: Client) -> None:
    """Fail at once where no worker offers the accelerator resource: such a task would wait for ever, silently.

    Raises
    ------
    NoAcceleratorError
        With what to start.
    """
    if not any(worker.get("resources", {}).get(ACCELERATOR, 0) >= 1 for worker in _workers(client).values()):
        raise NoAcceleratorError("no worker of the cluster offers the accelerator resource")


def run_tasks(
    client: Client,
    function: Callable[[Task], Record],
    tasks: Iterable[Task],
    *,
    on_record: Callable[[Record], None],
    on_lost: Callable[[Task], Iterable[Task]],
    on_accelerator: bool = False,
) -> None:
    """Run a function on every task, a bounded window at a time.

    Neither tasks nor results pile up on driver and scheduler: a future is dropped as soon as its small record is here.

    Parameters
    ----------
    client : Client
        Of the cluster.
    function : callable
        Runs on a worker; returns a small record and raises nothing that belongs to a study.
    tasks : iterable
        What to run it on, in order.
    on_record : callable
        Is given each record.
    on_lost : callable
        Is given a task that ended its worker again and again; returns the tasks to run in its place.
    on_accelerator : bool
        Whether the tasks need a worker with the accelerator resource.
    """
    if on_accelerator:
        require_accelerator(client)
    resources = {ACCELERATOR: 1} if on_accelerator else None
    waiting = iter(tasks)
    running: dict[str, Task] = {}

    def submit(task: Task) -> Any:
        future = client.submit(function, task, resources=resources, pure=False)
        running[future.key] = task
        return future

    window = TASKS_PER_WORKER * max(1, worker_count(client))
    ended = as_completed([submit(task) for task in itertools.islice(waiting, window)])
    for future in ended:
        task = running.pop(future.key)
        error = future.exception() if future.status == "error" else None
        if error is None:
            on_record(future.result())
        elif isinstance(error, KilledWorker):
            waiting = itertools.chain(on_lost(task), waiting)
        else:
            raise _named(error)
        future.release()
        for successor in itertools.islice(waiting, max(0, window - len(running))):
            ended.add(submit(successor))


def survives(client: Client, function: Callable[[Task], Any], task: Task) -> bool:
    """Tell whether a task ends without taking its worker along."""
    future = client.submit(function, task, pure=False)
    try:
        return not isinstance(future.exception(), KilledWorker)
    finally:
        future.release()


def run_one(client: Client, function: Callable[[Task], Record], task: Task, *, poll: Callable[[], None]) -> Record:
    """Run a single long task on a worker with the accelerator, calling `poll` every second until it ends."""
    require_accelerator(client)
    future = client.submit(function, task, resources={ACCELERATOR: 1}, pure=False, retries=0)
    try:
        while True:
            try:
                result: Record = future.result(timeout=1)
            except TimeoutError:
                poll()
            except KilledWorker as error:
                reason = "the task ended its worker again and again"
                raise WorkerLostError(reason, "Look at the worker's memory; the task needs more.") from error
            except OSError as error:
                raise _named(error) from error
            else:
                return result
    finally:
        future.release()


def _named(error: BaseException) -> BaseException:
    """Name what a worker could not do to the store; its own message may hold a path."""
    if not isinstance(error, OSError):
        return error
    return StoreError(
        f"a worker could not write to the store: {error.strerror or type(error).__name__}",
        "Make room or mend the disk, then call the same command again: it resumes.",
    )


def _workers(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found
