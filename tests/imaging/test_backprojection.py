"""A study's filtered back-projection is the sum that defines it, and the analytic image where there is one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datbatch.errors import ConfigurationError, EmptyVolumeError, GridMismatchError
from datbatch.imaging import filtered_back_projection
from datbatch.imaging.reconstruction.backprojection import angular_weights, merge_directions, view_weights
from datbatch.imaging.reconstruction.filters import frequency_response, padded_length
from tests.reference import backprojection as reference

FILTERS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")
PIXEL_MM = 4.0


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


def _disc_study(angles: np.ndarray, radius: float, x: float, y: float, bins: int = 64) -> np.ndarray:
    """Chord lengths (view, 1, bin) of a uniform disc, averaged over each bin: they sum to the disc's area exactly."""

    def cumulative(t):
        t = np.clip(t, -radius, radius)
        return t * np.sqrt(radius**2 - t**2) + radius**2 * np.arcsin(t / radius)

    edges = np.arange(bins + 1) - bins / 2
    centre = x * np.cos(np.deg2rad(angles)) - y * np.sin(np.deg2rad(angles))
    return np.diff(cumulative(edges - centre[:, None]))[:, None, :]


@given(
    st.floats(10.0, 20.0),
    st.floats(0.0, 8.0),
    st.floats(0, 2 * np.pi),
    st.sampled_from(["ram-lak", "shepp-logan", "hann"]),
)
@settings(max_examples=25)
def test_the_image_of_a_disc_sums_to_the_counts_of_one_view(radius, offset, turn, name):
    angles = np.arange(60) * 3.0
    projections = _disc_study(angles, radius, offset * np.cos(turn), offset * np.sin(turn))
    image = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM, filter=name)
    assert image.sum() == pytest.approx(np.pi * radius**2, rel=0.002)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=20)
def test_adding_right_angles_to_all_views_turns_the_image(seed, quarters):
    projections = np.random.default_rng(seed).random((10, 2, 21))
    angles = np.arange(10) * 18.0
    image = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM)
    turned = filtered_back_projection(projections, angles + 90.0 * quarters, pixel_size_mm=PIXEL_MM)
    # Image axes (y, x); the angle grows from +x (angle 0 sees +x on its right) towards -y.
    np.testing.assert_allclose(turned, np.rot90(image, -quarters, axes=(2, 1)), atol=2e-5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_mirrored_projections_give_the_mirrored_image(seed):
    rng = np.random.default_rng(seed)
    projections, angles = rng.random((12, 2, 20)), np.sort(rng.uniform(0, 360, 12))
    image = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM)
    mirrored = filtered_back_projection(projections[:, :, ::-1], -angles, pixel_size_mm=PIXEL_MM)
    np.testing.assert_allclose(mirrored, image[:, :, ::-1], atol=2e-5)


@given(st.floats(-8, 8), st.floats(-8, 8), st.floats(0, 360))
@settings(max_examples=20)
def test_half_a_turn_shows_what_a_whole_turn_shows(x, y, start):
    whole = start + np.arange(48) * 7.5
    image = filtered_back_projection(_gaussian_study(whole, 3.0, x, y), whole, pixel_size_mm=PIXEL_MM)
    half = filtered_back_projection(_gaussian_study(whole[:24], 3.0, x, y), whole[:24], pixel_size_mm=PIXEL_MM)
    np.testing.assert_allclose(half, image, atol=1e-5 * image.max())


@pytest.mark.parametrize("bins", [7, 32])
@pytest.mark.parametrize("threads", [2, 3, 50])
def test_any_number_of_threads_gives_the_same_bits(threads, bins):
    projections = np.random.default_rng(2).poisson(20, (15, 5, bins)).astype(np.uint16)
    angles = np.arange(15) * 12.0
    alone = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM)
    shared = filtered_back_projection(projections, angles, pixel_size_mm=PIXEL_MM, threads=threads)
    assert shared.tobytes() == alone.tobytes()


def test_views_of_one_direction_share_its_weight():
    weights = view_weights(np.array([0.0, 180.0, 60.0, 120.0]))
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 3, 1 / 3])


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
    good, around = np.ones((4, 2, 8)), np.arange(4.0)
    for kind, projections, angles, options in (
        (GridMismatchError, good, np.arange(3.0), {}),
        (GridMismatchError, good, np.array([0.0, 1.0, np.nan, 2.0]), {}),
        (GridMismatchError, good, around, {"pixel_size_mm": 0.0}),
        (EmptyVolumeError, good[:, :, :1], around, {}),
        (EmptyVolumeError, good * np.nan, around, {}),
        *((ConfigurationError, good, around, {name: value})
          for name, value in (("filter", "butterworth"), ("cutoff_per_cm", 0.0), ("threads", 0))),
    ):  # fmt: skip
        with pytest.raises(kind):
            filtered_back_projection(projections, angles, **{"pixel_size_mm": PIXEL_MM, **options})
