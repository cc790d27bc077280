"""A template from the cohort's own normal studies: chosen, built, interrupted, built on, and used."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datbatch import cli, schema
from datbatch.archive.origin import read_manifest, read_origin
from datbatch.cohort.store import Store
from datbatch.config import LimitsConfig
from datbatch.errors import TrainingDataError
from datbatch.imaging import load_template, read_template, register_affine
from datbatch.stages.planning import plan_run
from datbatch.stages.template import group
from datbatch.stages.template.group import build_cohort_template, choose_normals, template_path
from datbatch.stages.template.task import TemplateTask, register_shard, single_studies
from tests.reference.head_phantom import BRAIN_MM, landmark_error_mm


@pytest.fixture
def own_cohort(own_cohort: Path) -> Path:
    """A copy of the cohort without a split: its few normal studies may all take part."""
    store = Store(own_cohort)
    store.write_table({"split": np.full(len(store.studies), "", dtype=object)})
    return own_cohort


def test_a_template_is_built_from_the_normal_studies_and_the_cohort_normalised_with_it(
    own_cohort, inline, monkeypatch, capsys
) -> None:
    def call() -> dict[str, Any]:
        assert cli.main(["template", str(own_cohort), "--rounds", "2", "--json", "--quiet"]) == 3
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    # Interrupted when the first round is done.
    with monkeypatch.context() as patch:
        patch.setattr(group, "next_round", _once(group.next_round))
        assert cli.main(["template", str(own_cohort), "--rounds", "2", "--quiet"]) == cli.EXIT_INTERRUPTED
    capsys.readouterr()
    assert not template_path(own_cohort).exists()
    assert inline == ["register_shard", "sum_shard"]
    inline.clear()

    before = Store(own_cohort).attributes["stages"]
    said = call()
    assert inline[:2] == ["register_shard", "sum_shard"], "only the second round is done"
    assert set(inline[2:]) == {"Imaging.run"}
    assert said["built"] is True
    assert [one["number"] for one in said["rounds"]] == [1, 2]
    assert said["rounds"][1]["change"] < said["rounds"][0]["change"]
    assert 0 < said["rounds"][1]["movement_mm"] < 2
    assert said["run"]["processed"] > 0
    assert not list(own_cohort.parent.glob(".*building"))

    built = read_template(template_path(own_cohort))
    shipped = load_template()
    found = register_affine(built, shipped)
    assert landmark_error_mm(found.template_to_study, np.eye(4), BRAIN_MM) < 2.0

    store = Store(own_cohort)
    np.testing.assert_array_equal(store.read_image(schema.TEMPLATE), built.data)
    stages = store.attributes["stages"]
    assert stages["register"]["parameters"]["template"] == said["digest"]
    assert {name for name in stages if stages[name]["digest"] != before[name]["digest"]} == {"register", "quantify"}
    config = read_origin(own_cohort).config
    assert config.register.template == str(template_path(own_cohort).absolute())
    everything = json.dumps(store.attributes) + "".join(p.read_text() for p in own_cohort.rglob("*.json"))
    assert str(own_cohort.parent) not in everything

    plan = plan_run(read_manifest(own_cohort), own_cohort, config)
    assert [stage.reason for stage in plan.stages] == ["up to date"] * 3
    inline.clear()
    again = call()
    assert inline == []
    assert (again["built"], again["digest"], again["run"]["processed"]) == (False, said["digest"], 0)


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    calls = []

    def limited(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return function(*arguments)

    return limited


def small_store(tmp_path: Path) -> Store:
    """Six studies of good quality at two sites, four of them at one."""
    store = Store.create(tmp_path / "small.zarr", granule_studies=8)
    store.grow([f"s{n}" for n in range(6)])
    store.write_table({"site": np.array(["A"] * 4 + ["B"] * 2, dtype=object)})
    store.write_table({"status": np.array([schema.DONE] * 6, dtype=object)})
    for name in group.GOOD_QUALITY:
        store.write_table({name: np.full(6, 0.99)})
    return store


def test_normal_studies_are_taken_from_each_site_in_turn(tmp_path) -> None:
    store = small_store(tmp_path)
    everyone = store.studies
    assert choose_normals(store, everyone, 4) == ["s0", "s4", "s1", "s5"]
    assert choose_normals(store, reversed(everyone), 99) == ["s0", "s4", "s1", "s5", "s2", "s3"]
    assert choose_normals(store, ["s2", "s5"], 99) == ["s2", "s5"]


def test_failed_cut_and_badly_normalised_studies_take_no_part(tmp_path) -> None:
    store = small_store(tmp_path)
    store.write_table({"status": np.array([schema.FAILED] + [schema.DONE] * 5, dtype=object)})
    for study, name in enumerate(group.GOOD_QUALITY, 1):
        scores = np.full(6, 0.99)
        scores[study] = 0.5
        store.write_table({name: scores})
    assert choose_normals(store, store.studies, 99) == ["s4", "s5"]


def test_too_few_normal_studies_are_refused_by_name(cohort, tmp_path) -> None:
    # The split of the small cohort leaves fewer than three for training.
    with pytest.raises(TrainingDataError, match="good enough"):
        build_cohort_template(cohort, output=tmp_path / "own.nii.gz", rounds=1, most=2)
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_loses_its_worker_alone_is_left_out(tmp_path, cohort) -> None:
    entries = dict(enumerate(read_manifest(cohort).entries[:3]))
    task = TemplateTask(tmp_path, tmp_path, 0, entries, read_origin(cohort).config)
    singles = single_studies(task)
    assert [list(one.entries) for one in singles] == [[0], [1], [2]]
    assert single_studies(singles[0]) == []


def test_a_study_whose_files_are_gone_is_left_out(tmp_path, cohort) -> None:
    np.save(tmp_path / "round-0.npy", load_template().data)
    entries = dict(enumerate(read_manifest(cohort).entries[:1]))
    record = register_shard(TemplateTask(tmp_path / "gone", tmp_path, 0, entries, read_origin(cohort).config))
    assert (record.poses, record.failed) == ({}, 1)


@pytest.mark.parametrize(("seconds", "failed"), [(0.0, 0), (0.001, 1)])
def test_a_study_that_takes_too_long_is_left_out(seconds, failed, tmp_path, archive, some_study, cohort) -> None:
    np.save(tmp_path / "round-0.npy", load_template().data)
    names = tuple(path.relative_to(archive).as_posix() for path in some_study)
    entry = replace(read_manifest(cohort).entries[0], files=names)
    config = replace(read_origin(cohort).config, limits=LimitsConfig(study_seconds=seconds))
    record = register_shard(TemplateTask(archive, tmp_path, 0, {0: entry}, config))
    assert (len(record.poses), record.failed) == (1 - failed, failed)


def test_the_command_wants_a_cohort_or_a_file(capsys) -> None:
    assert cli.main(["template"]) == cli.EXIT_USAGE
    assert cli.main(["template", "cohort.zarr", "--simulated", "own.nii.gz"]) == cli.EXIT_USAGE
    assert "--simulated" in capsys.readouterr().err


def test_the_atlas_is_written_with_its_names(tmp_path, capsys) -> None:
    assert cli.main(["atlas", str(tmp_path / "atlas.nii.gz"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["names"]).read_text().count("\n") == len(said["labels"]) + 1
