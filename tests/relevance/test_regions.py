"""Regional statistics say where relevance lies and how much, and turn with the sign of the map."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datbatch.errors import EmptyVolumeError, GridMismatchError
from datbatch.relevance import region_statistics
from datbatch.relevance.regions import hottest_mean
from datbatch.schema import STATISTICS

SHAPE = (4, 5, 3)
AXES = tuple(10.0 * (axis + 1) + 2.0 * np.arange(size) for axis, size in enumerate(SHAPE))


def table(relevance, masks, *, hottest_ml=0.04, voxel_volume_ml=0.01):
    found = region_statistics(relevance, masks, AXES, hottest_ml=hottest_ml, voxel_volume_ml=voxel_volume_ml)
    return [dict(zip(STATISTICS, row, strict=True)) for row in found]


def test_extremes_are_found_with_their_place_in_millimetres():
    relevance = np.zeros(SHAPE, dtype=np.float32)
    relevance[1, 4, 2], relevance[3, 0, 1] = 7.0, -5.0
    masks = np.ones((2, *SHAPE), dtype=bool)
    masks[1, 1:, ...] = False
    masks[1, 0, 0, 0] = True
    everywhere, elsewhere = table(relevance, masks)
    assert [everywhere[f"maximum{end}"] for end in ("", "_x", "_y", "_z")] == [7.0, 12.0, 28.0, 34.0]
    assert [everywhere[f"minimum{end}"] for end in ("", "_x", "_y", "_z")] == [-5.0, 16.0, 20.0, 32.0]
    assert (everywhere["positive_mass"], everywhere["negative_mass"]) == (7.0, -5.0)
    assert everywhere["mean"] == pytest.approx(2.0 / 60)
    assert everywhere["hottest_mean"] == pytest.approx(2.0 / 4)
    assert elsewhere["maximum"] == elsewhere["mean"] == elsewhere["positive_mass"] == 0.0


def test_an_empty_region_has_no_values_and_no_mass():
    empty = table(np.ones(SHAPE, dtype=np.float32), np.zeros((1, *SHAPE), dtype=bool))[0]
    assert empty["positive_mass"] == empty["negative_mass"] == 0.0
    assert all(np.isnan(value) for name, value in empty.items() if not name.endswith("mass"))


def test_a_map_of_another_grid_or_with_holes_is_refused():
    masks = np.ones((1, *SHAPE), dtype=bool)
    with pytest.raises(GridMismatchError):
        table(np.ones((4, 5, 4), dtype=np.float32), masks)
    with pytest.raises(EmptyVolumeError):
        table(np.full(SHAPE, np.nan, dtype=np.float32), masks)


values = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32))


@given(values, st.floats(0.1, 60.0))
def test_the_hottest_voxels_are_those_of_largest_magnitude_and_keep_their_sign(region, count):
    order = region[np.argsort(-np.abs(region), kind="stable")]
    weights = np.clip(count - np.arange(region.size), 0.0, 1.0)
    # Voxels of one magnitude and opposite signs have no order: either choice is right.
    magnitudes = np.abs(region)
    if np.unique(magnitudes).size == magnitudes.size:
        expected = (order * weights).sum() / weights.sum()
        assert hottest_mean(region, count) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert abs(hottest_mean(region, count)) <= magnitudes.max() * (1 + 1e-12)


@given(arrays(np.float32, SHAPE, elements=st.floats(-100, 100, width=32), unique=True))
def test_turning_the_sign_of_a_map_turns_its_statistics(relevance):
    masks = np.ones((1, *SHAPE), dtype=bool)
    one, turned = table(relevance, masks)[0], table(-relevance, masks)[0]
    assert turned["mean"] == pytest.approx(-one["mean"], abs=1e-9)
    assert turned["maximum"] == -one["minimum"]
    assert turned["maximum_x"] == one["minimum_x"]
    assert turned["positive_mass"] == pytest.approx(-one["negative_mass"])
    assert one["positive_mass"] + one["negative_mass"] == pytest.approx(float(relevance.astype(float).sum()), abs=1e-6)
    assert one["positive_mass"] >= 0 >= one["negative_mass"]
    magnitudes = np.abs(relevance)
    if np.unique(magnitudes).size == magnitudes.size:
        assert turned["hottest_mean"] == pytest.approx(-one["hottest_mean"], abs=1e-9)
