"""The analytic regions lie where the anatomical atlases have them."""

import json

import nibabel
import numpy as np
import pytest

from datbatch import schema
from datbatch.imaging import analytic_atlas
from datbatch.imaging.shapes import shape_table, structure_mask
from tests.imaging.test_binding import mask_of


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return 2 * float((one & two).sum()) / float(one.sum() + two.sum())


@pytest.fixture(scope="module")
def atlas(test_data) -> dict[str, np.ndarray]:
    """Structures of the reference atlases on the store's grid."""
    stem = test_data / "atlas" / "subcortical_probabilities_2mm"
    image = nibabel.load(f"{stem}.nii.gz")
    lowest = round((schema.ORIGIN_MM[2] - image.affine[2, 3]) / schema.SPACING_MM)
    probability = image.get_fdata()[:, :, lowest : lowest + schema.SHAPE[2]]
    names = json.loads((stem.with_suffix(".json")).read_text())["volumes"]
    return {name: probability[..., index] > 0.5 for index, name in enumerate(names)}


@pytest.mark.parametrize(
    ("region", "structure", "least"),
    [
        ("putamen_ipsilateral", "putamen_left", 0.90),
        ("putamen_contralateral", "putamen_right", 0.90),
        ("caudate_ipsilateral", "caudate_left", 0.88),
        ("caudate_contralateral", "caudate_right", 0.875),
        ("thalamus", "thalamus", 0.90),
        ("brain_stem", "brain_stem", 0.90),
        ("ventricles", "ventricles", 0.85),
    ],
)
def test_regions_overlap_with_the_anatomical_atlas(atlas, region, structure, least):
    assert dice(mask_of(region), atlas[structure]) >= least


def test_left_and_right_are_exact_mirror_images():
    for region in ("putamen", "caudate"):
        left, right = (mask_of(f"{region}_{side}") for side in schema.SIDES)
        np.testing.assert_array_equal(left, right[::-1])
    for region in schema.REGIONS[4:]:
        np.testing.assert_array_equal(mask_of(region), mask_of(region)[::-1])


def test_ipsilateral_is_left():
    x = schema.coordinates_mm(0)
    for structure in ("putamen", "caudate"):
        assert x[np.argwhere(mask_of(f"{structure}_ipsilateral"))[:, 0]].max() < 0


def test_the_structures_do_not_overlap_and_all_lie_in_the_brain():
    separate = analytic_atlas().masks[: schema.REGIONS.index("occipital")]
    assert separate.sum(axis=0).max() == 1
    assert not (analytic_atlas().masks & ~mask_of("whole_brain")).any()


def test_the_reference_keeps_clear_of_specific_uptake():
    reference = np.argwhere(mask_of("reference"))
    for structure in ("putamen_ipsilateral", "caudate_contralateral"):
        near = np.argwhere(mask_of(structure))[::40]
        for voxel in near:
            assert (np.linalg.norm(reference - voxel, axis=1) * schema.SPACING_MM).min() > 8.0
    assert reference.shape[0] * 0.008 > 1000


def test_the_brain_has_the_volume_of_a_brain():
    assert 1600 < mask_of("whole_brain").sum() * 0.008 < 1950


def test_the_large_regions_are_unilateral_disjoint_and_hold_their_structure():
    large = analytic_atlas().hottest
    assert set(large) == {f"{structure}_{side}" for structure in ("putamen", "caudate") for side in schema.SIDES}
    assert np.sum(list(large.values()), axis=0).max() == 1
    x = schema.coordinates_mm(0)
    for name, mask in large.items():
        sides = np.sign(x[np.argwhere(mask)[:, 0]])
        assert (sides == (-1 if name.endswith("ipsilateral") else 1)).all()
        assert not (mask_of(name) & ~mask & (np.abs(x) > 1)[:, None, None]).any()
        assert mask.sum() * 0.008 > 20


def test_the_label_volume_names_each_voxel_once():
    labels = analytic_atlas().labels
    for index, region in enumerate(schema.REGIONS[:7]):
        np.testing.assert_array_equal(labels == index + 1, mask_of(region))
    np.testing.assert_array_equal(labels > 0, mask_of("whole_brain"))
    rest = np.isin(labels, [schema.REGIONS.index("reference") + 1, schema.REGIONS.index("occipital") + 1])
    np.testing.assert_array_equal(rest, mask_of("reference"))


def test_no_shape_reaches_beyond_its_box():
    axes = tuple(np.arange(-140.0, 141.0, 4.0) for _ in range(3))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    for structure in sorted({shape.structure for shape in shape_table()}):
        whole = np.any([s.contains(points) for s in shape_table() if s.structure == structure], axis=0)
        np.testing.assert_array_equal(structure_mask(structure, axes), whole)
