"""Attenuation correction: path lengths are the geometry's, the outline is the head's, a uniform cylinder turns flat."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from datbatch.archive.geometry.acquisition import Acquisition
from datbatch.config import ReconstructConfig
from datbatch.errors import BodyContourError, ConfigurationError
from datbatch.imaging import Volume, reconstruct
from datbatch.imaging.reconstruction.attenuation import DIRECTIONS, area_mm2, body_contour, chang_factors, corners
from datbatch.simulation import acquire, draw_subject
from datbatch.simulation.examination import subject_phantom
from datbatch.simulation.phantom import ATTENUATION_PER_MM
from tests.reference.cylinder import cylinder_projections

BINS, PIXEL_MM = 64, 4.0
MU_PER_CM = 0.11
AROUND = np.arange(60) * 6.0
AXIS_MM = (np.arange(BINS) - (BINS - 1) / 2) * PIXEL_MM


def ellipse_support(a: float, b: float, x: float, y: float) -> np.ndarray:
    """Support function (1, direction) in mm of an ellipse with half-axes a, b at (x, y)."""
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return (np.hypot(a * np.cos(angle), b * np.sin(angle)) + x * np.cos(angle) + y * np.sin(angle))[None]


def exact_factors(a: float, b: float, x: float, y: float, angles_deg: np.ndarray, mu_per_mm: float):
    """Factors (x, y) of an ellipse from the quadratic equation of each ray, and which pixels lie inside."""
    px, py = AXIS_MM[:, None] - x, AXIS_MM[None, :] - y
    inside = (px / a) ** 2 + (py / b) ** 2 < 1
    total = np.zeros((BINS, BINS))
    for angle in np.deg2rad(angles_deg):
        dx, dy = -np.sin(angle), -np.cos(angle)  # towards the detector: 0 at the back, then at the left
        q = (dx / a) ** 2 + (dy / b) ** 2
        p = px * dx / a**2 + py * dy / b**2
        c = (px / a) ** 2 + (py / b) ** 2 - 1
        path = (-p + np.sqrt(np.maximum(p**2 - q * c, 0))) / q
        total += np.exp(-mu_per_mm * path)
    return np.where(inside, len(angles_deg) / total, 1.0), inside


@pytest.mark.parametrize(
    ("a", "b", "x", "y", "angles"),
    [
        (80.0, 80.0, 0.0, 0.0, AROUND),
        (75.0, 100.0, 0.0, 0.0, AROUND),
        (60.0, 85.0, 25.0, -18.0, AROUND),
        (70.0, 90.0, 12.0, 10.0, 90.0 + np.arange(60) * 3.0),
        (70.0, 90.0, 12.0, 10.0, 45.0 - np.arange(30) * 6.0),
    ],
    ids=["disc", "ellipse", "ellipse off the centre", "half circle in front", "half circle, clockwise"],
)
def test_factors_are_those_of_the_exact_path_lengths(a, b, x, y, angles):
    found = chang_factors(
        ellipse_support(a, b, x, y), angles, bins=BINS, pixel_size_mm=PIXEL_MM, attenuation_per_cm=MU_PER_CM
    )[:, :, 0]
    expected, inside = exact_factors(a, b, x, y, angles, MU_PER_CM / 10)
    rim = np.abs(np.hypot((AXIS_MM[:, None] - x) / a, (AXIS_MM[None, :] - y) / b) - 1) < 0.03
    np.testing.assert_allclose(found[inside & ~rim], expected[inside & ~rim], rtol=0.0075)
    assert (found[~inside & ~rim] == 1.0).all()
    assert (found[inside & ~rim] > 1.0).all()


@given(st.floats(40.0, 110.0), st.floats(0.02, 0.2))
@settings(max_examples=20, deadline=None)
def test_the_centre_of_a_disc_is_dimmed_by_its_radius(radius_mm, mu_per_cm):
    support = ellipse_support(radius_mm, radius_mm, 0.0, 0.0)
    found = chang_factors(support, AROUND, bins=65, pixel_size_mm=PIXEL_MM, attenuation_per_cm=mu_per_cm)
    assert found[32, 32, 0] == pytest.approx(np.exp(mu_per_cm * radius_mm / 10), rel=2e-3)


def test_without_attenuation_or_body_nothing_is_changed():
    support = ellipse_support(80.0, 90.0, 0.0, 0.0)
    options = {"bins": BINS, "pixel_size_mm": PIXEL_MM}
    np.testing.assert_allclose(chang_factors(support, AROUND, attenuation_per_cm=0.0, **options), 1.0, atol=1e-6)
    nobody = chang_factors(np.full((3, DIRECTIONS), np.nan), AROUND, attenuation_per_cm=MU_PER_CM, **options)
    assert (nobody == 1.0).all()
    for bad in (-0.1, np.nan, np.inf):
        with pytest.raises(ConfigurationError):
            chang_factors(support, AROUND, attenuation_per_cm=bad, **options)


def test_corners_and_area_are_those_of_the_outline():
    support = ellipse_support(60.0, 60.0, 30.0, -20.0)[0]
    np.testing.assert_allclose(np.hypot(*(corners(support) - [30.0, -20.0]).T), 60.0 / np.cos(np.pi / DIRECTIONS))
    assert area_mm2(support) == pytest.approx(np.pi * 60.0**2, rel=1e-3)


def cylinder(x: float, y: float, mu_per_mm: float) -> Acquisition:
    angles = np.arange(120) * 3.0
    projections = cylinder_projections(85.0, (x, y), angles, mu_per_mm=mu_per_mm, bins=BINS, rows=24, pixel_mm=PIXEL_MM)
    return Acquisition(projections, angles, PIXEL_MM, PIXEL_MM, np.full(120, 140.0))


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (20.0, -15.0)])
def test_a_uniform_cylinder_that_absorbs_turns_flat(x, y):
    absorbing = cylinder(x, y, MU_PER_CM / 10)
    inside = np.hypot(AXIS_MM[:, None] - x, AXIS_MM[None, :] - y) < 73.0
    truth = reconstruct(cylinder(x, y, 0.0)).data[:, :, 12][inside].mean()
    plain = reconstruct(absorbing).data[:, :, 12][inside] / truth
    corrected = reconstruct(absorbing, ReconstructConfig(attenuation="chang")).data[:, :, 12][inside] / truth
    assert plain.min() < 0.5
    assert corrected.mean() == pytest.approx(1.0, abs=0.03)
    assert np.abs(corrected - 1).max() < 0.06
    assert corrected.std() < 0.03


def test_the_outline_of_a_cylinder_is_found_within_three_millimetres():
    volume = reconstruct(cylinder(20.0, -15.0, MU_PER_CM / 10))
    supports = body_contour(volume)
    found = np.flatnonzero(~np.isnan(supports[:, 0]))
    assert found[0] in (3, 4, 5)
    assert found[-1] in (18, 19, 20)
    np.testing.assert_allclose(supports[12], ellipse_support(85.0, 85.0, 20.0, -15.0)[0], atol=3.0)


HEAD = draw_subject(5, 7)
HEADS = {
    "whole": HEAD,
    "faint scalp, few counts": replace(draw_subject(3, 7), site="C", expected_counts=1.5e6),
    "hot glands": replace(HEAD, uptake=replace(HEAD.uptake, glands=6.0)),
    "cut above": replace(HEAD, cut="top", cut_height_mm=45.0),
    "cut below": replace(HEAD, cut="base", cut_height_mm=-30.0),
}


@pytest.mark.parametrize("subject", HEADS.values(), ids=HEADS.keys())
def test_the_outline_is_that_of_the_simulated_head(subject):
    study, phantom = acquire(subject), subject_phantom(subject)
    volume = reconstruct(study)
    options = {"bins": volume.data.shape[0], "pixel_size_mm": study.pixel_size_mm, "attenuation_per_cm": MU_PER_CM}
    factors = chang_factors(body_contour(volume), study.angles_deg, **options)
    grid = phantom.grid
    # The phantom ends below the neck; what lies outside its grid is not compared.
    z_mm = volume.affine[2, 2] * np.arange(volume.data.shape[2]) + volume.affine[2, 3]
    kept = np.flatnonzero((z_mm >= grid.axis_mm(2)[0]) & (z_mm <= grid.axis_mm(2)[-1]))
    at = np.stack(np.meshgrid(*(np.arange(n) for n in volume.data.shape[:2]), kept, indexing="ij"))
    index = (
        np.moveaxis(at, 0, -1) * np.diag(volume.affine)[:3] + volume.affine[:3, 3] - grid.first_mm
    ) / grid.spacing_mm
    true = map_coordinates(phantom.attenuation_per_mm, np.moveaxis(index, -1, 0), order=1) > ATTENUATION_PER_MM / 2
    found = factors[:, :, kept] > 1
    assert 2 * (true & found).sum() / (true.sum() + found.sum()) > 0.95


def test_what_is_no_head_is_refused():
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -126.0
    shape = (64, 64, 64)
    point = np.zeros(shape, np.float32)
    point[32, 32, 32] = 1000.0
    for data in (np.zeros(shape, np.float32), -np.ones(shape, np.float32), point, np.ones(shape, np.float32)):
        with pytest.raises(BodyContourError):
            body_contour(Volume(data, affine))
