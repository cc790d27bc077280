"""The explorer's folder: what it holds is what the store says, whole, and of nobody."""

import base64
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from datbatch import schema
from datbatch.cli import main
from datbatch.cohort.views.query import open_cohort
from datbatch.commands.command import EXIT_FAILED_STUDIES
from datbatch.errors import ConfigurationError
from datbatch.report.cohort.classification import read_model
from datbatch.report.explorer import Column, write_columns, write_explorer
from datbatch.report.explorer.columns import cohort_columns, worth_a_look
from datbatch.report.explorer.volumes import LEVELS, halve
from datbatch.simulation import identity_canaries
from tests.pipeline import flip
from tests.report.synthetic import LEFT_OUT, root_dataset


@pytest.fixture(scope="module")
def folder(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_explorer(open_cohort(cohort), tmp_path_factory.mktemp("explorer") / "out", quiet=True).page.parent


def delivered(folder: Path, name: str) -> Any:
    """What the page gets when it asks for a name."""
    told, content = json.loads(
        "["
        + (folder / "data" / f"{name}.js").read_text(encoding="ascii").removeprefix("deliver(").removesuffix(");\n")
        + "]"
    )
    assert told == name
    return content


def numbers(folder: Path, name: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(delivered(folder, f"columns/{name}")["numbers"]), dtype="<f4")


def words(folder: Path, name: str) -> list[str]:
    packed = delivered(folder, f"columns/{name}")
    if "lines" in packed:
        return packed["lines"].split("\n")
    codes = np.frombuffer(base64.b64decode(packed["codes"]), dtype=f"<u{packed['width']}")
    return [packed["categories"][code] for code in codes]


def test_figures_are_those_of_the_store(folder, cohort) -> None:
    tree = open_cohort(cohort)
    (name,) = tree["relevance"].children
    model = read_model(tree, name)
    known = model.predicted != ""
    assert words(folder, "study") == tree.study.values.tolist()
    assert words(folder, "label") == ["" if one is None else one for one in tree.label.values]
    ratio = tree.specific_binding_ratio.values[:, schema.REGIONS.index("caudate_contralateral")]
    np.testing.assert_array_equal(numbers(folder, "sbr_caudate_contralateral"), ratio.astype(np.float32))
    np.testing.assert_array_equal(
        numbers(folder, "probability"), np.where(known, model.probability, np.nan).astype(np.float32)
    )
    np.testing.assert_array_equal(
        numbers(folder, "relevance_peak_putamen_ipsilateral"), model.putamen_relevance.astype(np.float32)
    )
    views = np.where(tree["views"].values > 0, tree["views"].values, np.nan)
    np.testing.assert_array_equal(numbers(folder, "views"), views.astype(np.float32))


def test_every_column_that_the_page_is_told_of_is_there(folder) -> None:
    head = delivered(folder, "cohort")
    for column in head["columns"]:
        packed = delivered(folder, f"columns/{column['name']}")
        assert set(packed) & {"numbers", "codes", "lines"}
    names = {column["name"] for column in head["columns"]}
    assert {*head["shown"], *head["axes"], head["colour"]} <= names
    assert {path.stem for path in (folder / "data" / "columns").iterdir()} == names


def test_a_volume_on_the_half_grid_keeps_its_place_and_its_side(folder, cohort) -> None:
    tree = open_cohort(cohort)
    row = int(np.flatnonzero(tree.status.values == schema.DONE)[0])
    packed = delivered(folder, f"volumes/{tree.study.values[row]}")["uptake"]
    steps = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), dtype=np.int8)
    volume = steps.reshape([(length + 1) // 2 for length in schema.SHAPE]) * packed["step"]
    original = tree.uptake.values[row]
    np.testing.assert_allclose(volume, halve(original), atol=0.51 * packed["step"])
    assert packed["step"] == pytest.approx(np.abs(halve(original)).max() / LEVELS)
    blob = np.zeros(schema.SHAPE, dtype=np.float32)
    blob[20, 60, 30] = 1.0
    assert np.unravel_index(int(np.argmax(halve(blob))), volume.shape) == (10, 30, 15)
    np.testing.assert_array_equal(halve(original[::-1]), halve(original)[::-1])
    assert halve(np.ones(schema.SHAPE)).min() == 1.0


def test_no_file_names_a_person(folder, archive) -> None:
    canaries = {canary.lower().encode() for canary in identity_canaries(archive) if len(canary) >= 4}
    assert canaries
    for path in folder.rglob("*.js"):
        content = path.read_bytes().lower()
        # A volume is base64: letters by chance, and no text of the archive.
        assert path.parent.name == "volumes" or not {one for one in canaries if one in content}


def test_ages_that_point_to_a_person_are_capped_and_without_a_model_there_is_binding_and_no_prediction(cohort) -> None:
    tree = open_cohort(cohort)
    tree.dataset = tree.to_dataset().assign_coords(age=("study", np.full(tree.sizes["study"], 97.0)))
    columns = {column.name: column for column in cohort_columns(tree, None)}
    assert set(columns["age"].values) == {schema.AGE_CAP_YEARS}
    assert "sbr_putamen_ipsilateral" in columns
    assert not columns.keys() & {"predicted", "probability", "outcome", "relevance_peak_putamen_ipsilateral"}


def test_misclassified_inconsistent_and_flagged_studies_are_worth_a_look_first() -> None:
    def column(name: str, *values: Any) -> Column:
        kind = "number" if name == "quality_correlation" else "category"
        return Column(name, name, "", kind, np.array(values, dtype=float if kind == "number" else object))

    columns = {
        one.name: one
        for one in (
            column("study", "plain", "flagged", "wrong", "both", "poor"),
            column("outcome", "TP", "", "FN", "FP", "TN"),
            column("inconsistent", "no", "no", "no", "yes", "no"),
            column("flags", "", "motion", "", "", ""),
            column("quality_correlation", 0.9, 0.9, 0.9, 0.9, 0.5),
        )
    }
    order = [str(columns["study"].values[row]) for row in worth_a_look(columns)]
    assert order == ["both", "wrong", "flagged", "poor", "plain"]


def test_a_damaged_study_is_named_and_all_others_are_there(cohort, tmp_path, capsys) -> None:
    copy = tmp_path / "cohort.zarr"
    shutil.copytree(cohort, copy)
    shard = max((path for path in (copy / "uptake").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    flip(shard)
    assert main(["explore", str(copy), "--output", str(tmp_path / "out"), "--quiet", "--json"]) == EXIT_FAILED_STUDIES
    told = json.loads(capsys.readouterr().out)
    ((study, code),) = told["failed"].items()
    assert code == "store-corrupt"
    done = int((open_cohort(copy).status == schema.DONE).sum())
    assert told["volumes"] == done - 1 == len(list((tmp_path / "out" / "data" / "volumes").iterdir()))
    planes = dict(zip(words(tmp_path / "out", "study"), words(tmp_path / "out", "planes"), strict=True))
    assert planes[study] == "no"


def small(*studies: str) -> list[Column]:
    return [
        Column("study", "Study", "Study", "text", np.array(studies, dtype=object)),
        Column("age", "Age", "Study", "number", np.arange(len(studies), dtype=float)),
    ]


def test_only_as_many_volumes_as_asked_for_and_pages_beside_them_stay(cohort, tmp_path) -> None:
    tree = open_cohort(cohort)
    done = [str(name) for name in tree.study.values[tree.status.values == schema.DONE]]
    page = tmp_path / "out" / "studies" / f"{done[0]}.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>page</p>")
    written = write_explorer(tree, tmp_path / "out", volumes=2, quiet=True)
    assert written.volumes == 2 == len(list((tmp_path / "out" / "data" / "volumes").iterdir()))
    again = write_explorer(tree, tmp_path / "out", volumes=0, quiet=True)
    assert again.volumes == 0 == len(list((tmp_path / "out" / "data" / "volumes").iterdir()))
    assert page.read_text() == "<p>page</p>"
    pages = dict(zip(words(tmp_path / "out", "study"), words(tmp_path / "out", "page"), strict=True))
    assert {study for study, there in pages.items() if there == "yes"} == {done[0]}


def test_an_interrupted_write_leaves_the_earlier_explorer(tmp_path, monkeypatch) -> None:
    write_columns(small("a", "b"), tmp_path / "out")

    def interrupted(self: object) -> str:
        raise KeyboardInterrupt

    broken = [*small("a", "b", "c"), Column("late", "Late", "Study", "number", np.full(3, 1.0))]
    monkeypatch.setattr("datbatch.report.explorer.folder._described", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_columns(broken, tmp_path / "out")
    assert words(tmp_path / "out", "study") == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_files_is_refused(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigurationError, match="holds other files"):
        write_columns(small("a"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_with_nothing_done_yet_can_be_explored(tmp_path) -> None:
    tree = xr.DataTree(root_dataset(LEFT_OUT))
    written = write_explorer(tree, tmp_path / "out", quiet=True)
    assert (written.studies, written.volumes) == (len(LEFT_OUT), 0)
    assert words(tmp_path / "out", "error_code") == [study.code for study in LEFT_OUT]
