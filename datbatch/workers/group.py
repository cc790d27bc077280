"""One long task on several workers at the same time: they start together, and start again when one is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from distributed import Client
from distributed.scheduler import KilledWorker

from datbatch.errors import DatbatchError, NoAcceleratorError, WorkerLostError
from datbatch.workers.cluster_file import ACCELERATOR
from datbatch.workers.driver import failure_of, named, offering, workers_of

POLL_SECONDS = 0.5
ATTEMPTS = 3
REPLACEMENT_SECONDS = 60.0
"""Time for the replacement of a lost worker, where several must run together."""
QUEUE_SECONDS = 3600.0
"""Time for jobs of a queue to start."""

Task = TypeVar("Task")
Record = TypeVar("Record")


@dataclass(frozen=True)
class Member:
    """Place of one task among those that run at the same time."""

    rank: int
    """Number of the task, from 0."""
    size: int
    """Tasks in all."""
    host: str
    """Address at which the other workers reach this one."""
    neighbours: int
    """Tasks on the same host, including this one."""
    meeting: str
    """Name of the group, new at each start."""
    memory_bytes: int
    """Memory limit of the worker; 0 for none."""


def run_group(
    client: Client, function: Callable[[Task, Member], Record], task: Task, *, size: int, poll: Callable[[], None]
) -> Record:
    """Run one long task on several workers with the accelerator at the same time, and give the first one's result.

    When a worker is lost, the others wait for it and end, too. Then all are started again on the workers of that
    moment, and the function continues from what it saved.

    Raises
    ------
    NoAcceleratorError
        When fewer workers than asked for offer the accelerator resource.
    WorkerLostError
        When workers were lost again and again.
    """
    for attempt in range(ATTEMPTS):
        addresses = _accelerators(client, size, wait=attempt > 0)
        processes = [_process(client, address) for address in addresses]
        hosts = [urlsplit(address).hostname or "" for address in addresses]
        futures, meeting = [], uuid4().hex
        for rank, (address, host) in enumerate(zip(addresses, hosts, strict=True)):
            limit = int(workers_of(client).get(address, {}).get("memory_limit") or 0)
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
        # The error of one worker makes the others fail, too. The cause is a named error, or else a lost worker.
        for error in errors:
            if isinstance(error, DatbatchError) and not isinstance(error, WorkerLostError):
                raise error
        if not any(isinstance(error, (WorkerLostError, KilledWorker)) for error in errors):
            raise named(errors[0])
    reason = "workers that trained together were lost again and again"
    raise WorkerLostError(reason, "Look at the workers' memory; the task needs more.")


def _wait_for_group(
    client: Client, futures: list[Any], processes: list[tuple[str, str]], poll: Callable[[], None]
) -> list[BaseException]:
    """Wait until every task, or its worker, has ended; give the errors."""
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
    """Identify the process at an address: another one may take its place."""
    return address, str(workers_of(client).get(address, {}).get("id", ""))


def _accelerators(client: Client, size: int, *, wait: bool) -> list[str]:
    """Give the addresses of workers with the accelerator; wait for a queue, and for the replacement of a lost one."""
    patience = QUEUE_SECONDS if hasattr(client.cluster, "failure") else REPLACEMENT_SECONDS if wait else 0.0
    limit = time.monotonic() + patience
    while True:
        failure = failure_of(client)
        if failure is not None:
            raise failure
        found = offering(client, ACCELERATOR)
        if len(found) >= size:
            return sorted(found)[:size]
        if time.monotonic() >= limit:
            raise NoAcceleratorError(
                f"training in {size} processes needs {size} workers that offer the accelerator resource; "
                f"there are {len(found)}"
            )
        time.sleep(POLL_SECONDS)
