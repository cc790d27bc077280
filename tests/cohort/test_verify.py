"""Whatever is changed in a store is found, and so is what belongs to nothing."""

from pathlib import Path

import numpy as np
import pytest

from datbatch import location, schema
from datbatch.cohort.fold import outcome_columns, value_columns
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.seal import differences, put_back, read_seal
from datbatch.cohort.store import Store
from datbatch.cohort.verify import find_orphans, recorded_volumes, remove_orphans, sealed_damages, verify_store

KEY = GranuleKey("quantify", "d1", 0, "0a")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two studies, one done and one failed, as a run leaves them."""
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=2)
    store.grow(["sa", "sb"])
    volumes = np.full((2, *schema.SHAPE), np.nan, dtype=np.float32)
    volumes[0] = 0.5
    hashes = store.write_volumes("uptake", 0, volumes)
    done = Row("sa", schema.DONE, values={"mirrored": True, "reference_value": 2.0}, sha256={"uptake": hashes[0]})
    rows = [done, Row("sb", schema.FAILED, "truncated", "reconstruct", "cut")]
    Ledger(store.path).commit(KEY, rows)
    store.write_table(value_columns([v for v in schema.STUDY_TABLE if v.source == "quantify"], ["sa", "sb"], rows))
    store.write_table(outcome_columns(["sa", "sb"], rows))
    store.set_attributes({"stages": {"quantify": {"digest": "d1"}}})
    return store


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def test_a_whole_store_has_no_damage_and_no_orphan(store) -> None:
    assert verify_store(store.path) == (1, [])
    assert find_orphans(store.path) == []
    assert recorded_volumes(store.path) == 2


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink], ids=["flipped", "cut", "deleted"])
@pytest.mark.parametrize("place", ["uptake", "reference_value", "mirrored", "status", "error_reason"])
def test_a_changed_chunk_of_a_volume_or_a_table_is_found(store, place, harm) -> None:
    harm(next((store.path / place).glob("c*")))
    _, damages = verify_store(store.path)
    assert {damage.array for damage in damages} == {place}


def changed_figure(file: Path) -> None:
    file.write_text(file.read_text().replace('"reference_value":2.0', '"reference_value":3.0'))


@pytest.mark.parametrize("harm", [flip, cut, changed_figure])
def test_a_damaged_ledger_object_is_named_alone_and_left_where_it_is(store, harm) -> None:
    (file,) = (store.path / "ledger").rglob("0*.json")
    harm(file)
    before = file.read_bytes()
    assert [(d.array, d.kind, d.granule) for d in verify_store(store.path)[1]] == [("ledger/quantify", "unreadable", 0)]
    assert file.read_bytes() == before


def test_columns_of_the_manifest_are_compared_with_it(store) -> None:
    expected = {"site": np.array(["A", "B"], dtype=object)}
    assert [(d.array, d.kind) for d in verify_store(store.path, expected=expected)[1]] == [("site", "changed")]


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
    found = find_orphans(store.path)
    assert {orphan.name: orphan.kind for orphan in found} == files
    assert remove_orphans(store.path, found) == 5
    assert {orphan.kind for orphan in find_orphans(store.path)} == {"unknown"}


def test_on_a_disk_and_on_s3_what_changed_since_the_seal_is_found_and_put_back(place) -> None:
    path = place / "cohort.zarr"
    store = Store.create(path, granule_studies=2)
    store.grow(["sa", "sb"])
    store.write_table({"label": np.array(["negative", "positive"], dtype=object)})
    store.consolidate()
    assert sealed_damages(path) == []
    before = {name: location.read(path / name)[0] for name in ("zarr.json", "age/zarr.json", "label/c.0")}
    location.write(path / "zarr.json", before["zarr.json"].replace(b"granule_studies", b"granule_studied"))
    location.write(path / "age/zarr.json", before["age/zarr.json"].replace(b"float64", b"float32"))
    location.write(path / "views/c.0", before["label/c.0"])
    location.remove(path / "label/c.0")
    kinds = {(damage.array, damage.kind) for damage in sealed_damages(path)}
    assert kinds == {
        ("zarr.json", "changed"), ("age/zarr.json", "changed"), ("views", "unrecorded"), ("label", "missing")
    }  # fmt: skip
    sealed = read_seal(path)
    assert sealed is not None
    put_back(path, sealed, differences(path, sealed))
    Store(path).consolidate()
    assert [(damage.array, damage.kind) for damage in sealed_damages(path)] == [("label", "missing")]
    assert {name: location.read(path / name)[0] for name in ("zarr.json", "age/zarr.json")} == {
        name: before[name] for name in ("zarr.json", "age/zarr.json")
    }
