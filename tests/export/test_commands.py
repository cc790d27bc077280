"""`datbatch export` on a real store: complete, exact, and without a trace of anybody's identity."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from datbatch.cli import main
from datbatch.cohort.views.query import as_acquired, open_cohort
from datbatch.simulation import identity_canaries
from tests.pipeline import call_command


@pytest.fixture(scope="module")
def study(cohort: Path) -> str:
    """A study that is mirrored in the store."""
    tree = open_cohort(cohort)
    return str(tree.study[((tree.status == "done") & tree.mirrored).values].values[0])


@pytest.fixture(scope="module")
def exported(cohort: Path, study: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name in ("pages", "nifti", "bids", "dicom"):
        told = call_command("export", name, cohort, "--output", folder / name, "--study", study)
        assert (told["studies"], told["written"], told["failed"]) == (1, 1, {})
        assert "1/1 studies" in told["stderr"]
    told = call_command("export", "tables", cohort, "--output", folder / "tables")
    assert all(Path(file).is_file() for file in told["files"])
    return folder


def test_values_are_those_of_the_store_as_acquired(cohort, study, exported) -> None:
    tree = open_cohort(cohort)
    one = tree.dataset.sel(study=study)
    expected = as_acquired(one.uptake, one.mirrored).values
    image = nibabel.load(exported / "nifti" / study / f"{study}_as-acquired_uptake.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    dataset = pydicom.dcmread(exported / "dicom" / study / f"{study}_as-acquired_uptake.dcm")
    values = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(dataset.NumberOfFrames, dataset.Rows, dataset.Columns)
    np.testing.assert_array_equal(values.transpose(2, 1, 0)[::-1, ::-1, ::-1], expected)


def test_no_export_holds_identity(archive, study, exported) -> None:
    canaries = {canary.lower() for canary in identity_canaries(archive) if len(canary) >= 4}
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = nibabel.load(path).header.binaryblock
        elif path.suffix == ".html":
            # Packed bytes may spell anything.
            content = re.sub(rb'data:image/png;base64,[^"]*|<script type="application/gzip"[^>]*>[^<]*', b"", content)
            assert study.encode() in content
            assert b"film-strip" in content, "the archive is there: its projections are shown"
        elif path.suffix == ".dcm":
            dataset = pydicom.dcmread(path)
            for keyword in ("FloatPixelData", "PixelData"):
                if keyword in dataset:
                    delattr(dataset, keyword)
            content = str(dataset).encode()
        name = str(path.relative_to(exported)).lower()
        leaked = {canary for canary in canaries if canary in name or canary.encode() in content.lower()}
        assert not leaked, f"{name} holds {leaked}"


def test_with_the_originals_the_objects_name_the_patient_and_the_operator_is_told(
    cohort, archive, study, tmp_path, capsys
) -> None:
    arguments = ["export", "dicom", str(cohort), "--output", str(tmp_path), "--study", study, "--own-space"]
    assert main([*arguments, "--dicom-source", str(archive), "--quiet", "--json"]) == 0
    assert "NAME THE PATIENTS" in capsys.readouterr().err
    names = {canary for canary in identity_canaries(archive) if len(canary) >= 4}
    for path in tmp_path.rglob("*.dcm"):
        assert str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) in names


def test_wrong_wishes_are_answered_in_words(cohort, archive, tmp_path, capsys) -> None:
    start = ["export", "nifti", str(cohort), "--output", str(tmp_path)]
    assert main([*start, "--study", "nobody", "--json"]) == 1
    assert "store-unusable" in capsys.readouterr().out
    assert main([*start, "--model", "nobody", "--json"]) == 1
    assert "model-unusable" in capsys.readouterr().out
    original = next(path for path in archive.rglob("*") if path.suffix == ".dcm")
    start[1] = "dicom"
    assert main([*start, "--dicom-source", str(original), "--json"]) == 2
    assert "one original file" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*start, "--mirrored"])
