"""Studies that were reconstructed elsewhere: results as from projections, left on the left, each study once."""

import contextlib
import dataclasses
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datbatch import schema
from datbatch.archive import Acquisition, Entry, Manifest, read_linkage, read_study, scanning
from datbatch.archive.origin import Given, Origin, keep_others, manifest_path, origin_path, read_origin, write_origin
from datbatch.archive.scanning import scan_cache_path
from datbatch.cohort.store import Store, key_path, linkage_path
from datbatch.cohort.views.query import open_cohort
from datbatch.cohort.views.results import ResultsReader, positions
from datbatch.cohort.views.state import cohort_state
from datbatch.config import Config
from datbatch.errors import INCLUDED, ArchiveError, MissingLabelError, NotProjectionsError, NotTomogramError, Outcome
from datbatch.export.nifti import write_image
from datbatch.imaging import Volume, reconstruct
from datbatch.simulation.examination import acquire, canonical_subject
from datbatch.stages import imaging as imaging_run
from datbatch.stages import repair
from datbatch.study.imaged import ImagedStudy
from datbatch.study.imaging import image_study
from tests.archive.tomograms import CANARY, multi_frame, nifti, single_slices
from tests.archive.writer import Style, write
from tests.pipeline import assert_same_content, call_command, imaging_content

SBR = "specific_binding_ratio"


@pytest.fixture(scope="module")
def left_is_lower() -> Volume:
    """A reconstructed head whose left putamen binds half as much as the right one."""
    study = acquire(dataclasses.replace(canonical_subject(), gain={"left": 0.5, "right": 1.0}))
    radius_mm = np.full(len(study.angles_deg), study.radius_mm)
    return reconstruct(
        Acquisition(study.projections, study.angles_deg, study.pixel_size_mm, study.row_size_mm, radius_mm)
    )


def imaged(*files: Path) -> ImagedStudy:
    return image_study("study", files, Config(), source=schema.TOMOGRAM)


def values(study: ImagedStudy) -> dict[str, Any]:
    row = study.rows["quantify"]
    assert row.outcome.status == schema.DONE, row
    return row.values


def as_counts(volume: Volume) -> np.ndarray:
    """Give an image as a camera's workstation stores it: whole numbers that are not negative."""
    return np.rint(np.clip(volume.data, 0, None) * (30_000 / volume.data.max()))


@pytest.fixture(scope="module")
def truth(left_is_lower: Volume, tmp_path_factory: pytest.TempPathFactory) -> ImagedStudy:
    """Results of the head as it is, its axes never turned."""
    path = tmp_path_factory.mktemp("truth") / "a.nii"
    return imaged(nifti(path, as_counts(left_is_lower), left_is_lower.affine))


PATHS: dict[str, Callable[[Path, np.ndarray, np.ndarray], list[Path]]] = {
    "NIfTI as written by us": lambda f, d, a: [nifti(f / "a.nii.gz", d, a)],
    "NIfTI, left first, from the nose, sform": lambda f, d, a: [nifti(f / "a.nii", d, a, axes="LPS", forms="sform")],
    "NIfTI, sagittal, qform": lambda f, d, a: [nifti(f / "a.nii", d, a, axes="PSR", forms="qform")],
    "NM, slices to the feet": lambda f, d, a: [multi_frame(f / "a.dcm", d, a, axes="LPF")],
    "NM, mirrored rows, slices to the head": lambda f, d, a: [multi_frame(f / "a.dcm", d, a, axes="RPH")],
    "PET series, coronal": lambda f, d, a: single_slices(f / "a", d, a, axes="LFP"),
}


@pytest.mark.parametrize("way", PATHS)
def test_the_side_of_lower_binding_is_the_patients_left_through_every_path(left_is_lower, truth, tmp_path, way) -> None:
    found = imaged(*PATHS[way](tmp_path, as_counts(left_is_lower), left_is_lower.affine))
    assert values(found)["mirrored"] is False
    ipsilateral, contralateral = values(found)[SBR][:2]
    assert ipsilateral < 0.75 * contralateral
    np.testing.assert_allclose(values(found)[SBR], values(truth)[SBR], rtol=1e-4)
    np.testing.assert_allclose(found.uptake, truth.uptake, atol=2e-3)


def test_a_head_in_the_mirror_is_the_other_way_round_and_one_upside_down_is_refused_by_normalisation(
    left_is_lower, tmp_path
) -> None:
    found = imaged(nifti(tmp_path / "a.nii", as_counts(left_is_lower)[::-1], left_is_lower.affine))
    assert values(found)["mirrored"] is True
    upside_down = as_counts(left_is_lower)[:, :, ::-1]
    row = imaged(multi_frame(tmp_path / "a.dcm", upside_down, left_is_lower.affine)).rows["quantify"]
    assert (row.outcome.status, row.outcome.code) == (schema.FAILED, "normalisation-failed")


def test_the_reconstruction_of_a_study_gives_the_results_of_its_projections(cohort, some_study, tmp_path) -> None:
    results = ResultsReader(open_cohort(cohort))[positions(open_cohort(cohort))[0]]
    volume = reconstruct(read_study(some_study))
    own = imaged(nifti(tmp_path / "own.nii", volume.data, volume.affine, axes="LAS"))
    np.testing.assert_allclose(values(own)[SBR], results.specific_binding_ratio, rtol=1e-5)
    np.testing.assert_allclose(own.uptake, results.uptake, atol=1e-4)
    assert values(own)["mirrored"] == results.mirrored
    # What the store can give back was interpolated once, and ends where the store's grid ends.
    write_image(results, "uptake", tmp_path / "exported.nii.gz", "own-space")
    again = values(imaged(tmp_path / "exported.nii.gz"))
    assert again["mirrored"] == results.mirrored
    np.testing.assert_allclose(again[SBR][:4], results.specific_binding_ratio[:4], atol=0.15)


def test_of_projections_and_reconstruction_nothing_is_said(left_is_lower, tmp_path) -> None:
    found = imaged(multi_frame(tmp_path / "a.dcm", as_counts(left_is_lower), left_is_lower.affine))
    assert found.rows["reconstruct"].values == {"scanner": "SIEMENS NM Symbia T2", "flags": ""}
    assert found.acquisition is None
    assert found.facts.age_years == 70.0


@pytest.fixture(scope="module")
def imported(left_is_lower: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder and store of an import: good ones, copies, broken ones, all full of identity."""
    folder = tmp_path_factory.mktemp("imported")
    tomograms = folder / f"{CANARY}Folder"
    tomograms.mkdir()
    data, affine = as_counts(left_is_lower), left_is_lower.affine
    one = nifti(tomograms / f"{CANARY}_Name.nii", data, affine)
    (tomograms / "copy.nii.gz").write_bytes(gzip.compress(one.read_bytes()))
    nifti(tomograms / "turned.nii", data, affine, axes="PIL", forms="qform")
    (tomograms / "object").mkdir()
    multi_frame(tomograms / "object" / "a.dcm", data[::-1] + 2, affine, study="1.2.4")
    nifti(tomograms / "nowhere.nii", data + 1, affine, forms="none")
    (tomograms / "cut.nii.gz").write_bytes(gzip.compress(one.read_bytes())[:-5000])
    (tomograms / "notes.txt").write_text("no image")
    (tomograms / "participants.csv").write_text(
        f"path,label,site,age,sex,patient_id\n{CANARY}_Name.nii,negative,A,66,F,{CANARY}7\nobject,positive,B,70,M,\n"
        "nowhere.nii,negative,A,60,F,\ncut.nii.gz,negative,A,60,F,\n"
    )
    ran = call_command("import", tomograms, folder / "cohort.zarr", "--workers", 1, expect=3)
    (folder / "said.txt").write_text(str(ran))
    return folder


def test_each_study_is_imported_once_and_each_bad_one_named(imported) -> None:
    tree = open_cohort(imported / "cohort.zarr")
    linkage = read_linkage(linkage_path(imported / "cohort.zarr"))
    rows = {linkage[str(name)][:1]: place for place, name in enumerate(tree["study"].values)}
    # Of copies the first by name is read; which header states no orientation, and which file is cut, is said.
    good, other = rows[(f"{CANARY}_Name.nii",)], rows[("object/a.dcm",)]
    assert len(rows) == 4
    codes = {files: str(tree["error_code"].values[place]) for files, place in rows.items()}
    assert codes[("nowhere.nii",)] == "orientation-missing"
    assert codes[("cut.nii.gz",)] == "truncated"
    assert list(tree["status"].values[[good, other]]) == ["done", "done"]
    assert set(tree["source"].values) == {"tomogram"}
    assert list(tree["mirrored"].values[[good, other]]) == [False, True]
    assert list(tree["site"].values[[good, other]]) == ["A", "B"]
    assert list(tree["age"].values[[good, other]]) == [66.0, 70.0]
    assert str(tree["person"].values[good]).startswith("p")
    for name in ("counts", "pixel_size_mm", "motion_mm", "radius_mm", "centre_of_rotation_mm", "count_jump"):
        assert np.isnan(tree[name].values).all(), name
    assert not tree["views"].values.any()
    assert tree.attrs["simulated"] is False


def test_importing_again_computes_nothing_and_changes_nothing(imported) -> None:
    store = imported / "cohort.zarr"
    before = imaging_content(store)
    (tomograms,) = imported.glob(f"{CANARY}*")
    assert call_command("import", tomograms, store, "--workers", 1, expect=3)["processed"] == 0
    assert_same_content(before, imaging_content(store))
    state = cohort_state(store)
    assert (state.imported, state.studies) == (4, {"done": 2, "failed": 2})
    assert [one["command"] for one in state.commands] == ["import", "import"]


def test_no_name_of_file_or_header_leaves_the_private_files(imported) -> None:
    store = imported / "cohort.zarr"
    private = {key_path(store), linkage_path(store), origin_path(store), manifest_path(store)}
    private |= {scan_cache_path(store, "tomogram")}
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    files = [path for path in imported.rglob("*") if path.is_file() and f"{CANARY}Folder" not in path.parts]
    assert {path.name for path in files} >= {"said.txt", "zarr.json"}
    for path in files:
        if path not in private:
            content = path.read_bytes().lower()
            assert CANARY.lower().encode() not in content, path
            assert b"19400229" not in content, path


def test_what_runs_again_runs_from_where_each_source_came(tmp_path, monkeypatch) -> None:
    called = []

    def record(folder: Path, cohort: Path, config: Config, **rest: Any) -> imaging_run.RunSummary:
        called.append((folder, rest["participants"], rest["source"], rest["workers"]))
        return imaging_run.RunSummary(5, 4, 1, 0, len(called), {}, {"read": 1.0})

    monkeypatch.setattr(repair, "run_imaging", record)
    folders = {"projections": Given(tmp_path / "a", None), "tomogram": Given(tmp_path / "b", tmp_path / "b.csv")}
    ran = repair.run_again(Origin(folders, Config()), tmp_path, workers=2)
    assert called == [(tmp_path / "a", None, "projections", 2), (tmp_path / "b", tmp_path / "b.csv", "tomogram", 2)]
    assert (ran.studies, ran.processed, ran.seconds) == (5, 3, {"read": 2.0})


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Archive of projections of one study, folder of tomograms of this and another one, and a store to be made."""
    # Nothing here crashes what reads it: no process of its own is needed.
    monkeypatch.setattr(scanning, "LosableMap", lambda *_: contextlib.nullcontext(map))
    archive, tomograms = tmp_path / "archive", tmp_path / "tomograms"
    archive.mkdir()
    tomograms.mkdir()
    write(archive, Style("plain"))
    head = np.zeros((28, 32, 20))
    head[4:-4, 4:-4, 4:-4] = 50.0
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    for study in ("1.2.3", "1.2.4"):
        head[14, 16, 10] = float(study[-1]) * 100
        multi_frame(tomograms / f"{study}.dcm", head, affine, study=study)
    return archive, tomograms, tmp_path / "cohort.zarr"


def scanned(folder: Path, store: Path, source: str) -> Manifest:
    """Do what a run does with the manifest."""
    manifest = imaging_run.prepare(folder, store, Config(), participants=None, quiet=True, source=source)
    if not Store.exists(store):
        Store.create(store, granule_studies=4)
    Store(store).grow([entry.pseudonym for entry in manifest.entries])
    folders = read_origin(store).folders if origin_path(store).exists() else {}
    write_origin(store, Origin({**folders, source: Given(folder, None)}, Config()), manifest)
    return manifest


@pytest.mark.parametrize("order", [("projections", "tomogram"), ("tomogram", "projections")])
def test_a_study_with_projections_and_tomogram_is_one_study_of_its_projections(mixed, order) -> None:
    archive, tomograms, store = mixed
    folder = {"projections": archive, "tomogram": tomograms}
    for source in (*order, *order):
        manifest = scanned(folder[source], store, source)
    (projections,) = (path.name for path in archive.iterdir())
    assert sorted((entry.source, entry.files, entry.outcome.status) for entry in manifest.entries) == [
        ("projections", (projections,), "included"),
        ("tomogram", ("1.2.4.dcm",), "included"),
    ]
    origin = read_origin(store)
    assert (origin.archive, origin.tomograms) == (archive, tomograms)


def test_results_of_studies_that_cannot_be_read_any_more_are_not_put_at_risk(mixed) -> None:
    archive, tomograms, store = mixed
    before = scanned(archive, store, schema.PROJECTIONS)
    archive.rename(archive.with_name("lost"))
    # The granule of the projections' study would be computed again, with the tomograms.
    with pytest.raises(ArchiveError, match="datbatch run"):
        imaging_run.run_imaging(tomograms, store, Config(), source=schema.TOMOGRAM, quiet=True)
    assert Store(store).studies == [one.pseudonym for one in before.entries]


def entry(source: str, outcome: Outcome) -> Entry:
    return Entry("s1", (f"{source}.dcm",), source, outcome=outcome, source=source)


P, T = schema.PROJECTIONS, schema.TOMOGRAM
UNUSABLE = Outcome.failed(NotProjectionsError(""))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (entry(P, INCLUDED), entry(T, INCLUDED)),
        (entry(P, Outcome.excluded("not-indicated", "")), entry(T, INCLUDED)),
        (entry(P, Outcome.failed(MissingLabelError(""))), entry(T, INCLUDED)),
        (entry(T, INCLUDED), entry(P, UNUSABLE)),
        (entry(P, UNUSABLE), entry(T, Outcome.failed(NotTomogramError("")))),
    ],
    ids=lambda one: f"{one.source}-{one.outcome.status}",
)
def test_the_better_of_two_ways_to_read_a_study_stays_whichever_comes_last(better, worse, tmp_path) -> None:
    store = tmp_path / "cohort.zarr"
    for before, found in ((better, worse), (worse, better)):
        folders = {before.source: Given(tmp_path, None)}
        write_origin(store, Origin(folders, Config()), Manifest((before,), 1, {}))
        kept = keep_others(Manifest((found,), 1, {}), store, found.source)
        assert kept.entries == (better,)
