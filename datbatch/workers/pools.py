"""Workers that are jobs elsewhere: pools that are started and kept running, or a scheduler that others run.

Jobs are held by distributed's `SpecCluster`, the base of dask-jobqueue's clusters; the jobs of SLURM and PBS are those
of dask-jobqueue. Its own clusters are not used: they have no second pool on the same scheduler, `scale` never replaces
a job, and `adapt` replaces no job that ended before its worker came. A run whose jobs all fail would wait for ever.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib
import ipaddress
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dask.utils import parse_bytes
from distributed import Client, Scheduler
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface, SpecCluster
from distributed.security import Security

from datbatch.errors import ClusterError, ConfigurationError
from datbatch.workers.cluster_file import ClusterFile, Pool

TEND_SECONDS = 2.0
STARTS = 3
"""Jobs of a pool in a row that may end without a worker before the run ends with an error."""
DEATH_TIMEOUT_SECONDS = 60
"""A worker without a scheduler ends itself after this time: nothing is left when the driver was killed."""
ANSWER_SECONDS = 10.0
FIRST_WORKER_SECONDS = 60.0
_SAY_AFTER_SECONDS = 30.0
_END_SECONDS = 10.0
_LIST_SECONDS = 60.0
_INSTALL = "Install what starts it: pip install 'datbatch[hpc]'."
_LISTS = {"slurm": ["squeue", "--noheader", "--format=%A", "-u"], "pbs": ["qselect", "-u"]}
"""Commands that list the running and waiting jobs of a user, and no others."""

WORKER_SETTINGS: dict[str, Any] = {
    # Nothing is served over HTTP: neither a dashboard nor anything else that could show arguments.
    "distributed.worker.http.routes": [],
    # Nothing is measured only for a dashboard: it took a tenth of the processor time (benchmarks/throughput.py).
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.log-length": 100,
    "distributed.admin.low-level-log-length": 100,
}
"""Settings of Dask in this process, and on the workers that jobs start elsewhere."""
SETTINGS: dict[str, Any] = WORKER_SETTINGS | {
    "distributed.scheduler.http.routes": [],
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.work-stealing": False,
    # Dask would look for graphics processors by the parent's numbers, and stop where it finds others.
    "distributed.diagnostics.nvml": False,
    # A worker that starts again in its job may load its libraries for minutes.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
}


def worker_environment() -> list[str]:
    """Give shell commands that set the settings of a worker."""
    names = {key: key.upper().replace(".", "__").replace("-", "_") for key in WORKER_SETTINGS}
    return [f"export DASK_{names[key]}='{value}'" for key, value in WORKER_SETTINGS.items()]


class Process(ProcessInterface):  # type: ignore[misc]
    """A job as a process: of this machine, or of another through ssh."""

    def __init__(self, scheduler: str, name: str, *, pool: Pool, host: str, python: str, more: list[str], folder: Path):
        super().__init__(scheduler, name)
        share = str(parse_bytes(pool.memory) // pool.workers)
        command = [python, "-m", "distributed.cli.dask_worker", scheduler, "--name", name, "--nthreads", "1"]
        command += ["--nworkers", str(pool.workers), "--memory-limit", share]
        command += ["--death-timeout", str(DEATH_TIMEOUT_SECONDS), *more]
        shell = "\n".join([*worker_environment(), *pool.prologue, "exec " + " ".join(command)])
        # The scheduler tells a worker of ssh to end; with a terminal (-tt) the worker also ends when ssh is lost.
        self._line = ["ssh", "-tt", "-o", "BatchMode=yes", host, shell] if host else ["sh", "-c", shell]
        self._log = folder / f"{name}.log"

    async def start(self) -> None:
        """Start the workers."""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        await super().start()

    async def close(self) -> None:
        """End the workers; the scheduler must keep running, because they tell it that they end."""
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        await super().close()


def _batch_job(kind: str) -> Any:
    """Give dask-jobqueue's class for the jobs of a batch system."""
    # Once it is loaded, Ctrl-C would end this process as if all were well, without a word of what is kept.
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        job = getattr(importlib.import_module(f"dask_jobqueue.{kind}"), f"{kind.upper()}Job")
    except ImportError:
        raise ConfigurationError(f"a cluster file of kind {kind} needs dask-jobqueue", _INSTALL) from None
    signal.signal(signal.SIGINT, on_interrupt)
    if shutil.which(_LISTS[kind][0]) is None:
        raise ConfigurationError(f"this machine has no {_LISTS[kind][0]}", "Call datbatch on a login node.")
    return job


def job_specs(described: ClusterFile, pool: Pool, folder: Path, network: list[str]) -> list[dict[str, Any]]:
    """Describe a pool's jobs for `SpecCluster`: a class and its arguments without scheduler and name."""
    lifetime_s, stagger_s = pool.lifetime_s
    resources = " ".join(f"{resource}=1" for resource in pool.resources)
    more = ["--resources", shlex.quote(resources), "--no-dashboard", "--dashboard-address", "127.0.0.1:0", *network]
    if lifetime_s:
        more += ["--lifetime", f"{lifetime_s:.0f}s", "--lifetime-stagger", f"{stagger_s:.0f}s"]
    python = described.python or sys.executable
    if described.kind not in _LISTS:
        options = {"pool": pool, "python": python, "more": more, "folder": folder}
        return [{"cls": Process, "options": options | {"host": host}} for host in pool.hosts or [""] * pool.jobs]
    options = {
        "job_name": f"datbatch-{pool.name}",
        "cores": pool.cores,
        "processes": pool.workers,
        "memory": pool.memory,
        "walltime": pool.walltime or None,
        "queue": pool.queue or None,
        "account": pool.account or None,
        "job_extra_directives": list(pool.directives),
        "job_script_prologue": [*worker_environment(), *pool.prologue],
        "worker_extra_args": more,
        "death_timeout": DEATH_TIMEOUT_SECONDS,
        "python": python,
        "log_directory": str(folder),
    }
    return [{"cls": _batch_job(described.kind), "options": options}] * pool.jobs


class PoolCluster(SpecCluster):  # type: ignore[misc]
    """The scheduler in this process, and jobs elsewhere; a job that ends is replaced."""

    failure: ClusterError | None = None
    """Why no more workers will come."""

    def __init__(self, described: ClusterFile, pools: list[Pool], folder: Path) -> None:
        local = described.kind == "local"
        interface = "lo" if local else described.interface
        security, network = (None, []) if local else _run_credentials(folder)
        network += ["--interface", interface] if interface else []
        self._first = [(pool.name, spec) for pool in pools for spec in job_specs(described, pool, folder, network)]
        self._list = _LISTS.get(described.kind)
        self._count = 0
        self._came: set[str] = set()
        self._vain = {pool.name: 0 for pool in pools}
        options = {"protocol": "tcp://" if local else "tls://", "security": security, "interface": interface or None}
        options |= {"port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        super().__init__(scheduler={"cls": Scheduler, "options": options}, security=security)

    def begin(self) -> None:
        """Start the jobs and wait for the first worker, however long the queue is.

        A job that is refused, and jobs that end without a worker, raise ClusterError.
        """
        self.sync(self._add, self._first)
        self.loop.add_callback(self._keep)
        begin, said = time.monotonic(), False
        while not self.scheduler.workers:
            if self.failure is not None:
                raise self.failure
            if not said and time.monotonic() - begin > _SAY_AFTER_SECONDS:
                print("datbatch: the jobs wait in the queue", file=sys.stderr, flush=True)
                said = True
            time.sleep(0.1)

    async def _add(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        """Start jobs, each of a pool, under new names."""
        for pool, spec in jobs:
            self._count += 1
            self.worker_spec[f"{pool}.{self._count}"] = spec
        try:
            await self._correct_state()
        except (OSError, RuntimeError, ValueError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            pools = ", ".join(sorted({pool for pool, _ in jobs}))
            raise ClusterError(f"a job of pool {pools} was not taken: {said}") from None
        finally:
            # At its end the cluster requires that all jobs in this list are closed; dask-jobqueue's never say so.
            self._created.clear()

    async def _keep(self) -> None:
        while self.status == Status.running:
            await asyncio.sleep(TEND_SECONDS)
            try:
                await self._replace()
            except ClusterError as error:
                self.failure = error
                return

    async def _replace(self) -> None:
        """Replace the jobs that have ended: cancelled, ended before their walltime, or lost with their node."""
        self._came |= {str(worker.name) for worker in self.scheduler.workers.values()}
        standing = await self._standing()
        if standing is None or self.status != Status.running:
            return
        gone = [name for name in self.worker_spec if name not in standing]
        for name in gone:
            pool = name.partition(".")[0]
            # Where a job has several workers, Dask appends their numbers to the name.
            came = any(worker == name or worker.startswith(f"{name}-") for worker in self._came)
            self._vain[pool] = 0 if came else self._vain[pool] + 1
            if self._vain[pool] >= STARTS:
                raise ClusterError(
                    f"{STARTS} jobs of pool {pool} ended without a worker",
                    "Read the workers' logs in the folder that the cluster file names, then call again: it resumes.",
                )
        await self._add([(name.partition(".")[0], self.worker_spec.pop(name)) for name in gone])

    async def _standing(self) -> set[str] | None:
        """Give the names of the jobs that run or wait; None while the batch system does not answer."""
        jobs = dict(self.workers)
        if self._list is None:
            return {name for name, job in jobs.items() if job.process.poll() is None}
        try:
            command = [*self._list, getpass.getuser()]
            answer = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, check=True, timeout=_LIST_SECONDS
            )
        except (OSError, subprocess.SubprocessError):
            return None
        numbers = {line.partition(".")[0] for line in answer.stdout.split()}
        return {name for name, job in jobs.items() if job.job_id in numbers}


@contextmanager
def started(described: ClusterFile, resource: str) -> Iterator[PoolCluster]:
    """Start the pools that offer a resource, with a scheduler in this process, and end them after the work.

    Other pools are not started: no GPU node waits while studies are imaged. Between machines everything is encrypted,
    and both sides authenticate themselves with keys of this run alone.

    Raises
    ------
    ConfigurationError
        When no pool offers the resource, or something is not installed.
    ClusterError
        When the batch system takes no job, or jobs end without a worker.
    """
    pools = described.serving(resource)
    shared = Path(described.folder).expanduser()
    shared.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkdtemp makes it for its owner alone.
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=shared))
    cluster: PoolCluster | None = None
    try:
        with PoolCluster(described, pools, folder) as cluster:
            cluster.begin()
            yield cluster
    finally:
        # After a failure the logs are kept, because only they show the cause; the keys never are.
        for key in folder.glob("*.pem"):
            key.unlink()
        if cluster is None or cluster.failure is None:
            shutil.rmtree(folder, ignore_errors=True)


def _run_credentials(folder: Path) -> tuple[Security, list[str]]:
    """Make a key and a certificate for one run in files of mode 0600; give them and the options of the workers."""
    try:
        made = Security.temporary()
    except ImportError:
        raise ConfigurationError("TLS between machines needs the package cryptography", _INSTALL) from None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    for path, text in ((certificate, made.tls_ca_file), (key, made.tls_client_key)):
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
    return made, ["--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key)]


def connect_running(described: ClusterFile) -> Client:
    """Connect to a scheduler that others started; it must have TLS on a network, and a worker within a minute."""
    address = described.address or _address_in(Path(described.scheduler_file).expanduser())
    if not (described.insecure or _is_protected(address)):
        raise ConfigurationError(
            "the scheduler is on a network and not protected by TLS: whoever reaches its port could run code as you",
            "Start it with TLS, or let datbatch start the pools, or write a cluster file with insecure = true.",
        )
    security = None
    if described.key_file:
        named = described.ca_file, described.cert_file, described.key_file
        ca, cert, key = (str(Path(one).expanduser()) for one in named)
        security = Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)
    try:
        client = Client(address, timeout=ANSWER_SECONDS, security=security)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        # TypeError: a tls:// address without credentials.
        raise ConfigurationError(
            "no scheduler answers at the given address",
            "Start one with `dask scheduler` (TLS needs the scheduler's own credentials here too), or leave --cluster "
            "out.",
        ) from error
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError:
        client.close()
        raise ClusterError(
            "the scheduler has no worker", "Start workers with `dask worker`, then call again."
        ) from None
    return client


def _address_in(scheduler_file: Path) -> str:
    try:
        return str(json.loads(scheduler_file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"the scheduler file cannot be read: {type(error).__name__}") from None


def _is_protected(address: str) -> bool:
    """Tell whether only this machine, or only holders of a certificate, can reach a scheduler."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    return loopback or parts.scheme in ("tls", "wss")
