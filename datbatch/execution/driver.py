"""The Dask side: connect to a cluster and keep a bounded window of tasks on it. The only importer of distributed."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from datbatch.errors import ConfigurationError, DatbatchError, NoAcceleratorError, StoreError, WorkerLostError

ACCELERATOR = "accelerator"
"""Resource of the workers that train, infer and explain: a GPU where there is one, else a CPU slot."""

TASKS_PER_WORKER = 2
POLL_SECONDS = 0.5
GROUP_ATTEMPTS = 3
REPLACEMENT_SECONDS = 60.0
"""Time in which a lost worker must be replaced, where several must run together."""

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


@dataclass(frozen=True)
class Member:
    """Place of one task among those that run at the same time."""

    rank: int
    """Number of the task, from 0."""
    size: int
    """Tasks in all."""
    host: str
    """Address by which the other workers reach this one."""
    neighbours: int
    """Tasks on the same host, this one included."""
    meeting: str
    """Name of the place where they meet, new at each start."""
    memory_bytes: int
    """Memory limit of the worker; 0 for none."""


def run_group(
    client: Client,
    function: Callable[[Task, Member], Record],
    task: Task,
    *,
    size: int,
    poll: Callable[[], None],
) -> Record:
    """Run one long task on several workers with the accelerator at the same time, and give what the first returned.

    All of them start together. When a worker is lost the others, which wait for it, end too, and all are started again
    on the workers that there are then: the function goes on from what it saved.

    Raises
    ------
    NoAcceleratorError
        When fewer workers than asked for offer the accelerator resource.
    WorkerLostError
        When workers were lost again and again.
    """
    for attempt in range(GROUP_ATTEMPTS):
        addresses = _accelerators(client, size, wait=attempt > 0)
        processes = [_process(client, address) for address in addresses]
        hosts = [urlsplit(address).hostname or "" for address in addresses]
        futures, meeting = [], uuid4().hex
        for rank, (address, host) in enumerate(zip(addresses, hosts, strict=True)):
            limit = int(_workers(client).get(address, {}).get("memory_limit") or 0)
            member = Member(rank, size, host, hosts.count(host), meeting, limit)
            place = {"workers": [address], "resources": {ACCELERATOR: 1}}
            futures.append(client.submit(function, task, member, pure=False, retries=0, **place))
        try:
            errors = _wait_for_group(client, futures, processes, poll)
            if not errors:
                result: Record = futures[0].result()
                return result
        finally:
            client.cancel(futures, force=True)
        # What one meets makes the others fail for want of it: a named error is the reason, then a lost worker.
        for error in errors:
            if isinstance(error, DatbatchError) and not isinstance(error, WorkerLostError):
                raise error
        if not any(isinstance(error, (WorkerLostError, KilledWorker)) for error in errors):
            raise _named(errors[0])
    reason = "workers that trained together were lost again and again"
    raise WorkerLostError(reason, "Look at the workers' memory; the task needs more.")


def _wait_for_group(
    client: Client, futures: list[Any], processes: list[tuple[str, str]], poll: Callable[[], None]
) -> list[BaseException]:
    """Wait until every task has ended, or its worker has; give the errors."""
    pending = dict(zip(futures, processes, strict=True))
    errors: list[BaseException] = []
    while pending:
        for future, process in list(pending.items()):
            if future.done():
                del pending[future]
                error = future.exception() if future.status == "error" else None
                if error is not None:
                    errors.append(error)
            elif _process(client, process[0]) != process:
                del pending[future]
                errors.append(WorkerLostError("a worker was lost while it trained with others"))
        poll()
        time.sleep(POLL_SECONDS if pending else 0.0)
    return errors


def _process(client: Client, address: str) -> tuple[str, str]:
    """Tell the process at an address from one that took its place."""
    return address, str(_workers(client).get(address, {}).get("id", ""))


def _accelerators(client: Client, size: int, *, wait: bool) -> list[str]:
    """Give the addresses of workers with the accelerator; a nanny takes a while to replace one that was lost."""
    limit = time.monotonic() + (REPLACEMENT_SECONDS if wait else 0.0)
    while True:
        found = [
            address
            for address, worker in _workers(client).items()
            if worker.get("resources", {}).get(ACCELERATOR, 0) >= 1
        ]
        if len(found) >= size:
            return sorted(found)[:size]
        if time.monotonic() >= limit:
            raise NoAcceleratorError(
                f"training in {size} processes needs {size} workers that offer the accelerator resource; "
                f"there are {len(found)}"
            )
        time.sleep(POLL_SECONDS)


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
