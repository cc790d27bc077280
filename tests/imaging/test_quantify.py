"""Binding ratios depend on nothing but the image, and the lower side always ends on the left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datbatch import schema
from datbatch.config import QuantifyConfig
from datbatch.errors import EmptyVolumeError, GridMismatchError, ReferenceRegionError
from datbatch.imaging import (
    analytic_atlas,
    hottest_voxels_mean,
    load_template,
    mirror,
    normal_side_ratio,
    quantify,
    scale_to_reference,
    specific_binding_ratio,
)
from datbatch.imaging.quantify import CERTAIN_SIDE, SIDE_NOISE

CONFIG = QuantifyConfig()
PUTAMINA = tuple(schema.REGIONS.index(f"putamen_{side}") for side in schema.SIDES)


def brute_force_hottest(values, mask, volume_ml, voxel_ml):
    """Take the voxels one by one, the hottest first, until the volume is full; the last only in part."""
    left, total = volume_ml, 0.0
    for value in sorted(values[mask].tolist(), reverse=True):
        part = min(left, voxel_ml)
        total += part * value
        left -= part
        if left <= 0:
            break
    return total / (volume_ml - max(left, 0.0))


@given(st.integers(0, 10_000), st.floats(0.01, 3.0), st.floats(0.004, 0.05))
def test_the_hottest_voxels_fill_the_volume_exactly(seed, volume_ml, voxel_ml):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 6, 4)).round(1)
    mask = rng.random(values.shape) < 0.6
    mask[0, 0, 0] = True
    found = hottest_voxels_mean(values, mask, volume_ml=volume_ml, voxel_volume_ml=voxel_ml)
    assert found == pytest.approx(brute_force_hottest(values, mask, volume_ml, voxel_ml), abs=1e-9)


def test_the_last_voxel_counts_with_the_fraction_that_is_left():
    values = np.array([[[4.0, 1.0, 3.0, 2.0]]])
    assert hottest_voxels_mean(values, values > 0, volume_ml=2.5, voxel_volume_ml=1.0) == pytest.approx(8 / 2.5)


def test_the_binding_ratio_is_specific_over_reference():
    assert specific_binding_ratio(3.0, 1.5) == 1.0


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.sampled_from([25.0, 75.0, 90.0]))
def test_scaling_makes_the_percentile_one(seed, factor, percentile):
    rng = np.random.default_rng(seed)
    volume = (factor * rng.random((6, 6, 6)) + factor).astype(np.float32)
    mask = rng.random(volume.shape) < 0.5
    mask[0, 0, 0] = True
    scaled = scale_to_reference(volume, mask, percentile)
    assert np.percentile(scaled[mask], percentile) == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose(scaled * np.percentile(volume[mask], percentile), volume, rtol=1e-5)


def test_the_weaker_right_putamen_is_brought_to_the_left(asymmetric_head):
    result = quantify(asymmetric_head, CONFIG)
    assert result.mirrored
    ipsilateral, contralateral = result.specific_binding_ratio[list(PUTAMINA)]
    assert 0.2 < ipsilateral < contralateral - 0.3
    left = result.uptake[schema.coordinates_mm(0) < 0].max()
    assert left < result.uptake.max() - 0.3


def test_a_study_and_its_mirror_image_are_quantified_alike(asymmetric_head):
    one, other = quantify(asymmetric_head, CONFIG), quantify(mirror(asymmetric_head), CONFIG)
    assert (one.mirrored, other.mirrored) == (True, False), "the weaker putamen is brought to the left, or stays there"
    np.testing.assert_allclose(one.specific_binding_ratio, other.specific_binding_ratio, rtol=1e-12)
    np.testing.assert_array_equal(one.uptake, other.uptake)


def weakened(volume, factor):
    """Give a volume whose right putamen has so much of its binding."""
    right = analytic_atlas().masks[PUTAMINA[1]]
    background = np.percentile(volume[analytic_atlas().masks[-1]], 75)
    return np.where(right, background + factor * (volume - background), volume).astype(np.float32)


@given(st.floats(0.7, 1.4), st.sampled_from([0.93, 0.97, 1.0, 1.04]))
@settings(max_examples=20, deadline=None)
def test_mirroring_a_study_and_what_is_normal_mirrors_the_decision_exactly(asymmetric_head, factor, normal):
    study = weakened(asymmetric_head, factor)
    one = quantify(study, CONFIG, side_ratio=normal)
    other = quantify(mirror(study), CONFIG, side_ratio=1 / normal)
    assert one.mirrored != other.mirrored
    np.testing.assert_array_equal(one.uptake, other.uptake)


def test_the_side_is_decided_in_proportion_to_what_is_normal(asymmetric_head):
    symmetric = (asymmetric_head + mirror(asymmetric_head)) / 2
    slightly = weakened(symmetric, 0.97)
    assert quantify(slightly, CONFIG).mirrored
    left, right = quantify(mirror(slightly), CONFIG).specific_binding_ratio[list(PUTAMINA)][::-1]
    for normal, expected in ((right / left - 1e-6, False), (right / left + 1e-6, True)):
        assert quantify(slightly, CONFIG, side_ratio=normal).mirrored == expected


def test_the_ratio_of_the_normal_sides_is_that_of_the_template():
    template = load_template().data
    normal = normal_side_ratio(template, CONFIG)
    assert 0.94 < normal < 0.99, "the left putamen is the larger one"
    assert normal_side_ratio(mirror(template), CONFIG) == pytest.approx(1 / normal, rel=1e-9)
    assert normal_side_ratio(template * np.float32(7), CONFIG) == pytest.approx(normal, rel=1e-4)
    assert normal_side_ratio((template + mirror(template)) / 2, CONFIG) == pytest.approx(1.0, abs=1e-6)
    assert not quantify(template, CONFIG, side_ratio=normal - 1e-6).mirrored
    assert quantify(template, CONFIG, side_ratio=normal + 1e-6).mirrored


def test_a_template_of_one_sided_disease_moves_the_decision_by_little(asymmetric_head):
    assert normal_side_ratio(asymmetric_head, CONFIG) == pytest.approx(0.95 / 1.05)
    assert normal_side_ratio(mirror(asymmetric_head), CONFIG) == pytest.approx(1.05 / 0.95)
    empty = np.where(analytic_atlas().masks[-1], asymmetric_head, 0.5 * asymmetric_head.min()).astype(np.float32)
    assert normal_side_ratio(empty, CONFIG) == 1.0


@settings(max_examples=8)
@given(st.floats(1e-4, 1e4))
def test_counts_do_not_change_the_binding_ratios_of_any_definition(asymmetric_head, factor):
    one, other = (quantify(np.float32(f) * asymmetric_head, CONFIG) for f in (1.0, factor))
    np.testing.assert_allclose(one.specific_binding_ratio, other.specific_binding_ratio, atol=1e-5)
    np.testing.assert_allclose(other.binding.binding_ratio, one.binding.binding_ratio, atol=2e-5)
    np.testing.assert_allclose(other.binding.asymmetry_index, one.binding.asymmetry_index, atol=2e-3)
    assert other.reference_value == pytest.approx(factor * one.reference_value, rel=1e-5)
    assert (one.mirrored, one.flags) == (other.mirrored, other.flags)


def test_the_reference_level_is_one_after_scaling(asymmetric_head):
    uptake = quantify(asymmetric_head, CONFIG).uptake
    assert np.percentile(uptake[analytic_atlas().masks[-1]], 75) == pytest.approx(1.0, abs=1e-6)


def test_what_lies_outside_the_field_of_view_does_not_count(asymmetric_head):
    cut = asymmetric_head.copy()
    cut[:, :, schema.coordinates_mm(2) > 40] = 0
    whole, part = quantify(asymmetric_head, CONFIG), quantify(cut, CONFIG)
    np.testing.assert_allclose(
        part.specific_binding_ratio[list(PUTAMINA)], whole.specific_binding_ratio[list(PUTAMINA)], atol=0.1
    )
    cut[:, schema.coordinates_mm(1) < -40] = 0
    assert np.isnan(quantify(cut, CONFIG).specific_binding_ratio[schema.REGIONS.index("occipital")])


def test_studies_that_cannot_be_quantified_are_named(asymmetric_head):
    for kind, volume in (
        (GridMismatchError, asymmetric_head[:-1]),
        (EmptyVolumeError, np.ones(schema.SHAPE, np.float32)),
        (EmptyVolumeError, np.where(asymmetric_head > 2, np.nan, asymmetric_head)),
        (ReferenceRegionError, -asymmetric_head),
        (ReferenceRegionError, np.where(analytic_atlas().masks[-1], 0, asymmetric_head)),
    ):
        with pytest.raises(kind):
            quantify(volume, CONFIG)
    with pytest.raises(GridMismatchError):
        scale_to_reference(asymmetric_head, np.ones((3, 3, 3), bool))
    with pytest.raises(EmptyVolumeError):
        hottest_voxels_mean(asymmetric_head, np.zeros(schema.SHAPE, bool), volume_ml=1.0, voxel_volume_ml=0.008)
    with pytest.raises(EmptyVolumeError):
        hottest_voxels_mean(np.ones((2, 2, 2)), np.ones((2, 2, 2), bool), volume_ml=0.0, voxel_volume_ml=0.008)
    with pytest.raises(ReferenceRegionError):
        specific_binding_ratio(1.0, 0.0)


def test_a_side_is_named_only_where_counting_noise_does_not_explain_the_difference(asymmetric_head):
    for head, side in ((asymmetric_head, "right"), (mirror(asymmetric_head), "left")):
        ipsilateral, contralateral = quantify(head, CONFIG).specific_binding_ratio[list(PUTAMINA)]
        needed = (CERTAIN_SIDE * SIDE_NOISE / (contralateral - ipsilateral)) ** 2
        assert quantify(head, CONFIG, counts=1.02 * needed).lower_side == side
        unsure = quantify(head, CONFIG, counts=0.98 * needed)
        assert (unsure.lower_side, unsure.mirrored) == (schema.UNCERTAIN, side == "right")


def test_of_unknown_counts_the_fewest_are_taken(asymmetric_head):
    assert quantify(asymmetric_head, CONFIG).lower_side == quantify(asymmetric_head, CONFIG, counts=1e6).lower_side
    assert quantify(asymmetric_head, CONFIG, counts=0.0).lower_side == schema.UNCERTAIN
