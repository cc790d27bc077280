"""The template lies in MNI space and stays there when it is built anew."""

import nibabel
import numpy as np
import pytest

from datbatch import schema
from datbatch.errors import NormalisationError, TemplateError
from datbatch.imaging import (
    Volume,
    analytic_atlas,
    build_template,
    load_template,
    read_template,
    reconstruct,
    register_affine,
    resample,
    template_on_grid,
    write_template,
)
from datbatch.imaging.template import Round
from datbatch.simulation import acquire, draw_subject
from tests.reference.head_phantom import BRAIN_MM, STRIATAL_MM, head_volume, landmark_error_mm, random_pose


def test_the_shipped_template_is_on_the_stores_grid_with_bright_striata():
    template = load_template()
    assert template.data.shape == schema.SHAPE
    np.testing.assert_array_equal(template.affine, schema.grid_affine())
    masks = dict(zip(schema.REGIONS, analytic_atlas().masks, strict=True))
    assert np.percentile(template.data[masks["reference"]], 75) == pytest.approx(1.0, abs=0.01)
    for side in schema.SIDES:
        assert template.data[masks[f"putamen_{side}"]].mean() > 1.4
        assert template.data[masks[f"caudate_{side}"]].mean() > 1.4


def test_simulated_studies_are_brought_to_mni_space_by_the_shipped_template():
    template = load_template()
    for index in (3, 4):
        study = acquire(draw_subject(index, seed=31))
        volume = reconstruct(study)
        found = register_affine(volume, template)
        assert not found.failed
        true = study.truth.template_to_study
        assert landmark_error_mm(found.template_to_study, true, STRIATAL_MM) < 2.0
        assert landmark_error_mm(found.template_to_study, true, BRAIN_MM) < 3.0


def test_writing_and_reading_keeps_a_template_and_its_bytes(tmp_path, head_template):
    first, second = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    write_template(head_template, first)
    write_template(head_template, second)
    assert first.read_bytes() == second.read_bytes()
    again = read_template(first)
    np.testing.assert_allclose(again.data, head_template.data, atol=head_template.data.max() / 4000)
    np.testing.assert_array_equal(again.affine, head_template.affine)


def test_a_file_that_is_no_template_is_named(tmp_path):
    broken = tmp_path / "template.nii.gz"
    broken.write_bytes(b"not an image")
    with pytest.raises(TemplateError):
        read_template(broken)
    with pytest.raises(TemplateError):
        read_template(tmp_path / "missing.nii.gz")


def test_a_group_wise_template_keeps_pose_and_size_of_its_start(head_template):
    # All heads lean to one side and are small: without the anchor the mean would too.
    common = random_pose(40, turn_deg=6, size=0.06)
    volumes = [Volume(*head_volume(common @ random_pose(50 + k, turn_deg=3), noise=0.02, seed=k)) for k in range(3)]
    rounds: list[Round] = []
    built = build_template(volumes, head_template, rounds=2, progress=rounds.append)
    drift = register_affine(built, head_template)
    assert landmark_error_mm(drift.template_to_study, np.eye(4), BRAIN_MM) < 1.0
    assert [one.number for one in rounds] == [1, 2]
    assert rounds[1].change < rounds[0].change
    assert rounds[0].movement_mm is None
    assert rounds[1].movement_mm is not None
    assert 0 < rounds[1].movement_mm < 2


def test_a_template_needs_studies_that_can_be_registered(head_template):
    rod = np.zeros((40, 40, 40), np.float32)
    rod[15:25, 15:25] = 1.0
    with pytest.raises(NormalisationError):
        build_template([Volume(rod, np.diag([5.0, 5.0, 5.0, 1.0]))], head_template, rounds=1)


def test_the_template_registers_to_itself_as_the_identity():
    template = load_template()
    found = register_affine(template, template)
    np.testing.assert_allclose(found.template_to_study, np.eye(4), atol=1e-6)
    assert found.quality["correlation"] == pytest.approx(1.0)
    same = resample(template, found.template_to_study, template.affine, template.data.shape)
    np.testing.assert_allclose(same, template.data, atol=1e-3)


def test_a_template_of_another_grid_and_orientation_comes_to_the_stores_grid(tmp_path):
    # Axes to the left, down and forward, 2.5 mm, larger than the store's grid.
    affine = np.array([[-2.5, 0, 0, 95], [0, 0, 2.5, -130], [0, -2.5, 0, 85], [0, 0, 0, 1]])
    shipped = load_template()
    data = resample(shipped, np.eye(4), affine, (77, 54, 90))
    path = tmp_path / "own.nii.gz"
    nibabel.Nifti1Image(data, affine).to_filename(path)
    own = template_on_grid(read_template(path))
    assert own.data.shape == schema.SHAPE
    np.testing.assert_array_equal(own.affine, schema.grid_affine())
    brain = analytic_atlas().masks[schema.REGIONS.index("whole_brain")]
    assert np.corrcoef(own.data[brain], shipped.data[brain])[0, 1] > 0.98
    found = register_affine(shipped, own)
    assert landmark_error_mm(found.template_to_study, np.eye(4), BRAIN_MM) < 0.5


def test_a_template_on_the_stores_grid_stays_as_it_is():
    shipped = load_template()
    np.testing.assert_array_equal(template_on_grid(shipped).data, shipped.data)


def test_an_image_that_can_be_no_template_is_named(tmp_path):
    grid = schema.grid_affine()

    def own(data, affine=grid):
        nibabel.Nifti1Image(data, affine).to_filename(tmp_path / "own.nii.gz")
        return read_template(tmp_path / "own.nii.gz")

    shipped = np.array(load_template().data)
    holed = shipped.copy()
    holed[40, 50, 30] = np.nan
    for data, reason in (
        (holed, "not finite"),
        (np.zeros(schema.SHAPE, np.float32), "constant"),
        (np.stack([shipped, shipped], axis=-1), "not three-dimensional"),
    ):
        with pytest.raises(TemplateError, match=reason):
            own(data)
    with pytest.raises(TemplateError, match="where the image lies"):
        own(shipped, None)
    far = schema.grid_affine()
    far[0, 3] += 60
    with pytest.raises(TemplateError, match=r"covers \d+% of the brain"):
        template_on_grid(own(shipped, far))
    outside = np.where(analytic_atlas().masks[schema.REGIONS.index("whole_brain")], 0, shipped + 1)
    with pytest.raises(TemplateError, match="no uptake"):
        template_on_grid(own(outside.astype(np.float32)))
