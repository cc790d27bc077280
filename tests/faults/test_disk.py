"""A full disk stops a run with a clear error; with room again it ends with the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datbatch.cohort.store import key_path
from tests.pipeline import assert_same_content, config_text, imaging_content, run_command

SMALL, LARGE = "12m", "200m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine allows no mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path, archive: Path, cohort: Path) -> None:
    own, config = small_disk / "cohort.zarr", tmp_path / "config.toml"
    config.write_text(config_text())
    shutil.copy(key_path(cohort), key_path(own))
    refused = run_command("run", archive, own, "--config", config, expect=1)
    assert refused["error"] == "store-unusable"
    assert "No space left" in refused["reason"]
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(small_disk)], check=True)
    run_command("run", archive, own, "--config", config, expect=3)
    assert_same_content(imaging_content(own), imaging_content(cohort))
