"""What a cluster file may say, and what is refused before anything is started."""

import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from datbatch.errors import ConfigurationError, ExposedFileError
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR, IMAGER, ClusterFile, Pool, read_cluster_file
from datbatch.workers.pools import job_specs

CONFIGURATIONS = sorted((Path(__file__).parents[2] / "cluster").glob("*/*.toml"))
POOLS = """kind = "slurm"
[[pool]]
name = "cpu"
walltime = "12:00:00"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_every_configuration_that_is_shipped_can_be_read_and_serves_all_commands(path, tmp_path) -> None:
    # The keys that they name are the user's, and not here.
    key = tmp_path / "key.pem"
    key.touch(mode=0o600)
    text = re.sub(r'key_file = ".*"', f'key_file = "{key}"', path.read_text())
    described = read_cluster_file(write(tmp_path, text))
    if described.kind != "running":
        assert described.serving(IMAGER)
        assert described.serving(ACCELERATOR)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", r"cluster\.kind is missing"),
        ('kind = "moab"', "kind: one of"),
        ('kind = "slurm"', "pool"),
        ('kind = "slurm"\npool = 3', "pool"),
        ('kind = "running"', "address"),
        ('kind = "running"\naddress = "tcp://a:1"\nscheduler_file = "b"', "address"),
        ('kind = "running"\naddress = "tls://a:1"\nca_file = "a"', "all or none"),
        (POOLS + "insecure = true", r"unknown key pool\.insecure"),
        ("insecure = true\n" + POOLS, "insecure"),
        (POOLS + 'colour = "red"', r"unknown key pool\.colour"),
        (POOLS + "jobs = 0", "at least 1"),
        (POOLS + "jobs = true", r"pool\.jobs is True; it must be a whole number"),
        (POOLS + 'jobs = "2"', r"pool\.jobs is '2'; it must be a whole number"),
        (POOLS + "workers = 2", "not more than cores"),
        (POOLS + 'memory = "4"', "memory"),
        (POOLS + 'resources = ["gpu"]', "resources"),
        (POOLS + "resources = []", "resources"),
        (POOLS + "directives = [1]", "directives"),
        (POOLS + 'hosts = ["a"]', "hosts"),
        (POOLS.replace("12:00:00", "12 h"), "walltime"),
        (POOLS.replace("cpu", "CPU; rm"), "name"),
        (POOLS + POOLS.removeprefix('kind = "slurm"\n'), "each pool its own"),
        ("kind = ", "cannot be read"),
    ],
)
def test_a_mistake_is_named(text, named, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_cluster_file(write(tmp_path, text))


def test_a_pool_that_serves_the_command_must_be_there() -> None:
    described = ClusterFile("local", pool=(Pool("cpu"),))
    with pytest.raises(ConfigurationError, match="no pool of the cluster file serves accelerator"):
        described.serving(ACCELERATOR)


@pytest.mark.parametrize("walltime", ["00:00:40", "00:10:00", "01:00:00", "12:00:00", "3-00:00:00"])
def test_the_last_worker_leaves_before_the_walltime_and_not_needlessly_early(walltime) -> None:
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    limit = ((24 * int(days or 0) + hours) * 60 + minutes) * 60 + seconds
    lifetime_s, stagger_s = Pool("cpu", walltime=walltime).lifetime_s
    assert lifetime_s + stagger_s < limit
    assert lifetime_s - stagger_s >= 0.7 * limit
    assert limit - lifetime_s <= 600.0


def test_a_tls_key_that_others_can_read_is_refused(tmp_path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("key")
    key.chmod(0o640)
    text = f'kind = "running"\naddress = "tls://a:1"\nca_file = "a"\ncert_file = "b"\nkey_file = "{key}"'
    with pytest.raises(ExposedFileError):
        read_cluster_file(write(tmp_path, text))


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "10.0.0.1:8786", "tcp://node17:8786", "ws://10.0.0.1:1"])
def test_a_scheduler_on_a_network_without_tls_is_refused(address, tmp_path) -> None:
    scheduler_file = tmp_path / "dask.json"
    scheduler_file.write_text(f'{{"address": "{address}"}}')
    for place in (address, str(scheduler_file)):
        with pytest.raises(ConfigurationError, match="TLS"), driver.connect(place):
            pass


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_a_job_asks_for_what_its_pool_says(kind, tmp_path, monkeypatch) -> None:
    if find_spec("dask_jobqueue") is None:
        pytest.skip("dask-jobqueue is not installed")
    for name in [name for name in sys.modules if name.startswith("dask_jobqueue")]:
        monkeypatch.delitem(sys.modules, name)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/there")
    pool = Pool("gpu", (ACCELERATOR,), workers=2, cores=8, memory="64GB", walltime="01:00:00", queue="long",
                account="lab", directives=("--gres=gpu:1",), prologue=("module load cuda",))  # fmt: skip
    described, network = ClusterFile(kind, (pool,), python="/venv/python"), ["--tls-key", "key.pem"]
    (spec,) = job_specs(described, pool, tmp_path, network)
    script = spec["cls"]("tls://a:1", name="gpu.1", **spec["options"]).job_script()
    asked = ("long", "lab", "--gres=gpu:1", "module load cuda", "01:00:00", "--nworkers 2", "--tls-key key.pem")
    worker = ("/venv/python -m distributed.cli.dask_worker tls://a:1", "accelerator=1", "--lifetime 3000s")
    for wanted in (*asked, *worker):
        assert wanted in script
    assert script.index("module load") < script.index("dask_worker")
    kept = signal.signal(signal.SIGINT, interrupt)
    assert kept is signal.default_int_handler, "Ctrl-C ends the command without a word"
