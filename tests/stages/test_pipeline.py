"""The whole method on a small archive: what is in the store, what a second run does, what a change re-runs."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray

from datbatch import schema
from datbatch.archive import read_linkage
from datbatch.archive.origin import manifest_path, origin_path
from datbatch.archive.scanning import scan_cache_path
from datbatch.cohort.store import Store, key_path, linkage_path, models_path
from datbatch.cohort.views.arrays import orientation
from datbatch.cohort.views.query import open_cohort
from datbatch.config import QuantifyConfig, canonical_json
from datbatch.imaging import normal_side_ratio
from datbatch.stages.repair import repair_cohort, verify_cohort
from tests.pipeline import STUDIES, assert_same_content, call_command, copy_studies, imaging_content, write_config


def ledger_times(cohort: Path) -> dict[str, int]:
    return {str(p.relative_to(cohort)): p.stat().st_mtime_ns for p in (cohort / "ledger").rglob("0*.json")}


def test_every_study_of_the_archive_has_a_row_and_a_known_outcome_and_the_split_covers_the_labelled_ones(
    cohort,
) -> None:
    tree = open_cohort(cohort)
    assert set(tree.status.values) <= {schema.DONE, schema.FAILED, schema.EXCLUDED}
    assert tree.sizes["study"] >= STUDIES - 1
    done = (tree.status == schema.DONE).values
    assert done.sum() >= 6
    for index in range(tree.sizes["study"]):
        volume = tree.uptake[index].values
        assert np.isfinite(volume).all() if done[index] else np.isnan(volume).all()
        assert bool(tree.error_code.values[index]) != done[index]
    usable = done & (tree.label != "").values
    assert set(tree.split.values[usable]) == {"train", "validation", "test"}
    assert set(tree.split.values[~usable]) <= {""}


def test_uptake_is_scaled_its_lower_side_lies_left_and_every_definition_of_binding_tells_the_classes_apart(
    cohort,
) -> None:
    tree = open_cohort(cohort)
    done = tree.to_dataset().sel(study=tree.study[(tree.status == schema.DONE).values])
    binding = done.specific_binding_ratio
    lower, higher = (binding.sel(region=f"putamen_{side}").values for side in schema.SIDES)
    # In proportion to what is normal for the sides that they are of.
    right_over_left = normal_side_ratio(np.asarray(tree.template), QuantifyConfig())
    normal = np.where(done.mirrored, 1 / right_over_left, right_over_left)
    assert (higher >= normal * lower).all()
    assert abs(right_over_left - 1) < 0.05
    assert np.abs(binding.sel(region="reference").values).max() < 0.5
    negative = (done.label == "negative").values
    assert lower[negative].mean() > lower[~negative].mean() + 0.3
    for definition in schema.DEFINITIONS:
        ratio = done.binding_ratio.sel(definition=definition, striatal="striatum_ipsilateral")
        for background in schema.BACKGROUNDS:
            values = ratio.sel(background=background).values
            assert np.nanmean(values[negative]) > np.nanmean(values[~negative])
    paper = done.binding_ratio.sel(definition="hottest_voxels", background="reference", striatal="putamen_ipsilateral")
    np.testing.assert_array_equal(paper.values, done.specific_binding_ratio.sel(region="putamen_ipsilateral").values)
    for flags in done.quantification_flags.values:
        assert set(flags.split()) <= set(schema.QUANTIFICATION_FLAGS)


def test_the_quality_of_the_projections_stands_beside_each_study(cohort) -> None:
    tree = open_cohort(cohort)
    done = tree.dataset.isel(study=(tree.status == schema.DONE).values)
    by_angle = done.counts_by_angle.values
    assert np.isfinite(by_angle).all()
    np.testing.assert_allclose(2.0 * by_angle.sum(axis=1), done.counts.values, rtol=1e-6)
    assert (done.missing_views == 0).all()
    assert (done.repeated_views == 0).all()
    assert (done.motion_mm < 1.0).all()
    assert (abs(done.centre_of_rotation_mm) < 0.5).all()
    assert set(done.injected_activity_mbq.values) == {185.0}
    assert np.isnan(done.radius_mm.values[done.site == "C"]).all()
    assert (done.radius_mm.values[done.site == "A"] > 120.0).all()
    flagged = " ".join(done.flags.values).split()
    assert {"motion", "views-missing", "centre-of-rotation", "count-jump"}.isdisjoint(flagged)


def test_relevance_stands_beside_uptake_on_the_same_grid(cohort) -> None:
    tree = xarray.open_datatree(cohort, engine="zarr")
    (model,) = tree["relevance"].children
    group = tree[f"relevance/{model}"].to_dataset()
    done = (tree.status == schema.DONE).values
    assert group["map"].dims == ("study", "x", "y", "z")
    assert group.regional.dims == ("study", "region", "statistic")
    assert np.isfinite(group.probability.values[done]).all()
    assert np.isnan(group.probability.values[~done]).all()
    np.testing.assert_allclose(
        group.probability.values[done], 1 / (1 + np.exp(-group.log_odds.values[done])), rtol=1e-5
    )
    index = int(np.flatnonzero(done)[0])
    volume = group["map"][index]
    whole = group.regional[index].sel(region="whole_brain")
    there = {axis: float(whole.sel(statistic=f"maximum_{axis}")) for axis in "xyz"}
    # Stored volumes are rounded to 12 bits, the table is not.
    assert float(volume.sel(there)) == pytest.approx(float(whole.sel(statistic="maximum")), rel=2**-12)


def test_a_second_run_computes_nothing(own_cohort, archive) -> None:
    config = ("--config", own_cohort.parent / "config.toml")
    before, content = ledger_times(own_cohort), imaging_content(own_cohort)
    assert call_command("run", archive, own_cohort, *config, expect=3)["processed"] == 0
    assert call_command("train", own_cohort, *config)["trained"] is False
    assert call_command("explain", own_cohort, *config)["processed"] == 0
    assert ledger_times(own_cohort) == before
    assert_same_content(imaging_content(own_cohort), content)


@pytest.mark.parametrize(
    ("section", "key", "value", "again"),
    [
        ("quantify", "reference_percentile", 60.0, {"quantify", "train", "explain"}),
        ("register", "smoothing_fwhm_mm", 9.0, {"register", "quantify", "train", "explain"}),
        ("reconstruct", "cutoff_per_cm", 1.0, {"reconstruct", "register", "quantify", "train", "explain"}),
        ("train", "epochs", 9, {"train", "explain"}),
        ("explain", "target", "log_odds", {"explain"}),
    ],
)
def test_a_changed_parameter_runs_its_stage_again_and_what_depends_on_it(
    own_cohort, archive, tmp_path, section, key, value, again
) -> None:
    config = write_config(own_cohort.parent / "changed.toml", **{section: {key: value}})
    plan = call_command("plan", "--no-cost", archive, own_cohort, "--config", config)
    assert {stage["name"] for stage in plan["stages"] if stage["studies"]} == again
    for stage in plan["stages"]:
        if stage["name"] == section:
            assert f"{key}: " in stage["reason"]
            assert f"-> {value}" in stage["reason"]
        elif stage["name"] in again:
            assert "changes" in stage["reason"]
        else:
            assert stage["reason"] == "up to date"
    if section != "quantify":
        return
    before = ledger_times(own_cohort)
    call_command("run", archive, own_cohort, "--config", config, "--workers", 1, expect=3)
    after = ledger_times(own_cohort)
    kept = {name for name in before if after.get(name) == before[name]}
    assert {name.split("/")[1] for name in before.keys() - kept} == {"quantify"}
    planned = call_command("plan", "--no-cost", archive, own_cohort, "--config", config)["stages"]
    assert [stage["reason"] for stage in planned[:3]] == ["up to date"] * 3
    assert planned[3]["reason"] == "the studies, their labels or their uptake changed"
    assert "earlier uptake" in call_command("status", own_cohort)["models"][0]
    # The numbers are those of a store that never had another parameter.
    fresh = tmp_path / "fresh.zarr"
    shutil.copy(key_path(own_cohort), key_path(fresh))
    call_command("run", archive, fresh, "--config", config, "--workers", 1, expect=3)
    assert_same_content(imaging_content(own_cohort), imaging_content(fresh))


def test_another_limit_changes_flags_and_nothing_else(own_cohort, archive, tmp_path) -> None:
    before, times = imaging_content(own_cohort), ledger_times(own_cohort)
    config = write_config(tmp_path / "limits.toml", quality={"motion_limit_mm": 0.1, "minimum_counts": 1e12})
    planned = call_command("plan", archive, own_cohort, "--config", config, "--no-cost")
    assert {stage["studies"] for stage in planned["stages"]} == {0}
    assert "flags alone change: minimum_counts" in planned["stages"][0]["reason"]
    assert call_command("run", archive, own_cohort, "--config", config, expect=3)["processed"] == 0
    after = imaging_content(own_cohort)
    assert_same_content(after | {"flags": before["flags"]}, before)
    done = after["status"] == schema.DONE
    flags = [set(text.split()) for text in after["flags"]]
    assert all("low-counts" in codes for codes, is_done in zip(flags, done, strict=True) if is_done)
    assert [index for index, codes in enumerate(flags) if "motion" in codes] == list(
        np.flatnonzero(after["motion_mm"] > 0.1)
    )
    assert ledger_times(own_cohort) == times
    (model,) = Store(own_cohort).models
    assert Store(own_cohort).model_attributes(model)["stale"] is False
    assert call_command("verify", own_cohort)["damages"] == []
    call_command("run", archive, own_cohort, "--config", own_cohort.parent / "config.toml", expect=3)
    assert_same_content(imaging_content(own_cohort), before)


def test_another_start_of_relevance_explains_again_without_training(own_cohort) -> None:
    config = write_config(own_cohort.parent / "changed.toml", explain={"target": "log_odds"})
    before = xarray.open_datatree(own_cohort, engine="zarr").load()
    assert call_command("train", own_cohort, "--config", config)["trained"] is False
    answer = call_command("explain", own_cohort, "--config", config, "--workers", 1)
    assert answer["processed"] == answer["done"] > 0
    after = xarray.open_datatree(own_cohort, engine="zarr")[f"relevance/{answer['model']}"]
    xarray.testing.assert_equal(after.probability, before[f"relevance/{answer['model']}"].probability)
    assert not after["map"].equals(before[f"relevance/{answer['model']}"]["map"])
    # The sign belongs to these maps: the command that trains them, called again, leaves it as it is.
    meaning, maps = orientation(after.to_dataset()), after.load()
    usual = ("--config", own_cohort.parent / "config.toml")
    assert call_command("train", own_cohort, *usual)["trained"] is False
    again = xarray.open_datatree(own_cohort, engine="zarr")[f"relevance/{answer['model']}"]
    assert orientation(again.to_dataset()) == meaning
    xarray.testing.assert_equal(again.regional, maps.regional)
    assert verify_cohort(own_cohort, quiet=True).damages == []
    turned = {**meaning, "sign": -meaning["sign"]}
    store = Store(own_cohort)
    store.set_attributes({"orientation": canonical_json(turned)}, f"relevance/{answer['model']}")
    store.consolidate()
    (damage,) = verify_cohort(own_cohort, quiet=True).damages
    assert damage.array == f"relevance/{answer['model']}"
    assert repair_cohort(own_cohort, workers=1, quiet=True).unmended == {}
    assert verify_cohort(own_cohort, quiet=True).damages == []


def test_a_replaced_file_runs_only_its_granule_again(tmp_path, own_cohort, archive) -> None:
    changed = tmp_path / "archive"
    shutil.copytree(archive, changed)
    files = read_linkage(linkage_path(own_cohort))
    store = Store(own_cohort)
    study = next(s for s, state in zip(store.studies, store.read_table("status"), strict=True) if state == schema.DONE)
    file = changed / files[study][0]
    content = bytearray(file.read_bytes())
    content[-100_000:-99_000] = content[-101_000:-100_000]
    file.write_bytes(content)
    plan = call_command("plan", "--no-cost", changed, own_cohort, "--config", own_cohort.parent / "config.toml")
    for stage in plan["stages"][:3]:
        assert 1 <= stage["studies"] <= store.granule_studies


def test_new_studies_append_and_the_others_keep_their_place(tmp_path, archive, cohort, studies_that_went_well) -> None:
    small = tmp_path / "archive"
    folders = copy_studies(archive, sorted(studies_that_went_well)[:5], small)
    later = [folders[0], folders[-1]]
    for index, folder in enumerate(later):
        folder.rename(tmp_path / f"later{index}")
    own = tmp_path / "cohort.zarr"
    shutil.copy(key_path(cohort), key_path(own))
    config = write_config(tmp_path / "config.toml")
    call_command("run", small, own, "--config", config, "--workers", 1)
    first = Store(own).studies
    for index, folder in enumerate(later):
        (tmp_path / f"later{index}").rename(folder)
    call_command("run", small, own, "--config", config, "--workers", 1)
    grown = Store(own)
    assert (len(first), len(grown.studies)) == (3, 5)
    assert grown.studies[: len(first)] == first
    whole = dict(zip(Store(cohort).studies, range(10**6), strict=False))
    for index, study in enumerate(grown.studies):
        np.testing.assert_array_equal(grown.volumes()[index], Store(cohort).volumes()[whole[study]])


def test_studies_whose_files_are_gone_keep_their_results(tmp_path, own_cohort, archive) -> None:
    shrunk = tmp_path / "archive"
    shutil.copytree(archive, shrunk)
    files = sorted(read_linkage(linkage_path(own_cohort)).items())[0][1]
    shutil.rmtree((shrunk / files[0]).parent)
    content = imaging_content(own_cohort)
    answer = call_command("run", shrunk, own_cohort, "--config", own_cohort.parent / "config.toml", expect=3)
    assert answer["processed"] == 0
    assert_same_content(imaging_content(own_cohort), content)


def test_an_archive_without_labels_is_imaged_and_cannot_train(tmp_path, archive, studies_that_went_well) -> None:
    bare, own = tmp_path / "archive", tmp_path / "cohort.zarr"
    copy_studies(archive, studies_that_went_well[:3], bare)
    (bare / "participants.csv").unlink()
    assert call_command("run", bare, own, "--workers", 1)["done"] == 3
    assert set(Store(own).read_table("label")) == {""}
    train = call_command("plan", "--no-cost", bare, own)["stages"][3]
    assert (train["studies"], train["reason"].split(":")[0]) == (0, "not possible")
    assert call_command("train", own, expect=1)["error"] == "training-data-insufficient"
    explained = call_command("explain", own, expect=1)
    assert explained["error"] == "model-unusable"


def test_failures_are_named_by_code_and_can_be_tried_again(own_cohort) -> None:
    failures = call_command("failures", own_cohort)
    failures.pop("stderr")
    store = Store(own_cohort)
    failed = [str(s) for s in store.read_table("status") if s in (schema.FAILED, schema.EXCLUDED)]
    assert sum(len(group) for group in failures.values()) == len(failed) > 0
    assert all(failure["reason"] for group in failures.values() for failure in group)
    with_files = call_command("failures", own_cohort, "--files")
    with_files.pop("stderr")
    assert all(failure["files"] for group in with_files.values() for failure in group if failure["stage"] != "archive")
    content = imaging_content(own_cohort)
    call_command("retry", own_cohort, "--workers", 1, expect=3)
    assert_same_content(imaging_content(own_cohort), content)


def test_a_cohort_of_few_normals_has_no_normal_range_and_status_counts_what_the_ledger_holds(cohort) -> None:
    assert call_command("norms", cohort, expect=1)["error"] == "normals-insufficient"
    state = call_command("status", cohort)
    assert state["normal_range"] is False
    assert sum(state["studies"].values()) == len(Store(cohort).studies)
    assert set(state["stages"].values()) == {len(Store(cohort).studies)}


def test_one_study_gives_the_numbers_of_the_store(cohort, some_study) -> None:
    (model,) = [p for p in models_path(cohort).iterdir() if not p.name.startswith(".")]
    tree = open_cohort(cohort)
    name = str(tree.study[(tree.status == schema.DONE).values].values[0])
    answer = call_command("study", *some_study, "--model", model)
    stored = tree[f"relevance/{model.name}"].to_dataset().sel(study=name)
    assert answer["probability_positive"] == pytest.approx(float(stored.probability), rel=1e-4)
    assert answer["motion_mm"] == pytest.approx(float(tree.to_dataset().motion_mm.sel(study=name)))
    assert answer["flags"] == str(tree.to_dataset().flags.sel(study=name).values).split()
    ratio = tree.to_dataset().specific_binding_ratio.sel(study=name, region="putamen_ipsilateral")
    assert answer["regions"]["putamen_ipsilateral"]["specific_binding_ratio"] == pytest.approx(float(ratio), rel=1e-9)
    large = tree.to_dataset().sel(study=name, definition="large_volume", striatal="striatum_ipsilateral")
    shown = answer["binding"]["large_volume"]
    assert shown["binding_ratio"]["occipital"]["striatum_ipsilateral"] == pytest.approx(
        float(large.binding_ratio.sel(background="occipital")), rel=1e-9
    )
    assert shown["binding_ratio"]["reference"]["putamen_ipsilateral"] is None
    assert answer["quantification_flags"] == str(large.quantification_flags.values).split()


def test_what_stands_beside_the_store_is_for_the_operator_alone(cohort) -> None:
    for place in (key_path, linkage_path, origin_path, manifest_path, scan_cache_path):
        assert place(cohort).stat().st_mode & 0o777 == 0o600
    with linkage_path(cohort).open(newline="") as stream:
        assert next(csv.reader(stream)) == ["study", "files"]


def test_the_report_stands_alone_and_the_model_card_says_what_it_was_trained_on(cohort) -> None:
    page = cohort.with_name("cohort.report.html").read_text(encoding="utf-8")
    assert "not a medical device" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page.replace("https://doi.org", "")
    (model,) = [p for p in models_path(cohort).iterdir() if not p.name.startswith(".")]
    card = json.loads((model / "card.json").read_text())
    assert card["preset"] == "compact"
    assert len(card["history"]) == 2
    assert card["orientation"]["sign"] in (-1, 1)
    assert card["metrics"].keys() == {"validation", "test"}
