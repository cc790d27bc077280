"""Commands that cannot do what they are asked say why, leave nothing behind, and exit with the documented code."""

import json

import pytest

from datbatch.cli import main


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("archive", ["missing", "empty"])
def test_an_archive_without_studies_makes_no_store(tmp_path, capsys, command, archive) -> None:
    (tmp_path / "empty").mkdir()
    assert main([command, str(tmp_path / archive), str(tmp_path / "cohort.zarr"), "--json"]) == 1
    assert answer(capsys)["error"] == "archive-unusable"
    assert not (tmp_path / "cohort.zarr").exists()


def test_a_folder_that_is_no_store_is_left_alone(tmp_path, capsys) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    assert main(["run", str(tmp_path), str(tmp_path / "notes"), "--json"]) == 1
    assert answer(capsys)["error"] == "store-unusable"
    assert {p.name for p in tmp_path.rglob("*")} == {"notes", "a.txt"}


@pytest.mark.parametrize("command", ["train", "explain", "report", "status", "failures", "retry", "verify"])
def test_a_missing_store_is_a_clear_error(tmp_path, capsys, command) -> None:
    assert main([command, str(tmp_path / "none.zarr"), "--json"]) == 1
    assert answer(capsys)["error"] == "store-unusable"


def test_a_wrong_parameter_file_is_wrong_usage(tmp_path, capsys) -> None:
    (tmp_path / "p.toml").write_text("[train]\nepoch = 3\n")
    assert main(["run", str(tmp_path), str(tmp_path / "c.zarr"), "--config", str(tmp_path / "p.toml"), "--json"]) == 2
    assert "train.epoch" in answer(capsys)["reason"]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", "a", "b", "--workers", "0"], ["simulate", "a"]])
def test_wrong_usage_exits_with_two(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_file_that_cannot_be_read_is_named_on_the_terminal(tmp_path, cohort, capsys) -> None:
    (model,) = (card.parent for card in cohort.with_name("cohort.models").glob("*/card.json"))
    file = tmp_path / "notes.dcm"
    file.write_text("no image")
    assert main(["study", str(file), "--model", str(model)]) == 1
    assert str(file) in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("no folder")
    assert main(["simulate", str(tmp_path / "file" / "archive"), "--studies", "1", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"] == "system"
    assert "Not a directory" in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "s3://bucket/archive", "--studies", "1"),
        ("export", "nifti", "cohort.zarr", "--output", "s3://bucket/nifti"),
        ("export", "dicom", "cohort.zarr", "--output", "dicom", "--dicom-source", "s3://bucket/archive"),
        ("report", "cohort.zarr", "--output", "s3://bucket/report.html"),
    ],
)
def test_an_address_where_only_a_path_will_do_is_refused_and_makes_no_folder_of_its_name(
    arguments, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    assert "only archive and store may be on S3" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
