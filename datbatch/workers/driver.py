"""The Dask side: connect to a cluster and keep a bounded window of tasks on it."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import dask
from distributed import Client, LocalCluster, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from datbatch.errors import MAKE_ROOM, ClusterError, NoAcceleratorError, StoreError, Terminated
from datbatch.location import failure_of_storage
from datbatch.progress import Progress
from datbatch.workers.cluster_file import ACCELERATOR, IMAGER, ClusterFile, read_cluster_file
from datbatch.workers.pools import SETTINGS, connect_running, started

TASKS_PER_WORKER = 2
WORKERS_PER_DEVICE = 4
"""On one graphics processor: a core needs longer for reading, statistics and compression than the GPU for the map."""
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 2.0
DRAIN_SECONDS = 20.0
"""Time for running tasks to end after SIGTERM; batch systems send SIGKILL 30 s after it."""
PATIENCE_SECONDS = 600.0
"""How long a cluster that others run may have no worker for the task."""

Task = TypeVar("Task")
Record = TypeVar("Record")


@contextmanager
def connect(place: str | None = None, *, workers: int | None = None, resource: str = IMAGER) -> Iterator[Client]:
    """Give a client of a running cluster, or start a temporary one: on this machine, or of pools of jobs.

    Parameters
    ----------
    place : str, optional
        A cluster file (`.toml`); or the address of a running scheduler, such as `tls://10.0.0.1:8786`, or its
        scheduler file. By default a local cluster is started that listens on the loopback interface only.
    workers : int, optional
        Worker processes of the local cluster; by default one per core, or four per graphics processor where this
        machine has any and the accelerator is needed.
    resource : str
        Tasks of the workers, `imaging` or `accelerator`; only the pools of a cluster file that serve it are started.

    Raises
    ------
    ConfigurationError
        When no scheduler answers at `place`, or it is on a network without TLS, or the cluster file is wrong.
    ClusterError
        When no worker comes.
    """
    # Messages of the libraries may show arguments, and arguments hold paths.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    described = None if place is None else _described(place)
    with dask.config.set(SETTINGS):
        if described is None:
            with _local(workers, resource) as client:
                yield client
        elif described.kind == "running":
            with connect_running(described) as client:
                yield client
        else:
            with started(described, resource) as pools, Client(pools) as client:
                yield client


@contextmanager
def _local(workers: int | None, resource: str) -> Iterator[Client]:
    """Start workers on this machine."""
    devices = _accelerators() if resource == ACCELERATOR else []
    cores = os.cpu_count() or 1
    count = workers or (min(cores, WORKERS_PER_DEVICE * len(devices)) if devices else cores)
    with (
        # The time since a worker's last message is measured by the wall clock. When the clock is set or a laptop wakes
        # up, all workers would be lost at once. Workers of this machine are watched as its processes instead.
        dask.config.set({"distributed.scheduler.worker-ttl": None}),
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
        if devices:
            client.register_plugin(_OwnDevice(devices))
        yield client


class _OwnDevice(WorkerPlugin):
    """Divides the graphics processors of this machine among its workers.

    A worker sees only its own processor, and all code uses it as the first one. As many workers as processors have one
    each, as NCCL needs it.
    """

    def __init__(self, devices: list[str]) -> None:
        self._devices = devices

    def setup(self, worker: Any) -> None:
        os.environ[VISIBLE_DEVICES] = self._devices[int(worker.name) % len(self._devices)]


def _accelerators() -> list[str]:
    """List the graphics processors that this process may use, by their names in CUDA."""
    import torch

    count, given = torch.cuda.device_count(), os.environ.get(VISIBLE_DEVICES)
    return given.split(",")[:count] if given else [str(index) for index in range(count)]


def _described(place: str) -> ClusterFile:
    path = Path(place)
    if path.suffix == ".toml":
        return read_cluster_file(path)
    return ClusterFile("running", scheduler_file=place) if path.is_file() else ClusterFile("running", address=place)


def worker_count(client: Client) -> int:
    """Count the workers that are connected now."""
    return len(workers_of(client))


def require_accelerator(client: Client) -> None:
    """Raise NoAcceleratorError where no worker offers the accelerator: a task would wait for ever without a word."""
    if not _is_own(client) and not offering(client, ACCELERATOR):
        raise NoAcceleratorError("no worker of the cluster offers the accelerator resource")


def run_tasks(
    client: Client,
    function: Callable[[Task], Record],
    tasks: Iterable[Task],
    *,
    on_record: Callable[[Record], None],
    on_lost: Callable[[Task], Iterable[Task]],
    on_accelerator: bool = False,
    progress: Progress | None = None,
) -> None:
    """Run a function on every task, a limited number of tasks at a time.

    Driver and scheduler hold few tasks and results: a future is released as soon as its small record has arrived.

    Parameters
    ----------
    client : Client
        Of the cluster.
    function : callable
        Runs on a worker; returns a small record. Errors of a study are in the record and are not raised.
    tasks : iterable
        Its arguments, in order.
    on_record : callable
        Called with each record.
    on_lost : callable
        Called with a task that ended its worker several times; returns the tasks to run in its place.
    on_accelerator : bool
        Whether the tasks need a worker with the accelerator resource. Other tasks go to the workers that offer
        `imaging`, or to all where none does.
    progress : Progress, optional
        Gets worker and time of each task, and is updated while no task ends.

    Raises
    ------
    Terminated
        After SIGTERM; the tasks that ended within `DRAIN_SECONDS` were recorded.
    ClusterError
        When the scheduler or all workers are lost.
    """
    if on_accelerator:
        require_accelerator(client)
    resource = ACCELERATOR if on_accelerator else _imaging(client)
    waiting = iter(tasks)
    running: dict[str, tuple[Any, Task]] = {}
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watch = _Watch(client, resource)

    def fill() -> None:
        for task in itertools.islice(waiting, max(0, TASKS_PER_WORKER * max(1, watch.count()) - len(running))):
            future = client.submit(_timed, function, task, resources=_asked(resource), pure=False)
            running[future.key] = future, task
            future.add_done_callback(ended.put)

    def take(seconds: float) -> None:
        nonlocal waiting
        future = ended.get(timeout=seconds)
        _, task = running.pop(future.key)
        # Read once: a lost result may be there again a moment later.
        status = future.status
        error = future.exception() if status == "error" else None
        if status == "cancelled":
            raise failure_of(client) or ClusterError("the scheduler was lost")
        if status == "lost":
            # Its worker died before the record was fetched. The task is done again and writes the same.
            waiting = itertools.chain([task], waiting)
        elif error is None:
            ended_task: _Ended[Record] = future.result()
            if progress is not None:
                progress.at(ended_task.worker, ended_task.seconds)
            on_record(ended_task.record)
        elif isinstance(error, KilledWorker):
            waiting = itertools.chain(on_lost(task), waiting)
        else:
            raise named(error)
        future.release()

    try:
        fill()
        while running:
            with suppress(queue.Empty):
                take(POLL_SECONDS)
            if progress is not None:
                progress.tick()
            fill()
    except Terminated:
        limit = time.monotonic() + DRAIN_SECONDS
        with suppress(queue.Empty):
            while running:
                take(max(0.0, limit - time.monotonic()))
        raise


@dataclass(frozen=True)
class _Ended(Generic[Record]):
    """A record, its worker, and the time that the task took."""

    record: Record
    worker: str
    seconds: float


def _timed(function: Callable[[Task], Record], task: Task) -> _Ended[Record]:
    start = time.perf_counter()
    return _Ended(function(task), str(get_worker().name), time.perf_counter() - start)


def survives(client: Client, function: Callable[[Task], Any], task: Task) -> bool:
    """Tell whether a worker survives an imaging task."""
    future = client.submit(function, task, resources=_asked(_imaging(client)), pure=False)
    try:
        return not isinstance(future.exception(), KilledWorker)
    finally:
        future.release()


def named(error: BaseException) -> BaseException:
    """Give the named error of a worker that could not use the store; its own message may hold a path."""
    if not isinstance(error, OSError):
        return failure_of_storage(error) or error
    return StoreError(f"a worker could not write to the store: {error.strerror or type(error).__name__}", MAKE_ROOM)


def _asked(resource: str) -> dict[str, int] | None:
    return {resource: 1} if resource else None


def _imaging(client: Client) -> str:
    """Give the resource of imaging tasks: none where no worker offers it."""
    return IMAGER if offering(client, IMAGER) else ""


def offering(client: Client, resource: str) -> list[str]:
    """Give the addresses of the workers that offer a resource; of all workers for an empty resource."""
    workers = workers_of(client).items()
    return [at for at, one in workers if not resource or one.get("resources", {}).get(resource, 0) >= 1]


class _Watch:
    """Counts every `POLL_SECONDS` the workers that offer a resource: workers of a queue come and go."""

    def __init__(self, client: Client, resource: str) -> None:
        self._client, self._resource = client, resource
        self._looked = self._seen = time.monotonic()
        self._count = len(offering(client, resource))

    def count(self) -> int:
        """Give the last count; refuse pools that failed, and a cluster that has had no worker for too long."""
        now = time.monotonic()
        if now - self._looked >= POLL_SECONDS:
            failure = failure_of(self._client)
            if failure is not None:
                raise failure
            self._looked, self._count = now, len(offering(self._client, self._resource))
        # Our own workers are replaced, however long the queue is.
        if self._count or _is_own(self._client):
            self._seen = now
        if now - self._seen > PATIENCE_SECONDS:
            raise ClusterError(f"the cluster has had no worker for the tasks for {PATIENCE_SECONDS / 60:.0f} minutes")
        return self._count


def _is_own(client: Client) -> bool:
    return client.cluster is not None


def failure_of(client: Client) -> ClusterError | None:
    """Give the error of the pools of jobs behind a client; None without an error, or without pools."""
    failure: ClusterError | None = getattr(client.cluster, "failure", None)
    return failure


def workers_of(client: Client) -> dict[str, Any]:
    """Give the scheduler's record of each connected worker, by address."""
    try:
        found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    except OSError as error:
        raise ClusterError("the scheduler was lost") from error
    return found
