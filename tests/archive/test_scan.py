"""An archive of any shape becomes one manifest, in an order that does not change."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from datbatch.archive import Entry, Manifest, pseudonym, scan_archive
from datbatch.config import ArchiveConfig
from datbatch.errors import ArchiveError, ParticipantsTableError
from tests.archive.styles import own_angles, setting
from tests.archive.writer import Style, write

KEY = b"k" * 32


def small(strength: int, **values: object) -> Style:
    """Give a style whose pixels depend on a number, so that studies differ."""

    def edit(ds: Dataset) -> None:
        ds.PixelData = bytes([strength]) + ds.PixelData[1:]
        setting(**values)(ds)

    return Style("small", views=16, rows=8, bins=10, edit=edit)


def table(folder: Path, header: str, *rows: str) -> None:
    (folder / "participants.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def scan(archive: Path, **options: object) -> Manifest:
    return scan_archive(archive, key=KEY, **options)  # type: ignore[arg-type]


def by_file(manifest: Manifest) -> dict[str, Entry]:
    return {file: entry for entry in manifest.entries for file in entry.files}


def outcomes(manifest: Manifest) -> list[tuple[str, str]]:
    return sorted((entry.outcome.status, entry.outcome.code) for entry in manifest.entries)


def test_studies_are_found_by_content_whatever_the_folders_look_like(tmp_path) -> None:
    write(tmp_path / "site" / "DOE^JOHN" / "deep", small(1), study="1.1")
    write(tmp_path / "flat", Style("views", views=16, rows=8, bins=10, split="view"), study="1.2")
    (tmp_path / "flat" / "0000.dcm").rename(tmp_path / "IM0001")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    (tmp_path / "flat" / "Thumbs.db").write_bytes(b"hidden")
    manifest = scan(tmp_path)
    assert outcomes(manifest) == [("included", "")] * 2
    assert manifest.files_found == 1 + 32 + 3
    assert manifest.files_skipped == {"hidden": 2, "other": 1}
    assert sorted(len(entry.files) for entry in manifest.entries) == [1, 32]
    assert [e.pseudonym for e in manifest.entries] == sorted(e.pseudonym for e in manifest.entries)
    assert "DOE" not in repr(manifest)


def test_links_are_followed_but_loops_are_not(tmp_path) -> None:
    write(tmp_path / "real" / "study", small(1), study="1.1")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    write(outside, small(2), study="1.2")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere").symlink_to(outside)
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.dcm")
    manifest = scan(tmp_path)
    assert set(by_file(manifest)) == {"real/study/0000.dcm", "elsewhere/0000.dcm"}
    assert manifest.files_skipped == {"special": 2}


def test_known_studies_keep_their_places_and_new_ones_follow(tmp_path) -> None:
    for number in range(4):
        write(tmp_path / str(number), small(number), study=f"1.{number}")
    all_names = [entry.pseudonym for entry in scan(tmp_path).entries]
    known = [all_names[2], "sgone", all_names[0]]
    manifest = scan(tmp_path, known=known)
    assert [entry.pseudonym for entry in manifest.entries] == [*known, all_names[1], all_names[3]]
    gone = manifest.entries[1]
    assert (gone.outcome.status, gone.outcome.code, gone.files) == ("failed", "files-missing", ())


def test_the_manifest_is_the_same_with_other_workers_and_after_json(tmp_path) -> None:
    for number in range(5):
        write(tmp_path / str(number), small(number), study=f"1.{number}")
    (tmp_path / "broken.dcm").write_bytes(b"broken")
    seen: list[tuple[int, int]] = []
    manifest = scan(tmp_path, progress=lambda done, total: seen.append((done, total)))
    with ThreadPoolExecutor(3) as pool:
        assert scan(tmp_path, mapper=pool.map) == manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_replaced_file_changes_the_content_and_nothing_else(tmp_path) -> None:
    write(tmp_path, small(1), study="1.1")
    before = scan(tmp_path).entries[0]
    write(tmp_path, small(2), study="1.1")
    after = scan(tmp_path).entries[0]
    assert (before.pseudonym, before.files) == (after.pseudonym, after.files)
    assert before.content != after.content


def test_a_copy_of_an_object_is_counted_and_the_same_pixels_of_another_study_are_a_duplicate(tmp_path) -> None:
    write(tmp_path / "b", small(1), study="1.1")
    shutil.copytree(tmp_path / "b", tmp_path / "copy")
    write(tmp_path / "a", small(1), study="1.2")
    manifest = scan(tmp_path)
    assert manifest.files_skipped == {"copy": 1}
    kept, other = sorted(manifest.entries, key=lambda entry: entry.outcome.code)
    assert (kept.outcome.status, kept.outcome.code) == ("included", "")
    assert (other.outcome.status, other.outcome.code) == ("failed", "duplicate")
    turned = {entry.pseudonym: entry.outcome.code for entry in scan(tmp_path, known=[other.pseudonym]).entries}
    assert turned == {other.pseudonym: "", kept.pseudonym: "duplicate"}


@pytest.mark.parametrize("studies", [("1.1", "1.2", "1.3"), ("1.3", "1.2", "1.1")])
def test_a_second_scan_keeps_the_same_one_of_duplicates(tmp_path, studies) -> None:
    for folder, study in zip("abc", studies, strict=True):
        write(tmp_path / folder, small(1), study=study)
    first = scan(tmp_path)
    assert [entry.outcome.status for entry in first.entries].count("included") == 1
    assert scan(tmp_path, known=[entry.pseudonym for entry in first.entries]) == first


def test_other_objects_beside_good_projections_are_only_counted(tmp_path) -> None:
    path = write(tmp_path / "study", small(1), study="1.1")[0]
    other = ({"Modality": "CT"}, {"ImageType": ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"]})
    for number, changes in enumerate(other):
        ds = dcmread(path)
        setting(SOPInstanceUID=f"1.1.9.{number}", **changes)(ds)
        ds.save_as(tmp_path / "study" / f"other{number}.dcm")
    manifest = scan(tmp_path)
    assert outcomes(manifest) == [("included", "")]
    assert manifest.files_skipped == {"not-projections": 1, "wrong-modality": 1}


def test_a_study_of_unusable_objects_fails_once_with_the_most_informative_reason(tmp_path) -> None:
    path = write(tmp_path / "study", small(1), study="1.1")[0]
    content = path.read_bytes()
    ds = dcmread(path)
    ds.Modality = "CT"
    ds.save_as(tmp_path / "study" / "ct.dcm")
    path.write_bytes(content[: len(content) - 100])
    manifest = scan(tmp_path)
    assert outcomes(manifest) == [("failed", "truncated")]
    assert manifest.entries[0].pseudonym == pseudonym(KEY, "study 1.1")


def test_files_that_no_study_owns_fail_alone_or_with_their_row_of_the_table(tmp_path) -> None:
    (tmp_path / "row").mkdir()
    for name in ("row/a.dcm", "row/b.dcm", "alone.IMA", "readme"):
        (tmp_path / name).write_bytes(b"not an image")
    table(tmp_path, "path,site,label", "row,A,negative", "gone,B,positive")
    manifest = scan(tmp_path)
    entries = by_file(manifest)
    assert entries["row/a.dcm"] is entries["row/b.dcm"]
    assert (entries["row/a.dcm"].outcome.code, entries["row/a.dcm"].site) == ("not-dicom", "A")
    assert entries["alone.IMA"].outcome.code == "not-dicom"
    assert manifest.files_skipped == {"other": 2}
    assert manifest.rows_without_files == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("path", "site/study"),
        ("path", "site/study/0000.dcm"),
        ("path", "./site\\study/"),
        ("study_instance_uid", "1.1"),
        ("patient_id", "Canary-ID"),
        ("Accession_Number ", "Canary-ACC"),
    ],
)
def test_the_table_is_joined_by_place_or_identifier(column, value, tmp_path) -> None:
    write(tmp_path / "site" / "study", small(1), study="1.1")
    table(tmp_path, f"{column},site,sex,age,label,note", f"{value},Nord\x07quell,m,61.5,Positive,free text")
    entry = scan(tmp_path).entries[0]
    assert (entry.site, entry.sex, entry.age, entry.label) == ("Nordquell", "M", 61.5, "positive")


@pytest.mark.parametrize(
    ("rows", "site"),
    [(("path\tsite", "site/study\tA"), "A"), (("path,site", "site,outer", "site/study,inner"), "inner")],
)
def test_the_innermost_folder_counts_and_the_header_where_the_table_has_no_age_and_sex(rows, site, tmp_path) -> None:
    write(tmp_path / "site" / "study", small(1), study="1.1")
    table(tmp_path, *rows)
    entry = scan(tmp_path).entries[0]
    assert (entry.site, entry.sex, entry.age) == (site, "F", 70.0)


@pytest.mark.parametrize(
    ("rows", "unlabelled", "outcome"),
    [
        (("a,positive,", "b,,"), "refuse", ("failed", "label-missing")),
        (("a,positive,", "b,,"), "keep", ("included", "")),
        (("a,,", "b,,"), "refuse", ("included", "")),
        (("a,positive,",), "refuse", ("failed", "label-missing")),
        (("a,positive,", "b,perhaps,"), "refuse", ("failed", "label-contradictory")),
        (("a,positive,", "b,positive,", "b,negative,"), "refuse", ("failed", "label-contradictory")),
        (("a,positive,", "b,positive,", "b,positive,"), "refuse", ("included", "")),
        (("a,positive,", "b,,atypical"), "refuse", ("excluded", "atypical")),
    ],
)
def test_labels_decide(rows, unlabelled, outcome, tmp_path) -> None:
    write(tmp_path / "a", small(1), study="1.1")
    write(tmp_path / "b", small(2), study="1.2")
    table(tmp_path, "path,label,joint", *rows)
    entry = by_file(scan(tmp_path, config=ArchiveConfig(unlabelled=unlabelled)))["b/0000.dcm"]  # type: ignore[arg-type]
    assert (entry.outcome.status, entry.outcome.code) == outcome


@pytest.mark.parametrize(
    ("name", "indication", "collimator", "paper", "everything"),
    [
        ("usual", "CUPS", "PARA", ("included", ""), ("included", "")),
        ("no indication stated", "", "PARA", ("included", ""), ("included", "")),
        ("no collimator stated", "cups", "", ("included", ""), ("included", "")),
        ("I1", "dementia", "PARA", ("excluded", "not-indicated"), ("included", "")),
        ("I2", "CUPS", "FANB", ("excluded", "system-not-eligible"), ("failed", "geometry-unsupported")),
    ],
)
def test_inclusion_follows_the_paper_or_takes_all_that_can_be_read(
    name, indication, collimator, paper, everything, tmp_path
) -> None:
    path = write(tmp_path / "a", small(1), study="1.1")[0]
    ds = dcmread(path)
    for item in ds.DetectorInformationSequence:
        item.CollimatorType = collimator
    ds.save_as(path)
    table(tmp_path, "path,indication", f"a,{indication}")
    assert outcomes(scan(tmp_path)) == [paper]
    assert outcomes(scan(tmp_path, config=ArchiveConfig(inclusion="all"))) == [everything]


SYSTEMS = {
    "one head": ({"starts_deg": (0.0,), "views": 32, "arc_deg": 360.0}, ("excluded", "system-not-eligible")),
    "two heads": ({}, ("included", "")),
    "two heads, a file for each": ({"split": "head"}, ("included", "")),
    "not to be told apart": ({"split": "view", "start_in": "both", "edit": own_angles}, ("included", "")),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_only_what_surely_is_no_double_head_system_is_excluded(system, tmp_path) -> None:
    options, expected = SYSTEMS[system]
    write(tmp_path, replace(small(1), **{"edit": None, **options}))
    assert outcomes(scan(tmp_path)) == [expected]


def test_a_tsv_with_quoted_lines_and_byte_order_mark_is_read(tmp_path) -> None:
    write(tmp_path / "a", small(1), study="1.1")
    given = tmp_path / "people.tsv"
    given.write_text('\ufeffpath\tnote\tsite\na\t"two\nlines"\tA\n', encoding="utf-8")
    assert scan(tmp_path, participants=given).entries[0].site == "A"


@pytest.mark.parametrize(
    "text",
    [
        b"site,label\nA,positive\n",
        b"path,site,site\na,A,B\n",
        b"path,site\na,A,B,C\n",
        b'path\n"a\n',
        b"path\n\xff\n",
        b"",
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(text, tmp_path) -> None:
    (tmp_path / "participants.csv").write_bytes(text)
    with pytest.raises(ParticipantsTableError):
        scan(tmp_path)


def test_a_table_that_is_named_must_be_there(tmp_path) -> None:
    with pytest.raises(ParticipantsTableError):
        scan(tmp_path, participants=tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_an_archive_must_be_a_folder(name, tmp_path) -> None:
    (tmp_path / "file").write_text("file")
    with pytest.raises(ArchiveError) as caught:
        scan(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)


def test_nothing_that_is_stored_of_a_study_names_its_patient(tmp_path) -> None:
    write(tmp_path / "Canary^Named", small(1), study="1.1")
    assert write(tmp_path / "broken", small(2, PixelSpacing=None), study="1.2")[0].exists()
    manifest = scan(tmp_path)
    plain = json.loads(manifest.to_json())
    for entry in plain["entries"]:
        del entry["files"]
    assert "anary" not in json.dumps(plain).lower()
    assert outcomes(manifest) == [("failed", "geometry-unsupported"), ("included", "")]
