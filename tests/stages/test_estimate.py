"""What `plan` says a run would cost, on this machine and on the cluster that a file describes."""

import pytest

from datbatch.archive import Entry, Manifest
from datbatch.cohort.ledger import Ledger
from datbatch.config import Config
from datbatch.stages import estimate
from datbatch.stages.estimate import Measured, makespan
from datbatch.stages.planning import plan_imaging
from tests.pipeline import call_command, write_config

CLUSTER = """
kind = "slurm"
[[pool]]
name = "cpu"
resources = ["imaging"]
jobs = 3
workers = 2
cores = 4
memory = "{memory}"
walltime = "{walltime}"
[[pool]]
name = "gpu"
resources = ["accelerator"]
"""


@pytest.mark.parametrize(
    ("seconds", "workers", "end"),
    [([4.0, 4.0, 4.0, 4.0], 2, 8.0), ([4.0, 4.0, 4.0], 2, 8.0), ([1.0, 5.0, 1.0], 2, 5.0), ([3.0], 64, 3.0)],
)
def test_the_last_granule_ends_the_run(seconds, workers, end) -> None:
    assert makespan(seconds, workers) == end


def test_a_plan_measures_a_few_studies_and_leaves_nothing_behind(tmp_path, archive) -> None:
    config = write_config(tmp_path / "config.toml")
    before = set(archive.rglob("*"))
    cost = call_command("plan", archive, tmp_path / "own.zarr", "--config", config, "--workers", 1)["cost"]
    assert cost["studies"] > 4
    assert cost["workers"] == 1
    assert cost["seconds"] > cost["studies"] * cost["seconds_per_study"] > 0
    assert cost["worker_memory_mb"] > 100
    assert 1.0 < cost["disk_mb"] / cost["studies"] < 3.0
    assert cost["objects"] == 4 * cost["granules"]
    assert cost["node_hours"] is None
    assert set(archive.rglob("*")) == before
    # The key, and what the scan read: a run needs both.
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml", "own.key", "own.scan"}


@pytest.mark.parametrize(
    ("memory", "walltime", "words"),
    [("64GB", "24:00:00", []), ("1GB", "24:00:00", ["gives a worker 500 MB"]), ("64GB", "00:01:00", ["walltime"])],
)
def test_a_cluster_file_gives_node_hours_and_what_does_not_suit_it(
    tmp_path, monkeypatch, memory, walltime, words
) -> None:
    monkeypatch.setattr(estimate, "_measure", lambda *_: Measured(30.0, 1.5, 700.0, 2.2))
    monkeypatch.setattr(estimate, "_since_start_s", lambda: 2.0)
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER.format(memory=memory, walltime=walltime))
    entries = tuple(Entry(f"s{n}", (f"{n}.dcm",), str(n)) for n in range(320))
    plan = plan_imaging(
        Manifest(entries, 320, {}), Config(), granule_studies=32, ledger=Ledger(tmp_path / "no.zarr"), recorded={}
    )
    cost = estimate.estimate_cost(plan, tmp_path, tmp_path / "no.zarr", Config(), cluster=str(file))
    # Ten granules of 48 s on six workers take two turns.
    assert cost.seconds == pytest.approx(2.0 + 30.0 + 2 * 48.0)
    assert cost.workers == 6
    assert cost.node_hours == pytest.approx(3 * cost.seconds / 3600)
    assert cost.core_hours == pytest.approx(12 * cost.seconds / 3600)
    assert cost.disk_mb == pytest.approx(320 * 2.2)
    assert [word in said for word, said in zip(words, cost.warnings, strict=True)] == [True] * len(words)
