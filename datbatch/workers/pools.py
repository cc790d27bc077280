"""Start the pools of a cluster file, and keep as many jobs of each running as it asks for, until the work is done."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import LocalCluster
from distributed.security import Security

from datbatch.errors import ClusterError, ConfigurationError
from datbatch.workers.cluster_file import ClusterFile, Pool
from datbatch.workers.launchers import INSTALL, Launcher, Processes, Queue, Start

TEND_SECONDS = 2.0
STARTS = 3
"""Jobs of a pool that may end one after the other without any worker having come, before the run ends with an error."""
_SAY_AFTER_SECONDS = 30.0


class PoolCluster(LocalCluster):
    """The scheduler, in this process; its workers are jobs elsewhere."""

    failure: ClusterError | None = None
    """Why no more workers will come."""


class Keeper:
    """Keeps a job in every place of every pool, on a thread of its own."""

    def __init__(self, cluster: PoolCluster, launcher: Launcher, pools: Iterable[Pool]) -> None:
        self._cluster, self._launcher = cluster, launcher
        self._pools = {pool.name: pool for pool in pools}
        self._jobs: dict[tuple[str, int], tuple[str, Any]] = {}
        self._vain = dict.fromkeys(self._pools, 0)
        self._count = 0
        self._came: set[str] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="pools", daemon=True)

    def start(self) -> None:
        """Submit the jobs, and replace from now on those that end."""
        for pool in self._pools.values():
            for place in range(len(pool.hosts) or pool.jobs):
                self._fill(pool, place)
        self._thread.start()

    def wait_for_worker(self) -> None:
        """Wait until a worker has come, however long the queue is.

        Raises
        ------
        ClusterError
            When jobs end without one.
        """
        begin, said = time.monotonic(), False
        while not self._cluster.scheduler.workers:
            if self._cluster.failure is not None:
                raise self._cluster.failure
            if not said and time.monotonic() - begin > _SAY_AFTER_SECONDS:
                print("datbatch: the jobs wait in the queue", file=sys.stderr, flush=True)
                said = True
            time.sleep(0.1)

    def stop(self) -> None:
        """End all jobs."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        for _, handle in self._jobs.values():
            self._launcher.end(handle)

    def _keep(self) -> None:
        while not self._ending.wait(TEND_SECONDS):
            try:
                self._tend()
            except ClusterError as error:
                self._cluster.failure = error
                return

    def _tend(self) -> None:
        """Replace the jobs that are gone: cancelled, drained before their walltime, or lost with their node."""
        self._came |= {str(worker.name) for worker in list(self._cluster.scheduler.workers.values())}
        standing = self._launcher.standing([handle for _, handle in self._jobs.values()])
        if standing is None:
            return
        for (pool_name, place), (name, handle) in list(self._jobs.items()):
            if handle in standing:
                continue
            # With several workers a job, dask appends their number to the name.
            came = any(worker == name or worker.startswith(f"{name}-") for worker in self._came)
            self._vain[pool_name] = 0 if came else self._vain[pool_name] + 1
            if self._vain[pool_name] >= STARTS:
                raise ClusterError(
                    f"{STARTS} jobs of pool {pool_name} ended without a worker",
                    "Read the workers' logs in the folder that the cluster file names, then call again: it resumes.",
                )
            self._fill(self._pools[pool_name], place)

    def _fill(self, pool: Pool, place: int) -> None:
        self._count += 1
        name = f"{pool.name}.{self._count}"
        self._jobs[pool.name, place] = name, self._launcher.start(pool, place, name)


@contextmanager
def started(described: ClusterFile, resource: str) -> Iterator[PoolCluster]:
    """Start the pools that offer a resource, with a scheduler in this process, and end them when the work is done.

    Other pools are not started: a GPU node does not wait while studies are imaged. Between machines everything is
    encrypted and both sides prove who they are, with keys that are made for this run alone.

    Raises
    ------
    ConfigurationError
        When no pool offers the resource, or something is not installed.
    ClusterError
        When the batch system takes no job, or jobs end without a worker.
    """
    pools = described.serving(resource)
    local = described.kind == "local"
    shared = Path(described.folder).expanduser()
    shared.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkdtemp makes it for its owner alone.
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=shared))
    cluster: PoolCluster | None = None
    try:
        security = None if local else run_credentials(folder)
        place: dict[str, Any] = {"interface": described.interface} if described.interface else {}
        place = {"host": "127.0.0.1"} if local else place
        with PoolCluster(
            n_workers=0,
            protocol="tcp://" if local else "tls://",
            security=security,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            **place,
        ) as cluster:
            interface = "lo" if local else described.interface
            python = described.python or sys.executable
            start = Start(cluster.scheduler_address, security, interface, python, folder)
            batch = described.kind in ("slurm", "pbs")
            launcher = Queue(start, described.kind) if batch else Processes(start, remote=not local)
            keeper = Keeper(cluster, launcher, pools)
            try:
                keeper.start()
                keeper.wait_for_worker()
                yield cluster
            finally:
                keeper.stop()
    finally:
        # The logs of workers that never came are all there is to learn from; keys are not kept.
        for key in folder.glob("*.pem"):
            key.unlink()
        if cluster is None or cluster.failure is None:
            shutil.rmtree(folder, ignore_errors=True)


def run_credentials(folder: Path) -> Security:
    """Make a key and certificate for one run, in a folder of its owner alone, mode 0600.

    Raises
    ------
    ConfigurationError
        When the library for it is not installed.
    """
    try:
        made = Security.temporary()
    except ImportError:
        raise ConfigurationError("TLS between machines needs the package cryptography", INSTALL) from None
    paths = {}
    for name, text in (("certificate", made.tls_ca_file), ("key", made.tls_client_key)):
        paths[name] = folder / f"{name}.pem"
        paths[name].touch(mode=0o600)
        paths[name].write_text(text, encoding="ascii")
    certificate, key = str(paths["certificate"]), str(paths["key"])
    roles = {
        f"tls_{role}_{part}": path
        for role in ("client", "scheduler", "worker")
        for part, path in (("cert", certificate), ("key", key))
    }
    return Security(require_encryption=True, tls_ca_file=certificate, **roles)
