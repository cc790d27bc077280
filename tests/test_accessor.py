"""`cohort.datbatch`: left is right in every view, nothing is read before it is needed, and no more than is needed."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray

from datbatch import open_cohort, schema
from datbatch.cohort.store import Store
from datbatch.errors import ModelError

matplotlib.use("Agg")
X, Y, Z = (schema.coordinates_mm(axis) for axis in range(3))


def left_only() -> np.ndarray:
    """A blob in the left half of MNI space, nothing elsewhere."""
    squared = (X[:, None, None] + 26) ** 2 + (Y[None, :, None] - 2) ** 2 + (Z[None, None, :] - 2) ** 2
    return np.exp(-squared / 200).astype(np.float32)


@pytest.fixture
def two_studies() -> xarray.DataTree:
    """Both patients have uptake on their own left alone; the second was mirrored when it was stored."""
    volumes = np.stack([left_only(), left_only()[::-1]])
    space = {"x": X, "y": Y, "z": Z}
    regions = np.zeros((2, len(schema.REGIONS)))
    # By region, ipsilateral first: the left putamen 3, the right one 1, whichever of them is ipsilateral.
    regions[0, :2], regions[1, :2] = (3, 1), (1, 3)
    root = xarray.Dataset(
        {
            "uptake": (("study", "x", "y", "z"), volumes),
            "mirrored": ("study", [False, True]),
            "specific_binding_ratio": (("study", "region"), regions),
        },
        coords={"study": ["s1", "s2"], "region": list(schema.REGIONS), **space},
    )
    model = xarray.Dataset(
        {"map": (("study", "x", "y", "z"), -volumes)},
        attrs={"card": '{"orientation": {"sign": -1.0}}', "created": "2026"},
    )
    return xarray.DataTree.from_dict({"/": root, "/relevance/one": model})


def marked_side_of_the_brightest(axes: Any) -> str:
    """Read the picture as a person does: the mark on the half of the drawn pixels that shows the blob."""
    figure = axes.figure
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba(), dtype=float)[..., :3].sum(axis=2)
    box = axes.get_window_extent()
    top, bottom = int(pixels.shape[0] - box.y1), int(pixels.shape[0] - box.y0)
    height, width = bottom - top, int(box.x1 - box.x0)
    # The corners hold the marks themselves, the rim the frame.
    inside = pixels[top + height // 4 : bottom - height // 20, int(box.x0) + width // 20 : int(box.x1) - width // 20]
    difference = np.abs(inside - np.median(inside))
    weight = (difference > difference.max() / 4).sum(axis=0)
    share = weight[: len(weight) // 2].sum() / weight.sum()
    assert not 0.2 < share < 0.8
    left, right = sorted((t for t in axes.texts if t.get_text()), key=lambda t: t.get_position()[0])
    return str((left if share > 0.5 else right).get_text())


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
@pytest.mark.parametrize("study", ["s1", 1])
@pytest.mark.parametrize("frame", ["as-acquired", "ipsilateral-left"])
def test_a_blob_on_the_left_is_drawn_on_the_side_marked_left(two_studies, study, frame, convention) -> None:
    drawn = two_studies.datbatch.plot(study, frame=frame, convention=convention, z_mm=[2.0])
    assert drawn.shape == (2, 1)
    for axes in drawn.ravel():
        assert "L" in marked_side_of_the_brightest(axes)
    plt.close("all")


def test_volumes_as_acquired_lie_on_the_patients_own_side(two_studies) -> None:
    acquired = two_studies.datbatch.as_acquired()
    for values in (acquired.uptake, acquired.relevance):
        for study in values.study:
            np.testing.assert_array_equal(values.sel(study=study), left_only())


def test_binding_by_the_patients_sides_and_by_the_diseases(two_studies) -> None:
    own = two_studies.datbatch.by_side(own=True).sel(structure="putamen")
    assert own.sel(side="left").values.tolist() == [3, 3]
    assert own.sel(side="right").values.tolist() == [1, 1]
    disease = two_studies.datbatch.by_side().sel(structure="putamen")
    assert disease.sel(side="ipsilateral").values.tolist() == [3, 1]
    assert disease.dims == ("study", "side")
    with pytest.raises(ValueError, match="region"):
        two_studies.datbatch.by_side("mirrored")


def test_positive_relevance_speaks_for_reduced_uptake_whatever_the_models_sign(two_studies) -> None:
    relevance = two_studies.datbatch.relevance()
    assert relevance.dtype == np.float32
    assert float(relevance.max()) == float(two_studies.uptake.max())


def test_what_is_not_there_is_refused_by_name(two_studies) -> None:
    with pytest.raises(ModelError, match="other"):
        two_studies.datbatch.relevance("other")
    with pytest.raises(ValueError, match="as-acquired"):
        two_studies.datbatch.uptake("upside-down")
    without = xarray.DataTree(two_studies.to_dataset())
    assert without.datbatch.newest_model is None
    assert set(without.datbatch.as_acquired()) == {"uptake"}
    with pytest.raises(ModelError, match="no explained model"):
        without.datbatch.joined()


def test_tables_by_region_and_joined_hold_the_stores_own_values(cohort) -> None:
    tree = open_cohort(cohort)
    group = tree["relevance"][tree.datbatch.newest_model]
    regions = tree.datbatch.by_region()
    np.testing.assert_array_equal(regions.specific_binding_ratio, tree.specific_binding_ratio)
    np.testing.assert_array_equal(regions.relevance_mean, group.regional.sel(statistic="mean"))
    assert len(regions.to_dataframe()) == len(tree.study) * len(schema.REGIONS)
    joined = tree.datbatch.joined()
    np.testing.assert_array_equal(joined.probability, group.probability)
    assert joined.relevance.chunks is not None
    assert set(schema.RELEVANCE_TABLE[1].dims) <= set(joined.dims)


def test_one_study_is_read_as_one_range_of_its_shard(cohort, monkeypatch) -> None:
    import zarr.storage._local as local

    tree = open_cohort(cohort)
    done = str(tree.study[(tree.status == "done").values].values[0])
    shard_bytes = max(path.stat().st_size for path in (cohort / "uptake").glob("c.*"))
    read: list[int] = []
    get = local._get

    def counted(path: Path, *arguments: Any) -> Any:
        found = get(path, *arguments)
        read.append(len(found.to_bytes()))
        return found

    lazy = tree.datbatch.uptake("as-acquired")
    monkeypatch.setattr(local, "_get", counted)
    view = lazy.sel(study=done, z=2.0)
    assert read == []
    view.compute(scheduler="synchronous")
    assert 0 < sum(read) < shard_bytes
    assert len(read) == 2, "the shard's index and the study's range"


def test_a_cohort_larger_than_a_workers_memory_is_reduced_on_a_cluster(tmp_path) -> None:
    from distributed import Client, LocalCluster

    studies, granule = 168, 24
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=granule)
    store.grow([f"s{number:03}" for number in range(studies)])
    site = np.asarray(["A" if number % 3 else "B" for number in range(studies)], dtype=object)
    store.write_table({"site": site, "mirrored": np.arange(studies) % 2 == 1})
    for number in range(studies // granule):
        level = np.arange(number * granule, (number + 1) * granule, dtype=np.float32)
        store.write_volumes("uptake", number, np.broadcast_to(level[:, None, None, None], (granule, *schema.SHAPE)))
    store.consolidate()
    memory_bytes = 400_000_000
    lazy = open_cohort(tmp_path / "cohort.zarr").datbatch.uptake()
    assert lazy.nbytes > memory_bytes
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            memory_limit=memory_bytes,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):
        # A worker that goes beyond its memory is ended by its nanny, and the reduction with it.
        mean = lazy.mean("study").compute()
        assert client.run(lambda dask_worker: dask_worker.nanny is not None)
    np.testing.assert_allclose(mean, (studies - 1) / 2, rtol=1e-5)
