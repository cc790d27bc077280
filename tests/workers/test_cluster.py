"""On somebody else's scheduler: as cluster/README.md says, with separate scheduler and worker processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datbatch.workers import pools
from tests.faults.conftest import with_key_of
from tests.pipeline import assert_same_content, call_command, imaging_content, run_command, wait_until, write_config

DASK = str(Path(sys.executable).parent / "dask")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([DASK, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def scheduler_file(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "dask.json"
    place = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    scheduler = start("scheduler", *place)
    wait_until(file.exists)
    yield file
    scheduler.terminate()
    scheduler.wait()


def worker(scheduler_file: Path, *more: str) -> subprocess.Popen[bytes]:
    place = ("--scheduler-file", str(scheduler_file), "--host", "127.0.0.1", "--no-dashboard")
    return start("worker", *place, "--nthreads", "1", "--local-directory", str(scheduler_file.parent), *more)


def test_a_running_cluster_gives_the_bits_of_a_local_one(tmp_path, scheduler_file, archive, cohort) -> None:
    own = with_key_of(cohort, tmp_path / "cohort.zarr")
    config = write_config(tmp_path / "config.toml")
    plain = worker(scheduler_file)
    try:
        run_command("run", archive, own, "--config", config, "--cluster", scheduler_file, expect=3)
        assert_same_content(imaging_content(own), imaging_content(cohort))
        refused = run_command("train", own, "--config", config, "--cluster", scheduler_file, expect=1)
        assert refused["error"] == "accelerator-missing"
        assert "accelerator=1" in refused["remedy"]
    finally:
        plain.terminate()
        plain.wait()


def test_an_address_without_a_scheduler_is_a_clear_error(cohort, monkeypatch) -> None:
    monkeypatch.setattr(pools, "ANSWER_SECONDS", 1.0)
    nobody = ("--cluster", "tcp://127.0.0.1:9")
    assert call_command("explain", cohort, "--model", "none", *nobody, expect=1)["error"] == "model-unusable"
    answer = call_command("train", cohort, "--epochs", "7", *nobody, expect=2)
    assert "scheduler" in answer["reason"]
