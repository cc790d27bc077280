"""Volumes that several tests of imaging use."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from datbatch import schema
from datbatch.imaging import Volume
from tests.reference.head_phantom import RESOLUTION_FWHM_MM, activity, grid_points


def normalised_head(striatum: tuple[float, float] = (3.5, 3.5)) -> np.ndarray:
    points = grid_points(schema.grid_affine(), schema.SHAPE)
    blurred = gaussian_filter(activity(points, striatum), RESOLUTION_FWHM_MM / 2.355 / schema.SPACING_MM)
    return blurred.astype(np.float32)


@pytest.fixture(scope="session")
def head_template() -> Volume:
    """The head phantom on the store's grid."""
    return Volume(normalised_head(), schema.grid_affine())


@pytest.fixture(scope="session")
def asymmetric_head() -> np.ndarray:
    """The head phantom on the store's grid; its right striatum is the weaker one."""
    return normalised_head((3.5, 2.0))
