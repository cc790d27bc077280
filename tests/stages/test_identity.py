"""Patient identity of a test archive is found nowhere in what the program leaves or says."""

import json
from pathlib import Path

import pydicom
import pytest
import zarr

from datbatch.archive import read_linkage
from datbatch.archive.origin import manifest_path, origin_path
from datbatch.archive.scanning import scan_cache_path
from datbatch.cohort.store import key_path, linkage_path, models_path
from datbatch.simulation import identity_canaries
from tests.pipeline import STUDIES, call_command


@pytest.fixture(scope="module")
def canaries(archive: Path) -> set[str]:
    """Every name, identifier, date, institution and folder of the archive, from the simulator's own list."""
    return {canary.lower() for canary in identity_canaries(archive) if len(canary) >= 4}


def test_the_archive_is_full_of_identity(canaries) -> None:
    assert len(canaries) > 40


def test_no_file_or_file_name_holds_identity(cohort, canaries) -> None:
    private = {
        key_path(cohort),
        linkage_path(cohort),
        origin_path(cohort),
        manifest_path(cohort),
        scan_cache_path(cohort),
    }
    private |= {cohort.parent / name for name in (".lock", ".made")}
    files = [p for p in cohort.parent.rglob("*") if p.is_file() and p not in private]
    assert any(p.name == "card.json" for p in files)
    assert any(p.name == "said.txt" for p in files)
    for path in files:
        content = path.read_bytes().lower()
        name = str(path.relative_to(cohort.parent)).lower()
        leaked = {c for c in canaries if c in name or c.encode() in content}
        assert not leaked, f"{name} holds {leaked}"


def test_no_stored_value_holds_identity(cohort, canaries) -> None:
    root = zarr.open_group(cohort, mode="r")
    texts = []
    for _, array in root.members(max_depth=None):
        if isinstance(array, zarr.Array) and array.dtype.kind in "TOU":
            texts += [str(value) for value in array[...].ravel()]
    assert texts
    together = "\n".join(texts).lower()
    assert not {c for c in canaries if c in together}


def test_the_linkage_table_alone_leads_back_to_the_files(cohort, archive) -> None:
    linkage = read_linkage(linkage_path(cohort))
    assert len(linkage) >= STUDIES - 1
    assert all((archive / name).is_file() for files in linkage.values() for name in files)


TEXTS = ("PN", "LO", "SH", "ST", "LT", "UT")
NEEDED = {"Manufacturer", "ManufacturerModelName", "CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
"""Text that the reader uses; the device's name is stored on purpose."""
MORE = (
    "AccessionNumber", "AdditionalPatientHistory", "CurrentPatientLocation", "DeviceSerialNumber", "ImageComments",
    "InstitutionAddress", "InstitutionalDepartmentName", "IssuerOfPatientID", "MedicalRecordLocator", "Occupation",
    "OperatorsName", "OtherPatientNames", "PatientAddress", "PatientBirthName", "PatientComments",
    "PatientMotherBirthName", "PatientTelephoneNumbers", "PerformedProcedureStepDescription", "ProtocolName",
    "RequestingPhysician", "SeriesDescription", "StationName", "StudyDescription", "StudyID",
)  # fmt: skip


def marked(source: Path, target: Path, mark: str) -> set[str]:
    """Copy a DICOM file with a word of its own in every text field, in fields that it lacked and in private ones."""
    words: set[str] = set()

    def word() -> str:
        words.add(f"{mark}{len(words):03d}Q")
        return f"{mark}{len(words) - 1:03d}Q"

    dataset = pydicom.dcmread(source)
    for element in dataset.iterall():
        if element.VR in TEXTS and element.keyword not in NEEDED:
            element.value = word()
    for keyword in MORE:
        setattr(dataset, keyword, word())
    block = dataset.private_block(0x0099, word(), create=True)
    for offset, kind in enumerate(("LO", "UT", "PN")):
        block.add_new(offset, kind, word())
    block.add_new(9, "OB", word().encode())
    inner = pydicom.Dataset()
    inner.PatientName = word()
    block.add_new(10, "SQ", pydicom.Sequence([inner]))
    target.parent.mkdir(parents=True)
    dataset.save_as(target, enforce_file_format=True)
    return words


def test_words_in_every_text_field_private_tag_and_path_are_found_nowhere_after_any_command(
    tmp_path, cohort, some_study, archive, capfd
) -> None:
    place, own, out = tmp_path / "CANARYROOT", tmp_path / "out" / "cohort.zarr", tmp_path / "out"
    words = {"CANARYROOT", "CANARYWARD", "CANARYFILE"}
    words |= marked(some_study[0], place / "CANARYWARD" / "CANARYFILE.dcm", "CANARYG")
    bad = next(p for p in sorted(archive.rglob("*")) if p.suffix == ".dcm" and p not in some_study)
    marked_bad = place / "CANARYWARD2" / "CANARYFILE2.dcm"
    words |= marked(bad, marked_bad, "CANARYB")
    marked_bad.write_bytes(marked_bad.read_bytes()[:-5000])
    assert len(words) > 60
    (place / "participants.csv").write_text("path,label\nCANARYWARD/CANARYFILE.dcm,negative\n")
    (model,) = [p for p in models_path(cohort).iterdir() if not p.name.startswith(".")]
    out.mkdir()
    commands: list[tuple[int, tuple[object, ...]]] = [
        (0, ("plan", place, own, "--workers", 1)),
        (3, ("run", place, own, "--workers", 1)),
        (0, ("status", own)),
        (0, ("failures", own)),
        (0, ("verify", own)),
        (0, ("export", "tables", own, "--output", out / "tables")),
        (0, ("export", "bids", own, "--output", out / "bids")),
        (0, ("study", place / "CANARYWARD" / "CANARYFILE.dcm", "--model", model, "--output", out / "study")),
    ]
    answers = [call_command(*one, expect=code) for code, one in commands]
    said = "".join(map(json.dumps, answers)) + "".join(capfd.readouterr())
    private = {key_path(own), linkage_path(own), origin_path(own), manifest_path(own), scan_cache_path(own)}
    contents = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for path in private:
        assert path.stat().st_mode & 0o777 == 0o600
        del contents[path.relative_to(out).as_posix()]
    store = zarr.open_group(own, mode="r")
    tables = [a[...].ravel() for _, a in store.members(max_depth=None) if a.dtype.kind in "TOU"]
    together = said + " ".join(str(value) for table in tables for value in table) + " ".join(contents)
    for word in words:
        assert word not in together, word
        assert not [name for name, content in contents.items() if word.encode() in content], word
