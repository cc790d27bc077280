"""Tables say what the store says: each variable once, each value exact, each side the patient's own."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from datbatch import schema
from datbatch.errors import ConfigurationError, StoreError
from datbatch.export.table_contents import MODEL_TABLES, RANGE_TABLES, ROOT_TABLES
from datbatch.export.tables import to_csv, write_tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tree) -> Path:
    target = tmp_path_factory.mktemp("tables")
    write_tables(tree, target)
    return target


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])


@pytest.mark.parametrize(
    ("tables", "variables"),
    [
        (ROOT_TABLES, schema.STUDY_TABLE),
        (RANGE_TABLES, schema.NORMAL_RANGE_TABLE),
        (MODEL_TABLES, schema.RELEVANCE_TABLE),
    ],
)
def test_every_variable_of_the_registry_stands_in_one_table(tables, variables) -> None:
    assert sorted(one.name for table in tables for one in table.variables) == sorted(one.name for one in variables)
    for table in tables:
        assert table.stacked or len({one.dims for one in table.variables}) == 1


def test_values_come_back_exactly(folder, tree) -> None:
    binding = read(folder, "binding")
    ratio = binding[(binding.variable == "specific_binding_ratio") & (binding.region == "putamen_contralateral")]
    expected = tree.specific_binding_ratio.sel(region="putamen_contralateral").values
    np.testing.assert_array_equal(ratio.value.to_numpy(dtype=float), expected)
    relevance = read(folder, "relevance")
    one = relevance[(relevance.statistic == "hottest_mean") & (relevance.region == "putamen_ipsilateral")]
    at = schema.REGIONS.index("putamen_ipsilateral"), schema.STATISTICS.index("hottest_mean")
    np.testing.assert_array_equal(one.regional.to_numpy(dtype=float), tree["relevance/first"].regional.values[:, *at])
    assert set(one.model) == {"first"}
    pose = read(folder, "normalisation")
    np.testing.assert_array_equal(pose.template_to_study.to_numpy().reshape(-1, 4, 4), tree.template_to_study.values)


def test_sides_are_the_patients_own(folder) -> None:
    binding = read(folder, "binding")
    for study, ipsilateral, contralateral in (("sb01", "left", "right"), ("sb02", "right", "left")):
        rows = binding[(binding.study == study) & (binding.variable == "specific_binding_ratio")]
        sides = dict(zip(rows.region, rows.patient_side, strict=True))
        assert (sides["putamen_ipsilateral"], sides["putamen_contralateral"]) == (ipsilateral, contralateral)
        assert pd.isna(sides["thalamus"])


def test_a_study_without_result_has_no_figures(folder) -> None:
    studies = read(folder, "studies").set_index("study")
    assert studies.loc["sc01", "status"] == "excluded"
    for column in ("views", "mirrored", "missing_views", "counts"):
        assert pd.isna(studies.loc["sc01", column])
    assert studies.loc["sb01", "views"] == 120
    assert str(studies.loc["sb02", "mirrored"]).lower() == "true"
    binding = read(folder, "binding")
    assert binding[binding.study == "sc01"][["value", "patient_side"]].isna().all(axis=None)
    predicted = read(folder, "relevance_studies").set_index("study")
    assert pd.isna(predicted.loc["sc01", "inconsistent"])
    assert str(predicted.loc["sb06", "inconsistent"]).lower() == "true"


def test_the_dictionary_explains_every_column(folder) -> None:
    told = json.loads((folder / "dictionary.json").read_text())["tables"]
    files = sorted(path.name for path in folder.glob("*.csv"))
    assert sorted(told) == files
    for name in files:
        columns = (folder / name).read_text().partition("\n")[0].split(",")
        assert list(told[name]) == columns
        assert all(one["description"] for one in told[name].values())
    assert told["studies.csv"]["motion_mm"]["units"] == "mm"
    assert told["binding.csv"]["variable"]["values"]["asymmetry_index"]["units"] == "%"


def test_ages_that_point_to_a_person_are_capped(tmp_path, tree) -> None:
    ages = np.linspace(85.0, 101.0, tree.sizes["study"])
    write_tables(xr.DataTree(tree.to_dataset().assign(age=("study", ages))), tmp_path)
    np.testing.assert_array_equal(read(tmp_path, "studies").age, np.minimum(ages, 89.0))


def test_a_normal_range_of_earlier_tables_is_left_out_and_named(tmp_path, tree) -> None:
    shape = (tree.sizes["study"], len(schema.MEASURES))
    group = xr.Dataset({"z_score": (("study", "measure"), np.zeros(shape))}, attrs={"stale": True})
    both = {"/": tree.to_dataset(), f"/{schema.NORMAL_RANGE}": group}
    write_tables(xr.DataTree.from_dict(both), tmp_path / "stale")
    assert not (tmp_path / "stale" / "normal_range.csv").exists()
    assert "datbatch norms" in json.loads((tmp_path / "stale" / "dictionary.json").read_text())["left_out"][0]
    group.attrs["stale"] = False
    write_tables(xr.DataTree.from_dict(both), tmp_path / "fresh")
    rows = read(tmp_path / "fresh", "normal_range")
    assert len(rows) == np.prod(shape)
    mine = rows[(rows.study == "sb02") & (rows.measure == "hottest_voxels putamen_ipsilateral")]
    assert mine.patient_side.item() == "right"


def test_only_known_studies_can_be_asked_for(tmp_path, tree) -> None:
    write_tables(tree, tmp_path, studies=["sb02", "sc01"])
    assert list(read(tmp_path, "studies").study) == ["sb02", "sc01"]
    with pytest.raises(StoreError):
        write_tables(tree, tmp_path, studies=["nobody"])


def test_parquet_says_what_it_needs_or_holds_the_same(tmp_path, tree, folder) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(ConfigurationError, match="pyarrow"):
            write_tables(tree, tmp_path, kind="parquet")
        assert list(tmp_path.iterdir()) == []
        return
    write_tables(tree, tmp_path, kind="parquet")
    for path in tmp_path.glob("*.parquet"):
        assert to_csv(pd.read_parquet(path)) == (folder / f"{path.stem}.csv").read_bytes()
