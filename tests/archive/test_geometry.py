"""From DICOM file to volume: sources at known patient coordinates are reconstructed where they are."""

import numpy as np
import pytest

from datbatch.imaging import reconstruct
from tests.archive.styles import STYLES
from tests.archive.writer import SOURCES


def centre_of_mass(values: np.ndarray, places: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Give the centre of mass in a sphere about itself: one about the hottest voxel would cut a flank off."""
    centre = start
    for _ in range(20):
        near = np.linalg.norm(places - centre[:, None], axis=0) < 14.0
        weights = np.clip(values[near], 0.0, None)
        centre = (places[:, near] * weights).sum(axis=1) / weights.sum()
    return centre


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_sources_are_reconstructed_within_a_millimetre_and_a_half_left_on_the_left(style, acquired) -> None:
    volume = reconstruct(acquired(style))
    index = np.indices(volume.data.shape).reshape(3, -1)
    places = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    values = volume.data.ravel().astype(np.float64)
    for (left, back, head), _ in SOURCES:
        # The strongest that is left; RAS turns LPS's left and back round.
        peak = places[:, values.argmax()]
        centre = centre_of_mass(values, places, peak)
        assert np.linalg.norm(centre - [-left, -back, head]) < 1.5
        values[np.linalg.norm(places - peak[:, None], axis=0) < 35.0] = 0.0
