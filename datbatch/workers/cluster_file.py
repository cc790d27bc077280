"""The cluster file: which scheduler, which pools of workers, and what each pool serves."""

from __future__ import annotations

import re
import stat
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from datbatch.errors import ConfigurationError, ExposedFileError

IMAGING = "imaging"
"""Resource of the workers that image, where a cluster tells them apart; where none offers it, every worker images."""
ACCELERATOR = "accelerator"
"""Resource of the workers that train, infer and explain: a GPU where there is one, else a CPU slot."""
KINDS = ("running", "local", "ssh", "slurm", "pbs")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_LONGEST_MARGIN_S = 600.0


@dataclass(frozen=True)
class Pool:
    """Jobs of one kind that are kept running: each holds worker processes, each worker does one task at a time."""

    name: str
    resources: tuple[str, ...] = (IMAGING,)
    """What its workers serve: `imaging`, `accelerator`, or both."""
    jobs: int = 1
    """How many jobs are kept running (ssh: one for each host)."""
    workers: int = 1
    """Worker processes of a job."""
    cores: int = 1
    """Cores of a job."""
    memory: str = "4GB"
    """Memory of a job; a worker that exceeds its share is ended and its granule tried again."""
    walltime: str = ""
    """Time limit of a job, [days-]hours:minutes:seconds; its workers leave before it, and another job follows."""
    queue: str = ""
    """Partition or queue."""
    account: str = ""
    directives: tuple[str, ...] = ()
    """Further options of the batch system, such as `--gres=gpu:1`."""
    prologue: tuple[str, ...] = ()
    """Lines of shell before the workers start, such as `module load cuda`."""
    hosts: tuple[str, ...] = ()
    """Machines of an ssh pool, as ssh knows them."""

    def __post_init__(self) -> None:
        """Refuse what no pool can be."""
        _require(re.fullmatch(r"[a-z][a-z0-9]*", self.name), "name: lower-case letters and digits")
        known = {IMAGING, ACCELERATOR}
        _require(self.resources and set(self.resources) <= known, f"resources: some of {', '.join(sorted(known))}")
        _require(min(self.jobs, self.workers, self.cores) >= 1, "jobs, workers and cores: at least 1")
        _require(self.workers <= self.cores, "workers: not more than cores")
        _require(re.fullmatch(r"[1-9]\d*(\.\d+)? ?[KMGT]i?B", self.memory), 'memory: like "64GB"')
        _require(not self.walltime or _WALLTIME.fullmatch(self.walltime), 'walltime: like "12:00:00" or "2-00:00:00"')

    @property
    def lifetime_s(self) -> tuple[float, float]:
        """After how long a worker leaves of itself, and by how much workers differ in it; zeros without walltime.

        Even the last one leaves half a margin (a fifth of the walltime, ten minutes at most) before the batch system
        would end it, so that its granule is handed to another worker without a count of failures.
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
    """Network interface that scheduler and workers talk over, such as `ib0`; by default the machine's address."""
    python: str = ""
    """Python of the workers; by default the one that runs this command, at the same path."""
    folder: str = "~/.datbatch"
    """Folder that all machines share, for the run's keys and the workers' logs; made for its owner alone."""
    address: str = ""
    """Of a running scheduler."""
    scheduler_file: str = ""
    """Of a running scheduler."""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = field(default="", repr=False)
    """TLS credentials for a running scheduler."""
    insecure: bool = False
    """Whether a running scheduler on a network may be used without TLS: who reaches its port can run code as you."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
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
        """Give the pools that offer a resource.

        Raises
        ------
        ConfigurationError
            When none does.
        """
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
        When others can read the TLS key that it names.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the cluster file cannot be read: {type(error).__name__}") from None
    pools = content.get("pool", [])
    _require(isinstance(pools, list) and all(isinstance(pool, dict) for pool in pools), "pool: written as [[pool]]")
    described: ClusterFile = _filled(ClusterFile, content | {"pool": [_filled(Pool, pool) for pool in pools]})
    if described.key_file:
        try:
            mode = Path(described.key_file).expanduser().stat().st_mode
        except OSError as error:
            raise ConfigurationError(f"key_file: cannot be read: {error.strerror}") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ExposedFileError("the TLS key that the cluster file names can be read by others")
    return described


def _filled(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make a dataclass from a table, each value of the declared type."""
    types = get_type_hints(kind)
    for name, value in values.items():
        _require(name in types, f"{name}: unknown key")
        if isinstance(value, list):
            values = values | {name: tuple(value)}
            inner = Pool if name == "pool" else str
            _require(get_type_hints(kind)[name] not in (str, int, bool), f"{name}: not a list")
            _require(all(isinstance(one, inner) for one in value), f"{name}: a list of texts")
        else:
            # A bool is an int to Python, and `jobs = true` a mistake.
            _require(type(value) is types[name], f"{name}: of another type")
    for one in fields(kind):
        given = one.name in values or one.default is not MISSING or one.default_factory is not MISSING
        _require(given, f"{one.name}: missing")
    return kind(**values)


def _require(fine: object, reason: str) -> None:
    if not fine:
        raise ConfigurationError(f"cluster file: {reason}")
