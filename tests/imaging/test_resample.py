"""Values stay at their millimetres when the grid changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from datbatch import schema
from datbatch.errors import EmptyVolumeError, GridMismatchError
from datbatch.imaging import Volume, mirror, resample
from tests.reference.head_phantom import grid_points, random_pose

GRID = np.diag([3.0, 3.0, 4.0, 1.0])
SHAPE = (14, 15, 12)


@given(st.integers(0, 1000))
def test_a_linear_field_is_reproduced_exactly_inside_the_field_of_view(seed):
    rng = np.random.default_rng(seed)
    slope, affine = rng.normal(size=3), random_pose(seed)
    affine[:3, :3] *= 4.0
    field = grid_points(affine, (10, 11, 12)) @ slope + 5
    pose = random_pose(seed + 1)
    found = resample(Volume(field.astype(np.float32), affine), pose, GRID, SHAPE)
    where = grid_points(pose @ GRID, SHAPE)
    index = np.linalg.inv(affine) @ np.concatenate([where.reshape(-1, 3), np.ones((where[..., 0].size, 1))], axis=1).T
    inside = ((index[:3] >= 0) & (index[:3] <= np.array([[9], [10], [11]]))).all(axis=0).reshape(SHAPE)
    np.testing.assert_allclose(found[inside], (where @ slope + 5)[inside], atol=1e-3)
    assert (found[~inside] == 0).all()


def test_resampling_equals_interpolation_by_scipy():
    rng = np.random.default_rng(2)
    data, affine, pose = rng.random((9, 10, 11)).astype(np.float32), np.diag([3.5, 4.0, 4.5, 1.0]), random_pose(5)
    where = grid_points(np.linalg.inv(affine) @ pose @ GRID, SHAPE)
    expected = map_coordinates(data, np.moveaxis(where, -1, 0), order=1, mode="constant", cval=0.0, prefilter=False)
    np.testing.assert_allclose(resample(Volume(data, affine), pose, GRID, SHAPE), expected, atol=1e-5)


def test_the_identity_on_the_same_grid_changes_nothing():
    data = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    np.testing.assert_array_equal(resample(Volume(data, GRID), np.eye(4), GRID, SHAPE), data)


@given(st.integers(0, 100))
def test_mirroring_twice_is_the_identity(seed):
    data = np.random.default_rng(seed).normal(size=(7, 5, 3)).astype(np.float32)
    assert mirror(mirror(data)).tobytes() == data.tobytes()


def test_mirroring_moves_the_right_to_the_left():
    data = np.zeros(schema.SHAPE, np.float32)
    x = schema.coordinates_mm(0)
    data[np.flatnonzero(x == 26.0)[0], 60, 20] = 1.0
    assert x[np.argwhere(mirror(data))[0][0]] == -26.0


def test_what_is_no_image_is_refused():
    good = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    for bad in (np.zeros(SHAPE, np.float32), good[:1], good[0], np.where(good > 0.9, np.inf, good)):
        with pytest.raises(EmptyVolumeError):
            resample(Volume(bad, GRID), np.eye(4), GRID, SHAPE)
    with pytest.raises(GridMismatchError):
        resample(Volume(good, GRID), np.full((4, 4), np.nan), GRID, SHAPE)
