"""A scan that opens only new and changed files gives exactly the manifest of one that reads them all."""

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch import location
from datbatch.archive import Manifest, scan_archive, scan_cache
from datbatch.archive.inspection import FileFacts, StudyCheck, inspect_file
from datbatch.archive.scan_cache import ScanCache
from datbatch.config import ArchiveConfig
from datbatch.errors import ExposedFileError, Outcome, TimeExceededError, WorkerLostError
from datbatch.location import Location
from tests.archive.test_scan import KEY, small
from tests.archive.writer import write

TICK_SECONDS = 0.012
"""At least one tick of the clock of a file system of today."""


class Opened:
    """A `map` that notes what was opened."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.studies: list[tuple[str, ...]] = []

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if function is inspect_file:
                self.files.append(item.name)
            else:
                self.studies.append(tuple(path.name for path in item.paths))
            yield function(item)


def settle() -> None:
    """Wait until the file system's clock has moved on."""
    time.sleep(1.5 * TICK_SECONDS)


def scanned(
    archive: Location, cache: Path, using: Any = None, *, key: bytes = KEY, config: ArchiveConfig | None = None
) -> tuple[Manifest, Any]:
    """Scan with the cache, and tell what was opened."""
    config, opened = config or ArchiveConfig(), using or Opened()
    with ScanCache(cache, archive, opened, key=key, config=config) as mapper:
        return scan_archive(archive, key=KEY, mapper=mapper, config=config), opened


def fresh(archive: Location, **options: Any) -> Manifest:
    return scan_archive(archive, key=KEY, **options)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust a file as soon as the file system's clock has ticked."""
    monkeypatch.setattr(scan_cache, "SETTLED_SECONDS", TICK_SECONDS)


@pytest.fixture
def scene(tmp_path: Path, quick: None) -> tuple[Path, Path]:
    """An archive of two studies, one of them of two files, and a file that is none; and the path of its cache."""
    archive = tmp_path / "archive"
    write(archive / "a", small(1), study="1.1")
    write(archive / "b", small(2), study="1.2")
    shutil.copy(archive / "b" / "0000.dcm", archive / "b" / "copy.dcm")
    (archive / "c.dcm").write_bytes(b"no image")
    settle()
    return archive, tmp_path / "cohort.scan"


def test_the_second_scan_opens_nothing_and_the_third_only_what_is_new(scene) -> None:
    archive, cache = scene
    first, opened = scanned(archive, cache)
    assert (len(opened.files), len(opened.studies)) == (4, 2)
    assert cache.stat().st_mode & 0o777 == 0o600
    written = cache.stat().st_mtime_ns
    second, opened = scanned(archive, cache)
    assert (opened.files, opened.studies) == ([], [])
    assert second == first == fresh(archive)
    assert cache.stat().st_mtime_ns == written
    write(archive / "d", small(3), study="1.3")
    third, opened = scanned(archive, cache)
    assert (opened.files, opened.studies) == (["0000.dcm"], [("0000.dcm",)])
    assert third == fresh(archive)


KINDS = ("write", "same time", "delete", "rename", "swap", "link", "cut")


def befall(archive: Path, kind: str, one: Path, other: Path, number: int) -> None:
    """Change an archive; all contents have the same size."""
    before = one.stat() if one.exists() else None
    content = made_sources()[number]
    if kind == "write" or before is None:
        one.unlink(missing_ok=True)
        one.write_bytes(content)
    elif kind == "same time":
        # As a tool that restores files may do: only the time of the change tells.
        one.write_bytes(content)
        os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif kind == "delete":
        one.unlink()
    elif kind == "rename":
        one.rename(other)
    elif kind == "swap" and one != other and other.exists():
        one.rename(archive / "between")
        other.rename(one)
        (archive / "between").rename(other)
    elif kind == "link" and one != other:
        other.unlink(missing_ok=True)
        other.symlink_to(one)
    elif kind == "cut":
        with one.open("r+b") as stream:
            stream.truncate(before.st_size - 1)


@functools.cache
def made_sources() -> list[bytes]:
    """Make two studies with each of two images: which of them is a duplicate depends on the others."""
    with tempfile.TemporaryDirectory() as folder:
        return [write(Path(folder), small(n % 2), study=f"1.{n // 2}")[0].read_bytes() for n in range(4)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS), st.sampled_from("ab"), st.sampled_from("abc"), st.integers(0, 3), st.booleans()
        ),
        min_size=3,
        max_size=8,
    )
)
def test_whatever_befalls_the_files_a_scan_with_the_cache_equals_a_fresh_one(history) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_cache, "SETTLED_SECONDS", TICK_SECONDS)
        archive, cache = Path(folder) / "archive", Path(folder) / "cohort.scan"
        archive.mkdir()
        for kind, one, other, number, waits in history:
            befall(archive, kind, archive / f"{one}.dcm", archive / f"{other}.dcm", number)
            if waits:
                settle()
            assert scanned(archive, cache)[0] == fresh(archive)
        settle()
        assert scanned(archive, cache)[0] == scanned(archive, cache)[0] == fresh(archive)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_is_seen(kind, tmp_path, quick) -> None:
    archive, cache = tmp_path / "archive", tmp_path / "cohort.scan"
    archive.mkdir()
    for name, content in zip("ab", made_sources()[::2], strict=True):
        (archive / f"{name}.dcm").write_bytes(content)
        os.utime(archive / f"{name}.dcm", ns=(0, 0))
    settle()
    before = scanned(archive, cache)[0]
    befall(archive, kind, archive / "a.dcm", archive / "b.dcm", 1)
    settle()
    manifest, opened = scanned(archive, cache)
    assert manifest == fresh(archive) != before
    assert bool(opened.files) == (kind != "delete")
    assert scanned(archive, cache)[1].files == []


def test_a_file_that_changes_again_within_one_tick_of_the_clock_is_not_believed(tmp_path) -> None:
    # The second write leaves size and times as they were: a clock that ticks every two seconds would, too.
    archive, cache = tmp_path / "archive", tmp_path / "cohort.scan"
    path = write(archive, small(1), study="1.1")[0]
    stands = scan_cache._state_of_file(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_cache, "_state_of_file", lambda _: stands)
        scanned(archive, cache)
        path.write_bytes(write(tmp_path / "other", small(2), study="1.1")[0].read_bytes())
        manifest, opened = scanned(archive, cache)
    assert opened.files == ["0000.dcm"]
    assert manifest == fresh(archive)


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(scene) -> None:
    archive, cache = scene
    path = archive / "a" / "0000.dcm"

    def replaced(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield function(item)
            if item == path:
                shutil.copy(archive / "b" / "0000.dcm", path)

    scanned(archive, cache, replaced)
    manifest, opened = scanned(archive, cache)
    assert opened.files == ["0000.dcm"]
    assert manifest == fresh(archive)


@given(damage=st.one_of(st.floats(0, 1), st.tuples(st.floats(0, 1), st.integers(1, 255))))
def test_a_damaged_cache_is_ignored_and_replaced(damage) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_cache, "SETTLED_SECONDS", TICK_SECONDS)
        archive, cache = Path(folder) / "archive", Path(folder) / "cohort.scan"
        archive.mkdir()
        (archive / "0000.dcm").write_bytes(made_sources()[0])
        settle()
        expected = scanned(archive, cache)[0]
        whole = cache.read_bytes()
        place, flip = (damage, 0) if isinstance(damage, float) else damage
        at = min(int(place * len(whole)), len(whole) - 1)
        cache.write_bytes(whole[:at] + (bytes([whole[at] ^ flip]) + whole[at + 1 :] if flip else b""))
        manifest, opened = scanned(archive, cache)
        assert (manifest, opened.files) == (expected, ["0000.dcm"])
        assert cache.read_bytes() == whole


def test_a_cache_of_another_store_archive_or_code_is_not_believed(scene, monkeypatch) -> None:
    archive, cache = scene
    scanned(archive, cache)
    content = cache.read_bytes()
    assert len(scanned(archive, cache, key=b"o" * 32)[1].files) == 4
    cache.write_bytes(content)
    shutil.copytree(archive, archive.with_name("elsewhere"))
    assert len(scanned(archive.with_name("elsewhere"), cache)[1].files) == 4
    cache.write_bytes(content)
    monkeypatch.setattr(scan_cache, "_code_digest", lambda: "another version")
    assert len(scanned(archive, cache)[1].files) == 4


def test_other_parameters_check_the_studies_again_and_open_no_other_file(scene) -> None:
    archive, cache = scene
    scanned(archive, cache)
    config = ArchiveConfig(photopeak_kev=140.0)
    manifest, opened = scanned(archive, cache, config=config)
    assert (len(opened.files), len(opened.studies)) == (0, 2)
    assert manifest == fresh(archive, config=config)


@pytest.mark.parametrize("victim", ["file", "study"])
def test_what_may_be_the_machines_fault_is_tried_again(victim, scene) -> None:
    archive, cache = scene

    def failing(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if victim == "file" and item == archive / "a" / "0000.dcm":
                yield FileFacts(0, has_mark=True, outcome=Outcome.failed(WorkerLostError("")))
            elif victim == "study" and function is not inspect_file:
                yield StudyCheck(Outcome.failed(TimeExceededError("")))
            else:
                yield function(item)

    assert scanned(archive, cache, failing)[0] != fresh(archive)
    manifest, opened = scanned(archive, cache)
    assert manifest == fresh(archive)
    assert (len(opened.files), len(opened.studies)) == ((1, 1) if victim == "file" else (0, 2))


def test_a_scan_that_is_interrupted_keeps_what_it_read(scene) -> None:
    archive, cache = scene

    def interrupted(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 3:
                raise KeyboardInterrupt
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        scanned(archive, cache, interrupted)
    manifest, opened = scanned(archive, cache)
    assert opened.files == ["c.dcm"]
    assert manifest == fresh(archive)


def test_a_cache_that_others_can_read_is_refused(scene) -> None:
    archive, cache = scene
    scanned(archive, cache)
    cache.chmod(0o644)
    for _ in range(2):
        with pytest.raises(ExposedFileError):
            scanned(archive, cache)


def test_objects_on_s3_are_told_apart_by_what_the_server_lists(s3, tmp_path, monkeypatch) -> None:
    # Its clock counts whole seconds.
    monkeypatch.setattr(scan_cache, "SETTLED_SECONDS", -5.0)
    cache = tmp_path / "cohort.scan"
    for number in (1, 2):
        path = write(tmp_path / str(number), small(number), study=f"1.{number}")[0]
        location.write(s3 / "archive" / f"{number}.dcm", path.read_bytes())
    assert len(scanned(s3 / "archive", cache)[1].files) == 2
    assert scanned(s3 / "archive", cache)[1].files == []
    location.write(s3 / "archive" / "1.dcm", write(tmp_path / "3", small(3), study="1.1")[0].read_bytes())
    manifest, opened = scanned(s3 / "archive", cache)
    assert opened.files == ["1.dcm"]
    assert manifest == fresh(s3 / "archive")
