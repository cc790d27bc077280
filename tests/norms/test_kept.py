"""A kept normal range says of a study what the fit said, bit by bit, and is refused where it is not whole."""

import json
from typing import Any

import numpy as np
import pytest

from datbatch.errors import NormalRangeError
from datbatch.norms import KeptRange, fit_normal_range
from datbatch.schema import MEASURES

STUDIES = 60


def kept(**options: Any) -> KeptRange:
    rng = np.random.default_rng(3)
    values = rng.normal(2.4, 0.3, (STUDIES, len(MEASURES)))
    values[:, 5] = np.nan
    age, sex = rng.normal(65, 9, STUDIES), np.where(rng.random(STUDIES) < 0.5, "F", "M")
    site = np.array(["A", "B", "C"])[np.arange(STUDIES) % 3]
    return KeptRange(fit_normal_range(values, age, sex, site, **options), "digest", frozenset({"Maker 3.3"}))


@pytest.mark.parametrize("options", [{}, {"use_site": False}, {"use_age": False, "use_sex": False}])
def test_what_is_read_predicts_the_same_bits(options) -> None:
    before = kept(**options)
    after = KeptRange.from_json(before.to_json())
    values = np.linspace(0.5, 3.0, len(MEASURES))
    for site in ("B", "elsewhere", ""):
        told = {"age_years": 71.5, "sex": "F", "site": site, "kind": "Maker 3.3"}
        (one, flags), (other, again) = before.compare(values, **told), after.compare(values, **told)
        assert flags == again
        for name in ("expected", "sd", "lower", "upper", "z"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert after.to_json() == before.to_json()


def test_an_unknown_site_widens_the_interval_and_is_said() -> None:
    fitted, values = kept(), np.full(len(MEASURES), 2.4)
    here, none = fitted.compare(values, age_years=65.0, sex="M", site="A", kind="Maker 3.3")
    there, warned = fitted.compare(values, age_years=65.0, sex="M", site="Z", kind="Other 2.2")
    assert none == ()
    assert warned == ("site-without-normals", "class-without-normals")
    known = np.isfinite(here.sd)
    assert (there.upper - there.lower)[known].min() > (here.upper - here.lower)[known].min()
    assert (there.sd >= here.sd)[known].all()


def test_missing_age_and_sex_are_said() -> None:
    _, warned = kept().compare(np.full(len(MEASURES), 2.4), age_years=None, sex="O", site="A", kind="Maker 3.3")
    assert warned == ("age-missing", "sex-missing")


@pytest.mark.parametrize(
    "damage",
    [
        lambda given: given.update(layout=0),
        lambda given: given.update(measures=["one"]),
        lambda given: given["fitted"].pop("quantile"),
        lambda given: given["fitted"].update(coefficient=[[1.0]]),
        lambda given: given["fitted"].update(site_sd="wide"),
        lambda given: given["fitted"].update(site_rows={"A": 5, "B": 6, "C": 7}),
        lambda given: given["fitted"]["covariates"].update(mean=[1.0]),
    ],
)
def test_a_damaged_file_is_refused(damage) -> None:
    given = json.loads(kept().to_json())
    damage(given)
    with pytest.raises(NormalRangeError, match="kept normal range"):
        KeptRange.from_json(json.dumps(given))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"layout": 1}'])
def test_no_normal_range_at_all_is_refused(text) -> None:
    with pytest.raises(NormalRangeError):
        KeptRange.from_json(text)
