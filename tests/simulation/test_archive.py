"""Archives are reproducible study by study, resumable, and broken only where the schedule says."""

import csv
from collections import Counter

import numpy as np
import pydicom
import pytest

from datbatch.errors import ArchiveError
from datbatch.schema import READS
from datbatch.simulation import identity_canaries, read_truth, simulate_archive, truth_path
from datbatch.simulation.archive import draw_study, write_drawn
from datbatch.simulation.defects import BLOCK, DEFECTS, defect_of
from datbatch.simulation.readers import consensus


def _files(archive):
    return {
        path.relative_to(archive).as_posix(): path.read_bytes()
        for path in sorted(archive.rglob("*"))
        if path.is_file() and path.name != "participants.csv"
    }


def _participants(archive):
    with (archive / "participants.csv").open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    archive = tmp_path_factory.mktemp("small") / "archive"
    simulate_archive(archive, 3, seed=7)
    return archive


def test_a_study_is_the_same_in_archives_of_any_size_made_by_any_number_of_workers(small, tmp_path):
    larger = tmp_path / "larger"
    calls = []
    simulate_archive(larger, 5, seed=7, workers=2, progress=lambda done, total: calls.append((done, total)))
    few, many = _files(small), _files(larger)
    assert len(few) == 3
    assert len(many) == 5
    assert all(many[name] == content for name, content in few.items())
    assert calls == [(done, 5) for done in range(6)]
    assert _participants(larger)[:3] == _participants(small)
    assert read_truth(larger)[:3] == read_truth(small)


def test_studies_that_are_there_are_not_made_again_and_half_written_ones_are(small, tmp_path):
    archive = tmp_path / "archive"
    simulate_archive(archive, 2, seed=7)
    marked = archive / draw_study(0, seed=7).path / "NM_TOMO.dcm"
    marked.write_bytes(b"marked")
    gone = archive / draw_study(1, seed=7).path
    half = gone.with_name(f".{gone.name}.partial")
    gone.rename(half)
    (half / "NM_TOMO.dcm").write_bytes(b"half")
    simulate_archive(archive, 2, seed=7)
    assert marked.read_bytes() == b"marked"
    assert (gone / "NM_TOMO.dcm").read_bytes() == _files(small)[f"{draw_study(1, seed=7).path}/NM_TOMO.dcm"]
    assert not half.exists()


def test_more_studies_are_added_and_fewer_take_none_away(tmp_path):
    archive = tmp_path / "archive"
    simulate_archive(archive, 2)
    simulate_archive(archive, 1)
    assert len(_participants(archive)) == len(read_truth(archive)) == len(_files(archive)) == 2


@pytest.mark.parametrize("other", [{"seed": 8}, {"seed": 7, "defects": False}])
def test_an_archive_of_another_kind_is_not_mixed_in(small, other):
    with pytest.raises(ArchiveError, match="another seed"):
        simulate_archive(small, 3, **other)


@pytest.mark.parametrize("numbers", [{"studies": 0}, {"studies": 2, "workers": 0}])
def test_numbers_must_be_positive(tmp_path, numbers):
    with pytest.raises(ArchiveError, match="at least one"):
        simulate_archive(tmp_path / "archive", **numbers)


def test_truth_stands_beside_the_archive_and_nothing_in_the_archive_tells_it(small):
    assert truth_path(small).is_file()
    assert small not in truth_path(small).parents
    table = (small / "participants.csv").read_text()
    assert not any(word in table for word in ("severity", "putamen", "template_to_study", "defect"))
    with pytest.raises(ArchiveError, match="truth"):
        read_truth(small / "elsewhere")


def test_tables_have_a_row_for_each_study_with_reads_and_facts(small):
    rows, truth = _participants(small), read_truth(small)
    assert [row["path"] for row in rows] == [row["path"] for row in truth]
    for index, (row, true) in enumerate(zip(rows, truth, strict=True)):
        assert (small / row["path"]).is_dir()
        dataset = pydicom.dcmread(small / row["path"] / "NM_TOMO.dcm", stop_before_pixels=True)
        assert dataset.StudyInstanceUID == true["study_instance_uid"]
        assert dataset.PatientSex == row["sex"] == true["sex"]
        assert int(dataset.PatientAge[:3]) == int(float(row["age"]))
        assert row["indication"] == "CUPS"
        assert consensus({name: row[name] for name in READS}) == true["consensus"]
        matrix = np.array([[float(true[f"template_to_study_{i}{j}"]) for j in range(4)] for i in range(4)])
        np.testing.assert_allclose(matrix, draw_study(index, seed=7).subject.pose.matrix(), atol=1e-6)


def test_identity_canaries_are_in_the_archive_to_be_found(small):
    canaries = identity_canaries(small)
    content = b"".join(_files(small).values()) + "\n".join(_files(small)).encode()
    assert all(canary.encode() in content for canary in canaries)
    assert all(len(canary) >= 6 for canary in canaries), "long enough not to occur by chance"


def test_each_block_of_64_has_each_defect_once():
    for block in range(2):
        found = Counter(defect.name for k in range(BLOCK) if (defect := defect_of(block * BLOCK + k)))
        assert found == Counter({defect.name: 1 for defect in DEFECTS})
    assert sum(defect_of(index) is not None for index in range(8)) == 1
    assert all(draw_study(index, defects=False).defect is None for index in range(BLOCK))


def _dataset(tmp_path, name, **options):
    """Make the study of the first block that has the defect and read its file."""
    plan = draw_study(next(defect.place for defect in DEFECTS if defect.name == name))
    write_drawn(tmp_path, plan)
    return pydicom.dcmread(tmp_path / plan.path / "NM_TOMO.dcm", **options), plan


def test_defect_truncated(tmp_path):
    dataset, _ = _dataset(tmp_path, "truncated")
    assert len(dataset.PixelData) < dataset.NumberOfFrames * dataset.Rows * dataset.Columns * 2


def test_defect_not_dicom(tmp_path):
    with pytest.raises(pydicom.errors.InvalidDicomError):
        _dataset(tmp_path, "not-dicom")


@pytest.mark.parametrize(
    ("name", "modality", "kind"),
    [("other-modality", "CT", "AXIAL"), ("reconstructed", "NM", "RECON TOMO"), ("static", "NM", "STATIC")],
)
def test_defect_of_kind(tmp_path, name, modality, kind):
    dataset, _ = _dataset(tmp_path, name)
    assert (dataset.Modality, dataset.ImageType[2]) == (modality, kind)
    assert dataset.pixel_array.max() > 0


def test_defect_angles_missing(tmp_path):
    dataset, _ = _dataset(tmp_path, "angles-missing")
    items = [*dataset.DetectorInformationSequence, *dataset.RotationInformationSequence]
    assert not any("StartAngle" in item for item in items)


def test_defect_geometry_contradictory(tmp_path):
    dataset, _ = _dataset(tmp_path, "geometry-contradictory")
    for item in dataset.DetectorInformationSequence:
        angle = np.radians(float(item.StartAngle))
        right = np.array(item.ImageOrientationPatient[:3], dtype=float)
        assert abs(right @ [-np.cos(angle), np.sin(angle), 0]) < 0.01


def test_defect_views_missing(tmp_path):
    dataset, _ = _dataset(tmp_path, "views-missing")
    declared = dataset.RotationInformationSequence[0].NumberOfFramesInRotation
    assert max(dataset.AngularViewVector) < declared
    assert len(dataset.pixel_array) == dataset.NumberOfFrames == len(dataset.AngularViewVector)


def test_defect_photopeak_missing(tmp_path):
    dataset, _ = _dataset(tmp_path, "photopeak-missing")
    for window in dataset.EnergyWindowInformationSequence:
        limits = window.EnergyWindowRangeSequence[0]
        assert not limits.EnergyWindowLowerLimit <= 159 <= limits.EnergyWindowUpperLimit


def test_defect_counts_zero(tmp_path):
    dataset, _ = _dataset(tmp_path, "counts-zero")
    windows = [
        number
        for number, window in enumerate(dataset.EnergyWindowInformationSequence, start=1)
        if window.EnergyWindowRangeSequence[0].EnergyWindowUpperLimit > 159
    ]
    assert not dataset.pixel_array[np.isin(dataset.EnergyWindowVector, windows)].any()


def test_defect_duplicate_has_the_pixels_of_the_study_before(tmp_path):
    dataset, plan = _dataset(tmp_path, "duplicate")
    original = draw_study(plan.index - 1)
    write_drawn(tmp_path, original)
    before = pydicom.dcmread(tmp_path / original.path / "NM_TOMO.dcm")
    assert dataset.PixelData == before.PixelData
    assert dataset.StudyInstanceUID != before.StudyInstanceUID
    assert dataset.SOPInstanceUID != before.SOPInstanceUID


def test_defect_one_head(tmp_path):
    dataset, _ = _dataset(tmp_path, "one-head")
    assert dataset.NumberOfDetectors == len(dataset.DetectorInformationSequence) == 1
    assert dataset.RotationInformationSequence[0].ScanArc == 360
    assert len(dataset.pixel_array) == 120


def test_defects_of_the_table(monkeypatch, tmp_path):
    monkeypatch.setattr("datbatch.simulation.archive.write_drawn", lambda archive, plan: None)
    archive = tmp_path / "archive"
    simulate_archive(archive, BLOCK)
    rows = dict(zip((row["defect"] for row in read_truth(archive)), _participants(archive), strict=True))
    assert not any(rows["label-missing"][name] for name in (*READS, "label"))
    contradictory = rows["label-contradictory"]
    assert {contradictory["label"], consensus({name: contradictory[name] for name in READS})} == {
        "negative",
        "positive",
    }
    assert rows["other-indication"]["indication"] == "other"
    assert {row["indication"] for name, row in rows.items() if name != "other-indication"} == {"CUPS"}
    labels = {row["label"] for row in _participants(archive)}
    assert labels == {"", "negative", "positive"}, "some rows state the label, others leave it to the reads"
