"""Means, slices and distances of the test set, read one study at a time."""

import numpy as np
import pytest
import xarray as xr
from xarray.core import indexing

from datbatch import schema
from datbatch.imaging import analytic_atlas
from datbatch.report.cohort.averages import (
    GroupImages,
    peak_distance_mm,
    scan_test_set,
    striatal_slice,
    striatum_distance_mm,
)
from tests.report.synthetic import TEST_SET, WHOLE, Recorded, blob, relevance_of, uptake_of

OUTCOMES = ["TN", "TN", "TN", "TP", "TP", "FN", "FP"]


@pytest.fixture(scope="module")
def masks():
    return analytic_atlas().masks


def lazy(studies, make) -> tuple[xr.DataArray, Recorded]:
    recorded = Recorded(studies, make)
    variable = xr.Variable(("study", "x", "y", "z"), indexing.LazilyIndexedArray(recorded))
    return xr.DataArray(variable), recorded


def scan(studies, outcomes=OUTCOMES, make=uptake_of, *, sign: float = 1.0, cases: int = 2) -> GroupImages:
    uptake, relevance = lazy(studies, make)[0], lazy(studies, relevance_of)[0]
    return scan_test_set(uptake, relevance, outcomes, sign=sign, masks=analytic_atlas().masks, cases=cases)


def test_volumes_are_read_one_study_at_a_time_and_only_those_of_the_test_set(masks) -> None:
    uptake, images = lazy(WHOLE, uptake_of)
    relevance, maps = lazy(WHOLE, relevance_of)
    outcomes = [OUTCOMES[TEST_SET.index(study)] if study in TEST_SET else "" for study in WHOLE]
    scan_test_set(uptake, relevance, outcomes, sign=-1.0, masks=masks, cases=24)
    wanted = [(position,) for position, outcome in enumerate(outcomes) if outcome]
    assert images.reads == wanted
    assert maps.reads == wanted


def test_means_are_those_of_the_volumes() -> None:
    found = scan(TEST_SET, sign=-1.0, cases=24)
    assert (found.true_negative.studies, found.true_positive.studies) == (3, 2)
    expected = np.mean([uptake_of(study) for study in TEST_SET[:3]], axis=0, dtype=float)
    assert np.allclose(found.true_negative.uptake, expected, rtol=0, atol=1e-12)
    expected = -np.mean([relevance_of(study) for study in TEST_SET[3:5]], axis=0, dtype=float)
    assert np.allclose(found.true_positive.relevance, expected, rtol=0, atol=1e-12)
    assert found.true_positive.relevance.max() == pytest.approx(0.2, rel=0.02)
    assert [case.position for case in found.cases] == [5, 6]
    assert np.nanmax(found.peak_distance_mm) == 0, "all peaks lie in the putamen"
    assert [case.position for case in scan(TEST_SET, cases=1).cases] == [5], "at most as many as asked for"


def test_a_volume_with_missing_values_is_left_out_and_counted() -> None:
    def holed(study):
        volume = uptake_of(study)
        if study.study == "sb01":
            volume[0, 0, 0] = np.nan
        return volume

    found = scan(TEST_SET, make=holed)
    assert found.unreadable == 1
    assert found.true_negative.studies == 2
    assert np.isfinite(found.true_negative.uptake).all()


def test_an_empty_group_has_no_mean() -> None:
    found = scan(TEST_SET[:3], ["TN"] * 3)
    assert found.true_positive.studies == 0
    assert np.isnan(found.true_positive.uptake).all()


def test_the_distance_of_a_peak_is_that_to_the_nearest_striatal_voxel_and_a_map_of_nothing_has_none(masks) -> None:
    distance = striatum_distance_mm(masks)
    names = [name for name in schema.REGIONS if name.startswith(("putamen", "caudate"))]
    striatum = np.argwhere(masks[[schema.REGIONS.index(name) for name in names]].any(axis=0))
    for place in ((0.0, -90.0, 10.0), (-40.0, 0.0, 0.0), (60.0, 20.0, -20.0)):
        index = np.array([int(np.argmin(abs(schema.coordinates_mm(axis) - at))) for axis, at in enumerate(place)])
        nearest = schema.SPACING_MM * np.sqrt(((striatum - index) ** 2).sum(axis=1).min())
        relevance = np.zeros(schema.SHAPE)
        relevance[tuple(index)] = -5.0
        assert peak_distance_mm(relevance, distance) == pytest.approx(nearest)
    assert np.isnan(peak_distance_mm(np.zeros(schema.SHAPE), distance))


def test_the_striatal_slice_cuts_putamen_and_caudate(masks) -> None:
    height = striatal_slice(masks)
    assert -6 <= schema.coordinates_mm(2)[height] <= 14
    for name in schema.REGIONS[:4]:
        assert masks[schema.REGIONS.index(name), :, :, height].sum() > 10
    assert blob((0, 0, 0)).shape == schema.SHAPE
