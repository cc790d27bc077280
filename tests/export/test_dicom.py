"""DICOM objects: exact values, the patient's own sides, nobody's identity, and no complaint of a validator."""

import shutil
import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from datbatch.archive import load_or_create_key, pseudonym, study_identifier
from datbatch.errors import ConfigurationError, UnreadableDicomError
from datbatch.export import export_dicom
from datbatch.export.dicom import dicom_names, make_objects, write_study
from datbatch.export.frames import placed
from datbatch.export.subject import from_original, pseudonymous
from datbatch.report.study.figure import draw_summary
from tests.export.conftest import LEFT_MM, study_pose

FRAMES = ("as-acquired", "own-space")


def page(_) -> np.ndarray:
    return np.full((40, 60, 3), 77, np.uint8)


@pytest.fixture(scope="module")
def made(make_results):
    """Give the objects of the study under its pseudonym, made once for each frame and side."""

    @lru_cache
    def make(mirrored: bool, frame: str = "as-acquired") -> list[pydicom.Dataset]:
        results = make_results(mirrored)
        return make_objects(results, frame, pseudonymous(results), page)

    return make


def read_back(dataset: pydicom.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Give values (frame, row, column) and the affine from (column, row, frame) to RAS mm (PS3.3 C.7.6.2.1.1)."""
    shape = (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns)
    values = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(shape)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    places = np.array(
        [f.PlanePositionSequence[0].ImagePositionPatient for f in dataset.PerFrameFunctionalGroupsSequence], float
    )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = cosines[:3] * column_mm, cosines[3:] * row_mm
    affine[:3, 2], affine[:3, 3] = places[1] - places[0], places[0]
    np.testing.assert_allclose(places, places[0] + np.outer(np.arange(len(places)), affine[:3, 2]), atol=1e-9)
    return values, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_map_read_back_has_the_values_and_places_of_the_patient(made, make_results, mirrored, frame) -> None:
    results = make_results(mirrored)
    for dataset, volume in zip(made(mirrored, frame)[:2], (results.uptake, results.model.relevance), strict=True):
        values, affine = read_back(dataset)
        expected = placed(results, volume, frame)
        index = np.array(np.unravel_index(np.argmax(np.abs(values)), values.shape))[::-1]
        hottest = (affine @ [*index, 1.0])[:3]
        truth = (study_pose() @ [*LEFT_MM, 1.0])[:3] if frame == "own-space" else np.array(LEFT_MM)
        assert np.linalg.norm(hottest - truth) <= (1.8 if frame == "own-space" else 1e-4)
        turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(values.transpose(2, 1, 0), affine))
        np.testing.assert_array_equal(np.asarray(turned.dataobj), expected.data)
        np.testing.assert_allclose(turned.affine, expected.affine, atol=1e-4)


def test_a_map_says_what_its_values_mean(made) -> None:
    uptake, relevance = made(False)[:2]
    for dataset, unit in ((uptake, "{ratio}"), (relevance, "1")):
        mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == unit
        assert dataset.FrameOfReferenceUID == "1.2.840.10008.1.4.1.15"
        assert dataset.ContentQualification == "RESEARCH"
        assert "not a medical device" in dataset.SeriesDescription
    assert uptake.FrameOfReferenceUID != made(False, "own-space")[0].FrameOfReferenceUID


def groups(report: pydicom.Dataset) -> dict[str, dict[str, object]]:
    """Read the groups of measurements: by tracking identifier, each concept's value; laterality as `side`."""
    found = {}
    (container,) = [item for item in report.ContentSequence if meaning(item) == "Imaging Measurements"]
    for group in container.ContentSequence:
        told: dict[str, object] = {}
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                measured = item.MeasuredValueSequence[0]
                told[meaning(item)] = float(measured.NumericValue)
                told[f"unit of {meaning(item)}"] = measured.MeasurementUnitsCodeSequence[0].CodeValue
            elif item.ValueType == "CODE":
                told[meaning(item)] = item.ConceptCodeSequence[0].CodeMeaning
                for modifier in item.get("ContentSequence", ()):
                    told[meaning(modifier)] = modifier.ConceptCodeSequence[0].CodeMeaning
            elif item.ValueType == "TEXT":
                told[meaning(item)] = item.TextValue
        found[str(told["Tracking Identifier"])] = told
    return found


def meaning(item: pydicom.Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_report_names_the_patients_own_sides(made, mirrored) -> None:
    found = groups(made(mirrored)[2])
    ipsilateral, contralateral = ("right", "left") if mirrored else ("left", "right")
    for structure, side, binding, z_score, relevance in (
        ("putamen", ipsilateral, 0.5, -3.5, -1e-3),
        ("putamen", contralateral, 2.5, -0.5, -2e-3),
        ("caudate", ipsilateral, 1.5, -1.5, -3e-3),
        ("caudate", contralateral, 2.0, -1.0, -4e-3),
    ):
        group = found[f"{structure} {side}"]
        assert group["Laterality"] == side.capitalize()
        assert str(group["Finding Site"]).lower().startswith(structure)
        assert group["Specific binding ratio"] == binding
        assert group["unit of Specific binding ratio"] == "{ratio}"
        assert group["Z-score"] == z_score
        assert group["Relevance, positive speaks for reduced uptake"] == pytest.approx(relevance)
    assert "Laterality" not in found["thalamus"]
    assert "reference" not in found


def test_the_report_identifies_the_algorithm_and_its_doubt(made, make_results) -> None:
    results, report = make_results(False), made(False)[2]
    told = groups(report)["classification"]
    assert told["Classification of striatal uptake"] == "Reduced uptake"
    assert told["Probability of reduced uptake"] == 0.875
    assert told["Relevance map typical of the other class"] == "Yes"
    assert told["Intended use"] == "Research software, not a medical device"
    assert told["Algorithm Name"] == "datbatch compact-1a2b3c4d"
    assert told["Algorithm Parameters"] == "weights sha256 " + "ab" * 32
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "COMPLETE")
    without = make_objects(replace(results, model=None), "as-acquired", pseudonymous(results), page)
    assert "classification" not in groups(without[1])
    assert len(without) == len(dicom_names("s", None, "as-acquired"))


def test_objects_under_a_pseudonym_name_nobody(made, make_results) -> None:
    study = make_results(False).study
    for dataset in made(False):
        assert dataset.PatientID == study
        assert str(dataset.PatientName).strip("^") == study
        for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
            assert not dataset.get(keyword)
        assert dataset.PatientAge == "089Y"
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.StudyInstanceUID.is_valid
        assert dataset.SOPInstanceUID.is_valid


def test_equal_results_have_equal_uids_and_others_have_others(made, make_results) -> None:
    results = make_results(False)

    def uids(one) -> list[str]:
        return [str(d.SOPInstanceUID) for d in make_objects(one, "as-acquired", pseudonymous(one), page)]

    first = [str(d.SOPInstanceUID) for d in made(False)]
    assert first == uids(results)
    assert len(set(first)) == 4
    changed = uids(replace(results, uptake=results.uptake * np.float32(2)))
    assert changed[0] != first[0]
    assert changed[1] == first[1]
    assert not set(first) & set(uids(replace(results, study="s2other")))


def original(path: Path, **changes: str) -> Path:
    """Write a file with a name in Latin letters with accents, as scanners do."""
    dataset = pydicom.Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.20", "1.2.3.4"
    dataset.StudyInstanceUID, dataset.StudyDate, dataset.PatientID = "1.2.3", "20190509", "PX1"
    dataset.PatientName, dataset.InstitutionName = "Müller^Jürgen", "Hospital"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_patient_and_study_of_the_original_are_taken_only_where_it_is_the_studys(tmp_path, make_results) -> None:
    key = load_or_create_key(tmp_path / "key")
    results = replace(make_results(False), study=pseudonym(key, study_identifier("1.2.3")))
    subject = from_original(results, original(tmp_path / "a.dcm"), key)
    shown = []
    write_study(results, tmp_path, "as-acquired", subject, lambda one: page(shown.append(one.study)))
    assert shown == [""]
    files = sorted(tmp_path.rglob("*_*.dcm"))
    hidden = make_objects(results, "as-acquired", pseudonymous(results), page)
    assert not {pydicom.dcmread(path).SOPInstanceUID for path in files} & {one.SOPInstanceUID for one in hidden}
    assert len(files) == 4
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        dataset = pydicom.dcmread(path)
        assert dataset.PatientName == "Müller^Jürgen"
        assert (dataset.PatientID, dataset.StudyInstanceUID, dataset.StudyDate) == ("PX1", "1.2.3", "20190509")
        assert "PatientIdentityRemoved" not in dataset
        assert "InstitutionName" not in dataset
        assert results.study not in str(dataset)
    for wrong in (original(tmp_path / "b.dcm", StudyInstanceUID="1.2.4"), tmp_path / "key"):
        with pytest.raises(UnreadableDicomError):
            from_original(results, wrong, key)


def test_a_mirrored_frame_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigurationError):
        export_dicom(tmp_path / "none.zarr", tmp_path, page, frame="ipsilateral-left")


def test_a_validator_finds_no_error(tmp_path, made, make_results) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    bare = replace(make_results(True), model=None, age_years=np.nan, sex="")
    several = (*made(True), *made(True, "own-space"), *make_objects(bare, "as-acquired", pseudonymous(bare), page))
    assert len(several) == 11
    for number, dataset in enumerate(several):
        path = tmp_path / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        found = subprocess.run([validator, "-new", path], capture_output=True, text=True, check=False)
        said = (found.stdout + found.stderr).splitlines()
        assert [line for line in said if line.startswith("Error")] == [], dataset.SeriesDescription


def panels(picture: np.ndarray) -> list[tuple[slice, slice]]:
    """Find the black pictures of uptake on a white page."""
    dark = picture.astype(int).sum(axis=2) < 90
    rows = runs(dark.mean(axis=1) > 0.5)[0]
    return [(rows, columns) for columns in runs(dark[rows].mean(axis=0) > 0.5)]


def runs(there: np.ndarray) -> list[slice]:
    """Find where at least a hundred neighbours are true."""
    places = np.flatnonzero(there)
    found = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [slice(run[0], run[-1] + 1) for run in found if len(run) >= 100]


@pytest.mark.parametrize(("mirrored", "convention"), [(True, "radiological"), (False, "neurological")])
def test_the_summary_shows_the_patients_left_where_the_convention_says(make_results, mirrored, convention) -> None:
    picture = draw_summary(make_results(mirrored), convention=convention)
    assert picture.dtype == np.uint8
    found = panels(picture)
    assert len(found) == 3
    for rows, columns in found:
        shown = picture[rows, columns].astype(int)
        # The marks stand in the upper corners.
        shown[: shown.shape[0] // 8] = 0
        weight = shown.sum(axis=(0, 2))
        place = (weight * np.arange(len(weight))).sum() / weight.sum() / len(weight)
        assert (place > 0.55) if convention == "radiological" else (place < 0.45)
