"""A study is flagged where its binding ratios should be looked at, and not otherwise."""

import numpy as np
import pytest

from datbatch import schema
from datbatch.config import QuantifyConfig
from datbatch.imaging import Binding, binding_flags, measure_binding, quantify
from datbatch.imaging.agreement import CUT_SHARE
from datbatch.imaging.binding import asymmetry_indices, putamen_to_caudate_ratios
from tests.imaging.test_binding import STRIATA, mask_of, piecewise

CONFIG = QuantifyConfig()
QUIET = np.full(schema.SHAPE, 1.0, np.float32)


def ratios(hottest: tuple[float, float], fixed: tuple[float, float], large: tuple[float, float]) -> Binding:
    """Binding whose putamina, caudates and striata have the given (ipsilateral, contralateral) ratios."""
    values = np.stack([np.tile(pair, (3, 3)) for pair in (hottest, fixed, large)])
    values[2, :, :4] = np.nan
    return Binding(values, asymmetry_indices(values[:, 0]), putamen_to_caudate_ratios(values[:, 0]))


def disagree(*given: tuple[float, float]) -> bool:
    return schema.DEFINITIONS_DISAGREE in binding_flags(QUIET, ratios(*given))


def test_an_ordinary_head_has_no_flag(asymmetric_head) -> None:
    assert quantify(asymmetric_head, CONFIG).flags == ()


def test_opposite_sides_are_flagged_where_both_are_clear() -> None:
    assert disagree((1.0, 1.3), (1.2, 0.9), (3.0, 4.0)), "hottest and fixed"
    assert disagree((1.0, 1.3), (1.0, 1.3), (4.0, 3.0)), "the large volume and the others"
    assert not disagree((1.0, 1.3), (1.04, 1.0), (3.0, 4.0)), "a small asymmetry is no statement"
    assert not disagree((1.0, 1.05), (1.3, 1.0), (4.0, 3.0))
    assert not disagree((1.0, 1.3), (1.0, 1.3), (np.nan, np.nan)), "what has no value says nothing"


def test_levels_that_cannot_belong_to_one_striatum_are_flagged() -> None:
    assert not disagree((1.5, 1.6), (1.5, 1.6), (4.5, 5.0))
    assert not disagree((0.1, 0.2), (0.1, 0.2), (-0.8, -0.5)), "the large volume's background is attenuated"
    assert disagree((1.5, 1.6), (0.7, 0.8), (4.5, 5.0)), "the hottest voxels lie beside the striatum"
    assert disagree((1.5, 1.6), (1.5, 1.6), (4.5, 14.0)), "there is uptake beside the striatum"
    assert disagree((1.5, 1.6), (1.5, 1.6), (-1.0, 5.0))


def test_a_striatum_beside_its_region_is_flagged() -> None:
    head = piecewise(**{name: 4 * value for name, value in STRIATA.items()})
    moved = np.roll(head, 5, axis=1)
    assert schema.DEFINITIONS_DISAGREE in binding_flags(moved, measure_binding(moved, CONFIG))


@pytest.mark.parametrize(("axis", "beyond_mm"), [(2, 50.0), (1, 45.0)])
def test_a_region_outside_the_field_of_view_is_flagged(asymmetric_head, axis, beyond_mm) -> None:
    cut = asymmetric_head.copy()
    np.moveaxis(cut, axis, 0)[schema.coordinates_mm(axis) > beyond_mm] = 0
    assert (cut == 0)[mask_of("reference")].mean() > CUT_SHARE
    assert schema.REGION_CUT in quantify(cut, CONFIG).flags


def test_backgrounds_at_odds_are_flagged(asymmetric_head) -> None:
    for factor, flag in ((0.6, schema.REFERENCE_UNUSUAL), (0.0, schema.REGION_CUT)):
        head = asymmetric_head.copy()
        head[mask_of("occipital")] *= factor
        assert quantify(head, CONFIG).flags == (flag,)
