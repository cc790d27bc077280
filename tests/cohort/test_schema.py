"""The registry of the store's arrays."""

import numpy as np

from datbatch import schema

ALL = (*schema.STUDY_TABLE, *schema.RELEVANCE_TABLE, *schema.NORMAL_RANGE_TABLE, schema.UPTAKE, schema.RELEVANCE_MAP)


def test_the_grid_gives_236_million_parameters_and_is_symmetric_so_that_mirroring_is_exact() -> None:
    assert schema.SHAPE == (91, 109, 63)
    x = schema.coordinates_mm(0)
    np.testing.assert_array_equal(x, -x[::-1])


def test_every_array_has_the_study_axis_first_and_a_description_and_every_text_is_a_coordinate() -> None:
    for variable in ALL:
        assert variable.dims[0] == "study"
        assert variable.description
        assert variable.coordinate or variable.dtype != "str", variable.name


def test_images_of_the_whole_cohort_share_the_grid_of_the_studies() -> None:
    for variable in (schema.ATLAS, schema.TEMPLATE):
        assert variable.dims == schema.UPTAKE.dims[1:]
        assert variable.name not in {other.name for other in ALL}
    assert schema.ATLAS_LABELS[: len(schema.REGIONS)] == schema.REGIONS


def test_no_variable_is_called_like_a_dimension_a_group_or_a_measure_like_another() -> None:
    dimensions = {dim for variable in ALL for dim in variable.dims}
    assert {variable.name for variable in ALL} & dimensions == {"study"}
    root = {variable.name for variable in (*schema.STUDY_TABLE, schema.UPTAKE)}
    assert not root & {"relevance", schema.NORMAL_RANGE}
    assert len(set(schema.MEASURES)) == len(schema.MEASURES)
