"""Exported images lie where the patient's own sides are, with the store's values."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch import schema
from datbatch.cohort.views.results import ResultsReader, positions
from datbatch.commands.export import export_answer
from datbatch.errors import GridMismatchError, ModelError, StoreError
from datbatch.export import bids, nifti
from datbatch.export.frames import FRAMES, own_grid, placed
from datbatch.export.run import Format, export_studies
from tests.export.conftest import LEFT_MM, study_pose


def hottest_mm(path: Path) -> np.ndarray:
    """Find the hottest voxel, as any reader of NIfTI would."""
    image = nibabel.load(path)
    values = np.abs(image.get_fdata())
    index = np.unravel_index(np.argmax(values), values.shape)
    return (image.affine @ [*index, 1.0])[:3]


@pytest.mark.parametrize(
    ("names", "write", "mirrored"),
    [
        (nifti.nifti_names, nifti.write_study, False),
        (nifti.nifti_names, nifti.write_study, True),
        (bids.bids_names, bids.write_study, True),
    ],
)
def test_what_is_left_in_the_patient_is_left_in_every_frame(tmp_path, make_results, names, write, mirrored) -> None:
    results = make_results(mirrored)
    for frame in FRAMES:
        write(results, tmp_path, frame)
        images = [name for name in names(results.study, results.model.name, frame) if name.endswith(".nii.gz")]
        assert len(images) == 2
        for name in images:
            expected = np.array(LEFT_MM)
            if frame == "own-space":
                expected = (study_pose() @ [*LEFT_MM, 1.0])[:3]
            elif frame == "ipsilateral-left" and mirrored:
                expected = expected * [-1, 1, 1]
            # The grid of the study's own space is another one: half a voxel's diagonal.
            assert np.linalg.norm(hottest_mm(tmp_path / name) - expected) <= (1.8 if frame == "own-space" else 1e-4)


@pytest.mark.parametrize("frame", FRAMES)
def test_header_and_values_of_an_image(tmp_path, make_results, frame) -> None:
    results = make_results(True)
    nifti.write_study(results, tmp_path, frame)
    image = nibabel.load(tmp_path / nifti.nifti_names(results.study, None, frame)[0])
    code = 1 if frame == "own-space" else 4
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (code, code)
    np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-4)
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"].item()).startswith(b"Research software, not a medical device")
    values = np.asarray(image.dataobj)
    if frame == "own-space":
        np.testing.assert_allclose(np.diag(image.affine), [2.0, 2.0, 2.0, 1.0], atol=1e-4)
        assert values.max() == pytest.approx(1.0, abs=0.05)
    else:
        np.testing.assert_allclose(image.affine, schema.grid_affine(), atol=1e-4)
        np.testing.assert_array_equal(values, results.uptake if frame == "ipsilateral-left" else results.uptake[::-1])


def test_equal_images_give_equal_bytes(tmp_path, make_results) -> None:
    for folder in ("a", "b"):
        nifti.write_study(make_results(False), tmp_path / folder, "as-acquired")
    for one in (tmp_path / "a").rglob("*.nii.gz"):
        assert one.read_bytes() == (tmp_path / "b" / one.relative_to(tmp_path / "a")).read_bytes()


@given(shift=st.tuples(*[st.floats(-60, 60)] * 3), size=st.floats(0.7, 1.4), turn_deg=st.floats(-40, 40))
def test_the_own_grid_covers_the_stores_box_and_meets_the_axis_of_rotation(shift, size, turn_deg) -> None:
    angle = np.deg2rad(turn_deg)
    pose = np.diag([size, size, size, 1.0])
    pose[:2, :2] = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pose[:3, 3] = shift
    affine, shape = own_grid(pose)
    box = [[schema.ORIGIN_MM[a], schema.coordinates_mm(a)[-1]] for a in range(3)]
    corners = np.array(np.meshgrid(*box)).reshape(3, 8)
    indices = np.linalg.inv(affine) @ pose @ np.vstack([corners, np.ones(8)])
    assert (indices[:3] >= -1e-9).all()
    assert (indices[:3] <= np.array(shape)[:, None] - 1 + 1e-9).all()
    np.testing.assert_array_equal(affine[:3, 3] % schema.SPACING_MM, 0)


def test_a_study_without_pose_has_no_own_space(make_results) -> None:
    from dataclasses import replace

    results = replace(make_results(False), template_to_study=np.full((4, 4), np.nan))
    with pytest.raises(GridMismatchError):
        placed(results, results.uptake, "own-space")


def test_a_cohort_is_written_study_by_study_and_resumed(tmp_path, tree) -> None:
    how = Format(
        lambda study, model: nifti.nifti_names(study, model, "as-acquired"),
        lambda results, folder: nifti.write_study(results, folder, "as-acquired"),
    )
    first = export_studies(tree, tmp_path, how, studies=["sb01", "sb06"], quiet=True)
    assert (first.studies, first.written, first.kept, first.failed) == (2, 2, 0, {})
    assert {p.name for p in tmp_path.rglob("*.nii.gz")} == {
        f"{study}_as-acquired_{kind}.nii.gz" for study in ("sb01", "sb06") for kind in ("uptake", "relevance-first")
    }
    (tmp_path / "sb06" / "sb06_as-acquired_relevance-first.nii.gz").unlink()
    again = export_studies(tree, tmp_path, how, studies=["sb01", "sb06"], missing_only=True, quiet=True)
    assert (again.written, again.kept) == (1, 1)
    assert len(list(tmp_path.rglob("*.nii.gz"))) == 4


def test_a_study_with_a_fault_does_not_end_the_export(tmp_path, tree) -> None:
    def write(results, folder) -> None:
        if results.study == "sb02":
            raise GridMismatchError("on purpose")

    done = export_studies(tree, tmp_path, Format(lambda *_: (), write), quiet=True)
    assert (done.studies, done.written, done.failed) == (7, 6, {"sb02": "grid-mismatch"})
    assert "sb02  grid-mismatch" in export_answer(done).text


def test_only_known_and_finished_studies_and_models_can_be_asked_for(tree) -> None:
    assert len(positions(tree)) == 7
    assert len(positions(tree, done=False)) == 9
    for wanted in (["nobody"], ["sc01"]):
        with pytest.raises(StoreError):
            positions(tree, wanted)
    with pytest.raises(ModelError):
        ResultsReader(tree, "nobody")


@pytest.fixture(scope="module")
def bids_folder(tmp_path_factory: pytest.TempPathFactory, tree) -> Path:
    folder = tmp_path_factory.mktemp("bids")
    bids.write_dataset(tree, folder, frame="as-acquired", studies=["sb01", "sb03"])
    reader = ResultsReader(tree)
    for index in positions(tree, ["sb01", "sb03"]):
        bids.write_study(reader[index], folder, "as-acquired")
    return folder


def test_the_bids_folder_describes_itself(bids_folder) -> None:
    told = json.loads((bids_folder / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    assert told["GeneratedBy"][0]["Name"] == "datbatch"
    assert "model first " + "ab" * 32 in told["GeneratedBy"][0]["Description"]
    rows = (bids_folder / "participants.tsv").read_text().splitlines()
    columns = rows[0].split("\t")
    assert set(json.loads((bids_folder / "participants.json").read_text())) == set(columns)
    assert rows[1].split("\t")[:3] == ["sub-sb01", "61.0", "F"]
    assert rows[2].split("\t")[:3] == ["sub-sb03", "n/a", "M"]
    for image in bids_folder.glob("sub-*/**/*.nii.gz"):
        side = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
        assert side["Units"] == "1"
        assert side["Simulated"] is True
        assert image.name.startswith(f"{image.parent.parent.name}_space-datbatchMNI_desc-")
    labels = (bids_folder / "tpl-datbatchMNI" / "tpl-datbatchMNI_atlas-datbatch_dseg.tsv").read_text().split()
    atlas = nibabel.load(bids_folder / "tpl-datbatchMNI" / "tpl-datbatchMNI_atlas-datbatch_dseg.nii.gz")
    value = int(labels[labels.index("putamen_left") - 1])
    assert nibabel.affines.apply_affine(atlas.affine, np.argwhere(np.asarray(atlas.dataobj) == value))[:, 0].max() < 0
    assert not any("lateral" in name for name in labels)


def test_a_bids_validator_finds_no_error(bids_folder) -> None:
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    found = subprocess.run([validator, "--json", str(bids_folder)], capture_output=True, text=True, check=False)
    issues = json.loads(found.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
