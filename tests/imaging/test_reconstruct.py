"""A source at known patient coordinates is reconstructed there: left on the left, head at the top."""

from dataclasses import replace

import numpy as np
import pytest

from datbatch.archive.geometry.acquisition import Acquisition
from datbatch.config import ReconstructConfig
from datbatch.errors import (
    BodyContourError,
    ConfigurationError,
    EmptyVolumeError,
    GridMismatchError,
    InvalidProjectionsError,
)
from datbatch.imaging import reconstruct

SOURCES_RAS_MM = [(-48.0, 37.0, 22.0), (31.0, -55.0, -40.0), (0.0, 62.0, 5.0)]
ORBITS = {
    "counter-clockwise from the back": np.arange(60) * 6.0,
    "clockwise from the left": (90.0 - np.arange(60) * 6.0) % 360,
    "two heads from 44.93": (44.93 + np.concatenate([np.arange(30) * 6.0, 180 + np.arange(30) * 6.0])) % 360,
    "half circle in front": (90.0 + np.arange(60) * 3.0) % 360,
}


def point_acquisition(source_ras: tuple, angles: np.ndarray, *, bins=64, rows=48, pixel=4.0, row=4.0) -> Acquisition:
    """Project a Gaussian source by the DICOM geometry: right of the image is (-cos a, sin a, 0) in LPS, down is -z."""
    left, posterior, superior = -source_ras[0], -source_ras[1], source_ras[2]
    radians = np.deg2rad(angles)
    u = left * -np.cos(radians) + posterior * np.sin(radians)
    down = -superior
    along = np.exp(-(((np.arange(bins) - (bins - 1) / 2) * pixel - u[:, None]) ** 2) / (2 * 7.0**2))
    across = np.exp(-(((np.arange(rows) - (rows - 1) / 2) * row - down) ** 2) / (2 * 7.0**2))
    counts = np.rint(1000 * across[None, :, None] * along[:, None, :]).astype(np.uint16)
    return Acquisition(counts, angles, pixel, row, np.full(len(angles), 140.0))


def brightest_ras_mm(volume) -> np.ndarray:
    """Centre of mass of what is above a tenth of the maximum."""
    bright = np.argwhere(volume.data > 0.1 * volume.data.max())
    weights = volume.data[tuple(bright.T)]
    return volume.affine[:3, :3] @ np.average(bright, axis=0, weights=weights) + volume.affine[:3, 3]


@pytest.mark.parametrize("angles", ORBITS.values(), ids=ORBITS.keys())
@pytest.mark.parametrize("source", SOURCES_RAS_MM)
def test_a_source_is_reconstructed_where_it_is(source, angles):
    volume = reconstruct(point_acquisition(source, angles))
    np.testing.assert_allclose(brightest_ras_mm(volume), source, atol=0.5)


def test_pixels_that_are_not_square_keep_the_place():
    source = SOURCES_RAS_MM[0]
    acquisition = point_acquisition(source, ORBITS["clockwise from the left"], bins=50, rows=70, pixel=4.8, row=2.4)
    volume = reconstruct(acquisition)
    assert volume.data.shape == (50, 50, 70)
    np.testing.assert_allclose(brightest_ras_mm(volume), source, atol=0.5)


def test_the_axis_of_rotation_and_the_middle_of_the_field_of_view_are_the_origin():
    volume = reconstruct(point_acquisition(SOURCES_RAS_MM[0], np.arange(12) * 30.0))
    middle = volume.affine @ [*((np.array(volume.data.shape) - 1) / 2), 1.0]
    np.testing.assert_allclose(middle, [0, 0, 0, 1], atol=1e-12)
    assert (np.diag(volume.affine) > 0).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits_every_time(threads):
    acquisition = point_acquisition(SOURCES_RAS_MM[1], np.arange(60) * 6.0)
    assert reconstruct(acquisition, threads=threads).data.tobytes() == reconstruct(acquisition).data.tobytes()


def test_what_cannot_be_counts_is_refused_by_name():
    acquisition = point_acquisition(SOURCES_RAS_MM[0], np.arange(12) * 30.0)
    counts = acquisition.projections
    negative, holed = counts.astype(np.int32), counts.astype(np.float32)
    negative[3, 4, 5], holed[3, 4, 5] = -1, np.nan
    with pytest.raises(InvalidProjectionsError):
        reconstruct(replace(acquisition, projections=negative))
    for useless in (0 * counts, holed, np.full_like(counts, 7), counts[:0], np.full((12, 4, 8), np.inf)):
        with pytest.raises(EmptyVolumeError):
            reconstruct(replace(acquisition, projections=useless, angles_deg=acquisition.angles_deg[: len(useless)]))
    for misfit in (
        {"angles_deg": acquisition.angles_deg[:5]},
        {"angles_deg": np.full(12, np.nan)},
        {"pixel_size_mm": np.inf},
        {"pixel_size_mm": np.nan},
        {"row_size_mm": 0.0},
        {"projections": acquisition.projections[0]},
    ):
        with pytest.raises(GridMismatchError):
            reconstruct(replace(acquisition, **misfit))


def test_unknown_options_and_a_point_without_a_head_are_refused_by_name():
    acquisition = point_acquisition(SOURCES_RAS_MM[0], np.arange(12) * 30.0)
    for options in ({"attenuation": "ct"}, {"filter": "butterworth"}, {"cutoff_per_cm": 0.0}, {"device": "tpu"}):
        with pytest.raises(ConfigurationError):
            reconstruct(acquisition, ReconstructConfig(**options))
    with pytest.raises(BodyContourError):
        reconstruct(acquisition, ReconstructConfig(attenuation="chang"))
