"""The cluster file: the scheduler, the pools of workers, and the tasks of each pool."""

from __future__ import annotations

import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from datbatch.errors import ConfigurationError, ExposedFileError
from datbatch.ranges import Count, read_section

IMAGER = "imaging"
"""Resource of the workers that image; where no worker of a cluster offers it, every worker images."""
ACCELERATOR = "accelerator"
"""Resource of the workers that train, infer and explain: a GPU where there is one, else a CPU slot."""
KINDS = ("running", "local", "ssh", "slurm", "pbs")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_LONGEST_MARGIN_S = 600.0


@dataclass(frozen=True)
class Pool:
    """Jobs of one kind that are kept running; each has worker processes, and a worker does one task at a time."""

    name: str
    resources: tuple[str, ...] = (IMAGER,)
    """Tasks of its workers: `imaging`, `accelerator`, or both."""
    jobs: Count = 1
    """How many jobs are kept running (ssh: one for each host)."""
    workers: Count = 1
    """Worker processes of a job."""
    cores: Count = 1
    """Cores of a job."""
    memory: str = "4GB"
    """Memory of a job; a worker that exceeds its share is ended, and its granule is tried again."""
    walltime: str = ""
    """Time limit of a job, [days-]hours:minutes:seconds; its workers end earlier, and another job follows."""
    queue: str = ""
    """Partition or queue."""
    account: str = ""
    directives: tuple[str, ...] = ()
    """Further options of the batch system, such as `--gres=gpu:1`."""
    prologue: tuple[str, ...] = ()
    """Shell commands before the workers start, such as `module load cuda`."""
    hosts: tuple[str, ...] = ()
    """Machines of an ssh pool, by their names in ssh."""

    def __post_init__(self) -> None:
        """Refuse an impossible pool."""
        _require(re.fullmatch(r"[a-z][a-z0-9]*", self.name), "name: lower-case letters and digits")
        known = {IMAGER, ACCELERATOR}
        _require(self.resources and set(self.resources) <= known, f"resources: some of {', '.join(sorted(known))}")
        _require(self.workers <= self.cores, "workers: not more than cores")
        _require(re.fullmatch(r"[1-9]\d*(\.\d+)? ?[KMGT]i?B", self.memory), 'memory: like "64GB"')
        _require(not self.walltime or _WALLTIME.fullmatch(self.walltime), 'walltime: like "12:00:00" or "2-00:00:00"')

    @property
    def lifetime_s(self) -> tuple[float, float]:
        """Time after which a worker ends itself, and the random part of it; zeros without walltime.

        The margin to the walltime is a fifth of it, ten minutes at most. Even the last worker ends half a margin before
        the batch system would end it, so that its granule goes to another worker without counting as a failure.
        """
        match = _WALLTIME.fullmatch(self.walltime)
        if match is None:
            return 0.0, 0.0
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        limit = ((24 * days + hours) * 60 + minutes) * 60 + seconds
        margin = min(_LONGEST_MARGIN_S, limit / 5)
        return limit - margin, margin / 2


@dataclass(frozen=True)
class ClusterFile:
    """Where work is done."""

    kind: str
    """`running` (a scheduler that others started), or where pools are started: `local`, `ssh`, `slurm`, `pbs`."""
    pool: tuple[Pool, ...] = ()
    interface: str = ""
    """Network interface of scheduler and workers, such as `ib0`; by default the one of the machine's address."""
    python: str = ""
    """Python of the workers; by default that of this command, at the same path."""
    folder: str = "~/.datbatch"
    """Folder that all machines share, for the run's keys and the workers' logs; only its owner can open it."""
    address: str = ""
    """Of a running scheduler."""
    scheduler_file: str = ""
    """Of a running scheduler."""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = field(default="", repr=False)
    """TLS credentials for a running scheduler."""
    insecure: bool = False
    """Whether a running scheduler on a network may lack TLS: then anybody who reaches its port can run code as you."""

    def __post_init__(self) -> None:
        """Refuse contradictory keys."""
        _require(self.kind in KINDS, f"kind: one of {', '.join(KINDS)}")
        if self.kind == "running":
            _require(bool(self.address) != bool(self.scheduler_file), "address or scheduler_file: one of them")
            _require(not self.pool, "pool: only where pools are started, not for a running scheduler")
        else:
            _require(self.pool, "pool: at least one [[pool]]")
            given = (self.address, self.scheduler_file, self.ca_file, self.cert_file, self.key_file)
            _require(not any(given) and not self.insecure, 'address, TLS files and insecure: only for kind = "running"')
            _require(len({pool.name for pool in self.pool}) == len(self.pool), "name: each pool its own")
        tls = (self.ca_file, self.cert_file, self.key_file)
        _require(all(tls) or not any(tls), "ca_file, cert_file and key_file: all or none")
        for pool in self.pool:
            _require(bool(pool.hosts) == (self.kind == "ssh"), "hosts: for ssh pools, and only these")

    def serving(self, resource: str) -> list[Pool]:
        """Give the pools that offer a resource; without any, ConfigurationError is raised."""
        found = [pool for pool in self.pool if resource in pool.resources]
        if not found:
            raise ConfigurationError(
                f"no pool of the cluster file serves {resource}", f'Give a [[pool]] with resources = ["{resource}"].'
            )
        return found


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a cluster file (TOML).

    Raises
    ------
    ConfigurationError
        When it cannot be read, or a key is unknown, missing or out of range.
    ExposedFileError
        When others can read the TLS key that the file names.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the cluster file cannot be read: {type(error).__name__}") from None
    pools = content.pop("pool", [])
    _require(isinstance(pools, list), "pool: write [[pool]]")
    built = tuple(read_section(Pool, "pool", pool) for pool in pools)
    described = read_section(ClusterFile, "cluster", content, pool=built)
    if described.key_file:
        try:
            mode = Path(described.key_file).expanduser().stat().st_mode
        except OSError as error:
            raise ConfigurationError(f"key_file: cannot be read: {error.strerror}") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ExposedFileError("the TLS key that the cluster file names can be read by others")
    return described


def _require(fine: object, reason: str) -> None:
    if not fine:
        raise ConfigurationError(f"cluster file: {reason}")
