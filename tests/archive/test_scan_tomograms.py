"""Whose study a tomogram is: known by its header, its row of the table, or its values, and never twice."""

import gzip
import shutil
from pathlib import Path
from typing import Any

from datbatch.archive import Entry, pseudonym, scan_archive, study_identifier
from datbatch.archive.pseudonyms import person_pseudonym
from tests.archive.tomograms import AFFINE, CANARY, left_blob, multi_frame, nifti, single_slices
from tests.archive.writer import Style, write

KEY = bytes(range(32))
HEAD = left_blob()


def scanned(folder: Path, **options: Any) -> tuple[Entry, ...]:
    return scan_archive(folder, key=KEY, source="tomogram", **options).entries


def test_a_dicom_study_bears_the_pseudonym_that_its_projections_would_bear(tmp_path) -> None:
    single_slices(tmp_path / "series", HEAD, AFFINE, study="1.2.9")
    (found,) = scanned(tmp_path)
    assert (found.pseudonym, found.outcome.status) == (pseudonym(KEY, study_identifier("1.2.9")), "included")
    assert found.person == person_pseudonym(KEY, f"{CANARY}-ID")
    assert (found.sex, found.age, found.source) == ("F", 70.0, "tomogram")
    assert len(found.files) == HEAD.shape[2]


def test_copies_of_a_nifti_are_one_study_wherever_they_lie_and_however_they_are_written(tmp_path) -> None:
    one = nifti(tmp_path / "one.nii", HEAD, AFFINE)
    (alone,) = scanned(tmp_path)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "down" / "same.nii.gz").write_bytes(gzip.compress(one.read_bytes()))
    nifti(tmp_path / "turned.nii", HEAD, AFFINE, axes="PIL", forms="qform")
    nifti(tmp_path / "nameless.nii", HEAD, AFFINE, edit=lambda header: header.__setitem__("descrip", b""))
    (together,) = scanned(tmp_path)
    assert (together.pseudonym, together.outcome.status) == (alone.pseudonym, "included")
    one.unlink()
    (moved,) = scanned(tmp_path, known=[alone.pseudonym])
    assert (moved.pseudonym, moved.content) == (alone.pseudonym, alone.content)


def test_a_corrected_orientation_is_the_same_study_with_another_content(tmp_path) -> None:
    path = nifti(tmp_path / "a.nii", HEAD, AFFINE, forms="none")
    (refused,) = scanned(tmp_path)
    nifti(path, HEAD, AFFINE)
    (good,) = scanned(tmp_path)
    nifti(path, HEAD[::-1], AFFINE)
    (mirrored,) = scanned(tmp_path)
    assert refused.pseudonym == good.pseudonym == mirrored.pseudonym
    assert (refused.outcome.code, good.outcome.code, mirrored.outcome.code) == ("orientation-missing", "", "")
    assert good.content != mirrored.content


def test_one_image_under_two_orientations_is_refused_and_under_two_studies_kept_once(tmp_path) -> None:
    nifti(tmp_path / "a.nii", HEAD, AFFINE)
    nifti(tmp_path / "b.nii", HEAD[::-1], AFFINE)
    (both,) = scanned(tmp_path)
    assert (both.outcome.status, both.outcome.code) == ("failed", "geometry-contradictory")
    (tmp_path / "b.nii").unlink()
    multi_frame(tmp_path / "c.dcm", HEAD, AFFINE)
    assert sorted(one.outcome.code for one in scanned(tmp_path)) == ["", "duplicate"]


def test_the_table_says_whose_a_nifti_is(tmp_path) -> None:
    nifti(tmp_path / "a.nii", HEAD, AFFINE)
    nifti(tmp_path / "b.nii", HEAD + 1, AFFINE)
    (tmp_path / "participants.tsv").write_text(
        "path\tstudy_instance_uid\tpatient_id\tlabel\tage\na.nii\t1.2.9\tP7\tpositive\t71\nb.nii\t\tP7\tnegative\t73\n"
    )
    found = {entry.label: entry for entry in scanned(tmp_path)}
    assert found["positive"].pseudonym == pseudonym(KEY, study_identifier("1.2.9"))
    assert found["positive"].person == found["negative"].person == person_pseudonym(KEY, "P7")
    assert (found["positive"].age, found["negative"].age) == (71.0, 73.0)


def test_other_files_are_no_studies_and_other_objects_are_named(tmp_path) -> None:
    write(tmp_path, Style("plain"))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "data.gz").write_bytes(gzip.compress(b"no image"))
    (tmp_path / "broken.nii").write_bytes(b"no image")
    manifest = scan_archive(tmp_path, key=KEY, source="tomogram")
    assert sorted((entry.outcome.status, entry.outcome.code) for entry in manifest.entries) == [
        ("failed", "nifti-unreadable"),
        ("failed", "not-tomogram"),
    ]
    assert manifest.files_skipped == {"other": 2}


def test_a_slice_that_lies_twice_counts_once(tmp_path) -> None:
    paths = single_slices(tmp_path / "series", HEAD, AFFINE)
    shutil.copy(paths[3], tmp_path / "again.dcm")
    (found,) = scanned(tmp_path)
    assert (found.outcome.status, len(found.files)) == ("included", HEAD.shape[2])
