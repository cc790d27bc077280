"""The registry of the store's arrays."""

import numpy as np
import pytest

from datbatch import schema

ALL = (*schema.STUDY_TABLE, *schema.RELEVANCE_TABLE, *schema.NORMAL_RANGE_TABLE, schema.UPTAKE, schema.RELEVANCE_MAP)


def test_the_grid_is_symmetric_so_that_mirroring_is_exact() -> None:
    x = schema.coordinates_mm(0)
    np.testing.assert_array_equal(x, -x[::-1])


def test_the_grid_has_the_size_that_gives_236_million_parameters() -> None:
    assert schema.SHAPE == (91, 109, 63)


def test_every_array_has_the_study_axis_first_and_a_description() -> None:
    for variable in ALL:
        assert variable.dims[0] == "study"
        assert variable.description


def test_images_of_the_whole_cohort_share_the_grid_of_the_studies() -> None:
    for variable in (schema.ATLAS, schema.TEMPLATE):
        assert variable.dims == schema.UPTAKE.dims[1:]
        assert variable.name not in {other.name for other in ALL}
    assert schema.ATLAS_LABELS[: len(schema.REGIONS)] == schema.REGIONS


def test_no_variable_hides_a_dimension() -> None:
    dimensions = {dim for variable in ALL for dim in variable.dims}
    assert {variable.name for variable in ALL} & dimensions == {"study"}


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_every_text_is_a_coordinate(variable) -> None:
    assert variable.coordinate or variable.dtype != "str"


def test_no_variable_of_the_root_is_called_like_a_group() -> None:
    root = {variable.name for variable in (*schema.STUDY_TABLE, schema.UPTAKE)}
    assert not root & {"relevance", schema.NORMAL_RANGE}


def test_measures_have_names_of_their_own() -> None:
    assert len(set(schema.MEASURES)) == len(schema.MEASURES)
