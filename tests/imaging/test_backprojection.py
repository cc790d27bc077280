"""Filtered back-projection is MATLAB's where MATLAB defines it, and the analytic image where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.errors import ConfigurationError, EmptyVolumeError, GridMismatchError
from datbatch.imaging import filtered_back_projection, iradon
from datbatch.imaging.backprojection import angular_weights, merge_directions
from datbatch.imaging.filters import frequency_response, padded_length
from tests.reference import backprojection as reference

FILTERS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")
PIXEL_MM = 4.0


@pytest.fixture(scope="module")
def shepp_logan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    phantom = reference.shepp_logan_phantom(128)
    theta = np.arange(180.0)
    return phantom, reference.radon(phantom, theta), theta


# Largest and mean absolute error that MATLAB's own iradon makes on radon(phantom(128), 0:179).
@pytest.mark.parametrize(
    ("name", "largest", "mean"),
    [
        ("shepp-logan", "0.3941", "0.0226"),
        ("ram-lak", "0.3601", "0.0218"),
        ("cosine", "0.4681", "0.0249"),
        ("hamming", "0.5171", "0.0278"),
        ("hann", "0.5334", "0.0285"),
    ],
)
def test_iradon_makes_the_errors_that_matlab_publishes(shepp_logan, name, largest, mean):
    phantom, sinogram, theta = shepp_logan
    error = np.abs(iradon(sinogram, theta, filter=name, output_size=128) - phantom)
    assert (f"{error.max():.4f}", f"{error.mean():.4f}") == (largest, mean)


@pytest.mark.parametrize("bins", [31, 48, 65])
@pytest.mark.parametrize("scaling", [1.0, 0.6])
@pytest.mark.parametrize("name", FILTERS)
def test_iradon_equals_its_definition_for_other_sizes_and_angles(bins, scaling, name):
    rng = np.random.default_rng(bins)
    sinogram = rng.random((bins, 17))
    theta = rng.uniform(-200, 400, 17)
    size = bins + 4
    expected = reference.iradon(sinogram, theta, name=name, scaling=scaling, size=size)
    found = iradon(sinogram, theta, filter=name, frequency_scaling=scaling, output_size=size)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_iradon_chooses_matlabs_output_size():
    assert iradon(np.ones((185, 4)), np.arange(4) * 45.0).shape == (130, 130)


def test_plain_back_projection_adds_up_the_bins_that_each_pixel_sees():
    sinogram = np.zeros((9, 2))
    sinogram[6, 0], sinogram[4, 1] = 1.0, 2.0
    image = iradon(sinogram, np.array([0.0, 90.0]), filter="none", output_size=5)
    expected = np.zeros((5, 5))
    expected[:, 4] += 1.0  # x = 2 at angle 0
    expected[2, :] += 2.0  # y = 0 at angle 90
    np.testing.assert_allclose(image, expected * np.pi / 4, atol=1e-12)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_all_interpolations_agree_where_pixels_meet_bins(interpolation):
    sinogram = np.random.default_rng(3).random((33, 2))
    theta = np.array([0.0, 90.0])
    expected = iradon(sinogram, theta, output_size=15)
    np.testing.assert_allclose(
        iradon(sinogram, theta, output_size=15, interpolation=interpolation), expected, atol=1e-9
    )


def test_nearest_takes_the_bin_next_to_the_line():
    sinogram = np.arange(21.0)[:, None]
    image = iradon(sinogram, [60.0], filter="none", output_size=7, interpolation="nearest") / (np.pi / 2)
    y, x = np.mgrid[3:-4:-1, -3:4]
    t = x * np.cos(np.pi / 3) + y * np.sin(np.pi / 3)
    inside = np.abs(np.abs(t) % 1 - 0.5) > 1e-6
    np.testing.assert_allclose(image[inside], 10 + np.round(t[inside]))


def test_cubic_interpolation_of_a_straight_line_is_the_line():
    sinogram = np.arange(31.0)[:, None]
    cubic = iradon(sinogram, [33.0], filter="none", output_size=11, interpolation="cubic")
    np.testing.assert_allclose(cubic, iradon(sinogram, [33.0], filter="none", output_size=11), atol=1e-9)


@pytest.mark.parametrize(
    ("angles", "weights"),
    [
        (np.arange(24) * 15.0, np.full(24, np.pi / 24)),
        (90.0 - np.arange(12) * 15.0, np.full(12, np.pi / 12)),
        (np.array([0.0, 20.0, 60.0, 90.0, 150.0]), np.deg2rad([25.0, 30.0, 35.0, 45.0, 45.0])),
    ],
    ids=["360 degrees", "180 degrees, falling", "uneven"],
)
@pytest.mark.parametrize("name", ["shepp-logan", "hann"])
def test_a_study_is_the_weighted_sum_of_its_filtered_views(angles, weights, name):
    projections = np.random.default_rng(1).poisson(30, (len(angles), 3, 33)).astype(np.uint16)
    cutoff = 0.7 * 5 / PIXEL_MM
    found = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM, cutoff_per_cm=cutoff, filter=name)
    expected = reference.back_projection(projections, angles, weights, name=name, scaling=0.7)
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())
    assert found.dtype == np.float32


def _gaussian_study(angles: np.ndarray, sigma: float, x: float, y: float, bins: int = 64) -> np.ndarray:
    """Projections (view, 1, bin) of a Gaussian with unit sum at (x, y), in pixels from the axis of rotation."""
    centre = x * np.cos(np.deg2rad(angles)) - y * np.sin(np.deg2rad(angles))
    u = np.arange(bins) - (bins - 1) / 2
    return np.exp(-((u - centre[:, None, None]) ** 2) / (2 * sigma**2)) / np.sqrt(2 * np.pi) / sigma


@pytest.mark.parametrize("angles", [np.arange(120) * 3.0, np.arange(90) * 2.0, (np.arange(136) * -1.5) % 360])
def test_a_gaussian_is_reconstructed_as_that_gaussian(angles):
    sigma, x, y = 3.0, 7.3, -4.6
    image = filtered_back_projection(
        _gaussian_study(angles, sigma, x, y), angles, pixel_size_mm=PIXEL_MM, cutoff_per_cm=50.0, filter="ram-lak"
    )[0]
    axis = np.arange(64) - 31.5
    r2 = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
    expected = np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    assert np.abs(image - expected).max() < 0.02 * expected.max()


def test_counts_are_kept():
    angles = np.arange(60) * 6.0
    projections = 1000.0 * _gaussian_study(angles, 4.0, 3.0, 5.0)
    image = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM)
    assert image.sum() == pytest.approx(1000.0, rel=0.01)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10.0))
def test_reconstruction_is_linear(seed, factor):
    rng = np.random.default_rng(seed)
    one, two = rng.random((2, 12, 2, 16)).astype(np.float32)
    angles = np.sort(rng.uniform(0, 360, 12))

    def image(projections):
        return filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM)

    together = image(one + np.float32(factor) * two)
    np.testing.assert_allclose(together, image(one) + np.float32(factor) * image(two), atol=2e-5 * (1 + factor))


@given(st.permutations(range(16)), st.floats(-720, 720))
def test_the_order_of_the_views_and_whole_turns_do_not_matter(order, turn):
    rng = np.random.default_rng(5)
    projections, angles = rng.random((16, 2, 20)).astype(np.float32), np.arange(16) * 22.5
    expected = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM)
    turned = angles[list(order)] + 360.0 * round(turn / 360.0)
    found = filtered_back_projection(projections[list(order)], turned, pixel_size_mm=PIXEL_MM)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_view_from_the_other_side_is_the_same_direction():
    direction, member, backwards = merge_directions(np.array([10.0, 100.0, 190.000009, 279.99999, 370.0]))
    assert direction.tolist() == [10.0, 100.0]
    assert member.tolist() == [0, 1, 0, 1, 0]
    assert backwards.tolist() == [False, False, True, True, False]


@given(st.lists(st.floats(0, 360), min_size=1, max_size=40))
def test_angular_weights_cover_the_half_circle(angles):
    weights = angular_weights(np.array(angles))
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(np.pi)


@pytest.mark.parametrize("bins", [16, 64, 100, 128])
def test_padding_is_matlabs(bins):
    assert padded_length(bins) == max(64, 2 ** int(np.ceil(np.log2(2 * bins))))


@pytest.mark.parametrize("name", FILTERS)
def test_filters_equal_their_definition(name):
    expected = reference.ramp_filter(50, name, 0.8)
    np.testing.assert_allclose(frequency_response(name, 128, 0.8), expected[:65], atol=1e-12)


def test_the_cutoff_is_physical_whatever_the_pixel_size():
    per_cm = 0.8
    for pixel_mm in (2.0, 4.0):
        response = frequency_response("hann", 512, per_cm / (5.0 / pixel_mm))
        frequency_per_cm = np.arange(257) / 512 / (pixel_mm / 10)
        assert response[frequency_per_cm > per_cm].max() == 0.0
        assert response[frequency_per_cm < 0.99 * per_cm][1:].min() > 0.0
        half = np.interp(per_cm / 2, frequency_per_cm, response / np.maximum(4 * np.arange(257) / 512 / 2, 1e-9))
        assert half == pytest.approx(0.5, abs=0.01)


def test_a_cutoff_above_what_the_pixels_carry_cuts_nothing():
    assert frequency_response("shepp-logan", 128, 1.4)[-1] > 0.0


def test_bad_requests_are_named():
    good = np.ones((4, 2, 8))
    with pytest.raises(GridMismatchError):
        filtered_back_projection(good, np.arange(3.0), pixel_size_mm=PIXEL_MM)
    with pytest.raises(GridMismatchError):
        filtered_back_projection(good, np.arange(4.0), pixel_size_mm=0.0)
    with pytest.raises(EmptyVolumeError):
        filtered_back_projection(np.ones((4, 2, 1)), np.arange(4.0), pixel_size_mm=PIXEL_MM)
    with pytest.raises(EmptyVolumeError):
        filtered_back_projection(np.full((4, 2, 8), np.nan), np.arange(4.0), pixel_size_mm=PIXEL_MM)
    with pytest.raises(ConfigurationError):
        filtered_back_projection(good, np.arange(4.0), pixel_size_mm=PIXEL_MM, filter="butterworth")
    with pytest.raises(ConfigurationError):
        filtered_back_projection(good, np.arange(4.0), pixel_size_mm=PIXEL_MM, cutoff_per_cm=0.0)
    with pytest.raises(ConfigurationError):
        iradon(np.ones((8, 4)), np.arange(5))
    with pytest.raises(ConfigurationError):
        iradon(np.ones((8, 4)), np.arange(4), interpolation="spline")
