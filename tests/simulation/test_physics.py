"""The simulated camera obeys geometry, attenuation, blur and counting statistics."""

import math

import numpy as np
import pytest

from datbatch.simulation.acquisition import (
    SCATTER_FWHM_MM,
    Camera,
    expected_projections,
    noisy_counts,
    object_grid,
    project_points,
)
from datbatch.simulation.phantom import Phantom
from tests.reference.projector import project_points_slowly

CAMERA = Camera(96, 96, 2.5, 2.5, 3.8, 1.7, 0.042, 0.4)
GRID = object_grid(CAMERA, -96.0, 96.0)
FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))


def _blobs(centres_mm, sigma_mm=6.0, *, water=False):
    """Smooth sources: single voxels, turned by an odd angle, would show the grid."""
    points = GRID.points_mm()
    activity = sum(np.exp(-((points - centre) ** 2).sum(-1) / (2 * sigma_mm**2)) for centre in centres_mm)
    activity[activity < 0.02] = 0
    inside = np.hypot(points[..., 0], points[..., 1]) < 90
    attenuation = np.where(inside & water, 0.0148, 0.0)
    return Phantom(activity.astype(np.float32), attenuation.astype(np.float32), GRID)


def _variance(x, weight):
    mean = np.average(x, weights=weight)
    return np.average((x - mean) ** 2, weights=weight)


def _centroid(image):
    total = image.sum()
    rows, bins = np.indices(image.shape)
    return (rows * image).sum() / total, (bins * image).sum() / total


@pytest.mark.parametrize(
    ("angle", "bin_offset_mm"),
    [
        pytest.param(0.0, -42.0, id="from the back the left is on the left"),
        pytest.param(90.0, -50.0, id="from the left the front is on the left"),
        pytest.param(180.0, 42.0, id="from the front the left is on the right"),
        pytest.param(270.0, 50.0, id="from the right the front is on the right"),
    ],
)
def test_hot_point_at_the_patients_left_front_is_seen_where_an_observer_sees_it(angle, bin_offset_mm):
    # 42 mm to the patient's left, 50 mm to the front, 22 mm towards the head.
    primary, _ = expected_projections(_blobs([(-42.0, 50.0, 22.0)]), np.array([angle]), 140.0, CAMERA)
    row, column = _centroid(primary[0])
    assert (column - 47.5) * 2.5 == pytest.approx(bin_offset_mm, abs=0.05)
    assert (47.5 - row) * 2.5 == pytest.approx(22.0, abs=0.05)


@pytest.mark.parametrize("angle", [0.0, 44.93, 133.0, 250.0])
def test_projected_points_agree_with_the_physics(angle):
    centre = (37.0, -44.0, -41.0)
    primary, _ = expected_projections(_blobs([centre]), np.array([angle]), 140.0, CAMERA)
    row, column, _ = project_points([centre], [angle], CAMERA)
    np.testing.assert_allclose(_centroid(primary[0]), (row[0, 0], column[0, 0]), atol=0.04)


def test_projected_points_follow_the_lps_definition():
    rng = np.random.default_rng(3)
    points, angles = rng.uniform(-80, 80, (5, 3)), np.array([0.0, 44.93, 181.0, 300.5])
    row, column, depth = project_points(points, angles, CAMERA)
    lps = points * [-1, -1, 1]
    for view, angle in enumerate(np.radians(angles)):
        np.testing.assert_allclose((column[view] - 47.5) * 2.5, lps @ [-np.cos(angle), np.sin(angle), 0], atol=1e-9)
        np.testing.assert_allclose(depth[view], lps @ [np.sin(angle), np.cos(angle), 0], atol=1e-9)
        np.testing.assert_allclose((row[view] - 47.5) * 2.5, -lps[:, 2], atol=1e-9)


def test_fast_projector_agrees_with_the_sum_over_points():
    phantom = _blobs([(-40.0, 50.0, 20.0), (25.0, -30.0, -30.0), (10.0, 10.0, 40.0)], water=True)
    angles = np.array([0.0, 33.0, 140.0, 291.0])
    fast, _ = expected_projections(phantom, angles, 140.0, CAMERA)
    hot = phantom.activity > 0
    slow = project_points_slowly(
        GRID.points_mm()[hot] * [-1, -1, 1],
        phantom.activity[hot].astype(float),
        phantom.attenuation_per_mm,
        np.array(GRID.first_mm),
        GRID.spacing_mm,
        angles_deg=angles,
        radius_mm=140.0,
        width_mm=lambda d: math.sqrt(3.8**2 + (1.7 + 0.042 * d) ** 2) / FWHM_PER_SIGMA,
        matrix=96,
        pixel_mm=2.5,
    )
    np.testing.assert_allclose(fast.sum(axis=(1, 2)), slow.sum(axis=(1, 2)), rtol=0.03)
    assert np.abs(fast - slow).max() < 0.025 * slow.max()


@pytest.mark.parametrize("y_mm", [-60.0, 0.0, 60.0])
@pytest.mark.parametrize("angle", [180.0, 161.0])
def test_blur_grows_with_distance_as_the_collimator_says(y_mm, angle):
    # Seen from the front (180 degrees) a point further back is further away.
    phantom = _blobs([(0.0, y_mm, 0.0)])
    primary, _ = expected_projections(phantom, np.array([angle]), 140.0, CAMERA)
    bins = (np.arange(96) - 47.5) * 2.5
    source, seen = phantom.activity.sum(axis=(1, 2)), primary[0].sum(axis=0)
    width = _variance(bins, seen) - 2.5**2 / 12 - _variance(GRID.axis_mm(0), source)
    distance = 140.0 + y_mm * np.cos(np.radians(angle))
    expected = math.hypot(3.8, 1.7 + 0.042 * distance)
    assert math.sqrt(width) * FWHM_PER_SIGMA == pytest.approx(expected, rel=0.015)


def test_water_absorbs_as_the_exponential_law_says():
    centre = np.array([20.0, -30.0, 6.0])
    angles = np.array([0.0, 90.0, 215.0])
    free, _ = expected_projections(_blobs([centre], 3.0), angles, 140.0, CAMERA)
    absorbed, _ = expected_projections(_blobs([centre], 3.0, water=True), angles, 140.0, CAMERA)
    u = centre[0] * np.cos(np.radians(angles)) - centre[1] * np.sin(np.radians(angles))
    depth = -centre[0] * np.sin(np.radians(angles)) - centre[1] * np.cos(np.radians(angles))
    way_mm = np.sqrt(90.0**2 - u**2) - depth
    np.testing.assert_allclose(absorbed.sum((1, 2)) / free.sum((1, 2)), np.exp(-0.0148 * way_mm), rtol=0.03)


def test_without_attenuation_opposite_views_hold_the_same_counts_and_none_are_lost():
    phantom = _blobs([(-40.0, 30.0, 20.0), (50.0, 10.0, -30.0)])
    primary, scatter = expected_projections(phantom, np.array([30.0, 210.0]), 140.0, CAMERA)
    np.testing.assert_allclose(primary.sum(axis=(1, 2)), phantom.activity.sum(), rtol=2e-3)
    assert SCATTER_FWHM_MM > 50
    assert (scatter.sum(axis=(1, 2)) < primary.sum(axis=(1, 2))).all(), "wide scatter partly misses the detector"


def test_activity_outside_a_cut_field_of_view_is_not_recorded():
    short = Camera(64, 20, 4.0, 4.0, 3.8, 1.7, 0.042, 0.4)
    grid = object_grid(short, -150.0, 150.0)
    assert grid.axis_mm(2)[0] < -short.field_of_view_mm / 2, "a margin is kept for what blurs in"
    activity = np.zeros(grid.shape, np.float32)
    activity[32, 32, 0] = 1
    primary, _ = expected_projections(Phantom(activity, np.zeros_like(activity), grid), np.array([0.0]), 140.0, short)
    assert primary.sum() < 0.05


def test_counts_are_poisson():
    counts = noisy_counts(np.full(200_000, 7.5), np.random.default_rng(5))
    assert counts.dtype == np.uint16
    assert counts.mean() == pytest.approx(7.5, rel=0.01)
    assert counts.var() == pytest.approx(7.5, rel=0.02)
