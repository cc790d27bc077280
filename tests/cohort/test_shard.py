"""A shard is written as zarr would write it, whole or not at all."""

import numpy as np
import pytest
import zarr

from datbatch import location, schema
from datbatch.cohort.shard import Shard, volume_sha256, zarr_store
from datbatch.cohort.store import Store
from datbatch.errors import GridMismatchError, StoreError
from datbatch.location import Location

MAP = "relevance/m/map"


@pytest.fixture
def store(place: Location) -> Store:
    made = Store.create(place / "cohort.zarr", granule_studies=3)
    made.grow([f"s{number}" for number in range(5)])
    made.add_model("m", {})
    return made


@pytest.fixture(scope="module")
def volumes() -> np.ndarray:
    values = np.random.default_rng(1).normal(size=(5, *schema.SHAPE)).astype(np.float32)
    values[1] = np.nan
    values[3, :40] = 0.0
    values[4, 0, 0, 0] = np.nan
    return values


@pytest.mark.parametrize("name", [schema.UPTAKE.name, MAP])
def test_the_bytes_are_those_that_zarr_writes(store, volumes, name) -> None:
    zarr.open_array(zarr_store(store.path), path=name, mode="r+")[:] = volumes
    chunks = [store.path / name / f"c.{granule}.0.0.0" for granule in range(2)]
    by_zarr = [location.read(chunk)[0] for chunk in chunks]
    for chunk in chunks:
        location.remove(chunk)
    for granule, studies in enumerate(([0, 1, 2], [3, 4])):
        shard = store.shard(name, granule, len(studies))
        # In whatever order they come.
        for index, study in reversed(list(enumerate(studies))):
            assert shard.add(index, volumes[study]) == volume_sha256(volumes[study])
        shard.write()
    assert [location.read(chunk)[0] for chunk in chunks] == by_zarr


def test_a_shard_without_volumes_takes_no_file(store, volumes) -> None:
    chunk = store.path / schema.UPTAKE.name / "c.1.0.0.0"
    store.write_volumes(schema.UPTAKE.name, 1, volumes[3:])
    assert location.read(chunk)[1]
    store.shard(schema.UPTAKE.name, 1, 2).write()
    with pytest.raises(FileNotFoundError):
        location.read(chunk)
    assert np.isnan(store.volumes()[3]).all()


def test_what_cannot_be_written_leaves_nothing(tmp_path, volumes) -> None:
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=3)
    store.grow(["s0"])
    (tmp_path / "cohort.zarr" / "uptake" / "c.0.0.0.0").mkdir()
    before = location.names(store.path)
    with pytest.raises(OSError):
        store.write_volumes(schema.UPTAKE.name, 0, volumes[:1])
    assert location.names(store.path) == before


@pytest.mark.parametrize(
    "volume", [np.zeros((2, 3, 4), np.float32), np.zeros(schema.SHAPE, np.float64)], ids=["shape", "type"]
)
def test_a_volume_of_another_grid_or_type_is_refused(store, volume) -> None:
    with pytest.raises(GridMismatchError):
        store.shard(schema.UPTAKE.name, 0, 3).add(0, volume)


@pytest.mark.parametrize(
    "layout",
    [
        {"compressors": None, "shards": (3, 4, 4, 4)},
        {"shards": None},
        {"shards": (3, 4, 4, 8)},
        {"chunks": (1, 4, 4, 2), "shards": (3, 4, 4, 4)},
    ],
)
def test_an_array_that_is_laid_out_otherwise_is_refused(tmp_path, layout) -> None:
    usual = {"shape": (5, 4, 4, 4), "chunks": (1, 4, 4, 4), "dtype": "float32"}
    array = zarr.create_array(tmp_path / "a", **(usual | layout))
    with pytest.raises(StoreError, match="another way"):
        Shard(array, tmp_path / "a", 0)
