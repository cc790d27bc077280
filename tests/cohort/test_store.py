"""The store: opens with xarray alone, keeps what is written, and says when bytes are not the written ones."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import xarray

from datbatch import location, schema
from datbatch.cohort.facts import values_sha256
from datbatch.cohort.shard import volume_sha256
from datbatch.cohort.store import Store
from datbatch.cohort.verify import verify_store
from datbatch.cohort.views.query import as_acquired, open_cohort
from datbatch.errors import CorruptStoreError, GridMismatchError, StoreError
from datbatch.location import Location, S3Location
from tests.pipeline import flip

STUDIES = ["sa", "sb", "sc"]


@pytest.fixture(scope="module")
def volumes() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(3, *schema.SHAPE)).astype(np.float32)
    values[1] = np.nan
    return values


@pytest.fixture
def store(place: Location, volumes: np.ndarray) -> Store:
    made = Store.create(place / "cohort.zarr", granule_studies=2)
    made.grow(STUDIES)
    made.write_volumes("uptake", 0, volumes[:2])
    made.write_volumes("uptake", 1, volumes[2:])
    made.write_table({"site": np.array(["A", "B", "A"], dtype=object), "mirrored": np.array([True, False, False])})
    made.consolidate()
    return made


def test_xarray_alone_opens_the_store_with_coordinates_in_millimetres(store, volumes) -> None:
    opened = repr(str(store.path))
    if isinstance(store.path, S3Location):
        opened = (
            f"__import__('zarr').storage.ObjectStore(__import__('obstore').store.S3Store({store.path.bucket!r}, "
            f"prefix={store.path.key!r}, client_options={{'allow_http': True}}), read_only=True)"
        )
    program = (
        "import sys, warnings; warnings.simplefilter('error'); import xarray;"
        f"t = xarray.open_datatree({opened}, engine='zarr');"
        "v = t.uptake.sel(study='sc').sel(x=-26, y=4, z=2, method='nearest');"
        "print([str(d) for d in t.uptake.dims], float(v), int(t.uptake.groupby('site').count().sum()));"
        "assert 'datbatch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(
        "]"
    )
    assert json.loads(shown[0].replace("'", '"') + "]") == ["study", "x", "y", "z"]
    value, count = shown[1].split()
    assert float(value) == volumes[2, 32, 65, 23]
    assert int(count) == 2 * np.prod(schema.SHAPE)


def test_what_is_written_reads_back_bit_by_bit(store, volumes) -> None:
    reader = pickle.loads(pickle.dumps(store.volumes()))
    assert len(reader) == 3
    for index in range(3):
        np.testing.assert_array_equal(reader[index], volumes[index])


def test_binding_ratios_are_chosen_by_the_names_of_their_dimensions(store) -> None:
    shape = (len(STUDIES), len(schema.DEFINITIONS), len(schema.BACKGROUNDS), len(schema.STRIATAL))
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    store.write_table({"binding_ratio": values})
    cohort = open_cohort(store.path)
    name = "striatum_contralateral"
    chosen = cohort.binding_ratio.sel(definition="large_volume", background="occipital", striatal=name, study="sb")
    assert float(chosen) == values[1, 2, 1, schema.STRIATAL.index(name)]
    for dimension, labels in schema.BINDING_LABELS.items():
        assert tuple(cohort[dimension].values) == labels
    assert cohort.asymmetry_index.dims == ("study", "definition", "structure")
    assert cohort.putamen_to_caudate_ratio.dims == ("study", "definition", "side")
    assert np.isnan(cohort.asymmetry_index.sel(structure="putamen")).all()
    assert "quantification_flags" in cohort.coords


def test_the_hash_of_a_study_without_result_is_empty_and_a_granule_must_fill_its_shard(store, volumes) -> None:
    assert store.write_volumes("uptake", 0, volumes[:2]) == [volume_sha256(volumes[0]), ""]
    with pytest.raises(GridMismatchError):
        store.write_volumes("uptake", 0, volumes[:1])


def test_a_grown_store_keeps_its_studies_and_pads_with_pending(store, volumes) -> None:
    store.add_model("m", {"created": "now"})
    store.grow([*STUDIES, "sd"])
    assert store.studies == [*STUDIES, "sd"]
    np.testing.assert_array_equal(store.volumes()[2], volumes[2])
    assert np.isnan(store.volumes()[3]).all()
    assert store.read_table("regional", "relevance/m").shape == (4, len(schema.REGIONS), len(schema.STATISTICS))
    assert [str(s) for s in store.read_table("site")] == ["A", "B", "A", ""]


def test_the_detectors_angles_are_coordinates(store) -> None:
    counts = np.full((3, len(schema.ANGLES_DEG)), np.nan, dtype=np.float32)
    counts[1, 15] = 7.0
    store.write_table({"counts_by_angle": counts})
    cohort = open_cohort(store.path)
    assert float(cohort.counts_by_angle.sel(study="sb").sel(angle=92.0, method="nearest")) == 7.0
    assert cohort.angle.attrs["units"] == "degrees"
    assert schema.ANGLES_DEG[0] == 3.0
    assert schema.ANGLES_DEG[-1] == 357.0


def test_growing_never_changes_the_order_of_studies_and_completes_what_a_kill_left_half_done(store) -> None:
    with pytest.raises(StoreError, match="order"):
        store.grow(["sb", "sa", "sc"])
    # The names come last: here only they are missing.
    store._array("site").resize((5,))
    store._array("uptake").resize((5, *schema.SHAPE))
    store.grow([*STUDIES, "sd", "se"])
    assert Store(store.path).studies == [*STUDIES, "sd", "se"]


@pytest.mark.parametrize("part", [0.1, 0.4, 0.75, None])
def test_a_flipped_bit_and_a_cut_shard_are_found_on_reading(store, part) -> None:
    shard = store.path / "uptake" / "c.1.0.0.0"
    if part is None:
        location.write(shard, location.read(shard)[0][:-100])
    else:
        flip(shard, part)
    with pytest.raises(CorruptStoreError):
        store.volumes()[2]


def test_an_image_of_the_whole_cohort_is_replaced_only_by_another_and_named_when_missing_or_damaged(
    store, volumes
) -> None:
    with pytest.raises(StoreError, match="no array template"):
        store.read_image(schema.TEMPLATE)
    store.write_image(schema.TEMPLATE, volumes[0], {"digest": "a"})
    store.write_image(schema.TEMPLATE, volumes[2], {"digest": "a"})
    np.testing.assert_array_equal(store.read_image(schema.TEMPLATE), volumes[0])
    store.write_image(schema.TEMPLATE, volumes[2], {"digest": "b"})
    np.testing.assert_array_equal(store.read_image(schema.TEMPLATE), volumes[2])
    store.consolidate()
    assert open_cohort(store.path).template.dims == ("x", "y", "z")
    folder = store.path / "template"
    (chunk,) = (folder / name for name in location.names(folder) if name.startswith("c"))
    flip(chunk)
    with pytest.raises(CorruptStoreError, match="template"):
        store.read_image(schema.TEMPLATE)


def test_an_image_whose_writer_was_killed_is_written_again_whatever_command_comes_between(store, volumes) -> None:
    store.write_image(schema.TEMPLATE, volumes[0], {"digest": "a"})
    store.consolidate()
    # Killed here: the ledger has the new image, the array still shows the old one, without its digest.
    store.begin([schema.TEMPLATE.name])
    store.tell(schema.TEMPLATE.name, {"attributes": {"digest": "b"}, "sha256": values_sha256(volumes[2])})
    store._array(schema.TEMPLATE.name).attrs.pop("digest")
    Store(store.path).consolidate()
    assert schema.TEMPLATE.name not in {damage.array for damage in verify_store(store.path).damages}
    again = Store(store.path)
    again.write_image(schema.TEMPLATE, volumes[2], {"digest": "b"})
    again.consolidate()
    np.testing.assert_array_equal(again.read_image(schema.TEMPLATE), volumes[2])
    assert schema.TEMPLATE.name not in {damage.array for damage in verify_store(store.path).damages}


def test_a_view_gives_mirrored_studies_back_as_acquired(store, volumes) -> None:
    cohort = open_cohort(store.path)
    seen = as_acquired(cohort.uptake, cohort.mirrored)
    np.testing.assert_array_equal(seen.sel(study="sa").values, volumes[0, ::-1])
    np.testing.assert_array_equal(seen.sel(study="sc").values, volumes[2])
    xarray.testing.assert_equal(seen.x, cohort.uptake.x)


def test_the_relevance_group_inherits_the_grid_and_the_names_of_regions(store) -> None:
    store.add_model("m", {"created": "now"})
    store.consolidate()
    group = open_cohort(store.path)["relevance/m"].to_dataset()
    assert list(group.regional.region.values) == list(schema.REGIONS)
    assert float(group["map"].x[0]) == schema.ORIGIN_MM[0]
    assert group.regional.sel(region="putamen_ipsilateral", statistic="mean").shape == (3,)


@pytest.mark.parametrize("content", ["nothing", "folder", "other zarr"])
def test_what_is_no_cohort_store_is_refused_by_name(tmp_path, content) -> None:
    path = tmp_path / "x.zarr"
    if content != "nothing":
        path.mkdir()
    if content == "other zarr":
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(StoreError):
        Store(path)
