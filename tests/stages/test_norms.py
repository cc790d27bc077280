"""`datbatch norms` on a store of known tables: what is written, when it is fitted again, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

from datbatch import schema
from datbatch.classifier import assign_split
from datbatch.classifier.folder import NORMAL_RANGE_FILE
from datbatch.cli import main
from datbatch.cohort.facts import Facts
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, models_path
from datbatch.config import Config, NormsConfig
from datbatch.errors import DONE, NormalRangeError, Outcome, StoreError, TrainingDataError
from datbatch.norms import KeptRange, measures, read_recovery, reconstruction_class
from datbatch.stages.norms import fit_norms, mark_norms
from datbatch.stages.repair import repair_cohort, verify_cohort

STUDIES, FEW, FAILED, AGELESS, ODD = 160, 2, 3, 4, 1
"""How many there are; a study of a site with few, one without result, one without age, one of another pixel size."""
SHIFT = {"A": 0.0, "B": 0.4, "C": -0.3, "": 0.0, "two": 0.0}


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three sites that differ, one site with two studies, one study without result and one without age."""
    path = tmp_path / "cohort.zarr"
    store = Store.create(path, granule_studies=32)
    studies = [f"s{index:03d}" for index in range(STUDIES)]
    store.grow(studies)
    rng = np.random.default_rng(0)
    site = np.array(["A", "B", "C"], dtype=object)[np.arange(STUDIES) % 3]
    site[FEW] = "two"
    positive = rng.random(STUDIES) < 0.5
    positive[ODD] = True
    age, male = rng.normal(66, 10, STUDIES), rng.random(STUDIES) < 0.5
    value = 2.4 - 0.012 * (age - 66) - 0.05 * male - 1.2 * positive + rng.normal(0, 0.15, STUDIES)
    value = value + np.array([SHIFT[name] for name in site])
    age[AGELESS] = np.nan
    status = np.full(STUDIES, schema.DONE, dtype=object)
    status[FAILED] = schema.FAILED

    def filled(name: str) -> np.ndarray:
        shape = (STUDIES, *store.read_table(name).shape[1:])
        return np.broadcast_to(value.reshape(-1, *[1] * (len(shape) - 1)), shape) + rng.normal(0, 0.05, shape)

    store.write_table(
        {
            "site": site,
            "scanner": np.array([f"Maker {name}" for name in site], dtype=object),
            "pixel_size_mm": np.where(np.arange(STUDIES) == ODD, 2.2, 3.3),
            "sex": np.where(male, "M", "F").astype(object),
            "age": age,
            "label": np.where(positive, schema.POSITIVE, schema.NEGATIVE).astype(object),
            "status": status,
            **{name: filled(name) for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")},
        }
    )
    store.set_attributes({"stages": {"quantify": {"digest": "d"}}})
    Ledger(path).commit(
        GranuleKey("quantify", "d", 0, "m"), [Row(s, Outcome(state)) for s, state in zip(studies, status, strict=True)]
    )
    store.consolidate()
    # No row tells these tables.
    Facts(path).begin(variable.name for variable in schema.STUDY_TABLE if variable.is_folded)
    return path


def group(cohort: Path) -> xarray.Dataset:
    return xarray.open_datatree(cohort, engine="zarr")["normal_range"].to_dataset()


def test_the_group_opens_with_xarray_alone_names_its_measures_and_its_harmonised_sites_agree(cohort) -> None:
    summary = fit_norms(cohort, Config())
    tree = xarray.open_datatree(cohort, engine="zarr")
    found = tree["normal_range"].to_dataset()
    assert found.z_score.dims == ("study", "measure")
    headline = found.sel(measure=schema.MAIN_MEASURE)
    assert float(headline.z_score.sel(study="s000")) == pytest.approx(
        (float(tree.binding_ratio[0, 0, 0, 0]) - float(headline.expected[0]))
        / (float(headline.upper[0] - headline.expected[0]) / 1.9990),
        rel=0.02,
    )
    normal = ((tree.label == "negative") & (tree.status == "done") & (found.split != "train")).values
    assert 0.88 < (np.abs(headline.z_score.values[normal]) < 2).mean() <= 1
    assert headline.z_score.values[(tree.label == "positive").values & (found.split != "").values].mean() < -4
    assert summary.outside["positive"][0] > 0.9 * summary.outside["positive"][1]
    assert summary.outside["negative"][0] < 0.15 * summary.outside["negative"][1]
    assert summary.headline["site_effect"]["B"] - summary.headline["site_effect"]["C"] == pytest.approx(0.7, abs=0.15)
    json.loads(tree["normal_range"].attrs["fit"])
    normal = ((tree.label == "negative") & (tree.status == "done") & (tree.site != "two")).values
    raw = tree.to_dataset().binding_ratio[normal, 0, 0, 0]
    assert float(raw.groupby("site").mean().std()) > 0.2
    assert float(headline.harmonised[normal].groupby(tree.site[normal]).mean().std()) < 0.06


def test_what_limits_a_comparison_is_flagged_and_a_failed_study_has_no_numbers(cohort) -> None:
    summary = fit_norms(cohort, Config())
    found = group(cohort)
    warnings = [set(str(codes).split()) for codes in found.warnings.values]
    assert "site-not-harmonised" in warnings[FEW]
    assert warnings[FEW] & {"site-without-normals", "site-few-normals"}
    assert "age-missing" in warnings[AGELESS]
    assert "class-without-normals" in warnings[ODD]
    assert warnings[FAILED] == set()
    for name in ("z_score", "expected", "lower", "upper", "harmonised", "recovered"):
        assert np.isnan(found[name].values[FAILED]).all()
    assert np.isfinite(found.z_score.values[AGELESS]).all()
    np.testing.assert_array_equal(
        found.harmonised.sel(measure=schema.MAIN_MEASURE).values[FEW],
        Store(cohort).read_table("binding_ratio")[FEW, 0, 0, 0],
    )
    assert summary.warnings["age-missing"] == 1
    assert "recovery-missing" not in summary.warnings


def test_the_training_split_is_that_of_the_classifier_and_no_value_outside_changes_the_fit(cohort) -> None:
    fit_norms(cohort, Config())
    before, store = group(cohort).load(), Store(cohort)
    labels = store.read_table("label")
    labels[FAILED] = ""
    split = assign_split(store.read_table("sex"), labels, store.read_table("age"), Config().split)
    np.testing.assert_array_equal(before.split.values, split)
    outside = before.split.values != "train"
    for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio"):
        values = store.read_table(name)
        values[outside] *= 3
        store.write_table({name: values})
    assert fit_norms(cohort, Config()).fitted
    after = group(cohort)
    np.testing.assert_array_equal(after.expected, before.expected)
    np.testing.assert_array_equal(after.z_score[~outside], before.z_score[~outside])
    np.testing.assert_array_equal(after.harmonised[~outside], before.harmonised[~outside])


def test_a_second_call_computes_nothing_until_something_changes(cohort, tmp_path) -> None:
    first = fit_norms(cohort, Config())
    again = fit_norms(cohort, Config())
    assert (first.fitted, again.fitted) == (True, False)
    assert again.headline == first.headline
    assert again.outside == first.outside
    assert fit_norms(cohort, Config(norms=NormsConfig(use_age=False))).terms == ("intercept", "male_less_female")
    assert fit_norms(cohort, Config()).fitted
    table = tmp_path / "Mr Smith.csv"
    table.write_text("site,definition,recovery\nA,hottest_voxels,0.5\n")
    changed = Config(norms=NormsConfig(recovery=str(table)))
    assert fit_norms(cohort, changed).fitted
    assert not fit_norms(cohort, changed).fitted
    table.write_text("site,definition,recovery\nA,hottest_voxels,0.6\n")
    assert fit_norms(cohort, changed).fitted


def test_recovery_is_applied_and_its_path_enters_nothing(cohort, tmp_path) -> None:
    table = tmp_path / "Mr Smith.csv"
    table.write_text("site,definition,recovery\nA,hottest_voxels,0.5\n")
    fit_norms(cohort, Config(norms=NormsConfig(recovery=str(table))))
    found, raw = group(cohort), Store(cohort).read_table("binding_ratio")
    recovered = found.recovered.sel(measure=schema.MAIN_MEASURE).values
    site = Store(cohort).read_table("site")
    np.testing.assert_allclose(recovered[site == "A"][2:], 2 * raw[site == "A", 0, 0, 0][2:])
    assert np.isnan(recovered[site == "B"]).all()
    assert "recovery-missing" in str(found.warnings.values[1])
    assert not [p for p in cohort.rglob("*") if p.is_file() and b"Smith" in p.read_bytes()]
    assert read_recovery(table).digest in json.dumps(found.attrs)


def test_changed_tables_make_the_normal_range_stale_until_it_is_fitted_again(cohort) -> None:
    fit_norms(cohort, Config())
    store = Store(cohort)
    mark_norms(store)
    assert store.group_attributes("normal_range")["stale"] is False
    ages = store.read_table("age")
    store.write_table({"age": ages + 1})
    mark_norms(store)
    assert store.group_attributes("normal_range")["stale"] is True
    fit_norms(cohort, Config())
    assert store.group_attributes("normal_range")["stale"] is False


def test_the_group_grows_with_the_store(cohort) -> None:
    fit_norms(cohort, Config())
    store = Store(cohort)
    store.grow([*store.studies, "new"])
    store.consolidate()
    assert group(cohort).sizes["study"] == STUDIES + 1
    assert np.isnan(group(cohort).z_score.values[-1]).all()


def test_a_damaged_normal_range_is_fitted_again_to_the_same_bytes_though_others_cannot_be_mended(cohort) -> None:
    fit_norms(cohort, Config())
    chunks = sorted((cohort / schema.NORMAL_RANGE).glob("*/c.*"))
    before = {chunk: chunk.read_bytes() for chunk in chunks}
    lost = Row("s032", DONE, sha256={"uptake": "0a"})
    Ledger(cohort).commit(GranuleKey("quantify", "d", 1, "m"), [lost])
    for chunk in chunks:
        chunk.write_bytes(before[chunk][:-1])
    unmended = repair_cohort(cohort, quiet=True).unmended
    assert {chunk: chunk.read_bytes() for chunk in chunks} == before
    # The lost volume is of no archive.
    assert [command.split()[1] for command in unmended] == ["run"]
    assert "origin" in next(iter(unmended.values()))


def test_a_normal_range_with_recovery_factors_names_the_command_that_fits_it_again(cohort, tmp_path) -> None:
    table = tmp_path / "recovery.csv"
    table.write_text("scanner,definition,recovery\nMaker A,large_volume,0.8\n")
    fit_norms(cohort, Config(norms=NormsConfig(recovery=str(table))))
    next((cohort / schema.NORMAL_RANGE / "recovered").glob("c.*")).unlink()
    unmended = repair_cohort(cohort, quiet=True).unmended
    assert f"datbatch norms {cohort}" in unmended
    assert "normal_range/recovered" in {damage.array for damage in verify_cohort(cohort, quiet=True).damages}


def test_a_half_made_group_is_made_again(cohort) -> None:
    store = Store(cohort)
    store._root.create_group("normal_range")
    assert not store.has_normal_range
    store.grow(store.studies)
    assert fit_norms(cohort, Config()).fitted
    assert np.isfinite(group(cohort).z_score.values[0]).all()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda store: store.write_table({"label": np.full(STUDIES, "", dtype=object)}), TrainingDataError),
        (lambda store: store.write_table({"age": np.full(STUDIES, np.nan)}), NormalRangeError),
        (lambda store: store.set_attributes({"stages": {}}), StoreError),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(cohort, change, error) -> None:
    change(Store(cohort))
    with pytest.raises(error):
        fit_norms(cohort, Config())
    assert not Store(cohort).has_normal_range


def test_the_command_says_what_was_fitted_and_shows_how_far_it_is_unless_told_to_be_quiet(cohort, capsys) -> None:
    assert main(["norms", str(cohort)]) == 0
    said, progress = capsys.readouterr()
    assert "norms       3/3 parts" in progress
    for words in ("age_per_decade", "male_less_female", "site B", "negative", "age-missing", "Next: "):
        assert words in said
    assert main(["norms", str(cohort), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fitted"] is False
    assert main(["status", str(cohort)]) == 0
    assert "normal range" in capsys.readouterr().out
    assert main(["norms", str(cohort), "--quiet"]) == 0
    assert not capsys.readouterr().err


def test_the_command_names_what_is_missing(cohort, tmp_path, capsys) -> None:
    Store(cohort).write_table({"age": np.full(STUDIES, np.nan)})
    assert main(["norms", str(cohort), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["error"] == "normals-insufficient"
    assert "norms.use_age" in shown["remedy"]
    (tmp_path / "c.toml").write_text("[norms]\nuse_age = false\n")
    assert main(["norms", str(cohort), "--config", str(tmp_path / "c.toml"), "--json"]) == 0


def test_the_kept_fit_says_what_the_store_says(cohort) -> None:
    fit_norms(cohort, Config())
    path = models_path(cohort) / NORMAL_RANGE_FILE
    kept = KeptRange.from_json(path.read_text())
    store = Store(cohort)
    values = measures(
        *(store.read_table(name) for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio"))
    )
    tables = {name: store.read_table(name) for name in ("age", "sex", "site", "scanner", "pixel_size_mm")}
    stored = {name: store.read_table(name, schema.NORMAL_RANGE) for name in ("z_score", "lower", "warnings")}
    for study in (0, FEW, AGELESS, ODD, 50):
        age = float(tables["age"][study])
        found, warnings = kept.compare(
            values[study], age_years=None if np.isnan(age) else age, sex=str(tables["sex"][study]),
            site=str(tables["site"][study]),
            kind=str(reconstruction_class(tables["scanner"][[study]].astype(str), tables["pixel_size_mm"][[study]])[0]),
        )  # fmt: skip
        np.testing.assert_allclose(found.z[0], stored["z_score"][study], rtol=1e-12)
        np.testing.assert_allclose(found.lower[0], stored["lower"][study], rtol=1e-12)
        assert set(warnings) <= set(str(stored["warnings"][study]).split())
    path.unlink()
    assert fit_norms(cohort, Config()).fitted, "a fit that is nowhere kept is made again"
    assert path.exists()


def test_the_range_is_of_one_source_warns_of_the_other_and_serves_a_store_of_tomograms_alone(cohort) -> None:
    store = Store(cohort)
    labels = store.read_table("label").astype(str)
    imported = (np.arange(STUDIES) % 10 == 0) & (store.read_table("status").astype(str) == schema.DONE)
    before = store.read_table("binding_ratio")
    # A reconstruction that doubles binding must not make the normal range wider.
    changed = np.where(imported[:, None, None, None], 2.0 * before, before)
    plain = fit_norms(cohort, Config())
    source = np.where(imported, schema.TOMOGRAM, schema.PROJECTIONS).astype(object)
    store.write_table({"source": source, "binding_ratio": changed})
    fitted = fit_norms(cohort, Config())
    assert 0 < plain.normals - fitted.normals <= imported[labels == schema.NEGATIVE].sum()
    assert fitted.headline["residual_sd"] < 1.2 * plain.headline["residual_sd"]
    warnings = Store(cohort).read_table("warnings", schema.NORMAL_RANGE).astype(str)
    assert all("class-without-normals" in text for text in warnings[imported])
    assert all(
        "class-without-normals" not in text for text in np.delete(warnings, [ODD, FEW, *np.flatnonzero(imported)])
    )
    store.write_table({"source": np.full(STUDIES, schema.TOMOGRAM, dtype=object)})
    assert fit_norms(cohort, Config()).normals > 10
    warnings = store.read_table("warnings", schema.NORMAL_RANGE).astype(str)
    assert sum("class-without-normals" in text for text in warnings) <= 2
