"""A disk that is full, has no inode left or turns read-only stops a run with a clear error; mended, it ends as ever."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datbatch.cohort.store import key_path
from tests.pipeline import assert_same_content, call_command, imaging_content, run_command

pytestmark = pytest.mark.usefixtures("cheap_imaging")


def mount(place: Path, options: str) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, 12 MB and 300 inodes."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    if not mount(place, "size=200m,nr_inodes=100k"):
        pytest.skip("this machine allows no mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("short", ["size=1200k", "nr_inodes=200"])
def test_a_full_disk_and_a_quota_lose_nothing(
    disk: Path, archive: Path, cheap_whole: Path, config: Path, short: str
) -> None:
    own = disk / "cohort.zarr"
    assert mount(disk, f"remount,{short}")
    shutil.copy(key_path(cheap_whole), key_path(own))
    refused = run_command("run", archive, own, "--config", config, "--workers", 1, expect=1)
    assert refused["error"] in ("store-unusable", "system")
    assert "No space left" in refused["reason"]
    assert mount(disk, "remount,size=200m,nr_inodes=100k")
    run_command("run", archive, own, "--config", config, expect=3)
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))


def test_a_store_that_turned_read_only_stays_as_it_is(
    disk: Path, archive: Path, cheap_whole: Path, config: Path
) -> None:
    own = disk / "cohort.zarr"
    shutil.copytree(cheap_whole.parent, disk, dirs_exist_ok=True)
    config.write_text(config.read_text() + "[quantify]\nreference_percentile = 60.0\n")
    assert mount(disk, "remount,ro")
    refused = run_command("run", archive, own, "--config", config, "--workers", 1, expect=1)
    assert "Read-only" in refused["reason"]
    assert call_command("status", own)["studies"]["done"] >= 8
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))
    assert mount(disk, "remount,rw")
    assert run_command("run", archive, own, "--config", config, expect=3)["processed"] >= 8
