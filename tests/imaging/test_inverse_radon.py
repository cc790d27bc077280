"""`iradon` gives MATLAB's numbers: its published errors, and its definition step by step."""

import numpy as np
import pytest

from datbatch.errors import ConfigurationError, EmptyVolumeError
from datbatch.imaging import iradon
from tests.reference import backprojection as reference

FILTERS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")


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


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("bins", [1, 2, 9, 28, 31, 48, 64, 65])
@pytest.mark.parametrize(("name", "scaling"), [(name, scaling) for name in FILTERS for scaling in (1.0, 0.6)])
def test_iradon_equals_its_definition_for_other_sizes_and_angles(bins, name, scaling, interpolation):
    rng = np.random.default_rng(bins)
    sinogram = rng.normal(size=(bins, 7))
    theta = np.append(rng.uniform(-200, 400, 5), [0.0, 90.0])
    for size in sorted({max(bins // 2, 1), max(2 * int(bins / 2**1.5), 1), bins + 4}):
        options = {"name": name, "scaling": scaling, "size": size, "interpolation": interpolation}
        expected = reference.iradon(sinogram, theta, **options)
        found = iradon(
            sinogram, theta, filter=name, frequency_scaling=scaling, output_size=size, interpolation=interpolation
        )
        np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("bins", "given", "origin"), [(65, None, 32), (64, None, 32), (64, 31, 31), (65, 40, 40)])
@pytest.mark.parametrize("size", [20, 44, 91])
def test_rays_through_the_origin_fall_on_its_bin(bins, given, origin, size, interpolation):
    sinogram = np.zeros((bins, 1))
    sinogram[origin] = 1.0
    options = {"output_size": size, "interpolation": interpolation, "origin_bin": given}
    image = iradon(sinogram, [0.0], filter="none", **options) / (np.pi / 2)
    expected = np.zeros((size, size))
    expected[:, (size + 1) // 2 - 1] = 1.0
    np.testing.assert_allclose(image, expected, atol=1e-12)


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


def test_bad_requests_are_named():
    for sinogram, theta, options in [
        (np.ones((8, 4)), np.arange(5), {}),
        (np.ones(8), np.arange(1), {}),
        (np.ones((8, 4)), np.arange(4), {"interpolation": "spline"}),
        (np.ones((8, 4)), np.arange(4), {"filter": "butterworth"}),
        (np.ones((8, 4)), np.arange(4), {"frequency_scaling": 0.0}),
        (np.ones((8, 4)), np.arange(4), {"output_size": 0}),
        (np.ones((2, 4)), np.arange(4), {}),
    ]:
        with pytest.raises(ConfigurationError):
            iradon(sinogram, theta, **options)
    for sinogram, theta in [
        (np.ones((0, 4)), np.arange(4)),
        (np.full((8, 1), np.nan), [0.0]),
        (np.ones((8, 1)), [np.inf]),
    ]:
        with pytest.raises(EmptyVolumeError):
            iradon(sinogram, theta)
