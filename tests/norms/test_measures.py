"""The measures' names stand where their values do, and codes where they apply."""

import numpy as np

from datbatch.norms import FAMILIES, WARNINGS, join_warnings, measures, reconstruction_class
from datbatch.schema import BACKGROUNDS, DEFINITIONS, MEASURES, SIDES, STRIATAL, STRUCTURES


def test_each_value_stands_under_its_name() -> None:
    rng = np.random.default_rng(0)
    ratio = rng.normal(size=(2, len(DEFINITIONS), len(BACKGROUNDS), len(STRIATAL)))
    asymmetry = rng.normal(size=(2, len(DEFINITIONS), len(STRUCTURES)))
    to_caudate = rng.normal(size=(2, len(DEFINITIONS), len(SIDES)))
    to_caudate[0, 0, 0] = np.inf
    values = measures(ratio, asymmetry, to_caudate)
    assert values.shape == (2, len(MEASURES))
    at = MEASURES.index
    assert values[1, at("fixed_regions caudate_contralateral")] == ratio[1, 1, 0, 3]
    assert values[1, at("asymmetry large_volume striatum")] == asymmetry[1, 2, 2]
    assert values[1, at("putamen_to_caudate hottest_voxels contralateral")] == to_caudate[1, 0, 1]
    assert np.isnan(values[0, at("putamen_to_caudate hottest_voxels ipsilateral")])


def test_families_hold_measures_of_one_kind() -> None:
    names = [MEASURES[family] for family in FAMILIES]
    assert sum(map(len, names)) == len(MEASURES)
    assert all(name.startswith("asymmetry") for name in names[1])
    assert all(name.startswith("putamen_to_caudate") for name in names[2])
    assert all(name.split()[1] in STRIATAL for name in names[0])


def test_codes_are_listed_in_their_order() -> None:
    first, second = list(WARNINGS)[:2]
    found = join_warnings({second: np.array([True, False, True]), first: np.array([True, False, False])}, 3)
    assert list(found) == [f"{first} {second}", "", second]
    assert list(join_warnings({}, 2)) == ["", ""]
    assert len(join_warnings({}, 0)) == 0


def test_a_reconstruction_class_is_camera_and_pixel_size() -> None:
    names = reconstruction_class(np.array(["Duo 2"] * 4, dtype=object), np.array([3.30, 3.32, 3.4, np.nan]))
    assert names[0] == names[1] != names[2]
