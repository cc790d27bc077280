"""A store of an earlier layout is read, refused to writers, and migrated, whenever the migration is killed."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datbatch import location, schema
from datbatch.archive import Manifest
from datbatch.archive.manifest import Entry
from datbatch.archive.origin import manifest_path
from datbatch.classifier.folder import NORMAL_RANGE_FILE
from datbatch.cohort.fold import FOLDED, fold_stage, manifest_columns, pending_outcomes, stamp_of
from datbatch.cohort.layout import LAYOUT
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, models_path
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config, canonical_json
from datbatch.errors import DONE, Outcome, StoreNewerError, StoreOlderError, TruncatedError
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.norms import KeptRange
from datbatch.stages.imaging import prepare
from datbatch.stages.migrate import migrate_cohort
from datbatch.stages.repair import forget_failures, repair_cohort, verify_cohort
from datbatch.study.comparison import read_normal_range
from datbatch.study.imaging import StageIdentity, imaging_identities
from tests.norms.test_kept import kept

STUDIES = ["sa", "sb", "sc"]
MODEL = "compact-1a2b3c4d"
CUT = Outcome.failed(TruncatedError("cut"), "reconstruct")
MANIFEST = Manifest(tuple(Entry(study, (), "0a", reads=("",) * len(schema.READS)) for study in STUDIES), 3, {})
FIGURES: dict[str, Any] = {"motion_mm": 2.5, "counts": 9e5, "count_jump": 0.05, "injection_delay_min": None}


def digests(identities: dict[str, StageIdentity]) -> list[str]:
    return [identity.digest for identity in identities.values()]


BEFORE, AFTER = (imaging_identities(Config(), limits=limits) for limits in (True, False))


def rows_of(stage: str) -> list[Row]:
    if stage == "reconstruct":
        moved = Row("sa", DONE, values=FIGURES | {"flags": "start-assumed motion cut-top low-counts"})
        still = Row("sb", DONE, values=FIGURES | {"motion_mm": 0.0, "counts": 2e6, "flags": "windows-summed"})
        return [moved, still, Row("sc", CUT)]
    return [Row(study, DONE) for study in STUDIES[:2]] + [Row("sc", CUT)]


def earlier_store(place: Location) -> Location:
    """Write a store as layout 2 had it."""
    path = place / "cohort.zarr"
    store = Store.create(path, granule_studies=4)
    store.grow(STUDIES)
    store.write_table(manifest_columns(MANIFEST))
    outcomes = pending_outcomes(STUDIES)
    for name, identity in BEFORE.items():
        rows = rows_of(name)
        Ledger(path).commit(GranuleKey(name, identity.digest, 0, "0a"), rows)
        store.write_table(fold_stage(name, rows, STUDIES, Config().quality, outcomes))
    store.write_table(outcomes.arrays)
    store.add_model(MODEL, {"quantify": BEFORE["quantify"].digest, "stale": False})
    store.set_attributes(
        {
            "config": canonical_json(Config().to_stored_dict()),
            "stages": {name: identity.to_dict() for name, identity in BEFORE.items()},
            FOLDED: stamp_of(MANIFEST, digests(BEFORE), None),
            LAYOUT: 2,
        }
    )
    store.consolidate()
    for name in location.names(path / "ledger"):
        if not name[name.rfind("/") + 1].isdigit():
            location.remove(path / "ledger" / name)
    location.write(path / "ledger" / "seal.json", b"{}")
    write_whole(manifest_path(path), MANIFEST.to_json(), private=True)
    given = KeptRange(kept().fitted, BEFORE["quantify"].digest, frozenset())
    write_whole(models_path(path) / NORMAL_RANGE_FILE, given.to_json().encode())
    return path


def files_of(path: Location) -> dict[str, bytes]:
    """Give what a store holds, without the records of commands, which name times, and files of killed writers."""
    names = [
        name
        for name in location.names(path)
        if "runs/" not in name and "/." not in f"/{name}" and ".partial" not in name
    ]
    return {name: location.read(path / name)[0] for name in names if not name.endswith("listing.json")}


def assert_migrated(path: Location) -> None:
    store = Store(path)
    assert store.layout == schema.LAYOUT_VERSION
    assert store.read_table("flags").tolist() == ["start-assumed motion cut-top low-counts", "windows-summed", ""]
    assert Ledger(path).stages() == sorted((name, identity.digest) for name, identity in AFTER.items())
    assert store.attributes["stages"] == {name: identity.to_dict() for name, identity in AFTER.items()}
    assert store.attributes[FOLDED] == stamp_of(MANIFEST, digests(AFTER), Config().quality)
    assert store.model_attributes(MODEL)["quantify"] == AFTER["quantify"].digest
    assert read_normal_range(models_path(path) / NORMAL_RANGE_FILE, Config()).imaging == AFTER["quantify"].digest
    found = verify_cohort(path, quiet=True)
    assert found.damages == []
    assert {orphan.kind for orphan in found.orphans} <= {"unfinished"}


def test_a_store_on_a_disk_or_on_s3_is_migrated_once(place) -> None:
    path = earlier_store(place)
    flags = location.read(path / "flags" / "c.0")[0]
    assert migrate_cohort(path).before == 2
    assert_migrated(path)
    assert location.read(path / "flags" / "c.0")[0] == flags
    keys = Ledger(path).keys("reconstruct", AFTER["reconstruct"].digest)
    kept_rows = [row.values.get("flags", "") for row in Ledger(path).rows(keys)]
    assert kept_rows == ["start-assumed cut-top", "windows-summed", ""]
    before = {name: location.read(path / name)[0] for name in location.names(path)}
    assert migrate_cohort(path).before == schema.LAYOUT_VERSION
    assert {name: location.read(path / name)[0] for name in location.names(path)} == before


def test_a_store_of_an_earlier_layout_and_its_normal_range_are_read_and_refused_to_writers(tmp_path) -> None:
    path = earlier_store(tmp_path)
    before = files_of(tmp_path)
    assert open_cohort(path).flags.values[1] == "windows-summed"
    given = read_normal_range(models_path(path) / NORMAL_RANGE_FILE, Config())
    assert given.imaging == BEFORE["quantify"].digest, "a model that was handed on is served"
    for write in (
        lambda: forget_failures(path),
        lambda: prepare(tmp_path, path, Config(), participants=None, quiet=True),
    ):
        with pytest.raises(StoreOlderError, match="layout 2"):
            write()
    assert files_of(tmp_path) == before


def test_a_store_of_a_later_layout_is_refused_by_name(tmp_path) -> None:
    path = earlier_store(tmp_path)
    store = Store(path)
    store.set_attributes({LAYOUT: schema.LAYOUT_VERSION + 1})
    store.consolidate()
    before = files_of(tmp_path)
    calls: list[Callable[[Path], Any]] = [Store, open_cohort, migrate_cohort, forget_failures, verify_cohort]
    for call in calls:
        with pytest.raises(StoreNewerError):
            call(path)
    assert files_of(tmp_path) == before


def test_a_damaged_layout_is_no_later_layout(tmp_path) -> None:
    path = earlier_store(tmp_path)
    migrate_cohort(path)
    root = path / "zarr.json"
    before = root.read_bytes()
    root.write_bytes(before.replace(b'"layout_version": 4', b'"layout_version": 7'))
    assert [damage.array for damage in verify_cohort(path, quiet=True).damages] == ["zarr.json"]
    assert repair_cohort(path, quiet=True).unmended == {}
    assert root.read_bytes() == before


class Killed(BaseException):
    """A process that ended."""


class Writes:
    """Counts what this process does to files below a folder, and lets all fail from a given one on."""

    def __init__(self) -> None:
        self.folder, self.count, self.allowed = "", 0, 0
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if not (self.folder and writes and str(arguments[0]).startswith(self.folder)):
            return
        if not str(arguments[0]).endswith(".lock"):
            self.count += 1
            if self.count > self.allowed:
                raise Killed


@pytest.fixture(scope="module")
def writes() -> Iterator[Writes]:
    found = Writes()
    yield found
    found.folder = ""


def test_killed_at_any_write_it_goes_on_to_the_same_store(tmp_path, writes) -> None:
    given = earlier_store(tmp_path / "given").parent
    shutil.copytree(given, tmp_path / "whole")
    migrate_cohort(tmp_path / "whole" / "cohort.zarr")
    assert_migrated(tmp_path / "whole" / "cohort.zarr")
    whole = files_of(tmp_path / "whole")
    ended = False
    for allowed in range(1000):
        own = tmp_path / "own"
        shutil.copytree(given, own)
        path = own / "cohort.zarr"
        writes.folder, writes.count, writes.allowed = str(own), 0, allowed
        try:
            migrate_cohort(path)
            ended = True
        except Killed:
            pass
        finally:
            writes.folder = ""
        if ended:
            break
        if Store(path).layout < schema.LAYOUT_VERSION:
            for refused in (forget_failures, verify_cohort):
                with pytest.raises(StoreOlderError):
                    refused(path)
        else:
            assert verify_cohort(path, quiet=True).damages == [], allowed
        migrate_cohort(path)
        found = files_of(own)
        assert found.keys() == whole.keys()
        assert {name for name, content in found.items() if content != whole[name]} == set()
        shutil.rmtree(own)
    assert ended
    assert allowed > 40, "the writes were not seen"
