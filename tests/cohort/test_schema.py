"""The registry of the store's arrays."""

from __future__ import annotations

import numpy as np
import pytest

from datbatch.cohort import schema

ALL = (*schema.STUDY_TABLE, *schema.RELEVANCE_TABLE, schema.UPTAKE, schema.RELEVANCE_MAP)


def test_the_grid_is_symmetric_so_that_mirroring_is_exact() -> None:
    x = schema.coordinates_mm(0)
    np.testing.assert_array_equal(x, -x[::-1])


def test_the_grid_has_the_size_that_gives_236_million_parameters() -> None:
    assert schema.SHAPE == (91, 109, 63)


def test_every_array_has_the_study_axis_first_and_a_description() -> None:
    for variable in ALL:
        assert variable.dims[0] == "study"
        assert variable.description


def test_no_variable_hides_a_dimension() -> None:
    dimensions = {dim for variable in ALL for dim in variable.dims}
    assert {variable.name for variable in ALL} & dimensions == {"study"}


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_every_text_is_a_coordinate(variable: schema.Variable) -> None:
    assert variable.coordinate or variable.dtype != "str"
