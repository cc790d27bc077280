"""A disk that is full, over its quota, without inodes or read-only stops a run with a clear error; mended, it ends as
ever.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datbatch.stages.repair import verify_cohort
from tests.faults.conftest import with_key_of
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


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A folder with a quota, and what sets it: a file system in a file, of the kind that binds root, too."""
    if os.geteuid() != 0 or shutil.which("btrfs") is None or shutil.which("mkfs.btrfs") is None:
        pytest.skip("only root with btrfs-progs can make a file system with a quota")
    image, place = tmp_path / "image", tmp_path / "place"
    image.touch()
    os.truncate(image, 256 << 20)
    place.mkdir()

    def call(*words: object) -> None:
        if subprocess.run([str(word) for word in words], capture_output=True, check=False).returncode:
            pytest.skip(f"this machine does not allow {words[0]} {words[1]}")

    call("mkfs.btrfs", "-q", image)
    call("mount", "-o", "loop", image, place)
    try:
        call("btrfs", "quota", "enable", place)
        call("btrfs", "subvolume", "create", place / "own")
        yield place / "own", lambda limit: call("btrfs", "qgroup", "limit", limit, place / "own")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_quota_is_named_and_loses_nothing(limited, archive, cheap_whole, config) -> None:
    place, set_quota = limited
    own = with_key_of(cheap_whole, place / "cohort.zarr")
    set_quota("1300k")
    refused = run_command("run", archive, own, "--config", config, "--workers", 1, expect=1)
    assert "quota" in refused["reason"].lower()
    assert "Make room" in refused["remedy"]
    assert str(own) in refused["stderr"], "the message does not name the store"
    set_quota("none")
    left = verify_cohort(own, quiet=True)
    # The tables are behind the ledger, as after any run that ended early.
    assert {(d.array, d.kind) for d in left.damages} <= {("status", "changed")}, "something is half written"
    run_command("run", archive, own, "--config", config, "--workers", 1, expect=3)
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))
    found = verify_cohort(own, quiet=True)
    assert found.damages == []
    assert all(orphan.ours for orphan in found.orphans)


@pytest.mark.parametrize("short", ["size=1200k", "nr_inodes=200"])
def test_a_full_disk_and_a_quota_lose_nothing(disk, archive, cheap_whole, config, short) -> None:
    assert mount(disk, f"remount,{short}")
    own = with_key_of(cheap_whole, disk / "cohort.zarr")
    refused = run_command("run", archive, own, "--config", config, "--workers", 1, expect=1)
    assert refused["error"] in ("store-unusable", "system")
    assert "No space left" in refused["reason"]
    assert mount(disk, "remount,size=200m,nr_inodes=100k")
    run_command("run", archive, own, "--config", config, "--workers", 1, expect=3)
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))


def test_a_store_that_turned_read_only_stays_as_it_is(disk, archive, cheap_whole, config) -> None:
    own = disk / "cohort.zarr"
    shutil.copytree(cheap_whole.parent, disk, dirs_exist_ok=True)
    config.write_text(config.read_text() + "[quantify]\nreference_percentile = 60.0\n")
    assert mount(disk, "remount,ro")
    refused = run_command("run", archive, own, "--config", config, "--workers", 1, expect=1)
    assert "Read-only" in refused["reason"]
    assert call_command("status", own)["studies"]["done"] >= 8
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))
    assert mount(disk, "remount,rw")
    assert run_command("run", archive, own, "--config", config, "--workers", 1, expect=3)["processed"] >= 8
