"""Start, watch and end the jobs of a pool: processes of this machine, of others through ssh, jobs of a batch system."""

from __future__ import annotations

import asyncio
import getpass
import importlib
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dask.utils import parse_bytes

from datbatch.errors import ClusterError, ConfigurationError
from datbatch.workers.cluster_file import Pool
from datbatch.workers.dask_settings import worker_environment

DEATH_TIMEOUT_SECONDS = 60
"""A worker ends itself when it finds no scheduler for so long: nothing is left over after the driver was killed."""
INSTALL = "Install what starts it: pip install 'datbatch[hpc]'."


@dataclass(frozen=True)
class Start:
    """What a job needs to know of its scheduler."""

    address: str
    security: Any = field(repr=False)
    interface: str
    python: str
    folder: Path

    def arguments(self, pool: Pool) -> list[str]:
        """Give the worker's arguments that no batch system adds."""
        lifetime_s, stagger_s = pool.lifetime_s
        resources = " ".join(f"{resource}=1" for resource in pool.resources)
        given = ["--resources", shlex.quote(resources), "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        if lifetime_s:
            given += ["--lifetime", f"{lifetime_s:.0f}s", "--lifetime-stagger", f"{stagger_s:.0f}s"]
        return given

    def command(self, pool: Pool, name: str, memory_share: str) -> list[str]:
        """Give the whole command of a worker that no batch system starts."""
        command = [self.python, "-m", "distributed.cli.dask_worker", self.address, "--name", name, "--nthreads", "1"]
        command += ["--nworkers", str(pool.workers), "--memory-limit", memory_share]
        command += ["--death-timeout", str(DEATH_TIMEOUT_SECONDS), *self.arguments(pool)]
        if self.interface:
            command += ["--interface", self.interface]
        if self.security is not None:
            for key, value in self.security.get_tls_config_for_role("worker").items():
                command += [] if key == "ciphers" else [f"--tls-{key.replace('_', '-')}", value]
        return command


class Launcher(Protocol):
    """Starts jobs, tells which still stand, and ends them."""

    def start(self, pool: Pool, place: int, name: str) -> Any:
        """Start a job that takes a place of a pool, and give its handle."""

    def standing(self, handles: Iterable[Any]) -> set[Any] | None:
        """Tell which jobs run or wait; None where that cannot be told now."""

    def end(self, handle: Any) -> None:
        """End a job."""


class Processes:
    """Jobs as processes: of this machine, or of others through ssh."""

    def __init__(self, start: Start, *, remote: bool) -> None:
        self._start, self._remote = start, remote

    def start(self, pool: Pool, place: int, name: str) -> subprocess.Popen[bytes]:
        """Start the workers of a place."""
        command = self._start.command(pool, name, str(parse_bytes(pool.memory) // pool.workers))
        shell = "\n".join([*worker_environment(), *pool.prologue, "exec " + " ".join(command)])
        # A worker that ssh started hears of its end through the scheduler; the terminal makes a lost ssh end it too.
        line = ["ssh", "-tt", "-o", "BatchMode=yes", pool.hosts[place], shell] if self._remote else ["sh", "-c", shell]
        with (self._start.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def standing(self, handles: Iterable[subprocess.Popen[bytes]]) -> set[subprocess.Popen[bytes]]:
        """Tell which run."""
        return {handle for handle in handles if handle.poll() is None}

    def end(self, handle: subprocess.Popen[bytes]) -> None:
        """End a job's processes."""
        handle.terminate()
        try:
            handle.wait(timeout=10)
        except subprocess.TimeoutExpired:
            handle.kill()
            handle.wait()


class Queue:
    """Jobs of a batch system, submitted through dask-jobqueue; a handle is the job's number."""

    def __init__(self, start: Start, kind: str) -> None:
        try:
            self._job = getattr(importlib.import_module(f"dask_jobqueue.{kind}"), f"{kind.upper()}Job")
        except ImportError:
            raise ConfigurationError(f"a cluster file of kind {kind} needs dask-jobqueue", INSTALL) from None
        self._start = start
        # Both name every job of this user that runs or waits, and no other.
        self._list = {
            "slurm": ["squeue", "--noheader", "--format=%A", f"--user={getpass.getuser()}"],
            "pbs": ["qselect", "-u", getpass.getuser()],
        }[kind]
        if shutil.which(self._list[0]) is None:
            raise ConfigurationError(f"this machine has no {self._list[0]}", "Call datbatch on a login node.")

    def job(self, pool: Pool, name: str) -> Any:
        """Describe a job; its `job_script()` is what is submitted."""
        return self._job(
            scheduler=self._start.address,
            name=name,
            job_name=f"datbatch-{pool.name}",
            cores=pool.cores,
            processes=pool.workers,
            memory=pool.memory,
            walltime=pool.walltime or None,
            queue=pool.queue or None,
            account=pool.account or None,
            job_extra_directives=list(pool.directives),
            job_script_prologue=[*worker_environment(), *pool.prologue],
            worker_extra_args=self._start.arguments(pool),
            death_timeout=DEATH_TIMEOUT_SECONDS,
            interface=self._start.interface or None,
            python=self._start.python,
            security=self._start.security,
            log_directory=str(self._start.folder),
        )

    def start(self, pool: Pool, place: int, name: str) -> str:
        """Submit a job."""
        job = self.job(pool, name)
        try:
            asyncio.run(job.start())
        except (OSError, RuntimeError, ValueError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise ClusterError(f"a job of pool {pool.name} was not taken: {said}") from None
        return str(job.job_id)

    def standing(self, handles: Iterable[str]) -> set[str] | None:
        """Tell which run or wait; None while the batch system does not answer."""
        try:
            listed = subprocess.run(self._list, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return None
        return set(handles) & {line.partition(".")[0] for line in listed.stdout.split()}

    def end(self, handle: str) -> None:
        """Take a job out of the batch system."""
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([self._job.cancel_command, handle], capture_output=True, check=False, timeout=60)
