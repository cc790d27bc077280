"""Whatever is changed in a store is found, and so is what belongs to nothing."""

from pathlib import Path

import numpy as np
import pytest

from datbatch import location, schema
from datbatch.cohort.facts import LISTING, UNFINISHED, Facts
from datbatch.cohort.layout import MADE_WITH
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.shadow import fold_imaging_tables, refresh
from datbatch.cohort.store import Store
from datbatch.cohort.verify import put_back, recorded_volumes, remove_orphans, verify_store
from datbatch.errors import DONE, Outcome, TruncatedError
from datbatch.location import Location
from tests.pipeline import flip

KEY = GranuleKey("quantify", "d1", 0, "0a")


def small_store(path: Location) -> Store:
    """Two studies, one done and one failed, as a run leaves them."""
    store = Store.create(path, granule_studies=2)
    store.grow(["sa", "sb"])
    volumes = np.full((2, *schema.SHAPE), np.nan, dtype=np.float32)
    volumes[0] = 0.5
    hashes = store.write_volumes("uptake", 0, volumes)
    done = Row("sa", DONE, values={"mirrored": True, "reference_value": 2.0}, sha256={"uptake": hashes[0]})
    Ledger(store.path).commit(KEY, [done, Row("sb", Outcome.failed(TruncatedError("cut"), "reconstruct"))])
    store.set_attributes({"stages": {"quantify": {"digest": "d1"}}})
    store.write_table({"site": np.array(["A", "B"], dtype=object), "age": np.array([70.0, np.nan])})
    fold_imaging_tables(store, Ledger(path), store.attributes, ())
    store.consolidate()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return small_store(tmp_path / "cohort.zarr")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def test_a_whole_store_has_no_damage_and_no_orphan(store) -> None:
    found = verify_store(store.path)
    assert (found.volumes, found.damages, found.orphans) == (1, [], [])
    assert recorded_volumes(store.path) == 2


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink], ids=["flipped", "cut", "deleted"])
@pytest.mark.parametrize(
    "place", ["uptake", "reference_value", "mirrored", "status", "error_reason", "site", "age", "study"]
)
def test_a_changed_chunk_of_a_volume_or_a_table_is_found(store, place, harm) -> None:
    harm(next((store.path / place).glob("c*")))
    assert {damage.array for damage in verify_store(store.path).damages} == {place}


def changed_figure(file: Path) -> None:
    file.write_text(file.read_text().replace('"reference_value":2.0', '"reference_value":3.0'))


@pytest.mark.parametrize("harm", [flip, cut, changed_figure])
def test_a_damaged_ledger_object_is_named_alone_and_left_where_it_is(store, harm) -> None:
    (file,) = (store.path / "ledger" / "quantify").rglob("0*.json")
    harm(file)
    before = file.read_bytes()
    assert [(d.array, d.kind, d.granule) for d in verify_store(store.path).damages] == [
        ("ledger/quantify", "unreadable", 0)
    ]
    assert file.read_bytes() == before


def test_orphans_are_named_and_only_our_own_are_removed(store) -> None:
    files = {
        "uptake/c.0.0.0.0.1f.partial": "unfinished",
        "ledger/quantify/d1/.ledger-1f": "unfinished",
        "uptake/c.1.0.0.0": "superseded",
        "ledger/quantify/d0/000000-0a.json": "superseded",
        "ledger/explain/gone/d1/000000-0a.json": "superseded",
        "uptake/notes.txt": "unknown",
        ".DS_Store": "unknown",
    }
    for name in files:
        (store.path / name).parent.mkdir(parents=True, exist_ok=True)
        (store.path / name).write_bytes(b"x")
    found = verify_store(store.path).orphans
    assert {orphan.name: orphan.kind for orphan in found} == files
    assert remove_orphans(store.path, found) == 5
    assert {orphan.kind for orphan in verify_store(store.path).orphans} == {"unknown"}


def test_on_a_disk_and_on_s3_whatever_was_harmed_is_named_and_put_back(place) -> None:
    path = place / "cohort.zarr"
    small_store(path)
    before = {name: location.read(path / name)[0] for name in location.names(path)}
    location.write(path / "zarr.json", before["zarr.json"].replace(b"granule_studies", b"granule_studied"))
    location.write(path / "age/zarr.json", before["age/zarr.json"].replace(b"float64", b"float32"))
    location.write(path / "views/c.0", before["age/c.0"])
    location.remove(path / "site/c.0")
    location.remove(path / LISTING)
    location.write(path / "ledger/facts/study.json", before["ledger/facts/site.json"])
    found = verify_store(path)
    assert {(damage.array, damage.kind) for damage in found.damages} == {
        ("zarr.json", "changed"), ("age/zarr.json", "changed"), ("views", "unrecorded"), ("site", "missing"),
        (LISTING, "missing"), ("ledger/facts/study.json", "unreadable"),
    }  # fmt: skip
    assert found.shadow is not None
    put_back(path, found.shadow, found.damages)
    assert {name: location.read(path / name)[0] for name in location.names(path)} == before


def test_a_killed_command_leaves_no_false_alarm_and_the_next_one_shows_what_it_told(store) -> None:
    Facts(store.path).begin(["", "site"])
    Facts(store.path).write("site", {"values": ["C", "D"]})
    # Killed here: the column still has the old sites.
    assert verify_store(store.path).damages == []
    Store(store.path).consolidate()
    assert Store(store.path).read_table("site").tolist() == ["C", "D"]
    assert not (store.path / UNFINISHED).exists()
    assert verify_store(store.path).damages == []


def test_a_table_behind_the_ledger_is_no_damage_until_it_is_folded(store) -> None:
    store.begin(["reference_value"])
    Ledger(store.path).remove([KEY])
    Store(store.path).consolidate()
    assert {damage.array for damage in verify_store(store.path).damages} >= {"status", "mirrored"}
    assert "reference_value" not in {damage.array for damage in verify_store(store.path).damages}


def test_what_another_version_described_in_other_words_is_no_damage_and_is_described_anew(store) -> None:
    before = {name: location.read(store.path / name)[0] for name in location.names(store.path)}
    described = store.path / "age" / "zarr.json"
    described.write_text(described.read_text().replace("age at the examination", "years of life"))
    (store.path / "radius_mm" / "zarr.json").unlink()
    other = Store(store.path)
    other.set_attributes({MADE_WITH: "another version"})
    other.consolidate()
    assert verify_store(store.path).damages == []
    described.write_text(described.read_text().replace("float64", "float32"))
    assert [damage.array for damage in verify_store(store.path).damages] == ["age/zarr.json"]
    refresh(Store(store.path))
    assert {name: location.read(store.path / name)[0] for name in location.names(store.path)} == before
